"""The one way in: mail and the organizer's orders become decisions in one transaction (design.md, rule 5).

Duty: queue what comes, read mail in reader processes, let many share a commit, and let each fail or succeed alone. An
answer is given only after the commit. It must never decide anything, and never parse a mail in this process when it
has readers.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from itipd import log
from itipd.commands import complete
from itipd.config import Config
from itipd.itip import rrule
from itipd.mail.reading import Reading, read_mail
from itipd.mail.reply_token import Keys
from itipd.orders import (
    AcceptHeld,
    AcceptProposal,
    Cancel,
    DeclineProposal,
    Mail,
    Order,
    Put,
    Receipt,
    RejectHeld,
    Remind,
)
from itipd.readers import Readers
from itipd.signatures import Signatures
from itipd.store import Batch, Conflict, NoSpaceError, Store, StoreError, UnavailableError
from itipd.transaction import Context, Job, process

__all__ = [
    "AcceptHeld",
    "AcceptProposal",
    "Cancel",
    "DeclineProposal",
    "Inbox",
    "InboxFullError",
    "Mail",
    "Order",
    "Put",
    "Receipt",
    "RejectHeld",
    "Remind",
]

BATCH = 128  # messages that share a commit; speed.md: more gain nothing
QUEUE = 4096  # messages that wait at most; beyond it the door says 451 rather than fill the memory
ATTEMPTS = 5  # of a batch that another process was faster than
SIGNED = ("smtp", "lmtp", "http", "ingest")  # the doors behind which signatures are checked
PATIENCE = 5.0  # seconds after which a batch is not tried again
AGAIN = 0.1  # seconds before the second try where the database was away, each time twice as long
STALLED = 15.0  # seconds after which nobody waits for a batch, or behind it, any more: the database is too slow
ENOUGH = 8  # messages that wait for no more company: the next ones are better read while these are committed
COMPANY = 0.012  # seconds that a batch waits at most for the mails that are being read
LOOK = 0.02  # seconds between looks at the free space of the disk; each costs a few microseconds


class InboxFullError(RuntimeError):
    """Too much is waiting already: the sender is asked to come back (SMTP 451)."""

    foreseen = True


class Inbox:
    """See the module. `readers` None: mail is read in this process (small commands; never the daemon)."""

    def __init__(
        self, store: Store, readers: Readers | None, config: Config, *, on_send: Callable[[], None] | None = None
    ) -> None:
        self.store = store
        self.readers = readers
        self.config = config
        self.on_send = on_send  # called after a commit that left something in the outbox
        self.keys = Keys(store.secret, store.reply_key, signing=config.identity.tokens == "on")
        self.signatures = Signatures() if config.identity.dkim == "on" else None
        self._settings = config.reading
        rrule.EFFORT.set(self._settings.steps)  # for what this task and those it begins ask of the rules
        self._queue: asyncio.Queue[tuple[Job, asyncio.Future[Receipt]] | None] = asyncio.Queue()
        self._worker: asyncio.Task[None] | None = None
        self._inside = 0  # mails that are being read or decided
        self._reading = 0  # mails that are being read
        self._late = 0  # of them, those for which a batch did not wait
        self._together = asyncio.Event()
        self._looked, self._spare = 0.0, True
        self.stalled = False  # the database has held up a batch for so long that new messages are refused

    async def start(self) -> None:
        """Begin to take messages."""
        self._worker = asyncio.create_task(self._work(), name="inbox")

    async def stop(self) -> None:
        """Finish what is queued, then end. May be called twice."""
        worker, self._worker = self._worker, None
        if worker is not None:
            await self._queue.put(None)
            await worker

    async def submit(self, mail: Mail) -> Receipt:
        """Read, decide and commit one mail; returns after the commit. Raises for our own faults only (SMTP 451)."""
        if self._inside >= QUEUE:
            raise InboxFullError(f"{QUEUE} messages are waiting for the database already")
        started = time.monotonic()
        await self._check(started)
        self._inside += 1
        try:
            if self.signatures is not None and mail.door in SIGNED:
                mail = replace(mail, raw=await self.signatures.stamped(mail.raw))
            self._reading += 1
            try:
                reading = await self.read(mail)
            finally:
                self._reading -= 1
            return await self.settle(mail, reading, started=started)
        finally:
            self._inside -= 1

    async def _check(self, now: float) -> None:
        """Raises where it is known beforehand that nothing can be committed: reading would be in vain."""
        if self.stalled:
            raise InboxFullError(f"the database has not answered for {STALLED:g} s")
        if now - self._looked > LOOK:
            self._looked = now
            self._spare = await self.store.spare(self.config.disk_reserve)
        if not self._spare:
            raise NoSpaceError("less is free on the disk than disk_reserve")

    async def read(self, mail: Mail) -> Reading:
        """The mail, read. Reading is pure: it may run ahead of the order in which mails are settled."""
        submission = mail.door == "submission"
        if self.readers is None:
            return read_mail(
                mail.raw,
                sender=mail.sender,
                recipients=mail.recipients,
                submission=submission,
                settings=self._settings,
                trusted=mail.trusted,
            )
        return await self.readers.read(
            mail.raw, sender=mail.sender, recipients=mail.recipients, submission=submission, trusted=mail.trusted
        )

    async def settle(
        self, mail: Mail, reading: Reading, *, only: str | None = None, started: float | None = None
    ) -> Receipt:
        """Decide and commit a mail that was read; calls are decided in the order in which they are made.

        `only`: for this organizer alone, as `itipd db rebuild` needs it.
        """
        receipt = await self._put(Job(mail, mail.received_at, reading, only))
        seconds = time.monotonic() - started if started is not None else 0.0
        for decision in receipt.results:
            log.message(mail, decision, journal=receipt.id, message_id=reading.message_id, seconds=seconds)
        return receipt

    async def command(self, order: Order, at: datetime | None = None) -> Receipt:
        """One order of the organizer; what it names but cannot be found gives a decision `error/not_found`."""
        await self._check(time.monotonic())
        order = await complete(self.store, order)
        return await self._put(Job(order, at or datetime.now(UTC)))

    async def _put(self, job: Job) -> Receipt:
        if self._worker is None:
            raise RuntimeError("the inbox is not running")
        if self.stalled:
            raise InboxFullError(f"the database has not answered for {STALLED:g} s")
        future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((job, future))
        if self._complete_with(self._queue.qsize() + 1):
            self._together.set()
        return await future

    async def _work(self) -> None:
        """Take what waits, up to a batch, commit it, answer; meanwhile the next batch gathers by itself."""
        going = True
        while going:
            items = [await self._queue.get()]
            await self._company()
            while len(items) < BATCH and not self._queue.empty():
                items.append(self._queue.get_nowait())
            going = None not in items
            work = [item for item in items if item is not None]
            if work:
                watch = asyncio.get_running_loop().call_later(STALLED, self._stall, work)
                try:
                    await self._commit(work)
                finally:
                    watch.cancel()
                    self.stalled = False
            del items, work  # a mail may be large, and the next may be long in coming

    async def _company(self) -> None:
        """Waits a moment for the mails that are being read now: what a commit costs is shared by all that are in it.

        A mail alone has nobody to wait for, and whom a batch has waited for in vain no later one waits for.
        """
        if not self._complete_with(self._queue.qsize() + 1):
            self._together.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(COMPANY):
                    await self._together.wait()
        self._late = self._reading

    def _complete_with(self, messages: int) -> bool:
        """Whether a batch of so many waits for nobody."""
        return messages >= ENOUGH or self._reading <= self._late

    def _stall(self, work: list[tuple[Job, asyncio.Future[Receipt]]]) -> None:
        """One batch takes too long: whoever waits behind it is told so now, and new ones at once.

        So are the senders of its own mails: whether it is committed in the end or not, the same mail again counts once.
        An order given again might be obeyed twice: who gave it waits for the truth.
        """
        log.log.error("the database is too slow", seconds=STALLED, messages=len(work), refused=self._queue.qsize())
        self.stalled = True
        for job, future in work:
            if isinstance(job.order, Mail) and not future.done():
                future.set_exception(InboxFullError(f"the database has not answered for {STALLED:g} s"))
        for _ in range(self._queue.qsize()):
            item = self._queue.get_nowait()
            if item is None:
                self._queue.put_nowait(None)
            elif not item[1].done():
                item[1].set_exception(InboxFullError(f"the database has not answered for {STALLED:g} s"))

    async def _commit(self, work: list[tuple[Job, asyncio.Future[Receipt]]]) -> None:
        try:
            sent = await self._transaction([job for job, _ in work])
        except (UnavailableError, NoSpaceError) as error:  # no mail's fault: the next would fare no better
            log.fault("not committed", error, messages=len(work))
            for _, future in work:
                if not future.done():
                    future.set_exception(type(error)(*error.args))
            return
        except Exception as error:  # our own fault: each is tried alone, so that one cannot spoil the others
            if len(work) > 1:
                for one in work:
                    await self._commit([one])
                return
            log.fault("not committed", error)
            future = work[0][1]
            if not future.done():
                future.set_exception(error)
            return
        for job, future in work:
            ids = [ref.id for ref in job.done.entries]
            if not future.done():  # the door may have gone away meanwhile
                future.set_result(Receipt(max(ids, default=job.done.seen), tuple(job.done.results)))
        if sent and self.on_send is not None:
            self.on_send()

    async def _transaction(self, jobs: list[Job]) -> bool:
        """One transaction for all jobs; True where something was left to be sent."""
        began = time.monotonic()
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await self.store.whole(lambda batch: process(self._context(batch), jobs))
            except Conflict as error:
                if attempt == ATTEMPTS or time.monotonic() - began > PATIENCE:
                    raise
                if not isinstance(error, UnavailableError):
                    continue
                await asyncio.sleep(AGAIN * 2**attempt)
                if not await self._took_place(jobs):
                    continue
            return any(decision.sends for job in jobs for decision in job.done.results)
        raise AssertionError("the last attempt returns or raises")

    def _context(self, batch: Batch) -> Context:
        rrule.EFFORT.set(self._settings.steps)  # here too: the store may have a thread, and so a context, of its own
        return Context(
            batch=batch,
            policy=self.config.policy,
            read=lambda mail: batch.outside(self.read(mail)),
            trusts=self.config.trusts,
            keys=self.keys,
            language=self.config.texts.language,
            forward=self.config.submission.forward,
            forward_to=self.config.rules.forward_to,
        )

    async def _took_place(self, jobs: list[Job]) -> bool:
        """Whether the commit of the last attempt took place although its answer was lost with the connection.

        Without this the attempt that follows would take an order for one that was given twice.
        """
        last = max((ref.id for job in jobs for ref in job.done.entries), default=0)
        try:
            return last > 0 and [row.id for row in await self.store.journal_from(last - 1, 1)] == [last]
        except StoreError:
            return False  # the next attempt asks again
