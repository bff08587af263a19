"""Answers in winmail.dat: what Outlook's properties say as a REPLY, and what nobody's properties can do."""

from __future__ import annotations

import base64
import logging
import random
import struct
import sys
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itipd.itip.model import Fault, Message
from itipd.itip.outcomes import Reason
from itipd.itip.read import read
from itipd.itip.uids import uid_key
from itipd.mail import tnef
from itipd.mail.reading import Reading, ReadSettings, read_mail
from tests.cost import cheap
from tests.winmail import (
    APPOINTMENT,
    BINARY,
    BOOLEAN,
    INTEGER,
    MEETING,
    STRING8,
    TIME,
    UNICODE,
    attribute,
    named,
    object_id,
    response,
    tagged,
    winmail,
)

pytest.importorskip("tnefparse")

TEXT = b"--b\r\nContent-Type: text/plain\r\n\r\n%b\r\n"
PART = b'--b\r\nContent-Type: %b; name="%b"\r\nContent-Transfer-Encoding: base64\r\n\r\n%b\r\n'
HEAD = (
    b"From: Dave <dave@example.net>\r\nSubject: Accepted: Planning\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
)


def mail(data: bytes, text: bytes = b"", *, more: bytes = b"", kind: bytes = b"application/ms-tnef") -> Reading:
    """A mail with this winmail.dat, read."""
    raw = HEAD + TEXT % text + more + PART % (kind, b"winmail.dat", base64.encodebytes(data)) + b"--b--\r\n"
    return read_mail(raw, sender="", recipients=(), submission=False, settings=ReadSettings())


def message(data: bytes, sender: str | None = "from@example.net") -> Message:
    """The one message that a winmail.dat becomes."""
    part = tnef.calendar(data, sender)
    assert part is not None
    (found,) = read(part)
    assert isinstance(found, Message), found
    return found


@pytest.mark.parametrize(
    ("kind", "partstat"),
    [
        ("IPM.Schedule.Meeting.Resp.Pos", "ACCEPTED"),
        ("IPM.Schedule.Meeting.Resp.Neg", "DECLINED"),
        ("IPM.Schedule.Meeting.Resp.Tent", "TENTATIVE"),
        ("ipm.schedule.meeting.resp.tent", "TENTATIVE"),
    ],
)
def test_message_class_is_the_answer(kind: str, partstat: str) -> None:
    """A response becomes the REPLY of its sender with UID, SEQUENCE, and the time at which it was sent as DTSTAMP."""
    found = message(response(kind=kind))
    assert (found.method, found.component, found.uid, found.rid) == ("REPLY", "VEVENT", "plan@example.com", None)
    assert [(one.address, one.one("PARTSTAT")) for one in found.attendees] == [("dave@example.net", partstat)]
    assert (found.sequence, found.dtstamp) == (2, datetime(2026, 11, 20, 8, tzinfo=UTC))
    assert found.comment is None


def test_old_writers_name_the_class_in_an_attribute() -> None:
    """Without PidTagMessageClass the attribute counts, by its own names ([MS-OXTNEF] §2.1.3.3.1)."""
    properties = (
        tagged(0x5D01, UNICODE, "dave@example.net"),
        named(MEETING, 0x0003, BINARY, object_id("plan@example.com")),
    )
    data = winmail(*properties, before=attribute(0x00078008, b"IPM.Microsoft Schedule.MtgRespN\0"))
    assert message(data).attendees[0].one("PARTSTAT") == "DECLINED"


def test_response_status_where_the_class_does_not_say() -> None:
    """A response of another class answers with PidLidResponseStatus; without it there is no answer."""
    status = named(APPOINTMENT, 0x8218, INTEGER, 4)
    assert message(response(status, kind="IPM.Schedule.Meeting.Resp")).attendees[0].one("PARTSTAT") == "DECLINED"
    assert tnef.calendar(response(kind="IPM.Schedule.Meeting.Resp"), None) is None


@pytest.mark.parametrize("uid", [bytes(range(15)) + b"\0", bytes(16), b"\xff" * 16])
def test_uid_of_exchange_is_hex(uid: bytes) -> None:
    """An identifier of Exchange's own comes out in hex, to its last octet, padding or not."""
    assert message(response(uid=uid)).uid == object_id(uid).hex().upper()


@pytest.mark.parametrize("uid", ["a@b", "abc", "a;b,c\\d@example.com", "é@example.com", "u" * 300])
def test_foreign_uid_is_unwrapped(uid: str) -> None:
    """Our own UID comes back out of Exchange's wrapping, and is found under the same key."""
    assert uid_key(message(response(uid=uid)).uid) == uid_key(uid)


def test_instance_by_its_day_or_its_instant() -> None:
    """The day in the GlobalObjectId is a RECURRENCE-ID; PidLidExceptionReplaceTime says it to the second."""
    day = bytes([0x07, 0xEA, 12, 8])
    found = message(response(day=day))
    assert found.rid is not None
    assert (found.rid.rid, found.uid) == ("20261208", "plan@example.com")
    replaces = named(APPOINTMENT, 0x8228, TIME, datetime(2026, 12, 8, 9, tzinfo=UTC))
    found = message(response(replaces, day=day))
    assert found.rid is not None
    assert found.rid.rid == "20261208T090000Z"
    assert message(response(replaces)).rid is None


def test_day_that_is_none_is_malformed() -> None:
    """A day that no calendar has is told as such, and the series is not answered instead."""
    (found,) = read(tnef.calendar(response(day=bytes([7, 234, 13, 40])), None) or b"")
    assert isinstance(found, Fault)
    assert found.reason is Reason.MALFORMED


def test_another_time_is_a_counter() -> None:
    """A response with a proposed time is a COUNTER with that time, the countered slot and the answer."""
    hours = {0x8250: 13, 0x8251: 14, 0x820D: 9, 0x820E: 10}
    times = [named(APPOINTMENT, lid, TIME, datetime(2026, 12, 2, hour, tzinfo=UTC)) for lid, hour in hours.items()]
    counters = named(APPOINTMENT, 0x8257, BOOLEAN, True)
    found = message(response(counters, *times, kind="IPM.Schedule.Meeting.Resp.Tent"))
    assert (found.method, found.attendees[0].one("PARTSTAT")) == ("COUNTER", "TENTATIVE")
    assert found.proposed is not None
    proposed = found.proposed
    moments = (proposed.start, proposed.end, proposed.original_start, proposed.original_end)
    assert [moment.rid[9:11] for moment in moments if moment is not None] == ["13", "14", "09", "10"]
    assert message(response(named(APPOINTMENT, 0x8257, BOOLEAN, False), *times)).method == "REPLY"
    assert message(response(counters)).method == "REPLY"


def test_somebody_answers_for_somebody() -> None:
    """Who is represented is the attendee, who wrote is SENT-BY."""
    for_boss = (tagged(0x5D01, UNICODE, "pa@example.net"), tagged(0x5D02, UNICODE, "Boss@Example.net"))
    (line,) = message(response(*for_boss, sender=None)).attendees
    assert (line.address, line.one("SENT-BY")) == ("boss@example.net", "mailto:pa@example.net")


def test_addresses_of_exchange_are_none() -> None:
    """Where the properties have only a directory name, it is the answer of the mail's From."""
    named_by_directory = (tagged(0x0C1F, UNICODE, "/O=CORP/CN=DAVE"), tagged(0x0065, UNICODE, "/O=CORP/CN=DAVE"))
    assert message(response(*named_by_directory, sender=None)).attendees[0].address == "from@example.net"
    (found,) = read(tnef.calendar(response(sender=None), None) or b"")
    assert isinstance(found, Fault)
    assert found.reason is Reason.NO_ATTENDEE


def test_time_of_the_reply_where_the_other_is_missing() -> None:
    """Without the time of sending PidLidAppointmentReplyTime is DTSTAMP; the organizer's own time never is."""
    properties = (
        tagged(0x001A, UNICODE, "IPM.Schedule.Meeting.Resp.Pos"),
        named(MEETING, 0x0023, BINARY, object_id("plan@example.com")),
        named(MEETING, 0x001A, TIME, datetime(2026, 11, 17, 9, tzinfo=UTC)),
    )
    assert message(winmail(*properties)).dtstamp is None
    replied = named(APPOINTMENT, 0x8220, TIME, datetime(2026, 11, 21, 7, tzinfo=UTC))
    assert message(winmail(*properties, replied)).dtstamp == datetime(2026, 11, 21, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("body", "comment"),
    [
        (tagged(0x1000, UNICODE, "I am late,\r\nsorry; for you"), "I am late,\nsorry; for you"),
        (tagged(0x1000, STRING8, "До скорого".encode("cp1251") + b"\0"), "До скорого"),
        (tagged(0x1000, UNICODE, "BEGIN:VEVENT\r\nUID:other\r\nEND:VEVENT"), "BEGIN:VEVENT\nUID:other\nEND:VEVENT"),
        (tagged(0x1000, UNICODE, " \r\n"), None),
    ],
)
def test_body_is_the_comment(body: bytes, comment: str | None) -> None:
    """What the person wrote is COMMENT, in the code page of the stream, and cannot become a line of the calendar."""
    codepage = attribute(0x00069007, struct.pack("<II", 1251, 0))
    data = response(body)
    assert message(data[:6] + codepage + data[6:]).comment == comment


def test_in_a_mail() -> None:
    """The whole way: the mail's one message, with the quirk `tnef`, and the note of the text part offered."""
    found = mail(response(), b"See you there!")
    (reply,) = found.messages
    assert isinstance(reply, Message)
    assert (reply.uid, found.quirks, found.note) == ("plan@example.com", ("tnef",), "See you there!")
    assert mail(response(), kind=b"application/octet-stream").messages == (reply,)


def test_calendar_beside_it_counts() -> None:
    """Where the mail has a calendar part, winmail.dat is not looked at."""
    part = tnef.calendar(response(uid="other@example.com"), None)
    assert part is not None
    found = mail(response(), more=PART % (b"text/calendar", b"a.ics", base64.encodebytes(part)))
    assert [one.uid for one in found.messages if isinstance(one, Message)] == ["other@example.com"]
    assert found.quirks == ()


@pytest.mark.parametrize(
    ("kind", "method"), [("IPM.Schedule.Meeting.Request", "REQUEST"), ("IPM.Schedule.Meeting.Canceled", "CANCEL")]
)
def test_organizers_messages_keep_their_name(kind: str, method: str) -> None:
    """A request or a cancellation is no answer and comes out as what it is."""
    found = message(response(kind=kind))
    assert (found.method, found.attendees) == (method, ())


@pytest.mark.parametrize(
    "data",
    [
        response(kind="IPM.Note"),
        response(uid=b"")[:40],
        winmail(),
        winmail(tagged(0x001A, UNICODE, "IPM.Schedule.Meeting.Resp.Pos")),
        b"",
        b"x\x9f>\x22",
        b"PK\x03\x04" * 100,
    ],
)
def test_nothing_to_answer(data: bytes) -> None:
    """A winmail.dat about no meeting is no calendar, and the quirk says what was there."""
    found = mail(data)
    assert found.quirks == ("tnef",)
    assert [(one.reason, one.detail) for one in found.messages if isinstance(one, Fault)] == [
        (Reason.NOT_CALENDAR, "found a winmail.dat with no answer to a meeting in it")
    ]


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where tnefparse is not installed the mail is no calendar, and the detail says what would open it."""
    tnef._decoder.cache_clear()
    monkeypatch.setitem(sys.modules, "tnefparse.mapi", None)
    found = mail(response())
    tnef._decoder.cache_clear()
    assert found.quirks == ("tnef",)
    (fault,) = found.messages
    assert isinstance(fault, Fault)
    assert fault.reason is Reason.NOT_CALENDAR
    assert "itipd[tnef]" in fault.detail


HUGE = 0xFFFFFFFF


@pytest.mark.parametrize(
    "data",
    [
        winmail(tagged(0x8000 - 1, INTEGER, 1), count=HUGE),
        winmail(tagged(0x8000 - 1, INTEGER, 1), count=2000),
        winmail(struct.pack("<HHI", 0x1002, 0x7000, HUGE), count=1),  # so many numbers of 16 bits
        winmail(struct.pack("<HHI", 0x1003, 0x7000, HUGE) + bytes(100_000), count=1),
        winmail(struct.pack("<HHI", 0x001F, 0x7000, HUGE) + bytes(400_000), count=1),  # empty texts
        winmail(struct.pack("<HHI", 0x101F, 0x7000, HUGE) + bytes(400_000), count=1),
        winmail(struct.pack("<HHII", BINARY, 0x7000, 1, HUGE), count=1),
        winmail(struct.pack("<HH", UNICODE, 0x8000) + MEETING + struct.pack("<II", 1, HUGE), count=1),
        winmail(*[tagged(0x7000, INTEGER, 1)] * 2000),
        struct.pack("<IH", 0x223E9F78, 0) + attribute(0x00018005, b"") * 500_000,
        struct.pack("<IH", 0x223E9F78, 0) + struct.pack("<BII", 1, 0x00069003, HUGE) + bytes(1000),
        response(tagged(0x1000, UNICODE, "x" * 200_000)),
        response(tagged(0x1000, UNICODE, "x" * 300_000)),
        response(named(APPOINTMENT, 0x8228, TIME, datetime(2500, 1, 1, tzinfo=UTC)), day=b"\x07\xea\x01\x01"),
        response(struct.pack("<HH", TIME, 0x8000) + APPOINTMENT + struct.pack("<II", 0, 0x8228) + b"\xff" * 8),
    ],
    ids=range(15),
)
def test_counts_that_lie_cost_nothing(
    data: bytes, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever a count in the data says, reading ends at the end of the data, soon and in silence."""
    with caplog.at_level(logging.DEBUG):
        assert cheap(1.0, lambda: tnef.calendar(data, None))
    assert (caplog.records, capfd.readouterr()) == ([], ("", ""))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 20))
def test_broken_streams_raise_nothing(seed: int, changes: int) -> None:
    """A response with octets changed, cut or doubled anywhere is read, or is none; nothing is raised."""
    chance = random.Random(seed)
    data = bytearray(response(tagged(0x1000, UNICODE, "note"), day=b"\x07\xea\x0c\x08"))
    for _ in range(changes):
        at = chance.randrange(len(data))
        if chance.random() < 0.8:
            data[at] = chance.choice((0, 1, 0x10, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        elif chance.random() < 0.5:
            del data[at : at + chance.randrange(1, 50)]
        else:
            data[at:at] = data[at : at + chance.randrange(1, 50)]
    part = tnef.calendar(bytes(data), "dave@example.net")
    if part is not None:
        assert read(part)


def test_values_of_another_kind_are_passed_over() -> None:
    """A property whose value has not the kind that it must have counts as missing."""
    odd = (
        tagged(0x5D02, INTEGER, 5),
        named(MEETING, 0x0001, UNICODE, "yesterday"),
        named(APPOINTMENT, 0x8201, TIME, datetime(2026, 1, 1, tzinfo=UTC)),
    )
    properties = (
        tagged(0x001A, UNICODE, "IPM.Schedule.Meeting.Resp.Pos"),
        named(MEETING, 0x0023, BINARY, object_id("plan@example.com")),
    )
    found = message(winmail(*odd, *properties))
    assert (found.attendees[0].address, found.sequence, found.dtstamp) == ("from@example.net", None, None)
