"""The journal is the truth: after every scenario a database rebuilt from it is the same, and both are sound."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from itipd.cli.runtime import Pools, open_inbox
from itipd.rebuild import Rebuilt, rebuild
from itipd.replay import Clock, Door
from itipd.scenario import EPOCH, Stage, _configuration, read_folder
from itipd.store import Store
from tests.test_fixtures import FOLDERS

Play = Callable[[Path, Path, Path], tuple[Rebuilt, list[str]]]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new database, to be copied."""
    file = tmp_path_factory.mktemp("rebuilt") / "empty.db"

    async def make() -> None:
        await (await Store.open(f"sqlite:///{file}")).close()

    asyncio.run(make())
    return file


@pytest.fixture(scope="module")
def play() -> Iterator[Play]:
    """Plays one folder and rebuilds it; all share one event loop and its reader processes."""

    async def stop() -> None:
        await pools.__aexit__(None, None, None)

    with asyncio.Runner() as runner:
        pools = Pools(1)
        yield lambda folder, old, new: runner.run(played(folder, old, new, pools))
        runner.run(stop())


async def played(folder: Path, old: Path, new: Path, pools: Pools) -> tuple[Rebuilt, list[str]]:
    """Plays a folder in `old`, its journal in `new`; how they differ, and what is wrong with either."""
    steps = read_folder(folder)
    config = _configuration(steps, old)
    source, target = await Store.open(f"sqlite:///{old}"), await Store.open(f"sqlite:///{new}")
    try:
        readers = await pools.get(config)
        async with open_inbox(source, readers, config) as inbox:
            clock = Clock(steps.first_date or EPOCH)
            await Stage(source, Door(config, readers, inbox, clock)).perform(steps)
        await target.inherit(source)
        async with open_inbox(target, readers, config) as inbox:
            found = await rebuild(source, target, inbox, lambda: None)
        return found, [*await source.verify(), *await target.verify()]
    finally:
        await source.close()
        await target.close()


@pytest.mark.parametrize("folder", FOLDERS, ids=[folder.name for folder in FOLDERS])
def test_the_journal_of_a_scenario_gives_the_same_database(
    folder: Path, empty: Path, tmp_path: Path, play: Play
) -> None:
    """Played again from the journal: the same meetings and the same outgoing mail; `db verify` finds nothing."""
    old, new = (Path(shutil.copy(empty, tmp_path / name)) for name in ("old.db", "new.db"))
    found, wrong = play(folder, old, new)
    assert found.differences == []
    assert wrong == []
    assert found.entries or not found.meetings
