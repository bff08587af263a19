"""When are two UIDs the same (RFC 5545 §3.8.4.7; what Exchange makes of them)?

Pure. `uid_key` is what the store looks meetings up by; the UID itself is kept and sent as the organizer wrote it.
"""

from __future__ import annotations

import hashlib
import re

from itipd.itip.model import clean

KEY_BYTES = 200
"""Longest key in UTF-8: longer ones end in their SHA-256, so that they fit into an index on every engine."""

# [MS-OXCICAL] 2.1.3.1.1.20.26: an Exchange UID is a GlobalObjectId in hex: 16 octets class, 4 date of the instance,
# 8 creation time, 8 reserved, 4 size (little endian), data.
_CLASS = "040000008200E00074C5B7101A82E008"
_DATE = slice(32, 40)
_SIZE = slice(72, 80)
_DATA = 80
_WRAPPED = bytes.fromhex("7643616C2D556964 01000000")  # "vCal-Uid", version 1
_HEX = re.compile(r"[0-9A-Fa-f]+\Z")
_DEPTH = 3


def uid_key(uid: str) -> str:
    """The text under which this UID is found: equal for all spellings of one meeting's UID, "" for none.

    Exchange's hex compares ignoring case and the instance's date in it; a foreign UID that Exchange wrapped as
    `vCal-Uid` is unwrapped. All others compare as they are (RFC 5545 §3.8.4.7: case counts).
    """
    text = clean(uid, len(uid)).strip()
    for _ in range(_DEPTH):
        if len(text) < _DATA or text[:32].upper() != _CLASS or not _HEX.match(text):
            break
        inner = _unwrapped(text)
        if inner is None:
            text = text[: _DATE.start].upper() + "0" * 8 + text[_DATE.stop :].upper()
            break
        text = inner
    data = text.encode()
    if len(data) <= KEY_BYTES:
        return text
    # Cut on a character; the hash keeps different long UIDs apart.
    head = data[: KEY_BYTES - 65].decode(errors="ignore")
    return f"{head}#{hashlib.sha256(data).hexdigest()}"


def _unwrapped(text: str) -> str | None:
    """The foreign UID inside a GlobalObjectId ([MS-OXCDATA], ThirdPartyGlobalId), or None."""
    size = int.from_bytes(bytes.fromhex(text[_SIZE]), "little")
    if len(text) % 2:
        return None
    data = bytes.fromhex(text[_DATA:])[:size]
    if not data.startswith(_WRAPPED):
        return None
    inner = clean(data[len(_WRAPPED) :].partition(b"\0")[0].decode("utf-8", "replace"), len(data)).strip()
    return inner or None
