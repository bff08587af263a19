"""`itipd db copy URL`: everything into another database, of either engine, compared before it counts."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Table

from itipd.store import copying
from tests.cli_help import CAROL, Itipd, event, reply


@pytest.fixture
def itipd(sqlite_url: str, tmp_path: Path) -> Itipd:
    return Itipd(tmp_path)


def filled(itipd: Itipd) -> None:
    """Rows in every table that the commands can fill: meetings, answers, a proposal, mail that was sent."""
    itipd.put(event("a@example.com"), event("b@example.com", "RRULE:FREQ=DAILY;COUNT=5"), options=())
    itipd.ingest(reply("a@example.com"))
    counter = reply("b@example.com", "DTSTART:20361202T100000Z", "DTEND:20361202T110000Z", who=CAROL, method="COUNTER")
    itipd.ingest(counter, message_id="<2@mail.example.org>", sender=CAROL)
    itipd("outbox", "flush", "--deliver", env={"ITIPD_RELAY__DIRECTORY": str(itipd.home / "out")})
    itipd("meeting", "cancel", "a@example.com")


def seen(itipd: Itipd, url: str) -> list[Any]:
    """All that commands show of a database."""
    questions = (("status",), ("status", "b@example.com"), ("mail", "list"), ("outbox", "list"), ("proposal", "list"))
    return [itipd(*words, "--json", "--database", url).lines for words in questions]


def test_there_and_back(itipd: Itipd, postgres_url: str) -> None:
    """SQLite to PostgreSQL and on to SQLite again: the same rows, checksums and answers, and each can be rebuilt."""
    filled(itipd)
    here, back = f"sqlite:///{itipd.home / 'itipd.db'}", f"sqlite:///{itipd.home / 'back.db'}"
    there = itipd("db", "copy", postgres_url, "--json")
    assert (there.code, there.err) == (0, "")
    assert there.json["rows"]["attendees"] == 4
    assert all(there.json["rows"][name] for name in ("meetings", "events", "journal", "outcomes", "proposals"))
    assert all(there.json["rows"][name] for name in ("sendings", "deliveries", "attempts", "settings"))
    again = itipd("db", "copy", back, "--json", "--database", postgres_url)
    assert again.json == there.json
    assert seen(itipd, here) == seen(itipd, postgres_url) == seen(itipd, back)
    for url in (postgres_url, back):
        assert itipd("db", "verify", "--database", url).code == 0
        assert itipd("db", "rebuild", "--json", "--database", url).json["differences"] == []
    itipd.put(event("c@example.com"), options=("--database", postgres_url))
    assert len(itipd("status", "--json", "--database", postgres_url).lines) == 3


def test_the_target_is_new(itipd: Itipd) -> None:
    """A database that holds anything is refused with exit 1, itself too, and stays as it is."""
    filled(itipd)
    other = f"sqlite:///{itipd.home / 'other.db'}"
    itipd.put(event("x@example.com"), options=("--database", other))
    for url in (other, f"sqlite:///{itipd.home / 'itipd.db'}"):
        found = itipd("db", "copy", url)
        assert (found.code, "is not empty" in found.err) == (1, True)
    assert [line["uid"] for line in itipd("status", "--json", "--database", other).lines] == ["x@example.com"]


def test_table_for_people(itipd: Itipd) -> None:
    """Without --json: a line for each table, and what to do now."""
    filled(itipd)
    found = itipd("db", "copy", f"sqlite:///{itipd.home / 'other.db'}")
    assert found.code == 0
    assert "attendees" in found.out
    assert found.out.endswith("Equal. Now set `database` to the copy and start the daemon.\n")


@pytest.mark.parametrize("url", ["mysql://u@localhost/x", "other.db", "sqlite:///:memory:"])
def test_bad_url(itipd: Itipd, url: str) -> None:
    """What is no URL of a database is bad usage."""
    found = itipd("db", "copy", url)
    assert (found.code, "argument URL" in found.err) == (2, True)


def test_copy_that_is_not_equal_does_not_count(itipd: Itipd, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not read back as it was written is told with its table, exit 1, and the target stays empty."""
    filled(itipd)
    right = copying._write

    def wrong(connection: Connection, table: Table, chunk: copying.Chunk) -> None:
        if table.name == "attendees":
            chunk = [row | {"comment": "another"} for row in chunk]
        right(connection, table=table, chunk=chunk)

    other = f"sqlite:///{itipd.home / 'other.db'}"
    monkeypatch.setattr(copying, "_write", wrong)
    found = itipd("db", "copy", other)
    assert (found.code, "attendees: read 4 rows" in found.err) == (1, True)
    assert itipd("status", "--json", "--database", other).lines == []
    monkeypatch.setattr(copying, "_write", partial(right))
    assert itipd("db", "copy", other).code == 0
