"""What the store's tests have in common: a meeting, a reply, a mail to be sent."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

from itipd.itip.model import (
    Attendee,
    Change,
    Decision,
    Event,
    Meeting,
    Moment,
    PutAttendee,
    PutEvent,
    PutMeeting,
    Revision,
    Write,
)
from itipd.itip.outcomes import Outcome, Reason
from itipd.store import Batch, Entry, NewDelivery, OutcomeRow, Ref, Sending, Store, Want, prepared

NOW = datetime(2026, 11, 20, 8, 0, 5, 123456, tzinfo=UTC)
WE = "meetings@example.com"
BOB = "bob@example.com"
EVE = "eve@example.org"


def moment(day: int, hour: int) -> Moment:
    """A time in Berlin's winter."""
    local = datetime(2026, 12, day, hour)  # noqa: DTZ001 - a wall clock
    return Moment(local, local.replace(tzinfo=UTC) - timedelta(hours=1))


def guest(address: str, position: int = 0) -> Attendee:
    """A guest of the series who has not answered."""
    return Attendee(address, position=position, params={"CN": (address.partition("@")[0],)})


def put(
    uid: str, guests: Iterable[Attendee] = (), events: Iterable[Event] = (), component: str = "VEVENT"
) -> list[Write]:
    """What registering a meeting comes to."""
    master = Event("", component, f"UID:{uid}\nSUMMARY:Plan\n", summary="Plan", start=moment(1, 10), end=moment(1, 11))
    written: list[Write] = [PutMeeting(Meeting(WE, uid, component=component, name="Meetings"))]
    written += [PutEvent(event) for event in (master, *events)]
    written += [PutAttendee(row) for row in guests]
    return written


async def register(store: Store, uid: str, *guests: Attendee, events: Iterable[Event] = ()) -> Meeting:
    """A meeting, in a batch of its own."""
    async with store.batch() as batch:
        await batch.gather([Want(WE, uid, everything=True)])
        return await batch.apply(batch.meeting(WE, uid), WE, uid, put(uid, guests, events))


async def whole(store: Store, uid: str) -> Meeting:
    """The meeting as a query sees it."""
    found = await store.meeting(uid, WE)
    assert found is not None
    return found


async def answer(batch: Batch, uid: str, address: str, partstat: str = "ACCEPTED", at: datetime = NOW) -> Attendee:
    """Applies a reply to the series as the inbox does, with its mail and its outcome."""
    meeting = batch.meeting(WE, uid)
    assert meeting is not None
    old = meeting.attendees["", address]
    new = replace(old, partstat=partstat, revision=Revision(0, at), replied_at=at)
    await batch.apply(meeting, WE, uid, [PutAttendee(new)])
    change = Change(address, "", "partstat", old.partstat, partstat)
    said = Decision(
        Outcome.UPDATED, Reason.REPLIED, uid=uid, attendee=address, partstat=partstat, method="REPLY", changes=(change,)
    )
    batch.outcome(OutcomeRow(mail(batch), 0, said, at))
    return new


def mail(batch: Batch, raw: bytes = b"raw", digest: bytes | None = None, kind: str = "mail") -> Ref:
    """A mail in the journal."""
    packed = zlib.compress(raw)
    return batch.journal(Entry(WE, kind, NOW, packed, sender=BOB, recipients=(WE,), from_=BOB, digest=digest))


async def reply(store: Store, uid: str, address: str, partstat: str = "ACCEPTED", at: datetime = NOW) -> None:
    """A reply in a batch of its own."""
    async with store.batch() as batch:
        await batch.gather([Want(WE, uid, frozenset({address}))])
        await answer(batch, uid, address, partstat, at)


def sending(
    meeting: Meeting, cause: Ref, *to: str, method: str = "REQUEST", rid: str = "", at: datetime = NOW
) -> Sending:
    """Mails about a meeting."""
    deliveries = tuple(NewDelivery(one, f"<{at.timestamp()}.{rid}.{one}>", f"token{one}") for one in to)
    return Sending(
        *(meeting.organizer, meeting.name, meeting.uid, meeting.id, method, rid, meeting.sequence),
        *("registered", "Plan", "BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n", at, deliveries, cause),
    )


async def send(store: Store, meeting: Meeting, *to: str, method: str = "REQUEST", rid: str = "") -> None:
    """Puts mails into the outbox."""
    async with store.batch() as batch:
        batch.send(sending(meeting, mail(batch, kind="put"), *to, method=method, rid=rid))


class _Watched:
    """A driver's cursor that says what it executes."""

    def __init__(self, cursor: Any, note: Callable[[str], None]) -> None:
        self._cursor = cursor
        self._note = note

    def execute(self, sql: str, *values: Any) -> None:
        self._note(sql)
        self._cursor.execute(sql, *values)

    def executemany(self, sql: str, *values: Any) -> None:
        self._note(sql)
        self._cursor.executemany(sql, *values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)


@contextmanager
def watched(note: Callable[[str], None]) -> Iterator[None]:
    """`note` is called with every statement before it is executed, on any engine; what it raises, the driver raises."""

    def from_engine(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        note(statement)

    plain = prepared.cursor.__enter__
    event.listen(Engine, "before_cursor_execute", from_engine)
    prepared.cursor.__enter__ = lambda self: _Watched(plain(self), note)  # type: ignore[method-assign]
    try:
        yield
    finally:
        prepared.cursor.__enter__ = plain  # type: ignore[method-assign]
        event.remove(Engine, "before_cursor_execute", from_engine)


@contextmanager
def statements() -> Iterator[list[str]]:
    """The statements that are executed meanwhile, on any engine."""
    found: list[str] = []
    with watched(found.append):
        yield found
