"""What must be true of every database of itipd, and a sentence for each thing that is not (README, "Durability").

It only reads. The rows are read in pages, each in a transaction of its own, so that a running daemon is not held up;
what is about a single statement sees one state.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    distinct,
    exists,
    func,
    inspect,
    or_,
    select,
    text,
    tuple_,
)

from itipd.itip.model import Moment
from itipd.itip.outcomes import Outcome, Reason
from itipd.itip.uids import uid_key
from itipd.store import migrations
from itipd.store.claims import FAILED, SENT, STATES
from itipd.store.listing import dialect_of
from itipd.store.schema import (
    attempts,
    attendees,
    deliveries,
    events,
    journal,
    meetings,
    metadata,
    outcomes,
    proposals,
    sendings,
    settings,
)
from itipd.store.types import key_text

if TYPE_CHECKING:
    from itipd.store.store import Store

PAGE = 500
"""Rows that are read at once."""

MOST = 20
"""Sentences about single rows; where there are more, the database is beyond sentences."""

ENDED = ("open", "accepted", "rejected", "decided", "expired")
KINDS = ("mail", "submission", "put", "command")


async def verify(store: Store) -> list[str]:
    """One sentence for each thing that is wrong; [] for a sound database."""
    found = await store.database.read(lambda connection: [*_engine(connection), *_schema(connection)])
    if found:
        return found  # where pages or columns are missing, every question about rows fails
    found = await store.database.read(lambda connection: [*_rows(connection), *_ids(connection)])
    for table in metadata.sorted_tables:
        last: tuple[Any, ...] | None = None
        while len(found) < MOST:
            wrong, last = await store.database.read(partial(_page, table=table, after=last))
            found += wrong
            if last is None:
                break
    return found


def _engine(connection: Connection) -> list[str]:
    if dialect_of(connection) != "sqlite":
        return []
    found = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check(20)") if row[0] != "ok"]
    return [f"SQLite: {line}" for line in found]


def _schema(connection: Connection) -> Iterator[str]:
    there = inspect(connection)
    names = set(there.get_table_names())
    for table in metadata.sorted_tables:
        if table.name not in names:
            yield f"there is no table {table.name}"
            continue
        columns = {column["name"] for column in there.get_columns(table.name)}
        yield from (f"{table.name} has no column {column.name}" for column in table.c if column.name not in columns)
        indexes = {index["name"] for index in there.get_indexes(table.name)}
        yield from (f"{table.name} has no index {index.name}" for index in table.indexes if index.name not in indexes)
    if migrations.version(connection) != migrations.HEAD:
        yield f"the tables are of version {migrations.version(connection)}, not {migrations.HEAD}"


def _rows(connection: Connection) -> Iterator[str]:
    for sentence, query in _checks():
        row = connection.execute(query).one()
        if row[0]:
            yield f"{row[0]} {sentence} (the first: {row[1]})"
    secret = connection.scalar(select(settings.c.value).where(settings.c.name == "secret"))
    if secret is None or len(secret) != 32:
        yield "the secret that tokens are signed with is missing or damaged"


def _wrong(table: Table, *conditions: ColumnElement[bool]) -> Select[Any, Any]:
    """How many rows of `table` are so, and the id of the first (of those without one: their meeting's)."""
    id_ = table.c["id"] if "id" in table.c else table.c["meeting_id"]
    return select(func.count(), func.min(id_)).select_from(table).where(*conditions)


def _without(child: Table, column: str, parent: Table, name: str = "id", *also: str) -> Select[Any, Any]:
    """Rows of `child` that no row of `parent` belongs to; `also`: what must be the same in both."""
    same = (parent.c[name] == child.c[column], *(parent.c[other] == child.c[other] for other in also))
    return _wrong(child, ~exists().where(*same))


def _checks() -> Iterator[tuple[str, Select[Any, Any]]]:
    """What one statement can ask: a sentence that begins with a number, and how many rows it is true of."""
    # Nothing stands alone, and nothing belongs to another organizer than what it belongs to.
    yield "entries of the journal without an outcome", _without(journal, "id", outcomes, "journal_id", "organizer")
    yield "outcomes without their mail", _without(outcomes, "journal_id", journal, "id", "organizer")
    yield "events without their meeting", _without(events, "meeting_id", meetings, "id", "organizer")
    yield "attendees without their meeting", _without(attendees, "meeting_id", meetings, "id", "organizer")
    yield "proposals without their meeting", _without(proposals, "meeting_id", meetings, "id", "organizer")
    yield "meetings without an event", _without(meetings, "id", events, "meeting_id", "organizer")  # as its key begins
    yield "sendings without what caused them", _without(sendings, "journal_id", journal, "id", "organizer")
    yield "sendings to nobody", _without(sendings, "id", deliveries, "sending_id")
    yield "deliveries without their sending", _without(deliveries, "sending_id", sendings, "id", "organizer", "rid")
    yield "attempts without their delivery", _without(attempts, "delivery_id", deliveries)
    # Words from closed lists.
    yield "entries of the journal of an unknown kind", _wrong(journal, journal.c.kind.not_in(KINDS))
    yield "outcomes of an unknown name", _wrong(outcomes, outcomes.c.outcome.not_in([one.value for one in Outcome]))
    yield "outcomes for an unknown reason", _wrong(outcomes, outcomes.c.reason.not_in([one.value for one in Reason]))
    yield "deliveries in an unknown state", _wrong(deliveries, deliveries.c.state.not_in(STATES))
    held = or_(outcomes.c.outcome != Outcome.HELD.value, outcomes.c.state.not_in(ENDED))
    yield "outcomes that wait and are not held", _wrong(outcomes, outcomes.c.state.is_not(None), held)
    # Each component of a mail has its outcome: their positions have no gap.
    number = func.count(distinct(outcomes.c.position))
    positions = select(outcomes.c.journal_id.label("id")).group_by(outcomes.c.journal_id)
    gaps = positions.having(number != func.max(outcomes.c.position) + 1).subquery("gaps")
    yield "mails with a component without an outcome", select(func.count(), func.min(gaps.c.id)).select_from(gaps)
    # The outbox: who waits has a time, who has ended has the attempt that ended it.
    pending = deliveries.c.state.in_(("waiting", "sending"))
    yield "deliveries that wait without a time", _wrong(deliveries, deliveries.c.due_at.is_(None), pending)
    yield "deliveries that have ended and have a time", _wrong(deliveries, deliveries.c.due_at.is_not(None), ~pending)
    tried = exists().where(attempts.c.delivery_id == deliveries.c.id, attempts.c.state == deliveries.c.state)
    yield "deliveries whose end is not written down", _wrong(deliveries, deliveries.c.state.in_((SENT, FAILED)), ~tried)
    for name, what in (("message_id", "Message-ID"), ("token", "token")):
        other = deliveries.alias("other")
        same = and_(other.c.organizer == deliveries.c.organizer, other.c[name] == deliveries.c[name])
        yield (
            f"deliveries with another's {what}",
            _wrong(deliveries, exists().where(same, other.c.id < deliveries.c.id)),
        )


def _ids(connection: Connection) -> Iterator[str]:
    """An id that was given once is never given again: whatever names it would mean something else."""
    for table in metadata.sorted_tables:
        if "id" not in table.c:
            continue
        last = connection.scalar(select(func.max(table.c.id))) or 0
        if dialect_of(connection) == "sqlite":
            query = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
            given = connection.scalar(query, {"name": table.name}) or 0
        else:
            given = connection.scalar(text(f"SELECT last_value FROM {table.name}_id_seq")) or 0  # noqa: S608
        if given < last:
            yield f"{table.name} has the id {last}, and would give it again"


def _page(
    connection: Connection, table: Table, after: tuple[Any, ...] | None
) -> tuple[list[str], tuple[Any, ...] | None]:
    """What is wrong with rows of one table, each by itself; the key of the last, None at the end of the table."""
    key = tuple(table.primary_key)
    keys = select(*key).order_by(*key).limit(PAGE)
    if after is not None:
        keys = keys.where(tuple_(*key) > tuple_(*after, types=[column.type for column in key]))
    found = [tuple(row) for row in connection.execute(keys)]
    if not found:
        return [], None
    between = [tuple_(*key) <= tuple_(*found[-1], types=[column.type for column in key])]
    between += [tuple_(*key) >= tuple_(*found[0], types=[column.type for column in key])]
    wrong: list[str] = []
    try:
        rows = connection.execute(select(table).where(*between).order_by(*key)).all()
    except (ValueError, TypeError, zlib.error):
        rows = []
        for one in found:  # which of them
            try:
                same = [column == value for column, value in zip(key, one, strict=True)]
                rows += connection.execute(select(table).where(*same)).all()
            except (ValueError, TypeError, zlib.error) as error:
                wrong.append(f"{table.name} {_name(one)}: a value cannot be read: {error}")
    for row in rows:
        wrong += [f"{table.name} {_name(tuple(row[: len(key)]))}: {what}" for what in _row(table, row)]
    return wrong, found[-1]


def _name(key: tuple[Any, ...]) -> str:
    return " ".join(str(part) for part in key)


def _row(table: Table, row: Any) -> Iterator[str]:
    if table is journal:
        try:
            zlib.decompress(row.packed)  # it has a checksum of its own
        except (TypeError, zlib.error) as error:
            yield f"the mail or order cannot be unpacked: {error}"
        if row.digest is not None and len(row.digest) != 16:
            yield "the digest is damaged: the same mail again would count again"
    elif table is meetings:
        if row.uid_key != key_text(uid_key(row.uid)):
            yield f"it is not found under its UID {row.uid!r:.100}"
    elif table is events:
        for name in ("starts", "ends"):
            value = getattr(row, name)
            if value is not None and not _is_moment(value):
                yield f"{name} is no time: {value!r:.100}"
    elif table is deliveries and row.message_id.count("@") != 1:
        yield f"its Message-ID is none: {row.message_id!r:.100}"


def _is_moment(value: str) -> bool:
    try:
        Moment.decode(value)
    except (ValueError, IndexError):
        return False
    return True
