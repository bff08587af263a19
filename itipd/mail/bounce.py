"""Delivery reports: who was not reached, and why (RFC 3464, RFC 6533, RFC 3461).

A pure reading of what the report says. Whether it is genuine (the token in its recipient address) is not known here,
and nothing is changed here. Works without the returned message; opens it only for its Message-ID and its calendar's
UID, and believes nothing else in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from itipd.itip.addresses import canonical
from itipd.itip.model import Message, clean
from itipd.itip.read import read
from itipd.mail import bounce_text
from itipd.mail.extract import extract, plain_text, wire
from itipd.mail.headers import Headers, MailLimits, TooLarge, addresses, scan
from itipd.mail.mime import Leaf, body, leaves

_STATUS = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?![\d.])")  # RFC 3463 §2
_UNITEXT = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")  # RFC 6533 §3
_XTEXT = re.compile(r"\+(2B|3D)")  # RFC 3461 §4: of printable ASCII only + and = are encoded
_ACTIONS = frozenset({"failed", "delayed", "delivered", "relayed", "expanded"})
_REPORTS = frozenset({"message/delivery-status", "message/global-delivery-status"})
_RETURNED = frozenset({"message/rfc822", "message/global"})
_RETURNED_HEADERS = frozenset({"text/rfc822-headers", "message/rfc822-headers", "message/global-headers"})
_RECIPIENTS = 100  # of one report
_STATUS_LIMIT = 1 << 16  # bytes of the status part


@dataclass(frozen=True, slots=True)
class BounceReport:
    """One recipient's part of a delivery report (RFC 3464 §2.3)."""

    recipient: str  # canonical: Original-Recipient, the address as it was sent to, else Final-Recipient
    action: str  # failed, delayed, delivered, relayed, expanded
    status: str  # x.y.z; the one in the diagnostic where Status says only x.0.0
    diagnostic: str = ""
    final: str | None = None  # canonical Final-Recipient, where it is another address
    guessed: bool = False  # read out of words, not of the fields of RFC 3464


@dataclass(frozen=True, slots=True)
class Bounce:
    """A delivery report: its recipients, and what of our own mail came back with it."""

    reports: tuple[BounceReport, ...]
    message_id: str | None = None  # of the returned mail, with its angle brackets
    uid: str | None = None  # of the returned calendar's first component
    rid: str | None = None  # its RECURRENCE-ID; None: the series, or unknown


def bounce(raw: bytes, limits: MailLimits | None = None, *, guess: bool = False) -> Bounce | None:
    """Read a raw mail as a delivery report; None if it is none. Raises nothing.

    `guess`: where it has no fields of RFC 3464, its words are read (`bounce_text.likely` says of which mail).
    """
    data = wire(raw)
    limits = limits or MailLimits()
    try:
        headers, _, found = leaves(data, limits)
        reports = [report for leaf in found if leaf.type in _REPORTS for report in _reports(data, leaf, limits)]
        if not reports:
            reports = _failed_recipients(data, headers, found)
        if not reports and guess:
            reports = _guessed(data, headers, found)
        if not reports:
            return None
        message_id, uid, rid = _returned(data, found, limits)
    except TooLarge:
        return None
    return Bounce(tuple(reports[:_RECIPIENTS]), message_id or _answered(headers), uid, rid)


def schedule_status(status: str, action: str = "failed") -> str | None:
    """SCHEDULE-STATUS for an enhanced status code (RFC 6638 §3.2.9, RFC 5546 §3.6); None: it does not change."""
    if action in ("delivered", "relayed"):
        return "1.2"
    if action != "failed":
        return None
    if status.startswith("4."):
        return "5.1"  # given up
    if status == "5.1.1":
        return "3.7"  # no such mailbox: an invalid calendar user
    return "5.3" if status.startswith("5.7.") else "5.2"


def _reports(raw: bytes, leaf: Leaf, limits: MailLimits) -> list[BounceReport]:
    data = body(raw, leaf)[0][:_STATUS_LIMIT]
    found: list[BounceReport] = []
    position = 0
    # RFC 3464 §2.1: blocks of fields with empty lines between them, the first about the message, each other about a
    # recipient. Some senders leave the first out or add empty lines: what names a recipient is about one.
    while position < len(data) and len(found) < _RECIPIENTS:
        fields, end = scan(data, position, len(data), limits)
        report = _report(fields)
        if report is not None:
            found.append(report)
        if end == position:  # neither a field nor an empty line
            end = data.find(b"\n", position) + 1 or len(data)
        position = end
    return found


def _report(fields: Headers) -> BounceReport | None:
    original = _address(fields.first(b"original-recipient"))
    final = _address(fields.first(b"final-recipient"))
    recipient = original or final
    if recipient is None:
        return None
    diagnostic = clean(fields.first(b"diagnostic-code"), 500)
    match = _STATUS.search(fields.first(b"status"))
    status = match[0] if match else ""
    if not status or status.endswith(".0.0"):
        status = next((m[0] for m in _STATUS.finditer(diagnostic) if not status or m[1] == status[0]), status)
    words = fields.first(b"action").lower().split()
    action = words[0] if words and words[0] in _ACTIONS else "delivered" if status.startswith("2") else "failed"
    return BounceReport(recipient, action, status or "5.0.0", diagnostic, final if final != recipient else None)


def _address(field: str) -> str | None:
    kind, mark, text = field.partition(";")
    if not mark:
        kind, text = "rfc822", field
    if kind.strip().lower() == "utf-8":
        text = _UNITEXT.sub(lambda match: chr(min(int(match[1], 16), 0x10FFFF)), text)
    text = _XTEXT.sub(lambda match: chr(int(match[1], 16)), text)
    return canonical(text.strip().strip("<>"))


def _failed_recipients(raw: bytes, headers: Headers, found: list[Leaf]) -> list[BounceReport]:
    # Exim, and Google for a long time, name them in a header; the code is somewhere in the text.
    texts = headers.all(b"x-failed-recipients")
    named = [address for text in texts for spec in addresses(text) if (address := canonical(spec))]
    if not named:
        return []
    text = next((plain_text(raw, leaf) for leaf in found if leaf.type == "text/plain"), "")
    codes = bounce_text.codes_near(text, list(dict.fromkeys(named)))
    return [BounceReport(address, "failed", code or "5.0.0") for address, code in codes.items()]


def _guessed(raw: bytes, headers: Headers, found: list[Leaf]) -> list[BounceReport]:
    return [
        BounceReport(address, "failed" if given_up else "delayed", code or "5.0.0", guessed=True)
        for address, given_up, code in bounce_text.failures(raw, headers, found)
    ]


def _returned(raw: bytes, found: list[Leaf], limits: MailLimits) -> tuple[str | None, str | None, str | None]:
    for leaf in found:
        if leaf.type in _RETURNED:
            return _inner(body(raw, leaf)[0].lstrip(b"\r\n"), limits)
        if leaf.type in _RETURNED_HEADERS:
            data = body(raw, leaf)[0].lstrip(b"\r\n")
            return _id(scan(data, 0, len(data), limits)[0]), None, None
    mail = bounce_text.copy(raw, found, limits)
    return _inner(mail, limits) if mail is not None else (None, None, None)


def _inner(mail: bytes, limits: MailLimits) -> tuple[str | None, str | None, str | None]:
    """Message-ID, UID and RECURRENCE-ID of the mail that came back."""
    inner = extract(mail, limits)
    for part in inner.parts:
        for message in read(part.data, part.method):
            if isinstance(message, Message):
                return _id(inner.headers), message.uid, message.rid.rid if message.rid else None
    return _id(inner.headers), None, None


def _id(headers: Headers) -> str | None:
    return clean("".join(headers.first(b"message-id").split()), 250) or None


def _answered(headers: Headers) -> str | None:
    # Exchange returns no message but names it.
    words = headers.first(b"in-reply-to").split() or headers.first(b"references").split()[-1:]
    return clean(words[0], 250) if words else None
