"""What became of deliveries, written down together: while one transaction commits, the next results gather.

A transaction for each of 10,000 deliveries would hold the store's one writer, and with it the inbox, for longer than
the mails take to leave.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress

import structlog

from itipd.store import Store
from itipd.store.outbox import Result

TOGETHER = 256
"""Results of one transaction at most: the inbox waits for it."""

ENOUGH, GATHER = 64, 0.03
"""So many results are a transaction; fewer wait so many seconds for those of mails that are on their way."""

AGAIN = (0.1, 1.0, 3.0)
"""Seconds between the tries to write down what became of mails."""

log = structlog.get_logger()


class Settling:
    """`await settle(result)` from any number of tasks; each returns after the commit that its result is in."""

    def __init__(self, store: Store, on_their_way: Collection[object]) -> None:
        """`on_their_way`: the mails that are being sent, until they are settled."""
        self._store = store
        self._on_their_way = on_their_way
        self._enough = asyncio.Event()
        self._waiting: list[tuple[Result, asyncio.Future[bool]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def settle(self, result: Result) -> bool:
        """False: another process has taken the delivery over. Raises what the store raises after a few tries."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((result, future))
        if len(self._waiting) >= min(ENOUGH, len(self._on_their_way)):
            self._enough.set()
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write(), name="settling")
        return await future

    async def close(self) -> None:
        """Wait until all that was handed over is written."""
        if self._writer is not None:
            await self._writer

    async def _write(self) -> None:
        while self._waiting:
            with suppress(TimeoutError):
                async with asyncio.timeout(GATHER):
                    await self._enough.wait()
            self._enough.clear()
            batch, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
            try:
                found = await self._commit([result for result, _ in batch])
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), settled in zip(batch, found, strict=True):
                if not future.done():  # its task was cancelled; what became of the mail is written all the same
                    future.set_result(settled)

    async def _commit(self, results: list[Result]) -> list[bool]:
        for delay in AGAIN:
            try:
                return await self._store.settle_many(results)
            except Exception:
                # The relay may have the mails already: to forget that would send them twice.
                log.exception("outbox: results were not written", deliveries=len(results), again=delay)
                await asyncio.sleep(delay)
        return await self._store.settle_many(results)
