"""A decision carried out inside a transaction: rows to the store, mails to the outbox, words to the journal.

Everything a message causes is written by the same commit (design.md, rule 5). It must never decide anything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from itipd.itip import organize, thresholds, who
from itipd.itip.addresses import canonical, strip_tag
from itipd.itip.model import Decision, DropEvent, Meeting, Policy, PutEvent, PutMeeting
from itipd.itip.outcomes import Outcome
from itipd.itip.quick import replace
from itipd.itip.render import GUEST_LIMIT
from itipd.mail.reading import Reading
from itipd.mail.reply_token import Keys
from itipd.orders import Done, Mail, Order
from itipd.send import Origin, sendings
from itipd.store import Batch, OutcomeRow, Ref, Want

Read = Callable[[Mail], Awaitable[Reading]]
"""Reads a raw mail; for those that were held and are decided again."""


@dataclass(slots=True)
class Job:
    """A mail (with its reading) or an order on its way through one batch. `only`: of a mail, this organizer alone.

    `names`: the organizers whom a mail may be for (`candidates`).
    """

    order: Mail | Order
    at: datetime
    reading: Reading | None = None
    only: str | None = None
    done: Done = field(default_factory=Done)
    names: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Context:
    """What a batch needs beside its jobs."""

    batch: Batch
    policy: Policy
    read: Read
    trusts: Callable[[str], bool]  # whether a client may vouch with Authentication-Results
    keys: Keys
    language: str
    forward: bool = False  # submission.forward: the application's own mail is sent on
    forward_to: str | None = None  # policy.forward_to: who gets mail without a calendar


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


async def all_of(context: Context, meeting: Meeting) -> Meeting:
    """The whole meeting, loaded, and nobody else may write it."""
    await context.batch.gather([Want(meeting.organizer, meeting.uid, everything=True)])
    whole = context.batch.meeting(meeting.organizer, meeting.uid)
    assert whole is not None  # noqa: S101 - it was there a line ago
    return whole


def together(decision: Decision, then: Decision) -> Decision:
    """The one result of a message that had two effects."""
    return replace(decision, changes=(*decision.changes, *then.changes), sends=(*decision.sends, *then.sends))
