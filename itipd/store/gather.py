"""The set-wise SELECTs of a batch: a constant number of statements, however many messages there are.

On PostgreSQL the batch first takes advisory locks, in one order for all: a meeting shared (exclusive for those who
write all of it), an attendee of it exclusive. Unlike row locks they also hold what has no row yet: the first answer to
an instance, a reply to a meeting that is being registered. Released by the end of the transaction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    Connection,
    Integer,
    Select,
    Text,
    and_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    text,
    type_coerce,
)

from itipd.itip import answer
from itipd.itip.model import Attendee, Event, Proposal
from itipd.itip.quick import replace
from itipd.store import rows
from itipd.store.listing import NUMBER, TEXT, Keys, dialect_of, packed
from itipd.store.prepared import Query
from itipd.store.rows import attendee_columns, event_columns, meeting_columns, proposal_columns
from itipd.store.schema import attendees, deliveries, events, journal, meetings, outcomes, proposals, sendings
from itipd.store.types import digest_text, key_text
from itipd.store.values import Delivered, Entry, HeldMail, Loaded, MeetingKey, OutcomeRow, Ref, Want

LAST = "\U0010ffff"
"""After every text that is a key."""

_lock = text(
    "SELECT CASE WHEN whole THEN CAST(pg_advisory_xact_lock(number) AS text) "
    "ELSE CAST(pg_advisory_xact_lock_shared(number) AS text) END "
    "FROM json_to_recordset(CAST(:keys AS json)) AS keys(number bigint, whole boolean)"
)


def lock(connection: Connection, wanted: Mapping[MeetingKey, Want]) -> None:
    """Waits until nobody else decides about these; on SQLite nobody can."""
    if dialect_of(connection) == "sqlite":
        return
    numbers: dict[int, bool] = {}
    for key, want in wanted.items():
        number = _number(*key)
        numbers[number] = numbers.get(number, False) or want.everything
        for address in want.addresses:
            numbers[_number(*key, address)] = True
    # By number, in one statement: two batches never wait for each other in a ring.
    connection.execute(_lock, packed({"number": number, "whole": numbers[number]} for number in sorted(numbers)))


def _number(*key: str) -> int:
    data = "\n".join(key).encode("utf-8", "replace")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big", signed=True)


def gather(connection: Connection, wanted: Mapping[MeetingKey, Want], known: Mapping[MeetingKey, Loaded]) -> None:
    """Locks and loads."""
    lock(connection, wanted)
    load(connection, wanted, known)


def load(connection: Connection, wanted: Mapping[MeetingKey, Want], known: Mapping[MeetingKey, Loaded]) -> None:
    """Fills `known`, which has an entry for every key of `wanted`. What the batch has changed already stays."""
    new = [key for key in wanted if not known[key].looked]
    fresh: dict[int, Any] = {}  # rows of meetings that the batch has not seen before
    if new:
        for row in _meetings.rows(connection, packed({"o": key[0], "u": key[1]} for key in new)):
            loaded = known[row[0], row[1]]
            loaded.id, loaded.stored = row[3], True
            fresh[loaded.id] = row
        for key in new:
            known[key].looked = True
    present = {key: want for key, want in wanted.items() if known[key].stored}
    if not present:
        return
    people = packed(_attendee_keys(present, known))
    found_events = _events.rows(connection, packed(_event_keys(present, known)))
    found_attendees = list(_attendees.rows(connection, people))
    guests = [key for key, want in present.items() if want.guests and not want.everything]
    if guests:
        # SQLite takes no column as OFFSET, so the largest number counts for all.
        most = max(present[key].guests for key in guests)
        listed = packed({"o": key[0], "m": known[key].id} for key in guests)
        found_attendees += _guests.rows(connection, {**listed, "most": most})
    found_proposals = _proposals.rows(connection, people)
    by_id = {known[key].id: known[key] for key in present}
    _merge(by_id, fresh, found_events, found_attendees, found_proposals)
    for key, want in present.items():
        known[key].note(want)


def _event_keys(present: Mapping[MeetingKey, Want], known: Mapping[MeetingKey, Loaded]) -> Iterator[dict[str, Any]]:
    for key, want in present.items():
        owner, id_ = key[0], known[key].id
        if want.everything or want.guests:
            yield {"o": owner, "m": id_, "lo": "", "hi": LAST}
            continue
        yield {"o": owner, "m": id_, "lo": "", "hi": ""}
        for rid in sorted(map(key_text, want.rids - {""})):
            # A date alone: whatever begins on that day.
            yield {"o": owner, "m": id_, "lo": rid, "hi": rid + LAST if len(rid) == 8 else rid}


def _attendee_keys(present: Mapping[MeetingKey, Want], known: Mapping[MeetingKey, Loaded]) -> Iterator[dict[str, Any]]:
    for key, want in present.items():
        owner, id_, loaded = key[0], known[key].id, known[key]
        if want.everything:
            yield {"o": owner, "m": id_, "lo": "", "hi": LAST, "r": "*"}
            continue
        # Whoever is loaded is so at every R that is: a new R brings those who are there already.
        rids = "".join(f"|{key_text(rid)}" for rid in sorted(loaded.rids | want.rids) if rid) + "|"
        addresses = want.addresses | loaded.addresses if want.rids - loaded.rids else want.addresses
        for address in sorted(map(key_text, addresses)):
            lo, hi = (address[:-1], address[:-1] + LAST) if address.endswith("+*") else (address, address)
            yield {"o": owner, "m": id_, "lo": lo, "hi": hi, "r": rids}  # "+*": one mailbox, whatever its tag


@dataclass(slots=True)
class _Found:
    """What was read of one meeting, without what the batch has written itself."""

    events: dict[str, Event] = field(default_factory=dict)
    attendees: dict[tuple[str, str], Attendee] = field(default_factory=dict)
    proposals: dict[int, Proposal] = field(default_factory=dict)


def _merge(by_id: Mapping[int, Loaded], fresh: Mapping[int, Any], *read: Iterable[Any]) -> None:
    """Events, attendees and proposals into the meetings; a row that the batch has written stays as the batch has it."""
    found_events, found_attendees, found_proposals = read
    found = {id_: _Found() for id_ in by_id}
    for row in found_events:
        if row[1] not in by_id[row[0]].touched_events:
            found[row[0]].events[row[1]] = rows.event_of(row)
    for row in found_attendees:
        key = (row[2], row[1])
        if key not in by_id[row[0]].touched_attendees:
            found[row[0]].attendees[key] = rows.attendee_of(row)
    for row in found_proposals:
        if row[0] not in by_id[row[1]].touched_proposals:
            found[row[1]].proposals[row[0]] = rows.proposal_of(row)
    for id_, new in found.items():
        loaded = by_id[id_]
        loaded.stored_events.update(new.events)
        loaded.stored_attendees.update(new.attendees)
        loaded.stored_proposals.update(new.proposals)
        if id_ in fresh:
            loaded.meeting = rows.meeting_of(fresh[id_], new.events, new.attendees, new.proposals)
            continue
        meeting = loaded.there
        loaded.meeting = replace(
            meeting,
            events={**meeting.events, **new.events},
            attendees={**meeting.attendees, **new.attendees},
            proposals={**meeting.proposals, **new.proposals},
        )


@Query
def _meetings(dialect: str) -> Select[Any]:
    keys = Keys(dialect, o=TEXT, u=TEXT)
    on = and_(meetings.c.organizer == keys.columns["o"], meetings.c.uid_key == keys.columns["u"])
    return select(*meeting_columns).select_from(keys.table.join(meetings, on))


@Query
def _events(dialect: str) -> Select[Any]:
    keys = Keys(dialect, o=TEXT, m=NUMBER, lo=TEXT, hi=TEXT)
    on = and_(
        events.c.organizer == keys.columns["o"],
        events.c.meeting_id == keys.columns["m"],
        events.c.rid >= keys.columns["lo"],
        events.c.rid <= keys.columns["hi"],
    )
    return select(*event_columns).select_from(keys.table.join(events, on))


@Query
def _attendees(dialect: str) -> Select[Any]:
    """Of one attendee the rows that can say anything about the wanted R: a person may answer a thousand others."""
    keys = Keys(dialect, o=TEXT, m=NUMBER, lo=TEXT, hi=TEXT, r=TEXT)
    inside = func.instr if dialect == "sqlite" else func.strpos
    says = or_(
        keys.columns["r"] == "*",
        attendees.c.rid == "",
        attendees.c.listed,  # an override names them
        attendees.c.future,  # holds for what comes after it
        attendees.c.position >= answer.LAST,  # no file lists them: this may be all there is
        inside(keys.columns["r"], "|" + attendees.c.rid + "|") > 0,
    )
    on = and_(
        attendees.c.organizer == keys.columns["o"],
        attendees.c.meeting_id == keys.columns["m"],
        attendees.c.address >= keys.columns["lo"],
        attendees.c.address <= keys.columns["hi"],
    )
    return select(*attendee_columns).select_from(keys.table.join(attendees, on)).where(says)


@Query
def _guests(dialect: str) -> Select[Any]:
    """All rows of the first `most` + 1 addresses."""
    keys = Keys(dialect, o=TEXT, m=NUMBER)
    other = attendees.alias("other")
    last = (
        select(other.c.address)
        .where(other.c.organizer == keys.columns["o"], other.c.meeting_id == keys.columns["m"])
        .distinct()
        .order_by(other.c.address)
        .limit(1)
        .offset(bindparam("most", type_=Integer))
        .correlate(keys.table)
        .scalar_subquery()
    )
    on = and_(
        attendees.c.organizer == keys.columns["o"],
        attendees.c.meeting_id == keys.columns["m"],
        attendees.c.address <= func.coalesce(last, LAST),
    )
    return select(*attendee_columns).select_from(keys.table.join(attendees, on))


@Query
def _proposals(dialect: str) -> Select[Any]:
    """Of one attendee those that are open and their last at each R, of a whole meeting all."""
    keys = Keys(dialect, o=TEXT, m=NUMBER, lo=TEXT, hi=TEXT)
    later = proposals.alias("later")
    theirs = [later.c[name] == proposals.c[name] for name in ("organizer", "meeting_id", "attendee", "rid")]
    last = select(func.max(later.c.id)).where(*theirs).correlate(proposals).scalar_subquery()
    on = and_(
        proposals.c.organizer == keys.columns["o"],
        proposals.c.meeting_id == keys.columns["m"],
        proposals.c.attendee >= keys.columns["lo"],
        proposals.c.attendee <= keys.columns["hi"],
        or_(keys.columns["lo"] == "", proposals.c.state == "open", proposals.c.id == last),
    )
    return select(*proposal_columns).select_from(keys.table.join(proposals, on)).order_by(proposals.c.id)


@Query
def _seen(dialect: str) -> Select[Any]:
    keys = Keys(dialect, o=TEXT, d=TEXT)
    on = and_(journal.c.organizer == keys.columns["o"], type_coerce(journal.c.digest, Text) == keys.columns["d"])
    return select(journal.c.organizer, journal.c.digest, journal.c.id).select_from(keys.table.join(journal, on))


def seen(connection: Connection, digests: Sequence[tuple[str, bytes]]) -> dict[tuple[str, bytes], int]:
    """The journal's ids of those (organizer, digest) that it has."""
    asked = {(key_text(organizer), digest): (organizer, digest) for organizer, digest in digests}
    listed = packed({"o": organizer, "d": digest_text(digest)} for organizer, digest in asked)
    return {asked[organizer, digest]: id_ for organizer, digest, id_ in _seen.rows(connection, listed)}


_held_columns = (
    outcomes.c.id,
    outcomes.c.organizer,
    outcomes.c.journal_id,
    outcomes.c.position,
    outcomes.c.uid,
    outcomes.c.reason,
    outcomes.c.attendee,
    journal.c.kind,
    journal.c.received_at,
    journal.c.sender,
    journal.c.recipients,
    journal.c.client,
    journal.c.packed,
    journal.c.digest,
    outcomes.c.rid,
)


def held_query() -> Select[Any]:
    """Held outcomes with their mail."""
    return select(*_held_columns).select_from(outcomes.join(journal, journal.c.id == outcomes.c.journal_id))


@Query
def _held(dialect: str) -> Select[Any]:
    keys = Keys(dialect, o=TEXT, u=TEXT)
    on = and_(
        outcomes.c.organizer == keys.columns["o"],
        outcomes.c.uid_key == keys.columns["u"],
        outcomes.c.state == literal_column("'open'"),  # to the letter, as the partial index has it
    )
    return (
        select(*_held_columns)
        .select_from(keys.table.join(outcomes, on).join(journal, journal.c.id == outcomes.c.journal_id))
        .where(or_(bindparam("reason", type_=Text()) == "", outcomes.c.reason == bindparam("reason", type_=Text())))
        .order_by(outcomes.c.id)
    )


@Query
def _have_held(dialect: str) -> Select[Any]:
    keys = Keys(dialect, o=TEXT, u=TEXT)
    on = and_(
        outcomes.c.organizer == keys.columns["o"],
        outcomes.c.uid_key == keys.columns["u"],
        outcomes.c.state == literal_column("'open'"),
    )
    return select(outcomes.c.organizer, outcomes.c.uid_key).select_from(keys.table.join(outcomes, on)).distinct()


def have_held(connection: Connection, keys: Iterable[MeetingKey]) -> set[MeetingKey]:
    """Those of these meetings that have anything open."""
    found = _have_held.rows(connection, packed({"o": organizer, "u": uid} for organizer, uid in keys))
    return {(organizer, uid) for organizer, uid in found}


def held(connection: Connection, keys: Iterable[MeetingKey], reason: str) -> list[HeldMail]:
    """Open held outcomes of these meetings, the oldest first; `reason` "": of any reason."""
    listed = packed({"o": organizer, "u": uid} for organizer, uid in keys)
    return [held_of(row) for row in _held.rows(connection, {**listed, "reason": reason})]


def held_of(row: Any) -> HeldMail:
    """From a row of `_held_columns`."""
    id_, organizer, journal_id, position, uid, reason, attendee, kind, at, sender, recipients, *rest = row
    client, data, digest, rid = rest
    recipients = tuple(recipients or ())
    outcome, entry = Ref(organizer, id_), Ref(organizer, journal_id)
    mail = (kind, at, sender, recipients, client, data, digest or b"")
    return HeldMail(outcome, entry, position, uid, reason, attendee, *mail, rid or "")


def held_here(ref: Ref, row: OutcomeRow, entry: Entry) -> HeldMail:
    """From a row that is not written yet."""
    decision = row.decision
    return HeldMail(
        ref,
        row.entry,
        row.position,
        decision.uid or "",
        decision.reason.value,
        decision.attendee,
        entry.kind,
        entry.received_at,
        entry.sender,
        entry.recipients,
        entry.client,
        entry.packed,
        entry.digest or b"",
        decision.rid or "",
    )


def delivered(
    connection: Connection, *, organizer: str, tokens: Sequence[str], message_ids: Sequence[str]
) -> list[Delivered]:
    """What we sent under these return path tokens or Message-IDs."""
    named = or_(deliveries.c.token.in_(tokens), deliveries.c.message_id.in_(message_ids))
    columns = (
        deliveries.c.id,
        deliveries.c.token,
        deliveries.c.message_id,
        deliveries.c.recipient,
        sendings.c.uid,
        sendings.c.rid,
        sendings.c.created_at,
    )
    found = select(*columns).join_from(deliveries, sendings, deliveries.c.sending_id == sendings.c.id)
    rows_ = connection.execute(found.where(deliveries.c.organizer == organizer, named).order_by(deliveries.c.id)).all()
    return [Delivered(*row) for row in rows_]
