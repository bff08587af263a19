"""The organizer's own calendar, read: an `Incoming` for each UID, its lines verbatim (rules.md §9; RFC 5546 §3.2.2)."""

from __future__ import annotations

from typing import Any

import pytest

from itipd.itip.contentlines import Limits
from itipd.itip.incoming import incoming
from itipd.itip.model import Event, Incoming
from tests.itip_samples import ANN, BOB, DEC_8, WE, WEEKLY, calendar, override, read_put, vevent

ZONE = (
    "BEGIN:VTIMEZONE\r\nTZID:Own\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\nTZOFFSETFROM:+0200\r\n"
    "TZOFFSETTO:+0200\r\nEND:STANDARD\r\nEND:VTIMEZONE"
)


def event(*lines: str, zones: str = "", **more: Any) -> Event:
    """The only event of a put."""
    (found,) = read_put(vevent(*lines, **more), zones=zones).events
    return found


def test_the_organizers_lines_are_kept_verbatim() -> None:
    """design.md, tables: unfolded, without ATTENDEEs, alarms and X- properties and all."""
    alarm = "BEGIN:VALARM\r\nTRIGGER:-PT5M\r\nATTENDEE:mailto:x@example.org\r\nEND:VALARM"
    found = event('x-foo;a="b:c":1', "DESCRIPTION:long " + "x" * 100, alarm)
    assert 'x-foo;a="b:c":1\n' in found.lines
    assert "DESCRIPTION:long " + "x" * 100 + "\n" in found.lines
    assert found.lines.endswith("BEGIN:VALARM\nTRIGGER:-PT5M\nATTENDEE:mailto:x@example.org\nEND:VALARM\n")
    assert ANN not in found.lines


def test_a_calendar_of_several_uids() -> None:
    """interface.md: each UID stands or falls alone; a calendar of it alone goes into the journal."""
    both = calendar(vevent(uid="m1"), vevent(uid="m2", organizer=""), override(8, uid="m1"), zones=ZONE)
    one, two = incoming(both)
    assert (one.uid, [found.rid for found in one.events], one.fault) == ("m1", ["", DEC_8], None)
    assert "m2" not in one.text
    assert (two.uid, two.fault and two.fault.reason) == ("m2", "no_organizer")
    (again,) = incoming(one.text.encode())
    assert (again.events, again.attendees) == (one.events, one.attendees)


def test_the_same_line_in_another_place() -> None:
    """Who stands in many calendars is read once, but is in each at its own place, and as its component has it."""
    bare, done = f"ATTENDEE:{ANN}", f"ATTENDEE;PARTSTAT=COMPLETED:mailto:{BOB}"
    (series,) = incoming(calendar(vevent(guests=(bare, done))))
    (meeting,) = incoming(calendar(vevent(WEEKLY), override(8, guests=(done, bare))))
    (todo,) = incoming(calendar(vevent(kind="VTODO", guests=(done,))))
    rows = [(row.rid, row.position, row.address, row.partstat) for row in meeting.attendees if row.rid]
    assert rows == [(DEC_8, 0, BOB, "NEEDS-ACTION"), (DEC_8, 1, ANN, "NEEDS-ACTION")]
    assert [(row.rid, row.position, row.address) for row in series.attendees] == [("", 0, ANN), ("", 1, BOB)]
    assert [row.partstat for row in todo.attendees] == ["COMPLETED"]
    assert series.quirks == meeting.quirks == ("no_mailto",)


FAULTS: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "malformed"),
    "no component that is scheduled": (calendar("BEGIN:VJOURNAL\r\nUID:m1\r\nEND:VJOURNAL"), "malformed"),
    "no UID": (calendar(vevent().replace("UID:", "X-UID:")), "no_uid"),
    "no ORGANIZER": (calendar(vevent(organizer="")), "no_organizer"),
    "an ORGANIZER, its address a text": (calendar(vevent(organizer="ORGANIZER:somebody")), "no_organizer"),
    "an ORGANIZER without an address": (calendar(vevent(organizer="ORGANIZER:urn:uuid:1")), "no_organizer"),
    "VEVENT and VTODO": (calendar(vevent(), vevent(kind="VTODO")), "mixed_components"),
    "the series twice": (calendar(vevent(), vevent()), "duplicate_instance"),
    "an instance twice": (calendar(vevent(WEEKLY), override(8), override(8)), "duplicate_instance"),
    "an instance twice, in two forms": (
        calendar(vevent(WEEKLY), override(8), vevent("RECURRENCE-ID;VALUE=DATE:20261208")),
        "duplicate_instance",
    ),
    "two ORGANIZERs": (
        calendar(vevent(WEEKLY), override(8, organizer="ORGANIZER:mailto:other@example.com")),
        "malformed",
    ),
    "a DTSTART that is none": (calendar(vevent(start="DTSTART:soon")), "malformed"),
    "a RECURRENCE-ID that is none": (calendar(vevent("RECURRENCE-ID:soon")), "malformed"),
    "an RRULE that is none": (calendar(vevent("RRULE:every Tuesday")), "malformed"),
    "an RRULE that nobody can follow": (
        calendar(vevent("RRULE:FREQ=DAILY;BYHOUR=0,1,2,3,4,5,6,7,8,9;BYMINUTE=0,1,2,3,4,5,6,7,8,9,10")),
        "rule_too_costly",
    ),
}


@pytest.mark.parametrize(("data", "reason"), FAULTS.values(), ids=FAULTS.keys())
def test_what_cannot_be_registered_is_refused_by_name(data: bytes, reason: str) -> None:
    """rules.md §9.5, and every other thing that no answer could be decided on."""
    (found,) = incoming(data)
    assert found.fault is not None
    assert found.fault.reason == reason


def test_a_file_beyond_the_limits() -> None:
    """hardening §8: bounded; an organizer's own file may be large, but not endless."""
    (found,) = incoming(calendar(vevent()), Limits(size=100))
    assert found.fault is not None
    assert found.fault.reason == "too_large"


ENDS: dict[str, tuple[dict[str, str], str | None]] = {
    "DTEND": ({"end": "DTEND;TZID=Europe/Berlin:20261201T113000"}, "2026-12-01T11:30:00+01:00"),
    "DURATION": ({"end": "DURATION:PT30M"}, "2026-12-01T10:30:00+01:00"),
    "neither": ({"end": ""}, "2026-12-01T10:00:00+01:00"),
    "a bad DURATION": ({"end": "DURATION:long"}, "2026-12-01T10:00:00+01:00"),
    "all day": ({"start": "DTSTART;VALUE=DATE:20261201", "end": ""}, "2026-12-02"),
    "two days": ({"start": "DTSTART;VALUE=DATE:20261201", "end": "DURATION:P2D"}, "2026-12-03"),
    "floating": ({"start": "DTSTART:20261201T100000", "end": "DURATION:PT1H"}, "2026-12-01T11:00:00"),
    "UTC": ({"start": "DTSTART:20261201T090000Z", "end": "DURATION:PT1H"}, "2026-12-01T10:00:00+00:00"),
    "over the change of the clock": (
        {"start": "DTSTART;TZID=Europe/Berlin:20261024T100000", "end": "DURATION:P1D"},
        "2026-10-25T10:00:00+01:00",
    ),
    "a to-do without DUE": ({"kind": "VTODO", "end": ""}, None),
    "a to-do with a length": ({"kind": "VTODO", "end": "DURATION:PT1H"}, "2026-12-01T11:00:00+01:00"),
    "a to-do that is only due": (
        {"kind": "VTODO", "start": "DUE:20261201T090000Z", "end": ""},
        "2026-12-01T09:00:00+00:00",
    ),
}


@pytest.mark.parametrize(("times", "expected"), ENDS.values(), ids=ENDS.keys())
def test_when_it_ends(times: dict[str, str], expected: str | None) -> None:
    """RFC 5545 §3.6.1: DTEND or DUE, else DTSTART and DURATION, else the day or the instant itself."""
    end = event(**times).end
    assert (end.iso if end else None) == expected


SILENT: dict[str, tuple[tuple[str, ...], str, tuple[str, str | None]]] = {
    "only the title": ((), "DURATION:PT1H", ("2026-12-08T10:00:00+01:00", "2026-12-08T11:00:00+01:00")),
    "a length": (("DURATION:PT3H",), "DURATION:PT1H", ("2026-12-08T10:00:00+01:00", "2026-12-08T13:00:00+01:00")),
    "an end": (
        ("DTEND;TZID=Europe/Berlin:20261208T120000",),
        "DURATION:PT1H",
        ("2026-12-08T10:00:00+01:00", "2026-12-08T12:00:00+01:00"),
    ),
    "a series without a length": ((), "", ("2026-12-08T10:00:00+01:00", "2026-12-08T10:00:00+01:00")),
}


@pytest.mark.parametrize(("lines", "end", "times"), SILENT.values(), ids=SILENT.keys())
def test_an_override_that_says_nothing_of_when(lines: tuple[str, ...], end: str, times: tuple[str, str | None]) -> None:
    """At its RECURRENCE-ID, as long as the series; what leaves says so (RFC 5546 §3.2.2: one DTSTART)."""
    rid = "RECURRENCE-ID;TZID=Europe/Berlin:20261208T100000"
    read = read_put(vevent(WEEKLY, end=end), vevent(rid, *lines, start="", end="", summary="Renamed"))
    found = read.events[1]
    assert (found.start and found.start.iso, found.end and found.end.iso, found.tzid) == (*times, "Europe/Berlin")
    assert (found.summary, read.quirks) == ("Renamed", ("no_dtstart",))
    assert found.lines.count("DTSTART;TZID=Europe/Berlin:20261208T100000\n") == 1
    assert sum(found.lines.count(name) for name in ("DTEND", "DURATION")) == (1 if lines or end else 0)


def test_an_override_that_only_cancels_has_the_title_of_the_series() -> None:
    """Who is sent the CANCEL is told of what; an override of a series without DTSTART stays as it is."""
    bare = f"RECURRENCE-ID:{DEC_8}"
    cancelled = vevent(bare, "STATUS:CANCELLED", start="", end="").replace("SUMMARY:Team meeting\r\n", "")
    assert read_put(vevent(WEEKLY), cancelled).events[1].summary == "Team meeting"
    assert read_put(vevent(WEEKLY, start="", end=""), cancelled).events[1].start is None


def test_this_and_future_without_its_name() -> None:
    """RFC 5546 §4.4.5 writes THISANDFUTURE without RANGE; it leaves as RFC 5545 §3.2.13 has it."""
    found = read_put(override(8).replace("RECURRENCE-ID;", "RECURRENCE-ID;THISANDFUTURE;")).events[0]
    assert found.future
    assert "RECURRENCE-ID;RANGE=THISANDFUTURE;TZID=Europe/Berlin:20261208T100000\n" in found.lines


def test_a_utc_time_has_no_zone_whatever_stands_beside_it() -> None:
    """RFC 5545 §3.2.19: TZID beside Z; an instance derived from it must not be an hour off."""
    found = event(start="DTSTART;TZID=Europe/Berlin:20261201T090000Z")
    assert (found.tzid, found.start and found.start.iso) == (None, "2026-12-01T09:00:00+00:00")


def test_attendees_as_written() -> None:
    """model.Incoming: PARTSTAT and RSVP as written, other parameters beside; an unknown PARTSTAT is NEEDS-ACTION."""
    lines = (
        f"ATTENDEE;CN=Ann;PARTSTAT=accepted;RSVP=TRUE;SCHEDULE-STATUS=1.1;X-A=1:mailto:{ANN}",
        f'ATTENDEE;PARTSTAT=MAYBE;DELEGATED-TO="mailto:{ANN}";DELEGATED-FROM="urn:uuid:1":mailto:{BOB}',
        f"ATTENDEE:mailto:{ANN}",
        "ATTENDEE:urn:uuid:1",
    )
    found = read_put(vevent(guests=lines))
    ann, bob = found.attendees
    assert (ann.partstat, ann.rsvp, ann.schedule_status, ann.position) == ("ACCEPTED", True, "1.1", 0)
    assert ann.params == {"CN": ("Ann",), "X-A": ("1",)}
    assert (bob.partstat, bob.delegated_to, bob.delegated_from, bob.rsvp) == ("NEEDS-ACTION", (ANN,), (), False)
    assert found.quirks == ("attendee_twice", "attendee_without_address")


def test_the_organizer_by_email_parameter() -> None:
    """RFC 7986 §6.2: an ORGANIZER whose value is no address has one in EMAIL; the first that has one counts."""
    found = read_put(vevent(WEEKLY, organizer=""), override(8, organizer=f"ORGANIZER;CN=We;EMAIL={WE}:urn:uuid:1"))
    assert found.organizer is not None
    assert (found.organizer.address, found.organizer.one("CN")) == (WE, "We")


FORMS: dict[str, str] = {
    "in the zone of the series": "RECURRENCE-ID;TZID=Europe/Berlin:20261208T100000",
    "in UTC": "RECURRENCE-ID:20261208T090000Z",
    "in another zone": "RECURRENCE-ID;TZID=Asia/Tokyo:20261208T180000",
    "floating": "RECURRENCE-ID:20261208T100000",
    "a date": "RECURRENCE-ID;VALUE=DATE:20261208",
}


@pytest.mark.parametrize("rid", FORMS.values(), ids=FORMS.keys())
def test_an_override_has_the_series_own_form_of_recurrence_id(rid: str) -> None:
    """rules.md §4.1: whatever form an application writes, answers find the override under the canonical one."""
    found = read_put(vevent(WEEKLY), vevent(rid, guests=(ANN,)))
    assert [one.rid for one in found.events] == ["", DEC_8]
    assert [row.rid for row in found.attendees] == ["", "", DEC_8]


@pytest.mark.parametrize(
    ("master", "rid", "expected"),
    [
        (vevent(WEEKLY), "RECURRENCE-ID;VALUE=DATE:20261209", "20261209"),
        (vevent(WEEKLY, kind="VTODO", start="DUE:20261201T090000Z", end=""), "RECURRENCE-ID:20261208", "20261208"),
        (
            vevent("RRULE:FREQ=SECONDLY;INTERVAL=7;BYHOUR=3;BYMONTH=2;BYMONTHDAY=29"),
            "RECURRENCE-ID;VALUE=DATE:20990101",
            "20990101",
        ),
    ],
    ids=["no instance", "a series without DTSTART", "a rule that cannot be followed"],
)
def test_an_override_of_no_instance_keeps_its_name(master: str, rid: str, expected: str) -> None:
    """Nothing is guessed where the series has no such instance."""
    kind = "VTODO" if "VTODO" in master else "VEVENT"
    (_, found) = read_put(master, vevent(rid, kind=kind)).events
    assert found.rid == expected


def test_only_the_zones_in_use_are_kept() -> None:
    """Meeting.zones: the organizer's own VTIMEZONEs, verbatim, for what this UID uses."""
    unused = ZONE.replace("TZID:Own", "TZID:Other")
    found = read_put(vevent(start="DTSTART;TZID=Own:20261201T100000"), zones=f"{ZONE}\r\n{unused}")
    assert found.zones == ZONE.replace("\r\n", "\n") + "\n"
    assert found.events[0].start is not None
    assert found.events[0].start.iso == "2026-12-01T10:00:00+02:00"


def test_recurrence_is_read() -> None:
    """RFC 5545 §3.8.5: rules as text, dates as moments, RANGE as a flag."""
    found = event(WEEKLY, "RDATE:20261209T090000Z,20261210T090000Z", "EXDATE;TZID=Europe/Berlin:20261208T100000")
    assert (found.rrules, [one.rid for one in found.rdates], [one.rid for one in found.exdates]) == (
        ("FREQ=WEEKLY;BYDAY=TU;COUNT=8",),
        ["20261209T090000Z", "20261210T090000Z"],
        [DEC_8],
    )
    text = override(8).replace("RECURRENCE-ID;", "RECURRENCE-ID;RANGE=thisandfuture;")
    assert read_put(vevent(WEEKLY), text).events[1].future


def test_what_was_tolerated_is_a_quirk() -> None:
    """rules.md §1.4, of the organizer's own file: a Windows zone, an unknown one."""
    found: Incoming = read_put(vevent(start="DTSTART;TZID=W. Europe Standard Time:20261201T100000"))
    assert found.quirks == ("windows_tzid",)
    assert event("METHOD:X", "SUMMARY:second").summary == "Team meeting"
    (request,) = incoming(calendar(vevent(), method="request"))
    assert request.method == "REQUEST"
