"""`itipd explain`: what would be decided about a mail, rule by rule, with RFC sections. Changes nothing."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from itipd.cli import output
from itipd.cli.base import App, Command, pass_app, run
from itipd.cli.times import Time
from itipd.cli.transcripts import sentence
from itipd.itip.transcript import result

if TYPE_CHECKING:
    from itipd.itip.model import Decision, Fault, Message, Policy
    from itipd.mail.reading import Reading
    from itipd.store import Store

Rules = list[tuple[str, "Decision | None"]]
"""The rules in the order in which they were tried: name, and the decision of the one that decided."""


@click.command(cls=Command)
@click.argument("file", type=click.File("rb"))
@click.option("--now", type=Time(), metavar="TIME", help="When it is received; else now.")
@pass_app
def explain(app: App, file: BinaryIO, now: datetime | None) -> None:
    """What would be decided about the mail in FILE (`-`: stdin), and why. Changes nothing."""
    run(_explain(app, file.read(), now))


async def _explain(app: App, raw: bytes, at: datetime | None) -> None:
    from itipd.cli.runtime import Pools, now, open_store
    from itipd.replay import addressed, envelope

    config = app.config()
    found = envelope(raw)
    async with Pools(1) as pools, open_store(config) as store:
        readers = await pools.get(config)
        to = await addressed(readers, raw, found, config.organizers)
        reading = await readers.read(raw, sender=found.sender, recipients=to, submission=False)
        cases = [
            (organizer, message, await _rules(store, organizer, message, reading, config.policy, at or now()))
            for organizer in to
            for message in reading.messages
        ]
    if app.as_json:
        results = [_public(organizer, rules) for organizer, _, rules in cases]
        output.one({"message_id": found.message_id, "from": found.from_, "to": list(to), "results": results})
        return
    proof = reading.evidence
    output.fields(
        {
            "message id": found.message_id,
            "envelope sender": found.sender or "<>",
            "from": proof.from_address or "no single mailbox: proves nothing",
            "dmarc": proof.dmarc or "nothing from a configured authserv-id",
            "automatic": proof.automatic,
            "organizers": list(to) or "none of the recipients",
            "quirks": list(reading.quirks),
        }
    )
    for organizer, message, rules in cases:
        _show(organizer, message, rules)


async def _rules(
    store: Store, organizer: str, message: Message | Fault, reading: Reading, policy: Policy, at: datetime
) -> Rules:
    from itipd.itip.decide import considered
    from itipd.itip.model import Fault
    from itipd.mails import of_fault

    if isinstance(message, Fault):
        return [("read", of_fault(message))]
    meeting = await store.meeting(message.uid, organizer)
    return list(considered(meeting, message, reading.evidence, policy, at))


def _public(organizer: str, rules: Rules) -> dict[str, Any]:
    decision = _decided(rules)
    return result(decision) | {
        "organizer": organizer,
        "detail": decision.detail,
        "sentence": decision.reason.sentence,
        "section": decision.reason.section,
        "rules": [{"rule": name, "applies": found is not None} for name, found in rules],
    }


def _decided(rules: Rules) -> Decision:
    """The decision of the last rule: it is the one that decided."""
    decision = rules[-1][1]
    if decision is None:
        raise LookupError(f"the rule {rules[-1][0]} ends its table without a decision")
    return decision


def _show(organizer: str, message: Message | Fault, rules: Rules) -> None:
    from itipd.itip.decide import RULES

    tried = RULES.get(message.method or "", ())
    says = {rule.__name__: (rule.__doc__ or "").strip().partition("\n")[0] for rule in tried}
    click.echo()
    title = f"{message.method or 'no METHOD'} {message.uid or 'no UID'} for {organizer}"
    click.echo(click.style(output.cell(title), bold=True))
    for name, found in rules:
        mark = click.style("->", fg="green") if found is not None else "  "
        click.echo(f" {mark} {name.replace('_', ' ')}: {says.get(name, '') if found is None else ''}".rstrip(": "))
    decision = _decided(rules)
    click.echo(f"    {decision.reason.sentence} ({decision.reason.section})")
    if decision.detail:
        click.echo(f"    {output.cell(decision.detail)}")
    click.echo(f"    {sentence(result(decision))}")
