"""The organizer's answer to a COUNTER: the meeting takes the proposal, or it is declined (RFC 5546 §3.2.7-8). Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from itipd.itip import derive, lookup
from itipd.itip.cancelling import instance_at, not_found
from itipd.itip.compare import changes, difference
from itipd.itip.guests import asked, at_instance, elsewhere, reachable, unscheduled
from itipd.itip.model import (
    Attendee,
    Change,
    Decision,
    DropAttendee,
    Event,
    Meeting,
    Proposal,
    PutAttendee,
    PutEvent,
    PutMeeting,
    PutProposal,
    Send,
    Write,
)
from itipd.itip.outcomes import Outcome, Reason


def accept(meeting: Meeting, proposal: Proposal, now: datetime, *, automatic: bool = False) -> Decision:
    """The meeting takes the proposal: SEQUENCE+1, PARTSTATs back but the proposer's, REQUEST to all (RFC 5546 §3.2.7).

    A COUNTER that only adds attendees is a proposal to invite them. On an instance without an override, accepting
    creates it.
    """
    rid = proposal.rid
    if proposal.state != "open":
        return not_found(meeting.uid, f"proposal {proposal.id} is {proposal.state}, not open")
    if rid not in meeting.events and instance_at(meeting, rid) is None:
        return not_found(meeting.uid, f"no instance at {rid or 'the series'}")
    zones = lookup.zones(meeting.zones)
    old, new = _with(meeting, proposal)
    if lookup.CANCELLED in (meeting.status, old.status):
        return Decision(Outcome.NO_ACTION, Reason.CANCELLED, uid=meeting.uid, rid=rid, sequence=meeting.sequence)
    diff = difference(old, new, zones, zones)
    number = max(meeting.sequence, old.sequence) + (1 if diff.visible else 0)
    writes: list[Write] = [] if rid else [PutMeeting(replace(meeting, sequence=number))]
    writes += [
        PutProposal(replace(proposal, state="accepted")),
        PutEvent(replace(new, sequence=number, sequence_given=True)),
    ]
    told = list(changes(old, new))
    rows = _rows_at(meeting, rid)
    stood = {row.address: row.partstat for row in lookup.guests_at(meeting, rid)}
    for row in rows:
        after = row
        if diff.resets and row.address != meeting.organizer:
            after = replace(asked(row, now, number), future=old.future)
        if row.address == proposal.attendee and diff.visible:
            after = replace(after, partstat="ACCEPTED", rsvp=False)
        if after.partstat not in (None, stood.get(row.address)):
            told.append(Change(row.address, rid, "partstat", stood.get(row.address), after.partstat))
        if after != meeting.attendees.get((rid, row.address)):
            writes.append(PutAttendee(after))
    if diff.resets and not rid:
        instances = [row for row in meeting.attendees.values() if row.rid]
        writes += [DropAttendee(row.rid, row.address) for row in instances if row.rid not in meeting.events]
        said = (row for row in instances if row.rid in meeting.events and not meeting.events[row.rid].future)
        writes += [PutAttendee(replace(row, future=False)) for row in said if row.future]
    extra = _invited(meeting, proposal, now, number)
    writes += [PutAttendee(row) for row in extra]
    told += [Change(row.address, rid, "attendee", None, row.address) for row in extra]
    to = reachable(meeting, [*rows, *extra] if diff.visible else extra)
    return Decision(
        Outcome.UPDATED,
        Reason.PROPOSAL_ACCEPTED,
        uid=meeting.uid,
        rid=rid,
        attendee=proposal.attendee,
        sequence=number,
        changes=tuple(told),
        writes=tuple(writes),
        sends=(Send("REQUEST", to, rid, number, Reason.PROPOSAL_ACCEPTED.value, automatic=automatic),) if to else (),
    )


def _rows_at(meeting: Meeting, rid: str) -> list[Attendee]:
    """The guest list of R, current guests only; of an instance without an override as it gets one."""
    rows = {row.address: row for row in meeting.attendees.values() if row.rid == rid}
    if rid and rid not in meeting.events:
        rows = at_instance({row.address: row for row in meeting.attendees.values() if row.rid == ""}, rows, rid)
    return sorted((row for row in rows.values() if not row.removed), key=lookup.place)


def _invited(meeting: Meeting, proposal: Proposal, now: datetime, sequence: int) -> list[Attendee]:
    """Those whom the proposal adds and who are no guests yet."""
    position = max((row.position for row in meeting.attendees.values()), default=0)
    return [
        Attendee(
            line.address,
            proposal.rid,
            position=position + index,
            params={name: value for name, value in line.params.items() if name in ("CN", "CUTYPE", "ROLE")},
            rsvp=True,
            reset_sequence=sequence,
            reset_at=now,
            listed=False,
        )
        for index, line in enumerate(proposal.added, 1)
        if lookup.guest_at(meeting, line.address, proposal.rid) is None
    ]


def settled(meeting: Meeting, after: Meeting) -> list[PutProposal]:
    """What the organizer's own change means for what is open: accepted where it does just that (RFC 5546 §4.2.4).

    Nobody can accept any more what is about an instance that is none now. PARTSTATs follow the change, not the wish.
    """
    found = []
    for one in (proposal for proposal in after.proposals.values() if proposal.state == "open"):
        if one.rid in after.events:
            if _is_done(after, one):
                found.append(PutProposal(replace(one, state="accepted")))
        elif instance_at(meeting, one.rid) is not None and instance_at(after, one.rid) is None:
            found.append(PutProposal(replace(one, state="retired")))
    return found


def _is_done(meeting: Meeting, proposal: Proposal) -> bool:
    """To accept it would change nothing."""
    wanted = proposal.proposed
    if not (wanted.start or wanted.end or wanted.location or proposal.added):
        return False  # words alone are for a person
    old, new = _with(meeting, proposal)
    zones = lookup.zones(meeting.zones)
    here = {row.address for row in lookup.guests_at(meeting, proposal.rid)}
    return not difference(old, new, zones, zones).visible and here.issuperset(line.address for line in proposal.added)


def _with(meeting: Meeting, proposal: Proposal) -> tuple[Event, Event]:
    """R as it is, and as the proposal would have it."""
    zones, rid = lookup.zones(meeting.zones), proposal.rid
    old = meeting.events[rid] if rid in meeting.events else derive.at(meeting, zones, rid)
    new = derive.moved(old, zones, proposal.proposed.start, proposal.proposed.end)
    return old, derive.with_location(new, proposal.proposed.location) if proposal.proposed.location else new


def decline(meeting: Meeting, proposal: Proposal, comment: str | None = None) -> Decision:
    """DECLINECOUNTER to the proposer with the SEQUENCE of the meeting; nothing else changes (RFC 5546 §3.2.8)."""
    if proposal.state != "open":
        return not_found(meeting.uid, f"proposal {proposal.id} is {proposal.state}, not open")
    event = meeting.events.get(proposal.rid)
    number = event.sequence if event is not None and event.rid else meeting.sequence
    row = lookup.guest_at(meeting, proposal.attendee, proposal.rid)
    silent = elsewhere(meeting) or (row is not None and unscheduled(row))
    send = Send(
        "DECLINECOUNTER",
        (proposal.attendee,),
        proposal.rid,
        number,
        Reason.PROPOSAL_DECLINED.value,
        automatic=False,
        comment=comment,
    )
    return Decision(
        Outcome.UPDATED,
        Reason.PROPOSAL_DECLINED,
        uid=meeting.uid,
        rid=proposal.rid,
        attendee=proposal.attendee,
        sequence=number,
        writes=(PutProposal(replace(proposal, state="declined")),),
        sends=() if silent else (send,),
    )
