"""The guest list through the organizer's changes: whose answer stays, who is asked again, who gets which mail.

RFC 5546 §2.1.4, §3.2.2, §3.2.5; RFC 6638 §7 (SCHEDULE-AGENT, SCHEDULE-FORCE-SEND). Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from itipd.itip.contentlines import parse_line
from itipd.itip.model import NEEDS_ACTION, Attendee, Change, Event, Meeting, PutAttendee
from itipd.itip.properties import split


@dataclass(slots=True)
class Guests:
    """What becomes of the guest list of one R: rows to write, and who is in which group, by address."""

    writes: list[PutAttendee]
    changes: list[Change]
    added: list[str]
    removed: list[str]
    kept: list[str]
    touched: list[str]  # their own ATTENDEE line changed
    forced: list[str]  # SCHEDULE-FORCE-SEND=REQUEST (RFC 6638 §7.2)
    withdrawn: list[str]  # SCHEDULE-AGENT became CLIENT or NONE (RFC 6638 §7.1)


def asked(row: Attendee, at: datetime, sequence: int) -> Attendee:
    """The row set back: NEEDS-ACTION, RSVP, and every answer to an earlier SEQUENCE is stale from now on.

    A NON-PARTICIPANT without RSVP is only informed, and stays so (RFC 5546 §4.2.3).
    """
    rsvp = row.rsvp or role(row) != "NON-PARTICIPANT"
    return replace(_silent(row), partstat=NEEDS_ACTION, rsvp=rsvp, reset_sequence=sequence, reset_at=at)


def role(row: Attendee) -> str:
    """ROLE, upper-case (RFC 5545 §3.2.16)."""
    return (row.params.get("ROLE") or ("REQ-PARTICIPANT",))[0].upper()


def following(row: Attendee, rid: str) -> Attendee:
    """A row of the series at an instance of it that shows the series' answer."""
    return replace(_silent(row), rid=rid, partstat=None, delegated_from=())


def _silent(row: Attendee) -> Attendee:
    """The row without anything that an answer put there."""
    return replace(
        row,
        revision=None,
        reply_time=None,
        replied_at=None,
        future=False,
        comment=None,
        delegated_to=(),
        sent_by=None,
        guests=None,
        schedule_status=None,
        percent_complete=None,
        completed=None,
    )


def at_instance(series: Mapping[str, Attendee], answers: Mapping[str, Attendee], rid: str) -> dict[str, Attendee]:
    """The guest list that an instance without an override has: that of the series, with the answers to R itself."""
    found: dict[str, Attendee] = {}
    for address, base in series.items():
        own = answers.get(address)
        if base.removed:
            continue
        if own is not None:
            found[address] = replace(own, listed=base.listed, position=base.position, params=base.params)
        else:
            found[address] = following(base, rid)
    return {**answers, **found}


def guest_list(
    old: Mapping[str, Attendee],
    new: Sequence[Attendee],
    *,
    organizer: str,
    at: datetime,
    sequence: int,
    reset: bool,
    inherits: Collection[str] = (),
) -> Guests:
    """`new` (as the organizer's text has it) laid over the stored rows `old` of the same R.

    `inherits`: who shows the series' answer at an override that kept its time: their rows have no PARTSTAT of their
    own. Stored answers win over PARTSTATs in the text, but for the organizer's own ATTENDEE. `at`: the time of a reset.
    """
    guests = Guests([], [], [], [], [], [], [], [])
    listed = {row.address for row in new}
    for row in new:
        known = old.get(row.address)
        forced = (row.params.get("SCHEDULE-FORCE-SEND") or ("",))[0].upper() == "REQUEST"
        params = row.params
        if "SCHEDULE-FORCE-SEND" in params:
            params = {name: value for name, value in params.items() if name != "SCHEDULE-FORCE-SEND"}
        if forced:
            guests.forced.append(row.address)
        if known is None or known.removed:
            fresh = row
            if params is not row.params or sequence != row.reset_sequence:
                fresh = replace(row, params=params, reset_sequence=sequence)
            if known is not None:  # invited once more: answers from before count no more
                fresh = replace(fresh, partstat=NEEDS_ACTION, rsvp=True, reset_at=at)
            if row.address in inherits:
                fresh = replace(fresh, partstat=None)
            guests.added.append(row.address)
            guests.changes.append(Change(row.address, row.rid, "attendee", None, row.address))
            guests.writes.append(PutAttendee(fresh))
            continue
        # RFC 5546 §3.2.2.7: RSVP=TRUE asks whoever has not been asked yet. To those who have answered it says nothing,
        # applications write it every time: they are asked again by `remind`.
        asks = row.rsvp and not known.rsvp and known.partstat == NEEDS_ACTION and known.revision is None
        kept = replace(known, position=row.position, params=params, listed=True, invited=True, rsvp=known.rsvp or asks)
        if row.address == organizer:
            kept = replace(kept, partstat=row.partstat)
        elif reset:
            kept = asked(kept, at, sequence)
        if (known.partstat or "") != (kept.partstat or ""):
            guests.changes.append(Change(row.address, row.rid, "partstat", known.partstat, kept.partstat))
        guests.kept.append(row.address)
        if unscheduled(kept) and not unscheduled(known):
            guests.withdrawn.append(row.address)
        elif dict(known.params) != dict(params) or asks:
            guests.touched.append(row.address)
        if kept != known:
            guests.writes.append(PutAttendee(kept))
    for address, known in old.items():
        if address in listed or known.removed:
            continue
        if known.listed:
            guests.removed.append(address)
            guests.changes.append(Change(address, known.rid, "attendee", address, None))
            guests.writes.append(PutAttendee(replace(known, removed=True)))
            continue
        # Let in by a reply (a delegate, a party crasher): the organizer's text does not know them.
        guests.kept.append(address)
        if reset:
            guests.changes.append(Change(address, known.rid, "partstat", known.partstat, NEEDS_ACTION))
            guests.writes.append(PutAttendee(asked(known, at, sequence)))
    return guests


def leaves(old: Mapping[str, Attendee], new: Iterable[Attendee]) -> bool:
    """Somebody is taken off the list, or handed over to another agent: CANCEL goes out (RFC 5546 §3.2.5)."""
    rows = {row.address: row for row in new}
    for known in old.values():
        row = rows.get(known.address)
        gone = known.listed if row is None else unscheduled(row) and not unscheduled(known)
        if gone and not known.removed:
            return True
    return False


def unscheduled(row: Attendee) -> bool:
    """SCHEDULE-AGENT says that somebody else sends to this attendee; a word we do not know, too (RFC 6638 §7.1)."""
    return (row.params.get("SCHEDULE-AGENT") or ("SERVER",))[0].upper() != "SERVER"


def unscheduled_event(event: Event) -> bool:
    """The same on ORGANIZER: for the whole component."""
    for line in split(event.lines)[0]:
        if line[:9].upper() == "ORGANIZER":
            return (parse_line(line).one("SCHEDULE-AGENT") or "SERVER").upper() != "SERVER"
    return False


def mailable(
    rows: Iterable[Attendee], organizer: str, *, everybody: bool = False, forced: Collection[str] = ()
) -> tuple[str, ...]:
    """Who of these gets scheduling mail: not the organizer, nor NON-PARTICIPANTs without RSVP unless asked for."""
    found: dict[str, None] = {}
    for row in rows:
        if row.address == organizer or row.removed or unscheduled(row):
            continue
        if role(row) == "NON-PARTICIPANT" and not row.rsvp and not everybody and row.address not in forced:
            continue
        found[row.address] = None
    return tuple(found)


def reachable(meeting: Meeting, rows: Iterable[Attendee], *, everybody: bool = False) -> tuple[str, ...]:
    """As `mailable`, but nobody where another agent writes for the organizer."""
    return () if elsewhere(meeting) else mailable(rows, meeting.organizer, everybody=everybody)


def elsewhere(meeting: Meeting) -> bool:
    """SCHEDULE-AGENT on ORGANIZER, the same in all components, says that somebody else writes (RFC 6638 §7.1)."""
    lead = meeting.events.get("") or next(iter(meeting.events.values()), None)
    return lead is not None and unscheduled_event(lead)
