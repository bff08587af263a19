"""Calendars on their way to the inbox; a large file is read in a process of its own, ahead of what is committed.

To read a meeting takes nearly as long as to register it, and an interpreter does one thing at a time. What the process
has read waits in its socket, so memory does not grow with the file. It decides nothing and knows no database; `main`
is started by `puts` and by nobody else.
"""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

from itipd.calfile import stream
from itipd.itip import rrule
from itipd.orders import Put, pack
from itipd.reader_frame import LENGTH, framed
from itipd.reader_link import popen

COMMAND = (sys.executable, "-P", "-m", "itipd.ahead")
LARGE = 1 << 20  # bytes from which on a process is worth its start, a third of a second
WINDOW = 64  # meetings that come together
HEAVY = 1 << 20  # characters after which a window is full
AHEAD = 1 << 20  # bytes that are read ahead here; twice as many at most
SELDOM = (20_000, 50, 50)  # `gc.set_threshold`: to look for garbage in all that is under way took a fifth of the time


class CutShortError(RuntimeError):
    """The process ended before the file did."""


def puts(file: Path, notify: str, recorded: bool, steps: int) -> AsyncGenerator[list[Put], None]:
    """A Put for every UID in the file, in its order, some at a time. `steps`: what a rule may cost (`rrule.EFFORT`).

    Raises what `calfile.stream` raises, and CutShortError.
    """
    large = file.stat().st_size >= LARGE
    return _elsewhere(file, notify, recorded, steps) if large else _here(file, notify, recorded)


async def _here(file: Path, notify: str, recorded: bool) -> AsyncGenerator[list[Put], None]:
    for window in _windows(file, notify, recorded):
        yield window


async def _elsewhere(file: Path, notify: str, recorded: bool, steps: int) -> AsyncGenerator[list[Put], None]:
    ours, theirs = socket.socketpair()
    command = (*COMMAND, os.fspath(file), notify, "recorded" if recorded else "", str(steps))
    # Ctrl-C is for this process, which takes the other one with it; that keeps the mask from its first moment on.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        with theirs:
            process = popen(command, theirs)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    thresholds = gc.get_threshold()
    try:
        gc.set_threshold(*SELDOM)
        reader, writer = await asyncio.open_connection(sock=ours, limit=AHEAD)
        try:
            while window := await _next(reader):
                yield window
        finally:
            writer.close()
    finally:
        process.kill()
        process.wait()
        gc.set_threshold(*thresholds)


async def _next(reader: asyncio.StreamReader) -> list[Put]:
    try:
        (size,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
        content = await reader.readexactly(size)
    except (asyncio.IncompleteReadError, ConnectionError):
        raise CutShortError("the process that reads the calendars has ended before their end") from None
    found = pickle.loads(content)  # noqa: S301 - our own process wrote it
    if isinstance(found, Exception):
        raise found
    window: list[Put] = found
    return window


def _windows(file: Path, notify: str, recorded: bool) -> Iterator[list[Put]]:
    window: list[Put] = []
    size = 0
    for incoming in stream(file):
        window.append(Put(incoming, notify, recorded))
        size += len(incoming.text)
        if len(window) >= WINDOW or size >= HEAVY:
            yield window
            window, size = [], 0
    if window:
        yield window


def main() -> None:
    """Read a file for the parent at the other end of standard input."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # nobody reads any more: the parent is gone
    file, notify, recorded, steps = sys.argv[1:]
    rrule.EFFORT.set(int(steps))
    gc.set_threshold(*SELDOM)
    with os.fdopen(os.dup(0), "wb") as door:
        try:
            for window in _windows(Path(file), notify, bool(recorded)):
                packed = [Put(one.incoming, one.notify, one.recorded, pack(one)) for one in window]
                door.write(framed(pickle.dumps(packed, pickle.HIGHEST_PROTOCOL)))
            door.write(framed(pickle.dumps([])))
        except OSError as error:
            door.write(framed(pickle.dumps(error)))


if __name__ == "__main__":
    main()
