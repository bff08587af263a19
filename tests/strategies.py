"""Hypothesis strategies for iCalendar and iTIP mail: sound ones written in every way that is allowed, and broken ones.

A sound answer comes with what it says (`Said`), so that a test can compare what was read with what was meant.
"""

from __future__ import annotations

import base64
import quopri
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from itipd.itip.contentlines import escape

METHODS = ("REPLY", "COUNTER", "REFRESH")
PARTSTATS = ("ACCEPTED", "DECLINED", "TENTATIVE", "DELEGATED")
ORGANIZER = "meetings@example.com"
CHARSETS = ("utf-8", "UTF-8", "us-ascii", "iso-8859-1", "windows-1252")


@dataclass(frozen=True)
class Said:
    """What an answer says."""

    method: str
    uid: str
    attendee: str
    partstat: str
    sequence: int
    dtstamp: datetime
    comment: str
    name: str


# -- words


def characters(*, lines: bool = True) -> SearchStrategy[str]:
    """A character that a person may write: no control, no lone surrogate; a line's end where `lines`."""
    # What some program takes for the end of a line is no part of a sound text; it is for `raw_texts`.
    beyond = st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"))
    special = st.sampled_from(list(';:,"\\^=()<>@ äß漢🎉') + (["\n"] if lines else []))
    return st.one_of(beyond, special)


def texts(size: int = 60, *, lines: bool = True) -> SearchStrategy[str]:
    """A text without blanks around it, as it comes back from a TEXT value."""
    return st.text(characters(lines=lines), max_size=size).map(str.strip)


def raw_texts(size: int = 60) -> SearchStrategy[str]:
    """Any text: NUL, breaks of every kind, escapes, turns of direction, encoded words, lone surrogates."""
    hostile = ["\0", "\r", "\n", "\r\n", "\x1b[2J", "\x85", "\u2028", "\u202e", "\ud800", "=?utf-8?q?=0a?=", "<script>"]
    return st.lists(st.one_of(st.text(max_size=8), st.sampled_from(hostile)), max_size=size // 8).map("".join)


def addresses() -> SearchStrategy[str]:
    """A canonical address."""
    local = st.from_regex(r"[a-z0-9][a-z0-9._+-]{0,10}[a-z0-9]", fullmatch=True).filter(lambda text: ".." not in text)
    return st.builds("{}@{}".format, local, st.sampled_from(("example.org", "example.net", "mail.example.com")))


def moments() -> SearchStrategy[datetime]:
    """An instant of this century, in UTC, to the second."""
    return st.integers(0, 3_000_000_000).map(
        lambda number: datetime(2000, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
    )


def uids() -> SearchStrategy[str]:
    """A UID as programs make them, and as a text may be."""
    plain = st.from_regex(r"[A-Za-z0-9-]{1,40}(@example\.com)?", fullmatch=True)
    return st.one_of(plain, texts(40, lines=False).filter(bool))


# -- content lines


def cased(word: str) -> SearchStrategy[str]:
    """A word in capitals, small letters, or a mixture: names and parameters do not care (RFC 5545 §2)."""
    return st.sampled_from((word, word, word.lower(), word.title()))


def parameter(text: str) -> str:
    """A value by RFC 6868, in quotes."""
    text = text.replace("^", "^^").replace("\n", "^n").replace('"', "^'")
    return f'"{text}"'


@st.composite
def folded(draw: DrawFn, lines: Sequence[str]) -> bytes:
    """Content lines, folded where the writer likes it (RFC 5545 §3.1), also inside a character's octets."""
    written = []
    for line in lines:
        octets = line.encode()
        places = draw(st.lists(st.integers(1, max(len(octets) - 1, 1)), max_size=3, unique=True))
        blank = draw(st.sampled_from((b"\r\n ", b"\r\n\t")))
        ends = sorted({0, len(octets), *(place for place in places if place < len(octets))})
        written.append(blank.join(octets[start:end] for start, end in pairwise(ends)))
    return b"".join(line + b"\r\n" for line in written)


@st.composite
def answers(draw: DrawFn, method: str | None = None) -> tuple[Said, bytes]:
    """A sound REPLY, COUNTER or REFRESH of one attendee to one meeting, in UTF-8, and what it says."""
    said = Said(
        method=method or draw(st.sampled_from(METHODS)),
        uid=draw(uids()),
        attendee=draw(addresses()),
        partstat=draw(st.sampled_from(PARTSTATS)),
        sequence=draw(st.integers(0, 2**31 - 1)),
        dtstamp=draw(moments()),
        comment=draw(texts()),
        name=draw(texts(30)),
    )
    mailto = draw(st.sampled_from(("mailto:", "MAILTO:", "mailto:")))
    params = [
        f"{draw(cased('PARTSTAT'))}={draw(cased(said.partstat))}",
        f"CN={parameter(said.name)}",
        "X-ANYTHING=1",
        "RSVP=FALSE",
    ]
    params = draw(st.permutations(params))
    if said.partstat == "DELEGATED":
        params = [*params, 'DELEGATED-TO="mailto:deputy@example.org"']
    lines = [
        f"{draw(cased('UID'))}:{escape(said.uid)}",
        f"DTSTAMP:{said.dtstamp:%Y%m%dT%H%M%SZ}",
        f"SEQUENCE:{said.sequence}",
        f"ORGANIZER:{mailto}{ORGANIZER}",
        f"{draw(cased('ATTENDEE'))};{';'.join(params)}:{mailto}{said.attendee}",
        *([f"COMMENT:{escape(said.comment)}"] if said.comment else []),
        *draw(st.lists(st.sampled_from(("X-A;B=C:d", "PRIORITY:5", "X-EMPTY:", "CLASS:PUBLIC")), max_size=2)),
    ]
    if said.method == "COUNTER":
        lines += ["DTSTART:20261202T090000Z", "DTEND:20261202T100000Z"]
    frame = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//example.org//strategies//EN", f"METHOD:{said.method}"]
    whole = [*frame, "BEGIN:VEVENT", *draw(st.permutations(lines)), "END:VEVENT", "END:VCALENDAR"]
    return said, draw(folded(whole))


def broken_calendars() -> SearchStrategy[bytes]:
    """Lines that look like a calendar's and keep no rule."""
    names = "BEGIN END METHOD UID ATTENDEE ORGANIZER DTSTAMP SEQUENCE RECURRENCE-ID RRULE DTSTART DURATION COMMENT X-A"
    values = st.one_of(
        raw_texts(),
        st.sampled_from(
            "VCALENDAR VEVENT VTODO VTIMEZONE VALARM REPLY COUNTER mailto:a@example.org 20261201T090000Z 20261301 "
            "FREQ=SECONDLY;INTERVAL=0 FREQ=DAILY P1D PT -1 99999999999999999999 Europe/Berlin".split()
        ),
    )
    keys = st.sampled_from(
        'TZID=America TZID="x PARTSTAT=ACCEPTED CN=a:b;c VALUE=DATE RANGE=THISANDFUTURE X ='.split(" ")
    )
    line = st.builds(
        lambda name, params, value: ";".join([name, *params]) + ":" + value,
        st.sampled_from(names.split()),
        st.lists(keys, max_size=2),
        values,
    )
    ends = st.sampled_from(("\r\n", "\n", "\r", "\r\r\n", "\r\n "))
    body = st.lists(st.builds(str.__add__, line, ends), max_size=25).map("".join)
    return st.builds(
        lambda head, text: (head + text).encode("utf-8", "surrogatepass"),
        st.sampled_from(("", "BEGIN:VCALENDAR\r\n", "\ufeffBEGIN:VCALENDAR\nMETHOD:REPLY\nBEGIN:VEVENT\n")),
        body,
    )


# -- mails


def encoded(data: bytes, how: str) -> tuple[bytes, bytes]:
    """A body in a transfer encoding, and the header that names it."""
    if how == "base64":
        return base64.encodebytes(data).replace(b"\n", b"\r\n"), b"Content-Transfer-Encoding: base64\r\n"
    if how == "quoted-printable":
        text = quopri.encodestring(data.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
        return text, b"Content-Transfer-Encoding: quoted-printable\r\n"
    return data, b"Content-Transfer-Encoding: 8bit\r\n" if how == "8bit" else b""


@st.composite
def parts(draw: DrawFn, data: bytes, method: str, depth: int = 0) -> bytes:
    """A MIME part (headers and body) that holds the calendar once: by itself, or in multiparts of any kind."""
    if depth < 4 and draw(st.booleans()):
        kind = draw(st.sampled_from(("mixed", "alternative", "related", "signed")))
        boundary = b"=_%d_%d" % (depth, draw(st.integers(0, 99)))
        inner = [draw(parts(data, method, depth + 1))]
        texts_ = st.sampled_from(
            (b"Content-Type: text/plain\r\n\r\nSee you.\r\n", b"\r\n", b"Content-Type: text/html\r\n\r\n<p>\r\n")
        )
        inner = [*draw(st.lists(texts_, max_size=2)), *inner, *draw(st.lists(texts_, max_size=1))]
        body = b"".join(b"--" + boundary + b"\r\n" + one + b"\r\n" for one in inner)
        head = b"Content-Type: multipart/" + kind.encode() + b'; boundary="' + boundary + b'"\r\n\r\n'
        return head + body + b"--" + boundary + b"--\r\n"
    body, header = encoded(data, draw(st.sampled_from(("base64", "quoted-printable", "8bit"))))
    types = ("text/calendar; charset=utf-8", f"text/calendar; method={method}; charset=UTF-8", "application/ics")
    kind = draw(st.sampled_from((*types, 'application/octet-stream; name="invite.ics"')))
    return b"Content-Type: " + kind.encode() + b"\r\n" + header + b"\r\n" + body


@st.composite
def itip_mails(draw: DrawFn) -> tuple[Said, bytes]:
    """A sound iTIP mail (RFC 6047) and what its answer says."""
    said, data = draw(answers())
    headers = [
        b"From: " + said.attendee.encode(),
        b"To: " + ORGANIZER.encode(),
        b"Message-ID: <%d@example.org>" % draw(st.integers(0, 10**9)),
        b"Date: Fri, 20 Nov 2026 08:00:00 +0000",
        b"MIME-Version: 1.0",
    ]
    head = b"".join(line + b"\r\n" for line in draw(st.permutations(headers)))
    return said, head + draw(parts(data, said.method))


@st.composite
def broken_mails(draw: DrawFn) -> bytes:
    """Headers that keep no rule, and a body that may hold anything."""
    names = (
        "From To Subject Date Message-ID Content-Type Content-Transfer-Encoding Content-Disposition Received".split()
    )
    values = st.one_of(
        raw_texts(),
        st.sampled_from(
            (
                *(
                    'text/calendar; charset="',
                    "multipart/mixed; boundary=b",
                    "multipart/mixed; boundary=",
                    "message/rfc822",
                ),
                *(
                    "text/calendar; charset=utf-16; method=REPLY",
                    "base64",
                    "quoted-printable",
                    "x; filename*=utf-8''%00.ics",
                ),
                *("=?utf-8?b?////?= <a@example.org>", "a@example.org <b@example.org>", "Fri, 99 Nov 20266 88:00"),
            )
        ),
    )
    line = st.builds("{}: {}\r\n".format, st.sampled_from(names), values)
    head = "".join(draw(st.lists(line, max_size=8))).encode("utf-8", "surrogatepass")
    pieces = st.one_of(
        broken_calendars(), st.sampled_from((b"--b\r\n", b"--b--\r\n", b"\r\n", head)), st.binary(max_size=40)
    )
    return head + b"\r\n" + b"".join(draw(st.lists(pieces, max_size=4)))
