"""`itipd db backup` beside a daemon at work: a database of one moment, whole, private and provable."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from itipd.store import Store, StoreError
from tests.cli_help import BOB, CAROL
from tests.world import World, rebuilt, running

ENOUGH = 20
"""So many answers before the backup; beside it come as many as can."""


async def test_backup_while_answers_stream(sqlite_url: str, tmp_path: Path) -> None:
    """All that was acknowledged before it is in it, in order and nothing else; whole, and proven by its journal."""
    store = await Store.open(sqlite_url)
    async with running(store) as inbox:
        world = World(store, inbox)
        await world.put()
        await world.deliver()
        done, enough, over = 0, asyncio.Event(), asyncio.Event()

        async def stream() -> None:
            nonlocal done
            while not over.is_set():
                await world.accept((BOB, CAROL)[done % 2])
                done += 1
                if done == ENOUGH:
                    enough.set()

        streaming = asyncio.create_task(stream())
        await enough.wait()
        before = done
        await store.backup(tmp_path / "copy.db")
        after = done + 1  # one may be committed and not answered yet
        over.set()
        await streaming
        assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600
        copy = await Store.open(f"sqlite:///{tmp_path / 'copy.db'}")
        there, all_ = [await one.journal_from(0, 10_000) for one in (copy, store)]
        assert before <= sum(row.kind == "mail" for row in there) <= after
        assert there == all_[: len(there)]
        assert await copy.verify() == []
        async with rebuilt(World(copy, inbox), tmp_path) as (_, proven):
            assert proven.differences == []
        await copy.close()
    await store.close()


async def test_backup_that_fails_leaves_nothing(sqlite_url: str, tmp_path: Path) -> None:
    """No room, no folder, no right: the error says where, and there is no half of a copy."""
    store = await Store.open(sqlite_url)
    (tmp_path / ".copy.db.part").mkdir()
    with pytest.raises(StoreError, match=r"copy\.db"):
        await store.backup(tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()
    await store.close()
