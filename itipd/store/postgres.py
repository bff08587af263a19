"""PostgreSQL: psycopg under asyncio, READ COMMITTED; `gather` locks what is decided on.

Nothing is kept in the session but timeouts, which a pooler may lose without harm: no session locks, no settings that
statements rely on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, event
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from itipd.store.database import Transaction, Work, prepare, translated
from itipd.store.values import StoreError

T = TypeVar("T")

CONNECTIONS = 10
IDLE_MS = 20_000
"""A node that has stopped in the middle of a transaction holds its locks for so long; then the server ends it."""

LOCK_MS = 10_000
"""Nobody waits longer than this for what another holds: then it is 451, and the relay comes again."""

NETWORK = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""A server that has gone without a word is noticed within half a minute; the words are libpq's."""

_OPENING = 0x6974_6970  # the advisory lock under which a database is migrated


class Postgres:
    """A server."""

    def __init__(self, url: str, parsed: URL) -> None:
        self.url = url
        self._engine = create_async_engine(
            parsed.set(drivername="postgresql+psycopg"),
            pool_size=CONNECTIONS,
            pool_pre_ping=True,
            connect_args=network(parsed),
        )
        event.listen(self._engine.sync_engine, "connect", _limit_waiting)

    @classmethod
    async def open(cls, url: str, parsed: URL) -> Postgres:
        """The database itself must exist."""
        try:
            self = cls(url, parsed)
        except ImportError:
            raise StoreError("PostgreSQL needs its driver: pip install 'itipd[postgres]'") from None

        def step(connection: Connection) -> None:
            connection.exec_driver_sql("SET LOCAL lock_timeout = 0")  # a migration may take its time
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_OPENING})")
            prepare(connection)

        try:
            async with self.writing() as transaction:
                await transaction.commit(step)
        except BaseException:
            await self.close()
            raise
        return self

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Transaction]:
        """A connection of its own for each."""
        with translated():
            async with self._engine.connect() as connection:
                # Said, not left to the first statement: what the driver runs itself begins nothing for SQLAlchemy.
                await connection.begin()
                yield _Transaction(connection)

    async def whole(self, work: Callable[[Transaction], Coroutine[Any, Any, T]]) -> T:
        """On the event loop: the waiting is for the server."""
        async with self.writing() as transaction:
            return await work(transaction)

    async def read(self, work: Work[T]) -> T:
        """REPEATABLE READ, READ ONLY."""
        async with self.snapshot() as connection:
            return await connection.run_sync(work)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """REPEATABLE READ, READ ONLY."""
        with translated():
            async with self._engine.connect() as connection:
                await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
                yield connection

    def space(self) -> None:
        """The server's disk is its own."""

    async def tidy(self) -> None:
        """The server does that itself."""

    async def close(self) -> None:
        """Those in use are closed when they are given back."""
        await self._engine.dispose()


class _Transaction:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def run(self, work: Work[T]) -> T:
        return await self._connection.run_sync(work)

    async def commit(self, work: Work[T]) -> T:
        found = await self._connection.run_sync(work)
        await self._connection.commit()
        return found

    async def outside(self, work: Awaitable[T]) -> T:
        return await work


def network(parsed: URL) -> dict[str, int]:
    """What of `NETWORK` the URL does not say itself."""
    return {name: value for name, value in NETWORK.items() if name not in parsed.query}


def _limit_waiting(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"SET idle_in_transaction_session_timeout = {IDLE_MS}; SET lock_timeout = {LOCK_MS}")
    cursor.close()
    connection.commit()
