"""A received mail on its way to a person, as it came, with trace fields in front (RFC 5321 §4.4, RFC 5322 §3.6.6).

Duty: raw mail -> the text that the outbox keeps, and that text -> the mail that leaves, the same bytes each time. Body
and fields stay as they are, so that the sender's own signature (DKIM) still holds. Pure.
"""

from __future__ import annotations

import re
import zlib
from base64 import b64decode, b64encode
from email.utils import format_datetime

from itipd.mail.compose import Outgoing
from itipd.mail.extract import wire
from itipd.mail.header_lines import header

METHOD = "FORWARD"
MARK = "X-Itipd-Forwarded"
HOPS = 25  # Received fields of a mail that is still forwarded: half of what the doors take

_MARKED = re.compile(rb"^x-itipd-forwarded[ \t]*:", re.IGNORECASE | re.MULTILINE)
_SUBMITTED = re.compile(rb"^auto-submitted[ \t]*:", re.IGNORECASE | re.MULTILINE)
_HEADERS = re.compile(rb"(?:[^\n]*[^\r\n][^\n]*\n)*+")  # up to the first empty line
_RETURN_PATH = re.compile(rb"\A(?:From [^\n]*\n)?(?:Return-Path[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*\n)?", re.IGNORECASE)


def is_forwarded(raw: bytes) -> bool:
    """Whether a mail has been forwarded by an itipd before: it goes no further."""
    return _MARKED.search(_headers(raw)) is not None


def _headers(raw: bytes) -> bytes:
    found = _HEADERS.match(raw)
    return found[0] if found is not None else b""


def kept(raw: bytes) -> str:
    """A mail as text for the outbox, whatever octets it has."""
    return b64encode(zlib.compress(raw, 6)).decode("ascii")


def resent(outgoing: Outgoing) -> bytes:
    """The mail that leaves. `outgoing.calendar` is what `kept` made of it."""
    raw = wire(zlib.decompress(b64decode(outgoing.calendar)))
    path = _RETURN_PATH.match(raw)
    raw = raw[path.end() :] if path is not None else raw
    date = format_datetime(outgoing.created_at)
    trace = [
        header("Received", f"by {outgoing.organizer.rpartition('@')[2]} (itipd); {date}"),
        header("Resent-From", outgoing.organizer),
        header("Resent-To", outgoing.recipient),
        header("Resent-Date", date),
        header("Resent-Message-ID", outgoing.message_id),
        header(MARK, outgoing.organizer),
    ]
    if _SUBMITTED.search(_headers(raw)) is None:
        trace.append("Auto-Submitted: auto-generated\r\n")  # RFC 3834 §5: nobody's vacation program answers it
    return "".join(trace).encode() + raw
