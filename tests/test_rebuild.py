"""`itipd db rebuild`: the journal, and the attempts to send, give the same database again, in everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from itipd.relay_session import Envelope, Verdict
from itipd.store import Store
from tests.cli_help import BOB, CAROL
from tests.world import LATER, REFUSED, SENT, UNKNOWN, Way, World, rebuilt, running


@pytest.fixture
async def world(store: Store) -> AsyncIterator[World]:
    async with running(store) as inbox:
        yield World(store, inbox)


async def test_what_became_of_mail_is_rebuilt(world: World, tmp_path: Path) -> None:
    """SCHEDULE-STATUS and the outbox are the same again: sent, refused, superseded, bounced, held, answered."""
    await world.put()
    await world.deliver(carol=UNKNOWN)
    assert await world.reached() == {BOB: "1.1", CAROL: "3.7"}
    await world.accept(BOB)
    assert (await world.reached())[BOB] == "2.0"
    await world.put(start="20261202T090000Z")
    await world.deliver(bob=LATER, carol=LATER)
    await world.put(start="20261203T090000Z")
    await world.deliver(carol=LATER)
    await world.bounce(-2 if world.way.sent[-2].recipient == BOB else -1)
    assert (await world.reached())[BOB] == "3.7"
    (waiting,), _ = await world.store.outbox_list("waiting")
    assert await world.store.hold(waiting["id"], world.now)
    await world.cancel()
    await world.deliver(carol=REFUSED)
    assert await world.reached() == {BOB: "1.1", CAROL: "5.3"}
    async with rebuilt(world, tmp_path) as (other, done):
        assert done.differences == []
        assert await other.reached() == await world.reached()
        assert await other.queue() == await world.queue()
        states = Counter(line[2] for line in await other.queue())
        assert states == {"sent": 3, "failed": 4, "held": 1}
        assert await other.attempts() == await world.attempts()


async def test_reply_between_two_mails_is_rebuilt(world: World, tmp_path: Path) -> None:
    """A reply stands above the mail before it, and the mail after it above the reply: also in the rebuilt database."""
    await world.put()
    await world.deliver()
    await world.accept(BOB)
    await world.put("LOCATION:Room 2")
    await world.accept(CAROL)
    await world.deliver(bob=UNKNOWN, carol=UNKNOWN)
    assert await world.reached() == {BOB: "3.7", CAROL: "2.0"}
    async with rebuilt(world, tmp_path) as (other, done):
        assert done.differences == []
        assert await other.reached() == await world.reached()


@pytest.mark.parametrize("first", [SENT, LATER], ids=["sent", "sent twice"])
async def test_report_before_the_end_of_its_try(world: World, tmp_path: Path, first: Verdict) -> None:
    """A report that is committed before "sent" is written down is the newer word, of this mail; rebuilt too."""

    class Quick(Way):
        """Its bounce is there before its 250 is; or the connection breaks before the 250."""

        async def deliver(self, envelope: Envelope) -> Verdict:
            verdict = await super().deliver(envelope)
            await world.bounce(-1)
            return verdict

    await world.put()
    world.way = Quick()
    await world.deliver(bob=first, carol=first)
    assert await world.reached() == {BOB: "3.7", CAROL: "3.7"}
    world.way = Way()
    await world.deliver()
    assert await world.reached() == {BOB: "3.7", CAROL: "3.7"}
    async with rebuilt(world, tmp_path) as (other, done):
        assert done.differences == []
        assert await other.reached() == await world.reached()
    await world.put(start="20261202T090000Z")
    await world.deliver()
    assert await world.reached() == {BOB: "1.1", CAROL: "1.1"}
    async with rebuilt(world, tmp_path) as (other, done):
        assert done.differences == []
        assert await other.reached() == await world.reached()


async def test_claimed_is_no_more_than_waiting(world: World, tmp_path: Path) -> None:
    """What another process was sending at that moment waits in the rebuilt database."""
    await world.put()
    assert len(await world.store.claim(world.now, timedelta(seconds=30), 1)) == 1
    async with rebuilt(world, tmp_path) as (other, done):
        assert done.differences == []
        assert [state for _, _, state, _ in await other.queue()] == ["waiting", "waiting"]


async def test_forged_state_of_the_outbox_is_seen(world: World, tmp_path: Path) -> None:
    """A SCHEDULE-STATUS that no attempt and no report has said is a difference."""
    await world.put()
    await world.deliver()
    async with world.store.database.writing() as transaction:
        await transaction.commit(lambda c: c.execute(text("UPDATE attendees SET schedule_status = '3.7'")))
    async with rebuilt(world, tmp_path) as (_, done):
        assert len(done.differences) == 2
        assert 'schedule_status: expected "3.7", found "1.1"' in done.differences[0]
