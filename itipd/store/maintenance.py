"""Keeping a database: a copy, a check, the same rows in another database."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Select, Table, exists, func, insert, select, text, tuple_
from sqlalchemy.engine import make_url

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
from itipd.store.values import StoreError

if TYPE_CHECKING:
    from itipd.store.store import Store

CHUNK = 1000
"""Rows that are copied at once."""


async def backup(store: Store, path: Path) -> None:
    """A consistent copy of a SQLite database in a new file, while others work. Raises StoreError on PostgreSQL."""

    def work(file: str) -> None:
        if path.exists():
            raise StoreError(f"backup: {path} exists already; name a new file")
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(path)) as target:
            source.backup(target)

    url = make_url(store.url)
    if url.get_backend_name() != "sqlite" or not url.database:
        raise StoreError("backup copies SQLite files; for PostgreSQL use pg_dump")
    await asyncio.to_thread(work, url.database)


async def verify(store: Store) -> list[str]:
    """One sentence for each thing that is wrong; [] for a sound database."""
    return await store.database.read(lambda connection: [*_engine(connection), *_rows(connection)])


def _engine(connection: Connection) -> list[str]:
    if dialect_of(connection) != "sqlite":
        return []
    found = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check(20)") if row[0] != "ok"]
    lost = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(20)
    return [f"SQLite: {line}" for line in found] + [f"{row[0]}: a row without its {row[2]}" for row in lost]


def _rows(connection: Connection) -> list[str]:
    wrong = []
    for sentence, query in _CHECKS:
        number = connection.scalar(query) or 0
        if number:
            wrong.append(f"{number} {sentence}")
    return wrong


def _without(child: Table, column: str, parent: Table, name: str = "id") -> Select[Any]:
    there = exists().where(parent.c[name] == child.c[column])
    return select(func.count()).select_from(child).where(~there)


_CHECKS = (
    ("entries of the journal without an outcome", _without(journal, "id", outcomes, "journal_id")),
    ("outcomes without their mail", _without(outcomes, "journal_id", journal)),
    ("events without their meeting", _without(events, "meeting_id", meetings)),
    ("attendees without their meeting", _without(attendees, "meeting_id", meetings)),
    ("proposals without their meeting", _without(proposals, "meeting_id", meetings)),
    ("meetings without an event", _without(meetings, "id", events, "meeting_id")),
    ("deliveries without their sending", _without(deliveries, "sending_id", sendings)),
    ("attempts without their delivery", _without(attempts, "delivery_id", deliveries)),
    (
        "deliveries that wait without a time",
        select(func.count())
        .select_from(deliveries)
        .where((deliveries.c.due_at.is_(None)) == deliveries.c.state.in_(("waiting", "sending"))),
    ),
)


async def copy(source: Store, target: Store) -> dict[str, int]:
    """All rows of one database into another of any engine; how many by table. Raises StoreError if it is not new.

    The target takes over the secret too, so that tokens stay valid. One transaction: all or nothing.
    """
    counts: dict[str, int] = {}

    def check(connection: Connection) -> None:
        if connection.scalar(select(func.count()).select_from(journal)):
            raise StoreError(f"{target.url} is not empty; copy into a new database")
        connection.execute(settings.delete())

    async with target.database.writing() as transaction:
        await transaction.run(check)
        for table in metadata.sorted_tables:
            counts[table.name] = 0
            last: tuple[Any, ...] | None = None
            while chunk := await source.database.read(partial(_chunk, table=table, last=last)):
                await transaction.run(partial(_write, table=table, chunk=chunk))
                counts[table.name] += len(chunk)
                last = tuple(chunk[-1][column.name] for column in table.primary_key)
        await transaction.commit(_restart)
    target.secret, target.reply_key = source.secret, source.reply_key
    return counts


def _chunk(connection: Connection, table: Table, last: tuple[Any, ...] | None) -> list[dict[str, Any]]:
    key = tuple(table.primary_key)
    query = select(table).order_by(*key).limit(CHUNK)
    if last is not None:
        query = query.where(tuple_(*key) > tuple_(*last, types=[column.type for column in key]))
    return [dict(row._mapping) for row in connection.execute(query)]


def _write(connection: Connection, table: Table, chunk: list[dict[str, Any]]) -> None:
    connection.execute(insert(table), chunk)


def _restart(connection: Connection) -> None:
    """PostgreSQL counts on behind the copied ids; SQLite has noticed them."""
    if dialect_of(connection) == "sqlite":
        return
    for table in metadata.sorted_tables:
        if "id" in table.c:
            sql = f"SELECT setval('{table.name}_id_seq', (SELECT coalesce(max(id), 0) + 1 FROM {table.name}), false)"  # noqa: S608
            connection.execute(text(sql))
