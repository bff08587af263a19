"""The store as the others hold it: opened once, written through `batch`, read by the queries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from itipd.store import carry, claims, copying, due, health, keys, mails, maintenance, queries, retention, verify
from itipd.store import outbox as queue
from itipd.store.batch import Batch, batch, whole
from itipd.store.database import Database
from itipd.store.postgres import Postgres
from itipd.store.sqlite import Sqlite
from itipd.store.values import StoreError

T = TypeVar("T")


class Store:
    """One database. `secret`: 32 random octets, made once for each database, for tokens; `reply_key`: see `keys`."""

    def __init__(self, database: Database, secret: bytes, reply_key: int = 0) -> None:
        self.database = database
        self.url = database.url
        self.secret = secret
        self.reply_key = reply_key

    @classmethod
    async def open(cls, url: str) -> Store:
        """Opens the database at `url` (interface.md, "Configuration") and brings it to the newest version.

        Raises StoreError that says what is wrong. Several processes may open a new database at once.
        """
        database = await _connect(url)
        try:
            return cls(database, *await database.read(keys.read))
        except BaseException:
            await database.close()
            raise

    async def close(self) -> None:
        """Ends all connections and threads."""
        await self.database.close()

    def batch(self) -> AbstractAsyncContextManager[Batch]:
        """One write transaction; see `Batch`."""
        return batch(self.database)

    async def whole(self, work: Callable[[Batch], Awaitable[T]]) -> T:
        """`work` on a Batch, and the commit, as one transaction with no waiting in it; see `Batch.outside`."""
        return await whole(self.database, work)

    # Functions that take the store, by the names under which the other rooms ask for them.
    meeting = queries.meeting
    organizer_of = queries.organizer_of
    meeting_keys = queries.meeting_keys
    meeting_lines = queries.meeting_lines
    proposal = queries.proposal
    proposals = queries.proposal_list
    version = queries.version
    totals = queries.totals

    journal_from = mails.journal_from
    mail = mails.mail
    mail_list = mails.mail_list
    history = mails.history
    held = mails.held
    held_list = mails.held_list
    held_mail = mails.held_mail
    outbox = mails.outbox
    outbox_list = mails.outbox_list

    due = due.due

    claim = claims.claim
    renew = claims.renew
    settle = queue.settle
    settle_many = queue.settle_many
    hold = queue.hold
    release = queue.release
    retry = queue.retry
    drop = queue.drop
    flush_due = queue.flush_due

    attempts_from = carry.attempts_from
    carry_attempts = carry.carry_attempts
    ends_from = carry.ends_from
    carry_ends = carry.carry_ends

    probe = health.probe
    spare = health.spare

    backup = maintenance.backup
    verify = verify.verify
    purge_mail = retention.purge_mail
    purge_outcomes = retention.purge_outcomes
    purge_sent = retention.purge_sent
    unproven = retention.unproven
    sent_since = retention.sent_since

    copy = copying.copy
    rows = copying.rows
    inherit = keys.inherit
    new_reply_key = keys.new_reply_key


async def _connect(url: str) -> Database:
    try:
        parsed = make_url(url)
    except ArgumentError:
        found = "something with an @" if "@" in url else repr(url)  # it may have a password
        raise StoreError(f"database: found {found}, expected sqlite:///FILE or postgresql://USER@HOST/NAME") from None
    kind = parsed.get_backend_name()
    if kind == "sqlite":
        return await Sqlite.open(url, parsed)
    if kind in ("postgresql", "postgres"):
        return await Postgres.open(url, parsed)
    raise StoreError(f"database: found {kind}, expected sqlite:///FILE or postgresql://USER@HOST/NAME")
