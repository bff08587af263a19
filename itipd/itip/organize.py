"""The organizer's own changes -> Decision (RFC 5546 §3.2.2, §3.2.4-5, §3.2.7-8; rules.md §9).

Register or change a meeting, cancel it or instances of it, accept or decline a proposal, ask again. Pure; `meeting` is
always whole here, never the part of it that a reply needs. Where which rule is:

    SEQUENCE rises, or not (§2.1.4)                  compare.Difference, plan.rises, plan.next_sequence
    whose answer falls back to NEEDS-ACTION          compare.Difference.resets, guests.guest_list, guests.asked
    a new version of the series, who is told         revise._series, guests.mailable
    a new version of one instance, who is told       override.override
    overrides and instances that are dropped         revise._settle_instances, revise._cancel_taken_out
    CANCEL (§3.2.5)                                  cancelling
    what is refused, by name                         put, incoming
    asking again (§3.2.2.7)                          remind
    a COUNTER accepted or declined (§3.2.7-8)        proposals
    the application's REQUEST, ADD, CANCEL           submitted
    what a meeting does by itself                    thresholds
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from itipd.itip import derive, lookup, who
from itipd.itip.addresses import canonical, served
from itipd.itip.cancelling import cancel, cancel_from, highest, instance_at, not_found, retired, uninvite
from itipd.itip.case import for_meeting
from itipd.itip.compare import difference
from itipd.itip.guests import guest_list, mailable, reachable, unscheduled_event
from itipd.itip.incoming import named_alike
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
    PutAttendee,
    PutEvent,
    PutMeeting,
    Send,
    Write,
)
from itipd.itip.outcomes import Outcome, Reason
from itipd.itip.plan import over
from itipd.itip.proposals import accept, decline
from itipd.itip.read import Zones
from itipd.itip.revise import change

__all__ = [
    "accept",
    "cancel",
    "cancel_from",
    "decline",
    "instance_at",
    "not_found",
    "owner",
    "put",
    "refused",
    "register",
    "remind",
    "uninvite",
]


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
    if meeting is not None and master is None and "" in meeting.events:
        incoming = named_alike(incoming, meeting.events[""], lookup.zones(meeting.zones))
    if not recorded and any(event.start is None and event.component == "VEVENT" for event in incoming.events):
        return refused(incoming, Reason.MALFORMED, "VEVENT without DTSTART: no REQUEST can be made of it")  # §3.2.2
    if meeting is not None and recorded and (older := _older(meeting, incoming)):
        return replace(refused(incoming, Reason.OLD_REVISION, older), outcome=Outcome.NO_ACTION)
    if meeting is not None and meeting.status != lookup.CANCELLED and meeting.component != incoming.component:
        detail = f"{incoming.component} under the UID of a {meeting.component}"
        return refused(incoming, Reason.MIXED_COMPONENTS, detail)
    # The series speaks for the meeting; of instances put alone every one must be cancelled.
    ends = all(event.status == lookup.CANCELLED for event in ((master,) if master is not None else incoming.events))
    if meeting is None or (meeting.status == lookup.CANCELLED and not ends):
        return register(meeting, organizer, incoming, now, notify="none" if recorded else notify, recorded=recorded)
    if meeting.status == lookup.CANCELLED or (ends and master is not None):
        least = master.sequence if master is not None else 0
        return cancel(meeting, now, notify=notify, sequence=least, recorded=recorded)
    policy = for_meeting(policy, meeting)
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
        # The UID of a cancelled meeting may be used again, from 0 on: there only the time tells.
        used_up = meeting.status == lookup.CANCELLED
        if event.sequence_given and event.sequence < known.sequence and not used_up:
            return f"SEQUENCE {event.sequence} < stored {known.sequence}"
        tied = event.sequence == known.sequence or used_up
        if tied and event.dtstamp is not None and known.dtstamp is not None and event.dtstamp < known.dtstamp:
            return f"DTSTAMP {event.dtstamp} < stored {known.dtstamp}"
    return ""


def register(
    before: Meeting | None, organizer: str, incoming: Incoming, now: datetime, *, notify: str, recorded: bool
) -> Decision:
    """A new meeting; its SEQUENCE is everybody's reset sequence. A UID used again starts above its last one."""
    events = {event.rid: event for event in incoming.events}
    lead = events.get("") or incoming.events[0]
    least = 0 if before is None else highest(before) + (0 if recorded else 1)
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
    again = now if before is not None else None  # answers to what it was before are stale
    if before is not None:
        writes += _cleared(before)
    base: dict[str, Attendee] = {}
    people: dict[str, list[Attendee]] = {}
    for row in incoming.attendees:
        people.setdefault(row.rid, []).append(row)
    for event in incoming.events:
        number = max(event.sequence, sequence if event.rid == "" else least)
        known = event if event.sequence == number else replace(event, sequence=number)
        writes.append(PutEvent(known))
        listed = people.get(event.rid, [])
        inherits = event.rid != "" and "" in events and not _moved(events[""], event, lookup.zones(incoming.zones))
        if not listed and event.rid:
            listed = [replace(row, rid=event.rid) for row in base.values()]
        guests = guest_list({}, listed, organizer=organizer, at=now, sequence=known.sequence, reset=False)
        for row in (one.attendee for one in guests.writes):
            if again is not None:
                row = replace(row, reset_at=again)
            series = base.get(row.address)
            if inherits and series is not None and row.partstat in (NEEDS_ACTION, series.partstat):
                row = replace(row, partstat=None)  # shows the series' answer
            if event.future and row.partstat is not None:
                row = replace(row, future=True)
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
    return writes + retired(before)


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


def remind(meeting: Meeting, now: datetime, attendees: Collection[str] = ()) -> Decision:
    """REQUEST again to those who have not answered: SEQUENCE stays, RSVP=TRUE (RFC 5546 §3.2.2.7).

    Also to those who are invited to some instances only, and who have not answered an instance that moved.
    `attendees`: to these alone, whether they have answered or not.
    """
    named = frozenset(canonical(name) or name for name in attendees)
    if unknown := sorted(named - {row.address for row in meeting.attendees.values() if not row.removed}):
        return not_found(meeting.uid, f"no attendee {', '.join(unknown)}")
    zones = lookup.zones(meeting.zones)
    writes: list[Write] = []
    sends: list[Send] = []
    told: set[str] = set()
    gone = meeting.status == lookup.CANCELLED or over(meeting.events.values(), zones, now)
    for rid, event in sorted(meeting.events.items() if not gone else ()):
        if event.status == lookup.CANCELLED or (rid and over([event], zones, now)):
            continue
        rows = [row for row in meeting.attendees.values() if row.rid == rid]
        asked = {row.address: row for row in rows if _to_ask(meeting, row, named)}
        able = reachable(meeting, asked.values(), everybody=bool(named))
        to = tuple(name for name in able if name not in told)
        if to:
            told.update(to)
            writes += [PutAttendee(replace(asked[name], rsvp=True)) for name in to]
            sequence = event.sequence if rid else meeting.sequence
            sends.append(Send("REQUEST", to, rid, sequence, Reason.REMINDED.value, automatic=False))
    if not sends:
        why = "cancelled or over" if gone else "there is nobody to ask"
        return Decision(Outcome.NO_ACTION, Reason.REMINDED, uid=meeting.uid, rid="", detail=why)
    return Decision(
        Outcome.UPDATED,
        Reason.REMINDED,
        uid=meeting.uid,
        rid="",
        sequence=meeting.sequence,
        writes=tuple(writes),
        sends=tuple(sends),
    )


def _to_ask(meeting: Meeting, row: Attendee, named: Collection[str]) -> bool:
    """Who is named, else who has not answered; a guest of the series is asked about it, not about each instance."""
    follows = row.partstat is None and ("", row.address) in meeting.attendees
    if row.removed or follows:
        return False
    return row.address in named if named else (row.partstat or NEEDS_ACTION) == NEEDS_ACTION
