"""jCal says the same as the iCalendar text that is made of it (RFC 7265)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from itipd.itip.jcal import to_icalendar


def lines(*properties: Any, inner: Any = ()) -> list[str]:
    """The lines of a VEVENT with these properties and components, unfolded."""
    made = to_icalendar(json.dumps(["vcalendar", [], [["vevent", [*properties], [*inner]]]]).encode())
    assert made is not None
    found = made.decode().replace("\r\n ", "").splitlines()
    assert (found[:2], found[-2:]) == (["BEGIN:VCALENDAR", "BEGIN:VEVENT"], ["END:VEVENT", "END:VCALENDAR"])
    return found[2:-2]


PROPERTIES: list[tuple[list[Any], str]] = [
    (["summary", {"language": "de"}, "text", "a;b,c\nd"], "SUMMARY;LANGUAGE=de:a\\;b\\,c\\nd"),
    (
        ["dtstart", {"tzid": "Europe/Berlin"}, "date-time", "2026-12-01T10:00:00"],
        "DTSTART;TZID=Europe/Berlin:20261201T100000",
    ),
    (["dtstart", {}, "date", "2026-12-01"], "DTSTART;VALUE=DATE:20261201"),
    (["duration", {}, "duration", "-PT1H"], "DURATION:-PT1H"),
    (["tzoffsetto", {}, "utc-offset", "-05:00"], "TZOFFSETTO:-0500"),
    (["x-at", {}, "time", "10:00:00"], "X-AT:100000"),
    (["exdate", {}, "date-time", "2026-12-01T10:00:00Z", "2026-12-02"], "EXDATE:20261201T100000Z,20261202"),
    (
        ["rrule", {}, "recur", {"freq": "WEEKLY", "interval": 2, "byday": ["MO", "-1SU"], "until": "2027-01-01"}],
        "RRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,-1SU;UNTIL=20270101",
    ),
    (["rrule", {}, "recur", "FREQ=DAILY"], "RRULE:FREQ=DAILY"),
    (["freebusy", {}, "period", ["2026-12-01T10:00:00Z", "PT1H"]], "FREEBUSY:20261201T100000Z/PT1H"),
    (["rdate", {}, "period", ["2026-12-01", "2026-12-02"]], "RDATE;VALUE=PERIOD:20261201/20261202"),
    (["request-status", {}, "text", ["2.0", "Fine, thanks"]], "REQUEST-STATUS:2.0;Fine\\, thanks"),
    (["geo", {}, "float", [48.5, -11]], "GEO:48.5;-11"),
    (["url", {}, "uri", "https://example.com/?a;b"], "URL:https://example.com/?a;b"),
    (["x-link", {}, "uri", "https://example.com/"], "X-LINK;VALUE=URI:https://example.com/"),
    (
        [
            "attendee",
            {"member": ["mailto:a@example.com", "mailto:b@example.com"]},
            "cal-address",
            "mailto:c@example.com",
        ],
        'ATTENDEE;MEMBER="mailto:a@example.com","mailto:b@example.com":mailto:c@example.com',
    ),
    (["x-flag", {"rsvp": True}, "boolean", False], "X-FLAG;RSVP=TRUE:FALSE"),
    (["x-what", {}, "unknown", "a;b"], "X-WHAT:a;b"),
    (["sequence", {}, "integer", 3], "SEQUENCE:3"),
    (["x-none", "no parameters", "integer", None], "X-NONE:"),
    (["x-two", {"b a d": "x"}, "text", "1\r\nATTENDEE:x@example.com"], "X-TWO:1\\nATTENDEE:x@example.com"),
    (["x-raw", {}, "unknown", "1\r\nATTENDEE:mailto:x@example.com"], "X-RAW:1ATTENDEE:mailto:x@example.com"),
    (["dtstamp", {}, "date-time", "yesterday-ish"], "DTSTAMP:yesterday-ish"),
]


@pytest.mark.parametrize(("written", "line"), PROPERTIES, ids=[line for _, line in PROPERTIES])
def test_a_property_is_one_line(written: list[Any], line: str) -> None:
    """Each kind of value is written as iCalendar has it; no value begins a line of its own."""
    assert lines(written) == [line]


@pytest.mark.parametrize("odd", ["text", ["summary", {}, "text"], [1, {}, "text", "x"], ["a b", {}, "text", "x"], {}])
def test_what_is_no_property_is_left_out(odd: Any) -> None:
    """A property that cannot be said spoils no other."""
    assert lines(odd, ["uid", {}, "text", "u"]) == ["UID:u"]


def test_components_stand_in_each_other_to_a_depth() -> None:
    """An alarm is in its event; what is nested deeper than anything is, or is no component, is left out."""
    assert lines(inner=[["valarm", [], []], "x", ["v"], [1, []]]) == ["BEGIN:VALARM", "END:VALARM"]
    deep: Any = ["x-a", []]
    for _ in range(30):
        deep = ["x-a", [], [deep]]
    assert len(lines(inner=[deep])) == 2 * 6


def test_several_calendars_stand_in_one_array() -> None:
    """RFC 7265 §3.2: an array around them."""
    made = to_icalendar(json.dumps([["vcalendar", [], []], ["vcalendar", "", ""]]).encode())
    assert made == b"BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n" * 2


@pytest.mark.parametrize(
    "data",
    [b"", b"BEGIN:VCALENDAR", b"[]", b"{}", b'["vcard", [], []]', b"[" * 100_000, b'["\xff"]', b"9" * 5000, b"[[]]"],
)
def test_what_is_no_jcal_is_none(data: bytes) -> None:
    """Other JSON, no JSON, brackets without end: None."""
    assert to_icalendar(data) is None
