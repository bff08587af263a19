"""A backup of a database that is in use."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.engine import make_url

from itipd.store.values import StoreError

if TYPE_CHECKING:
    from itipd.store.store import Store


async def backup(store: Store, path: Path) -> None:
    """A consistent copy of a SQLite database in a new file, while others work. Raises StoreError on PostgreSQL."""

    def work(file: str) -> None:
        if path.exists():
            raise StoreError(f"backup: {path} exists already; name a new file")
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(path)) as target:
            source.backup(target)

    url = make_url(store.url)
    if url.get_backend_name() != "sqlite" or not url.database:
        raise StoreError("backup copies SQLite files; for PostgreSQL use pg_dump")
    await asyncio.to_thread(work, url.database)
