"""A whole batch of keys as one table of one parameter, so that a statement is compiled once whatever the batch's size.

SQLite reads the JSON list by json_each, PostgreSQL by json_to_recordset. No limit of variables is met.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import JSON, BigInteger, Connection, Text, bindparam, cast, column, func, literal_column, type_coerce
from sqlalchemy.sql.elements import ColumnElement

from itipd.store.types import tidy, to_json

TEXT, NUMBER = Text(), BigInteger()


class Keys:
    """`columns[name]` can be joined with; the parameter `keys` is what `packed` makes of the rows."""

    def __init__(self, dialect: str, **types: Any) -> None:
        parameter = bindparam("keys", type_=Text())
        self.table: Any
        self.columns: dict[str, ColumnElement[Any]]
        if dialect == "sqlite":
            self.table = func.json_each(parameter).table_valued("value", name="keys")
            self.columns = {
                name: type_coerce(func.json_extract(self.table.c.value, literal_column(f"'$.{name}'")), kind)
                for name, kind in types.items()
            }
        else:
            listed = func.json_to_recordset(cast(parameter, JSON))
            self.table = listed.table_valued(
                *(column(name, kind) for name, kind in types.items()), name="keys"
            ).render_derived(with_types=True)
            self.columns = dict(self.table.c.items())


def packed(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The parameter for a statement over `Keys`."""
    rows = list(rows)
    text = to_json(rows)
    if "\\u0000" in text:  # PostgreSQL has no NUL; no stored key has one either
        rows = [{name: tidy(value) if isinstance(value, str) else value for name, value in row.items()} for row in rows]
        text = to_json(rows)
    return {"keys": tidy(text)}


def dialect_of(connection: Connection) -> str:
    """`sqlite` or `postgresql`."""
    return connection.dialect.name
