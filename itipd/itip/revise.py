"""The organizer's new version laid over the stored meeting: what changed, whose answer stays, who is told.

RFC 5546 §2.1.4 (SEQUENCE), §3.2.2 (REQUEST), §3.2.5 (CANCEL); rules.md §9. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from itipd.itip import derive, lookup, recurrence
from itipd.itip.compare import Difference, changes, difference
from itipd.itip.guests import following, guest_list, leaves, mailable, unscheduled_event
from itipd.itip.model import (
    Attendee,
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
)
from itipd.itip.outcomes import Outcome, Reason
from itipd.itip.override import override
from itipd.itip.plan import Plan, is_over, leavers, missing, next_sequence, over, rises, zones_of
from itipd.itip.proposals import settled
from itipd.itip.read import Zones
from itipd.itip.recurrence import TooCostly

__all__ = ["change", "over"]


def change(
    meeting: Meeting, incoming: Incoming, policy: Policy, now: datetime, *, notify: str, recorded: bool, replaces: bool
) -> Decision:
    """A put for a UID that is known and not cancelled. `meeting` is whole."""
    plan = Plan(
        meeting=meeting,
        incoming=incoming,
        policy=policy,
        now=now,
        notify="none" if recorded else notify,
        recorded=recorded,
        replaces=replaces,
        zones_text=zones_of(meeting, incoming),
        events=dict(meeting.events),
        rows=_by_rid(meeting.attendees.values()),
        sequence=meeting.sequence,
    )
    events = {event.rid: event for event in incoming.events}
    if "" in events:
        _series(plan, events[""], events)
    for rid in sorted(events):
        if rid:
            override(plan, events[rid])
    return _decision(plan, events)


def _by_rid(rows: Iterable[Attendee]) -> dict[str, dict[str, Attendee]]:
    found: dict[str, dict[str, Attendee]] = {}
    for row in rows:
        found.setdefault(row.rid, {})[row.address] = row
    return found


def _decision(plan: Plan, events: Mapping[str, Event]) -> Decision:
    if plan.significant:
        outcome, reason = Outcome.UPDATED, Reason.SIGNIFICANT_CHANGE
    elif plan.visible:
        outcome, reason = Outcome.UPDATED, Reason.MINOR_CHANGE
    else:
        outcome, reason = Outcome.NO_ACTION, Reason.UNCHANGED
    # What only now lies in the past still stands in the guests' calendars as it was.
    before, after = (plan.meeting.events.values(), plan.old_zones), (plan.events.values(), plan.zones)
    silent = plan.notify == "none" or all(over(events, zones, plan.now) for events, zones in (before, after))
    silent = silent or any(unscheduled_event(event) for event in events.values())
    meeting = replace(
        plan.meeting,
        sequence=plan.sequence,
        zones=plan.zones_text,
        name=(plan.incoming.organizer.one("CN") if plan.incoming.organizer else None) or plan.meeting.name,
        status=plan.events[""].status if "" in plan.events else plan.meeting.status,
    )
    rid = next(iter(events)) if len(events) == 1 else ""
    whole = replace(meeting, events=plan.events, attendees=plan.everybody())
    return Decision(
        outcome=outcome,
        reason=reason,
        uid=meeting.uid,
        rid=rid,
        sequence=plan.events[rid].sequence if rid else plan.sequence,
        quirks=plan.incoming.quirks,
        changes=tuple(plan.changes),
        writes=(PutMeeting(meeting), *plan.writes, *settled(plan.meeting, whole)),
        sends=() if silent else tuple(replace(send, reason=reason.value) for send in plan.sends),
        detail=f"SEQUENCE {plan.meeting.sequence} -> {plan.sequence}",
    )


# -- the series --------------------------------------------------------------------------------------------------


def _series(plan: Plan, new: Event, events: Mapping[str, Event]) -> None:
    old = plan.meeting.events.get("")
    diff = Difference(texts=True)
    if old is not None:  # what the file now writes as a cancelled instance instead of an EXDATE stays out
        out = (one for one in old.exdates if one.rid in events and events[one.rid].status == lookup.CANCELLED)
        diff = difference(old, replace(new, exdates=(*new.exdates, *out)), plan.old_zones, plan.zones)
    listed = [row for row in plan.incoming.attendees if row.rid == ""]
    rows = dict(plan.rows.get("", {}))
    again = _excluded(old) - _excluded(new)  # what was cancelled, and then excluded, and is excluded no more, is on
    gone = [rid for rid in plan.events if rid not in events and (rid in again or _is_on(plan, rid))]
    if not plan.replaces:
        listed, gone = [*listed, *missing(rows, listed)], []
    back = [rid for rid in gone if _goes_back(plan, new, rid)]  # moved overrides: their time changes, too
    matters = rises(diff, plan.policy) or bool(back)
    # CANCEL goes with SEQUENCE+1, also to a removed attendee; nobody's answer is reset by it (RFC 5546 §3.2.5).
    # A delayed REQUEST of an override must not bring back what is taken away: above those, too (§4.2.9, §4.4.4).
    off = leaves(rows, listed) or _leaves_with(plan, gone, listed)
    above = plan.events if off else gone
    ours = max([plan.meeting.sequence, *(plan.events[rid].sequence for rid in above)])
    plan.sequence = next_sequence(plan, ours, new, rises=matters or off)
    plan.significant |= matters
    plan.visible |= diff.visible or bool(gone)
    plan.changes += changes(old, new)
    plan.write(PutEvent(replace(new, sequence=plan.sequence)))
    _settle_instances(plan, new, diff, gone, back)
    guests = guest_list(
        rows,
        listed,
        organizer=plan.meeting.organizer,
        at=plan.asked_at(new),
        sequence=plan.sequence,
        reset=diff.resets,
    )
    plan.take(guests)
    plan.gone = {*guests.removed, *guests.withdrawn}
    _forget_answers(plan, {*plan.gone, *guests.added})
    current = mailable(plan.at(""), plan.meeting.organizer, forced=guests.forced)
    only_out = diff.only_instances_out and set(gone) <= set(diff.dropped) and plan.notify != "all"
    if plan.notify == "all" or ((diff.visible or gone) and not only_out):
        to = list(current)
    else:
        to = [name for name in current if name in (*guests.added, *guests.touched, *guests.forced)]
    plan.send("REQUEST", to, "", plan.sequence)
    plan.told = set(to)
    _cancel_taken_out(plan, [rid for rid in diff.dropped if rid not in events], gone)
    plan.send("CANCEL", leavers(plan, "", guests), "", plan.sequence, uninvite=True)


def _excluded(event: Event | None) -> set[str]:
    return {one.rid for one in event.exdates} if event is not None else set()


def _is_on(plan: Plan, rid: str) -> bool:
    return plan.events[rid].status != lookup.CANCELLED


def _leaves_with(plan: Plan, gone: Iterable[str], listed: Iterable[Attendee]) -> bool:
    """Somebody was invited to a dropped override alone."""
    names = {row.address for row in (*plan.at(""), *listed)}
    return any(row.address not in names for rid in gone for row in plan.at(rid))


def _goes_back(plan: Plan, master: Event, rid: str) -> bool:
    """An override that the file drops was at another time than the series has it."""
    if not _exists(master, plan.zones, rid):
        return False
    return difference(plan.events[rid], derive.instance(master, plan.zones, rid), plan.old_zones, plan.zones).time


def _exists(master: Event, zones: Zones, rid: str) -> bool:
    moment = derive.moment_of(rid)
    try:
        return moment is not None and recurrence.find(master, zones, moment) is not None
    except TooCostly:
        return True  # unknown: nothing is thrown away


def _goes_on(master: Event, zones: Zones, rid: str) -> bool:
    """The series has instances after this time."""
    moment = derive.moment_of(rid)
    after = moment.order.replace(tzinfo=UTC) if moment is not None else None
    try:
        return after is not None and bool(recurrence.expand(master, zones, after, 1))
    except TooCostly:
        return True  # unknown: nothing is thrown away


def _settle_instances(plan: Plan, master: Event, diff: Difference, gone: list[str], back: list[str]) -> None:
    """What the new series means for instances: dropped overrides go back to it, answers to what is no more go."""
    for rid in gone:
        rows = plan.at(rid)
        plan.write(DropEvent(rid))
        _forget(plan, master, rid)
        if rid in back:  # what was answered about the other time is stale now
            kept = (row for row in rows if row.address in plan.rows.get("", {}))
            plan.write(*[PutAttendee(_set_back(row, plan.sequence, plan.asked_at(master))) for row in kept])
    for rid in [rid for rid in plan.rows if rid and rid not in plan.events and rid not in back]:
        if diff.resets:
            plan.forget(rid)
        elif diff.cut and not _exists(master, plan.zones, rid):
            _forget(plan, master, rid)
    if diff.resets:  # "and all after it" was said of the series as it was
        said = (rid for rid in plan.rows if rid in plan.events and not plan.events[rid].future)
        rows = [row for rid in said for row in plan.rows[rid].values() if row.future]
        plan.write(*[PutAttendee(replace(row, future=False)) for row in rows])


def _forget(plan: Plan, master: Event, rid: str) -> None:
    """Drop the rows at R, but where R alone is no more, what was answered from R on holds for those that follow."""
    said = [row for row in plan.at(rid) if row.future and row.partstat is not None]
    plan.forget(rid)
    if said and not _exists(master, plan.zones, rid) and _goes_on(master, plan.zones, rid):
        plan.write(*[PutAttendee(replace(row, listed=False)) for row in said])  # RFC 5545 §3.2.13


def _set_back(row: Attendee, sequence: int, at: datetime) -> Attendee:
    """A row that only remembers since when answers to R are stale."""
    return replace(following(row, row.rid), listed=False, reset_sequence=sequence, reset_at=at)


def _forget_answers(plan: Plan, addresses: set[str]) -> None:
    """Who is taken off the series, or invited to it once more, has no answers to instances of it."""
    for rid in [rid for rid in plan.rows if rid and rid not in plan.events]:
        plan.write(*[DropAttendee(rid, address) for address in addresses if address in plan.rows[rid]])


def _cancel_taken_out(plan: Plan, dropped: Iterable[str], gone: list[str]) -> None:
    """CANCEL for instances that are no more, to whom the REQUEST of the series does not tell it (RFC 5546 §3.2.5)."""
    people = lookup.rows_by_address(plan.meeting)
    for rid in sorted({*dropped, *gone}):
        override = plan.meeting.events.get(rid)
        if override is not None and override.status == lookup.CANCELLED:
            continue
        event = override or derive.at(plan.meeting, plan.old_zones, rid)
        if is_over(event, plan.zones, plan.now):
            continue
        before = mailable(lookup.guests_at(plan.meeting, rid, people), plan.meeting.organizer)
        left = [name for name in before if name not in plan.told and name not in plan.gone]
        series = plan.rows.get("", {})
        exists = _exists(plan.events[""], plan.zones, rid)
        if exists:  # the instance goes on, without those who were invited to it alone
            left = [name for name in left if name not in series or series[name].removed]
        plan.send("CANCEL", left, rid, max(plan.sequence, event.sequence), uninvite=exists)
