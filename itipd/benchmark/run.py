"""One run: the floor and itipd in turns (A B A B), the same client and the same mails; then every reply is looked up.

Servers and client are processes of their own. Figures of two runs cannot be compared: the machine is never quiet.
"""

from __future__ import annotations

import json
import pickle
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from itipd.benchmark.mails import Letter, calendar, letters

PATIENCE = 600.0  # seconds for one step


class BenchError(RuntimeError):
    """The run cannot go on; the text says why."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything."""

    mails: int = 3000  # a round
    rounds: int = 3
    connections: int = 16
    meetings: int = 300
    guests: int = 10
    database: str | None = None  # None: SQLite in a temporary folder


def run(size: Size, say: Any) -> dict[str, Any]:
    """The whole run; `say(text)` tells how it goes. Raises BenchError."""
    with tempfile.TemporaryDirectory(prefix="itipd-bench-") as folder, _floor() as floor:
        url = size.database or f"sqlite:///{folder}/itipd.db"
        registering = _register(url, size, Path(folder))
        say(f"{size.meetings} meetings of {size.guests} guests registered in {registering:.1f} s")
        with _daemon(url, Path(folder)) as (port, pid):
            floors: list[dict[str, Any]] = []
            ours: list[dict[str, Any]] = []
            sent: list[Letter] = []
            for number in range(size.rounds):
                batch = letters(size.mails, size.meetings, size.guests, number)
                floors.append(_load(floor, size.connections, batch))
                before = _cpu(pid)
                ours.append(_load(port, size.connections, batch) | {"cpu": _cpu(pid) - before})
                sent += batch
                say(f"round {number + 1}: floor {_rate(floors[-1], size):,.0f}/s, itipd {_rate(ours[-1], size):,.0f}/s")
            memory = _memory(pid)
        applied, wrong = _check(url, sent)
    return _report(size, floors, ours, registering, memory, applied, wrong)


def _report(
    size: Size, floors: list[dict[str, Any]], ours: list[dict[str, Any]], registering: float, memory: int, *check: int
) -> dict[str, Any]:
    floor = statistics.median(_rate(one, size) for one in floors)
    itipd = statistics.median(_rate(one, size) for one in ours)
    ratios = [_rate(b, size) / _rate(a, size) for a, b in zip(floors, ours, strict=True)]
    refused = sum(one["wrong_count"] for one in (*floors, *ours))
    return {
        "mails": size.mails * size.rounds,
        "connections": size.connections,
        "meetings": size.meetings,
        "guests": size.guests,
        "floor_per_second": round(floor, 1),
        "itipd_per_second": round(itipd, 1),
        "ratio": round(statistics.median(ratios), 3),
        "floor_p50_ms": statistics.median(one["p50_ms"] for one in floors),
        "floor_p99_ms": statistics.median(one["p99_ms"] for one in floors),
        "itipd_p50_ms": statistics.median(one["p50_ms"] for one in ours),
        "itipd_p99_ms": statistics.median(one["p99_ms"] for one in ours),
        "itipd_cpu_us_per_mail": round(sum(one["cpu"] for one in ours) / (size.mails * size.rounds) * 1e6),
        "itipd_memory_mb": round(memory / 1e6),
        "registered_per_second": round(size.meetings / registering, 1),
        "answers_looked_up": check[0],
        "answers_wrong": check[1],
        "refused": refused,
    }


def _rate(one: dict[str, Any], size: Size) -> float:
    return size.mails / float(one["seconds"])


@contextmanager
def _floor() -> Iterator[int]:
    command = [sys.executable, "-m", "itipd.benchmark.floor"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            assert process.stdout is not None  # noqa: S101 - it was asked for
            yield int(process.stdout.readline())
        finally:
            process.communicate("", timeout=PATIENCE)


@contextmanager
def _daemon(url: str, folder: Path) -> Iterator[tuple[int, int]]:
    doors = ["--smtp", "127.0.0.1:0", "--lmtp", "-", "--submission", "-", "--http", "-"]
    command = [sys.executable, "-m", "itipd.cli.main", "--database", url, "serve", *doors]
    log = (folder / "daemon.log").open("wb")
    with log, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, cwd=folder, text=True) as process:  # noqa: S603
        try:
            assert process.stdout is not None  # noqa: S101 - it was asked for
            ready = re.match(r"ready smtp=\S+:(\d+) ", process.stdout.readline())
            if ready is None:
                raise BenchError(f"itipd serve did not start: {(folder / 'daemon.log').read_text()[-500:]}")
            yield int(ready[1]), process.pid
        finally:
            process.terminate()
            process.wait(timeout=PATIENCE)


def _register(url: str, size: Size, folder: Path) -> float:
    file = folder / "meetings.ics"
    with file.open("w", newline="") as out:
        out.writelines(calendar(size.meetings, size.guests))
    started = time.perf_counter()
    command = [sys.executable, "-m", "itipd.cli.main", "--database", url, "meeting", "put", str(file), "--recorded"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)  # noqa: S603
    if done.returncode:
        raise BenchError(f"meeting put ended with {done.returncode}: {done.stderr[-500:]}")
    return time.perf_counter() - started


def _load(port: int, connections: int, batch: list[Letter]) -> dict[str, Any]:
    command = [sys.executable, "-m", "itipd.benchmark.load", str(port), str(connections)]
    pairs = pickle.dumps([(letter.sender, letter.raw) for letter in batch])
    done = subprocess.run(command, input=pairs, stdout=subprocess.PIPE, timeout=PATIENCE, check=True)  # noqa: S603
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _check(url: str, sent: list[Letter]) -> tuple[int, int]:
    """Every attendee's answer must be the last one they sent: (how many were looked up, how many are not)."""
    wanted = {(letter.uid, letter.attendee): letter.partstat for letter in sent}
    uids = sorted({letter.uid for letter in sent})
    wrong = 0
    for uid in uids:
        command = [sys.executable, "-m", "itipd.cli.main", "--database", url, "status", uid, "--json"]
        if len(uids) > 50 and uid not in uids[:: len(uids) // 50]:
            continue
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)  # noqa: S603
        people = {row["address"]: row["partstat"] for row in json.loads(done.stdout)["attendees"]}
        wrong += sum(people.get(who) != partstat for (meeting, who), partstat in wanted.items() if meeting == uid)
    return len(wanted), wrong


def _children(pid: int) -> list[int]:
    found = [pid]
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def _cpu(pid: int) -> float:
    """CPU seconds of the daemon and its readers so far."""
    total = 0.0
    for process in _children(pid):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / 100
    return total


def _memory(pid: int) -> int:
    """Proportional memory of the daemon and its readers, in bytes."""
    total = 0
    for process in _children(pid):
        found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{process}/smaps_rollup").read_text(), re.MULTILINE)
        total += int(found[1]) * 1024 if found else 0
    return total
