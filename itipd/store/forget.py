"""Removing a person's data: from meetings, proposals, the outbox, the journal and what was decided.

The meetings stay, consistent, without the person; that their journal is not whole any more is written in `gaps`. What
the organizer's own texts say is left and told. Broken off in the middle, it is simply done again.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    Text,
    and_,
    delete,
    exists,
    false,
    func,
    or_,
    select,
    tuple_,
    type_coerce,
    update,
)

from itipd.store import gather
from itipd.store.listing import dialect_of
from itipd.store.retention import EXPIRED, FORGOTTEN, empty, mark_gaps, remove_sendings
from itipd.store.schema import attempts, attendees, deliveries, events, journal, meetings, outcomes, proposals, sendings
from itipd.store.values import StoreError, Want

if TYPE_CHECKING:
    from itipd.store.store import Store

STEP = 200
"""Rows of the journal that are searched, and written, in one go."""


class IsOrganizerError(StoreError):
    """The address is an organizer's, whose meetings these are."""


@dataclass(frozen=True, slots=True)
class Person:
    """Whom to forget: all addresses, what finds them in a text, in the bytes of a mail, and takes them out of both."""

    addresses: frozenset[str]
    pattern: re.Pattern[str]
    mentioned: Callable[[bytes], bool]
    without: Callable[[str], str]  # of a calendar
    nobody: str


@dataclass(slots=True)
class Forgotten:
    """How many rows of each kind were removed or rewritten; the UIDs whose texts still name the person."""

    attendees: int = 0
    meetings: int = 0
    proposals: int = 0
    outgoing: int = 0
    mails: int = 0
    outcomes: int = 0
    texts: list[str] = field(default_factory=list)


async def forget(store: Store, person: Person, now: datetime) -> Forgotten:
    """Raises IsOrganizerError, with nothing removed, if it is no guest."""
    done = Forgotten()
    async with store.database.writing() as transaction:
        await transaction.commit(partial(_meetings, person=person, now=now, done=done))
    last: int | None = 0
    while last is not None:
        ids, last = await store.database.read(partial(_search, person=person, after=last))
        if ids:
            async with store.database.writing() as transaction:
                await transaction.commit(partial(_mails, ids=ids, person=person, now=now, done=done))
    async with store.database.writing() as transaction:
        await transaction.commit(partial(_said, person=person, done=done))
    await store.database.tidy()
    return done


def _named(person: Person, *columns: Any) -> ColumnElement[bool]:
    """Where one of these columns, as the database has it, may name the person; the pattern then says so for certain."""
    found = (
        func.lower(type_coerce(column, Text)).contains(address, autoescape=True)
        for column in columns
        for address in sorted(person.addresses)
    )
    return or_(false(), *found)


def _meetings(connection: Connection, *, person: Person, now: datetime, done: Forgotten) -> None:
    if connection.scalar(select(meetings.c.id).where(meetings.c.organizer.in_(person.addresses)).limit(1)) is not None:
        raise IsOrganizerError(
            f"{', '.join(sorted(person.addresses))}: an organizer here; its meetings cannot be without it"
        )
    if dialect_of(connection) == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete = ON")  # what is removed is overwritten; this process is short
    texts = ("params", "comment", "delegated_to", "delegated_from", "sent_by")
    guest = or_(attendees.c.address.in_(person.addresses), _named(person, *(attendees.c[name] for name in texts)))
    offered = (
        proposals.c.attendee.in_(person.addresses),
        _named(person, *(proposals.c[n] for n in ("proposed", "added", "comment"))),
    )
    of_guests = select(attendees.c.organizer, attendees.c.meeting_id).where(guest)
    of_proposals = select(proposals.c.organizer, proposals.c.meeting_id).where(or_(*offered))
    owners = sorted({tuple(row) for query in (of_guests, of_proposals) for row in connection.execute(query.distinct())})
    ids = [id_ for _, id_ in owners]
    keys = connection.execute(select(meetings.c.organizer, meetings.c.uid_key).where(meetings.c.id.in_(ids))).all()
    # Nobody decides about them meanwhile.
    gather.lock(connection, {(owner, key): Want(owner, key, everything=True) for owner, key in keys})
    gone = connection.execute(delete(attendees).where(attendees.c.address.in_(person.addresses)))
    done.attendees += gone.rowcount
    done.attendees += _rewrite(connection, attendees, guest, texts, person)
    done.proposals += connection.execute(delete(proposals).where(offered[0])).rowcount
    done.proposals += _rewrite(connection, proposals, offered[1], ("proposed", "added", "comment"), person)
    mark_gaps(connection, owners, FORGOTTEN, now)
    done.meetings += len(owners)
    _outgoing(connection, ids, person, done)
    named = select(meetings.c.uid).join_from(events, meetings, events.c.meeting_id == meetings.c.id)
    done.texts += connection.scalars(named.where(_named(person, events.c.lines)).distinct().order_by(meetings.c.uid))


def _outgoing(connection: Connection, ids: Sequence[int], person: Person, done: Forgotten) -> None:
    mine = deliveries.c.recipient.in_(person.addresses)
    numbers = select(deliveries.c.id).where(mine)
    connection.execute(delete(attempts).where(attempts.c.delivery_id.in_(numbers)))
    done.outgoing += connection.execute(delete(deliveries).where(mine)).rowcount
    left = exists().where(deliveries.c.sending_id == sendings.c.id)
    remove_sendings(connection, connection.scalars(select(sendings.c.id).where(~left)).all())
    for id_ in connection.scalars(select(sendings.c.id).where(sendings.c.meeting_id.in_(ids))).all():
        row = connection.execute(select(sendings).where(sendings.c.id == id_)).one()
        calendar, comment = person.without(row.calendar), row.comment and person.pattern.sub(person.nobody, row.comment)
        if (calendar, comment) != (row.calendar, row.comment):
            connection.execute(update(sendings).where(sendings.c.id == id_).values(calendar=calendar, comment=comment))
            done.outgoing += 1
    _rewrite(connection, deliveries, _named(person, deliveries.c.line), ("line",), person)


def _search(connection: Connection, *, person: Person, after: int) -> tuple[list[int], int | None]:
    """Of the next entries of the journal those that name the person; where to go on."""
    rows = connection.execute(select(journal).where(journal.c.id > after).order_by(journal.c.id).limit(STEP)).all()
    found = []
    for row in rows:
        heads = " ".join((row.sender, row.from_header, row.message_id, *(row.recipients or ())))
        if person.pattern.search(heads) or person.mentioned(zlib.decompress(row.packed)):
            found.append(row.id)
    return found, rows[-1].id if rows else None


def _mails(connection: Connection, *, ids: Sequence[int], person: Person, now: datetime, done: Forgotten) -> None:
    empty(connection, ids, FORGOTTEN, now)
    open_ = and_(outcomes.c.journal_id.in_(ids), outcomes.c.state == "open")
    connection.execute(update(outcomes).where(open_).values(state=EXPIRED))
    texts = ("sender", "from_header", "message_id", "recipients")
    _rewrite(connection, journal, journal.c.id.in_(ids), texts, person)
    done.mails += len(ids)


def _said(connection: Connection, *, person: Person, done: Forgotten) -> None:
    """What was decided stays, without who it was about."""
    named = _named(person, outcomes.c.attendee, outcomes.c.changes, outcomes.c.detail)
    done.outcomes += _rewrite(connection, outcomes, named, ("attendee", "changes", "detail"), person)


def _rewrite(
    connection: Connection, table: Table, chosen: ColumnElement[bool], names: Iterable[str], person: Person
) -> int:
    """In these columns of the chosen rows nobody stands where the person stood; how many rows had the person."""
    key = tuple(table.primary_key)
    count = 0
    for row in connection.execute(select(table).where(chosen)).all():
        old = {name: getattr(row, name) for name in names}
        new = {name: _nobody(value, person) for name, value in old.items()}
        if new != old:
            mine = tuple_(*key) == tuple_(*(getattr(row, column.name) for column in key), types=[c.type for c in key])
            connection.execute(update(table).where(mine).values(new))
            count += 1
    return count


def _nobody(value: Any, person: Person) -> Any:
    if isinstance(value, str):
        return person.pattern.sub(person.nobody, value)
    if isinstance(value, dict):
        return {name: _nobody(one, person) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_nobody(one, person) for one in value]
    return value
