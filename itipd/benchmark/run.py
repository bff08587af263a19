"""One run: the floor and itipd in turns (A B A B), the same client and the same mails; then every answer is looked up.

Servers and client are processes of their own. Figures of two runs cannot be compared: the machine is never quiet.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from itipd.benchmark import rooms
from itipd.benchmark.mails import Letter, letters
from itipd.benchmark.processes import Cost, cost, daemon, load, memory, put, service, taken
from itipd.benchmark.rows import ROWS, Row, enough, wrong
from itipd.store import Store

Say = Callable[[str], None]
FANOUTS = (1000, 10_000)


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything."""

    mails: int = 3000  # a round
    rounds: int = 3
    connections: int = 16


def rows(names: Sequence[str], *, long: bool) -> tuple[list[Row], list[int]]:
    """The rows that were asked for by name, else all but the long ones; and the fan-outs' sizes."""
    if names:
        return [row for row in ROWS if row.name in names], [n for n in FANOUTS if f"fanout-{n}" in names]
    return [row for row in ROWS if long or not row.long], list(FANOUTS)


def answers(row: Row, size: Size, database: str | None, say: Say) -> dict[str, Any]:
    """One row, on a database of its own (`database`: an empty PostgreSQL one). Raises BenchError."""
    row = enough(row, size.mails * size.rounds)
    with tempfile.TemporaryDirectory(prefix="itipd-bench-") as name, service("floor") as (floor, _):
        folder = Path(name)
        url = database or f"sqlite:///{folder}/itipd.db"
        started = time.perf_counter()
        put(url, folder, row.meetings, row.guests, row.kind, 0, "--recorded")
        registering = time.perf_counter() - started
        say(f"{row.name}: {row.meetings:,} meetings of {row.guests:,} guests registered in {registering:.1f} s")
        if row.kind == "stale":
            put(url, folder, row.meetings, row.guests, row.kind, 1, "--recorded")
        with service("sink") as (relay, _), daemon(url, folder, relay) as running:
            floors, ours, costs, sent = [], [], [], [Letter("", b"", "", "", "")][:0]
            port = running.smtp if row.greeting == "EHLO" else running.lmtp
            for number in range(size.rounds):
                batch = letters(size.mails, row.meetings, row.guests, number, row.kind)
                floors.append(load(floor, size.connections, "EHLO", batch))
                before = cost(running.pid)
                ours.append(load(port, size.connections, row.greeting, batch))
                costs.append(cost(running.pid) - before)
                sent += batch
                say(f"{row.name}: floor {_rate(floors[-1], size):,.0f}/s, itipd {_rate(ours[-1], size):,.0f}/s")
            used = memory(running.pid)
        looked_up, bad = asyncio.run(wrong(row, url, sent))
    return {
        "row": row.name,
        "says": row.says,
        "database": url.partition(":")[0],
        "mails": len(sent),
        "connections": size.connections,
        "floor_per_second": round(statistics.median(_rate(one, size) for one in floors), 1),
        "itipd_per_second": round(statistics.median(_rate(one, size) for one in ours), 1),
        "ratio": round(
            statistics.median(_rate(b, size) / _rate(a, size) for a, b in zip(floors, ours, strict=True)), 3
        ),
        "floor_p50_ms": statistics.median(one["p50_ms"] for one in floors),
        "floor_p99_ms": statistics.median(one["p99_ms"] for one in floors),
        "p50_ms": statistics.median(one["p50_ms"] for one in ours),
        "p99_ms": statistics.median(one["p99_ms"] for one in ours),
        **_rooms(costs, len(sent)),
        "memory_mb": round(used / 1e6),
        "registered_per_second": round(row.meetings / registering, 1),
        "looked_up": looked_up,
        "wrong": bad,
        "refused": sum(one["wrong_count"] for one in (*floors, *ours)),
    }


def _rooms(costs: Sequence[Cost], mails: int) -> dict[str, int]:
    """Microseconds of CPU a mail: event loop (doors, log), its threads (deciding and store), reader processes."""
    each = {
        "loop_us": sum(one.loop for one in costs),
        "store_us": sum(one.threads for one in costs),
        "readers_us": sum(one.readers for one in costs),
    }
    return {name: round(seconds / mails * 1e6) for name, seconds in each.items()}


def _rate(one: dict[str, Any], size: Size) -> float:
    return size.mails / float(one["seconds"])


def alone(say: Say) -> dict[str, Any]:
    """One mail at a time on an idle daemon, and the rooms by themselves, without daemon or disk."""
    with tempfile.TemporaryDirectory(prefix="itipd-bench-") as name:
        folder = Path(name)
        url = f"sqlite:///{folder}/itipd.db"
        put(url, folder, 50, 10, "reply", 0, "--recorded")
        with daemon(url, folder) as running:
            one = load(running.smtp, 1, "EHLO", letters(300, 50, 10, 0))
        say(f"alone: a mail by itself is answered in {one['p50_ms']} ms at the median")
        return {"row": "alone", "p50_ms": one["p50_ms"], "p99_ms": one["p99_ms"], **asyncio.run(rooms.measure(url))}


def fan_out(guests: int, size: Size, say: Say) -> dict[str, Any]:
    """One change told to `guests` people through a relay, while answers to other meetings come in."""
    with tempfile.TemporaryDirectory(prefix="itipd-bench-") as name, service("sink") as (relay, sink):
        folder = Path(name)
        url = f"sqlite:///{folder}/itipd.db"
        put(url, folder, 1, guests, "reply", 0, "--recorded")
        with daemon(url, folder, relay) as running:
            before = cost(running.pid)
            put(url, folder, 1, guests, "reply", 1)
            settled = asyncio.run(_settled(url, guests, sink))
            spent = cost(running.pid) - before
        mails, seconds, _ = taken(sink)
        say(f"fanout-{guests}: {mails:,} REQUESTs in {seconds:.1f} s, all settled after {settled:.1f} s")
    return {
        "row": f"fanout-{guests}",
        "requests": mails,
        "seconds": round(seconds, 2),
        "settled_after": round(settled, 2),
        "per_second": round(guests / max(settled, 0.001), 1),
        **_rooms([spent], guests),
        "wrong": abs(guests - mails),
    }


async def _settled(url: str, guests: int, sink: subprocess.Popen[str]) -> float:
    """Seconds from the first mail at the relay until nothing waits any more."""
    store = await Store.open(url)
    try:
        patience = time.monotonic() + max(60.0, guests / 20)
        # The relay is asked first: to count what waits in the database costs a core that is being measured.
        while taken(sink)[0] < guests and time.monotonic() < patience:
            time.sleep(0.02)  # noqa: ASYNC251 - nothing else runs in this loop
        while time.monotonic() < patience:
            totals = await store.totals()
            if not totals["waiting"] and not totals["sending"]:
                break
            time.sleep(0.02)  # noqa: ASYNC251 - the same
        return taken(sink)[2]  # by its clock: the first mail may come before the command that caused it has ended
    finally:
        await store.close()
