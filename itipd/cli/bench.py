"""`itipd bench`: itipd beside a bare aiosmtpd, in one run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import click

from itipd.cli import output
from itipd.cli.base import WRONG, App, Command, Failure, pass_app

ANSWERS = (
    "row itipd_per_second ratio p50_ms p99_ms loop_us store_us readers_us memory_mb registered_per_second wrong".split()
)
FAN_OUT = ("row", "requests", "settled_after", "per_second", "loop_us", "store_us", "wrong")


@click.command(cls=Command)
@click.option("--mails", type=click.IntRange(1), default=3000, show_default=True, help="Answers a round.")
@click.option(
    "--rounds", type=click.IntRange(1), default=3, show_default=True, help="Rounds, floor and itipd in turns."
)
@click.option("--connections", type=click.IntRange(1), default=16, show_default=True, help="Connections, kept open.")
@click.option("--row", "names", multiple=True, metavar="NAME", help="Only this row; may be repeated.")
@click.option("--long", is_flag=True, help="Also the rows whose meetings take minutes to register.")
@click.option("--postgresql", metavar="URL", help="The row `replies` once more, on this empty PostgreSQL database.")
@pass_app
def bench(
    app: App,
    /,
    mails: int,
    rounds: int,
    connections: int,
    names: tuple[str, ...],
    long: bool,
    postgresql: str | None,
) -> None:
    """Measure committed answers a second beside a bare aiosmtpd, a row for each kind of mail and size of database.

    Each row has a temporary database of its own. Floor and itipd take the same mails from the same client in turns;
    afterwards every answer is looked up. Only figures of one run can be compared.
    """
    from itipd.benchmark.processes import BenchError
    from itipd.benchmark.rows import ROWS
    from itipd.benchmark.run import FANOUTS, Size

    known = [row.name for row in ROWS] + [f"fanout-{guests}" for guests in FANOUTS] + ["alone"]
    for name in names:
        if name not in known:
            raise click.UsageError(f"--row: found {name!r}, expected one of {', '.join(known)}")
    say: Callable[[str], None] = (lambda text: None) if app.as_json else (lambda text: click.echo(text, err=True))
    found: list[dict[str, Any]] = []
    try:
        for line in _lines(names, long, Size(mails, rounds, connections), postgresql, say):
            found.append(line)
            if app.as_json:
                output.one(line)
    except BenchError as error:
        raise Failure(str(error), 1) from None
    if not app.as_json:
        _table(found)
    if any(line.get("wrong") or line.get("refused") for line in found):
        raise Failure("an answer was not applied, or a mail refused: see `wrong` and `refused`", WRONG)


def _lines(
    names: tuple[str, ...], long: bool, size: Any, postgresql: str | None, say: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    from itipd.benchmark.rows import ROWS
    from itipd.benchmark.run import alone, answers, fan_out, rows

    chosen, fan_outs = rows(names, long=long)
    for row in chosen:
        yield answers(row, size, None, say)
    if postgresql:
        yield answers(ROWS[0], size, postgresql, say) | {"row": "postgresql"}
    if not names or "alone" in names:
        yield alone(say)
    for guests in fan_outs:
        yield fan_out(guests, size, say)


def _table(found: list[dict[str, Any]]) -> None:
    replies = [line for line in found if "ratio" in line]
    output.rows([_plain(line) for line in replies], ANSWERS, as_json=False, empty="")
    others = [line for line in found if "per_second" in line]
    if others:
        click.echo()
        output.rows([_plain(line) for line in others], FAN_OUT, as_json=False, empty="")
    for line in found:
        if line["row"] == "alone":
            click.echo()
            output.fields(_plain(line))


def _plain(line: dict[str, Any]) -> dict[str, Any]:
    return {name: f"{value:,.2f}" if isinstance(value, float) else value for name, value in line.items()}
