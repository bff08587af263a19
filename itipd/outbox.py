"""The one way out: claim -> compose -> deliver -> settle (design.md, rule 1).

Duty: every delivery of the store ends sent, failed for good with its error, or waits with a time for its next try; at
least once, each try with the same bytes. It must never decide what is sent, never let one delivery hold up the others,
and never hold a lease that it does not renew: after a crash the next process goes on within `LEASE`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from itipd import relay
from itipd.config import Relay
from itipd.delivery import backoff, file_name, outgoing
from itipd.itip.model import clean
from itipd.log import line
from itipd.mail import forward
from itipd.mail.compose import ComposeError, compose, return_path
from itipd.relay import Way
from itipd.relay_session import Envelope, RelayError, Verdict
from itipd.settling import Settling
from itipd.store import Store
from itipd.store.claims import Delivery
from itipd.store.outbox import Result

LEASE = timedelta(seconds=30)
"""What was claimed by a process that died is tried again after this time."""

FIRST = 16
"""So many at first in each pass: of a relay that proves dead the others learn nothing, and no try of theirs is lost."""

RENEW = 10.0
"""Seconds between renewals of the leases."""

IN_FLIGHT = 256
"""So many deliveries are claimed at once: they share commits. `relay.AT_ONCE` of them are being sent."""

POLL = 0.5
"""Seconds between looks into the store: other processes put mail there."""

GIVE_UP = timedelta(days=5)
"""A delivery that was refused for the moment for so long has failed (RFC 5321 §4.5.4.1)."""

LAST_RETRY, LAST_RETRY_DOWN = 3600.0, 300.0
"""Seconds between later tries at most; the last where it was the relay itself that failed."""

MAX_PAUSE = 5.0
"""Seconds between looks at a relay that is down."""

STOP = 5.0
"""Seconds that mail in the middle of its delivery has when the daemon stops."""

LARGE = 100_000
"""A calendar of more characters is composed beside the event loop."""

MACHINE = (ImportError, MemoryError, OSError)  # no mail's fault: no memory, no files, a package being replaced

log = structlog.get_logger()


def utcnow() -> datetime:
    return datetime.now(UTC)


class Outbox:
    """Delivers what the store holds, until stopped. One per process; several processes share one store."""

    def __init__(
        self, store: Store, config: Relay, *, clock: Callable[[], datetime] = utcnow, way: Way | None = None
    ) -> None:
        self.store = store
        self.config = config
        self.clock = clock
        self.way = way if way is not None else relay.way(config)
        self._slots = asyncio.Semaphore(0)
        self._woken = asyncio.Event()
        self._held: dict[int, Delivery] = {}  # claimed and not settled
        self._settling = Settling(store, self._held)
        self._down: str | None = None  # why the relay took nothing, the last time it was asked

    def wake(self) -> None:
        """Something new is in the store, or something is due: look now."""
        self._woken.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until `stop` is set, then finish what is being sent, for `STOP` seconds at most.

        Neither a failing store nor a failing relay ends it. Cancelling it is safe: unfinished mail is sent again.
        """
        pause = POLL
        halt = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                self._woken.clear()
                try:
                    await self._pass(stop, halt)
                    pause = min(MAX_PAUSE, pause * 2) if self._down is not None else POLL
                except Exception:
                    # The store's trouble (a full disk, a lost server). The mail is safe in it, so go on trying.
                    log.exception("outbox: the pass failed and is tried again", seconds=pause)
                    pause = min(MAX_PAUSE, pause * 2)
                woken = asyncio.create_task(self._woken.wait())
                await asyncio.wait({halt, woken}, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
                woken.cancel()
        finally:
            halt.cancel()
            await self.close()

    async def _pass(self, stop: asyncio.Event, halt: asyncio.Task[bool]) -> None:
        working = asyncio.create_task(self.deliver_due(stop))
        try:
            await asyncio.wait({working, halt}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                await asyncio.wait({working}, timeout=STOP)
        finally:
            await _cancelled({working})
        if not working.cancelled():
            working.result()
        if self.way is not None:
            await self.way.tidy()

    async def close(self) -> None:
        """Close the kept connections."""
        if self.way is not None:
            await self.way.close()

    async def deliver_due(self, stop: asyncio.Event | None = None) -> Counter[str]:
        """One pass: claim and deliver until nothing is due, the relay takes nothing, or `stop` is set.

        Returns how many deliveries became sent, waiting and failed. Without a relay nothing is claimed. Raises what the
        store raises, after all that was claimed has come to its end.
        """
        counts: Counter[str] = Counter()
        if self.way is None:
            return counts
        # A relay that was down is tried with one mail, so that a long queue does not fail as a whole again and again.
        limit = 1 if self._down is not None else FIRST
        self._down = None
        self._slots = asyncio.Semaphore(relay.CONNECTIONS)
        failure: Exception | None = None
        tasks: set[asyncio.Task[str]] = set()
        done: list[asyncio.Task[str]] = []
        some = asyncio.Event()

        def ended(task: asyncio.Task[str]) -> None:
            tasks.discard(task)
            done.append(task)
            some.set()

        renewing = asyncio.create_task(self._renew())
        try:
            while True:
                idle = failure is None and self._down is None and not (stop is not None and stop.is_set())
                if idle and len(tasks) <= limit // 2:
                    try:
                        claimed = await self.store.claim(self.clock(), LEASE, limit - len(tasks))
                    except Exception as error:
                        failure, claimed = error, []
                    for delivery in claimed:
                        self._held[delivery.id] = delivery
                        task = asyncio.create_task(self._deliver(self.way, delivery))
                        task.add_done_callback(ended)
                        tasks.add(task)
                if not tasks and not done:
                    break
                await some.wait()  # not for the tasks: to ask all of them costs more than a mail
                some.clear()
                if limit != IN_FLIGHT:
                    limit = IN_FLIGHT
                    for _ in range(relay.AT_ONCE - relay.CONNECTIONS):
                        self._slots.release()
                for task in done:
                    try:
                        counts[task.result()] += 1
                    except Exception as error:
                        failure = error
                done.clear()
        finally:
            await _cancelled({renewing, *tasks})
            await self._settling.close()
            self._held.clear()
        if failure is not None:
            raise failure
        return counts

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW)
            try:
                await self.store.renew(tuple(self._held.values()), self.clock(), LEASE)
            except Exception:
                # The worst that follows is that another process sends the same bytes a second time.
                log.exception("outbox: the leases were not renewed")

    async def _deliver(self, way: Way, delivery: Delivery) -> str:
        """Everything about one delivery; the state that it has now."""
        started = time.perf_counter()
        try:
            verdict = await self._verdict(way, delivery)
            state = await self._settle(delivery, verdict)
        finally:
            self._held.pop(delivery.id, None)
        line(
            "outbox",
            delivery=delivery.id,
            method=delivery.method,
            uid=delivery.uid[:256],
            to=delivery.recipient,
            state=state,
            code=verdict.code,
            answer=verdict.text[:256],
            ms=round((time.perf_counter() - started) * 1000, 1),
        )
        return state

    async def _verdict(self, way: Way, delivery: Delivery) -> Verdict:
        async with self._slots:
            if self._down is not None:
                return Verdict("later", "4.4.1", self._down)
            try:
                try:
                    mail = outgoing(delivery, self.store.secret)
                    make = forward.resent if mail.method == forward.METHOD else compose
                    raw = await asyncio.to_thread(make, mail) if len(mail.calendar) > LARGE else make(mail)
                except MACHINE:
                    raise
                except Exception as error:
                    # Composing is pure: what fails now fails always. It is settled, so that it blocks nobody.
                    code = error.code if isinstance(error, ComposeError) else "5.6.0"
                    return Verdict("failed", code, clean(f"compose: {type(error).__name__}: {error}", 300))
                tagged = self.config.return_path == "tagged"
                sender = return_path(delivery.organizer, delivery.token) if tagged else delivery.organizer
                return await way.deliver(Envelope(sender, delivery.recipient, raw, file_name(delivery)))
            except RelayError as error:
                self._down = str(error)
                return Verdict("later", "4.4.1", self._down)
            except Exception as error:
                # Our fault or the machine's, not the mail's: it waits, and the log has the whole story.
                log.exception("outbox: delivery failed unexpectedly", delivery=delivery.id)
                return Verdict("later", "4.3.0", clean(f"{type(error).__name__}: {error}", 300))

    async def _settle(self, delivery: Delivery, verdict: Verdict) -> str:
        """Write the verdict into the store; the new state. Raises what the store raises after a few tries."""
        now = self.clock()
        state, error, due = verdict.state, verdict.text, None
        if state == "later" and now - delivery.created_at >= GIVE_UP:
            state, error = "failed", f"given up after {GIVE_UP.days} days: {error}"[:300]
        elif state == "later":
            state = "waiting"
            due = now + backoff(delivery, LAST_RETRY if self._down is None else LAST_RETRY_DOWN)
        result = Result(delivery, state, now, due, error if state != "sent" else None, verdict.code)
        if not await self._settling.settle(result):
            log.warning("outbox: another process has taken this delivery over", delivery=delivery.id)
        return state


async def _cancelled(tasks: set[asyncio.Task[Any]]) -> None:
    """Cancel `tasks` and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
