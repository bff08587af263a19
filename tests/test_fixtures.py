"""Every scenario of fixtures/ is played and gives its expected.json: `itipd replay --check`, a test for each folder."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from itipd.cli.runtime import Pools, open_inbox
from itipd.replay import is_scenario
from itipd.scenario import Player, differences, read_folder

FIXTURES = Path(__file__).parent.parent / "fixtures"
FOLDERS = sorted(
    folder
    for place in (FIXTURES, FIXTURES / "private")
    if place.is_dir()
    for folder in place.iterdir()
    if folder.is_dir() and is_scenario(folder)
)

Play = Callable[[Path], dict[str, Any]]


@pytest.fixture(scope="module")
def play() -> Iterator[Play]:
    """Plays one folder; all share one event loop and its reader processes."""

    async def stop() -> None:
        await pools.__aexit__(None, None, None)

    with asyncio.Runner() as runner:
        pools = Pools(1)
        player = Player(pools.get, open_inbox)
        yield lambda folder: runner.run(player.play(read_folder(folder)))
        runner.run(stop())
        player.close()


def test_there_are_scenarios() -> None:
    """The folders are found, so that the test below tests something."""
    assert len(FOLDERS) > 100


@pytest.mark.parametrize("folder", FOLDERS, ids=[folder.name for folder in FOLDERS])
def test_scenario_is_as_expected(folder: Path, play: Play) -> None:
    """The transcript is exactly the folder's expected.json."""
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    assert differences(expected, json.loads(json.dumps(play(folder)))) == []
