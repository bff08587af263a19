"""relay: one envelope in, one verdict out, over SMTP and into a folder (RFC 5321 §4.2-4.5; RFC 3463; RFC 7435)."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import trustme
import uvloop

from itipd import relay, relay_pipe
from itipd.config import Relay
from itipd.relay import Folder, Smtp, way
from itipd.relay_session import Envelope, RelayError, judge
from tests.sink import DROP, HANG, STAGES, Sink, sink

RAW = b"From: meetings@example.com\r\nSubject: x\r\n\r\n.dot\r\nend\r\n"


def envelope(recipient: str = "bea@example.org", raw: bytes = RAW, name: str = "mail") -> Envelope:
    return Envelope("meetings+b-abc@example.com", recipient, raw, name)


@pytest.fixture(autouse=True, params=[False, True], ids=["", "pipelining"])
def pipelining(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every truth holds with relays that offer PIPELINING (RFC 2920), and with those that do not."""
    plain = Sink.__init__

    def offering(self: Sink, *given: Any, **keys: Any) -> None:
        plain(self, *given, **keys)
        self.pipelining = request.param

    monkeypatch.setattr(Sink, "__init__", offering)


@asynccontextmanager
async def smtp(found: Sink, *, patience: float = 1.0, **keys: Any) -> AsyncIterator[Smtp]:
    """A way to this sink that is closed at the end."""
    config = Relay(host="127.0.0.1", port=found.port, **keys)
    client = Smtp(config, timeout=patience, data_timeout=patience)
    try:
        yield client
    finally:
        await client.close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The authority is one that this machine trusts, as an administrator would make it."""
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))


async def test_sent() -> None:
    """A mail that the relay takes is sent: sender, recipient and every byte as given."""
    async with sink() as found, smtp(found) as client:
        verdict = await client.deliver(envelope())
    assert (verdict.state, verdict.code) == ("sent", "2.6.0")
    (taken,) = found.taken
    assert (taken.sender, taken.recipient, taken.raw) == ("meetings+b-abc@example.com", "bea@example.org", RAW)
    assert f"SIZE={len(RAW)}" in found.commands[1]


async def test_ehlo_name() -> None:
    """EHLO says a whole host name or our own address in brackets, and no look-up is made for it."""
    async with sink() as found, smtp(found) as client:
        await client.deliver(envelope())
    name = found.commands[0].removeprefix("EHLO ")
    assert name == "[127.0.0.1]" or "." in name


async def test_connection_is_kept() -> None:
    """Many mails one after the other share one connection."""
    async with sink() as found, smtp(found) as client:
        for n in range(20):
            assert (await client.deliver(envelope(f"g{n}@example.org"))).state == "sent"
    assert (found.connections, len(found.taken)) == (1, 20)


async def test_connections_are_few() -> None:
    """Mails at once take as many connections as there are mails at once, and later mails take those."""
    async with sink(Sink(delay=0.05)) as found, smtp(found) as client:
        for _ in range(3):
            await asyncio.gather(*(client.deliver(envelope(f"g{n}@example.org")) for n in range(3)))
    assert (found.connections, len(found.taken)) == (3, 9)


async def test_idle_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that nobody needs is given up after a while, and not before."""
    async with sink() as found, smtp(found) as client:
        await client.deliver(envelope())
        await client.tidy()
        assert len(found.open) == 1
        monkeypatch.setattr(relay, "IDLE", 0.0)
        await client.tidy()
        await asyncio.sleep(0.05)
        assert not found.open
        assert (await client.deliver(envelope())).state == "sent"
    assert found.connections == 2


async def test_kept_connection_was_closed() -> None:
    """That the relay closed a kept connection meanwhile costs the next mail nothing."""
    async with sink() as found, smtp(found) as client:
        await client.deliver(envelope())
        for session in list(found.open):
            session.drop()
        assert (await client.deliver(envelope())).state == "sent"
        found.faults["MAIL"] = ["421 4.4.2 idle for too long"]
        assert (await client.deliver(envelope())).state == "sent"
        found.faults["MAIL"] = [DROP]
        assert (await client.deliver(envelope())).state == "sent"
    assert len(found.taken) == 4


TEMPORARY = "451 4.3.2 not now"
PERMANENT = "554 5.7.1 not here"


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA", "BODY"])
async def test_temporary_refusal(stage: str) -> None:
    """4xx to a mail means later; the connection serves the next mail."""
    async with sink(Sink({stage: [TEMPORARY]})) as found, smtp(found) as client:
        verdict = await client.deliver(envelope())
        assert (verdict.state, verdict.code) == ("later", "4.3.2")
        assert "not now" in verdict.text
        assert (await client.deliver(envelope())).state == "sent"
    assert (found.connections, len(found.taken)) == (1, 1)


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA", "BODY"])
async def test_permanent_refusal(stage: str) -> None:
    """5xx to a mail means failed for good, with the relay's words and code; the connection serves the next mail."""
    async with sink(Sink({stage: [PERMANENT]})) as found, smtp(found) as client:
        verdict = await client.deliver(envelope())
        assert (verdict.state, verdict.code) == ("failed", "5.7.1")
        assert "not here" in verdict.text
        assert (await client.deliver(envelope())).state == "sent"
    assert (found.connections, len(found.taken)) == (1, 1)


@pytest.mark.parametrize("stage", ["GREETING", "EHLO"])
@pytest.mark.parametrize("reply", [TEMPORARY, PERMANENT])
async def test_relay_refuses_everything(stage: str, reply: str) -> None:
    """A relay that greets with 4xx or 5xx is down; no mail fails for good because of it."""
    async with sink(Sink({stage: reply})) as found, smtp(found) as client:
        if stage == "EHLO":  # an old relay is asked by HELO, and this one knows that
            assert (await client.deliver(envelope())).state == "sent"
        else:
            with pytest.raises(RelayError, match="not"):
                await client.deliver(envelope())


async def test_relay_asks_for_a_login() -> None:
    """530 at MAIL speaks of our configuration, not of the mail."""
    async with sink(Sink({"MAIL": "530 5.7.0 authentication required"})) as found, smtp(found) as client:
        with pytest.raises(RelayError, match="authentication required"):
            await client.deliver(envelope())


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("fault", [DROP, HANG])
async def test_lost_connection(stage: str, fault: str) -> None:
    """A connection lost or silent at any stage means later, and the next mail gets a new one."""
    async with sink(Sink({stage: [fault]})) as found, smtp(found, patience=0.3) as client:
        if stage in ("GREETING", "EHLO"):
            with pytest.raises(RelayError):
                await client.deliver(envelope())
        else:
            verdict = await client.deliver(envelope())
            assert (verdict.state, verdict.code) == ("later", "4.4.2")
            assert stage.replace("BODY", "DATA") in verdict.text
        assert (await client.deliver(envelope())).state == "sent"
    assert len(found.taken) == 1


async def test_dead_relay(unused_tcp_port: int) -> None:
    """Nobody listening: the relay is down, and its address is in the words."""
    client = Smtp(Relay(host="127.0.0.1", port=unused_tcp_port))
    with pytest.raises(RelayError, match=f"127.0.0.1:{unused_tcp_port}"):
        await client.deliver(envelope())


async def test_one_connection_at_a_time() -> None:
    """A relay that allows one connection gets all mails over that one."""
    async with sink(Sink(only_one=True, delay=0.02)) as found, smtp(found) as client:
        verdicts = await asyncio.gather(*(client.deliver(envelope(f"g{n}@example.org")) for n in range(6)))
    assert [verdict.state for verdict in verdicts] == ["sent"] * 6
    assert len(found.taken) == 6


async def test_all_at_a_dead_relay() -> None:
    """Mails at once to a relay that refuses everybody all learn that from one connection; none waits for ever."""
    async with sink(Sink({"GREETING": TEMPORARY})) as found, smtp(found) as client, asyncio.timeout(30):
        errors = await asyncio.gather(*(client.deliver(envelope()) for _ in range(8)), return_exceptions=True)
        assert all(isinstance(error, RelayError) and "not now" in str(error) for error in errors)
        assert found.connections == 1
        found.faults.clear()
        assert (await client.deliver(envelope())).state == "sent"


async def test_cancelled_in_the_middle() -> None:
    """A delivery that is cancelled leaves no connection in the middle of a transaction to others."""
    async with sink(Sink({"RCPT": [HANG]})) as found, smtp(found) as client:
        task = asyncio.create_task(client.deliver(envelope()))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (await client.deliver(envelope("carl@example.org"))).state == "sent"
    assert [taken.recipient for taken in found.taken] == ["carl@example.org"]


async def test_address_beyond_ascii() -> None:
    """A non-ASCII local part goes over SMTPUTF8, and fails for good where the relay has none (RFC 6531)."""
    async with sink() as found, smtp(found) as client:
        assert (await client.deliver(envelope("jörg@example.org"))).state == "sent"
        assert found.taken[0].recipient == "jörg@example.org"
        assert "SMTPUTF8" in found.commands[1]
    async with sink(Sink(utf8=False)) as found, smtp(found) as client:
        verdict = await client.deliver(envelope("jörg@example.org"))
        assert (verdict.state, verdict.code) == ("failed", "5.6.7")
        assert (await client.deliver(envelope())).state == "sent"


async def test_each_has_its_own_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mails that follow each other in one connection get each its own verdict, whatever became of those before."""
    monkeypatch.setattr(relay, "CONNECTIONS", 1)
    bad = {f"g{n}@example.org": f"55{n} 5.1.{n} no" for n in (1, 2, 5)}
    async with sink(Sink({"BODY": [TEMPORARY]}, refused=bad)) as found, smtp(found) as client:
        verdicts = await asyncio.gather(*(client.deliver(envelope(f"g{n}@example.org")) for n in range(8)))
    assert [verdict.code for verdict in verdicts] == [
        *("4.3.2", "5.1.1", "5.1.2", "2.6.0", "2.6.0", "5.1.5", "2.6.0", "2.6.0")
    ]
    assert sorted(taken.recipient for taken in found.taken) == [f"g{n}@example.org" for n in (3, 4, 6, 7)]
    assert found.connections == 1


async def test_connection_lost_between_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mail behind the one whose connection is lost was not given away: it leaves by another connection, once."""
    monkeypatch.setattr(relay, "CONNECTIONS", 1)
    async with sink(Sink({"BODY": [DROP]})) as found, smtp(found) as client:
        verdicts = await asyncio.gather(*(client.deliver(envelope(f"g{n}@example.org")) for n in range(3)))
    assert [(verdict.state, verdict.code) for verdict in verdicts] == [("later", "4.4.2"), *[("sent", "2.6.0")] * 2]
    assert sorted(taken.recipient for taken in found.taken) == ["g1@example.org", "g2@example.org"]
    assert len(found.seen) == 3


async def test_held_up_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mail behind one that the relay thinks about for long leaves by another connection, and that one goes on."""
    monkeypatch.setattr(relay, "CONNECTIONS", 2)
    monkeypatch.setattr(relay_pipe, "HELD_UP", 0.05)
    async with sink(Sink({"BODY": [HANG]}, delay=0.2)) as found, smtp(found, patience=20.0) as client:
        slow = asyncio.create_task(client.deliver(envelope("slow@example.org")))
        while not found.seen:  # noqa: ASYNC110 - a list
            await asyncio.sleep(0.01)
        others = [client.deliver(envelope(f"g{n}@example.org")) for n in range(3)]
        assert [verdict.state for verdict in await asyncio.gather(*others)] == ["sent"] * 3
        assert not slow.done()
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)
    assert sorted(taken.recipient for taken in found.taken) == [f"g{n}@example.org" for n in range(3)]


JUDGED = [
    ("RCPT", 550, "5.2.1 mailbox disabled", "failed", "5.2.1"),
    ("RCPT", 550, "no such user", "failed", "5.1.1"),
    ("RCPT", 553, "no such user", "failed", "5.1.1"),
    ("MAIL", 550, "no", "failed", "5.0.0"),
    ("DATA", 554, "no", "failed", "5.0.0"),
    ("RCPT", 550, "4.1.1 another class", "failed", "5.1.1"),
    ("RCPT", 550, "5.1.10.7 no code", "failed", "5.1.1"),
    ("RCPT", 450, "5.1.1 another class", "later", "4.0.0"),
    ("RCPT", 452, "4.5.3\ntoo many", "later", "4.5.3"),
    ("DATA", 250, "not what DATA answers", "later", "4.0.0"),
    ("MAIL", -1, "garbage", "later", "4.0.0"),
]


@pytest.mark.parametrize(("stage", "code", "message", "state", "enhanced"), JUDGED)
def test_judge(stage: str, code: int, message: str, state: str, enhanced: str) -> None:
    """The reply code says whether for good; the enhanced code counts only where its class agrees with it."""
    verdict = judge(stage, code, message)
    assert (verdict.state, verdict.code) == (state, enhanced)


def test_judge_shows_clean_words() -> None:
    """What the relay says is cut and free of controls and line breaks before it is stored."""
    verdict = judge("RCPT", 550, "a\x00b\r\nc\udcff" + "x" * 1000)
    assert verdict.text.isprintable()
    assert len(verdict.text) == 300


async def test_opportunistic(authority: trustme.CA) -> None:
    """Opportunistic: encrypted where offered, whoever signed the certificate."""
    async with sink(tls=server_context(authority, "other.example.net")) as found, smtp(found) as client:
        assert (await client.deliver(envelope())).state == "sent"
    assert found.encrypted == [True]


async def test_extensions_after_starttls(authority: trustme.CA) -> None:
    """What the relay offers is asked again after STARTTLS, so that a non-ASCII address is not refused by us."""
    async with sink(tls=server_context(authority)) as found, smtp(found) as client:
        assert (await client.deliver(envelope("jörg@example.org"))).state == "sent"
    assert [command.split()[0] for command in found.commands] == ["EHLO", "EHLO", "MAIL", "RCPT"]


async def test_opportunistic_without_an_offer() -> None:
    """Opportunistic: in clear where nothing is offered."""
    async with sink() as found, smtp(found) as client:
        assert (await client.deliver(envelope())).state == "sent"
    assert found.encrypted == [False]


def broken_context() -> ssl.SSLContext:
    """A server that offers STARTTLS and has no certificate for it."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


async def test_opportunistic_with_broken_tls() -> None:
    """Opportunistic: a relay whose STARTTLS does not work gets the mail in clear (RFC 7435)."""
    async with sink(tls=broken_context()) as found, smtp(found) as client:
        assert (await client.deliver(envelope())).state == "sent"
    assert found.encrypted == [False]


async def test_no_password_in_clear_after_broken_tls() -> None:
    """Where TLS fails, a password is not sent in clear instead."""
    offer = sink(tls=broken_context(), login=("me", "secret"))
    async with offer as found, smtp(found, username="me", password="secret") as client:
        with pytest.raises(RelayError, match="STARTTLS"):
            await client.deliver(envelope())
    assert not found.logins


async def test_no_password_in_clear_far_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay on another machine that offers no STARTTLS never sees the password, unless tls is off."""
    monkeypatch.setattr("ipaddress.IPv4Address.is_loopback", False)
    async with sink(login=("me", "secret")) as found:
        async with smtp(found, username="me", password="secret") as client:
            with pytest.raises(RelayError, match=r"relay\.tls"):
                await client.deliver(envelope())
        assert not found.logins
        async with smtp(found, username="me", password="secret", tls="off") as client:
            assert (await client.deliver(envelope())).state == "sent"
        assert found.logins


@pytest.mark.usefixtures("trusted")
async def test_verify(authority: trustme.CA) -> None:
    """Verify: a certificate of a trusted authority for the relay's name."""
    async with sink(tls=server_context(authority)) as found, smtp(found, tls="verify") as client:
        assert (await client.deliver(envelope())).state == "sent"
    assert found.encrypted == [True]


@pytest.mark.usefixtures("trusted")
async def test_verify_another_name(authority: trustme.CA) -> None:
    """Verify: a certificate for another name sends nothing."""
    async with sink(tls=server_context(authority, "other.example.net")) as found, smtp(found, tls="verify") as client:
        with pytest.raises(RelayError, match="certificate"):
            await client.deliver(envelope())
    assert not found.taken


@pytest.mark.parametrize("mode", ["verify", "implicit"])
async def test_unknown_authority(authority: trustme.CA, mode: str) -> None:
    """Verify and implicit: a certificate that nobody vouches for sends nothing."""
    context = server_context(authority)
    async with sink(tls=context, implicit=mode == "implicit") as found, smtp(found, tls=mode) as client:
        with pytest.raises(RelayError, match="certificate"):
            await client.deliver(envelope())
    assert not found.taken


async def test_verify_without_an_offer() -> None:
    """Verify: a relay that offers no STARTTLS gets nothing."""
    async with sink() as found, smtp(found, tls="verify") as client:
        with pytest.raises(RelayError, match="STARTTLS"):
            await client.deliver(envelope())
    assert not any(command.startswith("MAIL") for command in found.commands)


@pytest.mark.usefixtures("trusted")
async def test_implicit(authority: trustme.CA) -> None:
    """Implicit: TLS from the first byte, verified."""
    context = server_context(authority)
    async with sink(tls=context, implicit=True) as found, smtp(found, tls="implicit") as client:
        assert (await client.deliver(envelope())).state == "sent"
    assert found.encrypted == [True]


async def test_off(authority: trustme.CA) -> None:
    """Off: never encrypted, whatever is offered."""
    async with sink(tls=server_context(authority)) as found, smtp(found, tls="off") as client:
        assert (await client.deliver(envelope())).state == "sent"
    assert found.encrypted == [False]


async def test_login() -> None:
    """With a user name, the relay is told it and the password, once for each connection."""
    async with sink(login=("me", "secret")) as found, smtp(found, username="me", password="secret") as client:
        await client.deliver(envelope())
        assert (await client.deliver(envelope())).state == "sent"
    assert [login.password for login in found.logins] == [b"secret"]


async def test_wrong_login() -> None:
    """A refused login is the relay's trouble, and the password is in no message."""
    async with sink(login=("me", "secret")) as found, smtp(found, username="me", password="hunter2") as client:
        with pytest.raises(RelayError, match="535") as caught:
            await client.deliver(envelope())
    assert "hunter2" not in str(caught.value)


async def test_probe() -> None:
    """A probe says whether mail could be sent, with the login, and sends none."""
    async with sink(login=("me", "secret")) as found:
        async with smtp(found, username="me", password="secret") as client:
            await client.probe()
        async with smtp(found, username="me", password="wrong") as client:
            with pytest.raises(RelayError, match="535"):
                await client.probe()
    assert not any(command.startswith("MAIL") for command in found.commands)
    assert not found.open


async def test_folder(tmp_path: Path) -> None:
    """A folder gets NAME.eml with exactly the bytes, is made where it is missing, and a retry leaves one file."""
    folder = Folder(tmp_path / "outgoing")
    for _ in range(2):
        assert (await folder.deliver(envelope())).state == "sent"
    assert [file.name for file in folder.directory.iterdir()] == ["mail.eml"]
    assert (folder.directory / "mail.eml").read_bytes() == RAW


async def test_folder_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is no mail's fault, and leaves nothing half written."""

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RelayError, match="No space left"):
        await Folder(tmp_path).deliver(envelope())
    assert not os.listdir(tmp_path)


async def test_folder_that_is_a_file(tmp_path: Path) -> None:
    """A directory that cannot be one is named in the error."""
    (tmp_path / "outgoing").write_text("x")
    with pytest.raises(RelayError, match="outgoing"):
        await Folder(tmp_path / "outgoing").deliver(envelope())


def test_way(tmp_path: Path) -> None:
    """A host is SMTP, a directory is a folder, neither is no way out."""
    assert isinstance(way(Relay(host="relay.example.net")), Smtp)
    assert isinstance(way(Relay(directory=tmp_path)), Folder)
    assert way(Relay()) is None


class _Counting(asyncio.Protocol):
    """A relay that offers PIPELINING, takes everything and keeps what it read at once."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.words = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(b"220 x\r\n")

    def data_received(self, data: bytes) -> None:
        self.heard.append(data)
        for line in data.splitlines():
            if self.words:
                self.words = line != b"."
                answer = b"" if self.words else b"250 taken\r\n"
            else:
                self.words = line == b"DATA"
                answer = b"354 go on\r\n" if self.words else b"250 OK\r\n"
                answer = b"250-x\r\n250 PIPELINING\r\n" if line.startswith(b"EHLO") else answer
            self.transport.write(answer)


async def test_words_and_the_next_mail_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for a connection is announced in it with the words of the mail before: one write for each mail."""
    monkeypatch.setattr(relay, "CONNECTIONS", 1)
    one = _Counting()
    server = await asyncio.get_running_loop().create_server(lambda: one, "127.0.0.1", 0)
    client = Smtp(Relay(host="127.0.0.1", port=server.sockets[0].getsockname()[1], tls="off"))
    verdicts = await asyncio.gather(*(client.deliver(envelope(f"g{n}@example.org")) for n in range(5)))
    await client.close()
    server.close()
    await server.wait_closed()
    assert [verdict.state for verdict in verdicts] == ["sent"] * 5
    assert len(one.heard) == len(("EHLO", "MAIL", *verdicts, "QUIT"))
    assert sum(b"\r\n.\r\nMAIL FROM:" in piece for piece in one.heard) == 4


class _Strange(asyncio.Protocol):
    """A relay that offers PIPELINING and answers each write with what it was told to."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = [b"220 x\r\n", b"250-x\r\n250 PIPELINING\r\n", *answers]
        self.heard: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by name
        self.transport.write(self.answers.pop(0))

    def data_received(self, data: bytes) -> None:
        self.heard.append(data)
        self.transport.write(self.answers.pop(0) if self.answers else b"250 OK\r\n")


@pytest.mark.parametrize(
    ("answers", "state", "code", "last"),
    [
        ((b"250 OK\r\n550 5.1.1 no\r\n354 go on\r\n", b"554 nobody\r\n"), "failed", "5.1.1", b".\r\n"),
        ((b"250 OK\r\n550 5.1.1 no\r\n554 nobody\r\n",), "failed", "5.1.1", b"RSET\r\n"),
        ((b"250 OK\r\n250 OK\r\n250 what?\r\n",), "later", "4.0.0", b"RSET\r\n"),
        ((b"rubbish\r\n",), "later", "4.0.0", b"MAIL"),
        ((b"250-" + b"x" * 100_000,), "later", "4.0.0", b"MAIL"),
    ],
    ids=["mail to nobody", "refused", "no 354", "rubbish", "endless"],
)
async def test_strange_answers_to_a_pipeline(answers: tuple[bytes, ...], state: str, code: str, last: bytes) -> None:
    """A relay that answers strangely gets no words of a mail, and never the mail a wrong verdict."""
    relays: list[_Strange] = []

    def begin() -> _Strange:
        relays.append(_Strange(*answers))
        return relays[-1]

    server = await asyncio.get_running_loop().create_server(begin, "127.0.0.1", 0)
    config = Relay(host="127.0.0.1", port=server.sockets[0].getsockname()[1], tls="off")
    client = Smtp(config, timeout=1.0, data_timeout=1.0)
    verdict = await client.deliver(envelope())
    await client.close()
    server.close()
    await server.wait_closed()
    assert (verdict.state, verdict.code) == (state, code)
    (one,) = relays
    assert any(piece.startswith(last) for piece in one.heard)
    assert not any(b"Subject" in piece for piece in one.heard)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_pipelined_on_every_loop(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """What can be said at once is said at once, whichever event loop the daemon has."""
    heard: list[bytes] = []

    async def main() -> None:
        one = _Strange(b"250 OK\r\n250 OK\r\n354 go on\r\n", b"250 taken\r\n")
        one.heard = heard
        server = await asyncio.get_running_loop().create_server(lambda: one, "127.0.0.1", 0)
        client = Smtp(Relay(host="127.0.0.1", port=server.sockets[0].getsockname()[1], tls="off"), timeout=1.0)
        assert (await client.deliver(envelope())).state == "sent"
        await client.close()
        server.close()
        await server.wait_closed()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
    assert [piece.split()[0] for piece in heard] == [b"EHLO", b"MAIL", b"From:", b"QUIT"]
    assert heard[1].endswith(b"DATA\r\n")
