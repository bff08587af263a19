"""Reading the journal: every mail and command as it came, what was decided about it, and what waits for a person.

Lists are newest first, except `journal_from` and `held_list`. See `queries` for their shape. It must never write.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, ScalarSelect, Select, and_, literal_column, select, text

from itipd.itip.uids import uid_key
from itipd.store import gather
from itipd.store.listing import NUMBER, Keys, dialect_of, packed
from itipd.store.queries import NEWEST, Line, cursor, iso
from itipd.store.schema import attempts, deliveries, journal, meetings, outcomes, sendings
from itipd.store.values import HeldMail

if TYPE_CHECKING:
    from itipd.store.store import Store


@dataclass(frozen=True, slots=True)
class JournalRow:
    """A mail or command, enough to play it again. `raw` are its bytes as they came, none where they were removed."""

    id: int
    organizer: str
    kind: str
    received_at: datetime
    sender: str
    recipients: tuple[str, ...]
    client: str
    raw: bytes


async def journal_from(store: Store, after: int = 0, limit: int = 500) -> list[JournalRow]:
    """Entries with a greater id than `after`, in the order in which they were decided."""
    names = ("id", "organizer", "kind", "received_at", "sender", "recipients", "client", "packed")
    query = select(*(journal.c[name] for name in names)).where(journal.c.id > after).order_by(journal.c.id).limit(limit)

    def work(connection: Connection) -> list[JournalRow]:
        return [
            JournalRow(id_, owner, kind, at, sender, tuple(recipients or ()), client, zlib.decompress(data))
            for id_, owner, kind, at, sender, recipients, client, data in connection.execute(query)
        ]

    return await store.database.read(work)


_head = tuple(column for column in journal.c if column.name not in ("packed", "digest"))


async def mail_list(store: Store, limit: int = 100, after: int | str | None = None) -> tuple[list[Line], int | None]:
    """Received mail with its `results`, the latest first; commands and puts are not in it."""
    query = select(*_head).where(text("kind IN ('mail', 'submission')"), journal.c.id < cursor(after, NEWEST))
    query = query.order_by(journal.c.id.desc()).limit(limit)

    def work(connection: Connection) -> tuple[list[Line], int | None]:
        found = connection.execute(query).all()
        results = _results(connection, (row.id for row in found))
        return [_mail(row, results[row.id]) for row in found], found[-1].id if len(found) == limit else None

    return await store.database.read(work)


async def mail(store: Store, id_: int) -> Line | None:
    """One entry of the journal, of any kind: as in the list, with `raw` (bytes) and `send`, what left because of it."""
    query = select(*_head, journal.c.packed).where(journal.c.id == id_)

    def work(connection: Connection) -> Line | None:
        row = connection.execute(query).first()
        if row is None:
            return None
        line = _mail(row, _results(connection, [id_])[id_])
        sent = connection.execute(_sent(dialect_of(connection)), packed([{"i": id_}]))
        told: dict[int, Line] = {}
        for number, method, uid, rid, sequence, reason, to in sent:
            send = {"method": method, "uid": uid, "to": [], "recurrence_id": rid or None, "sequence": sequence}
            told.setdefault(number, send | {"reason": reason})["to"].append(to)
        return line | {"send": list(told.values()), "raw": zlib.decompress(row.packed)}

    return await store.database.read(work)


def _mail(row: Any, results: list[Line]) -> Line:
    return {
        "id": row.id,
        "kind": row.kind,
        "organizer": row.organizer,
        "received_at": iso(row.received_at),
        "sender": row.sender,
        "to": list(row.recipients or ()),
        "client": row.client,
        "message_id": row.message_id,
        "from": row.from_header,
        "results": results,
    }


def _results(connection: Connection, ids: Iterable[int]) -> dict[int, list[Line]]:
    """The outcomes of each journal entry, in order."""
    results: dict[int, list[Line]] = defaultdict(list)
    for row in connection.execute(_outcomes(dialect_of(connection)), packed({"i": id_} for id_ in ids)):
        results[row.journal_id].append(_result(row))
    return results


def _result(row: Any) -> Line:
    """The words of `itipd replay --json`, then `detail`, and `held` with the state of what waits or waited."""
    return {
        "outcome": row.outcome,
        "reason": row.reason,
        "method": row.method,
        "uid": row.uid,
        "recurrence_id": row.rid or None,
        "attendee": row.attendee,
        "partstat": row.partstat,
        "sequence": row.sequence,
        "quirks": row.quirks or [],
        "changes": [
            {"attendee": who, "recurrence_id": rid or None, "field": field, "old": old, "new": new}
            for who, rid, field, old, new in row.changes or ()
        ],
        "detail": row.detail,
        "held": {"id": row.id, "state": row.state} if row.state is not None else None,
    }


@cache
def _outcomes(dialect: str) -> Select[Any]:
    keys = Keys(dialect, i=NUMBER)
    chosen = outcomes.c.journal_id.in_(select(keys.columns["i"]).select_from(keys.table))
    return select(outcomes).where(chosen).order_by(outcomes.c.id)


@cache
def _sent(dialect: str) -> Select[Any]:
    keys = Keys(dialect, i=NUMBER)
    names = ("id", "method", "uid", "rid", "sequence", "reason")
    return (
        select(*(sendings.c[name] for name in names), deliveries.c.recipient)
        .select_from(sendings.join(deliveries, deliveries.c.sending_id == sendings.c.id))
        .where(sendings.c.journal_id.in_(select(keys.columns["i"]).select_from(keys.table)))
        .order_by(deliveries.c.id)
    )


async def history(
    store: Store, organizer: str, uid: str, limit: int = 100, after: int | str | None = None
) -> list[Line]:
    """What was decided for a meeting and why, the latest first; those before the line whose `id` is `after`."""
    query = select(outcomes).where(outcomes.c.meeting_id == _meeting_id(organizer, uid))
    query = query.where(outcomes.c.id < cursor(after, NEWEST)).order_by(outcomes.c.id.desc()).limit(limit)

    def work(connection: Connection) -> list[Line]:
        return [_past(row) for row in connection.execute(query)]

    return await store.database.read(work)


def _meeting_id(organizer: str, uid: str) -> ScalarSelect[Any]:
    key = and_(meetings.c.organizer == organizer, meetings.c.uid_key == uid_key(uid))
    return select(meetings.c.id).where(key).scalar_subquery()


def _past(row: Any) -> Line:
    result = _result(row)
    comments = [change["new"] for change in result["changes"] if change["field"] == "comment"]
    return {
        "id": row.id,
        "at": iso(row.at),
        **result,
        "comment": comments[-1] if comments else None,
        "mail": row.journal_id,
    }


_held_query = select(
    outcomes, *(journal.c[name] for name in ("received_at", "sender", "from_header", "message_id", "packed"))
).select_from(outcomes.join(journal, journal.c.id == outcomes.c.journal_id))


async def held_list(store: Store, limit: int = 1000, after: int | str | None = None) -> tuple[list[Line], int | None]:
    """What waits for a person or a put, the oldest first."""
    query = _held_query.where(outcomes.c.state == literal_column("'open'"), outcomes.c.id > cursor(after, 0))
    query = query.order_by(outcomes.c.id).limit(limit)

    def work(connection: Connection) -> tuple[list[Line], int | None]:
        found = connection.execute(query).all()
        return [_held(row) for row in found], found[-1].id if len(found) == limit else None

    return await store.database.read(work)


async def held(store: Store, id_: int) -> Line | None:
    """One held outcome, open or not, with the mail's `raw` bytes; None if nothing under this id was held."""
    query = _held_query.where(outcomes.c.state.is_not(None), outcomes.c.id == id_)

    def work(connection: Connection) -> Line | None:
        row = connection.execute(query).first()
        return _held(row) | {"raw": zlib.decompress(row.packed)} if row is not None else None

    return await store.database.read(work)


async def held_mail(store: Store, id_: int) -> HeldMail | None:
    """What a batch needs to decide it again; None if it is not open any more (or never was)."""
    query = gather.held_query().where(outcomes.c.id == id_, outcomes.c.state == "open")

    def work(connection: Connection) -> HeldMail | None:
        row = connection.execute(query).first()
        return gather.held_of(row) if row is not None else None

    return await store.database.read(work)


def _held(row: Any) -> Line:
    result = _result(row)
    del result["held"], result["changes"]
    return {
        "id": row.id,
        "state": row.state,
        "organizer": row.organizer,
        **result,
        "received_at": iso(row.received_at),
        "from": row.from_header,
        "sender": row.sender,
        "message_id": row.message_id,
        "mail": row.journal_id,
    }


_queue_query = select(
    deliveries, *(sendings.c[name] for name in ("method", "uid", "sequence", "reason", "created_at", "journal_id"))
).select_from(deliveries.join(sendings, sendings.c.id == deliveries.c.sending_id))


async def outbox_list(
    store: Store,
    state: str | None = None,
    limit: int = 100,
    after: int | str | None = None,
    *,
    organizer: str | None = None,
    uid: str | None = None,
    newest: bool = False,
) -> tuple[list[Line], int | None]:
    """Outgoing mail in order of id, or `newest` first."""
    query = _queue_query.limit(limit)
    if newest:
        query = query.where(deliveries.c.id < cursor(after, NEWEST)).order_by(deliveries.c.id.desc())
    else:
        query = query.where(deliveries.c.id > cursor(after, 0)).order_by(deliveries.c.id)
    if state in ("failed", "held"):
        query = query.where(text("state IN ('failed', 'held')"), deliveries.c.state == state)
    elif state in ("waiting", "sending"):
        query = query.where(deliveries.c.due_at.is_not(None), deliveries.c.state == state)
    elif state is not None:
        query = query.where(deliveries.c.state == state)
    if organizer is not None and uid is not None:
        query = query.where(sendings.c.meeting_id == _meeting_id(organizer, uid))
    elif organizer is not None:
        query = query.where(sendings.c.organizer == organizer)
    elif uid is not None:
        query = query.where(deliveries.c.uid_key == uid_key(uid))

    def work(connection: Connection) -> tuple[list[Line], int | None]:
        found = connection.execute(query).all()
        return [_queued(row) for row in found], found[-1].id if len(found) == limit else None

    return await store.database.read(work)


async def outbox(store: Store, id_: int) -> Line | None:
    """One of them, with `attempts_made` (at, state, code, error), `organizer`, `calendar` and the `mail` behind it."""
    query = _queue_query.add_columns(sendings.c.calendar, sendings.c.summary).where(deliveries.c.id == id_)
    tries = select(attempts).where(attempts.c.delivery_id == id_).order_by(attempts.c.id)

    def work(connection: Connection) -> Line | None:
        row = connection.execute(query).first()
        if row is None:
            return None
        made = [
            {"at": iso(one.at), "state": one.state, "code": one.code, "error": one.error}
            for one in connection.execute(tries)
        ]
        more = {"organizer": row.organizer, "summary": row.summary, "created_at": iso(row.created_at)}
        return _queued(row) | more | {"mail": row.journal_id, "calendar": row.calendar, "attempts_made": made}

    return await store.database.read(work)


def _queued(row: Any) -> Line:
    return {
        "id": row.id,
        "method": row.method,
        "uid": row.uid,
        "recurrence_id": row.rid or None,
        "sequence": row.sequence,
        "to": [row.recipient],
        "state": row.state,
        "attempts": row.attempts,
        "next_attempt": iso(row.due_at) if row.state == "waiting" else None,
        "last_error": row.last_error,
        "message_id": row.message_id,
        "reason": row.reason,
    }
