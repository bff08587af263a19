"""A small organizer for tests: an inbox, an outbox whose relay says what it is told, and a clock that goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from itipd.config import Config, Relay
from itipd.inbox import Cancel, Inbox, Mail, Put
from itipd.itip.incoming import incoming
from itipd.outbox import Outbox
from itipd.rebuild import Rebuilt, rebuild
from itipd.relay_session import Envelope, Verdict
from itipd.store import Store
from tests.cli_help import BOB, WE, calendar, event, mail, reply

SENT = Verdict("sent", None, "ok")
LATER = Verdict("later", "4.2.0", "450 not now")
UNKNOWN = Verdict("failed", "5.1.1", "550 no such user")
REFUSED = Verdict("failed", "5.7.1", "550 not from you")


@dataclass
class Way:
    """A way out that says what it is told to say to each recipient."""

    says: dict[str, Verdict] = field(default_factory=dict)
    sent: list[Envelope] = field(default_factory=list)

    async def deliver(self, envelope: Envelope) -> Verdict:
        self.sent.append(envelope)
        return self.says.get(envelope.recipient, SENT)

    async def tidy(self) -> None: ...

    async def close(self) -> None: ...


@dataclass
class World:
    """An organizer with an inbox and an outbox, and a clock that goes on with everything that happens."""

    store: Store
    inbox: Inbox
    way: Way = field(default_factory=Way)
    now: datetime = datetime(2026, 11, 20, 8, tzinfo=UTC)

    async def put(self, *lines: str, start: str = "20261201T090000Z", uid: str = "plan") -> None:
        self.now += timedelta(minutes=1)
        for one in incoming(calendar(event(uid, *lines, start=start)).encode()):
            await self.inbox.command(Put(one), at=self.now)

    async def cancel(self) -> None:
        self.now += timedelta(minutes=1)
        await self.inbox.command(Cancel("plan", organizer=WE), at=self.now)

    async def deliver(self, **says: Verdict) -> None:
        self.now += timedelta(hours=2)
        self.way.says = {f"{name}@{BOB.partition('@')[2] if name == 'bob' else 'example.net'}": verdict
                         for name, verdict in says.items()}  # fmt: skip
        await Outbox(self.store, Relay(), clock=lambda: self.now, way=self.way).deliver_due()

    async def accept(self, who: str, *lines: str, sequence: int = 0, uid: str = "plan", method: str = "REPLY") -> None:
        self.now += timedelta(minutes=1)
        stamp = f"{self.now:%Y%m%dT%H%M%SZ}"
        text = reply(uid, *lines, who=who, sequence=sequence, at=stamp, method=method)
        raw = mail(text, sender=who, message_id=f"<{self.now.timestamp()}@mail.example.org>")
        await self.inbox.submit(Mail(who, (WE,), raw, self.now))

    async def bounce(self, number: int) -> None:
        """What was sent as the `number`th comes back."""
        self.now += timedelta(minutes=1)
        envelope = self.way.sent[number]
        raw = (
            f"From: MAILER-DAEMON@mx.example.org\r\nTo: {envelope.sender}\r\nMIME-Version: 1.0\r\n"
            'Content-Type: multipart/report; report-type=delivery-status; boundary="r"\r\n\r\n'
            "--r\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.org\r\n\r\n"
            f"Final-Recipient: rfc822;{envelope.recipient}\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n--r--\r\n"
        )
        await self.inbox.submit(Mail("", (envelope.sender,), raw.encode(), self.now))

    async def reached(self) -> dict[str, str | None]:
        meeting = await self.store.meeting("plan", WE)
        assert meeting is not None
        return {address: row.schedule_status for (_, address), row in meeting.attendees.items()}

    async def attempts(self) -> list[Any]:
        """Every try of each mail."""
        found = [await self.store.outbox(number) for number in range(1, 20)]
        return sorted((one["message_id"], one["attempts"], one["attempts_made"]) for one in found if one is not None)

    async def queue(self) -> list[tuple[Any, ...]]:
        """Without ids: those of another database may be others."""
        lines, _ = await self.store.outbox_list(limit=100)
        return sorted((line["message_id"], line["method"], line["state"], line["last_error"]) for line in lines)


@asynccontextmanager
async def running(store: Store, **sections: object) -> AsyncIterator[Inbox]:
    """An inbox that reads in this process."""
    inbox = Inbox(store, None, Config.model_validate({"organizers": [WE], **sections}))
    await inbox.start()
    try:
        yield inbox
    finally:
        await inbox.stop()


@asynccontextmanager
async def rebuilt(world: World, folder: Path) -> AsyncIterator[tuple[World, Rebuilt]]:
    """What comes of the world's journal in a new database."""
    target = await Store.open(f"sqlite:///{folder / f'rebuilt{world.now:%H%M}.db'}")
    await target.inherit(world.store)
    try:
        async with running(target) as inbox:
            yield World(target, inbox), await rebuild(world.store, target, inbox, lambda: None)
    finally:
        await target.close()
