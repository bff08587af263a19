"""Programs that answer programs: what keeps itipd out of such talk, seen from outside (RFC 3834; rules of §12).

Mails are played with `itipd replay`, whose clock is their Date. Two daemons that talk to each other are in
`test_two_daemons`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cli_help import BOB, CAROL, WE, Itipd, event, mail, reply

BEGIN = datetime(2026, 11, 21, 8, tzinfo=UTC)
MINUTES = (0, 20, 50, 61, 100, 130)  # of six mails of the same kind
WITHIN_THE_HOUR = [1, 0, 0, 1, 0, 1]  # answers to them, where a program wrote them

MARKS = {
    "null sender": "Return-Path: <>",
    "auto-replied": "Auto-Submitted: auto-replied",
    "auto-generated": "Auto-Submitted: auto-generated; type=x (by a calendar)",
    "bulk": "Precedence: bulk",
    "junk": "Precedence: JUNK",
    "list": "Precedence: list",
    "list id": "List-Id: Planning <planning.example.org>",
}
"""What says that no person wrote a mail."""

Caused = dict[tuple[str, ...], list[int]]

SERIES = "RRULE:FREQ=DAILY"
DAYS = ("RECURRENCE-ID:20261202T090000Z", "RECURRENCE-ID:20261203T090000Z")


def provoked(kind: str, uid: str, at: str, *lines: str, who: str = BOB) -> str:
    """A mail to which itipd answers by itself."""
    moved = ("DTSTART:20261205T090000Z", "DURATION:PT1H")
    words: dict[str, Any] = {"at": at, "who": who}
    if kind == "stale":
        return reply(uid, *lines, sequence=0, **words)
    if kind == "refresh":
        return reply(uid, *lines, method="REFRESH", sequence=3, **words)
    if kind == "counter":
        return reply(uid, *lines, *moved, method="COUNTER", sequence=0, **words)
    return reply(uid, *lines, sequence=3, **words)


KINDS = ("stale", "refresh", "counter", "cancelled", "removed")


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Caused:
    """(kind, mark, ...) -> how many mails each of its six mails has caused."""
    itipd = Itipd(tmp_path_factory.mktemp("loops"))
    stories = {(kind, mark, "bob"): (BOB, "") for kind in KINDS for mark in ("a person", *MARKS)}
    stories |= {("stale", "null sender", name): (who, day) for name, who, day in others()}
    uids = {story: f"{'-'.join(story).replace(' ', '')}@x" for story in stories if story[2] == "bob"}
    itipd.put(*(event(uid, SERIES, sequence=3) for uid in uids.values()))
    gone = [uid for (kind, *_), uid in uids.items() if kind == "cancelled"]
    itipd.put(*(event(uid, SERIES, "STATUS:CANCELLED", sequence=4) for uid in gone))
    without = f"ATTENDEE;CN=Bob;RSVP=TRUE:mailto:{BOB}\r\n"
    left = [uid for (kind, *_), uid in uids.items() if kind == "removed"]
    itipd.put(*(event(uid, SERIES, sequence=4).replace(without, "") for uid in left))
    shared = uids["stale", "null sender", "bob"]
    asked: dict[str, tuple[str, ...]] = {}
    number = 0
    for place, minutes in enumerate(MINUTES):
        at = BEGIN + timedelta(minutes=minutes)
        for story, (who, day) in stories.items():
            number += 1
            stamp = f"{at:%Y%m%dT%H%M}{place:02d}Z"
            text = provoked(story[0], uids.get(story, shared), stamp, *([day] if day else []), who=who)
            headers = [MARKS[story[1]]] if story[1] in MARKS else []
            name = f"{number:04d}.eml"
            raw = mail(text, *headers, sender=who, date=format_datetime(at), message_id=f"<{number}@example.org>")
            itipd.write(f"mails/{name}", raw)
            asked[name] = story
    found: Caused = defaultdict(list)
    for line in itipd("replay", itipd.home / "mails", "--json").lines:
        (result,) = line["results"]
        found[asked[Path(line["source"]).name]].append(sum(len(send["to"]) for send in result["send"]))
    return found


def others() -> list[tuple[str, str, str]]:
    """Further senders and instances of one meeting: what they are called, who, which day."""
    return [("carol", CAROL, ""), ("bob on a day", BOB, DAYS[0]), ("bob on the next", BOB, DAYS[1])]


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_program_has_one_answer_an_hour(answers: Caused, kind: str, mark: str) -> None:
    """Whatever it asks and however it says that it is a program: one automatic mail, and the next after an hour."""
    assert answers[kind, mark, "bob"] == WITHIN_THE_HOUR


@pytest.mark.parametrize("kind", KINDS)
def test_a_person_is_answered_each_time(answers: Caused, kind: str) -> None:
    """The same mails of a person have an answer each: the limit is for programs alone."""
    assert answers[kind, "a person", "bob"] == [1] * len(MINUTES)


@pytest.mark.parametrize("name", [name for name, *_ in others()])
def test_the_limit_is_for_each_attendee_and_instance(answers: Caused, name: str) -> None:
    """Another attendee, and another instance, of the same meeting has an hour of its own."""
    assert answers["stale", "null sender", name] == WITHIN_THE_HOUR


@pytest.mark.parametrize("rewritten", ["as it was", "by a list"])
def test_our_own_mails_that_come_back_are_ours(tmp_path: Path, rewritten: str) -> None:
    """An invitation of ours that a rule or a list sends back is known, by its sender or its Message-ID, and ignored."""
    itipd = Itipd(tmp_path)
    env = {"ITIPD_RELAY__DIRECTORY": str(tmp_path / "outgoing")}
    itipd.put(event("back@x"), options=())
    itipd("outbox", "flush", "--deliver", env=env)
    sent = sorted((tmp_path / "outgoing").glob("*.eml"))
    assert len(sent) == 2
    for number, file in enumerate(sent):
        raw = file.read_bytes()
        if rewritten == "by a list":  # as lists do for the sake of DMARC
            raw = re.sub(rb"(?m)^From: .*\r\n", b"From: Meetings via team <team@lists.example.org>\r\n", raw, count=1)
            raw = b"List-Id: <team.lists.example.org>\r\n" + raw
        back = re.sub(rb"(?m)^To: .*\r\n", b"To: " + WE.encode() + b"\r\n", raw, count=1)
        itipd.write(f"back/{number}.eml", b"Return-Path: <team@lists.example.org>\r\nReceived: from x by y\r\n" + back)
    lines = itipd("replay", tmp_path / "back", "--json").lines
    results = [result for line in lines for result in line["results"]]
    assert [(one["outcome"], one["reason"], one["send"]) for one in results] == [("no_action", "own_mail", [])] * 2
    assert len(itipd("outbox", "list", "--json").lines) == 2


def test_a_foreign_message_id_is_not_ours(tmp_path: Path) -> None:
    """Somebody else's invitation stays what it is, also where its Message-ID only looks like one of ours."""
    itipd = Itipd(tmp_path)
    itipd.put(event("back@x"))
    for number, name in enumerate(("<1@mail.example.org>", f"<{'a' * 26}@example.com>", "")):
        text = reply("back@x", method="REQUEST")
        itipd.write(f"in/{number}.eml", mail(text, message_id=name, date=f"Sat, 21 Nov 2026 08:0{number}:00 +0000"))
    lines = itipd("replay", tmp_path / "in", "--json").lines
    assert [result["reason"] for line in lines for result in line["results"]] == ["not_for_organizer"] * 3
