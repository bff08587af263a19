"""The database: its URL, its migrations, its settings, and values that only one engine would take."""

from __future__ import annotations

import asyncio
import multiprocessing
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text

from itipd.itip.model import Attendee, Decision, Event, Meeting, PutAttendee, PutEvent, PutMeeting, Revision, Write
from itipd.itip.outcomes import Outcome, Reason
from itipd.store import Conflict, Entry, NewDelivery, OutcomeRow, Sending, Store, StoreError, Want, gather, migrations
from itipd.store.schema import metadata
from itipd.store.sqlite_connect import CHECKPOINT_PAGES
from itipd.store.types import EARLIEST, INT32, LATEST, bounded
from tests.store_help import BOB, NOW, WE, answer, guest, mail, register, sending, watched, whole

HOSTILE = "a\0b\ud800c\N{SNOWMAN}" + "\x00" * 3
CLEAN = "abc\N{SNOWMAN}"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("no url", "found 'no url'"),
        ("no url:secret@h", "found something with an @"),
        ("mysql://u:secret@h/d", "found mysql, expected"),
        ("sqlite://", "expected sqlite:///FILE"),
        ("sqlite:///:memory:", "expected sqlite:///FILE"),
        ("sqlite:////no/such/folder/x.db", "the folder /no/such/folder does not exist"),
        ("sqlite:////", "/ cannot be opened for writing: Is a directory"),
        ("postgresql://nobody@127.0.0.1:1/none", "Connection refused"),
    ],
)
async def test_bad_url(url: str, says: str) -> None:
    """A URL that cannot be used says what is wrong with it."""
    with pytest.raises(StoreError, match=says) as raised:
        await Store.open(url)
    assert "secret" not in str(raised.value)


async def test_file_that_is_no_database(tmp_path: Path) -> None:
    """A file of another kind is refused and left as it is."""
    path = tmp_path / "x.db"
    path.write_bytes(b"BEGIN:VCALENDAR\r\n" * 100)
    with pytest.raises(StoreError, match="not a database"):
        await Store.open(f"sqlite:///{path}")
    assert path.read_bytes().startswith(b"BEGIN:VCALENDAR")


async def test_opened_again(store_url: str) -> None:
    """A database keeps its secret and its meetings."""
    store = await Store.open(store_url)
    meeting = await register(store, "a", guest(BOB))
    secret = store.secret
    await store.close()
    again = await Store.open(store_url)
    assert again.secret == secret
    assert len(secret) == 32
    assert await whole(again, "a") == meeting
    await again.close()


def _open(url: str, results: Any) -> None:
    async def work() -> bytes:
        store = await Store.open(url)
        await store.close()
        return store.secret

    results.put(asyncio.run(work()))


async def test_opened_by_many_processes_at_once(empty_url: str) -> None:
    """Four processes open one new database at once: it is made once, and all have one secret."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=_open, args=(empty_url, results)) for _ in range(4)]
    for process in processes:
        process.start()
    secrets = [await asyncio.to_thread(results.get, True, 60) for _ in processes]
    for process in processes:
        process.join()
    results.close()
    assert len(set(secrets)) == 1
    assert [process.exitcode for process in processes] == [0] * 4


async def test_opened_many_times_at_once(empty_url: str) -> None:
    """One process may open a new database several times at once."""
    stores = await asyncio.gather(*(Store.open(empty_url) for _ in range(5)))
    assert len({store.secret for store in stores}) == 1
    for store in stores:
        await store.close()


async def test_migrations_make_the_schema(store: Store) -> None:
    """The migrations come to the very tables, columns, indexes and conditions that `schema` describes."""

    def work(connection: Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection, opts={"compare_type": _alike}), metadata))

    assert await store.database.read(work) == []
    assert await store.database.read(migrations.version) == migrations.HEAD


def _alike(context: Any, _there: Any, _ours: Any, *types: Any) -> bool:
    """Do the column types differ? By their names in the engine: our own types are texts and numbers there."""
    one, two = (type_.compile(context.dialect).split("(")[0].replace("VARCHAR", "TEXT") for type_ in types)
    return bool(one != two)


def test_partial_indexes_are_the_same(tmp_path: Path) -> None:
    """Made by the migrations and by the schema, SQLite's tables are the same to the letter."""

    def made(name: str, how: Any) -> dict[str, str]:
        engine = create_engine(f"sqlite:///{tmp_path / name}")
        with engine.begin() as connection:
            how(connection)
            found = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
            sql = {name: " ".join(sql.split()) for name, sql in found if "alembic" not in name}
        engine.dispose()
        return sql

    assert made("a.db", migrations.upgrade) == made("b.db", metadata.create_all)


def test_head_is_the_newest_revision() -> None:
    """HEAD names the newest revision, or the newest migration would never run."""
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert scripts.get_current_head() == migrations.HEAD


async def test_newer_database_is_refused(store_url: str) -> None:
    """A database of a newer itipd is not touched."""
    store = await Store.open(store_url)
    async with store.database.writing() as transaction:
        await transaction.commit(lambda c: c.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    await store.close()
    with pytest.raises(StoreError, match="has revision 9999"):
        await Store.open(store_url)


async def test_sqlite_settings(sqlite_url: str) -> None:
    """The writer syncs fully, checks foreign keys and checkpoints late; a reader cannot write."""
    store = await Store.open(sqlite_url)

    def pragmas(connection: Connection) -> list[Any]:
        names = ("journal_mode", "synchronous", "foreign_keys", "wal_autocheckpoint", "busy_timeout")
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

    async with store.database.writing() as transaction:
        assert await transaction.run(pragmas) == ["wal", 2, 1, CHECKPOINT_PAGES, 10_000]
    await store.close()


async def test_queries_cannot_write(store: Store) -> None:
    """Whoever reads gets a transaction in which nothing can be written."""
    with pytest.raises(StoreError, match=r"readonly|read-only"):
        await store.database.read(lambda connection: connection.exec_driver_sql("DELETE FROM journal"))


async def test_file_is_private(tmp_path: Path) -> None:
    """A new database file and its WAL are for their owner only: they hold mail."""
    store = await Store.open(f"sqlite:///{tmp_path}/itipd.db")
    await register(store, "a")
    path = tmp_path / "itipd.db"
    found = _modes(path)
    await store.close()
    assert found == {"itipd.db": 0o600, "itipd.db-wal": 0o600, "itipd.db-shm": 0o600}


def _modes(path: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.glob("itipd.db*")}


async def test_failure_at_any_statement(store_url: str) -> None:
    """Whichever statement of a batch fails, nothing of the batch is written, and the next batch succeeds."""
    store = await Store.open(store_url)
    await register(store, "a", guest(BOB))
    before = await whole(store, "a")
    left = 0

    def fail(_statement: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise sqlite3.OperationalError("disk I/O error")

    async def work() -> None:
        async with store.batch() as batch:
            await batch.seen([(WE, b"x" * 16)])
            await batch.gather([Want(WE, "a", frozenset({BOB}))])
            await answer(batch, "a", BOB)
            meeting = batch.meeting(WE, "a")
            assert meeting is not None
            batch.send(sending(meeting, mail(batch, digest=b"x" * 16), BOB))

    failures = 0
    while left <= 0:
        left = failures + 1
        try:
            with watched(fail):
                await work()
        except (StoreError, sqlite3.OperationalError):
            failures += 1
            left = -1_000_000
            assert await whole(store, "a") == before
            assert await store.journal_from() == []
    assert failures >= 12
    assert (await whole(store, "a")).attendees["", BOB].partstat == "ACCEPTED"
    assert len(await store.journal_from()) == 2
    await store.close()


async def test_server_that_was_restarted(postgres_url: str) -> None:
    """A connection that the server has ended is a Conflict in the middle of a batch, no trouble for the next one."""
    store = await Store.open(postgres_url)
    await register(store, "a", guest(BOB))
    others = "pid <> pg_backend_pid() AND datname = current_database()"
    end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"

    async def work() -> None:
        async with store.batch() as batch:
            await batch.gather([Want(WE, "a", frozenset({BOB}))])
            await store.database.read(lambda connection: connection.exec_driver_sql(end))
            await answer(batch, "a", BOB)

    with pytest.raises(Conflict):
        await work()
    assert (await whole(store, "a")).attendees["", BOB].partstat == "NEEDS-ACTION"
    await store.close()


async def test_closed_twice(store_url: str) -> None:
    """Closing is idempotent: a shutdown may come twice. The writer's thread is gone with the first."""
    before = set(threading.enumerate())
    store = await Store.open(store_url)
    for _ in range(2):
        await store.close()
        left = set(threading.enumerate()) - before
        assert not [thread.name for thread in left if thread.name.startswith("itipd-store-writer")]


async def test_hostile_texts(store: Store) -> None:
    """NUL and lone surrogates are dropped from every text and key, on both engines, and long texts are kept whole."""
    long = "ä" * 300_000
    hostile = Attendee(
        HOSTILE + "@x.test", HOSTILE, 0, {HOSTILE: (HOSTILE, long)}, partstat=HOSTILE, comment=long,
        delegated_to=(HOSTILE,), sent_by=HOSTILE, schedule_status=HOSTILE,
    )  # fmt: skip
    override = Event(
        HOSTILE, HOSTILE, HOSTILE + long, summary=HOSTILE, location=HOSTILE, tzid=HOSTILE, rrules=(HOSTILE,)
    )
    meeting = Meeting(HOSTILE, HOSTILE, name=HOSTILE, zones=HOSTILE, policy={HOSTILE: HOSTILE})
    want = Want(HOSTILE, HOSTILE, frozenset({hostile.address}), frozenset({HOSTILE}), everything=True)
    async with store.batch() as batch:
        await batch.seen([(HOSTILE, b"x" * 16)])
        await batch.gather([want])
        await batch.apply(None, HOSTILE, HOSTILE, [PutMeeting(meeting), PutEvent(override), PutAttendee(hostile)])
        entry = batch.journal(
            Entry(HOSTILE, "mail", NOW, b"\0\xff", HOSTILE, (HOSTILE,), HOSTILE, HOSTILE, HOSTILE, b"\0" * 16)
        )
        said = Decision(
            Outcome.HELD, Reason.REPLIED, HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, quirks=(HOSTILE,), detail=HOSTILE
        )
        batch.outcome(OutcomeRow(entry, 0, said, NOW, open=True))
        deliveries = (NewDelivery(HOSTILE, HOSTILE, HOSTILE, HOSTILE),)
        batch.send(
            Sending(
                HOSTILE, HOSTILE, HOSTILE, 1, HOSTILE, HOSTILE, 0, HOSTILE, HOSTILE, HOSTILE, NOW, deliveries, entry
            )
        )
    async with store.batch() as batch:
        await batch.gather([Want(HOSTILE, HOSTILE, frozenset({hostile.address}), frozenset({HOSTILE}))])
        assert batch.meeting(HOSTILE, HOSTILE) is not None
        assert len(await batch.held([(HOSTILE, HOSTILE)])) == 1
    found = await store.meeting(HOSTILE, CLEAN)
    assert found is not None
    assert (found.organizer, found.uid, found.name) == (CLEAN, CLEAN, CLEAN)
    assert found.events[CLEAN].lines == CLEAN + long
    row = found.attendees[CLEAN, CLEAN + "@x.test"]
    assert (row.partstat, row.comment, row.sent_by) == (CLEAN, long, CLEAN)
    assert (await store.history(CLEAN, HOSTILE, 1))[0]["uid"] == CLEAN
    assert len((await store.meeting_lines(search=HOSTILE))[0]) == 1
    (claimed,) = await store.claim(NOW, timedelta(seconds=1), 1)
    assert claimed.recipient == CLEAN
    assert await store.settle(claimed, "waiting", NOW, error=HOSTILE + long, code=HOSTILE)


async def test_hostile_numbers_and_times(store: Store) -> None:
    """Numbers beyond 32 bits and the years 1 and 9999 are bounded, on both engines, and the row can be read again."""
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=timezone(-timedelta(hours=14)))
    row = Attendee(
        BOB, position=2**40, revision=Revision(-(2**70), first), replied_at=last, reset_sequence=2**31, guests=10**30,
        reset_at=datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
    )  # fmt: skip
    await register(store, "a", row)
    found = (await whole(store, "a")).attendees["", BOB]
    assert (found.position, found.reset_sequence, found.guests) == (INT32, INT32, INT32)
    assert found.revision == Revision(-INT32, EARLIEST)
    assert (found.replied_at, found.reset_at) == (LATEST, EARLIEST)


async def test_long_keys(store: Store) -> None:
    """UIDs, addresses and organizers longer than an index can hold are stored and found again."""
    uid, address = "u" * 100_000, "a" * 100_000 + "@x.test"
    organizer = "o" * 100_000
    async with store.batch() as batch:
        await batch.gather([Want(organizer, uid, frozenset({address}))])
        writes: list[Write] = [
            PutMeeting(Meeting(organizer, uid)),
            PutEvent(Event("", "VEVENT", "")),
            PutAttendee(guest(address)),
        ]
        await batch.apply(None, organizer, uid, writes)
    found = await store.meeting(uid)
    assert found is not None
    assert found.uid == uid
    async with store.batch() as batch:
        await batch.gather([Want(organizer, uid, frozenset({address}))])
        again = batch.meeting(organizer, uid)
    assert again is not None
    assert len(again.attendees) == 1


def test_time_without_zone_is_our_fault() -> None:
    """A naive time is a bug of ours and is never stored as if it were UTC."""
    with pytest.raises(ValueError, match="without a zone"):
        bounded(datetime(2026, 1, 1))  # noqa: DTZ001 - that is the case


async def test_times_keep_their_instant(store: Store) -> None:
    """A time in any zone comes back as the same instant in UTC, to the microsecond."""
    there = timezone(timedelta(hours=-7))
    await register(store, "a", Attendee(BOB, replied_at=NOW.astimezone(there)))
    found = (await whole(store, "a")).attendees["", BOB].replied_at
    assert found == NOW
    assert found is not None
    assert found.tzinfo is UTC


def _plans(connection: Connection) -> dict[str, str]:
    plans = {}
    for name in ("_meetings", "_events", "_attendees", "_proposals", "_guests", "_seen", "_held", "_have_held"):
        statement = getattr(gather, name).statement("sqlite").compile(dialect=connection.dialect)
        sql = f"EXPLAIN QUERY PLAN {statement}"
        plans[name] = "\n".join(row[3] for row in connection.exec_driver_sql(sql, ("[]",) * len(statement.positiontup)))
    return plans


async def test_every_lookup_of_a_batch_uses_its_key(sqlite_url: str) -> None:
    """No SELECT of a batch scans a table: cost does not grow with the number of meetings."""
    store = await Store.open(sqlite_url)
    for name, plan in (await store.database.read(_plans)).items():
        scans = [line for line in plan.splitlines() if line.startswith("SCAN") and "keys" not in line]
        assert scans == [], f"{name}:\n{plan}"
        assert "SEARCH" in plan
    await store.close()


def test_alembic_stays_away_until_it_is_needed(tmp_path: Path) -> None:
    """Opening a database of the newest version does not import alembic: commands start fast."""
    url = f"sqlite:///{tmp_path}/itipd.db"
    code = (
        "import asyncio, sys; from itipd.store import Store\n"
        f"async def work():\n  s = await Store.open({url!r})\n  await s.close()\n"
        "asyncio.run(work()); print('alembic' in sys.modules)"
    )
    found = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        for _ in range(2)
    ]
    assert found == ["True", "False"]


async def test_busy_database_is_a_conflict(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that another process holds too long is a Conflict: the mail is tried again, nothing is lost."""
    monkeypatch.setattr("itipd.store.sqlite.BUSY_SECONDS", 0)
    store = await Store.open(sqlite_url)
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Conflict, match="in use"):
            await register(store, "a")
        other.execute("ROLLBACK")
    await register(store, "a")
    await store.close()
