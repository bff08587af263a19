"""The entry point: names every command, imports a command's module only when it is called."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from itipd.cli.base import Group

COMMANDS = {
    "serve": ("serve:serve", "Run the daemon."),
    "demo": ("demo:demo", "The whole story in a minute, on a temporary database."),
    "init": ("setup:init", "Write a commented itipd.toml and show how a relay hands mail over."),
    "check-config": ("setup:check_config", "Name every mistake in the configuration."),
    "meeting": ("meeting:meeting", "Register, change, show and cancel meetings."),
    "status": ("meeting:status", "Attendance of one meeting, or a line for each."),
    "proposal": ("proposal:proposal", "Counter proposals: list, accept, decline."),
    "held": ("held:held", "What waits for a person."),
    "mail": ("mail:mail", "The journal of received mail, with its outcomes."),
    "outbox": ("outbox:outbox", "Outgoing mail: list, show, hold, release, retry, drop, flush."),
    "replay": ("replay:replay", "Play mails and scenario folders."),
    "ingest": ("ingest:ingest", "Take one mail from stdin, for pipe transports."),
    "explain": ("explain:explain", "What would be decided about a mail, and why."),
    "forget": ("forget:forget", "Remove a person's data."),
    "bench": ("bench:bench", "Measure itipd beside a bare aiosmtpd."),
    "db": ("db:db", "Upgrade, back up, copy, verify and rebuild the database."),
}
"""Command -> where it is (`module:function` in this package) and its line in `itipd --help`."""


class Lazy(Group):
    """The top group: `--help` shows the lines above and imports nothing."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(f"itipd.cli.{module}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="itipd", prog_name="itipd")
def cli() -> None:
    """The organizer's mailbox for iTIP: answers to calendar invitations come in by mail, attendance comes out.

    Exit codes: 0 done, 1 found something wrong, 2 usage, 65 bad data, 75 try again, 78 bad configuration.
    """


def main(args: list[str] | None = None) -> Any:
    """`itipd`: runs one command and exits with its code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A terminal that cannot show a letter of a name must not make the command fail.
            stream.reconfigure(errors="backslashreplace")
    # https://no-color.org: set and not empty. click itself looks only whether there is a terminal.
    return cli(args, prog_name="itipd", color=False if os.environ.get("NO_COLOR") else None)


if __name__ == "__main__":
    main()
