"""kill -9 at any moment: what was answered 250 is there, and the same mail delivered again changes nothing."""

from __future__ import annotations

import random
import smtplib
import sqlite3
import threading
import time
from pathlib import Path

from itipd.benchmark.mails import ORGANIZER, Letter, calendar, letters
from tests import kill9
from tests.daemon import PATIENCE, Daemon

MEETINGS, GUESTS = 2, 50


def deliver(address: tuple[str, int], work: list[Letter], acknowledged: list[Letter]) -> None:
    """Send until everything is acknowledged or the daemon is gone."""
    try:
        with smtplib.SMTP(*address, timeout=PATIENCE) as client:
            while work:
                letter = work[-1]
                client.sendmail(letter.sender, [ORGANIZER], letter.raw)
                acknowledged.append(letter)
                work.pop()
    except (OSError, smtplib.SMTPException):
        return  # killed in the middle: what was not acknowledged is sent again later


def state(daemon: Daemon) -> dict[tuple[str, str], str]:
    """(UID, attendee) -> PARTSTAT of everybody."""
    found = {}
    for line in daemon.json("status"):
        for row in daemon.json("status", line["uid"])[0]["attendees"]:
            found[line["uid"], row["address"]] = row["partstat"]
    return found


def journal(folder: Path) -> set[str]:
    """The Message-IDs in the journal."""
    with sqlite3.connect(folder / "itipd.db") as connection:
        found = {row[0] for row in connection.execute("SELECT message_id FROM journal WHERE kind = 'mail'")}
    connection.close()
    return found


def message_id(letter: Letter) -> str:
    head = letter.raw.split(b"\r\n\r\n", 1)[0].decode()
    return next(line.partition(" ")[2] for line in head.split("\r\n") if line.startswith("Message-ID:"))


def test_kill_nine_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    """After every kill -9 each acknowledged mail is in the journal; at the end every answer is the one last sent."""
    chance = random.Random(20261121)
    daemon = Daemon(tmp_path)
    file = tmp_path / "meetings.ics"
    file.write_text("".join(calendar(MEETINGS, GUESTS)), newline="")
    daemon.itipd("meeting", "put", str(file), "--recorded")
    everything: list[Letter] = []
    ledger: list[Letter] = []
    for cycle in range(3):
        work = letters(MEETINGS * GUESTS, MEETINGS, GUESTS, cycle)
        everything += work
        todo = list(reversed(work))
        sender = threading.Thread(target=deliver, args=(daemon.address("smtp"), todo, ledger))
        sender.start()
        time.sleep(chance.uniform(0.01, 0.3))
        daemon.kill()
        sender.join()
        assert {message_id(letter) for letter in ledger} <= journal(tmp_path), "an acknowledged mail is lost"
        daemon = Daemon(tmp_path)
        deliver(daemon.address("smtp"), todo, ledger)
        assert not todo, (tmp_path / "daemon.log").read_text()
    expected = {(letter.uid, letter.attendee): letter.partstat for letter in everything}
    assert state(daemon) == expected
    before = state(daemon), len(journal(tmp_path))
    again = list(reversed(everything))
    deliver(daemon.address("smtp"), again, [])
    assert (state(daemon), len(journal(tmp_path))) == before, "a redelivered mail changed something"
    assert daemon.stop() == 0


def test_kill_nine_under_load(store_url: str, tmp_path: Path) -> None:
    """Over SMTP and LMTP, one daemon or three on one database: none lost, none made up, none left behind."""
    nodes, cycles = (1, 2) if store_url.startswith("sqlite") else (3, 1)
    figures = kill9.run(tmp_path, store_url, cycles=cycles, nodes=nodes)
    assert figures.right, figures
    assert figures.acknowledged > 0
