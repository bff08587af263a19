"""One batch of mails and orders: gather what they need, decide one after the other in memory, let the store write it.

The only place where the pure core meets the store. Everything a message causes - journal, meeting, outcome, outbox -
is written by the same commit (design.md, rule 5).
"""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from itipd.itip import case, lookup, organize, who
from itipd.itip.addresses import canonical, served, strip_tag, tag
from itipd.itip.decide import MAX_DELEGATIONS, decide
from itipd.itip.model import Decision, Fault, Incoming, Meeting, Message, Policy, Proposal, PutProposal
from itipd.itip.outcomes import Outcome, Reason
from itipd.itip.recurrence import TooCostly
from itipd.itip.render import GUEST_LIMIT
from itipd.itip.submitted import submitted
from itipd.mail.reading import Reading
from itipd.orders import (
    AcceptHeld,
    AcceptProposal,
    Cancel,
    DeclineProposal,
    Done,
    Mail,
    Order,
    Put,
    RejectHeld,
    Remind,
    kind_of,
    pack,
)
from itipd.send import Origin, sendings
from itipd.store import Batch, Entry, HeldMail, OutcomeRow, Ref, Want

Read = Callable[[Mail], Awaitable[Reading]]
"""Reads a raw mail; for those that were held and are decided again."""

OURS = 28  # characters of the tag of our own return paths: "b-" and 26 of base32


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
    secret: bytes
    language: str
    forward: bool = False  # submission.forward: the application's own mail is sent on


async def process(context: Context, jobs: Sequence[Job]) -> None:
    """Decide all jobs in order and leave what is to be written in the batch; results are in `job.done`."""
    for job in jobs:
        job.done = Done()
    batch = context.batch
    wants = [want for job in jobs for want in _wants(job, context.policy)]
    await batch.gather(wants)
    deeper = [want for job in jobs for want in _deeper(batch, job, context.policy)]
    if deeper:
        await batch.gather(deeper)
    mails = [job for job in jobs if job.reading is not None]
    digests = [(name, job.reading.digest) for job in mails if job.reading for name in candidates(job, context.policy)]
    seen = await batch.seen(digests)
    for job in jobs:
        if isinstance(job.order, Mail):
            await _mail(context, job, job.order, seen)
        else:
            await _order(context, job, job.order)


# -- what is needed ----------------------------------------------------------------------------------------------


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
    return [name for name in found if job.only in (None, name)]


def _wants(job: Job, policy: Policy) -> list[Want]:
    order = job.order
    if isinstance(order, Mail) and job.reading is not None:
        names = candidates(job, policy)
        found = []
        for message in job.reading.messages:
            if isinstance(message, Message):
                addresses = who.wanted(message, job.reading.evidence, policy)
                rids = frozenset({message.rid.rid}) if message.rid is not None else frozenset()
                found += [Want(name, message.uid, addresses, rids) for name in names]
        for incoming in job.reading.incoming:
            found += _want_put(incoming, policy)
        return found
    if isinstance(order, Put):
        return _want_put(order.incoming, policy)
    if not isinstance(order, Mail) and order.organizer is not None:
        return [Want(order.organizer, order.uid, everything=True)]
    return []


def _want_put(incoming: Incoming, policy: Policy) -> list[Want]:
    organizer = organize.owner(incoming, policy)
    return [Want(organizer, incoming.uid, everything=True)] if organizer is not None and incoming.uid else []


def _deeper(batch: Batch, job: Job, policy: Policy) -> list[Want]:
    """What can only be named once the meeting is known: the override at R, and those above in a delegation."""
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
    return found


async def _delegators(batch: Batch, organizer: str, message: Message, policy: Policy) -> None:
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


# -- a mail ------------------------------------------------------------------------------------------------------


def _chosen(context: Context, recipient: str, uids: Sequence[str]) -> str:
    """The organizer that a recipient's address means: who owns a meeting of the mail, else who is configured."""
    address = who.alias_of(canonical(recipient) or recipient, context.policy)
    base = strip_tag(address)
    if base == address:
        return address
    for name in (address, base):
        if any(context.batch.meeting(name, uid) is not None for uid in uids):
            return name
    label = tag(address) or ""
    ours = label.startswith("b-") and len(label) == OURS
    return base if ours or not served(address, context.policy.organizers) else address


async def _mail(context: Context, job: Job, mail: Mail, seen: dict[tuple[str, bytes], int]) -> None:
    reading = job.reading
    assert reading is not None  # noqa: S101 - the inbox reads every mail first
    if mail.door == "submission":
        await _submission(context, job, mail, reading, seen)
        return
    uids = [message.uid for message in reading.messages if isinstance(message, Message)]
    organizers = list(dict.fromkeys(_chosen(context, recipient, uids) for recipient in mail.recipients))
    for organizer in organizers:
        if job.only not in (None, organizer):
            continue
        entry = _entry(context, job, mail, reading, organizer, "mail", seen)
        for position, message in enumerate(reading.messages):
            if isinstance(message, Fault):
                decision = of_fault(message)
            elif entry is None:
                decision = case.of(message, Outcome.NO_ACTION, Reason.DUPLICATE, detail="the same mail came before")
            else:
                others = [name for name in organizers if name != organizer]
                decision = await _message(context, job, mail, reading, message, organizer, others, entry)
            decision = replace(decision, quirks=tuple(dict.fromkeys((*decision.quirks, *reading.quirks))))
            _record(context, job, entry, position, decision)


def of_fault(fault: Fault) -> Decision:
    """A mail or component that is no message: what reading found is the decision."""
    return Decision(
        fault.outcome, fault.reason, uid=fault.uid, method=fault.method, quirks=fault.quirks, detail=fault.detail
    )


def _entry(
    context: Context,
    job: Job,
    mail: Mail,
    reading: Reading,
    organizer: str,
    kind: str,
    seen: dict[tuple[str, bytes], int],
) -> Ref | None:
    """Into the journal; None where the same mail is already there for this organizer."""
    known = context.batch.journaled(organizer, reading.digest)
    before = seen.get((organizer, reading.digest))
    if known is not None:
        job.done.entries.append(known)
        return None
    if before is not None:
        job.done.seen = before
        return None
    entry = context.batch.journal(
        Entry(
            organizer=organizer,
            kind=kind,
            received_at=mail.received_at,
            packed=reading.packed,
            sender=mail.sender,
            recipients=mail.recipients,
            client=mail.client,
            message_id=reading.message_id,
            from_=reading.from_header,
            digest=reading.digest,
        )
    )
    job.done.entries.append(entry)
    return entry


def _record(context: Context, job: Job, entry: Ref | None, position: int, decision: Decision) -> None:
    job.done.results.append(decision)
    if entry is not None:
        context.batch.outcome(OutcomeRow(entry, position, decision, job.at, open=decision.outcome is Outcome.HELD))


async def _message(
    context: Context,
    job: Job,
    mail: Mail,
    reading: Reading,
    message: Message,
    organizer: str,
    others: Sequence[str],
    entry: Ref,
) -> Decision:
    """One component of an attendee's mail, for one organizer."""
    batch = context.batch
    await _delegators(batch, organizer, message, context.policy)
    meeting = batch.meeting(organizer, message.uid)
    if meeting is None and any(batch.meeting(name, message.uid) is not None for name in others):
        return case.of(message, Outcome.NO_ACTION, Reason.OTHER_ORGANIZER)
    if message.comment is None and reading.note is not None:
        message = replace(message, comment=reading.note)
    return await _decided(context, organizer, message, reading, context.policy, mail.received_at, entry)


async def _decided(
    context: Context, organizer: str, message: Message, reading: Reading, policy: Policy, at: datetime, entry: Ref
) -> Decision:
    """Decide and apply; where the policy accepts counter proposals by itself, the proposal too."""
    batch = context.batch
    meeting = batch.meeting(organizer, message.uid)
    decision = decide(meeting, message, reading.evidence, policy, at)
    if meeting is None:
        return decision
    meeting = await batch.apply(meeting, organizer, message.uid, decision.writes)
    origin = Origin(entry, at, reading.digest.hex(), context.secret, context.language)
    await _dispatch(context, meeting, decision, origin)
    proposed = [
        one.proposal for one in decision.writes if isinstance(one, PutProposal) and one.proposal.state == "open"
    ]
    if proposed and case.for_meeting(policy, meeting).counter == "accept":
        await batch.gather([Want(organizer, message.uid, everything=True)])
        meeting = batch.meeting(organizer, message.uid)
        assert meeting is not None  # noqa: S101 - it was there a line ago
        stored = latest(meeting, proposed[0].attendee, proposed[0].rid)
        accepted = organize.accept(meeting, stored or proposed[0], at, automatic=True)
        meeting = await batch.apply(meeting, organizer, message.uid, accepted.writes)
        await _dispatch(context, meeting, accepted, origin, whole=True)
        changes = (*decision.changes, *accepted.changes)
        decision = replace(decision, changes=changes, sends=(*decision.sends, *accepted.sends))
    return decision


async def _dispatch(
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


# -- the organizer -----------------------------------------------------------------------------------------------


async def _submission(
    context: Context, job: Job, mail: Mail, reading: Reading, seen: dict[tuple[str, bytes], int]
) -> None:
    """The application's own mail: REQUEST and CANCEL register, change and cancel meetings (interface.md, Doors)."""
    fallback = canonical(mail.sender) or ""
    position = 0
    for incoming in reading.incoming:
        organizer = organize.owner(incoming, context.policy) or fallback
        if job.only not in (None, organizer):
            continue
        entry = _entry(context, job, mail, reading, organizer, "submission", seen)
        if entry is None and not (job.done.entries and job.done.entries[-1].organizer == organizer and position):
            decision = Decision(Outcome.NO_ACTION, Reason.DUPLICATE, incoming.uid, "", incoming.method)
        else:
            entry = entry or job.done.entries[-1]
            decision = await _put(context, job, incoming, entry, reading.digest.hex(), "changed", not context.forward)
            decision = replace(decision, method=incoming.method)
        _record(context, job, entry, position, decision)
        position += 1
    faults = [fault for fault in reading.messages if isinstance(fault, Fault)]
    if faults and job.only in (None, fallback):
        entry = _entry(context, job, mail, reading, fallback, "submission", seen) if not position else None
        for number, fault in enumerate(faults, position):
            _record(context, job, entry, number, of_fault(fault))


async def _put(
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
    after = await context.batch.apply(meeting, organizer, incoming.uid, decision.writes)
    origin = Origin(entry, job.at, mark, context.secret, context.language)
    await _dispatch(context, after, decision, origin, whole=True)
    if decision.outcome is Outcome.ADDED:
        await _decide_again(context, organizer, incoming.uid)
    return decision


async def _decide_again(context: Context, organizer: str, uid: str) -> None:
    """Replies that waited for this meeting are decided now, as of when they came."""
    for held in await context.batch.held([(organizer, uid)], Reason.UNKNOWN_MEETING.value):
        await _reopen(context, organizer, held, context.policy, "decided")


async def _reopen(context: Context, organizer: str, held: HeldMail, policy: Policy, state: str) -> Decision:
    """Decide a held component once more; its first outcome is closed, the new one stands beside it."""
    mail = Mail(held.sender, held.recipients, zlib.decompress(held.packed), held.received_at, held.client)
    reading = await context.read(mail)
    message = reading.messages[held.position]
    assert isinstance(message, Message)  # noqa: S101 - only messages are held, and reading is deterministic
    rids = frozenset({message.rid.rid}) if message.rid is not None else frozenset()
    await context.batch.gather([Want(organizer, message.uid, who.wanted(message, reading.evidence, policy), rids)])
    job = Job(mail, mail.received_at, reading)
    deeper = [want for want in _deeper(context.batch, job, policy) if want.organizer == organizer]
    if deeper:
        await context.batch.gather(deeper)
    await _delegators(context.batch, organizer, message, policy)
    if message.comment is None and reading.note is not None:
        message = replace(message, comment=reading.note)
    decision = await _decided(context, organizer, message, reading, policy, mail.received_at, held.entry)
    context.batch.close_held(held.outcome, state)
    still = decision.outcome is Outcome.HELD
    context.batch.outcome(OutcomeRow(held.entry, held.position, decision, mail.received_at, open=still))
    return decision


async def _order(context: Context, job: Job, order: Order) -> None:
    batch = context.batch
    if isinstance(order, Put):
        organizer = organize.owner(order.incoming, context.policy) or ""
    else:
        organizer = order.organizer or ""
    packed = pack(order)
    entry = batch.journal(Entry(organizer=organizer, kind=kind_of(order), received_at=job.at, packed=packed))
    job.done.entries.append(entry)
    mark = f"{job.at.isoformat()} {len(packed)}"
    if isinstance(order, Put):
        decision = await _put(context, job, order.incoming, entry, mark, order.notify, order.recorded)
    else:
        meeting = batch.meeting(organizer, order.uid) if organizer else None
        if meeting is None:
            decision = organize.not_found(order.uid or None, f"no meeting with UID {order.uid!r}")
        elif isinstance(order, AcceptHeld | RejectHeld):
            decision = await _held(context, order, meeting)
        else:
            decision = _command(order, meeting, job.at)
            after = await batch.apply(meeting, organizer, order.uid, decision.writes)
            origin = Origin(entry, job.at, mark, context.secret, context.language)
            await _dispatch(context, after, decision, origin, whole=True)
    _record(context, job, entry, 0, decision)


def _command(order: Cancel | Remind | AcceptProposal | DeclineProposal, meeting: Meeting, now: datetime) -> Decision:
    if isinstance(order, Cancel):
        return organize.cancel(meeting, now, rids=order.rids, notify=order.notify)
    if isinstance(order, Remind):
        return organize.remind(meeting, now)
    proposal = latest(meeting, order.attendee, order.instance, order.id)
    if proposal is None:
        return organize.not_found(meeting.uid, f"no open proposal of {order.attendee or 'anybody'}")
    if isinstance(order, AcceptProposal):
        return organize.accept(meeting, proposal, now)
    return organize.decline(meeting, proposal, order.comment)


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


async def _held(context: Context, order: AcceptHeld | RejectHeld, meeting: Meeting) -> Decision:
    """A person decides about what was held: it counts as proven and invited, or it is refused (RFC 5546 §3.2.3)."""
    fitting = [
        held
        for held in await context.batch.held([(meeting.organizer, meeting.uid)])
        if (order.id == 0 or held.outcome.id == order.id) and order.attendee in (None, held.attendee)
    ]
    if not fitting:
        return organize.not_found(meeting.uid, f"nothing held of {order.attendee or 'anybody'}")
    held = fitting[0]
    if isinstance(order, AcceptHeld):
        policy = replace(context.policy, sender="any", party_crasher="accepted")
        return await _reopen(context, meeting.organizer, held, policy, "accepted")
    if held.reason == Reason.PARTY_CRASHER:
        policy = replace(context.policy, sender="any", party_crasher="no_action")
        decision = await _reopen(context, meeting.organizer, held, policy, "rejected")
        return replace(decision, reason=Reason.REJECTED)
    context.batch.close_held(held.outcome, "rejected")
    return Decision(Outcome.NO_ACTION, Reason.REJECTED, uid=meeting.uid, rid="", attendee=held.attendee)
