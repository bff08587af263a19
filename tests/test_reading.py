"""A whole mail, read: what the inbox gets, and that no mail breaks it."""

from __future__ import annotations

import random
import zlib

import pytest

from itipd.itip.model import Fault, Message
from itipd.itip.outcomes import Outcome, Reason
from itipd.itip.unfold import Limits
from itipd.mail import reading
from itipd.mail.headers import MailLimits
from itipd.mail.reading import Reading, ReadSettings, faulty, read_mail

REPLY = b"""Received: from mail.example.com by mx.example.net; Tue, 1 Dec 2026 09:00:01 +0000
Received: from [192.0.2.1] by mail.example.com; Tue, 1 Dec 2026 09:00:00 +0000
From: =?utf-8?q?B=C3=B6b?= <B@Example.com>
To: "Meetings, Ltd" <meetings@example.net>
Cc: boss@example.com
Delivered-To: meetings@example.net
Date: Tue, 1 Dec 2026 10:00:00 +0100
Message-ID: <r1@example.com>
Subject: =?utf-8?q?Zugesagt=3A_K=C3=A4se?=
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary=b

--b
Content-Type: text/plain; charset=utf-8

Gern, aber nur bis elf.
--b
Content-Type: text/calendar; method=REPLY; charset=utf-8

BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//Example//EN
METHOD:REPLY
BEGIN:VEVENT
UID:m1@example.net
DTSTAMP:20261201T090000Z
SEQUENCE:0
ORGANIZER:mailto:meetings@example.net
ATTENDEE;PARTSTAT=ACCEPTED:mailto:b@example.com
END:VEVENT
END:VCALENDAR
--b--
"""
REQUEST = (
    REPLY.replace(b"METHOD:REPLY\n", b"")
    .replace(b"method=REPLY", b"method=REQUEST")
    .replace(b"SEQUENCE:0", b"SEQUENCE:0\nDTSTART:20261208T090000Z")
)


def read(raw: bytes, *, submission: bool = False, sender: str = "b@example.com", max_part: int = 1 << 20) -> Reading:
    """`read_mail` with what the tests do not vary."""
    settings = ReadSettings(mail=MailLimits(part=max_part), calendar=Limits(size=max_part))
    return read_mail(raw, sender=sender, recipients=("meetings@example.net",), submission=submission, settings=settings)


def reasons(found: Reading) -> list[str]:
    """The reasons of the faults, the methods of the messages, the actions of the delivery reports."""
    return [
        m.reason if isinstance(m, Fault) else m.method if isinstance(m, Message) else m.action for m in found.messages
    ]


def test_a_reply_is_read() -> None:
    """Headers, evidence, message, note, digest and the packed raw mail all come out of one call."""
    found = read(REPLY)
    (message,) = found.messages
    assert isinstance(message, Message)
    assert (message.method, message.uid, message.attendees[0].address) == ("REPLY", "m1@example.net", "b@example.com")
    assert found.message_id == "<r1@example.com>"
    assert found.from_header == "Böb <B@Example.com>"
    assert found.to == ("meetings@example.net", "boss@example.com")
    assert found.subject == "Zugesagt: Käse"
    assert found.evidence.from_address == "b@example.com"
    assert found.date == found.evidence.date is not None
    assert found.received_count == 2
    assert found.note == "Gern, aber nur bis elf."
    assert len(found.digest) == 16
    assert zlib.decompress(found.packed) == REPLY


def test_the_digest_is_of_the_mail_not_of_its_way() -> None:
    """Trace headers, line ends of a file and empty lines at the end change nothing; any other byte does."""
    same = [
        b"Return-Path: <b@example.com>\nX-Original-To: x@example.net\n" + REPLY,
        REPLY.replace(b"\n", b"\r\n"),
        REPLY + b"\n\n",
        REPLY.replace(b"Delivered-To: meetings@example.net\n", b""),
    ]
    other = [REPLY.replace(b"ACCEPTED", b"DECLINED"), b"X-Header: 1\n" + REPLY, REPLY.replace(b"r1@", b"r2@")]
    assert {read(raw).digest for raw in same} == {read(REPLY).digest}
    assert len({read(raw).digest for raw in [REPLY, *other]}) == 4


def test_a_note_is_only_offered_where_the_calendar_has_no_comment() -> None:
    """With a COMMENT in the calendar, the text is not looked at."""
    assert read(REPLY.replace(b"SEQUENCE:0", b"COMMENT:in the calendar")).note is None


def test_a_copy_with_other_quirks_has_one_effect() -> None:
    """The same reply attached again with another PRODID is one message (rules.md §1.3)."""
    head, _, rest = REPLY.partition(b"--b\nContent-Type: text/calendar")
    part = b"--b\nContent-Type: text/calendar" + rest.removesuffix(b"--b--\n")
    copy = part.replace(b"PRODID:-//Example//EN\n", b"")
    found = read(head + part + copy + b"--b--\n")
    assert reasons(found) == ["REPLY"]
    assert isinstance(found.messages[0], Message)
    assert "no_prodid" not in found.messages[0].quirks


def test_a_delivery_report_is_read() -> None:
    """A mail without a calendar of its own that is a delivery report gives its recipients (rules.md §11)."""
    raw = (
        b"From: mailer-daemon@example.org\nContent-Type: multipart/report; report-type=delivery-status; boundary=r\n\n"
        b"--r\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx\n\n"
        b"Final-Recipient: rfc822;b@example.com\nAction: failed\nStatus: 5.1.1\n\n"
        b"--r\nContent-Type: message/rfc822\n\n" + REQUEST.replace(b"boundary=b", b"boundary=b2") + b"--r--\n"
    )
    found = read(raw, sender="<>")
    assert (reasons(found), found.evidence.automatic) == (["failed"], True)


def test_no_calendar_part() -> None:
    """A mail without a calendar is no_action/not_calendar, also when it carries a winmail.dat."""
    plain = REPLY.replace(b"text/calendar", b"text/foo").replace(b"BEGIN:VCAL", b"Attached: BEGIN:VCAL")
    tnef = REPLY.replace(b"text/calendar", b"application/ms-tnef")
    assert reasons(read(plain)) == [Reason.NOT_CALENDAR]
    assert (reasons(read(tnef)), read(tnef).quirks) == ([Reason.NOT_CALENDAR], ("tnef",))


def test_a_submission_gives_the_organizers_own_meetings() -> None:
    """At the submission door the calendar becomes an Incoming; METHOD may stand in Content-Type alone."""
    found = read(REQUEST, submission=True)
    assert (found.messages, [(i.uid, i.method) for i in found.incoming]) == ((), [("m1@example.net", "REQUEST")])
    assert reasons(read(b"Subject: hello\n\nhello", submission=True)) == [Reason.NOT_CALENDAR]


def test_a_submission_may_be_larger_than_a_strangers_mail() -> None:
    """max_part bounds what strangers send, not the organizer's own guest list."""
    guests = b"".join(b"ATTENDEE:mailto:g%d@example.org\n" % number for number in range(500))
    raw = REQUEST.replace(b"SEQUENCE:0\n", b"SEQUENCE:0\n" + guests)
    assert len(read(raw, submission=True, max_part=2000).incoming[0].attendees) == 501
    assert reasons(read(raw, max_part=2000)) == [Reason.TOO_LARGE]


def test_a_mail_beyond_the_caps_keeps_its_headers() -> None:
    """Too many headers: an error by that name, with Message-ID, sender and digest from a bounded look."""
    found = read(REPLY.replace(b"MIME-Version", b"X: y\n" * 600 + b"MIME-Version"))
    assert reasons(found) == [Reason.TOO_MANY_HEADERS]
    assert (found.message_id, found.evidence.from_address, len(found.digest)) == (
        "<r1@example.com>",
        "b@example.com",
        16,
    )


def test_an_exception_in_a_parser_is_the_mails_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a parser raises becomes error/malformed; MemoryError passes, because the process must end."""

    def broken(*_: object) -> tuple[Message, ...]:
        raise RecursionError("deep")

    monkeypatch.setattr(reading, "read", broken)
    found = read(REPLY)
    assert [(m.outcome, m.detail) for m in found.messages if isinstance(m, Fault)] == [
        (Outcome.ERROR, "RecursionError: deep")
    ]
    monkeypatch.setattr(reading, "extract", broken)
    assert reasons(read(REPLY)) == [Reason.MALFORMED]

    def exhausted(*_: object) -> tuple[Message, ...]:
        raise MemoryError

    monkeypatch.setattr(reading, "extract", exhausted)
    with pytest.raises(MemoryError):
        read(REPLY)


def test_a_mail_that_could_not_be_read_has_the_same_digest() -> None:
    """`faulty` and `read_mail` agree on the digest: a repeated bomb is a repetition."""
    fault = Fault(Outcome.ERROR, Reason.TOO_COSTLY)
    found = faulty(REPLY, sender="", fault=fault)
    assert (found.digest, found.messages, found.evidence.automatic) == (read(REPLY).digest, (fault,), True)


def test_mutations_of_a_reply_are_survived() -> None:
    """A thousand random mutations, at both doors, give a Reading with an outcome and never an exception."""
    chance = random.Random(20261201)
    for number in range(1000):
        raw = bytearray(REPLY)
        for _ in range(chance.randint(1, 30)):
            at = chance.randrange(len(raw))
            junk = chance.choice(
                [b"\r", b"\n", b'"', b";", b"(", b"=?", b"\0", b"\xff", b"--b", b":", b"=", b"<", b"BEGIN:"]
            )
            raw[at : at + chance.randrange(40)] = junk * chance.randrange(4)
        found = read(bytes(raw), submission=number % 2 == 1)
        assert found.messages or found.incoming


@pytest.mark.parametrize(
    ("components", "recipients", "read_"),
    [
        (200, 1, True),
        (201, 1, False),
        (200, 5, True),
        (200, 6, False),
        (10, 100, True),
        (11, 100, False),
        (1, 2000, True),
    ],
)
def test_components_of_one_mail_are_bounded(components: int, recipients: int, read_: bool) -> None:
    """At most 200 components, and at most 1,000 decisions for all recipients; one more and nothing of it counts."""
    event = REPLY[REPLY.index(b"BEGIN:VEVENT") : REPLY.index(b"END:VCALENDAR")]
    events = b"".join(event.replace(b"UID:m1", b"UID:m%d" % number) for number in range(components))
    to = [f"{number}@example.net" for number in range(recipients)]
    found = read_mail(
        REPLY.replace(event, events), sender="", recipients=to, submission=False, settings=ReadSettings()
    ).messages
    if read_:
        assert len(found) == components
    else:
        assert [one.reason for one in found if isinstance(one, Fault)] == [Reason.TOO_MANY_COMPONENTS]
