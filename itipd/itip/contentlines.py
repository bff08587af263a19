"""Content lines and components of iCalendar (RFC 5545 §3.1, RFC 6868), read tolerantly and written strictly.

Duty: bytes that a stranger sent -> components with their lines, in linear time; and the way back to folded text. Each
tolerance has a name, a *quirk*. It must never guess at meaning (dates, addresses, methods are other rooms' work), never
raise anything but `Unreadable`, and never let a control character in or out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from itipd.itip.model import Params, clean

TEXT_LIMIT = 65536
"""Characters that `Component.text` gives at most."""

_CONTROLS = bytes([*range(9), *range(11, 32), 127])  # C0 and DEL without TAB and LF
_CONTROL_TABLE: dict[int, None] = dict.fromkeys((*range(9), *range(10, 32), 127))  # in one line: LF is one, too

_NAMES = (
    "action|attach|attendee|begin|calscale|categories|class|color|comment|completed|conference|contact|created|"
    "description|dtend|dtstamp|dtstart|due|duration|end|exdate|exrule|freebusy|geo|image|last-modified|location|method|"
    "name|organizer|percent-complete|priority|prodid|rdate|recurrence-id|refresh-interval|related-to|repeat|"
    "request-status|resources|rrule|sequence|source|status|summary|transp|trigger|tzid|tzname|tzoffsetfrom|tzoffsetto|"
    "tzurl|uid|url|version|x-[a-z0-9_-]++"
)
# Possessive quantifiers throughout: no pattern of this module can backtrack.
_KNOWN = re.compile(rf"(?:{_NAMES})[ \t]*+[:;]", re.IGNORECASE)
_WHOLE = re.compile(rf"(?:[A-Z0-9_-]++|(?i:{_NAMES}))[ \t]*+(?:;[^:]*+)?+:")
_START = re.compile(r"(?!(?:mailto|https?):)[A-Za-z0-9_-]++[ \t]*+[:;]", re.IGNORECASE)
_NAME = re.compile(r"([A-Za-z0-9_-]++)[ \t]*+[:;]?")
_UNDERSCORE = re.compile(r"\n[A-Za-z0-9-]*+_[A-Za-z0-9_-]*+[:;]")
_SOUND = re.compile(r"(?:\n[A-Z0-9_-]++(?:;[^:\n]*+)?+:[^\n]*+)*+")
_EDGE = re.compile(r"\n(BEGIN|END)[ \t]*+:([^\n]*+)", re.IGNORECASE)
_ADDRESS_LINE = re.compile(r"\n((?:ATTENDEE|ORGANIZER);[^\n]*+)", re.IGNORECASE)
_BOUNDARY = re.compile(r"(?:BEGIN|END)[ \t]*+:", re.IGNORECASE)
_PARAMETER = re.compile(r";[ \t]*+[A-Za-z0-9-]++=")
_MAILTO = re.compile(r":[ \t]*+mailto:", re.IGNORECASE)
_QUOTED = re.compile(r'"[^"]*+"')
_ESCAPED = re.compile(r'\\([nN,;:"\\])')
_CARET = re.compile(r"\^([n'^])")
_TOKEN = re.compile(r"[A-Za-z0-9_-]++")

# Inside quotes the three delimiters become controls, of which a parsed text has none, and come back afterwards.
_MASK = str.maketrans(":;,", "\x01\x02\x03")
_UNMASK = str.maketrans("\x01\x02\x03", ":;,")

# One value each, whatever commas a careless client leaves unquoted in it (RFC 5545 §3.2).
_SINGLE = frozenset(
    key
    for keys in (
        "ALTREP CN CUTYPE DIR EMAIL ENCODING FBTYPE FMTTYPE LABEL LANGUAGE PARTSTAT RANGE RELATED RELTYPE ROLE RSVP",
        "SCHEDULE-AGENT SCHEDULE-FORCE-SEND SENT-BY TZID VALUE X-NUM-GUESTS X-RESPONSE-COMMENT",
    )
    for key in keys.split()
)
_ADDRESSES = ("ATTENDEE", "ORGANIZER")

# Where a component can only stand: a BEGIN elsewhere means that an END was lost.
_PARENTS = {
    **dict.fromkeys(("VEVENT", "VTODO", "VJOURNAL", "VFREEBUSY", "VTIMEZONE", "VAVAILABILITY"), ("VCALENDAR",)),
    **dict.fromkeys(("STANDARD", "DAYLIGHT"), ("VTIMEZONE",)),
    "VALARM": ("VEVENT", "VTODO"),
}
_BARE = frozenset({"VEVENT", "VTODO", "VJOURNAL", "VFREEBUSY"})  # readable even without a VCALENDAR around them


class Unreadable(ValueError):  # noqa: N818 - it names what the calendar is
    """There is no calendar in these bytes."""


class TooLarge(Unreadable):
    """The calendar is over one of the `Limits`."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one calendar. Lines are counted after unfolding, their length in characters."""

    size: int = 1 << 20  # bytes
    lines: int = 30_000
    line: int = 512 << 10
    components: int = 5_000
    depth: int = 8


@dataclass(frozen=True, slots=True)
class Line:
    """One content line: upper-case name, parameters without quotes and carets, value as written (still escaped)."""

    name: str
    params: Params
    value: str

    def one(self, name: str) -> str | None:
        """The first value of a parameter (upper-case name), or None."""
        values = self.params.get(name)
        return values[0] if values else None


@dataclass(slots=True)
class Component:
    """A component: upper-case name, its own lines (unfolded, verbatim), the components in it.

    Lines are parsed when asked for. Do not change `raw` after the first look-up.
    """

    name: str
    raw: list[str] = field(default_factory=list)
    children: list[Component] = field(default_factory=list)
    memo: object = field(default=None, repr=False, compare=False)  # what a reader derived from it, to do it only once
    _index: dict[str, list[str]] | None = field(default=None, repr=False, compare=False)

    def lines(self, name: str) -> Sequence[str]:
        """The raw lines with this property name (upper-case), in order."""
        index = self._index
        if index is None:
            index = self._index = {}
            for raw in self.raw:
                match = _NAME.match(raw)
                if match is not None:
                    index.setdefault(match[1].upper(), []).append(raw)
        return index.get(name, ())

    def first(self, name: str) -> Line | None:
        """The first property of this name (upper-case), or None."""
        lines = self.lines(name)
        return parse_line(lines[0]) if lines else None

    def all(self, name: str) -> list[Line]:
        """All properties of this name (upper-case), in order."""
        return [parse_line(raw) for raw in self.lines(name)]

    def text(self, name: str, limit: int = TEXT_LIMIT) -> str | None:
        """The TEXT value of the first property of this name: unescaped, cleaned, without blanks around it."""
        line = self.first(name)
        return None if line is None else clean(unescape(line.value), limit).strip()


def parse(
    data: bytes, *, limits: Limits = Limits(), skip: frozenset[str] = frozenset()
) -> tuple[list[Component], tuple[str, ...]]:
    """The VCALENDARs in `data` (UTF-8) and the quirks that were tolerated, sorted.

    Components named in `skip` (upper-case) are left out with all that is in them. Raises `Unreadable` where there is no
    calendar and `TooLarge` beyond `limits`; time is linear in the size.
    """
    if len(data) > limits.size:
        raise TooLarge(f"calendar of {len(data)} bytes, at most {limits.size} are read")
    quirks: set[str] = set()
    calendars = _components(_lines(_text(data, quirks), limits, quirks), limits, skip, quirks)
    if not calendars:
        raise Unreadable("no calendar: expected a line BEGIN:VCALENDAR")
    return calendars, tuple(sorted(quirks))


def _text(data: bytes, quirks: set[str]) -> str:
    """`data` unfolded and decoded, lines ended by LF only, without controls."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        data = data.decode("utf-16", "replace").encode("utf-8", "replace")
        quirks.add("charset")
    if b"\xef\xbb\xbf" in data[:16]:
        data = data.replace(b"\xef\xbb\xbf", b"", 1)
        quirks.add("bom")
    feeds, returns = data.count(b"\n"), data.count(b"\r")
    if feeds != returns or data.count(b"\r\n") != feeds:
        data = _mend_breaks(data, quirks)
        returns = data.count(b"\r")
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


def _mend_breaks(data: bytes, quirks: set[str]) -> bytes:
    """`data` with whatever was used as a line break made CR LF."""
    if b"\n" not in data:
        quirks.add("bare_cr")
        return data.replace(b"\r", b"\r\n")
    if b"\r\r\n" in data:
        quirks.add("cr_cr_lf")
        data = re.sub(rb"\r++\n", b"\n", data)
    elif data.count(b"\r\n") != data.count(b"\n"):
        quirks.add("bare_lf")
    return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


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
        raise TooLarge(f"calendar of {text.count(chr(10))} lines, at most {limits.lines} are read")
    text = "\n" + text.strip("\n")
    if _SOUND.fullmatch(text) is None:
        lines = [line for line in text.split("\n") if line and not line.isspace()]
        if not all(map(_WHOLE.match, lines)):
            lines = _mend_folds(lines, quirks)
        text = "\n" + "\n".join(lines)
    if "_" in text and _UNDERSCORE.search(text):
        quirks.add("underscore_name")
    if (count := text.count("\n")) > limits.lines:
        raise TooLarge(f"calendar of {count} lines, at most {limits.lines} are read")
    if len(text) > limits.line and (longest := max(map(len, text.split("\n")))) > limits.line:
        raise TooLarge(f"line of {longest} characters, at most {limits.line} are read")
    return text


def _mend_folds(lines: list[str], quirks: set[str]) -> list[str]:
    """Join what lost its fold to the line before it; drop what belongs to no line."""
    mended: list[list[str]] = []
    length, complete = 0, True  # of the last logical line: how long, and does it have its colon
    for line in lines:
        if _START.match(line):
            known = _KNOWN.match(line) is not None
            # A word of running text may look like a name; a real one is known, or in capitals after a finished line.
            plausible = complete and (length < 60 or line[: _name_end(line)].isupper())
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


def _name_end(line: str) -> int:
    match = _NAME.match(line)
    return match.end(1) if match else 0


def _components(text: str, limits: Limits, skip: frozenset[str], quirks: set[str]) -> list[Component]:
    """The tree: lost ENDs supplied, stray ones ignored."""
    calendars: list[Component] = []
    stack: list[Component] = []
    skipped = count = done = 0  # skipped: the depth at which a left-out component stands, 0: none
    for edge in _EDGE.finditer(text):
        if edge.start() > done:
            _take(text[done : edge.start()], stack, skipped, quirks)
        done = edge.end()
        kind, name = edge[1].upper(), edge[2].strip().upper()
        if kind == "END":
            if name not in [component.name for component in stack]:
                quirks.add("stray_end")
                continue
            while stack.pop().name != name:
                quirks.add("missing_end")
        else:
            count += 1
            if count > limits.components:
                raise TooLarge(f"more than {limits.components} components")
            parents = _PARENTS.get(name)
            while parents is not None and stack and stack[-1].name not in parents:
                stack.pop()
                quirks.add("missing_end")
            if len(stack) < skipped:
                skipped = 0
            if not stack and name != "VCALENDAR":
                if name not in _BARE:
                    quirks.add("garbage")
                    continue
                quirks.add("no_vcalendar")
                stack.append(Component("VCALENDAR"))
                calendars.append(stack[0])
            component = Component(name)
            if not stack:
                calendars.append(component)
            elif not skipped and name in skip:
                skipped = len(stack) + 1
            elif not skipped:
                stack[-1].children.append(component)
            stack.append(component)
            if len(stack) > limits.depth:
                raise TooLarge(f"components nested deeper than {limits.depth}")
        if len(stack) < skipped:
            skipped = 0
    if len(text) > done:
        _take(text[done:], stack, skipped, quirks)
    if stack:
        quirks.add("missing_end")
    return calendars


def _take(block: str, stack: list[Component], skipped: int, quirks: set[str]) -> None:
    """Give the lines between two edges, each begun by LF, to the component they stand in."""
    if not stack:
        quirks.add("garbage")
    elif not skipped:
        stack[-1].raw.extend(block[1:].split("\n"))
        # Two colons are the delimiter's and the scheme's; a closer look is worth its time only where there are more.
        for line in _ADDRESS_LINE.findall(block):
            if line.count(":") > 2 and _split(line)[2]:
                quirks.add("unquoted_colon")


def parse_line(raw: str) -> Line:
    """One unfolded content line. Never fails: what is no parameter is part of the one before it."""
    match = _NAME.match(raw)
    if match is None:
        return Line("", {}, raw)
    name, end = match[1].upper(), match.end()
    if raw[end - 1 : end] != ";":
        return Line(name, {}, raw[end:])
    head, value, _ = _split(raw)
    params: dict[str, tuple[str, ...]] = {}
    last = ""
    for piece in head[end:].split(";"):
        key, equals, text = piece.partition("=")
        key = key.strip().upper()
        if not equals or not _TOKEN.fullmatch(key):
            if last:  # an unquoted semicolon in a value
                params[last] = (*params[last][:-1], f"{params[last][-1]};{_plain(piece)}")
            continue
        if key in _SINGLE:
            if key not in params:
                params[key] = (_plain(text),)
        else:
            params[key] = params.get(key, ()) + tuple(map(_plain, text.split(",")))
        last = key
    return Line(name, params, value)


def _split(raw: str) -> tuple[str, str, bool]:
    """Name and parameters (delimiters in quotes masked), value, and whether a parameter has an unquoted colon."""
    masked = raw
    if '"' in raw:
        masked = _QUOTED.sub(lambda match: match[0].translate(_MASK), raw)
    colon = first = masked.find(":")
    if first < 0:
        return masked, "", False
    if masked.count(":", first) > 1 and masked[:9].upper().startswith(_ADDRESSES):
        # `CN=Dr. No: chief;PARTSTAT=ACCEPTED:mailto:no@example.com`: the value of an address begins at the last
        # `:mailto:`, else at the first colon behind the last parameter.
        found = -1
        for match in _MAILTO.finditer(masked, first):
            found = match.start()
        if found < 0:
            behind = first
            for match in _PARAMETER.finditer(masked, first):
                behind = match.end()
            found = masked.find(":", behind)
        colon = found if found >= 0 else first
    value = masked[colon + 1 :]
    return masked[:colon], value if masked is raw else value.translate(_UNMASK), colon != first


def _plain(text: str) -> str:
    """A parameter value as written -> its text: no quotes, RFC 6868 carets decoded."""
    if '"' in text:
        text = text.replace('"', "").translate(_UNMASK)
    if "^" in text:
        text = _CARET.sub(lambda match: {"n": "\n", "'": '"', "^": "^"}[match[1]], text)
    return text.strip()


def unescape(value: str) -> str:
    """A TEXT value -> its text (RFC 5545 §3.3.11)."""
    if "\\" not in value:
        return value
    return _ESCAPED.sub(lambda match: "\n" if match[1] in "nN" else match[1], value)


def escape(text: str) -> str:
    """A text -> a TEXT value on one line (RFC 5545 §3.3.11); line breaks of any kind become `\\n`, controls go."""
    text = text.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,")
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\\n")
    return text.translate(_CONTROL_TABLE)


def fold(line: str) -> str:
    """One line -> its folded form, CRLF at the end: 75 octets at most, never cut inside a character (RFC 5545 §3.1)."""
    if len(line) <= 75 and line.isascii():
        return line + "\r\n"
    octets = line.encode("utf-8", "replace")
    pieces: list[bytes] = []
    start, room = 0, 75
    while len(octets) - start > room:
        end = start + room
        while octets[end] & 0xC0 == 0x80:  # a continuation byte: the character began before
            end -= 1
        pieces.append(octets[start:end])
        start, room = end, 74  # the blank takes one
    pieces.append(octets[start:])
    return b"\r\n ".join(pieces).decode() + "\r\n"


def format_line(name: str, params: Mapping[str, Sequence[str]], value: str) -> str:
    """One content line, unfolded, without its end. `value` must be escaped already where it is TEXT.

    Parameter values are quoted where needed and encoded by RFC 6868; control characters are dropped everywhere. Raises
    ValueError for a name that is none.
    """
    parts = [name]
    for key, values in params.items():
        parts.append(f"{key}={','.join(map(_quote, values))}")
        if not _TOKEN.fullmatch(key):
            raise ValueError(f"parameter name {key!r} of {name}: expected letters, digits and hyphens")
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"property name {name!r}: expected letters, digits and hyphens")
    return f"{';'.join(parts)}:{value.translate(_CONTROL_TABLE)}"


def _quote(text: str) -> str:
    if not text.isalnum():
        text = text.replace("^", "^^").replace("\r\n", "\n").replace("\n", "^n").replace('"', "^'")
        text = text.translate(_CONTROL_TABLE)
        if any(c in text for c in ":;,") or text != text.strip():
            return f'"{text}"'
    return text
