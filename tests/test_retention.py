"""[retention]: what is kept no longer than configured is removed in small steps, and nobody is told otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from itipd.config import Config
from itipd.scheduler import Scheduler
from itipd.store import Store
from itipd.store import retention as room
from tests.cli_help import BOB, CAROL
from tests.world import UNKNOWN, World, rebuilt, running

DAY = timedelta(days=1)


@pytest.fixture
async def world(store: Store) -> AsyncIterator[World]:
    async with running(store) as inbox:
        yield World(store, inbox)


async def aged(world: World, **kept: str) -> None:
    """A year later, everything that is kept for so long only is removed."""
    world.now += 365 * DAY
    world.inbox.config = Config.model_validate({"organizers": world.inbox.config.organizers, "retention": kept})
    await Scheduler(world.store, world.inbox, clock=lambda: world.now).purge()


async def raws(world: World) -> list[bytes]:
    """What the journal has of each entry."""
    return [row.raw for row in await world.store.journal_from(0)]


async def story(world: World) -> None:
    """An invitation, of which one fails, an answer, and one that waits for a person; then a day without anything."""
    await world.put()
    await world.deliver(carol=UNKNOWN)
    await world.accept(BOB)
    await world.accept("eve@example.org")


async def test_for_ever_by_default(world: World) -> None:
    """With nothing configured everything is kept."""
    await story(world)
    before = await raws(world), await world.queue()
    await aged(world)
    assert (await raws(world), await world.queue()) == before


async def test_raw_mail(world: World, tmp_path: Path) -> None:
    """The bytes of old mail go, its line and outcome stay, what was held has expired; orders and newer mail stay."""
    await story(world)
    world.now += 364 * DAY
    await world.accept(CAROL)
    world.now -= 364 * DAY
    await aged(world, mail="90 d")
    put, bob, eve, carol = await raws(world)
    assert (bool(put), bob, eve, bool(carol)) == (True, b"", b"", True)
    lines, _ = await world.store.mail_list()
    assert [line["results"][0]["reason"] for line in lines] == ["replied", "party_crasher", "replied"]
    assert (await world.store.held_list())[0] == []
    held = lines[1]["results"][0]["held"]
    assert held["state"] == "expired"
    assert await world.store.verify() == []
    async with rebuilt(world, tmp_path) as (_, done):
        assert (done.differences, done.unproven) == ([], ["meetings@example.com plan: retention"])


async def test_same_mail_again_after_its_bytes_are_gone(world: World) -> None:
    """A relay that comes back with a mail whose bytes were removed changes nothing: its digest is still known."""
    await world.put()
    await world.accept(BOB)
    then = world.now
    await aged(world, mail="1 h")
    world.now = then - timedelta(minutes=1)
    await world.accept(BOB)
    assert len(await raws(world)) == 2


async def test_outcomes(world: World, tmp_path: Path) -> None:
    """Old entries go with their outcomes, but for one whose mail is still kept; the meeting stays as it is."""
    await story(world)
    reached = await world.reached()
    await aged(world, outcomes="90 d")
    assert len(await raws(world)) == 1
    assert [line["reason"] for line in await world.store.history("meetings@example.com", "plan")] == ["registered"]
    assert await world.reached() == reached
    assert await world.store.verify() == []
    async with rebuilt(world, tmp_path) as (_, done):
        assert (done.meetings, done.differences) == (0, [])
        assert done.unproven == ["meetings@example.com plan: retention"]
    await aged(world, outcomes="90 d", sent="90 d")
    assert await raws(world) == []
    assert await world.store.verify() == []


async def test_sent(world: World, tmp_path: Path) -> None:
    """Old mail that was sent or has failed goes; what waits or is held stays; the journal still proves the meetings."""
    await story(world)
    await world.put(uid="other")
    assert await world.store.hold(3, world.now)
    await aged(world, sent="90 d")
    assert [state for _, _, state, _ in await world.queue()].count("held") == 1
    assert len(await world.queue()) == 2
    assert await world.store.verify() == []
    async with rebuilt(world, tmp_path) as (_, done):
        assert (done.meetings, done.differences, done.unproven) == (2, [], [])
    await world.put(uid="third", start="20280101T090000Z")
    await world.deliver()
    assert await world.store.release(3, world.now)
    await world.deliver()
    assert [state for _, _, state, _ in await world.queue()] == ["sent"] * 4


async def test_steps_are_small(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much is old, one transaction removes a bounded number of rows, and all of it goes in the end."""
    monkeypatch.setattr(room, "STEP", 2)
    monkeypatch.setattr(room, "MAILS", 3)
    for number in range(5):
        await world.put(uid=f"u{number}")
        await world.accept(BOB, uid=f"u{number}")
    await world.deliver()
    later = world.now + 365 * DAY
    assert await world.store.purge_sent(later, later) == 1  # a second sending would be too many
    assert len(await world.queue()) == 8
    assert await world.store.purge_mail(later, later) == 4
    assert [bool(raw) for raw in await raws(world)].count(False) == 2
    await aged(world, mail="1 d", sent="1 d", outcomes="1 d")
    assert (await raws(world), await world.queue()) == ([], [])


async def test_two_at_once(world: World) -> None:
    """Several processes that purge one database do not disturb each other."""
    for number in range(5):
        await world.put(uid=f"u{number}")
        await world.accept(BOB, uid=f"u{number}")
    await world.deliver()
    other = await Store.open(world.store.database.url)
    world.inbox.config = Config.model_validate({"retention": {"mail": "1 d", "sent": "1 d", "outcomes": "1 d"}})
    later = world.now + 365 * DAY
    async with running(other, retention={"mail": "1 d", "sent": "1 d", "outcomes": "1 d"}) as inbox:
        both = Scheduler(world.store, world.inbox, clock=lambda: later), Scheduler(other, inbox, clock=lambda: later)
        await asyncio.gather(*(one.purge() for one in both))
        await both[0].purge()
    await other.close()
    assert (await raws(world), await world.queue()) == ([], [])
    assert await world.store.verify() == []
