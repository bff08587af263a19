"""The organizer's new version of one instance (an override) laid over what is stored of it.

RFC 5546 §3.2.2 (REQUEST), §3.2.5 (CANCEL). Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from itipd.itip import derive, lookup
from itipd.itip.compare import Difference, changes, difference
from itipd.itip.guests import Guests, at_instance, guest_list, leaves, mailable
from itipd.itip.model import (
    Attendee,
    Change,
    Event,
    PutAttendee,
    PutEvent,
)
from itipd.itip.plan import Plan, is_over, leavers, missing, next_sequence, rises


def override(plan: Plan, new: Event) -> None:
    """One instance: compared with what is stored of it, or with what the series makes of it."""
    rid = new.rid
    master = plan.events.get("")
    old = plan.meeting.events.get(rid)
    rows = dict(plan.rows.get(rid, {}))
    made: dict[str, Attendee] = {}  # rows that the override brings, which nothing stored yet
    if master is not None and (old is None or not any(row.listed for row in rows.values())):
        here = replace(plan.meeting, events=plan.events)
        old = old or replace(derive.at(here, plan.zones, rid), sequence=plan.sequence)
        if new.status == lookup.CANCELLED and _excluded(plan, rid):  # an EXDATE before: off it was, off it stays
            old = replace(old, status=lookup.CANCELLED)
        rows = at_instance(plan.rows.get("", {}), rows, rid)
        made = {name: row for name, row in rows.items() if plan.rows.get(rid, {}).get(name) != row}
    before = [row for row in rows.values() if not row.removed]
    diff = difference(old, new, plan.old_zones, plan.zones) if old is not None else Difference(texts=True)
    listed = [row for row in plan.incoming.attendees if row.rid == rid]
    if not listed:  # an override that names nobody is for the guests of the series
        listed = [replace(row, rid=rid) for row in plan.at("") if row.listed]
    if not plan.replaces or new.status == lookup.CANCELLED:  # CANCEL names everybody who was there (RFC 5546 §3.2.5)
        listed += [row for row in missing(rows, listed) if row.address not in plan.gone]
    matters = rises(diff, plan.policy)
    ours = old.sequence if old is not None else plan.sequence
    if matters or leaves(rows, listed) or any(row.address in plan.gone for row in listed):
        # Above all that the series has used, so that no answer to it counts for what this instance is now, and that
        # the CANCEL of the series does not hide it from those who stay here.
        sequence = next_sequence(plan, max(ours, plan.sequence), new, rises=True)
    else:
        sequence = next_sequence(plan, ours, new, rises=False)
    plan.significant |= matters
    plan.visible |= diff.visible
    plan.changes += changes(old, new)
    plan.write(PutEvent(replace(new, sequence=sequence)))
    plan.write(*map(PutAttendee, made.values()))
    guests = guest_list(
        rows,
        listed,
        organizer=plan.meeting.organizer,
        at=plan.asked_at(new),
        sequence=sequence,
        reset=diff.resets,
        inherits=() if diff.resets else {row.address for row in plan.at("")},
    )
    if new.future and diff.resets:  # every later instance is asked about anew, too (RFC 5545 §3.2.13)
        rows_set = [one.attendee for one in guests.writes]
        guests.writes = [PutAttendee(replace(row, future=row.partstat is not None)) for row in rows_set]
    guests.changes = [one for one in (_seen(plan, one) for one in guests.changes) if one.old != one.new]
    plan.take(guests)
    if is_over(new, plan.zones, plan.now) and (old is None or is_over(old, plan.old_zones, plan.now)):
        return  # rules.md §9.3: nothing for what lies wholly in the past, while the series goes on
    _tell_override(plan, new, diff, guests, sequence, before)


def _tell_override(
    plan: Plan, new: Event, diff: Difference, guests: Guests, sequence: int, before: Iterable[Attendee]
) -> None:
    organizer = plan.meeting.organizer
    rows = [*plan.at(new.rid), *_unlisted(plan, new.rid)]
    current = [name for name in mailable(rows, organizer, forced=guests.forced) if name not in plan.told]
    if new.status == lookup.CANCELLED:
        if diff.status:
            old = [name for name in mailable(before, organizer) if name not in plan.told | plan.gone]
            plan.send("CANCEL", (*current, *old), new.rid, sequence)
        return
    if not diff.visible and plan.notify != "all":
        # Who was taken off the series but stays here has had a CANCEL of all of it.
        mine = {*guests.added, *guests.touched, *guests.forced, *plan.gone}
        current = [name for name in current if name in mine]
    plan.send("REQUEST", current, new.rid, sequence)
    still = [name for name in leavers(plan, new.rid, guests) if name not in plan.gone]
    plan.send("CANCEL", still, new.rid, sequence, uninvite=True)


def _excluded(plan: Plan, rid: str) -> bool:
    series = plan.meeting.events.get("")
    return series is not None and any(one.rid == rid for one in series.exdates)


def _seen(plan: Plan, one: Change) -> Change:
    """A change of PARTSTAT as people see it: a row that has none of its own showed the series' answer."""
    series = plan.rows.get("", {}).get(one.attendee or "")
    shown = one.field == "partstat" and one.old is None and series is not None
    return replace(one, old=series.partstat) if shown and series is not None else one


def _unlisted(plan: Plan, rid: str) -> list[Attendee]:
    """Guests of the series whom no file lists, at an override that they came after."""
    rows = plan.rows.get(rid, {})
    return [row for row in plan.at("") if not row.listed and row.address not in rows]
