"""A change of the organizer's while it is worked out: what is written, who is told what, and which SEQUENCE it takes.

RFC 5546 §2.1.4; rules.md §9. Pure. What follows from which difference is in `revise` and `override`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from itipd.itip import lookup, recurrence
from itipd.itip.compare import Difference
from itipd.itip.guests import Guests, mailable
from itipd.itip.model import (
    Attendee,
    Change,
    DropAttendee,
    DropEvent,
    Event,
    Incoming,
    Meeting,
    Policy,
    PutAttendee,
    PutEvent,
    Send,
    Write,
)
from itipd.itip.properties import text_of
from itipd.itip.read import Zones
from itipd.itip.recurrence import TooCostly

FAR_WEST = timedelta(hours=12)


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
    zones_text: str
    events: dict[str, Event]
    rows: dict[str, dict[str, Attendee]]  # by rid and address
    sequence: int
    writes: list[Write] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    sends: list[Send] = field(default_factory=list)
    significant: bool = False
    visible: bool = False
    told: set[str] = field(default_factory=set)  # who gets the whole series in this change
    gone: set[str] = field(default_factory=set)  # who is taken off the series in this change

    @property
    def old_zones(self) -> Zones:
        return lookup.zones(self.meeting.zones)

    @property
    def zones(self) -> Zones:
        return lookup.zones(self.zones_text)

    def write(self, *writes: PutAttendee | DropAttendee | PutEvent | DropEvent) -> None:
        """Remember rows to write and see them from now on."""
        for one in writes:
            if isinstance(one, PutAttendee):
                self.rows.setdefault(one.attendee.rid, {})[one.attendee.address] = one.attendee
            elif isinstance(one, DropAttendee):
                del self.rows[one.rid][one.address]
            elif isinstance(one, PutEvent):
                self.events[one.event.rid] = one.event
            else:
                self.events.pop(one.rid)
        self.writes += writes

    def take(self, guests: Guests) -> None:
        self.write(*guests.writes)
        self.changes += guests.changes
        self.visible |= bool(guests.changes or guests.touched or guests.withdrawn)

    def at(self, rid: str) -> list[Attendee]:
        """The guests that have a row at R and were not removed."""
        return [row for row in self.rows.get(rid, {}).values() if not row.removed]

    def everybody(self) -> dict[tuple[str, str], Attendee]:
        """All rows, as a meeting has them."""
        return {(rid, address): row for rid, rows in self.rows.items() for address, row in rows.items()}

    def forget(self, rid: str) -> None:
        """Drop all rows at R."""
        self.write(*[DropAttendee(rid, address) for address in self.rows.get(rid, {})])

    def send(self, method: str, to: Iterable[str], rid: str, sequence: int, *, uninvite: bool = False) -> None:
        to = tuple(dict.fromkeys(to))
        if to:
            self.sends.append(Send(method, to, rid, sequence, "", uninvite=uninvite, automatic=False))

    def asked_at(self, event: Event) -> datetime:
        """When the guests were asked anew: what an application has sent itself, at its DTSTAMP."""
        return min(event.dtstamp or self.now, self.now) if self.recorded else self.now


def zones_of(meeting: Meeting, incoming: Incoming) -> str:
    """The VTIMEZONEs of the file, and the stored ones of what the file does not have (an instance put alone)."""
    given = lookup.zones(incoming.zones)
    kept = (zone for name, zone in lookup.zones(meeting.zones).items() if name not in given)
    whole = incoming.zones and incoming.method != "ADD" and any(event.rid == "" for event in incoming.events)
    return incoming.zones if whole else incoming.zones + "".join(map(text_of, kept))


def over(events: Iterable[Event], zones: Zones, now: datetime) -> bool:
    """Everything lies in the past: nobody is written to any more."""
    ends = [is_over(event, zones, now) for event in events]
    return bool(ends) and all(ends)


def is_over(event: Event, zones: Zones, now: datetime) -> bool:
    """The last instance has ended; False where there is no end, or none that is known."""
    try:
        end = recurrence.last_end(event, zones) if event.start is not None else event.end
    except TooCostly:
        return False
    if end is None:
        return False
    # A date or a floating time is over where it is over last: west of Greenwich by twelve hours.
    latest = end.order if end.utc is not None else end.order + FAR_WEST
    return latest < now.replace(tzinfo=None)


def rises(diff: Difference, policy: Policy) -> bool:
    """SEQUENCE rises; LOCATION is a matter of policy (RFC 5546 §2.1.4: properties the organizer deems to matter)."""
    return diff.significant or (diff.place and policy.location == "significant")


def next_sequence(plan: Plan, ours: int, event: Event, *, rises: bool) -> int:
    """SEQUENCE never goes down; the file's counts where it is higher (RFC 5546 §2.1.4)."""
    given = event.sequence if event.sequence_given else 0
    return max(given, ours if plan.recorded or not rises else ours + 1)


def missing(rows: Mapping[str, Attendee], listed: list[Attendee]) -> list[Attendee]:
    """Guests whom an application's mail to somebody else does not list; only its CANCEL removes them."""
    names = {row.address for row in listed}
    return [row for row in rows.values() if row.listed and not row.removed and row.address not in names]


def leavers(plan: Plan, rid: str, guests: Guests) -> tuple[str, ...]:
    """Who is told that they are off the list of R: those removed, and those whom another agent writes to now."""
    rows = plan.rows.get(rid, {})
    removed = [replace(rows[name], removed=False) for name in guests.removed]
    ours = {"SCHEDULE-AGENT": ("SERVER",)}  # RFC 6638 §7.1: this last mail is still ours
    withdrawn = [replace(rows[name], params={**rows[name].params, **ours}) for name in guests.withdrawn]
    return mailable([*removed, *withdrawn], plan.meeting.organizer)
