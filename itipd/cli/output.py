"""What commands print: JSON to the letter, or tables and lines for people.

Texts from mails and calendars lose their controls here, so that nobody's mail can move a terminal's cursor.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import click

from itipd.plain import plain

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?[+-]\d\d:\d\d")
_HIDDEN = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_WHOLE = frozenset(
    ("id", "address", "attendee", "partstat", "state", "status", "outcome", "method", "start", "at", "received_at")
)
"""Columns whose words are not broken where the terminal is narrow, as long as others can be."""

_HEADS = {"sequence": "seq", "schedule_status": "sent", "recurrence_id": "instance", "next_attempt": "next"}

_COLOURS = {
    **dict.fromkeys(("updated", "added", "ACCEPTED", "COMPLETED", "sent", "CONFIRMED", "accepted", "ok"), "green"),
    **dict.fromkeys(("error", "failed", "DECLINED", "CANCELLED", "cancelled", "declined"), "red"),
    **dict.fromkeys(("held", "TENTATIVE", "waiting", "sending", "open", "DELEGATED", "IN-PROCESS"), "yellow"),
    **dict.fromkeys(("no_action", "NEEDS-ACTION", "retired"), "bright_black"),
}


def say(text: str = "") -> None:
    """A line on stdout; above the progress bar where there is one (it has taken the place of sys.stdout)."""
    click.echo(text, file=sys.stdout)


def octets(data: bytes) -> None:
    """A mail or a calendar as it is; on a terminal without its controls, which are somebody else's."""
    if not sys.stdout.isatty():
        click.echo(data, nl=False)
        return
    for line in data.decode("utf-8", "replace").splitlines():
        say(plain(line, len(line)))


def one(value: Mapping[str, Any]) -> None:
    """One JSON object on one line."""
    say(dumps(value))


def dumps(value: object, indent: int | None = None) -> str:
    """`value` as JSON; times as ISO 8601 with their offset. One line stays one for whoever reads it line by line."""
    text = json.dumps(value, ensure_ascii=False, indent=indent, default=_plain_json)
    if text.isascii():
        return text
    # Some programs take NEL or U+2028 for the end of a line; marks of direction would play with a terminal.
    return _HIDDEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _plain_json(value: object) -> object:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def rows(lines: Iterable[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool, empty: str) -> None:
    """A list: JSON Lines with all that a line has, or a table of `columns`, or the sentence `empty`."""
    if as_json:
        for line in lines:
            one(line)
        return
    found = [[line.get(column) for column in columns] for line in lines]
    if not found:
        say(empty)
        return
    table(columns, found)


def table(columns: Sequence[str], found: Sequence[Sequence[Any]]) -> None:
    """A table as wide as the terminal; in a pipe as wide as it needs, without colours."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = sys.stdout.isatty()
    console = Console(file=sys.stdout, width=None if terminal else 1000, highlight=False)
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(
            _HEADS.get(column, column.replace("_", " ")).upper(), overflow="fold", no_wrap=column in _WHOLE
        )
    for cells in found:
        drawn.add_row(*(Text(text := cell(value), style=_COLOURS.get(text, "")) for value in cells))
    with console.capture() as capture:
        console.print(drawn)
    for line in capture.get().splitlines():
        say(line.rstrip())


def fields(values: Mapping[str, Any]) -> None:
    """The values of one thing, a line each."""
    width = max(len(name) for name in values)
    for name, value in values.items():
        text = cell(value)
        say(f"{name.replace('_', ' ')}:{' ' * (width - len(name))} {click.style(text, fg=_COLOURS.get(text))}")


def cell(value: object) -> str:
    """A value as people read it, on one line."""
    if value is None or value == "" or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        value = value.isoformat()
    if isinstance(value, list | tuple):
        return ", ".join(cell(part) for part in value)
    if isinstance(value, Mapping):
        return " ".join(f"{cell(key)}={cell(part)}" for key, part in value.items())
    text = plain(value, 1000)
    return text[:10] + " " + text[11:16] + text[-6:].replace("+00:00", "Z") if _TIME.fullmatch(text) else text
