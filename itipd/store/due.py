"""What meetings do by themselves, and when: what has come due, for the scheduler. It must never write."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Select, and_, bindparam, literal, or_, select, union_all

from itipd.store.schema import meetings
from itipd.store.types import Instant

if TYPE_CHECKING:
    from itipd.store.store import Store


@dataclass(frozen=True, slots=True)
class Due:
    """Something that a meeting is to do. `word`: deadline or publish; `at`: since when it is due."""

    at: datetime
    word: str
    id: int
    organizer: str
    uid: str


async def due(store: Store, now: datetime, limit: int = 100, after: Due | None = None) -> list[Due]:
    """What is due at `now`, the longest due first; of that what comes behind `after`."""
    values: dict[str, Any] = {"now": now, "limit": limit}
    if after is not None:
        values |= {"at": after.at, "word": after.word, "id": after.id}

    def work(connection: Connection) -> list[Due]:
        return [Due(*row) for row in connection.execute(_due(after is not None), values)]

    return await store.database.read(work)


@cache
def _due(later: bool) -> Select[Any]:
    parts = []
    for word, column in (("deadline", meetings.c.deadline_at), ("publish", meetings.c.publish_at)):
        part = select(
            column.label("at"), literal(word).label("word"), meetings.c.id, meetings.c.organizer, meetings.c.uid
        )
        # A time that is NULL is not before anything: this reads the partial index and nothing else.
        parts.append(part.where(column <= bindparam("now", type_=Instant()), column.is_not(None)))
    found = union_all(*parts).subquery("found")
    query = select(found).order_by(found.c.at, found.c.word, found.c.id).limit(bindparam("limit"))
    if not later:
        return query
    behind = and_(found.c.word == bindparam("word"), found.c.id > bindparam("id"))
    behind = and_(found.c.at == bindparam("at", type_=Instant()), or_(found.c.word > bindparam("word"), behind))
    return query.where(or_(found.c.at > bindparam("at", type_=Instant()), behind))
