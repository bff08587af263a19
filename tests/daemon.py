"""A real `itipd serve` in a process of its own, for tests that look from outside."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PATIENCE = 120.0  # a test fails when it is over; the machine may be busy with others
COMMAND = (sys.executable, "-m", "itipd.cli.main")


class Daemon:
    """One running daemon. `smtp`, `lmtp`, `submission`, `http` are (host, port) of its doors, or the text they are."""

    def __init__(
        self, folder: Path, *options: str, config: str = "", database: str | None = None, under: Sequence[str] = ()
    ) -> None:
        """`under`: the words of another program that runs it."""
        self.folder = folder
        self.file = folder / "itipd.toml"
        self.file.write_text(config or '[log]\nlevel = "warning"\n', encoding="utf-8")
        self.extra = ("--database", database) if database else ()
        doors = ("--smtp", "127.0.0.1:0", "--lmtp", "127.0.0.1:0", "--submission", "127.0.0.1:0", "--http", "-")
        self.log = (folder / "daemon.log").open("ab")
        self.process = subprocess.Popen(
            [*under, *COMMAND, "-c", str(self.file), *self.extra, "serve", *doors, *options],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            cwd=folder,
        )
        assert self.process.stdout is not None
        self.ready = self.process.stdout.readline()
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
        command = [*COMMAND, "-c", str(self.file), *self.extra, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=patience, input=text, cwd=self.folder)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

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
        self._end()
        return self.process.returncode

    def _end(self) -> None:
        self.process.wait(PATIENCE)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.log.close()
