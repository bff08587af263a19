"""The mail doors over real sockets: the dialogue of SMTP, LMTP and submission."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import stat
from pathlib import Path
from typing import Any

import aiosmtplib
import pytest
import trustme

from itipd.config import Config
from itipd.orders import Mail
from itipd.smtp import serve_smtp
from tests.smtp_client import MESSAGE, Client, FakeInbox, Serve, inbox, serve

__all__ = ["inbox", "serve"]  # fixtures


async def test_a_message_goes_from_greeting_to_receipt(serve: Serve, inbox: FakeInbox) -> None:
    """A mail is handed over as it came, its recipients canonical, and the answer names outcome and journal id."""
    door = await serve()
    async with await Client.connect(door, None) as client:
        assert (await client.say("EHLO client.example.com")).startswith("250-")
        assert await client.say("MAIL FROM:<B@example.com> BODY=8BITMIME SIZE=50") == "250 2.1.0 Sender ok"
        assert await client.say("RCPT TO:<Meetings@Example.COM>") == "250 2.1.5 Recipient ok"
        assert (await client.say("DATA")).startswith("354 ")
        assert await client.say(b"Subject: hi\r\n\r\n..dot\r\n..\r\nend\r\n.") == "250 2.0.0 updated 1"
        assert await client.say("QUIT") == "221 2.0.0 Bye"
        assert await client.answer() == ""
    (mail,) = inbox.committed
    assert (mail.sender, mail.recipients, mail.client, mail.door) == (
        "B@example.com",
        ("meetings@example.com",),
        "127.0.0.1",
        "smtp",
    )
    assert mail.raw == b"Subject: hi\r\n\r\n.dot\r\n.\r\nend\r\n"
    assert mail.received_at.utcoffset() is not None


async def test_what_is_announced(serve: Serve) -> None:
    """The promised extensions are announced, AUTH and CHUNKING are not."""
    door = await serve(max_message_size=1234)
    async with await Client.connect(door, None) as client:
        first, *lines = (await client.say("EHLO x")).split("\n")
    assert first == f"250-{door.hostname}"
    assert [line[4:] for line in lines] == ["PIPELINING", "SIZE 1234", "ENHANCEDSTATUSCODES", "8BITMIME", "SMTPUTF8"]


async def test_the_null_sender_is_the_empty_text(serve: Serve, inbox: FakeInbox) -> None:
    """`MAIL FROM:<> AUTH=<>`, as Exchange Online sends it, gives the sender ""."""
    async with await Client.connect(await serve()) as client:
        assert (await client.say("MAIL FROM:<> AUTH=<>")).startswith("250 ")
        await client.say("RCPT TO:<meetings@example.com> NOTIFY=NEVER ORCPT=rfc822;a+2Bb@example.com")
        await client.say("DATA")
        assert (await client.say(MESSAGE + b".")).startswith("250 ")
    assert inbox.committed[0].sender == ""


@pytest.mark.parametrize(
    ("commands", "answer"),
    [
        (["MAIL FROM:<"], "501 5.1.7"),
        (["MAIL FROM:"], "501 5.1.7"),
        (["MAIL"], "501 5.1.7"),
        (["MAIL FROM:b@example.com"], "501 5.1.7"),
        (["MAIL FROM:<b@example.com> SIZE=x"], "501 5.5.4"),
        (["MAIL FROM:<b@example.com> SIZE"], "501 5.5.4"),
        (["MAIL FROM:<b@example.com> SIZE=100001"], "552 5.3.4"),
        (["MAIL FROM:<b@example.com> SIZE=100000"], "250 2.1.0"),
        (["MAIL FROM:<b@example.com> BODY=BINARYMIME"], "501 5.5.4"),
        (["MAIL FROM:<b@example.com> SMTPUTF8=1"], "501 5.5.4"),
        (["MAIL FROM:<b@example.com> FOO=1"], "555 5.5.4"),
        (["MAIL FROM:<bé@example.com>"], "553 5.6.7"),
        (["MAIL FROM:<bé@example.com> SMTPUTF8"], "250 2.1.0"),
        (["MAIL FROM:<b@example.com>", "MAIL FROM:<b@example.com>"], "503 5.5.1"),
        (["RCPT TO:<meetings@example.com>"], "503 5.5.1"),
        (["DATA"], "503 5.5.1"),
        (["MAIL FROM:<b@example.com>", "DATA"], "503 5.5.1"),
        (["MAIL FROM:<b@example.com>", "RCPT TO:<x@other.test>", "DATA"], "554 5.5.1"),
        (["MAIL FROM:<b@example.com>", "RCPT TO:<meetings@example.com>", "DATA now"], "501 5.5.4"),
        (["MAIL FROM:<b@example.com>", "RCPT TO:<meetings@example.com>", "RSET", "DATA"], "503 5.5.1"),
        (["MAIL FROM:<b@example.com>", "RCPT TO:<"], "501 5.1.3"),
        (["MAIL FROM:<b@example.com>", "RCPT TO:<meetings@example.com> FOO"], "555 5.5.4"),
        (["MAIL FROM:<b@example.com>", "RCPT TO:<Postmaster>"], "550 5.1.1"),
        (["MAIL FROM:<b@example.com>", "RCPT TO:<mé@example.com>"], "553 5.6.7"),
        (["EHLO"], "501 5.5.4"),
        (["HELO x"], "250 "),
        (["LHLO x"], "500 5.5.1"),
        (["RSET now"], "501 5.5.4"),
        (["NOOP x"], "250 2.0.0"),
        (["VRFY meetings@example.com"], "252 2.5.0"),
        (["EXPN x"], "502 5.5.1"),
        (["AUTH PLAIN AGIAYg=="], "502 5.5.1"),
        (["BDAT 5 LAST"], "502 5.5.1"),
        (["STARTTLS"], "502 5.5.1"),
        (["FOO"], "500 5.5.1"),
        ([""], "500 5.5.1"),
        ([" MAIL FROM:<b@example.com>"], "500 5.5.1"),
        (["\x00"], "500 5.5.1"),
        (["NO\x00OP"], "500 5.5.1"),
        (["MAIL FROM:<b\x00@example.com>"], "501 5.1.7"),
        (["NOOP " + "x" * 3000], "500 5.5.2"),
        (["NOOP " + "x" * 200_000], "500 5.5.2"),
        (["__class__"], "500 5.5.1"),
    ],
)
async def test_each_mistake_has_its_answer(serve: Serve, commands: list[str], answer: str) -> None:
    """Wrong, misplaced and unknown commands get a fixed answer with an enhanced code, and the dialogue goes on."""
    async with await Client.connect(await serve(organizers=["meetings@example.com"])) as client:
        for command in commands[:-1]:
            await client.say(command)
        assert (await client.say(commands[-1])).startswith(answer)
        assert await client.say("NOOP") == "250 2.0.0 Ok"


async def test_no_utf8_in_a_command_is_an_error_of_its_own(serve: Serve) -> None:
    """Octets that are neither ASCII nor UTF-8 are refused and never come back."""
    async with await Client.connect(await serve()) as client:
        assert (await client.say(b"MAIL FROM:<b\xff@example.com>")) == "500 5.5.2 Neither ASCII nor UTF-8"


async def test_a_hello_comes_first(serve: Serve) -> None:
    """Without EHLO or HELO there is no MAIL (RFC 5321 §4.1.4)."""
    async with await Client.connect(await serve(), None) as client:
        assert (await client.say("MAIL FROM:<b@example.com>")).startswith("503 5.5.1")


@pytest.mark.parametrize(
    ("recipient", "code"),
    [
        ("meetings@example.com", "250 2.1.5"),
        ("MEETINGS@EXAMPLE.COM", "250 2.1.5"),
        ("meetings+b-token@example.com", "250 2.1.5"),
        ("any@meet.example.com", "250 2.1.5"),
        ("any+tag@meet.example.com", "250 2.1.5"),
        ("other@example.com", "550 5.1.1"),
        ("other+meetings@example.com", "550 5.1.1"),
        ("+meetings@example.com", "550 5.1.1"),
        ("meetings@example.org", "550 5.1.1"),
        ('"meetings"@example.com', "550 5.1.1"),
        ("meetings@[192.0.2.1]", "550 5.1.1"),
    ],
)
async def test_only_organizers_are_recipients(serve: Serve, recipient: str, code: str) -> None:
    """Configured addresses, patterns and their tagged forms are taken; all others get 550 5.1.1."""
    door = await serve(organizers=["meetings@example.com", "*@meet.example.com"])
    async with await Client.connect(door) as client:
        await client.say("MAIL FROM:<b@example.com>")
        assert (await client.say(f"RCPT TO:<{recipient}>")).startswith(code)


async def test_refused_recipients_do_not_hinder_the_others(serve: Serve, inbox: FakeInbox) -> None:
    """The mail goes to those that were accepted, each once; the transaction ends with it."""
    async with await Client.connect(await serve(organizers=["a@example.com", "b@example.com"])) as client:
        await client.say("MAIL FROM:<x@example.org>")
        for name in ("a", "no", "b", "A"):
            await client.say(f"RCPT TO:<{name}@example.com>")
        await client.say("DATA")
        assert (await client.say(MESSAGE + b".")).startswith("250 ")
        assert (await client.say("RCPT TO:<a@example.com>")).startswith("503 ")
    assert inbox.committed[0].recipients == ("a@example.com", "b@example.com")


async def test_international_addresses(serve: Serve, inbox: FakeInbox) -> None:
    """With SMTPUTF8 addresses are UTF-8; a recipient's domain is taken as A-label (RFC 6531)."""
    async with await Client.connect(await serve(organizers=["büro@bücher.test"])) as client:
        await client.say("MAIL FROM:<jürgen@example.com> SMTPUTF8")
        assert (await client.say("RCPT TO:<büro@BÜCHER.test>")).startswith("250 ")
        await client.say("DATA")
        assert (await client.say(MESSAGE + b".")).startswith("250 ")
    assert inbox.committed[0].sender == "jürgen@example.com"
    assert inbox.committed[0].recipients == ("büro@xn--bcher-kva.test",)


async def test_pipelined_commands_are_answered_in_order(serve: Serve, inbox: FakeInbox) -> None:
    """Everything in one packet, two mails and QUIT: each has its answer, in order (RFC 2920)."""
    async with await Client.connect(await serve(organizers=["a@example.com"]), None) as client:
        mail = b"MAIL FROM:<b@example.com>\r\nRCPT TO:<no@example.com>\r\nRCPT TO:<a@example.com>\r\nDATA\r\n"
        await client.send(b"EHLO x\r\n" + (mail + MESSAGE + b".\r\n") * 2 + b"QUIT\r\n")
        answers = [(await client.answer())[:3] for _ in range(12)]
    assert answers == ["250", *["250", "550", "250", "354", "250"] * 2, "221"]
    assert [mail.raw for mail in inbox.committed] == [MESSAGE, MESSAGE]


async def test_one_octet_at_a_time(serve: Serve, inbox: FakeInbox) -> None:
    """A dialogue that comes octet by octet gives the same mail."""
    door = await serve()
    async with await Client.connect(door, None) as client:
        client.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        dialogue = b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\n..a\r\n.\r\nQUIT\r\n"
        for octet in dialogue:
            await client.send(bytes([octet]))
            await asyncio.sleep(0)
        assert [(await client.answer())[:3] for _ in range(6)] == ["250", "250", "250", "354", "250", "221"]
    assert inbox.committed[0].raw == b".a\r\n"


@pytest.mark.parametrize(
    "inside",
    [
        b"\n.\n",
        b"\n.\r\n",
        b"\r.\r",
        b"\r.\r\n",
        b"\r\n.\n",
        b"\r\n.\r",
        b"\n\r\n.\r",
    ],
)
@pytest.mark.parametrize("trusted", [True, False])
async def test_nothing_but_crlf_dot_crlf_ends_a_message(
    serve: Serve, inbox: FakeInbox, inside: bytes, trusted: bool
) -> None:
    """Another spelling of the end is text: what follows is never taken for commands (no smuggled second mail)."""
    smuggled = b"MAIL FROM:<admin@example.com>\r\nRCPT TO:<meetings@example.com>\r\nDATA\r\nevil\r\n"
    door = await serve(**({} if trusted else {"trusted_networks": []}))
    async with await Client.connect(door) as client:
        assert (await client.deliver(b"A: b\r\n\r\nx" + inside + smuggled)).startswith("250 ")
        assert await client.say("NOOP") == "250 2.0.0 Ok"
    (mail,) = inbox.committed
    assert b"MAIL FROM:<admin@example.com>" in mail.raw
    if not trusted:
        assert mail.raw.count(b"\r") == mail.raw.count(b"\n") == mail.raw.count(b"\r\n")
    assert mail.trusted is trusted


async def test_bare_line_ends_of_trusted_clients_stay(serve: Serve, inbox: FakeInbox) -> None:
    """A mail from a trusted network is kept as it came; the reader tolerates bare line ends."""
    async with await Client.connect(await serve()) as client:
        await client.deliver(b"A: b\n\nx\ry\r\n")
    assert inbox.committed[0].raw == b"A: b\n\nx\ry\r\n"


async def test_a_large_mail_of_bare_line_ends_is_normalised_whole(serve: Serve, inbox: FakeInbox) -> None:
    """Also a message of several pieces is the same text afterwards, with whole line ends."""
    door = await serve(trusted_networks=[], max_message_size=5_000_000)
    async with await Client.connect(door) as client:
        for sound in (0, 100_000):  # lines with nothing wrong, before the others
            assert (await client.deliver(b"y\r\n" * sound + b"\nx\r\n" * 300_000)).startswith("250 ")
            assert inbox.committed[-1].raw == b"y\r\n" * sound + b"\r\nx\r\n" * 300_000


async def test_lines_of_any_length(serve: Serve, inbox: FakeInbox) -> None:
    """A line of 90,000 octets is taken: only the whole message has a limit."""
    line = b"x" * 90_000 + b"\r\n"
    async with await Client.connect(await serve()) as client:
        assert (await client.deliver(line)).startswith("250 ")
    assert inbox.committed[0].raw == line


@pytest.mark.parametrize("line", [b"x" * 78 + b"\r\n", b"\r\n", b"..\r\n", b"x"])
async def test_too_large_is_552_and_the_connection_goes_on(serve: Serve, inbox: FakeInbox, line: bytes) -> None:
    """Far above the limit, also as empty lines or without any: drained, 552, and the next mail is taken."""
    async with await Client.connect(await serve(max_message_size=50_000)) as client:
        assert (await client.deliver(line * (400_000 // len(line)) + b"\r\n")) == "552 5.3.4 Message too large"
        assert (await client.deliver()).startswith("250 ")
    assert [mail.raw for mail in inbox.committed] == [MESSAGE]


async def test_exactly_the_limit_is_taken(serve: Serve, inbox: FakeInbox) -> None:
    """`max_message_size` octets are a message, one more is too large."""
    async with await Client.connect(await serve(max_message_size=1000)) as client:
        assert (await client.deliver(b"x" * 998 + b"\r\n")).startswith("250 ")
        assert (await client.deliver(b"x" * 999 + b"\r\n")).startswith("552 ")


async def test_a_mail_that_went_in_circles_is_refused(serve: Serve, inbox: FakeInbox) -> None:
    """51 Received headers: 554 5.4.6; 50 are taken (RFC 5321 §6.3)."""
    async with await Client.connect(await serve()) as client:
        assert (await client.deliver(b"Received: by x\r\n" * 51 + MESSAGE)).startswith("554 5.4.6")
        assert (await client.deliver(b"Received: by x\r\n" * 50 + MESSAGE)).startswith("250 ")


async def test_an_empty_message_is_one(serve: Serve, inbox: FakeInbox) -> None:
    """A dot right after DATA ends a message without octets; what it is worth the inbox decides."""
    async with await Client.connect(await serve()) as client:
        assert (await client.deliver(b"")).startswith("250 ")
    assert inbox.committed[0].raw == b""


async def test_lmtp_answers_for_each_recipient(serve: Serve, inbox: FakeInbox) -> None:
    """As many answers as accepted RCPTs, twice the same included; one submission (RFC 2033 §4.2)."""
    door = await serve("lmtp", organizers=["*@example.com"])
    async with await Client.connect(door, "LHLO relay") as client:
        await client.envelope("a@example.com", "b@example.com", "a@example.com")
        await client.send(MESSAGE + b".\r\n")
        assert [await client.answer() for _ in range(3)] == ["250 2.0.0 updated 1"] * 3
        assert await client.say("NOOP") == "250 2.0.0 Ok"
    assert [(mail.recipients, mail.door) for mail in inbox.committed] == [(("a@example.com", "b@example.com"), "lmtp")]


@pytest.mark.parametrize(
    ("message", "error", "code"),
    [
        (b"x" * 200_000 + b"\r\n", None, "552 5.3.4"),
        (b"Received: x\r\n" * 60 + MESSAGE, None, "554 5.4.6"),
        (MESSAGE, RuntimeError("no"), "451 4.3.0"),
        (MESSAGE, OSError(28, "No space left on device"), "452 4.3.1"),
    ],
)
async def test_lmtp_answers_for_each_recipient_on_every_path(
    serve: Serve, inbox: FakeInbox, message: bytes, error: Exception | None, code: str
) -> None:
    """Also a refusal or a fault of ours is said once for each recipient: Postfix would wait for ten minutes else."""
    inbox.error = error
    async with await Client.connect(await serve("lmtp"), "LHLO relay") as client:
        await client.envelope("a@example.com", "b@example.com")
        await client.send(message + b".\r\n")
        for _ in range(2):
            assert (await client.answer()).startswith(code)
        assert await client.say("NOOP") == "250 2.0.0 Ok"


async def test_lmtp_has_its_own_hello(serve: Serve) -> None:
    """LHLO instead of EHLO and HELO; DATA without a recipient is 503, also when all were refused."""
    door = await serve("lmtp", organizers=["a@example.com"])
    async with await Client.connect(door, None) as client:
        assert (await client.say("EHLO x")).startswith("500 5.5.1")
        assert (await client.say("HELO x")).startswith("500 5.5.1")
        assert (await client.say("LHLO x")).startswith("250-")
        await client.say("MAIL FROM:<>")
        assert (await client.say("RCPT TO:<no@example.com>")).startswith("550 ")
        assert (await client.say("DATA")).startswith("503 5.5.1")


async def test_a_unix_socket_is_for_everybody_and_replaces_a_stale_one(
    serve: Serve, inbox: FakeInbox, tmp_path: Path
) -> None:
    """LMTP on a unix socket: mode 0666, a socket nobody listens at is replaced, and it is gone after the drain."""
    path = tmp_path / "lmtp"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    door = await serve("lmtp", listen=f"unix:{path}")
    assert door.address == f"unix:{path}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    async with await Client.connect(door, "LHLO relay") as client:
        assert (await client.deliver()).startswith("250 ")
    assert inbox.committed[0].client == "unix"
    await door.drain(1.0)
    assert not path.exists()


async def test_a_unix_socket_in_use_is_left_alone(serve: Serve, tmp_path: Path) -> None:
    """A second door on the same path fails by name, and so does a path where a file stands; nothing is removed."""
    path = tmp_path / "lmtp"
    door = await serve("lmtp", listen=f"unix:{path}")
    with pytest.raises(OSError, match="lmtp: cannot listen there"):
        await serve("lmtp", listen=f"unix:{path}")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="file: cannot listen there"):
        await serve("lmtp", listen=f"unix:{tmp_path / 'file'}")
    assert (tmp_path / "file").read_text() == "mine"
    async with await Client.connect(door, "LHLO relay") as client:
        assert (await client.deliver()).startswith("250 ")


async def test_the_application_may_write_to_anybody(serve: Serve, inbox: FakeInbox) -> None:
    """At the submission door every address is a recipient, for the application writes to its guests."""
    async with await Client.connect(await serve("submission", organizers=["meetings@example.com"])) as client:
        assert (await client.deliver(MESSAGE, "guest@elsewhere.test")).startswith("250 ")
    assert inbox.committed[0].door == "submission"


async def test_submission_is_for_trusted_networks(serve: Serve) -> None:
    """Only this door changes meetings by mail, so a client from elsewhere is refused."""
    async with await Client.connect(await serve("submission", trusted_networks=[])) as client:
        assert (await client.say("MAIL FROM:<b@example.com>")).startswith("550 5.7.1")


async def test_ipv6_is_written_in_brackets(serve: Serve) -> None:
    """`[::1]:PORT` is how the address of an IPv6 door is written."""
    try:
        door = await serve(listen="[::1]:0")
    except OSError:
        pytest.skip("no IPv6 here")
    assert door.address.startswith("[::1]:")
    async with await Client.connect(door) as client:
        assert (await client.deliver()).startswith("250 ")


async def test_answers_are_not_delayed(serve: Serve) -> None:
    """TCP_NODELAY is set on every connection: without it each mail waits for 40 ms."""
    door = await serve()
    async with await Client.connect(door):
        (session,) = door._sessions
        sock = session.channel.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], ssl.SSLContext]:
    """The keys of a section for a certificate of localhost, and a client's context that trusts it."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return {"tls_cert": str(folder / "cert.pem"), "tls_key": str(folder / "key.pem")}, context


async def test_mail_over_starttls(serve: Serve, inbox: FakeInbox, tls: tuple[dict[str, Any], ssl.SSLContext]) -> None:
    """With a certificate STARTTLS is announced, in TLS no more; a large mail passes, the size limit holds."""
    door = await serve(max_message_size=300_000, **tls[0])
    host, _, port = door.address.rpartition(":")
    sender = aiosmtplib.SMTP(hostname=host, port=int(port), start_tls=False, use_tls=False)
    await sender.connect()
    await sender.ehlo()
    assert sender.supports_extension("starttls")
    await sender.starttls(server_hostname="localhost", tls_context=tls[1])
    await sender.ehlo()
    assert not sender.supports_extension("starttls")
    await sender.sendmail("b@example.com", ["a@example.com"], b"x" * 250_000 + b"\r\n")
    with pytest.raises(aiosmtplib.SMTPSenderRefused, match="Message too large"):
        await sender.sendmail("b@example.com", ["a@example.com"], b"x" * 350_000 + b"\r\n")
    code, _ = await sender.execute_command(b"STARTTLS")
    assert code == 503
    await sender.quit()
    assert len(inbox.committed[0].raw) == 250_002


@pytest.mark.parametrize("chunk", [10, 65_536])
async def test_what_follows_starttls_in_clear_is_dropped(
    serve: Serve, tls: tuple[dict[str, Any], ssl.SSLContext], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands that somebody put behind STARTTLS are never answered inside of TLS, nor is the EHLO before it kept.

    With a chunk of 10 octets they are still in the stream when STARTTLS is read, with a large one in our own buffer.
    """
    monkeypatch.setattr("itipd.smtp_connection.CHUNK", chunk)
    async with await Client.connect(await serve(**tls[0])) as client:
        await client.send(b"STARTTLS\r\nEHLO evil\r\nMAIL FROM:<evil@example.com>\r\n")
        assert await client.answer() == "220 2.0.0 Ready to start TLS"
        await client.writer.start_tls(tls[1], server_hostname="localhost")
        assert (await client.say("RCPT TO:<a@example.com>")).startswith("503 ")
        assert (await client.say("MAIL FROM:<b@example.com>")).startswith("503 ")
        assert (await client.say("EHLO x")).startswith("250-")
        assert (await client.deliver()).startswith("250 ")


async def test_a_failed_handshake_ends_one_connection_only(
    serve: Serve, tls: tuple[dict[str, Any], ssl.SSLContext]
) -> None:
    """Garbage instead of TLS closes that connection; the door goes on."""
    door = await serve(**tls[0])
    async with await Client.connect(door) as client:
        assert (await client.say("STARTTLS")).startswith("220 ")
        await client.send(b"EHLO in clear\r\n")
        while await asyncio.wait_for(client.reader.read(1000), 5):
            pass
    async with await Client.connect(door) as client:
        assert await client.say("NOOP") == "250 2.0.0 Ok"


@pytest.mark.skipif(shutil.which("swaks") is None, reason="swaks is not installed")
@pytest.mark.parametrize("kind", ["smtp", "lmtp", "unix", "tls"])
async def test_swaks_delivers(
    serve: Serve, inbox: FakeInbox, kind: str, tmp_path: Path, tls: tuple[dict[str, Any], ssl.SSLContext]
) -> None:
    """A client written by others delivers over SMTP, LMTP, a unix socket and (if it can) TLS."""
    if kind == "unix":
        await serve("lmtp", listen=f"unix:{tmp_path / 'lmtp'}")
        where = ["--protocol", "LMTP", "--socket", str(tmp_path / "lmtp")]
    else:
        door = await serve("lmtp" if kind == "lmtp" else "smtp", **(tls[0] if kind == "tls" else {}))
        where = ["--protocol", "LMTP" if kind == "lmtp" else "ESMTP", "--server", door.address]
    command = ["swaks", *where, "--to", "a@example.com,b@example.com", "--from", "<>", "--body", "Hello\n.\nworld"]
    command += ["--tls-optional", "--pipeline"] if kind == "tls" else []
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, output.decode()
    assert output.decode().count("updated 1") == (2 if kind in ("lmtp", "unix") else 1)
    (mail,) = inbox.committed
    assert (mail.sender, mail.recipients) == ("", ("a@example.com", "b@example.com"))
    assert b"Hello\r\n.\r\nworld" in mail.raw


async def test_a_door_that_is_off_is_not_opened(inbox: FakeInbox) -> None:
    """`listen = "-"` is the caller's to see; opening such a door says which key it is."""
    config = Config.model_validate({"smtp": {"listen": "-"}})
    with pytest.raises(ValueError, match=r"\[smtp\] listen"):
        await serve_smtp(config, inbox, "smtp")


async def test_mails_of_many_clients_stay_apart(serve: Serve, inbox: FakeInbox) -> None:
    """50 clients at once, 4 mails each: every mail arrives whole, with its own sender."""
    door = await serve(max_message_size=1_000_000)

    async def send(number: int) -> None:
        async with await Client.connect(door) as client:
            for part in range(4):
                await client.say(f"MAIL FROM:<c{number}-{part}@example.com>")
                await client.say("RCPT TO:<a@example.com>")
                await client.say("DATA")
                text = f"{number}-{part} ".encode() * 10_000
                assert (await client.say(text + b"\r\n.")).startswith("250 ")

    await asyncio.gather(*(send(number) for number in range(50)))
    assert len({mail.sender for mail in inbox.committed}) == 200

    def expected(mail: Mail) -> bytes:
        return mail.sender[1:].partition("@")[0].encode() + b" "

    assert all(mail.raw == expected(mail) * 10_000 + b"\r\n" for mail in inbox.committed)
