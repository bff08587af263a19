"""Mail without a calendar to a person, where that is configured (rules.md §1.6): `[policy] forward_to`.

The mail is in the journal first, and what leaves is committed with it. It must never forward what no person wrote, what
was forwarded before, or what has come a long way: two mailboxes that forward to each other fall silent at once.
"""

from __future__ import annotations

from dataclasses import replace

from itipd.carrying import Context
from itipd.itip.addresses import served
from itipd.itip.model import Decision, Send
from itipd.itip.outcomes import Reason
from itipd.mail import compose, forward
from itipd.mail.reading import Reading
from itipd.orders import Mail
from itipd.store import NewDelivery, Ref, Sending


def forwarded(
    context: Context, mail: Mail, reading: Reading, organizer: str, entry: Ref, decision: Decision
) -> Decision:
    """`decision` about a mail without a calendar, with what is sent on because of it."""
    to = context.forward_to
    if to is None or decision.reason is not Reason.NOT_CALENDAR:
        return decision
    why = _why_not(context, mail, reading, to)
    if why is not None:
        return replace(decision, detail=f"{decision.detail}; not forwarded: {why}")
    uid = f"mail:{reading.digest.hex()}"  # its own: mails to the same person do not wait for each other
    message_id = compose.message_id(
        organizer=organizer,
        uid=uid,
        rid="",
        method=forward.METHOD,
        sequence=0,
        recipient=to,
        created_at=mail.received_at,
        cause=reading.digest.hex(),
    )
    delivery = NewDelivery(to, message_id, compose.token(context.keys.secret, message_id))
    context.batch.send(
        Sending(
            organizer=organizer,
            organizer_name="",
            uid=uid,
            meeting_id=0,
            method=forward.METHOD,
            rid="",
            sequence=0,
            reason=Reason.NOT_CALENDAR.value,
            summary=reading.subject[:200],
            calendar=forward.kept(mail.raw),
            created_at=mail.received_at,
            deliveries=(delivery,),
            cause=entry,
            automatic=True,
        )
    )
    send = Send(forward.METHOD, (to,), "", 0, Reason.NOT_CALENDAR.value)
    return replace(decision, sends=(*decision.sends, send))


def _why_not(context: Context, mail: Mail, reading: Reading, to: str) -> str | None:
    if reading.evidence.automatic:
        return "no person wrote it"  # RFC 3834 §2
    if forward.is_forwarded(mail.raw):
        return "it has been forwarded before"
    if reading.received_count > forward.HOPS:
        return f"it has come over more than {forward.HOPS} relays"
    if context.policy.organizers and served(to, context.policy.organizers):
        return f"{to} is an organizer's own address"
    return None
