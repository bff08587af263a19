"""The organizer's orders: register, cancel, take off, accept or decline, remind (rules.md §6.3, §9; RFC 5546 §3.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itipd.itip import attendance, organize
from itipd.itip.model import Decision, Meeting, Policy
from tests.itip_samples import (
    ANN,
    BOB,
    CAT,
    DAN,
    DEC_8,
    DEC_15,
    DEC_22,
    EVE,
    LATER,
    NOW,
    POLICY,
    UID,
    WE,
    WEEKLY,
    apply,
    at,
    counter,
    hear,
    instances,
    line,
    override,
    put,
    read_put,
    registered,
    reply,
    sender,
    sent,
    series,
    single,
    standing,
    the_send,
    vevent,
    words,
)

SOFT = f"ATTENDEE;ROLE=NON-PARTICIPANT:mailto:{CAT}"
OURS = f"ATTENDEE;ROLE=CHAIR;PARTSTAT=ACCEPTED:mailto:{WE}"


def moved_8() -> Meeting:
    """A series whose 8 December was moved to 15:00, at SEQUENCE 1."""
    return put(series(), vevent(WEEKLY), override(8, hour=15))[0]


def done(meeting: Meeting, decision: Decision) -> tuple[Meeting, Decision]:
    """The meeting after a decision about it."""
    return apply(meeting, decision), decision


# -- registering -------------------------------------------------------------------------------------------------


def test_a_new_meeting_is_told_to_its_guests() -> None:
    """rules.md §9.3: REQUEST to all but the organizer and who is only informed; SEQUENCE is the file's."""
    meeting, decision = put(None, vevent(sequence=3, guests=(OURS, ANN, SOFT)))
    assert (words(decision), decision.uid, decision.sequence) == ("added/registered", UID, 3)
    assert sent(decision) == [("REQUEST", ANN, "", 3)]
    assert (meeting.name, meeting.sequence, standing(meeting)) == (
        "Meetings",
        3,
        {WE: "ACCEPTED", ANN: "NEEDS-ACTION", CAT: "NEEDS-ACTION"},
    )


REGISTERED: dict[str, tuple[list[str], dict[str, Any], list[tuple[str, str, str, int]]]] = {
    "a series with an override": (
        [vevent(WEEKLY), override(8)],
        {},
        [("REQUEST", ANN, "", 0), ("REQUEST", BOB, "", 0)],
    ),
    "an override with a guest of its own": (
        [vevent(WEEKLY), override(8, guests=(ANN, CAT), sequence=2)],
        {},
        [("REQUEST", ANN, "", 0), ("REQUEST", BOB, "", 0), ("REQUEST", CAT, DEC_8, 2)],
    ),
    "instances alone": (
        [override(8, guests=(ANN,)), override(15, sequence=4)],
        {},
        [("REQUEST", ANN, DEC_8, 0), ("REQUEST", ANN, DEC_15, 4), ("REQUEST", BOB, DEC_15, 4)],
    ),
    "with a cancelled instance": (
        [vevent(WEEKLY), override(8, "STATUS:CANCELLED", guests=(CAT,))],
        {},
        [("REQUEST", ANN, "", 0), ("REQUEST", BOB, "", 0)],
    ),
    "cancelled": ([vevent("STATUS:CANCELLED")], {}, []),
    "over": ([vevent(start="DTSTART:20261101T090000Z")], {}, []),
    "recorded": ([vevent()], {"recorded": True}, []),
    "silently": ([vevent()], {"notify": "none"}, []),
    "sent by the client": ([vevent(organizer=f"ORGANIZER;SCHEDULE-AGENT=CLIENT:mailto:{WE}")], {}, []),
    "an override that lists nobody": (
        [vevent(WEEKLY), override(8, hour=15, guests=())],
        {},
        [("REQUEST", ANN, "", 0), ("REQUEST", BOB, "", 0)],
    ),
    "an override without ORGANIZER": (
        [vevent(WEEKLY), override(8, organizer="")],
        {},
        [("REQUEST", ANN, "", 0), ("REQUEST", BOB, "", 0)],
    ),
}


@pytest.mark.parametrize(("texts", "more", "mails"), REGISTERED.values(), ids=REGISTERED.keys())
def test_who_is_invited(texts: list[str], more: dict[str, Any], mails: list[tuple[str, str, str, int]]) -> None:
    """rules.md §9.3, §9.5: who is invited to some instances only has those with their RECURRENCE-ID."""
    _, decision = put(None, *texts, **more)
    assert (words(decision), sent(decision)) == ("added/registered", mails)


def test_partstats_of_the_text_count_at_creation() -> None:
    """rules.md §9.2: and an override that kept its time shows the series' answer unless it says another."""
    ann = "ATTENDEE;PARTSTAT={}:mailto:" + ANN
    meeting = series(
        override(8, guests=(ann.format("NEEDS-ACTION"),)),
        override(15, guests=(ann.format("DECLINED"),)),
        override(22, hour=15, guests=(ann.format("NEEDS-ACTION"),)),
        guests=(ann.format("ACCEPTED"),),
    )
    found = {rid: standing(meeting, rid)[ANN] for rid in (DEC_8, DEC_15, DEC_22)}
    assert (standing(meeting)[ANN], found) == (
        "ACCEPTED",
        {DEC_8: "ACCEPTED", DEC_15: "DECLINED", DEC_22: "NEEDS-ACTION"},
    )


REFUSED: dict[str, tuple[str, Policy, str]] = {
    "no organizer": (vevent(organizer=""), POLICY, "error/no_organizer"),
    "another organizer": (vevent(), Policy(organizers=("*@example.net",)), "error/foreign_organizer"),
    "twice the same": (vevent() + "\r\n" + vevent(), POLICY, "error/duplicate_instance"),
    "no DTSTART": (vevent(start="", end=""), POLICY, "error/malformed"),
}


@pytest.mark.parametrize(("text", "policy", "expected"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused_is_refused_by_name(text: str, policy: Policy, expected: str) -> None:
    """rules.md §9.5: and nothing is written."""
    decision = organize.put(None, read_put(text), policy, NOW)
    assert (words(decision), decision.writes) == (expected, ())


def test_what_the_application_has_sent_may_lack_a_dtstart() -> None:
    """RFC 5546 §3.2.2 asks for one in what leaves; answers to what left without it are counted all the same."""
    meeting, decision = put(None, vevent(start="", end=""), recorded=True)
    assert (words(decision), decision.quirks) == ("added/registered", ("no_dtstart",))
    meeting, _ = hear(meeting, reply(ANN))
    assert (standing(meeting)[ANN], attendance.status(meeting)["start"]) == ("ACCEPTED", None)
    _, decision = put(meeting, vevent())
    assert (words(decision), decision.sequence) == ("updated/significant_change", 1)


def test_an_incoming_without_an_organizer_is_refused() -> None:
    """Whoever builds an Incoming by hand is told the same."""
    nobody = replace(read_put(vevent()), organizer=None)
    assert words(organize.put(None, nobody, POLICY, NOW)) == "error/no_organizer"
    assert organize.owner(nobody, POLICY) is None


def test_an_alias_of_the_organizer_owns_the_meeting() -> None:
    """rules.md §2.2: the meeting is kept under the canonical address."""
    policy = Policy(aliases={"boss@example.net": WE}, organizers=(WE,))
    meeting, _ = put(None, vevent(organizer="ORGANIZER:mailto:Boss@example.net"), policy=policy)
    assert meeting.organizer == WE


def used_again(**more: Any) -> tuple[Meeting, Decision]:
    """A meeting with an answer and a proposal, cancelled at SEQUENCE 1, and then put once more."""
    meeting, _ = hear(series(override(8)), reply(ANN), reply(BOB, rid=DEC_15), counter(BOB, "20261203T090000Z"))
    meeting = apply(meeting, organize.cancel(meeting, NOW))
    return put(meeting, vevent(guests=(ANN, CAT)), now=at(30), **more)


def test_a_uid_used_again_starts_above_its_last_sequence() -> None:
    """rules.md §9.1: nothing of the cancelled meeting stays but who was a guest: late answers find a CANCEL."""
    after, decision = used_again()
    assert (words(decision), after.sequence, sent(decision)) == (
        "added/registered",
        2,
        [("REQUEST", ANN, "", 2), ("REQUEST", CAT, "", 2)],
    )
    assert (standing(after), instances(after)) == ({ANN: "NEEDS-ACTION", CAT: "NEEDS-ACTION"}, [])
    assert words(hear(after, reply(BOB, sequence=0))[1]) == "no_action/uninvited"
    assert [one.state for one in after.proposals.values()] == ["retired"]


def test_answers_to_what_a_uid_was_before_are_stale() -> None:
    """rules.md §1.4: also without SEQUENCE, when they were written before it was used again."""
    after, _ = used_again()
    assert words(hear(after, reply(ANN, sequence=1, minute=45))[1]) == "no_action/stale_sequence"
    assert words(hear(after, reply(ANN, sequence=None, minute=15))[1]) == "no_action/stale_sequence"
    assert words(hear(after, reply(ANN, sequence=None, minute=45))[1]) == "updated/replied"


def test_a_delayed_request_does_not_bring_back_what_is_cancelled() -> None:
    """RFC 5546 §2.1.5: the application's REQUEST of before its CANCEL changes nothing; a later one is a new meeting."""
    meeting = apply(single(), organize.cancel(single(), NOW))
    assert words(put(meeting, vevent(), recorded=True)[1]) == "no_action/old_revision"
    newer = vevent().replace("DTSTAMP:20261117", "DTSTAMP:20261121")
    assert words(put(meeting, newer, recorded=True, now=LATER)[1]) == "added/registered"


@pytest.mark.parametrize("text", [vevent("STATUS:CANCELLED", summary="Other"), override(8, "STATUS:CANCELLED")])
def test_what_is_cancelled_is_not_cancelled_again(text: str) -> None:
    """RFC 5546 §3.2.5: nobody is written to a second time, and nothing is registered anew."""
    meeting = apply(series(), organize.cancel(series(), NOW))
    after, decision = put(meeting, text)
    assert (words(decision), decision.sends, after) == ("no_action/cancelled", (), meeting)


def test_instances_put_alone_are_cancelled_one_by_one() -> None:
    """Of an invitation to two days one is cancelled: the other stays."""
    meeting = registered(override(8), override(15))
    after, decision = put(meeting, override(8, "STATUS:CANCELLED"))
    assert (after.status, after.events[DEC_15].status) == ("CONFIRMED", "CONFIRMED")
    assert sent(decision) == [("CANCEL", ANN, DEC_8, 1), ("CANCEL", BOB, DEC_8, 1)]


# -- cancelling (RFC 5546 §3.2.5) --------------------------------------------------------------------------------

Sent = list[tuple[str, str, str, int]]


def both(method: str, rid: str = "", sequence: int = 0) -> Sent:
    """A mail to Ann and one to Bob."""
    return [(method, ANN, rid, sequence), (method, BOB, rid, sequence)]


CANCELLED: dict[str, tuple[Callable[[], Meeting], dict[str, Any], str, int | None, Sent]] = {
    "all": (series, {}, "cancelled/cancelled", 1, both("CANCEL", "", 1)),
    "all, above every override": (
        lambda: series(override(8, sequence=6, guests=(ANN, CAT))),
        {},
        "cancelled/cancelled",
        7,
        [("CANCEL", ANN, "", 7), ("CANCEL", BOB, "", 7), ("CANCEL", CAT, DEC_8, 7)],
    ),
    "all, also who is only informed": (
        lambda: single(guests=(OURS, ANN, SOFT)),
        {},
        "cancelled/cancelled",
        1,
        [("CANCEL", ANN, "", 1), ("CANCEL", CAT, "", 1)],
    ),
    "instances alone": (
        lambda: registered(override(8, guests=(ANN,)), override(15, guests=(ANN, BOB))),
        {},
        "cancelled/cancelled",
        1,
        [("CANCEL", ANN, DEC_8, 1), ("CANCEL", ANN, DEC_15, 1), ("CANCEL", BOB, DEC_15, 1)],
    ),
    "all, silently": (series, {"notify": "none"}, "cancelled/cancelled", 1, []),
    "all, by the application": (series, {"recorded": True, "sequence": 0}, "cancelled/cancelled", 0, []),
    "all, at the application's SEQUENCE": (series, {"sequence": 9}, "cancelled/cancelled", 9, both("CANCEL", "", 9)),
    "what is over": (lambda: single(start="DTSTART:20261101T090000Z"), {}, "cancelled/cancelled", 1, []),
    "one instance": (series, {"rids": [DEC_8]}, "cancelled/cancelled", 1, both("CANCEL", DEC_8, 1)),
    "one instance by its date, twice": (
        series,
        {"rids": ["20261208", DEC_8]},
        "cancelled/cancelled",
        1,
        both("CANCEL", DEC_8, 1),
    ),
    "an override that moved": (moved_8, {"rids": [DEC_8]}, "cancelled/cancelled", 2, both("CANCEL", DEC_8, 2)),
    "several": (
        series,
        {"rids": [DEC_8, DEC_15]},
        "cancelled/cancelled",
        1,
        sorted(both("CANCEL", DEC_8, 1) + both("CANCEL", DEC_15, 1)),
    ),
    "an instance with guests of its own": (
        lambda: series(override(8, guests=(ANN, CAT))),
        {"rids": [DEC_8]},
        "cancelled/cancelled",
        1,
        [("CANCEL", ANN, DEC_8, 1), ("CANCEL", CAT, DEC_8, 1)],
    ),
    "an instance, silently": (series, {"rids": [DEC_8], "notify": "none"}, "cancelled/cancelled", 1, []),
    "an instance that is over": (
        lambda: registered(vevent("RRULE:FREQ=WEEKLY", start="DTSTART:20261103T090000Z")),
        {"rids": ["20261110T090000Z"]},
        "cancelled/cancelled",
        1,
        [],
    ),
    "no instance": (series, {"rids": ["20261209"]}, "error/not_found", None, []),
    "no form of one": (series, {"rids": ["tomorrow"]}, "error/not_found", None, []),
    "one of them is none": (series, {"rids": [DEC_8, "20261209"]}, "error/not_found", None, []),
    "an instance of a rule that cannot be followed": (
        lambda: registered(vevent("RRULE:FREQ=SECONDLY;INTERVAL=7;BYHOUR=3;BYMONTH=2;BYMONTHDAY=29")),
        {"rids": ["20990101"]},
        "error/not_found",
        None,
        [],
    ),
}


@pytest.mark.parametrize(("before", "more", "expected", "sequence", "mails"), CANCELLED.values(), ids=CANCELLED.keys())
def test_cancelling(
    before: Callable[[], Meeting], more: dict[str, Any], expected: str, sequence: int | None, mails: Sent
) -> None:
    """rules.md §9.4: the whole meeting without RECURRENCE-ID, instances with it; what is not found changes nothing."""
    decision = organize.cancel(before(), NOW, **more)
    assert (words(decision), decision.sequence, sent(decision)) == (expected, sequence, mails)
    assert bool(decision.writes) is (decision.outcome == "cancelled")


def test_a_cancelled_series_is_cancelled_in_all_its_parts() -> None:
    """RFC 5546 §3.2.5: STATUS:CANCELLED in the series and every override; open proposals are over."""
    meeting, _ = hear(series(override(8)), counter(ANN, "20261203T090000Z"))
    after = apply(meeting, organize.cancel(meeting, NOW))
    assert (after.status, {event.status for event in after.events.values()}) == ("CANCELLED", {"CANCELLED"})
    assert "STATUS:CANCELLED\n" in after.events[DEC_8].lines
    assert after.proposals[1].state == "retired"
    assert words(organize.cancel(after, NOW)) == "no_action/cancelled"


def test_a_cancelled_instance_leaves_the_series() -> None:
    """RFC 5546 §3.2.5: the series stays as it is; the same instance is not cancelled twice."""
    meeting, _ = hear(series(), counter(ANN, "20261208T120000Z", rid=DEC_8), counter(BOB, "20261203T090000Z"))
    after = apply(meeting, organize.cancel(meeting, NOW, rids=[DEC_8]))
    assert (after.status, after.sequence, after.events[DEC_8].status) == ("CONFIRMED", 0, "CANCELLED")
    assert [one.state for one in after.proposals.values()] == ["retired", "open"]
    assert words(organize.cancel(after, NOW, rids=[DEC_8])) == "no_action/cancelled"


def test_an_instance_and_all_after_it_are_cancelled() -> None:
    """RFC 5546 §3.2.5 a: RANGE=THISANDFUTURE; the shorter series is what the guests are sent."""
    after, decision = done(series(), organize.cancel_from(series(), DEC_15, NOW, sequence=4, recorded=False))
    assert (decision.rid, after.sequence, sent(decision)) == (DEC_15, 4, both("REQUEST", "", 4))
    assert sorted(rid for rid in after.events if rid)[:2] == [DEC_15, DEC_22]
    assert {event.status for rid, event in after.events.items() if rid} == {"CANCELLED"}
    assert words(hear(after, reply(ANN, rid=DEC_22))[1]) == "no_action/cancelled"
    assert words(hear(after, reply(ANN, rid=DEC_8))[1]) == "updated/replied"
    again = organize.cancel_from(after, DEC_15, NOW, sequence=4, recorded=False)
    assert (words(again), again.writes, again.sends) == ("no_action/cancelled", (), ())


def test_an_endless_series_ends_when_all_that_follows_is_cancelled() -> None:
    """The nearest instances are cancelled by name, and the rule gets an end: later ones are none."""
    meeting = registered(vevent("RRULE:FREQ=WEEKLY;BYDAY=TU"))
    after, decision = done(meeting, organize.cancel_from(meeting, DEC_15, NOW, sequence=1, recorded=True))
    assert (decision.sends, "UNTIL=" in after.events[""].rrules[0]) == ((), True)
    assert words(hear(after, reply(ANN, rid="20461211T090000Z"))[1]) == "no_action/unknown_instance"
    assert words(hear(after, reply(ANN, rid="20270105T090000Z"))[1]) == "no_action/cancelled"


@pytest.mark.parametrize(
    ("meeting", "rid", "expected"),
    [
        (lambda: registered(override(8), override(15)), DEC_8, "cancelled/cancelled"),
        (series, "soon", "error/not_found"),
        (
            lambda: registered(vevent("RRULE:FREQ=SECONDLY;INTERVAL=7;BYHOUR=3;BYMONTH=2;BYMONTHDAY=29")),
            "20261201T090000Z",
            "error/not_found",
        ),
    ],
    ids=["instances alone", "no form of one", "a rule that cannot be followed"],
)
def test_what_has_no_future_is_cancelled_alone_or_not_found(
    meeting: Callable[[], Meeting], rid: str, expected: str
) -> None:
    """Without a series there is nothing that follows."""
    assert words(organize.cancel_from(meeting(), rid, NOW, sequence=0, recorded=True)) == expected


def test_guests_are_taken_off() -> None:
    """RFC 5546 §3.2.5: CANCEL to them alone, without STATUS; no answer is reset; off the series is off all of it."""
    meeting, _ = hear(series(override(8)), reply(ANN), reply(BOB, rid=DEC_15))
    after, decision = done(meeting, organize.uninvite(meeting, [""], {BOB, EVE}, sequence=0, recorded=False))
    assert (words(decision), sent(decision), the_send(decision).uninvite) == (
        "updated/minor_change",
        [("CANCEL", BOB, "", 1)],
        True,
    )
    assert (standing(after), standing(after, DEC_8), instances(after)) == (
        {ANN: "ACCEPTED"},
        {ANN: "ACCEPTED"},
        [DEC_8],
    )
    assert words(organize.uninvite(after, [""], {BOB}, sequence=0, recorded=False)) == "no_action/unchanged"


def test_guests_are_taken_off_some_instances() -> None:
    """rules.md §9.3: CANCEL with that RECURRENCE-ID, for an instance with an override and for one without."""
    meeting = moved_8()
    decision = organize.uninvite(meeting, [DEC_8, DEC_15], {BOB}, sequence=0, recorded=False)
    after = apply(meeting, decision)
    assert sent(decision) == [("CANCEL", BOB, DEC_8, 2), ("CANCEL", BOB, DEC_15, 1)]
    assert (BOB in standing(after), BOB in standing(after, DEC_8)) == (True, False)
    assert words(hear(after, reply(BOB, rid=DEC_15))[1]) == "no_action/uninvited"


# -- proposals (rules.md §6.3) -----------------------------------------------------------------------------------


def proposed(meeting: Meeting, **more: Any) -> Meeting:
    """The meeting after a COUNTER of Ann's."""
    place = more.pop("location", None)
    return hear(meeting, counter(ANN, *more.pop("time", ()), location=place, **more), evidence=sender(ANN))[0]


NEW = ("20261203T090000Z", "20261203T103000Z")


def test_accepting_moves_the_meeting() -> None:
    """RFC 5546 §3.2.7: SEQUENCE+1, PARTSTATs back but the proposer's, REQUEST to all; instances are asked anew, too."""
    meeting, _ = hear(
        series(override(15, hour=15), guests=(OURS, ANN, BOB)), reply(BOB), reply(BOB, "DECLINED", rid=DEC_8)
    )
    meeting, _ = hear(meeting, reply(BOB, rid=DEC_15, future=True, minute=2))
    meeting = proposed(meeting, time=NEW, minute=3)
    after, decision = done(meeting, organize.accept(meeting, meeting.proposals[1], NOW))
    assert (words(decision), after.sequence, decision.attendee) == ("updated/proposal_accepted", 1, ANN)
    assert sent(decision) == both("REQUEST", "", 1)
    assert standing(after) == {WE: "ACCEPTED", ANN: "ACCEPTED", BOB: "NEEDS-ACTION"}
    assert (instances(after), after.attendees[DEC_15, BOB].future) == ([DEC_15], False)
    assert attendance.status(after)["start"] == "2026-12-03T10:00:00+01:00"
    assert after.proposals[1].state == "accepted"
    assert words(organize.accept(after, after.proposals[1], NOW)) == "error/not_found"


ZONES = (
    "BEGIN:VTIMEZONE\r\nTZID:Our zone\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\nTZOFFSETFROM:+0330\r\n"
    "TZOFFSETTO:+0330\r\nEND:STANDARD\r\nEND:VTIMEZONE"
)
# The series' DTSTART, its 8 December, the time proposed for it, and how the override's times are written.
INSTANCES: dict[str, tuple[str, str, tuple[str, ...], list[str]]] = {
    "a Windows zone": (
        "DTSTART;TZID=W. Europe Standard Time:20261201T100000",
        DEC_8,
        ("20261208T150000Z", "20261208T160000Z"),
        [
            "RECURRENCE-ID;TZID=W. Europe Standard Time:20261208T100000",
            "DTSTART;TZID=W. Europe Standard Time:20261208T160000",
            "DTEND;TZID=W. Europe Standard Time:20261208T170000",
        ],
    ),
    "a zone of our own": (
        "DTSTART;TZID=Our zone:20261201T100000",
        "20261208T063000Z",
        ("20261208T150000Z",),
        [
            "RECURRENCE-ID;TZID=Our zone:20261208T100000",
            "DTSTART;TZID=Our zone:20261208T183000",
            "DTEND;TZID=Our zone:20261208T193000",
        ],
    ),
    "UTC": (
        "DTSTART:20261201T090000Z",
        DEC_8,
        ("20261208T150000Z",),
        ["RECURRENCE-ID:20261208T090000Z", "DTSTART:20261208T150000Z", "DTEND:20261208T160000Z"],
    ),
    "a floating proposal is the wall clock of the series": (
        "DTSTART;TZID=Europe/Berlin:20261201T100000",
        DEC_8,
        ("20261208T160000",),
        [
            "RECURRENCE-ID;TZID=Europe/Berlin:20261208T100000",
            "DTSTART;TZID=Europe/Berlin:20261208T160000",
            "DTEND;TZID=Europe/Berlin:20261208T170000",
        ],
    ),
    "a floating series": (
        "DTSTART:20261201T100000",
        "20261208T100000",
        ("20261208T160000",),
        ["RECURRENCE-ID:20261208T100000", "DTSTART:20261208T160000", "DTEND:20261208T170000"],
    ),
    "a floating series, a proposal in UTC": (
        "DTSTART:20261201T100000",
        "20261208T100000",
        ("20261208T150000Z",),
        ["RECURRENCE-ID:20261208T100000", "DTSTART:20261208T150000Z", "DTEND:20261208T160000Z"],
    ),
    "a zone that nobody knows": (
        "DTSTART;TZID=Nowhere:20261201T100000",
        "20261208T100000",
        ("20261208T160000",),
        ["RECURRENCE-ID;TZID=Nowhere:20261208T100000", "DTSTART:20261208T160000", "DTEND:20261208T170000"],
    ),
    "all day": (
        "DTSTART;VALUE=DATE:20261201",
        "20261208",
        ("20261209",),
        ["RECURRENCE-ID;VALUE=DATE:20261208", "DTSTART;VALUE=DATE:20261209", "DTEND;VALUE=DATE:20261210"],
    ),
}


@pytest.mark.parametrize(("start", "rid", "time", "lines"), INSTANCES.values(), ids=INSTANCES.keys())
def test_accepting_for_one_instance_creates_the_override(
    start: str, rid: str, time: tuple[str, ...], lines: list[str]
) -> None:
    """rules.md §6.4: derived from the master, in the series' own zone; the series and its answers stay."""
    end = "" if "DATE" in start else "DURATION:PT1H"
    meeting, _ = put(None, vevent(WEEKLY, start=start, end=end), zones=ZONES, recorded=True)
    meeting, _ = hear(meeting, reply(BOB))
    meeting = proposed(meeting, time=time, rid=rid)
    after, decision = done(meeting, organize.accept(meeting, meeting.proposals[1], NOW))
    assert sent(decision) == both("REQUEST", rid, 1)
    assert (standing(after), standing(after, rid)) == (
        {ANN: "NEEDS-ACTION", BOB: "ACCEPTED"},
        {ANN: "ACCEPTED", BOB: "NEEDS-ACTION"},
    )
    stored = after.events[rid].lines.splitlines()
    assert [one for one in stored if one.startswith(("RECURRENCE-ID", "DTSTART", "DTEND", "DURATION"))] == lines
    assert "RRULE" not in after.events[rid].lines
    assert after.events[""] == meeting.events[""]


def test_accepting_only_a_place_keeps_the_answers() -> None:
    """rules.md §6.3, §9.2: SEQUENCE+1 and REQUEST to all, but nothing of time changed; the proposer has accepted."""
    meeting = proposed(hear(single(), reply(BOB))[0], time=("20261201T090000Z",), location="Garden; left", minute=2)
    moved, _ = put(meeting, vevent(start="DTSTART;TZID=Europe/Berlin:20261201T120000"))
    moved, _ = hear(moved, reply(BOB, sequence=1, minute=3))
    after, decision = done(moved, organize.accept(moved, moved.proposals[1], NOW))
    assert (sent(decision), standing(after)) == (both("REQUEST", "", 2), {ANN: "ACCEPTED", BOB: "ACCEPTED"})
    assert "LOCATION:Garden\\; left\n" in after.events[""].lines
    # What was proposed was the place: the meeting stays where it was moved to meanwhile.
    assert attendance.status(after)["start"] == "2026-12-01T12:00:00+01:00"


def test_accepting_only_a_place_for_one_instance_follows_the_series() -> None:
    """rules.md §4.3: an override that kept its time shows the series' answer, also one given later."""
    meeting, _ = hear(series(), reply(BOB, rid=DEC_8))
    meeting = proposed(meeting, time=("20261208T090000Z",), location="Garden", rid=DEC_8, partstat=None)
    after = apply(meeting, organize.accept(meeting, meeting.proposals[1], NOW))
    after, _ = hear(after, reply(ANN, "DECLINED", minute=9), reply(BOB, "DECLINED", minute=9))
    assert standing(after, DEC_8) == {ANN: "ACCEPTED", BOB: "ACCEPTED"}
    plain = proposed(series(guests=(ANN, BOB, CAT)), time=("20261208T090000Z",), location="Garden", rid=DEC_8)
    plain = apply(plain, organize.accept(plain, plain.proposals[1], NOW))
    assert standing(hear(plain, reply(CAT, "DECLINED"))[0], DEC_8)[CAT] == "DECLINED"


def test_accepting_more_people_invites_them() -> None:
    """rules.md §6.4: REQUEST to them alone, SEQUENCE stays; who has become a guest meanwhile is not asked anew."""
    others = (line(EVE, None, cn="Eve", x_evil="1"), line(DAN, None))
    meeting = proposed(single(), time=("20261201T090000Z",), others=others)
    meeting, _ = put(meeting, vevent(guests=(ANN, BOB, DAN)))
    meeting, _ = hear(meeting, reply(DAN))
    after, decision = done(meeting, organize.accept(meeting, meeting.proposals[1], NOW))
    assert (sent(decision), after.sequence) == ([("REQUEST", EVE, "", 0)], 0)
    assert standing(after) == {ANN: "TENTATIVE", BOB: "NEEDS-ACTION", DAN: "ACCEPTED", EVE: "NEEDS-ACTION"}
    assert after.attendees["", EVE].params == {"CN": ("Eve",)}
    # A later version of the file that does not know her leaves her.
    assert EVE in standing(put(after, vevent(guests=(ANN, BOB, DAN)))[0])


def test_accepting_what_is_the_case_already_sends_nothing() -> None:
    """A COUNTER that proposes nothing is accepted without a mail."""
    meeting = proposed(single(), time=("20261201T090000Z",))
    decision = organize.accept(meeting, meeting.proposals[1], NOW)
    assert (words(decision), decision.sends, decision.sequence) == ("updated/proposal_accepted", (), 0)


def test_a_to_do_that_is_only_due_takes_a_new_date() -> None:
    """RFC 5546 §3.4.7: a COUNTER of a VTODO proposes DUE."""
    todo = registered(vevent(kind="VTODO", start="DUE:20261210T090000Z", end=""))
    one = counter(ANN, None, "20261211T090000Z")
    meeting, _ = hear(todo, one)
    after, decision = done(meeting, organize.accept(meeting, meeting.proposals[1], NOW))
    assert (sent(decision), attendance.status(after)["end"]) == (both("REQUEST", "", 1), "2026-12-11T09:00:00+00:00")
    assert "DUE:20261211T090000Z\n" in after.events[""].lines


def test_only_a_later_end_is_a_proposal() -> None:
    """RFC 5546 §3.2.7: DTSTART stays; and a meeting without an end keeps having none when it moves."""
    meeting = proposed(single(), time=("20261201T090000Z", "20261201T113000Z"))
    after = apply(meeting, organize.accept(meeting, meeting.proposals[1], NOW))
    assert attendance.status(after)["end"] == "2026-12-01T12:30:00+01:00"
    meeting = proposed(single(end=""), time=("20261203T090000Z",))
    after = apply(meeting, organize.accept(meeting, meeting.proposals[1], NOW))
    assert "DTEND" not in after.events[""].lines
    assert attendance.status(after)["start"] == "2026-12-03T10:00:00+01:00"


def test_a_counter_to_the_organizers_this_and_future_moves_all_that_follow() -> None:
    """RFC 5545 §3.2.13: the override goes on holding for later instances, which are asked about anew."""
    text = override(8, hour=15).replace("RECURRENCE-ID;", "RECURRENCE-ID;RANGE=THISANDFUTURE;")
    meeting = proposed(series(text), time=("20261208T160000Z",), rid=DEC_8)
    after = apply(meeting, organize.accept(meeting, meeting.proposals[1], NOW))
    after, _ = hear(after, reply(ANN, rid=DEC_15, sequence=1, minute=9))
    found = {one["recurrence_id"]: one["start"] for one in attendance.status(after)["instances"]}
    assert found == {DEC_8: "2026-12-08T17:00:00+01:00", DEC_15: "2026-12-15T17:00:00+01:00"}
    assert standing(after, DEC_15) == {ANN: "ACCEPTED", BOB: "NEEDS-ACTION"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda meeting: replace(meeting, status="CANCELLED"), "no_action/cancelled"),
        (lambda meeting: apply(meeting, replace(organize.cancel(meeting, NOW, rids=[DEC_8]))), "no_action/cancelled"),
        (lambda meeting: replace(meeting, events={}), "error/not_found"),
        (lambda meeting: put(meeting, vevent(WEEKLY, "EXDATE:20261208T090000Z"))[0], "error/not_found"),
    ],
    ids=["the meeting is cancelled", "the instance is cancelled", "there is no series", "there is no such instance"],
)
def test_what_is_no_more_cannot_be_accepted(change: Callable[[Meeting], Meeting], expected: str) -> None:
    """Nobody is asked to come to what does not take place."""
    meeting = proposed(series(), time=("20261208T150000Z",), rid=DEC_8)
    proposal = meeting.proposals[1]
    decision = organize.accept(change(meeting), proposal, NOW)
    assert (words(decision), decision.writes, decision.sends) == (expected, (), ())


def test_declining() -> None:
    """RFC 5546 §3.2.8: DECLINECOUNTER to the proposer, with the SEQUENCE of R; nothing else changes."""
    meeting = proposed(moved_8(), time=("20261208T160000Z",), rid=DEC_8, sequence=1)
    after, decision = done(meeting, organize.decline(meeting, meeting.proposals[1], "Sorry"))
    assert (words(decision), sent(decision)) == ("updated/proposal_declined", [("DECLINECOUNTER", ANN, DEC_8, 1)])
    assert (the_send(decision).comment, the_send(decision).automatic, after.proposals[1].state) == (
        "Sorry",
        False,
        "declined",
    )
    assert (after.events, after.attendees) == (meeting.events, meeting.attendees)
    assert words(organize.decline(after, after.proposals[1])) == "error/not_found"
    whole = proposed(single(sequence=2), time=NEW, sequence=2)
    assert sent(organize.decline(whole, whole.proposals[1])) == [("DECLINECOUNTER", ANN, "", 2)]


# -- reminding (RFC 5546 §3.2.2.7) -------------------------------------------------------------------------------

REMINDED: dict[str, tuple[Callable[[], Meeting], Sent]] = {
    "who has not answered": (lambda: hear(single(sequence=3), reply(ANN, sequence=3))[0], [("REQUEST", BOB, "", 3)]),
    "nobody": (lambda: hear(single(), reply(ANN), reply(BOB, "TENTATIVE"))[0], []),
    "neither the organizer nor who is only informed": (
        lambda: single(guests=(f"ATTENDEE:mailto:{WE}", SOFT, ANN)),
        [("REQUEST", ANN, "", 0)],
    ),
    "guests of instances": (
        lambda: hear(registered(override(8), override(15, guests=(CAT,))), reply(ANN, rid=DEC_8))[0],
        [("REQUEST", BOB, DEC_8, 0), ("REQUEST", CAT, DEC_15, 0)],
    ),
    "about an instance that moved": (
        lambda: hear(moved_8(), reply(ANN), reply(BOB), reply(BOB, rid=DEC_8, sequence=1))[0],
        [("REQUEST", ANN, DEC_8, 1)],
    ),
    "once": (lambda: hear(moved_8(), reply(BOB), reply(BOB, rid=DEC_8, sequence=1))[0], [("REQUEST", ANN, "", 0)]),
    "not about a cancelled instance": (
        lambda: put(registered(override(8), override(15)), override(8, "STATUS:CANCELLED"))[0],
        both("REQUEST", DEC_15, 0),
    ),
    "not of a cancelled meeting": (lambda: apply(single(), organize.cancel(single(), NOW)), []),
    "not of one that is over": (lambda: single(start="DTSTART:20261101T090000Z"), []),
    "not about an instance that is over": (
        lambda: registered(
            vevent("RRULE:FREQ=WEEKLY", start="DTSTART:20261103T090000Z", guests=()),
            vevent("RECURRENCE-ID:20261110T090000Z", start="DTSTART:20261110T090000Z"),
        ),
        [],
    ),
    "not who was taken off": (lambda: put(single(), vevent(guests=(ANN,)))[0], [("REQUEST", ANN, "", 1)]),
}


@pytest.mark.parametrize(("meeting", "mails"), REMINDED.values(), ids=REMINDED.keys())
def test_reminding(meeting: Callable[[], Meeting], mails: Sent) -> None:
    """rules.md §9.6: REQUEST to those who have not answered, SEQUENCE unchanged, RSVP=TRUE."""
    before = meeting()
    after, decision = done(before, organize.remind(before, NOW))
    assert (sent(decision), after.sequence) == (mails, before.sequence)
    assert words(decision) == ("updated/reminded" if mails else "no_action/reminded")
    for _, address, rid, _ in mails:
        assert after.attendees[rid, address].rsvp


def test_reminding_by_name() -> None:
    """RFC 5546 §3.2.2.7: one or more may be asked, also who has answered: RSVP=TRUE, the answer stays till the next."""
    soft = f"ATTENDEE;ROLE=NON-PARTICIPANT:mailto:{CAT}"
    meeting, _ = hear(series(override(8, hour=15), guests=(ANN, BOB, soft)), reply(ANN))
    after, decision = done(meeting, organize.remind(meeting, NOW, [f"mailto:{ANN.upper()}", CAT]))
    assert sent(decision) == [("REQUEST", ANN, "", 0), ("REQUEST", CAT, "", 0)]
    assert [(row.partstat, row.rsvp) for row in (after.attendees["", ANN], after.attendees["", CAT])] == [
        ("ACCEPTED", True),
        ("NEEDS-ACTION", True),
    ]
    assert words(organize.remind(meeting, NOW, [WE])) == "error/not_found"
    off, _ = put(meeting, vevent(WEEKLY, guests=(ANN,)))
    assert words(organize.remind(off, NOW, [BOB])) == "error/not_found"


# -- SEQUENCE never goes down ------------------------------------------------------------------------------------

TEXTS = st.sampled_from(
    [
        vevent(WEEKLY),
        vevent(WEEKLY, sequence=4),
        vevent(WEEKLY, summary="Other"),
        vevent(WEEKLY, guests=(ANN,)),
        vevent(WEEKLY, "STATUS:CANCELLED"),
        vevent(WEEKLY, "EXDATE:20261208T090000Z"),
        vevent("RRULE:FREQ=WEEKLY;BYDAY=TU;COUNT=3"),
        vevent(WEEKLY, start="DTSTART;TZID=Europe/Berlin:20261201T140000", sequence=None),
    ]
)
MOVED, OFF, SMALL, OTHER = (
    override(8, hour=15),
    override(8, "STATUS:CANCELLED"),
    override(15, guests=(ANN, CAT), sequence=2),
    override(22, summary="Other"),
)
SOME = st.sampled_from([[override(8)], [MOVED], [OFF], [SMALL], [OTHER], [MOVED, SMALL], [OFF, OTHER], [SMALL, OTHER]])
DAYS: st.SearchStrategy[list[str]] = st.one_of(st.just([]), SOME)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), TEXTS, DAYS),
        st.tuples(st.just("days"), st.none(), SOME),
        st.tuples(st.just("cancel"), st.none(), st.just([])),
        st.tuples(st.just("cancel day"), st.none(), st.just([])),
        st.tuples(st.just("take off"), st.none(), st.just([])),
        st.tuples(st.just("counter"), st.none(), st.just([])),
    ),
    min_size=1,
    max_size=6,
)


def step(meeting: Meeting, kind: str, text: str | None, days: list[str]) -> Decision:
    """One of the organizer's orders."""
    if kind in ("put", "days"):
        return organize.put(meeting, read_put(*([text] if text else []), *days), POLICY, NOW)
    if kind == "cancel":
        return organize.cancel(meeting, NOW)
    if kind == "cancel day":
        return organize.cancel(meeting, NOW, rids=[DEC_15])
    if kind == "take off":
        return organize.uninvite(meeting, [""], {BOB}, sequence=0, recorded=False)
    meeting, _ = hear(meeting, counter(ANN, *NEW, sequence=99))
    open_ = [one for one in meeting.proposals.values() if one.state == "open"]
    return organize.accept(meeting, open_[0], NOW) if open_ else organize.remind(meeting, NOW)


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_sequence_never_goes_down(steps: list[tuple[str, str | None, list[str]]]) -> None:
    """rules.md §9.1: whatever the organizer does, of the meeting and of the mails about one R; CANCEL is above all."""
    meeting = series()
    highest = {"": 0}
    for kind, text, days in steps:
        before = meeting.sequence
        decision = step(meeting, kind, text, days)
        meeting = apply(meeting, decision)
        assert meeting.sequence >= before
        known = dict(highest)
        for send in decision.sends:
            last = known.get(send.rid, -1)
            assert send.sequence > last if send.method == "CANCEL" else send.sequence >= last
            highest[send.rid] = max(highest.get(send.rid, -1), send.sequence)


@settings(max_examples=100, deadline=None)
@given(TEXTS.filter(lambda text: "CANCELLED" not in text), DAYS)
def test_the_same_version_again_changes_nothing(text: str, days: list[str]) -> None:
    """rules.md §9.3: no change, no mail; the answers stay, and what is stored is what it was."""
    meeting, _ = put(series(), text, *days)
    meeting, _ = hear(meeting, reply(ANN, sequence=99), reply(BOB, "DECLINED", rid=DEC_22, sequence=99))
    after, decision = put(meeting, text, *days)
    assert (words(decision), decision.sends) == ("no_action/unchanged", ())
    assert attendance.status(after) == attendance.status(meeting)
