"""`itipd db ...`: the database itself."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from itipd.cli import output
from itipd.cli.base import BAD_DATA, USAGE, WRONG, App, Failure, Group, pass_app, run
from itipd.cli.outbox import deliveries
from itipd.cli.runtime import Pools, open_inbox, open_store, temporary
from itipd.cli.transcripts import bar
from itipd.config_values import database_url, shown_url
from itipd.store.copying import Copied, NotCopiedError


@click.group(cls=Group)
def db() -> None:
    """Upgrade, back up, copy, verify and rebuild the database."""


@db.command()
@pass_app
def upgrade(app: App) -> None:
    """Bring the tables to this version. Every other command does it too, at its start."""

    async def work() -> str:
        async with open_store(app.config()) as store:
            return shown_url(store.url)

    url = run(work())
    if app.as_json:
        output.one({"database": url})
    else:
        click.echo(f"{url} has the newest tables.")


@db.command()
@click.argument("file", type=click.Path(path_type=Path))
@pass_app
def backup(app: App, file: Path) -> None:
    """Copy an SQLite database into FILE, consistent while the daemon works."""
    if file.exists():
        raise Failure(f"{file}: found it there already, expected the name of a new file", WRONG)
    if not file.absolute().parent.is_dir():
        raise Failure(f"{file}: found no folder {file.absolute().parent}, expected it to be there", WRONG)

    async def work() -> None:
        async with open_store(app.config()) as store:
            if not app.config().database.startswith("sqlite"):
                raise Failure("database: found PostgreSQL, expected SQLite; use pg_dump", BAD_DATA)
            await store.backup(file)

    run(work())
    if app.as_json:
        output.one({"file": str(file), "bytes": file.stat().st_size})
    else:
        click.echo(f"{file}: {file.stat().st_size} bytes.")


@db.command()
@pass_app
def verify(app: App) -> None:
    """Check that the database is whole: its pages, and that every row has what it belongs to."""

    async def work() -> list[str]:
        async with open_store(app.config()) as store:
            return await store.verify()

    problems = run(work())
    if app.as_json:
        output.one({"ok": not problems, "problems": problems})
    else:
        click.echo("\n".join(map(output.cell, problems)) if problems else "The database is whole.")
    if problems:
        sys.exit(WRONG)


@db.command()
@click.argument("url", metavar="URL")
@pass_app
def copy(app: App, url: str) -> None:
    """Copy everything into the new database at URL, SQLite or PostgreSQL, and compare the two before it counts.

    Stop the daemon first: what it writes meanwhile is not in the copy.
    """

    async def work() -> Copied:
        config = app.config()
        new = config.model_copy(update={"database": _url(url, "argument URL")})
        async with open_store(config) as source, open_store(new) as target:
            try:
                total = 2 * await source.rows()  # each is copied, then compared
                with bar(lambda: total, as_json=app.as_json) as advance:
                    return await source.copy(target, advance)
            except NotCopiedError as error:
                raise Failure(str(error), WRONG) from None

    copied = run(work())
    if app.as_json:
        output.one({"rows": copied.counts, "checksums": copied.checksums})
    else:
        tables = [
            {"table": name, "rows": count, "checksum": copied.checksums[name]} for name, count in copied.counts.items()
        ]
        output.rows(tables, ("table", "rows", "checksum"), as_json=False, empty="")
        click.echo("Equal. Now set `database` to the copy and start the daemon.")


@db.command("new-key")
@pass_app
def new_key(app: App) -> None:
    """Sign reply tokens with a new key; those of the key before it still count, older ones no more.

    A running daemon signs with it from its next start on.
    """

    async def work() -> int:
        async with open_store(app.config()) as store:
            return await store.new_reply_key()

    number = run(work())
    if app.as_json:
        output.one({"key": number})
    else:
        click.echo(f"Key {number} signs from now on; restart the daemon. Tokens of key {number - 1} still count.")


@db.command()
@click.option("--into", metavar="URL", help="Keep the new database there; else it is temporary.")
@pass_app
def rebuild(app: App, into: str | None) -> None:
    """Play the journal into a new database, with the configuration of now, and compare. Changes nothing in the old one.

    With --into outgoing mail is held in the new database, because it was sent from the old one.
    """
    run(_rebuild(app, into))


async def _rebuild(app: App, into: str | None) -> None:
    from itipd.rebuild import rebuild as play

    config = app.config()
    url = _url(into, "option --into") if into is not None else None
    # From a copy: the daemon may go on while we play and compare.
    async with temporary(config, copy=True) as old, temporary(config, copy=False) as new, Pools() as pools:
        if url is not None:
            new = new.model_copy(update={"database": url})
        async with open_store(old) as source, open_store(new) as target:
            if await target.journal_from(0, 1):
                raise Failure(f"{shown_url(new.database)}: found a journal in it, expected a new database", WRONG)
            await target.inherit(source)  # what our tokens prove is the same there
            async with open_inbox(target, await pools.get(config), new) as inbox:
                done = await play(source, target, inbox, lambda: None)
            async for line in deliveries(target, "waiting"):
                await target.hold(line["id"])
    if app.as_json:
        output.one(
            {
                "ok": not done.differences,
                "entries": done.entries,
                "meetings": done.meetings,
                "differences": done.differences,
                "unproven": done.unproven,
            }
        )
    else:
        for difference in done.differences:
            click.echo(output.cell(difference))
        end = f"{len(done.differences)} differences" if done.differences else "equal"
        click.echo(f"{done.entries} entries of the journal, {done.meetings} meetings: {end}.")
        for meeting in done.unproven:
            click.echo(output.cell(f"not compared, as its journal is not whole: {meeting}"))
    if done.differences:
        sys.exit(WRONG)


def _url(text: str, where: str) -> str:
    try:
        return database_url(text, Path.cwd())
    except ValueError as error:
        raise Failure(f"{where}: found {shown_url(text)!r}, expected {error}", USAGE) from None
