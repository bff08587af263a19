"""A meeting's own policy, its thresholds and its published answers: what it does by itself, exactly once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest

from itipd.config import Config, PolicySection
from itipd.inbox import Inbox
from itipd.itip import case, own_policy, thresholds
from itipd.itip.derive import moment_of
from itipd.itip.incoming import incoming
from itipd.itip.model import Attendee, Change, Decision, Event, Meeting, Policy, PutMeeting
from itipd.itip.outcomes import Outcome, Reason
from itipd.orders import AcceptHeld, Cancel, Deadline, Mail, Order, Publish, Put, Receipt, SetPolicy, pack, unpack
from itipd.rebuild import rebuild
from itipd.scheduler import Scheduler
from itipd.store import Store
from tests.cli_help import BOB, CAROL, WE, Itipd, calendar, event, mail, reply
from tests.daemon import Daemon
from tests.store_help import moment

NOW = datetime(2026, 11, 20, 8, tzinfo=UTC)
LATER = NOW + timedelta(hours=4)
ERIN = "erin@example.org"


@pytest.fixture
def itipd(sqlite_url: str, tmp_path: Path) -> Itipd:
    return Itipd(tmp_path)


@asynccontextmanager
async def running(store: Store) -> AsyncIterator[Inbox]:
    """An inbox that reads in this process."""
    inbox = Inbox(store, None, Config.model_validate({"organizers": [WE]}))
    await inbox.start()
    try:
        yield inbox
    finally:
        await inbox.stop()


async def register(inbox: Inbox, *lines: str, uid: str = "a", **words: object) -> None:
    """A meeting with Bob and Carol, with words of its own."""
    for found in incoming(calendar(event(uid, *lines)).encode()):
        await inbox.command(Put(found, recorded=True), at=NOW)
    if words:
        given = tuple((name, str(value)) for name, value in words.items())
        receipt = await inbox.command(SetPolicy(uid, given, WE), at=NOW)
        assert told(receipt) == ["updated/policy_changed"]


async def says(inbox: Inbox, who: str, partstat: str, *lines: str, at: datetime = NOW, uid: str = "a") -> Receipt:
    """A reply of theirs."""
    text = reply(uid, *lines, who=who, partstat=partstat, at=f"{at:%Y%m%dT%H%M%SZ}")
    raw = mail(text, sender=who, message_id=f"<{at.timestamp()}.{partstat}.{uid}.{len(lines)}.{who}>")
    return await inbox.submit(Mail(who, (WE,), raw, at))


def told(receipt: Receipt) -> list[str]:
    return [f"{decision.outcome}/{decision.reason}" for decision in receipt.results]


def sent(receipt: Receipt) -> list[tuple[str, tuple[str, ...], int, str]]:
    return [(s.method, s.to, s.sequence, s.reason) for decision in receipt.results for s in decision.sends]


async def status(store: Store, uid: str = "a") -> str:
    found = await store.meeting(uid, WE)
    assert found is not None
    return found.status


async def outbox(store: Store) -> list[tuple[str, str, str]]:
    lines, _ = await store.outbox_list(limit=1000)
    return [(line["method"], line["to"][0], line["reason"]) for line in lines]


# -- the words


def test_words_are_those_of_the_configuration() -> None:
    """A meeting may override every word of [policy] with the same values, but `freebusy` and `forward_to`."""
    section = {name: get_args(field.annotation) for name, field in PolicySection.model_fields.items()}
    del section["freebusy"], section["forward_to"]
    assert dict(own_policy.TASTE) == section
    assert set(own_policy.TASTE) == case.POLICY_WORDS


@pytest.mark.parametrize(
    ("name", "value", "stored"),
    [
        ("counter", " accept ", "accept"),
        ("counter", "", ""),
        ("cancel_when_declined", "required", "required"),
        ("cancel_when_declined", "off", ""),
        ("minimum_accepted", "007", "7"),
        ("minimum_accepted", "0", ""),
        ("publish_answers", "10", "10"),
        ("deadline", "2026-11-25T12:00:00+01:00", "2026-11-25T11:00:00+00:00"),
        ("deadline", "2026-11-25 12:00Z", "2026-11-25T12:00:00+00:00"),
    ],
)
def test_words_are_stored_in_one_form(name: str, value: str, stored: str) -> None:
    """However a value is written it is stored in one form; what means "off" or "as configured" is not stored."""
    assert own_policy.normalised(name, value) == stored


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("freebusy", "any"),
        ("by_person", "True"),
        ("counter", "perhaps"),
        ("minimum_accepted", "-1"),
        ("minimum_accepted", "٣"),
        ("minimum_accepted", "9" * 30),
        ("publish_answers", "20000"),
        ("publish_answers", "1.5"),
        ("deadline", "2026-11-25T12:00:00"),
        ("deadline", "0001-01-01T00:00:00+14:00"),
        ("deadline", "tomorrow"),
    ],
)
def test_bad_words_are_refused(name: str, value: str) -> None:
    """What is no word, or no value of it, is refused; the text names it and what was expected."""
    with pytest.raises(ValueError, match=r"found .*, expected"):
        own_policy.normalised(name, value)


def test_policy_is_all_or_nothing() -> None:
    """One bad word, a deadline without a number, or one in the past: nothing of the order is taken."""
    for given in (
        [("counter", "accept"), ("sender", "nobody")],
        [("counter", "accept"), ("minimum_accepted", "2")],
        [("deadline", "2026-12-01T00:00:00Z")],
        [("minimum_accepted", "2"), ("deadline", "2026-11-20T08:00:00Z")],
    ):
        decision = own_policy.changed(Meeting(WE, "a"), given, NOW)
        assert (decision.outcome, decision.reason, decision.writes) == (Outcome.ERROR, Reason.BAD_POLICY, ())
        assert decision.detail


def test_policy_goes_back() -> None:
    """An empty value takes a word away; what stood there is told, and the same again is no change."""
    meeting = Meeting(WE, "a", policy={"counter": "accept", "publish_answers": "5"}, publish_at=NOW)
    decision = own_policy.changed(meeting, [("counter", ""), ("publish_answers", "0")], NOW)
    assert decision.changes == (
        Change(None, "", "policy.counter", "accept", None),
        Change(None, "", "policy.publish_answers", "5", None),
    )
    (write,) = decision.writes
    assert isinstance(write, PutMeeting)
    assert (dict(write.meeting.policy), write.meeting.publish_at) == ({}, None)
    assert own_policy.changed(meeting, [("counter", "accept")], NOW).reason is Reason.UNCHANGED


def test_orders_survive_the_journal() -> None:
    """An order comes out of the journal as it went in."""
    orders: list[Order] = [SetPolicy("a", (("counter", "accept"), ("sender", "")), WE), Deadline("a", WE), Publish("a")]
    assert [unpack(pack(order)) for order in orders] == orders


# -- who counts


def people(*rows: Attendee, word: str = "all", events: dict[str, Event] | None = None) -> Meeting:
    """A meeting of these, far enough in the future."""
    master = Event("", "VEVENT", "UID:a\n", start=moment(1, 10), end=moment(1, 11))
    policy = {"cancel_when_declined": word, "minimum_accepted": "2"}
    attendees = {(row.rid, row.address): row for row in rows}
    return Meeting(WE, "a", events={"": master} | (events or {}), attendees=attendees, policy=policy, deadline_at=NOW)


def row(address: str, partstat: str | None, rid: str = "", **params: str) -> Attendee:
    return Attendee(address, rid, partstat=partstat, params={name: (value,) for name, value in params.items()})


RID = moment(8, 10).rid
GONE = Event(RID, "VEVENT", "", status="CANCELLED", start=moment(8, 10))


@pytest.mark.parametrize(
    ("rows", "ends"),
    [
        ([], False),
        ([row(BOB, "DECLINED"), row(CAROL, "DECLINED")], True),
        ([row(BOB, "DECLINED"), row(CAROL, "NEEDS-ACTION")], False),
        ([row(BOB, "DECLINED"), row(CAROL, "TENTATIVE")], False),
        ([row(BOB, "DECLINED"), row(WE, "ACCEPTED", ROLE="CHAIR")], True),
        ([row(BOB, "DECLINED"), row("room@example.org", "ACCEPTED", CUTYPE="ROOM")], True),
        ([row(BOB, "DECLINED"), row(CAROL, "ACCEPTED", ROLE="NON-PARTICIPANT")], True),
        ([row(BOB, "DECLINED"), row(CAROL, "DELEGATED"), row(ERIN, "DECLINED")], True),
        ([row(BOB, "DECLINED"), row(CAROL, "DELEGATED"), row(ERIN, "NEEDS-ACTION")], False),
        ([row(CAROL, "DELEGATED")], False),
        ([row(BOB, "DECLINED"), row(BOB, "ACCEPTED", RID)], False),
        ([row(BOB, "DECLINED"), row(BOB, None, RID)], True),
    ],
)
def test_all_have_declined(rows: list[Attendee], ends: bool) -> None:
    """All have declined when nobody who counts can come any more, not even to one instance, and one has declined."""
    assert (thresholds.when_declined(people(*rows), NOW) is not None) is ends


def test_an_instance_that_is_cancelled_asks_nobody() -> None:
    """An answer that is missing for an instance that does not take place keeps no meeting alive."""
    rows = (row(BOB, "DECLINED"), row(BOB, "NEEDS-ACTION", RID))
    assert thresholds.when_declined(people(*rows, events={RID: GONE}), NOW) is not None


def test_required_have_declined() -> None:
    """With "required" it does not matter what those say who need not come; with "all" it does."""
    rows = (row(BOB, "DECLINED"), row(CAROL, "ACCEPTED", ROLE="OPT-PARTICIPANT"))
    assert thresholds.when_declined(people(*rows, word="required"), NOW) is not None
    assert thresholds.when_declined(people(*rows, word="all"), NOW) is None
    only = (row(CAROL, "DECLINED", ROLE="OPT-PARTICIPANT"),)
    assert thresholds.when_declined(people(*only, word="required"), NOW) is None


def test_who_has_accepted() -> None:
    """Persons are counted, each once: who comes to an instance comes; rooms and the organizer are none."""
    series = (
        row(BOB, "ACCEPTED"),
        row(BOB, "ACCEPTED", RID),
        row(WE, "ACCEPTED"),
        row("r@x.test", "ACCEPTED", CUTYPE="ROOM"),
    )
    few = thresholds.at_deadline(people(*series), NOW)
    assert (few.outcome, few.reason) == (Outcome.CANCELLED, Reason.TOO_FEW_ACCEPTED)
    enough = thresholds.at_deadline(people(*series, row(CAROL, "DECLINED"), row(CAROL, "ACCEPTED", RID)), NOW)
    assert (enough.outcome, enough.reason) == (Outcome.NO_ACTION, Reason.ENOUGH_ACCEPTED)


def test_what_is_not_due_is_not_done() -> None:
    """Before its time, after it was done, or where the meeting is cancelled, nothing is decided at all."""
    meeting = replace(people(row(BOB, "DECLINED")), deadline_at=LATER, publish_at=LATER)
    for one, now in ((meeting, NOW), (replace(meeting, status="CANCELLED"), LATER)):
        for decision in (thresholds.at_deadline(one, now), thresholds.publish(one, now)):
            assert (decision.outcome, decision.reason, decision.writes) == (Outcome.NO_ACTION, Reason.UNCHANGED, ())


# -- through the inbox


async def test_the_last_refusal_cancels(store: Store) -> None:
    """The reply after which nobody comes cancels the meeting in its own transaction; each learns it from one CANCEL."""
    async with running(store) as inbox:
        await register(inbox, cancel_when_declined="all")
        assert sent(await says(inbox, BOB, "DECLINED")) == []
        last = await says(inbox, CAROL, "DECLINED")
        assert told(last) == ["updated/replied"]
        assert sent(last) == [("CANCEL", (BOB, CAROL), 1, "all_declined")]
        assert Change(None, "", "status", "CONFIRMED", "CANCELLED") in last.results[0].changes
        assert await status(store) == "CANCELLED"
        history = await store.history(WE, "a")
        assert [(line["outcome"], line["reason"], line["mail"]) for line in history[:2]] == [
            ("updated", "replied", last.id),
            ("cancelled", Reason.ALL_DECLINED, last.id),
        ]
        assert told(await says(inbox, BOB, "ACCEPTED", at=LATER)) == ["no_action/cancelled"]
    assert await outbox(store) == [
        ("CANCEL", BOB, "all_declined"),
        ("CANCEL", CAROL, "all_declined"),
        ("CANCEL", BOB, "cancelled"),
    ]


async def test_without_the_word_nothing_is_cancelled(store: Store) -> None:
    """A meeting that does not ask for it stays, whoever declines."""
    async with running(store) as inbox:
        await register(inbox)
        for who in (BOB, CAROL):
            assert sent(await says(inbox, who, "DECLINED")) == []
    assert await status(store) == "CONFIRMED"


async def test_refusals_at_once(store: Store) -> None:
    """Two last refusals at two processes at the same time: one of them sees the other, and one cancels."""
    async with running(store) as one, running(store) as two:
        for number in range(4):
            uid = f"m{number}"
            await register(one, uid=uid, cancel_when_declined="all")
            found = await asyncio.gather(says(one, BOB, "DECLINED", uid=uid), says(two, CAROL, "DECLINED", uid=uid))
            assert sorted(len(sent(receipt)) for receipt in found) == [0, 1]
            assert await status(store, uid) == "CANCELLED"


async def test_refusals_in_one_batch(store: Store) -> None:
    """Refusals that share a commit see each other: the last of them cancels."""
    guests = [f"g{number}@example.org" for number in range(30)]
    lines = [f"ATTENDEE:mailto:{guest}" for guest in guests]
    async with running(store) as inbox:
        await register(inbox, *lines, cancel_when_declined="all")
        found = await asyncio.gather(*(says(inbox, who, "DECLINED") for who in (*guests, BOB)))
        assert [sent(receipt) for receipt in found] == [[]] * 31
        last = await says(inbox, CAROL, "DECLINED")
        ((_, to, _, _),) = sent(last)
    assert sorted(to) == sorted([*guests, BOB, CAROL])


@pytest.mark.parametrize(
    ("line", "ends"),
    [
        ("ATTENDEE;ROLE=OPT-PARTICIPANT:mailto:erin@example.org", True),
        ('ATTENDEE;ROLE=opt-participant;CN="E":mailto:erin@example.org', True),
        ("ATTENDEE;CUTYPE=RESOURCE:mailto:erin@example.org", True),
        ("ATTENDEE;ROLE=CHAIR:mailto:erin@example.org", False),
        ("ATTENDEE:mailto:erin@example.org", False),
        ("ATTENDEE;PARTSTAT=DECLINED:mailto:erin@example.org", True),
        ("ATTENDEE;PARTSTAT=ACCEPTED;ROLE=CHAIR:mailto:meetings@example.com", True),
    ],
)
async def test_the_store_knows_who_counts(store: Store, line: str, ends: bool) -> None:
    """Those who are not loaded are asked for in the database by the same rule by which the core counts."""
    async with running(store) as inbox:
        await register(inbox, line, cancel_when_declined="required")
        await says(inbox, BOB, "DECLINED")
        assert bool(sent(await says(inbox, CAROL, "DECLINED"))) is ends


async def test_setting_it_too_late_still_counts(store: Store) -> None:
    """Where all have declined already, the order that asks for it is what cancels."""
    async with running(store) as inbox:
        await register(inbox)
        for who in (BOB, CAROL):
            await says(inbox, who, "DECLINED")
        receipt = await inbox.command(SetPolicy("a", (("cancel_when_declined", "all"),)), at=LATER)
        assert told(receipt) == ["updated/policy_changed"]
        assert sent(receipt) == [("CANCEL", (BOB, CAROL), 1, "all_declined")]
    assert await status(store) == "CANCELLED"


async def test_an_instance_declined_completes_it(store: Store) -> None:
    """Who declined the series but comes to one instance keeps it alive, until that is declined, too."""
    at = "RECURRENCE-ID:20261208T090000Z"
    async with running(store) as inbox:
        await register(inbox, "RRULE:FREQ=WEEKLY;COUNT=3", cancel_when_declined="all")
        await says(inbox, BOB, "ACCEPTED", at)
        assert sent(await says(inbox, BOB, "DECLINED", at=NOW + timedelta(hours=1))) == []
        assert sent(await says(inbox, CAROL, "DECLINED")) == []
        assert sent(await says(inbox, BOB, "DECLINED", at, at=LATER)) != []
    assert await status(store) == "CANCELLED"


async def test_a_meeting_differs_from_the_configuration(store: Store) -> None:
    """Each word that a meeting has of its own holds for it, and for no other."""
    async with running(store) as inbox:
        await register(inbox, party_crasher="added", sender="any", location="significant")
        await register(inbox, uid="b")
        assert told(await says(inbox, ERIN, "ACCEPTED")) == ["added/party_crasher"]
        assert told(await says(inbox, ERIN, "ACCEPTED", uid="b")) == ["held/party_crasher"]
        for uid, sequence in (("a", 1), ("b", 0)):
            (moved,) = incoming(calendar(event(uid, "LOCATION:Room 9")).encode())
            receipt = await inbox.command(Put(moved), at=LATER)
            assert receipt.results[0].sequence == sequence


async def test_a_person_decides_above_the_policy(store: Store) -> None:
    """What a person accepts counts, although the meeting itself would hold or refuse it."""
    async with running(store) as inbox:
        await register(inbox, sender="token", party_crasher="no_action")
        assert told(await says(inbox, ERIN, "ACCEPTED")) == ["held/sender_unproven"]
        assert told(await inbox.command(AcceptHeld(uid="a", attendee=ERIN), at=LATER)) == ["added/party_crasher"]


async def test_a_uid_used_again_begins_anew(store: Store) -> None:
    """A meeting that is registered again after it was cancelled has no words of the old one, and no deadline."""
    async with running(store) as inbox:
        await register(inbox, minimum_accepted=1, deadline=LATER.isoformat(), counter="accept")
        await inbox.command(Cancel("a"), at=NOW)
        assert await store.due(LATER) == []
        (again,) = incoming(calendar(event("a")).encode())
        assert told(await inbox.command(Put(again), at=NOW)) == ["added/registered"]
        found = await store.meeting("a", WE)
        assert found is not None
        assert (found.status, dict(found.policy), found.deadline_at) == ("CONFIRMED", {}, None)


# -- the scheduler


async def test_too_few_at_the_deadline(store: Store) -> None:
    """At the deadline, not before, a meeting with fewer than N is cancelled; one with enough stays. Each once."""
    async with running(store) as inbox:
        for uid in ("few", "enough"):
            await register(inbox, uid=uid, minimum_accepted=2, deadline=LATER.isoformat())
            await says(inbox, BOB, "ACCEPTED", uid=uid)
        await says(inbox, CAROL, "ACCEPTED", uid="enough")
        now = LATER - timedelta(seconds=1)
        scheduler = Scheduler(store, inbox, clock=lambda: now)
        assert await scheduler.give_due() == 0
        now = LATER
        assert await scheduler.give_due() == 2
        assert await scheduler.give_due() == 0
        assert [line["reason"] for line in await store.history(WE, "enough")][:1] == ["enough_accepted"]
    assert [await status(store, uid) for uid in ("few", "enough")] == ["CANCELLED", "CONFIRMED"]
    assert await outbox(store) == [("CANCEL", BOB, "too_few_accepted"), ("CANCEL", CAROL, "too_few_accepted")]


async def test_a_deadline_may_be_moved(store: Store) -> None:
    """A deadline set anew holds from now on, also where the old one has passed; taken away it is none."""
    async with running(store) as inbox:
        await register(inbox, minimum_accepted=1, deadline=LATER.isoformat())
        await says(inbox, BOB, "ACCEPTED")
        assert await Scheduler(store, inbox, clock=lambda: LATER).give_due() == 1
        await says(inbox, BOB, "DECLINED", at=LATER)
        again = LATER + timedelta(days=1)
        await inbox.command(SetPolicy("a", (("deadline", again.isoformat()),)), at=LATER)
        assert [due.at for due in await store.due(again)] == [again]
        await inbox.command(SetPolicy("a", (("deadline", ""), ("minimum_accepted", ""))), at=LATER)
        assert await store.due(again) == []
    assert await status(store) == "CONFIRMED"


async def test_two_nodes_do_it_once(store: Store) -> None:
    """Of two schedulers on one database one carries an order out; the other finds nothing, and leaves no trace."""
    async with running(store) as one, running(store) as two:
        for number in range(12):
            await register(one, uid=f"m{number}", minimum_accepted=1, deadline=LATER.isoformat())
        both = [Scheduler(store, inbox, clock=lambda: LATER) for inbox in (one, two)]
        assert sum(await asyncio.gather(*(scheduler.give_due() for scheduler in both))) == 12
    orders = [unpack_row.kind for unpack_row in await store.journal_from(0, 1000)]
    assert len(orders) == 12 * 3
    assert len(await outbox(store)) == 24


async def test_what_is_due_comes_in_pages(store: Store) -> None:
    """What is due is listed by time, each thing once, however small the pages."""
    async with running(store) as inbox:
        for number in range(5):
            at = LATER - timedelta(minutes=number // 2)
            await register(inbox, uid=f"m{number}", minimum_accepted=1, deadline=at.isoformat())
    whole = await store.due(LATER)
    assert [due.at for due in whole] == sorted(due.at for due in whole)
    found, page = [], await store.due(LATER, 2)
    while page:
        found += page
        page = await store.due(LATER, 2, page[-1])
    assert found == whole
    assert len(found) == 5


async def test_one_failing_order_holds_up_no_other(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """An order that fails by our own fault stays due; the others are carried out."""
    real = thresholds.at_deadline

    def poisoned(meeting: Meeting, now: datetime) -> Decision:
        if meeting.uid == "m1":
            raise RuntimeError("a fault of ours")
        return real(meeting, now)

    async with running(store) as inbox:
        for number in range(3):
            await register(inbox, uid=f"m{number}", minimum_accepted=1, deadline=LATER.isoformat())
        scheduler = Scheduler(store, inbox, clock=lambda: LATER)
        monkeypatch.setattr(thresholds, "at_deadline", poisoned)
        assert await scheduler.give_due() == 2
        assert [due.uid for due in await store.due(LATER)] == ["m1"]
        monkeypatch.undo()
        assert await scheduler.give_due() == 1


async def test_the_scheduler_survives_the_store(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While the database cannot be asked the scheduler goes on trying, and stops when it is told to."""
    monkeypatch.setattr("itipd.scheduler.POLL", 0.01)
    store = await Store.open(sqlite_url)
    asked = 0

    async def failing(*_: object) -> list[object]:
        nonlocal asked
        asked += 1
        if asked < 3:
            raise OSError("the disk is gone")
        stop.set()
        return []

    async with running(store) as inbox:
        scheduler = Scheduler(store, inbox)
        stop = asyncio.Event()
        monkeypatch.setattr(Store, "due", failing)
        await asyncio.wait_for(scheduler.run(stop), 10)
    assert asked == 3
    await store.close()


# -- published answers


async def test_answers_are_gathered_and_published(store: Store) -> None:
    """Answers within the minutes go out in one REQUEST to all: SEQUENCE as it was, the PARTSTATs of then."""
    async with running(store) as inbox:
        await register(inbox, publish_answers=10)
        assert sent(await says(inbox, BOB, "ACCEPTED")) == []
        assert sent(await says(inbox, CAROL, "DECLINED", at=NOW + timedelta(minutes=9))) == []
        now = NOW + timedelta(minutes=10)
        scheduler = Scheduler(store, inbox, clock=lambda: now)
        assert [(due.word, due.at) for due in await store.due(now)] == [("publish", now)]
        assert await scheduler.give_due() == 1
        assert await scheduler.give_due() == 0
        assert await outbox(store) == [("REQUEST", BOB, "answers_published"), ("REQUEST", CAROL, "answers_published")]
        line = await store.outbox(1)
        assert line is not None
        assert line["sequence"] == 0
        for text in (f"DTSTAMP:{now:%Y%m%dT%H%M%SZ}", "PARTSTAT=ACCEPTED", "PARTSTAT=DECLINED", "SEQUENCE:0"):
            assert text in line["calendar"].replace("\r\n ", "")
        # The same answer once more changes nothing that anybody would be told.
        again = NOW + timedelta(minutes=11)
        assert told(await says(inbox, BOB, "ACCEPTED", at=again)) == ["updated/replied"]
        assert await store.due(LATER) == []
        await says(inbox, BOB, "TENTATIVE", at=NOW + timedelta(minutes=12))
        assert [due.at for due in await store.due(LATER)] == [NOW + timedelta(minutes=22)]


async def test_answers_that_were_set_back_are_not_published(store: Store) -> None:
    """A meeting that moved meanwhile has told everybody already, and nobody has answered the new time."""
    async with running(store) as inbox:
        await register(inbox, publish_answers=10)
        await says(inbox, BOB, "ACCEPTED")
        (moved,) = incoming(calendar(event("a", start="20261202T090000Z")).encode())
        await inbox.command(Put(moved), at=NOW + timedelta(minutes=5))
        before = await outbox(store)
        assert await Scheduler(store, inbox, clock=lambda: LATER).give_due() == 1
        assert await store.due(LATER) == []
    assert await outbox(store) == before


async def test_published_answers_can_be_called_off(store: Store) -> None:
    """What was gathered is not told when the word is taken away, nor after the meeting was cancelled."""
    async with running(store) as inbox:
        await register(inbox, publish_answers=10)
        await register(inbox, uid="b", publish_answers=10)
        for uid in ("a", "b"):
            await says(inbox, BOB, "ACCEPTED", uid=uid)
        await inbox.command(SetPolicy("a", (("publish_answers", "0"),)), at=NOW)
        await inbox.command(Cancel("b"), at=NOW)
        assert await store.due(LATER) == []


async def test_answers_at_once_are_published_once(store: Store) -> None:
    """Answers at two processes at the same time set one time, and are told once."""
    async with running(store) as one, running(store) as two:
        await register(one, publish_answers=10)
        await asyncio.gather(says(one, BOB, "ACCEPTED"), says(two, CAROL, "ACCEPTED"))
        both = [Scheduler(store, inbox, clock=lambda: LATER) for inbox in (one, two)]
        assert sum(await asyncio.gather(*(scheduler.give_due() for scheduler in both))) == 1
    assert len(await outbox(store)) == 2


async def test_a_large_meeting_publishes_nothing(store: Store) -> None:
    """Where a mail would list nobody but its reader there is nothing to publish, and it is tried once."""
    lines = [f"ATTENDEE:mailto:g{number}@example.org" for number in range(200)]
    async with running(store) as inbox:
        await register(inbox, *lines, publish_answers=10)
        await says(inbox, BOB, "ACCEPTED")
        assert await Scheduler(store, inbox, clock=lambda: LATER).give_due() == 1
        assert await store.due(LATER) == []
    assert await outbox(store) == []


ANSWERED = replace(row(BOB, "ACCEPTED"), replied_at=NOW)


def published(meeting: Meeting) -> list[tuple[str, tuple[str, ...], str, int]]:
    """What goes out when the answers are due; they are due once, whether anything does or not."""
    decision = thresholds.publish(replace(meeting, publish_at=NOW), NOW)
    (write,) = decision.writes
    assert isinstance(write, PutMeeting)
    assert write.meeting.publish_at is None
    assert (decision.outcome is Outcome.UPDATED) is bool(decision.sends)
    return [(send.method, send.to, send.rid, send.sequence) for send in decision.sends]


def test_nobody_is_told_answers_without_need() -> None:
    """What is over, and where nobody but the organizer is left to be told, is not published."""
    past = Event("", "VEVENT", "", start=moment_of("20261101T090000Z"), end=moment_of("20261101T100000Z"))
    assert published(people(ANSWERED)) == [("REQUEST", (BOB,), "", 0)]
    assert published(people(ANSWERED, events={"": past})) == []
    assert published(people(replace(ANSWERED, removed=True), row(WE, "ACCEPTED"))) == []


def test_each_is_told_what_they_are_invited_to() -> None:
    """Guests of the series are told it once; who is invited to some instances only, those that take place."""
    other = moment(15, 10).rid
    events = {RID: GONE, other: Event(other, "VEVENT", "", sequence=3, start=moment(15, 10), end=moment(15, 11))}
    rows = (ANSWERED, row(BOB, None, other), row(CAROL, "NEEDS-ACTION", other), row(ERIN, "NEEDS-ACTION", RID))
    assert published(people(*rows, events=events)) == [("REQUEST", (BOB,), "", 0), ("REQUEST", (CAROL,), other, 3)]
    alone = replace(people(*rows, events=events), events=events)
    assert published(alone) == [("REQUEST", (BOB, CAROL), other, 3)]


# -- the journal


async def test_the_journal_gives_the_same(store: Store, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A database rebuilt from the journal has the same policies, ends and mails: what happened by itself is in it."""
    async with running(store) as inbox:
        await register(inbox, uid="declined", cancel_when_declined="all", counter="decline")
        await register(inbox, uid="few", minimum_accepted=1, deadline=LATER.isoformat())
        await register(inbox, uid="told", publish_answers=30)
        for uid in ("declined", "few", "told"):
            for who in (BOB, CAROL):
                await says(inbox, who, "DECLINED", uid=uid)
        await Scheduler(store, inbox, clock=lambda: LATER).give_due()
        await says(inbox, BOB, "ACCEPTED", uid="told", at=LATER)
        await Scheduler(store, inbox, clock=lambda: LATER + timedelta(minutes=31)).give_due()
    assert len(await outbox(store)) == 8
    target = await Store.open(f"sqlite:///{tmp_path_factory.mktemp('rebuilt') / 'itipd.db'}")
    async with running(target) as inbox:
        done = await rebuild(store, target, inbox, lambda: None)
    await target.close()
    assert done.differences == []
    assert (done.meetings, done.entries) == (3, 3 + 3 + 6 + 2 + 1 + 1)


def test_policy_of_the_organizer_is_untouched() -> None:
    """Thresholds are words of meetings alone: the configured policy has none of them."""
    assert not set(own_policy.OFF) & set(Policy.__dataclass_fields__)


# -- from outside


def test_the_daemon_keeps_the_deadline(tmp_path: Path) -> None:
    """A deadline that a person sets by command is kept by the daemon that runs: the meeting is cancelled in time."""
    with Daemon(tmp_path) as daemon:
        (tmp_path / "a.ics").write_text(calendar(event("a", start="20361201T090000Z")), encoding="utf-8")
        daemon.itipd("meeting", "put", "a.ics", "--recorded")
        deadline = datetime.now(UTC) + timedelta(seconds=10)
        (said,) = daemon.json("meeting", "policy", "a", "minimum_accepted=1", f"deadline={deadline.isoformat()}")
        assert (said["outcome"], said["reason"]) == ("updated", "policy_changed")
        (shown,) = daemon.json("meeting", "policy", "a")
        assert shown["policy"] == {"minimum_accepted": "1", "deadline": deadline.isoformat()}
        assert shown["effective"]["counter"] == "hold"
        give_up = time.monotonic() + 40
        while daemon.json("status", "a")[0]["status"] != "CANCELLED" and time.monotonic() < give_up:
            time.sleep(0.2)
        (found,) = daemon.json("meeting", "show", "a")
        assert (found["status"], found["policy"]["minimum_accepted"]) == ("CANCELLED", "1")
        assert [line["reason"] for line in found["history"]][:1] == ["too_few_accepted"]
        assert daemon.json("db", "rebuild")[0]["differences"] == []
        assert daemon.stop() == 0


@pytest.mark.parametrize("words", [("counter",), ("counter=perhaps",), ("counter=accept", "colour=red"), ("=",)])
def test_bad_words_on_the_command_line(itipd: Itipd, words: tuple[str, ...]) -> None:
    """A word without a value is bad usage, one that is none is refused with exit 1; nothing is taken."""
    itipd.put(event("a"))
    called = itipd("meeting", "policy", "a", *words)
    assert called.code == (2 if words == ("counter",) else 1)
    assert "found" in called.err
    assert itipd("meeting", "policy", "a", "--json").json["policy"] == {}


def test_policy_of_an_unknown_meeting(itipd: Itipd) -> None:
    """There is no policy of a meeting that is not there."""
    for words in ((), ("counter=accept",)):
        assert itipd("meeting", "policy", "nobody", *words).code == 1
