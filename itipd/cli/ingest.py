"""`itipd ingest`: one mail from stdin, for pipe transports (Postfix pipe(8), Exim, procmail). Exit 0, 65 or 75."""

from __future__ import annotations

from dataclasses import replace
from typing import BinaryIO

import click

from itipd.cli import output
from itipd.cli.base import BAD_DATA, TRY_AGAIN, App, Command, Failure, pass_app, run
from itipd.itip.transcript import result


@click.command(cls=Command)
@click.argument("file", type=click.File("rb"), default="-")
@click.option(
    "--recipient", "recipients", multiple=True, metavar="ADDR", help="Whom it is for; else as its headers say."
)
@click.option("--sender", metavar="ADDR", help="The envelope sender; else Return-Path or From.")
@click.option("--submission", is_flag=True, help="The application's own mail, as at the submission door.")
@pass_app
def ingest(app: App, file: BinaryIO, recipients: tuple[str, ...], sender: str | None, submission: bool) -> None:
    """Take one mail from stdin (`-`). Exit 0: it is committed; 65: it cannot be taken; 75: try again later."""
    try:
        config = app.config()
    except Failure as error:
        # A pipe transport takes every code but 75 for a reason to bounce; a broken setup is no fault of the mail.
        raise Failure(error.message, TRY_AGAIN) from None
    limit = config.smtp.max_message_size
    raw = file.read(limit + 1)
    if len(raw) > limit:
        raise Failure(
            f"stdin: found more than {limit} bytes (smtp.max_message_size), expected a smaller mail", BAD_DATA
        )
    if not raw.strip():
        raise Failure("stdin: found nothing, expected a mail", BAD_DATA)
    try:
        run(_ingest(app, raw, recipients, sender, submission))
    except Failure as error:
        raise error if error.exit_code == BAD_DATA else Failure(error.message, TRY_AGAIN) from None
    except Exception as error:  # our own fault, whatever it is: the mail must stay with the relay (hardening §10)
        raise Failure(f"not committed: {type(error).__name__}: {output.cell(str(error))}", TRY_AGAIN) from None


async def _ingest(app: App, raw: bytes, recipients: tuple[str, ...], sender: str | None, submission: bool) -> None:
    from itipd.cli.runtime import Pools, now, open_inbox, open_store
    from itipd.itip.addresses import canonical, served
    from itipd.orders import Mail
    from itipd.replay import addressed, envelope

    config = app.config()
    found = envelope(raw, delivered=not submission)
    if recipients:
        found = replace(found, candidates=tuple(canonical(name) or name for name in recipients))
    if sender is not None:
        found = replace(found, sender=canonical(sender) or "")
    async with Pools(1) as pools, open_store(config) as store:
        readers = await pools.get(config)
        to = found.candidates
        if recipients and not submission:
            to = tuple(name for name in to if served(name, config.organizers))
        elif not submission:
            to = await addressed(readers, raw, found, config.organizers)
        if not to and not submission:
            named = ", ".join(found.candidates) or "nobody"
            raise Failure(f"recipients: found {output.cell(named)}, expected an address of `organizers`", BAD_DATA)
        async with open_inbox(store, readers, config) as inbox:
            mail = Mail(found.sender, to, raw, now(), door="submission" if submission else "ingest")
            receipt = await inbox.submit(mail)
    if app.as_json:
        output.one({"id": receipt.id, "results": [result(decision) for decision in receipt.results]})
