"""`itipd forget ADDRESS`: removes a person's data."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial

import click

from itipd.cli import output
from itipd.cli.base import USAGE, WRONG, App, Command, Failure, pass_app, run
from itipd.cli.runtime import now, open_store
from itipd.config import Config
from itipd.itip.addresses import canonical
from itipd.mail import mentions
from itipd.store.forget import Forgotten, IsOrganizerError, Person
from itipd.store.forget import forget as remove

KINDS = {
    "attendees": "guests' rows removed or rewritten",
    "meetings": "meetings that go on without the person",
    "proposals": "counter proposals",
    "outgoing": "outgoing mails",
    "mails": "mails and orders of the journal, their bytes removed",
    "outcomes": "decisions, the person taken out",
}


@click.command(cls=Command)
@click.argument("address", metavar="ADDRESS")
@pass_app
def forget(app: App, address: str) -> None:
    """Remove a person's data: from meetings, the journal, the outbox, proposals and decisions. It cannot be undone.

    The person's aliases of [identity] are forgotten too. Nobody is told; a meeting goes on without the guest.
    """
    found = canonical(address)
    if found is None:
        raise Failure(f"argument ADDRESS: found {address!r}, expected an address like b@example.com", USAGE)
    config = app.config()

    async def work() -> Forgotten:
        async with open_store(config) as store:
            try:
                return await remove(store, person(found, config), now())
            except IsOrganizerError as error:
                raise Failure(str(error), WRONG) from None

    done = run(work())
    if app.as_json:
        output.one({"address": found, **asdict(done)})
        return
    for kind, words in KINDS.items():
        click.echo(f"{getattr(done, kind)} {words}")
    for uid in done.texts:
        click.echo(output.cell(f"still named in the organizer's own text of {uid}: change that with itipd meeting put"))


def person(address: str, config: Config) -> Person:
    """The person of this address, with all aliases."""
    aliases = config.identity.aliases
    main = aliases.get(address, address)
    addresses = frozenset({address, main, *(alias for alias, whose in aliases.items() if whose == main)})
    who = mentions.pattern(addresses)
    return Person(
        addresses,
        who,
        partial(mentions.mentions, who=who),
        partial(mentions.without, who=who),
        mentions.NOBODY,
    )
