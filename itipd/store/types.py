"""Column types: what Python value becomes what on SQLite and PostgreSQL.

Both engines must keep the same values and fail on none: NUL and lone surrogates are dropped, integers and years are
bounded here once more, although `itip` has done it at the edge (hardening.md §17).

The types give their processors themselves instead of `process_bind_param`: a reply has fifty values, and SQLAlchemy's
wrapper costs more than most of them.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import pydantic_core
from sqlalchemy import DateTime, Dialect, Integer, LargeBinary, String, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

from itipd.itip.model import clean

EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
LATEST = datetime(4000, 12, 31, 23, 59, 59, tzinfo=UTC)
INT32 = 2**31 - 1
KEY_LENGTH = 512

Convert = Callable[[Any], Any]

_any_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def to_json(value: Any) -> str:
    """Lists and dictionaries as JSON in one line."""
    try:
        return pydantic_core.to_json(value).decode()  # the same text in a third of the time
    except ValueError:  # a lone surrogate, which is for the caller to drop
        return _any_json(value)


def tidy(text: str) -> str:
    """`text` as both engines can keep it; the usual text costs one look."""
    if text.isascii():
        return text if "\0" not in text else clean(text, len(text))
    try:
        text.encode()
    except UnicodeEncodeError:
        return clean(text, len(text))
    return text if "\0" not in text else clean(text, len(text))


def key_text(text: str) -> str:
    """`text` as it stands in a column of type Key."""
    return tidy(text)[:KEY_LENGTH]


def bounded(moment: datetime) -> datetime:
    """`moment` in UTC, between 1900 and 4000. Raises ValueError for a time without a zone: that is our own fault."""
    if moment.tzinfo is None:
        raise ValueError(f"a time without a zone cannot be stored: {moment!r}; give an aware datetime")
    if moment.year <= EARLIEST.year or moment.year >= LATEST.year:
        # Compared before it is converted: at the years 1 and 9999 astimezone overflows.
        return min(max(moment, EARLIEST), LATEST).astimezone(UTC)
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)


def digest_text(digest: bytes) -> str:
    """A digest as it stands in its column."""
    return base64.b64encode(digest).rstrip(b"=").decode()


def _words(value: str | None) -> str | None:
    if value is None or (value.isascii() and "\0" not in value):  # a reply has thirty of these
        return value
    return tidy(value)


def _key(value: str | None) -> str | None:
    return value if value is None else key_text(value)


def _whole(value: int | None) -> int | None:
    if value is None or -INT32 <= value <= INT32:
        return value
    return INT32 if value > 0 else -INT32


def _instant(value: datetime | None) -> datetime | None:
    return value if value is None else bounded(value)


def _instant_text(value: datetime | None) -> str | None:
    if value is None:
        return None
    if value.tzinfo is UTC:  # of other zones two may be equal and yet not at the same time (PEP 495)
        return _utc_text(value)
    return bounded(value).isoformat(" ", "microseconds")


@lru_cache(maxsize=1024)  # when a mail came stands in three rows
def _utc_text(value: datetime) -> str:
    return bounded(value).isoformat(" ", "microseconds")


def _instant_of(value: str | None) -> datetime | None:
    return value if value is None else datetime.fromisoformat(value)


def _json(value: Any) -> str | None:
    if not value:
        return None
    return _texts_json(value) if type(value) is tuple else tidy(to_json(value))


@lru_cache(maxsize=64)  # recipients and quirks are nearly always the same few
def _texts_json(texts: tuple[str, ...]) -> str:
    return tidy(to_json(texts))


def _json_of(value: str | None) -> Any:
    return value if value is None else json.loads(value)


def _digest(value: bytes | None) -> str | None:
    return value if value is None else digest_text(value)


def _digest_of(value: str | None) -> bytes | None:
    return value if value is None else base64.b64decode(value + "==")


def _packed(value: str | None) -> bytes | None:
    return value if value is None else zlib.compress(value.encode("utf-8", "replace"), 1)


def _packed_of(value: bytes | None) -> str | None:
    return value if value is None else zlib.decompress(value).decode()


class Words(TypeDecorator[str]):
    """Text of any length."""

    impl = Text
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Convert:
        return _words


class Key(TypeDecorator[str]):
    """Text that is looked up or sorted by: compared octet by octet on both engines."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Text(collation="C") if dialect.name == "postgresql" else Text())

    def bind_processor(self, dialect: Dialect) -> Convert:
        return _key


class Whole(TypeDecorator[int]):
    """An integer of 32 bits (RFC 5545 §3.3.8); what is beyond becomes the bound."""

    impl = Integer
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Convert:
        return _whole


class Instant(TypeDecorator[datetime]):
    """An aware datetime in UTC: timestamptz, or on SQLite a text of fixed width that sorts by time."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(DateTime(timezone=True) if dialect.name == "postgresql" else String(32))

    def bind_processor(self, dialect: Dialect) -> Convert:
        return _instant if dialect.name == "postgresql" else _instant_text

    def result_processor(self, dialect: Dialect, coltype: object) -> Convert:
        return _instant if dialect.name == "postgresql" else _instant_of


class Json(TypeDecorator[Any]):
    """Lists and dictionaries as JSON text; an empty one, as None, is NULL, so the usual row costs nothing."""

    impl = Text
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Convert:
        return _json

    def result_processor(self, dialect: Dialect, coltype: object) -> Convert:
        return _json_of


class Digest(TypeDecorator[bytes]):
    """Sixteen octets as 22 characters: a text can stand in the JSON list that a whole batch is looked up by."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Text(collation="C") if dialect.name == "postgresql" else Text())

    def bind_processor(self, dialect: Dialect) -> Convert:
        return _digest

    def result_processor(self, dialect: Dialect, coltype: object) -> Convert:
        return _digest_of


class PackedText(TypeDecorator[str]):
    """A long text, compressed: a calendar of a large meeting is the same few lines a thousand times."""

    impl = LargeBinary
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Convert:
        return _packed

    def result_processor(self, dialect: Dialect, coltype: object) -> Convert:
        return _packed_of
