"""The daemon's end of one reader process: its socket, the mails it was sent, the bytes that come back.

Which mail goes where, and what becomes of one that was not read, is decided in `itipd.readers`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from itipd.mail.reading import Reading
from itipd.reader_frame import LARGE, LENGTH


class ReadersError(RuntimeError):
    """The reader processes are stopped or cannot be started: our fault, not the mail's (SMTP 451)."""


@dataclass(slots=True, eq=False)
class Job:
    """A mail to be read, and who waits for it."""

    raw: bytes
    sender: str
    request: bytes
    future: asyncio.Future[Reading]
    crashes: int = 0


class Link(asyncio.Protocol):
    """One process and its end of the socket. `jobs` are the mails it was sent, oldest first; None: read elsewhere."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        answered: Callable[[Link, bytes | memoryview], None],
        lost: Callable[[Link], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        self.process = process
        self.answered = answered
        self.lost = lost
        self.jobs: deque[Job | None] = deque()
        self.since = 0.0  # when the first of `jobs` began
        self.slow = False  # gets no new mails until it has answered all it has
        self.verdict = ""  # why it was killed
        self.ready: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self.buffer = bytearray()
        self.transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        at = 0
        while len(self.buffer) - at >= LENGTH.size:
            (size,) = LENGTH.unpack_from(self.buffer, at)
            end = at + LENGTH.size + size
            if len(self.buffer) < end:
                break
            content: bytes | memoryview
            if size < LARGE or at or end < len(self.buffer):
                with memoryview(self.buffer) as view:  # a slice of the buffer itself would be one more copy
                    content = bytes(view[at + LENGTH.size : end])
                at = end
            else:  # nothing else is in the buffer: it goes itself
                content = memoryview(self.buffer)[LENGTH.size :]
                self.buffer = bytearray()
            if self.ready.done():
                self.answered(self, content)
            else:
                self.ready.set_result(None)
        del self.buffer[:at]

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set_result(None)
        self.lost(self)

    def give(self, jobs: Sequence[Job], now: float) -> None:
        """Send mails to the process."""
        if not self.jobs:
            self.since = now
        self.jobs.extend(jobs)
        waiting: list[bytes] = []
        for job in jobs:
            waiting.append(job.request)
            if len(job.raw) >= LARGE:  # as it is, behind its request
                self.send(b"".join(waiting))
                self.send(job.raw)
                waiting.clear()
        if waiting:
            self.send(b"".join(waiting))

    def send(self, data: bytes) -> None:
        """Write to the process; nothing waits here, the doors bound what is in flight."""
        if self.transport is not None:
            self.transport.write(data)

    def take_back(self) -> list[Job]:
        """The mails behind the first, to be read elsewhere; the process's answers to them will not count."""
        kept = [job for job in list(self.jobs)[1:] if job is not None]
        self.jobs = deque([self.jobs[0], *([None] * (len(self.jobs) - 1))])
        return kept


def popen(command: Sequence[str], door: socket.socket) -> subprocess.Popen[bytes]:
    """Start a reader process whose standard input is `door`."""
    # The same modules as here, whatever folder the daemon was started in: a calendar.py there is none of ours.
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return subprocess.Popen(  # noqa: S603 - our own interpreter
        command, stdin=door.fileno(), stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": path}
    )
