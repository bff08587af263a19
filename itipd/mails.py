"""A mail inside a transaction: whose it is, into the journal, each component decided on its own.

For every recipient that is an organizer once; the application's own mail (submission) registers and changes meetings.
"""

from __future__ import annotations

from collections.abc import Sequence

from itipd.applying import FEW, decided, delegators, put, with_token
from itipd.busy import busy_time
from itipd.carrying import Context, Job, record
from itipd.forwarding import forwarded
from itipd.itip import case, freebusy, organize, who
from itipd.itip.addresses import canonical, served, strip_tag, tag
from itipd.itip.bounced import bounced
from itipd.itip.model import Decision, Fault, Message, Report
from itipd.itip.outcomes import Outcome, Reason
from itipd.itip.quick import replace
from itipd.mail import compose, reply_token
from itipd.mail.reading import Reading
from itipd.orders import Mail
from itipd.send import Origin
from itipd.store import Batch, Entry, Ref, Want

OURS = 28  # characters of the tag of our own return paths: "b-" and 26 of base32


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
    ours = _is_ours(label) or reply_token.is_label(label)
    return base if ours or not served(address, context.policy.organizers) else address


async def decide_mail(context: Context, job: Job, mail: Mail, seen: dict[tuple[str, bytes], int]) -> None:
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
        first = len(job.done.results)
        for position, message in enumerate(reading.messages):
            if isinstance(message, Fault):
                decision = of_fault(message)
                if entry is not None and organizer == organizers[0]:  # the same mail goes on once
                    decision = forwarded(context, mail, reading, organizer, entry, decision)
            elif isinstance(message, Report):
                decision = await _report(context, mail, message, organizer)
            elif entry is None:
                decision = case.of(message, Outcome.NO_ACTION, Reason.DUPLICATE, detail="the same mail came before")
            else:
                others = [name for name in organizers if name != organizer]
                before = job.done.results[first:]
                decision = await _message(context, mail, reading, position, organizer, others, entry, before)
            if reading.quirks or len(decision.quirks) > 1:
                decision = replace(decision, quirks=tuple(dict.fromkeys((*decision.quirks, *reading.quirks))))
            record(context, job, entry, position, decision)


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


async def _report(context: Context, mail: Mail, report: Report, organizer: str) -> Decision:
    """A delivery report: its mail by the return path's token, else by Message-ID, else what calendar came back.

    A token that is none of ours is a forgery and changes nothing (rules.md §11).
    """
    batch = context.batch
    tags = [tag(canonical(recipient) or "") or "" for recipient in mail.recipients]
    tokens = [label[2:] for label in tags if _is_ours(label)]
    sent = await batch.delivered(organizer, tokens, [report.message_id] if report.message_id and not tokens else [])
    if tokens and not sent:
        return bounced(None, replace(report, uid=None))
    mine = next((one for one in sent if one.recipient in (report.recipient, report.final)), None)
    if mine is None and tokens:
        if report.guessed:  # an automatic reply to the return path may have any address in its words
            return bounced(None, replace(report, uid=None))
        mine = sent[0]  # the token names the delivery, whatever the recipient's own server calls the address
    uid = mine.uid if mine is not None else report.uid
    if uid is None:
        return bounced(None, report)
    addresses = frozenset(name for name in (mine and mine.recipient, report.recipient, report.final) if name)
    rid = mine.rid if mine is not None else report.rid or ""
    await batch.gather([Want(organizer, uid, addresses, frozenset({rid}))])
    meeting = batch.meeting(organizer, uid)
    if mine is not None:
        decision = bounced(meeting, report, rid=mine.rid, sent_at=mine.created_at, known=mine.recipient)
    else:
        decision = bounced(meeting, report, rid=report.rid or "")
    if meeting is not None:
        await batch.apply(meeting, organizer, uid, decision.writes)
    if mine is not None and decision.outcome is Outcome.UPDATED:
        batch.reported(mine, report.status)
    return decision


def _is_ours(label: str) -> bool:
    return label.startswith("b-") and len(label) == OURS


async def _message(
    context: Context,
    mail: Mail,
    reading: Reading,
    position: int,
    organizer: str,
    others: Sequence[str],
    entry: Ref,
    before: Sequence[Decision],
) -> Decision:
    """One component of an attendee's mail, for one organizer."""
    batch = context.batch
    message = reading.messages[position]
    assert isinstance(message, Message)  # noqa: S101 - faults and reports are decided elsewhere
    if freebusy.is_request(message):
        if position >= FEW:
            return freebusy.too_costly(message, f"only the first {FEW} components of a mail may ask for busy time")
        origin = Origin(entry, mail.received_at, reading.digest.hex(), context.keys, context.language)
        return await busy_time(context, organizer, message, reading.evidence, origin)
    await delegators(batch, organizer, message, context.policy)
    meeting = batch.meeting(organizer, message.uid)
    if meeting is None and any(batch.meeting(name, message.uid) is not None for name in others):
        return case.of(message, Outcome.NO_ACTION, Reason.OTHER_ORGANIZER)
    if message.comment is None and reading.note is not None:
        message = replace(message, comment=reading.note)
    reading = with_token(context, mail, meeting, message, reading, context.policy)
    decision = await decided(
        context, organizer, message, reading, context.policy, mail.received_at, entry, position, before
    )
    if decision.reason is Reason.NOT_FOR_ORGANIZER and await _sent_by_us(batch, organizer, reading.message_id):
        detail = f"its Message-ID {reading.message_id} is of a mail of ours"
        decision = replace(decision, reason=Reason.OWN_MAIL, detail=detail)
    return decision


async def _sent_by_us(batch: Batch, organizer: str, message_id: str) -> bool:
    """Whether a mail is one of ours that came back, whatever a list has made of its From (RFC 3834 §2)."""
    return compose.is_ours(message_id, organizer) and bool(await batch.delivered(organizer, (), (message_id,)))


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
            decision = await put(context, job, incoming, entry, reading.digest.hex(), "changed", not context.forward)
            decision = replace(decision, method=incoming.method)
        record(context, job, entry, position, decision)
        position += 1
    faults = [fault for fault in reading.messages if isinstance(fault, Fault)]
    if faults and job.only in (None, fallback):
        entry = _entry(context, job, mail, reading, fallback, "submission", seen) if not position else None
        for number, fault in enumerate(faults, position):
            record(context, job, entry, number, of_fault(fault))
