"""The benchmark's meetings and mails: three shapes, every mail distinct and newer than the one before.

Four kinds of answer: to the meeting, to an instance twenty years into a daily series, to a version that was moved since
(stale, RFC 5546 §2.1.5), and a COUNTER.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

ORGANIZER = "meetings@example.com"
SHAPES = ("outlook", "google", "small")
ANSWERS = ("ACCEPTED", "TENTATIVE", "DECLINED")
Kind = Literal["reply", "instance", "stale", "counter"]
_FIRST = datetime(2026, 11, 1, 8, tzinfo=UTC)
_DAY = datetime(2027, 2, 1, 10)  # noqa: DTZ001 - the wall clock of Europe/Paris

_WALL = "%Y%m%dT%H%M%S"

_ZONE = "\r\n".join(
    (
        "BEGIN:VTIMEZONE",
        "TZID:Romance Standard Time",
        "BEGIN:STANDARD",
        "DTSTART:16010101T030000",
        "TZOFFSETFROM:+0200",
        "TZOFFSETTO:+0100",
        "RRULE:FREQ=YEARLY;INTERVAL=1;BYDAY=-1SU;BYMONTH=10",
        "END:STANDARD",
        "BEGIN:DAYLIGHT",
        "DTSTART:16010101T020000",
        "TZOFFSETFROM:+0100",
        "TZOFFSETTO:+0200",
        "RRULE:FREQ=YEARLY;INTERVAL=1;BYDAY=-1SU;BYMONTH=3",
        "END:DAYLIGHT",
        "END:VTIMEZONE",
        "",
    )
)


@dataclass(frozen=True, slots=True)
class Letter:
    """One mail to send, and what must be true after it."""

    sender: str
    raw: bytes
    uid: str
    attendee: str
    partstat: str
    rid: str = ""  # as `itipd status` writes it; "": the meeting


def uid(number: int) -> str:
    return f"bench-{number:07d}@example.com"


def guest(number: int) -> str:
    return f"guest{number:05d}@example.org"


def calendar(meetings: int, guests: int, kind: Kind = "reply", sequence: int = 0) -> Iterator[str]:
    """All meetings as one calendar file, piece by piece; version `sequence` is that many hours later."""
    yield "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//itipd//bench//EN\r\n"
    people = "".join(f"ATTENDEE;RSVP=TRUE;CN=Guest {n}:mailto:{guest(n)}\r\n" for n in range(guests))
    rule = "RRULE:FREQ=DAILY\r\n" if kind == "instance" else ""
    start = _DAY.replace(year=2007) if rule else _DAY + timedelta(hours=sequence)
    for number in range(meetings):
        yield (
            f"BEGIN:VEVENT\r\nUID:{uid(number)}\r\nDTSTAMP:20261001T080000Z\r\nSEQUENCE:{sequence}\r\n{rule}"
            f"DTSTART;TZID=Europe/Paris:{start:{_WALL}}\r\n"
            f"DTEND;TZID=Europe/Paris:{start + timedelta(hours=1):{_WALL}}\r\n"
            f"SUMMARY:Benchmark meeting {number}\r\nORGANIZER;CN=Meetings:mailto:{ORGANIZER}\r\n{people}END:VEVENT\r\n"
        )
    yield "END:VCALENDAR\r\n"


def letters(count: int, meetings: int, guests: int, round_: int, kind: Kind = "reply") -> list[Letter]:
    """`count` distinct mails of one round; a later round's are newer, so each is applied."""
    found = []
    for number in range(count):
        partstat = ANSWERS[(number + round_) % len(ANSWERS)]
        meeting, person = number % meetings, (number // meetings) % guests
        stamp = _FIRST + timedelta(minutes=round_, seconds=number // (meetings * guests))
        shape = SHAPES[number % len(SHAPES)]
        day = _DAY + timedelta(days=number % 50) if kind == "instance" else None
        raw = _mail(shape, kind, uid(meeting), guest(person), partstat, stamp, day, f"{round_}.{number}")
        rid = f"{day - timedelta(hours=1):{_WALL}}Z" if day else ""  # Paris is an hour ahead in February
        found.append(Letter(guest(person), raw, uid(meeting), guest(person), partstat, rid))
    return found


def _mail(
    shape: str, kind: Kind, uid_: str, attendee: str, partstat: str, stamp: datetime, day: datetime | None, mark: str
) -> bytes:
    zone = _ZONE if shape == "outlook" else ""
    at = day or (_DAY + timedelta(days=1) if kind == "counter" else _DAY)
    start = (
        f"DTSTART;TZID=Romance Standard Time:{at:{_WALL}}" if zone else f"DTSTART:{at - timedelta(hours=1):{_WALL}}Z"
    )
    if day:
        start = f"{start}\r\n{start.replace('DTSTART', 'RECURRENCE-ID')}"
    method = "COUNTER" if kind == "counter" else "REPLY"
    organizer = "" if shape == "outlook" else f"ORGANIZER;CN=Meetings:mailto:{ORGANIZER}\r\n"
    extra = "X-MICROSOFT-CDO-BUSYSTATUS:BUSY\r\nCLASS:PUBLIC\r\nPRIORITY:5\r\nTRANSP:OPAQUE\r\n" if zone else ""
    ics = (
        f"BEGIN:VCALENDAR\r\nPRODID:-//Bench//{shape}//EN\r\nVERSION:2.0\r\nMETHOD:{method}\r\n{zone}BEGIN:VEVENT\r\n{start}\r\n"
        f"DTSTAMP:{stamp:%Y%m%dT%H%M%SZ}\r\n{organizer}UID:{uid_}\r\nSEQUENCE:0\r\n{extra}SUMMARY:Benchmark\r\n"
        f"ATTENDEE;CN={attendee};PARTSTAT={partstat}:mailto:{attendee}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
    head = (
        "Received: from mail.example.org (mail.example.org [192.0.2.7]) by mx.example.com with ESMTPS;\r\n"
        f" {stamp:%a, %d %b %Y %H:%M:%S} +0000\r\n"
        f"From: {attendee}\r\nTo: {ORGANIZER}\r\nSubject: {partstat.title()}: Benchmark\r\n"
        f"Date: {stamp:%a, %d %b %Y %H:%M:%S} +0000\r\nMessage-ID: <{mark}.{uid_[6:13]}@mail.example.org>\r\n"
        "MIME-Version: 1.0\r\n"
    )
    if shape == "small":
        return (f"{head}Content-Type: text/calendar; method={method}; charset=UTF-8\r\n\r\n{ics}").encode()
    body = base64.encodebytes(ics.encode()).decode().replace("\n", "\r\n")
    words = "This person has answered the invitation. " * 12
    parts = [
        f'--b0\r\nContent-Type: text/plain; charset="UTF-8"\r\n\r\n{words}\r\n',
        f'--b0\r\nContent-Type: text/html; charset="UTF-8"\r\n\r\n<html><body><p>{words}</p></body></html>\r\n',
        (
            f'--b0\r\nContent-Type: text/calendar; charset="UTF-8"; method={method}\r\n'
            f"Content-Transfer-Encoding: base64\r\n\r\n{body}"
        ),
    ]
    if shape == "google":
        parts.append(
            '--b0\r\nContent-Type: application/ics; name="invite.ics"\r\n'
            'Content-Disposition: attachment; filename="invite.ics"\r\n'
            f"Content-Transfer-Encoding: base64\r\n\r\n{body}"
        )
    container = "mixed" if shape == "google" else "alternative"
    return f'{head}Content-Type: multipart/{container}; boundary="b0"\r\n\r\n{"".join(parts)}--b0--\r\n'.encode()
