"""A question for busy time inside a transaction: what takes place is looked up, the answer goes into the outbox.

Who may ask, what counts as busy and what the answer says is decided by `itip.freebusy`.
"""

from __future__ import annotations

import asyncio

from itipd.carrying import Context
from itipd.itip import freebusy, periods, who
from itipd.itip.model import CalAddress, Decision, Evidence, Message, Send
from itipd.itip.recurrence import TooCostly
from itipd.mail import compose
from itipd.send import Origin
from itipd.store import NewDelivery, Sending


async def busy_time(context: Context, organizer: str, message: Message, sender: Evidence, origin: Origin) -> Decision:
    """Decide about a VFREEBUSY REQUEST for this organizer; where it is answered, the REPLY leaves with this commit."""
    asked = freebusy.question(message, organizer, sender, context.policy)
    if isinstance(asked, Decision):
        return asked
    batch = context.batch
    names = who.names(CalAddress(asked.requester), context.policy)
    if context.policy.freebusy != "any" and not await batch.knows(organizer, names):
        return freebusy.unknown(message)
    most = freebusy.MOST_MEETINGS
    meetings = await batch.taking_place(organizer, asked.start, asked.end, most + 1)
    if len(meetings) > most:
        return freebusy.too_costly(message, f"more than {most} meetings may take place in the span")
    try:
        # Thousands of instances may take a moment; the event loop goes on meanwhile.
        busy, until = await batch.outside(asyncio.to_thread(periods.busy, meetings, asked.start, asked.end))
    except TooCostly as error:
        return freebusy.too_costly(message, str(error))
    decision = freebusy.answered(message, asked, f"busy periods until {until.isoformat()}: {len(busy)}")
    name = next((meeting.name for meeting in meetings if meeting.name), "")
    text = freebusy.reply(message.uid, organizer, name, asked, busy, until, origin.at)
    for send in decision.sends:
        batch.send(_sending(organizer, name, message.uid, send, text, origin))
    return decision


def _sending(organizer: str, name: str, uid: str, send: Send, text: str, origin: Origin) -> Sending:
    deliveries = []
    for recipient in send.to:
        message_id = compose.message_id(
            organizer=organizer,
            uid=uid,
            rid=send.rid,
            method=send.method,
            sequence=send.sequence,
            recipient=recipient,
            created_at=origin.at,
            cause=origin.mark,
        )
        deliveries.append(NewDelivery(recipient, message_id, compose.token(origin.keys.secret, message_id)))
    return Sending(
        organizer=organizer,
        organizer_name=name,
        uid=uid,
        meeting_id=0,  # the UID is the requester's: it is about no meeting of ours
        method=send.method,
        rid=send.rid,
        sequence=send.sequence,
        reason=send.reason,
        summary=name or organizer,
        calendar=text,
        created_at=origin.at,
        deliveries=tuple(deliveries),
        cause=origin.entry,
        automatic=send.automatic,
        language=origin.language,
    )
