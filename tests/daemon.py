"""A real `itipd serve` in a process of its own, for tests that look from outside.

It is forked from a process that has imported everything (`launcher`); `alone` starts Python anew, as people do.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from tests.launcher import Process, launcher

PATIENCE = 120.0  # a test fails when it is over; the machine may be busy with others
DEFAULT = '[log]\nlevel = "warning"\n[readers]\ncount = 1\n'
COMMAND = (sys.executable, "-m", "itipd.cli.main")


class Daemon:
    """One running daemon. `smtp`, `lmtp`, `submission`, `http` are (host, port) of its doors, or the text they are."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        config: str = "",
        database: str | None = None,
        under: Sequence[str] = (),
        alone: bool = False,
    ) -> None:
        """`under`: the words of another program that runs it, which is always `alone`."""
        self.folder = folder
        self.file = folder / "itipd.toml"
        self.file.write_text(config or DEFAULT, encoding="utf-8")
        self.extra = ("--database", database) if database else ()
        doors = ("--smtp", "127.0.0.1:0", "--lmtp", "127.0.0.1:0", "--submission", "127.0.0.1:0", "--http", "-")
        words = ["-c", str(self.file), *self.extra, "serve", *doors, *options]
        self.log = (folder / "daemon.log").open("ab")
        read, write = os.pipe()
        self.said = os.fdopen(read, encoding="utf-8")
        self.process: subprocess.Popen[bytes] | Process
        if under or alone:
            self.process = subprocess.Popen([*under, *COMMAND, *words], stdout=write, stderr=self.log, cwd=folder)
        else:
            with Path(os.devnull).open("rb") as nothing:
                self.process = launcher().start(words, folder, nothing.fileno(), write, self.log.fileno())
        os.close(write)
        self.ready = self.said.readline()
        found = dict(re.findall(r"(\w+)=(\S+)", self.ready))
        self.places: dict[str, str] = found
        assert self.ready.startswith("ready "), (folder / "daemon.log").read_text()

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()

    def address(self, door: str) -> tuple[str, int]:
        host, _, port = self.places[door].rpartition(":")
        return host, int(port)

    def itipd(self, *words: str, check: bool = True, text: str | None = None, patience: float = PATIENCE) -> str:
        """One command on the same database; what it printed."""
        with TemporaryFile() as given, TemporaryFile() as out, TemporaryFile() as err:
            given.write((text or "").encode())
            given.seek(0)
            files = (given.fileno(), out.fileno(), err.fileno())
            running = launcher().start(["-c", str(self.file), *self.extra, *words], self.folder, *files)
            try:
                code = running.wait(patience)
            finally:
                running.kill()
            said = []
            for file in (out, err):
                file.seek(0)
                said.append(file.read().decode())
        assert not check or code == 0, said[1]
        return said[0]

    def json(self, *words: str, patience: float = PATIENCE) -> list[dict[str, Any]]:
        """The JSON Lines that a command prints."""
        return [json.loads(line) for line in self.itipd(*words, "--json", patience=patience).splitlines()]

    def kill(self) -> None:
        """kill -9: no chance to finish anything."""
        self.process.send_signal(signal.SIGKILL)
        self._end()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self._end()

    def _end(self) -> int:
        code = self.process.wait(PATIENCE)
        self.said.close()
        self.log.close()
        return code
