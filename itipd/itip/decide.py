"""An attendee's message -> Decision: the tables of RFC 5546 §3.2.3 (REPLY), §3.2.6 (REFRESH) and §3.2.7 (COUNTER).

The tables are at the end (`RULES`). Each rule is one function that answers None for "does not apply"; the first that
answers wins. Before them: no attendee's method, and an unknown UID (`considered`). Pure: `now` and the policy are
arguments. A message changes only the attendee who sent it, and the delegates they name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from itipd.itip import lookup, who
from itipd.itip.answer import (
    answered,
    comment_of,
    delegates_of,
    differences,
    heard,
    row_at,
    same_answer,
    with_answer,
)
from itipd.itip.case import (
    Case,
    current_rid,
    current_sequence,
    held,
    highest_sequence,
    lay_out,
    nothing,
    of,
    stale,
    words,
)
from itipd.itip.counter import proposal_of, retire, same_proposal
from itipd.itip.delegation import chain, delegated
from itipd.itip.model import (
    NEEDS_ACTION,
    Attendee,
    Decision,
    Evidence,
    Meeting,
    Message,
    Policy,
    PutAttendee,
    PutProposal,
)
from itipd.itip.outcomes import Outcome, Reason
from itipd.itip.plan import is_over
from itipd.itip.properties import value_of
from itipd.itip.quick import replace
from itipd.itip.recurrence import TooCostly

MAX_DELEGATIONS = 5  # a chain A -> B -> C ... deeper than this is refused
MAX_DAYS = 10  # instances that one REFRESH is answered with
MAX_DELEGATES = 4  # to whom one mail may delegate: a reply never costs more than a few mails


Rule = Callable[[Case], Decision | None]


def decide(meeting: Meeting | None, message: Message, sender: Evidence, policy: Policy, now: datetime) -> Decision:
    """What follows from one component of an attendee's mail.

    `meeting` holds at least the rows of `who.wanted` and the event at the RECURRENCE-ID; None: the UID is unknown.
    """
    decision = None
    for _, decision in considered(meeting, message, sender, policy, now):  # noqa: B007 - the last one counts
        pass
    assert decision is not None  # noqa: S101 - the last rule of every table always answers
    return decision


def considered(
    meeting: Meeting | None, message: Message, sender: Evidence, policy: Policy, now: datetime
) -> Iterator[tuple[str, Decision | None]]:
    """The rules in the order they are tried, up to and with the one that decides: (its name, its decision)."""
    rules = RULES.get(message.method) if message.attendees else None  # none are read of other components
    if rules is None:  # RFC 5546 §3.2: REQUEST, CANCEL, ADD, PUBLISH, DECLINECOUNTER are the organizer's to send
        ours = meeting is not None and sender.from_address == meeting.organizer
        yield "not_for_organizer", of(message, Outcome.NO_ACTION, Reason.OWN_MAIL if ours else Reason.NOT_FOR_ORGANIZER)
        return
    if meeting is None:
        # It waits, and is decided by itself when the meeting is registered.
        yield "unknown_meeting", of(message, Outcome.HELD, Reason.UNKNOWN_MEETING)
        return
    try:
        case = lay_out(meeting, message, sender, policy, now)
    except TooCostly as error:
        yield "too_costly", of(message, Outcome.ERROR, Reason.RULE_TOO_COSTLY, detail=str(error))
        return
    tries, decision = iter(rules), None
    while decision is None:  # the last rule of every table always answers
        rule = next(tries)
        decision = rule(case)
        yield rule.__name__, decision


# -- the rules, in the order of the table ------------------------------------------------------------------------


def organizer_mismatch(case: Case) -> Decision | None:
    """ORGANIZER present, neither ours nor an alias. Exchange leaves it out: then it is the recipient's meeting."""
    organizer = case.message.organizer  # RFC 5546 §2.1.1: it alone may be answered for this meeting
    if organizer is None or who.is_organizer(organizer, case.meeting, case.policy):
        return None
    return nothing(case, Reason.ORGANIZER_MISMATCH, f"ORGANIZER {organizer}, ours is {case.meeting.organizer}")


def own_mail(case: Case) -> Decision | None:
    """From one of our own organizer addresses: a loop, or the organizer's own client (RFC 3834 §2)."""
    sender = case.sender.from_address
    if sender is None or not who.is_organizer(sender, case.meeting, case.policy):
        return None
    return nothing(case, Reason.OWN_MAIL, f"From {sender} is the organizer")


def sender_unproven(case: Case) -> Decision | None:
    """Evidence too weak for policy `sender`: held, state unchanged (RFC 6047 §2.2.1, a MUST)."""
    if who.proven(case.line, case.address, case.sender, case.policy):
        return None
    found = case.sender.from_address or "no single mailbox"
    detail = f"policy {case.policy.sender}; From {found}, DMARC {case.sender.dmarc or 'not vouched for'}"
    return held(case, Reason.SENDER_UNPROVEN, f"{detail}, ATTENDEE {case.line.address}")


def unknown_instance(case: Case) -> Decision | None:
    """RECURRENCE-ID is no instance: not in RRULE or RDATE, or in EXDATE. The series is untouched."""
    if case.rid is not None:
        return None
    asked = case.message.rid.rid if case.message.rid else "the series"
    return nothing(case, Reason.UNKNOWN_INSTANCE, f"no instance at {asked}")


def cancelled(case: Case) -> Decision | None:
    """The meeting or the instance is cancelled: CANCEL again to this attendee."""
    if not case.cancelled:
        return None
    if case.stranger:
        return nothing(case, Reason.CANCELLED, "cancelled; the sender is no attendee and is sent nothing")
    rid = "" if case.meeting.status == lookup.CANCELLED and "" in case.meeting.events else case.rid or ""
    return with_answer(nothing(case, Reason.CANCELLED, "STATUS:CANCELLED"), case, "CANCEL", rid)


def uninvited(case: Case) -> Decision | None:
    """The attendee was removed: CANCEL again, without STATUS (RFC 5546 §3.2.5)."""
    if case.guest is None or not case.guest.removed or not case.guest.invited:
        return None
    series = case.rows.get("")
    rid = "" if series is not None and series.removed else case.rid or ""
    return with_answer(
        nothing(case, Reason.UNINVITED, f"{case.address} was removed"), case, "CANCEL", rid, uninvite=True
    )


def no_partstat(case: Case) -> Decision | None:
    """A REPLY whose ATTENDEE says nothing; with a REQUEST-STATUS it says that the REQUEST failed (RFC 5546 §3.2.3)."""
    if case.partstat is not None or case.message.request_status is not None:
        return None
    return of(case.message, Outcome.ERROR, Reason.NO_PARTSTAT, case, f"no PARTSTAT on ATTENDEE {case.line.address}")


def delegate_refused(case: Case) -> Decision | None:
    """Somebody who is here only because an attendee delegated to them, where policy forbids delegation."""
    if not case.stranger or not case.delegators or case.policy.delegation != "forbid":
        return None
    return nothing(case, Reason.DELEGATION_REFUSED, "policy delegation = forbid")


def party_crasher(case: Case) -> Decision | None:
    """Never invited: policy decides (RFC 5546 §3.2.3). Never added when stale or when From is not the attendee.

    The organizer decides whether they become part of the event, and may send CANCEL if not (§3.2.2.6). No crasher is
    who comes on the word of a guest: a delegate whose REPLY arrives before the delegator's
    (§3.2.2.3), and a member of a list that was invited (§3.7.2).
    """
    policy = case.policy.party_crasher
    if not case.stranger or case.voucher is not None:
        if policy == "rejected":
            return nothing(case, Reason.REJECTED, f"a person has refused it; {case.address} is a guest meanwhile")
        return None
    theirs = case.sender.from_address is not None and who.same_person(
        case.sender.from_address, case.line, replace(case.policy, aliases={})
    )
    old = case.message.sequence is not None and case.message.sequence < current_sequence(case)
    if policy in ("no_action", "rejected"):  # rejected: by a person
        refusal = nothing(case, Reason.PARTY_CRASHER, f"policy party_crasher = {policy}")
        if not case.rid and any(not row.removed for row in case.rows.values()):
            return refusal  # a CANCEL of the whole would take away the days to which they are invited
        row = replace(row_at(case), removed=True, invited=False, partstat=None)  # remembers that they were told
        return with_answer(refusal, case, "CANCEL", case.rid or "", uninvite=True, row=row)
    if policy == "accepted" or (policy == "added" and theirs and not old):  # accepted: a person has said so
        return None
    return held(case, Reason.PARTY_CRASHER, f"{case.address} is no attendee; policy party_crasher = {policy}")


def stale_sequence(case: Case) -> Decision | None:
    """SEQUENCE below the attendee's reset sequence on R: the current REQUEST again, to this attendee alone."""
    if not stale(case):
        return None
    detail = f"SEQUENCE {case.message.sequence} < reset sequence {case.reset}"
    if case.policy.stale_reply == "ignore" or case.stranger:  # who delegated to a stranger is asked again themselves
        return nothing(case, Reason.STALE_SEQUENCE, detail)
    return with_answer(nothing(case, Reason.STALE_SEQUENCE, detail), case, "REQUEST", current_rid(case))


def stale_counter(case: Case) -> Decision | None:
    """A COUNTER to an earlier revision is declined, with the SEQUENCE of now (RFC 5546 §3.2.8)."""
    if not stale(case):
        return None
    detail = f"SEQUENCE {case.message.sequence} < reset sequence {case.reset}"
    return with_answer(nothing(case, Reason.STALE_SEQUENCE, detail), case, "DECLINECOUNTER", case.rid or "")


def out_of_order(case: Case) -> Decision | None:
    """Revision below the last applied one of the same R, or equal to it and sent earlier (RFC 5546 §2.1.5)."""
    known = case.known
    if known is None or known.revision is None or case.revision > known.revision:
        return None
    # RFC 5546 §2.1.5 has no word for a tie; Outlook for Mac sends two answers with one DTSTAMP.
    earlier = known.reply_time is not None and case.tie < known.reply_time
    if case.revision == known.revision and (not earlier or _same(case, known)):
        return None
    return nothing(case, Reason.OUT_OF_ORDER, f"{words(case.revision)} is not after {words(known.revision)}")


def duplicate(case: Case) -> Decision | None:
    """Same revision, same answer."""
    known = case.known
    if known is None or known.revision != case.revision or not _same(case, known):
        return None
    found = nothing(case, Reason.DUPLICATE, f"{words(case.revision)} is already applied")
    if known.reply_time is not None and case.tie > known.reply_time:
        # A third answer of this revision, sent between the two, must not win because it arrives last.
        return replace(found, writes=(PutAttendee(replace(known, reply_time=case.tie)),))
    return found


def _same(case: Case, known: Attendee) -> bool:
    return same_proposal(case) if case.message.method == "COUNTER" else same_answer(case, known)


def delegation_refused(case: Case) -> Decision | None:
    """A delegation that policy forbids, that points back, to too many, or too deep (RFC 5546 §3.2.2.3)."""
    delegates = delegates_of(case)
    if not delegates:
        return None
    if case.policy.delegation == "forbid":
        return nothing(case, Reason.DELEGATION_REFUSED, "policy delegation = forbid")
    if len(delegates) > MAX_DELEGATES:
        return nothing(case, Reason.DELEGATION_REFUSED, f"{len(delegates)} delegates, at most {MAX_DELEGATES}")
    above = chain(case.meeting, case.address, case.rid or "")
    if len(above) >= MAX_DELEGATIONS:
        return nothing(case, Reason.DELEGATION_REFUSED, f"a chain of more than {MAX_DELEGATIONS} delegations")
    back = set(delegates) & {case.address, case.meeting.organizer, *above}
    if back:
        return nothing(case, Reason.DELEGATION_REFUSED, f"a loop: {', '.join(sorted(back))} is already in the chain")
    return None


def replied(case: Case) -> Decision:
    """Otherwise: PARTSTAT, comment and revision are stored; who is delegated to becomes an attendee."""
    failed = case.partstat is None
    row = _let_in(case, replace(heard(case), comment=comment_of(case)) if failed else answered(case))
    writes, changes, sends = delegated(case, row) if not failed else ([], [], [])
    quirks = ("future_sequence",) if case.revision.sequence > highest_sequence(case) else ()
    decision = of(
        case.message,
        Outcome.UPDATED,
        Reason.REPLIED,
        case,
        f"{words(case.revision)} applied",
        quirks=quirks,
        changes=(*differences(case, row), *changes),
        writes=(PutAttendee(row), *writes, *retire(case)),
        sends=tuple(sends),
    )
    return _told(case, decision, row)


def _let_in(case: Case, row: Attendee) -> Attendee:
    return replace(row, removed=False, invited=case.voucher is not None) if case.stranger else row


def _told(case: Case, decision: Decision, row: Attendee) -> Decision:
    """A party crasher whom the policy, or a person, lets in becomes an attendee and is sent the REQUEST."""
    if not case.stranger or case.voucher is not None:
        return decision
    added = replace(decision, outcome=Outcome.ADDED, reason=Reason.PARTY_CRASHER, detail=f"{case.address} was let in")
    return with_answer(added, case, "REQUEST", case.rid or "", row=row)


def refresh_of_some_days(case: Case) -> Decision | None:
    """Asked for the whole by a guest of some instances only: those and nothing else, at most a few mails."""
    if case.message.rid is not None or (case.guest is not None and not case.guest.removed):
        return None
    zones = lookup.zones(case.meeting.zones)
    events = (event for rid, event in sorted(case.meeting.events.items()) if rid in case.rows)
    days = [
        event.rid
        for event in events
        if event.status != lookup.CANCELLED and not case.rows[event.rid].removed and not is_over(event, zones, case.now)
    ]
    if not days:
        return None
    decision = nothing(case, Reason.REFRESH, f"asked for by {case.address}, a guest of {len(days)} instances alone")
    for rid in days[:MAX_DAYS]:
        decision = with_answer(decision, case, "REQUEST", rid, row=case.rows[rid])
    return decision


def refresh_of_stranger(case: Case) -> Decision | None:
    """From anybody else nothing leaves."""
    if case.stranger:
        return nothing(case, Reason.PARTY_CRASHER, f"{case.address} is no attendee")
    if case.guest is not None and case.guest.removed:
        return nothing(case, Reason.UNINVITED, f"{case.address} was removed")
    return None


def refresh(case: Case) -> Decision:
    """From a current attendee: the current REQUEST to that person alone, nothing bumped (RFC 5546 §3.2.6)."""
    return with_answer(
        nothing(case, Reason.REFRESH, f"asked for by {case.address}"), case, "REQUEST", current_rid(case)
    )


def counter(case: Case) -> Decision:
    """A known attendee's COUNTER, not stale: a proposal is stored, PARTSTAT taken if there is one (RFC 5546 §3.2.7)."""
    proposal = proposal_of(case)
    silent = case.partstat in (None, NEEDS_ACTION, "DELEGATED")  # RFC 5546 §3.2.2.3: it takes a REPLY to delegate
    row = _let_in(case, heard(case) if silent else answered(case))
    refuses = case.event is not None and (value_of(case.event.lines, "X-MICROSOFT-DISALLOW-COUNTER") or "").upper()
    declined = case.policy.counter == "decline" or refuses == "TRUE"
    if declined:
        proposal = replace(proposal, state="declined")
    decision = replace(
        of(case.message, Outcome.UPDATED, Reason.PROPOSAL, case, f"{words(case.revision)}, {proposal.state}"),
        changes=tuple(differences(case, row)),
        writes=(*retire(case), PutAttendee(row), PutProposal(proposal)),
    )
    if declined:
        decision = with_answer(decision, case, "DECLINECOUNTER", case.rid or "", row=row)
    return _told(case, decision, row)


# -- the tables --------------------------------------------------------------------------------------------------

SENDER: tuple[Rule, ...] = (
    organizer_mismatch,  # no_action
    own_mail,  # no_action
    sender_unproven,  # held
)
POINT: tuple[Rule, ...] = (
    unknown_instance,  # no_action
    cancelled,  # no_action, CANCEL again
)

RULES: dict[str, tuple[Rule, ...]] = {
    "REPLY": (  # RFC 5546 §3.2.3
        *SENDER,
        *POINT,
        uninvited,  # no_action, CANCEL again
        no_partstat,  # error
        delegate_refused,  # no_action
        party_crasher,  # held; or no_action and CANCEL; or let in by `replied`
        stale_sequence,  # no_action, the REQUEST again
        out_of_order,  # no_action
        duplicate,  # no_action
        delegation_refused,  # no_action
        replied,  # updated; REQUEST to whom they delegate to
    ),
    "COUNTER": (  # RFC 5546 §3.2.7
        *SENDER,
        *POINT,
        uninvited,  # no_action, CANCEL again
        party_crasher,  # held; or no_action and CANCEL; or let in by `counter`
        stale_counter,  # no_action, DECLINECOUNTER
        out_of_order,  # no_action
        duplicate,  # no_action
        counter,  # updated: a proposal; DECLINECOUNTER where the policy declines them
    ),
    "REFRESH": (  # RFC 5546 §3.2.6
        *SENDER,
        refresh_of_some_days,  # no_action, the REQUESTs of those days
        *POINT,
        refresh_of_stranger,  # no_action, nothing leaves
        refresh,  # no_action, the REQUEST again
    ),
}
"""What is tried for each method, in this order, with the outcome and what is sent. The last rule always answers."""
