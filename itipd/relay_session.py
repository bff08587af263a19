"""One SMTP session with the relay: open it (RFC 5321 §3.2, RFC 3207, RFC 4954), hand a mail over, judge the answers.

Duty: say of each mail what the relay's answers mean. It must never take a trouble with the relay itself for a refusal
of the mail (that is RelayError), never send a password in clear that nobody wanted in clear, never change the mail.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from typing import cast

import aiosmtplib

from itipd.config import Relay
from itipd.itip.model import clean
from itipd.relay_pipe import Mail, Pipe, Refused


@dataclass(frozen=True, slots=True)
class Envelope:
    """A composed mail and where it goes; `name` is a file name without suffix, the same at each try."""

    sender: str
    recipient: str
    raw: bytes
    name: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one envelope: `sent`, `later` (try again) or `failed` (for good).

    `code` is an enhanced status code (RFC 3463), `text` what the relay said, on one line, 300 characters at most.
    """

    state: str
    code: str | None
    text: str


class RelayError(Exception):
    """The relay takes no mail at all now; no mail is to blame."""


class StartTlsError(aiosmtplib.SMTPException):
    """STARTTLS was offered and did not work."""


async def tls_context(config: Relay) -> ssl.SSLContext:
    """What the mode of `relay.tls` asks of the relay's certificate."""
    if config.tls != "opportunistic":
        # Reads the system's certificates (or those of SSL_CERT_FILE): some milliseconds of disk.
        return await asyncio.to_thread(ssl.create_default_context)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # RFC 7435 §3: encrypted against listeners, nobody is authenticated
    return context


@dataclass(slots=True, eq=False)
class Session:
    """An open session; `pipe` where the relay offers PIPELINING: then everything is said through it."""

    client: aiosmtplib.SMTP
    pipe: Pipe | None
    mails: int = 0  # on their way in it

    @property
    def is_connected(self) -> bool:
        return self.client.is_connected

    def close(self) -> None:
        self.client.close()


async def connect(config: Relay, context: ssl.SSLContext, seconds: float) -> Session:
    """A session after EHLO, STARTTLS and AUTH; `seconds` for each step. Raises RelayError."""
    client = await _connect(config, context, seconds)
    # uvloop's transports are none of asyncio's by name.
    transport = cast(asyncio.Transport | None, client.transport)
    if transport is None or not client.supports_extension("pipelining"):
        return Session(client, None)
    return Session(client, Pipe(transport, seconds))


async def _connect(config: Relay, context: ssl.SSLContext, seconds: float) -> aiosmtplib.SMTP:
    try:
        try:
            return await _open(config, context if config.tls != "off" else None, seconds)
        except StartTlsError:
            # RFC 7435 §3: opportunistic means rather in clear than not at all; but never a password.
            if config.tls != "opportunistic" or config.username is not None:
                raise
            return await _open(config, None, seconds)
    except (aiosmtplib.SMTPException, OSError, ValueError) as error:
        # ValueError: relay.host is nothing that can be looked up.
        raise RelayError(shown(f"relay {config.host}:{config.effective_port}: {words(error)}")) from error


async def transaction(session: Session, envelope: Envelope, kept: bool, seconds: float) -> Verdict | None:
    """MAIL, RCPT, DATA; `seconds` for the answer to the mail itself. The session is ready for the next one, or closed.

    None: a `kept` session was found closed before anything was said; take another one. Raises RelayError.
    """
    client = session.client
    utf8 = not (envelope.sender + envelope.recipient).isascii()
    if utf8 and not client.supports_extension("smtputf8"):
        # RFC 6531 §3.5: this relay cannot take the address, today or ever.
        return Verdict("failed", "5.6.7", "the address is not ASCII and the relay offers no SMTPUTF8")
    options = ["SMTPUTF8", "BODY=8BITMIME"] if utf8 else []
    if client.supports_extension("size"):
        options.append(f"SIZE={len(envelope.raw)}")  # RFC 1870 §5
    if session.pipe is not None:
        progress: Mail | _Progress = Mail(envelope.sender, envelope.recipient, options, envelope.raw, seconds)
    else:
        progress = _Progress()
    try:
        if session.pipe is not None and isinstance(progress, Mail):
            message = await session.pipe.send(progress)
        else:
            message = await _one_by_one(client, envelope, options, "utf-8" if utf8 else "ascii", seconds, progress)
    except aiosmtplib.SMTPResponseException as error:
        stage = error.stage if isinstance(error, Refused) else progress.stage
        if stage == "MAIL" and kept and error.code == 421:
            session.close()
            return None  # RFC 5321 §3.8: it ends what was idle for too long
        if stage == "MAIL" and error.code == 530:  # RFC 4954 §6, RFC 3207 §4: it wants a login or TLS of us
            raise RelayError(shown(f"relay: {error.code} {error.message}")) from error
        await _reset(session)
        return judge(stage, error.code, error.message)
    except (aiosmtplib.SMTPException, OSError) as error:
        if session.pipe is None:  # else it has ended by itself, or another mail is in it
            session.close()
        if progress.stage == "MAIL" and kept and isinstance(error, ConnectionError):
            return None
        # After DATA nobody knows whether the relay has it: the same bytes with the same Message-ID go again.
        return Verdict("later", "4.4.2", shown(f"{progress.stage}: {words(error)}"))
    return Verdict("sent", _enhanced(2, message), shown(message))


@dataclass(slots=True)
class _Progress:
    stage: str = "MAIL"


async def _one_by_one(
    client: aiosmtplib.SMTP,
    envelope: Envelope,
    options: list[str],
    encoding: str,
    seconds: float,
    progress: Mail | _Progress,
) -> str:
    await client.mail(envelope.sender, options=options, encoding=encoding)
    progress.stage = "RCPT"
    await client.rcpt(envelope.recipient, encoding=encoding)
    progress.stage = "DATA"
    return (await client.data(envelope.raw, timeout=seconds)).message


async def leave(session: Session) -> None:
    """QUIT, and close."""
    try:
        if session.pipe is not None:
            await session.pipe.quit(2)
        else:
            await session.client.quit(timeout=2)
    except (aiosmtplib.SMTPException, OSError):
        pass  # goodbye is a courtesy
    finally:
        session.close()


def judge(stage: str, code: int, message: str) -> Verdict:
    """The verdict on a refusal at MAIL, RCPT or DATA (RFC 5321 §4.2.1: the first digit says whether for good)."""
    text = shown(f"{stage}: {code} {message}")
    if 500 <= code <= 599:
        # RFC 5321 §4.2.3: these three speak of the mailbox when they answer RCPT.
        plain = "5.1.1" if stage == "RCPT" and code in (550, 551, 553) else "5.0.0"
        return Verdict("failed", _enhanced(5, message) or plain, text)
    return Verdict("later", _enhanced(4, message) or "4.0.0", text)


def shown(text: str) -> str:
    """Words of the relay on one line, without controls, 300 characters at most."""
    return clean(" ".join(text.encode("utf-8", "replace").decode().split()), 300)


def words(error: BaseException) -> str:
    """What an error says."""
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return f"{error.code} {error.message}"
    return str(error) or type(error).__name__


async def _open(config: Relay, context: ssl.SSLContext | None, seconds: float) -> aiosmtplib.SMTP:
    """`context` None: in clear."""
    client = aiosmtplib.SMTP(
        hostname=config.host,
        port=config.effective_port,
        use_tls=config.tls == "implicit",
        start_tls=False,  # done below, where its failure is told apart
        tls_context=context,
        local_hostname="localhost",  # until our own address on this connection is known
        timeout=seconds,
    )
    try:
        await client.connect()
        client.local_hostname = _own_name(client)
        await _greet(client)
        if context is not None and config.tls != "implicit":
            await _start_tls(client, config)
        if config.username is not None and config.password is not None:
            _check_clear(client, config)
            await client.login(config.username, config.password)
    except BaseException:
        client.close()
        raise
    return client


async def _start_tls(client: aiosmtplib.SMTP, config: Relay) -> None:
    if not client.supports_extension("starttls"):
        if config.tls == "verify":
            raise aiosmtplib.SMTPNotSupported("offers no STARTTLS, and relay.tls is verify")
        return
    try:
        await client.starttls()
        await _greet(client)  # RFC 3207 §4.2: what was said before does not count
    except (aiosmtplib.SMTPException, OSError) as error:
        raise StartTlsError(f"STARTTLS: {words(error)}") from error


def _check_clear(client: aiosmtplib.SMTP, config: Relay) -> None:
    """A password leaves this machine in clear only where `tls = "off"` says so (RFC 4954 §9)."""
    if config.tls == "off" or client.get_transport_info("sslcontext") is not None:
        return
    if not ip_address(client.get_transport_info("peername")[0].partition("%")[0]).is_loopback:
        raise aiosmtplib.SMTPNotSupported(
            'offers no STARTTLS, so the password was not sent; relay.tls = "off" would send it in clear'
        )


async def _greet(client: aiosmtplib.SMTP) -> None:
    try:
        await client.ehlo()
    except aiosmtplib.SMTPHeloError:
        if not client.is_connected:
            raise
        await client.helo()  # RFC 5321 §3.2: an old relay


def _own_name(client: aiosmtplib.SMTP) -> str:
    """What EHLO says: the host's name if it is whole, else our address on this connection (RFC 5321 §4.1.1.1).

    Nothing is looked up: a broken DNS would hold up every mail.
    """
    name = socket.gethostname()
    if re.fullmatch(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+", name):
        return name
    address = client.get_transport_info("sockname")[0].partition("%")[0]
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


async def _reset(session: Session) -> None:
    if session.pipe is not None:
        return  # it does that by itself, and other mails may be in it
    try:
        await session.client.rset()
    except (aiosmtplib.SMTPException, OSError):
        session.close()  # the verdict stands; only the connection is lost


def _enhanced(digit: int, message: str) -> str | None:
    """The enhanced status code at the head of a reply (RFC 2034 §4), if its class is the reply's."""
    match = re.match(r"([245])\.\d{1,3}\.\d{1,3}(?!\S)", message)
    return match[0] if match is not None and match[1] == str(digit) else None
