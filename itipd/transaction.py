"""One batch of mails and orders: gather what they need, decide one after the other in memory, let the store write it.

A constant number of set-wise reads for all of them; what only the loaded meetings can name comes in a second round.
"""

from __future__ import annotations

from collections.abc import Sequence

from itipd.applying import deeper
from itipd.carrying import Context, Job, candidates
from itipd.commands import decide_order
from itipd.itip import freebusy, organize, who
from itipd.itip.model import Incoming, Message, Policy
from itipd.mails import decide_mail
from itipd.orders import Done, Mail, Put
from itipd.store import Want

__all__ = ["Context", "Job", "process"]


async def process(context: Context, jobs: Sequence[Job]) -> None:
    """Decide all jobs in order and leave what is to be written in the batch; results are in `job.done`."""
    for job in jobs:
        job.done = Done()
        job.names = candidates(job, context.policy)
    batch = context.batch
    wants = [want for job in jobs for want in _wants(job, context.policy)]
    await batch.gather(wants)
    further = [want for job in jobs for want in deeper(batch, job, context.policy)]
    if further:
        await batch.gather(further)
    await batch.look_for_held([(want.organizer, want.uid) for want in wants if want.everything])
    mails = [job for job in jobs if job.reading is not None]
    digests = [(name, job.reading.digest) for job in mails if job.reading for name in job.names]
    seen = await batch.seen(digests)
    for job in jobs:
        if isinstance(job.order, Mail):
            await decide_mail(context, job, job.order, seen)
        else:
            await decide_order(context, job, job.order)


def _wants(job: Job, policy: Policy) -> list[Want]:
    order = job.order
    if isinstance(order, Mail) and job.reading is not None:
        found: list[Want] = []
        for message in job.reading.messages:
            if isinstance(message, Message):
                asks = freebusy.is_request(message)  # about an organizer, not about a meeting
                addresses = frozenset() if asks else who.wanted(message, job.reading.evidence, policy)
                rids = frozenset({message.rid.rid}) if message.rid is not None else frozenset()
                found += [Want(name, message.uid, addresses, rids) for name in job.names]
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
