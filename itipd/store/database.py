"""The database itself: its address, its connections, its transactions, its migrations.

SQLite: WAL, synchronous=FULL. Reading goes through aiosqlite. The one writer, BEGIN IMMEDIATE, runs on SQLAlchemy's
sqlite3 driver in a thread of ours: aiosqlite changes threads for every execute, fetch and close, and a batch has a
dozen of those. PostgreSQL: psycopg under asyncio. In all a step of work is a plain function that takes a Connection.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from sqlite3 import OperationalError
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, create_engine, event, insert, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from itipd.store import migrations
from itipd.store.schema import settings
from itipd.store.values import Conflict, StoreError

T = TypeVar("T")
Work = Callable[[Connection], T]

BUSY_SECONDS = 10
CHECKPOINT_PAGES = 20_000  # 1,000, the default, makes p99 of random replies ten times as long (speed.md)
READERS = 2
CONNECTIONS = 10
_AGAIN = frozenset({"40001", "40P01", "55P03", "57014"})  # serialization, deadlock, lock or statement timeout
_OPENING = 0x6974_6970  # the advisory lock under which a PostgreSQL database is migrated


class Transaction(Protocol):
    """One write transaction: steps of work, the last of which commits."""

    async def run(self, work: Work[T]) -> T:
        """A step."""
        ...

    async def commit(self, work: Work[T]) -> T:
        """The last step, and the commit."""
        ...


class Database(Protocol):
    """What the two engines have in common."""

    url: str

    def writing(self) -> AbstractAsyncContextManager[Transaction]:
        """An async context manager of a Transaction; rolls back unless it was committed."""
        ...

    async def read(self, work: Work[T]) -> T:
        """Runs `work` in a transaction that sees one state and writes nothing."""
        ...

    async def close(self) -> None:
        """Closes all connections and ends all threads."""
        ...


async def connect(url: str) -> Database:
    """The database at `url`, migrated. Raises StoreError with what is wrong and what to do."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StoreError(
            f"database {url!r} is no URL: sqlite:///FILE or postgresql://USER@HOST/NAME expected"
        ) from None
    kind = parsed.get_backend_name()
    if kind == "sqlite":
        return await Sqlite.open(url, parsed)
    if kind in ("postgresql", "postgres"):
        return await Postgres.open(url, parsed)
    raise StoreError(
        f"database {url!r}: {kind} is not supported: sqlite:///FILE or postgresql://USER@HOST/NAME expected"
    )


def prepare(connection: Connection) -> None:
    """Brings the tables to the newest version and makes the secret, in the transaction of the caller."""
    migrations.upgrade(connection)
    if connection.scalar(select(settings.c.value).where(settings.c.name == "secret")) is None:
        connection.execute(insert(settings), {"name": "secret", "value": secrets.token_bytes(32)})


class Sqlite:
    """A file. All writes pass through one thread, so that a rollback comes before the next transaction."""

    def __init__(self, url: str, path: str) -> None:
        self.url = url
        self._path = path
        self._engine = create_engine(
            URL.create("sqlite", database=path),
            connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False, "isolation_level": None},
        )
        event.listen(self._engine, "connect", _pragmas)
        event.listen(self._engine, "begin", _begin_immediate)
        self._one = asyncio.Lock()
        self._closed = False
        self._writer = ThreadPoolExecutor(1, "itipd-store-writer")
        self._reading = create_async_engine(
            URL.create("sqlite+aiosqlite", database=path),
            connect_args={"timeout": BUSY_SECONDS, "isolation_level": None},
            pool_size=READERS,
            max_overflow=0,
        )
        event.listen(self._reading.sync_engine, "connect", _query_only)
        event.listen(self._reading.sync_engine, "begin", _begin)

    @classmethod
    async def open(cls, url: str, parsed: URL) -> Sqlite:
        """Makes the file if need be."""
        path = parsed.database
        if not path or path == ":memory:":
            raise StoreError(f"database {url!r} names no file: sqlite:///FILE expected")
        if not _folder_exists(path):
            raise StoreError(f"database {url!r}: the folder {Path(path).parent} does not exist; make it first")
        self = cls(url, path)
        try:
            async with self.writing() as transaction:
                await transaction.commit(prepare)
        except BaseException:
            await self.close()
            raise
        return self

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Transaction]:
        """BEGIN IMMEDIATE at the first step; waits for the writer of this process, then for those of others."""
        async with self._one:
            transaction = _SqliteTransaction(self._engine.connect, self._writer)
            try:
                yield transaction
            finally:
                if not transaction.committed:
                    # Into the writer's queue at once, so before the next transaction, also when we are cancelled.
                    done = self._writer.submit(transaction.close)
                    await asyncio.shield(asyncio.wrap_future(done))

    async def read(self, work: Work[T]) -> T:
        with _translated():
            async with self._reading.connect() as connection:
                return await connection.run_sync(work)

    async def close(self) -> None:
        async with self._one:
            if self._closed:
                return
            self._closed = True
            await self._reading.dispose()
            await asyncio.get_running_loop().run_in_executor(self._writer, self._engine.dispose)
            self._writer.shutdown()


def _folder_exists(path: str) -> bool:
    return Path(path).absolute().parent.is_dir()


class _SqliteTransaction:
    def __init__(self, connect: Callable[[], Connection], writer: ThreadPoolExecutor) -> None:
        self._connect = connect
        self._writer = writer
        self._connection: Connection | None = None
        self.committed = False

    async def run(self, work: Work[T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writer, self._step, work, False)

    async def commit(self, work: Work[T]) -> T:
        found = await asyncio.get_running_loop().run_in_executor(self._writer, self._step, work, True)
        self.committed = True
        return found

    def _step(self, work: Work[T], last: bool) -> T:
        with _translated():
            if self._connection is None:
                self._connection = self._connect()
            try:
                if not self._connection.in_transaction():
                    self._connection.begin()
                found = work(self._connection)
                if last:
                    self._connection.commit()
                    self.close()
            except DBAPIError:
                # After a failed write or fsync nothing of this connection is believed any more.
                self._connection.invalidate()
                raise
            return found

    def close(self) -> None:
        """Rolls back what was not committed; in the writer's thread only."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class Postgres:
    """A server, psycopg under asyncio."""

    def __init__(self, url: str, parsed: URL) -> None:
        self.url = url
        # In UTC: the driver fails on a year 9999 that another session zone pushes over the edge.
        self._engine = create_async_engine(
            parsed.set(drivername="postgresql+psycopg"),
            connect_args={"options": "-c timezone=UTC"},
            pool_size=CONNECTIONS,
            pool_pre_ping=True,
        )

    @classmethod
    async def open(cls, url: str, parsed: URL) -> Postgres:
        """The database itself must exist."""
        try:
            self = cls(url, parsed)
        except ImportError:
            raise StoreError("PostgreSQL needs its driver: pip install 'itipd[postgres]'") from None

        def step(connection: Connection) -> None:
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
        """READ COMMITTED; what is decided on is locked by the steps themselves."""
        with _translated():
            async with self._engine.connect() as connection:
                yield _PostgresTransaction(connection)

    async def read(self, work: Work[T]) -> T:
        with _translated():
            async with self._engine.connect() as connection:
                await connection.execution_options(isolation_level="REPEATABLE READ")
                return await connection.run_sync(work)

    async def close(self) -> None:
        await self._engine.dispose()


class _PostgresTransaction:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def run(self, work: Work[T]) -> T:
        return await self._connection.run_sync(work)

    async def commit(self, work: Work[T]) -> T:
        found = await self._connection.run_sync(work)
        await self._connection.commit()
        return found


@contextmanager
def _translated() -> Any:
    """The driver's errors as ours: Conflict where another try can help, else StoreError."""
    try:
        yield
    except IntegrityError as error:
        raise Conflict(f"another process wrote the same rows: {error.orig}") from error
    except DBAPIError as error:
        text = f"{error.orig}"
        if getattr(error.orig, "sqlstate", None) in _AGAIN or "database is locked" in text:
            raise Conflict(f"the database is in use: {text}") from error
        raise StoreError(f"the database failed: {text}") from error


def _pragmas(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for wait in range(BUSY_SECONDS * 20):
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            break
        except OperationalError:
            # Two processes make the same file: SQLite does not wait here by itself.
            if wait == BUSY_SECONDS * 20 - 1:
                raise
            time.sleep(0.05)
    for pragma in (
        "synchronous = FULL",
        "foreign_keys = ON",
        f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
        "cache_size = -65536",
        "temp_store = MEMORY",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _query_only(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA query_only = ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_immediate(connection: Connection) -> None:
    # The driver begins by itself only at the first write, which is too late: two would decide on one state.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
