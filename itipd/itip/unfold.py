"""The outermost layer of iCalendar: bytes -> logical lines (RFC 5545 §3.1).

Duty: decode, drop controls, unfold, mend what gateways did to breaks and folds, in linear time, and name each tolerance
as a quirk. It must never look at what a line means, nor raise anything but `Unreadable`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from itipd.itip.outcomes import Reason

_CONTROLS = bytes([*range(9), *range(11, 32), 127])  # C0 and DEL without TAB and LF

_NAMES = (
    "action|attach|attendee|begin|calscale|categories|class|color|comment|completed|conference|contact|created|"
    "description|dtend|dtstamp|dtstart|due|duration|end|exdate|exrule|freebusy|geo|image|last-modified|location|method|"
    "name|organizer|percent-complete|priority|prodid|rdate|recurrence-id|refresh-interval|related-to|repeat|"
    "request-status|resources|rrule|sequence|source|status|summary|transp|trigger|tzid|tzname|tzoffsetfrom|tzoffsetto|"
    "tzurl|uid|url|version|x-[a-z0-9_./+-]++"
)
# Possessive quantifiers throughout: no pattern of this module can backtrack.
_KNOWN = re.compile(rf"(?:{_NAMES})[ \t]*+[:;]", re.IGNORECASE)
_WHOLE = re.compile(rf"(?:[A-Z0-9_-]++|X-[A-Za-z0-9_./+-]++|(?i:{_NAMES}))[ \t]*+(?:;[^:]*+)?+:")
_START = re.compile(r"(?!(?:mailto|https?):)(?:X-[A-Za-z0-9_./+-]++|[A-Za-z0-9_-]++)[ \t]*+[:;]", re.IGNORECASE)
_UNDERSCORE = re.compile(r"\n[A-Za-z0-9-]*+_[A-Za-z0-9_-]*+[:;]")
_SOUND = re.compile(r"(?:\n[A-Z0-9_-]++(?:;[^:\n]*+)?+:[^\n]*+)*+")
_INDENTED = re.compile(rb"(?:\A|\n)([ \t]{1,16})BEGIN[ \t]*+:[ \t]*+VCALENDAR", re.IGNORECASE)
_LOST = re.compile(rb"(?<![ \t])(?:[ \t]|\\[rn]){1,9}+(?=(?:%b)[ \t]*+[:;])" % _NAMES.encode(), re.IGNORECASE)
_LOST_END = re.compile(rb"(?:\\[rn])++\s*+\Z")
_FEW = 3  # line breaks in a calendar that has lost them
_BOUNDARY = re.compile(r"(?:BEGIN|END)[ \t]*+:", re.IGNORECASE)
_CAPITALS = re.compile(r"[A-Z0-9_-]++[ \t]*+[:;]")


class Unreadable(ValueError):  # noqa: N818 - it names what the calendar is
    """There is no calendar in these bytes."""


class TooLarge(Unreadable):
    """The calendar is over one of the `Limits`; `reason` says over which."""

    def __init__(self, text: str, reason: Reason = Reason.TOO_LARGE) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one calendar. Lines are counted after unfolding, their length in characters."""

    size: int = 1 << 20  # bytes
    lines: int = 30_000
    line: int = 512 << 10
    components: int = 5_000
    depth: int = 8
    attendees: int = 5  # of a REPLY or REFRESH
    counter_attendees: int = 1_000  # of a COUNTER, which may list everybody


def logical_lines(data: bytes, limits: Limits, quirks: set[str]) -> str:
    """The lines of `data`, unfolded, each begun by LF. Adds to `quirks`; raises `TooLarge`."""
    if len(data) > limits.size:
        raise TooLarge(f"calendar of {len(data)} bytes, at most {limits.size} are read")
    return _lines(_text(data, quirks), limits, quirks)


def without_indent(data: bytes) -> bytes | None:
    """A calendar that somebody indented as a whole, without the blanks at the beginning of its lines; else None."""
    found = _INDENTED.search(data, 0, 65_536)
    if found is None:
        return None
    return data.replace(b"\n" + found[1], b"\n").removeprefix(found[1])


def with_breaks(data: bytes) -> bytes | None:
    """A calendar whose line breaks somebody made into blanks, or into the letters `\\n`, with them; else None."""
    found = data.upper().find(b"BEGIN:VCALENDAR", 0, 65_536)
    if found < 0 or data.count(b"\n", found) > _FEW:
        return None
    return _LOST.sub(b"\r\n", _LOST_END.sub(b"", data[found:]))


def _text(data: bytes, quirks: set[str]) -> str:
    """`data` unfolded and decoded, lines ended by LF only, without controls."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        data = data.decode("utf-16", "replace").encode("utf-8", "replace")
        quirks.add("charset")
    if b"\xef\xbb\xbf" in data[:16]:
        data = data.replace(b"\xef\xbb\xbf", b"", 1)
        quirks.add("bom")
    feeds, returns, breaks = data.count(b"\n"), data.count(b"\r"), data.count(b"\r\n")
    if not feeds and returns:
        data, returns = data.replace(b"\r", b"\n"), 0
        quirks.add("bare_cr")
    elif feeds > breaks:
        quirks.add("bare_lf")
    elif returns > breaks:
        quirks.add("cr_cr_lf" if b"\r\r\n" in data else "controls")
    bare = data.translate(None, _CONTROLS)
    if len(data) - len(bare) != returns:
        quirks.add("controls")
    # Unfolded as octets: a fold may stand inside a UTF-8 character (RFC 5545 §3.1).
    if b"\n " in bare:
        bare = bare.replace(b"\n ", b"")
    if b"\n\t" in bare:
        bare = bare.replace(b"\n\t", b"")
    try:
        return bare.decode()
    except UnicodeDecodeError:
        quirks.add("charset")
        return "\n".join(map(_decode, bare.split(b"\n")))


def _decode(line: bytes) -> str:
    # Line by line: gateways mix charsets. Latin-1 knows every byte, so this cannot fail.
    for charset in ("utf-8", "cp1252"):
        try:
            return line.decode(charset)
        except UnicodeDecodeError:
            continue
    return line.decode("latin-1")


def _lines(text: str, limits: Limits, quirks: set[str]) -> str:
    """The logical lines of `text`, each begun by LF, lost folds mended, without empty ones."""
    if text.count("\n") > 2 * limits.lines:
        raise _too_many_lines(text.count("\n"), limits)
    text = "\n" + text.strip()
    if _SOUND.fullmatch(text) is None:
        lines = [line for line in text.split("\n") if line and not line.isspace()]
        if not all(map(_WHOLE.match, lines)):
            lines = _mend_folds(lines, quirks)
        text = "\n" + "\n".join(lines)
    if "_" in text and _UNDERSCORE.search(text):
        quirks.add("underscore_name")
    if (count := text.count("\n")) > limits.lines:
        raise _too_many_lines(count, limits)
    if len(text) > limits.line and (longest := max(map(len, text.split("\n")))) > limits.line:
        raise TooLarge(f"line of {longest} characters, at most {limits.line} are read", Reason.LINE_TOO_LONG)
    return text


def _too_many_lines(count: int, limits: Limits) -> TooLarge:
    detail = f"calendar of {count} lines, at most {limits.lines} are read"
    return TooLarge(detail, Reason.TOO_MANY_PROPERTIES)


def _mend_folds(lines: list[str], quirks: set[str]) -> list[str]:
    """Join what lost its fold to the line before it; drop what belongs to no line."""
    mended: list[list[str]] = []
    length, complete = 0, True  # of the last logical line: how long, and does it have its colon
    for line in lines:
        if _START.match(line):
            known = _KNOWN.match(line) is not None
            # A word of running text may look like a name; a real one is known, or in capitals after a finished line.
            plausible = complete and (length < 60 or _CAPITALS.match(line) is not None)
            if known or plausible or not mended:
                mended.append([line])
                length, complete = len(line), ":" in line
                continue
        if not mended or _BOUNDARY.match(mended[-1][0]):
            quirks.add("garbage")  # around and between components: nothing it could continue
            continue
        quirks.add("broken_fold")
        mended[-1].append(line)
        length += len(line)
        complete = complete or ":" in line
    return ["".join(pieces) for pieces in mended]
