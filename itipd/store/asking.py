"""What a decision asks of rows that its batch has not loaded: who has not declined, who is known, what takes place.

Each answer costs the same however large the meeting or the database is. It must never write.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Connection,
    Select,
    Text,
    and_,
    bindparam,
    case,
    cast,
    exists,
    func,
    literal_column,
    not_,
    or_,
    select,
    text,
    type_coerce,
    union_all,
)

from itipd.itip.model import Event, Meeting
from itipd.store import gather, rows
from itipd.store.listing import NUMBER, TEXT, Keys, dialect_of, packed
from itipd.store.rows import meeting_columns
from itipd.store.schema import attendees, events, meetings
from itipd.store.types import Instant, key_text
from itipd.store.values import MeetingKey, Want


def undecided(connection: Connection, *, key: MeetingKey, id_: int, required: bool, loaded: Collection[str]) -> bool:
    """Whether anybody who is not in `loaded` and whose answer counts (`thresholds.counts`) has not declined.

    From here to the end of the transaction no other process can ask this about the meeting: of two last refusals that
    are decided at once, one sees the other.
    """
    owner, uid = key
    gather.lock(connection, {(owner, f"{uid}\ndeclined"): Want(owner, uid, everything=True)})
    listed = packed({"a": key_text(address)} for address in loaded)
    query = _undecided(dialect_of(connection))
    found = connection.execute(query, {**listed, "o": owner, "m": id_, "required": required})
    return found.first() is not None


@cache
def _undecided(dialect: str) -> Select[Any]:
    keys = Keys(dialect, a=TEXT)
    required = bindparam("required", type_=Boolean())
    role, kind = (func.upper(func.coalesce(_parameter(dialect, name), "")) for name in ("ROLE", "CUTYPE"))
    # An instance that does not take place asks nothing of anybody.
    gone = exists().where(
        events.c.organizer == attendees.c.organizer,
        events.c.meeting_id == attendees.c.meeting_id,
        events.c.rid == attendees.c.rid,
        events.c.rid != "",
        events.c.status == "CANCELLED",
    )
    return (
        select(literal_column("1"))
        .select_from(attendees)
        .where(
            attendees.c.organizer == bindparam("o"),
            attendees.c.meeting_id == bindparam("m"),
            attendees.c.address != bindparam("o"),
            attendees.c.address.not_in(select(keys.columns["a"]).select_from(keys.table)),
            not_(attendees.c.removed),
            attendees.c.partstat.is_not(None),
            attendees.c.partstat.not_in(("DECLINED", "DELEGATED")),
            role != "NON-PARTICIPANT",
            case((required, role != "OPT-PARTICIPANT"), else_=True),
            kind.not_in(("ROOM", "RESOURCE")),
            ~gone,
        )
        .limit(1)
    )


def _parameter(dialect: str, name: str) -> Any:
    """The first value of an ATTENDEE's parameter, NULL where there is none."""
    if dialect == "sqlite":
        return func.json_extract(attendees.c.params, f"$.{name}[0]")
    return func.json_extract_path_text(cast(type_coerce(attendees.c.params, Text()), JSON), name, "0")


def known(connection: Connection, *, organizer: str, addresses: Iterable[str]) -> bool:
    """Whether one of these is, or was, an attendee of a meeting of this organizer's."""
    named = and_(attendees.c.organizer == organizer, attendees.c.address.in_(sorted(addresses)))
    return connection.execute(select(attendees.c.rid).where(named).limit(1)).first() is not None


def held(connection: Connection, *, organizer: str, start: datetime, end: datetime, limit: int) -> list[Meeting]:
    """At most `limit` meetings of this organizer's that are not cancelled and may take place between the two times.

    With all their events and without attendees. One whose times are unknown, or that never ends, may.
    """
    owner = key_text(organizer)
    found = connection.execute(_held(), {"o": owner, "start": start, "end": end, "limit": limit}).all()
    if not found:
        return []
    kept = {meeting.id: meeting for meeting in map(rows.meeting_of, found)}
    own: dict[int, dict[str, Event]] = {id_: {} for id_ in kept}
    listed = packed({"o": owner, "m": id_} for id_ in kept)
    for row in connection.execute(_events(dialect_of(connection)), listed):
        event = rows.event_of(row)
        own[row[0]][event.rid] = event
    return [replace(meeting, events=own[id_]) for id_, meeting in kept.items()]


@cache
def _held() -> Select[Any]:
    start, end = bindparam("start", type_=Instant()), bindparam("end", type_=Instant())
    # Two ranges of one index: with OR it would be read from the organizer's first meeting on.
    ranges = [
        select(meetings.c.id).where(
            meetings.c.organizer == bindparam("o"),
            text("status <> 'CANCELLED'"),  # to the letter, as the partial index has it
            ends,
            or_(meetings.c.begins_at.is_(None), meetings.c.begins_at < end),
        )
        for ends in (meetings.c.ends_at.is_(None), meetings.c.ends_at > start)
    ]
    return (
        select(*meeting_columns)
        .where(meetings.c.id.in_(union_all(*ranges)), meetings.c.component == "VEVENT")
        .order_by(meetings.c.id)
        .limit(bindparam("limit"))
    )


@cache
def _events(dialect: str) -> Select[Any]:
    keys = Keys(dialect, o=TEXT, m=NUMBER)
    on = and_(events.c.organizer == keys.columns["o"], events.c.meeting_id == keys.columns["m"])
    return select(*rows.event_columns).select_from(keys.table.join(events, on))
