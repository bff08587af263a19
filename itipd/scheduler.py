"""What happens at a time: the scheduler gives the orders that have come due (rules.md §9.7-8), and removes old things.

Duty: every few seconds look up what is due and give it to the inbox as an order like any other: journaled, decided in a
transaction, played again by `itipd db rebuild`. Several may run on one database: an order that comes second finds
nothing to do. It must never decide anything, and an order that fails must not hold up the others.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from itipd.inbox import Inbox
from itipd.log import log
from itipd.orders import Deadline, Order, Publish
from itipd.store import Store
from itipd.store.due import Due

POLL = 2.0
"""Seconds between looks at what is due."""

LONGEST = 60.0
"""Seconds between them at most, while looking fails."""

PAGE = 100
"""Orders that are given at once: they share commits."""

PURGE = 60.0
"""Seconds between looks for what is kept no longer."""

REST = 0.05
"""Seconds between the steps of removing, for the mail that comes in meanwhile."""


def utcnow() -> datetime:
    return datetime.now(UTC)


def order_of(due: Due) -> Order:
    """What is due, as an order."""
    return (Deadline if due.word == "deadline" else Publish)(due.uid, due.organizer)


class Scheduler:
    """One per process."""

    def __init__(self, store: Store, inbox: Inbox, *, clock: Callable[[], datetime] = utcnow) -> None:
        self.store = store
        self.inbox = inbox
        self.clock = clock
        self._purge_at = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Gives what is due until `stop` is set; then finishes what was given."""
        pause = POLL
        while not stop.is_set():
            try:
                await self.give_due()
                await self._purge_now_and_then(stop)
                pause = POLL
            except Exception:  # the store's trouble: what is due stays so, and is found later
                log.exception("scheduler: looking for what is due failed", seconds=pause)
                pause = min(LONGEST, pause * 2)
            try:
                await asyncio.wait_for(stop.wait(), pause)
            except TimeoutError:
                continue

    async def give_due(self) -> int:
        """One pass over all that is due; how many orders were carried out."""
        now = self.clock()
        done = 0
        last: Due | None = None
        while page := await self.store.due(now, PAGE, last):
            done += sum(await asyncio.gather(*(self._give(due, now) for due in page)))
            last = page[-1]
        return done

    async def _give(self, due: Due, now: datetime) -> bool:
        try:
            receipt = await self.inbox.command(order_of(due), at=now)
        except Exception:  # our own fault, and only this order's: it stays due
            log.exception("scheduler: not carried out", order=due.word, uid=due.uid, organizer=due.organizer)
            return False
        for decision in receipt.results if receipt.id else ():
            to = sum(len(send.to) for send in decision.sends)
            words = {"outcome": decision.outcome.value, "reason": decision.reason.value, "mails": to}
            log.info("scheduler", order=due.word, uid=due.uid, organizer=due.organizer, **words)
        return bool(receipt.id)

    async def _purge_now_and_then(self, stop: asyncio.Event) -> None:
        if time.monotonic() >= self._purge_at:
            await self.purge(stop)
            self._purge_at = time.monotonic() + PURGE

    async def purge(self, stop: asyncio.Event | None = None) -> None:
        """Removes what is older than [retention] says, step by step, until nothing is or `stop` is set."""
        now = self.clock()
        kept = self.inbox.config.retention
        steps = (
            (self.store.purge_sent, kept.sent),
            (self.store.purge_mail, kept.mail),
            (self.store.purge_outcomes, kept.outcomes),
        )
        for step, seconds in steps:
            after: int | None = 0 if seconds is not None else None
            while after is not None and seconds is not None and not (stop is not None and stop.is_set()):
                after = await step(now - timedelta(seconds=seconds), now, after)
                await asyncio.sleep(REST)
