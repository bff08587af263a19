"""The columns of the values of `itip.model`: from a row and to a row.

By position: `*_columns` name a dataclass's columns in the order in which `*_of` takes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from itipd.itip.model import Attendee, CalAddress, Event, Meeting, Moment, Params, Proposal, Proposed, Revision
from itipd.itip.uids import uid_key
from itipd.store.schema import attendees, events, meetings, proposals
from itipd.store.types import key_text
from itipd.store.values import MeetingKey

MEETING_KEY = ("organizer", "uid_key")
meeting_columns = tuple(
    meetings.c[name]
    for name in (
        *("organizer", "uid_key", "uid", "id", "component", "sequence", "status", "name", "zones", "policy"),
        *("deadline_at", "publish_at", "begins_at", "ends_at"),
    )
)
EVENT_KEY = ("organizer", "meeting_id", "rid")
event_columns = tuple(column for column in events.c if column.name != "organizer")
ATTENDEE_KEY = ("organizer", "meeting_id", "address", "rid")
attendee_columns = tuple(column for column in attendees.c if column.name != "organizer")
GUEST_COLUMNS = ("position", "params", "listed", "invited", "removed", "reset_sequence", "reset_at")
"""What only the organizer's own changes write."""
ANSWER_COLUMNS = tuple(name for name in attendees.c.keys() if name not in ATTENDEE_KEY + GUEST_COLUMNS)  # noqa: SIM118
proposal_columns = tuple(column for column in proposals.c if column.name != "organizer")


@lru_cache(maxsize=4096)  # a reply asks five times
def key_of(organizer: str, uid: str) -> MeetingKey:
    """The key under which the batch and the tables know a meeting."""
    return key_text(organizer), uid_key(uid)


def meeting_of(
    row: Any,
    events: Mapping[str, Event] | None = None,
    attendees: Mapping[tuple[str, str], Attendee] | None = None,
    proposals: Mapping[int, Proposal] | None = None,
) -> Meeting:
    """A Meeting with those parts of it."""
    organizer, _, uid, id_, component, sequence, status, name, zones, policy, deadline, publish, begins, ends = row
    return Meeting(
        organizer,
        uid,
        id_,
        component,
        sequence,
        status,
        name,
        zones,
        events or {},
        attendees or {},
        proposals or {},
        policy or {},
        deadline,
        publish,
        begins,
        ends,
    )


def meeting_values(meeting: Meeting) -> dict[str, Any]:
    """The columns of the meeting's own row."""
    return {
        "id": meeting.id,
        "organizer": meeting.organizer,
        "uid_key": uid_key(meeting.uid),
        "uid": meeting.uid,
        "component": meeting.component,
        "sequence": meeting.sequence,
        "status": meeting.status,
        "name": meeting.name,
        "zones": meeting.zones,
        "policy": dict(meeting.policy),
        "deadline_at": meeting.deadline_at,
        "publish_at": meeting.publish_at,
        "begins_at": meeting.begins_at,
        "ends_at": meeting.ends_at,
    }


def event_of(row: Any) -> Event:
    """An Event; the first column, the meeting's id, is the caller's."""
    _, rid, component, lines, sequence, given, dtstamp, status, summary, location, start, end, tzid, *lists, future = (
        row
    )
    rrules, rdates, exdates = lists
    return Event(
        rid,
        component,
        lines,
        sequence,
        given,
        dtstamp,
        status,
        summary,
        location,
        _moment(start),
        _moment(end),
        tzid,
        tuple(rrules) if rrules else (),
        tuple(map(Moment.decode, rdates)) if rdates else (),
        tuple(map(Moment.decode, exdates)) if exdates else (),
        future,
    )


def event_values(meeting: Meeting, event: Event) -> dict[str, Any]:
    """The columns of one event."""
    return {
        "organizer": meeting.organizer,
        "meeting_id": meeting.id,
        "rid": event.rid,
        "component": event.component,
        "lines": event.lines,
        "sequence": event.sequence,
        "sequence_given": event.sequence_given,
        "dtstamp": event.dtstamp,
        "status": event.status,
        "summary": event.summary,
        "location": event.location,
        "starts": event.start.encode() if event.start else None,
        "ends": event.end.encode() if event.end else None,
        "tzid": event.tzid,
        "rrules": list(event.rrules),
        "rdates": [moment.encode() for moment in event.rdates],
        "exdates": [moment.encode() for moment in event.exdates],
        "future": event.future,
    }


def attendee_of(row: Any) -> Attendee:
    """An Attendee; the first column, the meeting's id, is the caller's."""
    (_, address, rid, position, params, listed, invited, removed, partstat, rsvp, sequence, dtstamp, *rest) = row
    (reply_time, replied_at, reset_sequence, reset_at, future, comment, to, from_, *last) = rest
    return Attendee(
        address,
        rid,
        position,
        params_of(params),
        listed,
        invited,
        removed,
        partstat,
        rsvp,
        Revision(sequence, dtstamp) if sequence is not None and dtstamp is not None else None,
        reply_time,
        replied_at,
        reset_sequence,
        reset_at,
        future,
        comment,
        tuple(to) if to else (),
        tuple(from_) if from_ else (),
        *last,
    )


def same_guest(one: Attendee, two: Attendee) -> bool:
    """Do they differ in the answer at most?"""
    return (
        one.position == two.position
        and one.listed == two.listed
        and one.invited == two.invited
        and one.removed == two.removed
        and one.reset_sequence == two.reset_sequence
        and one.reset_at == two.reset_at
        and one.params == two.params
    )


def attendee_values(meeting: Meeting, row: Attendee) -> dict[str, Any]:
    """The columns of one attendee."""
    return {
        **answer_values(meeting, row),
        "position": row.position,
        "params": row.params,
        "listed": row.listed,
        "invited": row.invited,
        "removed": row.removed,
        "reset_sequence": row.reset_sequence,
        "reset_at": row.reset_at,
    }


def answer_values(meeting: Meeting, row: Attendee) -> dict[str, Any]:
    """The key and the `ANSWER_COLUMNS` of one attendee."""
    revision = row.revision
    return {
        "organizer": meeting.organizer,
        "meeting_id": meeting.id,
        "address": row.address,
        "rid": row.rid,
        "partstat": row.partstat,
        "rsvp": row.rsvp,
        "sequence": revision.sequence if revision else None,
        "dtstamp": revision.dtstamp if revision else None,
        "reply_time": row.reply_time,
        "replied_at": row.replied_at,
        "future": row.future,
        "comment": row.comment,
        "delegated_to": row.delegated_to,
        "delegated_from": row.delegated_from,
        "sent_by": row.sent_by,
        "guests": row.guests,
        "schedule_status": row.schedule_status,
        "percent_complete": row.percent_complete,
        "completed": row.completed,
        "answered_at": row.answered_at,
    }


def proposal_of(row: Any) -> Proposal:
    """A Proposal; the second column, the meeting's id, is the caller's."""
    id_, _, attendee, rid, proposed, added, comment, sequence, state = row
    guests = tuple(CalAddress(address, params_of(params)) for address, params in added or ())
    return Proposal(id_, attendee, rid, _proposed(proposed or {}), guests, comment, sequence, state)


def proposal_values(meeting: Meeting, proposal: Proposal) -> dict[str, Any]:
    """The columns of one proposal."""
    said = proposal.proposed
    return {
        "id": proposal.id,
        "organizer": meeting.organizer,
        "meeting_id": meeting.id,
        "attendee": proposal.attendee,
        "rid": proposal.rid,
        "proposed": {
            **{name: moment.encode() for name in _MOMENTS if (moment := getattr(said, name)) is not None},
            **{name: text for name in _TEXTS if (text := getattr(said, name)) is not None},
        },
        "added": [[guest.address, params_json(guest.params)] for guest in proposal.added],
        "comment": proposal.comment,
        "sequence": proposal.sequence,
        "state": proposal.state,
    }


_MOMENTS = ("start", "end", "original_start", "original_end")
_TEXTS = ("location", "summary", "tzid")


def _proposed(said: dict[str, str]) -> Proposed:
    moments = {name: _moment(said.get(name)) for name in _MOMENTS}
    return Proposed(**moments, **{name: said.get(name) for name in _TEXTS})  # type: ignore[arg-type] # by name


@lru_cache(maxsize=4096)  # the same meeting is answered again and again
def _moment(text: str | None) -> Moment | None:
    return Moment.decode(text) if text else None


def params_of(stored: dict[str, list[str]] | None) -> Params:
    """Parameters from their JSON."""
    return {name: tuple(values) for name, values in stored.items()} if stored else {}


def params_json(params: Mapping[str, tuple[str, ...]]) -> dict[str, list[str]]:
    """Parameters as JSON has them."""
    return {name: list(values) for name, values in params.items()}
