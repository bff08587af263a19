"""A decision carried out inside a transaction: rows to the store, mails to the outbox, what waited decided again.

Everything a message causes - journal, meeting, outcome, outbox - is written by the same commit (design.md, rule 5). It
must never decide by itself: it calls the pure core and hands the writes on.
"""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from itipd.itip import case, lookup, organize, thresholds, who
from itipd.itip.addresses import canonical, strip_tag
from itipd.itip.decide import MAX_DELEGATIONS, decide
from itipd.itip.model import (
    Decision,
    DropEvent,
    Incoming,
    Meeting,
    Message,
    Policy,
    Proposal,
    PutEvent,
    PutMeeting,
    PutProposal,
)
from itipd.itip.outcomes import Outcome, Reason
from itipd.itip.recurrence import TooCostly
from itipd.itip.render import GUEST_LIMIT
from itipd.itip.submitted import submitted
from itipd.mail.reading import Reading
from itipd.orders import Done, Mail, Order
from itipd.send import Origin, sendings
from itipd.store import Batch, HeldMail, OutcomeRow, Ref, Want

FEW = 10  # sendings that one mail may cause (rules.md §12); most cause none

Read = Callable[[Mail], Awaitable[Reading]]
"""Reads a raw mail; for those that were held and are decided again."""


@dataclass(slots=True)
class Job:
    """A mail (with its reading) or an order on its way through one batch. `only`: of a mail, this organizer alone."""

    order: Mail | Order
    at: datetime
    reading: Reading | None = None
    only: str | None = None
    done: Done = field(default_factory=Done)


@dataclass(frozen=True, slots=True)
class Context:
    """What a batch needs beside its jobs."""

    batch: Batch
    policy: Policy
    read: Read
    trusts: Callable[[str], bool]  # whether a client may vouch with Authentication-Results
    secret: bytes
    language: str
    forward: bool = False  # submission.forward: the application's own mail is sent on


def candidates(job: Job, policy: Policy) -> list[str]:
    """The organizers that a mail's recipients may mean: each as written, and without its tag."""
    if not isinstance(job.order, Mail):
        return []
    found: dict[str, None] = {}
    if job.order.door == "submission" and job.reading is not None:
        for incoming in job.reading.incoming:
            found[organize.owner(incoming, policy) or ""] = None
    else:
        for recipient in job.order.recipients:
            address = who.alias_of(canonical(recipient) or recipient, policy)
            found[address] = None
            found[strip_tag(address)] = None
    return list(found)


def record(context: Context, job: Job, entry: Ref | None, position: int, decision: Decision) -> None:
    job.done.results.append(decision)
    if entry is not None:
        context.batch.outcome(OutcomeRow(entry, position, decision, job.at, open=decision.outcome is Outcome.HELD))


async def applied(context: Context, meeting: Meeting | None, organizer: str, uid: str, decision: Decision) -> Meeting:
    """The meeting after the writes of `decision`; where they change its events, its own row follows them."""
    after = await context.batch.apply(meeting, organizer, uid, decision.writes)
    if any(isinstance(write, PutMeeting | PutEvent | DropEvent) for write in decision.writes):
        row = thresholds.settled(after)
        if row is not after:
            after = await context.batch.apply(after, organizer, uid, [PutMeeting(row)])
    return after


async def dispatch(
    context: Context, meeting: Meeting, decision: Decision, origin: Origin, *, whole: bool = False
) -> None:
    """Render what is to be sent from the meeting as it now is. Only here does a reply's cost follow the meeting.

    `whole`: all of the meeting is loaded already.
    """
    if not decision.sends:
        return
    if not whole:
        await context.batch.gather([Want(meeting.organizer, meeting.uid, guests=GUEST_LIMIT)])
        meeting = context.batch.meeting(meeting.organizer, meeting.uid) or meeting
    for sending in sendings(meeting, decision, origin):
        context.batch.send(sending)


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
    origin = Origin(entry, at, reading.digest.hex(), context.secret, context.language)
    await dispatch(context, meeting, decision, origin)
    proposed = [
        one.proposal for one in decision.writes if isinstance(one, PutProposal) and one.proposal.state == "open"
    ]
    if proposed and not quiet and case.for_meeting(policy, meeting).counter == "accept":
        meeting = await _all_of(context, meeting)
        stored = latest(meeting, proposed[0].attendee, proposed[0].rid)
        accepted = organize.accept(meeting, stored or proposed[0], at, automatic=True)
        meeting = await applied(context, meeting, organizer, message.uid, accepted)
        await dispatch(context, meeting, accepted, origin, whole=True)
        decision = _together(decision, accepted)
    return await _by_itself(context, meeting, decision, origin, position) if meeting.policy else decision


async def _by_itself(context: Context, meeting: Meeting, decision: Decision, origin: Origin, position: int) -> Decision:
    """What a meeting with thresholds or published answers does after an answer (rules.md §9.7-8)."""
    batch = context.batch
    required = thresholds.asks(meeting) == "required"
    if (
        thresholds.asks(meeting)
        and thresholds.may_complete(decision)
        and thresholds.may_be_over(meeting)
        and not await batch.undecided(meeting.organizer, meeting.uid, required=required)
    ):
        meeting = await _all_of(context, meeting)
        decision = await if_declined(context, meeting, decision, origin, position)
        meeting = batch.meeting(meeting.organizer, meeting.uid) or meeting
    due = thresholds.to_publish(meeting, decision, origin.at)
    if due is not None:
        row = PutMeeting(replace(meeting, publish_at=due))
        await batch.apply(meeting, meeting.organizer, meeting.uid, [row])
    return decision


async def if_declined(
    context: Context, meeting: Meeting, decision: Decision, origin: Origin, position: int = 0
) -> Decision:
    """`decision`, with the end of the meeting in it where all have declined: an outcome of its own, the same commit."""
    ended = thresholds.when_declined(meeting, origin.at)
    if ended is None:
        return decision
    after = await applied(context, meeting, meeting.organizer, meeting.uid, ended)
    await dispatch(context, after, ended, origin, whole=True)
    context.batch.outcome(OutcomeRow(origin.entry, position, ended, origin.at))
    return _together(decision, ended)


def _together(decision: Decision, then: Decision) -> Decision:
    """The one result of a message that had two effects."""
    return replace(decision, changes=(*decision.changes, *then.changes), sends=(*decision.sends, *then.sends))


async def _all_of(context: Context, meeting: Meeting) -> Meeting:
    await context.batch.gather([Want(meeting.organizer, meeting.uid, everything=True)])
    whole = context.batch.meeting(meeting.organizer, meeting.uid)
    assert whole is not None  # noqa: S101 - it was there a line ago
    return whole


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
    origin = Origin(entry, job.at, mark, context.secret, context.language)
    await dispatch(context, after, decision, origin, whole=True)
    if decision.outcome is Outcome.ADDED:
        await _decide_again(context, organizer, incoming.uid)
    return decision


async def _decide_again(context: Context, organizer: str, uid: str) -> None:
    """Replies that waited for this meeting are decided now, as of when they came."""
    for held in await context.batch.held([(organizer, uid)], Reason.UNKNOWN_MEETING.value):
        await reopen(context, organizer, held, context.policy, "decided")


async def reopen(context: Context, organizer: str, held: HeldMail, policy: Policy, state: str) -> Decision:
    """Decide a held component once more; its first outcome is closed, the new one stands beside it."""
    mail = Mail(
        held.sender,
        held.recipients,
        zlib.decompress(held.packed),
        held.received_at,
        held.client,
        trusted=context.trusts(held.client),
    )
    reading = await context.read(mail)
    message = reading.messages[held.position]
    assert isinstance(message, Message)  # noqa: S101 - only messages are held, and reading is deterministic
    rids = frozenset({message.rid.rid}) if message.rid is not None else frozenset()
    await context.batch.gather([Want(organizer, message.uid, who.wanted(message, reading.evidence, policy), rids)])
    job = Job(mail, mail.received_at, reading)
    further = [want for want in deeper(context.batch, job, policy) if want.organizer == organizer]
    if further:
        await context.batch.gather(further)
    await delegators(context.batch, organizer, message, policy)
    if message.comment is None and reading.note is not None:
        message = replace(message, comment=reading.note)
    decision = await decided(context, organizer, message, reading, policy, mail.received_at, held.entry, held.position)
    context.batch.close_held(held.outcome, state)
    still = decision.outcome is Outcome.HELD
    context.batch.outcome(OutcomeRow(held.entry, held.position, decision, mail.received_at, open=still))
    return decision


def deeper(batch: Batch, job: Job, policy: Policy) -> list[Want]:
    """What can only be named once the meeting is known: the override at R, and to whom its sender had delegated."""
    found: list[Want] = []
    if job.reading is None or not isinstance(job.order, Mail):
        return found
    for message in job.reading.messages:
        if not isinstance(message, Message):
            continue
        for name in candidates(job, policy):
            meeting = batch.meeting(name, message.uid)
            if meeting is None:
                continue
            try:
                rid = lookup.locate(meeting, message.rid) if message.rid is not None else None
            except TooCostly:
                rid = None  # decide says so again, by name
            if rid and message.rid is not None and rid != message.rid.rid:
                found.append(Want(name, message.uid, rids=frozenset({rid})))
            # Who takes a delegation back changes the row of the delegate, too.
            mine = who.wanted(message, job.reading.evidence, policy)
            rows = (row for (_, address), row in meeting.attendees.items() if address in mine)
            delegates = frozenset(delegate for row in rows for delegate in row.delegated_to)
            if delegates:
                found.append(Want(name, message.uid, delegates))
    return found


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
