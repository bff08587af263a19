"""A backup of a database that is in use."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.engine import make_url

from itipd.store.values import StoreError

if TYPE_CHECKING:
    from itipd.store.store import Store


async def backup(store: Store, path: Path) -> None:
    """A consistent copy of a SQLite database in a new file, while others work; whole and on the disk, or not there.

    Only its owner reads it: it holds mail. Raises StoreError on PostgreSQL, and where the copy cannot be made.
    """
    part = path.with_name(f".{path.name}.part")

    def work(file: str) -> None:
        if path.exists():
            raise StoreError(f"backup: {path} exists already; name a new file")
        try:
            os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
            with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(part)) as target:
                source.backup(target)
            part.replace(path)
        except (OSError, sqlite3.Error) as error:
            with suppress(OSError):
                part.unlink()
            raise StoreError(f"backup: {path}: {error}") from error

    url = make_url(store.url)
    if url.get_backend_name() != "sqlite" or not url.database:
        raise StoreError("backup copies SQLite files; for PostgreSQL use pg_dump")
    await asyncio.to_thread(work, url.database)
