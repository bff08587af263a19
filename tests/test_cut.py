"""The client is gone after every octet of the dialogue, with a real inbox behind the door, on both engines."""

from __future__ import annotations

import asyncio

import pytest

from itipd.config import Config
from itipd.inbox import Inbox, Put
from itipd.itip.incoming import incoming
from itipd.smtp import Door, Kind, serve_smtp
from itipd.store import Store
from tests.cli_help import BOB, WE, calendar, event, mail, reply
from tests.smtp_client import Client

UID = "plan@example.com"
STRIDE = 8  # octets of the message's text between two cuts; the commands and the message's end are cut at each


def dialogue(door: Kind, number: int) -> tuple[bytes, bytes]:
    """The commands, and the message with its end."""
    hello = "LHLO" if door == "lmtp" else "EHLO"
    commands = f"{hello} x\r\nMAIL FROM:<{BOB}>\r\nRCPT TO:<{WE}>\r\nDATA\r\n".encode()
    partstat = ("ACCEPTED", "DECLINED", "TENTATIVE")[number % 3]
    text = reply(UID, at=f"20261120T{number // 3600:02}{number // 60 % 60:02}{number % 60:02}Z", partstat=partstat)
    return commands, mail(text, message_id=f"<{number}@mail.test>") + b"\r\n.\r\n"


async def cut(door: Door, octets: bytes) -> None:
    """Sends so much of it, and is gone without a word."""
    client = await Client.connect(door, hello=None)
    async with client:
        await client.send(octets)
        await asyncio.sleep(0)
    await asyncio.wait_for(door._empty.wait(), 10)


@pytest.mark.parametrize("kind", ["smtp", "lmtp"])
async def test_a_mail_cut_anywhere_and_sent_again_counts_once(store: Store, kind: Kind) -> None:
    """However much of it came before the connection broke: sent again it is taken, once, and the state is its state."""
    inbox = Inbox(store, None, Config())
    await inbox.start()
    (meeting,) = incoming(calendar(event(UID)).encode())
    await inbox.command(Put(meeting, recorded=True))
    config = Config.model_validate({kind: {"listen": "127.0.0.1:0"}})
    door = await serve_smtp(config, inbox, kind)
    commands, message = dialogue(kind, 0)
    whole = len(commands) + len(message)
    places = [at for at in range(whole + 1) if at <= len(commands) or at > whole - 6 or at % STRIDE == 0]
    wanted = "NEEDS-ACTION"
    for number, at in enumerate(places):
        commands, message = dialogue(kind, number)
        await cut(door, (commands + message)[:at])
        known = {line["message_id"] for line in (await store.mail_list(limit=1))[0]}
        # Whole, but cut with a reset: the system may have thrown it away unread.
        assert at == whole or f"<{number}@mail.test>" not in known, f"cut after {at} octets"
        client = await Client.connect(door, hello=None)
        async with client:
            await client.send(commands + message)
            answers = [await client.answer() for _ in range(5)]
        assert answers[-1].startswith("250 2.0.0 "), f"cut after {at} octets"
        wanted = ("ACCEPTED", "DECLINED", "TENTATIVE")[number % 3]
        found = await store.meeting(UID)
        assert found is not None
        assert found.attendees["", BOB].partstat == wanted
    mails = (await store.mail_list(limit=2 * len(places)))[0]
    assert sorted(line["message_id"] for line in mails) == sorted(f"<{n}@mail.test>" for n in range(len(places)))
    assert await store.verify() == []
    assert await door.drain(5.0)
    await inbox.stop()
