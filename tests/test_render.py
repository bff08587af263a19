"""A meeting as iCalendar, for a method and its recipients (rules.md §10; RFC 5546 §3.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import icalendar
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itipd.itip import organize, render
from itipd.itip.contentlines import Component, parse
from itipd.itip.incoming import incoming
from itipd.itip.model import Meeting, Send
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
    WE,
    WEEKLY,
    apply,
    hear,
    line,
    message,
    override,
    put,
    registered,
    reply,
    series,
    single,
    the_send,
    vevent,
)

ALARM = "BEGIN:VALARM\r\nACTION:DISPLAY\r\nTRIGGER:-PT5M\r\nDESCRIPTION:x\r\nEND:VALARM"
RICH = ("X-FOO;X-BAR=1:kept", "X-ALT-DESC;FMTTYPE=text/html:<b>x</b>", "PRIORITY:5", ALARM)
OWN_ZONE = (
    "BEGIN:VTIMEZONE\r\nTZID:Our zone\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\nTZOFFSETFROM:+0330\r\n"
    "TZOFFSETTO:+0330\r\nEND:STANDARD\r\nEND:VTIMEZONE"
)


def shown(meeting: Meeting, method: str = "REQUEST", *to: str, rid: str = "", **more: Any) -> Component:
    """The VCALENDAR of a mail, parsed."""
    sequence = meeting.events[rid].sequence if rid in meeting.events else meeting.sequence
    send = Send(method, to or (ANN,), rid, more.pop("sequence", sequence), "registered", **more)
    text = render.calendar(meeting, send, NOW)
    ((calendar,), quirks) = parse(text.encode())
    assert quirks == ()
    return calendar


def events(calendar: Component) -> list[Component]:
    """The VEVENTs and VTODOs."""
    return [child for child in calendar.children if child.name != "VTIMEZONE"]


def zones(calendar: Component) -> list[str | None]:
    """The TZIDs that are defined."""
    return [child.text("TZID") for child in calendar.children if child.name == "VTIMEZONE"]


def people(event: Component) -> list[str]:
    """The addresses of the ATTENDEEs."""
    return [line.value.removeprefix("mailto:") for line in event.all("ATTENDEE")]


def cancelled(meeting: Meeting, **more: Any) -> tuple[Meeting, Component]:
    """The meeting after the organizer cancelled it or parts of it, and the first mail about that."""
    decision = organize.cancel(meeting, NOW, **more)
    after = apply(meeting, decision)
    send = decision.sends[0]
    return after, parse(render.calendar(after, send, NOW).encode())[0][0]


# -- REQUEST -----------------------------------------------------------------------------------------------------


def test_a_request_has_what_the_standard_wants() -> None:
    """RFC 5546 §3.2.2: METHOD, one component, our DTSTAMP and SEQUENCE, everybody, and the organizer's own lines."""
    meeting, _ = hear(registered(vevent(*RICH, sequence=3)), reply(ANN, sequence=3))
    calendar = shown(meeting)
    (event,) = events(calendar)
    names = ("METHOD", "VERSION", "CALSCALE", "PRODID")
    assert [calendar.text(name) for name in names] == ["REQUEST", "2.0", "GREGORIAN", render.PRODID]
    assert [event.text(name) for name in ("DTSTAMP", "SEQUENCE", "UID", "CREATED", "LAST-MODIFIED")] == [
        "20261120T080005Z",
        "3",
        meeting.uid,
        "20261120T080005Z",
        "20261120T080005Z",
    ]
    assert [len(event.lines(name)) for name in ("DTSTAMP", "SEQUENCE", "SUMMARY", "PRIORITY", "X-FOO")] == [1] * 5
    assert [child.name for child in event.children] == ["VALARM"]
    first, second = event.all("ATTENDEE")
    assert (first.one("PARTSTAT"), first.one("RSVP"), second.one("PARTSTAT"), second.one("RSVP")) == (
        "ACCEPTED",
        None,
        "NEEDS-ACTION",
        "TRUE",
    )


def test_what_the_organizer_wrote_of_its_making_stays() -> None:
    """rules.md §10: CREATED and LAST-MODIFIED are present once."""
    (event,) = events(shown(single(end="CREATED:20260101T000000Z\r\nLAST-MODIFIED:20260102T000000Z")))
    assert [one.value for name in ("CREATED", "LAST-MODIFIED") for one in event.all(name)] == [
        "20260101T000000Z",
        "20260102T000000Z",
    ]


def test_a_request_without_a_title_has_an_empty_one() -> None:
    """RFC 5546 §3.2.2, §3.4.2: SUMMARY 1, can be null; of a to-do also PRIORITY 1; of a CANCEL neither is asked for."""
    text = vevent().replace("SUMMARY:Team meeting\r\n", "")
    (event,) = events(shown(registered(text)))
    assert (event.text("SUMMARY"), event.first("PRIORITY")) == ("", None)
    (todo,) = events(shown(registered(text.replace("VEVENT", "VTODO"))))
    assert (todo.text("SUMMARY"), todo.text("PRIORITY")) == ("", "0")
    (gone,) = events(cancelled(registered(text))[1])
    assert gone.first("SUMMARY") is None


def test_the_state_of_an_attendee_leaves_with_the_line() -> None:
    """RFC 5545 §3.8.4.1: role and name of the organizer's text, PARTSTAT, delegation, SENT-BY of now; no SCHEDULE-*."""
    written = f'ATTENDEE;CN="Ann; x";ROLE=CHAIR;SCHEDULE-AGENT=SERVER;SCHEDULE-STATUS=1.1;X-A="a:b":mailto:{ANN}'
    meeting = registered(vevent(guests=(written, BOB)))
    delegation = message(line(ANN, "DELEGATED", delegated_to=DAN, sent_by=EVE), line(DAN, None))
    meeting, _ = hear(meeting, delegation)
    (event,) = events(shown(meeting))
    ann, _, dan = event.all("ATTENDEE")
    assert ann.params == {
        "CN": ("Ann; x",),
        "ROLE": ("CHAIR",),
        "X-A": ("a:b",),
        "PARTSTAT": ("DELEGATED",),
        "DELEGATED-TO": (f"mailto:{DAN}",),
        "SENT-BY": (f"mailto:{EVE}",),
    }
    assert (dan.one("DELEGATED-FROM"), dan.one("ROLE"), dan.one("RSVP")) == (f"mailto:{ANN}", "CHAIR", "TRUE")


@pytest.mark.parametrize(
    ("organizer", "name", "params"),
    [
        (f"ORGANIZER;CN=Us;SCHEDULE-AGENT=SERVER;SCHEDULE-STATUS=1.1:mailto:{WE}", "Us", {"CN": ("Us",)}),
        (f'ORGANIZER;SENT-BY="mailto:pa@x.org":mailto:{WE}', "Us", {"SENT-BY": ("mailto:pa@x.org",), "CN": ("Us",)}),
        (f"ORGANIZER:mailto:{WE}", "", {"CN": (WE,)}),
    ],
)
def test_the_organizer_leaves_with_a_name(organizer: str, name: str, params: dict[str, tuple[str, ...]]) -> None:
    """rules.md §10: ORGANIZER carries CN; RFC 6638 §7: nothing of what is between an organizer and their server."""
    (event,) = events(shown(replace(single(organizer=organizer), name=name)))
    found = event.first("ORGANIZER")
    assert found is not None
    assert (found.params, found.value) == (params, f"mailto:{WE}")


def test_numbers_that_outlook_believes_first_are_ours() -> None:
    """rules.md §10: X-MICROSOFT-CDO-* is carried through, but a stale SEQUENCE beside ours would be believed."""
    cdo = "X-MICROSOFT-CDO-"
    lines = (f"{cdo}APPT-SEQUENCE:0", f"{cdo}OWNER-CRITICAL-CHANGE:20260101T000000Z", f"{cdo}BUSYSTATUS:BUSY")
    (event,) = events(shown(registered(vevent(*lines, sequence=4))))
    assert [event.text(name.partition(":")[0]) for name in lines] == ["4", "20261120T080005Z", "BUSY"]


def test_a_series_goes_out_with_its_overrides() -> None:
    """RFC 5546 §3.2.2: the series and the instances that the recipient is a guest of, each with its own guest list."""
    meeting = series(override(8, hour=15), override(15, guests=(ANN, CAT), sequence=4))
    master, moved, own = events(shown(meeting, "REQUEST", ANN))
    assert [one.text("SEQUENCE") for one in (master, moved, own)] == ["0", "0", "4"]
    assert [people(one) for one in (master, moved, own)] == [[ANN, BOB], [ANN, BOB], [ANN, CAT]]
    assert [len(one.lines("RECURRENCE-ID")) for one in (master, moved, own)] == [0, 1, 1]


def test_an_instance_that_is_not_for_a_recipient_is_left_out_of_their_series() -> None:
    """Or the REQUEST would invite them to it: Bob is no guest of 15 December."""
    meeting = series(override(8), override(15, guests=(ANN,)))
    (master, *rest) = events(shown(meeting, "REQUEST", BOB))
    assert master.lines("EXDATE") == ["EXDATE;TZID=Europe/Berlin:20261215T100000"]
    assert [one.text("RECURRENCE-ID") for one in rest] == ["20261208T100000"]
    (mine, *_) = events(shown(meeting, "REQUEST", ANN))
    assert mine.lines("EXDATE") == ()


EXDATES: dict[str, tuple[dict[str, Any], str, str]] = {
    "zoned": ({}, DEC_8, "EXDATE;TZID=Europe/Berlin:20261208T100000"),
    "UTC": ({"start": "DTSTART:20261201T090000Z"}, DEC_8, "EXDATE:20261208T090000Z"),
    "floating": ({"start": "DTSTART:20261201T100000"}, "20261208T100000", "EXDATE:20261208T100000"),
    "all day": ({"start": "DTSTART;VALUE=DATE:20261201", "end": ""}, "20261208", "EXDATE;VALUE=DATE:20261208"),
    "a Windows zone": (
        {"start": "DTSTART;TZID=W. Europe Standard Time:20261201T100000"},
        DEC_8,
        "EXDATE;TZID=W. Europe Standard Time:20261208T100000",
    ),
    "summer time": (
        {"start": "DTSTART;TZID=Europe/Berlin:20260901T100000"},
        "20261208T090000Z",
        "EXDATE;TZID=Europe/Berlin:20261208T100000",
    ),
}


@pytest.mark.parametrize(("times", "rid", "expected"), EXDATES.values(), ids=EXDATES.keys())
def test_a_request_does_not_bring_back_a_cancelled_instance(times: dict[str, Any], rid: str, expected: str) -> None:
    """RFC 5545 §3.8.5.1: EXDATE for it, in the form that the series has, after the organizer's own."""
    meeting = registered(vevent("RRULE:FREQ=WEEKLY;BYDAY=TU", **times))
    meeting = apply(meeting, organize.cancel(meeting, NOW, rids=[rid]))
    (master,) = events(shown(meeting))
    assert master.lines("EXDATE") == [expected]


# -- CANCEL ------------------------------------------------------------------------------------------------------


def test_cancelling_a_series_is_one_component_that_keeps_its_rule() -> None:
    """rules.md §9.4: no RECURRENCE-ID, STATUS:CANCELLED, SEQUENCE+1, RRULE stays; RFC 5546 §3.2.5: no VALARM."""
    meeting = registered(vevent(WEEKLY, "EXDATE:20261222T090000Z", *RICH), override(8))
    _, calendar = cancelled(meeting)
    (event,) = events(calendar)
    assert calendar.text("METHOD") == "CANCEL"
    assert [event.text(name) for name in ("STATUS", "SEQUENCE", "RECURRENCE-ID")] == ["CANCELLED", "1", None]
    assert (event.lines("RRULE"), event.lines("EXDATE")) == ([WEEKLY], ["EXDATE:20261222T090000Z"])
    assert (people(event), event.children) == ([ANN, BOB], [])


INSTANCES: dict[str, tuple[Callable[[], Meeting], str, str]] = {
    "derived": (series, "RECURRENCE-ID;TZID=Europe/Berlin:20261208T100000", "20261208T100000"),
    "an override that moved": (
        lambda: series(override(8, hour=15)),
        "RECURRENCE-ID;TZID=Europe/Berlin:20261208T100000",
        "20261208T150000",
    ),
    "of a series that was posted with STATUS": (
        lambda: registered(vevent(WEEKLY, "STATUS:CONFIRMED", "RDATE:20261209T090000Z")),
        "RECURRENCE-ID;TZID=Europe/Berlin:20261208T100000",
        "20261208T100000",
    ),
}


@pytest.mark.parametrize(("meeting", "rid", "start"), INSTANCES.values(), ids=INSTANCES.keys())
def test_cancelling_an_instance(meeting: Callable[[], Meeting], rid: str, start: str) -> None:
    """RFC 5546 §3.2.5: RECURRENCE-ID in the series' own zone, no rule, STATUS:CANCELLED once, SEQUENCE+1."""
    _, calendar = cancelled(meeting(), rids=[DEC_8])
    (event,) = events(calendar)
    assert event.lines("RECURRENCE-ID") == [rid]
    assert [event.text(name) for name in ("DTSTART", "SEQUENCE")] == [start, "1"]
    assert [one.value for one in event.all("STATUS")] == ["CANCELLED"]
    assert [event.lines(name) for name in ("RRULE", "RDATE", "EXDATE")] == [(), (), ()]
    assert zones(calendar) == ["Europe/Berlin"]


def test_an_instance_has_no_rule_whatever_the_file_says() -> None:
    """RFC 5545 §3.8.4.4: RRULE beside RECURRENCE-ID, as Exchange writes it, does not leave."""
    meeting = series(override(8, WEEKLY))
    (_, instance) = events(shown(meeting))
    assert instance.lines("RRULE") == ()


def test_who_is_taken_off_hears_only_of_themselves() -> None:
    """RFC 5546 §3.2.5: their own ATTENDEE, STATUS MUST NOT be included; the series is named as the whole."""
    after, decision = put(series(), vevent(WEEKLY, "STATUS:CONFIRMED", guests=(ANN,)))
    (event,) = events(parse(render.calendar(after, the_send(decision), NOW).encode())[0][0])
    assert (people(event), event.first("STATUS"), event.text("SEQUENCE")) == ([BOB], None, "1")
    assert event.lines("RRULE") == [WEEKLY]


def test_who_is_nobody_hears_of_themselves_all_the_same() -> None:
    """rules.md §3: a refused party crasher is sent a CANCEL, though the meeting does not know them."""
    (event,) = events(shown(single(), "CANCEL", EVE, uninvite=True))
    assert people(event) == [EVE]


def test_who_is_taken_off_one_day_hears_of_that_day() -> None:
    """rules.md §9.3: CANCEL with that RECURRENCE-ID, also where the day has no override."""
    (event,) = events(shown(series(), "CANCEL", BOB, rid=DEC_8, sequence=2, uninvite=True))
    assert (people(event), event.text("RECURRENCE-ID"), event.text("SEQUENCE")) == ([BOB], "20261208T100000", "2")
    assert event.first("STATUS") is None


# -- DECLINECOUNTER ----------------------------------------------------------------------------------------------


def test_declining_says_what_the_table_allows() -> None:
    """RFC 5546 §3.2.8: the proposer, the SEQUENCE and UID of the meeting, COMMENT; no VALARM, rule, attachment."""
    lines = ("STATUS:CONFIRMED", "COMMENT:ours", "ATTACH:https://example.com/a", *RICH)
    meeting = registered(vevent(WEEKLY, *lines, sequence=2))
    calendar = shown(meeting, "DECLINECOUNTER", ANN, comment="Sorry,\nno")
    (event,) = events(calendar)
    assert calendar.text("METHOD") == "DECLINECOUNTER"
    assert (people(event), event.children) == ([ANN], [])
    assert [event.text(name) for name in ("UID", "SEQUENCE", "COMMENT")] == [meeting.uid, "2", "Sorry,\nno"]
    assert [event.lines(name) for name in ("RRULE", "ATTACH", "STATUS", "REQUEST-STATUS")] == [(), (), (), ()]
    assert len(event.lines("COMMENT")) == 1
    (day,) = events(shown(meeting, "DECLINECOUNTER", ANN, rid=DEC_8))
    assert day.text("RECURRENCE-ID") == "20261208T100000"


# -- VTIMEZONE ---------------------------------------------------------------------------------------------------

ZONES: dict[str, tuple[Meeting, list[str]]] = {
    "the zone in use": (series(), ["Europe/Berlin"]),
    "none for UTC": (single(start="DTSTART:20261201T090000Z"), []),
    "none for floating times": (single(start="DTSTART:20261201T090000"), []),
    "two zones": (
        single(end="DTEND;TZID=Asia/Tokyo:20261201T190000"),
        ["Europe/Berlin", "Asia/Tokyo"],
    ),
    "in a list": (
        registered(vevent(WEEKLY, "EXDATE;TZID=Asia/Tokyo:20261208T180000")),
        ["Europe/Berlin", "Asia/Tokyo"],
    ),
    "in lower case": (single(start="dtstart;tzid=Europe/Paris:20261201T090000"), ["Europe/Paris"]),
    "behind another parameter": (
        single(start="DTSTART;VALUE=DATE-TIME;TZID=Europe/Rome:20261201T090000"),
        ["Europe/Rome"],
    ),
    "not what a text says": (
        registered(vevent("DESCRIPTION;X-A=;TZID=Asia/Tokyo:x", start="DTSTART:20261201T090000Z")),
        [],
    ),
    "a Windows zone": (
        single(start="DTSTART;TZID=W. Europe Standard Time:20261201T100000"),
        ["W. Europe Standard Time"],
    ),
    "a zone of the organizer's own": (
        registered(vevent(start="DTSTART;TZID=Our zone:20261201T100000"), zones=OWN_ZONE),
        ["Our zone"],
    ),
    "a zone that nobody knows": (single(start="DTSTART;TZID=Nowhere:20261201T100000"), []),
}


@pytest.mark.parametrize(("meeting", "expected"), ZONES.values(), ids=ZONES.keys())
def test_a_vtimezone_for_every_tzid_in_use(meeting: Meeting, expected: list[str]) -> None:
    """RFC 5545 §3.6.5, rules.md §10: each once, and no other."""
    calendar = shown(meeting)
    assert zones(calendar) == expected
    if "Our zone" in expected:
        assert "TZOFFSETTO:+0330" in calendar.children[0].children[0].raw


# -- large meetings, export --------------------------------------------------------------------------------------


def test_a_large_meeting_lists_nobody_in_the_shared_calendar() -> None:
    """design.md, rule 7: beyond a limit each recipient is given a line of their own."""
    many = [f"g{number}@example.org" for number in range(render.GUEST_LIMIT + 1)]
    meeting = single(guests=many)
    (event,) = events(shown(meeting, "REQUEST", many[0]))
    assert people(event) == []
    own = render.own_line(meeting.attendees["", many[0]])
    assert own == "ATTENDEE;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:g0@example.org"
    (event,) = events(shown(single(guests=many[1:]), "REQUEST", many[1]))
    assert len(people(event)) == render.GUEST_LIMIT


def test_export_is_the_meeting_with_the_answers_of_now() -> None:
    """interface.md, `meeting export`; rules.md §4.2: an instance that was answered is written as an override."""
    meeting, _ = hear(series(override(8, hour=15)), reply(ANN), reply(BOB, "DECLINED", rid=DEC_22))
    text = render.export(meeting, NOW)
    assert "METHOD" not in text
    (again,) = incoming(text.encode())
    found = {(row.rid, row.address): row.partstat for row in again.attendees}
    assert [event.rid for event in again.events] == ["", DEC_8, DEC_22]
    assert (found["", ANN], found["", BOB], found[DEC_8, ANN], found[DEC_22, ANN], found[DEC_22, BOB]) == (
        "ACCEPTED",
        "NEEDS-ACTION",
        "NEEDS-ACTION",
        "ACCEPTED",
        "DECLINED",
    )
    assert "DTSTAMP:20261117T090000Z" in text


@pytest.mark.parametrize(
    "change",
    [
        lambda meeting: replace(meeting, events={"": replace(meeting.events[""], start=None)}),
        lambda meeting: replace(meeting, events={}),
    ],
    ids=["a series without a time", "no series"],
)
def test_an_answer_whose_instance_is_gone_is_not_exported(change: Callable[[Meeting], Meeting]) -> None:
    """Nothing is invented for it."""
    meeting = change(hear(series(), reply(BOB, rid=DEC_22))[0])
    assert "RECURRENCE-ID" not in render.export(meeting, NOW)


def test_an_instance_after_the_organizers_this_and_future_is_at_its_new_time() -> None:
    """RFC 5545 §3.2.13: 15 December follows the override of the 8th, with the texts of that."""
    ranged = override(8, hour=15, summary="New").replace("RECURRENCE-ID;", "RECURRENCE-ID;RANGE=THISANDFUTURE;")
    meeting = apply(series(ranged), organize.cancel(series(ranged), NOW, rids=[DEC_15]))
    (event,) = events(shown(meeting, "CANCEL", rid=DEC_15))
    times = [event.text(name) for name in ("SUMMARY", "DTSTART", "DTEND")]
    assert times == ["New", "20261215T150000", "20261215T160000"]
    assert event.lines("RECURRENCE-ID") == ["RECURRENCE-ID;TZID=Europe/Berlin:20261215T100000"]


RANGED: dict[str, tuple[str, str, str, str, list[str | None]]] = {
    "all day": (";VALUE=DATE:20261201", ";VALUE=DATE:20261209", "VEVENT", "20261215", ["20261216", "20261217"]),
    "UTC": (
        ":20261201T090000Z",
        ":20261208T140000Z",
        "VEVENT",
        DEC_15,
        ["20261215T140000Z", None],
    ),
    "floating": (
        ":20261201T090000",
        ":20261208T140000",
        "VEVENT",
        "20261215T090000",
        ["20261215T140000", None],
    ),
    "a to-do": (":20261201T090000Z", ":20261208T140000Z", "VTODO", DEC_15, ["20261215T140000Z", None]),
}


@pytest.mark.parametrize(("start", "moved", "kind", "rid", "expected"), RANGED.values(), ids=RANGED.keys())
def test_this_and_future_moves_by_the_wall_clock(
    start: str, moved: str, kind: str, rid: str, expected: list[str | None]
) -> None:
    """RFC 5545 §3.2.13, for every kind of time, and for what has no end of its own."""
    at = start.replace("1201", "1208").replace(";", ";RANGE=THISANDFUTURE;", 1)
    at = at if ";" in at else f";RANGE=THISANDFUTURE{at}"
    text = vevent(f"RECURRENCE-ID{at}", start=f"DTSTART{moved}", end="", kind=kind)
    whole = registered(vevent(WEEKLY, start=f"DTSTART{start}", end="", kind=kind), text)
    (event,) = events(shown(whole, "CANCEL", rid=rid))
    assert [event.text(name) for name in ("DTSTART", "DTEND")] == expected


# -- there and back ----------------------------------------------------------------------------------------------

STARTS = st.sampled_from(["", "Europe/Berlin", "America/New_York", "UTC", "Asia/Kolkata", "date"])


@st.composite
def meetings(draw: st.DrawFn) -> Meeting:
    """A meeting at some time in some zone, perhaps a series with an override, whose guests have answered something."""
    zone = draw(STARTS)
    start = draw(st.datetimes(datetime(2026, 12, 1), datetime(2027, 11, 30))).replace(microsecond=0)  # noqa: DTZ001
    hours = draw(st.integers(1, 30))
    rule = draw(st.sampled_from(["", "RRULE:FREQ=DAILY;COUNT=5", "RRULE:FREQ=WEEKLY;INTERVAL=2"]))
    forms = {
        "": f"DTSTART:{start:%Y%m%dT%H%M%S}",
        "UTC": f"DTSTART:{start:%Y%m%dT%H%M%S}Z",
        "date": f"DTSTART;VALUE=DATE:{start:%Y%m%d}",
    }
    head = forms.get(zone, f"DTSTART;TZID={zone}:{start:%Y%m%dT%H%M%S}")
    end = f"DURATION:P{hours}D" if zone == "date" else f"DURATION:PT{hours}H"
    text = draw(st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=90))
    escaped = text.replace("\\", "\\\\").replace(",", "\\,").replace(";", "\\;")
    meeting = registered(vevent(rule, start=head, end=end, summary=escaped, guests=(ANN, BOB, CAT)))
    for address in draw(st.lists(st.sampled_from((ANN, BOB, CAT)), unique=True)):
        partstat = draw(st.sampled_from(("ACCEPTED", "DECLINED", "TENTATIVE")))
        meeting, _ = hear(meeting, reply(address, partstat), now=LATER)
    if rule and draw(st.booleans()):
        first = meeting.events[""].start
        assert first is not None
        meeting = apply(meeting, organize.cancel(meeting, NOW, rids=[first.rid], notify="none"))
    return meeting


def instant(value: datetime | date) -> datetime | date:
    """What icalendar gives, comparable."""
    return value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo is not None else value


@settings(max_examples=120, deadline=None)
@given(meetings())
def test_what_leaves_is_read_as_what_is_meant(meeting: Meeting) -> None:
    """rules.md §10: another implementation, and our own, find the same times, guests, answers and title."""
    text = render.calendar(meeting, Send("REQUEST", (ANN,), "", meeting.sequence, "registered"), NOW)
    assert all(len(line.encode()) <= 75 for line in text.split("\r\n"))
    master = meeting.events[""]
    (again,) = incoming(text.encode())
    back = again.events[0]
    assert (back.start, back.end, back.summary) == (master.start, master.end, master.summary)
    assert back.rrules == master.rrules
    assert {row.address: row.partstat for row in again.attendees if not row.rid} == {
        row.address: row.partstat for row in meeting.attendees.values() if not row.rid
    }
    (event,) = icalendar.Calendar.from_ical(text.encode()).walk("VEVENT")
    assert master.start is not None
    expected = master.start.utc or (master.start.local.date() if master.start.is_date else master.start.local)
    assert instant(event.decoded("DTSTART")) == expected
    assert str(event["SUMMARY"]).strip() == master.summary
    attendees: Any = event["ATTENDEE"]
    partstats = {str(one).removeprefix("mailto:"): one.params["PARTSTAT"] for one in attendees}
    assert partstats == {row.address: row.partstat for row in meeting.attendees.values() if not row.rid}
