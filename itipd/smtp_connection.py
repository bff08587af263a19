"""One connection at a mail door: its socket, its limits in time, and how commands are taken off it (RFC 5321 §4.5.3).

On aiosmtpd's protocol class, which gives the table of commands and their names. Its streams, its loop and its timers
are replaced: they cost more than all the rest, cancel a handler in the middle of a commit, echo what the client said,
and answer 500 for faults of ours. Here what comes is worked off where it comes, the answers leave together, and only a
message at the inbox makes the client wait. It must never cancel such a message, keep more input than it works off, or
let one client keep the others waiting.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, cast

from aiosmtpd.smtp import SMTP

from itipd.log import log

if TYPE_CHECKING:
    from itipd.smtp import Door

COMMAND_LIMIT = 2048  # octets; RFC 5321 §4.5.3.1.4 asks for 512, ORCPT and ENVID make it longer (RFC 3461 §5)
CHUNK = 65_536  # octets that may lie unread while a message is at the inbox or the client takes no answers
TURN = 100  # commands of one client before the others have their turn
LINGER = 10.0  # seconds that a client has to take our last answer
HANDSHAKE = 30.0  # seconds for STARTTLS

IDLE = b"421 4.4.2 Idle for too long, closing"
STOPPING = b"421 4.3.2 Shutting down, closing"
BROKEN = b"421 4.3.0 Could not go on, closing"


class Connection(SMTP):
    """The protocol of one client. It stays with its door until the connection is lost and its last commit is done."""

    commands: tuple[str, ...] = ()

    def __init__(self, door: Door) -> None:
        self.door = door
        super().__init__(None, hostname=door.hostname, loop=door.loop)
        self.client = ""  # for the log
        self.network = ""  # what the limit of connections for each client counts
        self.trusted = False
        self.secure = False  # TLS
        self.receiving = False  # between 354 and the answer to the message
        self.deciding = False  # the message is at the inbox
        self.lost = False  # the connection is gone
        self.leaving = False  # the dialogue ends after this command
        self.held = 0  # octets of a message, as the door counts them
        self.active_at = self.loop.time()
        self.closing_at: float | None = None
        self._input = bytearray()  # what came and is not yet worked off
        self._output = bytearray()  # answers that wait until all that came is worked off (RFC 2920 §3.2)
        self._ended = False  # the client sends no more
        self._stopped = False  # nothing is taken off the socket
        self._blocked = False  # the client takes no answers
        self._upgrading = False  # to TLS: the transport is about to be another one
        self._again: asyncio.Handle | None = None  # there is more to work off, after the others
        self._waiting_for: asyncio.Task[None] | None = None  # what has to be over before the next command

    def __dir__(self) -> tuple[str, ...]:
        # aiosmtpd looks in here, for each connection, for commands and AUTH mechanisms: these, and no AUTH.
        return self.commands

    # -- what happens to the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.channel = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        refusal = self.door.admit(self, transport.get_extra_info("peername"))
        if refusal is not None:
            log.info("connection_refused", door=self.door.kind, client=self.client, code=refusal[:3].decode())
            self.dismiss(refusal)
            return
        self.say(self.door.greeting)
        self.work()

    def data_received(self, data: bytes) -> None:
        self._input += data
        self.work()

    def eof_received(self) -> bool:
        # A client that shuts down its half still gets all its answers; in TLS there is no half.
        self._ended = True
        self.work()
        return not self.secure

    def pause_writing(self) -> None:
        self._blocked = True

    def resume_writing(self) -> None:
        self._blocked = False
        self.work()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        if self._again is not None:
            self._again.cancel()
        if error is not None:
            log.debug("connection_lost", door=self.door.kind, client=self.client, error=type(error).__name__)
        if self._waiting_for is None:
            self.door.left(self)

    def check(self, now: float, idle: float) -> None:
        """Ends the connection when it has been idle for `idle` seconds, or would not take our last answer."""
        if self.closing_at is not None:
            if now - self.closing_at > LINGER:
                self.abort()
        elif not self.deciding and now - self.active_at > idle:
            self.dismiss(IDLE)

    def dismiss(self, farewell: bytes) -> None:
        """Says goodbye, whatever else was to be said, and closes. Whoever does not read it is cut off by `check`."""
        if self.closing_at is None and not self.lost:
            self.closing_at = self.loop.time()
            self.say(farewell)
            self._flush()
            self.channel.close()

    def abort(self) -> None:
        """Cuts the connection."""
        if not self.lost:
            self.channel.abort()

    # -- the dialogue

    def say(self, answer: bytes) -> None:
        """Adds an answer; it leaves as soon as everything that came is worked off."""
        self._output += answer
        self._output += b"\r\n"

    def leave(self, answer: bytes) -> None:
        """Answers, and ends the dialogue."""
        self.leaving = True
        self.say(answer)

    def step(self) -> bool:
        """Works off one command or piece of a message; False: there is not enough of it yet. Session says how."""
        raise NotImplementedError

    def take(self) -> bytearray:
        """All that came and is not worked off."""
        taken, self._input = self._input, bytearray()
        return taken

    def unread(self, octets: bytes) -> None:
        """Gives back what `take` gave too much."""
        self._input[:0] = octets

    def line(self) -> bytes | None:
        """The next command, without its line end, cut at COMMAND_LIMIT + 1 octets; None: it is not there yet."""
        came = self._input
        end = came.find(b"\n")
        if end < 0:
            del came[COMMAND_LIMIT + 1 :]
            return None
        found = bytes(came[: min(end, COMMAND_LIMIT + 1)])
        del came[: end + 1]
        return found

    def work(self) -> None:
        """Works off what came, then sends the answers."""
        if not self._waits():
            try:
                self._steps()
            except Exception:
                log.exception("dialogue_failed", door=self.door.kind, client=self.client)
                return self.dismiss(BROKEN)
            self._flush()
        self._throttle()
        return None

    def _throttle(self) -> None:
        """Leaves it to the kernel to stop whoever sends on while nothing can be worked off."""
        pause = len(self._input) > CHUNK and self._waits()
        if pause is not self._stopped and self.closing_at is None and not self.lost and not self._upgrading:
            self._stopped = pause
            if pause:
                self.channel.pause_reading()
            else:
                self.channel.resume_reading()

    def _waits(self) -> bool:
        """Whether nothing can be worked off now."""
        return (
            self._waiting_for is not None
            or self._again is not None
            or self._blocked
            or self.closing_at is not None
            or self.lost
        )

    def _steps(self) -> None:
        for _ in range(TURN):
            if self.leaving:
                return self._close()
            if self.door.draining and not self.receiving:
                return self.dismiss(STOPPING)
            more = bool(self._input) and self.step()
            if self._waiting_for is not None:
                return None
            if not more:
                return self._close() if self._ended else None
        self._again = self.loop.call_soon(self._continue)
        return None

    def _continue(self) -> None:
        self._again = None
        self.work()

    def _flush(self) -> None:
        if self._output and not self.lost:
            output, self._output = self._output, bytearray()
            self.channel.write(output)

    def _close(self) -> None:
        """Sends what is still to be sent and closes."""
        if self.closing_at is None and not self.lost:
            self.closing_at = self.loop.time()
            self._flush()
            self.channel.close()

    def busy_with(self, work: Coroutine[Any, Any, None]) -> None:
        """Does `work`, and no command before it is over. A client that goes meanwhile does not stop it."""
        self._flush()
        self._waiting_for = self.loop.create_task(work)
        self._waiting_for.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._waiting_for = None
        if task.cancelled():  # the loop itself is being taken down
            return
        error = task.exception()
        if error is not None:
            log.error("dialogue_failed", door=self.door.kind, client=self.client, exc_info=error)
            self.dismiss(BROKEN)
        if self.lost:
            self.door.left(self)
        else:
            self.work()

    async def upgrade(self, tls: ssl.SSLContext) -> None:
        """Answers 220 and goes over to TLS; a client whose handshake is none is cut off."""
        # RFC 3207 §6: what came in clear behind STARTTLS may be somebody else's; it must not count inside of TLS.
        self._input.clear()
        self._throttle()
        self._upgrading = True
        self.say(b"220 2.0.0 Ready to start TLS")
        self._flush()
        try:
            upgraded = await self.loop.start_tls(
                self.channel, self, tls, server_side=True, ssl_handshake_timeout=HANDSHAKE
            )
        except OSError as error:  # ssl.SSLError is one, and so is a timeout
            log.debug("connection_lost", door=self.door.kind, client=self.client, error=type(error).__name__)
            self.abort()
            self.lost = True  # of a connection that ends in the handshake we are not told
        else:
            if upgraded is not None:
                self.channel, self.secure = upgraded, True
        finally:
            self._upgrading = False
