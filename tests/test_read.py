"""Calendar bytes -> messages: what real clients write is read, and what was tolerated has a name (rules.md §1.4)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from itipd.itip.contentlines import Limits
from itipd.itip.model import Fault, Message
from itipd.itip.read import read
from itipd.itip.unfold import with_breaks

HEAD = ("BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Example//EN")
OWN = ("UID:m1", "ORGANIZER:mailto:meetings@example.com", "SEQUENCE:2", "DTSTAMP:20261120T080000Z")
ANN = "ATTENDEE;PARTSTAT=ACCEPTED:mailto:ann@example.org"


def calendar(*lines: str, method: str = "REPLY", kind: str = "VEVENT", own: tuple[str, ...] = OWN) -> bytes:
    """A calendar of one component that begins with `own`."""
    inner = (f"BEGIN:{kind}", *own, *lines, f"END:{kind}")
    return "\r\n".join([*HEAD, *([f"METHOD:{method}"] if method else []), *inner, "END:VCALENDAR", ""]).encode()


def one(data: bytes, method: str | None = None) -> Message:
    """The only message in a part."""
    (found,) = read(data, method)
    assert isinstance(found, Message), found
    return found


def fault(data: bytes, method: str | None = None) -> tuple[str, str]:
    """(outcome, reason) of the only thing in a part, which is no message."""
    (found,) = read(data, method)
    assert isinstance(found, Fault), found
    return found.outcome, found.reason


def test_a_reply_is_read() -> None:
    """RFC 5546 §3.2.3: everything that a decision needs, and no quirk where nothing was tolerated."""
    found = one(
        calendar(
            'ATTENDEE;CN="Ann, A.";PARTSTAT=DECLINED;X-NUM-GUESTS=1:mailto:Ann@Example.org',
            "RECURRENCE-ID;RANGE=THISANDFUTURE:20261208T090000Z",
            "COMMENT:No\\, sorry",
            "COMMENT:Next time",
            "REQUEST-STATUS:2.8;Success\\, but",
            "X-MICROSOFT-CDO-REPLYTIME:20261120T080500Z",
            "PERCENT-COMPLETE:120",
            "COMPLETED:20261120T080600Z",
        )
    )
    assert (found.method, found.component, found.uid, found.organizer) == (
        "REPLY",
        "VEVENT",
        "m1",
        "meetings@example.com",
    )
    assert found.rid is not None
    assert (found.rid.rid, found.future, found.sequence) == ("20261208T090000Z", True, 2)
    assert (found.comment, found.request_status) == ("No, sorry\nNext time", "2.8")
    assert (found.dtstamp, found.reply_time) == (
        datetime(2026, 11, 20, 8, tzinfo=UTC),
        datetime(2026, 11, 20, 8, 5, tzinfo=UTC),
    )
    assert (found.percent_complete, found.completed) == (100, datetime(2026, 11, 20, 8, 6, tzinfo=UTC))
    (attendee,) = found.attendees
    assert (attendee.address, attendee.one("CN"), attendee.one("PARTSTAT")) == (
        "ann@example.org",
        "Ann, A.",
        "DECLINED",
    )
    assert (found.proposed, found.quirks) == (None, ())


QUIRKS: dict[str, tuple[bytes, str | None, str]] = {
    "METHOD in lower case": (calendar(ANN, method="reply"), None, "lower_case_method"),
    "METHOD only at the part": (calendar(ANN, method=""), "reply", "method_only_in_content_type"),
    "no PRODID": (calendar(ANN).replace(b"PRODID:-//Example//EN\r\n", b""), None, "no_prodid"),
    "no VERSION": (calendar(ANN).replace(b"VERSION:2.0\r\n", b""), None, "no_version"),
    "VERSION inside": (calendar(ANN, "VERSION:2.0").replace(b"VERSION:2.0\r\n", b"", 1), None, "version_misplaced"),
    "no ORGANIZER": (calendar(ANN, own=(OWN[0], *OWN[2:])), None, "no_organizer"),
    "ORGANIZER without an address": (
        calendar(ANN, own=(OWN[0], "ORGANIZER:urn:uuid:1", *OWN[2:])),
        None,
        "organizer_without_address",
    ),
    "STATUS": (calendar(ANN, "STATUS:CONFIRMED"), None, "status_in_reply"),
    "RRULE beside RECURRENCE-ID": (
        calendar(ANN, "RECURRENCE-ID:20261208T090000Z", "RRULE:FREQ=DAILY"),
        None,
        "rrule_with_recurrence_id",
    ),
    "Windows zone": (
        calendar(ANN, "RECURRENCE-ID;TZID=Romance Standard Time:20261208T100000"),
        None,
        "windows_tzid",
    ),
    "no SEQUENCE": (calendar(ANN, own=(*OWN[:2], OWN[3])), None, "no_sequence"),
    "a SEQUENCE that is none": (calendar(ANN, own=(*OWN[:2], "SEQUENCE:-1", OWN[3])), None, "bad_sequence"),
    "Exchange's SEQUENCE": (
        calendar(ANN, "X-MICROSOFT-CDO-APPT-SEQUENCE:3", own=(*OWN[:2], OWN[3])),
        None,
        "cdo_sequence",
    ),
    "no DTSTAMP": (calendar(ANN, own=OWN[:3]), None, "no_dtstamp"),
    "an attendee twice": (calendar(ANN, ANN), None, "attendee_twice"),
    "an attendee without an address": (calendar(ANN, "ATTENDEE:urn:uuid:1"), None, "attendee_without_address"),
    "the address in CN": (
        calendar("ATTENDEE;PARTSTAT=ACCEPTED;CN='ann@example.org':invalid:nomail"),
        None,
        "address_in_parameter",
    ),
    "no mailto": (calendar("ATTENDEE;PARTSTAT=ACCEPTED:ann@example.org"), None, "no_mailto"),
    "DTEND beside DURATION": (
        calendar(ANN, "DTSTART:20261203T090000Z", "DTEND:20261203T100000Z", "DURATION:PT5H", method="COUNTER"),
        None,
        "dtend_and_duration",
    ),
}


@pytest.mark.parametrize(("data", "method", "quirk"), QUIRKS.values(), ids=QUIRKS.keys())
def test_what_was_tolerated_is_recorded(data: bytes, method: str | None, quirk: str) -> None:
    """rules.md §1.4: each tolerance is a quirk of its own, once, and the attendee is found all the same."""
    found = one(data, method)
    assert found.quirks == (quirk,)
    assert found.attendees[0].address == "ann@example.org"


FAULTS: dict[str, tuple[bytes, tuple[str, str]]] = {
    "no calendar": (b"Ann accepts", ("error", "malformed")),
    "nothing in it": (b"\r\n".join([b"BEGIN:VCALENDAR", b"METHOD:REPLY", b"END:VCALENDAR"]), ("error", "malformed")),
    "no METHOD": (calendar(ANN, method=""), ("no_action", "no_method")),
    "no UID": (calendar(ANN, own=OWN[1:]), ("error", "no_uid")),
    "an empty UID": (calendar(ANN, own=("UID:", *OWN[1:])), ("error", "no_uid")),
    "no ATTENDEE": (calendar(), ("error", "no_attendee")),
    "no ATTENDEE with an address": (calendar("ATTENDEE:urn:uuid:1"), ("error", "no_attendee")),
    "a RECURRENCE-ID that is none": (calendar(ANN, "RECURRENCE-ID:tomorrow"), ("error", "malformed")),
    "too many ATTENDEEs": (
        calendar(*(f"ATTENDEE:mailto:a{number}@example.org" for number in range(6))),
        ("error", "too_many_attendees"),
    ),
    "too many ATTENDEEs of a COUNTER": (
        calendar(*(f"ATTENDEE:mailto:a{number}@example.org" for number in range(1001)), method="COUNTER"),
        ("error", "too_many_attendees"),
    ),
}


@pytest.mark.parametrize(("data", "expected"), FAULTS.values(), ids=FAULTS.keys())
def test_what_cannot_be_read_is_a_fault_by_name(data: bytes, expected: tuple[str, str]) -> None:
    """design.md, rule 6: the mail's fault is a decision, never an exception."""
    assert fault(data) == expected


def test_a_calendar_beyond_the_limits_is_too_large() -> None:
    """hardening §8: bounded before anything is made of it."""
    (found,) = read(calendar(ANN), None, Limits(size=100))
    assert isinstance(found, Fault)
    assert found.reason == "too_large"


def test_the_bound_that_was_passed_is_named() -> None:
    """An error names what was found and what was expected, of a COUNTER its own bound."""
    lines = (f"ATTENDEE:mailto:a{number}@example.org" for number in range(31))
    (found,) = read(calendar(*lines, method="COUNTER"), None, Limits(counter_attendees=30))
    assert isinstance(found, Fault)
    assert (found.reason, found.detail) == ("too_many_attendees", "31 ATTENDEEs in a COUNTER, at most 30 are read")


def test_method_in_the_calendar_wins() -> None:
    """rules.md §1.2: Google sends COUNTER in a part marked REPLY."""
    assert one(calendar(ANN, "DTSTART:20261203T090000Z", method="COUNTER"), "REPLY").method == "COUNTER"


def test_one_bad_component_does_not_spoil_the_others() -> None:
    """rules.md §1.3: several UIDs and several instances are each read on their own, quirks do not leak."""
    data = calendar(ANN, own=OWN[1:]) + calendar(ANN, "RECURRENCE-ID:20261208T090000Z") + calendar(ANN, own=OWN[:3])
    found = read(data)
    assert [(type(item).__name__, item.quirks) for item in found] == [
        ("Fault", ()),
        ("Message", ()),
        ("Message", ("no_dtstamp",)),
    ]


@pytest.mark.parametrize("method", ["REQUEST", "CANCEL", "PUBLISH", "ADD", "DECLINECOUNTER"])
def test_of_an_organizers_method_only_the_name_is_read(method: str) -> None:
    """rules.md §8: nobody's answer is in it; it need not have an ATTENDEE."""
    found = one(calendar("RECURRENCE-ID:20261208T090000Z", method=method))
    assert (found.method, found.attendees, found.rid is not None) == (method, (), True)


@pytest.mark.parametrize("kind", ["VFREEBUSY", "VJOURNAL"])
def test_a_reply_of_another_component_has_no_attendees(kind: str) -> None:
    """RFC 5546 §3.3, §3.5: only events and to-dos are answered here."""
    assert one(calendar(ANN, kind=kind)).attendees == ()


def test_an_alarms_attendees_do_not_count() -> None:
    """rules.md §1.4: only the component's own ATTENDEEs; a broken alarm harms nothing."""
    alarm = ("BEGIN:VALARM", "ATTENDEE:mailto:x@example.org", "TRIGGER:nonsense", "END:VALARM")
    assert [attendee.address for attendee in one(calendar(ANN, *alarm)).attendees] == ["ann@example.org"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("SEQUENCE:0", "X-MICROSOFT-CDO-APPT-SEQUENCE:2"), 2),
        (("SEQUENCE:1", "X-MICROSOFT-CDO-APPT-SEQUENCE:2"), 1),
        (("SEQUENCE:0", "X-MICROSOFT-CDO-APPT-SEQUENCE:0"), 0),
        (("X-MICROSOFT-CDO-APPT-SEQUENCE:0",), 0),
        (("SEQUENCE:99999999999",), None),
        (("SEQUENCE:9999999999",), 2**31 - 1),
        (("SEQUENCE:²",), None),
        ((), None),
    ],
)
def test_sequence(lines: tuple[str, ...], expected: int | None) -> None:
    """rules.md §1.4: Exchange's own number where SEQUENCE is 0 or missing; bounded; None where there is none."""
    assert one(calendar(ANN, *lines, own=(*OWN[:2], OWN[3]))).sequence == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("REQUEST-STATUS:3.7;Invalid calendar user;ATTENDEE:mailto:x@example.org", "3.7"),
        ("REQUEST-STATUS:2.0.1;OK", "2.0.1"),
        ("REQUEST-STATUS:whatever", None),
        ("REQUEST-STATUS:2.0<script>", None),
        ("SUMMARY:x", None),
    ],
)
def test_only_the_code_of_request_status_is_kept(line: str, expected: str | None) -> None:
    """RFC 5545 §3.8.8.3: digits and dots; the words are the sender's and go nowhere."""
    assert one(calendar(ANN, line)).request_status == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("COMMENT:", "X-CALENDARSERVER-PRIVATE-COMMENT:From iOS"), "From iOS"),
        (("COMMENT;LANGUAGE=de:",), None),
        (("COMMENT:" + "x" * 3000,), "x" * 2000),
    ],
)
def test_comment(lines: tuple[str, ...], expected: str | None) -> None:
    """notes/clients.md: Exchange writes an empty COMMENT, macOS and iOS a private one; bounded."""
    assert one(calendar(ANN, *lines)).comment == expected


PROPOSALS: dict[str, tuple[tuple[str, ...], tuple[Any, ...]]] = {
    "in UTC": (
        ("DTSTART:20261203T090000Z", "DTEND:20261203T100000Z", "LOCATION:Garden", "SUMMARY:Lunch"),
        ("2026-12-03T09:00:00+00:00", "2026-12-03T10:00:00+00:00", "Garden", "Lunch", None),
    ),
    "in a zone, with a length": (
        ("DTSTART;TZID=Europe/Berlin:20261203T090000", "DURATION:PT90M"),
        ("2026-12-03T09:00:00+01:00", "2026-12-03T10:30:00+01:00", None, None, "Europe/Berlin"),
    ),
    "floating": (
        ("DTSTART:20261203T090000", "DURATION:PT1H"),
        ("2026-12-03T09:00:00", "2026-12-03T10:00:00", None, None, None),
    ),
    "all day": (("DTSTART;VALUE=DATE:20261203",), ("2026-12-03", None, None, None, None)),
    "a bad length": (
        ("DTSTART:20261203T090000Z", "DURATION:soon"),
        ("2026-12-03T09:00:00+00:00", None, None, None, None),
    ),
    "an end before the start": (
        ("DTSTART:20261203T090000Z", "DTEND:20261203T080000Z"),
        ("2026-12-03T09:00:00+00:00", None, None, None, None),
    ),
    "a to-do": (("DUE:20261203T090000Z",), (None, "2026-12-03T09:00:00+00:00", None, None, None)),
    "nothing": ((), (None, None, None, None, None)),
}


@pytest.mark.parametrize(("lines", "expected"), PROPOSALS.values(), ids=PROPOSALS.keys())
def test_a_counter_proposes(lines: tuple[str, ...], expected: tuple[Any, ...]) -> None:
    """rules.md §6.1: the slot, the place and the title that a COUNTER has; None where it says nothing."""
    proposed = one(calendar(ANN, *lines, method="COUNTER")).proposed
    assert proposed is not None
    start, end = (moment.iso if moment else None for moment in (proposed.start, proposed.end))
    assert (start, end, proposed.location, proposed.summary, proposed.tzid) == expected


def test_a_counter_tells_which_slot_it_countered() -> None:
    """rules.md §6.1: X-MS-OLK-ORIGINALSTART and -END."""
    lines = ("X-MS-OLK-ORIGINALSTART:20261201T090000Z", "X-MS-OLK-ORIGINALEND:20261201T100000Z")
    proposed = one(calendar(ANN, "DTSTART:20261203T090000Z", *lines, method="COUNTER")).proposed
    assert proposed is not None
    assert (proposed.original_start, proposed.original_end) != (None, None)
    assert (proposed.original_start and proposed.original_start.rid) == "20261201T090000Z"


def test_a_time_without_zulu_counts_as_utc() -> None:
    """RFC 5545 §3.8.7.2: DTSTAMP must be in UTC; who forgets the Z means it."""
    found = one(calendar(ANN, own=(*OWN[:3], "DTSTAMP:20261120T080000")))
    assert found.dtstamp == datetime(2026, 11, 20, 8, tzinfo=UTC)


def test_a_time_that_is_none_is_no_time() -> None:
    """rules.md §1.4: a DTSTAMP that cannot be read is as good as none: the mail's Date counts."""
    found = one(calendar(ANN, own=(*OWN[:3], "DTSTAMP:yesterday")))
    assert (found.dtstamp, found.quirks) == (None, ("no_dtstamp",))


def test_a_request_for_busy_time_is_read() -> None:
    """RFC 5546 §3.3.2: who asks, whom, and about which span; None where a span has no end."""
    own = ("UID:fb1", "ORGANIZER:mailto:ann@example.org", "DTSTAMP:20261120T080000Z")
    asked = ("ATTENDEE:mailto:meetings@example.com", "DTSTART:20261201T000000Z", "DTEND:20261202T000000Z")
    found = one(calendar(*asked, method="REQUEST", kind="VFREEBUSY", own=own))
    assert (found.organizer, found.attendees[0].address) == ("ann@example.org", "meetings@example.com")
    assert found.asked is not None
    assert [moment.rid for moment in found.asked] == ["20261201T000000Z", "20261202T000000Z"]
    assert one(calendar(*asked[:2], method="REQUEST", kind="VFREEBUSY", own=own)).asked is None


@pytest.mark.parametrize(
    "params",
    ["PARTSTAT=ACCEPTED;", ";PARTSTAT=ACCEPTED;;CN=x", " PARTSTAT = ACCEPTED; ;RSVP", "CN=a; ;PARTSTAT=ACCEPTED"],
)
def test_a_semicolon_too_many_is_no_parameter(params: str) -> None:
    """What stands between two semicolons and is nothing belongs to no value."""
    assert one(calendar(f"ATTENDEE;{params}:mailto:ann@example.org")).attendees[0].one("PARTSTAT") == "ACCEPTED"


@pytest.mark.parametrize("broken", [" ", "\\n", "\\r\\n", "\t", "  \\n "])
def test_lost_line_breaks_are_found_again(broken: str) -> None:
    """A calendar on one line, by blanks or by the letters `\\n` instead of breaks, is read; the quirk says so."""
    message = one(calendar(ANN).replace(b"\r\n", broken.encode()))
    assert (message.uid, message.attendees[0].one("PARTSTAT")) == ("m1", "ACCEPTED")
    assert message.quirks == ("lost_breaks",)


def test_a_calendar_that_has_line_breaks_keeps_them() -> None:
    """Names within its lines begin no lines: they are looked for only where there are no breaks at all."""
    assert with_breaks(calendar("SUMMARY:See URL:x")) is None
    assert with_breaks(b"nothing UID:m1") is None


def test_vcalendar_1_0_may_encode_an_address() -> None:
    """ENCODING=QUOTED-PRINTABLE on ATTENDEE is undone where the value is no address without it."""
    message = one(calendar("ATTENDEE;STATUS=DECLINED;ENCODING=QUOTED-PRINTABLE:MAILTO:ann=40example.org"))
    assert (message.attendees[0].address, message.attendees[0].one("PARTSTAT")) == ("ann@example.org", "DECLINED")
    assert message.quirks == ("encoding", "address_in_words", "vcalendar_status")
