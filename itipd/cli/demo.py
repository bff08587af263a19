"""`itipd demo`: the whole story in a minute, against a real daemon on a temporary database, without any network."""

from __future__ import annotations

import email
import email.policy
import json
import re
import smtplib
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from itipd.cli import output
from itipd.cli.base import App, Command, Failure, pass_app

STORY = Path(__file__).resolve().parent.parent / "story"
PATIENCE = 30.0  # seconds for any one step
COMMANDS = {"accept": "proposal", "decline": "proposal"}


@click.command(cls=Command)
@click.option("--keep", is_flag=True, help="Leave the daemon and its page up until Ctrl-C.")
@pass_app
def demo(app: App, /, keep: bool) -> None:
    """Play the story of one meeting against a real daemon: mails over SMTP, attendance, what is sent, the page."""
    with TemporaryDirectory(prefix="itipd-demo-") as name:
        folder = Path(name)
        file = folder / "itipd.toml"
        file.write_text(
            'organizers = ["meetings@example.com"]\n[relay]\ndirectory = "outgoing"\n[log]\nlevel = "error"\n',
            encoding="utf-8",
        )
        with _daemon(file) as stage:
            _heading(f"A daemon is running on a temporary database: SMTP {stage.smtp}, page http://{stage.http}/")
            _play(stage)
            _show(stage)
            if keep:
                _keep(stage)


@dataclass(frozen=True, slots=True)
class Stage:
    """The running daemon."""

    file: Path
    smtp: str
    http: str

    def itipd(self, *words: str) -> str:
        """One command on the same database; what it printed."""
        command = [sys.executable, "-m", "itipd.cli.main", "-c", str(self.file), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)  # noqa: S603
        if done.returncode:
            raise Failure(f"demo: itipd {' '.join(words)} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout


@contextmanager
def _daemon(file: Path) -> Iterator[Stage]:
    doors = ["--smtp", "127.0.0.1:0", "--lmtp", "-", "--submission", "-", "--http", "127.0.0.1:0"]
    command = [sys.executable, "-m", "itipd.cli.main", "-c", str(file), "serve", *doors]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            line = process.stdout.readline() if process.stdout is not None else ""
            ready = re.match(r"ready smtp=(\S+) lmtp=\S+ submission=\S+ http=(\S+) ", line)
            if ready is None:
                raise Failure("demo: itipd serve did not start; its message stands above")
            yield Stage(file, ready[1], ready[2])
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _play(stage: Stage) -> None:
    given = STORY / "given.ics"
    stage.itipd("meeting", "put", str(given), "--recorded")
    _heading(
        "The application has mailed five invitations; itipd knows the meeting (itipd meeting put FILE --recorded):"
    )
    click.echo(stage.itipd("status"))
    _heading("Now the answers come in by SMTP:")
    steps = sorted(STORY.glob("[0-9]*"), key=lambda step: int(step.name.partition("-")[0]))
    with smtplib.SMTP(*_address(stage.smtp), timeout=PATIENCE) as client:
        client.ehlo("demo.example.org")
        for step in steps:
            if step.suffix == ".eml":
                _mail(client, step)
            else:
                _command(stage, step)


def _mail(client: smtplib.SMTP, step: Path) -> None:
    raw = step.read_bytes()
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    client.mail(str(mail["Return-Path"] or mail["From"]).strip("<>"))
    client.rcpt("meetings@example.com")
    code, answer = client.data(raw)
    click.echo(f"  {_title(step):<34} {mail['Subject']}")
    click.secho(f"  {'':<34} {code} {answer.decode('ascii', 'replace')}", fg="green" if code == 250 else "red")


def _command(stage: Stage, step: Path) -> None:
    order = tomllib.loads(step.read_text(encoding="utf-8"))
    word = order["command"]
    found = [json.loads(line) for line in stage.itipd("proposal", "list", "--json").splitlines()]
    number = next(one["id"] for one in found if one["attendee"] == order["attendee"])
    click.echo(f"  {_title(step):<34} itipd {COMMANDS[word]} {word} {number}")
    text = " ".join(stage.itipd(COMMANDS[word], word, str(number)).split())
    click.secho(f"  {'':<34} {text}", fg="green")
    _sent(stage)  # or the next mail's REQUEST would take the place of one that has not left yet


def _title(step: Path) -> str:
    return step.stem.partition("-")[2].replace("-", " ")


def _sent(stage: Stage) -> Path:
    """The folder of outgoing mails, once nothing waits any more."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        lines = [json.loads(line) for line in stage.itipd("outbox", "list", "--json").splitlines()]
        if not any(line["state"] in ("waiting", "sending") for line in lines):
            break
        time.sleep(0.1)
    return stage.file.parent / "outgoing"


def _show(stage: Stage) -> None:
    outgoing = _sent(stage)
    uid = json.loads(stage.itipd("meeting", "list", "--json").splitlines()[0])["uid"]
    _heading(f"Who is coming? (itipd status {uid})")
    click.echo(stage.itipd("status", uid))
    _heading("What waits for a person: somebody answered who was never invited (itipd held list)")
    click.echo(stage.itipd("held", "list"))
    _heading("What itipd has sent by itself, here as files, otherwise through your relay:")
    mails = {line["message_id"]: line for line in map(_summary, outgoing.glob("*.eml"))}
    ids = [json.loads(line)["message_id"] for line in stage.itipd("outbox", "list", "--json").splitlines()]
    lines = [mails[one] for one in ids if one in mails]
    output.table(("to", "method", "subject"), [(line["to"], line["method"], line["subject"]) for line in lines])


def _summary(file: Path) -> dict[str, Any]:
    mail = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
    methods = (part.get_param("method") for part in mail.walk() if part.get_content_type() == "text/calendar")
    words = {"to": str(mail["To"]), "subject": str(mail["Subject"]), "message_id": str(mail["Message-ID"])}
    return {**words, "method": next(methods, "")}


def _keep(stage: Stage) -> None:
    _heading(f"The page is at http://{stage.http}/ until you press Ctrl-C.")
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        click.echo("")


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def _heading(text: str) -> None:
    click.echo("")
    click.secho(text, bold=True)
