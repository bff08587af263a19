"""The case of one message: the facts that the rules of decide.py compare, and the parts that decisions are made of.

Pure. Nothing here chooses an outcome.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from itipd.itip import lookup, who
from itipd.itip.model import (
    NEEDS_ACTION,
    Attendee,
    CalAddress,
    Change,
    Decision,
    Event,
    Evidence,
    Meeting,
    Message,
    Policy,
    Proposal,
    Proposed,
    PutAttendee,
    PutProposal,
    Revision,
    Send,
)
from itipd.itip.outcomes import Outcome, Reason

AHEAD = timedelta(days=1)  # a DTSTAMP further in the future counts as the receipt plus this
QUIET = timedelta(hours=1)  # at most one automatic answer to automatic mail in this time (RFC 3834 §2)
PARTSTATS = frozenset({NEEDS_ACTION, "ACCEPTED", "DECLINED", "TENTATIVE", "DELEGATED", "COMPLETED", "IN-PROCESS"})
POLICY_WORDS = frozenset({"sender", "party_crasher", "counter", "stale_reply", "delegation", "location"})
LAST = 1_000_000  # position of those whom no file of the organizer's lists
MAX_CHAIN = 8  # rows of delegators looked at, whatever the data says


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
    rid: str | None  # canonical; "" the series; None: there is no such instance
    rows: lookup.Rows  # of this attendee
    guest: Attendee | None  # how they stand at R; removed ones included
    event: Event | None  # the override at R, or the series
    reset: int  # the SEQUENCE at which R was last set back to NEEDS-ACTION for them
    revision: Revision  # of the message, with what is missing filled in
    answer: Attendee | None  # the row with their answer to R itself
    tie: datetime  # what decides between equal revisions

    @property
    def cancelled(self) -> bool:
        return lookup.CANCELLED in (self.meeting.status, self.event.status if self.event else "")

    @property
    def delegators(self) -> tuple[str, ...]:
        """Those who, this message says, delegated to its sender."""
        return who.related(self.line, "DELEGATED-FROM", self.policy)


def for_meeting(policy: Policy, meeting: Meeting) -> Policy:
    """The configured policy with the words that this meeting has of its own."""
    words: dict[str, Any] = {name: word for name, word in meeting.policy.items() if name in POLICY_WORDS}
    return replace(policy, **words) if words else policy


def lay_out(meeting: Meeting, message: Message, sender: Evidence, policy: Policy, now: datetime) -> Case:
    """The facts of the case; the rules only compare them."""
    policy = for_meeting(policy, meeting)
    line = who.answering(message, meeting, sender, policy)
    address = who.known_as(line, meeting, policy) or who.alias_of(line.address, policy)
    rid = lookup.locate(meeting, message.rid)
    rows = lookup.rows_of(meeting, address)
    event = meeting.events.get(rid) if rid is not None else None
    reset = lookup.reset_at(rows, rid or "")
    stamp = min(message.dtstamp or sender.date or now, now + AHEAD)
    # RFC 5546 §3.2.3 reads a missing SEQUENCE as 0; clients leave it out of answers to later revisions too, so
    # one that is not stale counts for the last reset.
    sequence = message.sequence if message.sequence is not None else reset
    return Case(
        meeting=meeting,
        message=message,
        sender=sender,
        policy=policy,
        now=now,
        line=line,
        address=address,
        rid=rid,
        rows=rows,
        guest=lookup.standing(rows, rid or "", event if rid else None),
        event=event if event is not None else meeting.events.get(""),
        reset=reset,
        revision=Revision(sequence, stamp),
        answer=lookup.answer_at(rows, rid or ""),
        tie=min(message.reply_time or sender.date or now, now + AHEAD),
    )


# -- what a message says -----------------------------------------------------------------------------------------


def partstat_of(line: CalAddress) -> str | None:
    """The PARTSTAT of an ATTENDEE; one we do not know means NEEDS-ACTION (RFC 5545 §3.2.12); None: there is none."""
    value = line.one("PARTSTAT")
    if not value:
        return None
    return value.upper() if value.upper() in PARTSTATS else NEEDS_ACTION


def stale(case: Case) -> bool:
    """The message answers a revision from before this attendee's last reset on R, never "before the current one"."""
    if case.message.sequence is not None:
        return case.message.sequence < case.reset
    # A missing SEQUENCE is 0 by the RFC, but clients leave it out: only an older DTSTAMP makes it stale.
    reset_at = case.guest.reset_at if case.guest is not None else None
    return case.reset > 0 and reset_at is not None and case.revision.dtstamp < reset_at


def words(revision: Revision) -> str:
    """A revision for people: `SEQUENCE 1, DTSTAMP 2026-11-20T08:00:00Z`."""
    return f"SEQUENCE {revision.sequence}, DTSTAMP {revision.dtstamp:%Y-%m-%dT%H:%M:%SZ}"


def same_answer(case: Case, known: Attendee) -> bool:
    """The message says what is already known of this attendee on R."""
    delegates = who.related(case.line, "DELEGATED-TO", case.policy)
    message = case.message
    if message.method == "COUNTER" and case.message.proposed is not None:
        mine = [p for p in case.meeting.proposals.values() if p.attendee == case.address and p.rid == case.rid]
        return any(p.proposed.start == case.message.proposed.start for p in mine)
    return (
        known.partstat == partstat_of(case.line)
        and known.comment == message.comment
        and (known.delegated_to == delegates or known.partstat != "DELEGATED")
        and known.percent_complete == message.percent_complete
    )


# -- rows --------------------------------------------------------------------------------------------------------


def row_at(case: Case) -> Attendee:
    """The attendee's own row at R, or a new one that says nothing yet."""
    rid = case.rid or ""
    row = case.rows.get(rid)
    if row is not None:
        return row
    if case.guest is None:
        shown = {name: values for name, values in case.line.params.items() if name in ("CN", "CUTYPE", "EMAIL")}
        return Attendee(case.address, rid, LAST, params=shown, listed=False, delegated_from=case.delegators)
    guest = case.guest
    return Attendee(
        case.address,
        rid,
        position=guest.position,
        listed=False,
        invited=guest.invited,
        partstat=None,
        reset_sequence=case.reset,
        reset_at=guest.reset_at,
    )


def answered(case: Case) -> tuple[Attendee, Attendee]:
    """(how the attendee stood at R, their row with this answer in it).

    A reply changes nothing but this: PARTSTAT, COMMENT, RSVP, delegation, SCHEDULE-STATUS, guests and, of a VTODO,
    PERCENT-COMPLETE and COMPLETED.
    """
    line, message = case.line, case.message
    row = row_at(case)
    partstat = partstat_of(line) or NEEDS_ACTION
    sent_by = who.related(line, "SENT-BY", case.policy)
    guests = line.one("X-NUM-GUESTS")
    new = replace(
        row,
        partstat=partstat,
        rsvp=(line.one("RSVP") or "").upper() == "TRUE",
        revision=case.revision,
        reply_time=case.tie,
        replied_at=case.now,
        comment=message.comment or line.one("X-RESPONSE-COMMENT"),
        delegated_to=who.related(line, "DELEGATED-TO", case.policy) if partstat == "DELEGATED" else (),
        sent_by=sent_by[0] if sent_by else None,
        guests=int(guests) if guests and guests.isascii() and guests.isdigit() and len(guests) < 5 else None,
        # RFC 6638 §3.2.9: the REQUEST-STATUS of the reply, or 2.0
        schedule_status=(message.request_status or "2.0").split(";")[0],
        future=message.future and case.rid != "",
        percent_complete=message.percent_complete,
        completed=message.completed,
    )
    return case.guest if case.guest is not None else replace(row, partstat=None), new


def differences(case: Case, old: Attendee, new: Attendee) -> Iterator[Change]:
    """What people would notice of an answer."""
    for name in ("partstat", "comment", "delegated_to", "guests", "percent_complete"):
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            yield Change(case.address, case.rid or "", name, _shown(before), _shown(after))


def _shown(value: object) -> str | None:
    if isinstance(value, tuple):
        return ", ".join(value) or None
    return None if value is None else str(value)


def delegator_at(case: Case, address: str) -> Attendee | None:
    """The attendee at R who is named in DELEGATED-FROM; None where they are none."""
    row = lookup.standing(lookup.rows_of(case.meeting, address), case.rid or "", None)
    return row if row is not None and not row.removed else None


def delegate_row(case: Case, address: str) -> Attendee:
    """D's row at R after A delegated to D: NEEDS-ACTION, unless D answered first (RFC 5546 §3.2.2.3)."""
    rid = case.rid or ""
    rows = lookup.rows_of(case.meeting, address)
    known = rows.get(rid)
    if known is None:
        line = next((line for line in case.message.attendees if line.address == address), CalAddress(address))
        shown = {name: values for name, values in line.params.items() if name in ("CN", "CUTYPE")}
        role = case.guest.params.get("ROLE") if case.guest is not None else None
        if role:
            shown["ROLE"] = role  # the delegate stands in for the delegator
        beside = case.guest.position if case.guest is not None else LAST
        known = Attendee(address, rid, beside, shown, listed=False, rsvp=True, reset_sequence=case.reset)
    if known.removed:
        known = replace(known, removed=False, partstat=NEEDS_ACTION, revision=None)
    delegators = tuple(dict.fromkeys((*known.delegated_from, case.address)))
    return replace(known, delegated_from=delegators)


def chain(meeting: Meeting, address: str) -> tuple[str, ...]:
    """Everybody above this attendee in a chain of delegations, nearest first, as far as rows are loaded."""
    above: dict[str, None] = {}
    edge = [address]
    while edge and len(above) <= MAX_CHAIN:
        rows = [row for (_, who_), row in meeting.attendees.items() if who_ in edge]
        edge = [name for row in rows for name in row.delegated_from if name not in above]
        above.update(dict.fromkeys(edge))
    return tuple(above)


def retire(case: Case) -> list[PutProposal]:
    """A later REPLY or COUNTER of the same attendee on the same R retires what they proposed before."""
    mine = (
        p for p in case.meeting.proposals.values() if (p.attendee, p.rid, p.state) == (case.address, case.rid, "open")
    )
    return [PutProposal(replace(proposal, state="retired")) for proposal in mine]


def proposal_of(case: Case) -> Proposal:
    """What a COUNTER proposes, against the meeting as it is."""
    proposed = case.message.proposed or Proposed()
    if case.event is not None and proposed.location == case.event.location:
        proposed = replace(proposed, location=None)
    strangers = tuple(
        line
        for line in case.message.attendees
        if line is not case.line
        and who.known_as(line, case.meeting, case.policy) is None
        and not who.is_organizer(line.address, case.meeting, case.policy)
    )
    return Proposal(
        id=0,
        attendee=case.address,
        rid=case.rid or "",
        proposed=proposed,
        added=strangers,
        comment=case.message.comment,
        sequence=case.revision.sequence,
    )


# -- mails -------------------------------------------------------------------------------------------------------


def current_rid(case: Case) -> str:
    """R where it has an override of its own to send, else the series."""
    return case.rid if case.rid and case.rid in case.meeting.events else ""


def current_sequence(case: Case, rid: str | None = None) -> int:
    """The SEQUENCE under which R goes out now."""
    event = case.meeting.events.get(case.rid or "" if rid is None else rid)
    return event.sequence if event is not None and event.rid else case.meeting.sequence


def request(case: Case, address: str) -> Send:
    """The current REQUEST to one person. SEQUENCE stays (RFC 5546 §2.1.4)."""
    rid = case.rid or ""
    return Send("REQUEST", (address,), rid, current_sequence(case), Reason.REPLIED.value)


def with_answer(
    decision: Decision, case: Case, method: str, rid: str, *, uninvite: bool = False, row: Attendee | None = None
) -> Decision:
    """`decision` and one automatic mail to the attendee, unless an automatic mail of theirs had one within the hour."""
    row = row if row is not None else row_at(case)
    send = Send(method, (case.address,), rid, current_sequence(case, rid), decision.reason.value, uninvite=uninvite)
    if not case.sender.automatic:
        return replace(decision, sends=(send,))
    if row.answered_at is not None and case.now - row.answered_at < QUIET:
        return replace(decision, detail=f"{decision.detail}; no second automatic answer within the hour")
    return replace(decision, sends=(send,), writes=(PutAttendee(replace(row, answered_at=case.now)),))


# -- decisions ---------------------------------------------------------------------------------------------------


def of(message: Message, outcome: Outcome, reason: Reason, case: Case | None = None, detail: str = "") -> Decision:
    """A decision with the words of the message in it and nothing to do."""
    line = case.line if case is not None else message.attendees[0] if message.attendees else None
    rid = case.rid if case is not None and case.rid is not None else message.rid.rid if message.rid else ""
    quirks = message.quirks
    if case is not None and len(message.attendees) > 1 and not who.related(case.line, "DELEGATED-TO", case.policy):
        quirks = (*quirks, "several_attendees")
    return Decision(
        outcome=outcome,
        reason=reason,
        uid=message.uid,
        rid=rid,
        method=message.method,
        attendee=case.address if case is not None else line.address if line is not None else None,
        partstat=partstat_of(line) if line is not None else None,
        sequence=case.revision.sequence if case is not None else message.sequence,
        quirks=quirks,
        detail=detail,
    )


def nothing(case: Case, reason: Reason, detail: str) -> Decision:
    """no_action."""
    return of(case.message, Outcome.NO_ACTION, reason, case, detail)


def held(case: Case, reason: Reason, detail: str) -> Decision:
    """A person decides; the state is unchanged."""
    return of(case.message, Outcome.HELD, reason, case, detail)
