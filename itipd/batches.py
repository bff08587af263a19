"""What waits for the store: many messages share a commit, and each fails or succeeds alone (design.md, rule 5).

A batch is gathered while the one before it is committed. It must never answer before the commit, nor let one message
spoil another.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable

from itipd import log
from itipd.config import Config
from itipd.itip import rrule
from itipd.mail.reading import Reading
from itipd.mail.reply_token import Keys
from itipd.orders import Mail, Receipt
from itipd.store import Batch, Conflict, NoSpaceError, Store, StoreError, UnavailableError
from itipd.transaction import Context, Job, process

BATCH = 128  # messages that share a commit; speed.md: more gain nothing
ATTEMPTS = 5  # of a batch that another process was faster than
PATIENCE = 5.0  # seconds after which a batch is not tried again
AGAIN = 0.1  # seconds before the second try where the database was away, each time twice as long
STALLED = 15.0  # seconds after which nobody waits for a batch, or behind it, any more: the database is too slow
ENOUGH = 4  # messages that wait for no more company: the next ones are better read while these are committed
COMPANY = 0.012  # seconds that a batch waits at most for the mails that are being read

Item = tuple[Job, asyncio.Future[Receipt]]


class InboxFullError(RuntimeError):
    """Too much is waiting already: the sender is asked to come back (SMTP 451)."""

    foreseen = True


class Batches:
    """See the module. `read` reads a mail again that was held; `on_send`: as for `Inbox`."""

    def __init__(
        self,
        store: Store,
        config: Config,
        keys: Keys,
        read: Callable[[Mail], Awaitable[Reading]],
        on_send: Callable[[], None] | None,
    ) -> None:
        self._store = store
        self._config = config
        self._keys = keys
        self._read = read
        self._on_send = on_send
        self.reading = 0  # mails that are being read, and will come
        self.stalled = False  # the database has held up a batch for so long that new messages are refused
        self._queue: deque[Item] = deque()
        self._wake = asyncio.Event()  # there may be a batch to begin
        self._together = asyncio.Event()
        self._late = 0  # mails that are being read for which a batch did not wait
        self._worker: asyncio.Task[None] | None = None
        self._ending = False

    def start(self) -> None:
        """Begin to take messages."""
        self._worker = asyncio.create_task(self._work(), name="batches")

    async def stop(self) -> None:
        """Finish what waits, then end. May be called twice."""
        worker, self._worker = self._worker, None
        if worker is not None:
            self._ending = True
            self._wake.set()
            await worker

    async def put(self, job: Job) -> Receipt:
        """Decide and commit, in the order in which it is called."""
        if self._worker is None:
            raise RuntimeError("the inbox is not running")
        if self.stalled:
            raise InboxFullError(f"the database has not answered for {STALLED:g} s")
        future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self._queue.append((job, future))
        self._wake.set()
        if self._complete_with(len(self._queue)):
            self._together.set()
        return await future

    async def _work(self) -> None:
        """Commit what waits, batch by batch; while one is committed the next gathers by itself."""
        loop = asyncio.get_running_loop()
        while self._queue or not self._ending:
            if not self._queue:
                self._wake.clear()
                await self._wake.wait()
                continue
            await self._company()
            work = [self._queue.popleft() for _ in range(min(len(self._queue), BATCH))]
            watch = loop.call_later(STALLED, self._stall, work)
            try:
                await self._commit(work)
            finally:
                watch.cancel()
                self.stalled = False
            del work  # a mail may be large, and the next may be long in coming

    async def _company(self) -> None:
        """Waits a moment for the mails that are being read now: what a commit costs is shared by all that are in it.

        A mail alone has nobody to wait for, and whom a batch has waited for in vain no later one waits for.
        """
        if not self._complete_with(len(self._queue)):
            self._together.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(COMPANY):
                    await self._together.wait()
        self._late = self.reading

    def _complete_with(self, messages: int) -> bool:
        """Whether a batch of so many waits for nobody."""
        return messages >= ENOUGH or self.reading <= self._late

    def _stall(self, work: list[Item]) -> None:
        """One batch takes too long: whoever waits behind it is told so now, and new ones at once.

        So are the senders of its own mails: whether it is committed in the end or not, the same mail again counts once.
        An order given again might be obeyed twice: who gave it waits for the truth.
        """
        waiting = list(self._queue)
        self._queue.clear()
        log.log.error("the database is too slow", seconds=STALLED, messages=len(work), refused=len(waiting))
        self.stalled = True
        mails = [(job, future) for job, future in work if isinstance(job.order, Mail)]
        for _, future in mails + waiting:
            if not future.done():
                future.set_exception(InboxFullError(f"the database has not answered for {STALLED:g} s"))

    async def _commit(self, work: list[Item]) -> None:
        try:
            sent = await self._transaction([job for job, _ in work])
        except Exception as error:
            await self._failed(work, error)
            return
        for job, future in work:
            ids = [ref.id for ref in job.done.entries]
            if not future.done():  # the door may have gone away meanwhile
                future.set_result(Receipt(max(ids, default=job.done.seen), tuple(job.done.results)))
        if sent and self._on_send is not None:
            self._on_send()

    async def _failed(self, work: list[Item], error: Exception) -> None:
        ours = not isinstance(error, UnavailableError | NoSpaceError)  # else no mail's fault: the next fares no better
        if ours and len(work) > 1:  # each is tried alone, so that one cannot spoil the others
            for one in work:
                await self._commit([one])
            return
        log.fault("not committed", error, messages=len(work))
        for _, future in work:
            if not future.done():
                future.set_exception(error if len(work) == 1 else type(error)(*error.args))

    async def _transaction(self, jobs: list[Job]) -> bool:
        """One transaction for all; True where something was left to be sent."""
        began = time.monotonic()
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await self._store.whole(lambda batch: process(self._context(batch), jobs))
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
        # Here, too: the store may have a thread, and so a context, of its own.
        rrule.EFFORT.set(self._config.reading.steps)
        return Context(
            batch=batch,
            policy=self._config.policy,
            read=lambda mail: batch.outside(self._read(mail)),
            trusts=self._config.trusts,
            keys=self._keys,
            language=self._config.texts.language,
            forward=self._config.submission.forward,
            forward_to=self._config.rules.forward_to,
        )

    async def _took_place(self, jobs: list[Job]) -> bool:
        """Whether the commit of the last attempt took place although its answer was lost with the connection.

        Without this the attempt that follows would take an order for one that was given twice.
        """
        last = max((ref.id for job in jobs for ref in job.done.entries), default=0)
        try:
            return last > 0 and [row.id for row in await self._store.journal_from(last - 1, 1)] == [last]
        except StoreError:
            return False  # the next attempt asks again
