"""A mail as the flat list of its parts, in one bounded pass (RFC 2045, RFC 2046, RFC 2231).

Multiparts are opened at any depth up to a limit; a message inside the mail (message/*) is a leaf and is never opened:
somebody else's mail is not believed. No recursion, nothing that backtracks, no exception but `TooLarge`.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from urllib.parse import unquote_to_bytes

from itipd.itip.outcomes import Reason
from itipd.mail import uu
from itipd.mail.headers import Headers, MailLimits, TooLarge, codec, decoded, scan

_TYPE = re.compile(r"\s*([\w.+-]+/[\w.+-]+)", re.ASCII)
_PARAM = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*+)"|([^;]*))')
_TOKEN = re.compile(r"[\w-]+", re.ASCII)
_NO_BASE64 = re.compile(rb"[^A-Za-z0-9+/=\s]")
_BASE64 = bytes(octet for octet in range(256) if not _NO_BASE64.match(bytes([octet])))
_DELIMITER = rb"--([0-9A-Za-z'()+_,./:=?-][0-9A-Za-z'()+_,./:=? -]{0,69}+)\r?\n(?=[Cc][Oo][Nn][Tt][Ee][Nn][Tt]-)"
_SEEN = re.compile(rb"(?<=\n)" + _DELIMITER)
_BEGINS = re.compile(rb"\s{0,64}+(?:[^\n]{0,200}MIME[^\n]{0,200}\n\s{0,64}+)?" + _DELIMITER)
_UUENCODED = frozenset({"x-uuencode", "uuencode", "x-uue", "uue"})
_PADDING = re.compile(rb"=++\s*+")
_MOST_PIECES = 1000  # of base64 in one part
_ESCAPED = re.compile(r"\\(.)")
_BASE64_CALENDAR = b"QkVHSU46VkNBTEVOREFS"  # BEGIN:VCALENDAR
_SHORT = 256  # of what is looked up, not read again
_NO_LIMITS = MailLimits()  # none that so short a block could reach


@dataclass(frozen=True, slots=True)
class Leaf:
    """A part that is no multipart. The body is raw[start:end], still in its transfer encoding."""

    type: str  # lower-case type/subtype
    params: Mapping[str, str]  # of Content-Type, names in lower case
    headers: Headers
    start: int
    end: int

    @property
    def filename(self) -> str:
        """The lower-case file name from Content-Disposition, else from Content-Type; "" where there is none."""
        disposition = self.headers.first(b"content-disposition")
        name = parameters(disposition).get("filename", "") if disposition else ""
        name = name or self.params.get("name", "")
        return decoded(name).strip().lower() if name else ""

    @property
    def attached(self) -> bool:
        """Whether Content-Disposition calls it an attachment (RFC 2183 §2.2)."""
        return self.headers.first(b"content-disposition")[:10].lower() == "attachment"


def leaves(raw: bytes, limits: MailLimits) -> tuple[Headers, int, list[Leaf]]:
    """The mail's own headers, the offset of its body, and all its leaves in the order of the mail.

    Raises `TooLarge` for too many headers, parts or levels.
    """
    start = raw.find(b"\n") + 1 if raw.startswith(b"From ") else 0  # the separator of an mbox
    top, top_body = scan(raw, start, len(raw), limits)
    found: list[Leaf] = []
    waiting = [(top, top_body, len(raw), 0, "text/plain")]
    count = 0
    while waiting:
        headers, body, end, depth, default = waiting.pop()
        count += 1
        field = headers.first(b"content-type")
        if len(field) > limits.content_type:
            field = ""
        named, params = content_type(field)
        kind = named or (default if not field else "text/plain")  # RFC 2045 §5.2
        boundary = params.get("boundary", "").encode() if kind.startswith("multipart/") else b""
        if not 0 < len(boundary) <= 256:
            found.append(Leaf(kind, params, headers, body, end))
            continue
        if depth >= limits.depth:
            raise TooLarge(f"the mail has parts nested more than {limits.depth} deep", Reason.NESTED_TOO_DEEP)
        inner = "message/rfc822" if kind == "multipart/digest" else "text/plain"  # RFC 2046 §5.1.5
        children = []
        ranges = _split(raw, body, end, boundary, limits)
        if not ranges:  # the boundary is not the one that was used: `mended` may find that
            found.append(Leaf(kind, params, headers, body, end))
        for first, last in ranges:
            part, offset = _header_block(raw, first, last, limits)
            children.append((part, offset, last, depth + 1, inner))
        if count + len(waiting) + len(children) > limits.parts:
            raise TooLarge(f"the mail has more than {limits.parts} parts", Reason.TOO_MANY_PARTS)
        waiting.extend(reversed(children))
    return top, top_body, found


def _header_block(raw: bytes, start: int, end: int, limits: MailLimits) -> tuple[Headers, int]:
    """`scan` of a part. What stands above the parts is the same in all mails of one program: it is looked up."""
    stop = raw.find(b"\r\n\r\n", start, min(end, start + _SHORT))
    if stop >= 0 and limits.header >= _SHORT and limits.header_block >= _SHORT:
        headers, offset = _known_block(raw[start : stop + 4])
        if len(headers.fields) <= limits.headers:
            return headers, start + offset
    return scan(raw, start, end, limits)


@lru_cache(maxsize=512)
def _known_block(block: bytes) -> tuple[Headers, int]:
    return scan(block, 0, len(block), _NO_LIMITS)


def _split(raw: bytes, start: int, end: int, boundary: bytes, limits: MailLimits) -> list[tuple[int, int]]:
    # RFC 2046 §5.1.1: a delimiter is a whole line; a longer boundary that begins alike is none.
    mark = b"\n--" + boundary
    ranges: list[tuple[int, int]] = []
    opened = -1
    missed = 0
    at = raw.find(mark, max(start - 1, 0), end)
    while at >= 0:
        after = at + len(mark)
        if raw.startswith(b"\r\n", after, end):
            line_end, rest = after + 1, b""
        else:
            line_end = raw.find(b"\n", after, end)
            line_end = end if line_end < 0 else line_end
            rest = raw[after : min(line_end, after + 256)].strip(b" \t\r")
        if rest in (b"", b"--"):
            if opened >= 0:
                ranges.append((opened, max(opened, at - 1 if raw[at - 1 : at] == b"\r" else at)))
            if rest or len(ranges) > limits.parts:
                return ranges
            opened = line_end + 1
            at = raw.find(mark, line_end, end)
        else:
            missed += 1
            if missed > 1000:
                detail = "the mail has more than 1000 lines that only begin like a boundary"
                raise TooLarge(detail, Reason.TOO_MANY_PARTS)
            at = raw.find(mark, line_end, end)
    if 0 <= opened < end:
        ranges.append((opened, end))  # the closing delimiter is missing
    return ranges


def mended(raw: bytes, leaf: Leaf, limits: MailLimits) -> list[tuple[bytes, Leaf]]:
    """The parts that a person sees in a leaf, behind lines like a boundary that no header, or a wrong one, declares.

    Each with the octets that it stands in. Of a text only if it begins so: what is further down was quoted by somebody.
    """
    look = _SEEN.search if leaf.type.startswith("multipart/") else _BEGINS.match
    seen = look(raw, leaf.start, leaf.end)
    if seen is None:
        return []
    head = b'Content-Type: multipart/mixed; boundary="%b"\r\n\r\n' % seen[1].rstrip()
    whole = head + raw[leaf.start : leaf.end]
    return [(whole, one) for one in leaves(whole, limits)[2]]


def parameters(field: str) -> Mapping[str, str]:
    """The parameters of a Content-Type or Content-Disposition; RFC 2231's pieces and charsets are put together."""
    if ";" not in field:
        return {}
    # All but the boundaries are the same few in the mails of one program.
    return _known_parameters(field) if len(field) <= _SHORT else _parameters(field)


def _parameters(field: str) -> Mapping[str, str]:
    params: dict[str, str] = {}
    pieces: dict[str, list[tuple[int, bool, str]]] = {}
    for match in islice(_PARAM.finditer(field), 64):
        name, quoted, token = match.groups("")
        value = quoted or token.strip(' \t"')
        if "\\" in quoted:
            value = _ESCAPED.sub(r"\1", quoted)  # RFC 5322 §3.2.1
        name = name.lower()
        if "*" not in name:
            params.setdefault(name, value)
            continue
        base, _, rest = name.partition("*")
        number = rest.rstrip("*")
        if not number or (number.isdecimal() and len(number) < 4):
            pieces.setdefault(base, []).append((int(number or 0), not rest or rest.endswith("*"), value))
    for base, parts in pieces.items():
        charset, data = "utf-8", b""
        for position, encoded, value in sorted(parts):
            if encoded and position == 0 and value.count("'") >= 2:
                charset, _, value = value.split("'", 2)
            data += unquote_to_bytes(value) if encoded else value.encode()
        params[base] = data.decode(codec(charset) or "latin-1", "replace")
    return params


_known_parameters = lru_cache(maxsize=512)(_parameters)


def content_type(field: str) -> tuple[str, Mapping[str, str]]:
    """Type and subtype of a Content-Type in lower case, "" where there is none, and its parameters."""
    return _known_type(field) if len(field) <= _SHORT else _content_type(field)


def _content_type(field: str) -> tuple[str, Mapping[str, str]]:
    match = _TYPE.match(field)
    return match[1].lower() if match else "", _parameters(field) if ";" in field else {}


_known_type = lru_cache(maxsize=512)(_content_type)


def body(raw: bytes, leaf: Leaf) -> tuple[bytes, bool]:
    """The leaf's content with its transfer encoding undone (RFC 2045 §6), and whether that encoding was a lie."""
    data = raw[leaf.start : leaf.end]
    field = leaf.headers.first(b"content-transfer-encoding")
    match = _TOKEN.search(field) if field else None
    encoding = match[0].lower() if match else ""
    # Some gateways decode a part and leave its header, others encode it and write none.
    plain = data.lstrip()[:16].upper().startswith(b"BEGIN:VCALENDAR")
    if encoding == "base64":
        return (data, True) if plain else (_base64(data), False)
    if encoding == "quoted-printable":
        return binascii.a2b_qp(data), False
    if encoding in _UUENCODED:
        file = uu.decoded(data)
        return (data, True) if file is None else (file[1], False)
    if data.lstrip().startswith(_BASE64_CALENDAR):
        return _base64(data), True
    return data, False


def _base64(data: bytes) -> bytes:
    odd = _NO_BASE64.search(data) if data.translate(None, _BASE64) else None
    if odd is not None:  # a gateway's footer: without its line, the rest of the part is none of the sender's
        data = data[: data.rfind(b"\n", 0, odd.start()) + 1] or data
    mark = data.find(b"=")
    rest = data[mark:].strip(b"=\r\n\t ") if mark >= 0 else b""
    if rest and b" " not in rest:  # encoded in several pieces, each with its own end; words are a footer
        return b"".join([_base64(piece) for piece in _PADDING.split(data, _MOST_PIECES)[:_MOST_PIECES]])
    try:
        return binascii.a2b_base64(data)
    except binascii.Error:  # the padding or the end is missing: what can be read is read
        kept = re.sub(rb"[^A-Za-z0-9+/]", b"", data)
        kept = kept[: len(kept) - (len(kept) % 4 == 1)]
        return binascii.a2b_base64(kept + b"=" * (-len(kept) % 4))
