"""Mail without a calendar goes on to a person, where that is configured, and never round in circles (rules.md §1.6)."""

from __future__ import annotations

import email
import email.policy
from datetime import UTC, datetime
from pathlib import Path

import pytest

from itipd.config import Config
from itipd.inbox import Inbox
from itipd.itip.model import Decision
from itipd.mail import forward
from itipd.mail.compose import Outgoing
from itipd.orders import Mail
from itipd.outbox import Outbox
from itipd.store import Store

AT = datetime(2026, 11, 20, 9, tzinfo=UTC)
LETTER = b"""Return-Path: <bob@example.com>\r
Received: from mail.example.com by mx.example.net; Fri, 20 Nov 2026 09:00:00 +0000\r
From: =?utf-8?q?B=C3=B6b?= <bob@example.com>\r
To: meetings@example.net\r
Subject: Where do we park?\r
Message-ID: <p1@example.com>\r
Content-Type: text/plain; charset=iso-8859-1\r
\r
Is there room f\xfcr two cars?\r
"""


def config(folder: Path, to: str = "office@example.org") -> Config:
    return Config.model_validate(
        {"organizers": ["meetings@example.net"], "policy": {"forward_to": to}, "relay": {"directory": str(folder)}}
    )


async def taken(
    folder: Path, raw: bytes, sender: str = "bob@example.com", **words: str
) -> tuple[Decision, list[bytes]]:
    """What is decided about a mail, and the mails that left because of it."""
    settings = config(folder, **words)
    store = await Store.open(f"sqlite:///{folder / 'itipd.db'}")
    inbox = Inbox(store, None, settings)
    await inbox.start()
    try:
        mail = Mail(sender, ("meetings@example.net", "meetings+x@example.net"), raw, AT)
        receipt = await inbox.submit(mail)
        await inbox.submit(mail)  # a relay that did not hear our answer sends it again
        outbox = Outbox(store, settings.relay)
        await outbox.deliver_due()
    finally:
        await inbox.stop()
        await store.close()
    return receipt.results[0], files(folder)


def files(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted(folder.glob("*.eml"))]


async def test_a_letter_goes_on_as_it_came(tmp_path: Path) -> None:
    """Journaled as not_calendar, and sent on once: trace fields in front, every field and octet of it behind them."""
    decision, (sent,) = await taken(tmp_path, LETTER)
    assert (decision.outcome, decision.reason) == ("no_action", "not_calendar")
    assert sent.endswith(LETTER.partition(b"\r\n")[2])
    found = email.message_from_bytes(sent, policy=email.policy.compat32)
    assert (found["Resent-From"], found["Resent-To"]) == ("meetings@example.net", "office@example.org")
    assert (found["Auto-Submitted"], found[forward.MARK]) == ("auto-generated", "meetings@example.net")
    assert len(found.get_all("Received", [])) == 2
    assert found["Return-Path"] is None


@pytest.mark.parametrize(
    ("old", "new", "sender", "why"),
    [
        (b"To:", b"Auto-Submitted: auto-replied\r\nTo:", "bob@example.com", "no person wrote it"),
        (b"To:", b"Precedence: bulk\r\nTo:", "bob@example.com", "no person wrote it"),
        (b"To:", b"To:", "", "no person wrote it"),
        (b"To:", b"X-ITIPD-Forwarded: a@example.org\r\nTo:", "bob@example.com", "it has been forwarded before"),
        (b"To:", b"Received: from a by b\r\n" * 26 + b"To:", "bob@example.com", "it has come over more than 25 relays"),
    ],
)
async def test_nothing_goes_round(tmp_path: Path, old: bytes, new: bytes, sender: str, why: str) -> None:
    """Automatic mail, what was forwarded before and what came a long way stay here, and the decision says why."""
    decision, sent = await taken(tmp_path, LETTER.replace(old, new, 1), sender)
    assert (decision.reason, sent) == ("not_calendar", [])
    assert decision.detail.endswith(f"; not forwarded: {why}")


async def test_an_organizer_is_no_person(tmp_path: Path) -> None:
    """Mail is never forwarded to an address that is served here: it would come back."""
    decision, sent = await taken(tmp_path, LETTER, to="meetings@example.net")
    assert sent == []
    assert "is an organizer's own address" in decision.detail


async def test_what_we_forward_is_not_forwarded_again(tmp_path: Path) -> None:
    """Two mailboxes that forward to each other: the second one keeps the mail."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    _, (sent,) = await taken(tmp_path / "one", LETTER)
    decision, again = await taken(tmp_path / "two", sent)
    assert again == []
    assert "not forwarded" in decision.detail


async def test_other_mail_stays(tmp_path: Path) -> None:
    """An answer, also one that cannot be read, goes to no person."""
    broken = LETTER.replace(b"text/plain", b"text/calendar")
    decision, sent = await taken(tmp_path, broken)
    assert (decision.reason, sent) == ("malformed", [])


def test_the_same_bytes_each_time() -> None:
    """A retry is byte for byte the first try, and a mail from an mbox loses its separator."""
    outgoing = Outgoing(
        organizer="meetings@example.net",
        organizer_name="",
        uid="mail:1",
        method=forward.METHOD,
        rid="",
        sequence=0,
        reason="not_calendar",
        summary="",
        calendar=forward.kept(
            b"From bob Fri Nov 20 09:00:00 2026\n" + LETTER.replace(b"To:", b"Auto-Submitted: no\r\nTo:")
        ),
        created_at=AT,
        recipient="office@example.org",
        message_id="<a@example.net>",
    )
    raw = forward.resent(outgoing)
    assert raw == forward.resent(outgoing)
    assert raw.startswith(b"Received: by example.net (itipd); Fri, 20 Nov 2026 09:00:00 +0000\r\n")
    assert raw.count(b"Auto-Submitted") == 1
    assert b"From bob" not in raw
