"""From a decision's `Send` to rows of the outbox: the calendar is rendered now, as the meeting is in this transaction.

Recipients who get the same calendar share one row of it. It must never read a clock: times are the message's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from itipd.itip import lookup, render
from itipd.itip.attendance import first
from itipd.itip.model import Attendee, Decision, Meeting, Send
from itipd.mail import compose, reply_token
from itipd.mail.reply_token import Keys
from itipd.store import NewDelivery, Ref, Sending


@dataclass(frozen=True, slots=True)
class Origin:
    """What causes mail to leave: the journal entry, its time, a text that is its own, and the keys of its tokens."""

    entry: Ref
    at: datetime
    mark: str
    keys: Keys
    language: str


def sendings(meeting: Meeting, decision: Decision, origin: Origin) -> Iterator[Sending]:
    """The outbox rows of all mails that `decision` sends; `meeting` as it is after it, with all its events."""
    for send in decision.sends:
        for to in _alike(meeting, send):
            yield _sending(meeting, replace(send, to=to), origin)


def _alike(meeting: Meeting, send: Send) -> Iterable[tuple[str, ...]]:
    """`send.to` in groups whose calendars are the same: those who are guests of the same overrides."""
    overrides = [event for rid, event in sorted(meeting.events.items()) if rid and event.status != lookup.CANCELLED]
    if send.rid or send.method != "REQUEST" or not overrides:
        return (send.to,)
    people = lookup.rows_by_address(meeting)
    groups: dict[tuple[str, ...], list[str]] = {}
    for address in send.to:
        rows = people.get(address, {})
        standing = ((event.rid, lookup.standing(rows, event.rid, event)) for event in overrides)
        key = tuple(rid for rid, row in standing if row is not None and not row.removed)
        groups.setdefault(key, []).append(address)
    return [tuple(group) for group in groups.values()]


def _sending(meeting: Meeting, send: Send, origin: Origin) -> Sending:
    event = meeting.events.get(send.rid) or first(meeting)
    large = len({address for _, address in meeting.attendees}) > render.GUEST_LIMIT
    deliveries = []
    for recipient in send.to:
        message_id = compose.message_id(
            organizer=meeting.organizer,
            uid=meeting.uid,
            rid=send.rid,
            method=send.method,
            sequence=send.sequence,
            recipient=recipient,
            created_at=origin.at,
            cause=origin.mark,
        )
        line = render.own_line(_row(meeting, recipient, send.rid)) if large else None
        deliveries.append(NewDelivery(recipient, message_id, compose.token(origin.keys.secret, message_id), line))
    return Sending(
        organizer=meeting.organizer,
        organizer_name=meeting.name,
        uid=meeting.uid,
        meeting_id=meeting.id,
        method=send.method,
        rid=send.rid,
        sequence=send.sequence,
        reason=send.reason,
        summary=event.summary if event is not None else "",
        calendar=reply_token.marked(render.calendar(meeting, send, origin.at), origin.keys),
        created_at=origin.at,
        deliveries=tuple(deliveries),
        cause=origin.entry,
        automatic=send.automatic,
        language=origin.language,
        comment=send.comment,
    )


def _row(meeting: Meeting, address: str, rid: str) -> Attendee:
    return meeting.attendees.get((rid, address)) or meeting.attendees.get(("", address)) or Attendee(address)
