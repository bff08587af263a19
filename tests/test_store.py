"""The store keeps what it is given, on SQLite and PostgreSQL alike."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from itipd.itip.model import (
    Attendee,
    CalAddress,
    Change,
    Decision,
    Event,
    Meeting,
    Moment,
    Proposal,
    Proposed,
    PutAttendee,
    PutEvent,
    PutMeeting,
    PutProposal,
    Revision,
    Write,
)
from itipd.itip.outcomes import Outcome, Reason
from itipd.store import Entry, NewDelivery, OutcomeRow, Ref, Sending, Store, Want

NOW = datetime(2026, 11, 20, 8, 0, 5, 123456, tzinfo=UTC)
WE = "meetings@example.com"
BOB = "bob@example.com"


def moment(day: int, hour: int) -> Moment:
    """A time in Berlin's winter."""
    local = datetime(2026, 12, day, hour)  # noqa: DTZ001 - a wall clock
    return Moment(local, local.replace(tzinfo=UTC) - timedelta(hours=1))


def guest(address: str, **fields: object) -> Attendee:
    """A row of the series."""
    return Attendee(address, **fields)  # type: ignore[arg-type] # the caller's names


def writes_of(uid: str, guests: Iterable[Attendee], events: Iterable[Event] = ()) -> list[Write]:
    """What a put of a meeting comes to."""
    master = Event("", "VEVENT", f"UID:{uid}\nSUMMARY:Plan\n", summary="Plan", start=moment(1, 10), end=moment(1, 11))
    return [
        PutMeeting(Meeting(WE, uid, name="Meetings")),
        PutEvent(master),
        *(PutEvent(event) for event in events),
        *(PutAttendee(row) for row in guests),
    ]


async def register(store: Store, uid: str, *guests: Attendee, events: Iterable[Event] = ()) -> Meeting:
    """A meeting in a batch of its own."""
    async with store.batch() as batch:
        await batch.gather([Want(WE, uid, everything=True)])
        return await batch.apply(batch.meeting(WE, uid), WE, uid, writes_of(uid, guests, events))


async def whole(store: Store, uid: str) -> Meeting | None:
    """The meeting as a batch sees it."""
    async with store.batch() as batch:
        await batch.gather([Want(WE, uid, everything=True)])
        return batch.meeting(WE, uid)


async def test_meeting_comes_back_as_it_was_put(store: Store) -> None:
    """Every field of a meeting, its events and its attendees survives the database."""
    rid = moment(8, 10).rid
    bob = Attendee(
        BOB, "", 3, {"CN": ("Bob",), "MEMBER": ("a", "b")}, False, False, True, "TENTATIVE", True,
        Revision(4, NOW), NOW, NOW, 2, NOW, True, "late", ("x@example.com",), ("y@example.com",), "s@example.com", 2,
        "2.0", 50, NOW, NOW,
    )  # fmt: skip
    override = Event(
        rid, "VEVENT", "LOCATION:B\n", 3, True, NOW, "CANCELLED", "Moved", "B", moment(8, 12), moment(8, 13),
        "Europe/Berlin", ("FREQ=DAILY",), (moment(9, 9),), (moment(10, 9), moment(11, 9)), True,
    )  # fmt: skip
    put = await register(store, "a", bob, Attendee(BOB, rid, partstat=None), events=[override])
    assert put.id > 0
    assert await whole(store, "a") == put


async def test_reply_path(store: Store) -> None:
    """A reply writes its attendee, its mail, its outcome and a mail back, and the refs get their ids."""
    await register(store, "a", guest(BOB), guest("eve@example.com"))
    digest = b"0123456789abcdef"
    async with store.batch() as batch:
        assert await batch.seen([(WE, digest)]) == {}
        await batch.gather([Want(WE, "a", frozenset({BOB}))])
        meeting = batch.meeting(WE, "a")
        assert meeting is not None
        assert list(meeting.attendees) == [("", BOB)]
        accepted = Attendee(BOB, partstat="ACCEPTED", revision=Revision(0, NOW))
        after = await batch.apply(meeting, WE, "a", [PutAttendee(accepted)])
        assert after.attendees["", BOB] == accepted
        entry = batch.journal(Entry(WE, "mail", NOW, zlib.compress(b"raw"), digest=digest))
        change = Change(BOB, "", "partstat", "NEEDS-ACTION", "ACCEPTED")
        decision = Decision(Outcome.UPDATED, Reason.REPLIED, uid="a", attendee=BOB, changes=(change,))
        outcome = batch.outcome(OutcomeRow(entry, 0, decision, NOW))
        sending = Sending(
            WE, "Meetings", "a", after.id, "REQUEST", "", 0, "refresh", "Plan", "BEGIN:VCALENDAR", NOW,
            (NewDelivery(BOB, "<1@example.com>", "token"),), entry,
        )  # fmt: skip
        sent = batch.send(sending)
    assert min(entry.id, outcome.id, sent.id) > 0
    async with store.batch() as batch:
        assert await batch.seen([(WE, digest), (WE, b"x" * 16)]) == {(WE, digest): entry.id}
    now = await whole(store, "a")
    assert now is not None
    assert now.attendees["", BOB] == accepted
    assert now.attendees["", "eve@example.com"].partstat == "NEEDS-ACTION"


async def test_proposals(store: Store) -> None:
    """A proposal gets an id, comes back whole, and is loaded for its attendee only while it is open."""
    meeting = await register(store, "a", guest(BOB))
    said = Proposed(moment(2, 10), moment(2, 11), "there", "S", moment(1, 10), moment(1, 11), "Europe/Berlin")
    proposal = Proposal(0, BOB, "", said, (CalAddress("new@example.com", {"CN": ("N",)}),), "why", 1)
    async with store.batch() as batch:
        await batch.gather([Want(WE, "a", frozenset({BOB}))])
        meeting = await batch.apply(batch.meeting(WE, "a"), WE, "a", [PutProposal(proposal)])
    (stored,) = meeting.proposals.values()
    assert stored.id > 0
    again = await whole(store, "a")
    assert again is not None
    assert again.proposals == {stored.id: stored}


async def test_held_mail_of_this_and_of_earlier_batches(store: Store) -> None:
    """Open held outcomes are found until they are closed, also inside the batch that holds them."""
    decision = Decision(Outcome.HELD, Reason.UNKNOWN_MEETING, uid="a", attendee=BOB)
    async with store.batch() as batch:
        await batch.gather([Want(WE, "a")])
        entry = batch.journal(Entry(WE, "mail", NOW, b"raw", sender="s@example.com", recipients=(WE,)))
        batch.outcome(OutcomeRow(entry, 0, decision, NOW, open=True))
        (held,) = await batch.held([(WE, "a")], "unknown_meeting")
        assert held.packed == b"raw"
    async with store.batch() as batch:
        (held,) = await batch.held([(WE, "a"), (WE, "b")], "unknown_meeting")
        assert (held.entry.id, held.recipients, held.received_at) == (entry.id, (WE,), NOW)
        assert await batch.held([(WE, "a")], "party_crasher") == []
        batch.close_held(held.outcome, "decided")
        assert await batch.held([(WE, "a")]) == []
    async with store.batch() as batch:
        assert await batch.held([(WE, "a")]) == []


def test_refs_are_plain() -> None:
    """A Ref starts without an id."""
    assert Ref(WE).id == 0
