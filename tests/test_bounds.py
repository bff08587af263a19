"""The bounds of the configuration in a daemon's life: they reach the reader processes, and may become narrower."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from itipd.config import Config
from itipd.inbox import Inbox
from itipd.itip.incoming import incoming
from itipd.itip.model import Fault
from itipd.orders import Mail, Put
from itipd.readers import Readers
from itipd.store import Store

AT = datetime(2026, 11, 20, 9, tzinfo=UTC)
HEAD = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Example//EN\r\n"
EVENT = (
    "BEGIN:VEVENT\r\nUID:m1@example.com\r\nDTSTAMP:20261120T080000Z\r\nSEQUENCE:0\r\n{line}"
    "ORGANIZER:mailto:meetings@example.com\r\nATTENDEE;PARTSTAT={answer}:mailto:ann@example.org\r\nEND:VEVENT\r\n"
)
SERIES = EVENT.format(line="DTSTART:20261201T090000Z\r\nRRULE:FREQ=DAILY;COUNT=5\r\n", answer="NEEDS-ACTION")
DAYS = [EVENT.format(line=f"RECURRENCE-ID:202612{day:02d}T090000Z\r\n", answer="DECLINED") for day in (2, 3, 4)]
HEADERS = "From: ann@example.org\r\nMessage-ID: <a@example.org>\r\nContent-Type: text/calendar; method=REPLY\r\n\r\n"
MAIL = (HEADERS + HEAD + "METHOD:REPLY\r\n" + "".join(DAYS) + "END:VCALENDAR\r\n").encode()
GIVEN = (HEAD + SERIES + "END:VCALENDAR\r\n").encode()


def limited(components: int) -> Config:
    return Config.model_validate({"limits": {"components": components}})


async def test_bounds_travel_to_the_reader_processes() -> None:
    """A reader process reads with the bounds that the daemon was configured with."""
    for components, found in ((2, ["too_many_components"]), (3, ["Message"] * 3)):
        readers = await Readers.start(1, limited(components).reading)
        try:
            reading = await readers.read(MAIL, sender="ann@example.org", recipients=("a@b.test",), submission=False)
        finally:
            await readers.stop()
        words = [one.reason if isinstance(one, Fault) else type(one).__name__ for one in reading.messages]
        assert words == found


async def test_what_was_held_under_wider_bounds_is_closed_by_name(tmp_path: Path) -> None:
    """A mail that waited for its meeting and is over a bound by then: an error of that bound; nothing is held up."""
    store = await Store.open(f"sqlite:///{tmp_path / 'itipd.db'}")
    try:
        inbox = Inbox(store, None, limited(3))
        await inbox.start()
        receipt = await inbox.submit(Mail("ann@example.org", ("meetings@example.com",), MAIL, AT))
        await inbox.stop()
        assert [one.reason for one in receipt.results] == ["unknown_meeting"] * 3
        inbox = Inbox(store, None, limited(2))
        await inbox.start()
        (one,) = incoming(GIVEN)
        receipt = await inbox.command(Put(one, recorded=True), at=AT)
        await inbox.stop()
        assert receipt.results[0].outcome == "added"
        assert (await store.held_list())[0] == []
        (line,), _ = await store.mail_list()
        assert [one["reason"] for one in line["results"]].count("too_many_components") == 3
    finally:
        await store.close()
