"""A meeting with very many guests is sent out: answers to it and to others are committed meanwhile, and soon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from itipd.benchmark.mails import ORGANIZER, calendar, guest, letters, uid
from itipd.config import Relay
from itipd.inbox import Inbox, Mail, Put
from itipd.itip.incoming import incoming
from itipd.outbox import IN_FLIGHT, Outbox, utcnow
from itipd.store import Store
from tests.world import Way, running

GUESTS = 1000
ANSWERS = 60
FEW = 3 * IN_FLIGHT  # mails that leave while one answer waits; those of one claim, and a slow machine's share


@pytest.fixture
async def inbox(store: Store) -> AsyncIterator[Inbox]:
    async with running(store) as found:
        yield found


async def register(inbox: Inbox, meetings: int, guests: int, *, recorded: bool) -> None:
    for one in incoming("".join(calendar(meetings, guests)).encode()):
        await inbox.command(Put(one, recorded=recorded))


async def test_fan_out_holds_up_nobody(inbox: Inbox, tmp_path: Path) -> None:
    """While a thousand invitations leave, each answer is committed between them, and none is lost."""
    store = inbox.store
    await register(inbox, 1, GUESTS, recorded=False)
    way = Way()
    stop = asyncio.Event()
    sending = asyncio.create_task(Outbox(store, Relay(), way=way).run(stop))
    meanwhile = []
    for number, letter in enumerate(letters(ANSWERS, 1, GUESTS, 0)):
        begun = len(way.sent)
        mail = Mail(letter.sender, (ORGANIZER,), letter.raw, utcnow() + timedelta(seconds=number))
        receipt = await inbox.submit(mail)
        meanwhile.append(len(way.sent) - begun)
        assert [str(decision.reason) for decision in receipt.results] == ["replied"]
    stop.set()
    await sending
    await Outbox(store, Relay(), way=way).deliver_due()  # what is left
    assert len(way.sent) == len({envelope.recipient for envelope in way.sent}) == GUESTS
    assert 0 < max(meanwhile) < FEW < GUESTS
    lines, _ = await store.outbox_list(limit=2 * GUESTS)
    assert {line["state"] for line in lines} == {"sent"}
    meeting = await store.meeting(uid(0))
    assert meeting is not None
    reached = [row.schedule_status for row in meeting.attendees.values()]
    assert (reached.count("2.0"), reached.count("1.1")) == (ANSWERS, GUESTS - ANSWERS)
    assert meeting.attendees["", guest(0)].partstat == "ACCEPTED"
