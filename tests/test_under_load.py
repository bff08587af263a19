"""Under load, from outside: too many, too large, too slow, a database that does not answer, the end of the daemon."""

from __future__ import annotations

import contextlib
import json
import smtplib
import socket
import sqlite3
import ssl
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import trustme

from itipd.benchmark.mails import ORGANIZER, letters
from itipd.benchmark.mails import calendar as bench_calendar
from tests.cli_help import BOB, WE, calendar, event, mail, reply
from tests.daemon import PATIENCE, Daemon
from tests.test_two_daemons import free_ports

UID = "plan@example.com"
HTTP = ("--http", "127.0.0.1:0")


def answer(number: int = 0) -> bytes:
    return mail(reply(UID, at=f"20261120T08{number // 60:02}{number % 60:02}Z"), message_id=f"<{number}@mail.test>")


def talk(daemon: Daemon, door: str = "smtp") -> socket.socket:
    return socket.create_connection(daemon.address(door), timeout=PATIENCE)


def heard(client: socket.socket) -> bytes:
    """What comes until the other side closes."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while octets := client.recv(65536):
            found += octets
    return found


def asked(daemon: Daemon, path: str) -> tuple[int, dict[str, Any]]:
    """Status and JSON of an HTTP answer."""
    host, port = daemon.address("http")
    try:
        with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=PATIENCE) as found:
            return found.status, json.load(found)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def memory(daemon: Daemon) -> int:
    """Resident octets of the daemon itself."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))


def put(daemon: Daemon, *options: str) -> None:
    daemon.itipd("meeting", "put", "-", *options, text=calendar(event(UID)))


def test_too_many_connections_are_421_and_others_go_on(tmp_path: Path) -> None:
    """Beyond max_connections, and beyond a client's share unless its network is trusted: 421, and the door lives."""
    config = "[smtp]\nmax_connections = 8\n[lmtp]\nmax_connections_per_client = 2\ntrusted_networks = []\n"
    with Daemon(tmp_path, config=config) as daemon:
        put(daemon, "--recorded")
        for door, most, code in (("smtp", 8, b"421 4.3.2 "), ("lmtp", 2, b"421 4.7.0 ")):
            with contextlib.ExitStack() as stack:
                for _ in range(most):
                    assert stack.enter_context(talk(daemon, door)).recv(100).startswith(b"220 ")
                assert heard(stack.enter_context(talk(daemon, door))).startswith(code)
        time.sleep(0.2)
        with smtplib.SMTP(*daemon.address("smtp"), timeout=PATIENCE) as other:
            assert other.sendmail(BOB, [WE], answer()) == {}
        assert daemon.stop() == 0


def test_slow_clients_give_way(tmp_path: Path) -> None:
    """In a crowd who says nothing, and who says an octet now and then, is sent away; a quick one is served."""
    config = "[smtp]\nmax_connections = 10\n"
    with Daemon(tmp_path, config=config) as daemon:
        put(daemon, "--recorded")
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(talk(daemon)) for _ in range(9)]
            began, gone = time.monotonic(), 0.0
            for client in clients:
                client.recv(100)
                client.settimeout(0.01)
            while time.monotonic() - began < 2 * PATIENCE and not gone:
                for client in clients[1:]:
                    with contextlib.suppress(OSError):
                        client.send(b"N")  # never a whole command
                time.sleep(0.5)
                with contextlib.suppress(TimeoutError):
                    if clients[1].recv(1000).startswith(b"421 4.4.2 "):
                        gone = time.monotonic() - began
            assert gone > 8  # the limit of a crowd is ten seconds
            with smtplib.SMTP(*daemon.address("smtp"), timeout=PATIENCE) as other:
                assert other.sendmail(BOB, [WE], answer()) == {}
        assert daemon.stop() == 0


def test_many_large_bodies_are_451_and_the_memory_is_bounded(tmp_path: Path) -> None:
    """20 bodies of 9 MiB at once are more than is held together: some are 451 4.3.2, and all can come again."""
    with Daemon(tmp_path) as daemon:
        before = memory(daemon)
        most = before
        said: list[bytes] = []
        body = (b"x" * 76 + b"\r\n") * (9 * 1024 * 1024 // 78)
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(talk(daemon)) for _ in range(20)]
            for client in clients:
                client.recv(100)
                client.sendall(f"EHLO x\r\nMAIL FROM:<{BOB}>\r\nRCPT TO:<{WE}>\r\nDATA\r\n".encode())
            for client in clients:
                while b"354 " not in client.recv(4096):
                    pass

            def deliver(client: socket.socket) -> None:
                client.sendall(body)
                barrier.wait(PATIENCE)
                client.sendall(b".\r\n")
                said.append(client.recv(4096))

            barrier = threading.Barrier(20)
            threads = [threading.Thread(target=deliver, args=(client,)) for client in clients]
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                most = max(most, memory(daemon))
                time.sleep(0.02)
        refused = [one for one in said if one.startswith(b"451 4.3.2 ")]
        assert len(said) == 20
        assert len(refused) >= 20 - 128 // 9
        assert {one[:4] for one in said} <= {b"250 ", b"451 "}
        assert most - before < 300 * 1024 * 1024
        assert daemon.stop() == 0


def test_starttls_from_outside(tmp_path: Path) -> None:
    """With a certificate the daemon's SMTP and LMTP doors take a mail in TLS."""
    authority = trustme.CA()
    made = authority.issue_cert("localhost")
    made.private_key_pem.write_to_path(tmp_path / "key.pem")
    for number, part in enumerate(made.cert_chain_pems):
        part.write_to_path(tmp_path / "cert.pem", append=number > 0)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    keys = 'tls_cert = "cert.pem"\ntls_key = "key.pem"\n'
    with Daemon(tmp_path, config=f"[smtp]\n{keys}[lmtp]\n{keys}") as daemon:
        put(daemon, "--recorded")
        for number, (kind, door) in enumerate(((smtplib.SMTP, "smtp"), (smtplib.LMTP, "lmtp"))):
            with kind("localhost", daemon.address(door)[1], timeout=PATIENCE) as client:
                client.starttls(context=context)
                assert client.sendmail(BOB, [WE], answer(number)) == {}
        assert daemon.json("status", UID)[0]["counts"]["ACCEPTED"] == 1
        assert daemon.stop() == 0


def test_a_locked_database_is_451_and_not_ready(tmp_path: Path) -> None:
    """While somebody holds the database: 451 within a minute, no trace, not ready but alive; then all is taken."""
    with Daemon(tmp_path, *HTTP) as daemon:
        put(daemon, "--recorded")
        assert asked(daemon, "/readyz") == (200, {"status": "ok", "database": "ok"})
        time.sleep(1.1)  # so long an answer holds
        holder = sqlite3.connect(tmp_path / "itipd.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with smtplib.SMTP(*daemon.address("smtp"), timeout=2 * PATIENCE) as client:
            with pytest.raises(smtplib.SMTPDataError) as refused:
                client.sendmail(BOB, [WE], answer())
            assert refused.value.smtp_code == 451
            code, said = asked(daemon, "/readyz")
            assert (code, said["title"]) == (503, "Try again later")
            assert said["detail"].startswith("The database ")
            assert asked(daemon, "/livez")[0] == 200
            holder.execute("ROLLBACK")
            holder.close()
            assert client.sendmail(BOB, [WE], answer()) == {}
        time.sleep(1.1)
        assert asked(daemon, "/readyz")[0] == 200
        assert daemon.stop() == 0
    log = (tmp_path / "daemon.log").read_text()
    assert "the database is in use" in log
    assert "Traceback" not in log


def test_the_end_finishes_what_is_begun(tmp_path: Path) -> None:
    """After SIGTERM: the mail that is being sent is taken, nobody new is let in, not ready, exit 0 in time."""
    with Daemon(tmp_path, *HTTP) as daemon:
        put(daemon, "--recorded")
        with smtplib.SMTP(*daemon.address("smtp"), timeout=PATIENCE) as client:
            client.ehlo()
            client.mail(BOB)
            client.rcpt(WE)
            assert client.docmd("DATA")[0] == 354
            raw = answer()
            client.send(raw[:200])
            began = time.monotonic()
            daemon.process.terminate()
            end = time.monotonic() + PATIENCE
            while asked(daemon, "/readyz")[0] == 200:
                assert time.monotonic() < end
                time.sleep(0.02)
            assert asked(daemon, "/readyz")[1]["detail"] == "The daemon is ending."
            assert asked(daemon, "/livez")[0] == 200
            with pytest.raises(OSError, match="refused"):
                talk(daemon)
            client.send(raw[200:] + b"\r\n.\r\n")
            assert client.getreply()[0] == 250
            client.close()
        assert daemon.stop() == 0  # a second SIGTERM changes nothing
        assert time.monotonic() - began < 10 + 20
        assert daemon.json("status", UID)[0]["counts"]["ACCEPTED"] == 1


def test_the_end_comes_in_time_although_the_database_hangs(tmp_path: Path) -> None:
    """SIGTERM while a mail waits for a locked database: exit 0 within drain_timeout; nothing was acknowledged."""
    config = 'drain_timeout = "3 s"\n[log]\nlevel = "warning"\n'
    with Daemon(tmp_path, config=config) as daemon:
        put(daemon, "--recorded")
        holder = sqlite3.connect(tmp_path / "itipd.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with talk(daemon) as client:
            words = f"EHLO x\r\nMAIL FROM:<{BOB}>\r\nRCPT TO:<{WE}>\r\nDATA\r\n".encode()
            client.sendall(words + answer() + b"\r\n.\r\n")
            time.sleep(0.5)
            began = time.monotonic()
            daemon.process.terminate()
            assert daemon.stop() == 0
            assert time.monotonic() - began < 3 + 20
            assert b"250 2.0.0" not in heard(client)
        holder.execute("ROLLBACK")
        holder.close()
        assert daemon.json("mail", "list") == []


def test_with_the_relay_down_answers_are_committed_and_later_all_mail_leaves(tmp_path: Path) -> None:
    """Every answer asks for a mail, and nobody takes it: all are acknowledged as fast as ever; then all mail leaves."""
    (port,) = free_ports(1)
    config = f'[log]\nlevel = "error"\n[relay]\nhost = "127.0.0.1"\nport = {port}\ntls = "off"\n'
    count, meetings, guests = 120, 3, 40
    with Daemon(tmp_path, config=config) as daemon:
        text = "".join(bench_calendar(meetings, guests, "stale", sequence=1))
        daemon.itipd("meeting", "put", "-", "--recorded", text=text)
        took = []
        work = letters(count, meetings, guests, 0, "stale")
        with smtplib.SMTP(*daemon.address("smtp"), timeout=PATIENCE) as client:
            for letter in work:
                began = time.monotonic()
                assert client.sendmail(letter.sender, [ORGANIZER], letter.raw) == {}
                took.append(time.monotonic() - began)
        # No slower at the end, when the relay has been asked in vain for long, than at the beginning.
        assert sorted(took[count // 2 :])[count // 4] < 3 * sorted(took[: count // 2])[count // 4] + 0.05
        assert len(daemon.json("outbox", "list", "--state", "sent")) == 0
        with listening(port) as taken:
            daemon.itipd("outbox", "flush")
            end = time.monotonic() + 4 * PATIENCE
            while len(taken) < count and time.monotonic() < end:
                time.sleep(0.2)
        assert len(taken) == len(set(taken)) == count
        assert daemon.stop() == 0
        assert {line["state"] for line in daemon.json("outbox", "list")} == {"sent"}


class _Relay:
    """A relay that takes everything: one thread for each connection."""

    def __init__(self, port: int) -> None:
        self.taken: list[str] = []
        self.server = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.server.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, client.makefile("rwb") as stream:

            def say(words: bytes) -> None:
                stream.write(words + b"\r\n")
                stream.flush()

            say(b"220 relay")
            while line := stream.readline():
                if not line.upper().startswith(b"DATA"):
                    say(b"250 ok")
                    continue
                say(b"354 go on")
                while (line := stream.readline()) not in (b".\r\n", b""):
                    if line.startswith(b"Message-ID: "):
                        self.taken.append(line.decode().strip())
                say(b"250 2.0.0 taken")


@contextlib.contextmanager
def listening(port: int) -> Any:
    """A relay at this port; the Message-IDs that it has taken."""
    relay = _Relay(port)
    try:
        yield relay.taken
    finally:
        relay.server.close()
