"""Migrations by alembic, in the package: `Store.open` runs them, no command is needed.

A new one goes into `versions/`; then set HEAD. Alembic is imported only when there is something to do.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from itipd.store.values import StoreError

HEAD = "0003"
"""The newest revision in `versions/`; a test keeps it true."""


def version(connection: Connection) -> str | None:
    """The revision of the database, None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def upgrade(connection: Connection) -> None:
    """Brings the database to HEAD, in the transaction of the caller, who holds the lock against other openers.

    Raises StoreError for a database that a newer itipd has made.
    """
    found = version(connection)
    if found == HEAD:
        return
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise StoreError(f"the database has revision {found}, this itipd knows up to {HEAD}: install a newer itipd")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
