"""Hostile mails that take as long to read as they may, or fill what they may: everybody else's mail goes on meanwhile.

Readers that do not come back are readers that were stopped (SIGSTOP): that is the same for the daemon, takes no time,
and ends when the test says so.
"""

from __future__ import annotations

import base64
import os
import select
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from itipd.benchmark.mails import calendar, letters
from tests.daemon import Daemon
from tests.test_rubbish import GROWTH, Client, Scales

MEETINGS, GUESTS = 5, 10
CONFIG = """
organizers = ["meetings@example.com"]
[smtp]
trusted_networks = []
[readers]
count = 2
deadline = "100 s"
"""
LIMIT = 10 * 1024 * 1024
HEAD = b"From: eve@example.test\r\nTo: meetings@example.com\r\nMIME-Version: 1.0\r\nContent-Type: "


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("stalled"), config=CONFIG) as running:
        running.itipd("meeting", "put", "-", "--recorded", text="".join(calendar(MEETINGS, GUESTS)))
        yield running
        assert running.stop() == 0


def readers(daemon: Daemon) -> list[int]:
    """The ids of its reader processes."""
    children = Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children")
    if not children.exists():
        pytest.skip("needs Linux's /proc to find the readers")
    return [int(pid) for pid in children.read_text().split()]


def test_others_do_not_wait_for_hostile_mails(daemon: Daemon) -> None:
    """Two clients' mails hold up both readers; a third one's replies are all applied before those are answered."""
    other, *hostile = (Client(daemon, "smtp") for _ in range(3))
    ordinary = letters(30, MEETINGS, GUESTS, 0)
    stopped = readers(daemon)
    assert len(stopped) == 2
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        for number, client in enumerate(hostile):
            client.begin("eve@example.test", HEAD + b"text/plain\r\n\r\n%d\r\n" % number)
        answers, standing_in = set(), set()
        for letter in ordinary:
            answers.add(other.send(letter.sender, letter.raw)[1].rpartition(b" ")[0])
            standing_in |= set(readers(daemon)).difference(stopped)
        waiting = [client.connection.sock for client in hostile if client.connection.sock is not None]
        assert answers == {b"2.0.0 updated"}
        assert len(standing_in) <= 2  # not one for each reply: they would wait for its start
        assert select.select(waiting, [], [], 0)[0] == []
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    for client in hostile:  # who was only slow is answered in the end
        assert client.connection.getreply()[1].startswith(b"2.0.0 no_action ")
        client.quit()
    other.quit()


def incompressible() -> bytes:
    text = base64.encodebytes(Random(1).randbytes(LIMIT * 3 // 4)).replace(b"\n", b"\r\n")
    head = HEAD + b"application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    return (head + text)[: LIMIT - 2] + b"\r\n"


def bare() -> bytes:
    """Line ends that the door doubles."""
    return (HEAD + b"text/plain\r\n\r\n").ljust(LIMIT - 2, b"\n") + b"\r\n"


@pytest.mark.parametrize("made", [incompressible, bare])
def test_the_largest_mail_costs_less_than_100_mb(daemon: Daemon, made: Callable[[], bytes]) -> None:
    """Door, reader, answer and database together, each at its largest moment: a few copies of 10 MiB, not ten."""
    client = Client(daemon, "smtp")
    scales = Scales(daemon)
    code, text = client.send("eve@example.test", made())
    assert (code, text[:15]) == (250, b"2.0.0 no_action")
    assert scales.growth() < GROWTH
    client.quit()
