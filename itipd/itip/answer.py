"""An attendee's answer as a row: what their mail says of coming, and what is stored of it (RFC 5546 §3.2.3). Pure.

Nothing here chooses an outcome.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

from itipd.itip import lookup, who
from itipd.itip.case import Case, current_sequence
from itipd.itip.guests import elsewhere, unscheduled
from itipd.itip.model import NEEDS_ACTION, Attendee, CalAddress, Change, Decision, PutAttendee, Send
from itipd.itip.quick import replace

QUIET = timedelta(hours=1)  # at most one automatic answer to automatic mail in this time (RFC 3834 §2)
NOTICED = ("partstat", "comment", "delegated_to", "guests", "percent_complete")
LAST = 1_000_000  # position of those whom no file of the organizer's lists


def comment_of(case: Case) -> str | None:
    """The COMMENT, else the note that Google puts into the ATTENDEE."""
    return case.message.comment or case.line.one("X-RESPONSE-COMMENT") or None


def guests_of(line: CalAddress) -> int | None:
    """How many more an attendee brings (X-NUM-GUESTS); None where they do not say."""
    number = line.one("X-NUM-GUESTS")
    return int(number) if number and number.isascii() and number.isdigit() and len(number) < 5 else None


def delegates_of(case: Case) -> tuple[str, ...]:
    """To whom this message delegates; () where it is no delegation."""
    return who.related(case.line, "DELEGATED-TO", case.policy) if case.partstat == "DELEGATED" else ()


def same_answer(case: Case, known: Attendee) -> bool:
    """The message says what is already known of this attendee on R."""
    return (
        case.partstat in (None, known.partstat)
        and known.comment == comment_of(case)
        and (known.partstat != "DELEGATED" or known.delegated_to == delegates_of(case))
        and known.guests == guests_of(case.line)
        and known.future == _from_here_on(case)
        and known.percent_complete == case.message.percent_complete
    )


def _from_here_on(case: Case) -> bool:
    """The answer holds for all later instances, too: it says so, or what it answers does (RFC 5545 §3.2.13)."""
    override = case.event if case.event is not None and case.event.rid else None
    return bool(case.rid) and (case.message.future or (override is not None and override.future))


def shown(line: CalAddress) -> dict[str, tuple[str, ...]]:
    """What somebody whom the organizer does not list says of themselves, or is said of them."""
    return {name: values for name, values in line.params.items() if name in ("CN", "CUTYPE", "EMAIL")}


def row_at(case: Case) -> Attendee:
    """The attendee's own row at R, or a new one that says nothing yet."""
    rid = case.rid or ""
    row = case.rows.get(rid)
    if row is not None:
        return row
    if case.guest is None:
        return stand_in(case.address, rid, case.voucher if case.delegators else None, case.reset, case.reset_at)
    return Attendee(
        case.address,
        rid,
        position=case.guest.position,
        listed=False,
        invited=case.guest.invited,
        removed=case.guest.removed,
        partstat=None,
        reset_sequence=case.reset,
        reset_at=case.reset_at,
    )


def stand_in(address: str, rid: str, for_: Attendee | None, reset: int, reset_at: datetime | None) -> Attendee:
    """A row for somebody whom the organizer's text does not list; a delegate has the delegator's role."""
    role = for_.params.get("ROLE") if for_ is not None else None
    return Attendee(
        address,
        rid,
        position=LAST,
        params={"ROLE": role} if role else {},
        listed=False,
        rsvp=True,
        reset_sequence=reset,
        reset_at=reset_at,
    )


def answered(case: Case) -> Attendee:
    """Their row at R with this answer in it.

    A reply changes nothing but this: PARTSTAT, COMMENT, RSVP, delegation, SCHEDULE-STATUS, guests and, of a VTODO,
    PERCENT-COMPLETE and COMPLETED. Those whom the organizer does not list say their own name.
    """
    line, message = case.line, case.message
    row = row_at(case)
    if not row.listed and (row.rid == "" or "" not in case.rows):
        delegators = tuple(sorted({*row.delegated_from, *case.delegators}))
        row = replace(row, params={**row.params, **shown(line)}, delegated_from=delegators)
    sent_by = who.related(line, "SENT-BY", case.policy)
    return replace(  # in one go with what `heard` says: most mails pass here
        row,
        **_heard(case),
        partstat=case.partstat or NEEDS_ACTION,
        rsvp=(line.one("RSVP") or "").upper() == "TRUE",
        comment=comment_of(case),
        delegated_to=delegates_of(case),
        sent_by=sent_by[0] if sent_by else None,
        guests=guests_of(line),
        future=_from_here_on(case),
        percent_complete=message.percent_complete,
        completed=message.completed,
    )


def heard(case: Case) -> Attendee:
    """Their row at R after a message that says nothing of coming: only that it came counts."""
    return replace(row_at(case), **_heard(case))


def _heard(case: Case) -> dict[str, Any]:
    return {
        "revision": case.revision,
        "reply_time": case.tie,
        "replied_at": case.now,
        "schedule_status": case.message.request_status or "2.0",  # RFC 6638 §3.2.9
    }


def differences(case: Case, row: Attendee) -> Iterator[Change]:
    """What people would notice once `row` is theirs at R: nothing where a later THISANDFUTURE holds there."""
    old = case.guest
    new = lookup.shown_at({**case.rows, row.rid: row}, row.rid, None)
    before = _noticed(old) if old is not None else (None,) * len(NOTICED)
    for name, was, now in zip(NOTICED, before, _noticed(new), strict=True):
        if was != now and _text(was) != _text(now):
            yield Change(case.address, row.rid, name, _text(was), _text(now))


_noticed = attrgetter(*NOTICED)


def _text(value: object) -> str | None:
    if isinstance(value, tuple):
        return ", ".join(value) or None
    return None if value is None else str(value)


def with_answer(
    decision: Decision, case: Case, method: str, rid: str, *, uninvite: bool = False, row: Attendee | None = None
) -> Decision:
    """`decision` and one automatic mail to the attendee, unless an automatic mail of theirs had one within the hour.

    `row`: theirs at R as `decision` leaves it, where it writes it.
    """
    row = row if row is not None else row_at(case)
    send = Send(method, (case.address,), rid, current_sequence(case, rid), decision.reason.value, uninvite=uninvite)
    sends = (*decision.sends, send)
    if unscheduled(case.guest or row) or elsewhere(case.meeting):
        return replace(decision, detail=f"{decision.detail}; SCHEDULE-AGENT: another agent writes to them")
    if not case.sender.automatic:
        return replace(decision, sends=sends)
    if row.answered_at is not None and case.now - row.answered_at < QUIET:
        return replace(decision, detail=f"{decision.detail}; no second automatic answer within the hour")
    marked = PutAttendee(replace(row, answered_at=case.now))
    return replace(decision, sends=sends, writes=(*decision.writes, marked))
