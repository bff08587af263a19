"""Bounces from end to end: a meeting goes out through the outbox, its report comes back to the return path's token.

RFC 3464, RFC 6638 §3.2.9: the attendee's SCHEDULE-STATUS follows, PARTSTAT never, and a forged report does nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from itipd.config import Config, Relay
from itipd.inbox import Inbox, Mail, Put
from itipd.itip.incoming import incoming
from itipd.itip.model import Attendee, Decision
from itipd.mail.bounce import schedule_status
from itipd.orders import Cancel
from itipd.outbox import GIVE_UP, Outbox
from itipd.store import Store
from itipd.store.outbox import failure
from tests.sink import Sink, sink

NOW = datetime(2026, 11, 20, 8, tzinfo=UTC)
ORGANIZER = "meetings@example.com"
BEA, CAL = "bea@example.org", "cal@example.net"
SERIES = f"""BEGIN:VCALENDAR
VERSION:2.0
BEGIN:VEVENT
UID:plan@example.com
DTSTAMP:20261119T090000Z
DTSTART:20261201T090000Z
DTEND:20261201T100000Z
RRULE:FREQ=WEEKLY;COUNT=8
SUMMARY:Planning
ORGANIZER;CN=Meetings:mailto:{ORGANIZER}
ATTENDEE;RSVP=TRUE:mailto:{BEA}
ATTENDEE;RSVP=TRUE:mailto:{CAL}
END:VEVENT
END:VCALENDAR
"""
FIELDS = "Final-Recipient: rfc822;{to}\nAction: {action}\nStatus: {status}\n"
AWAY = f"I am away. Please write to Cal, {CAL}, or Bea, {BEA}, instead.\n"
QMAIL = (
    "Hi. This is the qmail-send program at relay.example.com.\nI'm afraid I wasn't able to deliver your message to the"
    " following addresses.\n\n<{to}>:\nRemote host said: 550 5.7.1 no\n\n"
    "--- Below this line is a copy of the message.\n"
)


@dataclass
class World:
    """An inbox and an outbox over one store, and the relay that the outbox sends to."""

    store: Store
    inbox: Inbox
    outbox: Outbox
    relay: Sink
    now: datetime = NOW
    paths: dict[str, str] = field(default_factory=dict)  # recipient -> the return path of the mail to them

    async def deliver(self) -> None:
        """Everything that waits goes to the relay."""
        self.now += timedelta(minutes=1)
        await self.outbox.deliver_due()
        self.paths |= {taken.recipient: taken.sender for taken in self.relay.taken}

    async def invite(self) -> None:
        for one in incoming(SERIES.encode()):
            await self.inbox.command(Put(one), at=self.now)
        await self.deliver()

    async def come(self, to: str, body: str, *, sender: str = "") -> Decision:
        """A mail to `to`; its one result."""
        self.now += timedelta(minutes=1)
        raw = f"To: {to}\n{body}".replace("\n", "\r\n").encode()
        receipt = await self.inbox.submit(Mail(sender, (to,), raw, self.now, door="smtp"))
        (result,) = receipt.results
        return result

    async def row(self, address: str, rid: str = "") -> Attendee:
        meeting = await self.store.meeting("plan@example.com")
        assert meeting is not None
        return meeting.attendees[rid, address]


def report(fields: str, returned: str = "", number: int = 1) -> str:
    """A report of RFC 3464; `returned` is what of our own mail comes with it."""
    parts = ["Content-Type: text/plain\n\nIt was not delivered.\n"]
    parts.append(f"Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.org\n\n{fields}")
    if returned:
        parts.append(f"Content-Type: message/rfc822\n\n{returned}")
    return (
        f"From: MAILER-DAEMON@mx.example.org\nMessage-ID: <report-{number}@mx.example.org>\nMIME-Version: 1.0\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="r"\n\n'
        + "".join(f"--r\n{part}\n" for part in parts)
        + "--r--\n"
    )


def words(text: str) -> str:
    """A report, or any other mail, that is only text."""
    return f"From: MAILER-DAEMON@relay.example.com\nMessage-ID: <words@relay.example.com>\nSubject: x\n\n{text}"


def reply(partstat: str) -> str:
    """Bea's own answer."""
    lines = (
        *("BEGIN:VCALENDAR", "METHOD:REPLY", "BEGIN:VEVENT", "UID:plan@example.com", "SEQUENCE:0"),
        *("DTSTAMP:20261120T093000Z", f"ORGANIZER:mailto:{ORGANIZER}"),
        *(f"ATTENDEE;PARTSTAT={partstat}:mailto:{BEA}", "END:VEVENT", "END:VCALENDAR"),
    )
    head = f"From: {BEA}\nMessage-ID: <reply@example.org>\nContent-Type: text/calendar; method=REPLY\n\n"
    return head + "\n".join(lines) + "\n"


@asynccontextmanager
async def world(store: Store, relay: Sink) -> AsyncIterator[World]:
    config = Config.model_validate({"organizers": [ORGANIZER, "rooms@example.com"]})
    inbox = Inbox(store, None, config)
    outbox = Outbox(store, Relay(host="127.0.0.1", port=relay.port), clock=lambda: found.now)
    found = World(store, inbox, outbox, relay)
    await inbox.start()
    try:
        yield found
    finally:
        await inbox.stop()
        await outbox.close()


@pytest.fixture
async def out(store: Store) -> AsyncIterator[World]:
    """The invitation has gone out to both guests."""
    async with sink() as relay, world(store, relay) as found:
        await found.invite()
        yield found


@pytest.mark.parametrize(
    ("action", "status", "expected"),
    [
        ("failed", "5.1.1", "3.7"),
        ("failed", "5.7.1", "5.3"),
        ("failed", "5.2.2", "5.2"),
        ("failed", "4.4.7", "5.1"),
        ("delayed", "4.4.1", "1.1"),
        ("delivered", "2.1.5", "1.2"),
        ("relayed", "2.1.9", "1.2"),
    ],
)
async def test_report_to_the_return_path(out: World, action: str, status: str, expected: str) -> None:
    """The token finds the attendee without the returned mail and under another name; only their status changes."""
    assert (await out.row(BEA)).schedule_status == "1.1"
    fields = FIELDS.format(to="b.builder@internal.example.org", action=action, status=status)
    decision = await out.come(out.paths[BEA], report(fields))
    assert (decision.reason, decision.attendee, decision.uid) == ("bounced", BEA, "plan@example.com")
    assert decision.outcome == ("no_action" if action == "delayed" else "updated")
    bea, cal = await out.row(BEA), await out.row(CAL)
    assert (bea.schedule_status, bea.partstat, bea.revision) == (expected, "NEEDS-ACTION", None)
    assert cal.schedule_status == "1.1"


async def test_token_in_capitals(out: World) -> None:
    """A relay on the way may write the local part in capitals; the token is the same one."""
    fields = FIELDS.format(to=BEA, action="failed", status="5.1.1")
    decision = await out.come(out.paths[BEA].upper(), report(fields))
    assert decision.reason == "bounced"
    assert (await out.row(BEA)).schedule_status == "3.7"


async def test_forged_token_changes_nothing(out: World) -> None:
    """One wrong letter: unknown_report, although the recipient, the Message-ID and the calendar are ours."""
    path = out.paths[BEA]
    head, at, rest = path.partition("@")
    forged = head[:-1] + ("a" if head[-1] != "a" else "b") + at + rest
    returned = next(taken.raw for taken in out.relay.taken if taken.recipient == BEA).decode().replace("\r\n", "\n")
    fields = FIELDS.format(to=BEA, action="failed", status="5.1.1")
    decision = await out.come(forged, report(fields, returned))
    assert (decision.outcome, decision.reason) == ("no_action", "unknown_report")
    assert (await out.row(BEA)).schedule_status == "1.1"
    # The very same report without any token is believed for what it returns.
    decision = await out.come(ORGANIZER, report(fields, returned, number=2))
    assert decision.reason == "bounced"
    assert (await out.row(BEA)).schedule_status == "3.7"


async def test_token_at_another_organizer(out: World) -> None:
    """A token is good for the organizer whose mail it was on, and for nobody else."""
    path = out.paths[BEA].replace("meetings+", "rooms+")
    fields = FIELDS.format(to=BEA, action="failed", status="5.1.1")
    decision = await out.come(path, report(fields))
    assert decision.reason == "unknown_report"
    assert (await out.row(BEA)).schedule_status == "1.1"


async def test_reply_clears_and_is_not_overruled(out: World) -> None:
    """A later answer clears the failure; a report that comes after it about the mail before it is too late."""
    fields = FIELDS.format(to=BEA, action="failed", status="5.7.1")
    await out.come(out.paths[BEA], report(fields))
    assert (await out.row(BEA)).schedule_status == "5.3"
    assert (await out.come(ORGANIZER, reply("ACCEPTED"), sender=BEA)).reason == "replied"
    assert (await out.row(BEA)).schedule_status == "2.0"
    decision = await out.come(out.paths[BEA], report(fields, number=2))
    assert (decision.outcome, decision.reason) == ("no_action", "bounced")
    bea = await out.row(BEA)
    assert (bea.schedule_status, bea.partstat) == ("2.0", "ACCEPTED")


async def test_words_to_the_return_path(out: World) -> None:
    """A report in qmail's words counts for the one to whom that mail went."""
    decision = await out.come(out.paths[BEA], words(QMAIL.format(to=BEA)))
    assert (decision.reason, decision.attendee) == ("bounced", BEA)
    assert (await out.row(BEA)).schedule_status == "5.3"


async def test_words_about_somebody_else(out: World) -> None:
    """Words are a guess: another address in them than the one written to is believed of nobody."""
    decision = await out.come(out.paths[BEA], words(QMAIL.format(to=CAL)))
    assert decision.reason == "unknown_report"
    assert {(await out.row(name)).schedule_status for name in (BEA, CAL)} == {"1.1"}


async def test_absence_notice_to_the_return_path(out: World) -> None:
    """Automatic answers go to the return path too (RFC 3834 §4); whatever addresses they name, they are no report."""
    decision = await out.come(out.paths[BEA], words(AWAY))
    assert decision.reason == "not_calendar"
    assert {(await out.row(name)).schedule_status for name in (BEA, CAL)} == {"1.1"}


CODES = {
    "550 5.1.1 no such user": "3.7",
    "550 no such user": "3.7",
    "550 5.1.2 no such host": "5.2",
    "554 5.4.4 nowhere to go": "5.2",
    "550 5.7.1 not from you": "5.3",
    "554 5.7.26 unauthenticated": "5.3",
}


@pytest.mark.parametrize(("answer", "expected"), CODES.items())
async def test_refused_by_the_relay(store: Store, answer: str, expected: str) -> None:
    """A relay's refusal at RCPT sets the status that a report with the same code would set; the others get theirs."""
    async with sink() as relay, world(store, relay) as found:
        relay.refused[CAL] = answer
        await found.invite()
        assert (await found.row(CAL)).schedule_status == expected
        assert (await found.row(BEA)).schedule_status == "1.1"
        assert (await found.row(CAL)).partstat == "NEEDS-ACTION"


async def test_given_up(store: Store) -> None:
    """Refused for the moment, for five days: 5.1, and until then nothing is said."""
    async with sink() as relay, world(store, relay) as found:
        relay.refused[CAL] = "451 not now"
        await found.invite()
        assert (await found.row(CAL)).schedule_status is None
        found.now += GIVE_UP
        await found.deliver()
        assert (await found.row(CAL)).schedule_status == "5.1"


async def test_cancelled_instance_does_not_arrive(store: Store) -> None:
    """Where only an instance's CANCEL is refused, the attendee is marked, in the session as by a report."""
    rid = "20261208T090000Z"
    async with sink() as relay, world(store, relay) as found:
        await found.invite()
        relay.refused[CAL] = "550 5.1.1 no such user"
        await found.inbox.command(Cancel("plan@example.com", (rid,)), at=found.now)
        await found.deliver()
        meeting = await store.meeting("plan@example.com")
        assert meeting is not None
        marked = {row.schedule_status for (_, name), row in meeting.attendees.items() if name == CAL}
        assert "3.7" in marked


@pytest.mark.parametrize("code", ["4.2.2", "4.4.7", "5.0.0", "5.1.1", "5.1.2", "5.2.2", "5.4.4", "5.7.0", "5.7.1", ""])
def test_one_table_of_codes(code: str) -> None:
    """The session with the relay and a report mean the same by the same code."""
    assert failure(code) == schedule_status(code)
