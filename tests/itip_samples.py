"""What the core's tests have in common: calendars as text, messages as values, and decisions applied in memory.

`apply` does what the store's `Batch.apply` does, so that these tests need no database.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from itipd.itip import attendance, organize
from itipd.itip.addresses import canonical
from itipd.itip.decide import decide
from itipd.itip.derive import moment_of
from itipd.itip.incoming import incoming
from itipd.itip.model import (
    CalAddress,
    Decision,
    DropAttendee,
    DropEvent,
    Evidence,
    Incoming,
    Meeting,
    Message,
    Moment,
    Params,
    Policy,
    Proposed,
    PutAttendee,
    PutEvent,
    PutMeeting,
    PutProposal,
    Send,
)

WE = "meetings@example.com"
ANN = "ann@example.org"
BOB = "bob@example.net"
CAT = "cat@example.com"
DAN = "dan@example.org"
EVE = "eve@example.net"
UID = "m1@planner.example.com"
NOW = datetime(2026, 11, 20, 8, 0, 5, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
POLICY = Policy()

BERLIN = "DTSTART;TZID=Europe/Berlin:20261201T100000"
DEC_1, DEC_8, DEC_15, DEC_22 = "20261201T090000Z", "20261208T090000Z", "20261215T090000Z", "20261222T090000Z"
WEEKLY = "RRULE:FREQ=WEEKLY;BYDAY=TU;COUNT=8"


def vevent(
    *lines: str,
    start: str = BERLIN,
    end: str = "DURATION:PT1H",
    guests: Iterable[str] = (ANN, BOB),
    sequence: int | None = 0,
    summary: str = "Team meeting",
    uid: str = UID,
    kind: str = "VEVENT",
    organizer: str = f"ORGANIZER;CN=Meetings:mailto:{WE}",
) -> str:
    """A component of the organizer's. `guests` are addresses, or whole ATTENDEE lines."""
    attendees = [one if one.startswith("ATTENDEE") else f"ATTENDEE;RSVP=TRUE:mailto:{one}" for one in guests]
    own = [f"UID:{uid}", "DTSTAMP:20261117T090000Z", *([f"SEQUENCE:{sequence}"] if sequence is not None else [])]
    own += [f"SUMMARY:{summary}", start, end, *lines, organizer, *attendees]
    return "\r\n".join([f"BEGIN:{kind}", *(line for line in own if line), f"END:{kind}"])


def override(day: int, *lines: str, hour: int = 10, **more: Any) -> str:
    """The instance of a day in December 2026, at 10:00 in Berlin, as an override that begins at `hour`."""
    rid = f"RECURRENCE-ID;TZID=Europe/Berlin:202612{day:02d}T100000"
    return vevent(rid, *lines, start=f"DTSTART;TZID=Europe/Berlin:202612{day:02d}T{hour:02d}0000", **more)


def calendar(*components: str, method: str = "", zones: str = "") -> bytes:
    """A VCALENDAR."""
    head = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Example Corp//Planner//EN"]
    return "\r\n".join(
        [
            *head,
            *([f"METHOD:{method}"] if method else []),
            *([zones] if zones else []),
            *components,
            "END:VCALENDAR",
            "",
        ]
    ).encode()


def read_put(*components: str, zones: str = "", method: str = "") -> Incoming:
    """The organizer's calendar of one UID, read."""
    (found,) = incoming(calendar(*components, zones=zones, method=method))
    return found


def apply(meeting: Meeting | None, decision: Decision) -> Meeting:
    """The meeting after a decision: what the store makes of its writes."""
    current = meeting if meeting is not None else Meeting(WE, UID, id=1)
    events, attendees, proposals = dict(current.events), dict(current.attendees), dict(current.proposals)
    for write in decision.writes:
        match write:
            case PutMeeting(row):
                current = replace(row, id=current.id)
            case PutEvent(event):
                events[event.rid] = event
            case DropEvent(rid):
                events.pop(rid, None)
            case PutAttendee(row):
                attendees[row.rid, row.address] = row
            case DropAttendee(rid, address):
                attendees.pop((rid, address), None)
            case PutProposal(proposal):
                number = proposal.id or len(proposals) + 1
                proposals[number] = replace(proposal, id=number)
    return replace(current, events=events, attendees=attendees, proposals=proposals)


def put(
    meeting: Meeting | None,
    *components: str,
    now: datetime = NOW,
    policy: Policy = POLICY,
    zones: str = "",
    **more: Any,
) -> tuple[Meeting, Decision]:
    """The meeting after a put of these components, and what was decided."""
    decision = organize.put(meeting, read_put(*components, zones=zones), policy, now, **more)
    return apply(meeting, decision), decision


def registered(*components: str, zones: str = "") -> Meeting:
    """A new meeting, sent by the application itself."""
    meeting, decision = put(None, *components, zones=zones, recorded=True)
    assert decision.outcome == "added", decision
    return meeting


def single(**more: Any) -> Meeting:
    """A meeting on 1 December with Ann and Bob."""
    return registered(vevent(**more))


def series(*more: str, **words: Any) -> Meeting:
    """Eight Tuesdays from 1 December on with Ann and Bob, and overrides."""
    return registered(vevent(WEEKLY, **words), *more)


def at(minutes: float) -> datetime:
    """A time some minutes after NOW."""
    return NOW + timedelta(minutes=minutes)


def rid_of(text: str) -> Moment:
    """A recurrence id as a client sends it: `20261208T090000Z`, floating, or a date."""
    found = moment_of(text)
    assert found is not None, text
    return found


def line(address: str, partstat: str | None = "ACCEPTED", **params: str | Sequence[str]) -> CalAddress:
    """An ATTENDEE; `delegated_to=` and so on take addresses."""
    found: dict[str, tuple[str, ...]] = {"PARTSTAT": (partstat,)} if partstat is not None else {}
    for name, value in params.items():
        values = (value,) if isinstance(value, str) else tuple(value)
        key = name.upper().replace("_", "-")
        found[key] = tuple(f"mailto:{one}" for one in values) if key in ADDRESSES else values
    return CalAddress(address, found)


ADDRESSES = ("DELEGATED-TO", "DELEGATED-FROM", "SENT-BY", "MEMBER")


def message(*attendees: CalAddress, method: str = "REPLY", rid: str = "", minute: float = 1, **more: Any) -> Message:
    """An attendee's message, written `minute` minutes after NOW."""
    words: dict[str, Any] = {"organizer": WE, "sequence": 0, "dtstamp": at(minute), **more}
    return Message(method, "VEVENT", UID, rid_of(rid) if rid else None, attendees=attendees, **words)


def reply(
    address: str, partstat: str | None = "ACCEPTED", rid: str = "", params: Params | None = None, **more: Any
) -> Message:
    """A REPLY of one attendee."""
    found = line(address, partstat)
    return message(replace(found, params={**found.params, **(params or {})}), rid=rid, **more)


def counter(
    address: str,
    start: str | None = None,
    end: str | None = None,
    *,
    partstat: str | None = "TENTATIVE",
    others: Sequence[CalAddress] = (),
    location: str | None = None,
    **more: Any,
) -> Message:
    """A COUNTER with a time in UTC (`20261203T090000Z`), a place, or more attendees."""
    proposed = Proposed(rid_of(start) if start else None, rid_of(end) if end else None, location)
    return message(line(address, partstat), *others, method="COUNTER", proposed=proposed, **more)


def sender(address: str | None, **more: Any) -> Evidence:
    """What a mail with this From proves."""
    return Evidence(from_address=canonical(address) if address else None, **more)


def hear(
    meeting: Meeting,
    *messages: Message,
    policy: Policy = POLICY,
    evidence: Evidence | None = None,
    now: datetime = LATER,
) -> tuple[Meeting, Decision]:
    """The meeting after these messages, each sent by its own first attendee, and the last decision."""
    for one in messages:
        decision = decide(meeting, one, evidence or sender(one.attendees[0].address), policy, now)
        meeting = apply(meeting, decision)
    return meeting, decision


def words(decision: Decision) -> str:
    """`outcome/reason`."""
    return f"{decision.outcome}/{decision.reason}"


def sent(decision: Decision) -> list[tuple[str, str, str, int]]:
    """The mails of a decision as (method, to, rid, SEQUENCE), one for each recipient, sorted."""
    return sorted((send.method, to, send.rid, send.sequence) for send in decision.sends for to in send.to)


def the_send(decision: Decision) -> Send:
    """The only Send of a decision."""
    (found,) = decision.sends
    return found


def standing(meeting: Meeting, rid: str = "") -> dict[str, str]:
    """Address -> PARTSTAT of all guests as the status shows them, of the series or of an instance."""
    status = attendance.status(meeting)
    if not rid:
        return {row["address"]: row["partstat"] for row in status["attendees"]}
    (found,) = [one for one in status["instances"] if one["recurrence_id"] == rid]
    return {row["address"]: row["partstat"] for row in found["attendees"]}


def instances(meeting: Meeting) -> list[str]:
    """The rids that the status lists."""
    return [one["recurrence_id"] for one in attendance.status(meeting)["instances"]]
