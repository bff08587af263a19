"""Statements that every batch runs: SQLAlchemy compiles them, once for each engine, and the driver runs them.

What SQLAlchemy does for each execution, each row and each value costs more than SQLite's own work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    BindParameter,
    Boolean,
    Connection,
    Delete,
    Dialect,
    Insert,
    Select,
    Table,
    TextClause,
    Update,
    bindparam,
    delete,
    insert,
    update,
)
from sqlalchemy.exc import DBAPIError

from itipd.store.values import Conflict

Row = Mapping[str, Any]
Convert = Callable[[Any], Any]

PREFIX = "row_"
"""Of parameters: SQLAlchemy keeps the bare names of columns to itself."""


class Query:
    """A SELECT; the function that this decorates makes it for the engine with this name."""

    def __init__(self, statement: Callable[[str], Select[Any] | TextClause]) -> None:
        self.statement = statement
        self._ready: dict[str, _Ready] = {}

    def rows(self, connection: Connection, values: Row) -> Sequence[Sequence[Any]]:
        """All rows, their values in Python's types, by position."""
        name = connection.dialect.name
        ready = self._ready.get(name)
        if ready is None:
            ready = self._ready[name] = _Ready(self.statement(name), connection.dialect)
        with cursor(connection, ready.sql) as run:
            run.execute(ready.sql, ready.values((values,))[0])
            return ready.read(run.fetchall())


class Prepared:
    """A statement whose parameters are columns of the rows that it is run for."""

    def __init__(self, table: Table, statement: Insert | Update | Delete) -> None:
        self._table = table
        self._statement = statement
        self._ready: dict[str, _Ready] = {}

    def run(self, connection: Connection, listed: Sequence[Row], *, exact: bool = True) -> None:
        """Runs it for every row. Raises Conflict unless each touched one row of the table, where that is `exact`."""
        if not listed:
            return
        name = connection.dialect.name
        ready = self._ready.get(name)
        if ready is None:
            ready = self._ready[name] = _Ready(self._statement, connection.dialect)
        with cursor(connection, ready.sql) as run:
            run.executemany(ready.sql, ready.values(listed))
            touched = run.rowcount
        if exact and touched != len(listed):
            raise Conflict(f"{self._table.name}: {touched} of {len(listed)} rows are as they were read; try again")


class cursor:  # noqa: N801 - it is used as a function; a generator would cost more than the statement
    """The driver's own cursor, for `sql`. Its errors become those that SQLAlchemy would raise."""

    def __init__(self, connection: Connection, sql: str) -> None:
        self._connection = connection
        self._sql = sql

    def __enter__(self) -> Any:
        self._cursor = self._connection.connection.cursor()
        return self._cursor

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._cursor.close()
        dialect = self._connection.dialect
        base = dialect.loaded_dbapi.Error
        if isinstance(error, base):
            lost = dialect.is_disconnect(error, self._connection.connection.dbapi_connection, self._cursor)
            if lost:
                self._connection.invalidate(error)
            raise DBAPIError.instance(
                self._sql, None, error, base, hide_parameters=True, connection_invalidated=lost, dialect=dialect
            ) from error


class _Ready:
    """A statement in the words of one engine."""

    def __init__(self, statement: Any, dialect: Dialect) -> None:
        compiled: Any = statement.compile(dialect=dialect)
        types = {name: bound.type for bound, name in compiled.bind_names.items()}
        self.sql: str = compiled.string
        self.fixed = {name: value for name, value in compiled.params.items() if value is not None}
        self._positional: bool = compiled.positional
        self._names: tuple[str, ...] = tuple(compiled.positiontup if compiled.positional else types)
        # Of a single column `itemgetter` would give no tuple.
        keys = [name.removeprefix(PREFIX) for name in self._names]
        self._pick = itemgetter(*keys) if len(keys) > 1 else lambda row: tuple([row[key] for key in keys])
        self._write = _converters(_binding(types[name], dialect) for name in self._names)
        kinds = [column.type for column in statement.selected_columns] if isinstance(statement, Select) else []
        read = [kind.dialect_impl(dialect).result_processor(dialect, None) for kind in kinds]
        self._read = _converters(read)

    def values(self, listed: Sequence[Row]) -> Any:
        """The rows as the driver takes them."""
        if self.fixed:
            listed = [{**self.fixed, **row} for row in listed]
        rows = _converted(list(map(self._pick, listed)), self._write)
        return rows if self._positional else [dict(zip(self._names, row, strict=True)) for row in rows]

    def read(self, fetched: Sequence[Sequence[Any]]) -> Sequence[Sequence[Any]]:
        """Rows as the driver gives them, in Python's types."""
        return _converted(fetched, self._read)


def _converters(found: Iterable[Convert | None]) -> list[tuple[int, Convert]]:
    """By the column's number, those that there are."""
    return [(number, to) for number, to in enumerate(found) if to is not None]


def _converted(rows: Sequence[Sequence[Any]], converters: Sequence[tuple[int, Convert]]) -> Sequence[Sequence[Any]]:
    """Column by column, because a loop in a loop costs more than what it does; no type makes anything of None."""
    if not rows or not converters:
        return rows
    columns: list[Any] = list(zip(*rows, strict=True))
    for number, to in converters:
        columns[number] = [None if value is None else to(value) for value in columns[number]]
    return list(zip(*columns, strict=True))


def _binding(kind: Any, dialect: Dialect) -> Convert | None:
    if isinstance(kind, Boolean):
        return None  # every driver takes Python's; SQLAlchemy's check of each costs two calls
    processor: Convert | None = kind.dialect_impl(dialect).bind_processor(dialect)
    return processor


def parameter(table: Table, name: str) -> BindParameter[Any]:
    """The value of a column in the rows."""
    return bindparam(PREFIX + name, type_=table.c[name].type)


@cache
def inserted(table: Table, columns: tuple[str, ...] = ()) -> Prepared:
    """Whole rows, or rows of those columns: the database gives the others."""
    statement = insert(table)
    return Prepared(
        table, statement.values({name: parameter(table, name) for name in columns}) if columns else statement
    )


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
