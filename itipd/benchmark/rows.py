"""The rows of the benchmark: what each sends, and what must be true in the database afterwards."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from itipd.benchmark.mails import Kind, Letter
from itipd.benchmark.processes import PATIENCE, itipd
from itipd.itip.attendance import status
from itipd.store import Store


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    name: str
    says: str
    kind: Kind = "reply"
    meetings: int = 300
    guests: int = 10
    greeting: str = "EHLO"  # LHLO: the LMTP door
    long: bool = False  # registering alone takes minutes: only when asked for


ROWS = (
    Row("replies", "300 meetings of 10 guests, by SMTP: every other row is compared with this one"),
    Row("lmtp", "the same by LMTP", greeting="LHLO"),
    Row("attendees-1000", "10 meetings of 1,000 guests", meetings=10, guests=1000),
    Row("attendees-10000", "3 meetings of 10,000 guests", meetings=3, guests=10_000),
    Row("meetings-1000", "1,000 meetings of 10 guests", meetings=1000),
    Row("meetings-100000", "100,000 meetings of 10 guests", meetings=100_000, long=True),
    Row("meetings-1000000", "1,000,000 meetings of 10 guests", meetings=1_000_000, long=True),
    Row("instance", "answers to an instance twenty years into a daily series", kind="instance"),
    Row("stale", "answers to a time that was moved since; each gets the REQUEST again", kind="stale", meetings=1000),
    Row("counter", "other times are proposed, and wait for a person", kind="counter"),
)


def enough(row: Row, mails: int) -> Row:
    """`row` with so many guests that each answers once: what a stale reply causes is limited by the hour (§12)."""
    return replace(row, meetings=max(row.meetings, -(-mails // row.guests))) if row.kind == "stale" else row


async def wrong(row: Row, url: str, sent: Sequence[Letter]) -> tuple[int, int]:
    """(how many answers were looked up, how many are not as they must be)."""
    if row.kind in ("stale", "counter"):  # a later proposal of the same attendee retires the one before
        due = len(sent) if row.kind == "stale" else len({(letter.uid, letter.attendee) for letter in sent})
        return len(sent), abs(due - _outcomes(url, row.kind))
    wanted: dict[str, dict[tuple[str, str], str]] = {}
    for letter in sent:
        wanted.setdefault(letter.uid, {})[letter.attendee, letter.rid] = letter.partstat
    looked_up, bad = 0, 0
    store = await Store.open(url)
    try:
        for uid, people in wanted.items():
            meeting = await store.meeting(uid)
            shown = status(meeting) if meeting else {"attendees": [], "instances": []}
            lists = {"": shown["attendees"]} | {one["recurrence_id"]: one["attendees"] for one in shown["instances"]}
            found = {(one["address"], rid): one["partstat"] for rid, row in lists.items() for one in row}
            looked_up += len(people)
            bad += sum(found.get(key) != partstat for key, partstat in people.items())
    finally:
        await store.close()
    return looked_up, bad


def _outcomes(url: str, kind: Kind) -> int:
    """How many stale answers have got their REQUEST, or how many proposals wait."""
    words = ["outbox", "list"] if kind == "stale" else ["proposal", "list"]
    command = [*itipd(url), *words, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)  # noqa: S603
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    if kind == "counter":
        return sum(line["state"] == "open" for line in lines)
    return Counter(line["reason"] for line in lines)["stale_sequence"]
