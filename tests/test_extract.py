"""The calendar parts of a mail: where they hide, in which bytes, and what hostile mails cost."""

from __future__ import annotations

import base64
import binascii
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itipd.itip.outcomes import Outcome, Reason
from itipd.mail.extract import Extracted, MailLimits, TooLarge, extract, wire
from itipd.mail.headers import addresses, date, decoded
from itipd.mail.mime import parameters
from tests.cost import cheap

CALENDAR = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Example//EN\r\nMETHOD:REPLY\r\nBEGIN:VEVENT\r\nUID:u1@example.com\r\n"
    "SUMMARY:Käse\r\nATTENDEE;PARTSTAT=ACCEPTED:mailto:b@example.com\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
)
UTF8 = CALENDAR.encode()
ASCII = CALENDAR.replace("ä", "ae").encode()
HEAD = b"From: b@example.com\r\nTo: meetings@example.com\r\nMIME-Version: 1.0\r\n"


def one(content_type: str, body: bytes, *more: str) -> bytes:
    """A mail that is a single part."""
    return HEAD + "".join(f"{line}\r\n" for line in (f"Content-Type: {content_type}", *more)).encode() + b"\r\n" + body


def part(content_type: str, body: bytes, *more: str) -> bytes:
    """A part, for `multi`."""
    return "".join(f"{line}\r\n" for line in (f"Content-Type: {content_type}", *more)).encode() + b"\r\n" + body


def multi(kind: str, *parts: bytes, boundary: str = "=_b1", close: bool = True) -> bytes:
    """A multipart with its own Content-Type header, to stand in another one or behind HEAD."""
    lines = [f'Content-Type: multipart/{kind}; boundary="{boundary}"\r\n\r\npreamble\r\n'.encode()]
    lines += [b"--" + boundary.encode() + b"\r\n" + text + b"\r\n" for text in parts]
    return b"".join(lines) + (b"--" + boundary.encode() + b"--\r\nepilogue\r\n" if close else b"")


def found(raw: bytes, **limits: int) -> Extracted:
    return extract(wire(raw), MailLimits(**limits))


def calendars(raw: bytes) -> list[bytes]:
    return [text.data.strip() for text in found(raw).parts]


@pytest.mark.parametrize(
    ("content_type", "more"),
    [
        ("text/calendar; method=REPLY; charset=UTF-8", ()),
        ("TEXT/Calendar;\r\n\tcharset=utf-8;\r\n\tmethod=reply", ()),
        ("application/ics; name=invite.ics; charset=utf-8", ()),
        ("text/x-vcalendar; charset=utf-8", ()),
        ("application/octet-stream; charset=utf-8", ('Content-Disposition: attachment; filename="Invite.ICS"',)),
        ('application/x-extension-ics; charset=utf-8; name="a.ics"', ()),
        ("text/plain; charset=utf-8", ("Content-Disposition: attachment; filename*=utf-8''caf%C3%A9.ics",)),
        ("application/foo; charset=utf-8", ("Content-Disposition: attachment; filename*0=inv; filename*1=ite.ics",)),
        ("application/foo; charset=utf-8; name==?utf-8?B?aW52aXRlLmljcw==?=", ()),
    ],
)
def test_every_kind_of_calendar_part_is_found(content_type: str, more: tuple[str, ...]) -> None:
    """A part is a calendar by its type or by an .ics name, however that name is written."""
    assert calendars(one(content_type, UTF8, *more)) == [UTF8.strip()]


def test_method_parameter_is_kept_beside_the_part() -> None:
    """The method parameter comes out in upper case, None where it is missing: itip.read weighs it."""
    assert [p.method for p in found(one('text/calendar; method="reply"; charset=utf-8', UTF8)).parts] == ["REPLY"]
    assert [p.method for p in found(one("text/calendar; charset=utf-8", UTF8)).parts] == [None]


def test_parts_are_found_in_nested_and_signed_multiparts() -> None:
    """A calendar inside alternative in mixed in signed is found, and an attached copy of it is no second one."""
    inner = multi(
        "alternative",
        part("text/plain; charset=utf-8", "Bis später".encode()),
        part("text/calendar; charset=utf-8; method=REPLY", UTF8),
        boundary="inner",
    )
    copy = part(
        "application/ics; name=invite.ics; charset=utf-8", base64.encodebytes(UTF8), "Content-Transfer-Encoding: base64"
    )
    signed = multi(
        "signed", multi("mixed", inner, copy, boundary="middle"), part("application/pgp-signature", b"x"), boundary="o"
    )
    result = found(HEAD + signed)
    assert [(p.data.strip(), p.method) for p in result.parts] == [(UTF8.strip(), "REPLY")]
    assert result.text == "Bis später"


def test_the_copy_lends_its_method() -> None:
    """Where the first of two identical parts has no method and the second has one, the method is kept."""
    raw = HEAD + multi(
        "mixed", part("application/ics; charset=utf-8", UTF8), part("text/calendar; charset=utf-8; method=REPLY", UTF8)
    )
    assert [p.method for p in found(raw).parts] == ["REPLY"]


def test_different_calendars_are_all_kept() -> None:
    """Two calendars in one mail are two parts, in the order of the mail."""
    other = UTF8.replace(b"u1@", b"u2@")
    raw = HEAD + multi("mixed", part("text/calendar; charset=utf-8", UTF8), part("text/calendar; charset=utf-8", other))
    assert calendars(raw) == [UTF8.strip(), other.strip()]


@pytest.mark.parametrize("kind", ["message/rfc822", "message/global", "message/rfc822; name=reply.ics"])
def test_a_message_in_the_mail_is_never_believed(kind: str) -> None:
    """A forwarded or returned mail's calendar is not this mail's (hardening §8)."""
    raw = HEAD + multi("mixed", part("text/plain", b"see below"), part(kind, one("text/calendar; method=REPLY", ASCII)))
    assert calendars(raw) == []


def test_parts_of_a_digest_are_messages() -> None:
    """In multipart/digest a part without a type is a message, and no text (RFC 2046 §5.1.5)."""
    raw = HEAD + multi("digest", b"\r\n" + one("text/calendar", ASCII))
    result = found(raw)
    assert (result.parts, result.text) == ((), "")


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("base64", base64.encodebytes(UTF8)),
        ("base64;", base64.encodebytes(UTF8)),
        ("BASE64 (as usual)", base64.b64encode(UTF8)),
        ("base64", base64.b64encode(UTF8).rstrip(b"=") + b"\r\n"),
        (
            "base64",
            b"\r\n".join([base64.b64encode(UTF8)[:61], b" \t" + base64.b64encode(UTF8)[61:], b"-- \r\nfooter!"]),
        ),
        ("quoted-printable", binascii.b2a_qp(UTF8, istext=False)),
        ("8bit", UTF8),
        ("made-up", UTF8),
        ("", UTF8),
    ],
)
def test_transfer_encodings(encoding: str, body: bytes) -> None:
    """Every way to write the bytes gives the same bytes, also where padding is lost or a footer follows."""
    more = (f"Content-Transfer-Encoding: {encoding}",) if encoding else ()
    result = found(one("text/calendar; charset=utf-8", body, *more))
    assert [p.data.rstrip() for p in result.parts] == [UTF8.rstrip()]
    assert result.quirks == ()


@pytest.mark.parametrize(("encoding", "body"), [("base64", ASCII), ("7bit", base64.encodebytes(ASCII))])
def test_a_lying_transfer_encoding_is_a_quirk(encoding: str, body: bytes) -> None:
    """A part that is plainly not in the encoding it declares is read as what it is, and that is recorded."""
    result = found(one("text/calendar", body, f"Content-Transfer-Encoding: {encoding}"))
    assert ([p.data for p in result.parts], result.quirks) == ([ASCII], ("encoding",))


@pytest.mark.parametrize(
    ("charset", "body", "quirks"),
    [
        ("utf-8", UTF8, ()),
        ("iso-8859-1", CALENDAR.encode("latin-1"), ()),
        ("Windows-1252", CALENDAR.encode("cp1252"), ()),
        ("utf-16", CALENDAR.encode("utf-16"), ("charset",)),  # text/* must not be UTF-16: the byte mark shows it
        ("utf-16le", CALENDAR.encode("utf-16-le"), ()),
        ("iso-2022-jp", CALENDAR.replace("ä", "日本").encode("iso-2022-jp"), ()),
        ("us-ascii", UTF8, ("charset",)),
        ("iso-8859-1", UTF8, ("charset",)),
        ("x-unknown", UTF8, ("charset",)),
        ("zip", UTF8, ("charset",)),
        ("punycode", UTF8, ("charset",)),
        ("", UTF8, ("charset",)),
    ],
)
def test_charsets_become_utf8(charset: str, body: bytes, quirks: tuple[str, ...]) -> None:
    """Whatever was declared or forgotten, the calendar comes out as UTF-8; what was wrong is a quirk."""
    result = found(one("text/calendar" + (f"; charset={charset}" if charset else ""), body))
    expected = CALENDAR.replace("ä", "日本") if charset == "iso-2022-jp" else CALENDAR
    assert [p.data.decode().strip() for p in result.parts] == [expected.strip()]
    assert result.quirks == quirks


def test_undecodable_bytes_are_left_to_the_calendar_reader() -> None:
    """Latin-1 without a charset is handed on as it is, with the quirk: nothing is lost or replaced here."""
    body = CALENDAR.encode("latin-1")
    result = found(one("text/calendar", body))
    assert ([p.data for p in result.parts], result.quirks) == ([body], ("charset",))


def test_a_file_with_lf_is_the_same_mail() -> None:
    """A mail stored with LF gives the same parts as with CRLF: no line-end quirk can come from the file."""
    raw = HEAD + multi("mixed", part("text/plain", b"hello"), part("text/calendar; charset=utf-8", UTF8))
    assert found(raw.replace(b"\r\n", b"\n")).parts == found(raw).parts
    assert b"\r\n" in found(raw.replace(b"\r\n", b"\n")).parts[0].data


def test_an_mbox_separator_is_skipped() -> None:
    """`From x Mon ...` before the first header does not end the header block."""
    assert calendars(b"From b@example.com Mon Jan  1 00:00:00 2026\r\n" + one("text/calendar", ASCII)) == [
        ASCII.strip()
    ]


def test_winmail_dat_alone_is_a_quirk() -> None:
    """Outlook's TNEF is recognised by type or name, and is no quirk where a calendar stands beside it."""
    tnef = part("application/ms-tnef", b'x\x9f>"', "Content-Disposition: attachment; filename=winmail.dat")
    named = part("application/octet-stream; name=WINMAIL.DAT", b"x")
    assert found(HEAD + multi("mixed", part("text/plain", b"x"), tnef)).quirks == ("tnef",)
    assert found(HEAD + multi("mixed", named)).quirks == ("tnef",)
    assert found(HEAD + multi("mixed", named, part("text/calendar", ASCII))).quirks == ()


def test_a_boundary_that_begins_like_another_is_no_delimiter() -> None:
    """`--abcd` does not end a part of `abc`, a missing closing delimiter ends with the mail."""
    inner = multi("alternative", part("text/calendar; charset=utf-8", UTF8), boundary="abcd")
    assert calendars(HEAD + multi("mixed", inner, part("text/plain", b"x"), boundary="abc")) == [UTF8.strip()]
    assert calendars(HEAD + multi("mixed", part("text/calendar", ASCII), boundary="abc", close=False)) == [
        ASCII.strip()
    ]


def test_the_outer_boundary_ends_an_unclosed_inner_multipart() -> None:
    """A multipart that forgot its closing delimiter does not swallow the parts after it."""
    inner = multi("alternative", part("text/plain", b"x"), boundary="in", close=False)
    raw = HEAD + multi("mixed", inner, part("text/calendar", ASCII), boundary="out")
    assert calendars(raw) == [ASCII.strip()]


def test_a_multipart_without_a_boundary_is_opened_by_the_one_that_is_seen() -> None:
    """What a person would take for the parts of a mail are its parts; the quirk says so."""
    raw = HEAD + b"Content-Type: multipart/mixed\r\n\r\n--x\r\nContent-Type: text/calendar\r\n\r\n" + ASCII
    assert calendars(raw) == [ASCII.strip()]
    assert extract(raw, MailLimits()).quirks == ("boundary",)


@pytest.mark.parametrize(
    ("raw", "names", "reason"),
    [
        (HEAD + b"X: y\r\n" * 501 + b"\r\n", "500 headers", "too_many_headers"),
        (HEAD + b"X: " + b"y\r\n " * 20_000 + b"\r\n\r\n", "header block", "too_many_headers"),
        (b"a: " + b"b\n " * 3_000_000, "header block", "too_many_headers"),
        (HEAD + multi("mixed", *[b"\r\nx"] * 201), "200 parts", "too_many_parts"),
        (
            HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n" * 1_000_000,
            "200 parts",
            "too_many_parts",
        ),
        (
            HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--bc\r\n" * 1_000_000,
            "begin like a boundary",
            "too_many_parts",
        ),
    ],
)
def test_mails_beyond_the_caps_are_refused_at_once(raw: bytes, names: str, reason: str) -> None:
    """Too many headers, header bytes or parts: TooLarge that names the cap, in a fraction of a second."""

    def refused() -> None:
        with pytest.raises(TooLarge, match=names) as caught:
            found(raw)
        assert caught.value.reason == reason

    assert cheap(0.5, refused)


def test_deep_nesting_is_refused() -> None:
    """The 21st level is refused; no recursion is involved (hardening §6)."""

    def nested(depth: int) -> bytes:
        text = part("text/calendar", ASCII)
        for level in range(depth):
            text = multi("mixed", text, boundary=f"level-{level}-")
        return HEAD + text

    assert calendars(nested(20)) == [ASCII.strip()]
    with pytest.raises(TooLarge, match="20 deep") as caught:
        found(nested(21))
    assert caught.value.reason == "nested_too_deep"


def test_a_calendar_over_the_size_is_a_fault_beside_the_others() -> None:
    """A calendar part that is too large is error/too_large, and the small one beside it is still read."""
    large = part("text/calendar", ASCII + b"X-A:" + b"a" * 2000)
    result = found(HEAD + multi("mixed", large, part("text/calendar; charset=utf-8", UTF8)), part=1000)
    assert [p.data.strip() for p in result.parts] == [UTF8.strip()]
    assert [(f.outcome, f.reason) for f in result.faults] == [(Outcome.ERROR, Reason.TOO_LARGE)]
    assert "at most 1000" in result.faults[0].detail


def test_an_overlong_header_reads_as_empty() -> None:
    """A header above 8 kB is not read, with a quirk; the mail is."""
    result = found(HEAD + b"Subject: " + b"x" * 9000 + b"\r\nContent-Type: text/calendar\r\n\r\n" + ASCII)
    assert (result.headers.first(b"subject"), result.quirks, len(result.parts)) == ("", ("long_header",), 1)


@pytest.mark.parametrize(
    "unit", [b'"', b";", b"(", b"\\", b'";a="', b'; a="\\"', b"a=b;", b"*0*=a;", b"=?", b"a@", b"<"]
)
def test_hostile_header_fields_cost_milliseconds(unit: bytes) -> None:
    """A hundred parts with the worst fields there are cost less than half a second (hardening §6)."""
    field = unit * (4000 // len(unit))
    text = b"Content-Type: a/b; " + field + b"\r\nContent-Disposition: attachment; " + field + b"\r\n\r\nx"
    raw = HEAD + b"To: " + field + b"\r\nSubject: " + field + b"\r\n" + multi("mixed", *[text] * 100)

    def read() -> None:
        result = found(raw)
        decoded(result.headers.first(b"subject"))
        addresses(result.headers.first(b"to"))

    assert cheap(0.5, read)


@given(st.binary(max_size=400), st.binary(max_size=400))
@settings(max_examples=300, deadline=None)
def test_extract_never_raises(head: bytes, body: bytes) -> None:
    """Any bytes at all give an Extracted or TooLarge."""
    for raw in (head + b"\r\n\r\n" + body, one("text/calendar; " + head.decode("latin-1"), body), HEAD + head + body):
        with contextlib.suppress(TooLarge):
            assert isinstance(found(raw), Extracted)


def test_parameters_follow_rfc_2231() -> None:
    """Quoted pairs, pieces in any order, charsets, and a broken number are all read without a fault."""
    assert parameters('a/b; x="q\\"uo;te"; Y=1 ; z*=iso-8859-1\'de\'%E4; n*1=b; n*0="a"; n*x=c; u="open') == {
        "x": 'q"uo;te',
        "y": "1",
        "z": "ä",
        "n": "ab",
        "u": "open",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("=?utf-8?q?Zugesagt=3A_K=C3=A4se?=", "Zugesagt: Käse"),
        ("=?UTF-8?B?S8Okc2U=?= =?iso-8859-1*de?Q?_=E4?=", "Käse ä"),
        ("=?utf-8?q?a=0d=0aBcc:_x=40example.org?=", "a Bcc: x@example.org"),
        ("=?x-none?q?abc?= =?utf-8?b?A?=", "=?x-none?q?abc?= =?utf-8?b?A?="),
        ("plain\x00 text", "plain text"),
    ],
)
def test_encoded_words(text: str, expected: str) -> None:
    """Encoded words are decoded, broken ones stay, and no control or line break survives (hardening §23)."""
    assert decoded(text).replace("  ", " ") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Tue, 01 Dec 2026 10:00:00 +0100", "2026-12-01T09:00:00+00:00"),
        ("1 Dec 26 10:00 PST (comment)", "2026-12-01T18:00:00+00:00"),
        ("Tue, 1 Dec 2026 10:00:60 -0000", "2026-12-01T10:00:59+00:00"),
        ("Tue, 01 Dec 2026 10:00:00 GMT", "2026-12-01T10:00:00+00:00"),
        ("Tue, 31 Feb 2026 10:00:00 +0100", None),
        ("Tue, 01 Dec 2026 10:00:00 +9999", None),
        ("Fri, 31 Dec 9999 23:59:59 -2359", None),
        ("Tue, 01 Foo 2026 10:00:00 +0100", None),
        ("", None),
        ("9" * 5000, None),
    ],
)
def test_dates(text: str, expected: str | None) -> None:
    """Dates of RFC 5322, old ones too, become instants in UTC; anything else is None and never an exception."""
    value = date(text)
    assert (value.isoformat() if value else None) == expected


def test_address_lists_are_read_tolerantly() -> None:
    """Names, commas in quotes, comments and groups do not hide or invent addresses."""
    text = '"Doe, Jane <x@y>" <a@example.com>, b@example.com (c@example.com), team: d@example.com;, <>'
    assert addresses(text) == ["a@example.com", "b@example.com", "d@example.com"]
