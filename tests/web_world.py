"""A small world for the web's tests: a real store with meetings in it, an inbox that notes what it is given."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

import httpx2

from itipd.config import Config
from itipd.inbox import Inbox, Mail, Receipt
from itipd.itip.incoming import incoming
from itipd.itip.model import Decision, Meeting, Policy, Proposal, PutAttendee, PutProposal
from itipd.itip.organize import put
from itipd.itip.outcomes import Outcome, Reason
from itipd.mail.reading import Reading, ReadSettings, read_mail
from itipd.store import Entry, NewDelivery, OutcomeRow, Ref, Sending, Store, Want
from itipd.web.app import create_app

NOW = datetime(2026, 11, 20, 8, 0, 5, tzinfo=UTC)
WE = "meetings@example.com"
BOB = "bob@example.com"
CAROL = "carol@example.com"


def calendar(uid: str, summary: str = "Plan", *lines: str, start: str = "20261201T100000") -> bytes:
    """An organizer's event in Berlin with two guests, and further lines."""
    text = [
        "BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//example.com//test//EN", "BEGIN:VEVENT", f"UID:{uid}",
        "DTSTAMP:20261101T080000Z", f"DTSTART;TZID=Europe/Berlin:{start}", "DURATION:PT1H", f"SUMMARY:{summary}",
        f"ORGANIZER;CN=Meetings:mailto:{WE}", f"ATTENDEE;RSVP=TRUE;CN=Bob:mailto:{BOB}",
        f"ATTENDEE;RSVP=TRUE;CN=Carol:mailto:{CAROL}", *lines, "END:VEVENT", "END:VCALENDAR", "",
    ]  # fmt: skip
    return "\r\n".join(text).encode()


REPLIED = Decision(Outcome.UPDATED, Reason.REPLIED, uid="plan", attendee=BOB, partstat="ACCEPTED")


@dataclass
class NotingInbox:
    """Takes everything and notes it; or fails, if it is given an exception."""

    mails: list[Mail] = field(default_factory=list)
    orders: list[Any] = field(default_factory=list)
    decision: Decision = REPLIED
    failure: Exception | None = None
    stalled: bool = False
    config: Config = field(default_factory=Config)

    async def read(self, mail: Mail) -> Reading:
        settings = ReadSettings()
        return read_mail(mail.raw, sender="", recipients=mail.recipients, submission=False, settings=settings)

    async def submit(self, mail: Mail) -> Receipt:
        if self.failure is not None:
            raise self.failure
        self.mails.append(mail)
        return Receipt(7, (self.decision,))

    async def command(self, order: Any) -> Receipt:
        if self.failure is not None:
            raise self.failure
        self.orders.append(order)
        return Receipt(8, (self.decision,))


@dataclass
class World:
    """`web` asks the application over `store` and `inbox`, as a program on this machine would."""

    store: Store
    inbox: NotingInbox
    web: httpx2.AsyncClient

    async def put(self, data: bytes) -> Meeting:
        """Registers, or changes, the meeting in `data`."""
        (one,) = incoming(data)
        assert one.fault is None
        organizer = one.organizer.address if one.organizer else WE
        async with self.store.batch() as batch:
            await batch.gather([Want(organizer, one.uid, everything=True)])
            before = batch.meeting(organizer, one.uid)
            decision = put(before, one, Policy(), NOW, recorded=True)
            return await batch.apply(before, organizer, one.uid, decision.writes)

    async def answer(self, uid: str, address: str, partstat: str, **fields: Any) -> int:
        """Stores an answer as if a mail had brought it; the id of that mail."""
        async with self.store.batch() as batch:
            await batch.gather([Want(WE, uid, everything=True)])
            meeting = batch.meeting(WE, uid)
            assert meeting is not None
            row = replace(meeting.attendees["", address], partstat=partstat, replied_at=NOW, **fields)
            await batch.apply(meeting, WE, uid, [PutAttendee(row)])
            ref = self._mail(batch, f"mail of {address}: {partstat}".encode())
            decision = Decision(Outcome.UPDATED, Reason.REPLIED, uid, "", "REPLY", address, partstat, 0)
            batch.outcome(OutcomeRow(ref, 0, decision, NOW))
        return ref.id

    async def propose(self, uid: str, proposal: Proposal) -> int:
        """Stores a counter proposal; its id."""
        async with self.store.batch() as batch:
            await batch.gather([Want(WE, uid, everything=True)])
            meeting = await batch.apply(batch.meeting(WE, uid), WE, uid, [PutProposal(proposal)])
        return max(meeting.proposals)

    async def send(self, uid: str, to: Sequence[str]) -> None:
        """Puts a REQUEST for each of `to` into the outbox."""
        async with self.store.batch() as batch:
            await batch.gather([Want(WE, uid)])
            meeting = batch.meeting(WE, uid)
            assert meeting is not None
            deliveries = tuple(NewDelivery(one, f"<{uid}-{one}>", f"{uid}-{one}"[:60]) for one in to)
            batch.send(
                Sending(
                    WE, "Meetings", uid, meeting.id, "REQUEST", "", 0, "registered", "Plan", "BEGIN:VCALENDAR", NOW,
                    deliveries, self._mail(batch, uid.encode()),
                )
            )  # fmt: skip

    def _mail(self, batch: Any, raw: bytes) -> Ref:
        entry = Entry(WE, "mail", NOW, zlib.compress(raw), BOB, (WE,), "127.0.0.1", f"<{hash(raw)}@example.com>", BOB)
        ref: Ref = batch.journal(entry)
        return ref


@asynccontextmanager
async def world(url: str, **settings: Any) -> AsyncIterator[World]:
    """A world on a new database at `url`; `settings` are further keys of the configuration."""
    store = await Store.open(url)
    inbox = NotingInbox()
    config = Config.model_validate({"database": url, "smtp": {"max_message_size": 20_000}, **settings})
    transport = httpx2.ASGITransport(create_app(store, cast(Inbox, inbox), config))
    try:
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost:8080") as web:
            yield World(store, inbox, web)
    finally:
        await store.close()
