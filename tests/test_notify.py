"""Who is written to when the organizer says so: `--notify all` and `none` (scenario steps always say `changed`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from itipd.config import Config
from itipd.inbox import Inbox, Put
from itipd.itip.incoming import incoming
from itipd.itip.model import Decision
from itipd.orders import Cancel
from itipd.store import Store

NOW = datetime(2026, 11, 20, 8, tzinfo=UTC)
BEA, CAL, FYI = "bea@example.org", "cal@example.net", "fyi@example.org"


def text(*, hour: int = 9, guests: tuple[str, ...] = (BEA, CAL)) -> bytes:
    """A meeting; the organizer is a guest too, and somebody only shall know of it."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "BEGIN:VEVENT", "UID:plan@example.com", "DTSTAMP:20261119T090000Z"]
    lines += [f"DTSTART:20261201T{hour:02}0000Z", f"DTEND:20261201T{hour + 1:02}0000Z", "SUMMARY:Planning"]
    lines += ["ORGANIZER:mailto:meetings@example.com", "ATTENDEE;PARTSTAT=ACCEPTED:mailto:meetings@example.com"]
    lines += [f"ATTENDEE;RSVP=TRUE:mailto:{guest}" for guest in guests]
    lines += [f"ATTENDEE;ROLE=NON-PARTICIPANT:mailto:{FYI}", "END:VEVENT", "END:VCALENDAR"]
    return "\n".join(lines).encode()


@pytest.fixture
async def inbox(sqlite_url: str) -> AsyncIterator[Inbox]:
    """An inbox with the meeting in it, registered by the application itself."""
    store = await Store.open(sqlite_url)
    found = Inbox(store, None, Config.model_validate({}))
    await found.start()
    await put(found, text(), recorded=True)
    yield found
    await found.stop()
    await store.close()


async def put(inbox: Inbox, data: bytes, notify: str = "changed", *, recorded: bool = False) -> Decision:
    (one,) = incoming(data)
    (decision,) = (await inbox.command(Put(one, notify, recorded), at=NOW)).results
    return decision


def mails(decision: Decision) -> set[tuple[str, str, int]]:
    return {(send.method, to, send.sequence) for send in decision.sends for to in send.to}


async def test_all_without_a_change(inbox: Inbox) -> None:
    """Nothing changed: `changed` writes to nobody, `all` to every guest under the same SEQUENCE, bar the organizer."""
    assert mails(await put(inbox, text())) == set()
    found = mails(await put(inbox, text(), "all"))
    assert {("REQUEST", BEA, 0), ("REQUEST", CAL, 0)} <= found
    assert {to for _, to, _ in found} <= {BEA, CAL, FYI}


async def test_all_with_a_new_guest_list(inbox: Inbox) -> None:
    """A guest goes, one comes: the others hear of it only where `all` says so; SEQUENCE rises with the CANCEL."""
    found = mails(await put(inbox, text(guests=(BEA, "dan@example.org")), "all"))
    assert {("REQUEST", BEA, 1), ("REQUEST", "dan@example.org", 1), ("CANCEL", CAL, 1)} <= found


async def test_none_moves_in_silence(inbox: Inbox) -> None:
    """A move that is told to nobody is a move all the same: SEQUENCE rises, the answers are asked for again."""
    decision = await put(inbox, text(hour=14), "none")
    assert (decision.reason, decision.sequence, mails(decision)) == ("significant_change", 1, set())
    meeting = await inbox.store.meeting("plan@example.com")
    assert meeting is not None
    assert {row.reset_sequence for row in meeting.attendees.values() if row.address in (BEA, CAL)} == {1}


async def test_none_cancels_in_silence(inbox: Inbox) -> None:
    """A meeting that is cancelled without a word is cancelled: a late answer finds it so."""
    receipt = await inbox.command(Cancel("plan@example.com", notify="none"), at=NOW)
    assert [(one.outcome, mails(one)) for one in receipt.results] == [("cancelled", set())]
    meeting = await inbox.store.meeting("plan@example.com")
    assert meeting is not None
    assert (meeting.status, meeting.sequence) == ("CANCELLED", 1)
