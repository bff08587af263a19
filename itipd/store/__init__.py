"""The only room with SQL: schema, gather, apply, journal, outbox rows, migrations (SQLite and PostgreSQL)."""

from itipd.store.batch import Batch
from itipd.store.store import Store
from itipd.store.values import (
    Conflict,
    Entry,
    HeldMail,
    NewDelivery,
    NoSpaceError,
    OutcomeRow,
    Ref,
    Sending,
    StoreError,
    UnavailableError,
    Want,
)

__all__ = [
    "Batch",
    "Conflict",
    "Entry",
    "HeldMail",
    "NewDelivery",
    "NoSpaceError",
    "OutcomeRow",
    "Ref",
    "Sending",
    "Store",
    "StoreError",
    "UnavailableError",
    "Want",
]
