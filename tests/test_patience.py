"""What a patient person would understand of a mail: each tolerance has its quirk (rules.md §1.4)."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable

import pytest

from itipd.itip.model import Fault, Message
from itipd.mail.reading import Reading, ReadSettings, read_mail

ANSWER = "ATTENDEE;PARTSTAT=ACCEPTED:mailto:bob@example.com"
TYPE = "text/calendar; method=REPLY; charset=utf-8"


def calendar(*lines: str, attendee: str = ANSWER, method: str = "METHOD:REPLY", uid: str = "UID:m1@example.net") -> str:
    """Bob's answer; `lines` stand in its VEVENT, `method` is a whole line."""
    event = ["BEGIN:VEVENT", uid, "DTSTAMP:20261120T090000Z", "SEQUENCE:1", "ORGANIZER:mailto:meetings@example.com"]
    head = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Example//Client//EN", *([method] if method else [])]
    return "\r\n".join([*head, *event, *lines, attendee, "END:VEVENT", "END:VCALENDAR", ""])


def mail(body: str, kind: str = TYPE, *headers: str) -> bytes:
    head = ["From: Bob <bob@example.com>", "To: meetings@example.com", "Message-ID: <b@example.com>", *headers]
    return "\r\n".join([*head, *([f"Content-Type: {kind}"] if kind else []), "", body]).encode()


def read(raw: bytes) -> Reading:
    return read_mail(raw, sender="bob@example.com", recipients=(), submission=False, settings=ReadSettings())


def understood(raw: bytes) -> tuple[str, str, str | None, str | None, set[str]]:
    """UID, who answers, how, which instance, and the quirks."""
    found = read(raw)
    (message,) = found.messages
    assert isinstance(message, Message), message
    (who,) = message.attendees
    rid = message.rid.rid if message.rid is not None else None
    assert message.method == "REPLY"
    return message.uid, who.address, who.one("PARTSTAT"), rid, {*message.quirks, *found.quirks}


ATTENDEES = {
    "words around the address": ("mailto:Bob Baker <bob@example.com>", "address_in_words"),
    "apostrophes": ("mailto:'bob@example.com'", "address_in_words"),
    "quotes": ('mailto:"bob@example.com"', "address_in_words"),
    "a semicolon behind it": ("mailto:bob@example.com;", "address_in_words"),
    "another scheme of mail": ("SMTP:bob@example.com", "address_in_words"),
    "slashes of another scheme": ("mailto://bob@example.com", "address_in_words"),
    "no scheme": ("bob@example.com", "no_mailto"),
}
PARAMETERS = {
    "EMAIL": ("EMAIL=bob@example.com:urn:uuid:1", "address_in_parameter"),
    "X-CALENDARSERVER-EMAIL": ("X-CALENDARSERVER-EMAIL=bob@example.com:/principals/bob/", "address_in_parameter"),
    "CN": ("CN=bob@example.com:invalid:nomail", "address_in_parameter"),
    "words in CN": ("CN=Bob Baker <bob@example.com>:invalid:nomail", "address_in_parameter"),
}


@pytest.mark.parametrize(
    ("line", "quirk"),
    [(f"ATTENDEE;PARTSTAT=ACCEPTED:{value}", quirk) for value, quirk in ATTENDEES.values()]
    + [(f"ATTENDEE;PARTSTAT=ACCEPTED;{value}", quirk) for value, quirk in PARAMETERS.values()],
    ids=[*ATTENDEES, *PARAMETERS],
)
def test_who_answers_is_found_however_it_is_written(line: str, quirk: str) -> None:
    """An ATTENDEE with one address somewhere in it is that person's, with a quirk that says where it was."""
    assert understood(mail(calendar(attendee=line))) == ("m1@example.net", "bob@example.com", "ACCEPTED", None, {quirk})


@pytest.mark.parametrize(
    "value",
    [
        "mailto:alice@example.org <bob@example.com>",
        "mailto:bob@example.com?cc=alice@example.org",
        "mailto:<bob@example.com> <alice@example.org>",
        "mailto:bob@example.com alice@example.org",
        "mailto:bob@example.com%0d%0aBcc:alice@example.org",
        "mailto:bob＠example.com",
        "invalid:nomail",
    ],
)
def test_what_has_two_readings_has_none(value: str) -> None:
    """hardening §22: two addresses, a query or a look-alike name nobody, however patient the reader."""
    (fault,) = read(mail(calendar(attendee=f"ATTENDEE;PARTSTAT=ACCEPTED:{value}"))).messages
    assert isinstance(fault, Fault)
    assert fault.reason == "no_attendee"


TYPES = [
    "TEXT/CALENDAR; METHOD=REPLY",
    "text/calendar (an answer); method=REPLY",
    "text/x-vcalendar",
    "text/vcalendar",
    "text/x-icalendar",
    "application/ics",
    "application/x-extension-ics",
    "application/octet-stream; name=Answer.ICS",
    "application/octet-stream; name=answer.vcs",
    'application/octet-stream; name="=?utf-8?b?WnVzYWdlLmljcw==?="',
]


@pytest.mark.parametrize("kind", TYPES)
def test_every_name_of_a_calendar_is_one(kind: str) -> None:
    """rules.md §1.1: the types and file names under which clients send a calendar."""
    assert understood(mail(calendar(), kind))[1:3] == ("bob@example.com", "ACCEPTED")


@pytest.mark.parametrize("kind", ["text/plain; charset=us-ascii", "", "application/octet-stream"])
def test_a_calendar_that_nobody_declares_is_found_by_how_it_begins(kind: str) -> None:
    """A list server took the type away: what begins with BEGIN:VCALENDAR is a calendar, and no note of the person's."""
    assert understood(mail(calendar(), kind))[4] == {"undeclared_calendar"}
    assert read(mail(calendar(), kind)).note is None


def test_a_calendar_in_the_middle_of_a_text_is_quoted() -> None:
    """Only a part that begins as a calendar is one: what somebody quotes in a letter changes nothing."""
    (fault,) = read(mail("Did you get this?\r\n\r\n" + calendar(), "text/plain")).messages
    assert isinstance(fault, Fault)
    assert fault.reason == "not_calendar"


def indented(text: str) -> str:
    return "\r\n".join(f"    {line}" if line else line for line in text.split("\r\n"))


SHAPES: dict[str, tuple[Callable[[], bytes], set[str]]] = {
    "indented as a whole": (lambda: mail(indented(calendar())), {"indented"}),
    "an empty line after each": (lambda: mail(calendar().replace("\r\n", "\r\n\r\n")), set()),
    "blanks at the ends of lines": (lambda: mail(calendar().replace("\r\n", " \r\n")), set()),
    "METHOD inside the VEVENT": (
        lambda: mail(calendar("METHOD:REPLY", method=""), "text/calendar"),
        {"method_misplaced"},
    ),
    "names with dots and slashes behind UID": (
        lambda: mail(calendar(uid="UID:m1@example.net\r\nX-RADICALE.NAME:a\r\nX-FOO/BAR;A=B:c")),
        set(),
    ),
    "quoted-printable nobody decoded": (
        lambda: mail(calendar("X-A;B=3Dc:d", attendee=ANSWER.replace("=", "=3D"))),
        {"encoding"},
    ),
}


@pytest.mark.parametrize(("raw", "quirks"), SHAPES.values(), ids=SHAPES.keys())
def test_odd_shapes_are_read(raw: Callable[[], bytes], quirks: set[str]) -> None:
    """What gateways and clients do to a whole calendar is undone, and UID and answer come out right."""
    assert understood(raw()) == ("m1@example.net", "bob@example.com", "ACCEPTED", None, quirks)


def test_a_name_that_begins_with_3d_stays() -> None:
    """Quoted-printable is only undone where every parameter shows it: `CN=3D Systems` is somebody's name."""
    (message,) = read(mail(calendar("X-A;B=3Dc:d", attendee=ANSWER.replace(";", ";CN=3D Systems;")))).messages
    assert isinstance(message, Message)
    assert message.attendees[0].one("CN") == "3D Systems"


@pytest.mark.parametrize(
    ("value", "quirk"),
    [
        ("20261207T100000+0100", "offset_time"),
        ("2026-12-07T10:00:00+01:00", "offset_time"),
        ("20261207T040000-0500", "offset_time"),
        ("2026-12-07T09:00:00Z", None),
        ("20261207T0900Z", None),
    ],
)
def test_times_with_an_offset_are_instants(value: str, quirk: str | None) -> None:
    """RFC 5545 §3.3.5 forbids `+0100`; it says clearly which instant is meant."""
    *_, rid, quirks = understood(mail(calendar(f"RECURRENCE-ID:{value}")))
    assert (rid, quirks) == ("20261207T090000Z", {quirk} - {None})


def test_an_offset_that_no_place_has_is_no_time() -> None:
    """More than fifteen hours from UTC is nowhere."""
    (fault,) = read(mail(calendar("RECURRENCE-ID:20261207T100000+9900"))).messages
    assert isinstance(fault, Fault)
    assert fault.reason == "malformed"


@pytest.mark.parametrize(
    ("status", "partstat"),
    [("CONFIRMED", "ACCEPTED"), ("DECLINED", "DECLINED"), ("TENTATIVE", "TENTATIVE"), ("NEEDS ACTION", "NEEDS-ACTION")],
)
def test_vcalendar_1_0_has_its_own_words(status: str, partstat: str) -> None:
    """vCalendar 1.0: STATUS on ATTENDEE is the answer, and the value is a name with the address in angle brackets."""
    text = (
        "BEGIN:VCALENDAR\r\nVERSION:1.0\r\nBEGIN:VEVENT\r\nUID:m1@example.net\r\nSEQUENCE:1\r\n"
        "SUMMARY;ENCODING=QUOTED-PRINTABLE:Caf=C3=A9 =\r\nund mehr\r\n"
        f"ATTENDEE;ROLE=ATTENDEE;STATUS={status}:Bob Baker <bob@example.com>\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
    uid, who, how, _, quirks = understood(mail(text, "text/x-vcalendar; method=REPLY"))
    assert (uid, who, how) == ("m1@example.net", "bob@example.com", partstat)
    assert {"vcalendar_status", "address_in_words"} <= quirks


def test_what_a_mail_forwards_is_shown_and_not_believed() -> None:
    """rules.md §2.1: an answer inside message/rfc822 changes nothing; the detail says what was in there."""
    inner = mail(calendar()).decode()
    (fault,) = read(mail(inner, "message/rfc822")).messages
    assert isinstance(fault, Fault)
    assert (fault.outcome, fault.reason) == ("no_action", "not_calendar")
    assert "(REPLY m1@example.net bob@example.com ACCEPTED) is not believed" in fault.detail


def test_what_cannot_be_shown_of_a_forwarded_mail_is_not() -> None:
    """A forwarded mail over a bound, or with no answer in it, is only said to be there."""
    for inner in ("X-A: b\r\n" * 600 + "\r\n", "Subject: hello\r\n\r\nHello", calendar()):
        (fault,) = read(mail(inner, "message/rfc822")).messages
        assert isinstance(fault, Fault)
        assert fault.detail == "no calendar part in the mail; a message that it forwards is not believed"


@pytest.mark.parametrize(
    ("tzid", "rid", "quirk"),
    [
        ("(GMT-08.00) Pacific Time (US & Canada)/Tijuana", "20260609T170000Z", "display_tzid"),
        ("(GMT+01.00) Sarajevo/Warsaw/Zagreb", "20260609T080000Z", "display_tzid"),
        ("(UTC+01:00) Amsterdam, Berlin, Bern, Rome", "20260609T080000Z", "display_tzid"),
        ("(UTC-05:00) Eastern Time (US & Canada)", "20260609T140000Z", "display_tzid"),
        ("(UTC+05:30) Chennai, Kolkata, Mumbai, New Delhi", "20260609T043000Z", "display_tzid"),
        ("(UTC+09:00) Berlin", "20260609T010000Z", "offset_tzid"),
        ("(UTC+01:00) Nowhere", "20260609T090000Z", "offset_tzid"),
        ("UTC+1", "20260609T090000Z", "offset_tzid"),
    ],
)
def test_outlooks_display_names_know_summer_time(tzid: str, rid: str, quirk: str) -> None:
    """The offset in the name is that of winter; the place behind it says when summer is, if it has that offset."""
    *_, found, quirks = understood(mail(calendar(f'RECURRENCE-ID;TZID="{tzid}":20260609T100000')))
    assert (found, quirks) == (rid, {quirk})


PARTS = f"--b1\r\nContent-Type: text/plain\r\n\r\nYes\r\n--b1\r\nContent-Type: {TYPE}\r\n\r\n{calendar()}\r\n--b1--\r\n"


def uuencoded(text: str, name: str = "invite.ics") -> str:
    data = text.encode()
    lines = [binascii.b2a_uu(data[at : at + 45]).decode().rstrip("\n") for at in range(0, len(data), 45)]
    return "\r\n".join([f"begin 644 {name}", *lines, "`", "end", ""])


def jcal(*properties: list[object]) -> str:
    """Bob's answer as RFC 7265 has it."""
    event = [
        ["uid", {}, "text", "m1@example.net"],
        ["dtstamp", {}, "date-time", "2026-11-20T09:00:00Z"],
        ["organizer", {}, "cal-address", "mailto:meetings@example.com"],
        ["attendee", {"partstat": "ACCEPTED"}, "cal-address", "mailto:bob@example.com"],
        ["sequence", {}, "integer", 1],
        *properties,
    ]
    head = [["version", {}, "text", "2.0"], ["prodid", {}, "text", "-//x//y"], ["method", {}, "text", "REPLY"]]
    return json.dumps(["vcalendar", head, [["vevent", event, []]]])


HIDDEN: dict[str, tuple[Callable[[], bytes], set[str]]] = {
    "UTF-7": (
        lambda: mail(calendar("COMMENT:Gesch+AOQ-ft"), "text/calendar; method=REPLY; charset=UTF-7"),
        {"charset"},
    ),
    "a charset that is not UTF-7": (
        lambda: mail(calendar("COMMENT:1+\xad"), "text/calendar; method=REPLY; charset=utf-7"),
        {"charset"},
    ),
    "uuencoded in a letter": (
        lambda: mail("My answer:\r\n\r\n" + uuencoded(calendar()) + "\r\nBob\r\n", "text/plain"),
        {"uuencoded"},
    ),
    "uuencoded as a part": (
        lambda: mail(uuencoded(calendar()), TYPE, "Content-Transfer-Encoding: x-uuencode"),
        set(),
    ),
    "another boundary than declared": (lambda: mail(PARTS, 'multipart/alternative; boundary="b2"'), {"boundary"}),
    "no boundary declared": (lambda: mail(PARTS, "multipart/mixed"), {"boundary"}),
    "a boundary too long": (lambda: mail(PARTS, f"multipart/mixed; boundary={'b' * 300}"), {"boundary"}),
    "no Content-Type at all": (lambda: mail(PARTS, ""), {"boundary"}),
    "text/plain with all its parts in sight": (
        lambda: mail("This is a multi-part message in MIME format.\r\n\r\n" + PARTS, "text/plain; charset=utf-8"),
        {"boundary"},
    ),
    "a multipart inside with another boundary": (
        lambda: mail(
            f"--a\r\nContent-Type: multipart/alternative; boundary=b2\r\n\r\n{PARTS}--a--\r\n",
            "multipart/mixed; boundary=a",
        ),
        {"boundary"},
    ),
    "no empty line before the calendar": (
        lambda: mail(PARTS.replace("utf-8\r\n\r\nBEGIN", "utf-8\r\nBEGIN"), "multipart/mixed; boundary=b1"),
        {"no_blank_line"},
    ),
    "no empty line in the whole mail": (
        lambda: mail(calendar(), TYPE).replace(b"utf-8\r\n\r\nBEGIN", b"utf-8\r\nBEGIN"),
        {"no_blank_line"},
    ),
    "base64 in two pieces": (
        lambda: mail(
            "".join(base64.encodebytes(piece.encode()).decode() for piece in (calendar()[:100], calendar()[100:])),
            TYPE,
            "Content-Transfer-Encoding: base64",
        ),
        set(),
    ),
    "base64 and a footer": (
        lambda: mail(
            base64.encodebytes((calendar() + "\r\n").encode()).decode() + "=\r\nScanned by us\r\n",
            TYPE,
            "Content-Transfer-Encoding: base64",
        ),
        set(),
    ),
    "no UTF-16 at all": (lambda: mail(calendar(), "text/calendar; method=REPLY; charset=utf-16"), {"charset"}),
    "jCal": (lambda: mail(jcal(), "application/calendar+json; method=REPLY"), {"jcal"}),
    "jCal, in base64, by its name": (
        lambda: mail(
            base64.encodebytes(jcal().encode()).decode(),
            "application/octet-stream; name=Reply.jcal",
            "Content-Transfer-Encoding: base64",
        ),
        {"jcal"},
    ),
}


@pytest.mark.parametrize(("raw", "quirks"), HIDDEN.values(), ids=HIDDEN.keys())
def test_a_calendar_is_found_where_a_person_would_see_it(raw: Callable[[], bytes], quirks: set[str]) -> None:
    """A wrong boundary, a lost header, an old encoding, another notation: it is read, and the quirk says how."""
    assert understood(raw()) == ("m1@example.net", "bob@example.com", "ACCEPTED", None, quirks)


def test_what_utf_7_says_is_read() -> None:
    """Its letters come out, in the calendar and in the note beside it."""
    (message,) = read(HIDDEN["UTF-7"][0]()).messages
    assert isinstance(message, Message)
    assert message.comment == "Geschäft"
    note = "--b\r\nContent-Type: text/plain; charset=utf-7\r\n\r\nGr+APwA3w-e\r\n"
    raw = mail(f"{note}--b\r\nContent-Type: {TYPE}\r\n\r\n{calendar()}--b--\r\n", "multipart/mixed; boundary=b")
    assert read(raw).note == "Grüße"


@pytest.mark.parametrize(
    "body",
    [
        "He sent me this:\r\n\r\n" + PARTS,
        PARTS.replace("text/calendar", "message/rfc822"),
        uuencoded(calendar(), "report.pdf"),
        uuencoded("no calendar", "invite.ics").replace("begin 644", "begin of"),
        json.dumps({"vcalendar": []}),
    ],
)
def test_what_only_looks_like_one_is_none(body: str) -> None:
    """Parts that somebody quotes, a forwarded mail in them, a file of another kind: nothing changes."""
    for kind in ("text/plain", "application/calendar+json"):
        (fault,) = read(mail(body, kind)).messages
        assert isinstance(fault, Fault)
        assert fault.reason == "not_calendar"


def test_boundaries_are_mended_a_few_times() -> None:
    """Broken multiparts in each other cost a copy each, so that only three are opened."""
    inner = PARTS
    for level in range(5):
        inner = f"--x{level}\r\nContent-Type: multipart/mixed; boundary=wrong\r\n\r\n{inner}--x{level}--\r\n"
    (fault,) = read(mail(inner, "multipart/mixed; boundary=wrong")).messages
    assert isinstance(fault, Fault)
    assert fault.reason == "not_calendar"
