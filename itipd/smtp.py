"""The mail doors: SMTP, LMTP and submission (RFC 5321, RFC 2033, RFC 6409), each a listening socket and its limits.

They only translate: a message becomes a `Mail`, what the inbox says becomes an answer. It must never hold more than
its limits allow, whatever the clients do, nor answer for a mail before the inbox has.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Literal, Protocol

from itipd.config import Config, Listener
from itipd.config_values import Endpoint, Network
from itipd.listening import BACKLOG, UnixSocket, unix_socket
from itipd.orders import Mail, Receipt
from itipd.smtp_connection import STOPPING, Connection
from itipd.smtp_session import Session

Kind = Literal["smtp", "lmtp", "submission"]

CROWDED = 0.8  # of the connections: from here on idle ones end sooner


@dataclass(frozen=True, slots=True)
class Limits:
    """What the clients of one door may take, together or (as named) each. Sizes in octets, times in seconds."""

    message: int = 10 * 1024 * 1024
    connections: int = 1000
    per_client: int = 100  # connections of one IPv4 address or one IPv6 /64; not of trusted ones
    bodies: int = 128 * 1024 * 1024  # of all messages that are being received or decided
    recipients: int = 100  # as RFC 5321 §4.5.3.1.8 asks for; each may be an organizer, who decides about the mail
    submitted: int = 1000  # recipients of the application's mail: they are guests, and nobody decides for each
    errors: int = 20  # of one connection, since its last message
    junk: int = 100  # commands without a message, since the last one
    hops: int = 50
    idle: float = 300.0  # RFC 5321 §4.5.3.2.7
    idle_crowded: float = 10.0


class Submits(Protocol):
    """What a door needs of the inbox."""

    async def submit(self, mail: Mail) -> Receipt:
        """Returns once `mail` is committed; any exception means that it is not."""
        ...


async def serve_smtp(
    config: Config, inbox: Submits, kind: Kind, limits: Limits | None = None, given: socket.socket | None = None
) -> Door:
    """Opens the door `kind` where `config` says. `limits`: what no configuration key says; `given`: listens already.

    Raises OSError when it cannot listen there, ssl.SSLError or OSError when the certificate cannot be used.
    """
    listener: Listener = getattr(config, kind)
    if listener.listen is None:
        raise ValueError(f"[{kind}] listen: found `-` (off), expected where to listen")
    limits = replace(
        limits or Limits(),
        message=listener.max_message_size,
        connections=listener.max_connections,
        per_client=listener.max_connections_per_client,
    )
    tls = None
    if listener.tls_cert is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(listener.tls_cert, listener.tls_key)
    door = Door(kind, inbox.submit, limits, config.organizers, listener.trusted_networks, tls)
    await door.open(listener.listen, given)
    return door


class Door:
    """A listening mail door: who is connected, how much is held, and how it is closed.

    `address` is where it listens: `127.0.0.1:8025`, `[::1]:8025`, `unix:PATH`.
    """

    def __init__(
        self,
        kind: Kind,
        submit: Callable[[Mail], Awaitable[Receipt]],
        limits: Limits,
        organizers: Sequence[str] = (),
        trusted_networks: Sequence[Network] = (),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.kind: Kind = kind
        self.submit = submit
        self.limits = limits
        self.recipients = limits.submitted if kind == "submission" else limits.recipients
        self.organizers = organizers
        self.tls = tls
        self.hostname = re.sub(r"[^A-Za-z0-9.-]", "", socket.gethostname()) or "localhost"
        self.greeting = f"220 {self.hostname} {'LMTP' if kind == 'lmtp' else 'ESMTP'} itipd".encode()
        self.draining = False
        self.address = ""
        self._socket: UnixSocket | None = None
        self._local = False  # the clients are on this machine, at a unix socket
        self._trusted_networks = trusted_networks
        self.bodies = max(limits.bodies, 2 * limits.message)
        self._held = 0
        self._sessions: set[Connection] = set()
        self._networks: Counter[str] = Counter()
        self._empty = asyncio.Event()
        self._empty.set()

    async def open(self, place: Endpoint, given: socket.socket | None = None) -> None:
        """Listens at `place`, or at the socket that was given for it. Raises OSError when that cannot be."""
        self.loop = loop = asyncio.get_running_loop()
        self._local = place.path is not None
        if place.path is not None:
            if given is None:
                self._socket = unix_socket(place.path)
                given = self._socket.sock
            self._server: asyncio.Server = await loop.create_unix_server(
                lambda: Session(self), sock=given, backlog=BACKLOG
            )
            self.address = str(place)
        else:
            if given is not None:
                self._server = await loop.create_server(lambda: Session(self), sock=given, backlog=BACKLOG)
            else:
                self._server = await loop.create_server(lambda: Session(self), place.host, place.port, backlog=BACKLOG)
            self.address = str(Endpoint(*self._server.sockets[0].getsockname()[:2]))
        self._period = min(1.0, self.limits.idle / 4)
        self._sweeper = loop.call_later(self._period, self._sweep)

    async def drain(self, timeout: float) -> bool:  # noqa: ASYNC109  # it is a duration to wait, no deadline to cancel at
        """Takes no more connections, lets running messages be answered, says 421 to everybody else.

        Whoever is left after `timeout` seconds is cut off; mails that the inbox still has are committed or not, but not
        answered any more. True when nobody was left. It may be called again.
        """
        if not self.draining:
            self.draining = True
            self._server.close()
            if self._socket is not None:
                self._socket.remove()
        for session in tuple(self._sessions):
            if not session.receiving:
                session.dismiss(STOPPING)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), timeout)
        self._sweeper.cancel()
        left = tuple(self._sessions)
        for session in left:
            session.abort()
        for _ in range(100):  # the loop tells them one after the other
            if all(session.lost or session.deciding for session in left):
                break
            await asyncio.sleep(0.01)
        return not left

    # -- for the sessions

    def admit(self, session: Connection, peer: Any) -> bytes | None:
        """Lets a new connection in; or the answer that refuses it. `peer` is its socket's remote address."""
        if self._local:
            session.client, session.trusted = "unix", True
        elif peer:
            session.client, session.network, session.trusted = self._identify(peer[0])
        if len(self._sessions) >= self.limits.connections:
            return b"421 4.3.2 Too many connections, try again later"
        if not session.trusted and self._networks[session.network] >= self.limits.per_client:
            return b"421 4.7.0 Too many connections from you"
        self._sessions.add(session)
        self._networks[session.network] += 1
        self._empty.clear()
        return None

    def left(self, session: Connection) -> None:
        """A connection is gone and its last message decided."""
        if session in self._sessions:
            self._sessions.remove(session)
            self.hold(session, 0)
            self._networks[session.network] -= 1
            if not self._networks[session.network]:
                del self._networks[session.network]
            if not self._sessions:
                self._empty.set()

    def hold(self, session: Connection, octets: int) -> bool:
        """Counts what `session` holds of a message now; False when that is too much for all together."""
        self._held += octets - session.held
        session.held = octets
        return self._held <= self.bodies

    def extensions(self, *, secure: bool) -> bytes:
        """The answer to EHLO and LHLO. No AUTH, no CHUNKING."""
        lines = [self.hostname, "PIPELINING", f"SIZE {self.limits.message}", "ENHANCEDSTATUSCODES", "8BITMIME"]
        if self.tls is not None and not secure:
            lines.append("STARTTLS")
        return "".join(f"250-{line}\r\n" for line in lines).encode() + b"250 SMTPUTF8"

    def _identify(self, host: str) -> tuple[str, str, bool]:
        """What a client is called in the log, what it is counted as, whether it is trusted."""
        address = ip_address(host)
        if isinstance(address, IPv6Address):
            address = address.ipv4_mapped or address
        trusted = any(address in network for network in self._trusted_networks)
        # One customer usually has a whole /64.
        network = str(address) if isinstance(address, IPv4Address) else address.packed[:8].hex()
        return str(address), network, trusted

    def _sweep(self) -> None:
        """Ends the connections that have been idle for too long."""
        crowded = len(self._sessions) >= CROWDED * self.limits.connections
        idle = min(self.limits.idle, self.limits.idle_crowded) if crowded else self.limits.idle
        now = self.loop.time()
        for session in tuple(self._sessions):
            session.check(now, idle)
        self._sweeper = self.loop.call_later(self._period, self._sweep)
