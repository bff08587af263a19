"""A session with a relay that offers PIPELINING (RFC 2920): what can be said at once is said at once.

Duty: take over the transport that aiosmtplib has opened, greeted and encrypted, and hand over each mail in two writes
instead of four. It must never take one reply for another, and never give the words of a mail to a relay that has
refused its sender or its recipient.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque

import aiosmtplib

LONGEST = 1 << 16
"""Octets of replies that are waiting at most: no relay has so much to say."""

_DOT = re.compile(rb"(?m)^\.")
_UNSAFE = re.compile(r"[\x00-\x20\x7f<>]")

Reply = tuple[int, str]


class Refused(aiosmtplib.SMTPResponseException):
    """The relay said no to MAIL, RCPT or DATA (`stage`)."""

    def __init__(self, stage: str, reply: Reply) -> None:
        super().__init__(*reply)
        self.stage = stage


class Pipe(asyncio.Protocol):
    """Commands out, replies in, in their order. Whoever was interrupted in the middle closes it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._rest = b""
        self._lines: list[str] = []
        self._replies: deque[Reply] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._lost: Exception | None = None
        self.stage = "MAIL"
        transport.set_protocol(self)

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            text = line.decode("utf-8", "surrogateescape").rstrip("\r")
            self._lines.append(text[4:].strip(" \t"))
            if text[3:4] == "-":
                continue
            if not (text[:3].isascii() and text[:3].isdigit()):
                self._fail(aiosmtplib.SMTPResponseException(-1, f"Malformed SMTP response line: {text[:200]}"))
                return
            self._replies.append((int(text[:3]), "\n".join(self._lines)))
            self._lines = []
        if len(self._rest) + sum(map(len, self._lines)) > LONGEST or len(self._replies) > LONGEST >> 8:
            self._fail(aiosmtplib.SMTPResponseException(-1, "Response too long"))
        elif self._replies:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc if isinstance(exc, OSError) else ConnectionResetError("Connection lost"))

    def _fail(self, error: Exception) -> None:
        self._lost = self._lost or error
        self._transport.abort()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _reply(self, seconds: float) -> Reply:
        if not self._replies:  # most come together
            try:
                async with asyncio.timeout(seconds):
                    while not self._replies:
                        if self._lost is not None:
                            raise self._lost
                        self._waiter = asyncio.get_running_loop().create_future()
                        await self._waiter
            except TimeoutError:
                raise aiosmtplib.SMTPReadTimeoutError("Timed out waiting for server response") from None
        return self._replies.popleft()

    async def command(self, text: str, seconds: float) -> Reply:
        """One command and its reply."""
        self._write(f"{text}\r\n".encode())
        return await self._reply(seconds)

    def _write(self, data: bytes) -> None:
        if self._lost is not None:
            raise self._lost
        if self._replies:  # unasked for: like "421 idle for too long" before it closes
            raise Refused("MAIL", self._replies[0])
        self._transport.write(data)

    async def send(
        self, sender: str, recipient: str, options: list[str], raw: bytes, *, seconds: float, data_seconds: float
    ) -> str:
        """One mail; what the relay says of it. Raises Refused, SMTPException or OSError; `stage` is where it stood."""
        if _UNSAFE.search(sender + recipient):
            raise ValueError("an address with blanks, controls or angle brackets cannot be sent to")
        self.stage = "MAIL"
        words = " ".join((f"MAIL FROM:<{sender}>", *options))
        self._write(f"{words}\r\nRCPT TO:<{recipient}>\r\nDATA\r\n".encode())
        refused: Refused | None = None
        for stage in ("MAIL", "RCPT", "DATA"):
            self.stage = stage
            reply = await self._reply(seconds)
            if refused is None and (reply[0] != 354 if stage == "DATA" else reply[0] // 100 != 2):
                refused = Refused(stage, reply)
                if reply[0] == 421:
                    raise refused  # RFC 5321 §3.8: it closes, there will be no other reply
        if refused is not None:
            if reply[0] == 354:  # RFC 2920 §3.1: it waits for a mail to nobody
                self._write(b".\r\n")
                await self._reply(data_seconds)
            raise refused
        ended = raw if raw.endswith(b"\r\n") else raw + b"\r\n"
        self._write(_DOT.sub(b"..", ended) + b".\r\n")  # RFC 5321 §4.5.2
        reply = await self._reply(data_seconds)
        if reply[0] // 100 != 2:
            raise Refused("DATA", reply)
        return reply[1]
