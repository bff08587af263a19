"""The rows of outgoing mail: claim with a lease, settle with a fence, and a person's hand on them.

A delivery is waiting, sending (leased), sent, failed or held. Every try, and every change by hand, is a row of
`attempts`. It must never be sent by two at once: a claim raises the fence, and who holds an older one settles nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Select, Update, and_, bindparam, exists, insert, or_, select, update

from itipd.store import gather
from itipd.store.listing import NUMBER, Keys, dialect_of, packed
from itipd.store.rows import key_of
from itipd.store.schema import attempts, attendees, deliveries, sendings
from itipd.store.types import Instant
from itipd.store.values import Want

if TYPE_CHECKING:
    from itipd.store.store import Store

WAITING, SENDING, SENT, FAILED, HELD = "waiting", "sending", "sent", "failed", "held"
STATES = (WAITING, SENDING, SENT, FAILED, HELD)

TOLD = frozenset({"REQUEST", "CANCEL"})
"""Only these say anything about how the attendee is reached (RFC 6638 §3.2.9)."""


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
_delivery_columns = (*(deliveries.c[name] for name in _own), *(sendings.c[name] for name in _said))


async def claim(store: Store, now: datetime, lease: timedelta, limit: int) -> list[Delivery]:
    """At most `limit` deliveries that are due, leased to the caller until `now + lease`, the longest due first.

    None of them while an earlier one (a smaller id) to the same recipient about the same organizer, UID and
    RECURRENCE-ID waits or is being sent: no CANCEL overtakes its REQUEST. One whose lease has ended counts as due.
    Where nothing is due this only reads.
    """

    def look(connection: Connection) -> bool:
        return connection.execute(_due(locked=False), {"now": now, "limit": 1}).first() is not None

    def take(connection: Connection) -> list[Delivery]:
        ids = list(connection.scalars(_due(locked=dialect_of(connection) != "sqlite"), {"now": now, "limit": limit}))
        if not ids:
            return []
        listed = packed({"i": id_} for id_ in ids)
        connection.execute(_lease(dialect_of(connection)), {**listed, "until": now + lease})
        found = connection.execute(_deliveries(dialect_of(connection)), listed)
        return [Delivery(*row) for row in found]

    if limit < 1 or not await store.database.read(look):
        return []
    async with store.database.writing() as transaction:
        return await transaction.commit(take)


async def renew(store: Store, held: Sequence[Delivery], now: datetime, lease: timedelta) -> None:
    """Prolongs the leases to `now + lease`, of those that are still the caller's."""
    if not held:
        return
    listed = packed({"i": delivery.id, "f": delivery.fence} for delivery in held)

    def work(connection: Connection) -> None:
        connection.execute(_renew(dialect_of(connection)), {**listed, "until": now + lease})

    async with store.database.writing() as transaction:
        await transaction.commit(work)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one try: `sent`, `failed`, or `waiting` until `next_attempt`. `code`: an enhanced status code."""

    delivery: Delivery
    state: str
    at: datetime
    next_attempt: datetime | None = None
    error: str | None = None
    code: str | None = None


async def settle(
    store: Store,
    delivery: Delivery,
    state: str,
    now: datetime,
    next_attempt: datetime | None = None,
    error: str | None = None,
    code: str | None = None,
) -> bool:
    """Ends one try; see `settle_many`. False: the lease had passed to another."""
    return (await settle_many(store, [Result(delivery, state, now, next_attempt, error, code)]))[0]


async def settle_many(store: Store, results: Sequence[Result]) -> list[bool]:
    """Ends tries, all in one transaction; False for each whose lease had passed to another.

    Sets the attendee's SCHEDULE-STATUS: 1.1 when sent, by the code when failed (rules.md §11), never over a reply that
    came after this mail was made.
    """
    for result in results:
        if result.state not in (SENT, FAILED, WAITING):
            raise ValueError(f"a try ends sent, failed or waiting, not {result.state!r}")

    def work(connection: Connection) -> list[bool]:
        gather.lock(connection, _attendees_told(results))
        return [_ended(connection, result) for result in results]

    async with store.database.writing() as transaction:
        return await transaction.commit(work)


def _attendees_told(results: Sequence[Result]) -> dict[tuple[str, str], Want]:
    """Whose rows will be written: they are locked first, in one order for everybody."""
    wanted: dict[tuple[str, str], Want] = {}
    for result in results:
        delivery = result.delivery
        if delivery.method in TOLD and result.state != WAITING:
            key = key_of(delivery.organizer, delivery.uid)
            known = wanted[key].addresses if key in wanted else frozenset()
            wanted[key] = Want(delivery.organizer, delivery.uid, known | {delivery.recipient})
    return wanted


def _ended(connection: Connection, result: Result) -> bool:
    delivery, state = result.delivery, result.state
    due = (result.next_attempt or result.at) if state == WAITING else None
    values = {"state": state, "due": due, "error": result.error, "code": result.code}
    if not connection.execute(_settle(), {**values, "i": delivery.id, "f": delivery.fence}).rowcount:
        return False
    made = {"delivery_id": delivery.id, "at": result.at, "state": state, "code": result.code, "error": result.error}
    connection.execute(insert(attempts), made)
    if delivery.method in TOLD and state != WAITING:
        status = "1.1" if state == SENT else failure(result.code)
        key = {"o": delivery.organizer, "m": delivery.meeting_id, "a": delivery.recipient, "r": delivery.rid}
        connection.execute(_told(), {**key, "status": status, "made": delivery.created_at})
    return True


def failure(code: str | None) -> str:
    """The SCHEDULE-STATUS of a delivery that failed for good (RFC 6638 §3.2.9), by its enhanced status code."""
    code = code or ""
    if code.startswith("4."):
        return "5.1"
    if code == "5.1.1":
        return "3.7"
    return "5.3" if code.startswith("5.7.") else "5.2"


async def hold(store: Store, id_: int, now: datetime | None = None) -> bool:
    """Keeps a waiting one back; False if it is not waiting."""
    return await _by_hand(store, id_, (WAITING,), HELD, now, "held by hand")


async def release(store: Store, id_: int, now: datetime | None = None) -> bool:
    """Lets a held one go, due now; False if it is not held."""
    return await _by_hand(store, id_, (HELD,), WAITING, now, "released by hand")


async def retry(store: Store, id_: int, now: datetime | None = None) -> bool:
    """Makes a failed or waiting one due now; False if it is neither."""
    return await _by_hand(store, id_, (FAILED, WAITING), WAITING, now, "tried again by hand")


async def drop(store: Store, id_: int, now: datetime | None = None) -> bool:
    """Gives up a waiting, held or failed one: it stays as failed, `dropped by hand`. False if it is none of these."""
    return await _by_hand(store, id_, (WAITING, HELD, FAILED), FAILED, now, "dropped by hand")


async def flush_due(store: Store, now: datetime) -> int:
    """Makes everything that waits due at `now`; how many were not."""

    def work(connection: Connection) -> int:
        later = and_(deliveries.c.state == WAITING, deliveries.c.due_at > now)
        return connection.execute(update(deliveries).where(later).values(due_at=now)).rowcount

    async with store.database.writing() as transaction:
        return await transaction.commit(work)


async def _by_hand(store: Store, id_: int, before: tuple[str, ...], state: str, now: datetime | None, why: str) -> bool:
    at = now or datetime.now(UTC)

    def work(connection: Connection) -> bool:
        values: dict[str, Any] = {"state": state, "due_at": at if state == WAITING else None}
        if state == FAILED:
            values["last_error"] = why
        chosen = and_(deliveries.c.id == id_, deliveries.c.state.in_(before))
        if not connection.execute(update(deliveries).where(chosen).values(values)).rowcount:
            return False
        connection.execute(insert(attempts), {"delivery_id": id_, "at": at, "state": state, "code": None, "error": why})
        return True

    async with store.database.writing() as transaction:
        return await transaction.commit(work)


@cache
def _due(*, locked: bool) -> Select[Any]:
    earlier = deliveries.alias("earlier")
    ahead = exists().where(
        *(earlier.c[name] == deliveries.c[name] for name in ("organizer", "uid_key", "recipient", "rid")),
        earlier.c.id < deliveries.c.id,
        earlier.c.due_at.is_not(None),
    )
    # `due_at` is NULL where nothing is to be done, so this reads the partial index and nothing else.
    query = select(deliveries.c.id).where(deliveries.c.due_at <= bindparam("now", type_=Instant()), ~ahead)
    query = query.order_by(deliveries.c.due_at, deliveries.c.id).limit(bindparam("limit"))
    return query.with_for_update(skip_locked=True, of=deliveries) if locked else query


def _chosen(keys: Keys) -> Any:
    return deliveries.c.id.in_(select(keys.columns["i"]).select_from(keys.table))


@cache
def _lease(dialect: str) -> Update:
    return (
        update(deliveries)
        .where(_chosen(Keys(dialect, i=NUMBER)))
        .values(
            state=SENDING,
            due_at=bindparam("until", type_=Instant()),
            fence=deliveries.c.fence + 1,
            attempts=deliveries.c.attempts + 1,
        )
    )


@cache
def _deliveries(dialect: str) -> Select[Any]:
    joined = deliveries.join(sendings, sendings.c.id == deliveries.c.sending_id)
    chosen = _chosen(Keys(dialect, i=NUMBER))
    return select(*_delivery_columns).select_from(joined).where(chosen).order_by(deliveries.c.id)


@cache
def _renew(dialect: str) -> Update:
    keys = Keys(dialect, i=NUMBER, f=NUMBER)
    mine = exists(select(keys.columns["i"]).select_from(keys.table)).where(
        keys.columns["i"] == deliveries.c.id, keys.columns["f"] == deliveries.c.fence
    )
    chosen = and_(_chosen(Keys(dialect, i=NUMBER, f=NUMBER)), mine, deliveries.c.state == SENDING)
    return update(deliveries).where(chosen).values(due_at=bindparam("until", type_=Instant()))


@cache
def _settle() -> Update:
    mine = and_(deliveries.c.id == bindparam("i"), deliveries.c.fence == bindparam("f"), deliveries.c.state == SENDING)
    return (
        update(deliveries)
        .where(mine)
        .values(
            state=bindparam("state"),
            due_at=bindparam("due", type_=Instant()),
            last_error=bindparam("error"),
            last_code=bindparam("code"),
        )
    )


@cache
def _told() -> Update:
    unanswered = or_(attendees.c.replied_at.is_(None), attendees.c.replied_at <= bindparam("made", type_=Instant()))
    theirs = (
        attendees.c.organizer == bindparam("o"),
        attendees.c.meeting_id == bindparam("m"),
        attendees.c.address == bindparam("a"),
    )
    # Of an instance that nobody has said anything about there is no row: the series' row tells of it.
    exact = attendees.alias("exact")
    own = exists().where(
        *(exact.c[name] == attendees.c[name] for name in ("organizer", "meeting_id", "address")),
        exact.c.rid == bindparam("r"),
    )
    here = or_(attendees.c.rid == bindparam("r"), and_(attendees.c.rid == "", ~own))
    return update(attendees).where(*theirs, here, unanswered).values(schedule_status=bindparam("status"))
