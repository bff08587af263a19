"""Taking back: a meeting, instances of it, or guests off it (RFC 5546 §3.2.5): SEQUENCE+1, and CANCEL. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from itipd.itip import derive, lookup, recurrence
from itipd.itip.guests import reachable
from itipd.itip.model import (
    Change,
    Decision,
    DropAttendee,
    Meeting,
    PutAttendee,
    PutEvent,
    PutMeeting,
    PutProposal,
    Send,
    Write,
)
from itipd.itip.outcomes import Outcome, Reason
from itipd.itip.plan import over
from itipd.itip.recurrence import TooCostly

MOST = 400  # instances that are cancelled one by one; an endless series ends with the last of them


def cancel(
    meeting: Meeting,
    now: datetime,
    *,
    rids: Sequence[str] = (),
    notify: str = "changed",
    sequence: int = 0,
    recorded: bool = False,
) -> Decision:
    """Cancel the meeting, or instances of it, several at once (RFC 5546 §3.2.5): SEQUENCE+1, and CANCEL to all.

    `sequence`: that of an application's own CANCEL, where it is higher. `recorded`: the application has sent it itself;
    SEQUENCE is its own, and nothing is sent.
    """
    notify = "none" if recorded else notify
    if meeting.status == lookup.CANCELLED:
        return Decision(Outcome.NO_ACTION, Reason.CANCELLED, uid=meeting.uid, rid="", sequence=meeting.sequence)
    more = 0 if recorded else 1
    if rids:
        return _cancel_instances(meeting, now, rids, notify, sequence, more)
    zones = lookup.zones(meeting.zones)
    # Above every override's, or a delayed REQUEST of one would bring its day back (RFC 5546 §4.2.9, §4.4.4).
    number = max(sequence, highest(meeting) + more)
    ended = replace(meeting, status=lookup.CANCELLED, sequence=number)
    writes: list[Write] = [PutMeeting(ended)]
    sends: list[Send] = []
    told: set[str] = set()
    for event in sorted(meeting.events.values(), key=lambda event: event.rid):
        gone = replace(derive.with_status(event, lookup.CANCELLED), sequence=number, dtstamp=now)
        writes.append(PutEvent(gone))
        rows = [row for row in meeting.attendees.values() if row.rid == event.rid]
        to = tuple(name for name in reachable(meeting, rows, everybody=True) if name not in told)
        if to and event.status != lookup.CANCELLED:
            sends.append(Send("CANCEL", to, event.rid, number, Reason.CANCELLED.value, automatic=False))
        if event.rid == "":
            told.update(to)
    writes += retired(meeting)
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


def _cancel_instances(
    meeting: Meeting, now: datetime, rids: Sequence[str], notify: str, least: int, more: int
) -> Decision:
    """One instance = RECURRENCE-ID, SEQUENCE+1; the series stays."""
    zones = lookup.zones(meeting.zones)
    writes: list[Write] = []
    told: list[Change] = []
    sends: list[Send] = []
    number = 0
    people = lookup.rows_by_address(meeting)
    found: dict[str, str] = {}
    for text in rids:
        rid = instance_at(meeting, text)
        if rid is None:
            return not_found(meeting.uid, f"no instance at {text}; expected a form like 20261208T090000Z or 20261208")
        found[rid] = text
    for rid in found:
        known = meeting.events.get(rid)
        if known is not None and known.status == lookup.CANCELLED:
            continue
        event = known if known is not None else derive.at(meeting, zones, rid)
        number = max(least, meeting.sequence + more, event.sequence + more)
        ended = replace(derive.with_status(event, lookup.CANCELLED), sequence=number, dtstamp=now)
        writes += [PutEvent(ended), *retired(meeting, rid)]
        told.append(Change(None, rid, "status", event.status, lookup.CANCELLED))
        to = reachable(meeting, lookup.guests_at(meeting, rid, people), everybody=True)
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


def cancel_from(meeting: Meeting, rid: str, now: datetime, *, sequence: int, recorded: bool) -> Decision:
    """RANGE=THISANDFUTURE (RFC 5546 §3.2.5 a): this instance and all after it. What is sent is the shorter series."""
    master = meeting.events.get("")
    first = derive.moment_of(rid)
    if master is None or first is None:
        return cancel(meeting, now, rids=[rid], sequence=sequence, recorded=recorded)
    after = first.utc or first.local.replace(tzinfo=UTC)
    try:
        later = [moment.rid for moment in recurrence.expand(master, lookup.zones(meeting.zones), after, MOST)]
    except TooCostly as error:
        return not_found(meeting.uid, str(error))
    rids = sorted({rid, *later, *(key for key in meeting.events if key > rid)})
    least = max(sequence, highest(meeting) + (0 if recorded else 1))
    decision = cancel(meeting, now, rids=rids, sequence=least, recorded=True)
    number = decision.sequence or 0
    writes = list(decision.writes)
    if writes:
        shorter = derive.without_after(master, later[-1]) if len(later) == MOST else master
        writes += [PutMeeting(replace(meeting, sequence=number)), PutEvent(replace(shorter, sequence=number))]
    to = reachable(meeting, [row for row in meeting.attendees.values() if row.rid == ""])
    sends = (Send("REQUEST", to, "", number, Reason.CANCELLED.value, automatic=False),)
    told = bool(writes) and bool(to) and not recorded
    return replace(decision, rid=rid, writes=tuple(writes), sends=sends if told else ())


def uninvite(
    meeting: Meeting, rids: Sequence[str], addresses: Collection[str], *, sequence: int, recorded: bool
) -> Decision:
    """Take guests off the series ("") or off instances: CANCEL to them alone, without STATUS (RFC 5546 §3.2.5).

    Nobody's answer is reset. Who is taken off the series is off every instance of it.
    """
    writes: list[Write] = []
    told: list[Change] = []
    sends: list[Send] = []
    number = meeting.sequence
    for rid in rids:
        event = meeting.events.get(rid)
        leaving = [row for row in lookup.guests_at(meeting, rid) if row.address in addresses]
        if not leaving:
            continue
        ours = max(meeting.sequence, event.sequence if event is not None else 0) if rid else highest(meeting)
        number = max(sequence, ours + (0 if recorded else 1))
        writes += [] if rid else [PutMeeting(replace(meeting, sequence=number))]
        writes += [PutEvent(replace(event, sequence=number))] if event is not None else []
        writes += [PutAttendee(replace(row, removed=True)) for row in leaving]
        if not rid:
            writes += _off_instances(meeting, {row.address for row in leaving})
        told += [Change(row.address, rid, "attendee", row.address, None) for row in leaving]
        to = reachable(meeting, leaving, everybody=True) if not recorded else ()
        if to:
            sends.append(Send("CANCEL", to, rid, number, Reason.MINOR_CHANGE.value, uninvite=True, automatic=False))
    return Decision(
        Outcome.UPDATED if told else Outcome.NO_ACTION,
        Reason.MINOR_CHANGE if told else Reason.UNCHANGED,
        uid=meeting.uid,
        rid=rids[0] if len(rids) == 1 else "",
        sequence=number,
        changes=tuple(told),
        writes=tuple(writes),
        sends=tuple(sends),
    )


def _off_instances(meeting: Meeting, addresses: Collection[str]) -> list[Write]:
    """Rows at overrides are marked as removed, answers to other instances dropped."""
    rows = [row for row in meeting.attendees.values() if row.rid and row.address in addresses]
    return [
        PutAttendee(replace(row, removed=True)) if row.rid in meeting.events else DropAttendee(row.rid, row.address)
        for row in rows
    ]


def highest(meeting: Meeting) -> int:
    """The highest SEQUENCE that anything of this meeting has had."""
    return max([meeting.sequence, *(event.sequence for event in meeting.events.values())])


def retired(meeting: Meeting, rid: str | None = None) -> list[Write]:
    """Open proposals about R (None: about any) that nobody can accept any more."""
    open_ = (one for one in meeting.proposals.values() if one.state == "open" and rid in (None, one.rid))
    return [PutProposal(replace(one, state="retired")) for one in open_]


def instance_at(meeting: Meeting, text: str) -> str | None:
    """The canonical rid of the instance that a person names; None where there is none."""
    asked = derive.moment_of(text)
    try:
        return (lookup.locate(meeting, asked) or None) if asked is not None else None
    except TooCostly:
        return None


def not_found(uid: str | None, detail: str) -> Decision:
    """The organizer named something that is not there."""
    return Decision(Outcome.ERROR, Reason.NOT_FOUND, uid=uid, detail=detail)
