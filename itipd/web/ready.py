"""What `/readyz` says: whether a mail that came now would be committed. It must never be kinder than the mail doors."""

from __future__ import annotations

import asyncio
import time

from itipd.inbox import Inbox
from itipd.log import log
from itipd.store import Store, StoreError

PATIENCE = 2.0
"""Seconds that the database has to commit something."""

KEPT = 1.0
"""Seconds for which an answer holds: anybody may ask, and each look is an fsync."""


class Readiness:
    """One per process. `draining` is set when the daemon begins to end."""

    def __init__(self, store: Store, inbox: Inbox) -> None:
        self.draining = False
        self._store = store
        self._inbox = inbox
        self._asking = asyncio.Lock()
        self._asked_at = -KEPT
        self._found: str | None = None

    async def trouble(self) -> str | None:
        """Why no mail can be taken now, in a text for anybody; None: it can."""
        if self.draining:
            return "The daemon is ending."
        if self._inbox.stalled:
            return "The database does not answer."
        async with self._asking:
            if time.monotonic() - self._asked_at >= KEPT:
                self._found = await self._look()
                self._asked_at = time.monotonic()
            return self._found

    async def _look(self) -> str | None:
        try:
            if not await self._store.spare(self._inbox.config.disk_reserve):
                return "The disk is full."
            await asyncio.wait_for(self._store.probe(), PATIENCE)
        except TimeoutError:
            log.error("not ready", error=f"the database has not committed within {PATIENCE:g} s")
            return "The database does not answer."
        except (StoreError, OSError) as error:
            log.error("not ready", error=str(error))
            return "The database cannot be written."
        return None
