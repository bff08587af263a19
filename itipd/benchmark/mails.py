"""The benchmark's meetings and replies: three shapes of mail, every one distinct and newer than the one before."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

ORGANIZER = "meetings@example.com"
SHAPES = ("outlook", "google", "small")
ANSWERS = ("ACCEPTED", "TENTATIVE", "DECLINED")
_FIRST = datetime(2026, 11, 1, 8, tzinfo=UTC)

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


def uid(number: int) -> str:
    return f"bench-{number:07d}@example.com"


def guest(number: int) -> str:
    return f"guest{number:05d}@example.org"


def calendar(meetings: int, guests: int) -> Iterator[str]:
    """All meetings as one calendar file, piece by piece."""
    yield "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//itipd//bench//EN\r\n"
    people = "".join(f"ATTENDEE;RSVP=TRUE;CN=Guest {n}:mailto:{guest(n)}\r\n" for n in range(guests))
    for number in range(meetings):
        yield (
            f"BEGIN:VEVENT\r\nUID:{uid(number)}\r\nDTSTAMP:20261001T080000Z\r\nSEQUENCE:0\r\n"
            "DTSTART;TZID=Europe/Paris:20270201T100000\r\nDTEND;TZID=Europe/Paris:20270201T110000\r\n"
            f"SUMMARY:Benchmark meeting {number}\r\nORGANIZER;CN=Meetings:mailto:{ORGANIZER}\r\n{people}END:VEVENT\r\n"
        )
    yield "END:VCALENDAR\r\n"


def letters(count: int, meetings: int, guests: int, round_: int) -> list[Letter]:
    """`count` distinct replies of one round; a later round's are newer, so each is applied."""
    found = []
    for number in range(count):
        partstat = ANSWERS[(number + round_) % len(ANSWERS)]
        meeting, person = number % meetings, (number // meetings) % guests
        stamp = _FIRST + timedelta(minutes=round_, seconds=number // (meetings * guests))
        shape = SHAPES[number % len(SHAPES)]
        raw = _mail(shape, uid(meeting), guest(person), partstat, stamp, f"{round_}.{number}")
        found.append(Letter(guest(person), raw, uid(meeting), guest(person), partstat))
    return found


def _mail(shape: str, uid_: str, attendee: str, partstat: str, stamp: datetime, mark: str) -> bytes:
    zone = _ZONE if shape == "outlook" else ""
    start = "DTSTART;TZID=Romance Standard Time:20270201T100000" if zone else "DTSTART:20270201T090000Z"
    organizer = "" if shape == "outlook" else f"ORGANIZER;CN=Meetings:mailto:{ORGANIZER}\r\n"
    extra = "X-MICROSOFT-CDO-BUSYSTATUS:BUSY\r\nCLASS:PUBLIC\r\nPRIORITY:5\r\nTRANSP:OPAQUE\r\n" if zone else ""
    ics = (
        f"BEGIN:VCALENDAR\r\nPRODID:-//Bench//{shape}//EN\r\nVERSION:2.0\r\nMETHOD:REPLY\r\n{zone}BEGIN:VEVENT\r\n{start}\r\n"
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
        return (f"{head}Content-Type: text/calendar; method=REPLY; charset=UTF-8\r\n\r\n{ics}").encode()
    body = base64.encodebytes(ics.encode()).decode().replace("\n", "\r\n")
    words = "This person has answered the invitation. " * 12
    parts = [
        f'--b0\r\nContent-Type: text/plain; charset="UTF-8"\r\n\r\n{words}\r\n',
        f'--b0\r\nContent-Type: text/html; charset="UTF-8"\r\n\r\n<html><body><p>{words}</p></body></html>\r\n',
        (
            '--b0\r\nContent-Type: text/calendar; charset="UTF-8"; method=REPLY\r\n'
            f"Content-Transfer-Encoding: base64\r\n\r\n{body}"
        ),
    ]
    if shape == "google":
        parts.append(
            '--b0\r\nContent-Type: application/ics; name="invite.ics"\r\n'
            'Content-Disposition: attachment; filename="invite.ics"\r\n'
            f"Content-Transfer-Encoding: base64\r\n\r\n{body}"
        )
    kind = "mixed" if shape == "google" else "alternative"
    return f'{head}Content-Type: multipart/{kind}; boundary="b0"\r\n\r\n{"".join(parts)}--b0--\r\n'.encode()
