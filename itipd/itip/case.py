"""The case of one message: the facts that the rules of decide.py compare (RFC 5546 §2.1.5, §3.2.3).

Pure. Nothing here chooses an outcome.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from itipd.itip import lookup, who
from itipd.itip.model import (
    NEEDS_ACTION,
    OF_TODOS,
    PARTSTATS,
    Attendee,
    CalAddress,
    Change,
    Decision,
    Event,
    Evidence,
    Meeting,
    Message,
    Policy,
    Revision,
    Send,
    Write,
)
from itipd.itip.outcomes import Outcome, Reason
from itipd.itip.quick import quick, replace

AHEAD = timedelta(days=1)  # a DTSTAMP further in the future counts as the receipt plus this
POLICY_WORDS = frozenset({"sender", "party_crasher", "counter", "stale_reply", "delegation", "location"})


@quick
@dataclass(frozen=True, slots=True)
class Case:
    """One message laid beside the meeting: everything that a rule compares."""

    meeting: Meeting
    message: Message
    sender: Evidence
    policy: Policy
    now: datetime
    line: CalAddress  # the ATTENDEE who answered
    address: str  # as the meeting knows them, else as they wrote it
    partstat: str | None  # their PARTSTAT
    rid: str | None  # canonical; "" the series; None: there is no such instance
    rows: lookup.Rows  # of this attendee
    guest: Attendee | None  # how they stand at R; removed ones included
    voucher: Attendee | None  # a stranger's: the guest by whom they are here, who delegated to them or is their list
    event: Event | None  # the override at R, or the series
    reset: int  # the SEQUENCE at which R was last set back to NEEDS-ACTION for them
    reset_at: datetime | None  # and when
    revision: Revision  # of the message, with what is missing filled in
    known: Attendee | None  # the row with what they said last of R itself
    tie: datetime  # what decides between equal revisions

    @property
    def cancelled(self) -> bool:
        return lookup.CANCELLED in (self.meeting.status, self.event.status if self.event else "")

    @property
    def stranger(self) -> bool:
        """Never invited to R; one who was refused before is a stranger still."""
        return self.guest is None or (self.guest.removed and not self.guest.invited)

    @property
    def delegators(self) -> tuple[str, ...]:
        """The guests who, this message says, delegated to its sender."""
        names = who.related(self.line, "DELEGATED-FROM", self.policy)
        return tuple(name for name in names if lookup.guest_at(self.meeting, name, self.rid or ""))


def for_meeting(policy: Policy, meeting: Meeting) -> Policy:
    """The configured policy with the words that this meeting has of its own."""
    if policy.by_person:
        return policy
    words: dict[str, Any] = {name: word for name, word in meeting.policy.items() if name in POLICY_WORDS}
    return replace(policy, **words) if words else policy


def lay_out(meeting: Meeting, message: Message, sender: Evidence, policy: Policy, now: datetime) -> Case:
    """The facts of the case; the rules only compare them."""
    policy = for_meeting(policy, meeting)
    line = who.answering(message, meeting, sender, policy)
    address = who.known_as(line, meeting, policy) or who.alias_of(line.address, policy)
    located = lookup.locate(meeting, message.rid)
    rid = located or ""
    rows = lookup.rows_of(meeting, address)
    event = meeting.events.get(rid)
    guest = lookup.standing(rows, rid, event)
    voucher = None
    if guest is None or (guest.removed and not guest.invited):
        voucher = _voucher(meeting, line, policy, rid)
    reset, reset_at = lookup.reset_of(rows, rid)
    if voucher is not None:
        reset, reset_at = voucher.reset_sequence, voucher.reset_at
    known = rows.get(rid)
    return Case(
        meeting=meeting,
        message=message,
        sender=sender,
        policy=policy,
        now=now,
        line=line,
        address=address,
        partstat=partstat_of(line, meeting.component),
        rid=located,
        rows=rows,
        guest=guest,
        voucher=voucher,
        event=event if event is not None else meeting.events.get(""),
        reset=reset,
        reset_at=reset_at,
        # RFC 5546 §3.2.3 reads a missing SEQUENCE as 0; clients leave it out of answers to later revisions too, so
        # one that is not stale counts for the last reset.
        revision=Revision(
            message.sequence if message.sequence is not None else reset,
            min(message.dtstamp or sender.date or now, now + AHEAD),
        ),
        known=known if known is not None and known.revision is not None else None,
        tie=min(message.reply_time or sender.date or now, now + AHEAD),
    )


def _voucher(meeting: Meeting, line: CalAddress, policy: Policy, rid: str) -> Attendee | None:
    """Whom a stranger names as delegator (RFC 5546 §3.2.2.3) or as their list (§3.7.2), if that is a guest at R."""
    for name in (*who.related(line, "DELEGATED-FROM", policy), *who.related(line, "MEMBER", policy)):
        guest = lookup.guest_at(meeting, name, rid)
        if guest is not None:
            reset, reset_at = lookup.reset_of(lookup.rows_of(meeting, name), rid)
            return replace(guest, reset_sequence=reset, reset_at=reset_at)
    return None


# -- what a message says -----------------------------------------------------------------------------------------


def partstat_of(line: CalAddress, component: str) -> str | None:
    """The PARTSTAT of an ATTENDEE; one that its component does not know is NEEDS-ACTION (RFC 5545 §3.2.12).

    None: there is none.
    """
    value = (line.one("PARTSTAT") or "").upper()
    known = value in PARTSTATS and (component == "VTODO" or value not in OF_TODOS)
    return value if known else NEEDS_ACTION if value else None


def stale(case: Case) -> bool:
    """The message answers a revision from before this attendee's last reset on R, never "before the current one"."""
    if case.message.sequence is not None:
        return case.message.sequence < case.reset
    # A missing SEQUENCE is 0 by the RFC, but clients leave it out: only an older DTSTAMP makes it stale. DTSTAMP has
    # whole seconds, and some clients send back that of the very invitation.
    return case.reset > 0 and case.reset_at is not None and case.revision.dtstamp < case.reset_at.replace(microsecond=0)


def words(revision: Revision) -> str:
    """A revision for people: `SEQUENCE 1, DTSTAMP 2026-11-20T08:00:00Z`."""
    # In every answer's detail; strftime costs ten times as much.
    return f"SEQUENCE {revision.sequence}, DTSTAMP {revision.dtstamp.isoformat()[:19]}Z"


# -- mails -------------------------------------------------------------------------------------------------------


def current_rid(case: Case) -> str:
    """R where it has an override of its own to send, else the series."""
    return case.rid if case.rid and case.rid in case.meeting.events else ""


def current_sequence(case: Case, rid: str | None = None) -> int:
    """The SEQUENCE under which R goes out now."""
    event = case.meeting.events.get(case.rid or "" if rid is None else rid)
    return event.sequence if event is not None and event.rid else case.meeting.sequence


def highest_sequence(case: Case) -> int:
    """The highest SEQUENCE that R can have gone out under: an override that holds for all that follow may be above."""
    rid = case.rid or ""
    events = case.meeting.events.items()
    over = [event.sequence for key, event in events if key == rid or (event.future and "" < key < rid)]
    return max(case.meeting.sequence, case.reset, *over)


# -- decisions ---------------------------------------------------------------------------------------------------


def of(
    message: Message,
    outcome: Outcome,
    reason: Reason,
    case: Case | None = None,
    detail: str = "",
    *,
    quirks: tuple[str, ...] = (),
    changes: tuple[Change, ...] = (),
    writes: tuple[Write, ...] = (),
    sends: tuple[Send, ...] = (),
) -> Decision:
    """A decision with the words of the message in it; nothing to do but what is said."""
    line = case.line if case is not None else message.attendees[0] if message.attendees else None
    rid = case.rid if case is not None and case.rid is not None else message.rid.rid if message.rid else ""
    component = case.meeting.component if case is not None else message.component
    found = message.quirks
    if case is not None and len(message.attendees) > 1:
        delegation = ("DELEGATED-TO", "DELEGATED-FROM")
        if not any(who.related(case.line, name, case.policy) for name in delegation):
            found = (*found, "several_attendees")
    return Decision(
        outcome=outcome,
        reason=reason,
        uid=message.uid,
        rid=rid,
        method=message.method,
        attendee=case.address if case is not None else line.address if line is not None else None,
        partstat=partstat_of(line, component) if line is not None else None,
        sequence=case.revision.sequence if case is not None else message.sequence,
        quirks=(*found, *quirks),
        changes=changes,
        writes=writes,
        sends=sends,
        detail=detail,
    )


def nothing(case: Case, reason: Reason, detail: str) -> Decision:
    """no_action."""
    return of(case.message, Outcome.NO_ACTION, reason, case, detail)


def held(case: Case, reason: Reason, detail: str) -> Decision:
    """A person decides; the state is unchanged."""
    return of(case.message, Outcome.HELD, reason, case, detail)
