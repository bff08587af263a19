"""What the tests of the mail doors share: a raw client, and an inbox that only remembers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any

import pytest

from itipd.config import Config
from itipd.itip.model import Decision
from itipd.itip.outcomes import Outcome, Reason
from itipd.orders import Mail, Receipt
from itipd.smtp import Door, Kind, Limits, serve_smtp

Serve = Callable[..., Awaitable[Door]]
MESSAGE = b"From: b@example.com\r\nSubject: Accepted\r\n\r\nHello\r\n"


class FakeInbox:
    """Remembers mails; `gate` holds commits back, `error` makes them fail."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []
        self.committed: list[Mail] = []
        self.gate: asyncio.Event | None = None
        self.error: BaseException | None = None
        self.entered = asyncio.Event()

    async def submit(self, mail: Mail) -> Receipt:
        self.mails.append(mail)
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.committed.append(mail)
        return Receipt(len(self.mails), (Decision(Outcome.UPDATED, Reason.REPLIED),))


class Client:
    """A client that sends octets as they are and reads whole answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, door: Door, hello: str | None = "EHLO client.example.com") -> Client:
        """A connection whose greeting was read, and, unless `hello` is None, that has introduced itself."""
        if door.address.startswith("unix:"):
            client = cls(*await asyncio.open_unix_connection(door.address.removeprefix("unix:")))
        else:
            host, _, port = door.address.rpartition(":")
            client = cls(*await asyncio.open_connection(host.strip("[]"), int(port)))
        await client.answer()
        if hello is not None:
            await client.say(hello)
        return client

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.transport.abort()
        await asyncio.sleep(0)

    async def send(self, octets: bytes) -> None:
        self.writer.write(octets)
        await self.writer.drain()

    async def answer(self) -> str:
        """The next answer, its lines joined by newlines; "" when the server has closed."""
        lines: list[str] = []
        while True:
            line = (await asyncio.wait_for(self.reader.readline(), 5)).decode("ascii")
            if not line:
                return ""
            assert line.endswith("\r\n")
            lines.append(line[:-2])
            if line[3:4] != "-":
                return "\n".join(lines)

    async def say(self, command: str | bytes) -> str:
        """Sends one command and reads its answer."""
        await self.send((command.encode() if isinstance(command, str) else command) + b"\r\n")
        return await self.answer()

    async def envelope(self, *recipients: str, sender: str = "b@example.com") -> None:
        """MAIL, RCPT for each of `recipients`, DATA: all taken."""
        assert (await self.say(f"MAIL FROM:<{sender}>")).startswith("250 ")
        for recipient in recipients or ("meetings@example.com",):
            assert (await self.say(f"RCPT TO:<{recipient}>")).startswith("250 ")
        assert (await self.say("DATA")).startswith("354 ")

    async def deliver(self, message: bytes = MESSAGE, *recipients: str) -> str:
        """Sends one message (already dot-stuffed, ending in CRLF); the answer to it."""
        await self.envelope(*recipients)
        await self.send(message + b".\r\n")
        return await self.answer()


@pytest.fixture
def inbox() -> FakeInbox:
    return FakeInbox()


@pytest.fixture
async def serve(inbox: FakeInbox) -> AsyncIterator[Serve]:
    """Opens doors: `await serve("smtp", organizers=[...], limits=Limits(...), **keys of the section)`.

    At the end each must come to rest with nobody connected and nothing held.
    """
    doors: list[Door] = []

    async def open_door(kind: Kind = "smtp", organizers: Any = (), limits: Limits | None = None, **keys: Any) -> Door:
        size = {"max_message_size": keys.pop("max_message_size", 100_000)}
        given: dict[str, Any] = {"organizers": organizers, "smtp": size}
        given[kind] = {**given.get(kind, {}), "listen": "127.0.0.1:0", **keys}
        doors.append(await serve_smtp(Config.model_validate(given), inbox, kind, limits))
        return doors[-1]

    yield open_door
    if inbox.gate is not None:
        inbox.gate.set()
    for door in doors:
        await door.drain(2.0)
        assert (len(door._sessions), door._held, len(door._networks)) == (0, 0, 0)
