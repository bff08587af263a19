"""Faults on purpose: the Nth thing that this process asks of its database fails, or is the last it ever asks.

Injected below SQLAlchemy, at the drivers, so that everything above them is the real thing. Only the tests load it.
"""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar
from unittest.mock import patch

T = TypeVar("T")

Kind = Literal["fails", "full", "lost", "dies"]
"""What happens: an error; a full disk; done, but the connection breaks before the answer; kill -9 before it is done."""


@dataclass
class Fault:
    """The `number`th statement or commit, counted from 1; with `commits` only these count. `hit`: it has happened."""

    kind: Kind
    number: int
    commits: bool = False
    count: int = 0

    @property
    def hit(self) -> bool:
        return self.count >= self.number

    def now(self, *, commit: bool) -> bool:
        """Counts one step; whether it is the one."""
        if self.commits and not commit:
            return False
        self.count += 1
        if self.count == self.number and self.kind == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        return self.count == self.number


@contextmanager
def injected(fault: Fault) -> Iterator[Fault]:
    """The fault waits for its turn in all connections that are made meanwhile."""
    with _sqlite(fault), _postgres(fault):
        yield fault


@contextmanager
def _sqlite(fault: Fault) -> Iterator[None]:
    def step(work: Callable[[], T], *, commit: bool = False) -> T:
        if not fault.now(commit=commit):
            return work()
        if fault.kind == "lost":
            work()
        error = sqlite3.OperationalError("database or disk is full" if fault.kind == "full" else "disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL if fault.kind == "full" else sqlite3.SQLITE_IOERR
        raise error

    class Cursor(sqlite3.Cursor):
        def execute(self, *given: Any) -> Any:
            return step(lambda: super(Cursor, self).execute(*given))

        def executemany(self, *given: Any) -> Any:
            return step(lambda: super(Cursor, self).executemany(*given))

    class Connection(sqlite3.Connection):
        def cursor(self, factory: Any = Cursor) -> Any:
            return super().cursor(factory)

        def commit(self) -> None:
            step(super().commit, commit=True)

    connect = sqlite3.connect

    def connected(*given: Any, **named: Any) -> sqlite3.Connection:
        made: sqlite3.Connection = connect(*given, **{"factory": Connection, **named})
        return made

    # aiosqlite knows one name of the function, SQLAlchemy the other.
    with patch("sqlite3.connect", connected), patch("sqlite3.dbapi2.connect", connected):
        yield


@contextmanager
def _postgres(fault: Fault) -> Iterator[None]:
    import psycopg

    def wrapped(name: str, kind: Any, *, commit: bool = False) -> Any:
        original: Callable[..., Awaitable[Any]] = getattr(kind, name)

        async def step(self: Any, *given: Any, **named: Any) -> Any:
            if not fault.now(commit=commit):
                return await original(self, *given, **named)
            if fault.kind == "lost":
                await original(self, *given, **named)
                await (self if commit else self.connection).close()
                raise psycopg.OperationalError("server closed the connection unexpectedly")
            raise psycopg.errors.DiskFull("no space") if fault.kind == "full" else psycopg.errors.IoError("broken")

        return patch.object(kind, name, step)

    with (
        wrapped("execute", psycopg.AsyncCursor),
        wrapped("executemany", psycopg.AsyncCursor),
        wrapped("commit", psycopg.AsyncConnection, commit=True),
    ):
        yield
