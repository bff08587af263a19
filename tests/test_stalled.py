"""Hostile mails that take as long to read as they may: everybody else's mail goes on meanwhile (hardening §9)."""

from __future__ import annotations

import statistics
import threading
import time
from pathlib import Path

from itipd.benchmark.mails import calendar, letters
from tests.daemon import Daemon
from tests.test_rubbish import Client, number

MEETINGS, GUESTS = 5, 40
CONFIG = """
organizers = ["meetings@example.com"]
[readers]
count = 2
deadline = "1 s"
[limits]  # so wide that the deadline is what ends the reading
calendar = "9 MiB"
properties = 1000000
"""
HOSTILE = 3  # mails of each hostile client
PATIENCE = 2.0  # seconds for an ordinary reply: far below what the hostile ones take together


def bomb(serial: int) -> bytes:
    """A reply with one attendee 110,000 times: each line costs its time, none is over a bound."""
    line = b"ATTENDEE;CN=Eve;ROLE=REQ-PARTICIPANT;PARTSTAT=ACCEPTED:mailto:eve@example.test\r\n"
    return (
        b"From: eve@example.test\r\nTo: meetings@example.com\r\nMessage-ID: <%d@example.test>\r\n"
        b"Content-Type: text/calendar; method=REPLY\r\n\r\nBEGIN:VCALENDAR\r\nVERSION:2.0\r\nMETHOD:REPLY\r\n"
        b"BEGIN:VEVENT\r\nUID:bomb-%d@example.test\r\n"
        % (serial, serial)
        + line * 110_000
        + b"END:VEVENT\r\nEND:VCALENDAR\r\n"
    )


def hostile(daemon: Daemon, first: int, taken: list[int]) -> None:
    client = Client(daemon, "smtp")
    for serial in range(first, first + HOSTILE):
        code, text = client.send("eve@example.test", bomb(serial))
        assert code == 250, text
        taken.append(number(text))
    client.quit()


def test_others_do_not_wait_for_hostile_mails(tmp_path: Path) -> None:
    """Two clients keep both readers at their deadline; a third one's replies are applied, soon, all of them."""
    with Daemon(tmp_path, config=CONFIG) as daemon:
        (tmp_path / "given.ics").write_text("".join(calendar(MEETINGS, GUESTS)), newline="")
        daemon.itipd("meeting", "put", str(tmp_path / "given.ics"), "--recorded")
        client = Client(daemon, "smtp")
        ordinary = iter(
            [letter for round_ in range(50) for letter in letters(MEETINGS * GUESTS, MEETINGS, GUESTS, round_)]
        )
        for _ in range(50):  # everything is loaded that ordinary work loads
            letter = next(ordinary)
            client.send(letter.sender, letter.raw)
        taken: list[int] = []
        threads = [threading.Thread(target=hostile, args=(daemon, 10 * n, taken)) for n in range(2)]
        for thread in threads:
            thread.start()
        seconds: list[float] = []
        answers: set[bytes] = set()
        while any(thread.is_alive() for thread in threads):
            letter = next(ordinary)
            began = time.perf_counter()
            code, text = client.send(letter.sender, letter.raw)
            seconds.append(time.perf_counter() - began)
            answers.add(b"%d %s" % (code, text.rpartition(b" ")[0]))
            time.sleep(0.01)
        client.quit()
        results = {line["id"]: line["results"] for line in daemon.json("mail", "list")}
        found = [(one["outcome"], one["reason"]) for id_ in taken for one in results[id_]]
        code = daemon.stop()
    assert found == [("error", "too_costly")] * (2 * HOSTILE)
    assert answers == {b"250 2.0.0 updated"}
    assert len(seconds) > 5
    assert statistics.median(seconds) < PATIENCE / 4
    assert max(seconds) < PATIENCE
    assert code == 0
