"""What goes between the daemon and its reader processes: frames, each behind its length.

A mail and the usual reading of one go as flat values of the interpreter's own kinds: to take them apart costs the
daemon a third of what pickled objects cost. It must never change a value on its way.
"""

from __future__ import annotations

import marshal
import pickle
import struct
from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

from itipd.itip.model import CalAddress, Evidence, Message, Moment
from itipd.mail.reading import Reading

LENGTH = struct.Struct(">I")
LARGE = 1 << 18  # bytes: of such a mail, or such a reading, as few copies as can be are made

Request = tuple[bytes, str, tuple[str, ...], bool, bool]
"""A mail to be read: raw, envelope sender, recipients, whether it is a submission, whether its client is trusted."""

_FLAT = b"\x00"
_PICKLED = b"\x01"


def framed(*content: bytes) -> bytes:
    """`content`, one behind the other, behind its length; joined once, because a mail may be large."""
    return b"".join((LENGTH.pack(sum(map(len, content))), *content))


def request(raw: bytes, sender: str, recipients: Sequence[str], *, submission: bool, trusted: bool) -> bytes:
    """A mail for a reader, framed; of a `LARGE` one only what goes before it: it is not copied."""
    head = marshal.dumps((sender, tuple(recipients), submission, trusted))
    if len(raw) < LARGE:
        return framed(LENGTH.pack(len(head)), head, raw)
    return LENGTH.pack(LENGTH.size + len(head) + len(raw)) + LENGTH.pack(len(head)) + head


def requested(content: bytes | memoryview) -> Request:
    """What `request` was given."""
    (sender, recipients, submission, trusted), raw = _apart(content, 0)
    return raw, sender, recipients, submission, trusted


def answer(reading: Reading) -> bytes:
    """A reading for the daemon, framed."""
    try:
        head = marshal.dumps(_flat(reading))
    except ValueError:  # something in it is of no plain kind: a proposal, a report, the organizer's own calendar
        return framed(_PICKLED, pickle.dumps(reading, pickle.HIGHEST_PROTOCOL))
    return framed(_FLAT, LENGTH.pack(len(head)), head, reading.packed)


def answered(content: bytes | memoryview) -> Reading:
    """The reading that `answer` was given."""
    if content[:1] == _FLAT:
        values, packed = _apart(content, 1)
        values[_PACKED] = packed
        return _reading(values)
    reading: Reading = pickle.loads(memoryview(content)[1:])  # noqa: S301 - our own process wrote it
    return reading


def _apart(content: bytes | memoryview, at: int) -> tuple[Any, bytes]:
    """The flat values that begin at `at`, behind their length, and the octets behind them."""
    with memoryview(content) as view:
        (size,) = LENGTH.unpack_from(view, at)
        end = at + LENGTH.size + size
        return marshal.loads(view[at + LENGTH.size : end]), bytes(view[end:])  # noqa: S302 - our own process wrote it


def _names(kind: Any) -> list[str]:
    return [field.name for field in fields(kind)]


_READING, _MESSAGE, _EVIDENCE = _names(Reading), _names(Message), _names(Evidence)
_of_reading, _of_message, _of_evidence = attrgetter(*_READING), attrgetter(*_MESSAGE), attrgetter(*_EVIDENCE)
_PROOF, _MESSAGES, _DATE, _PACKED = map(_READING.index, ("evidence", "messages", "date", "packed"))
_RID, _ATTENDEES, _DTSTAMP, _REPLY_TIME = map(_MESSAGE.index, ("rid", "attendees", "dtstamp", "reply_time"))
_SENT = _EVIDENCE.index("date")


def _flat(reading: Reading) -> list[object]:
    values = list(_of_reading(reading))
    proof = list(_of_evidence(reading.evidence))
    proof[_SENT] = _seconds(proof[_SENT])
    values[_PROOF] = proof
    values[_DATE] = _seconds(values[_DATE])
    values[_PACKED] = None  # it goes behind the rest, as it is
    values[_MESSAGES] = [_flat_message(message) for message in reading.messages]
    return values


def _flat_message(message: object) -> list[object]:
    if type(message) is not Message:
        raise ValueError("no plain value")
    values = list(_of_message(message))
    rid = message.rid
    if rid is not None:
        values[_RID] = (rid.local.isoformat(), _seconds(rid.utc), rid.is_date)
    values[_ATTENDEES] = [(one.address, one.params) for one in message.attendees]
    values[_DTSTAMP] = _seconds(message.dtstamp)
    values[_REPLY_TIME] = _seconds(message.reply_time)
    return values


def _reading(values: list[Any]) -> Reading:
    proof = values[_PROOF]
    proof[_SENT] = _instant(proof[_SENT])
    values[_PROOF] = Evidence(*proof)
    values[_DATE] = _instant(values[_DATE])
    values[_MESSAGES] = tuple([_message(message) for message in values[_MESSAGES]])
    return Reading(*values)


def _message(values: list[Any]) -> Message:
    if values[_RID] is not None:
        local, utc, is_date = values[_RID]
        values[_RID] = Moment(datetime.fromisoformat(local), _instant(utc), is_date)
    values[_ATTENDEES] = tuple([CalAddress(address, params) for address, params in values[_ATTENDEES]])
    values[_DTSTAMP] = _instant(values[_DTSTAMP])
    values[_REPLY_TIME] = _instant(values[_REPLY_TIME])
    return Message(*values)


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _instant(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
