"""The organizer's own changes -> Decision (RFC 5546 §3.2.2, §3.2.4-5, §3.2.7-8; rules.md §9).

Register or change a meeting, cancel it or instances of it, accept or decline a proposal, ask again. Pure; `meeting` is
always whole here, never the part of it that a reply needs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime

from itipd.itip import derive, lookup, who
from itipd.itip.addresses import served
from itipd.itip.compare import changes, difference
from itipd.itip.guests import guest_list, mailable, unscheduled_event
from itipd.itip.model import (
    NEEDS_ACTION,
    Attendee,
    Change,
    Decision,
    DropAttendee,
    DropEvent,
    Event,
    Incoming,
    Meeting,
    Policy,
    Proposal,
    PutAttendee,
    PutEvent,
    PutMeeting,
    PutProposal,
    Send,
    Write,
)
from itipd.itip.outcomes import Outcome, Reason
from itipd.itip.read import Zones
from itipd.itip.revise import change, over, reset_all


def owner(incoming: Incoming, policy: Policy) -> str | None:
    """The canonical address of the organizer who owns what is put; None where there is none."""
    return who.alias_of(incoming.organizer.address, policy) if incoming.organizer is not None else None


def put(
    meeting: Meeting | None,
    incoming: Incoming,
    policy: Policy,
    now: datetime,
    *,
    notify: str = "changed",
    recorded: bool = False,
    replaces: bool = True,
) -> Decision:
    """Register a meeting, or lay the organizer's new version over the stored one.

    `notify`: changed, all, none. `recorded`: the application has sent this itself; SEQUENCE is the file's and nothing
    is sent. `replaces`: who is not listed any more is removed.
    """
    if incoming.fault is not None:
        return refused(incoming, incoming.fault.reason, incoming.fault.detail)
    organizer = owner(incoming, policy)
    if organizer is None:
        return refused(incoming, Reason.NO_ORGANIZER, "no ORGANIZER")
    if not served(organizer, policy.organizers):
        return refused(incoming, Reason.FOREIGN_ORGANIZER, f"{organizer} is in none of {', '.join(policy.organizers)}")
    master = next((event for event in incoming.events if event.rid == ""), None)
    ends = master is not None and master.status == lookup.CANCELLED
    if meeting is None or (meeting.status == lookup.CANCELLED and not ends):
        return register(meeting, organizer, incoming, now, notify="none" if recorded else notify, recorded=recorded)
    if recorded and (older := _older(meeting, incoming)):
        return replace(refused(incoming, Reason.OLD_REVISION, older), outcome=Outcome.NO_ACTION)
    if ends and meeting.status != lookup.CANCELLED:
        return cancel(meeting, now, notify="none" if recorded else notify, sequence=master.sequence if master else 0)
    return change(meeting, incoming, policy, now, notify=notify, recorded=recorded, replaces=replaces)


def refused(incoming: Incoming, reason: Reason, detail: str) -> Decision:
    """What cannot be registered, by name."""
    return Decision(Outcome.ERROR, reason, uid=incoming.uid or None, quirks=incoming.quirks, detail=detail)


def _older(meeting: Meeting, incoming: Incoming) -> str:
    """Why a recorded file is older than what is stored (RFC 5546 §2.1.5); "" where it is not."""
    for event in incoming.events:
        known = meeting.events.get(event.rid)
        if known is None:
            continue
        if event.sequence_given and event.sequence < known.sequence:
            return f"SEQUENCE {event.sequence} < stored {known.sequence}"
        tied = event.sequence == known.sequence and event.dtstamp is not None and known.dtstamp is not None
        if tied and event.dtstamp < known.dtstamp:  # type: ignore[operator] # both are known here
            return f"DTSTAMP {event.dtstamp} < stored {known.dtstamp}"
    return ""


def register(
    before: Meeting | None, organizer: str, incoming: Incoming, now: datetime, *, notify: str, recorded: bool
) -> Decision:
    """A new meeting; its SEQUENCE is everybody's reset sequence. A UID used again starts above its last one."""
    events = {event.rid: event for event in incoming.events}
    lead = events.get("") or incoming.events[0]
    least = 0 if before is None else before.sequence if recorded else before.sequence + 1
    sequence = max(lead.sequence, least)
    meeting = Meeting(
        organizer=organizer,
        uid=before.uid if before is not None else incoming.uid,
        id=before.id if before is not None else 0,
        component=incoming.component,
        sequence=sequence,
        status=lead.status if "" in events else "CONFIRMED",
        name=(incoming.organizer.one("CN") if incoming.organizer else None) or "",
        zones=incoming.zones,
    )
    writes: list[Write] = [PutMeeting(meeting)]
    told: list[Change] = []
    if before is not None:
        writes += _cleared(before)
    base: dict[str, Attendee] = {}
    for event in incoming.events:
        known = replace(event, sequence=max(event.sequence, sequence if event.rid == "" else least))
        writes.append(PutEvent(known))
        listed = [row for row in incoming.attendees if row.rid == event.rid]
        inherits = event.rid != "" and "" in events and not _moved(events[""], event, lookup.zones(incoming.zones))
        if not listed and event.rid:
            listed = [replace(row, rid=event.rid) for row in base.values()]
        guests = guest_list({}, listed, organizer=organizer, now=now, sequence=known.sequence, reset=False)
        for row in (one.attendee for one in guests.writes if isinstance(one, PutAttendee)):
            series = base.get(row.address)
            if inherits and series is not None and row.partstat in (NEEDS_ACTION, series.partstat):
                row = replace(row, partstat=None)  # shows the series' answer
            writes.append(PutAttendee(row))
            if event.rid == "":
                base[row.address] = row
        told += guests.changes
    decision = Decision(
        Outcome.ADDED,
        Reason.REGISTERED,
        uid=meeting.uid,
        rid="" if "" in events or len(events) > 1 else lead.rid,
        sequence=sequence,
        quirks=incoming.quirks,
        changes=tuple(told),
        writes=tuple(writes),
        detail=f"SEQUENCE {sequence}",
    )
    silent = notify == "none" or over(incoming.events, lookup.zones(incoming.zones), now) or unscheduled_event(lead)
    return decision if silent else replace(decision, sends=_invitations(decision, organizer))


def _moved(master: Event, event: Event, zones: Zones) -> bool:
    """The override is at another time than the series has it."""
    return difference(derive.instance(master, zones, event.rid), event, zones, zones).time


def _cleared(before: Meeting) -> list[Write]:
    """Nothing of a cancelled meeting stays but who was a guest."""
    writes: list[Write] = [DropEvent(rid) for rid in before.events]
    writes += [DropAttendee(row.rid, row.address) for row in before.attendees.values() if row.rid]
    writes += [PutAttendee(replace(row, removed=True)) for row in before.attendees.values() if not row.rid]
    return writes


def _invitations(decision: Decision, organizer: str) -> tuple[Send, ...]:
    """REQUEST to the guests of the series, and to those who are invited to some instances only (RFC 5546 §3.2.2)."""
    rows = [one.attendee for one in decision.writes if isinstance(one, PutAttendee) and not one.attendee.removed]
    events = [one.event for one in decision.writes if isinstance(one, PutEvent)]
    sends: list[Send] = []
    told: set[str] = set()
    for event in events:
        if event.status == lookup.CANCELLED:
            continue
        to = tuple(name for name in mailable([r for r in rows if r.rid == event.rid], organizer) if name not in told)
        if event.rid == "":
            told.update(to)
        if to:
            sends.append(Send("REQUEST", to, event.rid, event.sequence, decision.reason.value, automatic=False))
    return tuple(sends)


def cancel(
    meeting: Meeting, now: datetime, *, rids: Sequence[str] = (), notify: str = "changed", sequence: int = 0
) -> Decision:
    """Cancel the meeting, or instances of it, several at once (RFC 5546 §3.2.5): SEQUENCE+1, and CANCEL to all.

    `sequence`: that of an application's own CANCEL, where it is higher.
    """
    if meeting.status == lookup.CANCELLED:
        return Decision(Outcome.NO_ACTION, Reason.CANCELLED, uid=meeting.uid, rid="", sequence=meeting.sequence)
    if rids:
        return _cancel_instances(meeting, now, rids, notify, sequence)
    zones = lookup.zones(meeting.zones)
    number = max(sequence, meeting.sequence + 1)
    ended = replace(meeting, status=lookup.CANCELLED, sequence=number)
    writes: list[Write] = [PutMeeting(ended)]
    sends: list[Send] = []
    told: set[str] = set()
    for event in sorted(meeting.events.values(), key=lambda event: event.rid):
        number_here = number if event.rid == "" else max(number, event.sequence + 1)
        writes.append(PutEvent(replace(derive.with_status(event, lookup.CANCELLED), sequence=number_here)))
        rows = [row for row in meeting.attendees.values() if row.rid == event.rid]
        to = tuple(name for name in mailable(rows, meeting.organizer, everybody=True) if name not in told)
        if to and event.status != lookup.CANCELLED:
            sends.append(Send("CANCEL", to, event.rid, number_here, Reason.CANCELLED.value, automatic=False))
        if event.rid == "":
            told.update(to)
    if notify == "none" or over(meeting.events.values(), zones, now):
        sends = []
    return Decision(
        Outcome.CANCELLED,
        Reason.CANCELLED,
        uid=meeting.uid,
        rid="",
        sequence=number,
        changes=(Change(None, "", "status", meeting.status, lookup.CANCELLED),),
        writes=tuple(writes),
        sends=tuple(sends),
        detail=f"SEQUENCE {meeting.sequence} -> {number}",
    )


def _cancel_instances(meeting: Meeting, now: datetime, rids: Sequence[str], notify: str, least: int) -> Decision:
    """One instance = RECURRENCE-ID, SEQUENCE+1; the series stays."""
    zones = lookup.zones(meeting.zones)
    writes: list[Write] = []
    told: list[Change] = []
    sends: list[Send] = []
    number = 0
    for text in rids:
        asked = derive.moment_of(text)
        rid = lookup.locate(meeting, asked) if asked is not None else None
        if not rid:
            return not_found(meeting.uid, f"no instance at {text}; expected a form like 20261208T090000Z or 20261208")
        known = meeting.events.get(rid)
        if known is not None and known.status == lookup.CANCELLED:
            continue
        event = known if known is not None else derive.instance(meeting.events[""], zones, rid)
        number = max(least, meeting.sequence + 1, event.sequence + 1)
        ended = replace(derive.with_status(event, lookup.CANCELLED), sequence=number)
        writes.append(PutEvent(ended))
        told.append(Change(None, rid, "status", event.status, lookup.CANCELLED))
        to = mailable(guests_at(meeting, rid), meeting.organizer, everybody=True)
        if to and notify != "none" and not over([event], zones, now):
            sends.append(Send("CANCEL", to, rid, number, Reason.CANCELLED.value, automatic=False))
    if not writes:
        return Decision(Outcome.NO_ACTION, Reason.CANCELLED, uid=meeting.uid, rid=rids[0], sequence=meeting.sequence)
    return Decision(
        Outcome.CANCELLED,
        Reason.CANCELLED,
        uid=meeting.uid,
        rid=told[0].rid if len(told) == 1 else "",
        sequence=number,
        changes=tuple(told),
        writes=tuple(writes),
        sends=tuple(sends),
        detail=f"{len(told)} instances cancelled, the series stays",
    )


def guests_at(meeting: Meeting, rid: str) -> list[Attendee]:
    """Everybody who is a guest at R, as they stand there."""
    override = meeting.events.get(rid)
    found = (lookup.standing(rows, rid, override) for rows in lookup.rows_by_address(meeting).values())
    return [row for row in found if row is not None and not row.removed]


def not_found(uid: str | None, detail: str) -> Decision:
    """The organizer named something that is not there."""
    return Decision(Outcome.ERROR, Reason.NOT_FOUND, uid=uid, detail=detail)


def remind(meeting: Meeting, now: datetime) -> Decision:
    """REQUEST again to those who have not answered: SEQUENCE stays, RSVP=TRUE (RFC 5546 §3.2.2.7)."""
    rows = [row for row in meeting.attendees.values() if row.rid == "" and row.partstat == NEEDS_ACTION]
    rows = [replace(row, rsvp=True) for row in rows if not row.removed]
    to = mailable(rows, meeting.organizer)
    zones = lookup.zones(meeting.zones)
    gone = meeting.status == lookup.CANCELLED or over(meeting.events.values(), zones, now)
    if gone or not to:
        why = "cancelled or over" if gone else "everybody has answered"
        return Decision(Outcome.NO_ACTION, Reason.REMINDED, uid=meeting.uid, rid="", detail=why)
    return Decision(
        Outcome.UPDATED,
        Reason.REMINDED,
        uid=meeting.uid,
        rid="",
        sequence=meeting.sequence,
        writes=tuple(PutAttendee(row) for row in rows if row.address in to),
        sends=(Send("REQUEST", to, "", meeting.sequence, Reason.REMINDED.value, automatic=False),),
    )


def accept(meeting: Meeting, proposal: Proposal, now: datetime, *, automatic: bool = False) -> Decision:
    """The meeting takes the proposal: SEQUENCE+1, PARTSTATs back but the proposer's, REQUEST to all (RFC 5546 §3.2.7).

    A COUNTER that only adds attendees is a proposal to invite them. On an instance without an override, accepting
    creates it.
    """
    if proposal.state != "open":
        return not_found(meeting.uid, f"proposal {proposal.id} is {proposal.state}, not open")
    zones = lookup.zones(meeting.zones)
    rid = proposal.rid
    old = meeting.events.get(rid)
    if old is None and "" not in meeting.events:
        return not_found(meeting.uid, f"no instance at {rid}")
    if old is None:
        old = derive.instance(meeting.events[""], zones, rid)
    new = derive.moved(old, zones, proposal.proposed.start, proposal.proposed.end)
    if proposal.proposed.location:
        new = derive.with_location(new, proposal.proposed.location)
    diff = difference(old, new, zones, zones)
    number = max(meeting.sequence if rid else 0, old.sequence) + (1 if diff.visible else 0)
    new = replace(new, sequence=number, sequence_given=True)
    writes: list[Write] = [PutProposal(replace(proposal, state="accepted")), PutEvent(new)]
    if not rid:
        writes.insert(0, PutMeeting(replace(meeting, sequence=number)))
    rows = guests_at(meeting, rid)
    told = list(changes(old, new))
    if diff.resets:
        keep = {proposal.attendee: "ACCEPTED", **_own(rows, meeting.organizer)}
        if not rid:
            instances = [row for row in meeting.attendees.values() if row.rid and row.rid not in meeting.events]
            writes += [DropAttendee(row.rid, row.address) for row in instances]
        for before, row in zip(rows, reset_all(rows, keep, now, number), strict=True):
            writes.append(PutAttendee(replace(row, rid=rid)))
            if before.partstat != row.partstat:
                told.append(Change(row.address, rid, "partstat", before.partstat, row.partstat))
    elif rid:
        writes += [PutAttendee(replace(row, rid=rid)) for row in rows if (rid, row.address) not in meeting.attendees]
    position = max((row.position for row in meeting.attendees.values()), default=0)
    extra = [
        Attendee(
            line.address,
            rid,
            position=position + index,
            params={name: value for name, value in line.params.items() if name in ("CN", "CUTYPE", "ROLE")},
            rsvp=True,
            reset_sequence=number,
            reset_at=now,
            listed=False,
        )
        for index, line in enumerate(proposal.added, 1)
    ]
    writes += [PutAttendee(row) for row in extra]
    told += [Change(row.address, rid, "attendee", None, row.address) for row in extra]
    to = mailable([*rows, *extra] if diff.visible else extra, meeting.organizer)
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


def _own(rows: Sequence[Attendee], organizer: str) -> dict[str, str]:
    """The organizer's own PARTSTAT, which no change of theirs resets."""
    return {row.address: row.partstat or NEEDS_ACTION for row in rows if row.address == organizer}


def decline(meeting: Meeting, proposal: Proposal, comment: str | None = None) -> Decision:
    """DECLINECOUNTER to the proposer with the SEQUENCE of the meeting; nothing else changes (RFC 5546 §3.2.8)."""
    if proposal.state != "open":
        return not_found(meeting.uid, f"proposal {proposal.id} is {proposal.state}, not open")
    event = meeting.events.get(proposal.rid)
    number = event.sequence if event is not None and event.rid else meeting.sequence
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
        sends=(send,),
    )


def uninvite(
    meeting: Meeting, rid: str, addresses: Collection[str], now: datetime, *, sequence: int, notify: str
) -> Decision:
    """Take guests off R: CANCEL to them alone, without STATUS; nobody's answer is reset (RFC 5546 §3.2.5)."""
    event = meeting.events.get(rid)
    ours = event.sequence if event is not None and rid else meeting.sequence
    number = max(sequence, ours + 1)
    leaving = [row for row in guests_at(meeting, rid) if row.address in addresses]
    if not leaving:
        return Decision(Outcome.NO_ACTION, Reason.UNCHANGED, uid=meeting.uid, rid=rid, sequence=ours)
    writes: list[Write] = [] if rid else [PutMeeting(replace(meeting, sequence=number))]
    if event is not None:
        writes.append(PutEvent(replace(event, sequence=number)))
    writes += [PutAttendee(replace(row, removed=True)) for row in leaving]
    to = mailable(leaving, meeting.organizer, everybody=True) if notify != "none" else ()
    reason = Reason.MINOR_CHANGE
    return Decision(
        Outcome.UPDATED,
        reason,
        uid=meeting.uid,
        rid=rid,
        sequence=number,
        changes=tuple(Change(row.address, rid, "attendee", row.address, None) for row in leaving),
        writes=tuple(writes),
        sends=(Send("CANCEL", to, rid, number, reason.value, uninvite=True, automatic=False),) if to else (),
    )
