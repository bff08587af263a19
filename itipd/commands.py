"""The organizer's orders inside a transaction: each goes into the journal and is decided by `itip.organize`."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from itipd.applying import latest, put, reopen
from itipd.by_itself import if_declined
from itipd.carrying import Context, Job, applied, dispatch, record
from itipd.itip import case, organize, own_policy, thresholds
from itipd.itip.model import Decision, Meeting, Policy
from itipd.itip.outcomes import Outcome, Reason
from itipd.orders import (
    AcceptHeld,
    AcceptProposal,
    Cancel,
    Deadline,
    DeclineProposal,
    Order,
    Publish,
    Put,
    RejectHeld,
    Remind,
    SetPolicy,
    kind_of,
    pack,
)
from itipd.send import Origin
from itipd.store import Entry, Store

Command = Cancel | Remind | AcceptProposal | DeclineProposal | SetPolicy | Deadline | Publish
"""The orders that are decided from the meeting alone."""


async def complete(store: Store, order: Order) -> Order:
    """The order with everything by which a rebuilt database finds the same thing: organizer, attendee, R."""
    if isinstance(order, Put):
        return order
    if isinstance(order, AcceptProposal | DeclineProposal) and order.id:
        proposal = await store.proposal(order.id)
        if proposal is not None:
            order = replace(
                order,
                uid=proposal["uid"],
                organizer=proposal["organizer"],
                attendee=proposal["attendee"],
                instance=proposal["recurrence_id"] or "",
            )
    if isinstance(order, AcceptHeld | RejectHeld) and order.id:
        held = await store.held(order.id)
        if held is not None:
            order = replace(order, uid=held["uid"], organizer=held["organizer"], attendee=held["attendee"])
        waits = await store.held_mail(order.id)
        if waits is not None:
            order = replace(order, mail=waits.name)
    if order.organizer is None and order.uid:
        order = replace(order, organizer=await store.organizer_of(order.uid))
    return order


async def decide_order(context: Context, job: Job, order: Order) -> None:
    batch = context.batch
    if isinstance(order, Put):
        organizer = organize.owner(order.incoming, context.policy) or ""
        meeting = None
    else:
        organizer = order.organizer or ""
        meeting = batch.meeting(organizer, order.uid) if organizer else None
    if isinstance(order, Deadline | Publish) and not _has_come(order, meeting, job.at):
        # Another process was faster, or it was called off meanwhile: no order at all, so nothing for the journal.
        nothing = Decision(Outcome.NO_ACTION, Reason.UNCHANGED, uid=order.uid, rid="", detail="nothing is due")
        job.done.results.append(nothing)
        return
    packed = pack(order)
    entry = batch.journal(Entry(organizer=organizer, kind=kind_of(order), received_at=job.at, packed=packed))
    job.done.entries.append(entry)
    mark = f"{job.at.isoformat()} {len(packed)}"
    if isinstance(order, Put):
        decision = await put(context, job, order.incoming, entry, mark, order.notify, order.recorded)
    elif meeting is None:
        decision = organize.not_found(order.uid or None, f"no meeting with UID {order.uid!r}")
    elif isinstance(order, AcceptHeld | RejectHeld):
        decision = await _held(context, order, meeting)
    else:
        decision = _command(order, meeting, job.at)
        after = await applied(context, meeting, organizer, order.uid, decision)
        origin = Origin(entry, job.at, mark, context.keys, context.language)
        await dispatch(context, after, decision, origin, whole=True)
        if isinstance(order, SetPolicy):
            decision = await if_declined(context, after, decision, origin)
    record(context, job, entry, 0, decision)


def _has_come(order: Deadline | Publish, meeting: Meeting | None, now: datetime) -> bool:
    if meeting is None:
        return False
    at = meeting.deadline_at if isinstance(order, Deadline) else meeting.publish_at
    return thresholds.is_due(meeting, at, now)


def _command(order: Command, meeting: Meeting, now: datetime) -> Decision:
    if isinstance(order, Cancel):
        return organize.cancel(meeting, now, rids=order.rids, notify=order.notify)
    if isinstance(order, Remind):
        return organize.remind(meeting, now, order.attendees)
    if isinstance(order, SetPolicy):
        return own_policy.changed(meeting, order.words, now)
    if isinstance(order, Deadline):
        return thresholds.at_deadline(meeting, now)
    if isinstance(order, Publish):
        return thresholds.publish(meeting, now)
    proposal = latest(meeting, order.attendee, order.instance, order.id)
    if proposal is None:
        return organize.not_found(meeting.uid, f"no open proposal of {order.attendee or 'anybody'}")
    if isinstance(order, AcceptProposal):
        return organize.accept(meeting, proposal, now)
    return organize.decline(meeting, proposal, order.comment)


async def _held(context: Context, order: AcceptHeld | RejectHeld, meeting: Meeting) -> Decision:
    """A person decides about what was held: it counts as proven and invited, or it is refused (RFC 5546 §3.2.3)."""
    fitting = [
        held
        for held in await context.batch.held([(meeting.organizer, meeting.uid)])
        if order.mail in (None, held.name)
        and order.attendee in (None, held.attendee)
        and order.instance in (None, held.rid)
        and order.id in (0, held.outcome.id)
    ]
    if not fitting:
        return organize.not_found(meeting.uid, f"nothing held of {order.attendee or 'anybody'}")
    held = fitting[0]
    if isinstance(order, AcceptHeld):
        policy = _decided_by_person(context.policy, meeting, party_crasher="accepted")
        return await reopen(context, meeting.organizer, held, policy, "accepted")
    if held.reason == Reason.PARTY_CRASHER:
        policy = _decided_by_person(context.policy, meeting, party_crasher="rejected")
        decision = await reopen(context, meeting.organizer, held, policy, "rejected")
        return replace(decision, reason=Reason.REJECTED)
    context.batch.close_held(held.outcome, "rejected")
    return Decision(Outcome.NO_ACTION, Reason.REJECTED, uid=meeting.uid, rid="", attendee=held.attendee)


def _decided_by_person(policy: Policy, meeting: Meeting, *, party_crasher: str) -> Policy:
    """The meeting's policy, but that the sender counts as proven and what a person says of a stranger."""
    own = case.for_meeting(policy, meeting)
    return replace(own, sender="any", party_crasher=party_crasher, by_person=True)
