"""SQLite: a file, one writer with BEGIN IMMEDIATE, WAL, synchronous=FULL.

Reading goes through aiosqlite. The writer runs on SQLAlchemy's sqlite3 driver in a thread of ours: aiosqlite changes
threads for every execute, fetch and close, and a batch has a dozen of those (450 us each, here 40 us).
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, suppress
from typing import Any, TypeVar

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from itipd.store.database import Transaction, Work, prepare, translated
from itipd.store.room import full
from itipd.store.sqlite_connect import BUSY_SECONDS, begin, begin_immediate, make, pragmas, query_only
from itipd.store.values import NoSpaceError, StoreError

T = TypeVar("T")

READERS = 2
_WRITING = (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_TRUNCATE)


class Sqlite:
    """All writes pass through one thread, so that a rollback comes before the next transaction."""

    def __init__(self, url: str, path: str) -> None:
        self.url = url
        self._path = path
        self._engine = create_engine(
            URL.create("sqlite", database=path),
            connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False, "isolation_level": None},
        )
        event.listen(self._engine, "connect", pragmas)
        event.listen(self._engine, "begin", begin_immediate)
        self._kept: Connection | None = None  # the writer's: to take one from the pool costs as much as a reply
        self._one = asyncio.Lock()
        self._closed = False
        self._writer = ThreadPoolExecutor(1, "itipd-store-writer")
        self._reading = create_async_engine(
            URL.create("sqlite+aiosqlite", database=path),
            connect_args={"timeout": BUSY_SECONDS, "isolation_level": None},
            pool_size=READERS,
            max_overflow=0,
        )
        event.listen(self._reading.sync_engine, "connect", query_only)
        event.listen(self._reading.sync_engine, "begin", begin)

    @classmethod
    async def open(cls, url: str, parsed: URL) -> Sqlite:
        """Makes the file if need be."""
        path = parsed.database
        if not path or path == ":memory:":
            raise StoreError(f"database: found {url!r}, expected sqlite:///FILE")
        make(path)
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
            transaction = _Transaction(self._connect, self._writer)
            try:
                yield transaction
            finally:
                if not transaction.committed:
                    # Into the writer's queue at once, so before the next transaction, also when we are cancelled.
                    done = self._writer.submit(transaction.close)
                    await asyncio.shield(asyncio.wrap_future(done))

    async def whole(self, work: Callable[[Transaction], Coroutine[Any, Any, T]]) -> T:
        """In the writer's thread from BEGIN to COMMIT: one change of threads, and none while the file is locked."""
        loop = asyncio.get_running_loop()

        def run() -> T:
            transaction = _Whole(self._connect, self._writer, loop)
            try:
                return driven(work(transaction))
            finally:
                transaction.close()

        async with self._one:
            return await loop.run_in_executor(self._writer, run)

    async def read(self, work: Work[T]) -> T:
        """In one of the readers' connections, which can write nothing."""
        with translated():
            async with self._reading.connect() as connection:
                return await connection.run_sync(work)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """From the first step on; the WAL is kept meanwhile."""
        with translated():
            async with self._reading.connect() as connection:
                yield connection

    def space(self) -> tuple[int, int] | None:
        """Of the file system with the file; a call of a few microseconds."""
        try:
            found = os.statvfs(self._path)
        except OSError:
            return None  # the next write says what is wrong
        return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize

    async def tidy(self) -> None:
        """The WAL holds many versions of a page; into the file goes only the last of each.

        Not where the file could grow by more than is free: that would take the last room there is.
        """
        found = self.space()
        with suppress(FileNotFoundError):
            if found is not None and os.stat(f"{self._path}-wal").st_size >= found[0]:
                raise StoreError("no room for a checkpoint")

        def work() -> None:
            # Not through SQLAlchemy, which would begin a transaction: a checkpoint is made outside of all.
            with closing(self._engine.raw_connection()) as connection:
                connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")

        async with self._one:
            try:
                await asyncio.get_running_loop().run_in_executor(self._writer, work)
            except (sqlite3.Error, DBAPIError) as error:  # there is not even room for that
                raise StoreError(f"checkpoint: {error}") from error

    async def close(self) -> None:
        """Waits for the transaction that is running."""
        async with self._one:
            if self._closed:
                return
            self._closed = True
            await self._reading.dispose()
            await asyncio.get_running_loop().run_in_executor(self._writer, self._disconnect)
            self._writer.shutdown()

    def _connect(self) -> Connection:
        if self._kept is None or self._kept.closed:
            self._kept = self._engine.connect()
        return self._kept

    def _disconnect(self) -> None:
        if self._kept is not None:
            self._kept.close()
        self._engine.dispose()


class _Transaction:
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
        with translated():
            if self._connection is None:
                self._connection = self._connect()
            try:
                if not self._connection.in_transaction():
                    self._connection.begin()
                found = work(self._connection)
                if last:
                    self._connection.commit()
                    self.close()
            except DBAPIError as error:
                # After a failed write or fsync nothing of this connection is believed any more.
                self._connection.invalidate()
                growing = getattr(error.orig, "sqlite_errorcode", 0) in _WRITING
                if growing and full(self._connection.engine.url.database or ""):
                    raise NoSpaceError(f"the disk is full, by a quota or a limit: {error.orig}") from error
                raise
            return found

    async def outside(self, work: Awaitable[T]) -> T:
        return await work

    def close(self) -> None:
        """Rolls back what was not committed; in the writer's thread only."""
        connection, self._connection = self._connection, None
        if connection is not None and (connection.invalidated or connection.in_transaction()):
            connection.close()  # the next transaction takes another one


class _Whole(_Transaction):
    """A transaction that is in the writer's thread already."""

    def __init__(
        self, connect: Callable[[], Connection], writer: ThreadPoolExecutor, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(connect, writer)
        self._loop = loop

    async def run(self, work: Work[T]) -> T:
        return self._step(work, False)

    async def commit(self, work: Work[T]) -> T:
        return self._step(work, True)

    async def outside(self, work: Awaitable[T]) -> T:
        async def wait() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(wait(), self._loop).result()


def driven(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits for the event loop, without one."""
    try:
        work.send(None)
    except StopIteration as end:
        found: T = end.value
        return found
    work.close()
    raise RuntimeError("waited for the event loop inside a transaction: use Batch.outside")
