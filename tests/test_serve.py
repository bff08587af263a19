"""The daemon from outside: what it prints, where it listens, how it ends."""

from __future__ import annotations

import os
import re
import signal
import smtplib
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli_help import BOB, WE, Itipd, event, mail, reply

ANY = ("--smtp", "127.0.0.1:0", "--lmtp", "127.0.0.1:0", "--submission", "127.0.0.1:0", "--http", "127.0.0.1:0")
PATIENCE = 30  # seconds; the machine of a test may be slow


class Daemon:
    """`itipd serve` in a process of its own."""

    def __init__(self, home: Path, *options: str, env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "itipd.cli.main", "serve", *options],
            cwd=home,
            env={name: value for name, value in os.environ.items() if not name.startswith("ITIPD_")} | (env or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.ready = self.process.stdout.readline()

    def port(self, door: str) -> int:
        """Where one of its doors is."""
        match = re.search(rf" {door}=127\.0\.0\.1:(\d+) ", self.ready)
        assert match is not None, self.ready
        return int(match[1])

    def end(self, *signals: int) -> tuple[int, str, str]:
        """Sends the signals; exit code, the rest of stdout, stderr."""
        for number in signals or (signal.SIGTERM,):
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, err


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Any]:
    """Starts daemons in a folder; none outlives the test."""
    started: list[Daemon] = []

    def start(*options: str, env: dict[str, str] | None = None) -> Daemon:
        started.append(Daemon(tmp_path, *options, env=env))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate()


def test_ready_line_names_all_doors_in_order(daemon: Any, tmp_path: Path) -> None:
    """When everything listens, exactly one line: the four doors in the interface's order, and the database."""
    one = daemon(*ANY)
    assert re.fullmatch(
        r"ready smtp=127\.0\.0\.1:\d+ lmtp=127\.0\.0\.1:\d+ submission=127\.0\.0\.1:\d+ http=127\.0\.0\.1:\d+ "
        rf"database=sqlite:///{tmp_path}/itipd\.db\n",
        one.ready,
    )
    for door in ("smtp", "lmtp", "submission", "http"):
        with socket.create_connection(("127.0.0.1", one.port(door)), timeout=PATIENCE):
            pass
    assert one.end()[:2] == (0, "")


def test_doors_that_are_off_unix_and_ipv6(daemon: Any, tmp_path: Path) -> None:
    """`-` for a door that is off, `unix:PATH` for a socket, brackets around IPv6."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    options = ("--smtp", "[::1]:0", "--lmtp", "unix:lmtp.sock", "--submission", "-", "--http", "-")
    one = daemon(*options)
    assert re.match(rf"ready smtp=\[::1\]:\d+ lmtp=unix:{tmp_path}/lmtp\.sock submission=- http=- database=", one.ready)
    assert (tmp_path / "lmtp.sock").is_socket()
    assert one.end(signal.SIGINT)[0] == 0
    assert not (tmp_path / "lmtp.sock").exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc who is whose child")
def test_its_threads_share_a_core_and_its_readers_have_all(daemon: Any) -> None:
    """What holds one lock in turns runs on one core; what reads mail is kept from none."""
    allowed = os.sched_getaffinity(0)
    one = daemon(*ANY)
    tasks = Path(f"/proc/{one.process.pid}/task")
    threads = [int(thread.name) for thread in tasks.iterdir()]
    assert len(threads) > 1
    assert len({frozenset(os.sched_getaffinity(thread)) for thread in threads}) == 1
    assert len(os.sched_getaffinity(one.process.pid)) == 1
    readers = [int(pid) for thread in tasks.iterdir() for pid in (thread / "children").read_text().split()]
    assert readers
    assert {frozenset(os.sched_getaffinity(reader)) for reader in readers} == {frozenset(allowed)}


def test_second_signal_changes_nothing(daemon: Any) -> None:
    """SIGTERM and SIGINT, several times: it drains once and ends with 0."""
    code, _, err = daemon(*ANY).end(signal.SIGTERM, signal.SIGINT, signal.SIGTERM)
    assert code == 0
    assert "Traceback" not in err


def test_open_connection_does_not_delay_the_end(daemon: Any) -> None:
    """A client that stays connected is dismissed; the daemon ends within drain_timeout."""
    one = daemon(*ANY, env={"ITIPD_DRAIN_TIMEOUT": "3 s"})
    with smtplib.SMTP("127.0.0.1", one.port("smtp"), timeout=PATIENCE) as client:
        client.ehlo()
        client.docmd("MAIL FROM:<bob@example.org>")
        began = time.monotonic()
        assert one.end()[0] == 0
        assert time.monotonic() - began < 3 + 20
        client.close()


def test_port_in_use_is_told(daemon: Any) -> None:
    """A port that somebody has is exit 75 with the door and the place, and no ready line."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        one = daemon(*ANY[:6], "--http", place)
        code, out, err = one.end()
    assert (code, one.ready, out) == (75, "", "")
    assert f"itipd: http: found {place} in use, expected it free; choose another with --http or http.listen" in err
    assert "Traceback" not in err


def test_mail_is_decided_and_logged_on_one_line(daemon: Any, tmp_path: Path) -> None:
    """A mail over SMTP is answered 250 with its outcome, is in the database, and is one line of the log."""
    itipd = Itipd(tmp_path)
    itipd.put(event("a@example.com"))
    one = daemon(*ANY)
    with smtplib.SMTP("127.0.0.1", one.port("smtp"), timeout=PATIENCE) as client:
        client.ehlo()
        client.mail(BOB)
        client.rcpt(WE)
        code, answer = client.data(mail(reply("a@example.com")))
    assert code == 250
    assert re.fullmatch(rb"2\.0\.0 updated \d+", answer)
    assert itipd("status", "a@example.com", "--json").json["counts"]["ACCEPTED"] == 1
    with urllib.request.urlopen(f"http://127.0.0.1:{one.port('http')}/livez", timeout=PATIENCE) as page:
        assert page.status == 200
    _, _, err = one.end()
    assert re.search(
        rf"^mail=\d+ client=127\.0\.0\.1 from={BOB} rcpt={WE} msgid=<1@mail\.example\.org> uid=a@example\.com "
        rf"method=REPLY attendee={BOB} partstat=ACCEPTED outcome=updated reason=replied ms=[\d.]+$",
        err,
        re.MULTILINE,
    )


def test_daemon_sends_what_a_command_put_within_a_second(daemon: Any, tmp_path: Path) -> None:
    """A meeting put by another process leaves through the running daemon's relay."""
    daemon(*ANY, env={"ITIPD_RELAY__DIRECTORY": "outgoing"})
    Itipd(tmp_path).put(event("a@example.com"), options=())
    end = time.monotonic() + PATIENCE
    while len(list((tmp_path / "outgoing").glob("*.eml"))) < 2:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_replay_sends_to_the_daemon(daemon: Any, tmp_path: Path) -> None:
    """`replay --smtp` gives the mails to a running daemon and shows what it answered."""
    itipd = Itipd(tmp_path)
    itipd.put(event("a@example.com"))
    file = itipd.write("a.eml", mail(reply("a@example.com")))
    place = f"127.0.0.1:{daemon(*ANY).port('smtp')}"
    found = itipd("replay", "--smtp", place, "--json", file).json
    assert re.fullmatch(r"250 2\.0\.0 updated \d+", found["response"])
    assert (found["from"], found["to"]) == (BOB, [WE])
    assert itipd("status", "a@example.com", "--json").json["counts"]["ACCEPTED"] == 1
