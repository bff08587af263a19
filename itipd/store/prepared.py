"""Writes for many rows at once: SQLAlchemy compiles them, once for each engine, and the rows go straight to the driver.

SQLAlchemy's own work for each row of an executemany costs more than SQLite's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    Connection,
    Delete,
    Dialect,
    Insert,
    Table,
    Update,
    bindparam,
    delete,
    insert,
    update,
)

from itipd.store.values import Conflict

Row = Mapping[str, Any]

PREFIX = "row_"
"""Of parameters: SQLAlchemy keeps the bare names of columns to itself."""


class Prepared:
    """A statement whose parameters are columns of the rows that it is run for."""

    def __init__(self, table: Table, statement: Insert | Update | Delete) -> None:
        self._table = table
        self._statement = statement
        self._ready: dict[str, _Ready] = {}

    def run(self, connection: Connection, listed: Sequence[Row]) -> None:
        """Runs it for every row. Raises Conflict unless each touched one row of the table."""
        if not listed:
            return
        dialect = connection.dialect
        if dialect.name not in self._ready:
            self._ready[dialect.name] = _Ready(self._statement, dialect)
        ready = self._ready[dialect.name]
        touched = connection.exec_driver_sql(ready.sql, ready.values(listed)).rowcount
        if touched != len(listed):
            raise Conflict(f"{self._table.name}: {touched} of {len(listed)} rows are as they were read; try again")


class _Ready:
    """A statement in the words of one engine."""

    def __init__(self, statement: Insert | Update | Delete, dialect: Dialect) -> None:
        compiled: Any = statement.compile(dialect=dialect)
        types = {name: bound.type for bound, name in compiled.bind_names.items()}
        self.sql: str = compiled.string
        self._positional: bool = compiled.positional
        self._columns: list[tuple[str, str, Callable[[Any], Any] | None]] = [
            (name, name.removeprefix(PREFIX), types[name].dialect_impl(dialect).bind_processor(dialect))
            for name in (compiled.positiontup if compiled.positional else types)
        ]

    def values(self, listed: Sequence[Row]) -> Any:
        """The rows as the driver takes them."""
        if self._positional:
            return [tuple([row[key] if to is None else to(row[key]) for _, key, to in self._columns]) for row in listed]
        return [{name: row[key] if to is None else to(row[key]) for name, key, to in self._columns} for row in listed]


def parameter(table: Table, name: str) -> BindParameter[Any]:
    """The value of a column in the rows."""
    return bindparam(PREFIX + name, type_=table.c[name].type)


@cache
def inserted(table: Table) -> Prepared:
    """Whole rows."""
    return Prepared(table, insert(table))


@cache
def updated(table: Table, key: tuple[str, ...], columns: tuple[str, ...] = ()) -> Prepared:
    """All columns, or those named, of the rows with this key."""
    names = columns or tuple(name for name in table.c.keys() if name not in key)  # noqa: SIM118 - no dictionary
    statement = update(table).where(*(table.c[name] == parameter(table, name) for name in key))
    return Prepared(table, statement.values({name: parameter(table, name) for name in names}))


@cache
def deleted(table: Table, key: tuple[str, ...]) -> Prepared:
    """The rows with this key."""
    return Prepared(table, delete(table).where(*(table.c[name] == parameter(table, name) for name in key)))
