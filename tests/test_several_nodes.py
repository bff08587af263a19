"""Three daemons on one PostgreSQL database: nothing lost, nothing twice, whichever of them dies or stops."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from itipd.store import Store, StoreError, UnavailableError, Want, gather, postgres
from itipd.store.rows import key_of
from tests.several_nodes import run
from tests.store_help import BOB, NOW, WE, guest, register, reply, send, whole


def test_three_nodes_and_one_is_killed(postgres_url: str, tmp_path: Path) -> None:
    """400 answers to one meeting over three nodes, one of which is killed -9 in the middle while invitations leave:
    every answer counts once, every invitation leaves, the database is whole and nobody waited for a deadlock."""
    found = run(tmp_path, postgres_url, replies=400, connections=16, count=3, stop=False)
    assert found.wrong == []


async def test_node_that_stops_in_a_transaction(postgres_url: str) -> None:
    """A node that stands still while it holds a meeting is put out of it by the server: others go on, and when it
    wakes up it has written nothing."""
    stopped, other = [await Store.open(postgres_url) for _ in range(2)]
    await register(other, "a", guest(BOB))

    async def stand_still() -> None:
        work = partial(gather.lock, wanted={key_of(WE, "a"): Want(WE, "a", everything=True)})
        async with stopped.database.writing() as transaction:
            limit = await transaction.run(lambda c: c.scalar(text("SHOW idle_in_transaction_session_timeout")))
            assert limit == f"{postgres.IDLE_MS // 1000}s"
            await transaction.run(lambda c: c.execute(text("SET LOCAL idle_in_transaction_session_timeout = 500")))
            await transaction.run(work)
            started = time.monotonic()
            await reply(other, "a", BOB, "DECLINED")
            assert 0.3 < time.monotonic() - started < 10
            await transaction.commit(work)

    with pytest.raises(StoreError):
        await stand_still()
    assert (await whole(other, "a")).attendees["", BOB].partstat == "DECLINED"
    await reply(stopped, "a", BOB, "ACCEPTED", NOW + timedelta(hours=1))  # on a new connection
    assert (await whole(other, "a")).attendees["", BOB].partstat == "ACCEPTED"
    await asyncio.gather(stopped.close(), other.close())


async def test_nobody_waits_for_ever_for_what_another_holds(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another holds for too long is "not now", so that the sender comes again, and not a connection that hangs."""
    monkeypatch.setattr(postgres, "LOCK_MS", 50)
    holder, other = [await Store.open(postgres_url) for _ in range(2)]
    await register(other, "a", guest(BOB))
    work = partial(gather.lock, wanted={key_of(WE, "a"): Want(WE, "a", everything=True)})
    async with holder.database.writing() as transaction:
        await transaction.run(work)
        with pytest.raises(UnavailableError, match="lock timeout"):
            await reply(other, "a", BOB, "DECLINED")
    await reply(other, "a", BOB, "DECLINED")
    await asyncio.gather(holder.close(), other.close())


def test_who_says_otherwise_in_the_url_is_heard() -> None:
    """What the URL says of the network stands; the rest is set, so that a dead server is noticed."""
    url = make_url("postgresql://host/name?connect_timeout=3")
    found = postgres.network(url)
    assert "connect_timeout" not in found
    assert found["tcp_user_timeout"] == postgres.NETWORK["tcp_user_timeout"]


async def test_claims_of_a_node_that_stops_are_taken_over(postgres_url: str) -> None:
    """What a stopped node had claimed another sends when the lease ends; awake again the first settles nothing."""
    stopped, other = [await Store.open(postgres_url) for _ in range(2)]
    meeting = await register(other, "a", guest(BOB))
    await send(other, meeting, BOB)
    lease = timedelta(seconds=30)
    (mine,) = await stopped.claim(NOW, lease, 10)
    assert await other.claim(NOW + lease - timedelta(seconds=1), lease, 10) == []
    (theirs,) = await other.claim(NOW + lease, lease, 10)
    assert await other.settle(theirs, "sent", NOW + lease)
    assert not await stopped.settle(mine, "failed", NOW + 2 * lease, code="5.1.1")
    assert (await whole(stopped, "a")).attendees["", BOB].schedule_status == "1.1"
    await asyncio.gather(stopped.close(), other.close())
