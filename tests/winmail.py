"""A winmail.dat as Outlook writes one, from its properties ([MS-OXTNEF] §2.1.3, [MS-OXCDATA] §2.11)."""

from __future__ import annotations

import struct
import uuid
from datetime import UTC, datetime

APPOINTMENT = uuid.UUID("00062002-0000-0000-c000-000000000046").bytes_le
MEETING = uuid.UUID("6ed8da90-450b-101b-98da-00aa003f1305").bytes_le
CLASS_ID = bytes.fromhex("040000008200E00074C5B7101A82E008")
WRAPPED = bytes.fromhex("7643616C2D556964 01000000")
INTEGER, BOOLEAN, TIME, STRING8, UNICODE, BINARY = 0x0003, 0x000B, 0x0040, 0x001E, 0x001F, 0x0102


def attribute(number: int, data: bytes, level: int = 1) -> bytes:
    return struct.pack("<BII", level, number, len(data)) + data + struct.pack("<H", sum(data) & 0xFFFF)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def value(kind: int, content: object) -> bytes:
    """The value of a property, with its count and padding."""
    if isinstance(content, datetime):
        since = content - datetime(1601, 1, 1, tzinfo=UTC)
        return struct.pack("<Q", (since.days * 86_400 + since.seconds) * 10_000_000)
    if isinstance(content, bool):
        return struct.pack("<HH", content, 0)
    if isinstance(content, int):
        return struct.pack("<i", content)
    data = content if isinstance(content, bytes) else str(content).encode("utf-16-le") + b"\0\0"
    return struct.pack("<II", 1, len(data)) + padded(data)


def tagged(id_: int, kind: int, content: object) -> bytes:
    return struct.pack("<HH", kind, id_) + value(kind, content)


def named(property_set: bytes, lid: int, kind: int, content: object) -> bytes:
    return struct.pack("<HH", kind, 0x8000) + property_set + struct.pack("<II", 0, lid) + value(kind, content)


def object_id(uid: str | bytes, day: bytes = bytes(4)) -> bytes:
    """A GlobalObjectId: a foreign UID is wrapped, octets stand as they are ([MS-OXOCAL] §2.2.1.27)."""
    data = uid if isinstance(uid, bytes) else WRAPPED + uid.encode() + b"\0"
    return CLASS_ID + day + bytes(16) + struct.pack("<I", len(data)) + data


def winmail(*properties: bytes, before: bytes = b"", count: int | None = None) -> bytes:
    """The stream: `before` are further attributes, `count` what the list says of its length."""
    listed = struct.pack("<I", len(properties) if count is None else count) + b"".join(properties)
    head = struct.pack("<IH", 0x223E9F78, 0x0102) + attribute(0x00089006, struct.pack("<I", 0x10000))
    return head + before + attribute(0x00069003, listed)


def response(
    *more: bytes,
    kind: str = "IPM.Schedule.Meeting.Resp.Pos",
    uid: str | bytes = "plan@example.com",
    day: bytes = bytes(4),
    sender: str | None = "dave@example.net",
    sequence: int = 2,
) -> bytes:
    """A meeting response with what always stands in one."""
    given = [tagged(0x001A, UNICODE, kind), tagged(0x0037, UNICODE, "Accepted: Planning")]
    if sender is not None:
        given += [tagged(0x5D01, UNICODE, sender), tagged(0x5D02, UNICODE, sender)]
    given += [
        named(APPOINTMENT, 0x8201, INTEGER, sequence),
        named(MEETING, 0x0003, BINARY, object_id(uid, day)),
        named(MEETING, 0x0023, BINARY, object_id(uid)),
        named(MEETING, 0x001A, TIME, datetime(2026, 11, 17, 9, tzinfo=UTC)),
        named(MEETING, 0x0001, TIME, datetime(2026, 11, 20, 8, tzinfo=UTC)),
    ]
    return winmail(*given, *more)
