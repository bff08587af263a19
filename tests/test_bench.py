"""The benchmark measures what it says: every row sends what it names, and what is not applied is counted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from itipd.benchmark.mails import letters
from itipd.benchmark.processes import put
from itipd.benchmark.rows import ROWS, enough, wrong
from itipd.benchmark.run import Size, fan_out, rows

SMALL = ("--mails", "40", "--rounds", "1", "--connections", "4")


def test_a_row_for_each_kind_of_mail() -> None:
    """Answers, to instances, stale ones and COUNTERs: each row's mails are applied, none is refused."""
    chosen = [word for name in ("lmtp", "instance", "stale", "counter") for word in ("--row", name)]
    command = [sys.executable, "-m", "itipd.cli.main", "bench", "--json", *SMALL, *chosen]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["row"] for line in found] == ["lmtp", "instance", "stale", "counter"]
    for line in found:
        assert (line["looked_up"], line["wrong"], line["refused"]) == (40, 0, 0), line
        assert line["ratio"] > 0
        assert line["itipd_per_second"] > 0


@pytest.mark.parametrize("name", ["replies", "instance", "stale", "counter"])
async def test_what_was_not_applied_is_counted(name: str, tmp_path: Path) -> None:
    """Mails that never came are found as wrong, each of them."""
    row = enough(next(row for row in ROWS if row.name == name), 20)
    url = f"sqlite:///{tmp_path}/itipd.db"
    put(url, tmp_path, 20, row.guests, row.kind, 0, "--recorded")
    sent = letters(20, 20, row.guests, 0, row.kind)
    assert await wrong(row, url, sent) == (20, 20)


def test_one_change_is_told_to_everybody() -> None:
    """The fan-out counts what came to the relay and waits until nothing is left."""
    found = fan_out(30, Size(), lambda text: None)
    assert (found["requests"], found["wrong"]) == (30, 0)
    assert found["per_second"] > 0


def test_the_long_rows_only_when_asked() -> None:
    """A hundred thousand meetings take minutes to register: not without --long or their name."""
    assert not any(row.long for row in rows((), long=False)[0])
    assert any(row.long for row in rows((), long=True)[0])
    assert [row.name for row in rows(("meetings-100000",), long=False)[0]] == ["meetings-100000"]
