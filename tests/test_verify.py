"""`itipd db verify`: silent about a sound database; every damage has its sentence."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from sqlalchemy import NullPool, create_engine, make_url, text

from itipd.store import Store
from itipd.store.verify import MOST, _checks
from tests.story import Ledger, tell

DAMAGES = {
    "DELETE FROM outcomes WHERE journal_id = 2": "1 entries of the journal without an outcome (the first: 2)",
    "DELETE FROM journal WHERE id = 2": "outcomes without their mail (the first: 2)",
    "UPDATE outcomes SET organizer = 'x@example.com' WHERE id = 3": "1 outcomes without their mail (the first: 3)",
    "DELETE FROM events WHERE meeting_id = 2": "1 meetings without an event (the first: 2)",
    "DELETE FROM meetings WHERE id = 1": "attendees without their meeting (the first: 1)",
    "UPDATE attendees SET organizer = 'x@example.com'": "4 attendees without their meeting (the first: 1)",
    "UPDATE proposals SET meeting_id = 77": "1 proposals without their meeting",
    "UPDATE events SET meeting_id = 78 WHERE meeting_id = 2": "1 events without their meeting (the first: 78)",
    "DELETE FROM sendings WHERE id = 1": "deliveries without their sending (the first: 1)",
    "UPDATE sendings SET journal_id = 99 WHERE id = 1": "1 sendings without what caused them (the first: 1)",
    "DELETE FROM deliveries WHERE sending_id = 1": "1 sendings to nobody (the first: 1)",
    "UPDATE attempts SET delivery_id = 99 WHERE id = 1": "1 attempts without their delivery (the first: 1)",
    "UPDATE journal SET kind = 'letter' WHERE id = 1": "1 entries of the journal of an unknown kind (the first: 1)",
    "UPDATE outcomes SET outcome = 'maybe' WHERE id = 1": "1 outcomes of an unknown name (the first: 1)",
    "UPDATE outcomes SET reason = 'because' WHERE id = 1": "1 outcomes for an unknown reason (the first: 1)",
    "UPDATE outcomes SET state = 'open' WHERE id = 1": "1 outcomes that wait and are not held (the first: 1)",
    "UPDATE outcomes SET position = 1 WHERE id = 1": "1 mails with a component without an outcome (the first: 1)",
    "UPDATE deliveries SET state = 'lost' WHERE id = 7": "1 deliveries in an unknown state (the first: 7)",
    "UPDATE deliveries SET state = 'waiting' WHERE id = 7": "1 deliveries that wait without a time (the first: 7)",
    "UPDATE deliveries SET due_at = '2026-11-20 08:00:00.000000+00:00' WHERE id = 7": (
        "1 deliveries that have ended and have a time (the first: 7)"
    ),
    "DELETE FROM attempts WHERE delivery_id = 7": "1 deliveries whose end is not written down (the first: 7)",
    "UPDATE deliveries SET message_id = (SELECT message_id FROM deliveries WHERE id = 1) WHERE id = 7": (
        "1 deliveries with another's Message-ID (the first: 7)"
    ),
    "UPDATE deliveries SET token = (SELECT token FROM deliveries WHERE id = 1) WHERE id = 7": (
        "1 deliveries with another's token (the first: 7)"
    ),
    "UPDATE deliveries SET message_id = 'none' WHERE id = 7": "deliveries 7: its Message-ID is none: 'none'",
    "DELETE FROM settings WHERE name = 'secret'": "the secret that tokens are signed with is missing or damaged",
    "UPDATE journal SET packed = 'abc' WHERE id = 2": "journal 2: the mail or order cannot be unpacked",
    "UPDATE journal SET digest = 'abcd' WHERE id = 2": "journal 2: the digest is damaged",
    "UPDATE sendings SET calendar = 'abc' WHERE id = 2": "sendings 2: a value cannot be read",
    "UPDATE attendees SET params = '{' WHERE address = 'carol@example.net' AND meeting_id = 2": (
        "attendees meetings@example.com 2 carol@example.net : a value cannot be read"
    ),
    "UPDATE events SET starts = 'soon' WHERE meeting_id = 1": "starts is no time: 'soon'",
    "UPDATE meetings SET uid = 'other@example.com' WHERE id = 1": (
        "meetings 1: it is not found under its UID 'other@example.com'"
    ),
    "DROP INDEX deliveries_due": "deliveries has no index deliveries_due",
    "DROP TABLE attempts": "there is no table attempts",
    "ALTER TABLE attempts DROP COLUMN code": "attempts has no column code",
    "UPDATE alembic_version SET version_num = '9999'": "the tables are of version 9999",
}
"""What somebody does to the database, and a part of what is said of it."""

ONLY = {
    "UPDATE sqlite_sequence SET seq = 3 WHERE name = 'journal'": ("sqlite", "journal has the id"),
    "SELECT setval('journal_id_seq', 3)": ("postgresql", "journal has the id"),
}
"""The same where the words differ: an id that would be given again."""


async def told(url: str, folder: Path) -> None:
    """A database with something in every table."""
    await tell(url, folder, Ledger(folder / "ledger"))


def damage(url: str, words: str) -> None:
    """Does it as somebody would who knows better than foreign keys."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SET session_replication_role = replica"))
            words = words.replace("DROP TABLE attempts", "DROP TABLE attempts CASCADE")
        connection.execute(text(words.replace("%", "%%")))
    engine.dispose()


async def test_every_damage_has_its_sentence(store_url: str, tmp_path: Path) -> None:
    """Rows without what they belong to, words that are none, values that cannot be read: each is named with its id."""
    await told(store_url, tmp_path)
    store = await Store.open(store_url)
    sound = await store.verify()
    assert sound == []
    await store.close()
    silent = []
    for words, sentence in [*DAMAGES.items(), *((words, only) for words, (_, only) in ONLY.items())]:
        engine = store_url.partition(":")[0]
        if ONLY.get(words, (engine,))[0] != engine:
            continue
        found = await _after(store_url, tmp_path, words)
        if not any(sentence in line for line in found):
            silent.append((words, found))
    assert silent == []


async def _after(url: str, folder: Path, words: str) -> list[str]:
    """What verify says of a copy of the database after this damage."""
    if url.startswith("sqlite"):
        store = await Store.open(url)
        file = folder / f"{abs(hash(words))}.db"
        await store.backup(file)
        await store.close()
        return await _verified(f"sqlite:///{file}", words)
    place = make_url(url).set(drivername="postgresql+psycopg")
    name = place.database
    admin = create_engine(place.set(database="postgres"), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}_x TEMPLATE {name}"))
        try:
            return await _verified(url.replace(f"/{name}", f"/{name}_x"), words)
        finally:
            connection.execute(text(f"DROP DATABASE {name}_x WITH (FORCE)"))


async def _verified(url: str, words: str) -> list[str]:
    store = await Store.open(url)  # before the damage: opening mends what it can
    try:
        damage(url, words)
        return await store.verify()
    finally:
        await store.close()


async def test_a_ruin_is_told_briefly(sqlite_url: str, tmp_path: Path) -> None:
    """However much is wrong, the sentences are few."""
    await told(sqlite_url, tmp_path)
    store = await Store.open(sqlite_url)
    damage(sqlite_url, "UPDATE journal SET packed = 'abc'")
    found = await store.verify()
    await store.close()
    assert 5 < len(found) <= 2 * MOST


async def test_what_is_asked_of_each_row_is_looked_up(sqlite_url: str) -> None:
    """Large databases are verified in minutes: no question goes through a table for each row of another."""
    store = await Store.open(sqlite_url)
    await store.close()
    engine = create_engine(sqlite_url)
    with engine.connect() as connection:
        for sentence, query in _checks():
            asked = str(query.compile(engine, compile_kwargs={"literal_binds": True}))
            plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked}")]
            each = [step for before, step in pairwise(plan) if before.startswith("CORRELATED")]
            assert all(step.startswith("SEARCH") for step in each), sentence
    engine.dispose()
