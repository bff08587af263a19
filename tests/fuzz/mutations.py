"""Broken mails and calendars out of sound ones: what senders, gateways and attackers do to lines, tokens and octets.

Everything follows from the random number generator that is passed in, so that a seed gives the same inputs again.
"""

from __future__ import annotations

import base64
import quopri
import re
from collections.abc import Callable, Sequence
from random import Random

LONGEST = 16_384
"""Octets of a mutated input; small ones are fast, and what is quadratic shows at this size already."""

_TOKEN = re.compile(rb"[A-Za-z0-9_.+@/-]+")
_NUMBER = re.compile(rb"[0-9]+")

NUMBERS = (
    b"0 -1 1 2 9 31 59 60 61 99 255 256 366 400 999 1000 1900 1970 2038 2200 9999 10000 32767 65536 2147483647 "
    b"2147483648 4294967296 9223372036854775807 9223372036854775808 99999999999999999999 00000000 19700101 20261231 "
    b"20260229 99991231 00010101"
).split()

_WORDS = """
BEGIN END VCALENDAR VEVENT VTODO VJOURNAL VFREEBUSY VTIMEZONE VALARM STANDARD DAYLIGHT METHOD REPLY COUNTER REFRESH
REQUEST CANCEL ADD PUBLISH DECLINECOUNTER UID ATTENDEE ORGANIZER DTSTAMP DTSTART DTEND DURATION DUE RECURRENCE-ID RRULE
RDATE EXDATE SEQUENCE STATUS SUMMARY LOCATION COMMENT REQUEST-STATUS PERCENT-COMPLETE COMPLETED TZID TZOFFSETFROM
TZOFFSETTO TZNAME PRODID VERSION X-MICROSOFT-CDO-APPT-SEQUENCE X-MICROSOFT-CDO-REPLYTIME X-MS-OLK-ORIGINALSTART
X-CALENDARSERVER-PRIVATE-COMMENT PARTSTAT=ACCEPTED PARTSTAT=DELEGATED PARTSTAT= CN= EMAIL= MEMBER= DELEGATED-TO=
DELEGATED-FROM= SENT-BY= RANGE=THISANDFUTURE VALUE=DATE VALUE=PERIOD VALUE=DATE-TIME RSVP=TRUE X-NUM-GUESTS=
X-RESPONSE-COMMENT= LANGUAGE= TZID=Europe/Berlin FREQ=SECONDLY FREQ=YEARLY FREQ=DAILY FREQ=WEEKLY FREQ=MONTHLY
INTERVAL=0 COUNT=2 BYDAY=-1SU BYDAY=53MO BYSETPOS=-366 BYWEEKNO=53 BYMONTH=2 BYMONTHDAY=30 BYHOUR=24 BYSECOND=60
UNTIL=00000000 WKST=XX mailto: MAILTO: mailto:a?cc=b %0d%0a %00 urn:uuid: invalid:nomail /o=x/cn=y America . ..
../etc/passwd (GMT+01.00) UTC+1 America/Argentina/Ushuaia /freeassociation.sourceforge.net/Europe/Paris
20261201T090000Z 20261201T090000 20261201 T 20261301T990000 P PT -P1W P99999999999D PT1H/ -1e5 +9999 From: To:
Content-Type: Content-Transfer-Encoding: Content-Disposition: Date: Message-ID: Subject: text/calendar text/plain
message/rfc822 message/delivery-status multipart/mixed multipart/digest multipart/report multipart/alternative
application/ms-tnef application/ics charset= boundary= method= name*0*= filename*=utf-8''x base64 quoted-printable 8bit
binary utf-16 utf-7 iso-2022-jp gb18030 cp037 =?utf-8?q?=0d=0a?= =?utf-8?b?////?= =?x?q??= Auto-Submitted:
Final-Recipient: rfc822; Action: failed Status: 5.1.1 dmarc=pass dkim=fail header.from= header.d= smtp.mailfrom=
mx.example.com; a@b a@b.example
"""
_SIGNS = (
    *("\0", "\x1b[2J", "\x7f", "\x85", "\u2028", "\u202e", "\ufeff", "\ud800", "\U0010ffff", "ß", "İ", "ﬁ", "１"),
    *('"', '""', "\\", "\\n", "\\,", "^n", "^'", "^^", ";", ":", ",", "=", "<", ">", "(", ")", "[", "@", "\t"),
    *("\r", "\n", "\r\n", "\r\r\n", "\r\n ", "\r\n\t", "\n\n", "\r\n\r\n", "--", "\r\n--", "\r\n.\r\n"),
    *("%", "\xa0", "W.\xa0Europe Standard Time"),
)
WORDS = [word.encode("utf-8", "surrogatepass") for word in (*_WORDS.split(), *_SIGNS)]

LINES = [
    line.encode()
    for line in (
        "BEGIN:VCALENDAR",
        "END:VCALENDAR",
        "BEGIN:VEVENT",
        "END:VEVENT",
        "BEGIN:VALARM",
        "BEGIN:VTIMEZONE",
        "METHOD:REPLY",
        "METHOD:COUNTER",
        "UID:a@example.com",
        "ATTENDEE;PARTSTAT=ACCEPTED:mailto:kim@example.org",
        'ATTENDEE;CN="a:b;c,d";PARTSTAT=DELEGATED;DELEGATED-TO="mailto:x@example.org","mailto:y@example.org":k@example.org',
        "ORGANIZER;CN=x:mailto:meetings@example.com",
        "RECURRENCE-ID;TZID=Europe/Berlin:20261202T100000",
        "RECURRENCE-ID;RANGE=THISANDFUTURE;VALUE=DATE:20261202",
        "RRULE:FREQ=DAILY;UNTIL=20300101T000000Z;BYSETPOS=1;BYDAY=MO,TU",
        "RDATE;VALUE=PERIOD:20261202T100000Z/PT1H,20261203T100000Z/20261203T110000Z",
        "DURATION:P1W2DT3H4M5S",
        "SEQUENCE:2147483648",
        "DTSTAMP:99991231T235960Z",
        "X-RESPONSE:;;;===:::",
        "Content-Type: text/calendar; charset=utf-16; method=REPLY",
        "Content-Type: multipart/mixed; boundary=b",
        "Content-Type: message/delivery-status",
        "Content-Transfer-Encoding: base64",
        "Content-Transfer-Encoding: quoted-printable",
        "Content-Disposition: attachment; filename*0*=utf-8''%0d%0a; filename*1=.ics",
        "From: =?utf-8?q?=00=0d=0a?= <a@example.org> (x)",
        "From: a@example.org <b@example.org>",
        "Auto-Submitted: auto-replied",
        "Authentication-Results: mx.example.com; dmarc=pass header.from=example.org",
        'Authentication-Results: mx.example.com; (((( dkim=pass header.i=@example.org "\\',
        "Final-Recipient: utf-8; \\x{110000}@example.org",
        "Original-Recipient: rfc822;+2B+3Dx@example.org",
        "X-Failed-Recipients: a@example.org, b@example.org",
        "--b",
        "--b--",
        "",
        " ",
        "\t",
    )
]

Mutation = Callable[[Random, bytes, Sequence[bytes]], bytes]


def mutate(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """`data` with one to a dozen faults; `others` are inputs that pieces may come from."""
    times = 1
    while times < 12 and random.random() < 0.45:
        times += 1
    for _ in range(times):
        data = random.choice(MUTATIONS)(random, data, others)[:LONGEST]
    return data


# -- lines


def _lines(data: bytes) -> list[bytes]:
    return data.splitlines(keepends=True) or [b""]


def drop_line(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    lines = _lines(data)
    at = random.randrange(len(lines))
    del lines[at : at + random.choice((1, 1, 1, 2, 5))]
    return b"".join(lines)


def repeat_line(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    lines = _lines(data)
    at = random.randrange(len(lines))
    times = random.choice((1, 1, 2, 7, 60))
    return b"".join([*lines[:at], *[lines[at]] * times, *lines[at:]])


def swap_lines(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    lines = _lines(data)
    one, two = random.randrange(len(lines)), random.randrange(len(lines))
    lines[one], lines[two] = lines[two], lines[one]
    return b"".join(lines)


def foreign_line(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    lines = _lines(data)
    theirs = _lines(random.choice(others))
    at = random.randrange(len(lines) + 1)
    first = random.randrange(len(theirs))
    return b"".join([*lines[:at], *theirs[first : first + random.choice((1, 1, 2, 8))], *lines[at:]])


def known_line(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    lines = _lines(data)
    at = random.randrange(len(lines) + 1)
    return b"".join([*lines[:at], random.choice(LINES) + b"\r\n", *lines[at:]])


def first_line(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """A header where headers stand."""
    return random.choice(LINES) + b"\r\n" + data


def wrap_lines(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """A component around what was none, or once more around one."""
    lines = _lines(data)
    one, two = sorted((random.randrange(len(lines) + 1), random.randrange(len(lines) + 1)))
    name = random.choice((b"VCALENDAR", b"VEVENT", b"VALARM", b"VTIMEZONE", b"STANDARD", b"X-A"))
    return b"".join([*lines[:one], b"BEGIN:" + name + b"\r\n", *lines[one:two], b"END:" + name + b"\r\n", *lines[two:]])


def fold_line(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = random.randrange(len(data) + 1)
    return (
        data[:at]
        + random.choice((b"\r\n ", b"\r\n\t", b"\n ", b"\r\n", b"\n", b"\r\r\n", b"\r", b"\\\r\n"))
        + data[at:]
    )


def other_breaks(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    new = random.choice((b"\n", b"\r", b"\r\r\n", b"\n\n", b"\r\n ", "\u2028".encode(), b""))
    return data.replace(b"\r\n", b"\n").replace(b"\n", new)


# -- tokens


def swap_token(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """A word of the input becomes another one: of this input, of another, or a known one."""
    source = random.choice((data, random.choice(others), b""))
    start = random.randrange(len(data) + 1)
    match = _TOKEN.search(data, start)
    theirs = _TOKEN.search(source, random.randrange(len(source) + 1))
    word = theirs[0] if theirs else random.choice(WORDS)
    if match is None:
        return data + word
    return data[: match.start()] + word + data[match.end() :]


def known_token(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = random.randrange(len(data) + 1)
    times = random.choice((1, 1, 1, 1, 3, 40))
    return data[:at] + random.choice(WORDS) * times + data[at:]


def other_value(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """What stands behind a colon, an equals sign or a semicolon becomes something else."""
    at = random.randrange(len(data) + 1)
    mark = data.find(random.choice((b":", b"=", b";", b",")), at)
    if mark < 0:
        return data
    end = data.find(b"\n", mark)
    end = len(data) if end < 0 else end
    return data[: mark + 1] + random.choice((b"", random.choice(WORDS), random.choice(NUMBERS))) + data[end:]


def other_number(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    match = _NUMBER.search(data, random.randrange(len(data) + 1))
    if match is None:
        return data
    return data[: match.start()] + random.choice(NUMBERS) + data[match.end() :]


def other_case(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    start = random.randrange(len(data) + 1)
    end = start + random.choice((1, 8, 80))
    return data[:start] + data[start:end].swapcase() + data[end:]


# -- octets


def flip(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    if not data:
        return data
    at = random.randrange(len(data))
    return data[:at] + bytes((data[at] ^ (1 << random.randrange(8)),)) + data[at + 1 :]


def insert(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + random.randbytes(random.choice((1, 1, 2, 4, 16))) + data[at:]


def delete(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + data[at + random.choice((1, 1, 2, 4, 16, 64, 500)) :]


def repeat(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = random.randrange(len(data) + 1)
    piece = data[at : at + random.choice((1, 2, 8, 40))]
    return data[:at] + piece * random.choice((2, 3, 20, 300)) + data[at:]


def cut(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] if random.random() < 0.7 else data[at:]


def splice(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    other = random.choice(others)
    return data[: random.randrange(len(data) + 1)] + other[random.randrange(len(other) + 1) :]


def whole_number(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """A number as formats of octets write it, such as TNEF."""
    at = random.randrange(len(data) + 1)
    size = random.choice((1, 2, 4, 8))
    top = 1 << 8 * size
    number = random.choice((0, 1, 2, 127, 128, 255, top // 2 - 1, top // 2, top - 1))
    return data[:at] + (number % top).to_bytes(size, "little") + data[at + size :]


# -- encodings


def other_encoding(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """Everything from somewhere on in another encoding than the input says."""
    at = random.choice((0, max(data.find(b"\r\n\r\n") + 4, 0), max(data.find(b"BEGIN:VCALENDAR"), 0)))
    head, tail = data[:at], data[at:]
    kind = random.randrange(6)
    if kind == 0:
        return head + base64.encodebytes(tail)
    if kind == 1:
        return head + quopri.encodestring(tail)
    if kind == 2:
        return head + tail.decode("latin-1").encode("utf-16")
    if kind == 3:
        return head + tail.decode("latin-1").encode("utf-8")
    if kind == 4:
        name = random.choice(("utf-16-be", "utf-32", "utf-7", "cp500"))
        encoded: bytes = tail.decode("utf-8", "replace").encode(name, "replace")
        return head + encoded
    return head + b"\xef\xbb\xbf" + tail


def other_charset(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    name = random.choice((b"utf-16", b"utf-7", b"iso-2022-kr", b"utf-32", b"gb18030", b"big5", b"cp437", b"zip", b""))
    return re.sub(rb'charset="?[A-Za-z0-9_-]+', b"charset=" + name, data, count=1)


MUTATIONS: tuple[Mutation, ...] = (
    *(drop_line, repeat_line, swap_lines, foreign_line, known_line, first_line, wrap_lines, fold_line),
    *(swap_token, swap_token, known_token, known_token, other_value, other_value, other_number, other_case),
    *(flip, insert, delete, repeat, cut, splice, whole_number, other_breaks, other_encoding, other_charset),
)
