"""The one way in: mail and the organizer's orders become decisions in one transaction (design.md, rule 5).

Duty: read mail in reader processes and hand it on to be committed (`batches`). An answer is given only after the
commit. It must never decide anything, and never parse a mail in this process when it has readers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from itipd import log
from itipd.batches import STALLED, Batches, InboxFullError
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
from itipd.store import NoSpaceError, Store
from itipd.transaction import Job

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

QUEUE = 4096  # messages that wait at most; beyond it the door says 451 rather than fill the memory
SIGNED = ("smtp", "lmtp", "http", "ingest")  # the doors behind which signatures are checked
LOOK = 0.02  # seconds between looks at the free space of the disk; each costs a few microseconds


class Inbox:
    """See the module. `readers` None: mail is read in this process (small commands; never the daemon).

    `on_send` is called after a commit that left something in the outbox.
    """

    def __init__(
        self, store: Store, readers: Readers | None, config: Config, *, on_send: Callable[[], None] | None = None
    ) -> None:
        self.store = store
        self.readers = readers
        self.config = config
        self.keys = Keys(store.secret, store.reply_key, signing=config.identity.tokens == "on")
        self.signatures = Signatures() if config.identity.dkim == "on" else None
        self._settings = config.reading
        rrule.EFFORT.set(self._settings.steps)  # for what this task and those it begins ask of the rules
        self._batches = Batches(store, config, self.keys, self.read, on_send)
        self._inside = 0  # mails that are being read or decided
        self._looked, self._spare = 0.0, True

    @property
    def stalled(self) -> bool:
        """The database has held up a batch for so long that new messages are refused."""
        return self._batches.stalled

    async def start(self) -> None:
        """Begin to take messages."""
        self._batches.start()

    async def stop(self) -> None:
        """Finish what is queued, then end. May be called twice."""
        await self._batches.stop()

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
            self._batches.reading += 1
            try:
                reading = await self.read(mail)
            finally:
                self._batches.reading -= 1
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
        receipt = await self._batches.put(Job(mail, mail.received_at, reading, only))
        seconds = time.monotonic() - started if started is not None else 0.0
        for decision in receipt.results:
            log.message(mail, decision, journal=receipt.id, message_id=reading.message_id, seconds=seconds)
        return receipt

    async def command(self, order: Order, at: datetime | None = None) -> Receipt:
        """One order of the organizer; what it names but cannot be found gives a decision `error/not_found`."""
        await self._check(time.monotonic())
        order = await complete(self.store, order)
        return await self._batches.put(Job(order, at or datetime.now(UTC)))
