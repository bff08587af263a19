"""The pool of reader processes: no hostile mail can stop the daemon (design.md, hardening §9).

Each process (`itipd.reader`) reads several mails in order; the event loop only moves bytes. A mail that takes too
long, too much memory, or kills its reader becomes `error/too_costly`; the process is replaced, the mails behind it go
to another one. It must never parse a mail in this process, but for the bounded look at the headers of such a mail.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any

from itipd import cores
from itipd.itip.model import Fault
from itipd.itip.outcomes import Outcome, Reason
from itipd.mail.reading import Reading, ReadSettings, faulty
from itipd.reader import MEMORY_ERROR, Start, opening
from itipd.reader_frame import LARGE, answered, request
from itipd.reader_link import Job, Link, ReadersError, popen

__all__ = ["COMMAND", "ReadSettings", "Readers", "ReadersError", "Reading"]

COMMAND = (sys.executable, "-P", "-m", "itipd.reader")
WINDOW = 16  # mails in flight at one reader: enough to keep it busy, few enough to move elsewhere
PATIENCE = 0.1  # seconds with one mail after which those behind it go to another reader
TICK = 0.05  # seconds between two looks at the clock, while there are mails
STARTUP = 30.0  # seconds for a process to be ready


class Readers:
    """The pool. `await Readers.start(...)`, `await read(...)` from any number of tasks, `await stop()`."""

    def __init__(self, count: int, start: Start, command: Sequence[str]) -> None:
        self.loop = asyncio.get_running_loop()
        self._count = count
        self._start = start
        self._command = tuple(command)
        self._alive: set[Link] = set()  # every process that has not been waited for
        self._readers: list[Link] = []  # those that are ready
        self._waiting: deque[Job] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._launching = 0
        self._failures = 0
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = asyncio.Event()

    @classmethod
    async def start(
        cls,
        count: int,
        settings: ReadSettings,
        deadline: float = 5.0,
        memory: int = 512 << 20,
        command: Sequence[str] = COMMAND,
    ) -> Readers:
        """Start `count` processes and wait until they are ready. `deadline`: seconds for one mail; `memory`: bytes.

        Raises ReadersError if one does not start.
        """
        pool = cls(count, Start(settings, deadline, memory), command)
        try:
            await asyncio.gather(*(pool._launch() for _ in range(count)))
        except BaseException:
            await pool.stop()
            raise
        return pool

    async def read(
        self, raw: bytes, *, sender: str, recipients: Sequence[str], submission: bool, trusted: bool = True
    ) -> Reading:
        """Read one mail (`mail.reading.read_mail`) in a process.

        Never fails for the mail's sake; raises ReadersError when the pool is stopped or no process can be started.
        """
        if self._stopping.is_set():
            raise ReadersError("the reader processes are stopped")
        wanted = request(raw, sender, recipients, submission=submission, trusted=trusted)
        job = Job(raw, sender, wanted, self.loop.create_future())
        self._waiting.append(job)
        self._schedule()
        return await job.future

    async def stop(self) -> None:
        """End all processes. Mails that are still being read get a ReadersError."""
        self._stopping.set()
        if self._timer is not None:
            self._timer.cancel()
        for reader in self._alive:
            reader.process.kill()
            _fail(reader.jobs, "the reader processes were stopped")
        _fail(self._waiting, "the reader processes were stopped")
        while self._tasks:  # they see that it is over; none is cancelled, so that no process is left behind
            await asyncio.gather(*self._tasks, return_exceptions=True)
        for reader in tuple(self._alive):
            await self._end(reader)

    # -- what the readers report

    def _answered(self, reader: Link, content: bytes | memoryview) -> None:
        """A reader has read its first mail."""
        if not reader.jobs:
            return  # it became ready too late and is being ended
        job = reader.jobs.popleft()
        reader.since = self.loop.time()
        reader.verdict = ""  # it was killed when it had just made it: the next mail is not to blame
        if not reader.jobs:
            reader.slow = False
        if job is not None and not job.future.done():
            if len(content) < LARGE:
                job.future.set_result(answered(content))
            else:
                self._spawn(_take_apart(job, content))  # in a thread, so that the event loop goes on
        if self._waiting:
            self._schedule()
        elif not reader.jobs and len(self._readers) > self._count < sum(not one.slow for one in self._readers):
            reader.process.kill()  # it stood in for a slow one, and none is slow any more

    def _lost(self, reader: Link) -> None:
        """A reader's process has ended."""
        if reader in self._readers:
            self._readers.remove(reader)
            if not self._stopping.is_set():
                self._spawn(self._recover(reader))
        elif not reader.ready.done():
            reader.ready.set_exception(ReadersError("a reader process ended before it was ready"))

    # -- work

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        """Give the waiting mails to the readers that have the fewest."""
        self._scheduled = False
        given: dict[Link, list[Job]] = {}
        load = {reader: len(reader.jobs) for reader in self._readers if not reader.slow}
        while self._waiting and load:
            reader = min(load, key=load.__getitem__)
            if load[reader] >= WINDOW:
                break
            job = self._waiting.popleft()
            if not job.future.done():
                given.setdefault(reader, []).append(job)
                load[reader] += 1
        for reader, jobs in given.items():
            reader.give(jobs, self.loop.time())
        if self._timer is None and (given or self._waiting):
            self._timer = self.loop.call_later(TICK, self._tick)

    def _tick(self) -> None:
        """Look at the clock: set slow readers aside, kill those over the deadline, start one if all are slow."""
        self._timer = None
        now = self.loop.time()
        busy = False
        for reader in self._readers:
            if not reader.jobs or reader.verdict:
                continue
            busy = True
            if now - reader.since > self._start.deadline:
                reader.verdict = f"reading the mail took more than {self._start.deadline:g} s"
                reader.process.kill()
            elif not reader.slow and now - reader.since > PATIENCE:
                reader.slow = True
                self._waiting.extendleft(reversed(reader.take_back()))
        if self._waiting:
            self._schedule()
            if self._readers and all(reader.slow for reader in self._readers) and not self._launching:
                self._spawn(self._fill(min(len(self._readers) + 1, 2 * self._count + 1)))
        if busy and not self._stopping.is_set():
            self._timer = self.loop.call_later(TICK, self._tick)

    async def _launch(self) -> None:
        """Start one process and take it into the pool."""
        self._launching += 1
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            reader = Link(popen(self._command, theirs), self._answered, self._lost)
        cores.freed(reader.process.pid)
        self._alive.add(reader)
        try:
            await self.loop.connect_accepted_socket(lambda: reader, ours)
            reader.send(opening(self._start))
            await asyncio.wait_for(reader.ready, STARTUP)
            if reader.closed.done():
                raise ReadersError("a reader process ended as soon as it was ready")
        except BaseException:
            if reader.transport is None:
                ours.close()
            await self._end(reader)
            raise
        finally:
            self._launching -= 1
        self._failures = 0
        self._readers.append(reader)
        self._schedule()

    async def _recover(self, reader: Link) -> None:
        """Decide about the mails of a process that ended, and replace it."""
        status = await self._end(reader)
        jobs = [job for job in reader.jobs if job is not None and not job.future.done()]
        if jobs and jobs[0] is reader.jobs[0]:
            first = jobs[0]
            first.crashes += 1
            detail = reader.verdict
            if status == MEMORY_ERROR:
                detail = f"reading the mail took more than {self._start.memory} bytes of memory"
            elif first.crashes > 1:
                detail = f"reading the mail ended two reader processes (status {status})"
            if detail:  # else it may have been killed for another reason: the mail gets a second try
                jobs.pop(0)
                self._spawn(_give_up(first, detail))
        self._waiting.extendleft(reversed(jobs))
        self._schedule()
        await self._fill(self._count)

    async def _fill(self, count: int) -> None:
        """Start processes until there are `count`."""
        while len(self._readers) + self._launching < count and not self._stopping.is_set():
            try:
                await self._launch()
            except (ReadersError, OSError, TimeoutError) as error:
                self._failures += 1
                if not self._readers and self._failures >= 3:
                    _fail(self._waiting, f"no reader process can be started: {error}")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), min(0.1 * 2**self._failures, 5.0))

    async def _end(self, reader: Link) -> int:
        """Kill the process, if it still runs, and wait for it; returns its exit status."""
        while (status := reader.process.poll()) is None:
            reader.process.kill()
            await asyncio.sleep(0.002)
        if reader.transport is not None:
            reader.transport.close()
            await reader.closed
        self._alive.discard(reader)
        return status

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _give_up(job: Job, detail: str) -> None:
    fault = Fault(Outcome.ERROR, Reason.TOO_COSTLY, detail=detail)
    reading = await asyncio.to_thread(faulty, job.raw, sender=job.sender, fault=fault)
    if not job.future.done():
        job.future.set_result(reading)


async def _take_apart(job: Job, content: bytes | memoryview) -> None:
    reading = await asyncio.to_thread(answered, content)
    if not job.future.done():
        job.future.set_result(reading)


def _fail(jobs: deque[Job] | deque[Job | None], text: str) -> None:
    while jobs:
        job = jobs.popleft()
        if job is not None and not job.future.done():
            job.future.set_exception(ReadersError(text))
