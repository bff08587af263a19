"""`itipd meeting ...` and `itipd status`: the organizer's own commands, and attendance."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from itipd.cli import output
from itipd.cli.base import WRONG, App, Command, Failure, Group, pass_app, run
from itipd.cli.runtime import open_all, open_store
from itipd.itip.transcript import result

if TYPE_CHECKING:
    from itipd.itip.model import Decision, Meeting
    from itipd.store import Store

LINE = ("uid", "summary", "start", "status", "sequence", "yes", "no", "maybe", "open")
COUNTS = {"yes": "ACCEPTED", "no": "DECLINED", "maybe": "TENTATIVE", "open": "NEEDS-ACTION"}
ATTENDEE = ("address", "name", "role", "partstat", "replied_at", "comment", "schedule_status")

by_organizer = click.option("--organizer", metavar="ADDR", help="Whose meeting, where several organizers use the UID.")


@click.group(cls=Group)
def meeting() -> None:
    """Register, change, show and cancel meetings, as their organizer."""


@meeting.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--notify", type=click.Choice(["all", "changed", "none"]), default="changed", help="Who is told.")
@click.option("--recorded", is_flag=True, help="The application has sent this itself: send nothing.")
@pass_app
def put(app: App, file: Path, notify: str, recorded: bool) -> None:
    """Register, or change, the meetings in FILE (`-`: stdin). Each UID stands or falls alone."""
    from itipd.cli.put import put_all

    if not run(put_all(app, file, notify, recorded)):
        sys.exit(WRONG)


@meeting.command("list")
@pass_app
def list_(app: App) -> None:
    """A line for each meeting."""
    run(_list(app))


@meeting.command()
@click.argument("uid")
@by_organizer
@pass_app
def show(app: App, uid: str, organizer: str | None) -> None:
    """One meeting: attendance, instances, proposals, history."""
    run(_show(app, uid, organizer, history=True))


@meeting.command()
@click.argument("uid")
@by_organizer
@pass_app
def export(app: App, uid: str, organizer: str | None) -> None:
    """One meeting as iCalendar, with the PARTSTATs of now."""
    from itipd.cli.runtime import now
    from itipd.itip.render import export as rendered

    async def work() -> None:
        async with open_store(app.config()) as store:
            text = rendered(await find(store, uid, organizer), now())
            if app.as_json:
                output.one({"uid": uid, "calendar": text})
            else:
                output.octets(text.encode())

    run(work())


@meeting.command()
@click.argument("uid")
@click.option("--instance", "instances", multiple=True, metavar="RID", help="Only this instance; may be repeated.")
@by_organizer
@pass_app
def cancel(app: App, uid: str, instances: tuple[str, ...], organizer: str | None) -> None:
    """Cancel a meeting, or instances of it: CANCEL to all who are invited."""
    from itipd.orders import Cancel

    command(app, Cancel(uid, instances, organizer))


@meeting.command()
@click.argument("uid")
@click.option(
    "--attendee", "attendees", multiple=True, metavar="ADDR", help="Only this one, answered or not; may be repeated."
)
@by_organizer
@pass_app
def remind(app: App, uid: str, attendees: tuple[str, ...], organizer: str | None) -> None:
    """Ask those again who have not answered."""
    from itipd.orders import Remind

    command(app, Remind(uid, organizer, attendees))


@meeting.command("policy")
@click.argument("uid")
@click.argument("words", nargs=-1, metavar="[NAME=VALUE]...")
@by_organizer
@pass_app
def own_policy(app: App, uid: str, words: tuple[str, ...], organizer: str | None) -> None:
    """Show a meeting's own policy, or set words of it; `NAME=` goes back to the configured one.

    Besides those of [policy]: cancel_when_declined=all|required|off; minimum_accepted=N with deadline=TIME, when the
    meeting is cancelled if fewer have accepted; publish_answers=MINUTES.
    """
    from itipd.orders import SetPolicy

    pairs = [word.partition("=") for word in words]
    for name, equals, _ in pairs:
        if not equals:
            raise click.UsageError(f"found {name!r}, expected NAME=VALUE")
    if pairs:
        command(app, SetPolicy(uid, tuple((name, value) for name, _, value in pairs), organizer))
    else:
        run(_policy(app, uid, organizer))


async def _policy(app: App, uid: str, organizer: str | None) -> None:
    from itipd.itip.own_policy import effective

    config = app.config()
    async with open_store(config) as store:
        meeting = await find(store, uid, organizer)
    own = dict(meeting.policy)
    in_force = effective(config.policy, meeting)
    if app.as_json:
        output.one({"uid": meeting.uid, "organizer": meeting.organizer, "policy": own, "effective": in_force})
        return
    rows = [{"word": name, "value": value, "own": "own" if name in own else ""} for name, value in in_force.items()]
    output.rows(rows, ("word", "value", "own"), as_json=False, empty="")


@click.command(cls=Command)
@click.argument("uid", required=False)
@by_organizer
@pass_app
def status(app: App, uid: str | None, organizer: str | None) -> None:
    """Attendance of one meeting, or a line for each."""
    run(_list(app) if uid is None else _show(app, uid, organizer, history=False))


def command(app: App, order: Any) -> None:
    """One command of the organizer through the inbox: prints its results; exit 1 where nothing was found."""

    async def work() -> bool:
        async with open_all(app.config()) as parts:
            receipt = await parts.inbox.command(order)
            return report(app, receipt.results)

    if not run(work()):
        sys.exit(WRONG)


def report(app: App, results: Iterable[Decision]) -> bool:
    """Prints what was decided; bad ones on stderr. False: something was wrong."""
    from itipd.itip.outcomes import Outcome, Reason

    sound = True
    lines: list[str] = []  # printed together: a thousand calls cost more than what they print
    for decision in results:
        bad = decision.outcome is Outcome.ERROR or decision.reason is Reason.NOT_FOUND
        sound = sound and not bad
        if app.as_json:
            lines.append(output.dumps(result(decision)))
        elif not bad:
            sends = (f"{send.method} to {len(send.to)}" for send in decision.sends)
            words = [decision.outcome, decision.reason, decision.uid or "-", decision.rid or "", *sends]
            lines.append("  ".join(output.cell(word) for word in words if word))
        if bad:
            _say(lines)
            found = f": {decision.detail}" if decision.detail else ""
            uid = output.cell(decision.uid) if decision.uid else "no UID"
            click.echo(f"itipd: {uid}: {decision.reason}{output.cell(found) if found else ''}", err=True)
    _say(lines)
    return sound


def _say(lines: list[str]) -> None:
    if lines:
        output.say("\n".join(lines))
        lines.clear()


async def find(store: Store, uid: str, organizer: str | None) -> Meeting:
    """The meeting; a Failure where there is none."""
    found = await store.meeting(uid, organizer)
    if found is None:
        raise Failure(f"meeting {output.cell(uid)}: found none in the database, expected a registered UID", WRONG)
    return found


async def _list(app: App) -> None:
    async with open_store(app.config()) as store:
        if app.as_json:
            async for line in _lines(store):
                output.one(line)
            return
        found = [line async for line in _lines(store)]
        for line in found:
            line |= {name: line["counts"][word] for name, word in COUNTS.items()}
        several = len({line["organizer"] for line in found}) > 1
        output.rows(found, (*LINE, "organizer") if several else LINE, as_json=False, empty="No meetings.")


async def _lines(store: Store) -> AsyncIterator[dict[str, Any]]:
    after = None
    while True:
        lines, after = await store.meeting_lines(limit=500, after=after)
        for line in lines:
            yield line
        if after is None:
            return


async def _show(app: App, uid: str, organizer: str | None, *, history: bool) -> None:
    from itipd.itip.attendance import status as attendance

    async with open_store(app.config()) as store:
        meeting = await find(store, uid, organizer)
        values = attendance(meeting)
        if history:
            values["policy"] = dict(meeting.policy)
            values["history"] = await store.history(meeting.organizer, meeting.uid, limit=200)
    if app.as_json:
        output.one(values)
        return
    heads = ("summary", "uid", "organizer", "status", "sequence", "start", "end", "rrule", "counts")
    own = {f"policy {name}": value for name, value in values.get("policy", {}).items()}
    output.fields({name: values[name] for name in heads} | own)
    _attendees("", values["attendees"])
    for instance in values["instances"]:
        _attendees(
            f"Instance {instance['recurrence_id']} {instance['start']} {instance['status']}", instance["attendees"]
        )
    for proposal in values["proposals"]:
        click.echo()
        output.fields(proposal)
    if history:
        click.echo()
        columns = ("at", "attendee", "recurrence_id", "method", "partstat", "outcome", "reason", "mail")
        output.rows(values["history"], columns, as_json=False, empty="No history.")


def _attendees(title: str, attendees: list[dict[str, Any]]) -> None:
    click.echo()
    if title:
        click.echo(click.style(title, bold=True))
    found = [one | {"role": one["role"].removesuffix("-PARTICIPANT")} for one in attendees]
    output.rows(found, ATTENDEE, as_json=False, empty="No attendees.")
