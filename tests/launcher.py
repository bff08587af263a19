"""Starts `itipd` in processes of its own without the second of imports: one process has imported all, and forks.

What it forks goes on as `itipd` itself does: its own words, folder, environment and files, and an end like any program.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

_MODULES = (
    *("checks", "db", "forget", "held", "mail", "meeting", "outbox", "proposal", "runtime", "serve"),
    *("times", "transcripts", "workers"),
)
_MORE = (
    *("itipd.inbox", "itipd.memory", "itipd.outbox", "itipd.scheduler", "itipd.smtp", "itipd.rebuild", "itipd.web.app"),
    *("itipd.web.ready", "alembic.command", "sqlalchemy.dialects.sqlite.aiosqlite", "uvloop", "psycopg"),
    "sqlalchemy.dialects.postgresql.psycopg",
)


class Process:
    """What was started; as much of subprocess.Popen as is needed here."""

    def __init__(self, pid: int, end: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._end = end

    def poll(self) -> int | None:
        """The exit code, minus the signal that ended it; None while it runs."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("itipd", timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._end], [], [], timeout)[0]:
            said = os.read(self._end, 16)
            os.close(self._end)
            self.returncode = int(said) if said else -signal.SIGKILL  # the launcher itself has gone
        return self.returncode


class Launcher:
    """The process that forks; one for each process of the tests. Safe for several threads."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair()
        self._lock = threading.Lock()
        self._pid = os.getpid()
        with theirs:
            words = [sys.executable, "-m", "tests.launcher", str(theirs.fileno())]
            root = Path(__file__).parent.parent
            self._process = subprocess.Popen(words, pass_fds=[theirs.fileno()], cwd=root, stdin=subprocess.DEVNULL)
        atexit.register(self._close)

    def _close(self) -> None:
        self._ours.close()
        if os.getpid() == self._pid:
            self._process.wait()

    def start(self, words: Sequence[str], folder: Path, stdin: int, stdout: int, stderr: int) -> Process:
        """`itipd WORDS` with these files, in this folder, and this process's environment."""
        asked = json.dumps({"words": list(words), "folder": str(folder), "environment": dict(os.environ)}).encode()
        end, told = os.pipe()
        try:
            with self._lock:
                head = len(asked).to_bytes(4, "big")
                socket.send_fds(self._ours, [head], [stdin, stdout, stderr, told])
                self._ours.sendall(asked)
                pid = int.from_bytes(_exactly(self._ours, 4), "big")
        finally:
            os.close(told)
        return Process(pid, end)


_launcher: list[Launcher] = []
_making = threading.Lock()


def launcher() -> Launcher:
    """The one of this process."""
    with _making:
        if not _launcher or _launcher[0]._pid != os.getpid():
            _launcher[:] = [Launcher()]
        return _launcher[0]


def _exactly(stream: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        octets = stream.recv(size - len(found))
        if not octets:
            raise EOFError
        found += octets
    return found


def _ended(running: dict[int, int]) -> None:
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            end = running.pop(found[0])
            with suppress(BrokenPipeError):
                os.write(end, str(os.waitstatus_to_exitcode(found[1])).encode())
            os.close(end)


def _serve(stream: socket.socket) -> dict[str, Any] | None:
    """Forks for whoever asks, until nobody can ask any more; in each child: what it is to be."""
    running: dict[int, int] = {}
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    old = signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    while True:
        ready = select.select([stream.fileno(), awake], [], [])[0]
        if awake in ready:
            os.read(awake, 4096)
            _ended(running)
        if stream.fileno() not in ready:
            continue
        head, files, _, _ = socket.recv_fds(stream, 4, 4)
        if not head:
            return None
        head += _exactly(stream, 4 - len(head))
        asked: dict[str, Any] = json.loads(_exactly(stream, int.from_bytes(head, "big")))
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, old)
            stream.close()
            for number, file in enumerate(files[:3]):
                os.dup2(file, number)
            for file in (*files, *running.values(), awake, wake):
                os.close(file)
            return asked
        running[pid] = files[3]
        for file in files[:3]:
            os.close(file)
        stream.sendall(pid.to_bytes(4, "big"))


def _become(asked: Mapping[str, Any]) -> None:
    os.environ.clear()
    os.environ.update(asked["environment"])
    time.tzset()
    os.chdir(asked["folder"])
    # Made anew: the old ones know what kind of files there were before.
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    sys.argv = ["itipd", *asked["words"]]


def main() -> None:
    """The launcher's own process, and all that it has become."""
    import importlib

    for name in (*(f"itipd.cli.{name}" for name in _MODULES), *_MORE):
        with suppress(ImportError):  # what an extra would have brought
            importlib.import_module(name)
    from itipd.cli.main import main as itipd

    gc.collect()
    gc.freeze()  # or each child would copy all of it, at its end at the latest: half a second
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: it ends with the tests
    with socket.socket(fileno=int(sys.argv[1])) as stream:
        asked = _serve(stream)
    if asked is not None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _become(asked)
        itipd()


if __name__ == "__main__":
    main()
