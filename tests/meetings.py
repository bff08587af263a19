"""Meetings of every form, and the mails that they cause: from an application's calendar, without a database."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

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
from itipd.mail.reply_token import Keys
from itipd.send import Origin, sendings
from itipd.store import Ref
from tests.interop import calendar_of

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
    origin = Origin(Ref(ORGANIZER), NOW, "7", Keys(b"s" * 32), "en")
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
    "texts": component(
        "DTSTART:20261201T090000Z",
        "DURATION:PT1H",
        "LOCATION:" + "漢字🎉 Größe\\, Straße\\; \\\\ " * 12 + "Ende",
    )
    .replace(f"CN={BEA}", 'CN="Meier, Béa; chair: 漢字"')
    .replace(f"CN={CARL}", "CN=" + "Carl von und zu " * 8 + "Hausen"),
    "series of tasks": component(
        "DTSTART;TZID=Pacific/Apia:20261201T080000",
        "DURATION:P2D",
        "RRULE:FREQ=DAILY;INTERVAL=7;COUNT=9",
        "EXDATE;TZID=Pacific/Apia:20261208T080000",
        "PRIORITY:5",
        kind="VTODO",
    ),
    "series": SERIES,
}

GUESTS = frozenset({(BEA, "NEEDS-ACTION"), (CARL, "NEEDS-ACTION")})
SUMMARY = "Größe, Maß; 漢字\nund mehr"


def unfolded(data: bytes) -> list[str]:
    return data.decode().replace("\r\n ", "").split("\r\n")
