"""One connection at a mail door: its streams, its limits in time, and the loop that reads commands (RFC 5321 §4.5.3).

On aiosmtpd's protocol class, which gives the connection and the table of commands. Its loop, its timers and its ways
of ending are replaced: they cancel a handler in the middle of a commit, echo what the client said, and answer 500 for
faults of ours. Nothing here cancels the dialogue; it finds out when it next reads or writes.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING, AnyStr, cast

from aiosmtpd.smtp import SMTP

from itipd.log import log

if TYPE_CHECKING:
    from itipd.smtp import Door

COMMAND_LIMIT = 2048  # octets; RFC 5321 §4.5.3.1.4 asks for 512, ORCPT and ENVID make it longer (RFC 3461 §5)
CHUNK = 65_536  # octets read at once
LINGER = 10.0  # seconds that a client has to take our last answer
HANDSHAKE = 30.0  # seconds for STARTTLS

IDLE = b"421 4.4.2 Idle for too long, closing\r\n"
STOPPING = b"421 4.3.2 Shutting down, closing\r\n"
BROKEN = b"421 4.3.0 Could not go on, closing\r\n"


class Connection(SMTP):
    """The protocol of one client. It stays with its door until the connection is lost and its last commit is done."""

    line_length_limit = CHUNK // 2  # only tells asyncio when to stop reading from the socket
    commands: tuple[str, ...] = ()

    def __init__(self, door: Door) -> None:
        self.door = door
        super().__init__(None, hostname=door.hostname, loop=asyncio.get_running_loop())
        self.client = ""  # for the log
        self.network = ""  # what the limit of connections for each client counts
        self.trusted = False
        self.secure = False  # TLS
        self.receiving = False  # between 354 and the answer to the message
        self.deciding = False  # the message is at the inbox
        self.ended = False  # the dialogue is over
        self.lost = False  # the connection is gone
        self.leaving = False  # the dialogue ends after this command
        self.held = 0  # octets of a message, as the door counts them
        self.active_at = self.loop.time()
        self.closing_at: float | None = None
        self._unread = 0  # octets that lie in the stream reader
        self._input = bytearray()  # what was read and is not yet worked off
        self._output = bytearray()  # answers that wait until all that came is worked off (RFC 2920 §3.2)

    def __dir__(self) -> tuple[str, ...]:
        # aiosmtpd looks in here, for each connection, for commands and AUTH mechanisms: these, and no AUTH.
        return self.commands

    # -- what happens to the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        sock = transport.get_extra_info("socket")
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        refusal = self.door.admit(self, transport.get_extra_info("peername"))
        if refusal is None:
            super().connection_made(transport)
        else:
            log.info("connection_refused", door=self.door.kind, client=self.client, code=refusal[:3].decode())
            self.ended = True
            cast(asyncio.Transport, transport).write(refusal)
            transport.close()

    def data_received(self, data: bytes) -> None:
        self._unread += len(data)
        super().data_received(data)

    def eof_received(self) -> bool | None:
        # A client that shuts down its half still gets all its answers.
        return asyncio.StreamReaderProtocol.eof_received(self)

    def connection_lost(self, error: Exception | None) -> None:
        asyncio.StreamReaderProtocol.connection_lost(self, error)
        self.lost = True
        if self.ended:
            self.door.left(self)

    def _reset_timeout(self, duration: float | None = None) -> None:
        self.active_at = self.loop.time()  # the door looks at it: no timer for each command

    def check(self, now: float, idle: float) -> None:
        """Ends the connection when it has been idle for `idle` seconds, or would not take our last answer."""
        if self.closing_at is not None:
            if now - self.closing_at > LINGER:
                self.abort()
        elif not self.deciding and now - self.active_at > idle:
            self.dismiss(IDLE)

    @property
    def task(self) -> asyncio.Task[None]:
        """The dialogue of a connection that was let in."""
        return cast(asyncio.Task[None], self._handler_coroutine)

    def dismiss(self, farewell: bytes) -> None:
        """Says goodbye outside of the dialogue and closes."""
        self._output += farewell
        self.close()

    def close(self) -> None:
        """Sends what is still to be sent and closes. Whoever does not read it is cut off by `check`."""
        if self.closing_at is None:
            self.closing_at = self.loop.time()
            if not self.lost:
                self._writer.write(bytes(self._output))
                self._writer.close()

    def abort(self) -> None:
        """Cuts the connection."""
        if not self.lost:
            self._writer.transport.abort()

    # -- the dialogue

    async def push(self, status: AnyStr) -> None:
        """Adds an answer; it leaves as soon as everything that came is worked off."""
        self._output += status.encode("ascii", "replace") if isinstance(status, str) else status
        self._output += b"\r\n"

    async def leave(self, answer: bytes) -> None:
        """Answers, and ends the dialogue."""
        self.leaving = True
        await self.push(answer)

    async def flush(self) -> None:
        """Sends the answers; waits while the client reads none. Raises OSError when the connection broke."""
        if self._output:
            output, self._output = self._output, bytearray()
            self._writer.write(output)
            await self._writer.drain()

    async def read(self) -> bytes:
        """The next octets, b"" at their end. Raises OSError when the connection broke."""
        if self._input:
            octets = bytes(self._input)
            self._input.clear()
            return octets
        return await self._more()

    def unread(self, octets: bytes) -> None:
        """Gives back what `read` gave too much."""
        self._input[:0] = octets

    async def _more(self) -> bytes:
        await self.flush()
        octets = await self._reader.read(CHUNK)
        self._unread -= len(octets)
        return octets

    async def _line(self) -> bytes | None:
        """The next command, without its line end, cut at COMMAND_LIMIT + 1 octets; None at the end of the input."""
        line = self._input
        while (end := line.find(b"\n")) < 0:
            del line[COMMAND_LIMIT + 1 :]
            octets = await self._more()
            if not octets:
                return None
            line += octets
        found = bytes(line[: min(end, COMMAND_LIMIT + 1)])
        del line[: end + 1]
        return found

    async def upgrade(self, tls: ssl.SSLContext) -> None:
        """Answers 220 and goes over to TLS. Raises OSError when the client's handshake is none."""
        # RFC 3207 §6: what came in clear behind STARTTLS may be somebody else's; it must not count inside of TLS.
        self._input.clear()
        while self._unread:
            self._unread -= len(await self._reader.read(self._unread))
        await self.push(b"220 2.0.0 Ready to start TLS")
        await self.flush()
        await self._writer.start_tls(tls, ssl_handshake_timeout=HANDSHAKE)
        self.secure = True

    async def _handle_client(self) -> None:
        try:
            await self.push(self.door.greeting)
            while not self.leaving:
                if self.door.draining:
                    self._output += STOPPING
                    break
                line = await self._line()
                if line is None:
                    break
                self._reset_timeout()
                await self.command(line)
        except OSError as error:  # the client is gone, or its TLS is none
            log.debug("connection_lost", door=self.door.kind, client=self.client, error=type(error).__name__)
        except Exception:
            log.exception("dialogue_failed", door=self.door.kind, client=self.client)
            self._output += BROKEN
        finally:
            self.ended = True
            self.close()
            if self.lost:
                self.door.left(self)

    async def command(self, line: bytes) -> None:
        """Does and answers one command."""
        raise NotImplementedError
