"""A relay for tests: a real aiosmtpd on loopback that keeps what it takes and misbehaves where it is told to."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, AnyStr, cast

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

DROP = "drop"
HANG = "hang"
STAGES = ("GREETING", "EHLO", "MAIL", "RCPT", "DATA", "BODY")
"""Where a fault can happen; DATA is the answer to the command, BODY the one to the mail."""


@dataclass
class Taken:
    sender: str
    recipient: str
    raw: bytes


@dataclass
class Sink:
    """What a relay does and what it saw. `faults`: stage -> what is answered there: a reply, DROP or HANG; a list is
    used up one by one, then all is well. `refused`: recipient -> the reply to RCPT."""

    faults: dict[str, str | list[str]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    only_one: bool = False  # one connection at a time, a further one gets 421
    utf8: bool = True
    pipelining: bool = False
    delay: float = 0.0  # before the reply to the mail
    taken: list[Taken] = field(default_factory=list)
    seen: list[bytes] = field(default_factory=list)  # every mail that came in whole, taken or not
    commands: list[str] = field(default_factory=list)
    logins: list[LoginPassword] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)  # of each mail in `taken`
    connections: int = 0
    open: set[_Session] = field(default_factory=set)
    most_open: int = 0
    port: int = 0

    def fault(self, stage: str) -> str | None:
        """What is to go wrong here, if anything."""
        given = self.faults.get(stage)
        if isinstance(given, list):
            return given.pop(0) if given else None
        return given

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's name
        self, server: _Session, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        self.commands.append(f"EHLO {hostname}")
        reply = await server.misbehave("EHLO")
        if reply is None and self.pipelining:
            responses.insert(-1, "250-PIPELINING")
        return [reply] if reply is not None else responses

    async def handle_MAIL(  # noqa: N802
        self, server: _Session, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.commands.append(" ".join(["MAIL", address, *sorted(options)]))
        reply = await server.misbehave("MAIL")
        if reply is None:
            envelope.mail_from = address
        return reply or "250 2.1.0 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: _Session, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.commands.append(f"RCPT {address}")
        reply = self.refused.get(address) or await server.misbehave("RCPT")
        if reply is None:
            envelope.rcpt_tos.append(address)
        return reply or "250 2.1.5 OK"

    async def handle_DATA(self, server: _Session, session: Session, envelope: Envelope) -> str:  # noqa: N802
        raw = envelope.content
        assert isinstance(raw, bytes)
        self.seen.append(raw)
        await asyncio.sleep(self.delay)
        reply = await server.misbehave("BODY")
        if reply is None:
            assert envelope.mail_from is not None
            self.taken.append(Taken(envelope.mail_from, envelope.rcpt_tos[0], raw))
            self.encrypted.append(session.ssl is not None or server.tls_from_the_start)
        return reply or "250 2.6.0 OK"


class _Session(SMTP):
    def __init__(self, sink: Sink, tls_from_the_start: bool, **options: Any) -> None:
        super().__init__(sink, enable_SMTPUTF8=sink.utf8, hostname="relay.example.net", **options)
        self.sink = sink
        self.tls_from_the_start = tls_from_the_start
        self.greeted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self.transport is None:
            self.sink.connections += 1
        self.sink.open.add(self)
        self.sink.most_open = max(self.sink.most_open, len(self.sink.open))
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.sink.open.discard(self)
        super().connection_lost(error)

    async def misbehave(self, stage: str) -> str | None:
        fault = self.sink.fault(stage)
        if fault == HANG:
            await asyncio.sleep(3600)
        if fault == DROP:
            self.drop()
            raise ConnectionResetError
        return fault

    def drop(self) -> None:
        if self.transport is not None:
            cast(asyncio.Transport, self.transport).abort()  # uvloop's is none by name

    async def push(self, status: AnyStr) -> None:
        if not self.greeted:
            self.greeted = True
            full = "421 4.7.0 one connection at a time" if self.sink.only_one and len(self.sink.open) > 1 else None
            fault = full or await self.misbehave("GREETING")
            if fault is not None:
                await super().push(fault)
                if self.transport is not None:
                    cast(asyncio.Transport, self.transport).close()
                return
        await super().push(status)

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802
        reply = await self.misbehave("DATA")
        if reply is not None:
            await self.push(reply)
        else:
            await super().smtp_DATA(arg)


@asynccontextmanager
async def sink(
    found: Sink | None = None,
    *,
    tls: ssl.SSLContext | None = None,
    implicit: bool = False,
    login: tuple[str, str] | None = None,
    port: int = 0,
) -> AsyncIterator[Sink]:
    """A listening sink; `tls` offers STARTTLS, with `implicit` TLS from the first byte; `login` is what AUTH takes."""
    found = found or Sink()
    loop = asyncio.get_running_loop()

    def authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        found.logins.append(data)
        right = login is not None and (data.login, data.password) == tuple(part.encode() for part in login)
        return AuthResult(success=right, handled=False)

    def session() -> _Session:
        offered = None if implicit else tls
        options: dict[str, Any] = {"tls_context": offered, "loop": loop}
        if login is not None:
            options |= {"authenticator": authenticate, "auth_require_tls": False}
        return _Session(found, implicit, **options)

    server = await loop.create_server(session, "127.0.0.1", port, ssl=tls if implicit else None)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        for open_session in list(found.open):
            open_session.drop()
        await server.wait_closed()
        await asyncio.sleep(0.01)  # the sessions' own tasks see the end of their connections
