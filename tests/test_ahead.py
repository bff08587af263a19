"""A large calendar file is read in a process of its own (ahead.py): the same, in the same order, to its end."""

from __future__ import annotations

import gc
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

from itipd import ahead
from itipd.ahead import LARGE, WINDOW, CutShortError, puts
from itipd.itip.rrule import STEPS_ALLOWED as STEPS
from itipd.orders import Put, pack
from itipd.reader_link import popen
from tests.cli_help import Itipd, calendar, event

LONG = f"DESCRIPTION:{'word ' * (LARGE // 5)}"


@pytest.fixture
def itipd(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Itipd:
    """`itipd` with an empty database, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return Itipd(tmp_path)


async def _windows(file: Path, steps: int = STEPS) -> list[list[Put]]:
    return [window async for window in puts(file, "none", True, steps)]


def _many(*first: str) -> str:
    """More meetings than a window has, each of another kind."""
    kinds = ("RRULE:FREQ=DAILY", "RRULE:FREQ=NEVER", "SEQUENCE:many", "LOCATION:Zürich", "STATUS:CANCELLED")
    return calendar(*first, *(event(f"{n}@example.com", kinds[n % len(kinds)]) for n in range(2 * WINDOW + 3)))


async def test_the_same_meetings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads it: the same orders and faults in the same order, the same bytes for the journal."""
    file = tmp_path / "many.ics"
    file.write_text(_many(event("").replace("UID:\r\n", "")))
    here = await _windows(file)
    monkeypatch.setattr(ahead, "LARGE", 0)
    there = await _windows(file)
    assert there == here
    assert [len(window) for window in there] == [WINDOW, WINDOW, 4]
    orders = [order for window in there for order in window]
    assert len({order.incoming.fault for order in orders}) > 2
    assert all(order.packed == pack(Put(order.incoming, "none", True)) for order in orders)


async def test_a_heavy_window_is_full(tmp_path: Path) -> None:
    """Memory follows the bytes, not the number of meetings."""
    file = tmp_path / "heavy.ics"
    file.write_text(calendar(*(event(f"{n}@example.com", LONG) for n in range(3))))
    assert [len(window) for window in await _windows(file)] == [1, 1, 1]


async def test_what_a_rule_may_cost_is_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`[limits]` holds in the process, too: an instance that costs more to find keeps the name it came with."""
    monkeypatch.setattr(ahead, "LARGE", 0)
    file = tmp_path / "rule.ics"
    series = event("a@example.com", "RRULE:FREQ=HOURLY;BYHOUR=9")
    file.write_text(calendar(series, event("a@example.com", "RECURRENCE-ID;VALUE=DATE:20261202")))
    ((cheap,),), ((dear,),) = await _windows(file), await _windows(file, 1)
    assert [one.rid for one in cheap.incoming.events] == ["", "20261202T090000Z"]
    assert [one.rid for one in dear.incoming.events] == ["", "20261202"]


async def test_what_cannot_be_read_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the file is the caller's, as if he had read it himself."""
    monkeypatch.setattr(ahead, "LARGE", 0)
    with pytest.raises(IsADirectoryError):
        await _windows(tmp_path)


async def test_whoever_leaves_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process does not outlive who wants nothing more of it."""
    monkeypatch.setattr(ahead, "LARGE", 0)
    started: list[subprocess.Popen[bytes]] = []

    def noted(command: Sequence[str], door: socket.socket) -> subprocess.Popen[bytes]:
        started.append(popen(command, door))
        return started[-1]

    monkeypatch.setattr(ahead, "popen", noted)
    file = tmp_path / "many.ics"
    file.write_text(_many())
    before = gc.get_threshold()
    async with aclosing(puts(file, "none", True, STEPS)) as windows:
        assert len(await anext(windows)) == WINDOW
    assert started[0].returncode is not None
    assert gc.get_threshold() == before


async def test_a_process_that_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its end before that of the file is told, wherever it comes."""
    file = tmp_path / "many.ics"
    file.write_text(_many())
    monkeypatch.setattr(ahead, "LARGE", 0)
    for code in ("", "import os; os.write(0, b'\\0')", "import os; os.write(0, b'\\0\\0\\0\\7abc')"):
        monkeypatch.setattr(ahead, "COMMAND", (sys.executable, "-c", code))
        with pytest.raises(CutShortError, match="before their end"):
            await _windows(file)


def test_put_of_a_large_file(itipd: Itipd) -> None:
    """Each UID stands or falls alone; what is printed has the file's order."""
    bad = event("b@example.com").replace("ORGANIZER", "X-ORGANIZER")
    found = itipd.put(event("a@example.com"), bad, event("c@example.com", LONG), event("d@example.com"))
    assert found.code == 1
    assert found.err.startswith("itipd: b@example.com: no_organizer")
    assert [(line["uid"], line["outcome"]) for line in found.lines] == [
        ("a@example.com", "added"),
        ("b@example.com", "error"),
        ("c@example.com", "added"),
        ("d@example.com", "added"),
    ]
    assert itipd("meeting", "put", itipd.home / "put.ics", "--recorded").out.startswith("no_action  unchanged  a@")
    assert itipd("db", "rebuild", "--json").json["differences"] == []


def test_put_that_is_cut_short(itipd: Itipd, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was registered is named, the rest is to be tried again."""
    file = itipd.write("put.ics", calendar(event("a@example.com"), event("b@example.com", LONG)))
    code = (
        "import os, sys; from pathlib import Path; from itipd import ahead; from itipd.reader_frame import framed\n"
        "import pickle; window = next(ahead._windows(Path(sys.argv[1]), 'none', True))\n"
        "os.write(0, framed(pickle.dumps(window[:1])))"
    )
    monkeypatch.setattr(ahead, "COMMAND", (sys.executable, "-c", code))
    found = itipd("meeting", "put", file, "--recorded")
    assert (found.code, found.out) == (75, "added  registered  a@example.com\n")
    assert found.err == (
        f"itipd: {file}: the process that reads the calendars has ended before their end; "
        "what is not named here was not registered\n"
    )
