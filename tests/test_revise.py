"""The organizer's new version over the stored meeting: SEQUENCE, whose answer stays, who is told (rules.md §9.1-4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from itipd.itip import attendance
from itipd.itip.model import Meeting, Policy
from tests.itip_samples import (
    ANN,
    BOB,
    CAT,
    DAN,
    DEC_8,
    DEC_15,
    DEC_22,
    EVE,
    NOW,
    WE,
    WEEKLY,
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
    sender,
    sent,
    series,
    single,
    standing,
    vevent,
    words,
)

EXDATE_8 = "EXDATE;TZID=Europe/Berlin:20261208T100000"
LATER_START = "DTSTART;TZID=Europe/Berlin:20261201T140000"
SOFT = f"ATTENDEE;ROLE=NON-PARTICIPANT:mailto:{CAT}"
CLIENTS = f"ATTENDEE;SCHEDULE-AGENT=CLIENT:mailto:{CAT}"
BAD = "RRULE:FREQ=SECONDLY;INTERVAL=7;BYHOUR=3;BYMONTH=2;BYMONTHDAY=29"
OURS = f"ATTENDEE:mailto:{CAT}"
FORCED = f"ATTENDEE;SCHEDULE-FORCE-SEND=REQUEST:mailto:{BOB}"

Sent = list[tuple[str, str, str, int]]


def both(method: str, rid: str = "", sequence: int = 0) -> Sent:
    """A mail to Ann and one to Bob."""
    return [(method, ANN, rid, sequence), (method, BOB, rid, sequence)]


def answered(*overrides: str) -> Meeting:
    """A series of which Ann has accepted all, and Bob 8 December."""
    return hear(series(*overrides), reply(ANN), reply(BOB, rid=DEC_8))[0]


def moved_8() -> Meeting:
    """A series whose 8 December was moved to 15:00, at SEQUENCE 1."""
    return put(series(), vevent(WEEKLY), override(8, hour=15))[0]


# What was stored, what is put, the words, the SEQUENCE of the meeting, and the mails.
TABLE: dict[str, tuple[Callable[[], Meeting], list[str], str, int, Sent]] = {
    "nothing": (single, [vevent()], "no_action/unchanged", 0, []),
    "bookkeeping": (single, [vevent("CREATED:20261119T080000Z", "X-FOO:1")], "no_action/unchanged", 0, []),
    "attendees in another order": (single, [vevent(guests=(BOB, ANN))], "no_action/unchanged", 0, []),
    "a title": (single, [vevent(summary="Other")], "updated/minor_change", 0, both("REQUEST")),
    "a place": (single, [vevent("LOCATION:Garden")], "updated/minor_change", 0, both("REQUEST")),
    "a time": (single, [vevent(start=LATER_START)], "updated/significant_change", 1, both("REQUEST", sequence=1)),
    "a time, at a higher SEQUENCE": (
        single,
        [vevent(start=LATER_START, sequence=7)],
        "updated/significant_change",
        7,
        both("REQUEST", sequence=7),
    ),
    "a time, at a lower SEQUENCE": (
        lambda: single(sequence=5),
        [vevent(start=LATER_START, sequence=2)],
        "updated/significant_change",
        6,
        both("REQUEST", sequence=6),
    ),
    "a time, without SEQUENCE": (
        lambda: single(sequence=5),
        [vevent(start=LATER_START, sequence=None)],
        "updated/significant_change",
        6,
        both("REQUEST", sequence=6),
    ),
    "a status": (single, [vevent("STATUS:TENTATIVE")], "updated/significant_change", 1, both("REQUEST", sequence=1)),
    "cancelled": (single, [vevent("STATUS:CANCELLED")], "cancelled/cancelled", 1, both("CANCEL", sequence=1)),
    "one guest more": (
        single,
        [vevent(guests=(ANN, BOB, CAT))],
        "updated/minor_change",
        0,
        [("REQUEST", CAT, "", 0)],
    ),
    "one guest fewer": (single, [vevent(guests=(ANN,))], "updated/minor_change", 1, [("CANCEL", BOB, "", 1)]),
    "one guest for another, and a title": (
        single,
        [vevent(guests=(ANN, CAT), summary="Other")],
        "updated/minor_change",
        1,
        [("CANCEL", BOB, "", 1), ("REQUEST", ANN, "", 1), ("REQUEST", CAT, "", 1)],
    ),
    "one guest's own line": (
        single,
        [vevent(guests=(ANN, f"ATTENDEE;ROLE=CHAIR;RSVP=TRUE:mailto:{BOB}"))],
        "updated/minor_change",
        0,
        [("REQUEST", BOB, "", 0)],
    ),
    "one guest is forced": (
        single,
        [vevent(guests=(ANN, FORCED))],
        "no_action/unchanged",
        0,
        [("REQUEST", BOB, "", 0)],
    ),
    "a guest who is only informed": (single, [vevent(guests=(ANN, BOB, SOFT))], "updated/minor_change", 0, []),
    "a guest whom the client writes to": (single, [vevent(guests=(ANN, BOB, CLIENTS))], "updated/minor_change", 0, []),
    "a guest is handed over to the client": (
        lambda: single(guests=(ANN, BOB, OURS)),
        [vevent(guests=(ANN, BOB, CLIENTS))],
        "updated/minor_change",
        1,
        [("CANCEL", CAT, "", 1)],
    ),
    "a guest of the client's is taken off": (
        lambda: single(guests=(ANN, BOB, CLIENTS)),
        [vevent()],
        "updated/minor_change",
        1,
        [],
    ),
    "the client writes to all": (
        single,
        [vevent(start=LATER_START, organizer=f"ORGANIZER;SCHEDULE-AGENT=X-OTHER:mailto:{WE}")],
        "updated/significant_change",
        1,
        [],
    ),
    "EXDATE": (series, [vevent(WEEKLY, EXDATE_8)], "updated/significant_change", 1, both("CANCEL", DEC_8, 1)),
    "EXDATE, and a title": (
        series,
        [vevent(WEEKLY, EXDATE_8, summary="Other")],
        "updated/significant_change",
        1,
        both("REQUEST", sequence=1),
    ),
    "EXDATE of an override": (
        moved_8,
        [vevent(WEEKLY, EXDATE_8)],
        "updated/significant_change",
        2,
        both("CANCEL", DEC_8, 2),
    ),
    "EXDATE of an override with a guest of its own": (
        lambda: series(override(8, guests=(ANN, CAT))),
        [vevent(WEEKLY, EXDATE_8)],
        "updated/significant_change",
        1,
        [("CANCEL", ANN, DEC_8, 1), ("CANCEL", CAT, DEC_8, 1)],
    ),
    "EXDATE of a cancelled instance": (
        lambda: put(series(), vevent(WEEKLY), override(8, "STATUS:CANCELLED"))[0],
        [vevent(WEEKLY, EXDATE_8)],
        "updated/significant_change",
        1,
        [],
    ),
    "EXDATE of an instance that is over": (
        lambda: registered(vevent(WEEKLY.replace("COUNT=8", "COUNT=80"), start="DTSTART:20260901T080000Z")),
        [vevent(WEEKLY.replace("COUNT=8", "COUNT=80"), "EXDATE:20260908T080000Z", start="DTSTART:20260901T080000Z")],
        "updated/significant_change",
        1,
        [],
    ),
    "the series is cut short": (
        series,
        [vevent("RRULE:FREQ=WEEKLY;BYDAY=TU;COUNT=3")],
        "updated/significant_change",
        1,
        both("REQUEST", sequence=1),
    ),
    "a new override, moved": (
        series,
        [vevent(WEEKLY), override(8, hour=15)],
        "updated/significant_change",
        0,
        both("REQUEST", DEC_8, 1),
    ),
    "a new override, retitled": (
        series,
        [vevent(WEEKLY), override(8, summary="Other")],
        "updated/minor_change",
        0,
        both("REQUEST", DEC_8, 0),
    ),
    "a new override, cancelled": (
        series,
        [vevent(WEEKLY), override(8, "STATUS:CANCELLED")],
        "updated/significant_change",
        0,
        both("CANCEL", DEC_8, 1),
    ),
    "a new override, cancelled, that lists only one": (
        series,
        [vevent(WEEKLY), override(8, "STATUS:CANCELLED", guests=(ANN,))],
        "updated/significant_change",
        0,
        both("CANCEL", DEC_8, 1),
    ),
    "a new override, cancelled, and one guest taken off all": (
        lambda: series(override(8)),
        [vevent(WEEKLY, guests=(ANN,)), override(8, "STATUS:CANCELLED", guests=(ANN,))],
        "updated/significant_change",
        1,
        [("CANCEL", ANN, DEC_8, 2), ("CANCEL", BOB, "", 1)],
    ),
    "an override that is cancelled already": (
        lambda: put(series(), vevent(WEEKLY), override(8, "STATUS:CANCELLED"))[0],
        [vevent(WEEKLY), override(8, "STATUS:CANCELLED", summary="Other")],
        "updated/minor_change",
        0,
        [],
    ),
    "a new override that lists nobody": (
        series,
        [vevent(WEEKLY), override(8, hour=15, guests=())],
        "updated/significant_change",
        0,
        both("REQUEST", DEC_8, 1),
    ),
    "a new override without one of the guests": (
        series,
        [vevent(WEEKLY), override(8, guests=(ANN,))],
        "updated/minor_change",
        0,
        [("CANCEL", BOB, DEC_8, 1)],
    ),
    "a new override with one guest more": (
        series,
        [vevent(WEEKLY), override(8, guests=(ANN, BOB, CAT))],
        "updated/minor_change",
        0,
        [("REQUEST", CAT, DEC_8, 0)],
    ),
    "an override is put alone": (
        series,
        [override(8, hour=15)],
        "updated/significant_change",
        0,
        both("REQUEST", DEC_8, 1),
    ),
    "an override is put alone, by its date": (
        moved_8,
        [vevent("RECURRENCE-ID;VALUE=DATE:20261208", start="DTSTART;TZID=Europe/Berlin:20261208T160000")],
        "updated/significant_change",
        0,
        both("REQUEST", DEC_8, 2),
    ),
    "an override moves again": (
        moved_8,
        [vevent(WEEKLY), override(8, hour=16)],
        "updated/significant_change",
        0,
        both("REQUEST", DEC_8, 2),
    ),
    "the series moves, the override stays": (
        moved_8,
        [vevent("RRULE:FREQ=WEEKLY;BYDAY=TU;COUNT=9"), override(8, hour=15)],
        "updated/significant_change",
        1,
        both("REQUEST", sequence=1),
    ),
    "a moved override is dropped": (
        moved_8,
        [vevent(WEEKLY)],
        "updated/significant_change",
        2,
        both("REQUEST", sequence=2),
    ),
    "a kept override is dropped": (
        lambda: series(override(8, summary="Other")),
        [vevent(WEEKLY)],
        "updated/minor_change",
        0,
        both("REQUEST"),
    ),
    "an override with a guest of its own is dropped": (
        lambda: series(override(8, guests=(ANN, BOB, CAT))),
        [vevent(WEEKLY)],
        "updated/minor_change",
        1,
        [("CANCEL", CAT, DEC_8, 1), *both("REQUEST", sequence=1)],
    ),
    "an override with a guest of its own, cut off": (
        lambda: series(override(22, guests=(ANN, BOB, CAT))),
        [vevent("RRULE:FREQ=WEEKLY;BYDAY=TU;COUNT=3")],
        "updated/significant_change",
        1,
        [("CANCEL", CAT, DEC_22, 1), *both("REQUEST", sequence=1)],
    ),
    "a guest of one day is invited to all": (
        lambda: series(override(8, guests=(ANN, BOB, CAT))),
        [vevent(WEEKLY, guests=(ANN, BOB, CAT))],
        "updated/minor_change",
        0,
        [("REQUEST", ANN, "", 0), ("REQUEST", BOB, "", 0), ("REQUEST", CAT, "", 0)],
    ),
    "taken off the series, not off one day": (
        lambda: series(override(8)),
        [vevent(WEEKLY, guests=(ANN,)), override(8)],
        "updated/minor_change",
        1,
        [("CANCEL", BOB, "", 1), ("REQUEST", BOB, DEC_8, 2)],  # above the CANCEL, or it would not be believed
    ),
    "taken off both": (
        lambda: series(override(8)),
        [vevent(WEEKLY, guests=(ANN,)), override(8, guests=(ANN,))],
        "updated/minor_change",
        1,
        [("CANCEL", BOB, "", 1)],
    ),
    "taken off the series, above an override's SEQUENCE": (
        lambda: put(moved_8(), vevent(WEEKLY), override(8, hour=16))[0],
        [vevent(WEEKLY, guests=(ANN,)), override(8, hour=16, guests=(ANN,))],
        "updated/minor_change",
        3,
        [("CANCEL", BOB, "", 3)],
    ),
    "the series comes to its instances": (
        lambda: registered(override(8)),
        [vevent(WEEKLY), override(8)],
        "updated/minor_change",
        0,
        both("REQUEST"),
    ),
    "another instance comes": (
        lambda: registered(override(8)),
        [override(15)],
        "updated/minor_change",
        0,
        both("REQUEST", DEC_15, 0),
    ),
    "a cancelled instance takes place after all": (
        lambda: put(series(), vevent(WEEKLY), override(8, "STATUS:CANCELLED"))[0],
        [vevent(WEEKLY), override(8)],
        "updated/significant_change",
        0,
        both("REQUEST", DEC_8, 2),
    ),
    "an override without ORGANIZER": (
        series,
        [override(8, hour=15, organizer="").replace("END:VEVENT", "X-A:1\r\nEND:VEVENT"), vevent(WEEKLY)],
        "updated/significant_change",
        0,
        both("REQUEST", DEC_8, 1),
    ),
    "an override of a rule that cannot be followed is dropped": (
        lambda: registered(vevent(BAD), vevent("RECURRENCE-ID;VALUE=DATE:20990101", start="DTSTART:20990101T120000Z")),
        [vevent(BAD)],
        "updated/significant_change",
        1,
        both("REQUEST", sequence=1),
    ),
    "it is over": (
        lambda: single(start="DTSTART:20261110T090000Z"),
        [vevent(start="DTSTART:20261111T090000Z")],
        "updated/significant_change",
        1,
        [],
    ),
    "it is moved into the past": (
        single,
        [vevent(start="DTSTART:20261111T090000Z")],
        "updated/significant_change",
        1,
        both("REQUEST", sequence=1),
    ),
    "a series is ended in the past": (
        lambda: registered(vevent("RRULE:FREQ=DAILY", start="DTSTART:20261101T090000Z")),
        [vevent("RRULE:FREQ=DAILY;UNTIL=20261110T090000Z", start="DTSTART:20261101T090000Z")],
        "updated/significant_change",
        1,
        both("REQUEST", sequence=1),
    ),
    "an instance that is over, of a series that is not": (
        lambda: registered(vevent("RRULE:FREQ=DAILY", start="DTSTART:20261101T090000Z")),
        [
            vevent("RRULE:FREQ=DAILY", start="DTSTART:20261101T090000Z"),
            vevent("RECURRENCE-ID:20261103T090000Z", start="DTSTART:20261103T110000Z", guests=(ANN, BOB, CAT)),
        ],
        "updated/significant_change",
        0,
        [],
    ),
    "an instance that is over is put off": (
        lambda: registered(vevent("RRULE:FREQ=DAILY", start="DTSTART:20261101T090000Z")),
        [vevent("RECURRENCE-ID:20261103T090000Z", start="DTSTART:20261203T110000Z")],
        "updated/significant_change",
        0,
        both("REQUEST", "20261103T090000Z", 1),
    ),
    "a to-do that was due": (
        lambda: registered(vevent(kind="VTODO", start="DUE:20261101T090000Z", end="")),
        [vevent(kind="VTODO", start="DUE:20261102T090000Z", end="")],
        "updated/significant_change",
        1,
        [],
    ),
    "a to-do with no end": (
        lambda: registered(vevent(kind="VTODO", start="", end="")),
        [vevent(kind="VTODO", start="", end="", summary="Other")],
        "updated/minor_change",
        0,
        both("REQUEST"),
    ),
    "a rule that cannot be followed": (
        lambda: registered(vevent("RRULE:FREQ=SECONDLY;INTERVAL=7;BYHOUR=3;BYMONTH=2;BYMONTHDAY=29;COUNT=9")),
        [vevent("RRULE:FREQ=SECONDLY;INTERVAL=7;BYHOUR=3;BYMONTH=2;BYMONTHDAY=29;COUNT=9", summary="Other")],
        "updated/minor_change",
        0,
        both("REQUEST"),
    ),
}


@pytest.mark.parametrize(("before", "texts", "expected", "sequence", "mails"), TABLE.values(), ids=TABLE.keys())
def test_a_new_version(
    before: Callable[[], Meeting], texts: list[str], expected: str, sequence: int, mails: Sent
) -> None:
    """rules.md §9.1 (SEQUENCE) and §9.3 (who gets what, notify = changed)."""
    after, decision = put(before(), *texts)
    assert (words(decision), after.sequence, sent(decision)) == (expected, sequence, mails)


def test_an_exdate_and_a_cancelled_instance_say_the_same() -> None:
    """One written for the other tells nobody anything and asks nobody anew; without either the day is on again."""
    off = override(8, "STATUS:CANCELLED")
    meeting, _ = put(hear(series(), reply(ANN))[0], vevent(WEEKLY, EXDATE_8))
    meeting, decision = put(meeting, vevent(WEEKLY), off)
    assert (words(decision), sent(decision), standing(meeting)[ANN]) == ("no_action/unchanged", [], "ACCEPTED")
    meeting, decision = put(meeting, vevent(WEEKLY, EXDATE_8))
    assert (sent(decision), standing(meeting)[ANN]) == ([], "ACCEPTED")
    meeting, decision = put(meeting, vevent(WEEKLY))
    assert (instances(meeting), sent(decision)) == ([], both("REQUEST", sequence=3))
    assert standing(meeting)[ANN] == "NEEDS-ACTION"
    alone, _ = put(None, override(15))
    assert sent(put(alone, vevent(WEEKLY), override(15), off)[1]) == both("REQUEST")


def test_a_cancelled_instance_keeps_its_guests() -> None:
    """RFC 5546 §3.2.5: whoever was there is told, and named; a file that lists fewer takes nobody off before."""
    meeting, _ = put(series(), vevent(WEEKLY), override(8, "STATUS:CANCELLED", guests=(ANN,)))
    assert set(standing(meeting, DEC_8)) == {ANN, BOB}


@pytest.mark.parametrize(
    ("texts", "notify", "mails"),
    [
        ([vevent(WEEKLY)], "all", both("REQUEST")),
        ([vevent(WEEKLY, EXDATE_8)], "all", both("REQUEST", sequence=1)),
        ([vevent(WEEKLY), override(8)], "all", both("REQUEST")),
        ([override(8)], "all", both("REQUEST", DEC_8, 0)),
        ([vevent(WEEKLY, start=LATER_START)], "none", []),
    ],
    ids=["nothing changed", "EXDATE", "an override, with the series", "an override alone", "none"],
)
def test_whom_the_organizer_wants_told(texts: list[str], notify: str, mails: Sent) -> None:
    """rules.md §9.3: `all`: everybody, once; `none`: nobody."""
    assert sent(put(series(), *texts, notify=notify)[1]) == mails


def test_a_place_can_be_significant() -> None:
    """rules.md §9.1: LOCATION is a setting, of one meeting, too; no answer is reset by it."""
    for before, policy in ((single(), Policy(location="significant")), (_own_policy(), Policy())):
        meeting, _ = hear(before, reply(ANN))
        after, decision = put(meeting, vevent("LOCATION:Garden"), policy=policy)
        assert (words(decision), after.sequence, standing(after)[ANN]) == ("updated/significant_change", 1, "ACCEPTED")


def _own_policy() -> Meeting:
    return replace(single(), policy={"location": "significant"})


# -- whose answer stays (rules.md §9.2) --------------------------------------------------------------------------

KEPT: dict[str, tuple[list[str], dict[str, str], dict[str, dict[str, str]]]] = {
    "a title": (
        [vevent(WEEKLY, summary="Other")],
        {ANN: "ACCEPTED", BOB: "NEEDS-ACTION"},
        {DEC_8: {ANN: "ACCEPTED", BOB: "ACCEPTED"}},
    ),
    "a rule": (
        [vevent("RRULE:FREQ=WEEKLY;BYDAY=TU;COUNT=9")],
        {ANN: "NEEDS-ACTION", BOB: "NEEDS-ACTION"},
        {},
    ),
    "a time": ([vevent(WEEKLY, start=LATER_START)], {ANN: "NEEDS-ACTION", BOB: "NEEDS-ACTION"}, {}),
    "an instance more": (
        [vevent(WEEKLY, "RDATE:20261210T090000Z")],
        {ANN: "NEEDS-ACTION", BOB: "NEEDS-ACTION"},
        {},
    ),
    "cut short": (
        [vevent("RRULE:FREQ=WEEKLY;BYDAY=TU;COUNT=3")],
        {ANN: "ACCEPTED", BOB: "NEEDS-ACTION"},
        {DEC_8: {ANN: "ACCEPTED", BOB: "ACCEPTED"}},
    ),
    "cut short before an answer": (
        [vevent("RRULE:FREQ=WEEKLY;BYDAY=TU;UNTIL=20261203T000000Z")],
        {ANN: "ACCEPTED", BOB: "NEEDS-ACTION"},
        {},
    ),
    "taken out": ([vevent(WEEKLY, EXDATE_8)], {ANN: "ACCEPTED", BOB: "NEEDS-ACTION"}, {}),
    "taken out, and a title": (
        [vevent(WEEKLY, EXDATE_8, summary="Other")],
        {ANN: "ACCEPTED", BOB: "NEEDS-ACTION"},
        {},
    ),
    "an override that kept its time": (
        [vevent(WEEKLY), override(8, summary="Other"), override(15, summary="Other")],
        {ANN: "ACCEPTED", BOB: "NEEDS-ACTION"},
        {DEC_8: {ANN: "ACCEPTED", BOB: "ACCEPTED"}, DEC_15: {ANN: "ACCEPTED", BOB: "NEEDS-ACTION"}},
    ),
    "an override that moved": (
        [vevent(WEEKLY), override(8, hour=15), override(15, hour=15)],
        {ANN: "ACCEPTED", BOB: "NEEDS-ACTION"},
        {
            DEC_8: {ANN: "NEEDS-ACTION", BOB: "NEEDS-ACTION"},
            DEC_15: {ANN: "NEEDS-ACTION", BOB: "NEEDS-ACTION"},
        },
    ),
    "NEEDS-ACTION in the text": (
        [
            vevent(
                WEEKLY,
                guests=(f"ATTENDEE;PARTSTAT=NEEDS-ACTION:mailto:{ANN}", f"ATTENDEE;PARTSTAT=DECLINED:mailto:{BOB}"),
            )
        ],
        {ANN: "ACCEPTED", BOB: "NEEDS-ACTION"},
        {DEC_8: {ANN: "ACCEPTED", BOB: "ACCEPTED"}},
    ),
}


@pytest.mark.parametrize(("texts", "people", "days"), KEPT.values(), ids=KEPT.keys())
def test_whose_answer_stays(texts: list[str], people: dict[str, str], days: dict[str, dict[str, str]]) -> None:
    """rules.md §9.2: NEEDS-ACTION only on the R whose time or rule changed; stored answers win over the text."""
    after, _ = put(answered(), *texts)
    assert standing(after) == people
    assert {rid: standing(after, rid) for rid in instances(after)} == days


def test_a_reset_asks_anew() -> None:
    """rules.md §9.2: RSVP=TRUE, and everything that belonged to the answer goes; who is only informed stays so."""
    meeting = registered(vevent(guests=(f"ATTENDEE:mailto:{ANN}", SOFT, f"ATTENDEE;PARTSTAT=ACCEPTED:mailto:{WE}")))
    meeting, _ = hear(meeting, reply(ANN, comment="Late", params={"X-NUM-GUESTS": ("2",)}))
    after, decision = put(
        meeting,
        vevent(start=LATER_START, guests=(f"ATTENDEE:mailto:{ANN}", SOFT, f"ATTENDEE;PARTSTAT=TENTATIVE:mailto:{WE}")),
    )
    ann = after.attendees["", ANN]
    assert (ann.partstat, ann.rsvp, ann.comment, ann.guests, ann.revision) == ("NEEDS-ACTION", True, None, None, None)
    assert (ann.reset_sequence, ann.reset_at) == (1, NOW)
    assert (after.attendees["", CAT].rsvp, standing(after)[WE]) == (False, "TENTATIVE")
    assert sent(decision) == [("REQUEST", ANN, "", 1)]


def test_rsvp_asks_who_has_not_been_asked() -> None:
    """RFC 5546 §3.2.2.7: RSVP=TRUE in a put asks whom the one before did not; SEQUENCE stays, others hear nothing."""
    quiet = [f"ATTENDEE:mailto:{name}" for name in (ANN, BOB)]
    meeting, _ = hear(registered(vevent(guests=quiet)), reply(BOB))
    after, decision = put(meeting, vevent())
    assert (sent(decision), after.attendees["", ANN].rsvp) == ([("REQUEST", ANN, "", 0)], True)
    assert (standing(after)[BOB], after.attendees["", BOB].rsvp) == ("ACCEPTED", False)
    for text in (vevent(), vevent(guests=quiet)):  # applications write it always, or never
        again, decision = put(after, text)
        assert (words(decision), sent(decision), again.attendees["", ANN].rsvp) == ("no_action/unchanged", [], True)


def test_an_override_that_stays_keeps_its_answers_through_a_reset_of_the_series() -> None:
    """rules.md §9.2, per R; but "and all after it", said there of the old series, is said of no other instance now."""
    meeting, _ = hear(series(override(8, hour=15)), reply(ANN, "DECLINED", rid=DEC_8, future=True, sequence=4))
    assert standing(hear(meeting, reply(BOB, rid=DEC_15))[0], DEC_15)[ANN] == "DECLINED"
    meeting, _ = put(meeting, vevent("RRULE:FREQ=WEEKLY;BYDAY=TU;COUNT=9"), override(8, hour=15))
    meeting, _ = hear(meeting, reply(BOB, rid=DEC_15, sequence=1, minute=5))
    assert (standing(meeting, DEC_8)[ANN], standing(meeting, DEC_15)[ANN]) == ("DECLINED", "NEEDS-ACTION")


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ("FREQ=DAILY;UNTIL=20261207T090000Z", False),
        ("FREQ=YEARLY", True),
        ("FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30", True),
    ],
    ids="nothing_follows others_follow nobody_knows".split(),
)
def test_an_answer_from_a_day_on_outlives_that_day(rule: str, holds: bool) -> None:
    """rules.md §9.2: cutting keeps answers, RFC 5545 §3.2.13: this one is of all that follow; the day is not shown."""
    meeting, _ = hear(
        registered(vevent(f"RRULE:{rule}", f"RDATE:{DEC_8}")), reply(ANN, "DECLINED", rid=DEC_8, future=True)
    )
    assert instances(meeting) == [DEC_8]
    after, _ = put(meeting, vevent(f"RRULE:{rule}"))
    assert (((DEC_8, ANN) in after.attendees), instances(after)) == (holds, [])


def test_guests_whom_no_file_lists_are_asked_anew_as_well() -> None:
    """A delegate of the series is set back where an instance moves, told of changes there, and stays on the list."""
    delegation = message(line(ANN, "DELEGATED", delegated_to=DAN), line(DAN, "NEEDS-ACTION"))
    meeting, _ = hear(series(override(15)), delegation, message(line(DAN, delegated_from=ANN), minute=2))
    after, decision = put(meeting, vevent(WEEKLY), override(8, hour=15), override(15, summary="Other"))
    assert (standing(after)[DAN], standing(after, DEC_8)[DAN], standing(after, DEC_15)[DAN]) == (
        "ACCEPTED",
        "NEEDS-ACTION",
        "ACCEPTED",
    )
    assert {("REQUEST", DAN, DEC_8, 1), ("REQUEST", DAN, DEC_15, 0)} <= set(sent(decision))
    assert words(hear(after, reply(DAN, rid=DEC_8, sequence=0, minute=9))[1]) == "no_action/stale_sequence"


def test_a_dropped_override_goes_back_to_the_series_and_its_answer() -> None:
    """rules.md §9.2; what was said of the other time is stale from then on, of a time that stayed it is not."""
    meeting, _ = hear(moved_8(), reply(ANN), reply(ANN, "DECLINED", rid=DEC_8, sequence=1, minute=2))
    after, _ = put(meeting, vevent(WEEKLY))
    assert (instances(after), standing(after)[ANN]) == ([], "ACCEPTED")
    assert words(hear(after, reply(ANN, rid=DEC_8, sequence=1, minute=9))[1]) == "no_action/stale_sequence"
    assert words(hear(after, reply(ANN, rid=DEC_15, sequence=0, minute=9))[1]) == "updated/replied"
    kept, _ = put(series(override(8, summary="Other")), vevent(WEEKLY))
    assert words(hear(kept, reply(ANN, rid=DEC_8, sequence=0, minute=9))[1]) == "updated/replied"


def test_who_is_invited_once_more_is_asked_anew() -> None:
    """Answers from before they were taken off count no more, of the series and of instances."""
    meeting, _ = hear(series(), reply(BOB), reply(BOB, "DECLINED", rid=DEC_8))
    off, _ = put(meeting, vevent(WEEKLY, guests=(ANN,)))
    assert (BOB in standing(off), instances(off)) == (False, [])
    again, decision = put(off, vevent(WEEKLY))
    assert (standing(again)[BOB], instances(again), sent(decision)) == ("NEEDS-ACTION", [], [("REQUEST", BOB, "", 1)])
    assert words(hear(again, reply(BOB, sequence=0, minute=9))[1]) == "no_action/stale_sequence"
    assert words(hear(again, reply(BOB, rid=DEC_8, sequence=0, minute=9))[1]) == "no_action/stale_sequence"
    assert words(hear(again, reply(BOB, sequence=1, minute=9))[1]) == "updated/replied"


def test_who_was_taken_off_one_day_comes_back_to_it() -> None:
    """Taken off an override and put on it again: the answer to the series is shown there."""
    meeting, _ = hear(series(override(8)), reply(BOB))
    meeting, _ = put(meeting, vevent(WEEKLY), override(8, guests=(ANN,)))
    assert standing(meeting, DEC_8) == {ANN: "NEEDS-ACTION"}
    meeting, decision = put(meeting, vevent(WEEKLY), override(8))
    assert (standing(meeting, DEC_8)[BOB], sent(decision)) == ("ACCEPTED", [("REQUEST", BOB, DEC_8, 1)])


def test_a_guest_of_one_day_has_no_other_answer_to_show() -> None:
    """Who is on the list of an override alone is asked there, and is no guest of the series."""
    meeting, _ = put(series(), vevent(WEEKLY), override(8, guests=(ANN, BOB, CAT)))
    assert (standing(meeting, DEC_8)[CAT], CAT in standing(meeting)) == ("NEEDS-ACTION", False)
    assert words(hear(meeting, reply(CAT, rid=DEC_8))[1]) == "updated/replied"


def test_a_party_crasher_becomes_a_guest_by_the_next_version() -> None:
    """Who was let in and is then listed is invited; who is never listed stays until the organizer says otherwise."""
    meeting, _ = hear(single(), reply(EVE), policy=Policy(party_crasher="added"))
    after, _ = put(meeting, vevent())
    assert after.attendees["", EVE].invited is False
    after, _ = put(after, vevent(guests=(ANN, BOB, EVE)))
    assert (after.attendees["", EVE].invited, standing(after)[EVE]) == (True, "ACCEPTED")
    after, decision = put(after, vevent())
    assert (EVE in standing(after), sent(decision)) == (False, [("CANCEL", EVE, "", 1)])


def test_changes_show_the_answer_of_before() -> None:
    """interface.md: `old` is what people saw: at an instance that had no answer of its own, the series'."""
    _, decision = put(answered(), vevent(WEEKLY), override(15, hour=15))
    told = {(one.attendee, one.old, one.new) for one in decision.changes if one.field == "partstat"}
    assert told == {(ANN, "ACCEPTED", "NEEDS-ACTION")}


# -- recorded: the application has sent it itself ----------------------------------------------------------------


def test_what_is_recorded_has_the_applications_sequence_and_sends_nothing() -> None:
    """interface.md, --recorded: SEQUENCE from the file."""
    after, decision = put(single(), vevent(start=LATER_START, sequence=0), recorded=True)
    assert (words(decision), after.sequence, decision.sends) == ("updated/significant_change", 0, ())


def test_what_is_recorded_was_asked_when_it_was_written() -> None:
    """rules.md §1.4: a reply without SEQUENCE to what the application sent is not stale because it was told us late."""
    moved = vevent(start=LATER_START, sequence=1).replace("DTSTAMP:20261117T090000Z", "DTSTAMP:20261120T080000Z")
    meeting, _ = put(single(), moved, recorded=True, now=at(30))
    assert words(hear(meeting, reply(ANN, sequence=None, minute=1))[1]) == "updated/replied"
    assert words(hear(meeting, reply(ANN, sequence=None, minute=-9))[1]) == "no_action/stale_sequence"


@pytest.mark.parametrize(
    ("text", "old"),
    [
        (vevent(sequence=1), True),
        (vevent(sequence=2), False),
        (vevent(sequence=2).replace("DTSTAMP:2026", "DTSTAMP:2025"), True),
        (vevent(sequence=None), False),
        (override(8, sequence=0), False),
    ],
    ids=["lower SEQUENCE", "the same", "earlier DTSTAMP", "no SEQUENCE", "an instance that is not known"],
)
def test_an_older_revision_is_not_recorded(text: str, old: bool) -> None:
    """RFC 5546 §2.1.5: a file that is older than what is stored changes nothing."""
    _, decision = put(single(sequence=2), text, recorded=True)
    assert (words(decision) == "no_action/old_revision") is old


# -- zones -------------------------------------------------------------------------------------------------------

OWN_ZONE = (
    "BEGIN:VTIMEZONE\r\nTZID:{}\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\nTZOFFSETFROM:{}\r\n"
    "TZOFFSETTO:{}\r\nEND:STANDARD\r\nEND:VTIMEZONE"
)


def test_an_instance_put_alone_leaves_the_zone_of_its_series() -> None:
    """Meeting.zones: the series' own VTIMEZONE is kept, or its instances would be found no more."""
    ours = OWN_ZONE.format("Ours", "+0200", "+0200")
    meeting, _ = put(None, vevent(WEEKLY, start="DTSTART;TZID=Ours:20261201T100000"), zones=ours)
    theirs = OWN_ZONE.format("Theirs", "+0300", "+0300")
    rid = "RECURRENCE-ID;TZID=Theirs:20261208T110000"
    meeting, decision = put(meeting, vevent(rid, start="DTSTART;TZID=Theirs:20261208T160000"), zones=theirs)
    assert "TZID:Ours" in meeting.zones
    assert "TZID:Theirs" in meeting.zones
    assert decision.rid == "20261208T080000Z"
    assert words(hear(meeting, reply(ANN, rid="20261215T080000Z"))[1]) == "updated/replied"
    whole, _ = put(meeting, vevent(WEEKLY, start="DTSTART;TZID=Ours:20261201T100000"), zones=ours)
    assert "Theirs" not in whole.zones


# -- over --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "hour", "told"),
    [
        ("DTSTART;VALUE=DATE:20261119", 11, True),
        ("DTSTART;VALUE=DATE:20261119", 13, False),
        ("DTSTART:20261119T233000", 12, True),
        ("DTSTART:20261119T233000", 13, False),
        ("DTSTART:20261119T233000Z", 0, True),
        ("DTSTART:20261119T233000Z", 1, False),
    ],
)
def test_a_day_is_over_where_it_is_over_last(start: str, hour: int, told: bool) -> None:
    """rules.md §9.3: nothing for what is wholly past; a date or a floating time ends twelve hours later somewhere."""
    end = "" if "DATE" in start else "DURATION:PT1H"
    meeting = single(start=start, end=end)
    now = datetime(2026, 11, 20, hour, 15, tzinfo=UTC)
    _, decision = put(meeting, vevent(summary="Other", start=start, end=end), now=now)
    assert bool(decision.sends) is told


def test_a_version_is_laid_over_everything_else() -> None:
    """Answers, proposals and what the meeting is called stay through a change of text."""
    meeting, _ = hear(single(), counter(ANN, "20261203T090000Z"), evidence=sender(ANN))
    after, decision = put(meeting, vevent(summary="Other", organizer=f"ORGANIZER:mailto:{WE}"))
    assert (after.name, after.proposals, standing(after)[ANN]) == ("Meetings", meeting.proposals, "TENTATIVE")
    assert attendance.status(after)["summary"] == "Other"
    told: list[Any] = [(one.field, one.old, one.new) for one in decision.changes]
    assert told == [("summary", "Team meeting", "Other")]
