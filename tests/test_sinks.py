"""Hostile texts all the way through a real daemon, and every place where they come out again.

An organizer's title, place, name and UID, a guest's name, comment, counter proposal and mail headers, file names and
Message-IDs: each holds what would do harm somewhere. What leaves by mail, stands in the log, on the page, in the API,
in a terminal and in file names is looked at by a reader that takes texts for what they are.
"""

from __future__ import annotations

import email
import email.policy
import json
import re
import smtplib
import time
import unicodedata
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.header import decode_header, make_header
from http.client import HTTPMessage
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from click.testing import CliRunner, Result

from itipd.cli.main import cli
from itipd.itip.contentlines import escape
from tests.cli_help import calendar, mail, reply
from tests.conftest import new_database
from tests.daemon import PATIENCE, Daemon
from tests.test_web_page import Tags, harmless

WE, KIM, LEE = "meetings@example.com", "kim@example.org", "lee@example.net"

HOSTILE = {
    "a header": "x\r\nBcc: mallory@evil.test\r\nX-Evil: 1\r\n\r\nbody",
    "a header behind a bare CR": "x\rBcc: mallory@evil.test\rX-Evil: 1",
    "an encoded word": "=?utf-8?q?a=0d=0aBcc:_mallory=40evil.test=0d=0aX-Evil:_1?=",
    "an encoded word in base64": "ü =?utf-8?b?YQ0KQmNjOiBtYWxsb3J5QGV2aWwudGVzdA==?=",
    "a script": "<script>alert(1)</script><img src=x onerror=alert(2)><svg/onload=alert(3)>",
    "the end of an attribute": '"\'`> onmouseover=alert(4) style=x:expression(alert(5)) x="',
    "an address of a script": "javascript:alert(6)//http://evil.test/ data:text/html,<script>alert(7)</script>",
    "a formula": "=cmd|' /C calc'!A0",
    "a formula with a sign": '+1+1,@SUM(1),-2+3,=HYPERLINK("http://evil.test")',
    "a terminal's commands": "\x1b]0;owned\x07\x1b[2J\x1b[1;31mred\x1b[0m\x9b2J\x90q\x9c\x08\x08\x7f",
    "turned letters": "\u202egpj.exe\u202c \u2066a\u2069 \u200f\u061c",
    "breaks of other alphabets": "a\x85b\u2028c\u2029d\x0be\x0cf\x1cg\x1dh\x1ei",
    "NUL": "a\0b\0",
    "a path": "../../../../tmp/evil /etc/passwd C:\\Windows ..%2f..%2f ~root",
    "a template": "{{7*7}} {% raw %} ${7*7} %(uid)s %s %n {0.__class__} {summary} \\u003cscript\\u003e",
    "rich text": "[bold red]x[/bold red] [link=http://evil.test]y[/link] [/] \\[",
    "a log line": 'x outcome=updated reason=replied"\nmail=1 client=evil outcome=updated',
    "a JSON line": '"}\n{"outcome":"updated","evil":true}',
    "iCalendar": "x\nATTENDEE:mailto:mallory@evil.test\nEND:VEVENT\nBEGIN:VALARM\nATTACH:file:///etc/passwd",
    "a mail's end": "x\r\n.\r\nMAIL FROM:<mallory@evil.test>\r\nRCPT TO:<mallory@evil.test>\r\nDATA",
}

OURS = set(
    "from to subject date message-id mime-version content-language content-class content-type auto-submitted "
    "x-auto-response-suppress".split()
)
ELEMENTS = set("html head meta title body p table tr th td br div".split())
ADDRESSES = {"href", "src", "srcset", "action"}
LOGGED = re.compile(r'(level=\w+ )?(event=(\w+|"[\w ,:]+")|mail=\d+ client=127\.0\.0\.1 from=\S+@\S+ rcpt=\S+)( |$)')
CONTROLS = {"Cc", "Cs", "Zl", "Zp"}
TURNS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
CONFIG = """
organizers = ["meetings@example.com"]
[relay]
directory = "outgoing"
[log]
format = "{form}"
[policy]
party_crasher = "added"
"""


@dataclass
class Seen:
    """Everything that came out."""

    form: str  # of the log
    outgoing: dict[str, bytes] = field(default_factory=dict)  # by file name
    log: str = ""
    pages: dict[str, str] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)  # of the API
    fields: list[tuple[str, HTTPMessage]] = field(default_factory=list)  # of HTTP answers
    shown: dict[str, str] = field(default_factory=dict)  # commands, for people
    lines: dict[str, str] = field(default_factory=dict)  # commands, for programs
    exports: list[bytes] = field(default_factory=list)
    answers: set[bytes] = field(default_factory=set)  # at the SMTP door
    files: set[str] = field(default_factory=set)


def one_line(text: str) -> str:
    """What of a text can stand in one content line: breaks are none, other controls stay."""
    return re.sub(r"[\r\n]", "", text)


def parameter(text: str) -> str:
    """A parameter's value with RFC 6868's carets, as a hostile sender writes it."""
    return one_line(text.replace("^", "^^").replace("\r\n", "^n").replace("\n", "^n").replace('"', "^'"))


def uid_of(name: str) -> str:
    return f"{HOSTILE[name]} {name}@example.com"


def planned(name: str) -> str:
    """The organizer's own meeting: hostile wherever a text is."""
    evil = HOSTILE[name]
    lines = [
        *("BEGIN:VEVENT", f"UID:{escape_raw(uid_of(name))}", "DTSTAMP:20261117T080000Z", "SEQUENCE:3"),
        *("DTSTART:20991201T090000Z", "DURATION:PT1H", f"SUMMARY:{escape_raw(evil)}", f"LOCATION:{escape_raw(evil)}"),
        *(f"DESCRIPTION:{escape_raw(evil)}", f"COMMENT:{escape_raw(evil)}", f"CATEGORIES:{escape_raw(evil)}"),
        f'ATTACH;FILENAME="{parameter(evil)}";FMTTYPE="{parameter(evil)}":http://example.com/x',
        f"URL:{one_line(evil)}",
        f"X-EVIL:{one_line(evil)}",
        f'ORGANIZER;CN="{parameter(evil)}":mailto:{WE}',
        f'ATTENDEE;CN="{parameter(evil)}";RSVP=TRUE;X-EVIL="{parameter(evil)}":mailto:{KIM}',
        f'ATTENDEE;CN="{parameter(evil)}";RSVP=TRUE:mailto:{LEE}',
        "END:VEVENT",
    ]
    return "".join(f"{line}\r\n" for line in lines)


def escape_raw(text: str) -> str:
    """A TEXT value; unlike our own `escape` it keeps every control but the two of a line's end."""
    text = text.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,")
    return one_line(text.replace("\r\n", "\\n").replace("\n", "\\n"))


def answered(name: str, number: int) -> list[tuple[str, bytes]]:
    """Sender and mail: an answer, a counter proposal, a stale one, a question, a stranger, an unknown meeting."""
    evil = HOSTILE[name]
    words = (f"COMMENT:{escape_raw(evil)}", f"SUMMARY:{escape_raw(evil)}", f"LOCATION:{escape_raw(evil)}")
    uid = escape_raw(uid_of(name))
    header = one_line(evil).replace("\0", "")
    moved = ("DTSTART:20991202T090000Z", "DURATION:PT1H")
    named = f'ACCEPTED;CN="{parameter(evil)}";X-RESPONSE-COMMENT="{parameter(evil)}"'
    calendars = {
        "answer": (KIM, reply(uid, *words, who=KIM, sequence=3, partstat=named)),
        "counter": (LEE, reply(uid, *words, *moved, who=LEE, sequence=3, method="COUNTER", partstat=named)),
        "stale": (KIM, reply(uid, *words, who=KIM, sequence=0, partstat=named, at="20261121T080000Z")),
        "refresh": (KIM, reply(uid, *words, who=KIM, sequence=3, method="REFRESH", partstat=named)),
        "stranger": ("new@example.org", reply(uid, *words, who="new@example.org", sequence=3, partstat=named)),
        "unknown": (KIM, reply(f"{uid} unknown", *words, who=KIM, sequence=3, partstat=named)),
        "method": (KIM, reply(uid, *words, who=KIM, method=escape_raw(evil).upper())),
        "partstat": (KIM, reply(uid, who=KIM, sequence=3, partstat=f'"{parameter(evil)}"', at="20261122T080000Z")),
        "instance": (KIM, reply(uid, f"RECURRENCE-ID:{one_line(evil)}", who=KIM, sequence=3)),
    }
    return [
        (
            sender,
            mail(
                text,
                f"X-Evil: {header}",
                f"Content-Disposition: attachment; filename=\"{header}.ics\"; filename*=utf-8''{quote(evil)}",
                sender=f"{'=?utf-8?q?' + quote(evil).replace('%', '=') + '?='} <{sender}>",
                message_id=f"<{number}.{kind}.{header}@example.org>",
            ).replace(b"Subject: Accepted: Planning", b"Subject: " + header.encode()),
        )
        for kind, (sender, text) in calendars.items()
    ]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """The daemon's life and all that it let out: with a log of text, on SQLite."""
    return live(tmp_path_factory.mktemp("sinks"), "text")


@pytest.fixture(scope="module", params=("text", "json"))
def logged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """The same for what is in the log, which has two forms; that of JSON on PostgreSQL, where nothing else is asked."""
    if request.param == "text":
        yield request.getfixturevalue("seen")
        return
    for url in new_database(request.getfixturevalue("postgres_server")):
        yield live(tmp_path_factory.mktemp("sinks"), "json", url)


def live(folder: Path, form: str, database: str | None = None) -> Seen:
    found = Seen(form)
    with Daemon(folder, "--http", "127.0.0.1:0", config=CONFIG.format(form=form), database=database) as daemon:
        (folder / "in.ics").write_bytes(calendar(*map(planned, HOSTILE)).encode())
        found.shown["meeting put"] = itipd(daemon, "meeting", "put", str(folder / "in.ics"))
        with smtplib.SMTP(*daemon.address("smtp"), timeout=PATIENCE) as client:
            client.ehlo("client.example.org")
            for number, name in enumerate(HOSTILE):
                for sender, raw in answered(name, number):
                    client.mail(sender)
                    client.rcpt(WE)
                    code, text = client.data(raw)
                    assert code == 250, (name, text)
                    found.answers.add(re.sub(rb"\d+$", b"N", text))
        if database is None:
            commands(daemon, found)
            pages(daemon, found)
        end = time.monotonic() + PATIENCE
        while any(line["state"] in ("waiting", "sending") for line in listed(daemon, "outbox")):
            assert time.monotonic() < end
            time.sleep(0.1)
        errors = {line["last_error"] for line in listed(daemon, "outbox") if line["state"] != "sent"}
        assert errors <= {"superseded by a newer REQUEST", "superseded by a newer CANCEL"}
        assert daemon.stop() == 0
    found.log = (folder / "daemon.log").read_bytes().decode()
    found.outgoing = {file.name: file.read_bytes() for file in (folder / "outgoing").iterdir()}
    found.files = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    return found


def called(daemon: Daemon, *words: str, code: int = 0) -> Result:
    """One command on the daemon's database; in this process, because there are hundreds of them."""
    command = ["-c", str(daemon.file), *daemon.extra, *words]
    found = CliRunner(env={"COLUMNS": "300"}).invoke(cli, command)
    assert found.exit_code == code, (words, found.output, found.exception)
    return found


def itipd(daemon: Daemon, *words: str, code: int = 0) -> str:
    """What a command prints on both streams."""
    return called(daemon, *words, code=code).output


def listed(daemon: Daemon, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in itipd(daemon, name, "list", "--json").splitlines()]


def commands(daemon: Daemon, found: Seen) -> None:
    """What every command that shows something prints, for people and for programs."""
    uids = [line["uid"] for line in listed(daemon, "meeting")]
    first = {name: listed(daemon, name)[0]["id"] for name in ("mail", "held", "outbox")}
    asked = [("status",), *((name, "list") for name in ("meeting", "mail", "held", "outbox", "proposal"))]
    asked += [("meeting", "show", uid) for uid in uids]
    asked += [(name, "show", str(number)) for name, number in first.items()]
    for words in asked:
        found.shown[" ".join(words)] = itipd(daemon, *words)
        found.lines[" ".join(words)] = itipd(daemon, *words, "--json")
    folder = daemon.folder / "mails"
    folder.mkdir()
    for number, name in enumerate(HOSTILE):
        file = folder / f"{number}.eml"
        file.write_bytes(answered(name, 1000 + number)[number % 6][1])
        if number % 4 == 0:
            found.shown[f"explain {name}"] = itipd(daemon, "explain", str(file))
            found.lines[f"explain {name}"] = itipd(daemon, "explain", str(file), "--json")
    found.shown["replay"] = itipd(daemon, "replay", "--dry-run", str(folder))
    found.lines["replay"] = itipd(daemon, "replay", "--dry-run", str(folder), "--json")
    found.exports = [called(daemon, "meeting", "export", uid).stdout_bytes for uid in uids]
    found.shown["meeting show"] = itipd(daemon, "meeting", "show", HOSTILE["a terminal's commands"], code=1)
    # What people do then. The last word of some meetings goes to all: they are cancelled.
    asked = [("proposal", ("decline", "accept")[one["id"] % 2], str(one["id"])) for one in listed(daemon, "proposal")]
    asked += [("meeting", "remind", uid) for uid in uids[::4]] + [("meeting", "cancel", uid) for uid in uids[::3]]
    for words in asked:
        found.shown[" ".join(words)] = itipd(daemon, *words)
    for one in listed(daemon, "held")[::4]:
        words = ("held", "reject", str(one["id"]))
        found.shown[" ".join(words)] = itipd(daemon, *words, code=1)


def pages(daemon: Daemon, found: Seen) -> None:
    """The page of everything, and the API's objects."""
    base = f"http://{daemon.places['http']}"
    uids = [line["uid"] for line in listed(daemon, "meeting")]
    paths = ["/", "/fragments/meetings", f"/?q={quote(HOSTILE['a script'])}"]
    paths += [f"/meetings/{quote(uid, safe='')}" for uid in uids]
    mails = [line["id"] for line in listed(daemon, "mail")][:20]
    objects = [
        "/v1/meetings",
        "/v1/mail",
        "/v1/outbox",
        "/v1/proposals?state=all",
        *(f"/v1/mail/{one}/raw" for one in mails),
    ]
    objects += [f"/v1/meetings/{quote(uid, safe='')}{part}" for uid in uids for part in ("", "/history", "/attendees")]
    for path in (*paths, *objects):
        accepted = "text/html" if path in paths else "*/*"
        request = urllib.request.Request(base + path, headers={"Accept": accepted})
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            content = answer.read()
            found.fields.append((path, answer.headers))
        if path in paths:
            found.pages[path] = content.decode()
        elif not path.endswith("/raw"):
            found.objects[path] = content


# -- mails


def headers(raw: bytes) -> list[tuple[str, str]]:
    """The headers as a relay sees them: raw, in order, folds undone."""
    block = raw.partition(b"\r\n\r\n")[0].decode()
    return [tuple(line.split(": ", 1)) for line in block.replace("\r\n ", " ").split("\r\n")]  # type: ignore[misc]


def test_mails_have_our_headers_only(seen: Seen) -> None:
    """Each mail has our headers, each once, to one guest, and no break or control is in any, encoded ones either."""
    assert len(seen.outgoing) > 3 * len(HOSTILE)
    for name, raw in seen.outgoing.items():
        found = headers(raw)
        names = Counter(key.lower() for key, _ in found)
        assert names.keys() <= OURS, name
        assert set(names.values()) == {1}, name
        for key, value in found:
            decoded = str(make_header(decode_header(value)))
            assert not hidden(decoded), (name, key, decoded)
            # Decoded once more, as programs behind us may do: still no header of its own.
            assert "\n" not in str(make_header(decode_header(decoded))), (name, key, decoded)
        message = email.message_from_bytes(raw, policy=email.policy.default)
        assert [one.addr_spec for one in message["From"].addresses] == [WE]
        assert message["To"] in (KIM, LEE, "new@example.org")
        assert raw.isascii()
        assert max(map(len, raw.split(b"\r\n"))) <= 998
        assert b"\n" not in raw.replace(b"\r\n", b"")
        assert b"\r" not in raw.replace(b"\r\n", b"")


def test_mails_have_our_parts_only(seen: Seen) -> None:
    """Plain text, HTML, the calendar and its copy: nothing in a calendar makes a part, and names are our own."""
    for name, raw in seen.outgoing.items():
        message = email.message_from_bytes(raw, policy=email.policy.default)
        parts = [part for part in message.walk() if not part.is_multipart()]
        kinds = [part.get_content_type() for part in parts]
        assert kinds == ["text/plain", "text/html", "text/calendar", "application/ics"], name
        assert [part.get_filename() for part in parts] == [None, None, None, "invite.ics"]


def test_mails_html_is_text(seen: Seen) -> None:
    """The HTML part has our few elements; no script, address, handler or style comes out of a calendar."""
    for name, raw in seen.outgoing.items():
        page = part(raw, "text/html")
        tags = Tags(page)
        assert {tag for tag, _ in tags.found} <= {
            "html",
            "head",
            "meta",
            "title",
            "body",
            "p",
            "table",
            "tr",
            "th",
            "td",
            "br",
            "div",
        }, name
        for tag, has in tags.found:
            assert not {key for key in has if key.startswith("on") or key in ("href", "src", "srcset", "action")}, (
                tag,
                has,
            )
            assert "evil" not in has.get("style", "")
        assert not hidden(page, breaks=True)


def test_mails_text_is_quiet(seen: Seen) -> None:
    """The plain part moves no cursor and turns no letters."""
    for name, raw in seen.outgoing.items():
        assert not hidden(part(raw, "text/plain"), breaks=True), name


def test_mails_calendars_hold(seen: Seen) -> None:
    """The calendar of a mail, and an export, has one organizer, ours, and nobody invited whom we did not invite."""
    calendars = [part(raw, "text/calendar").encode() for raw in seen.outgoing.values()]
    assert len(seen.exports) == len(HOSTILE)
    for text in (*calendars, *seen.exports):
        lines = text.decode().replace("\r\n ", "").split("\r\n")
        names = Counter(re.split("[:;]", line)[0] for line in lines)
        assert (names["ORGANIZER"], names["BEGIN"]) == (1, 2), lines
        guests = {line.rpartition(":")[2] for line in lines if line.startswith("ATTENDEE")}
        assert guests <= {KIM, LEE, "new@example.org"}
        assert not any(line.startswith(("BCC", "X-EVIL: ", "ATTACH:file", "BEGIN:VALARM")) for line in lines)
        # RFC 5545 §3.1: no CONTROL; what is beyond ASCII is text there.
        assert not re.search(rb"[\0-\x08\x0b\x0c\x0e-\x1f\x7f]", text)


def part(raw: bytes, kind: str) -> str:
    message = email.message_from_bytes(raw, policy=email.policy.default)
    found = next(one for one in message.walk() if one.get_content_type() == kind)
    payload = found.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode()


def hidden(text: str, *, breaks: bool = False) -> list[str]:
    """The controls, foreign breaks, and turns of direction in a text. `breaks`: LF, CR and TAB are none."""
    allowed = "\r\n\t" if breaks else ""
    found = [(one, unicodedata.category(one), unicodedata.bidirectional(one)) for one in text if one not in allowed]
    return [one for one, category, direction in found if category in CONTROLS or direction in TURNS]


# -- names of files


def test_files_have_our_names(seen: Seen) -> None:
    """Whatever the UID, nothing is written but our own files, and mails have names of letters and digits."""
    assert {name for name in seen.outgoing if not re.fullmatch(r"\d{8}T\d{6}Z-[a-z2-7]+\.eml", name)} == set()
    own = {"in.ics", "itipd.toml", "daemon.log", *(f"mails/{number}.eml" for number in range(len(HOSTILE)))}
    rest = {name for name in seen.files if not name.startswith("outgoing/")} - own
    assert {name for name in rest if not re.fullmatch(r"itipd\.db(-wal|-shm)?", name)} == set()


# -- the log


def test_log_has_a_line_for_each_result(logged: Seen) -> None:
    """As many lines as results, each whole, and none that a mail has written."""
    assert hidden(logged.log.replace("\n", "")) == []
    lines = logged.log.removesuffix("\n").split("\n")
    mails = [line for line in lines if "mail" in (json.loads(line) if logged.form == "json" else line.split("=")[:1])]
    assert len(mails) == len(HOSTILE) * len(answered("NUL", 0))
    for line in lines:
        assert len(line) < 4096
        if logged.form == "json":
            found = json.loads(line)
            assert "evil" not in found
            assert isinstance(found.get("mail", 1), int)
        else:
            assert LOGGED.match(line), line
            # The quotes are even, so that no value goes on behind its end.
            assert len(re.findall(r'(?<!\\)(?:\\\\)*"', line)) % 2 == 0, line


# -- terminals


def test_commands_print_plain_lines(seen: Seen) -> None:
    """Nothing that a command shows moves a cursor, rings, colours, turns letters or begins a line of its own."""
    for name, text in seen.shown.items():
        assert hidden(text.replace("\n", "")) == [], name
        assert not re.search(r"^(Bcc|X-Evil|mail=1 client=evil|\{\"outcome\"|MAIL FROM)", text, re.MULTILINE), name


def test_commands_print_json_lines(seen: Seen) -> None:
    """With --json every line is one object and can be printed; none is somebody else's."""
    for name, text in seen.lines.items():
        assert text.isprintable() or hidden(text.replace("\n", "")) == [], name
        for line in text.splitlines():
            found = json.loads(line)
            assert isinstance(found, dict), name
            assert "evil" not in found, name


# -- the page and the API


def test_pages_are_text(seen: Seen) -> None:
    """Nothing of a calendar becomes an element, a handler, a style or an address on the page."""
    for path, text in seen.pages.items():
        harmless(Tags(text))
        assert "\0" not in text, path
        assert not [one for one in text if unicodedata.category(one) == "Cc" and one not in "\r\n\t"], path


def test_objects_are_json(seen: Seen) -> None:
    """What the API answers is one JSON value, as that type and no other."""
    for path, content in seen.objects.items():
        assert isinstance(json.loads(content), dict), path
        kinds = [found["Content-Type"] for asked, found in seen.fields if asked == path]
        assert kinds == ["application/json"], path


def test_http_headers_are_ours(seen: Seen) -> None:
    """No header of an answer holds a text of a mail: file names are our own ids."""
    for path, found in seen.fields:
        assert "X-Evil" not in found
        assert "Bcc" not in found
        for key, value in found.items():
            assert hidden(value) == [], (path, key)
            assert "evil" not in value, (path, key)
        if path.endswith("/raw"):
            assert re.fullmatch(r'attachment; filename="mail-\d+\.eml"', found["Content-Disposition"])


# -- the door


def test_answers_are_fixed_texts(seen: Seen) -> None:
    """What the door says of a mail is an outcome's word and our id."""
    words = {b"updated", b"added", b"no_action", b"held", b"error"}
    assert seen.answers <= {b"2.0.0 " + word + b" N" for word in words}


def test_the_texts_are_hostile(seen: Seen) -> None:
    """It was no exercise: the texts came through, as text. What can be shown of each stands on its meeting's page."""
    shown = " ".join(Tags(text).text for text in seen.pages.values())
    for name in ("a script", "a formula", "a path", "a template", "rich text", "an encoded word"):
        assert HOSTILE[name] in shown, name
    assert escape(HOSTILE["a script"]) in "".join(
        part(raw, "text/calendar").replace("\r\n ", "") for raw in seen.outgoing.values()
    )
