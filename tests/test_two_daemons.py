"""Two itipd, each the other's relay: whatever begins between them comes to rest (RFC 3834, rules.md §12)."""

from __future__ import annotations

import smtplib
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.cli_help import calendar, mail, reply
from tests.daemon import PATIENCE, Daemon

OURS, THEIRS, STRANGER = "meetings@a.example.com", "rooms@b.example.com", "new@b.example.com"
MOST = 3  # mails about one meeting, both ways together
QUIET = 1.5  # seconds without a mail: the outboxes look every half second

CONFIG = """
organizers = [{organizers}]
[relay]
host = "127.0.0.1"
port = {port}
tls = "off"
[policy]
sender = "{sender}"
counter = "{counter}"
party_crasher = "added"
freebusy = "any"
[identity]
tokens = "{tokens}"
"""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def started(folder: Path, own: int, other: int, **words: str) -> Daemon:
    folder.mkdir()
    config = CONFIG.format(port=other, **words)
    return Daemon(folder, "--smtp", f"127.0.0.1:{own}", config=config)


@pytest.fixture(params=["decline", "accept"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Daemon, Daemon]]:
    """Two daemons that relay to each other. Once each is for its own address, once the other takes any recipient."""
    counter: str = request.param
    words = {"counter": counter, "sender": "any", "tokens": "on" if counter == "accept" else "off"}
    ports = free_ports(2)
    theirs = f'"{THEIRS}"' if counter == "decline" else ""
    with (
        started(tmp_path / "a", ports[0], ports[1], organizers=f'"{OURS}"', **words) as first,
        started(tmp_path / "b", ports[1], ports[0], organizers=theirs, **words) as second,
    ):
        yield first, second


def meeting(uid: str, organizer: str, guest: str, *lines: str, sequence: int = 2) -> str:
    """A meeting of one with the other, and with somebody at an address of the other's."""
    text = [
        *("BEGIN:VEVENT", f"UID:{uid}", "DTSTAMP:20261117T080000Z", f"SEQUENCE:{sequence}"),
        *("DTSTART:20991201T090000Z", "DURATION:PT1H", "SUMMARY:Planning", f"ORGANIZER:mailto:{organizer}"),
        *(f"ATTENDEE;RSVP=TRUE:mailto:{guest}", f"ATTENDEE;RSVP=TRUE:mailto:kim@{guest.partition('@')[2]}"),
        *(*lines, "END:VEVENT"),
    ]
    return "".join(f"{line}\r\n" for line in text)


def question(uid: str) -> str:
    """A question for busy time (RFC 5546 §3.3.2)."""
    lines = (
        *("BEGIN:VFREEBUSY", f"UID:{uid}", "DTSTAMP:20261117T080000Z", "DTSTART:20991201T000000Z"),
        *("DTEND:20991202T000000Z", f"ORGANIZER:mailto:{THEIRS}", f"ATTENDEE:mailto:{OURS}", "END:VFREEBUSY"),
    )
    return calendar("".join(f"{line}\r\n" for line in lines), method="REQUEST")


def provocations() -> dict[str, str]:
    """UID -> what the other's organizer is made to say about a meeting of ours: each asks for an answer."""
    words: dict[str, Any] = {"who": THEIRS, "organizer": OURS}
    moved = ("DTSTART:20991202T090000Z", "DURATION:PT1H")
    delegated = f'DELEGATED;DELEGATED-TO="mailto:kim2@{THEIRS.partition("@")[2]}"'
    back = f'DELEGATED;DELEGATED-TO="mailto:{OURS}"'
    return {
        "answered@x": reply("answered@x", sequence=2, **words),
        "stale@x": reply("stale@x", sequence=0, **words),
        "refresh@x": reply("refresh@x", sequence=2, method="REFRESH", **words),
        "counter@x": reply("counter@x", *moved, sequence=2, method="COUNTER", **words),
        "stale-counter@x": reply("stale-counter@x", *moved, sequence=0, method="COUNTER", **words),
        "cancelled@x": reply("cancelled@x", sequence=2, **words),
        "stranger@x": reply("stranger@x", sequence=2, organizer=OURS, who=STRANGER),
        "delegated@x": reply("delegated@x", sequence=2, partstat=delegated, **words),
        "delegated-back@x": reply("delegated-back@x", sequence=2, partstat=back, **words),
        "busy@x": question("busy@x"),
        "request@x": reply("request@x", sequence=2, method="REQUEST", **words),
        "decline@x": reply("decline@x", sequence=2, method="DECLINECOUNTER", **words),
    }


def at_rest(pair: tuple[Daemon, Daemon]) -> list[dict[str, Any]]:
    """Everything in both outboxes once nothing has moved for a while."""
    end = time.monotonic() + PATIENCE
    before: list[dict[str, Any]] = []
    while time.monotonic() < end:
        time.sleep(QUIET)
        now = [line for daemon in pair for line in daemon.json("outbox", "list")]
        if now == before and not any(line["state"] in ("waiting", "sending") for line in now):
            return now
        before = now
    raise AssertionError(f"no rest after {len(before)} mails: {before[-10:]}")


def test_two_daemons_fall_silent(pair: tuple[Daemon, Daemon]) -> None:
    """Whatever one asks the other, at most three mails leave about it on both sides together, and then none."""
    invited(*pair)
    first, second = pair
    said = provocations()
    uids = [uid for uid in said if uid != "busy@x"]
    # Both own a meeting under each UID, so that each could mean the other's mail as an answer to its own.
    for daemon, organizer, guest in ((first, OURS, THEIRS), (second, THEIRS, OURS)):
        text = calendar(*(meeting(uid, organizer, guest) for uid in uids))
        daemon.itipd("meeting", "put", "-", "--recorded", text=text)
        status = calendar(meeting("cancelled@x", organizer, guest, "STATUS:CANCELLED", sequence=3))
        daemon.itipd("meeting", "put", "-", "--recorded", text=status)
    with smtplib.SMTP(*first.address("smtp"), timeout=PATIENCE) as client:
        for number, (uid, text) in enumerate(said.items()):
            sender = STRANGER if uid == "stranger@x" else THEIRS
            client.sendmail(sender, [OURS], mail(text, sender=sender, to=OURS, message_id=f"<{number}@b.example.com>"))
    sent = at_rest(pair)
    counted = Counter(line["uid"] for line in sent)
    assert {uid: count for uid, count in counted.items() if count > MOST} == {}
    # It is no silence of the deaf: most of it asked for an answer and got one.
    assert counted.keys() >= {"stale@x", "refresh@x", "counter@x", "cancelled@x", "stranger@x", "delegated@x", "busy@x"}
    assert [daemon.stop() for daemon in pair] == [0, 0]


def invited(first: Daemon, second: Daemon) -> None:
    """Each invites the other: two invitations to each other's door, and no answer to them."""
    first.itipd("meeting", "put", "-", text=calendar(meeting("ours@x", OURS, THEIRS)))
    second.itipd("meeting", "put", "-", text=calendar(meeting("theirs@x", THEIRS, OURS)))
    sent = at_rest((first, second))
    assert Counter(line["uid"] for line in sent) == {"ours@x": 2, "theirs@x": 2}
    assert {line["reason"] for daemon in (first, second) for line in _results(daemon)} == {"not_for_organizer"}


def _results(daemon: Daemon) -> list[dict[str, Any]]:
    return [result for line in daemon.json("mail", "list") for result in line["results"]]
