"""All rows of one database into another, of any engine: one state of it, all or nothing, compared before it counts."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Table, func, insert, select, text, tuple_
from sqlalchemy.engine import make_url

from itipd.store.listing import dialect_of
from itipd.store.schema import metadata, settings
from itipd.store.values import StoreError

if TYPE_CHECKING:
    from itipd.store.store import Store

CHUNK = 1000
"""Rows that are copied at once."""


class NotCopiedError(StoreError):
    """The target is not new, or is not equal in the end; nothing was written."""


Chunk = list[dict[str, Any]]
Ask = Callable[[Callable[[Connection], Chunk]], Awaitable[Chunk]]


@dataclass(frozen=True, slots=True)
class Copied:
    """How many rows of each table, and their checksum, which both databases have."""

    counts: dict[str, int] = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)


async def rows(store: Store) -> int:
    """How many rows a copy would have."""

    def work(connection: Connection) -> int:
        return sum(connection.scalar(select(func.count()).select_from(table)) or 0 for table in metadata.sorted_tables)

    return await store.database.read(work)


async def copy(source: Store, target: Store, advance: Callable[[int], None] = lambda _: None) -> Copied:
    """Copies, reads back, compares, and commits. Raises NotCopiedError if that fails.

    The target takes over the secret too, so that tokens stay valid. What is written to the source meanwhile is not in
    the copy. `advance` is told how many rows were copied or compared.
    """
    copied = Copied()
    async with source.database.snapshot() as reading, target.database.writing() as transaction:
        await transaction.run(partial(_empty, shown=make_url(target.url).render_as_string()))
        for table in metadata.sorted_tables:

            async def keep(chunk: Chunk, table: Table = table) -> None:
                await transaction.run(partial(_write, table=table, chunk=chunk))
                advance(len(chunk))

            copied.counts[table.name], copied.checksums[table.name] = await _walk(reading.run_sync, table, keep)
        for table in metadata.sorted_tables:

            async def note(chunk: Chunk) -> None:
                advance(len(chunk))

            found = await _walk(transaction.run, table, note)
            expected = copied.counts[table.name], copied.checksums[table.name]
            if found != expected:
                read, wrote = (f"{rows} rows with checksum {checksum}" for rows, checksum in (expected, found))
                raise NotCopiedError(f"{table.name}: read {read}, found {wrote} after writing them")
        await transaction.commit(_restart)
    target.secret, target.reply_key = source.secret, source.reply_key
    return copied


def _empty(connection: Connection, shown: str) -> None:
    for table in metadata.sorted_tables:
        if table is not settings and connection.execute(select(table).limit(1)).first() is not None:
            raise NotCopiedError(f"{shown} is not empty: it has {table.name}; copy into a new database")
    connection.execute(settings.delete())


async def _walk(ask: Ask, table: Table, use: Callable[[Chunk], Awaitable[None]]) -> tuple[int, str]:
    """All rows in order of the key, chunk by chunk; how many, and their checksum as values, whatever the engine."""
    count, checksum = 0, hashlib.blake2b(digest_size=8)
    last: tuple[Any, ...] | None = None
    while chunk := await ask(partial(_chunk, table=table, last=last)):
        for row in chunk:
            checksum.update(repr(tuple(row.values())).encode())
        count += len(chunk)
        last = tuple(chunk[-1][column.name] for column in table.primary_key)
        await use(chunk)
    return count, checksum.hexdigest()


def _chunk(connection: Connection, table: Table, last: tuple[Any, ...] | None) -> Chunk:
    key = tuple(table.primary_key)
    query = select(table).order_by(*key).limit(CHUNK)
    if last is not None:
        query = query.where(tuple_(*key) > tuple_(*last, types=[column.type for column in key]))
    return [dict(row._mapping) for row in connection.execute(query)]


def _write(connection: Connection, table: Table, chunk: Chunk) -> None:
    connection.execute(insert(table), chunk)


def _restart(connection: Connection) -> None:
    """PostgreSQL counts on behind the copied ids; SQLite has noticed them."""
    if dialect_of(connection) == "sqlite":
        return
    for table in metadata.sorted_tables:
        if "id" in table.c:
            sql = f"SELECT setval('{table.name}_id_seq', (SELECT coalesce(max(id), 0) + 1 FROM {table.name}), false)"  # noqa: S608
            connection.execute(text(sql))
