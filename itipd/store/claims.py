"""The rows of outgoing mail that are taken to be sent: in order, by one process at a time, the newest word only.

To one recipient about one meeting mails leave in the order in which they were made, where one builds on another: the
same instance, or the series and an instance of it. A REQUEST that nobody has begun to send gives way to a newer one
that says all it says. It must never be sent by two at once: a claim raises the fence, and who holds an older one
settles nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Update,
    and_,
    bindparam,
    exists,
    insert,
    not_,
    or_,
    select,
    update,
)

from itipd.store.listing import NUMBER, Keys, dialect_of, packed
from itipd.store.prepared import Query
from itipd.store.schema import attempts, deliveries, sendings
from itipd.store.types import Instant

if TYPE_CHECKING:
    from itipd.store.store import Store

WAITING, SENDING, SENT, FAILED, HELD = "waiting", "sending", "sent", "failed", "held"
STATES = (WAITING, SENDING, SENT, FAILED, HELD)

TOGETHER = 64
"""So many give way in one transaction at most, beside those that are claimed: the inbox waits for it."""

SUPERSEDED = "superseded by a newer REQUEST"
"""`last_error` of a REQUEST that gave way. No id: another database, rebuilt or copied, may have given others."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One mail to one recipient, claimed: all that composing it needs. `attempts` counts this try too."""

    id: int
    fence: int
    attempts: int
    recipient: str
    message_id: str
    token: str
    line: str | None
    organizer: str
    organizer_name: str
    uid: str
    meeting_id: int
    method: str
    rid: str
    sequence: int
    reason: str
    summary: str
    calendar: str
    created_at: datetime
    automatic: bool
    language: str | None
    comment: str | None


_own = ("id", "fence", "attempts", "recipient", "message_id", "token", "line")
_said = (
    *("organizer", "organizer_name", "uid", "meeting_id", "method", "rid", "sequence", "reason", "summary"),
    *("calendar", "created_at", "automatic", "language", "comment"),
)
_own_columns = (deliveries.c.sending_id, *(deliveries.c[name] for name in _own))
_said_columns = (sendings.c.id, *(sendings.c[name] for name in _said))


async def claim(store: Store, now: datetime, lease: timedelta, limit: int) -> list[Delivery]:
    """At most `limit` deliveries that are due, leased to the caller until `now + lease`, the longest due first.

    None of them while an earlier one (a smaller id) to the same recipient about the same organizer and UID waits or is
    being sent, where they are about the same RECURRENCE-ID or one is about the series: no CANCEL overtakes its REQUEST,
    and no instance its series. An earlier REQUEST that waits and that a claimed one replaces has failed from then on,
    as `SUPERSEDED`. One whose lease has ended counts as due. Where nothing is due this only reads.
    """

    def look(connection: Connection) -> tuple[list[int], list[int]]:
        # The search is made beside the one writer of SQLite: it may pass many that wait for one before them.
        rows = connection.execute(_due(), {"now": now, "limit": limit + TOGETHER}).all()
        return [row.id for row in rows if not row.outdated][:limit], [row.id for row in rows if row.outdated]

    def take(connection: Connection) -> tuple[list[Delivery], int]:
        dialect = dialect_of(connection)
        over = connection.scalars(_outdated(dialect), packed({"i": id_} for id_ in outdated)).all()
        _supersede(connection, over, now)
        there = connection.scalars(_still_due(dialect), {**packed({"i": id_} for id_ in found), "now": now})
        listed = packed({"i": id_} for id_ in there)
        _supersede(connection, connection.scalars(_replaced(dialect), listed).all(), now)
        leased = connection.scalars(_lease(dialect), {**listed, "until": now + lease})
        rows = _deliveries.rows(connection, packed({"i": id_} for id_ in leased))
        # What is said to all is read, and unpacked, once: a calendar may have hundreds of recipients.
        said = packed({"i": id_} for id_ in {row[0] for row in rows})
        sent = {row[0]: row[1:] for row in _sendings.rows(connection, said)}
        return [Delivery(*row[1:], *sent[row[0]]) for row in rows], len(over)

    claimed: list[Delivery] = []
    passed = 1
    # Where the first of those that are due all give way, what they give way to comes behind them.
    while limit > 0 and passed and not claimed:
        found, outdated = await store.database.read(look)
        if not found and not outdated:
            break
        async with store.database.writing() as transaction:
            claimed, passed = await transaction.commit(take)
    return claimed


def _supersede(connection: Connection, ids: Sequence[int], now: datetime) -> None:
    if not ids:
        return
    connection.execute(_give_way(dialect_of(connection)), packed({"i": id_} for id_ in ids))
    made = {"at": now, "state": FAILED, "code": None, "error": SUPERSEDED}
    connection.execute(insert(attempts), [{"delivery_id": id_, **made} for id_ in dict.fromkeys(ids)])


async def renew(store: Store, held: Sequence[Delivery], now: datetime, lease: timedelta) -> None:
    """Prolongs the leases to `now + lease`, of those that are still the caller's."""
    if not held:
        return
    listed = packed({"i": delivery.id, "f": delivery.fence} for delivery in held)

    def work(connection: Connection) -> None:
        connection.execute(_renew(dialect_of(connection)), {**listed, "until": now + lease})

    async with store.database.writing() as transaction:
        await transaction.commit(work)


# `due_at` is NULL where nothing is to be done, so what asks for it reads the partial indexes and nothing else.


def _method(one: Any) -> Any:
    asked = select(sendings.c.method).where(sendings.c.id == one.c.sending_id)
    return asked.correlate_except(sendings).scalar_subquery()


def _queued_with(one: Any, other: Any) -> ColumnElement[bool]:
    """Both wait or are being sent, to the same recipient about the same meeting."""
    same = (one.c[name] == other.c[name] for name in ("organizer", "uid_key", "recipient"))
    return and_(*same, one.c.due_at.is_not(None))


def _related(one: Any, other: Any) -> ColumnElement[bool]:
    """About the same instance, or one of them about the series, which has all instances in it."""
    return or_(one.c.rid == other.c.rid, one.c.rid == "", other.c.rid == "")


def _replaces(newer: Any, older: Any) -> ColumnElement[bool]:
    """A REQUEST says all that an older one said: of the same instance, or the series, with all its instances."""
    covers = or_(newer.c.rid == older.c.rid, newer.c.rid == "")
    return and_(covers, older.c.state == WAITING, _method(newer) == "REQUEST", _method(older) == "REQUEST")


def _behind(one: Any, *, unless_replaced: bool) -> ColumnElement[bool]:
    """Whether an earlier one has to leave before it; not counting, on demand, those that it replaces."""
    earlier = deliveries.alias("earlier")
    ahead = and_(_queued_with(earlier, one), earlier.c.id < one.c.id, _related(earlier, one))
    found = exists().where(ahead, not_(_replaces(one, earlier))) if unless_replaced else exists().where(ahead)
    return found.correlate_except(earlier)


def _gives_way(one: Any) -> ColumnElement[bool]:
    """Whether it waits and a later one will replace it. Where anything else lies between them, it has to be sent: a
    CANCEL of what was never requested would say nothing."""
    newer, between = deliveries.alias("newer"), deliveries.alias("between")
    parted = exists().where(
        _queued_with(between, one),
        between.c.id > one.c.id,
        between.c.id < newer.c.id,
        _related(between, newer),
        _method(between) != "REQUEST",
    )
    later = and_(_queued_with(newer, one), newer.c.id > one.c.id, newer.c.state == WAITING)
    found = exists().where(later, _replaces(newer, one), ~parted.correlate_except(between))
    return found.correlate_except(newer)


@cache
def _due() -> Select[Any]:
    """What is due and need not wait, the longest due first; `outdated`: a newer one will replace it."""
    due = deliveries.c.due_at <= bindparam("now", type_=Instant())
    query = select(deliveries.c.id, _gives_way(deliveries).label("outdated"))
    query = query.where(due, ~_behind(deliveries, unless_replaced=True))
    return query.order_by(deliveries.c.due_at, deliveries.c.id).limit(bindparam("limit"))


def _chosen(keys: Keys) -> Any:
    return deliveries.c.id.in_(select(keys.columns["i"]).select_from(keys.table))


@cache
def _still_due(dialect: str) -> Select[Any]:
    """Those that nobody else has taken meanwhile; on PostgreSQL they are locked, and what another locks is passed."""
    due = deliveries.c.due_at <= bindparam("now", type_=Instant())
    query = select(deliveries.c.id).where(_chosen(Keys(dialect, i=NUMBER)), due)
    return query if dialect == "sqlite" else query.with_for_update(skip_locked=True)


@cache
def _outdated(dialect: str) -> Select[Any]:
    """Those of the chosen that still give way."""
    query = select(deliveries.c.id).where(_chosen(Keys(dialect, i=NUMBER)), _gives_way(deliveries))
    return query if dialect == "sqlite" else query.with_for_update(skip_locked=True)


@cache
def _replaced(dialect: str) -> Select[Any]:
    """The older ones that the chosen ones replace."""
    earlier = deliveries.alias("earlier")
    on = and_(_queued_with(earlier, deliveries), earlier.c.id < deliveries.c.id, _replaces(deliveries, earlier))
    query = select(earlier.c.id).select_from(deliveries.join(earlier, on)).where(_chosen(Keys(dialect, i=NUMBER)))
    # One that is locked is being claimed at this moment: then the newer one waits, as `_lease` sees.
    return query if dialect == "sqlite" else query.with_for_update(skip_locked=True, of=earlier)


@cache
def _give_way(dialect: str) -> Update:
    chosen = and_(_chosen(Keys(dialect, i=NUMBER)), deliveries.c.state == WAITING)
    return update(deliveries).where(chosen).values(state=FAILED, due_at=None, last_error=SUPERSEDED)


@cache
def _lease(dialect: str) -> Any:
    return (
        update(deliveries)
        .where(_chosen(Keys(dialect, i=NUMBER)), ~_behind(deliveries, unless_replaced=False))
        .values(
            state=SENDING,
            due_at=bindparam("until", type_=Instant()),
            fence=deliveries.c.fence + 1,
            attempts=deliveries.c.attempts + 1,
        )
        .returning(deliveries.c.id)
    )


@Query
def _deliveries(dialect: str) -> Select[Any]:
    return select(*_own_columns).where(_chosen(Keys(dialect, i=NUMBER))).order_by(deliveries.c.id)


@Query
def _sendings(dialect: str) -> Select[Any]:
    keys = Keys(dialect, i=NUMBER)
    return select(*_said_columns).where(sendings.c.id.in_(select(keys.columns["i"]).select_from(keys.table)))


@cache
def _renew(dialect: str) -> Update:
    keys = Keys(dialect, i=NUMBER, f=NUMBER)
    mine = exists(select(keys.columns["i"]).select_from(keys.table)).where(
        keys.columns["i"] == deliveries.c.id, keys.columns["f"] == deliveries.c.fence
    )
    chosen = and_(_chosen(Keys(dialect, i=NUMBER, f=NUMBER)), mine, deliveries.c.state == SENDING)
    return update(deliveries).where(chosen).values(due_at=bindparam("until", type_=Instant()))
