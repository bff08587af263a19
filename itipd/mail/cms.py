"""What an opaque S/MIME part holds: the content of a CMS SignedData, taken out (RFC 5652 §3, §5; RFC 8551 §3.5.2).

Outlook and others wrap a whole mail into `application/pkcs7-mime; smime-type=signed-data`; the calendar is in there in
clear. A short walk over a few BER elements finds it, at any length form, bounded, without recursion. No signature is
verified: who sent the mail is proven by other means or not at all. It must never raise.
"""

from __future__ import annotations

from collections.abc import Iterator

SIGNED = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02"  # 1.2.840.113549.1.7.2
ENVELOPED = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03"
AUTH_ENVELOPED = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x17"  # RFC 5083

_SEQUENCE, _SET, _OID, _INTEGER, _OCTETS, _TAGGED = 0x30, 0x31, 0x06, 0x02, 0x04, 0xA0
_CONSTRUCTED = 0x20
_ELEMENTS = 20_000  # looked at in one part; a streamed mail of 10 MiB in pieces of 1 kB has ten thousand
_LENGTH_OCTETS = 4


class _OddError(ValueError):
    """These octets are no BER."""


def signed_content(data: bytes) -> bytes | None:
    """The MIME entity that a SignedData carries; None where `data` is none, or carries nothing (a detached one)."""
    try:
        kind, start, end = _content_info(data)
        if kind != SIGNED:
            return None
        start, end = _inside(data, start, end, _SEQUENCE)
        inner = [one for one in _elements(data, start, end, most=4) if one[0] not in (_INTEGER, _SET)]
        if not inner or inner[0][0] != _SEQUENCE:
            return None
        # encapContentInfo: the type of the content, and [0] EXPLICIT OCTET STRING
        _, start, end = inner[0]
        parts = list(_elements(data, start, end, most=2))
        if len(parts) < 2 or parts[0][0] != _OID or parts[1][0] != _TAGGED:
            return None
        return _octets(data, *parts[1][1:]) or None
    except (_OddError, IndexError):
        return None


def is_encrypted(data: bytes) -> bool:
    """Whether `data` is a CMS EnvelopedData, of which nothing can be read here."""
    try:
        return _content_info(data)[0] in (ENVELOPED, AUTH_ENVELOPED)
    except (_OddError, IndexError):
        return False


def _content_info(data: bytes) -> tuple[bytes, int, int]:
    """RFC 5652 §3: the content's type, and where the content is."""
    start, end = _inside(data, 0, len(data), _SEQUENCE)
    found = list(_elements(data, start, end, most=2))
    if len(found) < 2 or found[0][0] != _OID or found[1][0] != _TAGGED:
        raise _OddError
    return data[found[0][1] : found[0][2]], found[1][1], found[1][2]


def _inside(data: bytes, start: int, end: int, tag: int) -> tuple[int, int]:
    for found, first, last in _elements(data, start, end, most=1):
        if found == tag:
            return first, last
    raise _OddError


def _elements(data: bytes, start: int, end: int, *, most: int) -> Iterator[tuple[int, int, int]]:
    """(tag, start, end) of the content of each element in a row, at most so many."""
    at = start
    for _ in range(most):
        if at >= end or data[at : at + 2] == b"\0\0":
            return
        tag, first, length = _head(data, at)
        if length is None:
            last = _closing(data, first, end)
            at = last + 2
        else:
            last = at = min(first + length, end)  # cut short: what there is
        yield tag, first, last


def _head(data: bytes, at: int) -> tuple[int, int, int | None]:
    """Tag, where the content begins, its length; None: indefinite (X.690 §8.1)."""
    tag, size = data[at], data[at + 1]
    if tag & 0x1F == 0x1F:
        raise _OddError  # a tag above 30: nothing in a ContentInfo has one
    if size < 0x80:
        return tag, at + 2, size
    count = size & 0x7F
    if not count:
        return tag, at + 2, None
    if count > _LENGTH_OCTETS:
        raise _OddError
    return tag, at + 2 + count, int.from_bytes(data[at + 2 : at + 2 + count], "big")


def _closing(data: bytes, start: int, end: int) -> int:
    """Where the end-of-contents of an element of indefinite length stands; `end` where it is missing."""
    at, depth = start, 1
    for _ in range(_ELEMENTS):
        if at + 2 > end:
            return end
        if data[at : at + 2] == b"\0\0":
            depth -= 1
            if not depth:
                return at
            at += 2
            continue
        tag, first, length = _head(data, at)
        if length is None:
            if not tag & _CONSTRUCTED:
                raise _OddError
            depth += 1
            at = first
        else:
            at = first + length
    raise _OddError


def _octets(data: bytes, start: int, end: int) -> bytes:
    """An OCTET STRING, in one piece or in many (X.690 §8.7): the primitive ones in a row, whatever they stand in."""
    pieces: list[bytes] = []
    at = start
    for _ in range(_ELEMENTS):
        if at + 2 > end:
            break
        if data[at : at + 2] == b"\0\0":
            at += 2
            continue
        tag, first, length = _head(data, at)
        if tag == _OCTETS and length is not None:
            pieces.append(data[first : min(first + length, end)])
            at = first + length
        elif tag == _OCTETS | _CONSTRUCTED:
            at = first
        else:
            raise _OddError
    return b"".join(pieces)
