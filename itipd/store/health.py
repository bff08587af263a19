"""Whether the database can be written, and has room left: for the inbox and for readiness. It must never decide."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from sqlalchemy import Connection, insert, update

from itipd.store.schema import settings
from itipd.store.values import StoreError

if TYPE_CHECKING:
    from itipd.store.store import Store

SHARE = 16
"""The reserve is at most this part of the disk, so that a small one can be used too."""


async def probe(store: Store) -> None:
    """Writes something and commits it, as a mail would. Raises StoreError where that cannot be done."""

    def work(connection: Connection) -> None:
        values = {"name": "probe", "value": secrets.token_bytes(8)}
        if not connection.execute(update(settings).where(settings.c.name == "probe").values(values)).rowcount:
            connection.execute(insert(settings), values)

    async with store.database.writing() as transaction:
        await transaction.commit(work)


async def spare(store: Store, reserve: int) -> bool:
    """Whether more than `reserve` bytes are free on the disk of the database; True where nobody can know."""
    found = store.database.space()
    if found is None or found[0] > min(reserve, found[1] // SHARE):
        return True
    try:
        await store.database.tidy()
    except StoreError:
        return False  # so full that not even this can be done
    found = store.database.space()
    return found is None or found[0] > min(reserve, found[1] // SHARE)
