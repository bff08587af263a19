"""A story for the tests of faults: orders and mails whose end is known, told again from where it was broken off.

Every message has its own fixed time, so that each telling comes to the same state and the same Message-IDs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from itipd.config import Config
from itipd.inbox import AcceptProposal, Cancel, Inbox, Mail, Order, Put
from itipd.itip.attendance import status
from itipd.itip.incoming import incoming
from itipd.outbox import Outbox
from itipd.store import Store
from tests.cli_help import BOB, CAROL, WE, calendar, event, mail, reply

PLAN, LATE = "plan@example.com", "late@example.com"
_START = datetime(2026, 11, 20, 8, tzinfo=UTC)
_COUNTER = ("DTSTART:20261201T140000Z", "DURATION:PT1H", "SUMMARY:Planning")

Step = tuple[Mail | Order, ...]
"""What arrives at the same time; it is done when all of it is acknowledged."""


def steps() -> list[Step]:
    """The story: two meetings; answers early, late, twice and out of date; a proposal; the end of one meeting."""
    return [
        (_put(event(PLAN)),),
        (_mail(1, reply(PLAN)), _mail(2, reply(LATE))),
        (_put(event(LATE, start="20261202T090000Z")),),
        (_mail(3, reply(PLAN, *_COUNTER, who=CAROL, method="COUNTER", partstat="TENTATIVE"), who=CAROL),),
        (AcceptProposal(uid=PLAN, attendee=CAROL, organizer=WE),),
        (
            _mail(4, reply(PLAN, at="20261120T090000Z")),
            _mail(1, reply(PLAN)),
            _mail(5, reply(PLAN, who=CAROL), who=CAROL),
        ),
        (Cancel(LATE, organizer=WE),),
    ]


def _put(text: str) -> Put:
    (one,) = incoming(calendar(text).encode())
    return Put(one)


def _mail(number: int, text: str, who: str = BOB) -> Mail:
    raw = mail(text, sender=who, message_id=f"<{number}@mail.example.org>")
    return Mail(who, (WE,), raw, _START + timedelta(minutes=number))


def _time(number: int) -> datetime:
    return _START + timedelta(hours=number)


@asynccontextmanager
async def opened(url: str) -> Any:
    """A store and an inbox on it that reads in this process."""
    store = await Store.open(url)
    try:
        inbox = Inbox(store, None, Config())
        await inbox.start()
        try:
            yield store, inbox
        finally:
            await inbox.stop()
    finally:
        await store.close()


class Ledger:
    """What was acknowledged: a line in a file for each, written when it was and never before."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.done = set(file.read_text(encoding="ascii").split()) if file.exists() else set()

    def add(self, name: str) -> None:
        self.done.add(name)
        with self.file.open("a", encoding="ascii") as file:
            file.write(f"{name}\n")


async def tell(url: str, folder: Path, ledger: Ledger, *, patience: int = 0) -> None:
    """Tells what the ledger does not have yet, and delivers what is due into `folder`.

    A message that fails is sent again, `patience` times in all; then the failure is raised.
    """
    # The next day: what a process that died had leased, or what waits for its next try, is due again.
    now = _time(len(steps())) + timedelta(days=1 if ledger.done else 0)
    async with opened(url) as (store, inbox):
        outbox = Outbox(store, Config.model_validate({"relay": {"directory": str(folder)}}).relay, clock=lambda: now)
        for number, step in enumerate(steps()):
            todo = {f"{number}.{place}": one for place, one in enumerate(step)}
            todo = {name: one for name, one in todo.items() if name not in ledger.done}
            while todo:
                work = (_give(inbox, one, number) for one in todo.values())
                found = dict(zip(tuple(todo), await asyncio.gather(*work, return_exceptions=True), strict=True))
                for name, failure in found.items():
                    if failure is None:
                        ledger.add(name)
                        del todo[name]
                patience = _less(patience, [failure for failure in found.values() if failure is not None])
        while True:
            try:
                await outbox.deliver_due()
                break
            except Exception as error:
                patience = _less(patience, [error])
                now += timedelta(hours=1)


def _less(patience: int, failures: list[BaseException]) -> int:
    if failures and not patience:
        raise failures[0]
    return patience - bool(failures)


async def _give(inbox: Inbox, one: Mail | Order, number: int) -> None:
    await (inbox.submit(one) if isinstance(one, Mail) else inbox.command(one, at=_time(number)))


async def state(url: str, folder: Path) -> dict[str, Any]:
    """Everything that must be the same however often the story was broken off."""
    store = await Store.open(url)
    try:
        meetings = [await store.meeting(uid, organizer) for organizer, uid in await store.meeting_keys()]
        mails = [await store.mail(line["id"]) for line in (await store.mail_list(limit=500))[0]]
        return {
            "meetings": [_without_ids(status(meeting)) for meeting in meetings if meeting is not None],
            "mails": sorted(_mail_words(found) for found in mails if found is not None),
            "outbox": sorted(_outbox((await store.outbox_list(limit=500))[0])),
            "files": _left(folder),
            "held": (await store.held_list())[0],
            "wrong": await store.verify(),
        }
    finally:
        await store.close()


def _without_ids(found: dict[str, Any]) -> dict[str, Any]:
    for proposal in found["proposals"]:
        del proposal["id"]
    return found


def _mail_words(found: dict[str, Any]) -> str:
    return " ".join([found["message_id"], *(f"{one['outcome']}/{one['reason']}" for one in found["results"])])


def _outbox(lines: list[dict[str, Any]]) -> Iterator[str]:
    for line in lines:
        yield f"{line['method']} {line['to']} {line['uid']} {line['sequence']} {line['state']} {line['message_id']}"


def _left(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.glob("*.eml")}
