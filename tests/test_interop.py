"""What we send is what other programs read: the same meeting, in each of its forms, by icalendar, vobject and libical.

And what Outlook, Exchange, Google and Apple need beside it (rules.md §10), each with a test of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from itipd.itip import organize
from itipd.itip.incoming import incoming
from itipd.itip.model import (
    Decision,
    DropAttendee,
    DropEvent,
    Meeting,
    Policy,
    Proposal,
    Proposed,
    PutAttendee,
    PutEvent,
    PutMeeting,
    PutProposal,
    Write,
)
from itipd.mail.compose import Outgoing, compose
from itipd.send import Origin, sendings
from itipd.store import Ref
from tests import libical
from tests.interop import READERS, Seen, calendar_of

NOW = datetime(2026, 11, 20, 8, tzinfo=UTC)
ORGANIZER = "meetings@example.com"
BEA, CARL = "bea@example.org", "carl@example.net"
HILL = """BEGIN:VTIMEZONE
TZID:{tzid}
BEGIN:STANDARD
DTSTART:19701025T020000
RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU
TZOFFSETFROM:+0530
TZOFFSETTO:+0430
END:STANDARD
BEGIN:DAYLIGHT
DTSTART:19700329T020000
RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU
TZOFFSETFROM:+0430
TZOFFSETTO:+0530
END:DAYLIGHT
END:VTIMEZONE
"""

needs_libical = pytest.mark.skipif(libical.library() is None, reason="libical.so.3 is not installed (Debian: libical3)")
readers = pytest.mark.parametrize(
    "reader", [pytest.param(name, marks=needs_libical if name == "libical" else ()) for name in READERS]
)


# -- from an application's calendar to mails, without a database


def component(*lines: str, kind: str = "VEVENT", guests: Iterable[str] = (BEA, CARL), uid: str = "interop-1") -> str:
    """A component as an application writes it, with organizer and guests."""
    head = [f"BEGIN:{kind}", f"UID:{uid}@example.com", "DTSTAMP:20261119T120000Z"]
    head += ["SUMMARY:Größe\\, Maß\\; 漢字\\nund mehr", f"ORGANIZER;CN=Ada Meier:mailto:{ORGANIZER}"]
    head += [f"ATTENDEE;CN={name};RSVP=TRUE;PARTSTAT=NEEDS-ACTION:mailto:{name}" for name in guests]
    return "".join(f"{line}\n" for line in (*head, *lines, f"END:{kind}"))


def put(text: str, meeting: Meeting | None = None) -> tuple[Meeting, Decision]:
    """The application's calendar laid over the meeting, and what was decided."""
    (one,) = incoming(f"BEGIN:VCALENDAR\nVERSION:2.0\n{text}END:VCALENDAR\n".encode())
    decision = organize.put(meeting, one, Policy(), NOW)
    assert decision.sends, decision
    return after(meeting, decision), decision


def after(meeting: Meeting | None, decision: Decision) -> Meeting:
    """The meeting after a decision, as the store would have it."""
    current = meeting or Meeting(ORGANIZER, decision.uid or "")
    events, attendees, proposals = dict(current.events), dict(current.attendees), dict(current.proposals)
    for write in decision.writes:
        _write(write, events, attendees, proposals)
        if isinstance(write, PutMeeting):
            current = write.meeting
    return replace(current, events=events, attendees=attendees, proposals=proposals)


def _write(write: Write, events: dict, attendees: dict, proposals: dict) -> None:  # type: ignore[type-arg]
    match write:
        case PutEvent(event):
            events[event.rid] = event
        case DropEvent(rid):
            events.pop(rid, None)
        case PutAttendee(row):
            attendees[row.rid, row.address] = row
        case DropAttendee(rid, address):
            attendees.pop((rid, address), None)
        case PutProposal(proposal):
            proposals[proposal.id] = proposal


def mails(meeting: Meeting, decision: Decision) -> dict[str, list[bytes]]:
    """Recipient -> the mails that the decision sends, as they leave."""
    origin = Origin(Ref(ORGANIZER), NOW, "7", b"s" * 32, "en")
    found: dict[str, list[bytes]] = {}
    for sending in sendings(meeting, decision, origin):
        for delivery in sending.deliveries:
            outgoing = Outgoing(
                organizer=sending.organizer,
                organizer_name=sending.organizer_name,
                uid=sending.uid,
                method=sending.method,
                rid=sending.rid,
                sequence=sending.sequence,
                reason=sending.reason,
                summary=sending.summary,
                calendar=sending.calendar,
                created_at=sending.created_at,
                recipient=delivery.recipient,
                message_id=delivery.message_id,
                automatic=sending.automatic,
                comment=sending.comment,
                line=delivery.line,
            )
            found.setdefault(delivery.recipient, []).append(compose(outgoing))
    return found


def only(raws: list[bytes]) -> bytes:
    """The calendar of the only mail."""
    (raw,) = raws
    return calendar_of(raw)


def decline(meeting: Meeting, rid: str = "") -> bytes:
    """The calendar of the DECLINECOUNTER for a proposal of Bea's."""
    decision = organize.decline(meeting, Proposal(1, BEA, rid, Proposed(location="Room 5")), "No, sorry")
    found = mails(after(meeting, decision), decision)
    assert list(found) == [BEA]
    return only(found[BEA])


# -- the forms of a meeting

SERIES = (
    component(
        "DTSTART;TZID=Europe/Berlin:20261201T100000",
        "DTEND;TZID=Europe/Berlin:20261201T110000",
        "RRULE:FREQ=WEEKLY;COUNT=30",
        "RDATE;TZID=Europe/Berlin:20261203T100000",
        "EXDATE;TZID=Europe/Berlin:20261222T100000,20261229T100000",
        "BEGIN:VALARM",
        "ACTION:DISPLAY",
        "DESCRIPTION:soon",
        "TRIGGER:-PT15M",
        "END:VALARM",
    )
    + component(
        "RECURRENCE-ID;TZID=Europe/Berlin:20261208T100000",
        "DTSTART;TZID=Europe/Berlin:20261209T140000",
        "DTEND;TZID=Europe/Berlin:20261209T150000",
    )
    + component(
        "RECURRENCE-ID;TZID=Europe/Berlin:20270420T100000",  # in summer time
        "DTSTART;TZID=America/New_York:20270420T090000",
        "DTEND;TZID=America/New_York:20270420T100000",
        guests=(BEA,),
    )
)

FORMS = {
    "single": component(
        "DTSTART;TZID=Europe/Berlin:20261201T100000",
        "DTEND;TZID=Europe/Berlin:20261201T110000",
        "LOCATION:Room 4\\, floor 2",
        "STATUS:CONFIRMED",
    ),
    "utc": component("DTSTART:20261201T090000Z", "DURATION:PT90M", "STATUS:TENTATIVE"),
    "all-day": component("DTSTART;VALUE=DATE:20261224", "DTEND;VALUE=DATE:20261227"),
    "floating": component("DTSTART:20261201T100000", "DTEND:20261201T110000"),
    "all-day series": component("DTSTART;VALUE=DATE:20261224", "RRULE:FREQ=YEARLY", "EXDATE;VALUE=DATE:20281224"),
    "windows": component(
        "DTSTART;TZID=W. Europe Standard Time:20270701T100000",
        "DTEND;TZID=W. Europe Standard Time:20270701T110000",
        "RRULE:FREQ=MONTHLY;BYDAY=1TH;UNTIL=20280101T090000Z",
    ),
    "own zone": HILL.format(tzid="Customized Time Zone 1")
    + component(
        'DTSTART;TZID="Customized Time Zone 1":20270701T100000', "DTEND;TZID=Customized Time Zone 1:20270701T110000"
    ),
    "zone with signs": HILL.format(tzid="Hill\\, North: 2")
    + component('DTSTART;TZID="Hill, North: 2":20261201T100000', 'DTEND;TZID="Hill, North: 2":20261201T110000'),
    "vendor's zone": component(
        "DTSTART;TZID=/freeassociation.sourceforge.net/Tzfile/Australia/Lord_Howe:20261201T100000", "DURATION:PT1H"
    ),
    "two zones": component(
        "DTSTART;TZID=Europe/Dublin:20270701T100000", "DTEND;TZID=America/Sao_Paulo:20270701T090000"
    ),
    "task": component(
        "DTSTART;TZID=Asia/Kolkata:20261201T100000", "DUE;TZID=Asia/Kolkata:20261204T180000", kind="VTODO"
    ),
    "task without start": component("DUE;VALUE=DATE:20261204", "PRIORITY:1", kind="VTODO"),
    "series": SERIES,
}

GUESTS = frozenset({(BEA, "NEEDS-ACTION"), (CARL, "NEEDS-ACTION")})
SUMMARY = "Größe, Maß; 漢字\nund mehr"


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
    return replace(base, **changes)  # type: ignore[arg-type]


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
