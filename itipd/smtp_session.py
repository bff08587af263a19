"""What a client may say at a mail door and what it is answered (RFC 5321, LMTP: RFC 2033), command by command.

All answers are fixed texts in ASCII: nothing that a client, a mail or an exception said goes back. 250 to a message is
said only after `inbox.submit` has returned, so after the commit; a fault of ours is 451 or 452, never 500.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from itipd.itip.addresses import canonical, served, strip_tag
from itipd.log import fault, log
from itipd.orders import Mail
from itipd.smtp_answers import (
    BUSY,
    LOOP,
    NEEDS_UTF8,
    NO_ARGUMENT,
    NOT_IMPLEMENTED,
    OURS,
    SEQUENCE,
    TOO_LARGE,
    UNKNOWN_PARAMETER,
    answer_for,
    mail_fault,
    taken,
)
from itipd.smtp_connection import COMMAND_LIMIT, Connection
from itipd.smtp_syntax import Body, hops, normalised, parse_mail, parse_rcpt

if TYPE_CHECKING:
    from itipd.smtp import Door

_ANY = tuple(f"smtp_{word}" for word in ("STARTTLS", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "VRFY", "QUIT"))
_NOT_IMPLEMENTED = frozenset({"AUTH", "BDAT", "ETRN", "EXPN", "HELP", "SAML", "SEND", "SOML", "TURN"})
_WEB = frozenset({"GET", "POST", "PUT", "HEAD", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PRI", "HOST:"})
_RCPT_PARAMETERS = frozenset({"NOTIFY", "ORCPT"})
_PATIENCE = 6  # times the idle limit: how long the client may take for one message


class Session(Connection):
    """The dialogue with one client, from its EHLO or LHLO to its QUIT."""

    def __init__(self, door: Door) -> None:
        # RFC 2033 §4.1: LMTP has neither HELO nor EHLO.
        self.commands = (*_ANY, "smtp_LHLO") if door.kind == "lmtp" else (*_ANY, "smtp_EHLO", "smtp_HELO")
        super().__init__(door)
        self._greeted = False
        self._errors = 0
        self._junk = 0
        self._body: Body | None = None  # of the message that is being received
        self._forget()

    def step(self) -> bool:
        """One command, or what came of a message."""
        if self._body is not None:
            return self._receive(self._body)
        line = self.line()
        if line is None:
            return False
        self.active_at = self.loop.time()
        self._command(line)
        return True

    def _command(self, line: bytes) -> None:
        """Finds and does one command."""
        if len(line) > COMMAND_LIMIT:
            return self._refuse(b"500 5.5.2 Line too long")
        try:
            text = line.decode().rstrip(" \t\r")
        except UnicodeDecodeError:
            return self._refuse(b"500 5.5.2 Neither ASCII nor UTF-8")
        word, _, argument = text.partition(" ")
        word = word.upper()
        command = self._smtp_methods.get(word)
        if command is not None:
            self._run(command(argument.lstrip(" ")))
        elif word in _WEB:  # a browser was made to talk to us
            self.leave(b"221 2.7.0 This is no web server")
        elif word in _NOT_IMPLEMENTED:
            self._refuse(NOT_IMPLEMENTED)
        else:
            self._refuse(b"500 5.5.1 Command not recognized")
        return None

    def _run(self, command: Coroutine[Any, Any, None]) -> None:
        """Does a command. None of ours waits (what does is left to `busy_with`), so it needs no task of its own."""
        try:
            command.send(None)
        except StopIteration:
            return
        command.close()
        raise RuntimeError("a command has waited: it is to use busy_with")

    def _refuse(self, answer: bytes) -> None:
        """Answers a mistake of the client; after too many the connection ends."""
        self.say(answer)
        self._errors += 1
        if self._errors >= self.door.limits.errors:
            self.leave(b"421 4.7.0 Too many errors, closing")

    def _chat(self, answer: bytes) -> None:
        """Answers a command that brings no mail nearer; after too many the connection ends."""
        self.say(answer)
        self._junk += 1
        if self._junk > self.door.limits.junk:
            self.leave(b"421 4.7.0 Too many commands without mail, closing")

    def _forget(self) -> None:
        """Forgets the transaction."""
        self._sender: str | None = None
        self._utf8 = False
        self._accepted: list[str] = []  # an entry for each RCPT that was answered 250
        self._refused = False  # a RCPT was answered 550

    # -- commands, each with what follows its word

    async def smtp_EHLO(self, hostname: str) -> None:  # noqa: N802 - aiosmtpd's name
        self._hello(hostname, self.door.extensions(secure=self.secure))

    async def smtp_LHLO(self, hostname: str) -> None:  # noqa: N802 - aiosmtpd's name
        await self.smtp_EHLO(hostname)

    async def smtp_HELO(self, hostname: str) -> None:  # noqa: N802 - aiosmtpd's name
        self._hello(hostname, b"250 " + self.door.hostname.encode())

    def _hello(self, name: str, answer: bytes) -> None:
        if not name:
            return self._refuse(b"501 5.5.4 A host name is missing")
        self._greeted = True
        self._forget()  # RFC 5321 §4.1.4
        return self._chat(answer)

    async def smtp_STARTTLS(self, arg: str) -> None:  # noqa: N802 - aiosmtpd's name
        if self.door.tls is None:
            return self._refuse(NOT_IMPLEMENTED)
        if arg or self.secure:
            return self._refuse(NO_ARGUMENT if arg else SEQUENCE)
        self._greeted = False  # RFC 3207 §4.2: everything begins anew
        self._forget()
        return self.busy_with(self.upgrade(self.door.tls))

    async def smtp_MAIL(self, arg: str | None) -> None:  # noqa: N802 - aiosmtpd's name
        if not self._greeted or self._sender is not None:
            return self._refuse(SEQUENCE)
        if self.door.kind == "submission" and not self.trusted:
            return self._refuse(b"550 5.7.1 Submission is for trusted networks")
        parsed = parse_mail(arg or "")
        if parsed is None:
            return self._refuse(b"501 5.1.7 Expected MAIL FROM:<address> and parameters")
        address, parameters = parsed
        fault = mail_fault(parameters, self.door.limits.message)
        if fault is not None:
            return self._refuse(fault)
        self._utf8 = "SMTPUTF8" in parameters
        if not self._utf8 and not address.isascii():
            return self._refuse(NEEDS_UTF8)
        self._sender = address
        return self.say(b"250 2.1.0 Sender ok")

    async def smtp_RCPT(self, arg: str | None) -> None:  # noqa: N802 - aiosmtpd's name
        if self._sender is None:
            return self._refuse(SEQUENCE)
        parsed = parse_rcpt(arg or "")
        if parsed is None:
            return self._refuse(b"501 5.1.3 Expected RCPT TO:<address> and parameters")
        address, parameters = parsed
        if not parameters.keys() <= _RCPT_PARAMETERS:
            return self._refuse(UNKNOWN_PARAMETER)
        if not self._utf8 and not address.isascii():
            return self._refuse(NEEDS_UTF8)
        if len(self._accepted) >= self.door.recipients:
            return self.say(b"452 4.5.3 Too many recipients")  # RFC 5321 §4.5.3.1.10: the rest comes again
        known = canonical(address)
        if known is None or not self._serves(known):
            self._refused = True
            log.info("recipient_refused", door=self.door.kind, client=self.client, rcpt=address)
            return self._refuse(b"550 5.1.1 No such recipient here")
        self._accepted.append(known)
        return self.say(b"250 2.1.5 Recipient ok")

    def _serves(self, address: str) -> bool:
        if self.door.kind == "submission":  # the application writes to its guests
            return True
        patterns = self.door.organizers
        return served(address, patterns) or served(strip_tag(address), patterns)

    async def smtp_RSET(self, arg: str) -> None:  # noqa: N802 - aiosmtpd's name
        if arg:
            return self._refuse(NO_ARGUMENT)
        self._forget()
        return self._chat(b"250 2.0.0 Ok")

    async def smtp_NOOP(self, arg: str) -> None:  # noqa: N802 - aiosmtpd's name
        self._chat(b"250 2.0.0 Ok")

    async def smtp_VRFY(self, arg: str) -> None:  # noqa: N802 - aiosmtpd's name
        self._chat(b"252 2.5.0 Send a mail and see")  # RFC 5321 §7.3: tells nobody who is here

    async def smtp_QUIT(self, arg: str) -> None:  # noqa: N802 - aiosmtpd's name
        self.leave(b"221 2.0.0 Bye")

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802 - aiosmtpd's name
        if arg:
            return self._refuse(NO_ARGUMENT)
        if not self._accepted:
            # RFC 2033 §4.2: LMTP says 503. In SMTP all recipients of a pipelined group may have been refused.
            nobody = self._refused and self.door.kind != "lmtp"
            return self._refuse(b"554 5.5.1 No valid recipients" if nobody else SEQUENCE)
        self.say(b"354 End with <CRLF>.<CRLF>")
        self.receiving = True
        self._body = Body(self.door.limits.message)
        self._busy = False
        self._last = self.active_at + _PATIENCE * self.door.limits.idle
        return None

    # -- the message

    def _receive(self, body: Body) -> bool:
        """Takes what came of the message; at its end it is answered, or goes to the inbox. False: more must come."""
        rest = body.feed(self.take())
        if rest is None:
            door, now = self.door, self.loop.time()
            if not door.hold(self, body.size):
                body.drop()
                door.hold(self, body.size)
                self._busy = True
            if now < self._last:
                self.active_at = now
            return False
        self.unread(rest)
        self._body = None
        raw = b"" if self._busy or body.too_large else body.message()
        refusal = self._refusal(raw, too_large=body.too_large)
        if refusal is not None:
            self._answer(refusal)
            return True
        self.deciding = True
        self.busy_with(self._decide(raw))
        return False

    def _refusal(self, raw: bytes, *, too_large: bool) -> bytes | None:
        """Why a whole message is not taken."""
        door = self.door
        if self._busy:
            return BUSY
        if too_large:
            return TOO_LARGE
        if not door.hold(self, len(raw)):
            return BUSY
        if door.kind != "submission" and len(raw) * len(set(self._accepted)) > door.bodies:
            return TOO_LARGE  # it goes into the journal of each organizer
        return LOOP if hops(raw) > door.limits.hops else None  # RFC 5321 §6.3

    def _answer(self, answer: bytes) -> None:
        """Answers a message, which ends the transaction."""
        # RFC 2033 §4.2: an answer for each recipient that was accepted, whatever became of the message.
        for _ in range(len(self._accepted) if self.door.kind == "lmtp" else 1):
            self.say(answer)
        self.receiving = False
        self.door.hold(self, 0)
        self._forget()

    async def _decide(self, raw: bytes) -> None:
        answer = OURS
        try:
            raw = raw if self.trusted else await normalised(raw)  # the mail as it came is let go
            answer = await self._submit(raw)
        finally:
            self.deciding = False
            self.active_at = self.loop.time()
            self._answer(answer)

    async def _submit(self, raw: bytes) -> bytes:
        """Hands the message to the inbox; the answer. It waits for the commit even when the client has gone."""
        recipients = tuple(dict.fromkeys(self._accepted))
        now, sender = datetime.now(UTC), self._sender or ""
        mail = Mail(sender, recipients, raw, now, self.client, self.door.kind, self.trusted)
        try:
            answer = taken(await self.door.submit(mail))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # the loop itself is being taken down
                raise
            log.error("mail_not_taken", door=mail.door, client=mail.client, error="cancelled")
            return OURS
        except Exception as error:
            fault("mail_not_taken", error, door=mail.door, client=mail.client)
            return answer_for(error)
        else:
            self._errors = self._junk = 0  # whoever brings mail is forgiven
            return answer
