"""`itipd bench`: itipd beside a bare aiosmtpd, in one run."""

from __future__ import annotations

import json

import click

from itipd.cli.base import App, Command, Failure, pass_app


@click.command(cls=Command)
@click.option("--mails", type=click.IntRange(1), default=3000, show_default=True, help="Replies a round.")
@click.option(
    "--rounds", type=click.IntRange(1), default=3, show_default=True, help="Rounds, floor and itipd in turns."
)
@click.option("--connections", type=click.IntRange(1), default=16, show_default=True, help="Connections, kept open.")
@click.option("--meetings", type=click.IntRange(1), default=300, show_default=True, help="Registered meetings.")
@click.option("--guests", type=click.IntRange(1), default=10, show_default=True, help="Attendees of each meeting.")
@pass_app
def bench(app: App, /, mails: int, rounds: int, connections: int, meetings: int, guests: int) -> None:
    """Measure committed replies a second beside a bare aiosmtpd, on a temporary SQLite database.

    Both take the same mails from the same client in turns; afterwards the answers are looked up. Only figures of one
    run can be compared.
    """
    from itipd.benchmark.run import BenchError, Size, run

    say = (lambda text: None) if app.as_json else (lambda text: click.echo(text, err=True))
    try:
        report = run(Size(mails, rounds, connections, meetings, guests), say)
    except BenchError as error:
        raise Failure(str(error), 1) from None
    if app.as_json:
        click.echo(json.dumps(report))
        return
    for name, value in report.items():
        click.echo(f"{name:>24}  {value:>12,}" if isinstance(value, int) else f"{name:>24}  {value:>12,.2f}")
