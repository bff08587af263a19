"""What a row of the outbox asks for: the mail, the name of its file, how long it waits after a try that failed."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from itipd.mail import reply_token
from itipd.mail.compose import Outgoing
from itipd.store.claims import Delivery

FIRST_RETRY = 10.0
"""Seconds to the second try."""

_NO_NAME = re.compile(r"[^A-Za-z0-9]+")


def outgoing(delivery: Delivery, secret: bytes) -> Outgoing:
    """The mail that a row of the outbox asks for; `secret` is the database's."""
    calendar, key = reply_token.taken(delivery.calendar)
    reply_to = None
    if key is not None:
        label = reply_token.label(secret, key, delivery.organizer, delivery.uid, delivery.recipient)
        reply_to = reply_token.address(delivery.organizer, label)
    return Outgoing(
        organizer=delivery.organizer,
        organizer_name=delivery.organizer_name,
        uid=delivery.uid,
        method=delivery.method,
        rid=delivery.rid,
        sequence=delivery.sequence,
        reason=delivery.reason,
        summary=delivery.summary,
        calendar=calendar,
        created_at=delivery.created_at,
        recipient=delivery.recipient,
        message_id=delivery.message_id,
        automatic=delivery.automatic,
        language=delivery.language or "en",
        comment=delivery.comment,
        line=delivery.line,
        reply_to=reply_to,
    )


def file_name(delivery: Delivery) -> str:
    """The name of its .eml file, without suffix: in order of time, the same at each try."""
    local = delivery.message_id.strip("<>").partition("@")[0]
    return f"{_stamp(delivery.created_at)}-{_NO_NAME.sub('', local)[:64]}"


@lru_cache(maxsize=4)  # all guests of a meeting are told at once
def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def backoff(delivery: Delivery, longest: float) -> timedelta:
    """How long to wait after a try that failed for the moment: twice as long each time, up to `longest` seconds.

    A fifth more or less, different for each delivery but the same whenever it is asked: no herd, no randomness.
    """
    seconds = min(longest, FIRST_RETRY * 2.0 ** min(delivery.attempts - 1, 30))
    seed = hashlib.sha256(f"{delivery.message_id} {delivery.attempts}".encode()).digest()
    return timedelta(seconds=seconds * (0.8 + 0.4 * seed[0] / 255))
