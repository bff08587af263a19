"""One content line (RFC 5545 §3.1-2, RFC 6868), read tolerantly and written strictly.

Duty: text of one unfolded line -> name, parameters, value, and back. It must never fail on what a stranger wrote, take
more than linear time, or let a control character out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from itipd.itip.model import Params

# In one line LF is one, too; C1 holds NEL, at which some programs break lines.
_CONTROL_TABLE: dict[int, None] = dict.fromkeys((*range(9), *range(10, 32), *range(127, 160)))

# Possessive quantifiers throughout: no pattern of this module can backtrack.
_NAME = re.compile(r"([A-Za-z0-9_-]++)[ \t]*+[:;]?")
_KEY = re.compile(r"[ \t]*+[A-Za-z0-9_-]++[ \t]*+=")
_PARAMETER = re.compile(r";[ \t]*+[A-Za-z0-9-]++=")
_DATED = re.compile(r":[ \t]*+[0-9]{4}-?[0-9]{2}-?[0-9]{2}")
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
_NOTHING = ("", "RSVP")  # between two semicolons: one too many, or a parameter without its value
_ADDRESSES = ("ATTENDEE", "ORGANIZER")
_SHORT = 256  # characters of a line that is kept
_DATES = ("DTSTART", "DTEND", "DUE", "RECURRENCE-ID", "EXDATE", "RDATE")


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


def parse_line(raw: str) -> Line:
    """One unfolded content line. Never fails: what is no parameter is part of the one before it."""
    match = _NAME.match(raw)
    if match is None:
        return Line("", {}, raw)
    name, end = match[1].upper(), match.end()
    if raw[end - 1 : end] != ";":
        return Line(name, {}, raw[end:])
    # The same few people and organizers stand in most mails: their lines are looked up.
    return _remembered(name, raw, end) if len(raw) <= _SHORT else _with_parameters(name, raw, end)


def _with_parameters(name: str, raw: str, end: int) -> Line:
    head, value, _ = _split(raw)
    params: dict[str, tuple[str, ...]] = {}
    pieces = head[end:].split(";")
    if not all(map(_KEY.match, pieces)):
        pieces = _rejoin(pieces)
    for piece in pieces:
        key, _, text = piece.partition("=")
        key = key.strip().upper()
        # A parameter must not come twice (RFC 5545 §3.2): the first counts.
        if key not in params:
            params[key] = (_plain(text),) if key in _SINGLE else tuple(map(_plain, text.split(",")))
    return Line(name, params, value)


_remembered = lru_cache(maxsize=4096)(_with_parameters)


def _rejoin(pieces: list[str]) -> list[str]:
    """Parameters that an unquoted semicolon in a value has cut, put together again; what belongs to none goes."""
    joined: list[list[str]] = []
    for piece in pieces:
        if piece.strip().upper() == "THISANDFUTURE":
            joined.append(["RANGE=THISANDFUTURE"])  # RFC 5546 §4.4.5 writes it without its name
        elif _KEY.match(piece):
            joined.append([piece])
        elif joined and piece.strip().upper() not in _NOTHING:
            joined[-1].append(piece)
    return [";".join(parts) for parts in joined]


def value_of(raw: str) -> str:
    """The value of an unfolded content line, as written."""
    match = _NAME.match(raw)
    if match is None:
        return raw
    return _split(raw)[1] if match[0][-1] == ";" else raw[match.end() :]


def _split(raw: str) -> tuple[str, str, bool]:
    """Name and parameters (delimiters in quotes masked), value, and whether a parameter has an unquoted colon."""
    masked = raw
    if '"' in raw:
        masked = _QUOTED.sub(lambda match: match[0].translate(_MASK), raw)
    colon = first = masked.find(":")
    if first < 0:
        return masked, "", False
    if masked.find(":", first + 1) > 0:
        colon = _colon(masked, first)
    value = masked[colon + 1 :]
    return masked[:colon], value if masked is raw else value.translate(_UNMASK), colon != first


def has_unquoted_colon(raw: str) -> bool:
    """Whether a parameter of this line has a colon that ought to stand in quotes."""
    return _split(raw)[2]


def _colon(masked: str, first: int) -> int:
    """Where the value begins, for the kinds whose values tell, else at the first colon.

    `CN=Dr. No: chief;PARTSTAT=ACCEPTED:mailto:no@example.com`: at the last `:mailto:`, else at the first colon behind
    the last parameter. `TZID=(GMT+01:00) Berlin:20261208T100000`: where a date begins.
    """
    name = masked[:14].upper()
    if name.startswith(_DATES):
        dated = _DATED.search(masked, first)
        return dated.start() if dated else first
    if not name.startswith(_ADDRESSES):
        return first
    found = -1
    for match in _MAILTO.finditer(masked, first):
        found = match.start()
    if found < 0:
        behind = first
        for match in _PARAMETER.finditer(masked, first):
            behind = match.end()
        found = masked.find(":", behind)
    return found if found >= 0 else first


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
