"""What SQLite and PostgreSQL have in common: a transaction is steps of work, and a step is a function of a Connection.

So every statement of the store is written once, without `await`, and runs in a thread here and in a greenlet there.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Protocol, TypeVar

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import DBAPIError, IntegrityError

from itipd.store import migrations
from itipd.store.schema import settings
from itipd.store.values import Conflict, StoreError

T = TypeVar("T")
Work = Callable[[Connection], T]

_AGAIN = frozenset({"40001", "40P01", "55P03", "57014"})  # serialization, deadlock, lock or statement timeout


class Transaction(Protocol):
    """One write transaction: steps of work, the last of which commits."""

    async def run(self, work: Work[T]) -> T:
        """A step."""
        ...

    async def commit(self, work: Work[T]) -> T:
        """The last step, and the commit."""
        ...


class Database(Protocol):
    """An open database. Everything raises Conflict where another try can help, else StoreError."""

    url: str

    def writing(self) -> AbstractAsyncContextManager[Transaction]:
        """A write transaction; rolled back unless it was committed."""
        ...

    async def read(self, work: Work[T]) -> T:
        """Runs `work` in a transaction that sees one state and can write nothing."""
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
        text = f"{error.orig}"
        if getattr(error.orig, "sqlstate", None) in _AGAIN or "database is locked" in text:
            raise Conflict(f"the database is in use: {text}") from error
        if error.connection_invalidated:
            raise Conflict(f"the database has ended the connection: {text}") from error
        raise StoreError(f"the database failed: {text}") from error
