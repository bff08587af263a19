"""Every scenario of fixtures/ is played: it gives its expected.json, and its journal gives the same database again."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from itipd.cli.runtime import Pools, open_inbox
from itipd.rebuild import Rebuilt, rebuild
from itipd.replay import Clock, Door, is_scenario
from itipd.scenario import EPOCH, Stage, _configuration, differences, read_folder
from itipd.store import Store

FIXTURES = Path(__file__).parent.parent / "fixtures"
FOLDERS = sorted(
    folder
    for place in (FIXTURES, FIXTURES / "private")
    if place.is_dir()
    for folder in place.iterdir()
    if folder.is_dir() and is_scenario(folder)
)

Played = tuple[dict[str, Any], Rebuilt, list[str]]
Play = Callable[[Path, Path, Path], Played]


@pytest.fixture(scope="module")
def play() -> Iterator[Play]:
    """Plays one folder and rebuilds it; all share one event loop and its reader processes."""

    async def stop() -> None:
        await pools.__aexit__(None, None, None)

    with asyncio.Runner() as runner:
        pools = Pools(1)
        yield lambda folder, old, new: runner.run(played(folder, old, new, pools))
        runner.run(stop())


async def played(folder: Path, old: Path, new: Path, pools: Pools) -> Played:
    """Plays a folder in `old`, its journal in `new`; the transcript, how they differ, what is wrong with either."""
    steps = read_folder(folder)
    config = _configuration(steps, old)
    source, target = await Store.open(f"sqlite:///{old}"), await Store.open(f"sqlite:///{new}")
    try:
        readers = await pools.get(config)
        async with open_inbox(source, readers, config) as inbox:
            clock = Clock(steps.first_date or EPOCH)
            transcript = await Stage(source, Door(config, readers, inbox, clock)).perform(steps)
        await target.inherit(source)
        async with open_inbox(target, readers, config) as inbox:
            found = await rebuild(source, target, inbox, lambda: None)
        return transcript, found, [*await source.verify(), *await target.verify()]
    finally:
        await source.close()
        await target.close()


def test_there_are_scenarios() -> None:
    """The folders are found, so that the test below tests something."""
    assert len(FOLDERS) > 100


@pytest.mark.parametrize("folder", FOLDERS, ids=[folder.name for folder in FOLDERS])
def test_scenario_is_as_expected(folder: Path, made_sqlite: Path, tmp_path: Path, play: Play) -> None:
    """The transcript is exactly expected.json; the journal gives the same database; `db verify` finds nothing."""
    old, new = (Path(shutil.copy(made_sqlite, tmp_path / name)) for name in ("old.db", "new.db"))
    transcript, found, wrong = play(folder, old, new)
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    assert differences(expected, json.loads(json.dumps(transcript))) == []
    assert found.differences == []
    assert wrong == []
    assert found.entries or not found.meetings
