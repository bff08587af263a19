"""The rows of outgoing mail that were taken (`claims`): how a try ends, and a person's hand on them.

A delivery is waiting, sending (leased), sent, failed or held. Every try, and every change by hand, is a row of
`attempts`. Who holds an older fence than the row's settles nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Select, and_, bindparam, exists, func, insert, or_, select, update

from itipd.store import gather
from itipd.store.claims import FAILED, HELD, SENDING, SENT, SUPERSEDED, WAITING, Delivery
from itipd.store.flush import REPORTED
from itipd.store.listing import NUMBER, Keys, packed
from itipd.store.prepared import Prepared, Query, inserted, updated
from itipd.store.rows import key_of
from itipd.store.schema import attempts, attendees, deliveries
from itipd.store.types import Instant
from itipd.store.values import Want

if TYPE_CHECKING:
    from itipd.store.store import Store

TOLD = frozenset({"REQUEST", "CANCEL"})
"""Only these say anything about how the attendee is reached (RFC 6638 §3.2.9)."""

BY_HAND = {
    "hold": "held by hand",
    "release": "released by hand",
    "retry": "tried again by hand",
    "drop": "dropped by hand",
}
"""What stands in `attempts` for what a person did."""


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
    came after this mail was made, nor over a delivery report about it.
    """
    for result in results:
        if result.state not in (SENT, FAILED, WAITING):
            raise ValueError(f"a try ends sent, failed or waiting, not {result.state!r}")

    def work(connection: Connection) -> list[bool]:
        gather.lock(connection, _attendees_told(results))
        return _ended(connection, results)

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


def _ended(connection: Connection, results: Sequence[Result]) -> list[bool]:
    """A constant number of statements, however many have ended."""
    held = packed({"i": result.delivery.id, "f": result.delivery.fence} for result in results)
    mine = {row[0]: reported(row[1]) for row in _still_held.rows(connection, held)}
    counted = [result for result in results if result.delivery.id in mine]
    _settled().run(
        connection,
        [
            {
                "id": result.delivery.id,
                "state": result.state,
                "due_at": (result.next_attempt or result.at) if result.state == WAITING else None,
                "last_error": result.error,
                "last_code": mine[result.delivery.id] or result.code,
            }
            for result in counted
        ],
    )
    inserted(attempts, _TRY).run(
        connection,
        [
            {"delivery_id": one.delivery.id, "at": one.at, "state": one.state, "code": one.code, "error": one.error}
            for one in counted
        ],
    )
    said = [row for one in counted if not mine[one.delivery.id] and (row := _said(one)) is not None]
    _told().run(connection, said, exact=False)
    return [result.delivery.id in mine for result in results]


def _said(result: Result) -> dict[str, Any] | None:
    delivery = result.delivery
    key = {"o": delivery.organizer, "m": delivery.meeting_id, "a": delivery.recipient, "r": delivery.rid}
    return _status(key, delivery.method, delivery.created_at, result.state, result.code)


def reported(code: str | None) -> str | None:
    """The `last_code` where it says that a report came: that proves that the mail had left, and is the newer word."""
    return code if code is not None and code.startswith(REPORTED) else None


def told(
    connection: Connection, key: Mapping[str, Any], method: str, made: datetime, state: str, code: str | None
) -> None:
    """What the end of a try says about how an attendee is reached; `key`: organizer, meeting, address, R."""
    row = _status(key, method, made, state, code)
    if row is not None:
        _told().run(connection, [row], exact=False)


def _status(key: Mapping[str, Any], method: str, made: datetime, state: str, code: str | None) -> dict[str, Any] | None:
    if method not in TOLD or state not in (SENT, FAILED):
        return None
    return {**key, "status": "1.1" if state == SENT else failure(code), "made": made}


def by_hand(error: str | None) -> bool:
    """Whether an attempt was none: a person's word, or a newer mail's."""
    return error == SUPERSEDED or error in BY_HAND.values()


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
    return await _by_hand(store, id_, (WAITING,), HELD, now, BY_HAND["hold"])


async def release(store: Store, id_: int, now: datetime | None = None) -> bool:
    """Lets a held one go, due now; False if it is not held."""
    return await _by_hand(store, id_, (HELD,), WAITING, now, BY_HAND["release"])


async def retry(store: Store, id_: int, now: datetime | None = None) -> bool:
    """Makes a failed or waiting one due now; False if it is neither, or if a newer one says all that it said."""
    return await _by_hand(store, id_, (FAILED, WAITING), WAITING, now, BY_HAND["retry"])


async def drop(store: Store, id_: int, now: datetime | None = None) -> bool:
    """Gives up a waiting, held or failed one: it stays as failed, `dropped by hand`. False if it is none of these."""
    return await _by_hand(store, id_, (WAITING, HELD, FAILED), FAILED, now, BY_HAND["drop"])


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
        replaced = func.coalesce(deliveries.c.last_error, "") == SUPERSEDED
        chosen = and_(deliveries.c.id == id_, deliveries.c.state.in_(before), ~replaced)
        if not connection.execute(update(deliveries).where(chosen).values(values)).rowcount:
            return False
        connection.execute(insert(attempts), {"delivery_id": id_, "at": at, "state": state, "code": None, "error": why})
        return True

    async with store.database.writing() as transaction:
        return await transaction.commit(work)


_TRY = ("delivery_id", "at", "state", "code", "error")


@Query
def _still_held(dialect: str) -> Select[Any]:
    """Those whose fence is still the caller's; on PostgreSQL they are locked."""
    keys = Keys(dialect, i=NUMBER, f=NUMBER)
    on = and_(deliveries.c.id == keys.columns["i"], deliveries.c.fence == keys.columns["f"])
    found = select(deliveries.c.id, deliveries.c.last_code).select_from(keys.table.join(deliveries, on))
    found = found.where(deliveries.c.state == SENDING)
    return found if dialect == "sqlite" else found.order_by(deliveries.c.id).with_for_update(of=deliveries)


@cache
def _settled() -> Prepared:
    return updated(deliveries, ("id",), ("state", "due_at", "last_error", "last_code"))


@cache
def _told() -> Prepared:
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
    statement = update(attendees).where(*theirs, here, unanswered).values(schedule_status=bindparam("status"))
    return Prepared(attendees, statement)
