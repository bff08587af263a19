"""compose: the mail that leaves (RFC 6047 §2.4-2.6; RFC 2047; CVE-2024-6923)."""

from __future__ import annotations

import email
import email.policy
import email.utils
import re
from dataclasses import replace
from datetime import UTC, datetime
from email.header import decode_header, make_header
from email.message import EmailMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from icalendar import Calendar

from itipd.itip.contentlines import escape, fold
from itipd.mail.compose import ComposeError, Outgoing, compose, message_id, return_path, token

ORGANIZER = "meetings@example.com"
GUEST = "bea@example.org"
AT = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)


def calendar(method: str = "REQUEST", *, summary: str = "Planning", lines: tuple[str, ...] = (), more: str = "") -> str:
    """A calendar as `render` makes it: one VEVENT with two ATTENDEEs, then `more` components."""
    event = (
        "BEGIN:VEVENT",
        "UID:plan-1@example.com",
        "DTSTAMP:20261120T080000Z",
        "SEQUENCE:2",
        "DTSTART;TZID=Europe/Berlin:20261201T100000",
        "DTEND;TZID=Europe/Berlin:20261201T110000",
        f"SUMMARY:{escape(summary)}",
        f"ORGANIZER;CN=Meetings:mailto:{ORGANIZER}",
        f"ATTENDEE;PARTSTAT=NEEDS-ACTION;RSVP=TRUE;CN=Bea:mailto:{GUEST}",
        "ATTENDEE;PARTSTAT=ACCEPTED;CN=A name that is long enough to be folded over two lines:mailto:carl@example.net",
        *lines,
        "END:VEVENT",
    )
    head = ("BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//itipd//EN", f"METHOD:{method}")
    return "".join(map(fold, (*head, *event))) + more + fold("END:VCALENDAR")


def mail(method: str = "REQUEST", **changes: object) -> Outgoing:
    """An Outgoing to GUEST whose calendar has this METHOD."""
    given = Outgoing(
        organizer=ORGANIZER,
        organizer_name="Meetings",
        uid="plan-1@example.com",
        method=method,
        rid="",
        sequence=2,
        reason="registered",
        summary="Planning",
        calendar=calendar(method),
        created_at=AT,
        recipient=GUEST,
        message_id="<abc123@example.com>",
        automatic=False,
    )
    return replace(given, **changes)  # type: ignore[arg-type]


def read(raw: bytes) -> EmailMessage:
    """The mail as the strictest parser of the standard library sees it, without any defect."""
    message = email.message_from_bytes(raw, policy=email.policy.SMTP)
    assert isinstance(message, EmailMessage)
    for part in message.walk():
        assert not part.defects, part.defects
        for name in part.keys():  # noqa: SIM118 - a message is no mapping
            assert not part[name].defects, (name, part[name].defects)
    return message


def text_of(raw: bytes, subtype: str) -> str:
    """The decoded body text/plain or text/html, lines ended by LF."""
    part = read(raw).get_body((subtype,))
    assert isinstance(part, EmailMessage)
    return str(part.get_content()).replace("\r\n", "\n")


def header_names(raw: bytes) -> list[str]:
    """The names of the lines that begin a header, read without any library."""
    head = raw.partition(b"\r\n\r\n")[0].decode()
    return [line.partition(":")[0] for line in head.split("\r\n") if line[:1] not in " \t"]


def test_structure() -> None:
    """A mail is mixed{alternative{plain, html, calendar}, .ics} and the calendar is the last alternative."""
    message = read(compose(mail()))
    types = [part.get_content_type() for part in message.walk()]
    expected = ["multipart/mixed", "multipart/alternative", "text/plain", "text/html", "text/calendar"]
    assert types == [*expected, "application/ics"]
    assert [part.get_filename() for part in message.iter_attachments()][-1] == "invite.ics"


@pytest.mark.parametrize("method", ["REQUEST", "CANCEL", "DECLINECOUNTER"])
def test_calendar_part(method: str) -> None:
    """The calendar part is the calendar, byte for byte, in base64, its method parameter equals METHOD."""
    message = read(compose(mail(method)))
    (part,) = (part for part in message.walk() if part.get_content_type() == "text/calendar")
    (copy,) = (part for part in message.walk() if part.get_content_type() == "application/ics")
    assert part.get_param("method") == method
    assert str(part.get_param("charset")).lower() == "utf-8"
    assert part["Content-Transfer-Encoding"] == "base64"
    body = part.get_payload(decode=True)
    assert isinstance(body, bytes)
    assert body == calendar(method).encode() == copy.get_payload(decode=True)
    assert Calendar.from_ical(body)["METHOD"] == method


def test_headers() -> None:
    """The headers say organizer, recipient, time of the decision and the class that Exchange looks for."""
    message = read(compose(mail()))
    assert message["From"] == "Meetings <meetings@example.com>"
    assert message["To"] == GUEST
    assert message["Subject"] == "Invitation: Planning"
    assert message["Date"].datetime == AT
    assert message["Message-ID"] == "<abc123@example.com>"
    assert message["Content-Class"] == "urn:content-classes:calendarmessage"
    assert message["MIME-Version"] == "1.0"


@pytest.mark.parametrize("automatic", [True, False])
def test_automatic(automatic: bool) -> None:
    """Mail that nobody asked for says so, to RFC 3834 and to Exchange; a person's invitation does not."""
    message = read(compose(mail(automatic=automatic)))
    assert message["Auto-Submitted"] == ("auto-generated" if automatic else None)
    assert message["X-Auto-Response-Suppress"] == ("All" if automatic else None)


def test_same_bytes() -> None:
    """The same Outgoing gives the same bytes; another recipient, another boundary."""
    first = compose(mail())
    assert compose(mail()) == first
    other = compose(mail(message_id="<other@example.com>"))
    boundaries = [re.findall(rb'boundary="([^"]+)"', raw) for raw in (first, other)]
    assert len({*boundaries[0], *boundaries[1]}) == 4


def test_lines_survive_every_relay() -> None:
    """Whatever the calendar holds, the mail is 7-bit, lines end with CRLF and are at most 78 long."""
    raw = compose(
        mail(calendar=calendar(summary="Größe 漢字 🎉 " * 30, lines=("X-LONG:" + "x" * 5000, "X-DOT:\\n.\\n.")))
    )
    assert raw.isascii()
    lines = raw.split(b"\r\n")
    assert max(map(len, lines)) <= 78
    assert not any(b"\r" in line or b"\n" in line for line in lines)
    assert not any(line.startswith(b".") for line in lines)


INJECTIONS = [
    "x\r\nBcc: eve@evil.test",
    "x\nBcc: eve@evil.test",
    "x\rBcc: eve@evil.test",
    "x\r\n\r\n<b>body</b>",
    "x\x00y",
    "x\x0bBcc: eve@evil.test",
    "x\x0cBcc: eve@evil.test",
    "x\x1cBcc: eve@evil.test",
    "x\x85Bcc: eve@evil.test",
    "x\u2028Bcc: eve@evil.test",
    "x\u2029Bcc: eve@evil.test",
    "=?utf-8?q?a=0d=0aBcc:_eve=40evil.test?=",
    "=?utf-8?b?YQ0KQmNjOiBldmVAZXZpbC50ZXN0?=",
    "==??utf-8?q?=0d=0aBcc:_eve=40evil.test?=",
    'x" <eve@evil.test>, "y',
    "x\\",
    'x\\" <eve@evil.test>',
    "ü =?utf-8?q?=0d=0aBcc:_eve=40evil.test?=",
    "\u202eevil\u202c",
]


@pytest.mark.parametrize("evil", INJECTIONS)
@pytest.mark.parametrize("where", ["summary", "name", "location", "comment", "uid", "description", "fallback"])
def test_no_injection(evil: str, where: str) -> None:
    """Text of the calendar never becomes a header, a recipient, a part or an encoded word of its own."""
    plain = header_names(compose(mail()))
    lines = (f"LOCATION:{escape(evil)}",) if where == "location" else ()
    lines = (f"DESCRIPTION:{escape(evil)}",) if where == "description" else lines
    given = mail(calendar=calendar(summary=evil if where == "summary" else "Planning", lines=lines))
    given = replace(
        given,
        organizer_name=evil if where == "name" else "Meetings",
        comment=evil if where == "comment" else None,
        uid=evil if where == "uid" else given.uid,
    )
    if where == "fallback":
        given = replace(given, calendar=calendar(summary=""), summary=evil)
    raw = compose(given)
    assert header_names(raw) == plain
    message = read(raw)
    assert [address.addr_spec for address in message["From"].addresses] == [ORGANIZER]
    assert [address.addr_spec for address in message["To"].addresses] == [GUEST]
    assert len(list(message.walk())) == 6
    # Written again by a program that decodes and encodes headers, it still has no further header (CVE-2024-6923).
    again = EmailMessage(policy=email.policy.SMTP)
    again["Subject"] = str(message["Subject"])
    again["From"] = str(message["From"])
    assert not re.search(rb"(?m)^Bcc:", again.as_bytes().replace(b"\r", b"\n"))
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e]", str(message["Subject"]) + str(message["From"]))


@settings(max_examples=150, deadline=None)
@given(summary=st.text(max_size=300), name=st.text(max_size=150))
def test_any_text(summary: str, name: str) -> None:
    """Any summary and any name give a mail with the same headers, one sender, and short 7-bit lines."""
    raw = compose(mail(calendar=calendar(summary=summary), organizer_name=name))
    assert header_names(raw) == header_names(compose(mail()))
    assert raw.isascii()
    assert max(map(len, raw.partition(b"\r\n\r\n")[0].split(b"\r\n"))) <= 140
    message = read(raw)
    assert [address.addr_spec for address in message["From"].addresses] == [ORGANIZER]
    assert str(message["Subject"]).startswith("Invitation: ")


@pytest.mark.parametrize(
    "summary",
    ["Planning", "Größe und Maß", "漢字" * 60, "🎉" * 50, "word " * 50, "x" * 200, "x" * 60 + " ü", "a?=b", 'quo"te\\'],
)
def test_subject_is_read_back(summary: str) -> None:
    """A reader of the mail sees the summary as it is, in whatever way it had to be encoded."""
    message = read(compose(mail(calendar=calendar(summary=summary))))
    assert message["Subject"] == f"Invitation: {summary.strip()}"


@pytest.mark.parametrize("name", ["Bo", 'Dr. "Bo"', "Bo, the Chair", "Jörg Müß", "日本" * 30, "back\\slash", "x" * 100])
def test_name_is_read_back(name: str) -> None:
    """The organizer's name arrives as it is, quoted or encoded."""
    raw = compose(mail(organizer_name=name))
    (address,) = read(raw)["From"].addresses
    assert address.addr_spec == ORGANIZER
    # Not address.display_name: the policy's parser keeps the blank between two encoded words (RFC 2047 §6.2 drops it).
    phrase, _, _ = email.message_from_bytes(raw)["From"].rpartition("<")
    decoded = str(make_header(decode_header(phrase.strip())))
    assert (email.utils.unquote(decoded) if name.isascii() and len(name) <= 60 else decoded) == name


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"recipient": "no address"}, "recipient"),
        ({"recipient": "a@example.org\r\nBcc: b@example.org"}, "recipient"),
        ({"recipient": "a@example.org> SIZE=1 <b@example.org"}, "recipient"),
        ({"recipient": '"a b"@example.org'}, "recipient"),
        ({"recipient": "a@b@example.org"}, "recipient"),
        ({"recipient": "a\u200b@example.org"}, "recipient"),
        ({"recipient": "a@bücher.example.org"}, "recipient"),
        ({"recipient": "a" * 250 + "@example.org"}, "recipient"),
        ({"recipient": ORGANIZER}, "recipient"),
        ({"organizer": "meetings@example.com, b@example.org"}, "organizer"),
        ({"message_id": "<a@b>\r\nBcc: b@example.org"}, "message_id"),
        ({"method": "REQUEST; charset=utf-7"}, "method"),
        ({"method": "CANCEL"}, "METHOD"),
        ({"language": "en\r\nBcc: b@example.org"}, "language"),
        ({"created_at": AT.replace(tzinfo=None)}, "created_at"),
        ({"calendar": "nothing"}, "calendar"),
        ({"calendar": calendar() * 2}, "calendar"),
        ({"line": "ATTENDEE:mailto:a@example.org\r\nX-EVIL:1"}, "line"),
        ({"line": "SUMMARY:x"}, "line"),
    ],
)
def test_refused(changes: dict[str, object], words: str) -> None:
    """What can never be a correct mail is refused by the name of the field."""
    with pytest.raises(ComposeError, match=words):
        compose(replace(mail(), **changes))  # type: ignore[arg-type]


def test_address_beyond_ascii() -> None:
    """An address with a non-ASCII local part stands in the header as it is (RFC 6532), the rest stays ASCII."""
    raw = compose(mail(recipient="jörg@example.org"))
    assert "\r\nTo: jörg@example.org\r\n".encode() in raw
    assert raw.replace("ö".encode(), b"").isascii()


def test_own_line() -> None:
    """With a line of the recipient's own, it is the only ATTENDEE of every component; alarms keep theirs."""
    alarm = ("BEGIN:VALARM", "ACTION:EMAIL", "ATTENDEE:mailto:alarm@example.com", "END:VALARM")
    second = "".join(map(fold, ("BEGIN:VEVENT", "RECURRENCE-ID:20261208T090000Z", "END:VEVENT")))
    given = mail("CANCEL", calendar=calendar("CANCEL", lines=alarm, more=second))
    line = f"ATTENDEE;CN=Bea of a house whose name is so long that it has to be folded somewhere:mailto:{GUEST}"
    (part,) = (p for p in read(compose(replace(given, line=line))).walk() if p.get_content_type() == "text/calendar")
    body = part.get_payload(decode=True)
    assert isinstance(body, bytes)
    assert max(map(len, body.split(b"\r\n"))) <= 75
    parsed = Calendar.from_ical(body)
    for event in parsed.walk("VEVENT"):
        assert event["ATTENDEE"] == f"mailto:{GUEST}"
    assert [alarm["ATTENDEE"] for alarm in parsed.walk("VALARM")] == ["mailto:alarm@example.com"]


def test_message_id() -> None:
    """The Message-ID is the same for the same mail, differs in every field, and belongs to the organizer's domain."""
    base = {"organizer": ORGANIZER, "uid": "u", "rid": "", "method": "REQUEST", "sequence": 1, "recipient": GUEST}
    others = {
        "organizer": "x@example.com",
        "uid": "u2",
        "rid": "20261201",
        "method": "CANCEL",
        "sequence": 2,
        "recipient": "c@example.org",
    }
    first = message_id(**base, created_at=AT)  # type: ignore[arg-type]
    assert first == message_id(**base, created_at=AT)  # type: ignore[arg-type]
    assert re.fullmatch(r"<[a-z2-7]{26}@example\.com>", first)
    ids = {message_id(**{**base, key: value}, created_at=AT) for key, value in others.items()}  # type: ignore[arg-type]
    later = message_id(**base, created_at=AT.replace(microsecond=1))  # type: ignore[arg-type]
    caused = message_id(**base, created_at=AT, cause="7.1")  # type: ignore[arg-type]
    assert len({first, later, caused, *ids}) == 9


def test_message_id_of_a_strange_domain() -> None:
    """A domain that no header may carry never reaches the Message-ID."""
    base = {"uid": "u", "rid": "", "method": "REQUEST", "sequence": 1, "recipient": GUEST, "created_at": AT}
    assert message_id(organizer="a@b\r\nx", **base).endswith("@itipd.invalid>")  # type: ignore[arg-type]


def test_return_path() -> None:
    """The return path is the organizer's address with a tag of 128 bits that survives a change of case."""
    tag = token(b"s" * 32, "<a@example.com>")
    assert re.fullmatch(r"[a-z2-7]{26}", tag)
    assert return_path(ORGANIZER, tag) == f"meetings+b-{tag}@example.com"
    assert token(b"t" * 32, "<a@example.com>") != tag != token(b"s" * 32, "<b@example.com>")


def test_return_path_of_a_long_name() -> None:
    """A local part that would be over 64 octets goes without a tag, it would be refused on the way."""
    tag = token(b"s" * 32, "<a@example.com>")
    assert return_path("x" * 35 + "@example.com", tag).startswith("x" * 35 + "+b-")
    assert return_path("x" * 36 + "@example.com", tag) == "x" * 36 + "@example.com"


WORDS = [
    ("REQUEST", "registered", "", (), "Invitation: Planning", "Meetings invites you:"),
    ("REQUEST", "significant_change", "", (), "Updated: Planning", "Meetings has changed this invitation:"),
    ("REQUEST", "reminded", "", (), "Please answer: Planning", "Meetings is still waiting for your answer:"),
    ("REQUEST", "stale_sequence", "", (), "Invitation: Planning", "This is the invitation as it stands now:"),
    ("CANCEL", "cancelled", "", ("STATUS:CANCELLED",), "Cancelled: Planning", "Meetings has cancelled this event:"),
    ("CANCEL", "cancelled", "20261201", ("STATUS:CANCELLED",), "Cancelled: Planning", "the rest of the series stays:"),
    ("CANCEL", "uninvited", "", (), "Cancelled: Planning", "Meetings has taken you off the guest list of this event:"),
    ("CANCEL", "all_declined", "", ("STATUS:CANCELLED",), "Cancelled: Planning", "Nobody can come, so this event is"),
    ("CANCEL", "too_few_accepted", "", ("STATUS:CANCELLED",), "Cancelled: Planning", "Too few have accepted, so this"),
    (
        "REQUEST",
        "answers_published",
        "",
        (),
        "Who is coming: Planning",
        "These are the answers that Meetings has so far:",
    ),
    ("CANCEL", "party_crasher", "", (), "Cancelled: Planning", "You are not on the guest list of this event:"),
    ("DECLINECOUNTER", "proposal", "", (), "Proposal declined: Planning", "Meetings has declined your proposal;"),
    ("PUBLISH", "registered", "", (), "Planning", "Meetings sends you this:"),
]


@pytest.mark.parametrize(("method", "reason", "rid", "lines", "subject", "intro"), WORDS)
def test_words(method: str, reason: str, rid: str, lines: tuple[str, ...], subject: str, intro: str) -> None:
    """Subject and first sentence tell what happened; an answer is asked for in a REQUEST that wants one."""
    raw = compose(mail(method, reason=reason, rid=rid, calendar=calendar(method, lines=lines)))
    assert read(raw)["Subject"] == subject
    plain = text_of(raw, "plain")
    assert intro in plain.splitlines()[0]
    assert ("Please answer with" in plain) == (method == "REQUEST" and reason != "answers_published")


def timed(*lines: str) -> str:
    """A calendar with exactly these lines of time."""
    body = ("BEGIN:VCALENDAR", "METHOD:REQUEST", "BEGIN:VEVENT", "UID:t", *lines, "END:VEVENT", "END:VCALENDAR")
    return "".join(map(fold, body))


WHENS = [
    (
        ("DTSTART;TZID=Europe/Berlin:20261201T100000", "DTEND;TZID=Europe/Berlin:20261201T110000"),
        "Tuesday, 1 December 2026, 10:00–11:00 (Berlin time)",
    ),
    (
        ("DTSTART:20261201T220000Z", "DTEND:20261202T010000Z"),
        "Tuesday, 1 December 2026, 22:00 – Wednesday, 2 December 2026, 01:00 (UTC)",
    ),
    (("DTSTART:20261201T100000", "DURATION:PT90M"), "Tuesday, 1 December 2026, 10:00–11:30"),
    (("DTSTART:20261201T100000",), "Tuesday, 1 December 2026, 10:00"),
    (("DTSTART;VALUE=DATE:20261224",), "Thursday, 24 December 2026"),
    (("DTSTART;VALUE=DATE:20261224", "DTEND;VALUE=DATE:20261225"), "Thursday, 24 December 2026"),
    (
        ("DTSTART;VALUE=DATE:20261224", "DTEND;VALUE=DATE:20261227"),
        "Thursday, 24 December 2026 – Saturday, 26 December 2026",
    ),
    (("DUE:20261201T100000Z",), "Tuesday, 1 December 2026, 10:00 (UTC)"),
    (("RECURRENCE-ID:20261201T100000Z",), "Tuesday, 1 December 2026, 10:00 (UTC)"),
]


@pytest.mark.parametrize(("lines", "expected"), WHENS)
def test_when(lines: tuple[str, ...], expected: str) -> None:
    """The time reads as the organizer wrote it, with its zone; an all-day end is the last day, not the day after."""
    plain = text_of(compose(mail(calendar=timed(*lines))), "plain")
    (found,) = (line for line in plain.splitlines() if line.startswith("When:"))
    assert found.removeprefix("When:").strip() == expected


@pytest.mark.parametrize("lines", [("DTSTART:yesterday",), ("DTSTART:20261301T100000Z",), ()])
def test_when_without_a_time(lines: tuple[str, ...]) -> None:
    """A time that is none is left out and stops no mail."""
    assert "When:" not in text_of(compose(mail(calendar=timed(*lines))), "plain")


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("FREQ=WEEKLY", "every week"),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO", "every 2 weeks: Monday"),
        ("FREQ=WEEKLY;BYDAY=TU", "every week"),
        ("FREQ=WEEKLY;BYDAY=FR,WE,MO;COUNT=1", "every week: Monday, Wednesday and Friday, 1 time"),
        ("FREQ=MONTHLY;BYDAY=2TU;INTERVAL=3", "every 3 months"),
        ("FREQ=DAILY;COUNT=5", "every day, 5 times"),
        ("FREQ=MONTHLY;UNTIL=20270301T090000Z", "every month, until 1 March 2027"),
    ],
)
def test_repeats(rule: str, expected: str) -> None:
    """A usual rule is told in words."""
    plain = text_of(compose(mail(calendar=timed("DTSTART:20261201T100000Z", f"RRULE:{rule}"))), "plain")
    assert re.search(rf"(?m)^Repeats: +{re.escape(expected)}$", plain)


def test_many_dates() -> None:
    """The series comes first, ten dates are written out, the rest is a number."""
    override = "BEGIN:VEVENT\r\nRECURRENCE-ID:20261208T0900{:02}Z\r\nDTSTART:20261209T0900{:02}Z\r\nEND:VEVENT\r\n"
    more = "".join(override.format(n, n) for n in range(14))
    head, series = calendar().split("BEGIN:VEVENT", 1)
    given = head + more + "BEGIN:VEVENT" + series  # the series last: it is found all the same
    plain = text_of(compose(mail(calendar=given)), "plain")
    assert re.search(r"When: +Tuesday, 1 December 2026, 10:00", plain)
    assert plain.count("Wednesday, 9 December 2026") == 9
    assert "and 5 more" in plain


def test_bodies_say_the_same() -> None:
    """Place, text and comment stand in both bodies, and no value becomes markup."""
    lines = ("LOCATION:Room <b>1</b> & 2", "DESCRIPTION:First\\nsecond <script>alert(1)</script>")
    raw = compose(mail(calendar=calendar(lines=lines), comment='Sorry "all"', organizer_name="<img src=x>"))
    plain, html = text_of(raw, "plain"), text_of(raw, "html")
    for text in ("Room <b>1</b> & 2", "First", "second <script>alert(1)</script>", 'Sorry "all"', "Organizer:"):
        assert text in plain
    assert "Room &lt;b&gt;1&lt;/b&gt; &amp; 2" in html
    assert "<script" not in html
    assert "<img" not in html
    assert "First<br>" in html


def test_large_meeting() -> None:
    """A calendar of thousands of guests is composed whole; its size is no reason to refuse it."""
    guests = tuple(f"ATTENDEE;CN=Guest {n};PARTSTAT=NEEDS-ACTION:mailto:g{n}@example.org" for n in range(5000))
    given = calendar(lines=guests)
    (part,) = (p for p in read(compose(mail(calendar=given))).walk() if p.get_content_type() == "text/calendar")
    assert part.get_payload(decode=True) == given.encode()
