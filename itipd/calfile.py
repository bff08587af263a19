"""Calendar files of any size, one UID at a time: for `itipd meeting put`, which streams them.

Two passes: the first notes where the components of each UID stand, the second reads them. Memory grows with the number
of UIDs (about 200 bytes each), not with the size of the file. Each UID stands or falls alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from itipd.itip.incoming import incoming
from itipd.itip.model import Incoming

SMALL = 4 << 20  # bytes up to which a file is read at once, with all the tolerance that reading has
_SCHEDULED = (b"BEGIN:VEVENT", b"BEGIN:VTODO")


@dataclass(slots=True)
class _Places:
    """Where things stand in the file: (offset, length)."""

    uids: dict[bytes, list[tuple[int, int]]] = field(default_factory=dict)
    zones: dict[bytes, bytes] = field(default_factory=dict)  # TZID -> the VTIMEZONE


def stream(path: Path) -> Iterator[Incoming]:
    """Every UID in the file, in the order of their first component. Raises OSError."""
    with path.open("rb") as file:
        if path.stat().st_size <= SMALL:
            yield from incoming(file.read())
            return
        places = _look(file)
        if not places.uids:
            yield from incoming(b"")  # says by name that there is no calendar in it
            return
        for found in places.uids.values():
            yield from incoming(_calendar(file, found, places.zones))


def _calendar(file: BinaryIO, found: list[tuple[int, int]], zones: dict[bytes, bytes]) -> bytes:
    pieces = []
    for offset, length in found:
        file.seek(offset)
        pieces.append(file.read(length))
    body = b"".join(pieces)
    used = b"".join(text for tzid, text in zones.items() if tzid in body)
    return b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\n" + used + body + b"END:VCALENDAR\r\n"


def _look(file: BinaryIO) -> _Places:
    places = _Places()
    offset = start = 0
    uid: bytes | None = None
    zone: list[bytes] = []
    kind = b""
    reading_uid = False
    for line in file:
        head = line[:40].strip().upper()
        if not kind and head in _SCHEDULED:
            kind, start, uid = head[6:], offset, None
        elif not kind and head == b"BEGIN:VTIMEZONE":
            kind, zone = b"VTIMEZONE", []
        if kind == b"VTIMEZONE":
            zone.append(line)
        elif kind and reading_uid and line[:1] in b" \t":
            uid = (uid or b"") + line[1:].rstrip(b"\r\n")
        elif kind:
            reading_uid = uid is None and head.startswith((b"UID:", b"UID;"))
            if reading_uid:
                uid = line.partition(b":")[2].rstrip(b"\r\n")
        offset += len(line)
        if kind and head == b"END:" + kind:
            if kind == b"VTIMEZONE":
                text = b"".join(zone)
                tzid = next((one.partition(b":")[2].strip() for one in zone if one[:4].upper() == b"TZID"), b"")
                places.zones.setdefault(tzid, text)
            else:
                places.uids.setdefault((uid or b"").strip(), []).append((start, offset - start))
            kind, reading_uid = b"", False
    return places
