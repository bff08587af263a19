"""The last step of an outgoing mail: over SMTP to the relay (RFC 5321), or as an .eml file into a folder.

Duty: one envelope in, one verdict out. It never decides when to try again (the outbox does), never changes a byte of
the mail, and never takes a trouble with the relay itself for a refusal of the mail: that is RelayError.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Protocol

import aiosmtplib

from itipd.config import Relay
from itipd.itip.model import clean

CONNECTIONS = 4
"""So many connections to the relay at most."""

IDLE = 30.0
"""A connection that nobody needed for so many seconds is closed."""

TIMEOUT = 30.0
"""Seconds for a connection and for each command."""

DATA_TIMEOUT = 300.0
"""Seconds for the reply to the mail itself: a relay may scan it first (RFC 5321 §4.5.3.2.6 asks for 600)."""


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

    `code` is an enhanced status code (RFC 3463), `text` what the relay said.
    """

    state: str
    code: str | None
    text: str


class RelayError(Exception):
    """The relay takes no mail at all now; no mail is to blame."""


class Way(Protocol):
    """A way out. `deliver` raises RelayError and nothing else that it can foresee."""

    async def deliver(self, envelope: Envelope) -> Verdict: ...

    async def tidy(self) -> None:
        """Give up what has been idle for long."""

    async def close(self) -> None: ...


def way(config: Relay) -> Way | None:
    """The configured way out; None: none is configured, nothing leaves."""
    if config.directory is not None:
        return Folder(config.directory)
    return Smtp(config) if config.host is not None else None


class Folder:
    """Writes each mail as `NAME.eml`; a retry replaces the file with the same bytes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    async def deliver(self, envelope: Envelope) -> Verdict:
        try:
            await asyncio.to_thread(write, self.directory, f"{envelope.name}.eml", envelope.raw)
        except OSError as error:
            raise RelayError(f"relay.directory {self.directory}: {error.strerror or error}") from error
        return Verdict("sent", None, "written")

    async def tidy(self) -> None: ...

    async def close(self) -> None: ...


def write(directory: Path, name: str, raw: bytes) -> None:
    """`raw` as the file `name`, whole or not at all, on the disk when this returns. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    part = directory / f".{name}.{os.getpid()}.part"
    try:
        with part.open("wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        part.replace(directory / name)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    folder = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name itself
    finally:
        os.close(folder)


class Smtp:
    """A few kept connections to one relay. Safe for as many tasks at once as there are."""

    def __init__(self, config: Relay, *, timeout: float = TIMEOUT, data_timeout: float = DATA_TIMEOUT) -> None:
        self.config = config
        self.timeout = timeout
        self.data_timeout = data_timeout
        self._idle: list[tuple[aiosmtplib.SMTP, float]] = []  # the last used last, with the time of its last use
        self._used = 0  # connections that carry a mail at this moment
        self._released = asyncio.Condition()
        self._connecting = asyncio.Lock()
        self._failed_at, self._failure = -1.0, ""  # the last connection that was not made
        self._context: ssl.SSLContext | None = None

    async def deliver(self, envelope: Envelope) -> Verdict:
        """One transaction. A kept connection that the relay has closed meanwhile costs nothing: a new one is made."""
        while True:
            client, kept = await self._take()
            try:
                verdict = await self._transaction(client, envelope, kept)
            except BaseException:
                client.close()  # in the middle of a transaction: nobody else may use it
                raise
            finally:
                await self._release(client)
            if verdict is not None:
                return verdict

    async def tidy(self) -> None:
        """Close what has been idle for `IDLE` seconds."""
        now = asyncio.get_running_loop().time()
        old = [client for client, used in self._idle if now - used >= IDLE]
        self._idle = [(client, used) for client, used in self._idle if now - used < IDLE]
        for client in old:
            await _quit(client)

    async def close(self) -> None:
        """Say goodbye on all connections that are not in use."""
        idle, self._idle = self._idle, []
        for client, _ in idle:
            await _quit(client)

    async def _take(self) -> tuple[aiosmtplib.SMTP, bool]:
        """A connection, and whether it was used before. Raises RelayError."""
        clock = asyncio.get_running_loop().time
        asked = clock()
        while True:
            while self._idle:
                client, _ = self._idle.pop()
                if client.is_connected:
                    self._used += 1
                    return client, True
            # One at a time: who waited for a connection that failed has the same answer, and does not ask again.
            async with self._connecting:
                if self._idle:
                    continue
                if self._failed_at < asked:
                    try:
                        client = await self._connect()
                    except RelayError as error:
                        self._failed_at, self._failure = clock(), str(error)
                    else:
                        self._used += 1
                        return client, False
                if not self._used:
                    raise RelayError(self._failure)
            # Some relays allow few connections at a time: then this mail waits for one that is in use.
            async with self._released:
                await self._released.wait_for(lambda: self._idle or not self._used)
            asked = clock()

    async def _release(self, client: aiosmtplib.SMTP) -> None:
        self._used -= 1
        if client.is_connected:
            self._idle.append((client, asyncio.get_running_loop().time()))
        async with self._released:
            self._released.notify_all()

    async def _connect(self) -> aiosmtplib.SMTP:
        """A connection after EHLO, STARTTLS and AUTH. Raises RelayError."""
        try:
            try:
                return await self._open(encrypt=self.config.tls != "off")
            except StartTlsError:
                # RFC 7435: opportunistic means rather in clear than not at all; but never a password.
                if self.config.tls != "opportunistic" or self.config.username is not None:
                    raise
                return await self._open(encrypt=False)
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            # ValueError: a name that cannot be a host's. The text may be the relay's own words.
            where = f"relay {self.config.host}:{self.config.effective_port}"
            raise RelayError(_shown(f"{where}: {_words(error)}")) from error

    async def _open(self, encrypt: bool) -> aiosmtplib.SMTP:
        tls = self.config.tls
        client = aiosmtplib.SMTP(
            hostname=self.config.host,
            port=self.config.effective_port,
            use_tls=tls == "implicit",
            start_tls=False,  # done below, where each failure is told apart
            tls_context=await self._tls_context() if encrypt else None,
            local_hostname="localhost",  # until our own address on this connection is known
            timeout=self.timeout,
        )
        try:
            await client.connect()
            client.local_hostname = _own_name(client)
            await _greet(client)
            if encrypt and tls != "implicit":
                await self._start_tls(client)
            if self.config.username is not None and self.config.password is not None:
                self._check_clear(client)
                await client.login(self.config.username, self.config.password)
        except BaseException:
            client.close()
            raise
        return client

    async def _start_tls(self, client: aiosmtplib.SMTP) -> None:
        if not client.supports_extension("starttls"):
            if self.config.tls == "verify":
                raise aiosmtplib.SMTPNotSupported("offers no STARTTLS, and relay.tls is verify")
            return
        try:
            await client.starttls()
            await _greet(client)  # RFC 3207 §4.2: what was said before does not count
        except (aiosmtplib.SMTPException, OSError) as error:
            raise StartTlsError(f"STARTTLS: {_words(error)}") from error

    async def _tls_context(self) -> ssl.SSLContext:
        if self._context is None:
            if self.config.tls == "opportunistic":
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE  # RFC 7435 §3: encrypted against listeners, not authenticated
                self._context = context
            else:
                # Reads the system's certificates (or SSL_CERT_FILE): some milliseconds of disk.
                self._context = await asyncio.to_thread(ssl.create_default_context)
        return self._context

    def _check_clear(self, client: aiosmtplib.SMTP) -> None:
        """A password leaves this machine in clear only where `tls = "off"` says so."""
        if self.config.tls == "off" or client.get_transport_info("sslcontext") is not None:
            return
        if not ip_address(client.get_transport_info("peername")[0].partition("%")[0]).is_loopback:
            raise aiosmtplib.SMTPNotSupported(
                'offers no STARTTLS, so the password was not sent; relay.tls = "off" would send it in clear'
            )

    async def _transaction(self, client: aiosmtplib.SMTP, envelope: Envelope, kept: bool) -> Verdict | None:
        """MAIL, RCPT, DATA. None: a kept connection was found closed before anything was said; take another one."""
        utf8 = not (envelope.sender + envelope.recipient).isascii()
        if utf8 and not client.supports_extension("smtputf8"):
            # RFC 6531 §3.5: the relay cannot take this address, today or ever.
            return Verdict("failed", "5.6.7", "the address is not ASCII and the relay offers no SMTPUTF8")
        options = ["SMTPUTF8", "BODY=8BITMIME"] if utf8 else []
        if client.supports_extension("size"):
            options.append(f"SIZE={len(envelope.raw)}")  # RFC 1870 §5
        encoding = "utf-8" if utf8 else "ascii"
        stage = "MAIL"
        try:
            await client.mail(envelope.sender, options=options, encoding=encoding)
            stage = "RCPT"
            await client.rcpt(envelope.recipient, encoding=encoding)
            stage = "DATA"
            response = await client.data(envelope.raw, timeout=self.data_timeout)
        except aiosmtplib.SMTPResponseException as error:
            if stage == "MAIL" and kept and error.code == 421:
                return None  # RFC 5321 §3.8: it closes what was idle for too long
            if stage == "MAIL" and error.code == 530:
                raise RelayError(_shown(f"relay {self.config.host}: {error.code} {error.message}")) from error
            verdict = judge(stage, error.code, error.message)
            await _reset(client)
            return verdict
        except (aiosmtplib.SMTPException, OSError) as error:
            client.close()
            if stage == "MAIL" and kept and isinstance(error, ConnectionError):
                return None
            # After DATA nobody knows whether the relay has it: the same bytes with the same Message-ID go again.
            return Verdict("later", "4.4.2", _shown(f"{stage}: {_words(error)}"))
        return Verdict("sent", _enhanced(2, response.message), _shown(response.message))


class StartTlsError(aiosmtplib.SMTPException):
    """STARTTLS was offered and did not work."""


def judge(stage: str, code: int, message: str) -> Verdict:
    """The verdict on a refusal at MAIL, RCPT or DATA (RFC 5321 §4.2.1: the first digit says whether for good)."""
    text = _shown(f"{stage}: {code} {message}")
    if 500 <= code <= 599:
        # RFC 5321 §4.2.3: these three speak of the mailbox when they answer RCPT.
        plain = "5.1.1" if stage == "RCPT" and code in (550, 551, 553) else "5.0.0"
        return Verdict("failed", _enhanced(5, message) or plain, text)
    return Verdict("later", _enhanced(4, message) or "4.0.0", text)


def _enhanced(digit: int, message: str) -> str | None:
    """The enhanced status code at the head of a reply (RFC 2034 §4), if its class is the reply's."""
    match = re.match(r"([245])\.\d{1,3}\.\d{1,3}(?!\S)", message)
    return match[0] if match is not None and match[1] == str(digit) else None


def _own_name(client: aiosmtplib.SMTP) -> str:
    """What EHLO says: the host's name if it is whole, else our address on this connection (RFC 5321 §4.1.1.1).

    No look-up: a broken DNS would hold up every mail.
    """
    name = socket.gethostname()
    if re.fullmatch(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+", name):
        return name
    address = client.get_transport_info("sockname")[0].partition("%")[0]
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


async def _greet(client: aiosmtplib.SMTP) -> None:
    try:
        await client.ehlo()
    except aiosmtplib.SMTPHeloError:
        if not client.is_connected:
            raise
        await client.helo()  # RFC 5321 §3.2: an old relay


async def _reset(client: aiosmtplib.SMTP) -> None:
    """Make the connection fit for the next mail, or close it."""
    try:
        await client.rset()
    except (aiosmtplib.SMTPException, OSError):
        client.close()  # the verdict stands; only the connection is lost


async def _quit(client: aiosmtplib.SMTP) -> None:
    try:
        await client.quit(timeout=2)
    except (aiosmtplib.SMTPException, OSError):
        pass  # goodbye is a courtesy
    finally:
        client.close()


def _words(error: BaseException) -> str:
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return f"{error.code} {error.message}"
    return str(error) or type(error).__name__


def _shown(text: str) -> str:
    """The relay's words on one line, without controls, 300 characters at most."""
    return clean(" ".join(text.encode("utf-8", "replace").decode().split()), 300)
