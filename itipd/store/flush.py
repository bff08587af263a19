"""The set-wise writes of a batch: for every table at most one INSERT, UPDATE and DELETE, sorted by key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sqlalchemy import Connection, TextClause, and_, literal_column, text, update

from itipd.itip.uids import uid_key
from itipd.store import rows
from itipd.store.listing import dialect_of
from itipd.store.prepared import Prepared, Query, deleted, inserted, parameter, updated
from itipd.store.schema import attendees, deliveries, events, journal, meetings, outcomes, proposals, sendings
from itipd.store.types import key_text
from itipd.store.values import Entry, Loaded, MeetingKey, OutcomeRow, Ref, Sending

Row = dict[str, Any]

REPORTED = "report "
"""With this `last_code` begins where a delivery report came before the end of the try was written down."""

ID = ("organizer", "id")


@Query
def _sequences(_dialect: str) -> TextClause:
    return text("SELECT name, seq FROM sqlite_sequence")


@dataclass(slots=True)
class Pending:
    """What a batch has collected beside the meetings."""

    entries: list[tuple[Ref, Entry]] = field(default_factory=list)
    outcomes: list[tuple[Ref, OutcomeRow]] = field(default_factory=list)
    sendings: list[tuple[Ref, Sending]] = field(default_factory=list)
    closed: list[tuple[Ref, str]] = field(default_factory=list)  # held outcomes, what became of them
    reported: dict[int, str] = field(default_factory=dict)  # deliveries that a report is about, its status code


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
            self._last = {row[0]: row[1] for row in _sequences.rows(connection, {})}
        taken = {}
        for table, count in counts.items():
            last = self._last.get(table, 0)
            taken[table] = list(range(last + 1, last + count + 1))
            self._last[table] = last + count
        return taken

    def ready(self, table: str) -> int:
        """One id for which nothing has to be asked; 0 where there is none."""
        if self._last is not None:
            self._last[table] = self._last.get(table, 0) + 1
            return self._last[table]
        spare = self._spare.get(table)
        return spare.pop() if spare else 0

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
    wanted = {"tables": list(counts), "counts": list(counts.values())}
    for table, number in _nextval.rows(connection, wanted):
        taken[table].append(number)
    return taken


# Unused ones leave gaps; a sequence of PostgreSQL does that anyway.
@Query
def _nextval(_dialect: str) -> TextClause:
    return text(
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
    inserted(journal).run(connection, [_journal_row(ref, entry) for ref, entry in pending.entries])
    for write in (_meetings, _events, _attendees, _proposals):
        write(connection, changed)
    inserted(outcomes).run(connection, [_outcome_row(ref, row, known) for ref, row in pending.outcomes])
    _closed().run(connection, [{"id": ref.id, "state": state} for ref, state in pending.closed])
    inserted(sendings).run(connection, [_sending_row(ref, sending) for ref, sending in pending.sendings])
    inserted(deliveries).run(connection, _delivery_rows(pending.sendings, new.get("deliveries", [])))
    reported = [{"id": id_, "last_code": REPORTED + code} for id_, code in sorted(pending.reported.items())]
    _reported().run(connection, reported, exact=False)


def _meetings(connection: Connection, changed: Mapping[MeetingKey, Loaded]) -> None:
    fresh: list[Row] = []
    again: list[Row] = []
    for loaded in changed.values():
        if loaded.touched_row and loaded.meeting is not None:
            (again if loaded.stored else fresh).append(rows.meeting_values(loaded.meeting))
    inserted(meetings).run(connection, fresh)
    updated(meetings, ID).run(connection, again)


def _events(connection: Connection, changed: Mapping[MeetingKey, Loaded]) -> None:
    gone: list[Row] = []
    fresh: list[Row] = []
    again: list[Row] = []
    for loaded in changed.values():
        for rid in sorted(loaded.touched_events):
            event = loaded.there.events.get(rid)
            if event is not None:
                target = again if rid in loaded.stored_events else fresh
                target.append(rows.event_values(loaded.there, event))
            elif rid in loaded.stored_events:
                gone.append({"organizer": loaded.there.organizer, "meeting_id": loaded.id, "rid": rid})
    deleted(events, rows.EVENT_KEY).run(connection, gone)
    inserted(events).run(connection, fresh)
    updated(events, rows.EVENT_KEY).run(connection, again)


def _attendees(connection: Connection, changed: Mapping[MeetingKey, Loaded]) -> None:
    gone: list[Row] = []
    fresh: list[Row] = []
    again: list[Row] = []
    answered: list[Row] = []
    for loaded in changed.values():
        meeting = loaded.there
        for address, rid in sorted((address, rid) for rid, address in loaded.touched_attendees):
            row = meeting.attendees.get((rid, address))
            stored = loaded.stored_attendees.get((rid, address))
            if row is None:
                if stored is not None:
                    owner = {"organizer": meeting.organizer, "meeting_id": loaded.id}
                    gone.append({**owner, "address": address, "rid": rid})
            elif stored is None:
                fresh.append(rows.attendee_values(meeting, row))
            elif rows.same_guest(row, stored):
                answered.append(rows.answer_values(meeting, row))
            else:
                again.append(rows.attendee_values(meeting, row))
    deleted(attendees, rows.ATTENDEE_KEY).run(connection, gone)
    inserted(attendees).run(connection, fresh)
    updated(attendees, rows.ATTENDEE_KEY).run(connection, again)
    # A reply changes nothing else, and there are a hundred replies for each change of the guests.
    updated(attendees, rows.ATTENDEE_KEY, rows.ANSWER_COLUMNS).run(connection, answered)


def _proposals(connection: Connection, changed: Mapping[MeetingKey, Loaded]) -> None:
    fresh: list[Row] = []
    again: list[Row] = []
    for loaded in changed.values():
        for id_ in sorted(loaded.touched_proposals):
            target = again if id_ in loaded.stored_proposals else fresh
            target.append(rows.proposal_values(loaded.there, loaded.there.proposals[id_]))
    inserted(proposals).run(connection, fresh)
    updated(proposals, ID).run(connection, again)


def _journal_row(ref: Ref, entry: Entry) -> Row:
    return {
        "id": ref.id,
        "organizer": entry.organizer,
        "kind": entry.kind,
        "received_at": entry.received_at,
        "sender": entry.sender,
        "recipients": entry.recipients,
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
    meeting = known.get((key_text(organizer), key)) if key is not None else None
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


@cache
def _closed() -> Prepared:
    """Only what is still open: two persons cannot both decide one held mail."""
    still_open = outcomes.c.state == literal_column("'open'")
    chosen = and_(outcomes.c.id == parameter(outcomes, "id"), still_open)
    return Prepared(outcomes, update(outcomes).where(chosen).values(state=parameter(outcomes, "state")))


@cache
def _reported() -> Prepared:
    """Only what has no end yet: that of a later try would be taken for newer than the report."""
    open_ = and_(deliveries.c.id == parameter(deliveries, "id"), deliveries.c.state != literal_column("'sent'"))
    return Prepared(deliveries, update(deliveries).where(open_).values(last_code=parameter(deliveries, "last_code")))
