"""The tables of rules.md §3, §6 and §7: which rule decides about an attendee's message, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from itipd.itip.decide import considered, decide
from itipd.itip.model import DropAttendee, Meeting, Message, Policy, PutAttendee, PutProposal, Revision
from itipd.itip.outcomes import Outcome, Reason
from tests.itip_samples import (
    ANN,
    BOB,
    CAT,
    DAN,
    DEC_1,
    DEC_8,
    DEC_15,
    DEC_22,
    EVE,
    LATER,
    NOW,
    POLICY,
    WE,
    WEEKLY,
    apply,
    at,
    counter,
    hear,
    instances,
    line,
    message,
    override,
    put,
    registered,
    reply,
    rid_of,
    sender,
    sent,
    series,
    single,
    standing,
    vevent,
    words,
)

ADDED = Policy(party_crasher="added")
REFUSED = Policy(party_crasher="no_action")


def cancelled_series() -> Meeting:
    """A series that was cancelled."""
    return put(series(), vevent(WEEKLY, "STATUS:CANCELLED", sequence=1))[0]


def one_cancelled() -> Meeting:
    """A series whose 8 December is cancelled."""
    return put(series(), vevent(WEEKLY), override(8, "STATUS:CANCELLED"))[0]


def without_bob() -> Meeting:
    """A series that Bob was taken off."""
    return put(series(), vevent(WEEKLY, guests=(ANN,)))[0]


def without_bob_on_8() -> Meeting:
    """A series with an override that Bob was taken off."""
    return put(series(override(8)), vevent(WEEKLY), override(8, guests=(ANN,)))[0]


def moved() -> Meeting:
    """A single meeting that was moved: everybody's reset sequence is 1."""
    return put(single(), vevent(start="DTSTART;TZID=Europe/Berlin:20261201T140000"), now=NOW)[0]


def refresh(address: str, rid: str = "") -> Message:
    """A REFRESH."""
    return message(line(address, None), method="REFRESH", rid=rid, sequence=None)


# What the meeting is, who writes what, and what is decided and sent. The order is that of rules.md §3.
TABLE: dict[str, tuple[Callable[[], Meeting], Message, str, list[tuple[str, str, str, int]]]] = {
    "another organizer's meeting": (single, reply(ANN, organizer="x@example.org"), "no_action/organizer_mismatch", []),
    "no ORGANIZER": (single, reply(ANN, organizer=None), "updated/replied", []),
    "an instance that is none": (series, reply(ANN, rid="20261209T090000Z"), "no_action/unknown_instance", []),
    "an instance in EXDATE": (
        lambda: registered(vevent(WEEKLY, "EXDATE;TZID=Europe/Berlin:20261208T100000")),
        reply(ANN, rid=DEC_8),
        "no_action/unknown_instance",
        [],
    ),
    "the meeting is cancelled": (cancelled_series, reply(BOB), "no_action/cancelled", [("CANCEL", BOB, "", 1)]),
    "the meeting of that instance is cancelled": (
        cancelled_series,
        reply(BOB, rid=DEC_8),
        "no_action/cancelled",
        [("CANCEL", BOB, "", 1)],
    ),
    "the instance is cancelled": (
        one_cancelled,
        reply(BOB, rid=DEC_8),
        "no_action/cancelled",
        [("CANCEL", BOB, DEC_8, 1)],
    ),
    "another instance is cancelled": (one_cancelled, reply(BOB, rid=DEC_15), "updated/replied", []),
    "cancelled, and a stranger": (cancelled_series, reply(EVE), "no_action/cancelled", []),
    "taken off": (without_bob, reply(BOB), "no_action/uninvited", [("CANCEL", BOB, "", 1)]),
    "taken off, about an instance": (
        without_bob,
        reply(BOB, rid=DEC_8),
        "no_action/uninvited",
        [("CANCEL", BOB, "", 1)],
    ),
    "taken off one instance": (
        without_bob_on_8,
        reply(BOB, rid=DEC_8),
        "no_action/uninvited",
        [("CANCEL", BOB, DEC_8, 1)],
    ),
    "taken off another instance": (without_bob_on_8, reply(BOB, rid=DEC_15), "updated/replied", []),
    "never invited": (single, reply(EVE), "held/party_crasher", []),
    "never invited to that instance": (
        lambda: series(override(8, guests=(ANN,))),
        reply(BOB, rid=DEC_8),
        "held/party_crasher",
        [],
    ),
    "before the last reset": (
        moved,
        reply(ANN, sequence=0, minute=30),
        "no_action/stale_sequence",
        [("REQUEST", ANN, "", 1)],
    ),
    "of the last reset": (moved, reply(ANN, sequence=1), "updated/replied", []),
    "no SEQUENCE, written before the reset": (
        moved,
        reply(ANN, sequence=None, minute=-1),
        "no_action/stale_sequence",
        [("REQUEST", ANN, "", 1)],
    ),
    "no SEQUENCE, with the DTSTAMP of the invitation": (
        lambda: put(single(), vevent(start="DTSTART:20261202T090000Z"), now=NOW.replace(microsecond=600_000))[0],
        reply(ANN, sequence=None, minute=0),
        "updated/replied",
        [],
    ),
    "no SEQUENCE, written after it": (moved, reply(ANN, sequence=None, minute=1), "updated/replied", []),
    "no SEQUENCE, never reset": (
        lambda: single(sequence=5),
        reply(ANN, sequence=None, minute=-999),
        "updated/replied",
        [],
    ),
    "below the first SEQUENCE seen": (
        lambda: single(sequence=5),
        reply(ANN, sequence=4),
        "no_action/stale_sequence",
        [("REQUEST", ANN, "", 5)],
    ),
    "above ours": (single, reply(ANN, sequence=7), "updated/replied", []),
    "no PARTSTAT": (single, reply(ANN, None), "error/no_partstat", []),
    "no PARTSTAT, the REQUEST failed": (single, reply(ANN, None, request_status="3.0"), "updated/replied", []),
    "a PARTSTAT that nobody knows": (single, reply(ANN, "MAYBE"), "updated/replied", []),
    "REFRESH": (single, refresh(ANN), "no_action/refresh", [("REQUEST", ANN, "", 0)]),
    "REFRESH of an instance without an override": (
        series,
        refresh(ANN, DEC_8),
        "no_action/refresh",
        [("REQUEST", ANN, "", 0)],
    ),
    "REFRESH of an override": (
        lambda: series(override(8)),
        refresh(ANN, DEC_8),
        "no_action/refresh",
        [("REQUEST", ANN, DEC_8, 0)],
    ),
    "REFRESH of a cancelled meeting": (
        cancelled_series,
        refresh(ANN),
        "no_action/cancelled",
        [("CANCEL", ANN, "", 1)],
    ),
    "REFRESH of all by a guest of one day": (
        lambda: series(override(8, guests=(ANN, EVE)), override(15, hour=15, guests=(ANN, EVE))),
        refresh(EVE),
        "no_action/refresh",
        [("REQUEST", EVE, DEC_8, 0), ("REQUEST", EVE, DEC_15, 0)],
    ),
    "REFRESH of all by a guest of a day that is cancelled": (
        lambda: put(series(override(8, guests=(ANN, EVE))), vevent(WEEKLY), override(8, "STATUS:CANCELLED"))[0],
        refresh(EVE),
        "no_action/party_crasher",
        [],
    ),
    "REFRESH of all, of days without their series": (
        lambda: registered(override(8, guests=(EVE,)), override(15)),
        refresh(EVE),
        "no_action/refresh",
        [("REQUEST", EVE, DEC_8, 0)],
    ),
    "REFRESH by one who was taken off all but one day": (
        lambda: put(series(override(8)), vevent(WEEKLY, guests=(ANN,)), override(8))[0],
        refresh(BOB),
        "no_action/refresh",
        [("REQUEST", BOB, DEC_8, 2)],
    ),
    "REFRESH by a stranger": (single, refresh(EVE), "no_action/party_crasher", []),
    "REFRESH by one who was taken off": (without_bob, refresh(BOB), "no_action/uninvited", []),
    "COUNTER": (single, counter(ANN, "20261203T090000Z"), "updated/proposal", []),
    "COUNTER by a stranger": (single, counter(EVE, "20261203T090000Z"), "held/party_crasher", []),
    "COUNTER to what was moved": (
        moved,
        counter(ANN, "20261203T090000Z"),
        "no_action/stale_sequence",
        [("DECLINECOUNTER", ANN, "", 1)],
    ),
    "COUNTER to a cancelled meeting": (
        cancelled_series,
        counter(ANN, "20261203T090000Z"),
        "no_action/cancelled",
        [("CANCEL", ANN, "", 1)],
    ),
    "COUNTER where the organizer wants none": (
        lambda: single(organizer=f"X-MICROSOFT-DISALLOW-COUNTER:TRUE\r\nORGANIZER:mailto:{WE}"),
        counter(ANN, "20261203T090000Z"),
        "updated/proposal",
        [("DECLINECOUNTER", ANN, "", 0)],
    ),
}


@pytest.mark.parametrize(("meeting", "one", "expected", "mails"), TABLE.values(), ids=TABLE.keys())
def test_the_first_rule_that_applies_decides(
    meeting: Callable[[], Meeting], one: Message, expected: str, mails: list[tuple[str, str, str, int]]
) -> None:
    """rules.md §3, §6.2, §7: outcome, reason, and the mails that leave, each to the sender alone."""
    _, decision = hear(meeting(), one)
    assert (words(decision), sent(decision)) == (expected, mails)


@pytest.mark.parametrize("method", ["REQUEST", "CANCEL", "ADD", "PUBLISH", "DECLINECOUNTER", "X-OTHER"])
def test_an_organizers_method_from_outside_is_for_nobody_here(method: str) -> None:
    """rules.md §8: what an organizer sends changes nothing at the organizer's mailbox."""
    meeting = single()
    after, decision = hear(meeting, message(line(ANN), method=method))
    assert (words(decision), after) == ("no_action/not_for_organizer", meeting)


@pytest.mark.parametrize("component", ["VFREEBUSY", "VJOURNAL"])
def test_a_reply_of_another_component_is_for_nobody_here(component: str) -> None:
    """RFC 5546 §3.3, §3.5: only events and to-dos are answered; nobody is looked for in the rest."""
    one = Message("REPLY", component, "m1@planner.example.com")
    assert words(decide(single(), one, sender(ANN), POLICY, LATER)) == "no_action/not_for_organizer"


def test_an_unknown_meeting_is_waited_for() -> None:
    """rules.md §3: held, decided again by itself when the meeting is registered."""
    decision = decide(None, reply(ANN), sender(ANN), POLICY, LATER)
    assert (words(decision), decision.attendee, decision.partstat) == ("held/unknown_meeting", ANN, "ACCEPTED")


@pytest.mark.parametrize(
    ("from_", "policy"),
    [
        (WE, POLICY),
        ("meetings+b-x@example.com", POLICY),
        ("boss@example.net", Policy(aliases={"boss@example.net": WE})),
    ],
    ids=["the organizer", "a return path of ours", "an alias of the organizer"],
)
def test_mail_from_ourselves_is_ignored(from_: str, policy: Policy) -> None:
    """rules.md §12: a loop, or the organizer's own client."""
    _, decision = hear(single(), reply(ANN), evidence=sender(from_), policy=policy)
    assert words(decision) == "no_action/own_mail"


def test_an_organizers_method_in_our_own_name_is_our_own_mail() -> None:
    """rules.md §12: our REQUEST comes back to us."""
    decision = decide(single(), message(line(ANN), method="REQUEST"), sender(WE), POLICY, LATER)
    assert words(decision) == "no_action/own_mail"


def test_an_unproven_sender_changes_nothing() -> None:
    """RFC 6047 §2.2.1, a MUST: held for a person, the state is unchanged."""
    meeting = single()
    after, decision = hear(meeting, reply(ANN), evidence=sender(EVE))
    assert (words(decision), after, decision.sends) == ("held/sender_unproven", meeting, ())


def test_a_rule_that_cannot_be_followed_is_the_mails_fault() -> None:
    """rules.md §4.5: a hostile rule costs nothing; the master is untouched."""
    meeting = registered(vevent("RRULE:FREQ=SECONDLY;INTERVAL=7;BYHOUR=3;BYMONTH=2;BYMONTHDAY=29"))
    one = reply(ANN, rid="21001231")
    after, decision = hear(meeting, one)
    assert (words(decision), after) == ("error/rule_too_costly", meeting)


def test_explain_sees_every_rule_up_to_the_one_that_decides() -> None:
    """`itipd explain` shows the rules in the order of the table; only the last one answers."""
    rules = list(considered(single(), reply(EVE), sender(EVE), POLICY, LATER))
    assert [name for name, decision in rules if decision is not None] == [rules[-1][0]] == ["party_crasher"]
    assert rules[0][0] == "organizer_mismatch"


# -- what an answer writes ---------------------------------------------------------------------------------------


def test_a_reply_stores_the_answer_and_nothing_else() -> None:
    """rules.md §3: PARTSTAT, comment, guests and revision are stored; title, time and SEQUENCE are not touched."""
    meeting = single()
    one = reply(
        ANN, "DECLINED", params={"X-NUM-GUESTS": ("2",), "SENT-BY": ("mailto:dan@example.org",)}, comment="Sorry"
    )
    after, decision = hear(meeting, one)
    row = after.attendees["", ANN]
    assert (row.partstat, row.comment, row.guests, row.sent_by) == ("DECLINED", "Sorry", 2, DAN)
    assert (row.revision, row.replied_at, row.schedule_status) == (Revision(0, at(1)), LATER, "2.0")
    assert after.events == meeting.events
    assert after.attendees["", BOB] == meeting.attendees["", BOB]
    assert [(one.field, one.old, one.new) for one in decision.changes] == [
        ("partstat", "NEEDS-ACTION", "DECLINED"),
        ("comment", None, "Sorry"),
        ("guests", None, "2"),
    ]


def test_a_note_in_the_attendee_is_a_comment() -> None:
    """rules.md §3: X-RESPONSE-COMMENT where there is no COMMENT; it is part of the answer when the mail comes again."""
    one = reply(ANN, params={"X-RESPONSE-COMMENT": ("Late",)})
    after, _ = hear(single(), one)
    assert after.attendees["", ANN].comment == "Late"
    assert words(hear(after, one)[1]) == "no_action/duplicate"


def test_a_todo_keeps_how_far_it_is() -> None:
    """rules.md §3: for a VTODO also PERCENT-COMPLETE and COMPLETED."""
    meeting = registered(vevent(kind="VTODO", start="DUE:20261210T090000Z", end=""))
    after, _ = hear(meeting, reply(ANN, "COMPLETED", percent_complete=100, completed=at(0)))
    row = after.attendees["", ANN]
    assert (row.partstat, row.percent_complete, row.completed) == ("COMPLETED", 100, at(0))


def test_a_failed_request_leaves_the_answer_as_it_was() -> None:
    """RFC 5546 §3.2.3: a REPLY without PARTSTAT that has a REQUEST-STATUS says why; the answer of before stays."""
    meeting, _ = hear(single(), reply(ANN))
    after, decision = hear(meeting, reply(ANN, None, minute=2, request_status="3.0", comment="No such calendar"))
    row = after.attendees["", ANN]
    assert (words(decision), row.partstat, row.schedule_status) == ("updated/replied", "ACCEPTED", "3.0")
    assert row.comment == "No such calendar"


def test_a_sequence_above_ours_is_flagged_and_ours_stays() -> None:
    """rules.md §3: applied, a quirk, and our SEQUENCE never changes because of a reply."""
    after, decision = hear(single(), reply(ANN, sequence=7))
    assert (decision.quirks, after.sequence, after.attendees["", ANN].revision) == (
        ("future_sequence",),
        0,
        Revision(7, at(1)),
    )


def test_what_an_override_for_all_that_follow_was_sent_with_is_no_future() -> None:
    """RFC 5545 §3.2.13: instances behind it were asked about under its SEQUENCE, which is above that of the series."""
    later = "RECURRENCE-ID;RANGE=THISANDFUTURE;TZID=Europe/Berlin:20261208T100000"
    moved = vevent(later, start="DTSTART;TZID=Europe/Berlin:20261208T150000")
    meeting, decision = put(series(), vevent(WEEKLY), moved)
    assert (meeting.sequence, sent(decision)[0]) == (0, ("REQUEST", ANN, DEC_8, 1))
    assert hear(meeting, reply(ANN, rid=DEC_15, sequence=1, minute=70))[1].quirks == ()
    assert hear(meeting, reply(ANN, rid=DEC_15, sequence=2, minute=70))[1].quirks == ("future_sequence",)
    assert hear(meeting, reply(ANN, rid=DEC_1, sequence=1, minute=70))[1].quirks == ("future_sequence",)


def test_a_dtstamp_far_ahead_counts_as_tomorrow() -> None:
    """rules.md §3: it must not freeze the answer for years."""
    meeting, _ = hear(single(), reply(ANN, dtstamp=NOW + timedelta(days=4000)))
    after, decision = hear(
        meeting, reply(ANN, "DECLINED", dtstamp=LATER + timedelta(days=2)), now=LATER + timedelta(days=2)
    )
    assert (words(decision), standing(after)[ANN]) == ("updated/replied", "DECLINED")


def test_without_dtstamp_the_mails_date_counts() -> None:
    """rules.md §1.4: no DTSTAMP: the mail's Date, then arrival."""
    meeting, _ = hear(single(), reply(ANN, dtstamp=at(5)))
    later = hear(meeting, reply(ANN, "DECLINED", dtstamp=None), evidence=sender(ANN, date=at(6)))[1]
    earlier = hear(meeting, reply(ANN, "DECLINED", dtstamp=None), evidence=sender(ANN, date=at(4)))[1]
    arrived = hear(meeting, reply(ANN, "DECLINED", dtstamp=None))[1]
    assert [words(one) for one in (later, earlier, arrived)] == [
        "updated/replied",
        "no_action/out_of_order",
        "updated/replied",
    ]


SECOND: dict[str, tuple[Message, dict[str, Any], str]] = {
    "the same again": (reply(ANN), {}, "no_action/duplicate"),
    "the same, newer": (reply(ANN, minute=2), {}, "updated/replied"),
    "another, newer": (reply(ANN, "DECLINED", minute=2), {}, "updated/replied"),
    "another, older": (reply(ANN, "DECLINED", minute=0), {}, "no_action/out_of_order"),
    "the same, older": (reply(ANN, minute=0), {}, "no_action/out_of_order"),
    "another of the same revision, sent later": (reply(ANN, "DECLINED"), {"date": at(5)}, "updated/replied"),
    "another of the same revision, sent earlier": (reply(ANN, "DECLINED"), {"date": at(0)}, "no_action/out_of_order"),
    "the same of the same revision, sent earlier": (reply(ANN), {"date": at(0)}, "no_action/duplicate"),
    "another by REPLYTIME": (reply(ANN, "DECLINED", reply_time=at(5)), {"date": at(0)}, "updated/replied"),
    "another comment": (reply(ANN, comment="Late"), {"date": at(5)}, "updated/replied"),
    "more guests": (reply(ANN, params={"X-NUM-GUESTS": ("2",)}), {"date": at(5)}, "updated/replied"),
    "lower SEQUENCE, newer DTSTAMP": (reply(ANN, "DECLINED", sequence=0, minute=9), {}, "updated/replied"),
}


@pytest.mark.parametrize(("second", "evidence", "expected"), SECOND.values(), ids=SECOND.keys())
def test_revision_then_reply_time_decides_between_two_answers(
    second: Message, evidence: dict[str, Any], expected: str
) -> None:
    """RFC 5546 §2.1.5 and rules.md §3: (SEQUENCE, DTSTAMP), then REPLYTIME or Date; the same answer is a duplicate."""
    meeting, _ = hear(single(), reply(ANN), evidence=sender(ANN, date=at(2)))
    assert words(hear(meeting, second, evidence=sender(ANN, **evidence))[1]) == expected


def test_an_answer_to_an_older_minor_revision_counts() -> None:
    """rules.md §3: stale is measured against the last reset, never against the current SEQUENCE."""
    meeting, _ = put(single(), vevent("LOCATION:Room 9"), policy=Policy(location="significant"))
    assert meeting.sequence == 1
    assert words(hear(meeting, reply(ANN, sequence=0))[1]) == "updated/replied"


def test_what_stale_answers_cause_is_a_matter_of_policy() -> None:
    """Policy `stale_reply` = ignore: nothing is sent again."""
    _, decision = hear(moved(), reply(ANN, sequence=0), policy=Policy(stale_reply="ignore"))
    assert (words(decision), decision.sends) == ("no_action/stale_sequence", ())


def test_several_attendees_that_are_no_delegation_are_a_quirk() -> None:
    """rules.md §3: whom the sender proves counts, the rest is a quirk; a delegation lists two by right."""
    one = message(line(BOB, "DECLINED"), line(ANN))
    after, decision = hear(single(), one, evidence=sender(ANN))
    assert (decision.attendee, decision.quirks, standing(after)) == (
        ANN,
        ("several_attendees",),
        {ANN: "ACCEPTED", BOB: "NEEDS-ACTION"},
    )
    for pair in (
        message(line(ANN, "DELEGATED", delegated_to=DAN), line(DAN, "NEEDS-ACTION", delegated_from=ANN)),
        message(line(BOB, delegated_from=ANN), line(ANN, "DELEGATED", delegated_to=BOB)),
    ):
        assert hear(single(), pair)[1].quirks == ()


# -- instances ---------------------------------------------------------------------------------------------------


def test_an_answer_to_an_instance_needs_no_override() -> None:
    """rules.md §4.2: it is stored on R, even where it equals the series', and the series is untouched."""
    meeting, _ = hear(series(), reply(ANN), reply(ANN, rid=DEC_8, minute=2))
    assert (standing(meeting)[ANN], standing(meeting, DEC_8)) == ("ACCEPTED", {ANN: "ACCEPTED", BOB: "NEEDS-ACTION"})
    assert set(meeting.events) == {""}


def test_an_answer_to_the_series_leaves_an_answered_instance() -> None:
    """rules.md §4.3: the instance keeps an answer of its own, whichever comes later."""
    meeting, _ = hear(series(), reply(ANN, "DECLINED", rid=DEC_8), reply(ANN, minute=2))
    assert (standing(meeting)[ANN], standing(meeting, DEC_8)[ANN]) == ("ACCEPTED", "DECLINED")


def test_this_and_future_holds_from_there_on() -> None:
    """rules.md §4.4: the instances before keep the series' answer; a later answer to one of them stands above it."""
    meeting, _ = hear(
        series(),
        reply(ANN, "DECLINED", rid=DEC_15, future=True),
        reply(BOB, rid=DEC_8),
        reply(BOB, rid=DEC_22),
        reply(ANN, "TENTATIVE", rid=DEC_22, minute=5),
    )
    found = {rid: standing(meeting, rid)[ANN] for rid in (DEC_8, DEC_15, DEC_22)}
    assert found == {DEC_8: "NEEDS-ACTION", DEC_15: "DECLINED", DEC_22: "TENTATIVE"}


def test_an_older_answer_to_one_instance_stays_behind_a_newer_for_all() -> None:
    """RFC 5546 §2.1.5: it is stored on its R, but the later THISANDFUTURE is what holds there; no change is told."""
    meeting, _ = hear(series(), reply(ANN, "DECLINED", rid=DEC_8, future=True, minute=5))
    after, decision = hear(meeting, reply(ANN, rid=DEC_15, minute=1))
    assert (standing(after, DEC_15)[ANN], decision.changes) == ("DECLINED", ())
    # Once the answer for all is taken back for 8 December alone, what was said of 15 December counts.
    again, _ = hear(after, reply(ANN, "TENTATIVE", rid=DEC_8, minute=9))
    assert (standing(again, DEC_8)[ANN], standing(again, DEC_15)[ANN]) == ("TENTATIVE", "ACCEPTED")


def test_of_equal_revisions_the_nearer_to_the_instance_counts() -> None:
    """One mail with the answer for all from 8 December on and another for 15 December: the latter has its own."""
    both = (reply(ANN, "DECLINED", rid=DEC_8, future=True), reply(ANN, rid=DEC_15))
    for order in (both, both[::-1]):
        meeting, _ = hear(series(), *order)
        assert standing(meeting, DEC_15)[ANN] == "ACCEPTED"


def test_an_answer_to_a_moved_override_is_stale_by_its_own_reset() -> None:
    """rules.md §3: stale per attendee and per R: the series' SEQUENCE does not help an instance that moved."""
    meeting, _ = put(series(), vevent(WEEKLY), override(8, hour=15))
    assert words(hear(meeting, reply(ANN, rid=DEC_8, sequence=0))[1]) == "no_action/stale_sequence"
    assert words(hear(meeting, reply(ANN, rid=DEC_8, sequence=1))[1]) == "updated/replied"
    assert words(hear(meeting, reply(ANN, rid=DEC_15, sequence=0))[1]) == "updated/replied"


def test_the_organizers_this_and_future_asks_about_all_later_instances() -> None:
    """RFC 5545 §3.2.13: an override with RANGE moves those after it, too: earlier answers to them are stale."""
    text = override(8, hour=15).replace("RECURRENCE-ID;", "RECURRENCE-ID;RANGE=THISANDFUTURE;")
    meeting, _ = hear(series(), reply(ANN), reply(BOB, rid=DEC_15))
    meeting, _ = put(meeting, vevent(WEEKLY), text)
    stale = hear(meeting, reply(ANN, rid=DEC_15, minute=9))[1]
    meeting, decision = hear(meeting, reply(ANN, rid=DEC_15, sequence=1, minute=9))
    assert (words(stale), words(decision)) == ("no_action/stale_sequence", "updated/replied")
    assert standing(meeting, DEC_15) == {ANN: "ACCEPTED", BOB: "NEEDS-ACTION"}
    # An answer to what holds for all holds for all.
    meeting, _ = hear(meeting, reply(BOB, "DECLINED", rid=DEC_8, sequence=1, minute=9))
    assert (standing(meeting, DEC_8)[BOB], standing(meeting, DEC_15)[BOB], standing(meeting)[BOB]) == (
        "DECLINED",
        "DECLINED",
        "NEEDS-ACTION",
    )


def test_of_two_answers_for_all_that_follow_the_nearer_counts() -> None:
    """Of equal revisions: from 8 December on, not from the 1st, whichever arrived first."""
    both = (reply(ANN, "DECLINED", rid=DEC_1, future=True), reply(ANN, "TENTATIVE", rid=DEC_8, future=True))
    for order in (both, both[::-1]):
        meeting, _ = hear(series(), *order, reply(BOB, rid=DEC_15))
        assert standing(meeting, DEC_15)[ANN] == "TENTATIVE"


def test_a_third_answer_between_two_equal_ones_is_too_late() -> None:
    """rules.md §3: of one revision, sent at 1, 9 and 5 minutes past: the one of 9 counts though it said nothing new."""
    meeting = single()
    for partstat, minute in (("ACCEPTED", 1), ("ACCEPTED", 9), ("DECLINED", 5)):
        meeting, decision = hear(meeting, reply(ANN, partstat), evidence=sender(ANN, date=at(minute)))
    assert (words(decision), standing(meeting)[ANN]) == ("no_action/out_of_order", "ACCEPTED")


# -- party crashers ----------------------------------------------------------------------------------------------

CRASHERS: dict[str, tuple[Policy, Message, dict[str, Any], str, list[tuple[str, str, str, int]]]] = {
    "held": (POLICY, reply(EVE), {}, "held/party_crasher", []),
    "added": (ADDED, reply(EVE), {}, "added/party_crasher", [("REQUEST", EVE, "", 3)]),
    "added, about an instance": (ADDED, reply(EVE, rid=DEC_8), {}, "added/party_crasher", [("REQUEST", EVE, DEC_8, 3)]),
    "never when stale": (ADDED, reply(EVE, sequence=2), {}, "held/party_crasher", []),
    "never by an alias": (
        replace(ADDED, aliases={"e@home.example.net": EVE}, sender="any"),
        reply(EVE),
        {"evidence": sender("e@home.example.net")},
        "held/party_crasher",
        [],
    ),
    "refused": (REFUSED, reply(EVE), {}, "no_action/party_crasher", [("CANCEL", EVE, "", 3)]),
    "let in by a person, though stale": (
        Policy(party_crasher="accepted", sender="any"),
        reply(EVE, sequence=0),
        {},
        "added/party_crasher",
        [("REQUEST", EVE, "", 3)],
    ),
}


@pytest.mark.parametrize(("policy", "one", "more", "expected", "mails"), CRASHERS.values(), ids=CRASHERS.keys())
def test_party_crashers_are_a_matter_of_policy(
    policy: Policy, one: Message, more: dict[str, Any], expected: str, mails: list[tuple[str, str, str, int]]
) -> None:
    """rules.md §3: held, added or refused; never added when stale or when From is not the attendee."""
    one = replace(one, sequence=3 if one.sequence == 0 and policy.party_crasher != "accepted" else one.sequence)
    meeting = series(sequence=3)
    after, decision = hear(meeting, one, policy=policy, **more)
    assert (words(decision), sent(decision)) == (expected, mails)
    assert EVE in standing(after, one.rid.rid if one.rid else "") if decision.outcome == "added" else True
    assert (after == meeting) is (decision.outcome != "added")


def test_who_was_let_in_is_marked_and_answers_like_a_guest() -> None:
    """interface.md: `invited` false; the next answer is an ordinary one."""
    meeting, _ = hear(single(), reply(EVE, params={"CN": ("Eve",)}), policy=ADDED)
    row = meeting.attendees["", EVE]
    assert (row.invited, row.partstat, row.params) == (False, "ACCEPTED", {"CN": ("Eve",)})
    assert words(hear(meeting, reply(EVE, "DECLINED", minute=2))[1]) == "updated/replied"


def test_a_meetings_own_policy_stands_above_the_configured_one() -> None:
    """rules.md §6.2 and model.Meeting.policy; but not above what a person has decided."""
    meeting = replace(single(), policy={"party_crasher": "added", "unheard-of": "x"})
    assert words(hear(meeting, reply(EVE))[1]) == "added/party_crasher"
    by_person = Policy(party_crasher="no_action", by_person=True)
    assert words(hear(meeting, reply(EVE), policy=by_person)[1]) == "no_action/party_crasher"


def test_a_list_member_is_a_guest_of_their_own() -> None:
    """RFC 5546 §3.7.2: MEMBER names a list that is invited; a list that is not makes nobody a guest."""
    meeting = single(guests=("team@example.com",))
    after, decision = hear(meeting, message(line(EVE, member="team@example.com")))
    assert (words(decision), sent(decision), standing(after)[EVE]) == ("updated/replied", [], "ACCEPTED")
    assert words(hear(meeting, message(line(EVE, member="others@example.com")))[1]) == "held/party_crasher"


def delegates(*addresses: str, by: str = ANN, **more: Any) -> Message:
    """`by` delegates."""
    lines = [line(address, "NEEDS-ACTION", delegated_from=by, cn=f"Called {address[:3]}") for address in addresses]
    return message(line(by, "DELEGATED", delegated_to=addresses), *lines, **more)


def for_ann(address: str = DAN, partstat: str = "ACCEPTED", **more: Any) -> Message:
    """An answer of Ann's delegate."""
    return message(line(address, partstat, delegated_from=ANN), **more)


# -- automatic mail (rules.md §12) -------------------------------------------------------------------------------

AUTOMATIC: dict[str, tuple[Callable[[], Meeting], list[Message], Policy]] = {
    "stale": (moved, [reply(ANN, sequence=0), reply(ANN, sequence=0, minute=2)], POLICY),
    "cancelled": (cancelled_series, [reply(ANN), reply(ANN, minute=2)], POLICY),
    "uninvited": (without_bob, [reply(BOB), reply(BOB, minute=2)], POLICY),
    "uninvited, an instance": (without_bob, [reply(BOB, rid=DEC_8), reply(BOB, rid=DEC_8, minute=2)], POLICY),
    "refused": (single, [reply(EVE), reply(EVE, minute=2)], REFUSED),
    "refresh": (single, [refresh(ANN), refresh(ANN)], POLICY),
    "counter declined": (
        single,
        [counter(ANN, "20261203T090000Z"), counter(ANN, "20261204T090000Z", minute=2)],
        Policy(counter="decline"),
    ),
}


@pytest.mark.parametrize(("meeting", "messages", "policy"), AUTOMATIC.values(), ids=AUTOMATIC.keys())
def test_automatic_mail_is_answered_once_an_hour(
    meeting: Callable[[], Meeting], messages: list[Message], policy: Policy
) -> None:
    """RFC 3834 §2, rules.md §12: at most one automatic answer per attendee, R and hour; a person always gets one."""
    start = meeting()
    people = start
    for one in messages:
        people, decision = hear(people, one, policy=policy)
        assert len(decision.sends) == 1
    evidence = sender(messages[0].attendees[0].address, automatic=True)
    counts = []
    for one, minute in ((messages[0], 60), (messages[1], 119), (replace(messages[1], dtstamp=at(118)), 121)):
        start, decision = hear(start, one, policy=policy, evidence=evidence, now=at(minute))
        counts.append(len(decision.sends))
    assert counts == [1, 0, 1]


def test_what_is_remembered_of_an_answer_makes_nobody_a_guest() -> None:
    """The time of an automatic answer is kept in a row, which must not bring back who was taken off, nor a stranger."""
    meeting, _ = hear(without_bob(), reply(BOB, rid=DEC_8), evidence=sender(BOB, automatic=True))
    assert instances(meeting) == []
    assert words(hear(meeting, reply(BOB, rid=DEC_8))[1]) == "no_action/uninvited"
    meeting, _ = hear(single(), reply(EVE), policy=REFUSED, evidence=sender(EVE, automatic=True))
    assert standing(meeting) == {ANN: "NEEDS-ACTION", BOB: "NEEDS-ACTION"}
    assert words(hear(meeting, refresh(EVE))[1]) == "no_action/party_crasher"


# -- what a message may touch ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "one",
    [
        reply(ANN),
        reply(ANN, rid=DEC_8, future=True),
        reply(ANN, sequence=9),
        delegates(DAN),
        delegates(BOB, rid=DEC_15),
        for_ann(DAN),
        counter(ANN, "20261203T090000Z"),
        refresh(ANN),
    ],
    ids=lambda one: f"{one.method} {one.attendees[0].one('PARTSTAT')} {one.rid.rid if one.rid else ''}",
)
def test_a_message_touches_its_sender_and_delegates_only(one: Message) -> None:
    """rules.md §3: never another attendee's row, never an event, never the meeting's own row."""
    meeting, _ = hear(series(override(8), guests=(ANN, BOB, CAT)), reply(CAT), reply(BOB, rid=DEC_8))
    decision = decide(meeting, one, sender(one.attendees[0].address, automatic=True), POLICY, LATER)
    mine = {one.attendees[0].address, *(line.address for line in one.attendees)}
    for write in decision.writes:
        assert isinstance(write, PutAttendee | DropAttendee | PutProposal)
        touched = write.attendee if isinstance(write, PutAttendee) else getattr(write, "proposal", write)
        assert getattr(touched, "address", getattr(touched, "attendee", None)) in mine


def test_a_decision_carries_what_was_compared() -> None:
    """`itipd explain` and the log show the values: method, attendee, R, PARTSTAT, SEQUENCE."""
    decision = decide(series(), reply(ANN, rid="20261208"), sender(ANN), POLICY, LATER)
    assert (decision.method, decision.uid, decision.rid) == ("REPLY", "m1@planner.example.com", DEC_8)
    assert (decision.attendee, decision.partstat, decision.sequence) == (ANN, "ACCEPTED", 0)
    assert "SEQUENCE 0" in decision.detail
    assert apply(series(), decision).attendees[DEC_8, ANN].partstat == "ACCEPTED"
    assert (decision.outcome, decision.reason) == (Outcome.UPDATED, Reason.REPLIED)
    assert rid_of(DEC_22).rid == DEC_22
