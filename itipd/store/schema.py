"""The tables (design.md, "Tables"), as SQLAlchemy Core sees them; `migrations/` makes them.

`organizer` is the first column of every key that is looked up, so that the store can be sharded by it. Ids are given
by the store itself inside the transaction and never used twice. Recurrence ids are texts, "" for the series.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    UniqueConstraint,
    text,
)

from itipd.store.types import Digest, Instant, Json, Key, PackedText, Whole, Words

metadata = MetaData()

# SQLite counts rows only in a column that is INTEGER to the letter.
_Id = BigInteger().with_variant(Integer, "sqlite")


def _id() -> Column[int]:
    return Column("id", _Id, primary_key=True, autoincrement=True)


def _flag(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False)


def _needed(name: str, kind: Any) -> Column[Any]:
    return Column(name, kind, nullable=False)


settings = Table("settings", metadata, Column("name", Key, primary_key=True), _needed("value", LargeBinary))

_deadline = text("deadline_at IS NOT NULL")
_publish = text("publish_at IS NOT NULL")
_held = text("status <> 'CANCELLED'")

meetings = Table(
    "meetings",
    metadata,
    _id(),
    _needed("organizer", Key),
    _needed("uid_key", Key),
    _needed("uid", Words),
    _needed("component", Words),
    _needed("sequence", Whole),
    _needed("status", Words),
    _needed("name", Words),
    _needed("zones", Words),
    Column("policy", Json),
    # When it does something by itself, NULL where there is nothing (more) to do.
    Column("deadline_at", Instant),
    Column("publish_at", Instant),
    # When the first instance begins and the last one is over, NULL: unknown, or endless.
    Column("begins_at", Instant),
    Column("ends_at", Instant),
    UniqueConstraint("organizer", "uid_key", name="meetings_uid"),
    Index("meetings_deadline", "deadline_at", "id", postgresql_where=_deadline, sqlite_where=_deadline),
    Index("meetings_publish", "publish_at", "id", postgresql_where=_publish, sqlite_where=_publish),
    Index("meetings_busy", "organizer", "ends_at", "begins_at", postgresql_where=_held, sqlite_where=_held),
    Index("meetings_any_organizer", "uid_key"),  # a person who names a UID seldom names its organizer
    sqlite_autoincrement=True,
)

events = Table(
    "events",
    metadata,
    Column("organizer", Key, primary_key=True),
    Column("meeting_id", _Id, ForeignKey("meetings.id"), primary_key=True, autoincrement=False),
    Column("rid", Key, primary_key=True),
    _needed("component", Words),
    _needed("lines", Words),
    _needed("sequence", Whole),
    _flag("sequence_given"),
    Column("dtstamp", Instant),
    _needed("status", Words),
    _needed("summary", Words),
    Column("location", Words),
    Column("starts", Words),  # Moment.encode()
    Column("ends", Words),
    Column("tzid", Words),
    Column("rrules", Json),
    Column("rdates", Json),
    Column("exdates", Json),
    _flag("future"),
)

# Without rowid: the rows of one meeting lie beside each other, and a reply touches one page.
attendees = Table(
    "attendees",
    metadata,
    Column("organizer", Key, primary_key=True),
    Column("meeting_id", _Id, ForeignKey("meetings.id"), primary_key=True, autoincrement=False),
    Column("address", Key, primary_key=True),
    Column("rid", Key, primary_key=True),
    _needed("position", Whole),
    Column("params", Json),
    _flag("listed"),
    _flag("invited"),
    _flag("removed"),
    Column("partstat", Words),
    _flag("rsvp"),
    Column("sequence", Whole),
    Column("dtstamp", Instant),
    Column("reply_time", Instant),
    Column("replied_at", Instant),
    _needed("reset_sequence", Whole),
    Column("reset_at", Instant),
    _flag("future"),
    Column("comment", Words),
    Column("delegated_to", Json),
    Column("delegated_from", Json),
    Column("sent_by", Words),
    Column("guests", Whole),
    Column("schedule_status", Words),
    Column("percent_complete", Whole),
    Column("completed", Instant),
    Column("answered_at", Instant),
    Index("attendees_person", "organizer", "address"),
    sqlite_with_rowid=False,
)

proposals = Table(
    "proposals",
    metadata,
    _id(),
    _needed("organizer", Key),
    Column("meeting_id", _Id, ForeignKey("meetings.id"), nullable=False),
    _needed("attendee", Key),
    _needed("rid", Key),
    Column("proposed", Json),
    Column("added", Json),
    Column("comment", Words),
    _needed("sequence", Whole),
    _needed("state", Words),
    Index("proposals_meeting", "organizer", "meeting_id", "attendee"),
    Index("proposals_open", "id", postgresql_where=text("state = 'open'"), sqlite_where=text("state = 'open'")),
    sqlite_autoincrement=True,
)

# Registering a million meetings puts a million entries between two mails.
_mail = text("kind IN ('mail', 'submission')")

journal = Table(
    "journal",
    metadata,
    _id(),
    _needed("organizer", Key),
    _needed("kind", Words),  # mail, submission, put, command
    _needed("received_at", Instant),
    _needed("sender", Words),
    Column("recipients", Json),
    _needed("client", Words),
    _needed("message_id", Words),
    _needed("from_header", Words),
    Column("digest", Digest),
    _needed("packed", LargeBinary),  # zlib of the mail or command as it came
    UniqueConstraint("organizer", "digest", name="journal_digest"),
    Index("journal_mail", "id", postgresql_where=_mail, sqlite_where=_mail),
    sqlite_autoincrement=True,
)

outcomes = Table(
    "outcomes",
    metadata,
    _id(),
    Column("journal_id", _Id, ForeignKey("journal.id"), nullable=False),
    _needed("organizer", Key),
    _needed("position", Whole),
    _needed("at", Instant),
    _needed("outcome", Words),
    _needed("reason", Words),
    Column("method", Words),
    Column("uid", Words),
    Column("uid_key", Key),
    Column("meeting_id", _Id),
    Column("rid", Words),
    Column("attendee", Words),
    Column("partstat", Words),
    Column("sequence", Whole),
    Column("quirks", Json),
    Column("changes", Json),
    _needed("detail", Words),
    Column("state", Words),  # of a held one: open, then how it ended; NULL for all others
    Index("outcomes_mail", "journal_id"),
    Index("outcomes_meeting", "meeting_id", "id"),  # narrow: it is the one that is written at random (speed.md)
    Index(
        "outcomes_open",
        "organizer",
        "uid_key",
        postgresql_where=text("state = 'open'"),
        sqlite_where=text("state = 'open'"),
    ),
    sqlite_autoincrement=True,
)

sendings = Table(
    "sendings",
    metadata,
    _id(),
    Column("journal_id", _Id, ForeignKey("journal.id"), nullable=False),
    _needed("organizer", Key),
    _needed("organizer_name", Words),
    _needed("uid", Words),
    Column("meeting_id", _Id),
    _needed("method", Words),
    _needed("rid", Words),
    _needed("sequence", Whole),
    _needed("reason", Words),
    _needed("summary", Words),
    _needed("calendar", PackedText),
    _needed("created_at", Instant),
    _flag("automatic"),
    Column("language", Words),
    Column("comment", Words),
    Index("sendings_mail", "journal_id"),
    Index("sendings_meeting", "meeting_id", "id"),
    sqlite_autoincrement=True,
)

# `due_at`: when a waiting one is to be tried, when the lease of one in sending ends, NULL where nothing is to be done.
_pending = text("due_at IS NOT NULL")
_stuck = text("state IN ('failed', 'held')")

deliveries = Table(
    "deliveries",
    metadata,
    _id(),
    Column("sending_id", _Id, ForeignKey("sendings.id"), nullable=False),
    _needed("organizer", Key),
    _needed("uid_key", Key),
    _needed("rid", Key),
    _needed("recipient", Key),
    _needed("message_id", Key),
    _needed("token", Key),
    Column("line", Words),
    _needed("state", Words),  # waiting, sending, sent, failed, held
    Column("due_at", Instant),
    _needed("fence", Whole),  # raised by every claim: an older holder cannot settle
    _needed("attempts", Whole),
    Column("last_error", Words),
    Column("last_code", Words),
    Index("deliveries_sending", "sending_id"),
    Index("deliveries_due", "due_at", "id", postgresql_where=_pending, sqlite_where=_pending),
    Index(
        "deliveries_queue",
        "organizer",
        "uid_key",
        "recipient",
        "rid",
        "id",
        postgresql_where=_pending,
        sqlite_where=_pending,
    ),
    Index("deliveries_stuck", "state", "id", postgresql_where=_stuck, sqlite_where=_stuck),
    Index("deliveries_token", "organizer", "token"),
    Index("deliveries_message_id", "organizer", "message_id"),
    sqlite_autoincrement=True,
)

attempts = Table(
    "attempts",
    metadata,
    _id(),
    Column("delivery_id", _Id, ForeignKey("deliveries.id"), nullable=False),
    _needed("at", Instant),
    _needed("state", Words),  # what the delivery became by it
    Column("code", Words),
    Column("error", Words),
    Index("attempts_delivery", "delivery_id"),
    sqlite_autoincrement=True,
)

# Meetings that the journal does not prove any more: something of it was purged (`retention`) or `forgotten`.
gaps = Table(
    "gaps",
    metadata,
    Column("organizer", Key, primary_key=True),
    Column("meeting_id", _Id, ForeignKey("meetings.id"), primary_key=True, autoincrement=False),
    _needed("at", Instant),
    _needed("why", Words),
)
