"""Uuencoded files (POSIX.1, uuencode): what old gateways make of an attachment, in the middle of a text.

Linear, bounded by what it is given. It must never raise.
"""

from __future__ import annotations

import binascii
import re

_BEGIN = re.compile(rb"(?:\A|(?<=\n))begin[ \t]+[0-7]{3,4}[ \t]+([^\r\n]{1,255})\r?\n")


def decoded(data: bytes) -> tuple[str, bytes] | None:
    """The name, in lower case, and the content of the first file in `data`; None where there is none."""
    found = _BEGIN.search(data) if b"begin" in data else None
    if found is None:
        return None
    content: list[bytes] = []
    for line in data[found.end() :].split(b"\n"):
        line = line.rstrip(b"\r")
        if not line or line.strip() == b"end" or not 32 <= line[0] <= 96:
            break
        length = (line[0] - 32) & 63
        try:  # some writers put a check sum or blanks behind the octets that the line has
            content.append(binascii.a2b_uu(line[: 1 + (length * 4 + 2) // 3]))
        except binascii.Error:
            break
    return found[1].decode("latin-1").strip().strip('"').lower(), b"".join(content)
