"""What is kept no longer than configured: raw mail, outcomes, what was sent; removed in small steps.

Each step is a transaction of its own, so that the inbox waits for none of them long; several processes may work at it.
A meeting whose journal is not whole any more is written down in `gaps`: it cannot be proven, and `itipd db rebuild`
says so. It must never remove what still waits to be sent, and never a meeting.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING

from sqlalchemy import Connection, and_, delete, exists, func, insert, or_, select, text, update

from itipd.store.listing import dialect_of
from itipd.store.schema import attempts, deliveries, gaps, journal, meetings, outcomes, sendings, settings
from itipd.store.types import key_text

if TYPE_CHECKING:
    from itipd.store.store import Store

STEP = 500
"""Rows that one step looks at."""

MAILS = 2000
"""Deliveries that one step removes at most, but for those of one sending."""

GONE = zlib.compress(b"")
"""What stands in the journal for a mail or order that was removed."""

RETENTION, FORGOTTEN = "retention", "forgotten"
"""Why a meeting has a gap."""

EXPIRED = "expired"
"""The state of what waited for a person until its mail was removed."""

MAIL_MARK, SENT_MARK = "purged_mail", "purged_sent"
"""Settings: the id up to which raw mail was removed; the time before which deliveries may be missing."""


async def purge_mail(store: Store, before: datetime, now: datetime, after: int = 0) -> int | None:
    """Removes the bytes of received mails older than `before`; what of them was held is open no more.

    A step; the id to go on behind, None at the end.
    """

    def work(connection: Connection) -> int | None:
        last = max(after, int(_setting(connection, MAIL_MARK) or 0))
        query = select(journal.c.id, journal.c.received_at).where(text("kind IN ('mail', 'submission')"))
        rows = connection.execute(query.where(journal.c.id > last).order_by(journal.c.id).limit(STEP)).all()
        old: list[int] = [row.id for row in takewhile(lambda row: row.received_at < before, rows)]
        if not old:
            return None
        empty(connection, old, RETENTION, now)
        held = and_(outcomes.c.journal_id.in_(old), outcomes.c.state == "open")
        connection.execute(update(outcomes).where(held).values(state=EXPIRED))
        _set(connection, MAIL_MARK, str(old[-1]))
        return old[-1] if len(old) == STEP else None

    return await _step(store, work)


async def purge_outcomes(store: Store, before: datetime, now: datetime, after: int = 0) -> int | None:
    """Removes entries of the journal older than `before` with their outcomes, but for those whose mail is still kept.

    A step; the id to go on behind, None at the end.
    """

    def work(connection: Connection) -> int | None:
        query = select(journal.c.id, journal.c.received_at).where(journal.c.id > after).order_by(journal.c.id)
        rows = connection.execute(query.limit(STEP)).all()
        old: list[int] = [row.id for row in takewhile(lambda row: row.received_at < before, rows)]
        kept = set(connection.scalars(select(sendings.c.journal_id).where(sendings.c.journal_id.in_(old))))
        over = [id_ for id_ in old if id_ not in kept]
        if over:
            mark_gaps(connection, _meetings_of(connection, over), RETENTION, now)
            connection.execute(delete(outcomes).where(outcomes.c.journal_id.in_(over)))
            connection.execute(delete(journal).where(journal.c.id.in_(over)))
        return old[-1] if len(old) == STEP else None

    return await _step(store, work)


async def purge_sent(store: Store, before: datetime, now: datetime, after: int = 0) -> int | None:
    """Removes what was sent, or has failed, of sendings older than `before`, with its attempts.

    A step; the id to go on behind, None at the end.
    """

    def work(connection: Connection) -> int | None:
        query = select(sendings.c.id, sendings.c.created_at).where(sendings.c.id > after).order_by(sendings.c.id)
        rows = connection.execute(query.limit(STEP)).all()
        old: list[int] = [row.id for row in takewhile(lambda row: row.created_at < before, rows)]
        open_ = or_(deliveries.c.due_at.is_not(None), deliveries.c.state == "held")
        waits = set(connection.scalars(select(deliveries.c.sending_id).where(deliveries.c.sending_id.in_(old), open_)))
        sizes = select(deliveries.c.sending_id, func.count()).where(deliveries.c.sending_id.in_(old))
        size = {row[0]: row[1] for row in connection.execute(sizes.group_by(deliveries.c.sending_id))}
        over: list[int] = []
        last, number = after, 0
        for id_ in old:
            number += size.get(id_, 0)
            if over and number > MAILS:
                break
            last = id_
            if id_ not in waits:
                over.append(id_)
        if over:
            remove_sendings(connection, over)
            _set(connection, SENT_MARK, max(before.isoformat(), _setting(connection, SENT_MARK) or ""))
        return last if old and (last != old[-1] or len(old) == STEP) else None

    return await _step(store, work)


def remove_sendings(connection: Connection, ids: Sequence[int]) -> None:
    """With their deliveries and attempts."""
    theirs = select(deliveries.c.id).where(deliveries.c.sending_id.in_(ids))
    connection.execute(delete(attempts).where(attempts.c.delivery_id.in_(theirs)))
    connection.execute(delete(deliveries).where(deliveries.c.sending_id.in_(ids)))
    connection.execute(delete(sendings).where(sendings.c.id.in_(ids)))


def empty(connection: Connection, ids: Sequence[int], why: str, now: datetime) -> None:
    """Removes the bytes of entries of the journal; their digests stay, so that the same mail again has no effect."""
    mark_gaps(connection, _meetings_of(connection, ids), why, now)
    connection.execute(update(journal).where(journal.c.id.in_(ids)).values(packed=GONE))


def mark_gaps(connection: Connection, found: Sequence[tuple[str, int]], why: str, now: datetime) -> None:
    """Writes down meetings (organizer, id) that the journal does not prove any more; the last reason stands."""
    for organizer, id_ in sorted(found):
        mine = and_(gaps.c.organizer == organizer, gaps.c.meeting_id == id_)
        if not connection.execute(update(gaps).where(mine).values(at=now, why=why)).rowcount:
            connection.execute(insert(gaps), {"organizer": organizer, "meeting_id": id_, "at": now, "why": why})


async def unproven(store: Store) -> dict[tuple[str, str], str]:
    """(organizer, UID) -> why its journal is not whole: `retention` or `forgotten`."""
    query = select(meetings.c.organizer, meetings.c.uid, gaps.c.why)
    query = query.join_from(gaps, meetings, gaps.c.meeting_id == meetings.c.id)
    found = await store.database.read(lambda connection: connection.execute(query).all())
    return {(organizer, uid): why for organizer, uid, why in found}


async def sent_since(store: Store) -> datetime | None:
    """The time before which deliveries may have been removed; None: all are there."""
    found = await store.database.read(partial(_setting, name=SENT_MARK))
    return datetime.fromisoformat(found) if found else None


def _meetings_of(connection: Connection, ids: Sequence[int]) -> list[tuple[str, int]]:
    there = exists().where(meetings.c.id == outcomes.c.meeting_id)
    query = select(outcomes.c.organizer, outcomes.c.meeting_id).where(outcomes.c.journal_id.in_(ids), there)
    return [(row[0], row[1]) for row in connection.execute(query.distinct())]


def _setting(connection: Connection, name: str) -> str | None:
    value = connection.scalar(select(settings.c.value).where(settings.c.name == name))
    return bytes(value).decode() if value is not None else None


def _set(connection: Connection, name: str, value: str) -> None:
    row = {"value": value.encode()}
    if not connection.execute(update(settings).where(settings.c.name == key_text(name)).values(row)).rowcount:
        connection.execute(insert(settings), {"name": name, **row})


async def _step(store: Store, work: Callable[[Connection], int | None]) -> int | None:
    def alone(connection: Connection) -> int | None:
        # Two processes would only wait for each other to do the same thing.
        mine = dialect_of(connection) == "sqlite" or connection.scalar(_lock, {"number": _AT_IT})
        return work(connection) if mine else None

    async with store.database.writing() as transaction:
        return await transaction.commit(alone)


_AT_IT = 0x6974_7072  # the advisory lock under which one process of many purges
_lock = text("SELECT pg_try_advisory_xact_lock(:number)")
