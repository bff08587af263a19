"""Replay: mails out of files with their envelopes, and scenario folders with their transcripts."""

from __future__ import annotations

import json
import mailbox
from datetime import UTC, datetime
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

from itipd.replay import Clock, Item, envelope, is_scenario, recipients, walk
from itipd.scenario import differences, read_folder
from tests.cli_help import BOB, CAROL, WE, Itipd, calendar, event, mail, reply

LIMIT = 1 << 20


@pytest.fixture
def itipd(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Itipd:
    """`itipd` with an empty database, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return Itipd(tmp_path)


def sources(path: Path) -> list[str]:
    """What `walk` finds below `path`, in order, as texts."""
    return [
        item.source.removeprefix(f"{path}/") if isinstance(item, Item) else f"scenario {item.path.name}"
        for item in walk(path, LIMIT)
    ]


# -- files


def test_folder_of_mail_is_read_in_natural_order(itipd: Itipd) -> None:
    """Folders are walked in order of their numbers; what is no mail is passed over."""
    for name in ("10-b.eml", "2-a.eml", "notes.txt", "sub/1.eml", ".hidden/1.eml"):
        itipd.write(f"mails/{name}".replace("10-b", "x10-b").replace("2-a", "x2-a"), mail(reply("a@example.com")))
    assert sources(itipd.home / "mails") == ["sub/1.eml", "x2-a.eml", "x10-b.eml"]


def test_mbox_is_split_and_unquoted(itipd: Itipd) -> None:
    """The mails of an mbox come out as they went in, mboxrd's `>From ` undone, numbered from 1."""
    body = b"From: b@example.org\n\nHello\n\nFrom here on\n>From there\n"
    quoted = body.replace(b"\n>From ", b"\n>>From ").replace(b"\nFrom here", b"\n>From here")
    file = itipd.write("a.mbox", b"From b@example.org Fri Nov 20\n" + quoted + b"\nFrom c@example.org Fri\n" + quoted)
    found = list(walk(file, LIMIT))
    assert [item.source for item in found if isinstance(item, Item)] == [f"{file}#1", f"{file}#2"]
    assert [item.raw for item in found if isinstance(item, Item)] == [body, body]
    assert sum(item.size for item in found if isinstance(item, Item)) == file.stat().st_size


def test_mbox_of_the_standard_library_is_read(itipd: Itipd) -> None:
    """An mbox that Python's mailbox module wrote gives the same mails."""
    box = mailbox.mbox(itipd.home / "b.mbox")
    for number in range(3):
        box.add(mail(reply("a@example.com"), message_id=f"<{number}@mail.example.org>").replace(b"\r\n", b"\n"))
    box.close()
    found = [item.raw for item in walk(itipd.home / "b.mbox", LIMIT) if isinstance(item, Item)]
    assert [message_from_bytes(raw)["Message-ID"] for raw in found if raw] == [
        f"<{number}@mail.example.org>" for number in range(3)
    ]


def test_maildir_is_read_by_time_of_delivery(itipd: Itipd) -> None:
    """cur, then new is not the order: the names begin with the time."""
    for name in ("cur/1700000002.M1.host:2,S", "new/1700000003.M1.host", "cur/1700000001.M9.host:2,", "tmp/170.x"):
        itipd.write(f"Maildir/{name}", mail(reply("a@example.com")))
    assert sources(itipd.home / "Maildir") == [
        "cur/1700000001.M9.host:2,",
        "cur/1700000002.M1.host:2,S",
        "new/1700000003.M1.host",
    ]


def test_scenario_folders_are_found_among_others(itipd: Itipd) -> None:
    """A folder with a numbered step or a given.ics is a scenario; a folder of folders is walked."""
    itipd.write("all/one/1-a.eml", b"")
    itipd.write("all/two/given.ics", b"")
    itipd.write("all/three/a.eml", b"")
    assert sources(itipd.home / "all") == ["scenario one", "three/a.eml", "scenario two"]
    assert not is_scenario(itipd.home / "all" / "three")


def test_mail_above_the_limit_is_not_read(itipd: Itipd) -> None:
    """A file or a mail of an mbox above the limit has no bytes; the mails after it are read."""
    file = itipd.write("a.eml", b"x" * 101)
    box = itipd.write("a.mbox", b"From b\n" + b"x" * 101 + b"\n\nFrom c\nSubject: y\n")
    assert list(walk(file, 100)) == [Item(str(file), None, 101)]
    assert [item.raw for item in walk(box, 100) if isinstance(item, Item)] == [None, b"Subject: y\n"]


# -- envelopes


@pytest.mark.parametrize(
    ("headers", "sender"),
    [
        (["Return-Path: <bounce+1@example.org>"], "bounce+1@example.org"),
        (["Return-Path: <>"], ""),
        ([], BOB),
    ],
)
def test_sender_is_the_return_path_else_from(headers: list[str], sender: str) -> None:
    """Return-Path is the envelope sender, `<>` the null sender; without it From."""
    assert envelope(mail("", *headers)).sender == sender


@pytest.mark.parametrize(
    ("headers", "candidates"),
    [
        (["Delivered-To: a@example.com", "X-Original-To: b@example.com"], ("a@example.com", "b@example.com")),
        (["Envelope-To: A@Example.com"], ("a@example.com",)),
        (["Cc: =?utf-8?q?B?= <b@example.com>, c@example.com"], (WE, "b@example.com", "c@example.com")),
    ],
)
def test_recipients_are_those_of_the_delivery_else_to_and_cc(headers: list[str], candidates: tuple[str, ...]) -> None:
    """Delivered-To, X-Original-To and Envelope-To say whom a mail was for; without them To and Cc."""
    assert envelope(mail("", *headers)).candidates == candidates


@pytest.mark.parametrize(
    ("candidates", "organizers", "organizer", "to"),
    [
        ((WE, CAROL), (WE,), None, (WE,)),
        ((WE, "rooms@example.com"), ("*@example.com",), WE, (WE, "rooms@example.com")),
        ((CAROL,), (WE,), WE, (WE,)),
        ((CAROL,), (WE,), BOB, ()),
        ((WE, CAROL), (), WE, (WE,)),
        ((WE, CAROL), (), BOB, (WE, CAROL)),
        ((), (), WE, (WE,)),
        ((), (), None, ()),
    ],
)
def test_organizers_that_a_mail_is_decided_for(
    candidates: tuple[str, ...], organizers: tuple[str, ...], organizer: str | None, to: tuple[str, ...]
) -> None:
    """Of the recipients those served; where everybody is, the calendar's ORGANIZER if it is among them."""
    assert recipients(candidates, organizers, organizer) == to


def test_reply_all_is_decided_for_the_organizer_alone(itipd: Itipd) -> None:
    """Without `organizers` a reply with Carol in Cc is one result, not one for Carol too."""
    itipd.put(event("a@example.com"))
    file = itipd.write("a.eml", mail(reply("a@example.com"), f"Cc: Carol <{CAROL}>"))
    found = itipd("replay", "--json", file).json
    assert found["to"] == [WE]
    assert [result["reason"] for result in found["results"]] == ["replied"]


# -- playing mails


def test_line_has_the_keys_of_the_interface(itipd: Itipd) -> None:
    """`replay --json`: one line a mail, exactly the keys of interface.md."""
    itipd.put(event("a@example.com"))
    file = itipd.write("a.eml", mail(reply("a@example.com", organizer=None)))
    found = itipd("replay", "--json", file).json
    assert list(found) == ["source", "message_id", "from", "to", "results"]
    assert (found["source"], found["message_id"], found["from"]) == (str(file), "<1@mail.example.org>", BOB)
    (result,) = found["results"]
    assert list(result) == (
        "outcome reason method uid recurrence_id attendee partstat sequence quirks changes send".split()
    )
    assert result["quirks"] == ["no_organizer"]
    (change,) = result["changes"]
    assert change == {
        "attendee": BOB,
        "recurrence_id": None,
        "field": "partstat",
        "old": "NEEDS-ACTION",
        "new": "ACCEPTED",
    }


def test_mail_is_received_at_its_date(itipd: Itipd) -> None:
    """The clock starts at the first mail's Date; a later Date moves it on, an earlier one does not move it back."""
    itipd.put(event("a@example.com"))
    itipd.write("box/x1.eml", mail(reply("a@example.com"), date="Fri, 20 Nov 2026 08:00:05 +0000"))
    later = mail(
        reply("a@example.com", partstat="DECLINED", at="20261120T070000Z", who=CAROL),
        sender=CAROL,
        message_id="<2@mail.example.org>",
        date="Fri, 20 Nov 2026 07:00:00 +0000",
    )
    itipd.write("box/x2.eml", later)
    itipd("replay", itipd.home / "box")
    people = {one["address"]: one for one in itipd("status", "a@example.com", "--json").json["attendees"]}
    assert people[BOB]["replied_at"] == people[CAROL]["replied_at"] == "2026-11-20T08:00:05+00:00"


def test_now_starts_the_clock(itipd: Itipd) -> None:
    """`--now` is where the clock starts."""
    itipd.put(event("a@example.com"))
    file = itipd.write("a.eml", mail(reply("a@example.com")))
    itipd("replay", "--now", "2026-11-25T10:00:00+01:00", file)
    (bob, _) = itipd("status", "a@example.com", "--json").json["attendees"]
    assert bob["replied_at"] == "2026-11-25T09:00:00+00:00"
    assert itipd("replay", "--now", "soon", file).code == 2


def test_dry_run_and_fresh_write_nothing(itipd: Itipd) -> None:
    """`--dry-run` decides on what is there and leaves it; `--fresh` knows nothing but `--meeting`."""
    itipd.put(event("a@example.com"))
    file = itipd.write("a.eml", mail(reply("a@example.com")))
    dry = itipd("replay", "--dry-run", "--json", file).json
    assert [result["reason"] for result in dry["results"]] == ["replied"]
    assert [result["reason"] for result in itipd("replay", "--fresh", "--json", file).json["results"]] == [
        "unknown_meeting"
    ]
    known = itipd.write("m.ics", calendar(event("a@example.com")))
    fresh = itipd("replay", "--fresh", "--meeting", known, "--json", file).json
    assert [result["reason"] for result in fresh["results"]] == ["replied"]
    assert itipd("mail", "list").out == "No mail.\n"
    assert itipd("status", "a@example.com", "--json").json["counts"]["ACCEPTED"] == 0


def test_many_mails_keep_their_order(itipd: Itipd) -> None:
    """Mails that are under way at once are decided in order: the last of Bob's hundred answers stands."""
    itipd.put(event("a@example.com"))
    words = ("ACCEPTED", "DECLINED", "TENTATIVE")
    for number in range(100):
        at = f"20261120T08{number // 60:02d}{number % 60:02d}Z"
        text = reply("a@example.com", partstat=words[number % 3], at=at)
        itipd.write(f"box/x{number}.eml", mail(text, message_id=f"<{number}@mail.example.org>"))
    found = itipd("replay", itipd.home / "box", "--json").lines
    assert [line["message_id"] for line in found] == [f"<{number}@mail.example.org>" for number in range(100)]
    assert {result["reason"] for line in found for result in line["results"]} == {"replied"}
    assert itipd("status", "a@example.com", "--json").json["counts"]["ACCEPTED"] == 1


def test_summary_counts_outcomes(itipd: Itipd) -> None:
    """For people: a line a result, and at the end how many of each outcome."""
    itipd.put(event("a@example.com"))
    file = itipd.write("a.eml", mail(reply("a@example.com")))
    out = itipd("replay", file, file).out
    assert f"{file}: updated replied  REPLY  {BOB}  ACCEPTED  a@example.com\n" in out
    assert "2 mails" in out
    assert "1        updated    replied" in out
    assert "1        no_action  duplicate" in out


def test_mail_for_nobody_here_is_told(itipd: Itipd) -> None:
    """A mail none of whose recipients is an organizer is decided for nobody; SMTP would answer 550."""
    file = itipd.write("a.eml", mail(reply("a@example.com", organizer=None), to=CAROL))
    found = itipd("replay", "--json", file, env={"ITIPD_ORGANIZERS": WE}).json
    assert (found["to"], found["results"]) == ([], [])


def test_too_large_mail_is_an_error_of_its_own(itipd: Itipd) -> None:
    """What the mail doors would answer 552 is `error/too_large` in a replay."""
    file = itipd.write("a.eml", mail(reply("a@example.com")))
    found = itipd("replay", "--json", file, env={"ITIPD_SMTP__MAX_MESSAGE_SIZE": "100"}).json
    assert [(result["outcome"], result["reason"]) for result in found["results"]] == [("error", "too_large")]


@pytest.mark.parametrize(
    "words", [["--check", "--accept"], ["--fresh", "--dry-run"], ["--smtp", "127.0.0.1:1", "--fresh"]]
)
def test_options_that_exclude_each_other(itipd: Itipd, words: list[str]) -> None:
    """Options that make no sense together are usage errors."""
    assert itipd("replay", *words, itipd.write("a.eml", b"")).code == 2


# -- scenario folders


def scenario(itipd: Itipd, name: str = "moved") -> Path:
    """Bob accepts, the organizer moves the meeting, Carol answers the old date, Bob proposes, it is accepted."""
    itipd.write(f"{name}/given.ics", calendar(event("a@example.com")))
    itipd.write(f"{name}/1-bob.eml", mail(reply("a@example.com")))
    itipd.write(f"{name}/2-moved.ics", calendar(event("a@example.com", start="20261202T090000Z")))
    itipd.write(
        f"{name}/10-counter.eml",
        mail(
            reply(
                "a@example.com",
                "DTSTART:20261203T090000Z",
                "DTEND:20261203T100000Z",
                method="COUNTER",
                sequence=1,
                at="20261120T090000Z",
            ),
            message_id="<2@mail.example.org>",
        ),
    )
    itipd.write(f"{name}/11-accept.toml", f'command = "accept"\nuid = "a@example.com"\nattendee = "{BOB}"')
    return itipd.home / name


def test_transcript_has_steps_meetings_and_outbox(itipd: Itipd) -> None:
    """A folder is one JSON line: its steps in order of their numbers, the meetings and the outbox at the end."""
    found = itipd("replay", "--json", scenario(itipd)).json
    assert list(found) == ["scenario", "steps", "meetings", "outbox"]
    assert found["scenario"] == "moved"
    assert [(step["step"], step["results"][0]["reason"]) for step in found["steps"]] == [
        ("1-bob.eml", "replied"),
        ("2-moved.ics", "significant_change"),
        ("10-counter.eml", "proposal"),
        ("11-accept.toml", "proposal_accepted"),
    ]
    (meeting,) = found["meetings"]
    assert (meeting["sequence"], meeting["start"]) == (2, "2026-12-03T09:00:00+00:00")
    assert {tuple(line) for line in found["outbox"]} == {("method", "to", "uid", "recurrence_id", "sequence", "state")}
    assert [(line["to"], line["sequence"]) for line in found["outbox"]] == [
        ([BOB], 1),
        ([CAROL], 1),
        ([BOB], 2),
        ([CAROL], 2),
    ]
    assert itipd("mail", "list").out == "No mail.\n"


def test_transcript_is_the_same_every_time(itipd: Itipd) -> None:
    """A folder's transcript does not depend on the time of day, the database or the folders before it."""
    folder = scenario(itipd)
    once = itipd("replay", "--json", folder).out
    assert itipd("replay", "--json", scenario(itipd, "first"), folder).out.splitlines()[1] == once.strip()


def test_accept_then_check(itipd: Itipd) -> None:
    """`--accept` writes expected.json, `--check` then finds nothing; a changed one is exit 1 and says where."""
    folder = scenario(itipd)
    missing = itipd("replay", "--check", folder)
    assert (missing.code, "expected.json: found none" in missing.out) == (1, True)
    assert itipd("replay", "--accept", folder).out == "written moved\n"
    assert json.loads((folder / "expected.json").read_text()) == itipd("replay", "--json", folder).json
    assert itipd("replay", "--accept", folder).out == "unchanged moved\n"
    assert itipd("replay", "--check", folder).out == "ok moved\n1 scenarios, all as expected.\n"
    expected = json.loads((folder / "expected.json").read_text())
    expected["steps"][0]["results"][0]["outcome"] = "held"
    (folder / "expected.json").write_text(json.dumps(expected))
    found = itipd("replay", "--check", folder)
    assert found.code == 1
    assert 'steps[0].results[0].outcome: expected "held", found "updated"' in found.out
    as_json = itipd("replay", "--check", "--json", folder).json
    assert (as_json["ok"], len(as_json["differences"])) == (False, 1)


def test_check_needs_a_scenario(itipd: Itipd) -> None:
    """A check that compared nothing is not a success."""
    assert itipd("replay", "--check", itipd.write("a.eml", b"")).code == 65


def test_policy_file_is_the_folders_configuration(itipd: Itipd) -> None:
    """policy.toml alone configures a folder: neither itipd.toml nor the environment reach into it."""
    folder = scenario(itipd)
    (folder / "policy.toml").write_text('organizers = ["other@example.com"]')
    found = itipd("replay", "--json", folder, env={"ITIPD_POLICY__COUNTER": "decline"})
    assert found.code == 65
    assert "foreign_organizer" in found.err
    (folder / "policy.toml").write_text('[policy]\ncounter = "decline"')
    found = itipd("replay", "--json", folder, env={"ITIPD_POLICY__COUNTER": "accept"})
    assert [send["method"] for send in found.json["steps"][2]["results"][0]["send"]] == ["DECLINECOUNTER"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("3-x.toml", 'command = "destroy"\nuid = "a"', "command: found 'destroy', expected one of cancel, "),
        ("3-x.toml", 'command = "cancel"', "found no uid, expected of cancel: instance, organizer, uid"),
        ("3-x.toml", 'command = "remind"\nuid = "a"\nwhom = "b"', "found unknown keys whom, expected of remind"),
        ("3-x.toml", "command", "found no TOML"),
        ("3-x.txt", "hello", "found another kind of numbered file"),
        ("policy.toml", '[policy]\nsender = "form"', "policy.sender: found 'form'"),
    ],
)
def test_folder_that_cannot_be_played_is_named(itipd: Itipd, name: str, content: str, said: str) -> None:
    """A mistake in a folder names its file; other folders are played, the exit is 65."""
    folder = scenario(itipd)
    (folder / name).write_text(content)
    found = itipd("replay", "--json", folder, scenario(itipd, "good"))
    assert found.code == 65
    assert f"itipd: {folder / name}" in found.err
    assert said in found.err
    assert found.json["scenario"] == "good"


def test_held_answers_are_decided_by_hand_in_a_folder(itipd: Itipd) -> None:
    """`held-accept` and `held-reject` are steps too."""
    itipd.write("held/given.ics", calendar(event("a@example.com")))
    itipd.write("held/1-forged.eml", mail(reply("a@example.com"), sender="eve@example.org"))
    itipd.write("held/2-ok.toml", f'command = "held-accept"\nuid = "a@example.com"\nattendee = "{BOB}"')
    found = itipd("replay", "--json", itipd.home / "held").json
    assert [step["results"][0]["reason"] for step in found["steps"]] == ["sender_unproven", "replied"]


def test_clock_never_goes_back() -> None:
    """A mail moves the clock to its Date if that is later; other steps take a second."""
    clock = Clock(datetime(2026, 11, 20, 8, tzinfo=UTC))
    assert clock.reach(datetime(2026, 11, 20, 7, tzinfo=UTC)) == datetime(2026, 11, 20, 8, tzinfo=UTC)
    assert clock.reach(None) == datetime(2026, 11, 20, 8, tzinfo=UTC)
    assert clock.tick() == datetime(2026, 11, 20, 8, 0, 1, tzinfo=UTC)
    assert clock.reach(datetime(2026, 11, 20, 9, tzinfo=UTC)) == datetime(2026, 11, 20, 9, tzinfo=UTC)


def test_folder_without_a_date_starts_in_2026(itipd: Itipd) -> None:
    """Without a mail that has a Date the clock starts at 2026-01-01T00:00:00Z."""
    folder = scenario(itipd)
    assert read_folder(folder).first_date == datetime(2026, 11, 20, 8, 0, 5, tzinfo=UTC)
    (folder / "1-bob.eml").unlink()
    (folder / "10-counter.eml").unlink()
    assert read_folder(folder).first_date is None


@pytest.mark.parametrize(
    ("expected", "found", "lines"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, ["a: expected 1, found 2"]),
        ({"a": 1}, {}, ["a: missing, expected 1"]),
        ({}, {"a": None}, ["a: not expected, found null"]),
        ({"a": [1, 2]}, {"a": [1]}, ["a[1]: missing, expected 2"]),
        ({"a": [1]}, {"a": [1, 2]}, ["a[1]: not expected, found 2"]),
        ({"a": True}, {"a": 1}, ["a: expected true, found 1"]),
        ({"a": {"b": ["x"]}}, {"a": {"b": ["ü"]}}, ['a.b[0]: expected "x", found "ü"']),
    ],
)
def test_differences_are_named_by_place(expected: Any, found: Any, lines: list[str]) -> None:
    """What differs is told by its place in the JSON, with both values."""
    assert differences(expected, found) == lines
