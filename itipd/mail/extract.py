"""The calendar parts of a mail, wherever they are in it (RFC 6047 §2.4; rules.md §1).

Every part that calls itself a calendar counts, at any depth; a message inside the mail never does. Where there is none,
Outlook's winmail.dat may hold an answer. The parts come out as UTF-8, identical ones once. It never raises anything but
`TooLarge`, and never looks inside a calendar.
"""

from __future__ import annotations

from dataclasses import dataclass

from itipd.itip.model import Fault
from itipd.itip.outcomes import Outcome, Reason
from itipd.mail import tnef
from itipd.mail.evidence import from_address
from itipd.mail.headers import Headers, MailLimits, TooLarge, codec
from itipd.mail.mime import Leaf, body, leaves

__all__ = ["Extracted", "MailLimits", "Part", "TooLarge", "extract", "plain_text", "wire"]

_CALENDAR_TYPES = frozenset({"text/calendar", "application/ics", "text/x-vcalendar", "application/x-ics"})
_TNEF_TYPES = frozenset({"application/ms-tnef", "application/vnd.ms-tnef"})
_BYTE_MARKS = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
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
    winmail: list[Leaf] = []
    for leaf in found:
        kind = leaf.type
        if kind.startswith("message/"):
            continue  # hardening §8: a message inside the mail is never believed
        if kind in _CALENDAR_TYPES or leaf.filename.endswith(".ics"):
            if leaf.end - leaf.start > limits.part * 2:
                faults[_too_large(leaf.end - leaf.start, limits)] = None
                continue
            data, lie = body(raw, leaf)
            data, odd = _utf8(data, leaf.params.get("charset", ""))
            if len(data) > limits.part:
                faults[_too_large(len(data), limits)] = None
                continue
            quirks += ["encoding"] * lie + ["charset"] * odd
            _keep(parts, data, leaf.params.get("method", "").strip().upper()[:64] or None)
        elif kind == "text/plain" and not plain and not leaf.attached:
            plain = True
            text = plain_text(raw, leaf)
        elif kind in _TNEF_TYPES or leaf.filename == "winmail.dat":
            winmail.append(leaf)
    if winmail and not parts:
        quirks.append("tnef")
        answer = tnef.calendar(body(raw, winmail[0])[0], from_address(headers))
        if answer is not None:
            _keep(parts, answer, None)
    return Extracted(headers, start, tuple(parts.values()), tuple(faults), text, tuple(dict.fromkeys(quirks)))


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
    if name.startswith(("utf-16", "utf-32", "iso-2022")):
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


def plain_text(raw: bytes, leaf: Leaf) -> str:
    """The beginning of a text/plain leaf, decoded as well as can be."""
    data, _ = body(raw, Leaf(leaf.type, leaf.params, leaf.headers, leaf.start, min(leaf.end, leaf.start + _TEXT_LIMIT)))
    try:
        return data.decode(codec(leaf.params.get("charset", "")) or "utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _too_large(size: int, limits: MailLimits) -> Fault:
    detail = f"a calendar part of {size} bytes; at most {limits.part} are read"
    return Fault(Outcome.ERROR, Reason.TOO_LARGE, detail=detail)
