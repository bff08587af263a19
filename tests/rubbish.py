"""Hostile and broken mails, each with what must become of it. `corpus(door)` gives a fresh set for one door.

Kim and Lee are guests of the meeting UID; SERIES is a daily one. Whatever is sent, nobody else ever gets mail.
"""

from __future__ import annotations

import base64
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

WE = "meetings@example.com"
UID = "rubbish@example.com"
SERIES = "series@example.com"
BOMB = "bomb@example.com"
KIM, LEE = "kim@example.org", "lee@example.org"
DELEGATE = "delegate%d@example.org"
LIMIT = 2 * 1024 * 1024
"""[smtp] max_message_size of the daemon that it is thrown at: what fills a mail fills this one as well as a larger."""

MEETINGS = "".join(
    [
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//example.com//rubbish//EN\r\n",
        *(
            f"BEGIN:VEVENT\r\nUID:{uid}\r\nDTSTAMP:20261101T080000Z\r\nSEQUENCE:{sequence}\r\nDTSTART:20270104T090000Z\r\n"
            f"DURATION:PT1H\r\n{rule}SUMMARY:Planning\r\nORGANIZER;CN=Meetings:mailto:{WE}\r\n"
            f"ATTENDEE;CN=Kim:mailto:{KIM}\r\nATTENDEE;CN=Lee:mailto:{LEE}\r\nEND:VEVENT\r\n"
            for uid, sequence, rule in (
                (UID, 3, ""),
                (SERIES, 1, "RRULE:FREQ=DAILY\r\n"),
                (BOMB, 0, "RRULE:FREQ=SECONDLY;BYHOUR=1;BYSECOND=59,0;BYYEARDAY=366;BYDAY=MO\r\n"),
            )
        ),
        "END:VCALENDAR\r\n",
    ]
)

APPLIED = ("updated/replied",)
NOTHING = ("no_action/not_calendar",)
MALFORMED = ("error/malformed",)
TOO_LARGE = ("error/too_large",)
TOO_MANY_HEADERS = ("error/too_many_headers",)
TOO_MANY_PARTS = ("error/too_many_parts",)
TOO_DEEP = ("error/nested_too_deep",)
TOO_MANY_COMPONENTS = ("error/too_many_components",)
TOO_MANY_LINES = ("error/too_many_properties",)
LINE_TOO_LONG = ("error/line_too_long",)
TOO_MANY_ATTENDEES = ("error/too_many_attendees",)
REFUSED = ()
"""The whole mail is refused at the door; `Rubbish.code` says how."""


@dataclass(frozen=True)
class Kit:
    """What makes a mail a new one: its own Message-ID and a DTSTAMP after all before it."""

    name: str
    number: int

    @property
    def stamp(self) -> str:
        at = datetime(2026, 11, 20, 8, tzinfo=UTC) + timedelta(seconds=self.number)
        return f"{at:%Y%m%dT%H%M%SZ}"

    def headers(self, kind: bytes, *more: bytes, sender: str = KIM) -> bytes:
        """The header block of a mail, without the empty line."""
        mine = f"From: {sender}\r\nTo: {WE}\r\nMessage-ID: <{self.number}.{self.name}@rubbish.example.net>\r\n"
        rest = b"".join(line + b"\r\n" for line in more)
        return mine.encode() + b"Date: Fri, 20 Nov 2026 08:00:00 +0000\r\n" + rest + kind + b"\r\n"

    def mail(self, body: bytes, *more: bytes, kind: bytes = b"Content-Type: text/calendar; charset=utf-8") -> bytes:
        return self.headers(kind, *more) + b"\r\n" + body

    def reply(
        self,
        *lines: bytes | str,
        uid: str | None = UID,
        attendee: bytes | str = f"ATTENDEE;PARTSTAT=ACCEPTED:mailto:{KIM}",
        method: str = "REPLY",
        sequence: int = 3,
        before: bytes | str = b"",
        stamp: bool = True,
    ) -> bytes:
        """A REPLY of Kim's with further lines, nothing wrong with it by itself."""
        kept: list[bytes | str] = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//example.net//r//EN", f"METHOD:{method}"]
        kept += [before] if before else []
        kept += ["BEGIN:VEVENT", f"SEQUENCE:{sequence}", f"ORGANIZER:mailto:{WE}"]
        kept += [f"UID:{uid}"] if uid is not None else []
        kept += [f"DTSTAMP:{self.stamp}"] if stamp else []
        kept += [*lines, attendee, "END:VEVENT", "END:VCALENDAR", ""]
        return b"\r\n".join(line.encode() if isinstance(line, str) else line for line in kept)

    def calendar(self, *lines: bytes | str, **words: str | bytes | int | None) -> bytes:
        """A mail that is such a REPLY."""
        return self.mail(self.reply(*lines, **words))  # type: ignore[arg-type]


Make = Callable[[Kit], bytes]


@dataclass(frozen=True)
class Rubbish:
    """One mail. `results`: outcome/reason of every component, in any order; `code`: of the answer to DATA."""

    name: str
    results: tuple[str, ...]
    raw: bytes = field(repr=False)
    code: int = 250


def corpus(first: int) -> list[Rubbish]:
    """All of it, each mail a new one; `first` is the number of the first."""
    found = []
    for number, (name, (results, make)) in enumerate(_CORPUS.items(), first):
        code = _CODES.get(name, 250)
        found.append(Rubbish(name, results, make(Kit(name.replace(" ", "-"), number)), code))
    return found


def refused(code: str, text: bytes) -> bool:
    """Whether a door's answer is one of its own fixed texts, with the enhanced code."""
    return text.startswith(code.encode()) and text.isascii() and text.decode().isprintable()


# -- pieces -------------------------------------------------------------------------------------------------------


def multipart(kit: Kit, *parts: bytes, kind: bytes = b"mixed", boundary: bytes = b"b0") -> bytes:
    body = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts)
    field_ = b"Content-Type: multipart/" + kind + b'; boundary="' + boundary + b'"'
    return kit.headers(field_) + b"\r\n" + body + b"--" + boundary + b"--\r\n"


def deep(kit: Kit, levels: int) -> bytes:
    """`levels` multiparts in each other, the calendar in the innermost."""
    out = [kit.headers(b'Content-Type: multipart/mixed; boundary="b0"'), b"\r\n"]
    inner = b'--b%d\r\nContent-Type: multipart/mixed; boundary="b%d"\r\n\r\n'
    out += [inner % (level, level + 1) for level in range(levels)]
    out.append(b"--b%d\r\nContent-Type: text/calendar\r\n\r\n" % levels + kit.reply())
    out += [b"\r\n--b%d--\r\n" % level for level in range(levels, -1, -1)]
    return b"".join(out)


def reply_with(*lines: str, **words: str | int) -> Make:
    """A reply with these lines."""
    return lambda kit: kit.calendar(*lines, **words)


def many_parts(kit: Kit, count: int) -> bytes:
    parts = b"--b0\r\n\r\nx\r\n" * count
    return kit.headers(b"Content-Type: multipart/mixed; boundary=b0") + b"\r\n" + parts + b"--b0--\r\n"


def zone(*rules: str, observances: int = 1) -> str:
    lines = "".join(f"{rule}\r\n" for rule in rules)
    one = f"DTSTART:19700101T000000\r\nTZOFFSETFROM:+0100\r\nTZOFFSETTO:+0200\r\n{lines}"
    one = f"BEGIN:STANDARD\r\n{one}END:STANDARD\r\n"
    return f"BEGIN:VTIMEZONE\r\nTZID:Bomb\r\n{one * observances}END:VTIMEZONE"


BASE64 = b"Content-Transfer-Encoding: base64"
IN_BOMB_ZONE = "RECURRENCE-ID;TZID=Bomb:20270105T100000"


def in_zone(*rules: str, observances: int = 1) -> Make:
    """A reply to an instance whose RECURRENCE-ID stands in a hostile time zone."""
    return lambda kit: kit.calendar(IN_BOMB_ZONE, uid=SERIES, sequence=1, before=zone(*rules, observances=observances))


def in_charset(charset: str, data: Callable[[bytes], bytes] | None = None) -> Make:
    """A reply with this `charset`; `data`: really encoded so, which no line of a mail can hold as it is."""
    kind = b"Content-Type: text/calendar; charset=" + charset.encode()
    if data is None:
        return lambda kit: kit.mail(kit.reply("SUMMARY:Geschäft"), kind=kind)
    return lambda kit: kit.mail(base64.encodebytes(data(kit.reply("COMMENT:XX"))), BASE64, kind=kind)


def padded(kit: Kit, size: int, filler: bytes, *, calendar: bool = False) -> bytes:
    """A mail of exactly `size` octets, made of `filler`."""
    if calendar:
        head, tail = (
            kit.mail(kit.reply().removesuffix(b"END:VEVENT\r\nEND:VCALENDAR\r\n")),
            b"END:VEVENT\r\nEND:VCALENDAR\r\n",
        )
    else:
        head, tail = kit.headers(b"Content-Type: text/plain") + b"\r\n", b""
    room = size - len(head) - len(tail)
    body = (filler * (room // len(filler) + 1))[:room]
    if room > 2:
        body = body[:-2] + b"\r\n"
    return head + body + tail


def tnef(kit: Kit, data: bytes) -> bytes:
    field_ = b'Content-Type: application/ms-tnef; name="winmail.dat"\r\nContent-Transfer-Encoding: base64'
    return kit.mail(base64.encodebytes(data).replace(b"\n", b"\r\n"), kind=field_)


def attribute(number: int, data: bytes, level: int = 1) -> bytes:
    """One attribute of a TNEF stream ([MS-OXTNEF] 2.1.3.1)."""
    return struct.pack("<BII", level, number, len(data)) + data + struct.pack("<H", sum(data) & 0xFFFF)


TNEF = struct.pack("<IH", 0x223E9F78, 1)
MAPI = 0x69003  # attMAPIProps

NOISE = random.Random(20261121).randbytes(200_000)


def attendees(count: int) -> str:
    return "\r\n".join(f"ATTENDEE;PARTSTAT=ACCEPTED:mailto:n{number}@example.net" for number in range(count))


def many_instances(kit: Kit, count: int, sequence: int, method: str = "REPLY", attendee: str | None = None) -> bytes:
    """A mail of Kim's about `count` days of the series; `%d` in `attendee` is the day."""
    first = datetime(2027, 1, 4, 9, tzinfo=UTC)
    line = attendee or f"ATTENDEE;PARTSTAT=ACCEPTED:mailto:{KIM}"
    events = "".join(
        f"BEGIN:VEVENT\r\nUID:{SERIES}\r\nRECURRENCE-ID:{first + timedelta(days=day):%Y%m%dT%H%M%SZ}\r\n"
        f"SEQUENCE:{sequence}\r\nDTSTAMP:{kit.stamp}\r\n{line.replace('%d', str(day))}\r\nEND:VEVENT\r\n"
        for day in range(count)
    )
    head = f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nMETHOD:{method}\r\n"
    return kit.mail(f"{head}{events}END:VCALENDAR\r\n".encode())


def report(recipients: int, junk: bytes = b"") -> Make:
    """A delivery report about strangers."""
    one = b"Final-Recipient: rfc822; nobody%d@example.net\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n"
    blocks = b"".join(one % number for number in range(recipients))
    part = b"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.net\r\n\r\n" + junk + blocks
    return lambda kit: multipart(kit, part, kind=b"report; report-type=delivery-status")


INJECTED = "evil\\nBcc: mallory@example.net\\r\\nX-Evil: 1 =?utf-8?q?a=0d=0aBcc:_x=40evil.test?= %0d%0aBcc:x"
FEED = b"x\rBcc: mallory@example.net\rX-Evil: 1"


_CORPUS: dict[str, tuple[tuple[str, ...], Make]] = {
    # -- no calendar in it
    "plain text": (NOTHING, lambda kit: kit.mail(b"See you there.\r\n", kind=b"Content-Type: text/plain")),
    "empty mail": (NOTHING, lambda kit: b""),
    "only an empty line": (NOTHING, lambda kit: b"\r\n" * (1 + kit.number % 7)),
    "headers only": (NOTHING, lambda kit: kit.headers(b"Content-Type: text/calendar")),
    "not MIME at all": (NOTHING, lambda kit: b"no header, no nothing %d\r\nat all\r\n" % kit.number),
    "noise": (NOTHING, lambda kit: NOISE + b"%d\r\n" % kit.number),
    "noise as calendar": (MALFORMED, lambda kit: kit.mail(NOISE)),
    "every octet": (NOTHING, lambda kit: bytes(range(256)) * 50 + b"%d\r\n" % kit.number),
    "a web request": (NOTHING, lambda kit: b"POST /v1/meetings HTTP/1.1\r\nHost: x%d\r\n\r\n{}" % kit.number),
    "empty calendar part": (NOTHING, lambda kit: kit.mail(b"")),
    "html calling itself a reply": (
        NOTHING,
        lambda kit: kit.mail(b"<p>BEGIN:VCALENDAR METHOD:REPLY</p>\r\n", kind=b"Content-Type: text/html; method=REPLY"),
    ),
    "multipart of nothing": (NOTHING, lambda kit: multipart(kit)),
    "multipart without boundary": (APPLIED, lambda kit: kit.mail(kit.reply(), kind=b"Content-Type: multipart/mixed")),
    "boundary of one megabyte": (
        NOTHING,
        lambda kit: kit.mail(b"", kind=b"Content-Type: multipart/mixed; boundary=" + b"b" * 60_000),
    ),
    "reply inside a forwarded mail": (
        NOTHING,
        lambda kit: multipart(kit, b"Content-Type: message/rfc822\r\n\r\n" + kit.calendar()),
    ),
    "mails in mails in mails": (
        NOTHING,
        lambda kit: kit.headers(b"Content-Type: message/rfc822") + b"\r\nContent-Type: message/rfc822\r\n" * 5000,
    ),
    "message partial": (
        NOTHING,
        lambda kit: kit.mail(kit.reply(), kind=b"Content-Type: message/partial; id=x; number=1; total=2"),
    ),
    "message external": (
        NOTHING,
        lambda kit: kit.mail(
            b"", kind=b"Content-Type: message/external-body; access-type=local-file; name=/etc/passwd"
        ),
    ),
    "digest": (NOTHING, lambda kit: multipart(kit, b"\r\n" + kit.calendar(), kind=b"digest")),
    # -- broken calendars
    "calendar of another kind": (MALFORMED, lambda kit: kit.mail(b"<?xml version='1.0'?><icalendar/>\r\n")),
    "only BEGIN": (MALFORMED, lambda kit: kit.mail(b"BEGIN:VCALENDAR\r\n")),
    "nothing in it": (MALFORMED, lambda kit: kit.mail(b"BEGIN:VCALENDAR\r\nMETHOD:REPLY\r\nEND:VCALENDAR\r\n")),
    "only a vcard": (MALFORMED, lambda kit: kit.mail(b"BEGIN:VCARD\r\nFN:x\r\nEND:VCARD\r\n")),
    "cut in the middle": (
        ("error/no_attendee",),
        lambda kit: kit.mail(kit.reply()[: kit.reply().index(b"ATTENDEE")]),
    ),
    "ends without END": (APPLIED, lambda kit: kit.mail(kit.reply().split(b"END:")[0])),
    "no uid": (("error/no_uid",), lambda kit: kit.calendar(uid=None)),
    "empty uid": (("error/no_uid",), lambda kit: kit.calendar(uid="")),
    "no attendee": (("error/no_attendee",), lambda kit: kit.calendar(attendee="X-NOBODY:here")),
    "no partstat": (("error/no_partstat",), lambda kit: kit.calendar(attendee=f"ATTENDEE:mailto:{KIM}")),
    "unknown uid": (("held/unknown_meeting",), lambda kit: kit.calendar(uid=f"{kit.name}.{kit.number}")),
    "no method": (
        ("no_action/no_method",),
        lambda kit: kit.mail(kit.reply().replace(b"METHOD:REPLY\r\n", b"")),
    ),
    "method of 100 kB": (("no_action/not_for_organizer",), lambda kit: kit.calendar(method="X" * 100_000)),
    "a method of their own": (("no_action/not_for_organizer",), lambda kit: kit.calendar(method="DROP TABLE meetings")),
    "a request from outside": (("no_action/not_for_organizer",), lambda kit: kit.calendar(method="REQUEST")),
    "method and uid twice": (
        APPLIED,
        lambda kit: kit.calendar("UID:other@example.com", before="METHOD:CANCEL"),
    ),
    "negative sequence": (
        ("updated/replied",),
        lambda kit: kit.mail(kit.reply().replace(b"SEQUENCE:3", b"SEQUENCE:-1")),
    ),
    "sequence beyond all numbers": (
        APPLIED,
        lambda kit: kit.mail(kit.reply().replace(b"SEQUENCE:3", b"SEQUENCE:" + b"9" * 5000)),
    ),
    "dtstamp is no time": (
        ("no_action/out_of_order",),  # the mail's Date counts, and that is always the same
        lambda kit: kit.mail(kit.reply("DTSTAMP:yesterday", stamp=False)),
    ),
    "recurrence id is no time": (MALFORMED, lambda kit: kit.calendar("RECURRENCE-ID:99999999T999999Z")),
    "recurrence id in the year 1": (("error/malformed",), lambda kit: kit.calendar("RECURRENCE-ID:00010101T000000Z")),
    "recurrence id in the year 9999": (
        ("error/malformed",),
        lambda kit: kit.calendar("RECURRENCE-ID:99991231T235959Z"),
    ),
    "completed in the year 9999": (APPLIED, lambda kit: kit.calendar("COMPLETED:99991231T235959Z")),
    "damaged base64": (
        MALFORMED,
        lambda kit: kit.mail(b"QkVH*SU46VkNB\r\nTEVOR\r\n", b"Content-Transfer-Encoding: base64"),
    ),
    "base64 of one letter": (NOTHING, lambda kit: kit.mail(b"Q", b"Content-Transfer-Encoding: base64")),
    "a transfer encoding nobody knows": (
        APPLIED,
        lambda kit: kit.mail(kit.reply(), b"Content-Transfer-Encoding: x-uu;"),
    ),
    "quoted printable of equal signs": (
        MALFORMED,
        lambda kit: kit.mail(b"=" * 500_000, b"Content-Transfer-Encoding: quoted-printable"),
    ),
    "an alarm that spoils all": (
        APPLIED,
        lambda kit: kit.calendar(f"BEGIN:VALARM\r\nATTENDEE:mailto:{LEE}\r\nTRIGGER;X:=;;\r\nACTION:\r\nEND:VALARM"),
    ),
    "one bad component": (
        ("error/no_uid", "updated/replied"),
        lambda kit: kit.calendar(before="BEGIN:VEVENT\r\nSUMMARY:bad\r\nEND:VEVENT"),
    ),
    "environment of the process": (MALFORMED, lambda kit: kit.mail(b"/proc/self/environ")),
    "path of the passwords": (MALFORMED, lambda kit: kit.mail(b"/etc/passwd\r\n")),
    "a path in ATTACH": (
        APPLIED,
        lambda kit: kit.calendar("ATTACH:file:///proc/self/environ", "URL:file:///etc/passwd"),
    ),
    # -- too much of it
    "1,500 levels": (TOO_MANY_PARTS, lambda kit: deep(kit, 1500)),
    "20 levels": (APPLIED, lambda kit: deep(kit, 19)),
    "100,000 parts": (TOO_MANY_PARTS, lambda kit: many_parts(kit, 100_000)),
    "100,000 lines like a boundary": (
        TOO_MANY_PARTS,
        lambda kit: kit.headers(b"Content-Type: multipart/mixed; boundary=b0") + b"\r\n" + b"--b0x\r\n" * 100_000,
    ),
    "20 kB of quotes in Content-Type": (
        NOTHING,
        lambda kit: kit.mail(b"x\r\n", kind=b'Content-Type: text/plain; x="' + b'\\";' * 7000 + b'"'),
    ),
    "20 kB of quotes in From": (NOTHING, lambda kit: kit.mail(b"x\r\n", b"From: " + b'"' * 20_000, kind=b"X: y")),
    "20 kB of quotes in a calendar": (
        APPLIED,
        lambda kit: kit.calendar(attendee="ATTENDEE;CN=" + '"' * 20_001 + f";PARTSTAT=ACCEPTED:mailto:{KIM}"),
    ),
    "16 kB of semicolons": (
        NOTHING,
        lambda kit: kit.mail(b"x\r\n", kind=b"Content-Type: text/calendar" + b";" * 16_000),
    ),
    "4 kB of semicolons": (
        APPLIED,
        lambda kit: kit.mail(kit.reply(), kind=b"Content-Type: text/calendar" + b";" * 4_000),
    ),
    "8 kB of encoded words": (
        NOTHING,
        lambda kit: kit.mail(b"x\r\n", b"Subject: " + b"=?utf-8?q?=41?= " * 500, kind=b"Content-Type: text/plain"),
    ),
    "8 kB of open brackets": (
        NOTHING,
        lambda kit: kit.mail(
            b"x\r\n", b"To: " + b"(" * 8_000, b"Cc: " + b"<" * 8_000, kind=b"Content-Type: text/plain"
        ),
    ),
    "600 headers": (TOO_MANY_HEADERS, lambda kit: kit.mail(b"x", *[b"X-A: b"] * 600, kind=b"X: y")),
    "a header of 1 MB": (TOO_MANY_HEADERS, lambda kit: kit.mail(b"x", b"Subject: " + b"x" * 1_000_000, kind=b"X: y")),
    "a folded header of 1 MB": (
        TOO_MANY_HEADERS,
        lambda kit: kit.mail(b"x", b"Subject: x" + b"\r\n x" * 250_000, kind=b"X: y"),
    ),
    "a loop of 60 hops": (REFUSED, lambda kit: b"Received: from x by y\r\n" * 60 + kit.calendar()),
    "just under 2 MB of text": (NOTHING, lambda kit: padded(kit, LIMIT - 2, b"x" * 76 + b"\r\n")),
    "just over 2 MB of text": (REFUSED, lambda kit: padded(kit, LIMIT + 2, b"x" * 76 + b"\r\n")),
    "2 MB in one line": (NOTHING, lambda kit: padded(kit, LIMIT - 2, b"x")),
    "2 MB of empty lines": (NOTHING, lambda kit: padded(kit, LIMIT - 2, b"\r\n")),
    "2 MB of dots": (NOTHING, lambda kit: padded(kit, LIMIT - 2, b"..\r\n")),
    "2 MB of NUL": (NOTHING, lambda kit: padded(kit, LIMIT - 2, b"\0")),
    "2 MB of bare CR": (NOTHING, lambda kit: padded(kit, LIMIT - 2, b"\r")),
    "2 MB of bare LF": (NOTHING, lambda kit: padded(kit, LIMIT - 2, b"\n")),
    "2 MB that do not compress": (
        NOTHING,
        lambda kit: padded(kit, LIMIT - 2, random.Random(kit.number).randbytes(LIMIT).replace(b"\n", b"x")),
    ),
    "just under 2 MB of calendar": (TOO_LARGE, lambda kit: padded(kit, LIMIT - 2, b"X-A:b\r\n", calendar=True)),
    "calendar of 1 MB in lines": (TOO_MANY_LINES, lambda kit: padded(kit, 1_000_000, b"X-A:b\r\n", calendar=True)),
    "calendar of 1 MB folded at every letter": (
        APPLIED,
        lambda kit: kit.calendar("X-A:b" + "\r\n b" * 250_000),
    ),
    "calendar of 1 MB without folds": (MALFORMED, lambda kit: kit.mail(b"BEGIN VCALENDAR " * 60_000)),
    "a line of 600 kB": (LINE_TOO_LONG, lambda kit: kit.calendar("SUMMARY:" + "x" * 600_000)),
    "a line of 500 kB": (APPLIED, lambda kit: kit.calendar("SUMMARY:" + "x" * 500_000)),
    "a line of 900,000 umlauts": (TOO_LARGE, lambda kit: kit.calendar("SUMMARY:" + "ä" * 900_000)),
    "20,000 parameters": (APPLIED, lambda kit: kit.calendar("SUMMARY" + ";X=y" * 20_000 + ":x")),
    "20,000 parameters on ATTENDEE": (
        APPLIED,
        lambda kit: kit.calendar(attendee="ATTENDEE;PARTSTAT=ACCEPTED" + ";X=y" * 20_000 + f":mailto:{KIM}"),
    ),
    "20,000 different parameters": (
        APPLIED,
        lambda kit: kit.calendar(
            attendee="ATTENDEE;PARTSTAT=ACCEPTED" + "".join(f";X{n}=y" for n in range(20_000)) + f":mailto:{KIM}"
        ),
    ),
    "a COMMENT of 400 kB": (APPLIED, lambda kit: kit.calendar("COMMENT:" + "\\n\\;\\," * 60_000)),
    "20,000 COMMENTs": (APPLIED, lambda kit: kit.calendar(*["COMMENT:x"] * 20_000)),
    "40,000 lines": (TOO_MANY_LINES, lambda kit: kit.calendar(*["X-A:b"] * 40_000)),
    "6,000 components": (
        TOO_MANY_COMPONENTS,
        lambda kit: kit.calendar(before="BEGIN:X-A\r\nEND:X-A\r\n" * 6_000 + "X-B:c"),
    ),
    "components 1,000 deep": (TOO_DEEP, lambda kit: kit.calendar("BEGIN:X-A\r\n" * 1000 + "X-B:c")),
    "50,000 stray ENDs": (TOO_MANY_LINES, lambda kit: kit.calendar(*["END:VTODO"] * 50_000)),
    "uid of 100 kB": (("held/unknown_meeting",), lambda kit: kit.calendar(uid="u" * 100_000)),
    "1,000 attendees reply": (TOO_MANY_ATTENDEES, lambda kit: kit.calendar(attendee=attendees(1000))),
    "1,000 attendees counter": (
        ("updated/proposal",),
        lambda kit: kit.calendar(
            "DTSTART:20270105T090000Z",
            method="COUNTER",
            attendee=f"ATTENDEE;PARTSTAT=TENTATIVE:mailto:{KIM}\r\n" + attendees(999),
        ),
    ),
    "1,001 attendees counter": (
        TOO_MANY_ATTENDEES,
        lambda kit: kit.calendar(method="COUNTER", attendee=attendees(1001)),
    ),
    "the same attendee 10,000 times": (
        APPLIED,
        lambda kit: kit.calendar(attendee="\r\n".join([f"ATTENDEE;PARTSTAT=DECLINED:mailto:{KIM}"] * 10_000)),
    ),
    "delegated to 5,000": (
        ("no_action/delegation_refused",),
        lambda kit: kit.calendar(
            attendee="ATTENDEE;PARTSTAT=DELEGATED;DELEGATED-TO="
            + ",".join(f'"mailto:n{number}@example.net"' for number in range(5000))
            + f":mailto:{KIM}"
        ),
    ),
    "200 days": (APPLIED * 200, lambda kit: many_instances(kit, 200, 1)),
    "200 days, all stale": (("no_action/stale_sequence",) * 200, lambda kit: many_instances(kit, 200, 0)),
    "200 days asked for again": (("no_action/refresh",) * 200, lambda kit: many_instances(kit, 200, 1, "REFRESH")),
    "200 days delegated": (
        APPLIED * 200,
        lambda kit: many_instances(
            kit, 200, 1, attendee=f'ATTENDEE;PARTSTAT=DELEGATED;DELEGATED-TO="mailto:{DELEGATE}":mailto:{KIM}'
        ),
    ),
    "201 days": (TOO_MANY_COMPONENTS, lambda kit: many_instances(kit, 201, 1)),
    "3,000 days": (TOO_MANY_COMPONENTS, lambda kit: many_instances(kit, 3000, 0)),
    "a winmail.dat of noise": (NOTHING, lambda kit: tnef(kit, NOISE)),
    "a winmail.dat of nothing": (NOTHING, lambda kit: tnef(kit, b"")),
    "a winmail.dat cut short": (NOTHING, lambda kit: tnef(kit, TNEF + attribute(0x78008, b"IPM.Microsoft")[:-9])),
    "a winmail.dat with 2**32 properties": (
        NOTHING,
        lambda kit: tnef(kit, TNEF + attribute(MAPI, struct.pack("<I", 0xFFFFFFFF) + b"\x03\x10\0\0" * 1000)),
    ),
    "a winmail.dat of 100,000 attributes": (NOTHING, lambda kit: tnef(kit, TNEF + attribute(0x18005, b"") * 100_000)),
    "a winmail.dat of 1 MB": (NOTHING, lambda kit: tnef(kit, TNEF + attribute(0x1800C, bytes(1_000_000)))),
    "a report about 100 strangers": (("no_action/unknown_report",) * 100, report(100)),
    "a report about 5,000 strangers": (("no_action/unknown_report",) * 100, report(5_000)),
    "a report with 60 kB between": (NOTHING, report(1, b"X: y\r\n\r\n" * 10_000)),
    # -- rules and zones
    **{
        f"rule {rule}": (APPLIED, reply_with(f"RRULE:{rule}", "DTSTART:19700101T000000Z"))
        for rule in (
            "FREQ=SECONDLY",
            "FREQ=SECONDLY;INTERVAL=0",
            "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
            "FREQ=DAILY;COUNT=99999999999999999999",
            "FREQ=MINUTELY;BYSECOND=" + ",".join(map(str, range(60))) * 50,
        )
    },
    "instance of a bomb": (
        ("no_action/unknown_instance",),
        lambda kit: kit.calendar("RECURRENCE-ID:20360606T000059Z", uid=BOMB, sequence=0),
    ),
    "instance of a bomb, by date": (
        ("error/rule_too_costly",),
        lambda kit: kit.calendar("RECURRENCE-ID;VALUE=DATE:20360606", uid=BOMB, sequence=0),
    ),
    "instance in 2199": (
        APPLIED,
        lambda kit: kit.calendar("RECURRENCE-ID:21991231T090000Z", uid=SERIES, sequence=1),
    ),
    "zone every second": (("no_action/unknown_instance",), in_zone("RRULE:FREQ=SECONDLY")),
    "zone with interval 0": (("no_action/unknown_instance",), in_zone("RRULE:FREQ=YEARLY;INTERVAL=0")),
    "zone of 2,000 observances": (("no_action/unknown_instance",), in_zone(observances=2000)),
    "zone with 30,000 dates": (
        ("no_action/unknown_instance",),
        in_zone("RDATE:" + ",".join(["19800101T000000"] * 30_000)),
    ),
    "zone of 1,000 rules": (("no_action/unknown_instance",), in_zone(*["RRULE:FREQ=YEARLY"] * 1000)),
    "zone without offset": (
        ("no_action/unknown_instance",),
        lambda kit: kit.calendar(
            IN_BOMB_ZONE, uid=SERIES, sequence=1, before=zone().replace("TZOFFSETTO:+0200", "TZOFFSETTO:+9999")
        ),
    ),
    **{
        f"zone called {tzid[:30]}": (
            ("no_action/unknown_instance",),
            reply_with(f'RECURRENCE-ID;TZID="{tzid}":20270105T100000', uid=SERIES, sequence=1),
        )
        for tzid in ("America", "../../../../etc/passwd", "/proc/self/environ", "x" * 100_000, "\u202eLondon", ".", "")
    },
    # -- octets
    "NUL everywhere": (
        APPLIED,
        lambda kit: kit.mail(
            kit.reply("COMMENT:a\0b", attendee=b"ATTENDEE;CN=\0K;PARTSTAT=ACC\0EPTED:mailto:\0" + KIM.encode())
        ),
    ),
    "NUL in headers": (APPLIED, lambda kit: kit.mail(kit.reply(), b"Subject: a\0b", b"X-Mailer: \0")),
    "NUL in UID": (("held/unknown_meeting",), lambda kit: kit.calendar(f"UID:n\0{kit.number}", uid=None)),
    "controls in UID": (
        ("held/unknown_meeting",),
        lambda kit: kit.calendar(b"UID:\x1b[2J\x07\x9b\xc2\x85%d" % kit.number, uid=None),
    ),
    "lone surrogates": (
        APPLIED,
        lambda kit: kit.mail(
            kit.reply(
                b"COMMENT:\xed\xa0\x80\xed\xbf\xbf",
                b"SUMMARY:\xed\xa0\x80",
                attendee=b"ATTENDEE;CN=\xed\xa0\x80;PARTSTAT=ACCEPTED:mailto:" + KIM.encode(),
            )
        ),
    ),
    "lone surrogates in UID": (
        ("held/unknown_meeting",),
        lambda kit: kit.calendar(b"UID:\xed\xa0\x80%d" % kit.number, uid=None),
    ),
    "lone surrogates in headers": (
        NOTHING,
        lambda kit: kit.mail(b"x", b"Subject: \xed\xa0\x80", kind=b"Content-Type: text/plain"),
    ),
    "lone surrogates in UTF-16": (
        APPLIED,
        in_charset("utf-16", lambda data: data.decode().encode("utf-16").replace(b"X\0X\0", b"\0\xd8\0\xd8")),
    ),
    "not UTF-8 at all": (APPLIED, lambda kit: kit.calendar(b"COMMENT:" + bytes(range(128, 256)))),
    "overlong UTF-8": (
        ("held/unknown_meeting",),
        lambda kit: kit.calendar(b"UID:\xc0\xae\xc0\xae\xf8\x88\x80\x80\x80%d" % kit.number, uid=None),
    ),
    "combining marks without end": (APPLIED, lambda kit: kit.calendar("COMMENT:e" + "\u0301" * 100_000)),
    "direction marks": (APPLIED, lambda kit: kit.calendar("COMMENT:\u202egnp.exe\u2066", f"SUMMARY:{chr(0xFEFF)}")),
    **{
        f"charset {name}": (APPLIED, in_charset(name))
        for name in (
            *("x-klingon", "utf-7", "rot13", "zlib_codec", "base64", "idna", "punycode", "unicode_escape", "hex"),
            *(
                "utf-8; charset=utf-16",
                "''",
                '"',
                "../../etc/passwd",
                "=?utf-8?q?utf-8?=",
                "a" * 3000,
                "undefined",
                "mbcs",
            ),
        )
    },
    "charset utf-16 that is true": (APPLIED, in_charset("utf-16", lambda data: data.decode().encode("utf-16"))),
    "charset utf-32 that is true": (APPLIED, in_charset("utf-32", lambda data: data.decode().encode("utf-32"))),
    "charset iso-2022-jp of open escapes": (
        APPLIED,
        in_charset("iso-2022-jp", lambda data: data.replace(b"XX", b"\x1b$B")),
    ),
    # -- what would write headers of its own
    "injection in SUMMARY and COMMENT": (
        ("updated/proposal",),
        lambda kit: kit.calendar(
            f"SUMMARY:{INJECTED}",
            f"COMMENT:{INJECTED}",
            f"LOCATION:{INJECTED}",
            "DTSTART:20270106T090000Z",
            method="COUNTER",
        ),
    ),
    "injection in UID": (("held/unknown_meeting",), lambda kit: kit.calendar(uid=f"{INJECTED}{kit.number}")),
    "injection in CN": (
        APPLIED,
        lambda kit: kit.calendar(
            attendee=f'ATTENDEE;CN="evil^nBcc: mallory@example.net";PARTSTAT=ACCEPTED:mailto:{KIM}'
        ),
    ),
    "bare CR in UID": (("held/unknown_meeting",), lambda kit: kit.calendar(b"UID:" + FEED, uid=None)),
    "bare CR in COMMENT": (APPLIED, lambda kit: kit.calendar(b"COMMENT:" + FEED)),
    "bare CR in headers": (APPLIED, lambda kit: kit.mail(kit.reply(), b"Subject: " + FEED)),
    "injection in a stale reply": (
        ("no_action/stale_sequence",),
        lambda kit: kit.calendar(
            f"COMMENT:{INJECTED}", sequence=0, attendee=f'ATTENDEE;CN="{INJECTED}";PARTSTAT=ACCEPTED:mailto:{KIM}'
        ),
    ),
    "injection in a refresh": (
        ("no_action/refresh",),
        lambda kit: kit.calendar(method="REFRESH", attendee=f'ATTENDEE;CN="{INJECTED}":mailto:{KIM}'),
    ),
    "delegated to a header": (
        APPLIED,
        lambda kit: kit.calendar(
            attendee=f'ATTENDEE;PARTSTAT=DELEGATED;DELEGATED-TO="mailto:x%0d%0aBcc:mallory@example.net":mailto:{KIM}'
        ),
    ),
    # -- who it is
    **{
        f"attendee {value[:40]}": (
            ("error/no_attendee",),
            reply_with(attendee=f"ATTENDEE;PARTSTAT=ACCEPTED:{value}"),
        )
        for value in (
            f"mailto:{KIM}?cc=mallory@example.net",
            f"mailto:{KIM}%0d%0aBcc:mallory@example.net",
            "mailto:kim＠example.org",
            "mailto:ki\u200bm@example.org",
            'mailto:"kim"@example.org',
            "mailto:" + "k" * 5000 + "@example.org",
            "urn:uuid:0",
            "mailto:kim@" + "xn--" * 60,
        )
    },
    "somebody who was never invited": (
        ("held/sender_unproven",),
        lambda kit: kit.calendar(attendee="ATTENDEE;PARTSTAT=ACCEPTED:mailto:mallory@example.net"),
    ),
    "From with two people": (
        ("held/sender_unproven",),
        lambda kit: kit.mail(kit.reply()).replace(b"From: ", b"From: a@example.net, ", 1),
    ),
    "From that deceives": (
        ("held/sender_unproven",),
        lambda kit: kit.mail(kit.reply()).replace(
            b"From: " + KIM.encode(), b"From: kim@example.org <mallory@example.net>", 1
        ),
    ),
}

_CODES = {"a loop of 60 hops": 554, "just over 2 MB of text": 552}
