"""The set-wise writes of a batch: for every table at most one INSERT, UPDATE and DELETE, sorted by key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sqlalchemy import Connection, Table, and_, bindparam, delete, insert, literal_column, text, update

from itipd.itip.uids import uid_key
from itipd.store import rows
from itipd.store.listing import dialect_of
from itipd.store.prepared import Prepared
from itipd.store.schema import attendees, deliveries, events, journal, meetings, outcomes, proposals, sendings
from itipd.store.values import Conflict, Entry, Loaded, MeetingKey, OutcomeRow, Ref, Sending

Row = dict[str, Any]

_sequences = text("SELECT name, seq FROM sqlite_sequence")


@dataclass(slots=True)
class Pending:
    """What a batch has collected beside the meetings."""

    entries: list[tuple[Ref, Entry]] = field(default_factory=list)
    outcomes: list[tuple[Ref, OutcomeRow]] = field(default_factory=list)
    sendings: list[tuple[Ref, Sending]] = field(default_factory=list)
    closed: list[tuple[Ref, str]] = field(default_factory=list)  # held outcomes, what became of them


class Ids:
    """Gives the ids of one batch. SQLite: the next ones, as nobody else writes; PostgreSQL: from the sequences."""

    def __init__(self) -> None:
        self._last: dict[str, int] | None = None
        self._spare: dict[str, list[int]] = {}
        self._size: dict[str, int] = {}

    def take(self, connection: Connection, counts: Mapping[str, int]) -> dict[str, list[int]]:
        """So many new ids for each table, rising; at most one statement."""
        if dialect_of(connection) != "sqlite":
            return _nextvals(connection, counts)
        if self._last is None:
            self._last = {row.name: row.seq for row in connection.execute(_sequences)}
        taken = {}
        for table, count in counts.items():
            last = self._last.get(table, 0)
            taken[table] = list(range(last + 1, last + count + 1))
            self._last[table] = last + count
        return taken

    def one(self, connection: Connection, table: str) -> int:
        """One id; PostgreSQL is asked for twice as many each time, so that many cost few statements."""
        if dialect_of(connection) == "sqlite":
            return self.take(connection, {table: 1})[table][0]
        spare = self._spare.setdefault(table, [])
        if not spare:
            size = self._size[table] = 2 * self._size.get(table, 0) or 1
            spare += reversed(_nextvals(connection, {table: size})[table])
        return spare.pop()


def _nextvals(connection: Connection, counts: Mapping[str, int]) -> dict[str, list[int]]:
    taken: dict[str, list[int]] = {table: [] for table in counts}
    found = connection.execute(_nextval, {"tables": list(counts), "counts": list(counts.values())})
    for table, number in found:
        taken[table].append(number)
    return taken


# Unused ones leave gaps; a sequence of PostgreSQL does that anyway.
_nextval = text(
    "SELECT name, nextval(CAST(name || '_id_seq' AS regclass)) "
    "FROM unnest(CAST(:tables AS text[]), CAST(:counts AS int[])) AS wanted(name, n), generate_series(1, n)"
)


def flush(connection: Connection, ids: Ids, known: Mapping[MeetingKey, Loaded], pending: Pending) -> None:
    """Writes everything and fills the ids of all Refs. Raises Conflict if a row is not as it was read."""
    changed = {key: known[key] for key in sorted(known) if known[key].touched}
    counts = {
        "journal": len(pending.entries),
        "outcomes": len(pending.outcomes),
        "sendings": len(pending.sendings),
        "deliveries": sum(len(sending.deliveries) for _, sending in pending.sendings),
    }
    new = ids.take(connection, counts) if any(counts.values()) else {}
    refs = {
        "journal": [ref for ref, _ in pending.entries],
        "outcomes": [ref for ref, _ in pending.outcomes],
        "sendings": [ref for ref, _ in pending.sendings],
    }
    for table, listed in refs.items():
        for ref, id_ in zip(listed, new.get(table, ()), strict=True):
            ref.id = id_
    _insert(connection, journal, (_journal_row(ref, entry) for ref, entry in pending.entries))
    _meetings(connection, changed)
    _parts(connection, changed)
    _insert(connection, outcomes, (_outcome_row(ref, row, known) for ref, row in pending.outcomes))
    _close(connection, pending.closed)
    _insert(connection, sendings, (_sending_row(ref, sending) for ref, sending in pending.sendings))
    _insert(connection, deliveries, _delivery_rows(pending.sendings, new.get("deliveries", [])))


def _meetings(connection: Connection, changed: Mapping[MeetingKey, Loaded]) -> None:
    rows_ = [
        (loaded.stored, rows.meeting_values(loaded.meeting))
        for loaded in changed.values()
        if loaded.touched_row and loaded.meeting
    ]
    _insert(connection, meetings, (row for stored, row in rows_ if not stored))
    _update(connection, meetings, ("organizer", "id"), (row for stored, row in rows_ if stored))


def _parts(connection: Connection, changed: Mapping[MeetingKey, Loaded]) -> None:
    """Events, attendees and proposals. Deletions first: a row may come again under its key."""
    gone: dict[Table, list[Row]] = {events: [], attendees: []}
    fresh: dict[Table, list[Row]] = {events: [], attendees: [], proposals: []}
    again: dict[Table, list[Row]] = {events: [], attendees: [], proposals: []}
    for loaded in changed.values():
        meeting = loaded.meeting
        if meeting is None:
            continue
        owner = {"organizer": meeting.organizer, "meeting_id": meeting.id}
        for rid in sorted(loaded.touched_events):
            event = meeting.events.get(rid)
            if event is not None:
                target = again if rid in loaded.stored_events else fresh
                target[events].append(rows.event_values(meeting, event))
            elif rid in loaded.stored_events:
                gone[events].append({**owner, "rid": rid})
        for rid, address in sorted(loaded.touched_attendees, key=_by_address):
            attendee = meeting.attendees.get((rid, address))
            if attendee is not None:
                target = again if (rid, address) in loaded.stored_attendees else fresh
                target[attendees].append(rows.attendee_values(meeting, attendee))
            elif (rid, address) in loaded.stored_attendees:
                gone[attendees].append({**owner, "address": address, "rid": rid})
        for id_ in sorted(loaded.touched_proposals):
            target = again if id_ in loaded.stored_proposals else fresh
            target[proposals].append(rows.proposal_values(meeting, meeting.proposals[id_]))
    keys: tuple[tuple[Table, tuple[str, ...]], ...] = ((events, rows.EVENT_KEY), (attendees, rows.ATTENDEE_KEY))
    for table, key in keys:
        _run(connection, table, _delete_statement(table, key), _prefixed(gone[table], key))
    for table, key in (*keys, (proposals, ("organizer", "id"))):
        _insert(connection, table, fresh[table])
        _update(connection, table, key, again[table])


def _by_address(key: tuple[str, str]) -> tuple[str, str]:
    return key[1], key[0]


def _close(connection: Connection, closed: Sequence[tuple[Ref, str]]) -> None:
    """Only what is still open: two persons cannot both decide one held mail."""
    _run(connection, outcomes, _close_statement(), [{"k_id": ref.id, "v_state": state} for ref, state in closed])


def _journal_row(ref: Ref, entry: Entry) -> Row:
    return {
        "id": ref.id,
        "organizer": entry.organizer,
        "kind": entry.kind,
        "received_at": entry.received_at,
        "sender": entry.sender,
        "recipients": list(entry.recipients),
        "client": entry.client,
        "message_id": entry.message_id,
        "from_header": entry.from_,
        "digest": entry.digest,
        "packed": entry.packed,
    }


def _outcome_row(ref: Ref, row: OutcomeRow, known: Mapping[MeetingKey, Loaded]) -> Row:
    decision = row.decision
    organizer = row.entry.organizer
    key = uid_key(decision.uid) if decision.uid else None
    meeting = known.get((organizer, key)) if key is not None else None
    return {
        "id": ref.id,
        "journal_id": row.entry.id,
        "organizer": organizer,
        "position": row.position,
        "at": row.at,
        "outcome": decision.outcome.value,
        "reason": decision.reason.value,
        "method": decision.method,
        "uid": decision.uid,
        "uid_key": key,
        "meeting_id": meeting.id or None if meeting is not None else None,
        "rid": decision.rid,
        "attendee": decision.attendee,
        "partstat": decision.partstat,
        "sequence": decision.sequence,
        "quirks": decision.quirks,
        "changes": [[change.attendee, change.rid, change.field, change.old, change.new] for change in decision.changes],
        "detail": decision.detail,
        "state": "open" if row.open else None,
    }


def _sending_row(ref: Ref, sending: Sending) -> Row:
    return {
        "id": ref.id,
        "journal_id": sending.cause.id,
        "organizer": sending.organizer,
        "organizer_name": sending.organizer_name,
        "uid": sending.uid,
        "meeting_id": sending.meeting_id or None,
        "method": sending.method,
        "rid": sending.rid,
        "sequence": sending.sequence,
        "reason": sending.reason,
        "summary": sending.summary,
        "calendar": sending.calendar,
        "created_at": sending.created_at,
        "automatic": sending.automatic,
        "language": sending.language,
        "comment": sending.comment,
    }


def _delivery_rows(sendings_: Iterable[tuple[Ref, Sending]], ids: Sequence[int]) -> list[Row]:
    listed: list[Row] = []
    for ref, sending in sendings_:
        key = uid_key(sending.uid)
        for delivery in sending.deliveries:
            listed.append(
                {
                    "id": ids[len(listed)],
                    "sending_id": ref.id,
                    "organizer": sending.organizer,
                    "uid_key": key,
                    "rid": sending.rid,
                    "recipient": delivery.recipient,
                    "message_id": delivery.message_id,
                    "token": delivery.token,
                    "line": delivery.line,
                    "state": "waiting",
                    "due_at": sending.created_at,
                    "fence": 0,
                    "attempts": 0,
                    "last_error": None,
                    "last_code": None,
                }
            )
    return listed


def _insert(connection: Connection, table: Table, listed: Iterable[Row]) -> None:
    _insert_statement(table).run(connection, list(listed))


def _update(connection: Connection, table: Table, key: tuple[str, ...], listed: Iterable[Row]) -> None:
    _run(connection, table, _update_statement(table, key), _prefixed(listed, key))


def _prefixed(listed: Iterable[Row], key: tuple[str, ...]) -> list[Row]:
    return [{("k_" if name in key else "v_") + name: value for name, value in row.items()} for row in listed]


def _run(connection: Connection, table: Table, statement: Prepared, listed: list[Row]) -> None:
    touched = statement.run(connection, listed)
    if touched != len(listed):
        raise Conflict(f"{table.name}: {touched} of {len(listed)} rows are as they were read; try again")


@cache
def _insert_statement(table: Table) -> Prepared:
    return Prepared(insert(table))


@cache
def _update_statement(table: Table, key: tuple[str, ...]) -> Prepared:
    values: dict[Any, Any] = {column: bindparam("v_" + column.name) for column in table.c if column.name not in key}
    return Prepared(update(table).where(*(table.c[name] == bindparam("k_" + name) for name in key)).values(values))


@cache
def _delete_statement(table: Table, key: tuple[str, ...]) -> Prepared:
    return Prepared(delete(table).where(*(table.c[name] == bindparam("k_" + name) for name in key)))


@cache
def _close_statement() -> Prepared:
    still_open = outcomes.c.state == literal_column("'open'")
    chosen = and_(outcomes.c.id == bindparam("k_id"), still_open)
    return Prepared(update(outcomes).where(chosen).values(state=bindparam("v_state")))
