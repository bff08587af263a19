"""One transaction for many messages: gather what they need, decide in memory, write it set-wise (design.md, rule 5).

A message sees what the ones before it in the batch have done. Nothing is written before `flush`, at the exit.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import TypeVar, cast

from itipd.itip.model import (
    Attendee,
    DropAttendee,
    DropEvent,
    Event,
    Meeting,
    Proposal,
    PutAttendee,
    PutEvent,
    PutMeeting,
    PutProposal,
    Write,
)
from itipd.itip.quick import replace
from itipd.store import asking, flush, gather
from itipd.store.database import Database, Transaction
from itipd.store.rows import key_of
from itipd.store.types import key_text
from itipd.store.values import Delivered, Entry, HeldMail, Loaded, MeetingKey, OutcomeRow, Ref, Sending, Want

T = TypeVar("T")


@asynccontextmanager
async def batch(database: Database) -> AsyncIterator[Batch]:
    """A Batch; committed at the exit, rolled back on an exception. Raises Conflict: try again as a whole."""
    async with database.writing() as transaction:
        work = Batch(transaction)
        yield work
        await work.flush()


async def whole(database: Database, work: Callable[[Batch], Awaitable[T]]) -> T:
    """`work` on a Batch, then the commit, both where the database is quickest; see `Database.whole`."""

    async def run(transaction: Transaction) -> T:
        batch = Batch(transaction)
        found = await work(batch)
        await batch.flush()
        return found

    return await database.whole(run)


class Batch:
    """See the module. Used by one task at a time."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._known: dict[MeetingKey, Loaded] = {}
        self._ids = flush.Ids()
        self._pending = flush.Pending()
        self._digests: dict[tuple[str, bytes], Ref] = {}
        self._none_held: set[MeetingKey] = set()
        self._any_open = False  # held by this very batch: registering many meetings asks that of each

    async def outside(self, work: Awaitable[T]) -> T:
        """Waits for something of the event loop's; a batch waits for nothing else but its own database."""
        return await self._transaction.outside(work)

    async def seen(self, digests: Sequence[tuple[str, bytes]]) -> dict[tuple[str, bytes], int]:
        """(organizer, digest) -> id in the journal, for those that an earlier batch has written."""
        if not digests:
            return {}
        return await self._transaction.run(partial(gather.seen, digests=sorted(set(digests))))

    def journaled(self, organizer: str, digest: bytes) -> Ref | None:
        """The entry of this very batch with that digest."""
        return self._digests.get((organizer, digest))

    async def gather(self, wants: Iterable[Want]) -> None:
        """Loads what `wants` name, in a constant number of statements, and locks it against other processes.

        Always: the meeting and the series' event. `rids`: those overrides (a date alone: all of that day);
        `addresses`: the open proposals of these, and their rows but for mere answers to other instances than `rids`;
        `guests=N`: all events, and all rows of at most N + 1
        addresses; `everything`: all of it, and nobody else may write the meeting. May be called again for more; what
        is there is not fetched again.
        """
        wanted: dict[MeetingKey, Want] = {}
        for want in wants:
            key = key_of(want.organizer, want.uid)
            if not self._known.setdefault(key, Loaded()).has(want):
                wanted[key] = _union(wanted[key], want) if key in wanted else want
        if wanted:
            await self._transaction.run(partial(gather.gather, wanted=wanted, known=self._known))

    def meeting(self, organizer: str, uid: str) -> Meeting | None:
        """The meeting as it is now, in this batch; None where there is none. Raises LookupError if never gathered."""
        return self._loaded(organizer, uid).meeting

    async def apply(self, meeting: Meeting | None, organizer: str, uid: str, writes: Sequence[Write]) -> Meeting:
        """The meeting after `writes`, which were decided on `meeting`, the very one that `self.meeting` gave.

        Raises ValueError if it has changed since, or if a write touches what was not gathered: such a write would
        overwrite something that the decision has not seen.
        """
        loaded = self._loaded(organizer, uid)
        current = loaded.meeting
        if meeting is not current:
            raise ValueError(f"{uid!r} has changed since it was decided on: take it from Batch.meeting again")
        if current is None:
            current = await self._created(organizer, uid, writes)
            loaded.everything = True
        before = current  # copied only where it changes: a meeting may have 10,000 attendees
        events, proposals = cast(dict[str, Event], before.events), cast(dict[int, Proposal], before.proposals)
        attendees = cast(dict[tuple[str, str], Attendee], before.attendees)
        for write in writes:
            match write:
                case PutAttendee(row):
                    if not loaded.has_row(row.rid, row.address):
                        raise _unseen(uid, f"attendee {row.address} at {row.rid!r}")
                    attendees = dict(attendees) if attendees is before.attendees else attendees
                    attendees[row.rid, row.address] = row
                    loaded.touched_attendees.add((row.rid, row.address))
                case DropAttendee(rid, address):
                    if not loaded.has_row(rid, address):
                        raise _unseen(uid, f"attendee {address} at {rid!r}")
                    attendees = dict(attendees) if attendees is before.attendees else attendees
                    attendees.pop((rid, address), None)
                    loaded.touched_attendees.add((rid, address))
                case PutMeeting(row):
                    loaded.touched_row = True
                    current = replace(row, organizer=current.organizer, id=current.id)
                case PutEvent(event):
                    events = dict(events) if events is before.events else events
                    events[event.rid] = event
                    loaded.touched_events.add(event.rid)
                    if not loaded.has_event(event.rid):
                        raise _unseen(uid, f"event {event.rid!r}")
                case DropEvent(rid):
                    events = dict(events) if events is before.events else events
                    events.pop(rid, None)
                    loaded.touched_events.add(rid)
                    if not loaded.has_event(rid):
                        raise _unseen(uid, f"event {rid!r}")
                case PutProposal(proposal):
                    if not proposal.id:
                        proposal = replace(proposal, id=await self._id("proposals"))
                    proposals = dict(proposals) if proposals is before.proposals else proposals
                    proposals[proposal.id] = proposal
                    loaded.touched_proposals.add(proposal.id)
        loaded.id = current.id
        loaded.meeting = replace(current, events=events, attendees=attendees, proposals=proposals)
        return loaded.meeting

    async def _created(self, organizer: str, uid: str, writes: Sequence[Write]) -> Meeting:
        if not any(isinstance(write, PutMeeting) for write in writes):
            raise ValueError(f"{uid!r} has no meeting to write to, and the writes begin none")
        return Meeting(organizer, uid, id=await self._id("meetings"))

    async def _id(self, table: str) -> int:
        return self._ids.ready(table) or await self._transaction.run(partial(self._ids.one, table=table))

    def journal(self, entry: Entry) -> Ref:
        """Keeps a mail or command; its id is in the Ref after the commit."""
        ref = Ref(entry.organizer)
        self._pending.entries.append((ref, entry))
        if entry.digest is not None:
            self._digests[entry.organizer, entry.digest] = ref
        return ref

    def outcome(self, row: OutcomeRow) -> Ref:
        """Keeps what was decided for one component."""
        ref = Ref(row.entry.organizer)
        self._any_open = self._any_open or row.open
        self._pending.outcomes.append((ref, row))
        return ref

    def send(self, sending: Sending) -> Ref:
        """Puts mails into the outbox, due at once."""
        ref = Ref(sending.organizer)
        self._pending.sendings.append((ref, sending))
        return ref

    async def look_for_held(self, keys: Iterable[tuple[str, str]]) -> None:
        """Looks at once which of these (organizer, uid) have nothing held: of those `held` asks the database no more.

        Only of meetings that this batch has gathered with everything: nobody else holds anything of them meanwhile.
        """
        wanted = sorted({key_of(organizer, uid) for organizer, uid in keys})
        if wanted:
            self._none_held |= set(wanted) - await self._transaction.run(partial(gather.have_held, keys=wanted))

    async def held(self, keys: Sequence[tuple[str, str]], reason: str = "") -> list[HeldMail]:
        """Open held outcomes of these (organizer, uid), the oldest first, those of this batch too; "": any reason."""
        wanted = sorted({key_of(organizer, uid) for organizer, uid in keys})
        closed = {ref.id for ref, _ in self._pending.closed}
        stored = [key for key in wanted if key not in self._none_held]
        found = await self._transaction.run(partial(gather.held, keys=stored, reason=reason)) if stored else []
        found = [mail for mail in found if mail.outcome.id not in closed]
        mine = [(ref, row) for ref, row in self._pending.outcomes if row.open] if self._any_open else []
        entries = {id(ref): entry for ref, entry in self._pending.entries} if mine else {}
        for ref, row in mine:
            decision = row.decision
            entry = entries.get(id(row.entry))
            if entry is None or not decision.uid or (reason and decision.reason != reason):
                continue
            if key_of(entry.organizer, decision.uid) in wanted:
                found.append(gather.held_here(ref, row, entry))
        return found

    async def delivered(self, organizer: str, tokens: Sequence[str], message_ids: Sequence[str]) -> list[Delivered]:
        """What earlier batches sent for this organizer under these return path tokens or Message-IDs."""
        find = partial(gather.delivered, organizer=organizer, tokens=tokens, message_ids=message_ids)
        return await self._transaction.run(find)

    def reported(self, delivery: Delivered, status: str) -> None:
        """A delivery report about this mail counts: the end of its try, if that comes later, says no more than it."""
        self._pending.reported[delivery.id] = status

    async def undecided(self, organizer: str, uid: str, *, required: bool) -> bool:
        """Whether a guest whom this batch has not loaded has not declined; `required`: one who must come.

        Until this batch is over no other can ask it about this meeting.
        """
        loaded = self._loaded(organizer, uid)
        if not loaded.stored or loaded.everything:
            return False
        mine = loaded.addresses | {address for _, address in loaded.there.attendees}
        ask = partial(asking.undecided, key=key_of(organizer, uid), id_=loaded.id, required=required, loaded=mine)
        return await self._transaction.run(ask)

    async def knows(self, organizer: str, addresses: Iterable[str]) -> bool:
        """Whether one of these is, or was, an attendee of a meeting of this organizer's."""
        wanted = {key_text(address) for address in addresses}
        mine = (loaded.meeting for key, loaded in self._known.items() if key[0] == key_text(organizer))
        if any(address in wanted for meeting in mine if meeting is not None for _, address in meeting.attendees):
            return True
        return await self._transaction.run(partial(asking.known, organizer=key_text(organizer), addresses=wanted))

    async def taking_place(self, organizer: str, start: datetime, end: datetime, limit: int) -> list[Meeting]:
        """This organizer's meetings that are not cancelled and may take place between the two times; their events.

        At most `limit` of those that earlier batches have stored.
        """
        find = partial(asking.held, organizer=organizer, start=start, end=end, limit=limit)
        found = {meeting.id: meeting for meeting in await self._transaction.run(find)}
        for key, loaded in self._known.items():
            if key[0] == key_text(organizer) and loaded.touched and loaded.everything and loaded.meeting is not None:
                found[loaded.id] = loaded.meeting
        return [meeting for _, meeting in sorted(found.items())]

    def close_held(self, outcome: Ref, state: str) -> None:
        """A held outcome is open no more; `state` says how it ended: accepted, rejected, decided.

        Another process that closed it first makes the flush raise Conflict.
        """
        for number, (ref, row) in enumerate(self._pending.outcomes):
            if ref is outcome:
                self._pending.outcomes[number] = (ref, replace(row, open=False))
                return
        self._pending.closed.append((outcome, state))

    async def flush(self) -> None:
        """Writes everything, in a constant number of statements, and commits. The batch is over."""
        write = partial(flush.flush, ids=self._ids, known=self._known, pending=self._pending)
        await self._transaction.commit(write)

    def _loaded(self, organizer: str, uid: str) -> Loaded:
        loaded = self._known.get(key_of(organizer, uid))
        if loaded is None:
            raise LookupError(f"{uid!r} of {organizer} was not gathered: name it in a Want first")
        return loaded


def _unseen(uid: str, what: str) -> ValueError:
    return ValueError(f"{what} of {uid!r} was not gathered: name it in a Want first")


def _union(one: Want, two: Want) -> Want:
    return replace(
        one,
        addresses=one.addresses | two.addresses,
        rids=one.rids | two.rids,
        everything=one.everything or two.everything,
        guests=max(one.guests, two.guests),
    )
