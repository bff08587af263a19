"""For the tests of the commands: texts of an organizer and his guests, and a way to call `itipd`."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from itipd.cli.main import cli

WE = "meetings@example.com"
BOB = "bob@example.org"
CAROL = "carol@example.net"


def event(uid: str, *lines: str, summary: str = "Planning", start: str = "20261201T090000Z", sequence: int = 0) -> str:
    """An organizer's VEVENT of an hour with Bob and Carol, and further lines."""
    text = [
        "BEGIN:VEVENT",
        f"UID:{uid}",
        "DTSTAMP:20261117T080000Z",
        f"SEQUENCE:{sequence}",
        f"DTSTART:{start}",
        "DURATION:PT1H",
        f"SUMMARY:{summary}",
        f"ORGANIZER;CN=Meetings:mailto:{WE}",
        f"ATTENDEE;CN=Bob;RSVP=TRUE:mailto:{BOB}",
        f"ATTENDEE;CN=Carol;RSVP=TRUE:mailto:{CAROL}",
        *lines,
        "END:VEVENT",
    ]
    return "".join(f"{line}\r\n" for line in text)


def calendar(*components: str, method: str | None = None) -> str:
    """A VCALENDAR of these components."""
    head = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//example.com//tests//EN\r\n"
    return head + (f"METHOD:{method}\r\n" if method else "") + "".join(components) + "END:VCALENDAR\r\n"


def reply(
    uid: str,
    *lines: str,
    who: str = BOB,
    partstat: str = "ACCEPTED",
    method: str = "REPLY",
    sequence: int = 0,
    at: str = "20261120T080000Z",
    organizer: str | None = WE,
) -> str:
    """An attendee's answer."""
    text = ["BEGIN:VEVENT", f"UID:{uid}", f"SEQUENCE:{sequence}", f"DTSTAMP:{at}", *lines]
    text += [f"ORGANIZER:mailto:{organizer}"] if organizer else []
    text += [f"ATTENDEE;PARTSTAT={partstat}:mailto:{who}", "END:VEVENT"]
    return calendar("".join(f"{line}\r\n" for line in text), method=method)


def mail(
    text: str,
    *headers: str,
    sender: str = BOB,
    to: str = WE,
    date: str = "Fri, 20 Nov 2026 08:00:05 +0000",
    message_id: str = "<1@mail.example.org>",
    method: str = "REPLY",
) -> bytes:
    """A mail that is one calendar part."""
    head = [
        *headers,
        f"From: {sender}",
        f"To: {to}",
        f"Date: {date}",
        f"Message-ID: {message_id}",
        "Subject: Accepted: Planning",
        "MIME-Version: 1.0",
        f"Content-Type: text/calendar; charset=utf-8; method={method}",
        "Content-Transfer-Encoding: base64",
        "",
        base64.encodebytes(text.encode()).decode().replace("\n", "\r\n"),
    ]
    return "\r\n".join(head).encode()


@dataclass(frozen=True)
class Called:
    """What a call of `itipd` gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on stdout."""
        (line,) = self.out.splitlines()
        return json.loads(line)

    @property
    def lines(self) -> list[Any]:
        """The JSON Lines on stdout."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True)
class Itipd:
    """`itipd` on a database in a folder of its own."""

    home: Path

    @property
    def database(self) -> str:
        """Its URL."""
        return f"sqlite:///{self.home}/itipd.db"

    def __call__(
        self, *args: str | Path, stdin: bytes | str | None = None, env: dict[str, str] | None = None
    ) -> Called:
        """Runs one command; nothing but click's own ways out is let through."""
        words = ["--database", self.database, *map(str, args)]
        # Wide enough that nothing is folded, and no colours.
        found = CliRunner(env={"COLUMNS": "300", **(env or {})}).invoke(cli, words, input=stdin)
        if found.exception is not None and not isinstance(found.exception, SystemExit):
            raise found.exception
        return Called(found.exit_code, found.stdout, found.stderr)

    def write(self, name: str, content: str | bytes) -> Path:
        """A file in the folder."""
        file = self.home / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def put(self, *components: str, options: tuple[str, ...] = ("--recorded",)) -> Called:
        """Registers meetings."""
        return self("meeting", "put", self.write("put.ics", calendar(*components)), *options, "--json")

    def ingest(self, text: str, *headers: str, **words: str) -> Called:
        """One mail over stdin."""
        return self("ingest", "--json", stdin=mail(text, *headers, **words))
