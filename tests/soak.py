"""A day's worth of mail through one daemon: `python -m tests.soak --replies 100000`.

A real daemon on SQLite; answers over several kept connections, each distinct, each applied. Prints a line for each
tenth: how many, how fast, the memory of the daemon and of its readers; at the end bytes of database per answer. The
exit code is 1 where an answer is missing, or the memory still grew by more than a tenth in the second half.
"""

from __future__ import annotations

import argparse
import json
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from itipd.benchmark.mails import calendar, letters, uid
from tests.daemon import Daemon

MEETINGS, GUESTS = 200, 100
PARTS = 10
CONFIG = '[log]\nlevel = "warning"\n'


@dataclass
class Soaked:
    """Octets of resident memory after each part (0: before the first), answers a second, octets for each answer."""

    replies: int
    daemon: list[int] = field(default_factory=list)
    readers: list[int] = field(default_factory=list)
    rates: list[int] = field(default_factory=list)
    bytes_per_reply: float = 0.0
    missing: int = 0

    @property
    def flat(self) -> bool:
        """Whether the daemon is at most a tenth larger at the end than in the middle."""
        return self.daemon[-1] <= 1.1 * self.daemon[len(self.daemon) // 2]


def resident(process: int) -> int:
    """Octets of physical memory of one process."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))


def children(process: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii").split()]


def size(folder: Path) -> int:
    """Octets of the database, its WAL written back."""
    import sqlite3

    connection = sqlite3.connect(folder / "itipd.db")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return (folder / "itipd.db").stat().st_size


def send(port: int, pairs: list[tuple[str, bytes]], connections: int) -> float:
    """Sends them all; seconds. In a process of its own, so that nothing of it is measured."""
    code = (
        "import sys,pickle;from tests.soak import drive;drive(int(sys.argv[1]),int(sys.argv[2]),"
        "pickle.load(sys.stdin.buffer))"
    )
    began = time.monotonic()
    words = [sys.executable, "-c", code, str(port), str(connections)]
    subprocess.run(words, input=pickle.dumps(pairs), check=True)
    return time.monotonic() - began


def drive(port: int, connections: int, pairs: list[tuple[str, bytes]]) -> None:
    """The client: threads, each with a kept connection."""
    import smtplib
    import threading

    from itipd.benchmark.mails import ORGANIZER

    failures: list[BaseException] = []

    def work(mine: list[tuple[str, bytes]]) -> None:
        try:
            with smtplib.SMTP("127.0.0.1", port, timeout=120) as client:
                for sender, raw in mine:
                    client.sendmail(sender, [ORGANIZER], raw)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(pairs[number::connections],)) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def run(folder: Path, replies: int, connections: int = 8, *, loud: bool = False) -> Soaked:
    """The whole of it in `folder`."""
    found = Soaked(replies)
    with Daemon(folder, config=CONFIG, alone=True) as daemon:
        file = folder / "meetings.ics"
        file.write_text("".join(calendar(MEETINGS, GUESTS)), newline="")
        daemon.itipd("meeting", "put", str(file), "--recorded", patience=600)
        empty = size(folder)
        port = daemon.address("smtp")[1]

        def measure(number: int, rate: int) -> None:
            found.daemon.append(resident(daemon.process.pid))
            found.readers.append(max(map(resident, children(daemon.process.pid)), default=0))
            found.rates.append(rate)
            if loud:
                words = f"daemon {found.daemon[-1] >> 20} MiB, largest reader {found.readers[-1] >> 20} MiB"
                print(f"{number} answers, {rate} a second, {words}", flush=True)

        measure(0, 0)
        last: dict[tuple[str, str], str] = {}
        for part in range(PARTS):
            work = letters(replies // PARTS, MEETINGS, GUESTS, part)
            last |= {(letter.uid, letter.attendee): letter.partstat for letter in work}
            seconds = send(port, [(letter.sender, letter.raw) for letter in work], connections)
            measure((part + 1) * len(work), round(len(work) / seconds))
        for number in range(0, MEETINGS, 10):  # each a command of its own
            for row in daemon.json("status", uid(number))[0]["attendees"]:
                key = (uid(number), row["address"])
                found.missing += row["partstat"] != last.get(key, "NEEDS-ACTION")
        found.missing += abs(len(daemon.json("mail", "list", patience=600)) - PARTS * (replies // PARTS))
        found.bytes_per_reply = round((size(folder) - empty) / (PARTS * (replies // PARTS)), 1)
        assert daemon.stop() == 0
    return found


def main(words: list[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--replies", type=int, default=100_000)
    parser.add_argument("--connections", type=int, default=8)
    given: Any = parser.parse_args(words)
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))  # so that no daemon is left behind
    with tempfile.TemporaryDirectory(prefix="itipd-soak-") as name:
        found = run(Path(name), given.replies, given.connections, loud=True)
    print(json.dumps(asdict(found)))
    return 0 if found.flat and not found.missing else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
