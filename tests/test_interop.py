"""What we send is what others read: the same meeting, in each of its forms, by icalendar, vobject and libical."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from io import StringIO
from typing import cast

import icalendar
import pytest
import vobject  # type: ignore[import-untyped] # it has no types
from dateutil.tz import tzical
from icalendar.timezone import TZP

from itipd.itip import organize
from itipd.itip.contentlines import unescape
from itipd.itip.model import Meeting
from itipd.itip.timezones import resolve
from itipd.itip.vtimezone import vtimezone
from tests import libical
from tests.interop import READERS, Seen, calendar_of
from tests.meetings import (
    BEA,
    CARL,
    FORMS,
    GUESTS,
    HILL,
    NOW,
    ORGANIZER,
    SERIES,
    SUMMARY,
    after,
    component,
    decline,
    mails,
    only,
    put,
    unfolded,
)

needs_libical = pytest.mark.skipif(libical.library() is None, reason="libical.so.3 is not installed (Debian: libical3)")
readers = pytest.mark.parametrize(
    "reader", [pytest.param(name, marks=needs_libical if name == "libical" else ()) for name in READERS]
)


def seen(meeting: Meeting, key: str, **changes: object) -> Seen:
    """What a program should see of one component: the values that we ourselves read in the application's text."""
    event = meeting.events[key]
    timed = "DURATION:" not in event.lines
    assert event.summary == SUMMARY
    base = Seen(
        kind=event.component,
        uid="interop-1@example.com",
        rid=key or None,
        start=event.start.rid if event.start is not None else None,
        end=event.end.rid if timed and event.end is not None and re.search("DTEND|DUE", event.lines) else None,
        length=event.end.order - event.start.order if not timed and event.end and event.start else None,
        sequence=event.sequence,
        status=found[1] if (found := re.search(r"STATUS:(\w+)", event.lines)) else None,
        summary=event.summary,
        location=event.location,
        organizer=ORGANIZER,
        name="Ada Meier",
        attendees=GUESTS,
        rule=frozenset(event.rrules[0].split(";")) if event.rrules else frozenset(),
        rdates=frozenset(moment.rid for moment in event.rdates),
        exdates=frozenset(moment.rid for moment in event.exdates),
        alarms=event.lines.count("BEGIN:VALARM"),
    )
    whole = replace(base, **changes)  # type: ignore[arg-type]
    names = {row.address: row.params["CN"][0] for row in meeting.attendees.values()}
    return replace(whole, names=frozenset((address, names[address]) for address, _ in whole.attendees))


ONE = [
    pytest.param(form, reader, marks=needs_libical if reader == "libical" else ())
    for form in FORMS
    for reader in READERS
    if form != "series" and (form, reader) != ("zone with signs", "vobject")  # which leaves the escapes in a TZID
]


@pytest.mark.parametrize(("form", "reader"), ONE)
def test_request(form: str, reader: str) -> None:
    """A REQUEST is the meeting, instants and texts alike."""
    meeting, decision = put(FORMS[form])
    for raws in mails(meeting, decision).values():
        assert READERS[reader](only(raws)) == ("REQUEST", (seen(meeting, ""),))


@pytest.mark.parametrize(("form", "reader"), ONE)
def test_cancel(form: str, reader: str) -> None:
    """A CANCEL of the meeting is the same meeting with STATUS:CANCELLED and the next SEQUENCE."""
    meeting, _ = put(FORMS[form])
    decision = organize.cancel(meeting, NOW)
    found = mails(after(meeting, decision), decision)
    assert set(found) == {BEA, CARL}
    for raws in found.values():
        assert READERS[reader](only(raws)) == ("CANCEL", (seen(meeting, "", status="CANCELLED", sequence=1),))


@pytest.mark.parametrize(("form", "reader"), ONE)
def test_declinecounter(form: str, reader: str) -> None:
    """A DECLINECOUNTER is the meeting as it stays, with its SEQUENCE, the proposer and the comment."""
    meeting, _ = put(FORMS[form])
    nothing: frozenset[str] = frozenset()
    proposer = frozenset({(BEA, "NEEDS-ACTION")})
    expected = seen(meeting, "", comment="No, sorry", attendees=proposer, status=None, alarms=0)
    expected = replace(expected, rule=nothing, rdates=nothing, exdates=nothing)
    assert READERS[reader](decline(meeting)) == ("DECLINECOUNTER", (expected,))


MOVED, SUMMER = "20261208T090000Z", "20270420T080000Z"


@readers
def test_request_of_a_series(reader: str) -> None:
    """A series comes with its rule, its exceptions and the overrides that the recipient is invited to."""
    meeting, decision = put(SERIES)
    found = mails(meeting, decision)
    parts = seen(meeting, ""), seen(meeting, MOVED), seen(meeting, SUMMER, attendees=frozenset({(BEA, "NEEDS-ACTION")}))
    assert READERS[reader](only(found[BEA])) == ("REQUEST", parts)
    # Carl is no guest of the second one: an EXDATE takes it out of his series.
    series = replace(parts[0], exdates=parts[0].exdates | {SUMMER})
    assert READERS[reader](only(found[CARL])) == ("REQUEST", (series, parts[1]))


@readers
def test_cancel_of_instances(reader: str) -> None:
    """A cancelled instance carries its RECURRENCE-ID, its own time and the next SEQUENCE, and no rule."""
    meeting, _ = put(SERIES)
    decision = organize.cancel(meeting, NOW, rids=(MOVED, "20261215T090000Z"))
    after(meeting, decision)
    first, second = mails(after(meeting, decision), decision)[CARL]
    moved = seen(meeting, MOVED, status="CANCELLED", sequence=1, alarms=0)
    assert READERS[reader](calendar_of(first)) == ("CANCEL", (moved,))
    nothing: frozenset[str] = frozenset()
    start, end = "20261215T090000Z", "20261215T100000Z"
    derived = seen(meeting, "", rid=start, start=start, end=end, status="CANCELLED", sequence=1, alarms=0)
    derived = replace(derived, rule=nothing, rdates=nothing, exdates=nothing)
    assert READERS[reader](calendar_of(second)) == ("CANCEL", (derived,))


@readers
def test_cancelled_instances_stay_away(reader: str) -> None:
    """A later REQUEST of the series has an EXDATE for each cancelled instance, and not its override."""
    meeting, _ = put(SERIES)
    meeting = after(meeting, organize.cancel(meeting, NOW, rids=(MOVED, "20270406T080000Z")))
    decision = organize.remind(meeting, NOW)
    method, (master, *overrides) = READERS[reader](only(mails(after(meeting, decision), decision)[BEA]))
    out = {MOVED, "20270406T080000Z"}  # ten o'clock in winter and in summer
    assert method == "REQUEST"
    assert master == seen(meeting, "", exdates=seen(meeting, "").exdates | out)
    assert [one.rid for one in overrides] == [SUMMER]


@readers
def test_cancel_to_one_who_is_taken_off(reader: str) -> None:
    """Who is taken off the list gets a CANCEL without STATUS that names nobody else (RFC 5546 §3.2.5)."""
    meeting, _ = put(FORMS["single"])
    meeting, decision = put(FORMS["single"].replace(f"mailto:{CARL}", "mailto:dora@example.org"), meeting)
    expected = seen(meeting, "", status=None, sequence=1, attendees=frozenset({(CARL, "NEEDS-ACTION")}))
    assert READERS[reader](only(mails(meeting, decision)[CARL])) == ("CANCEL", (expected,))


@readers
def test_declinecounter_for_an_instance(reader: str) -> None:
    """A proposal about one instance is declined for that instance."""
    meeting, _ = put(SERIES)
    method, (found,) = READERS[reader](decline(meeting, "20261215T090000Z"))
    assert (method, found.rid, found.start, found.end) == (
        "DECLINECOUNTER",
        "20261215T090000Z",
        "20261215T090000Z",
        "20261215T100000Z",
    )
    assert found.sequence == meeting.sequence


# RFC 5546 §3.4.2 asks a to-do for a DTSTART, which many an application does not write and nobody can invent.
@needs_libical
@pytest.mark.parametrize("form", [name for name in FORMS if name != "task without start"])
def test_libical_finds_nothing_wrong(form: str) -> None:
    """REQUEST and CANCEL keep RFC 5545's grammar and RFC 5546's tables, by libical's word.

    Its table for DECLINECOUNTER is that of RFC 2446, which allowed less.
    """
    meeting, decision = put(FORMS[form])
    ended = organize.cancel(meeting, NOW)
    raws = [*mails(meeting, decision).values(), *mails(after(meeting, ended), ended).values()]
    assert len(raws) == 4
    for raw in raws:
        with libical.calendar(only(raw)) as calendar:
            assert calendar.errors() == []


# -- time zones

ZONES = (
    "Europe/Dublin",  # summer time is the standard, by law
    "Africa/Casablanca",  # follows the moon
    "America/Sao_Paulo",  # gave summer time up
    "Asia/Kolkata",  # half an hour, no changes
    "Australia/Lord_Howe",  # changes by half an hour
    "Pacific/Apia",  # left out a day
    "Europe/Berlin",
    "America/New_York",  # another rule before 2007
    "Asia/Gaza",  # changes every year, and follows the moon later
    "America/Nuuk",  # a change at a negative hour, a new offset in 2023
    "Antarctica/Troll",  # changes by two hours
    "Europe/Moscow",
)
WINDOWS = (
    "W. Europe Standard Time",
    "GMT Standard Time",
    "Eastern Standard Time",
    "Morocco Standard Time",
    "E. South America Standard Time",
    "India Standard Time",
    "Lord Howe Standard Time",
    "Samoa Standard Time",
    "AUS Eastern Standard Time",
    "Russian Standard Time",
)


def instants(zone: tzinfo, since: int) -> list[datetime]:
    """Instants up to 2045 (UTC, naive): every change of the zone, the second before it, and one every few days."""
    found, at, step = [], datetime(since, 1, 2), timedelta(hours=61)  # noqa: DTZ001 - in UTC, as libical takes them
    while at.year < 2046:
        found.append(at)
        low, high = at, at + step
        if offset(zone, low) != offset(zone, high):
            while high - low > timedelta(seconds=1):
                middle = low + (high - low) / 2
                middle = middle.replace(microsecond=0)
                low, high = (middle, high) if offset(zone, middle) == offset(zone, low) else (low, middle)
            found += [low, high]
        at += step
    return found


def offset(zone: tzinfo, instant: datetime) -> timedelta:
    found = instant.replace(tzinfo=UTC).astimezone(zone).utcoffset()
    assert found is not None
    return found


def python_zones(tzid: str, text: str) -> list[tzinfo]:
    """A VTIMEZONE as dateutil, icalendar and vobject evaluate it."""
    lines = text.replace("\n", "\r\n")
    by_dateutil = tzical(StringIO(lines)).get(tzid)
    by_icalendar = cast(icalendar.Timezone, icalendar.Timezone.from_ical(lines.encode())).to_tz(
        TZP("zoneinfo"), lookup_tzid=False
    )
    by_vobject = vobject.readOne(f"BEGIN:VCALENDAR\r\n{lines}END:VCALENDAR\r\n").vtimezone.gettzinfo()
    return [by_dateutil, by_icalendar, by_vobject]


@pytest.mark.parametrize("since", [1995, 2026])
@pytest.mark.parametrize("tzid", [*ZONES, *WINDOWS])
def test_a_zone_is_what_python_reads(tzid: str, since: int) -> None:
    """Wall clocks of fifty years, read with the VTIMEZONE that we send, are the instants that zoneinfo gives."""
    zone, text = resolve(tzid, {}), vtimezone(tzid, since)
    assert zone is not None
    assert text is not None
    for other in python_zones(tzid, text):
        for instant in instants(zone, since)[:: 1 if since > 2000 else 9]:
            local = instant.replace(tzinfo=UTC).astimezone(zone)
            if local.utcoffset() == local.replace(fold=1 - local.fold).utcoffset():  # it is there once
                assert local.replace(tzinfo=other, fold=0).utcoffset() == local.utcoffset(), local


@needs_libical
@pytest.mark.parametrize("since", [1995, 2026])
@pytest.mark.parametrize("tzid", [*ZONES, *WINDOWS])
def test_a_zone_is_what_libical_reads(tzid: str, since: int) -> None:
    """At every instant of fifty years, to the second of each change, libical has the offset that zoneinfo gives."""
    zone, text = resolve(tzid, {}), vtimezone(tzid, since)
    assert zone is not None
    assert text is not None
    found = instants(zone, since)
    assert libical.offsets(text, found) == [offset(zone, instant) for instant in found]


@pytest.mark.parametrize("form", FORMS)
def test_a_definition_for_every_tzid(form: str) -> None:
    """Every TZID in use is defined once, and nothing else is (RFC 5545 §3.6.5)."""
    meeting, decision = put(FORMS[form])
    for raws in mails(meeting, decision).values():
        lines = unfolded(only(raws))
        used = {found[1].strip('"') for line in lines if (found := re.search(r';TZID=("[^"]*"|[^:;]*)', line))}
        defined = [unescape(line.removeprefix("TZID:")) for line in lines if line.startswith("TZID:")]
        assert sorted(defined) == sorted(used)


GUESSES = [
    ("Romance", "20260701T080000Z"),
    ("(GMT+01.00) Sarajevo/Warsaw/Zagreb", "20260701T080000Z"),
    ("UTC+5:30", "20260701T043000Z"),
]


@needs_libical
@pytest.mark.parametrize(("tzid", "instant"), GUESSES)
def test_a_tzid_that_is_only_a_hint(tzid: str, instant: str) -> None:
    """A TZID without a definition goes out with the one that we take it for: all read the same instant."""
    start = f'DTSTART;TZID="{tzid}":20260701T100000'
    meeting, decision = put(component(start.replace("2026", "2027"), "DURATION:PT1H"))
    _, (found,) = READERS["libical"](only(mails(meeting, decision)[BEA]))
    assert found.start == instant.replace("2026", "2027")
    assert meeting.events[""].start is not None
    assert meeting.events[""].start.rid == found.start


def test_a_hint_yields_to_the_calendars_own_definition() -> None:
    """Where the organizer's calendar defines such a name, its definition goes out."""
    tzid = "(GMT+01.00) Hill"
    meeting, decision = put(HILL.format(tzid=tzid) + component(f'DTSTART;TZID="{tzid}":20270701T100000'))
    text = only(mails(meeting, decision)[BEA]).decode()
    assert "TZOFFSETTO:+0530" in text
    assert text.count("BEGIN:VTIMEZONE") == 1


def test_a_value_before_the_start_is_covered() -> None:
    """The definition reaches back to the earliest value that is written with it."""
    text = component("DTSTART;TZID=America/New_York:20261201T100000", "RDATE;TZID=America/New_York:20030715T100000")
    meeting, decision = put(text)
    definition = only(mails(meeting, decision)[BEA]).decode().partition("BEGIN:VEVENT")[0]
    zone = tzical(StringIO("BEGIN:VTIMEZONE" + definition.partition("BEGIN:VTIMEZONE")[2])).get("America/New_York")
    assert datetime(2003, 7, 15, 10, tzinfo=zone).utcoffset() == timedelta(hours=-4)
