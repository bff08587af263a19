"""The ways out for composed mail: a few kept connections to the relay (RFC 5321), or a folder of .eml files.

Duty: one envelope in, one verdict out. It must never decide when to try again (the outbox does), and never give a
connection that is in the middle of something to another mail.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections import deque
from pathlib import Path
from typing import Protocol

from itipd.config import Relay
from itipd.relay_session import Envelope, RelayError, Session, Verdict, connect, leave, tls_context, transaction

CONNECTIONS = 4
"""So many connections to the relay at most."""

AT_ONCE = 3 * CONNECTIONS
"""So many mails keep them busy: one is being taken, one follows in the same connection, one waits to do so."""

IDLE = 30.0
"""A connection that nobody needed for so many seconds is closed."""

TIMEOUT = 30.0
"""Seconds for a connection and for each command."""

DATA_TIMEOUT = 300.0
"""Seconds for the reply to the mail itself: a relay may scan it first (RFC 5321 §4.5.3.2.6 asks for 600)."""


class Way(Protocol):
    """A way out. `deliver` raises RelayError and nothing else that it can foresee."""

    async def deliver(self, envelope: Envelope) -> Verdict: ...

    async def tidy(self) -> None:
        """Give up what has been idle for long."""

    async def close(self) -> None: ...


def way(config: Relay) -> Way | None:
    """The configured way out; None: none is configured, nothing leaves."""
    if config.directory is not None:
        return Folder(config.directory)
    return Smtp(config) if config.host is not None else None


class Folder:
    """Writes each mail as `NAME.eml`; a retry replaces the file with the same bytes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    async def deliver(self, envelope: Envelope) -> Verdict:
        try:
            await asyncio.to_thread(write, self.directory, f"{envelope.name}.eml", envelope.raw)
        except OSError as error:
            raise RelayError(f"relay.directory {self.directory}: {error.strerror or error}") from error
        return Verdict("sent", None, "written")

    async def tidy(self) -> None: ...

    async def close(self) -> None: ...


def write(directory: Path, name: str, raw: bytes) -> None:
    """`raw` as the file `name`, whole or not at all, on the disk when this returns. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    part = directory / f".{name}.{os.getpid()}.part"
    try:
        with part.open("wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        part.replace(directory / name)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    folder = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name itself
    finally:
        os.close(folder)


class Smtp:
    """A few kept connections to one relay. Safe for as many tasks at once as there are."""

    def __init__(self, config: Relay, *, timeout: float = TIMEOUT, data_timeout: float = DATA_TIMEOUT) -> None:
        self.config = config
        self.timeout = timeout
        self.data_timeout = data_timeout
        self._idle: list[tuple[Session, float]] = []  # the last used last, with the time of its last use
        self._used: list[Session] = []  # those that carry mails at this moment
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._connecting = asyncio.Lock()
        self._failed_at, self._failure = -1.0, ""  # the last connection that was not made
        self._context: ssl.SSLContext | None = None

    async def deliver(self, envelope: Envelope) -> Verdict:
        """One transaction. A kept connection that the relay has closed meanwhile costs nothing: a new one is made."""
        while True:
            client, kept = await self._take()
            try:
                verdict = await transaction(client, envelope, kept, self.data_timeout)
            except BaseException:
                client.close()  # in the middle of a transaction: nobody else may use it
                raise
            finally:
                self._release(client)
            if verdict is not None:
                return verdict

    async def probe(self) -> None:
        """Connect as for a mail (EHLO, STARTTLS, AUTH), and say goodbye. Raises RelayError."""
        await leave(await self._connect())

    async def tidy(self) -> None:
        """Close what has been idle for `IDLE` seconds."""
        now = asyncio.get_running_loop().time()
        old = [client for client, used in self._idle if now - used >= IDLE]
        self._idle = [(client, used) for client, used in self._idle if now - used < IDLE]
        await asyncio.gather(*map(leave, old))

    async def close(self) -> None:
        """Say goodbye on all connections that are not in use."""
        idle, self._idle = self._idle, []
        await asyncio.gather(*(leave(client) for client, _ in idle))

    async def _take(self) -> tuple[Session, bool]:
        """A connection, and whether it was used before. Raises RelayError."""
        clock = time.monotonic  # uvloop's own stands still within a millisecond
        asked = clock()
        while True:
            while self._idle:
                client, _ = self._idle.pop()
                if client.is_connected:
                    return self._use(client), True
            if len(self._used) < CONNECTIONS:
                # One at a time: who waited for a connection that failed has the same answer, and does not ask again.
                async with self._connecting:
                    if self._idle or len(self._used) >= CONNECTIONS:
                        continue
                    if self._failed_at < asked:
                        try:
                            return self._use(await self._connect()), False
                        except RelayError as error:
                            self._failed_at, self._failure = clock(), str(error)
                    if not self._used:
                        self._wake(len(self._waiting))
                        raise RelayError(self._failure)
            for client in self._used:
                if client.pipe is not None and client.pipe.room:
                    return self._use(client), True
            # Some relays allow few connections at a time: then this mail waits for one that is in use.
            await self._released()
            asked = clock()

    async def _released(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                self._wake()  # what it was woken for is another's
            raise

    def _wake(self, count: int = 1) -> None:
        """The longest waiting ones look again."""
        while count and self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                count -= 1

    def _room(self) -> None:
        if len(self._used) >= CONNECTIONS:  # else the next one has a connection to itself
            self._wake()

    async def _connect(self) -> Session:
        if self._context is None:
            self._context = await tls_context(self.config)
        session = await connect(self.config, self._context, self.timeout)
        if session.pipe is not None:
            session.pipe.on_room = self._room
        return session

    def _use(self, client: Session) -> Session:
        if not client.mails:
            self._used.append(client)
        client.mails += 1
        return client

    def _release(self, client: Session) -> None:
        client.mails -= 1
        if not client.mails:
            self._used.remove(client)
            if client.is_connected:
                self._idle.append((client, asyncio.get_running_loop().time()))
        self._wake()
