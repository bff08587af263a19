"""What a client may say at a mail door and what it is answered (RFC 5321, LMTP: RFC 2033), command by command.

All answers are fixed texts in ASCII: nothing that a client, a mail or an exception said goes back. 250 to a message is
said only after `inbox.submit` has returned, so after the commit; a fault of ours is 451 or 452, never 500.
"""

from __future__ import annotations

import asyncio
import errno
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from itipd.itip.addresses import canonical, served, strip_tag
from itipd.log import log
from itipd.orders import Mail, Receipt
from itipd.smtp_connection import COMMAND_LIMIT, Connection
from itipd.smtp_syntax import Body, Parameters, hops, normalise, parse_mail, parse_rcpt

if TYPE_CHECKING:
    from itipd.smtp import Door

_ANY = ("smtp_STARTTLS", "smtp_MAIL", "smtp_RCPT", "smtp_DATA", "smtp_RSET", "smtp_NOOP", "smtp_VRFY", "smtp_QUIT")
_NOT_IMPLEMENTED = frozenset({"AUTH", "BDAT", "ETRN", "EXPN", "HELP", "SAML", "SEND", "SOML", "TURN"})
_WEB = frozenset({"GET", "POST", "PUT", "HEAD", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PRI", "HOST:"})
_MAIL_PARAMETERS = frozenset({"SIZE", "BODY", "SMTPUTF8", "AUTH", "RET", "ENVID"})  # the last three: only tolerated
_RCPT_PARAMETERS = frozenset({"NOTIFY", "ORCPT"})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
_PIECE = 64 * 1024  # octets worked on without a pause: the other clients wait for each, and several times
_PATIENCE = 6  # times the idle limit: how long the client may take for one message

OURS = b"451 4.3.0 Could not be taken now, try again later"
BUSY = b"451 4.3.2 Too much mail at once, try again later"
FULL = b"452 4.3.1 No space left, try again later"
TOO_LARGE = b"552 5.3.4 Message too large"
LOOP = b"554 5.4.6 Too many hops"
SEQUENCE = b"503 5.5.1 Bad sequence of commands"
NO_ARGUMENT = b"501 5.5.4 This command takes no argument"
NOT_IMPLEMENTED = b"502 5.5.1 Command not implemented"
UNKNOWN_PARAMETER = b"555 5.5.4 Unknown parameter"  # RFC 5321 §4.1.1.11
NEEDS_UTF8 = b"553 5.6.7 This address needs SMTPUTF8"  # RFC 6531 §3.5


def answer_for(error: BaseException) -> bytes:
    """The fixed answer to a fault of ours. All are temporary, so the relay keeps the mail (RFC 5321 §4.2.1)."""
    seen: BaseException | None = error
    for _ in range(8):  # the layers of the database wrap it
        if seen is None:
            break
        if isinstance(seen, OSError) and seen.errno in _FULL:
            return FULL
        seen = seen.__cause__ or seen.__context__
    return OURS


def taken(receipt: Receipt) -> bytes:
    """`250 2.0.0 updated 17`: what became of the first component, and the mail's id in the journal."""
    outcome = receipt.results[0].outcome.value if receipt.results else "taken"
    return f"250 2.0.0 {outcome} {receipt.id}".encode("ascii", "replace")


async def _normalised(raw: bytes) -> bytes:
    """`normalise`, piece by piece, so that 10 MiB of bare line ends let the other clients have their turn."""
    pieces = [normalise(raw[:_PIECE])]
    for start in range(_PIECE, len(raw), _PIECE):
        await asyncio.sleep(0)
        pieces.append(normalise(raw[start : start + _PIECE]))
    return b"".join(pieces) if len(pieces) > 1 else pieces[0]


class Session(Connection):
    """The dialogue with one client, from its EHLO or LHLO to its QUIT."""

    def __init__(self, door: Door) -> None:
        # RFC 2033 §4.1: LMTP has neither HELO nor EHLO.
        self.commands = (*_ANY, "smtp_LHLO") if door.kind == "lmtp" else (*_ANY, "smtp_EHLO", "smtp_HELO")
        super().__init__(door)
        self._greeted = False
        self._errors = 0
        self._junk = 0

    async def command(self, line: bytes) -> None:
        """Finds and does one command."""
        if len(line) > COMMAND_LIMIT:
            return await self._refuse(b"500 5.5.2 Line too long")
        try:
            text = line.decode().rstrip(" \t\r")
        except UnicodeDecodeError:
            return await self._refuse(b"500 5.5.2 Neither ASCII nor UTF-8")
        word, _, argument = text.partition(" ")
        word = word.upper()
        method = self._smtp_methods.get(word)
        if method is not None:
            await method(argument.lstrip(" "))
        elif word in _WEB:  # a browser was made to talk to us
            await self.leave(b"221 2.7.0 This is no web server")
        elif word in _NOT_IMPLEMENTED:
            await self._refuse(NOT_IMPLEMENTED)
        else:
            await self._refuse(b"500 5.5.1 Command not recognized")
        return None

    async def _refuse(self, answer: bytes) -> None:
        """Answers a mistake of the client; after too many the connection ends."""
        await self.push(answer)
        self._errors += 1
        if self._errors >= self.door.limits.errors:
            await self.leave(b"421 4.7.0 Too many errors, closing")

    async def _chat(self, answer: bytes) -> None:
        """Answers a command that brings no mail nearer; after too many the connection ends."""
        await self.push(answer)
        self._junk += 1
        if self._junk > self.door.limits.junk:
            await self.leave(b"421 4.7.0 Too many commands without mail, closing")

    def _set_post_data_state(self) -> None:
        """Forgets the transaction (aiosmtpd calls it for a new connection)."""
        self._sender: str | None = None
        self._utf8 = False
        self._accepted: list[str] = []  # an entry for each RCPT that was answered 250
        self._refused = False  # a RCPT was answered 550

    # -- commands; their names and arguments are aiosmtpd's

    async def smtp_EHLO(self, hostname: str) -> None:  # noqa: N802
        await self._hello(hostname, self.door.extensions(secure=self.secure))

    async def smtp_LHLO(self, hostname: str) -> None:  # noqa: N802
        await self._hello(hostname, self.door.extensions(secure=self.secure))

    async def smtp_HELO(self, hostname: str) -> None:  # noqa: N802
        await self._hello(hostname, b"250 " + self.door.hostname.encode())

    async def _hello(self, name: str, answer: bytes) -> None:
        if not name:
            return await self._refuse(b"501 5.5.4 A host name is missing")
        self._greeted = True
        self._set_post_data_state()  # RFC 5321 §4.1.4
        return await self._chat(answer)

    async def smtp_STARTTLS(self, arg: str) -> None:  # noqa: N802
        if self.door.tls is None:
            return await self._refuse(NOT_IMPLEMENTED)
        if arg or self.secure:
            return await self._refuse(NO_ARGUMENT if arg else SEQUENCE)
        await self.upgrade(self.door.tls)
        self._greeted = False  # RFC 3207 §4.2: everything begins anew
        self._set_post_data_state()
        return None

    async def smtp_MAIL(self, arg: str | None) -> None:  # noqa: N802
        if not self._greeted or self._sender is not None:
            return await self._refuse(SEQUENCE)
        if self.door.kind == "submission" and not self.trusted:
            return await self._refuse(b"550 5.7.1 Submission is for trusted networks")
        parsed = parse_mail(arg or "")
        if parsed is None:
            return await self._refuse(b"501 5.1.7 Expected MAIL FROM:<address> and parameters")
        address, parameters = parsed
        fault = self._mail_fault(parameters)
        if fault is not None:
            return await self._refuse(fault)
        self._utf8 = "SMTPUTF8" in parameters
        if not self._utf8 and not address.isascii():
            return await self._refuse(NEEDS_UTF8)
        self._sender = address
        return await self.push(b"250 2.1.0 Sender ok")

    def _mail_fault(self, parameters: Parameters) -> bytes | None:
        if not parameters:
            return None
        if not parameters.keys() <= _MAIL_PARAMETERS:
            return UNKNOWN_PARAMETER
        if (parameters.get("BODY", "7BIT") or "").upper() not in ("7BIT", "8BITMIME"):  # RFC 6152 §2
            return b"501 5.5.4 BODY is 7BIT or 8BITMIME"
        if parameters.get("SMTPUTF8") is not None:
            return b"501 5.5.4 SMTPUTF8 takes no value"
        size = parameters.get("SIZE", "0") or ""
        if not (size.isascii() and size.isdigit() and len(size) <= 20):
            return b"501 5.5.4 SIZE is a number"
        return TOO_LARGE if int(size) > self.door.limits.message else None  # RFC 1870 §6.1

    async def smtp_RCPT(self, arg: str | None) -> None:  # noqa: N802
        if self._sender is None:
            return await self._refuse(SEQUENCE)
        parsed = parse_rcpt(arg or "")
        if parsed is None:
            return await self._refuse(b"501 5.1.3 Expected RCPT TO:<address> and parameters")
        address, parameters = parsed
        if not parameters.keys() <= _RCPT_PARAMETERS:
            return await self._refuse(UNKNOWN_PARAMETER)
        if not self._utf8 and not address.isascii():
            return await self._refuse(NEEDS_UTF8)
        if len(self._accepted) >= self.door.recipients:
            return await self.push(b"452 4.5.3 Too many recipients")  # RFC 5321 §4.5.3.1.10: the rest comes again
        known = canonical(address)
        if known is None or not self._serves(known):
            self._refused = True
            log.info("recipient_refused", door=self.door.kind, client=self.client, rcpt=address)
            return await self._refuse(b"550 5.1.1 No such recipient here")
        self._accepted.append(known)
        return await self.push(b"250 2.1.5 Recipient ok")

    def _serves(self, address: str) -> bool:
        if self.door.kind == "submission":  # the application writes to its guests
            return True
        patterns = self.door.organizers
        return served(address, patterns) or served(strip_tag(address), patterns)

    async def smtp_RSET(self, arg: str) -> None:  # noqa: N802
        if arg:
            return await self._refuse(NO_ARGUMENT)
        self._set_post_data_state()
        return await self._chat(b"250 2.0.0 Ok")

    async def smtp_NOOP(self, arg: str) -> None:  # noqa: N802
        await self._chat(b"250 2.0.0 Ok")

    async def smtp_VRFY(self, arg: str) -> None:  # noqa: N802
        await self._chat(b"252 2.5.0 Send a mail and see")  # RFC 5321 §7.3: tells nobody who is here

    async def smtp_QUIT(self, arg: str) -> None:  # noqa: N802
        await self.leave(b"221 2.0.0 Bye")

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802
        if arg:
            return await self._refuse(NO_ARGUMENT)
        if not self._accepted:
            # RFC 2033 §4.2: LMTP says 503. In SMTP all recipients of a pipelined group may have been refused.
            nobody = self._refused and self.door.kind != "lmtp"
            return await self._refuse(b"554 5.5.1 No valid recipients" if nobody else SEQUENCE)
        await self.push(b"354 End with <CRLF>.<CRLF>")
        self.receiving = True
        try:
            answer = await self._receive()
            if answer is None:
                return None  # the client left in the middle: there is no message
            # RFC 2033 §4.2: an answer for each recipient that was accepted, whatever became of the message.
            for _ in range(len(self._accepted) if self.door.kind == "lmtp" else 1):
                await self.push(answer)
        finally:
            self.receiving = False
            self.door.hold(self, 0)
            self._set_post_data_state()
        return None

    # -- the message

    async def _receive(self) -> bytes | None:
        """Reads to the end of the message, whatever its size, and answers it; None when the end never came."""
        door, body, busy = self.door, Body(self.door.limits.message), False
        last = self.loop.time() + _PATIENCE * door.limits.idle
        while (rest := body.feed(octets := await self.read())) is None:
            if not octets:
                return None
            if not door.hold(self, body.size):
                body.drop()
                door.hold(self, body.size)
                busy = True
            if self.loop.time() < last:
                self._reset_timeout()
        self.unread(rest)
        if busy:
            return BUSY
        raw = b"" if body.too_large else body.message()
        if body.too_large:
            return TOO_LARGE
        if not door.hold(self, len(raw)):
            return BUSY
        if door.kind != "submission" and len(raw) * len(set(self._accepted)) > door.bodies:
            return TOO_LARGE  # it goes into the journal of each organizer
        if hops(raw) > door.limits.hops:  # RFC 5321 §6.3
            return LOOP
        return await self._submit(raw if self.trusted else await _normalised(raw))

    async def _submit(self, raw: bytes) -> bytes:
        """Hands the message to the inbox; the answer. It waits for the commit even when the client has gone."""
        recipients = tuple(dict.fromkeys(self._accepted))
        now, sender = datetime.now(UTC), self._sender or ""
        mail = Mail(sender, recipients, raw, now, self.client, self.door.kind, self.trusted)
        self.deciding = True
        try:
            answer = taken(await self.door.submit(mail))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # the loop itself is being taken down
                raise
            log.error("mail_not_taken", door=mail.door, client=mail.client, error="cancelled")
            return OURS
        except Exception as error:
            log.exception("mail_not_taken", door=mail.door, client=mail.client)
            return answer_for(error)
        else:
            self._errors = self._junk = 0  # whoever brings mail is forgiven
            return answer
        finally:
            self.deciding = False
            self._reset_timeout()
