"""The first tables.

Revision 0001. It names plain types on purpose: a revision must not change when `schema.py` does.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_TIME = sa.DateTime(timezone=True).with_variant(sa.String(32), "sqlite")
_OPEN = sa.text("state = 'open'")
_MAIL = sa.text("kind IN ('mail', 'submission')")
_STUCK = sa.text("state IN ('failed', 'held')")
_PENDING = sa.text("due_at IS NOT NULL")


def _id() -> sa.Column[Any]:
    return sa.Column("id", _ID, primary_key=True, autoincrement=True)


def _needed(kind: Any, *names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, nullable=False) for name in names]


def _maybe(kind: Any, *names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind) for name in names]


def _parent(name: str, table: str, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, _ID, sa.ForeignKey(f"{table}.id"), **options)


def _index(name: str, table: str, *columns: str, where: Any = None) -> None:
    op.create_index(name, table, list(columns), postgresql_where=where, sqlite_where=where)


def upgrade() -> None:
    """To this revision."""
    op.create_table("settings", sa.Column("name", _KEY, primary_key=True), *_needed(sa.LargeBinary, "value"))
    op.create_table(
        "meetings",
        _id(),
        *_needed(_KEY, "organizer", "uid_key"),
        *_needed(sa.Text, "uid", "component"),
        *_needed(sa.Integer, "sequence"),
        *_needed(sa.Text, "status", "name", "zones"),
        *_maybe(sa.Text, "policy"),
        sa.UniqueConstraint("organizer", "uid_key", name="meetings_uid"),
        sqlite_autoincrement=True,
    )
    _index("meetings_any_organizer", "meetings", "uid_key")
    op.create_table(
        "events",
        sa.Column("organizer", _KEY, primary_key=True),
        _parent("meeting_id", "meetings", primary_key=True, autoincrement=False),
        sa.Column("rid", _KEY, primary_key=True),
        *_needed(sa.Text, "component", "lines"),
        *_needed(sa.Integer, "sequence"),
        *_needed(sa.Boolean, "sequence_given"),
        *_maybe(_TIME, "dtstamp"),
        *_needed(sa.Text, "status", "summary"),
        *_maybe(sa.Text, "location", "starts", "ends", "tzid", "rrules", "rdates", "exdates"),
        *_needed(sa.Boolean, "future"),
    )
    op.create_table(
        "attendees",
        sa.Column("organizer", _KEY, primary_key=True),
        _parent("meeting_id", "meetings", primary_key=True, autoincrement=False),
        sa.Column("address", _KEY, primary_key=True),
        sa.Column("rid", _KEY, primary_key=True),
        *_needed(sa.Integer, "position"),
        *_maybe(sa.Text, "params"),
        *_needed(sa.Boolean, "listed", "invited", "removed"),
        *_maybe(sa.Text, "partstat"),
        *_needed(sa.Boolean, "rsvp"),
        *_maybe(sa.Integer, "sequence"),
        *_maybe(_TIME, "dtstamp", "reply_time", "replied_at"),
        *_needed(sa.Integer, "reset_sequence"),
        *_maybe(_TIME, "reset_at"),
        *_needed(sa.Boolean, "future"),
        *_maybe(sa.Text, "comment", "delegated_to", "delegated_from", "sent_by"),
        *_maybe(sa.Integer, "guests"),
        *_maybe(sa.Text, "schedule_status"),
        *_maybe(sa.Integer, "percent_complete"),
        *_maybe(_TIME, "completed", "answered_at"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "proposals",
        _id(),
        *_needed(_KEY, "organizer"),
        _parent("meeting_id", "meetings", nullable=False),
        *_needed(_KEY, "attendee", "rid"),
        *_maybe(sa.Text, "proposed", "added", "comment"),
        *_needed(sa.Integer, "sequence"),
        *_needed(sa.Text, "state"),
        sqlite_autoincrement=True,
    )
    _index("proposals_meeting", "proposals", "organizer", "meeting_id", "attendee")
    _index("proposals_open", "proposals", "id", where=_OPEN)
    op.create_table(
        "journal",
        _id(),
        *_needed(_KEY, "organizer"),
        *_needed(sa.Text, "kind"),
        *_needed(_TIME, "received_at"),
        *_needed(sa.Text, "sender"),
        *_maybe(sa.Text, "recipients"),
        *_needed(sa.Text, "client", "message_id", "from_header"),
        *_maybe(_KEY, "digest"),
        *_needed(sa.LargeBinary, "packed"),
        sa.UniqueConstraint("organizer", "digest", name="journal_digest"),
        sqlite_autoincrement=True,
    )
    _index("journal_mail", "journal", "id", where=_MAIL)
    op.create_table(
        "outcomes",
        _id(),
        _parent("journal_id", "journal", nullable=False),
        *_needed(_KEY, "organizer"),
        *_needed(sa.Integer, "position"),
        *_needed(_TIME, "at"),
        *_needed(sa.Text, "outcome", "reason"),
        *_maybe(sa.Text, "method", "uid"),
        *_maybe(_KEY, "uid_key"),
        *_maybe(_ID, "meeting_id"),
        *_maybe(sa.Text, "rid", "attendee", "partstat"),
        *_maybe(sa.Integer, "sequence"),
        *_maybe(sa.Text, "quirks", "changes"),
        *_needed(sa.Text, "detail"),
        *_maybe(sa.Text, "state"),
        sqlite_autoincrement=True,
    )
    _index("outcomes_mail", "outcomes", "journal_id")
    _index("outcomes_meeting", "outcomes", "meeting_id", "id")
    _index("outcomes_open", "outcomes", "organizer", "uid_key", where=_OPEN)
    op.create_table(
        "sendings",
        _id(),
        _parent("journal_id", "journal", nullable=False),
        *_needed(_KEY, "organizer"),
        *_needed(sa.Text, "organizer_name", "uid"),
        *_maybe(_ID, "meeting_id"),
        *_needed(sa.Text, "method", "rid"),
        *_needed(sa.Integer, "sequence"),
        *_needed(sa.Text, "reason", "summary"),
        *_needed(sa.LargeBinary, "calendar"),
        *_needed(_TIME, "created_at"),
        *_needed(sa.Boolean, "automatic"),
        *_maybe(sa.Text, "language", "comment"),
        sqlite_autoincrement=True,
    )
    _index("sendings_mail", "sendings", "journal_id")
    _index("sendings_meeting", "sendings", "meeting_id", "id")
    op.create_table(
        "deliveries",
        _id(),
        _parent("sending_id", "sendings", nullable=False),
        *_needed(_KEY, "organizer", "uid_key", "rid", "recipient", "message_id", "token"),
        *_maybe(sa.Text, "line"),
        *_needed(sa.Text, "state"),
        *_maybe(_TIME, "due_at"),
        *_needed(sa.Integer, "fence", "attempts"),
        *_maybe(sa.Text, "last_error", "last_code"),
        sqlite_autoincrement=True,
    )
    _index("deliveries_sending", "deliveries", "sending_id")
    _index("deliveries_due", "deliveries", "due_at", "id", where=_PENDING)
    _index("deliveries_queue", "deliveries", "organizer", "uid_key", "recipient", "rid", "id", where=_PENDING)
    _index("deliveries_stuck", "deliveries", "state", "id", where=_STUCK)
    _index("deliveries_token", "deliveries", "organizer", "token")
    _index("deliveries_message_id", "deliveries", "organizer", "message_id")
    op.create_table(
        "attempts",
        _id(),
        _parent("delivery_id", "deliveries", nullable=False),
        *_needed(_TIME, "at"),
        *_needed(sa.Text, "state"),
        *_maybe(sa.Text, "code", "error"),
        sqlite_autoincrement=True,
    )
    _index("attempts_delivery", "attempts", "delivery_id")
