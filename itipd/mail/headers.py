"""The header block of a mail or of one of its parts, in one linear pass (RFC 5322 §2.2, RFC 2047).

Nothing here raises on hostile bytes but `TooLarge`, and nothing backtracks: the standard library's header functions
do both. Field bodies are decoded when asked for, so that a reply pays only for the fields that are read.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from itipd.itip.model import clean
from itipd.itip.outcomes import Reason

# Possessive quantifiers throughout: nothing here can backtrack.
_LINES = rb"[!-9;-~]++[ \t]*+:[^\n]*+(?:\n[ \t][^\n]*+)*+(?:\n|\Z)"
_BLOCK = re.compile(rb"(?:" + _LINES + rb")*+")
_FIELD = re.compile(rb"([!-9;-~]++)[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)(?:\n|\Z)")
_WORD = re.compile(r"=\?([^?\s]{1,64}+)\?([bBqQ])\?([^?\s]*+)\?=(\s++(?==\?))?")
_DATE = re.compile(
    r"\s*(?:[A-Za-z]{3,9}\s*,?\s*)?(\d{1,2})[\s-]+([A-Za-z]{3})[A-Za-z]*[\s-]+(\d{2,4})\s+"
    r"(\d{1,2}):(\d{2})(?::(\d{2}))?\s*([+-]\d{4}|[A-Za-z]{1,5})?"
)
# A quoted string or comment is passed over; what stands in angle brackets is an address, and so is a word with an @.
_ADDRESSES = re.compile(r"""\"(?:[^\"\\]|\\.)*+\"|\([^()]*+\)|<([^<>]*+)>|([^\s,;:<>()\"]++)""")
_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, 1)}
_ZONES = {"edt": -4, "est": -5, "cdt": -5, "cst": -6, "mdt": -6, "mst": -7, "pdt": -7, "pst": -8}  # RFC 5322 §4.3
_DAY = 24 * 60  # minutes

_CODECS = {
    **{f"iso-8859-{number}": f"iso8859-{number}" for number in (*range(1, 12), 13, 14, 15, 16)},
    **{f"windows-{number}": f"cp{number}" for number in (874, *range(1250, 1259))},
    **{name: name for name in ("utf-8", "utf-16", "utf-16le", "utf-16be", "utf-32", "koi8-r", "koi8-u", "gbk")},
    **{name: name for name in ("big5", "euc-jp", "euc-kr", "iso-2022-jp", "iso-2022-kr", "shift_jis", "gb18030")},
    **{name: name for name in ("tis-620", "macintosh", "cp437", "cp850", "cp1252")},
    "us-ascii": "ascii",
    "ascii": "ascii",
    "utf8": "utf-8",
    "unicode-1-1-utf-8": "utf-8",
    "latin1": "iso8859-1",
    "iso8859-1": "iso8859-1",
    "iso8859-15": "iso8859-15",
    "gb2312": "gb18030",  # what calls itself GB2312 is GBK or more
    "ks_c_5601-1987": "cp949",
    "iso-8859-8-i": "iso8859-8",
    "cp1250": "cp1250",
    "cp1251": "cp1251",
}
"""Charset of MIME -> Python's codec: a closed list, because a name from a mail may also mean zip or punycode."""


class TooLarge(ValueError):  # noqa: N818 - it names what the mail is
    """The mail has more headers, parts or nesting than is read: `reason` says of which, the text how many are."""

    def __init__(self, text: str, reason: Reason) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class MailLimits:
    """What is read of one mail; sizes in bytes (hardening: caps come before any header function)."""

    header_block: int = 65_536
    header: int = 8_192
    content_type: int = 4_096
    headers: int = 500
    parts: int = 200
    depth: int = 20
    part: int = 1_048_576  # one calendar part, decoded


class Headers:
    """The fields of one header block, in their order. Names are given in lower case."""

    __slots__ = ("_top", "fields", "limit")

    def __init__(self, fields: list[tuple[bytes, bytes]], limit: int) -> None:
        self.fields = fields  # (lower-case name, body with its folds)
        self.limit = limit  # bytes; a longer field reads as if it were empty
        self._top = dict(reversed(fields))

    def all(self, name: bytes) -> list[str]:
        """The bodies of every field `name`, unfolded and stripped, top first."""
        if name not in self._top:
            return []
        return [unfold(body) for found, body in self.fields if found == name and len(body) <= self.limit]

    def first(self, name: bytes) -> str:
        """The topmost body of field `name`; "" where there is none."""
        body = self._top.get(name)
        return unfold(body) if body is not None and len(body) <= self.limit else ""

    def count(self, name: bytes) -> int:
        """How many fields `name` there are."""
        return [found for found, _ in self.fields].count(name) if name in self._top else 0

    @property
    def long(self) -> bool:
        """Whether a field is over the limit and therefore not read."""
        return max([len(body) for _, body in self.fields], default=0) > self.limit


def scan(raw: bytes, start: int, end: int, limits: MailLimits) -> tuple[Headers, int]:
    """Read the header block that begins at `start`; returns it and the offset of the body.

    The block ends at an empty line, or where a line is neither field nor continuation, as mail relays have it.
    Raises `TooLarge` beyond `limits.header_block` bytes or `limits.headers` fields.
    """
    match = _BLOCK.match(raw, start, min(end, start + limits.header_block + 1))
    stop = match.end() if match else start
    if stop - start > limits.header_block:
        detail = f"the mail has a header block of more than {limits.header_block} bytes"
        raise TooLarge(detail, Reason.TOO_MANY_HEADERS)
    fields = [(name.lower(), body) for name, body in _FIELD.findall(raw, start, stop)]
    if len(fields) > limits.headers:
        raise TooLarge(f"the mail has more than {limits.headers} headers in one block", Reason.TOO_MANY_HEADERS)
    if raw.startswith(b"\r\n", stop):
        stop += 2
    elif raw.startswith(b"\n", stop):
        stop += 1
    return Headers(fields, limits.header), min(stop, end)


def unfold(body: bytes) -> str:
    """A field body as text: folds undone (RFC 5322 §2.2.3), UTF-8, else Latin-1 (which reads any byte)."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = body.decode("latin-1")
    if "\n" in text:
        text = text.replace("\r\n", "").replace("\n", "")
    return text.strip()


def codec(charset: str) -> str | None:
    """Python's codec for a MIME charset, or None for one that is not known here."""
    name = charset.strip().strip("\"'").lower()
    return _CODECS.get(name) or _CODECS.get(name.replace("_", "-"))


def _word(match: re.Match[str]) -> str:
    charset, encoding, text, _ = match.groups()
    name = codec(charset.partition("*")[0])  # RFC 2231 §5: a language may follow
    if name is None or not text.isascii():
        return match[0]
    if encoding in "qQ":
        data = binascii.a2b_qp(text.encode().replace(b"_", b"=20"))
    else:
        try:
            data = binascii.a2b_base64(text + "=" * (-len(text) % 4))
        except binascii.Error:
            return match[0]
    return data.decode(name, "replace")


def decoded(text: str) -> str:
    """`text` with its encoded words decoded (RFC 2047); a broken one stays as it is. Controls are cleaned away."""
    if "=?" in text:
        text = _WORD.sub(_word, text)
    return clean(text, 998).replace("\n", " ").replace("\t", " ")


def date(text: str) -> datetime | None:
    """A Date header as an instant in UTC (RFC 5322 §3.3, §4.3); None where it is none. `-0000`: UTC."""
    match = _DATE.match(text[:100])
    if match is None:
        return None
    day, month, year, hour, minute, second, zone = match.groups()
    years = int(year) + (0 if len(year) == 4 else 2000 if int(year) < 50 else 1900)
    minutes = 60 * _ZONES.get((zone or "").lower(), 0)  # ahead of UTC
    if zone and zone[0] in "+-":
        minutes = (int(zone[1:3]) * 60 + int(zone[3:])) * (-1 if zone[0] == "-" else 1)
    try:
        local = datetime(
            years,
            _MONTHS[month.lower()],
            int(day),
            int(hour),
            int(minute),
            min(int(second or 0), 59),  # a leap second
            tzinfo=UTC,
        )
    except (ValueError, KeyError):
        return None
    return local - timedelta(minutes=minutes) if 1970 <= years <= 2200 and abs(minutes) < _DAY else None


def addresses(text: str) -> list[str]:
    """The addr-specs of an address list such as To, read tolerantly: display names, comments and groups fall away.

    For looking up who a mail was sent to; never proof of anything.
    """
    return [angle or word for angle, word in _ADDRESSES.findall(text) if angle or "@" in word]
