"""The application's own mail: what its REQUEST or CANCEL means for the meeting (RFC 5546 §3.2.2, §3.2.5). Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from itipd.itip import lookup, organize
from itipd.itip.model import Decision, Incoming, Meeting, Policy
from itipd.itip.outcomes import Outcome, Reason


def submitted(
    meeting: Meeting | None, incoming: Incoming, policy: Policy, now: datetime, *, recorded: bool = True
) -> Decision:
    """What follows from one UID in the application's mail. `recorded`: it went out itself, nothing more is sent."""
    if incoming.fault is None and incoming.method == "CANCEL":
        return _cancel(meeting, incoming, now, "none" if recorded else "changed")
    if incoming.method not in (None, "REQUEST", "PUBLISH", "ADD"):
        return Decision(Outcome.NO_ACTION, Reason.NOT_FOR_ORGANIZER, uid=incoming.uid, rid="")
    # An application may mail each guest a REQUEST that lists only them: of the same revision they add up.
    known = {rid: event.sequence for rid, event in meeting.events.items()} if meeting is not None else {}
    newer = any(event.sequence > known.get(event.rid, -1) for event in incoming.events)
    return organize.put(meeting, incoming, policy, now, recorded=recorded, replaces=newer)


def _cancel(meeting: Meeting | None, incoming: Incoming, now: datetime, notify: str) -> Decision:
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
        decision = organize.uninvite(meeting, rids, named, sequence=lead.sequence, notify=notify)
    elif master is not None:
        decision = organize.cancel(meeting, now, notify=notify, sequence=master.sequence)
    else:
        decision = organize.cancel(meeting, now, rids=rids, notify=notify, sequence=lead.sequence)
    return replace(decision, quirks=incoming.quirks)
