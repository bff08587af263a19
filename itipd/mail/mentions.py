"""Whether a text speaks of certain people, by their addresses, and the same text without them. For `itipd forget`.

Searched as bytes, in every encoding that mail has, without reading it: what nobody can parse may name somebody, too.
"""

from __future__ import annotations

import binascii
import quopri
import re
from collections.abc import Iterable, Iterator

from itipd.itip.line import fold

NOBODY = "forgotten@forgotten.invalid"
"""What stands where an address stood (RFC 2606 §2: nobody can ever have it)."""

_FOLD = re.compile(r"(?:\r?\n|\\r\\n|\\n)[ \t]")  # the latter two in JSON
_BASE64 = re.compile(rb"[A-Za-z0-9+/]+={0,2}")


def pattern(addresses: Iterable[str]) -> re.Pattern[str]:
    """Finds these addresses and no longer ones that they are a part of."""
    words = "|".join(re.escape(address) for address in sorted(addresses))
    # `=`, `'` and the like may stand in an address, but far more often before one.
    return re.compile(rf"(?<![\w.+-])(?:{words})(?![\w-]|\.\w)", re.IGNORECASE)


def mentions(data: bytes, who: re.Pattern[str]) -> bool:
    """Whether a mail, or an order as the journal keeps it, names one of them: plain, folded or encoded."""
    return any(who.search(_FOLD.sub("", view.decode("utf-8", "replace"))) for view in _views(data))


def _views(data: bytes) -> Iterator[bytes]:
    yield data
    if b"=\r\n" in data or b"=\n" in data or b"=4" in data:
        yield quopri.decodestring(data)
    block: list[bytes] = []
    for line in [*data.splitlines(), b""]:
        if _BASE64.fullmatch(line.strip()):
            block.append(line)
            continue
        if block:
            yield _decoded(b"".join(block))
        block = []
    if b"\0" in data:
        yield data.replace(b"\0", b"")  # UTF-16, as Outlook's own format has it


def _decoded(block: bytes) -> bytes:
    try:
        found = binascii.a2b_base64(block + b"==")
    except binascii.Error:
        return b""  # a few words that look like it
    return found.replace(b"\0", b"") if b"\0" in found else found


def without(calendar: str, who: re.Pattern[str]) -> str:
    """A calendar of ours without their ATTENDEEs; elsewhere NOBODY stands for them."""
    lines = []
    for line in _FOLD.sub("", calendar).split("\r\n"):
        if line.upper().startswith(("ATTENDEE;", "ATTENDEE:")) and who.search(line.rpartition(":")[2]):
            continue
        lines.append(fold(who.sub(NOBODY, line)).removesuffix("\r\n") if line else line)
    return "\r\n".join(lines)
