"""How a connection to an SQLite file is made: what it may do, what is set on it, how its transactions begin."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from itipd.store.prepared import cursor
from itipd.store.values import StoreError

BUSY_SECONDS = 10.0
CHECKPOINT_PAGES = 20_000  # 1,000, the default, makes p99 of random replies ten times as long (speed.md)


def make(path: str) -> None:
    """An empty file that only its owner reads: it will hold mail. SQLite gives its WAL the same mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except FileNotFoundError:
        raise StoreError(f"database: the folder {Path(path).parent} does not exist; make it first") from None
    except OSError as error:
        raise StoreError(f"database: {path} cannot be opened for writing: {error.strerror}") from error


def pragmas(connection: Any, _record: Any) -> None:
    """Of a connection that writes."""
    run = connection.cursor()
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            run.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            # Two processes make the same file: SQLite does not wait here by itself.
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    for pragma in (
        "synchronous = FULL",
        "foreign_keys = ON",
        f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
        "cache_size = -16384",
        "temp_store = MEMORY",
    ):
        run.execute(f"PRAGMA {pragma}")
    run.close()


def query_only(connection: Any, _record: Any) -> None:
    """Of a connection that reads."""
    run = connection.cursor()
    run.execute("PRAGMA query_only = ON")
    run.close()


def begin(connection: Connection) -> None:
    """Of a connection that reads: one state from here on."""
    connection.exec_driver_sql("BEGIN")


def begin_immediate(connection: Connection) -> None:
    """Of a connection that writes: alone from here on."""
    # The driver begins by itself only at the first write, which is too late: two would decide on one state.
    with cursor(connection, "BEGIN IMMEDIATE") as run:
        run.execute("BEGIN IMMEDIATE")
