"""What a meeting does by itself at a time, when it takes place, and who is known to an organizer.

Revision 0002. The times of meetings that are there already stay unknown until their organizer changes them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True).with_variant(sa.String(32), "sqlite")


def _index(name: str, table: str, *columns: str, where: str | None = None) -> None:
    condition = sa.text(where) if where is not None else None
    op.create_index(name, table, list(columns), postgresql_where=condition, sqlite_where=condition)


def upgrade() -> None:
    """To this revision."""
    for name in ("deadline_at", "publish_at", "begins_at", "ends_at"):
        op.add_column("meetings", sa.Column(name, _TIME))
    _index("meetings_deadline", "meetings", "deadline_at", "id", where="deadline_at IS NOT NULL")
    _index("meetings_publish", "meetings", "publish_at", "id", where="publish_at IS NOT NULL")
    _index("meetings_busy", "meetings", "organizer", "ends_at", "begins_at", where="status <> 'CANCELLED'")
    _index("attendees_person", "attendees", "organizer", "address")
