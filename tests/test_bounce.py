"""Delivery reports: recipients, codes, and what came back of our own mail."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itipd.mail.bounce import Bounce, BounceReport, bounce, schedule_status
from tests.cost import cheap

HEAD = (
    "From: Mail Delivery System <mailer-daemon@relay.example.net>\nTo: meetings+b-token@example.com\n"
    "Subject: Undelivered\nMIME-Version: 1.0\nAuto-Submitted: auto-replied\n"
)
INVITATION = """From: meetings@example.com
To: b@example.org
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
ATTENDEE:mailto:b@example.org
END:VEVENT
END:VCALENDAR
"""


def report(status: str, *more: tuple[str, str], kind: str = "message/delivery-status", head: str = HEAD) -> bytes:
    """A multipart/report: the text for people, `status`, and more parts (type, content)."""
    lines = [head, 'Content-Type: multipart/report; report-type=delivery-status; boundary="rep"\n\n']
    for content_type, content in (("text/plain", "Sorry, 5.9.9 things happen.\n"), (kind, status), *more):
        lines.append(f"--rep\nContent-Type: {content_type}\n\n{content}\n")
    return ("".join(lines) + "--rep--\n").replace("\n", "\r\n").encode()


RETURNED_REPORT = report("Final-Recipient: rfc822;b@example.org\n").decode().replace("\r", "").replace("rep", "inner")


def one(fields: str) -> BounceReport:
    """The only report in a status with these fields of one recipient."""
    found = bounce(report("Reporting-MTA: dns; relay.example.net\n\n" + fields))
    assert found is not None
    (single,) = found.reports
    return single


def test_a_failure_with_the_returned_invitation() -> None:
    """Recipient, code and diagnostic come from the status, Message-ID and UID from the returned mail."""
    status = (
        "Reporting-MTA: dns; relay.example.net\nArrival-Date: Tue, 1 Dec 2026 10:00:00 +0000\n\n"
        "Original-Recipient: rfc822;B@Example.org\nFinal-Recipient: rfc822; b.builder@mail.example.org\n"
        "Action: failed\nStatus: 5.1.1 (bad mailbox)\nDiagnostic-Code: smtp; 550 5.1.1\n  no such user\n"
    )
    assert bounce(report(status, ("message/rfc822", INVITATION))) == Bounce(
        (
            BounceReport(
                "b@example.org", "failed", "5.1.1", "smtp; 550 5.1.1  no such user", "b.builder@mail.example.org"
            ),
        ),
        "<invite-1@example.com>",
        "m1@example.com",
        "20261208T090000Z",
    )


def test_without_the_returned_mail() -> None:
    """A report works without the returned mail; In-Reply-To may still name it (Exchange)."""
    fields = "Reporting-MTA: dns; x\n\nFinal-Recipient: rfc822;b@example.org\nAction: failed\nStatus: 5.7.1\n"
    assert bounce(report(fields)) == Bounce((BounceReport("b@example.org", "failed", "5.7.1"),))
    found = bounce(report(fields, head=HEAD + "In-Reply-To: <invite-1@example.com>\n"))
    assert found is not None
    assert found.message_id == "<invite-1@example.com>"


@pytest.mark.parametrize("kind", ["text/rfc822-headers", "message/rfc822-headers", "message/global-headers"])
def test_only_the_headers_returned(kind: str) -> None:
    """Where only the headers came back, they name the mail."""
    fields = "X: y\n\nFinal-Recipient: rfc822;b@example.org\nAction: failed\nStatus: 5.0.0\n"
    found = bounce(report(fields, (kind, INVITATION.partition("\n\n")[0])))
    assert found is not None
    assert (found.message_id, found.uid) == ("<invite-1@example.com>", None)


def test_a_truncated_returned_invitation_still_names_its_uid() -> None:
    """Relays cut what they return: the UID is found in half a calendar, also in base64."""
    fields = "X: y\n\nFinal-Recipient: rfc822;b@example.org\nAction: failed\nStatus: 5.0.0\n"
    head, _, body = INVITATION.partition("\n\n")
    half = body[: body.index("ORGANIZER")]
    coded = head + "\nContent-Transfer-Encoding: base64\n\n" + base64.encodebytes(half.encode()).decode()[:-3]
    for text in (f"{head}\n\n{half}", coded):
        found = bounce(report(fields, ("message/rfc822", text)))
        assert found is not None
        assert found.uid == "m1@example.com"


@pytest.mark.parametrize(
    ("field", "address"),
    [
        ("Original-Recipient: rfc822;b+2Btag@example.org", "b+tag@example.org"),
        ("Original-Recipient: rfc822; b+3Dx@example.org", "b=x@example.org"),
        ("Original-Recipient: RFC822;<b@example.org>", "b@example.org"),
        ("Original-Recipient: rfc822;b+41@example.org", "b+41@example.org"),
        ("Original-Recipient: utf-8;b\\x{F6}b@example.org", "böb@example.org"),
        ("Final-Recipient: b@example.org", "b@example.org"),
        ("Final-Recipient:\n rfc822;\n b@example.org", "b@example.org"),
    ],
)
def test_recipient_addresses(field: str, address: str) -> None:
    """xtext, unitext, missing types and folds: the recipient is the canonical address."""
    assert one(field + "\nAction: failed\nStatus: 5.1.1\n").recipient == address


@pytest.mark.parametrize(
    ("fields", "action", "status"),
    [
        ("Action: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp; 550 5.1.1 unknown", "failed", "5.1.1"),
        ("Action: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp; 421 4.7.0 later", "failed", "5.0.0"),
        ("Action: failed\nStatus: 5.2.2\nDiagnostic-Code: smtp; 550 5.1.1 unknown", "failed", "5.2.2"),
        ("Action: failed\nDiagnostic-Code: smtp; 550 from 10.5.1.1 5.7.1 no", "failed", "5.7.1"),
        ("Action: failed", "failed", "5.0.0"),
        ("Action: DELAYED (3 hours)\nStatus: 4.4.1", "delayed", "4.4.1"),
        ("Action: relayed\nStatus: 2.0.0", "relayed", "2.0.0"),
        ("Status: 2.0.0", "delivered", "2.0.0"),
        ("Action: nonsense\nStatus: 5.1.1", "failed", "5.1.1"),
        ("Action: failed\nStatus: 9.9.9", "failed", "5.0.0"),
    ],
)
def test_actions_and_codes(fields: str, action: str, status: str) -> None:
    """A general code is refined by the diagnostic's code of the same class; what is missing is a plain failure."""
    found = one("Final-Recipient: rfc822;b@example.org\n" + fields + "\n")
    assert (found.action, found.status) == (action, status)


@pytest.mark.parametrize(
    ("status", "action", "code"),
    [
        ("5.1.1", "failed", "3.7"),
        ("5.1.2", "failed", "5.2"),
        ("5.0.0", "failed", "5.2"),
        ("5.7.1", "failed", "5.3"),
        ("5.7.26", "failed", "5.3"),
        ("4.4.7", "failed", "5.1"),
        ("4.4.7", "delayed", None),
        ("2.0.0", "expanded", None),
        ("2.0.0", "relayed", "1.2"),
        ("2.1.5", "delivered", "1.2"),
    ],
)
def test_schedule_status(status: str, action: str, code: str | None) -> None:
    """SCHEDULE-STATUS follows the enhanced code and the action as rules.md §11 has it."""
    assert schedule_status(status, action) == code


def test_several_recipients_and_careless_blank_lines() -> None:
    """Each recipient's block is a report; missing message block, doubled empty lines and stray text do no harm."""
    status = (
        "Final-Recipient: rfc822;a@example.org\nAction: failed\nStatus: 5.1.1\n\n\n\nstray words\n"
        "Final-Recipient: rfc822;c@example.org\nAction: delayed\nStatus: 4.4.1\n\nFinal-Recipient: rfc822;none\n"
    )
    found = bounce(report(status))
    assert found is not None
    assert [(r.recipient, r.action) for r in found.reports] == [
        ("a@example.org", "failed"),
        ("c@example.org", "delayed"),
    ]


def test_an_internationalized_report() -> None:
    """message/global-delivery-status is read like its older sister (RFC 6533)."""
    found = bounce(report("X: y\n\nFinal-Recipient: utf-8;böb@example.org\n", kind="message/global-delivery-status"))
    assert found is not None
    assert found.reports[0].recipient == "böb@example.org"


def test_failed_recipients_in_a_header() -> None:
    """A bounce without a status part counts if X-Failed-Recipients names somebody (Exim); the text gives the code."""
    text = "X-Failed-Recipients: b@example.org,\n c@example.org\nContent-Type: text/plain\n\n550 5.1.1 unknown user\n"
    found = bounce((HEAD + text).encode())
    assert found is not None
    assert found.reports == (
        BounceReport("b@example.org", "failed", "5.1.1"),
        BounceReport("c@example.org", "failed", "5.1.1"),
    )


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        HEAD.encode() + b"Content-Type: text/plain\r\n\r\nFinal-Recipient: rfc822;b@example.org\r\nStatus: 5.1.1\r\n",
        INVITATION.encode(),
        report("no fields at all"),
        report("Final-Recipient: rfc822;b@example.org\n", kind="message/disposition-notification"),
        report("X: y\n", ("message/rfc822", RETURNED_REPORT)),
    ],
)
def test_other_mail_is_no_report(raw: bytes) -> None:
    """Plain text, receipts, an invitation, a report inside a returned mail: none of them is a delivery report."""
    assert bounce(raw) is None


@pytest.mark.parametrize(
    "status",
    ["a: b\n\n" * 100_000, "\n" * 500_000, "x\n" * 300_000, "Final-Recipient: rfc822;b@example.org\n\n" * 9999],
)
def test_hostile_reports_end(status: str) -> None:
    """A status part of endless blocks is read in bounded time and gives at most 100 recipients."""
    raw = report(status)

    def read() -> None:
        found = bounce(raw)
        assert found is None or len(found.reports) == 100

    assert cheap(1.5, read)


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_bounce_never_raises(junk: bytes) -> None:
    """Any bytes as the report, the returned mail or the whole mail are survived."""
    text = junk.decode("latin-1")
    for raw in (
        junk,
        report(text),
        report("X: y\n\nFinal-Recipient: rfc822;b@example.org\n", ("message/rfc822", text)),
    ):
        assert isinstance(bounce(raw), Bounce | None)
