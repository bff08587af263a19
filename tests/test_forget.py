"""`itipd forget ADDRESS`: a person's data is removed everywhere, and what is left is consistent and says so."""

from __future__ import annotations

import base64
import quopri
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from itipd.cli.forget import person
from itipd.config import Config
from itipd.itip.line import fold
from itipd.mail.mentions import NOBODY, mentions, pattern, without
from itipd.store import Store
from itipd.store.copying import rows
from itipd.store.forget import IsOrganizerError, forget
from itipd.store.schema import metadata
from tests.cli_help import BOB, CAROL, WE, Itipd, event, reply
from tests.world import LATER, World, rebuilt, running

PLAIN = Config.model_validate({})
COUNTER = ("DTSTART:20261201T140000Z", "DURATION:PT1H", "SUMMARY:Planning")


@pytest.fixture
async def world(store: Store) -> AsyncIterator[World]:
    async with running(store) as inbox:
        yield World(store, inbox)


async def everything(store: Store) -> list[tuple[str, object]]:
    """All rows of all tables, as Python has them."""

    def work(connection: Connection) -> list[tuple[str, object]]:
        found: list[tuple[str, object]] = []
        for table in metadata.sorted_tables:
            found += [(table.name, dict(row._mapping)) for row in connection.execute(select(table))]
        return found

    return await store.database.read(work)


async def named(store: Store, address: str) -> list[str]:
    """The tables that still have the address, in whatever form."""
    found = {table for table, row in await everything(store) if address in str(row).lower()}
    found |= {"journal" for row in await store.journal_from(0, 1000) if mentions(row.raw, pattern([address]))}
    return sorted(found)


async def story(world: World) -> None:
    """Bob in all that he can be in: guest, answer, proposal, delegation, mail that is sent and that waits."""
    await world.put("LOCATION:Room 1")
    await world.deliver(bob=LATER)
    await world.accept(BOB)
    await world.accept(BOB, *COUNTER, method="COUNTER")
    await world.accept(CAROL, f'ATTENDEE;PARTSTAT=DELEGATED;DELEGATED-TO="mailto:{BOB}":mailto:{CAROL}')
    await world.put("LOCATION:Room 2")
    await world.deliver(carol=LATER)
    await world.put(uid="other")
    await world.accept("eve@example.org")


async def test_forgotten_everywhere(world: World, tmp_path: Path) -> None:
    """No table has the address in any form; the others' answers, mails and the meetings are as they were."""
    await story(world)
    assert {"attendees", "proposals", "deliveries", "sendings", "outcomes", "journal"} <= {
        *await named(world.store, BOB)
    }
    before = await world.store.meeting("plan", WE)
    done = await forget(world.store, person(BOB, PLAIN), world.now)
    assert await named(world.store, BOB) == []
    assert (done.meetings, done.texts) == (2, [])
    assert min(done.attendees, done.proposals, done.outgoing, done.mails, done.outcomes) > 0
    after = await world.store.meeting("plan", WE)
    assert before is not None
    assert after is not None
    assert {address for _, address in after.attendees} == {address for _, address in before.attendees} - {BOB}
    assert after.attendees["", CAROL].partstat == before.attendees["", CAROL].partstat
    assert (after.events, after.sequence) == (before.events, before.sequence)
    assert await world.store.verify() == []
    async with rebuilt(world, tmp_path) as (_, made):
        assert made.differences == []
        assert made.unproven == ["meetings@example.com plan: forgotten", "meetings@example.com other: forgotten"]


async def test_life_goes_on(world: World) -> None:
    """After it the others are told of changes and answer; who was forgotten is a stranger."""
    await story(world)
    await forget(world.store, person(BOB, PLAIN), world.now)
    world.way.sent.clear()
    await world.put("LOCATION:Room 3")
    await world.accept(CAROL, sequence=0)
    await world.deliver()
    assert BOB in {envelope.recipient for envelope in world.way.sent}  # the organizer's own text still invites him
    assert CAROL in {envelope.recipient for envelope in world.way.sent}


async def test_again_and_unknown(world: World) -> None:
    """Forgotten twice, or never known: nothing is removed, nothing changes."""
    await story(world)
    await forget(world.store, person(BOB, PLAIN), world.now)
    before = await everything(world.store)
    done = await forget(world.store, person(BOB, PLAIN), world.now)
    assert (done.attendees, done.meetings, done.proposals, done.outgoing, done.mails, done.outcomes) == (0,) * 6
    await forget(world.store, person("nobody@example.org", PLAIN), world.now)
    assert await everything(world.store) == before


async def test_somebody_alike_is_not_meant(world: World) -> None:
    """An address that only contains the other, or that it is contained in, stays."""
    await world.put(f"ATTENDEE:mailto:x{BOB}", f"ATTENDEE:mailto:{BOB}.uk")
    await forget(world.store, person(BOB, PLAIN), world.now)
    meeting = await world.store.meeting("plan", WE)
    assert meeting is not None
    assert {address for _, address in meeting.attendees} >= {f"x{BOB}", f"{BOB}.uk", CAROL}


async def test_organizer_is_refused(world: World) -> None:
    """An organizer cannot be forgotten while there are meetings of it; nothing is removed."""
    await world.put()
    before = await everything(world.store)
    with pytest.raises(IsOrganizerError, match="an organizer here"):
        await forget(world.store, person(WE, PLAIN), world.now)
    assert await everything(world.store) == before


async def test_organizers_own_text_is_told(world: World) -> None:
    """What the organizer has written about the person stays, and is named by its UID."""
    await world.put(f"DESCRIPTION:Ask {BOB}")
    done = await forget(world.store, person(BOB, PLAIN), world.now)
    assert done.texts == ["plan"]
    assert await named(world.store, BOB) == ["events"]


async def test_aliases_are_the_same_person(world: World) -> None:
    """All addresses that [identity] says are one person are forgotten together, whichever is named."""
    config = Config.model_validate({"identity": {"aliases": {"bob@home.example.net": BOB}}})
    for address in (BOB, "bob@home.example.net"):
        assert person(address, config).addresses == {BOB, "bob@home.example.net"}
        assert await rows(world.store) == 1


def test_command(tmp_path: Path) -> None:
    """The command says what it removed; in the file of an SQLite database not one octet of the person is left."""
    itipd = Itipd(tmp_path)
    itipd.put(event("a@example.com"), options=())
    itipd.ingest(reply("a@example.com"))
    found = itipd("forget", BOB.upper(), "--json")
    assert found.code == 0
    assert found.json | {"outcomes": 2} == {
        "address": BOB, "attendees": 1, "meetings": 1, "proposals": 0, "outgoing": 2, "mails": 2, "outcomes": 2,
        "texts": [],
    }  # fmt: skip
    assert not [file for file in tmp_path.glob("itipd.db*") if BOB.encode() in file.read_bytes()]
    with sqlite3.connect(tmp_path / "itipd.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    assert itipd("forget", "no address").code == 2
    assert (itipd("forget", WE).code, itipd("forget", BOB).out.splitlines()[0][:2]) == (1, "0 ")
    assert "not compared" in itipd("db", "rebuild").out
    gone = itipd("mail", "raw", "2")
    assert (gone.code, "bytes removed" in gone.err) == (1, True)


@pytest.mark.parametrize("name", ["plain", "folded", "json", "base64", "quoted", "upper", "utf-16", "parameter"])
def test_found_in_every_encoding(name: str) -> None:
    """The address is found in a mail however it is written there."""
    line = fold(f"ATTENDEE;CN={'x' * 46}:mailto:{BOB}")
    assert BOB not in line
    data = {
        "plain": f"From: {BOB}",
        "folded": line,
        "json": line.replace("\r\n", "\\r\\n"),
        "base64": base64.encodebytes(("word " * 20 + BOB).encode()).decode(),
        "quoted": quopri.encodestring(("ü" * 11 + " " + BOB).encode()).decode(),
        "upper": BOB.upper(),
        "parameter": f"ATTENDEE;EMAIL={BOB}:mailto:b@home.example.net",
        "utf-16": BOB.encode("utf-16-le").decode("latin-1"),
    }[name]
    assert mentions(data.encode("latin-1"), pattern([BOB]))
    assert not mentions(data.encode("latin-1"), pattern([CAROL]))


def test_calendar_without_a_person() -> None:
    """Their ATTENDEE goes, elsewhere nobody stands for them, and other lines are octet for octet as they were."""
    lines = ("BEGIN:VCALENDAR", f"ATTENDEE;CN=Bob:mailto:{BOB}", f'ATTENDEE;SENT-BY="mailto:{BOB}":mailto:{CAROL}')
    made = without("".join(map(fold, (*lines, "SUMMARY:" + "ü" * 70, "END:VCALENDAR"))), pattern([BOB]))
    assert made == "".join(
        map(
            fold,
            (lines[0], f'ATTENDEE;SENT-BY="mailto:{NOBODY}":mailto:{CAROL}', "SUMMARY:" + "ü" * 70, "END:VCALENDAR"),
        )
    )
