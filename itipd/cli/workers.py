"""`itipd serve --workers N`: several whole daemons on one database and the same ports, and this process to watch them.

It opens the sockets, starts the daemons by fork, says `ready` once, hands signals on, and starts anew who has died:
meanwhile the kernel keeps the dead one's connections, because its sockets are open here, too. It must never touch the
database nor take a connection.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from itipd.cli.base import BAD_CONFIG, TRY_AGAIN, Failure

if TYPE_CHECKING:
    from itipd.config import Config
    from itipd.listening import UnixSocket

SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGCHLD})
DOORS = ("smtp", "lmtp", "submission", "http")
AGAIN = 0.1  # seconds until a daemon that has died is started anew; twice as many each time it dies at once
LONGEST = 5.0
STEADY = 10.0  # seconds after which a daemon has not died at once

Sockets = dict[str, socket.socket]
"""Door -> where it listens."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one daemon has of the whole: its sockets, where it says that it is ready, what ends with the watcher."""

    sockets: Sockets
    says: int
    ends: int

    def ready(self, line: str) -> None:
        """Tells the watcher the line that it prints."""
        with suppress(BrokenPipeError):  # it has said so already, and this one was started anew
            os.write(self.says, line.encode() + b"\n")
        os.close(self.says)


@dataclass(slots=True)
class _Worker:
    sockets: Sockets
    pid: int = 0
    since: float = 0.0
    tries: int = 0  # since it has last run for a while
    due: float | None = None  # when it is started anew


@dataclass(slots=True)
class Watcher:
    """`share()` returns in each daemon what is its own; in the process that watches them it never returns."""

    config: Config
    count: int
    _workers: list[_Worker] = field(default_factory=list)
    _unix: list[UnixSocket] = field(default_factory=list)
    _alive: tuple[int, int] = (-1, -1)  # a pipe that nobody writes to: its end is the end of this process

    def share(self) -> Share:
        """See the class. Raises Failure where a door cannot be opened; ends with SystemExit."""
        self._open()
        self._alive = os.pipe()
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        line = ""
        for worker in self._workers:  # one by one: the first may have to bring the database up to date
            started = self._start(worker)
            if isinstance(started, Share):
                return started
            line = self._ready(worker, started)
            if not line:
                sys.exit(self._stop(self._status(worker)))
        click.echo(line)
        sys.stdout.flush()
        while (found := self._watch()) is None:
            pass
        if isinstance(found, Share):
            return found
        sys.exit(self._stop(0))

    def _open(self) -> None:
        from itipd.listening import BACKLOG, shared_ports, unix_socket

        self._workers = [_Worker({}) for _ in range(self.count)]
        for kind in DOORS:
            place = getattr(self.config, kind).listen
            if place is None:
                continue
            try:
                if place.path is not None:
                    self._unix.append(unix_socket(place.path))
                    self._unix[-1].sock.listen(BACKLOG)
                    sockets = [self._unix[-1].sock] * self.count
                else:
                    sockets = shared_ports(place.host, place.port, self.count)
            except OSError as error:
                raise cannot_listen(kind, place, error) from None
            for worker, sock in zip(self._workers, sockets, strict=True):
                worker.sockets[kind] = sock

    def _start(self, worker: _Worker) -> Share | int:
        """Forks: in the daemon its share, here the pipe on which it says that it is ready."""
        hears, says = os.pipe()
        worker.since, worker.due = time.monotonic(), None
        worker.pid = os.fork()
        if worker.pid:
            os.close(says)
            return hears
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        os.close(hears)
        os.close(self._alive[1])
        mine = set(worker.sockets.values())
        for sock in {sock for other in self._workers for sock in other.sockets.values()} - mine:
            sock.close()
        return Share(worker.sockets, says, self._alive[0])

    def _ready(self, worker: _Worker, hears: int) -> str:
        """The line that says what listens; "" where the daemon has ended before or we are to end."""
        with os.fdopen(hears) as pipe:
            while not select.select([pipe], [], [], 0.1)[0]:
                if self._ending():
                    return ""
            return pipe.readline().strip()

    def _watch(self) -> Share | int | None:
        """Waits for a signal: a Share in a daemon that was started anew, the number of a signal that ends all."""
        now = time.monotonic()
        due = min((worker.due for worker in self._workers if worker.due is not None), default=None)
        found = signal.sigtimedwait(SIGNALS, 3600.0 if due is None else max(due - now, 0.0))
        if found is not None and found.si_signo != signal.SIGCHLD:
            return found.si_signo
        self._bury()
        for worker in self._workers:
            if worker.due is not None and worker.due <= time.monotonic():
                started = self._start(worker)
                if isinstance(started, Share):
                    return started
                os.close(started)  # whether it has come up shows in whether it stays
        return None

    def _bury(self) -> None:
        from itipd.log import log

        for worker in self._workers:
            if not worker.pid or worker.due is not None:
                continue
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid:
                now = time.monotonic()
                worker.tries = 0 if now - worker.since > STEADY else worker.tries + 1
                worker.due = now + min(AGAIN * 2**worker.tries, LONGEST)
                worker.pid = 0
                log.error("worker_ended", status=os.waitstatus_to_exitcode(status), again=round(worker.due - now, 1))

    def _ending(self) -> bool:
        return bool(signal.sigpending() & {signal.SIGTERM, signal.SIGINT})

    def _status(self, worker: _Worker) -> int:
        """With which exit code a daemon ended; 0 where it runs and somebody wants the end."""
        pid, status = os.waitpid(worker.pid, os.WNOHANG if self._ending() else 0)
        if not pid:
            return 0
        worker.pid = 0
        return abs(os.waitstatus_to_exitcode(status))

    def _stop(self, code: int) -> int:
        """Ends all daemons; they drain, and what does not end in time is killed."""
        for worker in self._workers:
            for sock in worker.sockets.values():  # nobody shall wait for an answer that nobody gives
                sock.close()
            if worker.pid:
                os.kill(worker.pid, signal.SIGTERM)
        deadline = time.monotonic() + self.config.drain_timeout + 1.0
        while running := [worker for worker in self._workers if worker.pid]:
            late = time.monotonic() > deadline
            for worker in running:
                if late:
                    os.kill(worker.pid, signal.SIGKILL)
                if os.waitpid(worker.pid, 0 if late else os.WNOHANG)[0]:
                    worker.pid = 0
            with suppress(InterruptedError):
                signal.sigtimedwait({signal.SIGCHLD}, 0.05)
        for unix in self._unix:
            unix.remove()
        return code


def cannot_listen(kind: str, place: object, error: OSError) -> Failure:
    """The Failure that says where nobody can listen."""
    busy = error.errno == errno.EADDRINUSE
    found = "in use" if busy else f"unusable ({error.strerror or error})"
    words = f"{kind}: found {place} {found}, expected it free; choose another with --{kind}"
    return Failure(f"{words} or {kind}.listen", TRY_AGAIN if busy else BAD_CONFIG)
