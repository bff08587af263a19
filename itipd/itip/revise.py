"""The organizer's new version laid over the stored meeting: what changed, whose answer stays, who is told.

RFC 5546 §2.1.4 (SEQUENCE), §3.2.2 (REQUEST), §3.2.5 (CANCEL); rules.md §9. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from itipd.itip import derive, lookup, recurrence
from itipd.itip.compare import Difference, changes, difference
from itipd.itip.guests import Guests, asked, guest_list, mailable, unscheduled_event
from itipd.itip.model import (
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
from itipd.itip.read import Zones


@dataclass(slots=True)
class Plan:
    """A change being worked out; it becomes a Decision at the end."""

    meeting: Meeting
    incoming: Incoming
    policy: Policy
    now: datetime
    notify: str  # changed, all, none
    recorded: bool
    replaces: bool  # attendees that are not listed any more are removed
    events: dict[str, Event]
    rows: dict[tuple[str, str], Attendee]
    sequence: int
    writes: list[Write] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    sends: list[Send] = field(default_factory=list)
    significant: bool = False
    visible: bool = False
    told: set[str] = field(default_factory=set)  # who gets the whole series in this change

    @property
    def old_zones(self) -> Zones:
        return lookup.zones(self.meeting.zones)

    @property
    def zones(self) -> Zones:
        return lookup.zones(self.incoming.zones or self.meeting.zones)

    def write(self, *writes: Write) -> None:
        """Remember rows to write and see them from now on."""
        for one in writes:
            if isinstance(one, PutAttendee):
                self.rows[one.attendee.rid, one.attendee.address] = one.attendee
            elif isinstance(one, DropAttendee):
                self.rows.pop((one.rid, one.address), None)
            elif isinstance(one, PutEvent):
                self.events[one.event.rid] = one.event
            elif isinstance(one, DropEvent):
                self.events.pop(one.rid, None)
        self.writes += writes

    def take(self, guests: Guests) -> None:
        self.write(*guests.writes)
        self.changes += guests.changes
        self.visible |= bool(guests.added or guests.removed or guests.touched or guests.withdrawn)

    def at(self, rid: str) -> list[Attendee]:
        """The guests that have a row at R and were not removed."""
        return [row for (where, _), row in self.rows.items() if where == rid and not row.removed]

    def send(self, method: str, to: Iterable[str], rid: str, sequence: int, *, uninvite: bool = False) -> None:
        to = tuple(dict.fromkeys(to))
        if to:
            self.sends.append(Send(method, to, rid, sequence, "", uninvite=uninvite, automatic=False))


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
        events=dict(meeting.events),
        rows=dict(meeting.attendees),
        sequence=meeting.sequence,
    )
    events = {event.rid: event for event in incoming.events}
    dropped = _dropped_overrides(plan, events)
    if "" in events:
        _series(plan, events[""], dropped)
    for rid in sorted(events):
        if rid:
            _override(plan, events[rid])
    return _decision(plan, events)


def _decision(plan: Plan, events: Mapping[str, Event]) -> Decision:
    if plan.significant:
        outcome, reason = Outcome.UPDATED, Reason.SIGNIFICANT_CHANGE
    elif plan.visible:
        outcome, reason = Outcome.UPDATED, Reason.MINOR_CHANGE
    else:
        outcome, reason = Outcome.NO_ACTION, Reason.UNCHANGED
    silent = plan.notify == "none" or over(plan.events.values(), plan.zones, plan.now)
    silent = silent or any(unscheduled_event(event) for event in events.values())
    meeting = replace(
        plan.meeting,
        sequence=plan.sequence,
        zones=plan.incoming.zones or plan.meeting.zones,
        name=(plan.incoming.organizer.one("CN") if plan.incoming.organizer else None) or plan.meeting.name,
        status=plan.events[""].status if "" in plan.events else plan.meeting.status,
    )
    rid = next(iter(events)) if len(events) == 1 else ""
    return Decision(
        outcome=outcome,
        reason=reason,
        uid=meeting.uid,
        rid=rid,
        sequence=plan.events[rid].sequence if rid else plan.sequence,
        quirks=plan.incoming.quirks,
        changes=tuple(plan.changes),
        writes=(PutMeeting(meeting), *plan.writes),
        sends=() if silent else tuple(replace(send, reason=reason.value) for send in plan.sends),
        detail=f"SEQUENCE {plan.meeting.sequence} -> {plan.sequence}",
    )


def over(events: Iterable[Event], zones: Zones, now: datetime) -> bool:
    """Everything lies in the past: nobody is written to any more."""
    ends = [recurrence.last_end(event, zones) for event in events]
    return bool(ends) and all(end is not None and end.order < now.replace(tzinfo=None) for end in ends)


def _rises(diff: Difference, policy: Policy) -> bool:
    """SEQUENCE rises; LOCATION is a matter of policy (RFC 5546 §2.1.4: properties the organizer deems to matter)."""
    return diff.significant or (diff.place and policy.location == "significant")


def _next_sequence(plan: Plan, ours: int, event: Event, rises: bool) -> int:
    """SEQUENCE never goes down; the file's counts where it is higher (RFC 5546 §2.1.4)."""
    given = event.sequence if event.sequence_given else 0
    return max(given, ours if plan.recorded or not rises else ours + 1)


def _dropped_overrides(plan: Plan, events: Mapping[str, Event]) -> bool:
    """Overrides that the new series does not have go back to it; cancelled instances stay cancelled."""
    if "" not in events:
        return False  # only some instances are put: the rest stays
    gone = [rid for rid, event in plan.events.items() if rid not in events and event.status != lookup.CANCELLED]
    for rid in gone:
        plan.write(DropEvent(rid))
        plan.write(*[DropAttendee(rid, row.address) for row in plan.rows.copy().values() if row.rid == rid])
    plan.visible |= bool(gone)
    return bool(gone)


def _series(plan: Plan, new: Event, dropped: bool) -> None:
    old = plan.meeting.events.get("")
    diff = difference(old, new, plan.old_zones, plan.zones) if old is not None else Difference(texts=True)
    listed = [row for row in plan.incoming.attendees if row.rid == ""]
    rows = {row.address: row for (rid, _), row in plan.rows.items() if rid == ""}
    if not plan.replaces:
        listed = [*listed, *_missing(rows, listed)]
    names = {row.address for row in listed}
    leaving = any(row.listed and not row.removed and row.address not in names for row in rows.values())
    rises = _rises(diff, plan.policy)
    # CANCEL goes with SEQUENCE+1, also to a removed attendee; nobody's answer is reset by it (RFC 5546 §3.2.5).
    plan.sequence = _next_sequence(plan, plan.meeting.sequence, new, rises or leaving)
    plan.significant |= rises
    plan.visible |= diff.visible
    plan.changes += changes(old, new)
    plan.write(PutEvent(replace(new, sequence=plan.sequence)))
    if diff.resets:
        _forget_instances(plan)
    guests = guest_list(
        rows, listed, organizer=plan.meeting.organizer, now=plan.now, sequence=plan.sequence, reset=diff.resets
    )
    plan.take(guests)
    current = mailable(plan.at(""), plan.meeting.organizer)
    kept = [name for name in current if name not in guests.added]
    to: list[str] = [name for name in current if name in guests.added]
    if plan.notify == "all" or ((diff.visible or dropped) and not diff.only_instances_out):
        to = list(current)
    else:
        to += [name for name in kept if name in guests.touched or name in guests.forced]
    if diff.only_instances_out and plan.notify != "all":
        for rid in diff.dropped:
            plan.write(*[DropAttendee(rid, row.address) for row in plan.rows.copy().values() if row.rid == rid])
            plan.send("CANCEL", kept, rid, plan.sequence)
    plan.send("REQUEST", to, "", plan.sequence)
    plan.told = set(to)
    gone = [*guests.removed, *guests.withdrawn]
    plan.send("CANCEL", _leavers(plan, "", gone), "", plan.sequence, uninvite=True)


def _missing(rows: Mapping[str, Attendee], listed: list[Attendee]) -> list[Attendee]:
    """Guests whom an application's mail to somebody else does not list; only its CANCEL removes them."""
    names = {row.address for row in listed}
    return [row for row in rows.values() if row.listed and not row.removed and row.address not in names]


def _leavers(plan: Plan, rid: str, addresses: Iterable[str]) -> tuple[str, ...]:
    rows = [plan.rows[rid, address] for address in addresses if (rid, address) in plan.rows]
    # As they were: a CANCEL also goes to one who is now somebody else's to write to.
    shown = [replace(row, removed=False, params={**row.params, "SCHEDULE-AGENT": ("SERVER",)}) for row in rows]
    return mailable(shown, plan.meeting.organizer)


def _forget_instances(plan: Plan) -> None:
    """The series' time or rule changed: answers to instances without an override are answers no more."""
    for row in plan.rows.copy().values():
        if row.rid and row.rid not in plan.events:
            plan.write(DropAttendee(row.rid, row.address))


def _override(plan: Plan, new: Event) -> None:
    rid = new.rid
    master = plan.events.get("")
    old = plan.meeting.events.get(rid)
    rows = {row.address: row for (where, _), row in plan.rows.items() if where == rid}
    made: set[str] = set()  # rows that the override brings, which nothing stored yet
    if old is None and master is not None:
        old = replace(derive.instance(master, plan.zones, rid), sequence=plan.sequence)
        for base in plan.at(""):
            if base.address not in rows:
                made.add(base.address)
                rows[base.address] = replace(base, rid=rid, partstat=None, revision=None, replied_at=None, comment=None)
            else:
                rows[base.address] = replace(rows[base.address], listed=True, params=base.params)
    diff = difference(old, new, plan.old_zones, plan.zones) if old is not None else Difference(texts=True)
    listed = [row for row in plan.incoming.attendees if row.rid == rid]
    if not listed:  # an override that names nobody is for the guests of the series
        listed = [replace(row, rid=rid) for row in plan.at("") if row.listed]
    if not plan.replaces:
        listed = [*listed, *_missing(rows, listed)]
    names = {row.address for row in listed}
    leaving = any(row.listed and not row.removed and row.address not in names for row in rows.values())
    rises = _rises(diff, plan.policy)
    sequence = _next_sequence(plan, old.sequence if old is not None else plan.sequence, new, rises or leaving)
    plan.significant |= rises
    plan.visible |= diff.visible
    plan.changes += changes(old, new)
    plan.write(PutEvent(replace(new, sequence=sequence)))
    guests = guest_list(
        rows,
        listed,
        organizer=plan.meeting.organizer,
        now=plan.now,
        sequence=sequence,
        reset=diff.resets,
        inherits=master is not None and not diff.resets,
    )
    written = {one.attendee.address for one in guests.writes if isinstance(one, PutAttendee)}
    plan.write(*[PutAttendee(rows[name]) for name in made if name in names and name not in written])
    plan.take(guests)
    _tell_override(plan, new, diff, guests, sequence)


def _tell_override(plan: Plan, new: Event, diff: Difference, guests: Guests, sequence: int) -> None:
    organizer = plan.meeting.organizer
    current = [name for name in mailable(plan.at(new.rid), organizer) if name not in plan.told]
    if new.status == lookup.CANCELLED:
        if diff.status:
            plan.send("CANCEL", current, new.rid, sequence)
        return
    if not diff.visible and plan.notify != "all":
        current = [name for name in current if name in (*guests.added, *guests.touched, *guests.forced)]
    plan.send("REQUEST", current, new.rid, sequence)
    still = [name for name in guests.removed if ("", name) not in plan.rows or not plan.rows["", name].removed]
    plan.send("CANCEL", _leavers(plan, new.rid, still), new.rid, sequence, uninvite=True)


def reset_all(plan_rows: Iterable[Attendee], keep: Mapping[str, str], now: datetime, sequence: int) -> list[Attendee]:
    """Rows set back to NEEDS-ACTION, but for those in `keep`, who get the PARTSTAT given there."""
    found = []
    for row in plan_rows:
        new = asked(row, now, sequence)
        if row.address in keep:
            new = replace(new, partstat=keep[row.address], rsvp=False)
        found.append(new)
    return found
