"""`itipd outbox ...` beside a running daemon: each word of a person is obeyed by the daemon within seconds."""

from __future__ import annotations

import asyncio
import email
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from itipd.store.claims import SUPERSEDED
from tests.cli_help import BOB, CAROL, Itipd, calendar, event
from tests.daemon import PATIENCE, Daemon
from tests.sink import Sink, sink

KEYS = "id method uid recurrence_id sequence to state attempts next_attempt last_error message_id reason".split()
BUSY = "450 4.2.0 mailbox busy"
SECRET = "correct-horse-battery"


class World:
    """A daemon, its relay, and a person at the command line."""

    def __init__(self, daemon: Daemon, relay: Sink, folder: Path) -> None:
        self.daemon = daemon
        self.relay = relay
        self.folder = folder

    async def itipd(self, *words: str, check: bool = True, text: str | None = None) -> str:
        return await asyncio.to_thread(self.daemon.itipd, *words, check=check, text=text)

    async def outbox(self) -> list[dict[str, Any]]:
        return await asyncio.to_thread(self.daemon.json, "outbox", "list")

    async def put(self, *lines: str, start: str = "20361201T090000Z") -> None:
        await self.itipd("meeting", "put", "-", text=calendar(event("a@example.com", *lines, start=start)))

    async def becomes(self, least: int = 0, /, **states: str) -> list[dict[str, Any]]:
        """Waits until each guest's last mail is in that state; what the command then says of all of them.

        `least`: and each was tried so often, for what waits may not have been tried yet.
        """
        give_up = time.monotonic() + PATIENCE
        while (found := self.last(least)) != states:
            assert time.monotonic() < give_up, found
            await asyncio.sleep(0.05)
        return await self.outbox()

    def last(self, least: int = 0) -> dict[str, str]:
        """The state of each guest's last mail, read without any code of the daemon's: a command costs much more."""
        with closing(sqlite3.connect(self.folder / "itipd.db")) as connection:
            query = "SELECT recipient, state FROM deliveries WHERE attempts >= ? ORDER BY id"
            return {recipient.partition("@")[0]: state for recipient, state in connection.execute(query, (least,))}

    def tries(self, recipient: str) -> int:
        return self.relay.commands.count(f"RCPT {recipient}")


@asynccontextmanager
async def running(folder: Path, found: Sink, **words: str) -> AsyncIterator[World]:
    async with sink(found):
        more = "".join(f'{name} = "{value}"\n' for name, value in words.items())
        relay = f'[relay]\nhost = "127.0.0.1"\nport = {found.port}\ntls = "off"\n{more}'
        daemon = await asyncio.to_thread(
            Daemon, folder, config=f'{relay}[log]\nlevel = "debug"\n[readers]\ncount = 1\n'
        )
        try:
            yield World(daemon, found, folder)
            assert await asyncio.to_thread(daemon.stop) == 0
        finally:
            if daemon.process.poll() is None:
                await asyncio.to_thread(daemon.kill)


async def test_a_persons_hand(tmp_path: Path) -> None:
    """list, show, hold, flush, release, drop and retry: the daemon sends what it may, and nothing else."""
    async with running(tmp_path, Sink(refused={BOB: BUSY})) as world:
        await world.put()
        bob, carol = sorted(await world.becomes(bob="waiting", carol="sent"), key=lambda line: line["to"])
        assert list(bob) == KEYS
        assert (bob["attempts"], "mailbox busy" in bob["last_error"], carol["last_error"]) == (1, True, None)
        assert bob["next_attempt"] is not None
        number = str(bob["id"])
        assert "mailbox busy" in await world.itipd("outbox", "show", number)

        await world.itipd("outbox", "hold", number)
        tried = world.tries(BOB)
        world.relay.refused.clear()
        await world.itipd("outbox", "flush")
        # What is put later leaves later: when it has, the held one would have left, too.
        later = event("b@example.com").replace(BOB, "dave@example.org").replace(CAROL, "erin@example.net")
        await world.itipd("meeting", "put", "-", text=calendar(later))
        others = {"dave": "sent", "erin": "sent"}
        await world.becomes(bob="held", carol="sent", **others)
        assert world.tries(BOB) == tried

        await world.itipd("outbox", "drop", number)
        bob, *_ = sorted(await world.becomes(bob="failed", carol="sent", **others), key=lambda line: line["to"])
        assert bob["last_error"] == "dropped by hand"
        assert await world.itipd("outbox", "release", number, check=False) == ""

        await world.itipd("outbox", "retry", number)
        await world.becomes(bob="sent", carol="sent", **others)
        assert await world.itipd("outbox", "retry", number, check=False) == ""
        assert world.tries(BOB) == tried + 1


async def test_release_and_flush(tmp_path: Path) -> None:
    """A released mail is tried at once; flush brings forward what would have waited; each try has the same bytes."""
    found = Sink(faults={"BODY": [BUSY, BUSY]})
    async with running(tmp_path, found) as world:
        await world.put()
        lines = await world.becomes(1, bob="waiting", carol="waiting")
        await world.itipd("outbox", "hold", str(lines[0]["id"]))
        await world.itipd("outbox", "flush")
        first, second = (line["to"][0].partition("@")[0] for line in lines)
        await world.becomes(**{first: "held", second: "sent"})
        await world.itipd("outbox", "release", str(lines[0]["id"]))
        await world.becomes(bob="sent", carol="sent")
        assert (len(found.seen), len(set(found.seen))) == (4, 2)


async def test_superseded_beside_a_daemon(tmp_path: Path) -> None:
    """The meeting moves twice while the relay refuses a guest: only the newest REQUEST leaves, and the CANCEL after."""
    async with running(tmp_path, Sink(refused={BOB: BUSY})) as world:
        await world.put()
        await world.becomes(bob="waiting", carol="sent")
        await world.put(start="20361202T090000Z")
        await world.put(start="20361203T090000Z")
        await world.becomes(bob="waiting", carol="sent")
        await world.itipd("meeting", "cancel", "a@example.com")
        await world.becomes(bob="waiting", carol="sent")
        world.relay.refused.clear()
        await world.itipd("outbox", "flush")
        lines = await world.becomes(bob="sent", carol="sent")
        theirs = [(line["method"], line["state"], line["last_error"]) for line in lines if line["to"] == [BOB]]
        assert theirs == [
            ("REQUEST", "failed", SUPERSEDED), ("REQUEST", "failed", SUPERSEDED), ("REQUEST", "sent", None),
            ("CANCEL", "sent", None),
        ]  # fmt: skip
        got = [
            email.message_from_bytes(taken.raw)["Message-ID"] for taken in world.relay.taken if taken.recipient == BOB
        ]
        assert got == [line["message_id"] for line in lines if line["to"] == [BOB] and line["state"] == "sent"]
        assert (await asyncio.to_thread(world.daemon.json, "db", "rebuild"))[0]["differences"] == []


async def test_no_secret_in_the_log(tmp_path: Path) -> None:
    """The relay's password stands in no line of the log, whatever the relay answers, at any level."""
    async with running(tmp_path, Sink(), username="itipd", password=SECRET) as world:
        await world.put()
        await world.becomes(bob="waiting", carol="waiting")
        assert SECRET not in await world.itipd("outbox", "list")
    assert SECRET not in (tmp_path / "daemon.log").read_text()


@pytest.mark.parametrize("word", ["show", "hold", "release", "retry", "drop"])
def test_unknown_number(tmp_path: Path, word: str) -> None:
    """What is not there is exit 1, with the command that shows what is."""
    found = Itipd(tmp_path)("outbox", word, "7")
    assert (found.code, "itipd outbox list" in found.err) == (1, True)
