"""Delegation (RFC 5546 §3.2.2.3): who stands in for whom at R, how deep it goes, and what becomes of it. Pure.

A delegate is an attendee for as long as somebody has delegated to them, or once they have answered themselves; so the
order in which the mails of both arrive does not matter.
"""

from __future__ import annotations

from itipd.itip import lookup
from itipd.itip.answer import shown, stand_in
from itipd.itip.case import Case, current_sequence
from itipd.itip.guests import elsewhere, unscheduled
from itipd.itip.model import (
    NEEDS_ACTION,
    Attendee,
    CalAddress,
    Change,
    DropAttendee,
    Meeting,
    PutAttendee,
    Send,
    Write,
)
from itipd.itip.outcomes import Reason
from itipd.itip.quick import replace

MAX_CHAIN = 8  # rows of delegators looked at, whatever the data says


def chain(meeting: Meeting, address: str, rid: str) -> tuple[str, ...]:
    """Everybody above this attendee in a chain of delegations at R, nearest first, as far as rows are loaded."""
    above: dict[str, None] = {}
    edge = [address]
    while edge and len(above) <= MAX_CHAIN:
        rows = [row for (where, who), row in meeting.attendees.items() if who in edge and where in ("", rid)]
        edge = [name for row in rows for name in row.delegated_from if name not in above]
        above.update(dict.fromkeys(edge))
    return tuple(above)


def delegate_row(case: Case, address: str) -> Attendee:
    """D's row at R after A delegated to D: NEEDS-ACTION, unless D answered first."""
    rid = case.rid or ""
    rows = lookup.rows_of(case.meeting, address)
    series = rows.get("") if rid else None
    known = rows.get(rid)
    if known is None:
        known = stand_in(address, rid, case.guest, case.reset, case.reset_at)
    if known.removed:
        known = replace(known, removed=False, invited=True, listed=False, partstat=NEEDS_ACTION, revision=None)
    if series is not None and not series.removed:
        # A guest of the series: as they stand there.
        known = known if rid in rows else replace(known, partstat=None, position=series.position, params={})
    elif not known.listed:
        line = next((line for line in case.message.attendees if line.address == address), CalAddress(address))
        known = replace(known, params={**shown(line), **known.params})
    return replace(known, delegated_from=tuple(sorted({*known.delegated_from, case.address})))


def delegated(case: Case, row: Attendee) -> tuple[list[Write], list[Change], list[Send]]:
    """What A's new `row` means for those to whom they delegate now, and for those to whom they did before."""
    rid = case.rid or ""
    writes: list[Write] = []
    changes: list[Change] = []
    sends: list[Send] = []
    before = case.rows[rid].delegated_to if rid in case.rows else ()
    for name in before:
        if name not in row.delegated_to:
            _take_back(case, name, writes, changes, sends)
    gone: list[str] = []
    for name in row.delegated_to:
        delegate = delegate_row(case, name)
        rows = {**lookup.rows_of(case.meeting, name), rid: delegate}
        there = lookup.standing(rows, rid, case.meeting.events.get(rid) if rid else None)
        gone += [name] if there is not None and there.partstat == "DECLINED" else []
        writes.append(PutAttendee(delegate))
        changes.append(Change(name, rid, "delegated_from", None, ", ".join(delegate.delegated_from)))
        # SEQUENCE stays (RFC 5546 §2.1.4); the delegator may not have sent one.
        sends.append(Send("REQUEST", (name,), rid, current_sequence(case), Reason.REPLIED.value))
    # RFC 5546 §4.2.5: the delegator MUST be told when the delegate does not come, whoever's mail arrives first.
    told = [case.address] if gone else []
    if row.partstat == "DECLINED" and (case.guest is None or case.guest.partstat != "DECLINED"):
        told += [name for name in row.delegated_from if _still_delegates(case, name)]
    sends += [Send("REQUEST", (name,), rid, current_sequence(case), Reason.REPLIED.value) for name in told]
    ours = [one for one in sends if _is_ours(case, *one.to)]
    return writes, changes, [] if ours and elsewhere(case.meeting) else ours  # asked last: it reads the event's lines


def _is_ours(case: Case, name: str) -> bool:
    """No other agent writes to them (RFC 6638 §7.1)."""
    return not any(unscheduled(row) for row in lookup.rows_of(case.meeting, name).values())


def _still_delegates(case: Case, name: str) -> bool:
    """A guest at R who has not said meanwhile that they come or not; their own delegation may not have arrived yet."""
    guest = lookup.guest_at(case.meeting, name, case.rid or "")
    return guest is not None and guest.partstat in ("DELEGATED", NEEDS_ACTION)


def _take_back(case: Case, name: str, writes: list[Write], changes: list[Change], sends: list[Send]) -> None:
    """A delegates to D no more: D goes, unless D has answered, is a guest anyway, or is there for somebody else too."""
    rid = case.rid or ""
    row = case.meeting.attendees.get((rid, name))
    if row is None or case.address not in row.delegated_from:
        return
    if not row.listed and row.revision is not None:
        return  # whoever has answered is told by the organizer, not by whom they stood in for
    others = tuple(other for other in row.delegated_from if other != case.address)
    changes.append(Change(name, rid, "delegated_from", ", ".join(row.delegated_from), ", ".join(others) or None))
    if row.listed or others:
        writes.append(PutAttendee(replace(row, delegated_from=others)))
        return
    writes.append(DropAttendee(rid, name))
    rest = {where: other for where, other in lookup.rows_of(case.meeting, name).items() if where != rid}
    if lookup.standing(rest, rid, None) is None:
        sends.append(Send("CANCEL", (name,), rid, current_sequence(case), Reason.REPLIED.value, uninvite=True))
