"""The commands, from outside: what they print, what they leave, how they end."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from itipd.cli.main import COMMANDS, cli
from tests.cli_help import BOB, CAROL, WE, Itipd, calendar, event, mail, reply


@pytest.fixture
def itipd(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Itipd:
    """`itipd` with an empty database, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("ITIPD_DATABASE", "ITIPD_ORGANIZERS"):
        monkeypatch.delenv(name, raising=False)
    return Itipd(tmp_path)


# -- the command line itself


def test_help_names_every_command_and_imports_none_of_them() -> None:
    """`itipd --help` shows all commands without SQLAlchemy, pydantic, FastAPI or rich being imported."""
    code = (
        "import sys\nfrom itipd.cli.main import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('sqlalchemy', 'pydantic', 'fastapi', 'rich', 'icalendar') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"
    for name in COMMANDS:
        assert re.search(rf"^  {name} ", out, re.MULTILINE), name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    """Each command of the table exists, takes the global options and describes itself."""
    found = CliRunner().invoke(cli, [name, "--help"])
    assert found.exit_code == 0
    assert "--database URL" in found.output
    assert "-c, --config FILE" in found.output
    assert "--json" in found.output


def test_status_needs_no_web_server() -> None:
    """`itipd status` starts without FastAPI, uvicorn and the mail doors."""
    code = (
        "import sys, tempfile\nfrom itipd.cli.main import main\nurl = 'sqlite:///' + tempfile.mkdtemp() + '/a.db'\n"
        "try:\n    main(['status', '--database', url])\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('fastapi', 'uvicorn', 'aiosmtpd', 'aiosmtplib', 'rich') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines() == ["No meetings.", "[]"]


def test_global_options_before_and_after_the_command(itipd: Itipd) -> None:
    """`--json` and `--database` mean the same before the command, between group and command, and after it."""
    itipd.put(event("a@example.com"))
    for words in (["--json", "meeting", "list"], ["meeting", "--json", "list"], ["meeting", "list", "--json"]):
        assert itipd(*words).json["uid"] == "a@example.com"
    other = f"sqlite:///{itipd.home}/other.db"
    assert itipd("meeting", "list", "--database", other).out == "No meetings.\n"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nonsense"], 2, "No such command"),
        (["meeting", "put"], 2, "Missing argument"),
        (["meeting", "put", "none.ics"], 2, "does not exist"),
        (["-c", "none.toml", "status"], 78, "itipd: none.toml: found no readable file"),
        (["status", "--database", "mysql://u:secret@h/n"], 78, "option --database: found 'mysql://u:***@h/n'"),
        (["status", "--database", "sqlite:////nowhere/at/all.db"], 78, "does not exist"),
        (["status", "unknown@example.com"], 1, "meeting unknown@example.com: found none"),
        (["meeting", "export", "unknown@example.com"], 1, "meeting unknown@example.com: found none"),
        (["meeting", "cancel", "unknown@example.com"], 1, "unknown@example.com: not_found"),
        (["meeting", "remind", "unknown@example.com"], 1, "unknown@example.com: not_found"),
        (["proposal", "accept", "7"], 1, "not_found"),
        (["held", "show", "7"], 1, "held 7: found none"),
        (["held", "reject", "7"], 1, "not_found"),
        (["mail", "show", "7"], 1, "mail 7: found none"),
        (["outbox", "hold", "7"], 1, "outbox 7: found none"),
        (["outbox", "flush", "--deliver"], 78, "relay: found none, expected relay.host or relay.directory"),
        (["db", "backup", "nowhere/at/all.db"], 1, "found no folder"),
        (["serve", "--smtp", "nowhere"], 78, "option --smtp: found 'nowhere', expected `HOST:PORT`"),
        (["serve", "--lmtp", "unix:nowhere/lmtp.sock"], 78, "lmtp.listen: found no folder"),
    ],
)
def test_foreseeable_mistakes_have_an_exit_code_and_a_sentence(
    itipd: Itipd, words: list[str], code: int, said: str
) -> None:
    """2 usage, 78 configuration, 1 not found; one sentence on stderr, nothing on stdout, never a traceback."""
    found = itipd(*words)
    assert (found.code, found.out) == (code, "")
    assert said in found.err
    assert "secret" not in found.err


def test_database_that_does_not_answer_is_try_again(itipd: Itipd) -> None:
    """A PostgreSQL that is not there now is 75: the same call may work later."""
    pytest.importorskip("psycopg")
    found = itipd("status", "--database", "postgresql://itipd:secret@127.0.0.1:1/itipd")
    assert found.code == 75
    assert "postgresql://itipd:***@127.0.0.1:1/itipd" in found.err
    assert ":secret@" not in found.err


def test_misspelt_variable_stops_every_command(itipd: Itipd) -> None:
    """An unknown ITIPD_ variable is 78, not ignored."""
    found = itipd("status", env={"ITIPD_ORGANISERS": WE})
    assert found.code == 78
    assert found.err == "itipd: variable ITIPD_ORGANISERS: organisers: found an unknown key, expected `organizers`\n"


# -- meetings


def test_put_registers_and_status_tells(itipd: Itipd) -> None:
    """A put is `added/registered` with its REQUESTs; status has the meeting in both forms."""
    put = itipd.put(event("a@example.com"), options=())
    assert put.code == 0
    assert (put.json["outcome"], put.json["reason"], put.json["uid"]) == ("added", "registered", "a@example.com")
    assert [(send["method"], sorted(send["to"])) for send in put.json["send"]] == [("REQUEST", [BOB, CAROL])]
    status = itipd("status", "a@example.com", "--json").json
    assert status["counts"] == {"ACCEPTED": 0, "DECLINED": 0, "TENTATIVE": 0, "DELEGATED": 0, "NEEDS-ACTION": 2}
    line = itipd("status", "--json").json
    assert line == {key: status[key] for key in "uid organizer summary status sequence start end counts".split()}
    text = itipd("status", "a@example.com").out
    assert "Planning" in text
    assert re.search(rf"{BOB} +Bob +REQ +NEEDS-ACTION", text)
    assert "\x1b" not in text


def test_put_notify_none_and_recorded_send_nothing(itipd: Itipd) -> None:
    """`--notify none` and `--recorded` put nothing into the outbox."""
    itipd.put(event("a@example.com"), options=("--notify", "none"))
    itipd.put(event("b@example.com"), options=("--recorded",))
    assert itipd("outbox", "list").out == "Nothing in the outbox.\n"


def test_put_reads_stdin(itipd: Itipd) -> None:
    """`-` is stdin."""
    found = itipd("meeting", "put", "-", stdin=calendar(event("a@example.com")))
    assert (found.code, found.out) == (0, "added  registered  a@example.com  REQUEST to 2\n")


def test_bad_uid_falls_alone(itipd: Itipd) -> None:
    """Each UID of a file stands or falls alone: the bad one is named on stderr, the exit is 1, the others are there."""
    bad = event("b@example.com").replace(f"ORGANIZER;CN=Meetings:mailto:{WE}\r\n", "")
    found = itipd.put(event("a@example.com"), bad, event("c@example.com"))
    assert found.code == 1
    assert found.err.startswith("itipd: b@example.com: no_organizer")
    assert [(line["uid"], line["outcome"]) for line in found.lines] == [
        ("a@example.com", "added"),
        ("b@example.com", "error"),
        ("c@example.com", "added"),
    ]
    assert {line["uid"] for line in itipd("status", "--json").lines} == {"a@example.com", "c@example.com"}


def test_file_that_is_no_calendar_is_told(itipd: Itipd) -> None:
    """A put of something else is exit 1 with the reason, not a traceback."""
    found = itipd("meeting", "put", itipd.write("a.ics", "hello"))
    assert found.code == 1
    assert "malformed" in found.err


def test_export_has_the_partstats_of_now(itipd: Itipd) -> None:
    """`meeting export` prints iCalendar with the answers in it."""
    itipd.put(event("a@example.com"))
    itipd.ingest(reply("a@example.com"))
    text = itipd("meeting", "export", "a@example.com").out.replace("\r\n ", "").replace("\n ", "")
    assert text.startswith("BEGIN:VCALENDAR")
    (line,) = [line for line in text.splitlines() if line.startswith("ATTENDEE") and line.endswith(BOB)]
    assert "PARTSTAT=ACCEPTED" in line


def test_cancel_and_remind(itipd: Itipd) -> None:
    """`remind` asks who has not answered, or who is named; `cancel` tells everybody."""
    itipd.put(event("a@example.com"))
    itipd.ingest(reply("a@example.com"))
    remind = itipd("meeting", "remind", "a@example.com", "--json").json
    assert (remind["reason"], [send["to"] for send in remind["send"]]) == ("reminded", [[CAROL]])
    named = itipd("meeting", "remind", "a@example.com", "--attendee", BOB, "--json").json
    assert [send["to"] for send in named["send"]] == [[BOB]]
    assert itipd("meeting", "remind", "a@example.com", "--attendee", "zoe@example.org").code == 1
    assert itipd("db", "rebuild", "--json").json["differences"] == []
    cancel = itipd("meeting", "cancel", "a@example.com", "--json").json
    assert cancel["outcome"] == "cancelled"
    assert sorted(to for send in cancel["send"] for to in send["to"]) == [BOB, CAROL]
    assert itipd("status", "a@example.com", "--json").json["status"] == "CANCELLED"


def test_cancel_of_instances(itipd: Itipd) -> None:
    """`--instance` may be repeated; the series stays."""
    itipd.put(event("a@example.com", "RRULE:FREQ=DAILY;COUNT=5"))
    rids = ["20261202T090000Z", "20261203T090000Z"]
    found = itipd("meeting", "cancel", "a@example.com", "--instance", rids[0], "--instance", rids[1], "--json").json
    assert {send["recurrence_id"] for send in found["send"]} == set(rids)
    assert itipd("status", "a@example.com", "--json").json["status"] == "CONFIRMED"


def test_show_has_the_history(itipd: Itipd) -> None:
    """`meeting show` is the status with what was decided."""
    itipd.put(event("a@example.com"))
    itipd.ingest(reply("a@example.com"))
    history = itipd("meeting", "show", "a@example.com", "--json").json["history"]
    assert [(line["outcome"], line["reason"]) for line in history] == [("updated", "replied"), ("added", "registered")]
    assert "replied" in itipd("meeting", "show", "a@example.com").out


def test_texts_of_others_cannot_move_the_cursor(itipd: Itipd) -> None:
    """Controls in a calendar's texts do not reach the terminal, as a table or as JSON."""
    itipd.put(event("a@example.com", summary="Plan\x9b2J\u202egnin"))
    shown = itipd("status").out + itipd("status", "a@example.com").out
    assert "Plan" in shown
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown)


# -- mail


def test_ingest_commits_and_is_silent(itipd: Itipd) -> None:
    """A pipe transport gets exit 0 and no output; the answer is in the database."""
    itipd.put(event("a@example.com"))
    found = itipd("ingest", "-", stdin=mail(reply("a@example.com")))
    assert (found.code, found.out, found.err) == (0, "", "")
    assert itipd("status", "a@example.com", "--json").json["counts"]["ACCEPTED"] == 1


@pytest.mark.parametrize(
    ("content", "words", "said"),
    [
        (b"", [], "stdin: found nothing"),
        (mail(reply("a@example.com", organizer=None), to="x@example.org"), [], "found x@example.org, expected an add"),
        (mail(reply("a@example.com")), ["--recipient", "x@example.org"], "found x@example.org"),
        (b"x" * 2000, [], "stdin: found more than 1000 bytes"),
    ],
)
def test_ingest_of_what_cannot_be_taken_is_65(itipd: Itipd, content: bytes, words: list[str], said: str) -> None:
    """Nothing, somebody else's mail and too much mail are 65: the relay shall bounce, not try again."""
    env = {"ITIPD_ORGANIZERS": "*@example.com", "ITIPD_SMTP__MAX_MESSAGE_SIZE": "1000"}
    found = itipd("ingest", *words, stdin=content, env=env)
    assert found.code == 65
    assert said in found.err


def test_ingest_of_a_malformed_calendar_is_kept(itipd: Itipd) -> None:
    """The mail's fault is a decision: exit 0, `error` in the journal."""
    found = itipd.ingest("BEGIN:VCALENDAR\r\nthis is none\r\n")
    assert found.code == 0
    assert [result["outcome"] for result in found.json["results"]] == ["error"]


def test_ingest_of_a_submission_registers(itipd: Itipd) -> None:
    """`--submission` takes the application's own REQUEST."""
    text = mail(calendar(event("a@example.com"), method="REQUEST"), sender=WE, to=f"{BOB}, {CAROL}", method="REQUEST")
    found = itipd("ingest", "--submission", "--json", stdin=text).json
    assert [(result["outcome"], result["reason"]) for result in found["results"]] == [("added", "registered")]


def test_mail_is_kept_byte_for_byte(itipd: Itipd) -> None:
    """`mail raw` gives back exactly what came in; `mail list` and `show` have its outcomes."""
    itipd.put(event("a@example.com"))
    raw = mail(reply("a@example.com"), "X-Odd: \xff".encode("latin-1").decode("utf-8", "replace"))
    number = itipd("ingest", "--json", stdin=raw).json["id"]
    runner = CliRunner().invoke(cli, ["mail", "raw", str(number), "--database", itipd.database])
    assert runner.stdout_bytes == raw
    line = itipd("mail", "list", "--json").json
    assert line["id"] == number
    assert [result["reason"] for result in line["results"]] == ["replied"]
    assert itipd("mail", "show", str(number), "--json").json["message_id"] == "<1@mail.example.org>"
    assert re.search(rf"{number} .* updated +replied", itipd("mail", "list").out)


def test_explain_says_why_and_changes_nothing(itipd: Itipd) -> None:
    """`explain` names every rule that was tried, the deciding one with its RFC section; the database stays."""
    itipd.put(event("a@example.com"))
    file = itipd.write("a.eml", mail(reply("a@example.com", who="eve@example.org"), sender="eve@example.org"))
    (found,) = itipd("explain", file, "--json").json["results"]
    assert (found["outcome"], found["reason"], found["section"]) == ("held", "party_crasher", "RFC 5546 §3.2.3")
    assert [rule["rule"] for rule in found["rules"] if rule["applies"]] == ["party_crasher"]
    assert found["rules"][0] == {"rule": "organizer_mismatch", "applies": False}
    text = itipd("explain", file).out
    assert "party crasher" in text
    assert "(RFC 5546 §3.2.3)" in text
    assert itipd("mail", "list").out == "No mail.\n"


def test_explain_of_mail_that_was_received_says_what_it_says_now(itipd: Itipd) -> None:
    """A mail of the journal is explained as if it were new: not as a duplicate of itself."""
    itipd.put(event("a@example.com"))
    itipd.ingest(reply("a@example.com", who="eve@example.org"), sender="eve@example.org")
    raw = mail(reply("a@example.com", who="eve@example.org"), sender="eve@example.org")
    (found,) = itipd("explain", "-", "--json", stdin=raw).json["results"]
    assert found["reason"] == "party_crasher"


def test_explain_of_what_is_no_answer(itipd: Itipd) -> None:
    """A mail without calendar and a delivery report are explained too."""
    plain = b"From: bob@example.org\r\nTo: meetings@example.com\r\n\r\nAccepted: Planning\r\n"
    assert itipd("explain", "-", "--json", stdin=plain).json["results"][0]["reason"] == "not_calendar"
    assert "The mail has no calendar part. (RFC 6047 §2.4)" in itipd("explain", "-", stdin=plain).out


def test_proposals_are_listed_and_decided(itipd: Itipd) -> None:
    """A COUNTER is listed, accepted by its id, and then gone from the open ones."""
    itipd.put(event("a@example.com"))
    itipd.ingest(reply("a@example.com", "DTSTART:20261202T090000Z", "DTEND:20261202T100000Z", method="COUNTER"))
    proposal = itipd("proposal", "list", "--json").json
    assert (proposal["attendee"], proposal["start"]) == (BOB, "2026-12-02T09:00:00+00:00")
    accepted = itipd("proposal", "accept", str(proposal["id"]), "--json").json
    assert accepted["reason"] == "proposal_accepted"
    assert itipd("status", "a@example.com", "--json").json["start"] == "2026-12-02T09:00:00+00:00"
    assert itipd("proposal", "list").out == "No proposals.\n"
    assert itipd("proposal", "list", "--all", "--json").json["state"] == "accepted"


def test_declined_proposal_is_answered(itipd: Itipd) -> None:
    """`proposal decline` sends DECLINECOUNTER to the proposer alone."""
    itipd.put(event("a@example.com"))
    itipd.ingest(reply("a@example.com", "DTSTART:20261202T090000Z", "DTEND:20261202T100000Z", method="COUNTER"))
    declined = itipd("proposal", "decline", str(itipd("proposal", "list", "--json").json["id"]), "--json").json
    assert [(send["method"], send["to"]) for send in declined["send"]] == [("DECLINECOUNTER", [BOB])]


def test_held_mail_waits_for_a_person(itipd: Itipd) -> None:
    """An answer with a foreign From is listed as held and counts once a person accepts it."""
    itipd.put(event("a@example.com"))
    itipd.ingest(reply("a@example.com"), sender="eve@example.org")
    held = itipd("held", "list", "--json").json
    assert (held["reason"], held["attendee"]) == ("sender_unproven", BOB)
    assert itipd("held", "show", str(held["id"]), "--json").json["mail"] == held["mail"]
    assert itipd("held", "accept", str(held["id"]), "--json").json["reason"] == "replied"
    assert itipd("held", "list").out == "Nothing is held.\n"
    assert itipd("status", "a@example.com", "--json").json["counts"]["ACCEPTED"] == 1


# -- outgoing mail


def test_outbox_has_the_keys_of_the_interface(itipd: Itipd) -> None:
    """JSON of the outbox: exactly the keys that interface.md lists."""
    itipd.put(event("a@example.com"), options=())
    lines = itipd("outbox", "list", "--json").lines
    assert [line["to"] for line in lines] == [[BOB], [CAROL]]
    assert list(lines[0]) == (
        "id method uid recurrence_id sequence to state attempts next_attempt last_error message_id reason".split()
    )
    assert {line["state"] for line in lines} == {"waiting"}


def test_outbox_by_hand(itipd: Itipd) -> None:
    """hold, release, drop and retry change the state; what does not fit the state is exit 1 and says the state."""
    itipd.put(event("a@example.com"), options=())
    number = str(itipd("outbox", "list", "--json").lines[0]["id"])
    assert itipd("outbox", "hold", number, "--json").json["state"] == "held"
    assert "found it held, expected it waiting" in itipd("outbox", "hold", number).err
    assert itipd("outbox", "hold", number).code == 1
    assert itipd("outbox", "release", number).out == f"{number} is waiting.\n"
    assert itipd("outbox", "drop", number, "--json").json["state"] == "failed"
    assert itipd("outbox", "list", "--state", "failed", "--json").json["last_error"] == "dropped by hand"
    assert itipd("outbox", "retry", number, "--json").json["state"] == "waiting"
    assert [one["state"] for one in itipd("outbox", "show", number, "--json").json["attempts_made"]]


def test_flush_delivers_from_the_command(itipd: Itipd) -> None:
    """`outbox flush --deliver` sends what waits, here into a folder of .eml files."""
    itipd.put(event("a@example.com"), options=())
    env = {"ITIPD_RELAY__DIRECTORY": str(itipd.home / "outgoing")}
    assert itipd("outbox", "flush", "--deliver", "--json", env=env).json["sent"] == 2
    assert len(list((itipd.home / "outgoing").glob("*.eml"))) == 2
    assert {line["state"] for line in itipd("outbox", "list", "--json").lines} == {"sent"}


# -- the database, the beginning


def test_backup_is_a_database(itipd: Itipd) -> None:
    """`db backup` makes a copy that works; it never overwrites."""
    itipd.put(event("a@example.com"))
    file = itipd.home / "copy.db"
    assert itipd("db", "backup", file).code == 0
    assert itipd("status", "--json", "--database", f"sqlite:///{file}").json["uid"] == "a@example.com"
    assert itipd("db", "backup", file).code == 1


def test_verify_finds_what_is_broken(itipd: Itipd) -> None:
    """`db verify` is silent about a sound database and exit 1 where a row has lost its meeting."""
    itipd.put(event("a@example.com"))
    assert itipd("db", "verify", "--json").json == {"ok": True, "problems": []}
    import sqlite3

    with sqlite3.connect(itipd.home / "itipd.db") as broken:
        broken.execute("DELETE FROM events")
    broken.close()
    found = itipd("db", "verify", "--json")
    assert found.code == 1
    assert "meetings without an event" in " ".join(found.json["problems"])


def test_rebuild_gives_the_same(itipd: Itipd) -> None:
    """The journal played into a new database gives the same meetings and the same outgoing mail."""
    itipd.put(event("a@example.com"), event("b@example.com", "RRULE:FREQ=DAILY;COUNT=5"), options=())
    itipd.ingest(reply("a@example.com"))
    itipd.ingest(reply("c@example.com"), message_id="<2@mail.example.org>")
    itipd.put(event("c@example.com"), options=())
    itipd.ingest(
        reply("b@example.com", "DTSTART:20261202T100000Z", "DTEND:20261202T110000Z", method="COUNTER"),
        message_id="<3@mail.example.org>",
    )
    itipd("proposal", "accept", "1")
    itipd("meeting", "cancel", "a@example.com")
    itipd("meeting", "remind", "b@example.com")
    into = f"sqlite:///{itipd.home}/new.db"
    found = itipd("db", "rebuild", "--into", into, "--json")
    assert found.json == {"ok": True, "entries": 9, "meetings": 3, "differences": [], "unproven": []}
    assert {line["state"] for line in itipd("outbox", "list", "--json", "--database", into).lines} == {"held"}
    again = itipd("db", "rebuild", "--into", into)
    assert (again.code, "expected a new database" in again.err) == (1, True)


def test_rebuild_of_a_mail_to_two_organizers(itipd: Itipd) -> None:
    """A mail that was decided once for each of two organizers is played once for each."""
    itipd.put(event("a@example.com"))
    itipd.ingest(reply("a@example.com", organizer=None), to=f"{WE}, rooms@example.com")
    reasons = [result["reason"] for line in itipd("mail", "list", "--json").lines for result in line["results"]]
    assert sorted(reasons) == ["other_organizer", "replied"]
    found = itipd("db", "rebuild", "--json").json
    assert found == {"ok": True, "entries": 3, "meetings": 1, "differences": [], "unproven": []}


def test_rebuild_tells_a_difference(itipd: Itipd) -> None:
    """A database that does not follow from its journal is exit 1, with the place of the difference."""
    import sqlite3

    itipd.put(event("a@example.com"))
    itipd.ingest(reply("a@example.com"))
    with sqlite3.connect(itipd.home / "itipd.db") as changed:
        changed.execute("UPDATE attendees SET partstat = 'DECLINED' WHERE address = ?", (BOB,))
    changed.close()
    found = itipd("db", "rebuild")
    assert found.code == 1
    assert 'partstat: expected "DECLINED", found "ACCEPTED"' in found.out


def test_init_writes_a_configuration_that_is_right(itipd: Itipd) -> None:
    """`init` writes a file that check-config likes, shows the three relays, and overwrites nothing."""
    found = itipd("init")
    assert found.code == 0
    for relay in ("Postfix", "Exim", "Exchange"):
        assert relay in found.out
    assert itipd("check-config", "--deep").out == "The configuration is right.\n"
    assert itipd("init").code == 1


def test_check_config_names_everything(itipd: Itipd) -> None:
    """Mistakes of the file, files that are not there, and with --deep a database and a relay that fail."""
    itipd.write("itipd.toml", '[smtp]\nlistne = "x"\n[policy]\nsender = "form"')
    found = itipd("check-config", "--json")
    assert found.code == 78
    assert [problem.split(": ")[1] for problem in found.json["problems"]] == ["smtp.listne", "policy.sender"]
    itipd.write("itipd.toml", '[smtp]\ntls_cert = "c.pem"\ntls_key = "k.pem"\n[relay]\nhost = "127.0.0.1"\nport = 1')
    assert [problem.split(": ")[0] for problem in itipd("check-config", "--json").json["problems"]] == [
        "smtp.tls_cert",
        "smtp.tls_key",
    ]
    deep = itipd("check-config", "--deep", "--json").json["problems"]
    assert any(problem.startswith("relay 127.0.0.1:1") for problem in deep)


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colours_only_on_a_terminal_that_wants_them(itipd: Itipd, no_color: str, coloured: bool) -> None:
    """On a terminal there are colours, unless NO_COLOR says no; in a pipe there are none (see above)."""
    itipd.put(event("a@example.com"))
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "itipd.cli.main", "status", "a@example.com", "--database", itipd.database]
    env = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    env |= {"TERM": "xterm", "NO_COLOR": no_color}
    done = subprocess.run(words, stdout=theirs, stderr=subprocess.DEVNULL, env=env, check=False)
    os.close(theirs)
    shown = os.read(ours, 65536)
    os.close(ours)
    assert done.returncode == 0
    assert b"CONFIRMED" in shown
    assert (b"\x1b[32m" in shown) is coloured


def test_json_is_json_for_every_list(itipd: Itipd) -> None:
    """Each list gives JSON Lines, also with letters beyond ASCII in them."""
    itipd.put(event("ä@example.com", summary="Müller ✓"), options=())
    for words in (["status"], ["meeting", "list"], ["outbox", "list"]):
        found = itipd(*words, "--json")
        assert "ä@example.com" in found.out
        assert all(isinstance(json.loads(line), dict) for line in found.out.splitlines())
