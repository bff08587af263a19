"""The calendar parts of a mail, wherever they are in it (RFC 6047 §2.4; rules.md §1).

Every part that calls itself a calendar counts, at any depth, also inside an opaque signature; a message inside the mail
never does. Where there is none, Outlook's winmail.dat may hold an answer. The parts come out as UTF-8, identical ones
once. It never raises anything but `TooLarge`, and never looks inside a calendar.
"""

from __future__ import annotations

import binascii
import re
from contextlib import suppress
from dataclasses import dataclass

from itipd.itip import jcal
from itipd.itip.model import Fault, clean
from itipd.itip.outcomes import Outcome, Reason
from itipd.mail import cms, tnef, uu
from itipd.mail.evidence import from_address
from itipd.mail.headers import Headers, MailLimits, TooLarge, codec
from itipd.mail.mime import Leaf, body, leaves, mended

__all__ = ["Extracted", "MailLimits", "Part", "TooLarge", "extract", "plain_text", "wire"]

_CALENDAR_TYPES = frozenset(
    {"text/calendar", "text/vcalendar", "text/x-vcalendar", "text/x-icalendar", "text/x-calendar", "text/ics"}
    | {"application/ics", "application/x-ics", "application/icalendar", "application/x-extension-ics"}
    | {"application/calendar", "application/x-vcalendar"}
)
_CALENDAR_NAMES = (".ics", ".vcs", ".ical", ".icalendar")
_BEGIN = b"BEGIN:VCALENDAR"
_MESSAGES = frozenset({"message/rfc822", "message/global"})
_TNEF_TYPES = frozenset({"application/ms-tnef", "application/vnd.ms-tnef"})
_SMIME_TYPES = frozenset({"application/pkcs7-mime", "application/x-pkcs7-mime"})
_JCAL = "application/calendar+json"  # RFC 7265
_PGP = "application/pgp-encrypted"
_MENDED = 3  # multiparts whose boundary is not the one that was declared
_WRAPPED = 3  # signatures inside each other: signed, encrypted, signed again (RFC 2634 §1.1)
_EQUALS = re.compile(rb";[A-Za-z-]{1,40}=(3D)?")
_UTF7 = re.compile(r"[\s\"']*(?:x-)?(?:unicode-\d-\d-)?utf[-_]?7\b", re.IGNORECASE)
_BYTE_MARKS = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
ENCRYPTED = "encrypted"
"""The quirk of a mail with something in it that only somebody with a key can read."""
_TEXT_LIMIT = 16_384
"""Bytes of text/plain that are looked at for the person's own words."""


@dataclass(frozen=True, slots=True)
class Part:
    """A calendar as it stood in the mail: UTF-8 (or undecodable as that), and the `method` of its Content-Type."""

    data: bytes
    method: str | None = None


@dataclass(frozen=True, slots=True)
class Extracted:
    """What a mail holds: its headers, its calendars, the calendars too large to read, its plain text, its quirks."""

    headers: Headers
    body: int  # offset of the mail's body
    parts: tuple[Part, ...] = ()
    faults: tuple[Fault, ...] = ()
    text: str = ""  # the first text/plain that is no attachment
    quirks: tuple[str, ...] = ()
    forwarded: bytes = b""  # the first message inside the mail, which is looked at and never believed


def wire(raw: bytes) -> bytes:
    """The mail with CRLF, if it comes from a file whose lines end in LF; else `raw` itself.

    So a mail is the same mail, with the same digest and quirks, from SMTP and from a file.
    """
    first = raw.find(b"\n")
    if first < 0 or raw[first - 1 : first] == b"\r":
        return raw
    return raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def extract(raw: bytes, limits: MailLimits) -> Extracted:
    """Find the calendar parts of a mail as `wire` gives it. Raises `TooLarge` and nothing else."""
    headers, start, found = leaves(raw, limits)
    quirks = ["long_header"] if headers.long else []
    parts: dict[bytes, Part] = {}
    faults: dict[Fault, None] = {}
    text = ""
    plain = False
    forwarded = b""
    winmail: list[tuple[bytes, Leaf]] = []
    wrapped = 0
    waiting = [(raw, leaf) for leaf in found]
    for raw, leaf in waiting:  # grows while it is gone through
        kind = leaf.type
        if kind.startswith("message/"):
            if kind in _MESSAGES and not forwarded:
                forwarded = body(raw, leaf)[0]
            continue  # hardening §8: a message inside the mail is never believed
        filename = leaf.filename
        if kind in _CALENDAR_TYPES or filename.endswith(_CALENDAR_NAMES):
            if leaf.end - leaf.start > limits.part * 2:
                faults[_too_large(leaf.end - leaf.start, limits)] = None
                continue
            data, lie = body(raw, leaf)
            if data[:5].upper() != b"BEGIN" and leaf.headers.count(b"begin"):
                data = _headless(raw, leaf)
                quirks.append("no_blank_line")
            data, odd = _utf8(data, leaf.params.get("charset", ""))
            if b"=3D" in data and _undecoded(data):
                data, lie = binascii.a2b_qp(data), True
            if len(data) > limits.part:
                faults[_too_large(len(data), limits)] = None
                continue
            quirks += ["encoding"] * lie + ["charset"] * odd
            _keep(parts, data, _method(leaf))
        elif kind == "text/plain" and not plain and not leaf.attached:
            more = mended(raw, leaf, limits) if len(found) == 1 else []
            if more and quirks.count("boundary") < _MENDED:
                quirks.append("boundary")
                waiting += more
                continue
            plain = True
            text = plain_text(raw, leaf)
        elif kind in _TNEF_TYPES or filename == "winmail.dat":
            winmail.append((raw, leaf))
        elif kind in _SMIME_TYPES or filename == "smime.p7m":
            data, _ = body(raw, leaf)
            inner = cms.signed_content(data)
            if inner is not None and wrapped < _WRAPPED:
                wrapped += 1
                quirks.append("opaque_signed")
                waiting += _opened(wire(inner), limits)
            elif cms.is_encrypted(data):
                quirks.append(ENCRYPTED)
        elif kind == _PGP:
            quirks.append(ENCRYPTED)  # RFC 3156 §4
        elif kind.startswith("multipart/") and quirks.count("boundary") < _MENDED:
            more = mended(raw, leaf, limits)
            quirks += ["boundary"] * bool(more)
            waiting += more
        elif kind == _JCAL or filename.endswith(".jcal"):
            data, _ = body(raw, leaf)
            written = jcal.to_icalendar(data) if len(data) <= limits.part else None
            if written is not None:
                quirks.append("jcal")
                _keep(parts, written, _method(leaf))
    if not parts and not faults:
        for raw, leaf in waiting:  # a list server or a gateway may have taken the type away
            known = leaf.type in _TNEF_TYPES or leaf.type.startswith("message/")
            if known or leaf.end - leaf.start > limits.part * 2:
                continue
            data, _ = body(raw, leaf)
            if data[:256].lstrip()[: len(_BEGIN)].upper() == _BEGIN and len(data) <= limits.part:
                quirks.append("undeclared_calendar")
                text = "" if leaf.type == "text/plain" else text
                _keep(parts, _utf8(data, leaf.params.get("charset", ""))[0], None)
                continue
            file = uu.decoded(data) if leaf.type.startswith("text/") else None
            if file is not None and file[0].endswith(_CALENDAR_NAMES) and len(file[1]) <= limits.part:
                quirks.append("uuencoded")
                text = f"\n{text}".partition("\nbegin ")[0]  # what stands before it is the person's
                _keep(parts, _utf8(file[1], "")[0], None)
    if winmail and not parts:
        quirks.append("tnef")
        answer = tnef.calendar(body(*winmail[0])[0], from_address(headers))
        if answer is not None:
            _keep(parts, answer, None)
    return Extracted(
        headers, start, tuple(parts.values()), tuple(faults), text, tuple(dict.fromkeys(quirks)), forwarded
    )


def _opened(inner: bytes, limits: MailLimits) -> list[tuple[bytes, Leaf]]:
    """The leaves of what was signed, a MIME entity of its own (RFC 8551 §3.1)."""
    return [(inner, leaf) for leaf in leaves(inner, limits)[2]]


def _method(leaf: Leaf) -> str | None:
    """The `method` of its Content-Type."""
    return clean(leaf.params.get("method", ""), 64).strip().upper() or None


def _headless(raw: bytes, leaf: Leaf) -> bytes:
    """A calendar that begins right behind the header fields of its part: its lines look like some more of them."""
    start = raw.rfind(_BEGIN, 0, leaf.start)
    return raw[start : leaf.end] if start >= 0 else b""


def _keep(parts: dict[bytes, Part], data: bytes, method: str | None) -> None:
    # The alternative and its attached copy differ at most in line ends and in the method parameter.
    key = data.replace(b"\r\n", b"\n").strip()
    if key and (key not in parts or parts[key].method is None):
        parts[key] = Part(data, method)


def _utf8(data: bytes, charset: str) -> tuple[bytes, bool]:
    # The declared charset is believed only where the bytes do not say otherwise.
    for mark, name in _BYTE_MARKS:
        if data.startswith(mark):
            return data.decode(name, "replace").encode(), True
    name = codec(charset) or ""
    if not name and charset and _UTF7.match(charset):
        with suppress(UnicodeError):  # or it only says so
            return data.decode("utf-7").encode(), True
    if name.startswith(("utf-16", "utf-32", "iso-2022")):
        if data.startswith(_BEGIN) and not name.startswith("iso"):
            return data, True
        try:
            return data.decode(name).encode(), False
        except UnicodeDecodeError:
            return data, True
    if data.isascii():
        return data, False
    try:
        data.decode()
    except UnicodeDecodeError:
        if name in ("", "ascii", "utf-8"):
            return data, True  # itip.contentlines decides what it is
        try:
            return data.decode(name).encode(), False
        except UnicodeDecodeError:
            return data, True
    return data, name != "utf-8"  # valid UTF-8 by accident is next to impossible


def _undecoded(data: bytes) -> bool:
    """Whether quoted-printable is left in a calendar: by the equals signs of its parameters, all and several."""
    signs = _EQUALS.findall(data)
    return len(signs) > 1 and all(signs)


def plain_text(raw: bytes, leaf: Leaf) -> str:
    """The beginning of a text/plain leaf, decoded as well as can be."""
    data, _ = body(raw, Leaf(leaf.type, leaf.params, leaf.headers, leaf.start, min(leaf.end, leaf.start + _TEXT_LIMIT)))
    charset = leaf.params.get("charset", "")
    try:
        return data.decode(codec(charset) or ("utf-7" if _UTF7.match(charset) else "utf-8"))
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _too_large(size: int, limits: MailLimits) -> Fault:
    detail = f"a calendar part of {size} bytes; at most {limits.part} are read"
    return Fault(Outcome.ERROR, Reason.TOO_LARGE, detail=detail)
