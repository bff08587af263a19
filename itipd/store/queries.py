"""Reading for the command line, the API and the page: meetings and proposals, with a constant number of statements.

Dictionaries are ready for JSON: times are ISO 8601, what there is not is None. A list with a cursor is (lines, next);
`next` is given back as `after`, None at the end. It must never write.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Select, and_, exists, func, literal_column, not_, or_, select, text

from itipd.itip.model import NEEDS_ACTION, Meeting, Moment
from itipd.itip.uids import uid_key
from itipd.store import gather, rows
from itipd.store.listing import NUMBER, TEXT, Keys, dialect_of, packed
from itipd.store.schema import attempts, attendees, deliveries, events, journal, meetings, outcomes, proposals
from itipd.store.types import tidy
from itipd.store.values import Loaded, Want

if TYPE_CHECKING:
    from itipd.store.store import Store

Line = dict[str, Any]

COUNTED = ("ACCEPTED", "DECLINED", "TENTATIVE", "DELEGATED", NEEDS_ACTION)
COUNTED_TODO = (*COUNTED, "COMPLETED", "IN-PROCESS")


def iso(moment: datetime | None) -> str | None:
    """A time for JSON."""
    return moment.isoformat() if moment is not None else None


def cursor(after: int | str | None, default: int) -> int:
    """A cursor as an id. Raises ValueError for one that was not given here."""
    return default if after in (None, "") else int(after)


NEWEST = 2**63 - 1
"""Before the newest row."""


_others = events.alias("others")

# The series, or for overrides without their series the first of them: "" sorts before all recurrence ids.
_first = (
    select(func.min(_others.c.rid))
    .where(_others.c.organizer == meetings.c.organizer, _others.c.meeting_id == meetings.c.id)
    .correlate(meetings)
    .scalar_subquery()
)
_lead = and_(events.c.organizer == meetings.c.organizer, events.c.meeting_id == meetings.c.id, events.c.rid == _first)
_lead_columns = (events.c.rid.label("lead_rid"), events.c.summary, events.c.starts, events.c.ends)


async def organizer_of(store: Store, uid: str) -> str | None:
    """Who owns a meeting with this UID; of several the first in alphabetical order, None where there is none."""

    def work(connection: Connection) -> str | None:
        owners = select(meetings.c.organizer).where(meetings.c.uid_key == uid_key(uid))
        return connection.scalar(owners.order_by(meetings.c.organizer).limit(1))

    return await store.database.read(work)


async def meeting(store: Store, uid: str, organizer: str | None = None) -> Meeting | None:
    """The whole meeting, or None. Without an organizer: of those who own the UID the first in alphabetical order."""

    def work(connection: Connection) -> Meeting | None:
        owner = organizer
        if owner is None:
            owners = select(meetings.c.organizer).where(meetings.c.uid_key == uid_key(uid))
            owner = connection.scalar(owners.order_by(meetings.c.organizer).limit(1))
        return whole(connection, owner, uid) if owner is not None else None

    return await store.database.read(work)


def whole(connection: Connection, organizer: str, uid: str) -> Meeting | None:
    """The whole meeting, for reading: nothing is locked."""
    key = rows.key_of(organizer, uid)
    known = {key: Loaded()}
    gather.load(connection, {key: Want(organizer, uid, everything=True)}, known)
    return known[key].meeting


async def meeting_keys(
    store: Store, limit: int | None = None, after: tuple[str, str] | None = None
) -> list[tuple[str, str]]:
    """(organizer, UID) of all meetings, in order of these; those behind `after`."""
    query = select(meetings.c.organizer, meetings.c.uid).order_by(meetings.c.organizer, meetings.c.uid_key)
    if after is not None:
        organizer, key = rows.key_of(*after)
        later = and_(meetings.c.organizer == organizer, meetings.c.uid_key > key)
        query = query.where(or_(meetings.c.organizer > organizer, later))
    return await store.database.read(
        lambda connection: [(row[0], row[1]) for row in connection.execute(query.limit(limit))]
    )


async def meeting_lines(
    store: Store, limit: int = 100, after: int | str | None = None, search: str | None = None
) -> tuple[list[Line], str | None]:
    """A line per meeting as `itipd status --json`, the last registered first, and the cursor of the next page.

    `search`: part of the summary, the UID or the organizer, or a guest's whole address; case does not matter.
    """
    query = select(meetings, *_lead_columns).select_from(meetings.outerjoin(events, _lead))
    query = query.where(meetings.c.id < cursor(after, NEWEST)).order_by(meetings.c.id.desc()).limit(limit)
    if search:
        query = query.where(_matches(tidy(search)))

    def work(connection: Connection) -> tuple[list[Line], str | None]:
        found = connection.execute(query).all()
        keys = packed({"o": row.organizer, "m": row.id} for row in found)
        counts: dict[int, dict[str, int]] = defaultdict(dict)
        for id_, word, number in connection.execute(_counts(dialect_of(connection)), keys):
            counts[id_][word] = number
        lines = [_line(row, counts[row.id]) for row in found]
        return lines, str(found[-1].id) if len(found) == limit else None

    return await store.database.read(work)


def _line(row: Any, found: dict[str, int]) -> Line:
    """What `attendance.status` says of the whole, from the row alone."""
    words = dict.fromkeys(COUNTED_TODO if row.component == "VTODO" else COUNTED, 0)
    for word, number in found.items():
        words[word if word in words else NEEDS_ACTION] += number
    series = row.lead_rid == ""
    return {
        "uid": row.uid,
        "organizer": row.organizer,
        "summary": row.summary or "",
        "status": row.status,
        "sequence": row.sequence if series else None,
        "start": Moment.decode(row.starts).iso if series and row.starts else None,
        "end": Moment.decode(row.ends).iso if series and row.ends else None,
        "counts": words,
    }


def _matches(search: str) -> Any:
    guest = exists().where(
        attendees.c.organizer == meetings.c.organizer,
        attendees.c.meeting_id == meetings.c.id,
        attendees.c.address == search.lower(),
    )
    parts = [column.icontains(search, autoescape=True) for column in (meetings.c.uid, meetings.c.organizer)]
    return or_(events.c.summary.icontains(search, autoescape=True), *parts, *([guest] if "@" in search else []))


@cache
def _counts(dialect: str) -> Select[Any]:
    keys = Keys(dialect, o=TEXT, m=NUMBER)
    on = and_(attendees.c.organizer == keys.columns["o"], attendees.c.meeting_id == keys.columns["m"])
    word = func.coalesce(attendees.c.partstat, NEEDS_ACTION)
    return (
        select(attendees.c.meeting_id, word, func.count())
        .select_from(keys.table.join(attendees, on))
        .where(attendees.c.rid == "", not_(attendees.c.removed))
        .group_by(attendees.c.meeting_id, word)
    )


async def proposal_list(
    store: Store,
    state: str | None = "open",
    organizer: str | None = None,
    uid: str | None = None,
    limit: int = 10_000,
) -> list[Line]:
    """Counter proposals, the oldest first; `state` None: of every state."""
    query = _with_summary().order_by(proposals.c.id).limit(limit)
    if state == "open":
        query = query.where(proposals.c.state == literal_column("'open'"))  # to the letter, as the partial index
    elif state is not None:
        query = query.where(proposals.c.state == state)
    if organizer is not None:
        query = query.where(proposals.c.organizer == organizer)
    if uid is not None:
        query = query.where(meetings.c.uid_key == uid_key(uid))
    return await store.database.read(lambda connection: [_proposal(row) for row in connection.execute(query)])


async def proposal(store: Store, id_: int) -> Line | None:
    """One of them."""
    query = _with_summary().where(proposals.c.id == id_)

    def work(connection: Connection) -> Line | None:
        row = connection.execute(query).first()
        return _proposal(row) if row is not None else None

    return await store.database.read(work)


def _with_summary() -> Select[Any]:
    joined = proposals.join(meetings, meetings.c.id == proposals.c.meeting_id).outerjoin(events, _lead)
    return select(*rows.proposal_columns, meetings.c.uid, meetings.c.organizer, events.c.summary).select_from(joined)


def _proposal(row: Any) -> Line:
    found = rows.proposal_of(row[: len(rows.proposal_columns)])
    said = found.proposed
    return {
        "id": found.id,
        "uid": row.uid,
        "organizer": row.organizer,
        "summary": row.summary or "",
        "attendee": found.attendee,
        "recurrence_id": found.rid or None,
        "start": said.start.iso if said.start else None,
        "end": said.end.iso if said.end else None,
        "location": said.location,
        "comment": found.comment,
        "added": [guest.address for guest in found.added],
        "sequence": found.sequence,
        "state": found.state,
    }


async def version(store: Store) -> str:
    """A text that changes with every committed change, of any process, except that an outgoing mail was claimed."""
    newest = [select(func.max(table.c.id)).scalar_subquery() for table in (journal, outcomes, deliveries, attempts)]
    query = select(*newest)
    return await store.database.read(
        lambda connection: ".".join(str(number or 0) for number in connection.execute(query).one())
    )


async def totals(store: Store) -> dict[str, int]:
    """`meetings`, open `proposals`, open `held` outcomes, and deliveries by state except those that were sent."""
    query = select(
        select(func.count()).select_from(meetings).scalar_subquery().label("meetings"),
        select(func.count())
        .where(text("proposals.state = 'open'"))
        .select_from(proposals)
        .scalar_subquery()
        .label("proposals"),
        select(func.count())
        .where(text("outcomes.state = 'open'"))
        .select_from(outcomes)
        .scalar_subquery()
        .label("held"),
    )
    by_state = select(deliveries.c.state, func.count()).group_by(deliveries.c.state)
    pending = by_state.where(deliveries.c.due_at.is_not(None))
    stuck = by_state.where(text("state IN ('failed', 'held')"))

    def work(connection: Connection) -> dict[str, int]:
        found = dict(connection.execute(query).one()._mapping)
        states = {"waiting": 0, "sending": 0, "failed": 0, "held": 0}
        for part in (pending, stuck):
            states |= {row[0]: row[1] for row in connection.execute(part)}
        return {
            **found,
            **{name: states[name] for name in ("waiting", "sending", "failed")},
            "outbox_held": states["held"],
        }

    return await store.database.read(work)
