"""The application's own mail: what REQUEST, ADD and CANCEL mean for the meeting (RFC 5546 §3.2.2, §3.2.4-5). Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from itipd.itip import derive, lookup, organize
from itipd.itip.guests import asked, at_instance, reachable
from itipd.itip.model import (
    Change,
    Decision,
    Incoming,
    Meeting,
    Policy,
    PutAttendee,
    PutEvent,
    PutMeeting,
    Send,
)
from itipd.itip.outcomes import Outcome, Reason
from itipd.itip.plan import zones_of
from itipd.itip.properties import with_lines


def submitted(
    meeting: Meeting | None, incoming: Incoming, policy: Policy, now: datetime, *, recorded: bool = True
) -> Decision:
    """What follows from one UID in the application's mail. `recorded`: it went out itself, nothing more is sent."""
    if incoming.fault is None and incoming.method == "CANCEL":
        return _cancel(meeting, incoming, now, recorded=recorded)
    if incoming.fault is None and incoming.method == "ADD":
        return _add(meeting, incoming, now, "none" if recorded else "changed")
    if incoming.method not in (None, "REQUEST", "PUBLISH"):
        return Decision(Outcome.NO_ACTION, Reason.NOT_FOR_ORGANIZER, uid=incoming.uid, rid="")
    # An application may mail each guest a REQUEST that lists only them: of the same revision they add up.
    known = {rid: event.sequence for rid, event in meeting.events.items()} if meeting is not None else {}
    newer = any(event.sequence > known.get(event.rid, -1) for event in incoming.events)
    return organize.put(meeting, incoming, policy, now, recorded=recorded, replaces=newer)


def _add(meeting: Meeting | None, incoming: Incoming, now: datetime, notify: str) -> Decision:
    """One instance more: as if it were an RDATE of the series, with an override there (RFC 5546 §3.2.4)."""
    event = incoming.events[0]
    if meeting is None or "" not in meeting.events:
        return organize.not_found(incoming.uid, "ADD to a series that is not registered")
    if event.rid or event.start is None or incoming.component != meeting.component:
        detail = f"ADD of a {incoming.component} to a {meeting.component}, with a RECURRENCE-ID, or without DTSTART"
        return organize.refused(incoming, Reason.MALFORMED, detail)
    if meeting.status == lookup.CANCELLED:
        return Decision(Outcome.NO_ACTION, Reason.CANCELLED, uid=meeting.uid, rid="", sequence=meeting.sequence)
    rid = event.start.rid
    if rid in meeting.events and event.sequence <= meeting.events[rid].sequence:  # the same ADD, to another guest
        return Decision(Outcome.NO_ACTION, Reason.UNCHANGED, uid=meeting.uid, rid=rid, sequence=meeting.sequence)
    number = max(meeting.sequence + 1, event.sequence)
    master = replace(derive.with_instance(meeting.events[""], event.start, event.tzid), sequence=number)
    named = derive.time_line("RECURRENCE-ID", event.start, event.tzid)
    lines = with_lines(event.lines, [named], derive.RECURRENCE)
    instance = replace(event, rid=rid, lines=lines, sequence=number, rrules=(), rdates=(), exdates=())
    series = {row.address: row for row in meeting.attendees.values() if row.rid == ""}
    guests = at_instance(series, {}, rid).values()
    # Only the new instance is asked about: what was answered of the series stays.
    rows = [row if row.address == meeting.organizer else asked(row, now, number) for row in guests]
    to = reachable(meeting, rows) if notify != "none" else ()
    reason = Reason.SIGNIFICANT_CHANGE
    return Decision(
        Outcome.UPDATED,
        reason,
        uid=meeting.uid,
        rid=rid,
        sequence=number,
        quirks=incoming.quirks,
        changes=(Change(None, rid, "start", None, event.start.iso),),
        writes=(
            PutMeeting(replace(meeting, sequence=number, zones=zones_of(meeting, incoming))),
            PutEvent(master),
            PutEvent(instance),
            *map(PutAttendee, rows),
        ),
        sends=(Send("REQUEST", to, rid, number, reason.value, automatic=False),) if to else (),
        detail=f"SEQUENCE {meeting.sequence} -> {number}",
    )


def _cancel(meeting: Meeting | None, incoming: Incoming, now: datetime, *, recorded: bool) -> Decision:
    if meeting is None:
        return organize.not_found(incoming.uid, "CANCEL of a meeting that is not registered")
    master = next((event for event in incoming.events if event.rid == ""), None)
    lead = master or incoming.events[0]
    named = {row.address for row in incoming.attendees}
    rids = (
        [""]
        if master is not None
        else [organize.instance_at(meeting, event.rid) or event.rid for event in incoming.events]
    )
    guests = {row.address for rid in rids for row in lookup.guests_at(meeting, rid)} - {meeting.organizer}
    if lead.status != lookup.CANCELLED and named and not guests <= named:
        decision = organize.uninvite(meeting, rids, named, sequence=lead.sequence, recorded=recorded)
    elif master is not None:
        decision = organize.cancel(meeting, now, sequence=master.sequence, recorded=recorded)
    elif lead.future:
        decision = organize.cancel_from(meeting, rids[0], now, sequence=lead.sequence, recorded=recorded)
    else:
        decision = organize.cancel(meeting, now, rids=rids, sequence=lead.sequence, recorded=recorded)
    return replace(decision, quirks=incoming.quirks)
