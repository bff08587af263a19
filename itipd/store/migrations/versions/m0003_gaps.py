"""Meetings that the journal does not prove any more, because something of it was purged or forgotten.

Revision 0003.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_TIME = sa.DateTime(timezone=True).with_variant(sa.String(32), "sqlite")


def upgrade() -> None:
    """To this revision."""
    op.create_table(
        "gaps",
        sa.Column("organizer", _KEY, primary_key=True),
        sa.Column("meeting_id", _ID, sa.ForeignKey("meetings.id"), primary_key=True, autoincrement=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
    )
