"""Mail from files, as a stream: .eml, mbox, Maildir, folders of these, and scenario folders in between (design.md).

A door like SMTP: it only finds mails and their envelopes. It never decides, and never holds more than one mail.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from itipd.itip.addresses import canonical, served, strip_tag
from itipd.itip.model import clean
from itipd.itip.transcript import result
from itipd.mail.evidence import from_address
from itipd.mail.headers import Headers, MailLimits, TooLarge, addresses, date, scan
from itipd.orders import Mail, Receipt

if TYPE_CHECKING:
    from itipd.config import Config
    from itipd.inbox import Inbox
    from itipd.readers import Readers

STEP = re.compile(r"(\d{1,9})[-_.].*\.(eml|ics|toml)")
"""The name of a scenario's step: its number, what it is about, what it is."""

# What an MTA writes at delivery: Postfix's and qmail's, Postfix's, Exim's.
_DELIVERED = (b"delivered-to", b"x-original-to", b"envelope-to")
SECOND = timedelta(seconds=1)
_ENOUGH = 100  # addresses looked at in one mail


@dataclass(frozen=True, slots=True)
class Item:
    """One mail of a file; `raw` None: it is larger than is read. `size`: bytes of the file that it took."""

    source: str
    raw: bytes | None
    size: int


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario folder, still to be played."""

    path: Path


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a door would have known of a mail that now is only a file."""

    sender: str  # "": the null sender
    candidates: tuple[str, ...]  # whom it may be for; canonical, in order
    message_id: str | None
    from_: str | None  # the one mailbox of From, canonical
    date: datetime | None


def walk(path: Path, limit: int) -> Iterator[Item | Scenario]:
    """Every mail and scenario folder at `path`, in order; a mail above `limit` bytes has no `raw`.

    Files of a folder that hold no mail are passed over. Raises OSError where `path` cannot be read.
    """
    if path.is_dir():
        if is_scenario(path):
            yield Scenario(path)
        elif (path / "cur").is_dir() and (path / "new").is_dir():
            # Maildir names begin with the time of delivery.
            files = [file for box in ("cur", "new") for file in (path / box).iterdir() if file.is_file()]
            for file in sorted(files, key=lambda file: _natural(file.name)):
                yield _one(file, limit)
        else:
            for inner in sorted(path.iterdir(), key=lambda inner: _natural(inner.name)):
                if (inner.is_dir() and not inner.name.startswith(".")) or inner.suffix == ".eml" or _is_mbox(inner):
                    yield from walk(inner, limit)
    elif _is_mbox(path):
        yield from _mbox(path, limit)
    else:
        yield _one(path, limit)


def is_scenario(path: Path) -> bool:
    """Whether the folder holds a numbered step or a `given.ics`."""
    return any(inner.name == "given.ics" or STEP.fullmatch(inner.name) for inner in path.iterdir())


def size(path: Path) -> int:
    """Bytes below `path`, for a progress bar."""
    if path.is_dir():
        return sum(size(inner) for inner in path.iterdir())
    return path.stat().st_size


def envelope(raw: bytes, *, delivered: bool = True) -> Envelope:
    """The envelope of a mail that has none: Return-Path, else From; Delivered-To and its like, else To and Cc.

    `delivered` False: To and Cc alone (the application's own mail, for its attendees).
    """
    limits = MailLimits()
    try:
        headers, _ = scan(raw, 0, min(len(raw), limits.header_block), limits)
    except TooLarge:
        headers = Headers([], True)
    author = from_address(headers)
    candidates = _addresses(headers, _DELIVERED) if delivered else ()
    path = headers.first(b"return-path")
    message_id = headers.first(b"message-id")
    return Envelope(
        sender=canonical(path) or "" if path else author or "",
        candidates=candidates or _addresses(headers, (b"to", b"cc")),
        message_id=clean(message_id, 998) or None,
        from_=author,
        date=date(headers.first(b"date")),
    )


def recipients(candidates: Sequence[str], organizers: Sequence[str], organizer: str | None) -> tuple[str, ...]:
    """Who of the candidates the mail is decided for: those served; where anybody is, the calendar's ORGANIZER first.

    `organizer`: the ORGANIZER in the calendar, canonical, if it has been read. A reply-all is then not decided for
    every person in Cc. Tagged forms are ours too: delivery reports come to them. () where nobody is served.
    """
    ours = tuple(one for one in candidates if served(one, organizers) or served(strip_tag(one), organizers))
    if organizer is None or (ours and organizers):
        return ours
    if not ours:
        return (organizer,) if served(organizer, organizers) else ()
    return tuple(one for one in ours if organizer in (one, strip_tag(one)))[:1] or ours


@dataclass(slots=True)
class Clock:
    """The time at which things are received. It never goes back."""

    now: datetime

    def reach(self, date: datetime | None) -> datetime:
        """A mail is received at its Date if that is later than the clock."""
        if date is not None and date > self.now:
            self.now = date
        return self.now

    def tick(self) -> datetime:
        """Any other step happens a second after the step before."""
        self.now += SECOND
        return self.now


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of one mail; `receipt` None: no recipient is an organizer, where SMTP would answer 550."""

    envelope: Envelope
    to: tuple[str, ...]
    receipt: Receipt | None

    @property
    def results(self) -> list[dict[str, Any]]:
        """The public results, one a component."""
        return [result(decision) for decision in self.receipt.results] if self.receipt is not None else []


@dataclass(slots=True)
class Door:
    """Mail without envelopes into the inbox: received at the clock's time, decided in the order in which it comes."""

    config: Config
    readers: Readers
    inbox: Inbox
    clock: Clock
    _turn: asyncio.Event | None = None  # set when the mail before has its place in the inbox's queue

    async def deliver(self, raw: bytes, *, submission: bool = False) -> Delivered:
        """One mail, to the end."""
        return await (await self.begin(raw, submission=submission))

    async def begin(self, raw: bytes, *, submission: bool = False) -> asyncio.Task[Delivered]:
        """Starts one mail. Many may be under way: they are read at once and share commits, but keep their order."""
        found = envelope(raw, delivered=not submission)
        to = found.candidates if submission else await addressed(self.readers, raw, found, self.config.organizers)
        door = "submission" if submission else "replay"
        mail = Mail(found.sender, to, raw, self.clock.reach(found.date), door=door)
        before, self._turn = self._turn, asyncio.Event()
        return asyncio.create_task(self._finish(found, mail, before, self._turn))

    async def _finish(
        self, found: Envelope, mail: Mail, before: asyncio.Event | None, placed: asyncio.Event
    ) -> Delivered:
        try:
            if not mail.recipients and mail.door != "submission":
                return Delivered(found, (), None)
            reading = await self.inbox.read(mail)
            if before is not None:
                await before.wait()
            settling = asyncio.create_task(self.inbox.settle(mail, reading))
            await asyncio.sleep(0)  # its first step takes its place in the queue
        finally:
            placed.set()
        return Delivered(found, mail.recipients, await settling)


async def addressed(readers: Readers, raw: bytes, found: Envelope, organizers: Sequence[str]) -> tuple[str, ...]:
    """The organizers that a mail without an envelope is decided for."""
    to = recipients(found.candidates, organizers, None)
    if len(to) == 1 or (to and organizers):
        return to
    # Only now, because it is read twice: everybody is served, or nobody who is named.
    reading = await readers.read(raw, sender=found.sender, recipients=found.candidates, submission=False)
    named = (getattr(message, "organizer", None) for message in reading.messages)
    return recipients(found.candidates, organizers, next((name for name in named if name), None))


def _addresses(headers: Headers, names: Sequence[bytes]) -> tuple[str, ...]:
    texts = (text for name in names for field in headers.all(name) for text in addresses(field))
    return tuple(islice(dict.fromkeys(found for text in texts if (found := canonical(text))), _ENOUGH))


def _natural(name: str) -> tuple[tuple[int, str], ...]:
    # 2-b before 10-a
    parts = enumerate(re.split(r"([0-9]{1,18})", name))
    return tuple((int(part), "") if index % 2 else (-1, part) for index, part in parts)


def _is_mbox(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(5) == b"From "


def _one(path: Path, limit: int) -> Item:
    size = path.stat().st_size
    return Item(str(path), path.read_bytes() if size <= limit else None, size)


def _mbox(path: Path, limit: int) -> Iterator[Item]:
    with path.open("rb") as file:
        for number, (raw, size) in enumerate(_split(file, limit), 1):
            yield Item(f"{path}#{number}", raw, size)


def _split(file: BinaryIO, limit: int) -> Iterator[tuple[bytes | None, int]]:
    """The mails of an mbox (RFC 4155, with mboxrd's quoting undone) and the bytes they took."""
    lines: list[bytes] = []
    kept = size = 0
    begun = False
    empty = True  # the line before was empty: only then does "From " begin a mail
    while line := file.readline(1 << 20):
        if empty and line.startswith(b"From "):
            if begun:
                yield (b"".join(lines[:-1]) if kept <= limit else None), size
            lines, kept, size, begun = [], 0, 0, True
            size += len(line)
            empty = False
            continue
        size += len(line)
        empty = line in (b"\n", b"\r\n")
        if line.startswith(b">") and line.lstrip(b">").startswith(b"From "):
            line = line[1:]
        kept += len(line)
        if kept <= limit:
            lines.append(line)
    if begun:
        if lines and lines[-1] in (b"\n", b"\r\n"):
            lines.pop()  # the empty line that ends a mail belongs to the mbox
        yield (b"".join(lines) if kept <= limit else None), size
