"""Opaque S/MIME: the calendar inside a CMS SignedData, and what cannot be read (RFC 5652, RFC 8551)."""

from __future__ import annotations

import base64
import random
import time

import pytest

from itipd.itip.model import Fault, Message
from itipd.mail import cms
from itipd.mail.reading import Reading, ReadSettings, read_mail

DATA = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01"
INNER = b"""Content-Type: multipart/alternative; boundary=inner

--inner
Content-Type: text/plain; charset=utf-8

See you there.
--inner
Content-Type: text/calendar; method=REPLY; charset=utf-8

BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//Example//Client//EN
METHOD:REPLY
BEGIN:VEVENT
UID:m1@example.com
DTSTAMP:20261120T090000Z
SEQUENCE:0
ORGANIZER:mailto:meetings@example.com
ATTENDEE;PARTSTAT=ACCEPTED:mailto:tess@example.org
END:VEVENT
END:VCALENDAR
--inner--
""".replace(b"\n", b"\r\n")


def element(tag: int, *content: bytes) -> bytes:
    """A BER element of definite length."""
    data = b"".join(content)
    size = len(data)
    length = bytes([size]) if size < 0x80 else b"\x82" + size.to_bytes(2, "big")
    return bytes([tag]) + length + data


def endless(tag: int, *content: bytes) -> bytes:
    """A BER element of indefinite length, as programs write that stream."""
    return bytes([tag]) + b"\x80" + b"".join(content) + b"\0\0"


def content_info(octets: bytes, *, kind: bytes = cms.SIGNED, form: object = element) -> bytes:
    make = endless if form is endless else element
    signed = make(
        0x30,
        element(0x02, b"\x01"),
        element(0x31, element(0x30, element(0x06, b"\x60\x86\x48\x01\x65\x03\x04\x02\x01"))),
        make(0x30, element(0x06, DATA), make(0xA0, octets)),
        element(0xA0, b"certificates"),
        element(0x31, b"signers"),
    )
    return make(0x30, element(0x06, kind), make(0xA0, signed))


PIECES = [INNER[at : at + 100] for at in range(0, len(INNER), 100)]
FORMS = {
    "DER": content_info(element(0x04, INNER)),
    "BER, streamed in pieces": content_info(endless(0x24, *(element(0x04, one) for one in PIECES)), form=endless),
    "in pieces of known length": content_info(element(0x24, *(element(0x04, one) for one in PIECES))),
}


def mail(body: bytes, kind: str = 'application/pkcs7-mime; smime-type=signed-data; name="smime.p7m"') -> bytes:
    head = (
        "From: Tess <tess@example.org>\r\nTo: meetings@example.com\r\nMessage-ID: <t@example.org>\r\n"
        f"MIME-Version: 1.0\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    )
    return head.encode() + base64.encodebytes(body).replace(b"\n", b"\r\n")


PGP = (
    mail(b"", 'multipart/encrypted; protocol="application/pgp-encrypted"; boundary=b').replace(b"base64", b"7bit")
    + b"--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n--b--\r\n"
)


def read(raw: bytes) -> Reading:
    return read_mail(raw, sender="tess@example.org", recipients=(), submission=False, settings=ReadSettings())


@pytest.mark.parametrize("data", FORMS.values(), ids=FORMS.keys())
def test_the_signed_content_comes_out(data: bytes) -> None:
    """RFC 5652 §5.2: eContent in any form that BER knows is the same octets."""
    assert cms.signed_content(data) == INNER
    assert not cms.is_encrypted(data)


@pytest.mark.parametrize(
    "kind",
    [
        "application/pkcs7-mime; smime-type=signed-data; name=smime.p7m",
        "application/x-pkcs7-mime",
        'application/octet-stream; name="smime.p7m"',
    ],
)
def test_an_answer_in_an_opaque_signature_is_read(kind: str) -> None:
    """RFC 8551 §3.5.2: the calendar inside counts like any other, with a quirk that says where it was."""
    found = read(mail(FORMS["DER"], kind))
    (message,) = found.messages
    assert isinstance(message, Message)
    assert (message.uid, message.attendees[0].one("PARTSTAT")) == ("m1@example.com", "ACCEPTED")
    assert (found.quirks, found.note) == (("opaque_signed",), "See you there.")


def test_signatures_in_signatures_are_opened_three_times() -> None:
    """RFC 2634 §1.1 wraps three times; a mail that goes on is not followed for ever."""
    data, opened = INNER, []
    for _ in range(5):
        data = mail(content_info(element(0x04, data)))
        opened.append([type(message).__name__ for message in read(data).messages])
    assert opened == [["Message"]] * 3 + [["Fault"]] * 2


@pytest.mark.parametrize(
    "raw",
    [
        mail(content_info(b"", kind=cms.ENVELOPED), "application/pkcs7-mime; smime-type=enveloped-data"),
        mail(content_info(b"", kind=cms.AUTH_ENVELOPED), "application/pkcs7-mime; smime-type=authEnveloped-data"),
        PGP,
    ],
)
def test_encrypted_mail_says_so(raw: bytes) -> None:
    """What only a key opens is kept as no_action/not_calendar, and its detail and quirk say why nothing was read."""
    found = read(raw)
    (fault,) = found.messages
    assert isinstance(fault, Fault)
    assert (fault.outcome, fault.reason, found.quirks) == ("no_action", "not_calendar", ("encrypted",))
    assert "encrypted" in fault.detail


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"0",
        b"\x30\x80",
        b"no BER at all",
        content_info(b""),
        content_info(element(0x04, INNER))[:20],
        content_info(element(0x0C, b"a text")),
        content_info(element(0x04, INNER), kind=DATA),
        element(0x30, element(0x06, cms.SIGNED)),
        element(0x30, element(0x06, cms.SIGNED), element(0xA0, element(0x30))),
        element(0x30, element(0x06, cms.SIGNED), element(0xA0, element(0x30, element(0x30, element(0x06, DATA))))),
        b"\x1f\x80",
        b"\x30\x85\x01\x01\x01\x01\x01",
        b"\x30\x80\x04\x80\0\0\0\0",
    ],
)
def test_what_holds_nothing_holds_nothing(data: bytes) -> None:
    """A detached signature, another content type, or octets that are no BER: None, and no exception."""
    assert cms.signed_content(data) is None


def test_hostile_octets_cost_little() -> None:
    """Whatever stands in it, the walk ends at once: nesting, endless elements, lengths that lie."""
    rng = random.Random(5652)
    known = FORMS["BER, streamed in pieces"]
    bombs = [b"\x30\x80" * 500_000, content_info(b"\x24\x80" * 25_000), content_info(b"\x04\x00" * 30_000)]
    for _ in range(3000):
        data = bytearray(known[: rng.randrange(1, len(known))])
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        bombs.append(bytes(data))
    began = time.process_time()
    for bomb in bombs:
        cms.signed_content(bomb)
        cms.is_encrypted(bomb)
    assert time.process_time() - began < 2.0
