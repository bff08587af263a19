"""The mail doors under stress: lost connections, faults of ours, limits, shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
import time
from ipaddress import ip_network
from typing import Any

import pytest
from structlog.testing import capture_logs

from itipd.smtp import Door, Limits
from itipd.smtp_connection import Connection
from itipd.smtp_session import Session
from tests.smtp_client import MESSAGE, Client, FakeInbox, Serve, inbox, serve

__all__ = ["inbox", "serve"]  # fixtures

DIALOGUE = b"EHLO x\r\nMAIL FROM:<b@example.com>\r\nRCPT TO:<a@example.com>\r\nDATA\r\n" + MESSAGE + b".\r\n"


async def settled(door: Door) -> None:
    """Waits until nobody is connected."""
    await asyncio.wait_for(door._empty.wait(), 30)


def reset(client: Client) -> None:
    """Cuts the connection with a RST."""
    sock = client.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.writer.transport.abort()


async def test_250_comes_after_the_commit(serve: Serve, inbox: FakeInbox) -> None:
    """As long as the inbox has not returned, nothing is answered."""
    inbox.gate = asyncio.Event()
    async with await Client.connect(await serve()) as client:
        await client.envelope()
        await client.send(MESSAGE + b".\r\n")
        await inbox.entered.wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.reader.readexactly(1), 0.1)
        inbox.gate.set()
        assert await client.answer() == "250 2.0.0 updated 1"


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (RuntimeError("secret\r\n250 forged"), "451 4.3.0"),
        (ValueError("/proc/self/environ ünïcödé"), "451 4.3.0"),
        (KeyError("\x00"), "451 4.3.0"),
        (TimeoutError(), "451 4.3.0"),
        (asyncio.CancelledError(), "451 4.3.0"),
        (ConnectionResetError(104, "the database's"), "451 4.3.0"),
        (BrokenPipeError(), "451 4.3.0"),
        (OSError(errno.EIO, "Input/output error"), "451 4.3.0"),
        (OSError(errno.ENOSPC, "No space left"), "452 4.3.1"),
        (OSError(errno.EDQUOT, "Quota"), "452 4.3.1"),
    ],
)
async def test_a_fault_of_ours_is_temporary_and_says_nothing(
    serve: Serve, inbox: FakeInbox, error: BaseException, answer: str
) -> None:
    """Any exception of the inbox is 451 (no space: 452) in a fixed text and is logged; the next mail is taken."""
    inbox.error = error
    async with await Client.connect(await serve()) as client:
        with capture_logs() as logs:
            text = await client.deliver()
        assert text.startswith(answer)
        assert text in ("451 4.3.0 Could not be taken now, try again later", "452 4.3.1 No space left, try again later")
        assert [entry["event"] for entry in logs] == ["mail_not_taken"]
        inbox.error = None
        assert await client.deliver() == "250 2.0.0 updated 2"


async def test_no_space_is_found_inside_other_exceptions(serve: Serve, inbox: FakeInbox) -> None:
    """The layers of the database wrap what the system said; 452 all the same."""
    inbox.error = RuntimeError("flush failed")
    inbox.error.__cause__ = ValueError("wrapped")
    inbox.error.__cause__.__context__ = OSError(errno.ENOSPC, "No space left")
    async with await Client.connect(await serve()) as client:
        assert (await client.deliver()).startswith("452 4.3.1")


async def test_a_fault_in_the_dialogue_ends_that_connection(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even a bug in a command is 421 in a fixed text, logged; others go on."""

    async def broken(self: Session, arg: str) -> None:
        raise LookupError("secret")

    door = await serve()
    async with await Client.connect(door) as other:
        monkeypatch.setattr(Session, "smtp_NOOP", broken)
        with capture_logs() as logs:
            async with await Client.connect(door) as client:
                assert await client.say("NOOP") == "421 4.3.0 Could not go on, closing"
                assert await client.answer() == ""
        assert logs[0]["event"] == "dialogue_failed"
        assert (await other.deliver()).startswith("250 ")


@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
async def test_a_commit_outlives_its_connection(serve: Serve, inbox: FakeInbox, how: str) -> None:
    """A client that goes, cuts or half-closes while its mail is being committed does not stop the commit."""
    inbox.gate = asyncio.Event()
    door = await serve()
    async with await Client.connect(door) as client:
        await client.envelope()
        await client.send(MESSAGE + b".\r\n")
        await inbox.entered.wait()
        if how == "close":
            client.writer.close()
        elif how == "reset":
            reset(client)
        else:
            client.writer.write_eof()
        await asyncio.sleep(0.05)
        inbox.gate.set()
        if how == "half-close":
            assert await client.answer() == "250 2.0.0 updated 1"
            assert await client.answer() == ""
        await settled(door)
    assert len(inbox.committed) == 1


async def test_the_idle_limit_spares_a_commit(serve: Serve, inbox: FakeInbox) -> None:
    """However long the inbox takes, the client that waits for it is not idle; afterwards it has its whole time."""
    inbox.gate = asyncio.Event()
    async with await Client.connect(await serve(limits=Limits(idle=0.2))) as client:
        await client.envelope()
        await client.send(MESSAGE + b".\r\n")
        await asyncio.sleep(0.5)
        inbox.gate.set()
        assert (await client.answer()).startswith("250 ")
        await asyncio.sleep(0.1)
        assert await client.say("NOOP") == "250 2.0.0 Ok"


async def test_a_half_closed_client_gets_all_its_answers(serve: Serve, inbox: FakeInbox) -> None:
    """Everything sent at once and the sending half shut down (as `nc -N` does): all answers come, then the end."""
    async with await Client.connect(await serve(), None) as client:
        client.writer.write(DIALOGUE)
        client.writer.write_eof()
        assert [(await client.answer())[:3] for _ in range(5)] == ["250", "250", "250", "354", "250"]
        assert await client.answer() == ""
    assert len(inbox.committed) == 1


@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
async def test_a_connection_cut_at_any_octet_leaves_nothing(serve: Serve, inbox: FakeInbox, how: str) -> None:
    """Cut after each octet of the dialogue: no mail unless its end was sent, nothing held, the door goes on."""
    door = await serve()
    for cut in range(len(DIALOGUE)):
        async with await Client.connect(door, None) as client:
            await client.send(DIALOGUE[:cut])
            if cut % 2:
                await asyncio.sleep(0.001)
            if how == "half-close":
                client.writer.write_eof()
                while await asyncio.wait_for(client.reader.read(1000), 5):
                    pass
            elif how == "reset":
                reset(client)
            else:
                client.writer.close()
    await settled(door)
    assert inbox.mails == []
    assert door._held == 0
    async with await Client.connect(door) as client:
        assert (await client.deliver()).startswith("250 ")


async def test_connections_are_limited(serve: Serve) -> None:
    """One more than `max_connections` gets 421, also from a trusted network; a place that is free again is given."""
    door = await serve(max_connections=3)
    clients = [await Client.connect(door) for _ in range(3)]
    reader, _writer = await asyncio.open_connection(*door.address.split(":"))
    assert (await reader.read()).startswith(b"421 4.3.2 ")
    _writer.close()
    assert await clients[0].say("NOOP") == "250 2.0.0 Ok"
    await clients[0].say("QUIT")
    await asyncio.sleep(0.02)
    async with await Client.connect(door) as client:
        assert await client.say("NOOP") == "250 2.0.0 Ok"
    for client in clients:
        client.writer.close()


@pytest.mark.parametrize("trusted", [True, False])
async def test_connections_of_one_client_are_limited(serve: Serve, trusted: bool) -> None:
    """One more than `max_connections_per_client` gets 421, unless the client is in a trusted network."""
    keys: dict[str, Any] = {} if trusted else {"trusted_networks": ["192.0.2.0/24"]}
    door = await serve(max_connections_per_client=2, **keys)
    clients = [await Client.connect(door) for _ in range(2)]
    reader, writer = await asyncio.open_connection(*door.address.split(":"))
    assert (await reader.readline()).startswith(b"220 " if trusted else b"421 4.7.0 ")
    writer.close()
    for client in clients:
        client.writer.close()


class Stranger(Connection):
    """A connection without a socket, to be let in or not."""

    def __init__(self) -> None:
        self.client, self.network, self.trusted, self.held = "", "", False, 0

    def __hash__(self) -> int:
        return id(self)


@pytest.mark.parametrize(
    ("peers", "refused"),
    [
        (["192.0.2.1", "192.0.2.2", "192.0.2.3"], [False, False, False]),
        (["192.0.2.1", "192.0.2.1", "192.0.2.2"], [False, True, False]),
        (["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"], [False, True, False]),
        (["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1"], [False, True, False]),
        (["10.1.2.3", "10.1.2.3", "::ffff:10.1.2.3"], [False, False, False]),
        (["fe80::1%lo", "fe80::1", "fe80::2"], [False, True, True]),
    ],
)
async def test_what_counts_as_one_client(inbox: FakeInbox, peers: list[str], refused: list[bool]) -> None:
    """One IPv4 address (also mapped into IPv6) or one IPv6 /64 is one client; trusted networks are not counted."""
    door = Door("smtp", inbox.submit, Limits(per_client=1), trusted_networks=[ip_network("10.0.0.0/8")])
    strangers = [Stranger() for _ in peers]
    assert [door.admit(s, (p, 1)) is not None for s, p in zip(strangers, peers, strict=True)] == refused
    for stranger in strangers:
        door.left(stranger)
    assert not door._networks


async def test_bodies_in_flight_are_limited(serve: Serve, inbox: FakeInbox) -> None:
    """When all messages together are too large, one more is drained and gets 451; later it is taken."""
    inbox.gate = asyncio.Event()
    door = await serve(limits=Limits(bodies=1), max_message_size=100_000)  # so the cap is two largest messages
    clients = [await Client.connect(door) for _ in range(3)]
    for client in clients[:2]:
        await client.envelope()
        await client.send(b"x" * 90_000 + b"\r\n.\r\n")
    await asyncio.sleep(0.1)
    assert len(inbox.mails) == 2
    assert (await clients[2].deliver(b"x" * 90_000 + b"\r\n")) == "451 4.3.2 Too much mail at once, try again later"
    await clients[2].envelope()
    await clients[2].send(b"x" * 30_000)  # what is not kept is not counted either
    await asyncio.sleep(0.05)
    assert door._held <= 200_000
    assert (await clients[2].say(b"\r\n.")).startswith("451 4.3.2")
    inbox.gate.set()
    for client in clients[:2]:
        assert (await client.answer()).startswith("250 ")
    assert (await clients[2].deliver(b"x" * 90_000 + b"\r\n")).startswith("250 ")
    for client in clients:
        client.writer.close()


@pytest.mark.parametrize("sent", [b"", b"NOO", b"NOOP\r\nMAIL FROM:<", b"EHLO x\r\nMAIL FROM:<>\r\n", DIALOGUE[:-5]])
async def test_an_idle_client_is_told_and_closed(serve: Serve, inbox: FakeInbox, sent: bytes) -> None:
    """Nothing for the idle limit, in a command or in a message: 421 4.4.2 and the end."""
    door = await serve(limits=Limits(idle=0.2))
    async with await Client.connect(door, None) as client:
        await client.send(sent)
        answers = [answer async for answer in _answers(client)]
        assert answers[-1] == "421 4.4.2 Idle for too long, closing"
        await settled(door)
    assert inbox.mails == []


async def _answers(client: Client) -> Any:
    while answer := await client.answer():
        yield answer


async def test_a_command_without_end_is_not_kept(serve: Serve) -> None:
    """However long a line grows, only what is needed to refuse it stays in memory."""
    door = await serve()
    async with await Client.connect(door) as client:
        (session,) = door._sessions
        for _ in range(20):
            await client.send(b"x" * 50_000)
            await asyncio.sleep(0.005)
            assert len(session._input) < 200_000
        assert await client.say(b"") == "500 5.5.2 Line too long"


async def dribble(client: Client, octets: bytes) -> float:
    """Sends `octets` again and again; after how many seconds the server closed (at most 4)."""
    began = time.monotonic()
    with contextlib.suppress(ConnectionError):
        while time.monotonic() < began + 4 and not client.reader.at_eof():
            await client.send(octets)
            await asyncio.sleep(0.03)
            if client.reader._buffer:  # type: ignore[attr-defined]  # the farewell
                break
    return time.monotonic() - began


async def test_dribbling_octets_is_idling(serve: Serve) -> None:
    """A command must be whole within the idle limit, one octet now and then does not count."""
    async with await Client.connect(await serve(limits=Limits(idle=0.3))) as client:
        assert 0.2 < await dribble(client, b"N") < 2


async def test_dribbling_a_message_has_an_end_too(serve: Serve, inbox: FakeInbox) -> None:
    """A message may come slowly, but not for ever: six times the idle limit in all."""
    async with await Client.connect(await serve(limits=Limits(idle=0.1))) as client:
        await client.envelope()
        assert 0.5 < await dribble(client, b"x\r\n") < 3
    assert inbox.mails == []


async def test_a_crowd_shortens_the_idle_limit(serve: Serve) -> None:
    """From four fifths of `max_connections` on, idle connections end after the shorter limit."""
    door = await serve(limits=Limits(idle=4.0, idle_crowded=0.1), max_connections=5)
    clients = [await Client.connect(door) for _ in range(4)]
    assert await clients[0].answer() == "421 4.4.2 Idle for too long, closing"
    for client in clients:
        client.writer.close()


async def test_who_does_not_read_is_cut_off(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that takes no answers is idle, and when it does not even take the farewell it is cut."""
    monkeypatch.setattr("itipd.smtp_connection.LINGER", 0.2)
    door = await serve(limits=Limits(idle=0.4, recipients=1))
    host, port = door.address.split(":")
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, (host, int(port)))
        flood = b"EHLO x\r\nMAIL FROM:<>\r\n" + b"RCPT TO:<a@b.test>\r\n" * 1_000_000
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(loop.sock_sendall(sock, flood), 30)
        await settled(door)


async def test_errors_are_limited(serve: Serve) -> None:
    """The 20th mistake ends the connection with 421; a message in between forgives the earlier ones."""
    async with await Client.connect(await serve()) as client:
        for _ in range(19):
            assert (await client.say("FOO")).startswith("500 ")
        assert (await client.deliver()).startswith("250 ")
        for _ in range(20):
            assert (await client.say("FOO")).startswith("500 ")
        assert await client.answer() == "421 4.7.0 Too many errors, closing"
        assert await client.answer() == ""


async def test_guessing_recipients_is_limited(serve: Serve) -> None:
    """Unknown recipients are mistakes too: 20 of them end the connection."""
    async with await Client.connect(await serve(organizers=["a@example.com"])) as client:
        await client.say("MAIL FROM:<>")
        for number in range(20):
            assert (await client.say(f"RCPT TO:<{number}@example.com>")).startswith("550 ")
        assert (await client.answer()).startswith("421 4.7.0")


async def test_idle_talk_is_limited(serve: Serve) -> None:
    """100 commands that bring no mail nearer are answered, then 421; a message starts the count anew."""
    async with await Client.connect(await serve()) as client:
        for _ in range(90):
            await client.say("NOOP")
        assert (await client.deliver()).startswith("250 ")
        for command in ["NOOP", "RSET", "VRFY x", "EHLO x"] * 25:
            assert (await client.say(command)).startswith("25")
        await client.say("NOOP")
        assert (await client.answer()).startswith("421 4.7.0")


async def test_recipients_are_limited(serve: Serve, inbox: FakeInbox) -> None:
    """One more than the limit gets 452 4.5.3, the others get the mail (RFC 5321 §4.5.3.1.10)."""
    async with await Client.connect(await serve(limits=Limits(recipients=2))) as client:
        await client.say("MAIL FROM:<>")
        codes = [(await client.say(f"RCPT TO:<{n}@example.com>"))[:9] for n in range(4)]
        assert codes == ["250 2.1.5", "250 2.1.5", "452 4.5.3", "452 4.5.3"]
        await client.say("DATA")
        assert (await client.say(MESSAGE + b".")).startswith("250 ")
    assert len(inbox.committed[0].recipients) == 2


async def test_the_application_may_write_to_more(serve: Serve, inbox: FakeInbox) -> None:
    """At submission the recipients are guests, for whom nobody decides: their limit is another."""
    async with await Client.connect(await serve("submission", limits=Limits(recipients=2, submitted=3))) as client:
        await client.say("MAIL FROM:<meetings@example.com>")
        codes = [(await client.say(f"RCPT TO:<{n}@example.com>"))[:9] for n in range(4)]
    assert codes == ["250 2.1.5", "250 2.1.5", "250 2.1.5", "452 4.5.3"]


@pytest.mark.parametrize(("door", "answers"), [("smtp", 1), ("lmtp", 3)])
async def test_large_mail_to_many_is_refused(serve: Serve, inbox: FakeInbox, door: str, answers: int) -> None:
    """What would go into three journals and be too much together is 552; to one recipient three times it is taken."""
    limits = Limits(bodies=200_000)
    hello = "LHLO client.example.com" if door == "lmtp" else "EHLO client.example.com"
    async with await Client.connect(await serve(door, limits=limits), hello) as client:
        raw = b"x" * 69_998 + b"\r\n"
        await client.envelope("a@example.com", "b@example.com", "c@example.com")
        await client.send(raw + b".\r\n")
        assert [(await client.answer())[:9] for _ in range(answers)] == ["552 5.3.4"] * answers
        await client.envelope("a@example.com", "a@example.com", "a@example.com")
        await client.send(raw + b".\r\n")
        assert [(await client.answer())[:3] for _ in range(answers)] == ["250"] * answers
    assert len(inbox.committed) == 1


@pytest.mark.parametrize(
    "request_line", [b"GET / HTTP/1.1", b"POST / HTTP/1.1", b"CONNECT a:25 HTTP/1.1", b"Host: a", b"host: a"]
)
async def test_a_browser_is_sent_away(serve: Serve, inbox: FakeInbox, request_line: bytes) -> None:
    """HTTP never becomes SMTP: the connection closes at its first line, whatever commands its body holds."""
    async with await Client.connect(await serve(), None) as client:
        await client.send(request_line + b"\r\nContent-Length: 500\r\n\r\n" + DIALOGUE)
        assert await client.answer() == "221 2.7.0 This is no web server"
        with pytest.raises((ConnectionError, AssertionError)):
            assert await client.answer() != ""
    assert inbox.mails == []


async def test_drain_says_goodbye_to_the_idle_and_lets_no_one_in(serve: Serve) -> None:
    """Idle clients get 421, new ones find nobody; a second drain is as good as one."""
    door = await serve()
    async with await Client.connect(door) as client:
        await client.say("MAIL FROM:<>")
        assert await door.drain(5.0)
        assert await client.answer() == "421 4.3.2 Shutting down, closing"
        assert await client.answer() == ""
    with pytest.raises(OSError):  # noqa: PT011
        await asyncio.open_connection(*door.address.split(":"))
    assert await door.drain(5.0)


async def test_drain_lets_running_messages_be_answered(serve: Serve, inbox: FakeInbox) -> None:
    """A message on its way and one at the inbox are taken and answered before the door is closed."""
    inbox.gate = asyncio.Event()
    door = await serve()
    async with await Client.connect(door) as sending, await Client.connect(door) as waiting:
        await waiting.envelope()
        await waiting.send(MESSAGE + b".\r\n")
        await inbox.entered.wait()
        await sending.envelope()
        await sending.send(MESSAGE)
        drain = asyncio.create_task(door.drain(5.0))
        await asyncio.sleep(0.05)
        await sending.send(b".\r\n")
        await asyncio.sleep(0.05)
        assert not drain.done()
        inbox.gate.set()
        for client in (sending, waiting):
            assert (await client.answer()).startswith("250 ")
            assert await client.answer() == "421 4.3.2 Shutting down, closing"
            assert await client.answer() == ""
        assert await drain
    assert len(inbox.committed) == 2


async def test_drain_has_an_end(serve: Serve, inbox: FakeInbox) -> None:
    """Who stalls is cut off at the timeout; a commit that is still running then is not cancelled."""
    inbox.gate = asyncio.Event()
    door = await serve()
    async with await Client.connect(door) as stalling, await Client.connect(door) as waiting:
        await waiting.envelope()
        await waiting.send(MESSAGE + b".\r\n")
        await inbox.entered.wait()
        await stalling.envelope()
        await stalling.send(b"half a mail")
        began = time.monotonic()
        assert not await door.drain(0.3)
        assert 0.2 < time.monotonic() - began < 20
        for client in (stalling, waiting):
            with pytest.raises((ConnectionError, AssertionError)):
                assert await client.answer() != ""
        assert len(door._sessions) == 1
        inbox.gate.set()
        await settled(door)
    assert len(inbox.committed) == 1
