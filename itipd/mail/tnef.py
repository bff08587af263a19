"""An answer inside Outlook's winmail.dat as the calendar that Outlook did not write ([MS-OXTNEF], [MS-OXOCAL] §2.2.7).

A meeting response is a list of MAPI properties; the same answer as iCalendar comes out and is read like any other
([MS-OXCICAL] §2.1.3.1.1.20). Reading the properties is tnefparse's work (the extra `tnef`); what it is given is bounded
here first, because its own loops follow whatever counts stand in the data. It must never raise, nor open attachments.
"""

from __future__ import annotations

import importlib
import struct
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from itipd.itip.addresses import canonical
from itipd.itip.contentlines import escape, fold, format_line
from itipd.itip.model import clean
from itipd.itip.uids import uid_key
from itipd.mail.headers import codec
from itipd.mail.note import own_words

_SIGNATURE = 0x223E9F78
_FRAME = struct.Struct("<BII")  # level, number with type, length; a checksum of two octets follows the data
_MESSAGE = 1  # level of the message's own attributes
_CLASS, _CODEPAGE, _PROPERTIES = 0x00078008, 0x00069007, 0x00069003
_ATTRIBUTES = 1000  # looked at; a response has a dozen
_LARGEST = 1 << 19  # octets of the property list
_MOST_PROPERTIES = 2000
_MOST_VALUES = 10_000
_BODY = 16_384  # characters

_APPOINTMENT = "00062002-0000-0000-c000-000000000046"
_MEETING = "6ed8da90-450b-101b-98da-00aa003f1305"

Key = tuple[str, int]
"""A property: its set ("" for the tagged ones) and its id in there ([MS-OXPROPS])."""

Line = tuple[str, dict[str, tuple[str, ...]], str]
"""A content line: name, parameters, value."""

MESSAGE_CLASS: Key = ("", 0x001A)
SUBJECT: Key = ("", 0x0037)
BODY: Key = ("", 0x1000)
SENDER = (("", 0x5D01), ("", 0x0C1F))  # PidTagSenderSmtpAddress, PidTagSenderEmailAddress
REPRESENTED = (("", 0x5D02), ("", 0x0065))  # for whom the sender answers; mostly the sender
SEQUENCE: Key = (_APPOINTMENT, 0x8201)
START, END = (_APPOINTMENT, 0x820D), (_APPOINTMENT, 0x820E)
STATUS: Key = (_APPOINTMENT, 0x8218)
REPLY_TIME: Key = (_APPOINTMENT, 0x8220)
REPLACES: Key = (_APPOINTMENT, 0x8228)  # PidLidExceptionReplaceTime: the instance, in UTC
NEW_START, NEW_END = (_APPOINTMENT, 0x8250), (_APPOINTMENT, 0x8251)
COUNTERS: Key = (_APPOINTMENT, 0x8257)
SENT_AT: Key = (_MEETING, 0x0001)  # PidLidAttendeeCriticalChange
OBJECT_ID: Key = (_MEETING, 0x0003)
CLEAN_OBJECT_ID: Key = (_MEETING, 0x0023)

_ANSWERS = {
    "ipm.schedule.meeting.resp.pos": "ACCEPTED",
    "ipm.schedule.meeting.resp.neg": "DECLINED",
    "ipm.schedule.meeting.resp.tent": "TENTATIVE",
    "ipm.microsoft schedule.mtgrespp": "ACCEPTED",  # what older writers put into the attribute of the same name
    "ipm.microsoft schedule.mtgrespn": "DECLINED",
    "ipm.microsoft schedule.mtgrespa": "TENTATIVE",
}
_ORGANIZERS = {
    "ipm.schedule.meeting.request": "REQUEST",
    "ipm.schedule.meeting.canceled": "CANCEL",
    "ipm.microsoft schedule.mtgreq": "REQUEST",
    "ipm.microsoft schedule.mtgcncl": "CANCEL",
}
_STATUSES = {2: "TENTATIVE", 3: "ACCEPTED", 4: "DECLINED"}  # PidLidResponseStatus
_CODEPAGES = {65001: "utf-8", 932: "shift_jis", 936: "gbk", 949: "euc-kr", 950: "big5", 20866: "koi8-r"}


class _Strict(bytes):
    """Octets that end: tnefparse takes values for as long as a count in the data says, also from behind their end."""

    taken = 0

    def __getitem__(self, key: Any) -> Any:
        self.taken += 1
        if self.taken > _MOST_VALUES or (isinstance(key, slice) and key.stop > len(self) + 3):  # 3: missing padding
            raise IndexError("no more")
        return bytes.__getitem__(self, key)


@cache
def _decoder() -> Callable[[bytes, str], list[Any]] | None:
    """tnefparse's reader of property lists; None where the extra `tnef` is not installed."""
    try:
        mapi = importlib.import_module("tnefparse.mapi")
    except ImportError:
        return None
    mapi.logger.disabled = True  # it would write a line for each property that it cannot read
    decode: Callable[[bytes, str], list[Any]] = mapi.decode_mapi
    return decode


def available() -> bool:
    """Whether a winmail.dat can be opened here."""
    return _decoder() is not None


def calendar(data: bytes, sender: str | None) -> bytes | None:
    """The message in a TNEF stream as iCalendar; None where it is about no meeting or cannot be read.

    `sender` is the mail's From, strictly read: whose answer it is where the properties do not say.
    """
    decode = _decoder()
    found = _attributes(data) if decode is not None else {}
    listed = found.get(_PROPERTIES, b"")
    if decode is None or not 4 <= len(listed) <= _LARGEST or struct.unpack_from("<I", listed)[0] > _MOST_PROPERTIES:
        return None
    try:
        properties = {_key(one): one.raw_data for one in reversed(decode(_Strict(listed), _codepage(found)))}
    except Exception:  # its exceptions are of many kinds, on data that anybody may have sent
        return None
    kind = _text(properties, MESSAGE_CLASS) or found.get(_CLASS, b"").rstrip(b"\0").decode("ascii", "replace")
    return _calendar(kind.lower(), properties, sender)


def _attributes(data: bytes) -> dict[int, bytes]:
    """The attributes of the message itself by their number; none of what is no TNEF."""
    found: dict[int, bytes] = {}
    if len(data) < 6 or struct.unpack_from("<I", data)[0] != _SIGNATURE:
        return found
    at = 6
    for _ in range(_ATTRIBUTES):
        if at + _FRAME.size > len(data):
            break
        level, number, length = _FRAME.unpack_from(data, at)
        at += _FRAME.size
        if level != _MESSAGE or at + length > len(data):
            break  # the attachments follow, or the end is missing
        if number in (_CLASS, _CODEPAGE, _PROPERTIES):
            found.setdefault(number, data[at : at + length])
        at += length + 2
    return found


def _codepage(found: Mapping[int, bytes]) -> str:
    number = int.from_bytes(found.get(_CODEPAGE, b"")[:4], "little")
    return codec(f"windows-{number}") or codec(_CODEPAGES.get(number, "")) or "latin-1"


def _key(one: Any) -> Key:
    return (str(one.guid), one.guid_prop or 0) if one.guid else ("", one.name)


def _calendar(kind: str, properties: Mapping[Key, Any], sender: str | None) -> bytes | None:
    identity = _octets(properties, CLEAN_OBJECT_ID) or _octets(properties, OBJECT_ID)
    partstat = _ANSWERS.get(kind)
    if partstat is None and kind.startswith("ipm.schedule.meeting.resp"):
        partstat = _STATUSES.get(_number(properties, STATUS) or 0)
    method = "REPLY" if partstat is not None else _ORGANIZERS.get(kind)
    if method is None or len(identity) < 40:
        return None
    lines: list[Line] = [("UID", {}, escape(uid_key(identity.hex().upper())))]
    lines += _instance(properties)
    sequence = _number(properties, SEQUENCE)
    if sequence is not None and sequence >= 0:
        lines.append(("SEQUENCE", {}, str(sequence)))
    lines += _times(properties, ("DTSTAMP", SENT_AT if _time(properties, SENT_AT) else REPLY_TIME))
    if partstat is not None:
        attendee = _attendee(properties, sender, partstat)
        lines += [attendee] if attendee is not None else []
        comment = own_words(_text(properties, BODY)[:_BODY], _text(properties, SUBJECT))
        lines += [("COMMENT", {}, escape(comment))] if comment else []
        if _number(properties, COUNTERS) and _time(properties, NEW_START):
            method = "COUNTER"  # [MS-OXOCAL] §2.2.4.7: the same object proposes another time
            lines += _times(properties, ("DTSTART", NEW_START), ("DTEND", NEW_END))
            lines += _times(properties, ("X-MS-OLK-ORIGINALSTART", START), ("X-MS-OLK-ORIGINALEND", END))
    frame = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//itipd//winmail.dat//EN", f"METHOD:{method}", "BEGIN:VEVENT"]
    text = [*frame, *(format_line(*line) for line in lines), "END:VEVENT", "END:VCALENDAR"]
    return "".join(map(fold, text)).encode()


def _attendee(properties: Mapping[Key, Any], sender: str | None, partstat: str) -> Line | None:
    """Who answers, by SENT-BY if somebody else does it for them. Addresses of Exchange's own kind are none."""
    wrote = next((found for key in SENDER if (found := canonical(_text(properties, key)))), None) or sender
    whose = next((found for key in REPRESENTED if (found := canonical(_text(properties, key)))), None) or wrote
    if whose is None or wrote is None:
        return None
    params: dict[str, tuple[str, ...]] = {"PARTSTAT": (partstat,)}
    if wrote != whose:
        params["SENT-BY"] = (f"mailto:{wrote}",)
    return "ATTENDEE", params, f"mailto:{whose}"


def _instance(properties: Mapping[Key, Any]) -> list[Line]:
    """RECURRENCE-ID: the day that the GlobalObjectId names, to the second where another property says it."""
    day = _octets(properties, OBJECT_ID)[16:20]
    if len(day) < 4 or not any(day):
        return []
    exact = _times(properties, ("RECURRENCE-ID", REPLACES))
    # [MS-OXOCAL] §2.2.1.27: year in big-endian order, month, day.
    return exact or [("RECURRENCE-ID", {"VALUE": ("DATE",)}, f"{day[0] << 8 | day[1]:04d}{day[2]:02d}{day[3]:02d}")]


def _times(properties: Mapping[Key, Any], *named: tuple[str, Key]) -> list[Line]:
    moments = ((name, _time(properties, key)) for name, key in named)
    return [(name, {}, f"{moment:%Y%m%dT%H%M%SZ}") for name, moment in moments if moment is not None]


# -- values; tnefparse gives octets, or a list of octets or texts, and its own conversions cut NULs off


def _text(properties: Mapping[Key, Any], key: Key) -> str:
    value = properties.get(key)
    if not isinstance(value, list) or not value or not isinstance(value[0], str):
        return ""
    return clean(value[0].partition("\0")[0].replace("\r\n", "\n"), _BODY)


def _octets(properties: Mapping[Key, Any], key: Key) -> bytes:
    """A GlobalObjectId; without the padding, which its own size tells from the data."""
    value = properties.get(key)
    if not isinstance(value, list) or not value or not isinstance(value[0], bytes):
        return b""
    return value[0][: 40 + int.from_bytes(value[0][36:40], "little")]


def _number(properties: Mapping[Key, Any], key: Key) -> int | None:
    value = properties.get(key)
    if not isinstance(value, bytes) or len(value) not in (2, 4):
        return None
    return int.from_bytes(value, "little", signed=True)


def _time(properties: Mapping[Key, Any], key: Key) -> datetime | None:
    value = properties.get(key)
    if not isinstance(value, bytes) or len(value) != 8:
        return None
    try:  # 100 ns since 1601
        found = datetime(1601, 1, 1, tzinfo=UTC) + timedelta(microseconds=int.from_bytes(value, "little") // 10)
    except OverflowError:
        return None
    return found if 1970 <= found.year <= 2200 else None
