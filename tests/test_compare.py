"""What changed between two versions of a component, and how much it matters (rules.md §9.1-3; RFC 5546 §2.1.4)."""

from __future__ import annotations

from typing import Any

import pytest

from itipd.itip.compare import Difference, changes, difference, same
from itipd.itip.derive import moment_of
from itipd.itip.model import Change, Event
from itipd.itip.timezones import zones_from_text
from tests.itip_samples import DEC_8, DEC_15, WEEKLY, read_put, vevent

TUESDAY = "DTSTART;TZID=Europe/Berlin:20261201T100000"
OWN_ZONE = (
    "BEGIN:VTIMEZONE\r\nTZID:Our zone\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\nTZOFFSETFROM:+0100\r\n"
    "TZOFFSETTO:+0100\r\nEND:STANDARD\r\nEND:VTIMEZONE"
)


def event(*lines: str, zones: str = "", **more: Any) -> Event:
    """One component as it is stored."""
    (found,) = read_put(vevent(*lines, **more), zones=zones).events
    return found


def differs(old: Event, new: Event) -> Difference:
    zones = zones_from_text(OWN_ZONE.replace("\r\n", "\n"))
    return difference(old, new, zones, zones)


PLAIN, SERIES = event(), event(WEEKLY)
UNTIL = "RRULE:FREQ=WEEKLY;BYDAY=TU;UNTIL="

# The old version, the new one, and in which words they differ.
TABLE: dict[str, tuple[Event, Event, set[str]]] = {
    "nothing": (PLAIN, event(), set()),
    "DTSTART": (PLAIN, event(start="DTSTART;TZID=Europe/Berlin:20261201T110000"), {"time"}),
    "only the length": (PLAIN, event(end="DURATION:PT2H"), {"time"}),
    "all day": (PLAIN, event(start="DTSTART;VALUE=DATE:20261201", end=""), {"time"}),
    "floating": (PLAIN, event(start="DTSTART:20261201T100000"), {"time"}),
    "DUE": (
        event(kind="VTODO", start="DUE:20261201T090000Z", end=""),
        event(kind="VTODO", start="DUE:20261202T090000Z", end=""),
        {"time"},
    ),
    "DURATION for an equal DTEND": (PLAIN, event(end="DTEND;TZID=Europe/Berlin:20261201T110000"), set()),
    "another zone with the same instants": (PLAIN, event(start="DTSTART:20261201T090000Z"), set()),
    "of a series, another zone that agrees": (
        SERIES,
        event(WEEKLY, start="DTSTART;TZID=W. Europe Standard Time:20261201T100000"),
        set(),
    ),
    "of a series, another zone that does not": (
        SERIES,
        event(WEEKLY, start="DTSTART;TZID=Africa/Lagos:20261201T100000"),
        {"time"},
    ),
    "of a series, a zone of our own that does not": (
        SERIES,
        event(WEEKLY, start="DTSTART;TZID=Our zone:20261201T100000", zones=OWN_ZONE),
        {"time"},
    ),
    "of a series, UTC by name": (
        event(WEEKLY, start="DTSTART:20261201T090000Z"),
        event(WEEKLY, start="DTSTART;TZID=Etc/UTC:20261201T090000"),
        set(),
    ),
    "of an all-day series, a zone that means nothing": (
        event(WEEKLY, start="DTSTART;VALUE=DATE:20261201", end=""),
        event(WEEKLY, start="DTSTART;VALUE=DATE;TZID=Europe/Berlin:20261201", end=""),
        set(),
    ),
    "of a floating series, a zone that nobody knows": (
        event(WEEKLY, start="DTSTART:20261201T100000"),
        event(WEEKLY, start="DTSTART;TZID=Nowhere:20261201T100000"),
        {"time"},
    ),
    "RRULE": (SERIES, event("RRULE:FREQ=DAILY;COUNT=8"), {"rule", "cut"}),
    "RRULE comes": (PLAIN, SERIES, {"rule", "cut"}),
    "RRULE goes": (SERIES, PLAIN, {"rule", "cut"}),
    "two RRULEs": (SERIES, event(WEEKLY, "RRULE:FREQ=YEARLY"), {"rule", "cut"}),
    "RRULE in another order": (SERIES, event("RRULE:COUNT=8;WKST=MO;INTERVAL=1;BYDAY=TU;FREQ=weekly"), set()),
    "BYDAY in another order": (
        event("RRULE:FREQ=WEEKLY;BYDAY=TU,WE"),
        event("RRULE:FREQ=WEEKLY;BYDAY=WE,TU"),
        set(),
    ),
    "a lower COUNT": (SERIES, event("RRULE:FREQ=WEEKLY;BYDAY=TU;COUNT=7"), {"cut"}),
    "a higher COUNT": (SERIES, event("RRULE:FREQ=WEEKLY;BYDAY=TU;COUNT=9"), {"rule", "cut"}),
    "COUNT for an earlier UNTIL": (SERIES, event(f"{UNTIL}20261222T225959Z"), {"cut"}),
    "COUNT for an UNTIL of the same end": (SERIES, event(f"{UNTIL}20270119T090000Z"), {"cut"}),
    "COUNT for a later UNTIL": (SERIES, event(f"{UNTIL}20270126T090000Z"), {"rule", "cut"}),
    "UNTIL for endless": (event("RRULE:FREQ=WEEKLY;BYDAY=TU"), event(f"{UNTIL}20261222"), {"cut"}),
    "endless for UNTIL": (event(f"{UNTIL}20261222"), event("RRULE:FREQ=WEEKLY;BYDAY=TU"), {"rule", "cut"}),
    "EXDATE": (SERIES, event(WEEKLY, "EXDATE;TZID=Europe/Berlin:20261208T100000"), {"cut", f"dropped {DEC_8}"}),
    "EXDATE of a day that is no instance": (SERIES, event(WEEKLY, "EXDATE:20261209T090000Z"), {"cut"}),
    "EXDATE in another form": (
        event(WEEKLY, "EXDATE;TZID=Europe/Berlin:20261208T100000"),
        event(WEEKLY, "EXDATE:20261208T090000Z"),
        set(),
    ),
    "EXDATE goes": (event(WEEKLY, "EXDATE:20261208T090000Z"), SERIES, {"rule", "cut"}),
    "EXDATE goes together with its instance": (
        event(WEEKLY, "EXDATE:20270119T090000Z"),
        event(f"{UNTIL}20261222T225959Z"),
        {"cut"},
    ),
    "two EXDATEs, one of them new": (
        event(WEEKLY, "EXDATE:20261208T090000Z"),
        event(WEEKLY, "EXDATE:20261215T090000Z,20261208T090000Z"),
        {"cut", f"dropped {DEC_15}"},
    ),
    "RDATE": (SERIES, event(WEEKLY, "RDATE:20261209T090000Z"), {"rule", "cut"}),
    "RDATE of an instance that is there": (SERIES, event(WEEKLY, "RDATE:20261208T090000Z"), {"cut"}),
    "RDATE goes": (event(WEEKLY, "RDATE:20261209T090000Z"), SERIES, {"cut"}),
    "STATUS": (PLAIN, event("STATUS:TENTATIVE"), {"status"}),
    "STATUS said aloud": (PLAIN, event("STATUS:CONFIRMED"), set()),
    "LOCATION": (PLAIN, event("LOCATION:Room 9"), {"place"}),
    "an empty LOCATION": (PLAIN, event("LOCATION:"), set()),
    "SUMMARY": (PLAIN, event(summary="Other"), {"texts"}),
    "DESCRIPTION": (PLAIN, event("DESCRIPTION:Bring it"), {"texts"}),
    "an empty DESCRIPTION": (PLAIN, event("DESCRIPTION:"), set()),
    "ATTACH": (PLAIN, event("ATTACH:https://example.com/a.pdf"), {"texts"}),
    "X-ALT-DESC": (PLAIN, event("X-ALT-DESC;FMTTYPE=text/html:<b>x</b>"), {"texts"}),
    "LANGUAGE of a text": (event("DESCRIPTION:x"), event("DESCRIPTION;LANGUAGE=de:x"), set()),
    "another X-": (PLAIN, event("X-FOO:1", "X-MICROSOFT-CDO-BUSYSTATUS:BUSY"), set()),
    "bookkeeping": (
        PLAIN,
        event("CREATED:20261119T090000Z", "LAST-MODIFIED:20261119T090000Z", sequence=4),
        set(),
    ),
    "VALARM": (PLAIN, event("BEGIN:VALARM\r\nTRIGGER:-PT5M\r\nDESCRIPTION:x\r\nEND:VALARM"), set()),
    "CN of ORGANIZER": (PLAIN, event(organizer="ORGANIZER;CN=Other:mailto:meetings@example.com"), set()),
}


@pytest.mark.parametrize(("old", "new", "expected"), TABLE.values(), ids=TABLE.keys())
def test_what_differs(old: Event, new: Event, expected: set[str]) -> None:
    """rules.md §9: time, rule, a series cut short, status, place, texts; bookkeeping is none of these."""
    found = differs(old, new)
    words = {name for name in ("time", "rule", "cut", "status", "place", "texts") if getattr(found, name)}
    assert words | {f"dropped {rid}" for rid in found.dropped} == expected


@pytest.mark.parametrize(
    ("diff", "resets", "significant", "visible", "only_out"),
    [
        (Difference(), False, False, False, False),
        (Difference(time=True), True, True, True, False),
        (Difference(rule=True), True, True, True, False),
        (Difference(cut=True), False, True, True, False),
        (Difference(status=True), False, True, True, False),
        (Difference(place=True), False, False, True, False),
        (Difference(texts=True), False, False, True, False),
        (Difference(cut=True, dropped=(DEC_8,)), False, True, True, True),
        (Difference(cut=True, texts=True, dropped=(DEC_8,)), False, True, True, False),
    ],
)
def test_what_a_difference_means(
    diff: Difference, resets: bool, significant: bool, visible: bool, only_out: bool
) -> None:
    """RFC 5546 §2.1.4 raises SEQUENCE; rules.md §9.2 resets only by time or rule; §9.3: who hears of it."""
    assert (diff.resets, diff.significant, diff.visible, diff.only_instances_out) == (
        resets,
        significant,
        visible,
        only_out,
    )


def test_a_rule_that_cannot_be_followed_is_asked_about_anew() -> None:
    """Where nobody can say whether the series got shorter, the safe side asks again."""
    old = event("RRULE:FREQ=SECONDLY;INTERVAL=7;BYHOUR=3;COUNT=900000")
    new = event("RRULE:FREQ=SECONDLY;INTERVAL=7;BYHOUR=3;COUNT=90000")
    assert differs(old, new).rule
    dated = event("RRULE:FREQ=SECONDLY;INTERVAL=7;BYHOUR=3;BYMONTH=2;BYMONTHDAY=29", "EXDATE;VALUE=DATE:20990101")
    plain = event("RRULE:FREQ=SECONDLY;INTERVAL=7;BYHOUR=3;BYMONTH=2;BYMONTHDAY=29")
    assert differs(plain, dated).rule


def test_moments_compare_by_instant() -> None:
    """RFC 5545 §3.3.4-5: an instant, a date and a floating time are three things."""
    utc, floating, date = (moment_of(text) for text in ("20261208T090000Z", "20261208T090000", "20261208"))
    assert same(utc, utc)
    assert not same(utc, floating)
    assert not same(date, floating)
    assert not same(utc, None)
    assert same(None, None)


def test_changes_are_told_in_words() -> None:
    """interface.md: field, old and new of what people see; a new component has nothing before."""
    told = set(changes(SERIES, event("LOCATION:Garden", start="DTSTART:20261202T090000Z", summary="Other")))
    assert told == {
        Change(None, "", "start", "2026-12-01T10:00:00+01:00", "2026-12-02T09:00:00+00:00"),
        Change(None, "", "end", "2026-12-01T11:00:00+01:00", "2026-12-02T10:00:00+00:00"),
        Change(None, "", "rrule", "FREQ=WEEKLY;BYDAY=TU;COUNT=8", None),
        Change(None, "", "summary", "Team meeting", "Other"),
        Change(None, "", "location", None, "Garden"),
    }
    assert Change(None, "", "summary", None, "Team meeting") in set(changes(None, SERIES))
