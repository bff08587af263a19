"""What SQLite and PostgreSQL have in common: a transaction is steps of work, and a step is a function of a Connection.

So every statement of the store is written once, without `await`, and runs in a thread here and in a greenlet there.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from itipd.store import migrations
from itipd.store.schema import settings
from itipd.store.values import Conflict, NoSpaceError, StoreError, UnavailableError

T = TypeVar("T")
Work = Callable[[Connection], T]

_AGAIN = frozenset({"40001", "40P01"})  # serialization, deadlock
_LATER = frozenset({"55P03", "57014", "53300", "25006"})  # lock or statement timeout, connections, read-only (standby)
_FULL = frozenset({"53100"})


class Transaction(Protocol):
    """One write transaction: steps of work, the last of which commits."""

    async def run(self, work: Work[T]) -> T:
        """A step."""
        ...

    async def commit(self, work: Work[T]) -> T:
        """The last step, and the commit."""
        ...

    async def outside(self, work: Awaitable[T]) -> T:
        """What needs the event loop, waited for in the middle of the transaction."""
        ...


class Database(Protocol):
    """An open database. Everything raises Conflict where another try can help, else StoreError."""

    url: str

    def writing(self) -> AbstractAsyncContextManager[Transaction]:
        """A write transaction; rolled back unless it was committed."""
        ...

    async def whole(self, work: Callable[[Transaction], Coroutine[Any, Any, T]]) -> T:
        """A write transaction as short as it can be: `work` waits for its transaction alone, and commits it.

        Where it runs is the database's matter. Cancelled in the middle, it may be committed all the same.
        """
        ...

    async def read(self, work: Work[T]) -> T:
        """Runs `work` in a transaction that sees one state and can write nothing."""
        ...

    def snapshot(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """For several steps of reading that all see one state, by `run_sync`; it can write nothing."""
        ...

    def space(self) -> tuple[int, int] | None:
        """Bytes that are free, and all bytes, of the disk that the database is on; None: it is not on this machine."""
        ...

    async def tidy(self) -> None:
        """Gives back to the disk what is not needed."""
        ...

    async def close(self) -> None:
        """Closes all connections and ends all threads; twice does no harm."""
        ...


def prepare(connection: Connection) -> None:
    """Brings the tables to the newest version and makes the secret, in the transaction of the caller."""
    migrations.upgrade(connection)
    if connection.scalar(select(settings.c.value).where(settings.c.name == "secret")) is None:
        connection.execute(insert(settings), {"name": "secret", "value": secrets.token_bytes(32)})


@contextmanager
def translated() -> Iterator[None]:
    """The drivers' errors as ours."""
    try:
        yield
    except IntegrityError as error:
        raise Conflict(f"another process wrote the same rows: {error.orig}") from error
    except DBAPIError as error:
        raise _ours(error) from error


def _ours(error: DBAPIError) -> StoreError:
    text = f"{error.orig}"
    state = getattr(error.orig, "sqlstate", None) or ""
    code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF  # of the extended one
    if code == sqlite3.SQLITE_FULL or state in _FULL:
        return NoSpaceError(f"the disk is full: {text}")
    if state in _AGAIN:
        return Conflict(f"the database is in use: {text}")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or state in _LATER:
        return UnavailableError(f"the database is in use: {text}")
    # Class 08: connection; 57P: shut down. A server that cannot be reached says nothing at all.
    unreached = isinstance(error, OperationalError) and not code and not state
    if error.connection_invalidated or state.startswith(("08", "57P")) or unreached:
        return UnavailableError(f"the database has ended the connection: {text}")
    return StoreError(f"the database failed: {text}")
