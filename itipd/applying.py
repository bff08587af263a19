"""A message or an organizer's text inside a transaction: decided by the pure core, carried out, what waited again.

Everything a message causes - journal, meeting, outcome, outbox - is written by the same commit (design.md, rule 5). It
must never decide by itself: it calls the pure core and hands the writes on.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from datetime import datetime

from itipd.by_itself import by_itself
from itipd.carrying import Context, Job, all_of, applied, dispatch, together
from itipd.itip import case, lookup, organize, who
from itipd.itip.decide import MAX_DELEGATIONS, decide
from itipd.itip.model import Decision, Fault, Incoming, Meeting, Message, Policy, Proposal, PutProposal, Report
from itipd.itip.outcomes import Outcome, Reason
from itipd.itip.quick import replace
from itipd.itip.recurrence import TooCostly
from itipd.itip.render import GUEST_LIMIT
from itipd.itip.submitted import submitted
from itipd.mail import reply_token
from itipd.mail.reading import Reading
from itipd.orders import Mail
from itipd.send import Origin
from itipd.store import Batch, HeldMail, OutcomeRow, Ref, Want

FEW = 10  # sendings that one mail may cause (rules.md §12); most cause none
MOST_OVERRIDES = 20  # that are looked at because one before R may hold for it (RANGE=THISANDFUTURE)


async def decided(
    context: Context,
    organizer: str,
    message: Message,
    reading: Reading,
    policy: Policy,
    at: datetime,
    entry: Ref,
    position: int,
    before: Sequence[Decision] = (),
) -> Decision:
    """Decide and apply; then what the meeting's own policy lets follow from it by itself.

    `before`: what was decided about the components of the mail before this one. Nothing is sent twice because of one
    mail, and not more than a few (rules.md §12): then answers are stored, and a proposal waits for a person.
    """
    batch = context.batch
    meeting = batch.meeting(organizer, message.uid)
    decision = decide(meeting, message, reading.evidence, policy, at)
    if meeting is None:
        return decision
    quiet = sum(len(one.sends) for one in before) >= FEW
    if decision.sends:
        told = {send for one in before if one.uid == decision.uid for send in one.sends}
        decision = replace(decision, sends=() if quiet else tuple(one for one in decision.sends if one not in told))
    meeting = await applied(context, meeting, organizer, message.uid, decision)
    origin = Origin(entry, at, reading.digest.hex(), context.keys, context.language)
    await dispatch(context, meeting, decision, origin)
    proposed = [
        one.proposal for one in decision.writes if isinstance(one, PutProposal) and one.proposal.state == "open"
    ]
    if proposed and not quiet and case.for_meeting(policy, meeting).counter == "accept":
        meeting = await all_of(context, meeting)
        stored = latest(meeting, proposed[0].attendee, proposed[0].rid)
        accepted = organize.accept(meeting, stored or proposed[0], at, automatic=True)
        meeting = await applied(context, meeting, organizer, message.uid, accepted)
        await dispatch(context, meeting, accepted, origin, whole=True)
        decision = together(decision, accepted)
    return await by_itself(context, meeting, decision, origin, position) if meeting.policy else decision


def with_token(
    context: Context, mail: Mail, meeting: Meeting | None, message: Message, reading: Reading, policy: Policy
) -> Reading:
    """The reading with what a reply token among the mail's recipients proves or refutes (rules.md §2.3)."""
    token = reply_token.proven(context.keys, mail.recipients, message, meeting, policy)
    return reading if token is None else replace(reading, evidence=replace(reading.evidence, token=token))


def latest(meeting: Meeting, attendee: str | None, rid: str | None, id_: int = 0) -> Proposal | None:
    """The proposal with this id, else the latest open one of this attendee on this R (None: of anybody, on any)."""
    if id_:
        return meeting.proposals.get(id_)
    fitting = [
        proposal
        for proposal in meeting.proposals.values()
        if proposal.state == "open"
        and (attendee is None or proposal.attendee == attendee)
        and (rid is None or proposal.rid == rid)
    ]
    return max(fitting, key=lambda proposal: proposal.id, default=None)


async def put(
    context: Context, job: Job, incoming: Incoming, entry: Ref, mark: str, notify: str, recorded: bool
) -> Decision:
    organizer = organize.owner(incoming, context.policy)
    if organizer is None or incoming.fault is not None:
        return organize.put(None, incoming, context.policy, job.at)
    meeting = context.batch.meeting(organizer, incoming.uid)
    if isinstance(job.order, Mail):
        decision = submitted(meeting, incoming, context.policy, job.at, recorded=recorded)
    else:
        decision = organize.put(meeting, incoming, context.policy, job.at, notify=notify, recorded=recorded)
    if not decision.writes:
        return decision
    after = await applied(context, meeting, organizer, incoming.uid, decision)
    origin = Origin(entry, job.at, mark, context.keys, context.language)
    await dispatch(context, after, decision, origin, whole=True)
    if decision.outcome is Outcome.ADDED:
        await _decide_again(context, organizer, incoming.uid)
    return decision


async def _decide_again(context: Context, organizer: str, uid: str) -> None:
    """Replies that waited for this meeting are decided now, as of when they came."""
    known: dict[bytes, tuple[Reading, list[Decision]]] = {}  # a mail of many components is read once
    for held in await context.batch.held([(organizer, uid)], Reason.UNKNOWN_MEETING.value):
        if held.packed not in known:
            known[held.packed] = (await context.read(_mail(context, held)), [])
        reading, before = known[held.packed]
        before.append(await reopen(context, organizer, held, context.policy, "decided", reading, before))


def _mail(context: Context, held: HeldMail) -> Mail:
    raw = zlib.decompress(held.packed)
    trusted = context.trusts(held.client)
    return Mail(held.sender, held.recipients, raw, held.received_at, held.client, trusted=trusted)


async def reopen(
    context: Context,
    organizer: str,
    held: HeldMail,
    policy: Policy,
    state: str,
    reading: Reading | None = None,
    before: Sequence[Decision] = (),
) -> Decision:
    """Decide a held component once more; its first outcome is closed, the new one stands beside it.

    `reading`, where the mail was read already; `before`: what was decided about its components just now.
    """
    mail = _mail(context, held)
    if reading is None:
        reading = await context.read(mail)
    message = reading.messages[min(held.position, len(reading.messages) - 1)]
    if not isinstance(message, Message):  # reading is deterministic, but a bound of the configuration is narrower now
        return _unread(context, held, message, state)
    rids = frozenset({message.rid.rid}) if message.rid is not None else frozenset()
    await context.batch.gather([Want(organizer, message.uid, who.wanted(message, reading.evidence, policy), rids)])
    # What else is in the mail, and who else it may be for, is not loaded.
    further = deeper(
        context.batch, Job(mail, mail.received_at, replace(reading, messages=(message,))), policy, [organizer]
    )
    if further:
        await context.batch.gather(further)
    await delegators(context.batch, organizer, message, policy)
    if message.comment is None and reading.note is not None:
        message = replace(message, comment=reading.note)
    reading = with_token(context, mail, context.batch.meeting(organizer, message.uid), message, reading, policy)
    decision = await decided(
        context, organizer, message, reading, policy, mail.received_at, held.entry, held.position, before
    )
    context.batch.close_held(held.outcome, state)
    still = decision.outcome is Outcome.HELD
    context.batch.outcome(OutcomeRow(held.entry, held.position, decision, mail.received_at, open=still))
    return decision


def _unread(context: Context, held: HeldMail, found: Fault | Report, state: str) -> Decision:
    """What was held cannot be read any more: the fault is the decision, and nothing waits."""
    reason = found.reason if isinstance(found, Fault) else Reason.TOO_LARGE
    detail = found.detail if isinstance(found, Fault) else "the calendar that was held is not read any more"
    decision = Decision(Outcome.ERROR, reason, detail=detail)
    context.batch.close_held(held.outcome, state)
    context.batch.outcome(OutcomeRow(held.entry, held.position, decision, held.received_at, open=False))
    return decision


def deeper(batch: Batch, job: Job, policy: Policy, organizers: Sequence[str] | None = None) -> list[Want]:
    """What can only be named once the meeting is known: the override at R, delegates and delegators of its sender.

    `organizers`: these alone, else all that the mail's recipients may mean.
    """
    found: list[Want] = []
    if job.reading is None or not isinstance(job.order, Mail):
        return found
    for message in job.reading.messages:
        if not isinstance(message, Message):
            continue
        for name in job.names if organizers is None else organizers:
            meeting = batch.meeting(name, message.uid)
            if meeting is None:
                continue
            try:
                rid = lookup.locate(meeting, message.rid) if message.rid is not None else None
            except TooCostly:
                rid = None  # decide says so again, by name
            if rid and message.rid is not None and rid != message.rid.rid:
                found.append(Want(name, message.uid, rids=frozenset({rid})))
            if _will_send(meeting, message):
                found.append(Want(name, message.uid, guests=GUEST_LIMIT))
            if rid and (message.method == "COUNTER" or (message.sequence or 0) > meeting.sequence):
                # An override before R may hold for it, too, and have a time and a SEQUENCE of its own.
                before = {key for (key, _), row in meeting.attendees.items() if row.listed and "" < key < rid}
                found.append(Want(name, message.uid, rids=frozenset(sorted(before)[-MOST_OVERRIDES:])))
            all_days = message.method == "REFRESH" and message.rid is None  # of a guest of some instances only: those
            if not all_days and not any(row.delegated_to or row.delegated_from for row in meeting.attendees.values()):
                continue
            # Who takes a delegation back changes the delegate's row; a delegate who declines is told to the delegator.
            mine = who.wanted(message, job.reading.evidence, policy)
            rows = [row for (_, address), row in meeting.attendees.items() if address in mine]
            if all_days:
                found.append(Want(name, message.uid, rids=frozenset(row.rid for row in rows if row.rid)))
            others = frozenset(name for row in rows for name in (*row.delegated_to, *row.delegated_from))
            if others:
                found.append(Want(name, message.uid, others))
    return found


def _will_send(meeting: Meeting, message: Message) -> bool:
    """An answer is likely to leave: what it needs of the meeting is loaded at once for the whole batch.

    Only for speed: `dispatch` loads what is not there.
    """
    if message.method == "REFRESH" or meeting.status == lookup.CANCELLED:
        return True
    sequence = message.sequence
    return sequence is not None and any(row.reset_sequence > sequence for row in meeting.attendees.values())


async def delegators(batch: Batch, organizer: str, message: Message, policy: Policy) -> None:
    """Load who stands above in a chain of delegations, link by link, so that a loop is seen."""
    if not any(line.one("DELEGATED-TO") for line in message.attendees):
        return
    for _ in range(MAX_DELEGATIONS):
        meeting = batch.meeting(organizer, message.uid)
        if meeting is None:
            return
        known = {address for _, address in meeting.attendees}
        above = {name for row in meeting.attendees.values() for name in row.delegated_from} - known
        if not above:
            return
        await batch.gather([Want(organizer, message.uid, frozenset(above))])
