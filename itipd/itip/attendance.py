"""Who is coming: a meeting as the JSON object of `itipd status UID --json`, the API and the golden files. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from itipd.itip import derive, lookup
from itipd.itip.cancelling import instance_at
from itipd.itip.model import NEEDS_ACTION, Attendee, Event, Meeting, Moment, Proposal

COUNTED = ("ACCEPTED", "DECLINED", "TENTATIVE", "DELEGATED", NEEDS_ACTION)
COUNTED_TODO = (*COUNTED, "COMPLETED", "IN-PROCESS")


def status(meeting: Meeting) -> dict[str, Any]:
    """The whole meeting; its keys are those of the interface, times ISO 8601, absent things None."""
    master = meeting.events.get("")
    lead = master if master is not None else first(meeting)
    people = lookup.rows_by_address(meeting)
    listed = [rows[""] for rows in people.values() if "" in rows and not rows[""].removed]
    guests = lookup.asked_anew(sorted(listed, key=lookup.place))
    return {
        "uid": meeting.uid,
        "organizer": meeting.organizer,
        "summary": lead.summary if lead is not None else "",
        "status": meeting.status,
        "sequence": meeting.sequence if master is not None else None,
        "start": _iso(master.start if master else None),
        "end": _iso(master.end if master else None),
        "rrule": "\n".join(master.rrules) or None if master else None,
        "counts": counts(guests, meeting.component),
        "attendees": [attendee(row) for row in guests],
        "instances": [_instance(meeting, rid, people) for rid in instances(meeting)],
        "proposals": [proposal(item) for _, item in sorted(meeting.proposals.items())],
    }


def first(meeting: Meeting) -> Event | None:
    """The component that speaks for a meeting without its series."""
    return meeting.events[min(meeting.events)] if meeting.events else None


def counts(rows: Iterable[Attendee], component: str = "VEVENT") -> dict[str, int]:
    """How many of each PARTSTAT; the five words always, COMPLETED and IN-PROCESS for to-dos."""
    found = dict.fromkeys(COUNTED_TODO if component == "VTODO" else COUNTED, 0)
    for row in rows:
        word = row.partstat or NEEDS_ACTION
        found[word if word in found else NEEDS_ACTION] += 1
    return found


def instances(meeting: Meeting) -> list[str]:
    """The overrides and every instance that has an answer of its own, in order of time."""
    answered = (row for row in meeting.attendees.values() if row.rid and row.partstat is not None)
    # An answer from an instance on outlives that instance, where EXDATE takes it out alone.
    there = {row.rid for row in answered if not row.future or instance_at(meeting, row.rid) is not None}
    return sorted({rid for rid in meeting.events if rid} | there)


def _instance(meeting: Meeting, rid: str, people: Mapping[str, Mapping[str, Attendee]]) -> dict[str, Any]:
    event = meeting.events.get(rid)
    if event is not None:
        start, end, sequence, word = event.start, event.end, event.sequence, event.status
    else:
        start, end, sequence = times(meeting, rid)
        word = meeting.status
    guests = lookup.asked_anew(sorted(lookup.guests_at(meeting, rid, people), key=lookup.place))
    return {
        "recurrence_id": rid,
        "status": word,
        "sequence": sequence,
        "start": _iso(start),
        "end": _iso(end),
        "attendees": [attendee(row) for row in guests],
    }


def times(meeting: Meeting, rid: str) -> tuple[Moment | None, Moment | None, int]:
    """Start, end and SEQUENCE of an instance without an override; of one that is no more, its RECURRENCE-ID."""
    if "" in meeting.events:
        try:
            event = derive.at(meeting, lookup.zones(meeting.zones), rid)
            return event.start, event.end, event.sequence
        except ValueError:
            pass  # the series was changed since: the answer is kept for people to see, its time is what it was for
    return derive.moment_of(rid), None, meeting.sequence


def attendee(row: Attendee) -> dict[str, Any]:
    """One attendee as they stand."""

    def one(name: str, default: str) -> str:
        return (row.params.get(name) or (default,))[0].upper()

    name = (row.params.get("CN") or ("",))[0]
    return {
        "address": row.address,
        "name": name or None,
        "role": one("ROLE", "REQ-PARTICIPANT"),
        "cutype": one("CUTYPE", "INDIVIDUAL"),
        "rsvp": row.rsvp,
        "partstat": row.partstat or NEEDS_ACTION,
        "delegated_to": list(row.delegated_to),
        "delegated_from": list(row.delegated_from),
        "sent_by": row.sent_by,
        "invited": row.invited,
        "sequence": row.revision.sequence if row.revision else None,
        "dtstamp": row.revision.dtstamp.isoformat() if row.revision else None,
        "replied_at": row.replied_at.isoformat() if row.replied_at else None,
        "comment": row.comment,
        "schedule_status": row.schedule_status,
        **({"guests": row.guests} if row.guests else {}),
        **({"percent_complete": row.percent_complete} if row.percent_complete is not None else {}),
        **({"completed": row.completed.isoformat()} if row.completed is not None else {}),
    }


def proposal(item: Proposal) -> dict[str, Any]:
    """One counter proposal; `added` only where it would invite somebody."""
    return {
        "id": item.id,
        "attendee": item.attendee,
        "recurrence_id": item.rid or None,
        "start": _iso(item.proposed.start),
        "end": _iso(item.proposed.end),
        "location": item.proposed.location,
        "comment": item.comment,
        "state": item.state,
        **({"added": [line.address for line in item.added]} if item.added else {}),
    }


def _iso(moment: Moment | None) -> str | None:
    return moment.iso if moment is not None else None
