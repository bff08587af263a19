"""`itipd explain`: what would be decided about a mail, rule by rule, with RFC sections. Changes nothing."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from itipd.cli import output
from itipd.cli.base import App, Command, pass_app, run
from itipd.cli.times import Time
from itipd.cli.transcripts import sentence
from itipd.itip.transcript import result

if TYPE_CHECKING:
    from itipd.inbox import Inbox
    from itipd.itip.model import Decision, Fault, Message, Report
    from itipd.mail.reading import Reading
    from itipd.orders import Mail

Rules = list[tuple[str, "Decision | None"]]
"""The rules in the order in which they were tried: name, and the decision of the one that decided."""


@dataclass(frozen=True, slots=True)
class Case:
    """One component for one organizer: what would be decided, and the rules on the way there.

    A report and a question for busy time have none.
    """

    organizer: str
    message: Message | Fault | Report
    decision: Decision
    rules: Rules


class _Undo(Exception):  # noqa: N818 - no error: the way out of a transaction without a commit
    """Raised inside a batch, so that nothing of it is written."""


@click.command(cls=Command)
@click.argument("file", type=click.File("rb"))
@click.option("--now", type=Time(), metavar="TIME", help="When it is received; else now.")
@pass_app
def explain(app: App, file: BinaryIO, now: datetime | None) -> None:
    """What would be decided about the mail in FILE (`-`: stdin), and why. Changes nothing."""
    run(_explain(app, file.read(), now))


async def _explain(app: App, raw: bytes, at: datetime | None) -> None:
    from itipd.cli.runtime import Pools, now, open_store
    from itipd.inbox import Inbox
    from itipd.orders import Mail
    from itipd.replay import addressed, envelope

    config = app.config()
    found = envelope(raw)
    async with Pools(1) as pools, open_store(config) as store:
        readers = await pools.get(config)
        to = await addressed(readers, raw, found, config.organizers)
        inbox = Inbox(store, readers, config)
        mail = Mail(found.sender, to, raw, at or now(), door="replay")
        reading = await inbox.read(mail)
        cases = await _cases(inbox, mail, reading)
    if app.as_json:
        results = [_public(case) for case in cases]
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
    for case in cases:
        _show(case)


async def _cases(inbox: Inbox, mail: Mail, reading: Reading) -> list[Case]:
    """What the inbox would decide now, in a transaction that is given up; a mail in the journal counts as new."""
    from itipd.carrying import Context, Job
    from itipd.itip.decide import considered
    from itipd.itip.freebusy import is_request
    from itipd.itip.model import Message
    from itipd.mail import reply_token
    from itipd.transaction import process

    store, config = inbox.store, inbox.config
    job = Job(mail, mail.received_at, replace(reading, digest=bytes(16)))
    with suppress(_Undo):
        async with store.batch() as batch:
            context = Context(batch, config.policy, inbox.read, config.trusts, inbox.keys, config.texts.language)
            await process(context, [job])
            raise _Undo
    organizers = [entry.organizer for entry in job.done.entries]  # one entry each, one result for each message in it
    cases = []
    for number, decision in enumerate(job.done.results):
        organizer = organizers[number // len(reading.messages)]
        message = reading.messages[number % len(reading.messages)]
        rules: Rules = []
        if isinstance(message, Message) and not is_request(message):
            meeting = await store.meeting(message.uid, organizer)
            token = reply_token.proven(inbox.keys, mail.recipients, message, meeting, config.policy)
            proof = replace(reading.evidence, token=token)
            rules = list(considered(meeting, message, proof, config.policy, mail.received_at))
        cases.append(Case(organizer, message, decision, rules))
    return cases


def _public(case: Case) -> dict[str, Any]:
    decision = case.decision
    return result(decision) | {
        "organizer": case.organizer,
        "detail": decision.detail,
        "sentence": decision.reason.sentence,
        "section": decision.reason.section,
        "rules": [{"rule": name, "applies": found is not None} for name, found in case.rules],
    }


def _show(case: Case) -> None:
    from itipd.itip.decide import RULES

    decision = case.decision
    tried = RULES.get(decision.method or "", ())
    says = {rule.__name__: (rule.__doc__ or "").strip().partition("\n")[0] for rule in tried}
    click.echo()
    title = f"{decision.method or 'no METHOD'} {decision.uid or 'no UID'} for {case.organizer}"
    click.echo(click.style(output.cell(title), bold=True))
    for name, found in case.rules:
        mark = click.style("->", fg="green") if found is not None else "  "
        click.echo(f" {mark} {name.replace('_', ' ')}: {says.get(name, '')}".rstrip(": "))
    click.echo(f"    {decision.reason.sentence} ({decision.reason.section})")
    if decision.detail:
        click.echo(f"    {output.cell(decision.detail)}")
    click.echo(f"    {sentence(result(decision))}")
