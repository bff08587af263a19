"""The processes of a run: floor, daemon, relay and client, each its own, and what they cost."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from itipd.benchmark.mails import Kind, Letter, calendar

PATIENCE = 3600.0  # seconds for one step: the largest row registers a million meetings
_TICKS = os.sysconf("SC_CLK_TCK")


class BenchError(RuntimeError):
    """The run cannot go on; the text says why."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running `itipd serve`."""

    pid: int
    smtp: int
    lmtp: int


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds by room: the event loop (doors, log), its other threads (deciding, store), the reader processes."""

    loop: float
    threads: float
    readers: float

    def __sub__(self, before: Cost) -> Cost:
        return Cost(self.loop - before.loop, self.threads - before.threads, self.readers - before.readers)


@contextmanager
def service(name: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """The floor or the sink: its port, and the process."""
    command = [sys.executable, "-m", f"itipd.benchmark.{name}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            assert process.stdout is not None  # noqa: S101 - it was asked for
            yield int(process.stdout.readline()), process
        finally:
            process.communicate("", timeout=PATIENCE)


def taken(sink: subprocess.Popen[str]) -> tuple[int, float, float]:
    """How many mails the sink has, and the seconds from the first to the last, and to now."""
    assert sink.stdin is not None and sink.stdout is not None  # noqa: S101, PT018 - both were asked for
    sink.stdin.write("\n")
    sink.stdin.flush()
    found = json.loads(sink.stdout.readline())
    return int(found["mails"]), float(found["seconds"]), float(found["since"])


@contextmanager
def daemon(url: str, folder: Path, relay: int | None = None) -> Iterator[Daemon]:
    """`itipd serve` on any ports; `relay`: the port where its mail goes."""
    config = folder / "bench.toml"
    config.write_text(f'[relay]\nhost = "127.0.0.1"\nport = {relay}\ntls = "off"\n' if relay else "")
    doors = ["--smtp", "127.0.0.1:0", "--lmtp", "127.0.0.1:0", "--submission", "-", "--http", "-"]
    command = [*itipd(url), "-c", str(config), "serve", *doors]
    log = (folder / "daemon.log").open("wb")
    with log, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, cwd=folder, text=True) as process:  # noqa: S603
        try:
            assert process.stdout is not None  # noqa: S101 - it was asked for
            ready = re.match(r"ready smtp=\S+:(\d+) lmtp=\S+:(\d+) ", process.stdout.readline())
            if ready is None:
                raise BenchError(f"itipd serve did not start: {(folder / 'daemon.log').read_text()[-500:]}")
            yield Daemon(process.pid, int(ready[1]), int(ready[2]))
        finally:
            process.terminate()
            process.wait(timeout=PATIENCE)


def itipd(url: str) -> list[str]:
    """The command, on that database."""
    return [sys.executable, "-m", "itipd.cli.main", "--database", url]


def put(url: str, folder: Path, meetings: int, guests: int, kind: Kind, sequence: int, *options: str) -> None:
    """`itipd meeting put -` of all meetings."""
    file = folder / "meetings.ics"
    with file.open("w", newline="") as out:
        out.writelines(calendar(meetings, guests, kind, sequence))
    command = [*itipd(url), "meeting", "put", "-", *options]
    with file.open("rb") as source, (folder / "put.log").open("wb") as log:
        done = subprocess.run(command, stdin=source, stdout=log, stderr=log, timeout=PATIENCE, check=False)  # noqa: S603
    if done.returncode:
        raise BenchError(f"meeting put ended with {done.returncode}: {(folder / 'put.log').read_text()[-500:]}")


def load(port: int, connections: int, greeting: str, batch: list[Letter]) -> dict[str, Any]:
    """One round of the client: what `itipd.benchmark.load` prints."""
    command = [sys.executable, "-m", "itipd.benchmark.load", str(port), str(connections), greeting]
    pairs = pickle.dumps([(letter.sender, letter.raw) for letter in batch])
    done = subprocess.run(command, input=pairs, stdout=subprocess.PIPE, timeout=PATIENCE, check=True)  # noqa: S603
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def family(pid: int) -> list[int]:
    """The process and its children's children, itself first."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        parents[int(stat.parent.name)] = int(fields[1])
    found = [pid]
    for one in found:  # grows while it is read: children of children too
        found += [child for child, parent in parents.items() if parent == one]
    return found


def cost(pid: int) -> Cost:
    """What the daemon has cost so far."""
    whole = _seconds(Path(f"/proc/{pid}/stat"))
    loop = _seconds(Path(f"/proc/{pid}/task/{pid}/stat"))
    return Cost(loop, whole - loop, sum(_seconds(Path(f"/proc/{one}/stat")) for one in family(pid)[1:]))


def _seconds(stat: Path) -> float:
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory(pid: int) -> int:
    """Proportional memory of the daemon and its readers, in bytes."""
    total = 0
    for process in family(pid):
        found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{process}/smaps_rollup").read_text(), re.MULTILINE)
        total += int(found[1]) * 1024 if found else 0
    return total
