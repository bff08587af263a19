"""What became of outgoing mail, taken over into a database that was rebuilt from the journal of another.

The journal says what was to be sent, the attempts say what came of it; a delivery has the same Message-ID in both
databases. It must never make a delivery.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, bindparam, case, insert, literal, select, update

from itipd.store.claims import SENDING, WAITING
from itipd.store.outbox import by_hand, reported, told
from itipd.store.schema import attempts, deliveries, sendings
from itipd.store.types import Key

if TYPE_CHECKING:
    from itipd.store.store import Store


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try, or one change by hand, of the delivery with this Message-ID."""

    id: int
    organizer: str
    message_id: str
    at: datetime
    state: str
    code: str | None
    error: str | None


_named = (deliveries.c.organizer, deliveries.c.message_id)
_made = (attempts.c.id, *_named, attempts.c.at, attempts.c.state, attempts.c.code, attempts.c.error)


async def attempts_from(store: Store, after: int = 0, limit: int = 500) -> list[Attempt]:
    """Those with a greater id than `after`, in the order in which they were written."""
    query = select(*_made).join_from(attempts, deliveries, attempts.c.delivery_id == deliveries.c.id)
    query = query.where(attempts.c.id > after).order_by(attempts.c.id).limit(limit)
    return await store.database.read(lambda connection: [Attempt(*row) for row in connection.execute(query)])


_found = (
    select(deliveries.c.id, deliveries.c.recipient, *(sendings.c[name] for name in ("meeting_id", "method", "rid")))
    .add_columns(sendings.c.created_at, deliveries.c.last_code)
    .join_from(deliveries, sendings, deliveries.c.sending_id == sendings.c.id)
    .where(
        deliveries.c.organizer == bindparam("o", type_=Key()), deliveries.c.message_id == bindparam("m", type_=Key())
    )
)


async def carry_attempts(store: Store, made: Sequence[Attempt]) -> list[Attempt]:
    """Writes them into `store`, with what they say about how an attendee is reached.

    Returns those whose delivery is not there (yet).
    """

    def work(connection: Connection) -> list[Attempt]:
        missing = []
        for attempt in made:
            row = connection.execute(_found, {"o": attempt.organizer, "m": attempt.message_id}).first()
            if row is None:
                missing.append(attempt)
                continue
            values = {"at": attempt.at, "state": attempt.state, "code": attempt.code, "error": attempt.error}
            connection.execute(insert(attempts), {"delivery_id": row.id, **values})
            if not by_hand(attempt.error) and not reported(row.last_code):
                key = {"o": attempt.organizer, "m": row.meeting_id, "a": row.recipient, "r": row.rid}
                told(connection, key, row.method, row.created_at, attempt.state, attempt.code)
        return missing

    async with store.database.writing() as transaction:
        return await transaction.commit(work)


_state = case((deliveries.c.state == SENDING, literal(WAITING)), else_=deliveries.c.state).label("state")
_said = tuple(sendings.c[name] for name in ("method", "uid", "rid", "sequence", "reason", "created_at"))
_ends = (_state, *(deliveries.c[name] for name in ("due_at", "fence", "attempts", "last_error", "last_code")))


async def ends_from(store: Store, after: int = 0, limit: int = 500) -> list[dict[str, Any]]:
    """What deliveries say and how they stand, those with a greater `id`.

    One that is being sent still waits, for all that is known.
    """
    query = select(deliveries.c.id, *_named, deliveries.c.recipient, *_ends, *_said)
    query = query.join_from(deliveries, sendings, deliveries.c.sending_id == sendings.c.id)
    query = query.where(deliveries.c.id > after).order_by(deliveries.c.id).limit(limit)
    return await store.database.read(lambda connection: [dict(row._mapping) for row in connection.execute(query)])


async def carry_ends(store: Store, found: Sequence[dict[str, Any]]) -> None:
    """Lets the deliveries of `store` stand so, too."""
    names = [column.name for column in (*_named, *_ends)]
    rows = [{f"its_{name}": row[name] for name in names} for row in found]
    mine = (deliveries.c[column.name] == _its(column.name) for column in _named)
    query = update(deliveries).where(*mine).values({column.name: _its(column.name) for column in _ends})

    def work(connection: Connection) -> None:
        connection.execute(query, rows)

    if rows:
        async with store.database.writing() as transaction:
            await transaction.commit(work)


def _its(name: str) -> Any:
    return bindparam(f"its_{name}", type_=deliveries.c[name].type)
