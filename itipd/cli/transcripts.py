"""What `itipd replay` shows: results, transcripts, what differs, how far it is."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from itipd.cli import output

if TYPE_CHECKING:
    from itipd.replay import Item, Scenario


def sentence(found: dict[str, Any]) -> str:
    """One result on one line."""
    words = [f"{found['outcome']} {found['reason']}", found["method"], found["attendee"], found["partstat"]]
    words += [found["uid"], found["recurrence_id"]]
    words += [f"-> {send['method']} to {', '.join(send['to'])}" for send in found["send"]]
    return "  ".join(output.cell(word) for word in words if word)


def show(found: dict[str, Any]) -> None:
    """A transcript for people."""
    output.say(click.style(output.cell(found["scenario"]), bold=True))
    for step in found["steps"]:
        for line in step["results"] or [None]:
            said = sentence(line) if line else "nothing was decided"
            output.say(f"  {output.cell(step['step'])}: {said}")
    for meeting in found["meetings"]:
        output.say(f"  {output.cell(meeting['uid'])} {meeting['status']} {output.cell(meeting['counts'])}")
    for mail in found["outbox"]:
        output.say(f"  {mail['state']}: {mail['method']} to {output.cell(mail['to'])}")


def accept(file: Path, found: dict[str, Any], *, as_json: bool) -> None:
    """Writes `expected.json` anew, where it changes."""
    text = output.dumps(found, indent=1) + "\n"
    changed = not file.exists() or file.read_text(encoding="utf-8") != text
    if changed:
        file.write_text(text, encoding="utf-8")
    if as_json:
        output.one({"scenario": found["scenario"], "changed": changed})
    else:
        output.say(f"{'written' if changed else 'unchanged'} {output.cell(found['scenario'])}")


def check(file: Path, found: dict[str, Any], *, as_json: bool) -> bool:
    """Compares with `expected.json` and says what differs; True where nothing does."""
    from itipd.scenario import differences

    try:
        lines = differences(json.loads(file.read_bytes()), json.loads(output.dumps(found)))
    except FileNotFoundError:
        lines = [f"{file.name}: found none, expected the transcript; --accept writes it"]
    except ValueError as error:
        lines = [f"{file.name}: found no JSON ({error}), expected the transcript"]
    if as_json:
        output.one({"scenario": found["scenario"], "ok": not lines, "differences": lines})
        return not lines
    words = click.style("FAIL", fg="red") if lines else click.style("ok", fg="green")
    output.say(f"{words} {output.cell(found['scenario'])}")
    for line in lines:
        output.say(f"  {output.cell(line)}")
    return not lines


@contextmanager
def progress(paths: Sequence[Path], *, as_json: bool) -> Iterator[Callable[[Item | Scenario], None]]:
    """A bar on stderr for what is in `paths`; the function moves it on."""
    from itipd.replay import Scenario, size

    with bar(lambda: sum(map(size, paths)), as_json=as_json) as advance:
        yield lambda item: advance(size(item.path) if isinstance(item, Scenario) else item.size)


@contextmanager
def bar(total: Callable[[], int], *, as_json: bool) -> Iterator[Callable[[int], None]]:
    """A bar on stderr, where that is a terminal. None over JSON on the same terminal."""
    # What is printed goes above the bar, but only where both are the same terminal.
    both = sys.stdout.isatty()
    if not sys.stderr.isatty() or (as_json and both):
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=both) as shown:
        task = shown.add_task("", total=total())
        yield lambda done: shown.advance(task, done)
