"""Delivery reports that are only words: who is named, with which code, our mail below; bounded, never raising."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itipd.mail import bounce_text
from itipd.mail.bounce import Bounce, BounceReport, bounce
from itipd.mail.headers import Headers, MailLimits, scan
from itipd.mail.mime import leaves
from itipd.mail.reading import ReadSettings, read_mail

BEA, CAL = "bea@example.org", "cal@example.net"
DAEMON = "From: MAILER-DAEMON@relay.example.com\nSubject: failure notice\n"
QMAIL = (
    "Hi. This is the qmail-send program at relay.example.com.\nI'm afraid I wasn't able to deliver your message.\n\n"
)
COPY = """Return-Path: <meetings@example.com>
From: Meetings <meetings@example.com>
To: bea@example.org
Message-ID: <invite-1@example.com>
MIME-Version: 1.0
Content-Type: text/calendar; method=REQUEST; charset=utf-8

BEGIN:VCALENDAR
VERSION:2.0
METHOD:REQUEST
BEGIN:VEVENT
UID:m1@example.com
RECURRENCE-ID:20261208T090000Z
DTSTART:20261208T090000Z
ORGANIZER:mailto:meetings@example.com
ATTENDEE:mailto:bea@example.org
END:VEVENT
END:VCALENDAR
"""


def raw(body: str, head: str = DAEMON) -> bytes:
    return f"{head}\n{body}".replace("\n", "\r\n").encode()


def read(body: str, head: str = DAEMON) -> Bounce | None:
    return bounce(raw(body, head), guess=True)


def headers(*fields: str) -> Headers:
    data = "".join(f"{one}\r\n" for one in fields).encode()
    return scan(data, 0, len(data), MailLimits())[0]


@pytest.mark.parametrize(
    ("sender", "author", "expected"),
    [
        ("", "Bea <bea@example.org>", True),
        ("<>", "Bea <bea@example.org>", True),
        ("bounce@relay.example.com", "Mail Delivery <MAILER-DAEMON@relay.example.com>", True),
        ("x@relay.example.com", "Postmaster@relay.example.com", True),
        ("bea@example.org", "Bea <bea@example.org>", False),
        ("bea@example.org", "mailer-daemon <bea@example.org>", False),
    ],
)
def test_what_looks_like_a_report(sender: str, author: str, expected: bool) -> None:
    """The null sender, or a daemon's own address in From; a display name says nothing."""
    assert bounce_text.likely(headers(f"From: {author}"), sender, 1000) is expected


def test_large_mail_is_no_report() -> None:
    """Beyond the cap nothing is looked at, whoever sends it."""
    assert not bounce_text.likely(headers("From: mailer-daemon@example.net"), "", bounce_text.LARGEST + 1)


def test_qmail_with_our_mail_below() -> None:
    """Each address has the code that stands behind it; Message-ID, UID and instance come from the mail in the text."""
    text = f"{QMAIL}<{BEA}>:\nRemote host said: 550 5.1.1 nobody\n\n<{CAL}>:\n552 5.2.2 full\n\n--- Below this line\n\n"
    assert read(text + COPY) == Bounce(
        (
            BounceReport(BEA, "failed", "5.1.1", guessed=True),
            BounceReport(CAL, "failed", "5.2.2", guessed=True),
        ),
        "<invite-1@example.com>",
        "m1@example.com",
        "20261208T090000Z",
    )


def test_without_a_code() -> None:
    """No code: a permanent failure of which nothing more is known."""
    text = "Message from yahoo.example.org.\nUnable to deliver message to the following address(es).\n\n"
    assert read(f"{text}<{BEA}>:\nNo such user here\n", DAEMON.replace("relay", "yahoo").replace("@", "@yahoo.")) == (
        Bounce((BounceReport(BEA, "failed", "5.0.0", guessed=True),))
    )


def test_warning_is_a_delay() -> None:
    """A mail system that says that it still tries has not failed."""
    words = "The address to which the message has not yet been delivered is:"
    found = read(f"{words}\n\n  {BEA}\n\nNo action is required on your part\n")
    assert found is not None
    assert [(one.recipient, one.action) for one in found.reports] == [(BEA, "delayed")]


def test_exchange_in_a_multipart() -> None:
    """Only the first text is read, also in a multipart; the attached mail is still looked into."""
    text = f"Your message\n\ndid not reach the following recipient(s):\n\n{BEA} on Fri, 20 Nov 2026\n    MSEXCH:IMS:x\n"
    head = DAEMON + 'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="b"\n'
    found = read(f"--b\nContent-Type: text/plain\n\n{text}\n--b\nContent-Type: message/rfc822\n\n{COPY}\n--b--\n", head)
    assert found is not None
    assert ([one.recipient for one in found.reports], found.uid) == ([BEA], "m1@example.com")


def test_code_of_our_own_mail_is_none() -> None:
    """What looks like a code in our mail, below the line of dashes, is no reason."""
    found = read(
        f"{QMAIL}<{BEA}>:\nno such user\n\n--- Below this line is a copy of the message.\n\nVersion 5.1.1\n5.7.1\n"
    )
    assert found is not None
    assert [one.status for one in found.reports] == ["5.0.0"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I am away until Monday. Write to Cal, cal@example.net, or to Bea, bea@example.org, please.\n",
        "Accepted: Planning\n\nSee you there. 550 5.1.1 is my lucky number.\n",
    ],
)
def test_what_is_no_report(text: str) -> None:
    """An absence notice with addresses in it, or a person's words, name nobody."""
    assert read(text) is None


def test_guessing_is_asked_for() -> None:
    """Words are only read where the mail looks like a report."""
    assert bounce(raw(f"{QMAIL}<{BEA}>:\nno\n")) is None


def test_detector_that_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the library raises, the mail is then no report."""

    def broken(msg: object) -> tuple[frozenset[bytes], frozenset[bytes]]:
        raise AssertionError("odd text")

    monkeypatch.setattr(bounce_text, "_flufl", lambda: broken)
    assert read(f"{QMAIL}<{BEA}>:\nno\n") is None


@pytest.mark.parametrize("sign", ["a", ", ", " ", "<", "'", "a@", "\t"])
def test_hostile_text_costs_little(sign: str) -> None:
    """240 kB of what makes the expressions backtrack, behind words that switch most of them on: under a second."""
    starts = (
        "here is your list of failed recipients\nthe following addresses had\nfailed addresses follow:\n"
        "Your message to:\nUndeliverable Address: \nA message that you sent could not be delivered\n"
        "Sorry, unable to deliver your message to\nYour message could not be delivered to\n"
        "not yet been delivered\nThis is the deliver program at\nHi. This is the\n\n"
    )
    line = (sign * 250)[:250] + "\n"
    mail = raw(starts + line * (240_000 // len(line)))
    top, _, found = leaves(mail, MailLimits())
    bounce_text.failures(mail, top, found)  # the first call imports
    began = time.process_time()
    bounce_text.failures(mail, top, found)
    bounce_text.copy(mail, found, MailLimits())
    assert time.process_time() - began < 1.0


PHRASES = (
    QMAIL,
    COPY,
    f"<{BEA}>:\n",
    "MSEXCH:",
    "did not reach the following recipient(s):\n",
    "\n--- copy\n\n",
    "5.1.1 ",
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(PHRASES) | st.text(max_size=40), max_size=12), st.sampled_from(["", "multipart/mixed"]))
def test_raises_nothing(pieces: list[str], kind: str) -> None:
    """No text makes reading raise, nor name anything that is no address."""
    head = DAEMON + (f'Content-Type: {kind}; boundary="b"\n' if kind else "")
    body = "".join(pieces).encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    found = read(f"--b\n\n{body}\n--b\n\nx\n--b--\n" if kind else body, head)
    assert found is None or all("@" in one.recipient for one in found.reports)


def test_reading_asks_by_the_envelope() -> None:
    """The same words are a report from the null sender, and a letter from a person."""
    mail = raw(f"{QMAIL}<{BEA}>:\n550 5.1.1\n", "From: Bea <bea@example.org>\nSubject: x\n")

    def kinds(sender: str) -> list[str]:
        reading = read_mail(
            mail, sender=sender, recipients=("m@example.com",), submission=False, settings=ReadSettings()
        )
        return [type(message).__name__ for message in reading.messages]

    assert kinds("") == ["Report"]
    assert kinds(BEA) == ["Fault"]
