"""What stands on the wire of SMTP and LMTP (RFC 5321 §4.1-4.5): addresses, parameters, the end of a message.

Linear in what was sent. It must never raise on anything a client can send, take two spellings of a path for
the same, or end a message at anything but <CR><LF>.<CR><LF>.
"""

from __future__ import annotations

import asyncio
import re
from io import BytesIO

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\xa0-\U0010ffff-]++"  # RFC 5321 §4.1.2, RFC 6531 §3.3
_QUOTED = r'"(?:[ !#-\[\]-~\xa0-\U0010ffff]|\\[ -~])*+"'
_LABEL = r"[A-Za-z0-9_\xa0-\U0010ffff][A-Za-z0-9_\xa0-\U0010ffff-]*+(?<!-)"
_DOMAIN = rf"{_LABEL}(?:\.{_LABEL})*+"
_LITERAL = r"\[(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|IPv6:[0-9A-Fa-f:.]{2,45})\]"  # RFC 5321 §4.1.3
_MAILBOX = rf"(?:{_ATOM}(?:\.{_ATOM})*+|{_QUOTED})@(?:{_DOMAIN}|{_LITERAL})"
_ROUTE = rf"(?:@{_DOMAIN}(?:,@{_DOMAIN})*+:)?+"  # RFC 5321 appendix C: accepted and ignored
_REVERSE = re.compile(rf"FROM: ?<(?:{_ROUTE}({_MAILBOX}))?>(?: (.*))?", re.IGNORECASE)
_FORWARD = re.compile(rf"TO: ?<{_ROUTE}({_MAILBOX}|postmaster)>(?: (.*))?", re.IGNORECASE)
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*+)(?:=([!-~\xa0-\U0010ffff]++))?")  # RFC 5321 §4.1.2

_PIECE = 16 * 1024  # octets worked on without a pause: the other clients wait for each, and several times
LONGEST_ADDRESS = 320  # octets; RFC 5321 §4.5.3.1 asks for 256 at least, and rewritten bounce addresses are long

Parameters = dict[str, str | None]
"""Parameters of MAIL or RCPT: upper-case keyword -> value, None where it has none."""


def parse_mail(argument: str) -> tuple[str, Parameters] | None:
    """The address ("" for the null sender) and parameters of what follows `MAIL `; None where it is malformed."""
    return _parse(_REVERSE, argument)


def parse_rcpt(argument: str) -> tuple[str, Parameters] | None:
    """The address and parameters of what follows `RCPT `; None where it is malformed. A bare `postmaster` passes."""
    return _parse(_FORWARD, argument)


def _parse(form: re.Pattern[str], argument: str) -> tuple[str, Parameters] | None:
    match = form.fullmatch(argument)
    if match is None:
        return None
    address: str = match[1] or ""
    # Separators, invisible signs and private characters have no place in an address that will be shown and logged.
    if len(address.encode()) > LONGEST_ADDRESS or not address.isprintable():
        return None
    parameters: Parameters = {}
    for word in (match[2] or "").split(" "):
        if word:
            found = _PARAMETER.fullmatch(word)
            if found is None or found[1].upper() in parameters:
                return None
            parameters[found[1].upper()] = found[2]
    return address, parameters


def hops(message: bytes) -> int:
    """The number of Received headers (RFC 5321 §6.3). Looks at the first 256 kB of the header block only."""
    if message[:1] in (b"\r", b"\n"):
        return 0  # no headers at all
    ends = [end for mark in (b"\n\r\n", b"\n\n") if (end := message.find(mark, 0, 262_144)) >= 0]
    head = message[: min(ends, default=262_144)].lower()
    return head.count(b"\nreceived:") + head.startswith(b"received:")


def normalise(message: bytes) -> bytes:
    """`message` with <CR><LF> as its only line ends: a bare LF is made one, a bare CR taken out (RFC 5321 §2.3.8).

    Programs read bare ones differently, so a header could be smuggled past the relay that checked the sender. Pieces,
    cut anywhere, may be normalised one by one.
    """
    ends = message.count(b"\r\n")
    if message.count(b"\n") == ends and message.count(b"\r") == ends:
        return message
    return message.replace(b"\r", b"").replace(b"\n", b"\r\n")


class Body:
    """Gathers the message after DATA out of pieces of any size, as one flat buffer (RFC 5321 §4.1.1.4, §4.5.2).

    `size` is what it holds in memory. Once `drop` was called, or the message is above `limit` octets (without the
    stuffed dots: RFC 1870 §5), nothing is kept and only the end is looked for; `too_large` says which.
    """

    def __init__(self, limit: int) -> None:
        self.too_large = False
        self._limit = limit
        self._data = bytearray(b"\r\n")  # the end of the line before: so the first line is like all others
        self._dots = 0  # stuffed ones so far; one too many while the end is only half there
        self._kept = True

    @property
    def size(self) -> int:
        return len(self._data)

    def drop(self) -> None:
        """Keeps no more of this message."""
        self._kept = False
        del self._data[:-4]  # as much as may be the beginning of the end

    def feed(self, piece: bytes | bytearray) -> bytes | None:
        """Takes the next piece. None until the message has ended, then what came after its end."""
        data, seen = self._data, len(self._data)
        data += piece
        end = data.find(b"\r\n.\r\n", max(seen - 4, 0))
        rest = None
        if end >= 0:
            rest = bytes(data[end + 5 :])
            del data[end + 2 :]
        if self._kept:
            self._dots += data.count(b"\r\n.", max(seen - 2, 0))
            if len(data) - 2 - self._dots > self._limit + 1:  # the last one may be the CR of `.` CRLF
                self.too_large = True
        if self.too_large or not self._kept:
            self.drop()
        return rest

    def message(self) -> bytes:
        """The message without its stuffed dots, once it has ended. It may be called once; it empties the buffer."""
        data, self._data = self._data, bytearray()
        if self._dots:
            data = data.replace(b"\r\n.", b"\r\n")
        del data[:2]
        self.too_large = len(data) > self._limit
        return bytes(data)


async def normalised(raw: bytes) -> bytes:
    """`normalise`, piece by piece, so that 10 MiB of bare line ends let the other clients have their turn."""
    if len(raw) <= _PIECE:
        return normalise(raw)
    whole, same = BytesIO(), True
    for start in range(0, len(raw), _PIECE):
        piece = raw[start : start + _PIECE]
        better = normalise(piece)
        if same and better is not piece:  # up to here there was nothing to do
            same = False
            whole.write(memoryview(raw)[:start])
        if not same:
            whole.write(better)
        await asyncio.sleep(0)
    return raw if same else whole.getvalue()
