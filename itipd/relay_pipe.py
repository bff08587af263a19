"""A session with a relay that offers PIPELINING (RFC 2920): what can be said at once is said at once.

Duty: take over the transport that aiosmtplib has opened, greeted and encrypted, and say with the words of one mail who
the next one is from and to (RFC 2920 §3.1 allows that): one write and one answer for each. It must never take one reply
for another, and never give the words of a mail to a relay that has refused its sender or its recipient.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable

import aiosmtplib

LONGEST = 1 << 16
"""Octets of a reply that has not ended at most: no relay has so much to say."""

HELD_UP = 5.0
"""Seconds for which a mail waits behind one that the relay thinks about; then it leaves by another connection."""

_DOT = re.compile(rb"(?m)^\.")
_UNSAFE = re.compile(r"[\x00-\x20\x7f<>]")
_AFTER = {"MAIL": "RCPT", "RCPT": "DATA"}

Reply = tuple[int, str]


class Refused(aiosmtplib.SMTPResponseException):
    """The relay said no to MAIL, RCPT or DATA (`stage`)."""

    def __init__(self, stage: str, reply: Reply) -> None:
        super().__init__(*reply)
        self.stage = stage


class Mail:
    """One mail on its way; `stage` is the command whose reply it waits for."""

    def __init__(self, sender: str, recipient: str, options: list[str], raw: bytes, seconds: float) -> None:
        """`seconds` for the reply to the mail itself. Raises ValueError for an address that would be more than one."""
        if _UNSAFE.search(sender + recipient):
            raise ValueError("an address with blanks, controls or angle brackets cannot be sent to")
        words = " ".join((f"MAIL FROM:<{sender}>", *options))
        self.begin = f"{words}\r\nRCPT TO:<{recipient}>\r\nDATA\r\n".encode()
        self.raw = raw
        self.seconds = seconds
        self.stage = "MAIL"
        self.handed = False  # the relay has been given the mail itself
        self.refused: Refused | None = None
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def written(self) -> bytes:
        """As it stands between DATA and its reply (RFC 5321 §4.5.2)."""
        ended = self.raw if self.raw.endswith(b"\r\n") else self.raw + b"\r\n"
        if ended.startswith(b".") or b"\n." in ended:  # in none of ours: they are base64
            ended = _DOT.sub(b"..", ended)
        return ended + b".\r\n"

    def fail(self, error: Exception) -> None:
        """Nothing where it has its answer, or nobody waits for it any more."""
        if not self.answer.done():
            self.answer.set_exception(error)


class Pipe(asyncio.Protocol):
    """Commands out, replies in, in their order. Whoever was interrupted in the middle closes it.

    Two mails have room in it: the second is begun where the relay has the words of the first, and has not answered.
    """

    def __init__(self, transport: asyncio.Transport, seconds: float) -> None:
        self.on_room: Callable[[], object] = lambda: None  # called where a mail has room that had none
        self._transport = transport
        self._seconds = seconds  # for the reply to a command
        self._loop = asyncio.get_running_loop()
        self._rest = b""
        self._lines: list[str] = []
        self._expected: deque[tuple[Mail | None, str]] = deque()  # replies: whose, and to what; None: nobody's
        self._unasked: Reply | None = None
        self._mails: deque[Mail] = deque()  # without their answers
        self._out: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._said: asyncio.Future[None] | None = None  # goodbye
        self._ending = False  # no other mail begins
        self._lost: Exception | None = None
        transport.set_protocol(self)

    @property
    def room(self) -> bool:
        """Whether a mail can begin."""
        if self._ending or self._lost is not None:
            return False
        return not self._mails or (len(self._mails) == 1 and self._mails[0].handed)

    async def send(self, mail: Mail) -> str:
        """What the relay says of it. Raises Refused, SMTPException or OSError; `mail.stage` is where it stood."""
        if self._lost is not None:
            raise self._lost
        if self._unasked is not None:  # like "421 idle for too long" before it closes
            self._fail(ConnectionResetError("Connection lost"))
            raise Refused("MAIL", self._unasked)
        self._mails.append(mail)
        self._say(mail.begin, *((mail, stage) for stage in ("MAIL", "RCPT", "DATA")))
        self._wait()
        return await mail.answer

    async def quit(self, seconds: float) -> None:
        """Say goodbye. Raises OSError or SMTPException."""
        if self._lost is not None:
            raise self._lost
        self._ending, self._seconds = True, seconds
        self._said = self._loop.create_future()
        self._say(b"QUIT\r\n", (None, "QUIT"))
        self._wait()
        await self._said

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
            reply, self._lines = (int(text[:3]), "\n".join(self._lines)), []
            self._heard(reply)
        if len(self._rest) + sum(map(len, self._lines)) > LONGEST:
            self._fail(aiosmtplib.SMTPResponseException(-1, "Response too long"))
        elif self._lost is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc if isinstance(exc, OSError) else ConnectionResetError("Connection lost"))

    def _heard(self, reply: Reply) -> None:
        if not self._expected:
            self._unasked = self._unasked or reply
            return
        mail, stage = self._expected.popleft()
        if mail is not None and mail.answer.done():
            self._fail(ConnectionResetError("Connection lost"))  # nobody waits any more: it must not have its words
        elif mail is not None and not mail.handed:
            self._asked(mail, stage, reply)
        elif mail is not None:
            self._mails.popleft()
            if reply[0] // 100 == 2:
                mail.answer.set_result(reply[1])
            else:
                mail.fail(Refused("DATA", reply))
        elif stage == "QUIT" and self._said is not None and not self._said.done():
            self._said.set_result(None)
        if reply[0] == 421:
            self._fail(ConnectionResetError("Connection lost"))  # RFC 5321 §3.8: it closes, there is no other reply

    def _asked(self, mail: Mail, stage: str, reply: Reply) -> None:
        """The reply to MAIL, RCPT or DATA."""
        if mail.refused is None and (reply[0] != 354 if stage == "DATA" else reply[0] // 100 != 2):
            mail.refused = Refused(stage, reply)
        if stage != "DATA" and reply[0] != 421:
            mail.stage = _AFTER[stage]
        elif mail.refused is not None:
            self._mails.popleft()
            mail.fail(mail.refused)
            if reply[0] == 354:  # RFC 2920 §3.1: it waits for a mail to nobody
                self._say(b".\r\n", (None, "DATA"))
            self._say(b"RSET\r\n", (None, "RSET"))
        else:
            mail.handed = True
            self.on_room()  # first, so that who has waited for it speaks in the same write
            self._say(mail.written(), (mail, "DATA"))

    def _say(self, words: bytes, *replies: tuple[Mail | None, str]) -> None:
        """Together with all that is said until the event loop comes round."""
        self._expected.extend(replies)
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(words)

    def _flush(self) -> None:
        words, self._out = b"".join(self._out), []
        if self._lost is None:
            self._transport.write(words)

    def _wait(self) -> None:
        """For the next reply, if there is one to come."""
        self._stop_waiting()
        if self._expected:
            mail, _ = self._expected[0]
            seconds = self._seconds if mail is None or not mail.handed else mail.seconds
            held_up = len(self._mails) > 1 and not self._ending and seconds > HELD_UP
            self._timer = self._loop.call_later(HELD_UP if held_up else seconds, self._late, held_up)

    def _late(self, held_up: bool) -> None:
        if not held_up:
            self._fail(aiosmtplib.SMTPReadTimeoutError("Timed out waiting for server response"))
            return
        # The second one has not been given its words: another connection may take it.
        self._ending = True
        self._mails[-1].fail(ConnectionResetError("held up by another mail"))
        self._wait()

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fail(self, error: Exception) -> None:
        if self._lost is not None:
            return
        self._lost = error
        self._stop_waiting()
        self._transport.abort()
        awaited = self._expected[0][0] if self._expected else None
        for mail in self._mails:
            # Of a mail behind the one that is to blame nothing is known; it may go by another connection.
            mail.fail(error if mail is awaited else ConnectionResetError("Connection lost"))
        if self._said is not None and not self._said.done():
            self._said.set_exception(error)
        self._mails.clear()
        self.on_room()
