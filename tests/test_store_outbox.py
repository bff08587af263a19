"""The outbox's rows: leased to one, settled once, in order, on SQLite and PostgreSQL alike."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from itipd.itip.model import Meeting
from itipd.store import Ref, Store
from itipd.store.claims import SUPERSEDED
from itipd.store.outbox import failure
from tests.store_help import BOB, EVE, NOW, guest, register, reply, send, sending, whole

LEASE = timedelta(seconds=30)
LATER = NOW + timedelta(minutes=1)


@pytest.fixture
async def meeting(store: Store) -> Meeting:
    """A meeting of two guests."""
    return await register(store, "a", guest(BOB), guest(EVE, 1))


async def test_claim_gives_all_that_composing_needs(store: Store, meeting: Meeting) -> None:
    """A claimed delivery has the sending's fields and its own, and counts its try."""
    await send(store, meeting, BOB, EVE)
    bob, eve = await store.claim(NOW, LEASE, 10)
    assert (bob.recipient, eve.recipient) == (BOB, EVE)
    assert (bob.uid, bob.method, bob.calendar, bob.created_at) == ("a", "REQUEST", sending_text(), NOW)
    assert (bob.meeting_id, bob.attempts, bob.fence) == (meeting.id, 1, 1)


def sending_text() -> str:
    """The calendar that the helper sends."""
    return "BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n"


async def test_claimed_is_claimed(store: Store, meeting: Meeting) -> None:
    """Nobody claims what is leased, until the lease ends; then the first holder cannot settle any more."""
    await send(store, meeting, BOB)
    (first,) = await store.claim(NOW, LEASE, 10)
    assert await store.claim(NOW + LEASE / 2, LEASE, 10) == []
    (second,) = await store.claim(NOW + LEASE, LEASE, 10)
    assert second.attempts == 2
    assert not await store.settle(first, "sent", LATER)
    assert await store.settle(second, "sent", LATER)
    assert not await store.settle(second, "sent", LATER)
    assert await store.claim(LATER + LEASE, LEASE, 10) == []


async def test_renewed_lease_holds(store: Store, meeting: Meeting) -> None:
    """A renewed lease lasts from its renewal; one that is lost is not renewed."""
    await send(store, meeting, BOB)
    (first,) = await store.claim(NOW, LEASE, 10)
    await store.renew([first], NOW + LEASE / 2, LEASE)
    assert await store.claim(NOW + LEASE, LEASE, 10) == []
    (second,) = await store.claim(NOW + 2 * LEASE, LEASE, 10)
    await store.renew([first], NOW + 100 * LEASE, LEASE)
    assert len(await store.claim(NOW + 3 * LEASE, LEASE, 10)) == 1
    assert second.fence == 2


X, Y = "20261208T090000Z", "20261215T090000Z"


async def claimed(store: Store, limit: int = 10) -> list[int]:
    """The ids that a claim gives now."""
    return [one.id for one in await store.claim(NOW, LEASE, limit)]


async def states(store: Store) -> list[tuple[str, str | None]]:
    """State and error of each delivery, in order of id."""
    return [(line["state"], line["last_error"]) for line in (await store.outbox_list())[0]]


@pytest.mark.parametrize(
    ("first", "then", "alone"),
    [
        (("REQUEST", ""), ("CANCEL", ""), False),
        (("REQUEST", ""), ("CANCEL", X), False),
        (("REQUEST", ""), ("REQUEST", X), False),
        (("REQUEST", X), ("CANCEL", ""), False),
        (("REQUEST", X), ("CANCEL", X), False),
        (("CANCEL", X), ("REQUEST", ""), False),
        (("CANCEL", X), ("CANCEL", X), False),
        (("REQUEST", X), ("REQUEST", Y), True),
        (("CANCEL", X), ("REQUEST", Y), True),
    ],
)
async def test_order_where_one_builds_on_another(
    store: Store, meeting: Meeting, first: tuple[str, str], then: tuple[str, str], alone: bool
) -> None:
    """An instance never overtakes its series to a recipient, nor the series its instance, also not in backoff; two
    instances have nothing to do with each other, nor have two recipients."""
    await send(store, meeting, BOB, method=first[0], rid=first[1])
    (one,) = await store.claim(NOW, LEASE, 10)
    await send(store, meeting, BOB, EVE, method=then[0], rid=then[1])
    assert await claimed(store) == [*([2] if alone else []), 3]
    assert await store.settle(one, "waiting", NOW, next_attempt=LATER, error="450 later", code="4.2.0")
    assert await claimed(store) == []
    (again,) = [one for one in await store.claim(LATER, LEASE, 10) if one.id == 1]
    assert await store.settle(again, "sent", LATER)
    if not alone:
        assert [one.id for one in await store.claim(LATER, LEASE, 10)] == [2]
    assert ("failed", SUPERSEDED) not in await states(store)


async def test_failed_one_blocks_nobody(store: Store, meeting: Meeting) -> None:
    """After a mail that has failed for good the next one about the same meeting leaves."""
    await send(store, meeting, BOB)
    await send(store, meeting, BOB, method="CANCEL")
    (one,) = await store.claim(NOW, LEASE, 10)
    assert await store.settle(one, "failed", NOW, error="compose: no calendar", code="5.6.0")
    assert await claimed(store) == [2]


@pytest.mark.parametrize(("older", "newer"), [("", ""), (X, X), (X, "")])
async def test_newer_request_supersedes(store: Store, meeting: Meeting, older: str, newer: str) -> None:
    """An unsent REQUEST gives way to one of the same instance or of the series, also in backoff."""
    await send(store, meeting, BOB, EVE, rid=older)
    (one, _) = await store.claim(NOW, LEASE, 10)
    assert await store.settle(one, "waiting", NOW, next_attempt=LATER, error="450 later", code="4.2.0")
    await send(store, meeting, BOB, EVE, rid=newer)
    # Eve's first one is being sent: it can neither be taken back nor overtaken.
    assert await claimed(store) == [3]
    assert await states(store) == [
        ("failed", SUPERSEDED), ("sending", None), ("sending", None), ("waiting", None)
    ]  # fmt: skip
    shown = await store.outbox(1)
    assert shown is not None
    assert [(made["state"], made["error"]) for made in shown["attempts_made"]] == [
        ("waiting", "450 later"), ("failed", SUPERSEDED)
    ]  # fmt: skip
    assert (await whole(store, "a")).attendees["", BOB].schedule_status is None


async def test_several_are_superseded_at_once(store: Store, meeting: Meeting) -> None:
    """The newest REQUEST of the series is the only one that leaves, whatever waits before it."""
    for rid in ("", X, Y, X, ""):
        await send(store, meeting, BOB, rid=rid)
    assert await claimed(store) == [5]
    assert await states(store) == [("failed", SUPERSEDED)] * 4 + [("sending", None)]


async def test_series_is_not_superseded_by_its_instance(store: Store, meeting: Meeting) -> None:
    """The REQUEST of one instance says nothing of the series: that leaves first."""
    await send(store, meeting, BOB)
    await send(store, meeting, BOB, rid=X)
    assert await claimed(store) == [1]
    assert await states(store) == [("sending", None), ("waiting", None)]


async def test_nothing_is_superseded_over_a_cancel(store: Store, meeting: Meeting) -> None:
    """REQUEST, CANCEL, REQUEST: all leave in order, for a CANCEL of what was never requested would say nothing."""
    await send(store, meeting, BOB)
    await send(store, meeting, BOB, method="CANCEL")
    await send(store, meeting, BOB)
    for number in (1, 2, 3):
        (one,) = await store.claim(NOW, LEASE, 10)
        assert one.id == number
        assert await store.settle(one, "sent", NOW)


async def test_only_a_request_that_can_leave_supersedes(store: Store, meeting: Meeting) -> None:
    """One that a person holds back, or that has failed, takes nobody's place."""
    await send(store, meeting, BOB)
    await send(store, meeting, BOB)
    await send(store, meeting, BOB)
    assert await store.hold(3, NOW)
    assert await store.drop(2, NOW)
    assert await claimed(store) == [1]


async def test_superseded_is_over(store: Store, meeting: Meeting) -> None:
    """What was superseded is not tried again, dropped or released: the newer one says it all."""
    await send(store, meeting, BOB)
    await send(store, meeting, BOB)
    assert await claimed(store) == [2]
    assert [await act(1, NOW) for act in (store.retry, store.drop, store.release, store.hold)] == [False] * 4
    assert await states(store) == [("failed", SUPERSEDED), ("sending", None)]


async def test_lease_that_ended_is_not_superseded(store: Store, meeting: Meeting) -> None:
    """What a dead process may have sent is sent again before the newer one: nobody knows how far it came."""
    await send(store, meeting, BOB)
    await store.claim(NOW, LEASE, 10)
    await send(store, meeting, BOB)
    (one,) = await store.claim(NOW + LEASE, LEASE, 10)
    assert (one.id, one.attempts) == (1, 2)
    assert await store.settle(one, "waiting", LATER, next_attempt=LATER + LEASE)
    assert [one.id for one in await store.claim(LATER, LEASE, 10)] == [2]
    assert (await states(store))[0] == ("failed", SUPERSEDED)


async def test_held_one_blocks_nobody(store: Store, meeting: Meeting) -> None:
    """What a person keeps back does not stop the later mails, and is not sent until it is released."""
    await send(store, meeting, BOB)
    await send(store, meeting, BOB)
    assert await store.hold(1, NOW)
    assert not await store.hold(1, NOW)
    assert [one.id for one in await store.claim(NOW, LEASE, 10)] == [2]
    assert await store.release(1, NOW)
    assert [one.id for one in await store.claim(NOW, LEASE, 10)] == [1]


async def test_by_hand(store: Store, meeting: Meeting) -> None:
    """Retry, drop and flush change what they say and nothing else, and each is kept as an attempt."""
    await send(store, meeting, BOB, EVE)
    bob, _ = await store.claim(NOW, LEASE, 10)
    assert not await store.drop(1, NOW)
    assert await store.settle(bob, "failed", NOW, error="550 no", code="5.1.1")
    assert await store.retry(1, NOW)
    assert not await store.release(1, NOW)
    assert await store.drop(1, NOW)
    shown = await store.outbox(1)
    assert shown is not None
    assert (shown["state"], shown["last_error"], shown["next_attempt"]) == ("failed", "dropped by hand", None)
    assert [one["error"] for one in shown["attempts_made"]] == ["550 no", "tried again by hand", "dropped by hand"]
    assert await store.outbox(99) is None
    assert not await store.retry(99)


async def test_flush_makes_all_due(store: Store, meeting: Meeting) -> None:
    """What backs off is due at once after a flush."""
    await send(store, meeting, BOB)
    (one,) = await store.claim(NOW, LEASE, 1)
    await store.settle(one, "waiting", NOW, next_attempt=NOW + timedelta(days=1))
    assert await store.claim(LATER, LEASE, 1) == []
    assert await store.flush_due(LATER) == 1
    assert await store.flush_due(LATER) == 0
    assert len(await store.claim(LATER, LEASE, 1)) == 1


@pytest.mark.parametrize(
    ("state", "code", "expected"),
    [("sent", None, "1.1"), ("failed", "5.1.1", "3.7"), ("failed", "5.7.1", "5.3"), ("failed", "4.4.7", "5.1")],
)
async def test_schedule_status(store: Store, meeting: Meeting, state: str, code: str | None, expected: str) -> None:
    """A settled REQUEST sets the recipient's SCHEDULE-STATUS and nobody else's."""
    await send(store, meeting, BOB)
    (one,) = await store.claim(NOW, LEASE, 1)
    assert await store.settle(one, state, LATER, code=code)
    now = await whole(store, "a")
    assert now.attendees["", BOB].schedule_status == expected
    assert now.attendees["", EVE].schedule_status is None


async def test_later_reply_keeps_its_schedule_status(store: Store, meeting: Meeting) -> None:
    """A mail that leaves after its recipient has replied says nothing about how the recipient is reached."""
    await send(store, meeting, BOB)
    (one,) = await store.claim(NOW, LEASE, 1)
    await reply(store, "a", BOB, at=NOW + timedelta(seconds=1))
    assert await store.settle(one, "failed", LATER, code="5.1.1")
    assert (await whole(store, "a")).attendees["", BOB].schedule_status is None


async def test_declinecounter_sets_no_status(store: Store, meeting: Meeting) -> None:
    """Only REQUEST and CANCEL tell how an attendee is reached."""
    await send(store, meeting, BOB, method="DECLINECOUNTER")
    (one,) = await store.claim(NOW, LEASE, 1)
    assert await store.settle(one, "sent", LATER)
    assert (await whole(store, "a")).attendees["", BOB].schedule_status is None


@pytest.mark.parametrize(("code", "expected"), [(None, "5.2"), ("5.1.2", "5.2"), ("5.7", "5.2"), ("5.7.26", "5.3")])
def test_failure(code: str | None, expected: str) -> None:
    """RFC 6638 §3.2.9: what is permanent and neither mailbox nor policy is 5.2."""
    assert failure(code) == expected


async def test_many_claim_each_once(store_url: str) -> None:
    """Two processes that claim at the same time share the work: each delivery goes to one of them."""
    stores = [await Store.open(store_url) for _ in range(2)]
    meeting = await register(stores[0], "a")
    await send(stores[0], meeting, *(f"g{number}@example.org" for number in range(40)))
    found: list[int] = []

    async def work(store: Store) -> None:
        while claimed := await store.claim(NOW, LEASE, 3):
            found.extend(one.id for one in claimed)
            for one in claimed:
                assert await store.settle(one, "sent", NOW)

    await asyncio.gather(*(work(store) for store in stores for _ in range(2)))
    for store in stores:
        await store.close()
    assert sorted(found) == list(range(1, 41))


async def test_list(store: Store, meeting: Meeting) -> None:
    """The outbox lists by state, by meeting, forwards and backwards, page by page."""
    await send(store, meeting, BOB, EVE)
    other = await register(store, "b", guest(BOB))
    await send(store, other, BOB)
    (one,) = await store.claim(NOW, LEASE, 1)
    await store.settle(one, "waiting", NOW, next_attempt=LATER, error="450 later")
    lines, after = await store.outbox_list(limit=2)
    assert [line["id"] for line in lines] == [1, 2]
    assert lines[0] == {
        "id": 1, "method": "REQUEST", "uid": "a", "recurrence_id": None, "sequence": 0, "to": [BOB], "state": "waiting",
        "attempts": 1, "next_attempt": LATER.isoformat(), "last_error": "450 later",
        "message_id": sending(meeting, other_ref(), BOB).deliveries[0].message_id, "reason": "registered",
    }  # fmt: skip
    assert ([line["id"] for line in (await store.outbox_list(limit=2, after=after))[0]]) == [3]
    assert [line["id"] for line in (await store.outbox_list(newest=True))[0]] == [3, 2, 1]
    assert [line["id"] for line in (await store.outbox_list(organizer=meeting.organizer, uid="b"))[0]] == [3]
    assert [line["id"] for line in (await store.outbox_list(state="waiting"))[0]] == [1, 2, 3]
    assert (await store.outbox_list(state="failed"))[0] == []


def other_ref() -> Ref:
    """Any cause."""
    return Ref("")
