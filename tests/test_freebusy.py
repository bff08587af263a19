"""Busy time: who is told, what is busy, what the answer says, and that asking is cheap."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from itipd.config import Config
from itipd.delivery import outgoing
from itipd.inbox import Inbox
from itipd.itip import freebusy, periods
from itipd.itip.freebusy import Question, reply
from itipd.itip.incoming import incoming
from itipd.itip.model import Meeting
from itipd.itip.periods import MOST_PERIODS, Period, busy, span
from itipd.itip.recurrence import TooCostly
from itipd.mail.compose import compose
from itipd.orders import Cancel, Mail, Put, Receipt
from itipd.store import Store
from tests.cli_help import BOB, WE, calendar, event, mail
from tests.cost import cheap

NOW = datetime(2026, 11, 20, 8, tzinfo=UTC)
ERIN = "erin@example.org"


def day(number: int, hour: int = 0, minute: int = 0, month: int = 12) -> datetime:
    return datetime(2026, month, number, hour, minute, tzinfo=UTC)


def meetings(*components: str) -> list[Meeting]:
    """The organizer's own text as it is stored."""
    return [
        Meeting(
            WE,
            found.uid,
            component=found.component,
            zones=found.zones,
            events={one.rid: one for one in found.events},
            status=next((one.status for one in found.events if not one.rid), "CONFIRMED"),
        )
        for found in incoming(calendar(*components).encode())
    ]


def shown(periods: Iterable[Period]) -> list[str]:
    return [f"{one.start:%d.%H%M}-{one.end:%d.%H%M}{'?' if one.tentative else ''}" for one in periods]


def week(*components: str) -> list[str]:
    """The busy periods of the first week of December."""
    return shown(busy(meetings(*components), day(1), day(8))[0])


# -- what is busy


def test_an_event_is_busy() -> None:
    """An event takes the time from its start to its end; one that is cut by the span, what lies in it."""
    assert week(event("a")) == ["01.0900-01.1000"]
    assert week(event("a", start="20261130T233000Z")) == ["01.0000-01.0030"]
    assert week(event("a", start="20261207T233000Z")) == ["07.2330-08.0000"]
    assert week(event("a", start="20261130T230000Z"), event("b", start="20261208T000000Z")) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("TRANSP:TRANSPARENT", []),
        ("transp:transparent", []),
        ("TRANSP:OPAQUE", ["01.0900-01.1000"]),
        ("STATUS:TENTATIVE", ["01.0900-01.1000?"]),
        ("STATUS:CANCELLED", []),
    ],
)
def test_transparency_and_status(line: str, found: list[str]) -> None:
    """TRANSP:TRANSPARENT and what is cancelled take no time; what is tentative is only perhaps busy."""
    assert week(event("a", line)) == found


def test_no_length_takes_no_time() -> None:
    """An event without an end is a moment and takes no time; a DATE without one takes its day; a to-do takes none."""
    moment = event("a").replace("DURATION:PT1H\r\n", "")
    assert week(moment) == []
    assert week(moment.replace("DTSTART:20261201T090000Z", "DTSTART;VALUE=DATE:20261202")) == ["02.0000-03.0000"]
    assert week(event("a").replace("VEVENT", "VTODO")) == []


def test_a_series_is_busy_on_the_wall_clock() -> None:
    """Every instance counts, at 10:00 in Berlin in summer and winter; EXDATE and what is cancelled or free do not."""
    series = event("a", "RRULE:FREQ=DAILY", "EXDATE;TZID=Europe/Berlin:20261026T100000").replace(
        "DTSTART:20261201T090000Z", "DTSTART;TZID=Europe/Berlin:20261023T100000"
    )
    gone = event("a", "RECURRENCE-ID:20261027T090000Z", "STATUS:CANCELLED", start="20261027T090000Z")
    found, until = busy(meetings(series, gone), day(24, month=10), day(29, month=10))
    assert shown(found) == ["24.0800-24.0900", "25.0900-25.1000", "28.0900-28.1000"]
    assert until == day(29, month=10)
    assert week(event("a", "RRULE:FREQ=DAILY", "TRANSP:TRANSPARENT")) == []


def test_an_override_counts_at_its_own_time() -> None:
    """An instance that was moved is busy where it is now, also when that is outside the series' day."""
    moved = event("a", "RECURRENCE-ID:20261202T090000Z", start="20261205T150000Z")
    assert week(event("a", "RRULE:FREQ=DAILY;COUNT=3"), moved) == [
        "01.0900-01.1000",
        "03.0900-03.1000",
        "05.1500-05.1600",
    ]


def test_an_override_for_all_that_follow() -> None:
    """RANGE=THISANDFUTURE: from that instance on the series is busy at the new time, and free at the old one."""
    later = event("a", "RECURRENCE-ID;RANGE=THISANDFUTURE:20261203T090000Z", start="20261205T150000Z")
    later = later.replace("PT1H", "PT2H")
    assert week(event("a", "RRULE:FREQ=DAILY;COUNT=5"), later) == [
        "01.0900-01.1000",
        "02.0900-02.1000",
        "05.1500-05.1700",
        "06.1500-06.1700",
        "07.1500-07.1700",
    ]
    (stored,) = meetings(event("a", "RRULE:FREQ=DAILY;COUNT=5"), later)
    _, ends = span(stored)
    assert ends is not None
    assert ends >= day(7, 17)


def test_an_instance_that_began_before_counts() -> None:
    """An instance that is under way when the span begins is busy to its end."""
    night = event("a", "RRULE:FREQ=WEEKLY", start="20261103T200000Z").replace("PT1H", "PT12H")
    assert shown(busy(meetings(night), day(2, 6), day(9, 6))[0]) == ["02.0600-02.0800", "08.2000-09.0600"]


def test_overlaps_are_one() -> None:
    """Periods that touch are one, so nobody learns how many meetings there are; surely busy wins over perhaps."""
    found = week(
        event("a"),
        event("b", start="20261201T093000Z"),
        event("c", "STATUS:TENTATIVE", start="20261201T083000Z").replace("PT1H", "PT3H"),
        event("d", start="20261201T110000Z"),
    )
    assert found == ["01.0830-01.0900?", "01.0900-01.1030", "01.1030-01.1100?", "01.1100-01.1200"]


def test_perhaps_gives_way_wherever_it_begins() -> None:
    """What is only perhaps busy is what surely busy times leave of it: its end, its beginning, or all of it."""
    sure = (event("a"), event("b", start="20261201T120000Z"))
    perhaps = ["20261201T093000Z", "20261201T113000Z", "20261201T120000Z", "20261201T150000Z"]
    maybe = (event(f"p{number}", "STATUS:TENTATIVE", start=start) for number, start in enumerate(perhaps))
    found = ["01.0900-01.1000", "01.1000-01.1030?", "01.1130-01.1200?", "01.1200-01.1300", "01.1500-01.1600?"]
    assert week(*sure, *maybe) == found


def test_too_many_periods_end_the_answer_early() -> None:
    """More than 500 periods are not told: the answer then says that it ends before the next one."""
    many = event("a", "RRULE:FREQ=HOURLY").replace("PT1H", "PT30M")
    found, until = busy(meetings(many), day(1), day(1) + freebusy.LONGEST)
    assert len(found) == MOST_PERIODS
    assert until == found[-1].start + timedelta(hours=1)
    assert found[-1].end <= until


def test_a_bad_rule_is_busy_once() -> None:
    """A rule that nobody can follow makes its first instance busy, and spoils nothing else."""
    bad = event("a", "RRULE:FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30")
    assert week(bad, event("b", start="20261202T090000Z")) == ["01.0900-01.1000", "02.0900-02.1000"]


def test_too_many_rules_leave_the_overrides() -> None:
    """Of a series with more rules than are followed the first instance is known, and what was put for one of them."""
    many = event("a", *["RRULE:FREQ=DAILY"] * 21)
    later = event("a", "RECURRENCE-ID;RANGE=THISANDFUTURE:20261203T090000Z", start="20261203T150000Z")
    assert week(many, later) == ["01.0900-01.1000", "03.1500-03.1600"]


def test_the_work_is_bounded() -> None:
    """A thousand busy series cost less than a second, or they are refused by name."""
    series = [event(f"m{number}", "RRULE:FREQ=HOURLY", start="20000101T000000Z") for number in range(40)]
    stored = meetings(*series)

    def refused() -> None:
        with pytest.raises(TooCostly, match="instances"):
            busy(stored, day(1), day(1) + freebusy.LONGEST)

    assert cheap(1.5 if sys.gettrace() is None else 15, refused)  # traced: measured for coverage


@pytest.mark.parametrize(
    ("lines", "begins", "ends"),
    [
        ((), day(1, 9), day(1, 10)),
        (("RRULE:FREQ=DAILY;COUNT=3",), day(1, 9), day(3, 10)),
        (("RRULE:FREQ=DAILY;UNTIL=20261204T090000Z",), day(1, 9), day(4, 10)),
        (("RRULE:FREQ=DAILY",), day(1, 9), None),
        (("RDATE:20261110T090000Z",), day(10, 9, month=11), day(1, 10)),
        (("RRULE:FREQ=SECONDLY;BYMONTH=2;COUNT=9",), day(1, 9), None),
    ],
)
def test_when_a_meeting_takes_place(lines: tuple[str, ...], begins: datetime, ends: datetime | None) -> None:
    """A meeting is looked up by when its first instance begins and its last one is over; None where it never is."""
    assert span(meetings(event("a", *lines))[0]) == (begins, ends)


def test_a_meeting_of_nothing_takes_no_place() -> None:
    """A meeting without components, and a to-do, are at no time."""
    assert span(Meeting(WE, "a")) == (None, None)
    assert span(meetings(event("a").replace("VEVENT", "VTODO"))[0]) == (None, None)


# -- what the answer says


def test_the_reply_is_as_the_rfc_wants_it() -> None:
    """RFC 5546 §3.3.3: the requester's UID and ORGANIZER, us as the one ATTENDEE, UTC times in order, no SEQUENCE."""
    asked = Question(BOB, day(1), day(8))
    periods = [Period(day(1, 9), day(1, 10)), Period(day(2, 9), day(2, 10), tentative=True)]
    text = reply("u;1,\r\nX:1", WE, "Meetings", asked, periods, day(5), NOW)
    assert text.replace("\r\n ", "").split("\r\n") == [
        "BEGIN:VCALENDAR",
        "PRODID:-//itipd//itipd//EN",
        "VERSION:2.0",
        "METHOD:REPLY",
        "BEGIN:VFREEBUSY",
        "UID:u\\;1\\,\\nX:1",
        "DTSTAMP:20261120T080000Z",
        "DTSTART:20261201T000000Z",
        "DTEND:20261205T000000Z",
        f"ORGANIZER:mailto:{BOB}",
        f"ATTENDEE;CN=Meetings:mailto:{WE}",
        "FREEBUSY;FBTYPE=BUSY:20261201T090000Z/20261201T100000Z",
        "FREEBUSY;FBTYPE=BUSY-TENTATIVE:20261202T090000Z/20261202T100000Z",
        "REQUEST-STATUS:2.0;Success",
        "END:VFREEBUSY",
        "END:VCALENDAR",
        "",
    ]


# -- who is told


@asynccontextmanager
async def running(store: Store, **policy: object) -> AsyncIterator[Inbox]:
    """An inbox that reads in this process."""
    config = {"organizers": [WE, "other@example.com"], "policy": {"freebusy": "known"} | policy}
    inbox = Inbox(store, None, Config.model_validate(config))
    await inbox.start()
    try:
        yield inbox
    finally:
        await inbox.stop()


async def register(inbox: Inbox, *components: str) -> None:
    for found in incoming(calendar(*components).encode()):
        await inbox.command(Put(found, recorded=True), at=NOW)


def request(
    who: str = BOB, about: str = WE, start: str = "DTSTART:20261201T000000Z", end: str = "DTEND:20261208T000000Z"
) -> str:
    lines = ["BEGIN:VFREEBUSY", "UID:fb-1", "DTSTAMP:20261120T080000Z", start, end]
    lines += [f"ORGANIZER:mailto:{who}", f"ATTENDEE:mailto:{who}", f"ATTENDEE:mailto:{about}", "END:VFREEBUSY"]
    return calendar("".join(f"{line}\r\n" for line in lines if line), method="REQUEST")


async def asks(inbox: Inbox, text: str, *headers: str, sender: str = BOB, envelope: str | None = None) -> Receipt:
    raw = mail(text, *headers, sender=sender, method="REQUEST", message_id=f"<{len(headers)}.{hash(text)}.{sender}>")
    return await inbox.submit(Mail(sender if envelope is None else envelope, (WE,), raw, NOW))


def told(receipt: Receipt) -> list[str]:
    return [f"{decision.outcome}/{decision.reason}" for decision in receipt.results]


async def answers(store: Store) -> list[str]:
    """The calendars in the outbox, unfolded."""
    lines, _ = await store.outbox_list(limit=100)
    found = [await store.outbox(line["id"]) for line in lines]
    return [line["calendar"].replace("\r\n ", "") for line in found if line is not None]


async def test_a_guest_is_told(store: Store) -> None:
    """Somebody who is or was a guest gets the busy time, in one mail to them alone that is about no meeting of ours."""
    async with running(store) as inbox:
        await register(inbox, event("a", "SUMMARY:Secret"))
        receipt = await asks(inbox, request())
        assert told(receipt) == ["no_action/freebusy"]
        (decision,) = receipt.results
        assert (decision.method, decision.attendee, decision.uid) == ("REQUEST", BOB, "fb-1")
        (text,) = await answers(store)
        assert "FREEBUSY;FBTYPE=BUSY:20261201T090000Z/20261201T100000Z" in text
        assert "Secret" not in text
        lines, _ = await store.outbox_list()
        assert [(line["method"], line["to"], line["reason"]) for line in lines] == [("REPLY", [BOB], "freebusy")]
        # The same mail again has no second effect; another of the same request has.
        assert told(await asks(inbox, request())) == ["no_action/duplicate"]
        assert told(await asks(inbox, request(), "X-Again: 1")) == ["no_action/freebusy"]
    (delivery, *_) = await store.claim(NOW, timedelta(minutes=1), 1)
    raw = compose(outgoing(delivery, store.secret)).decode()
    assert "Subject: Busy time: Meetings" in raw
    assert "text/calendar; charset=utf-8; method=REPLY" in raw


async def test_a_stranger_is_told_nothing(store: Store) -> None:
    """With "known" a stranger is told no more than where busy time is not published; with "any" everybody is."""
    for policy, found in (("off", "not_for_organizer"), ("known", "not_for_organizer"), ("any", "freebusy")):
        async with running(store, freebusy=policy) as inbox:
            await register(inbox, event("a"))
            receipt = await asks(inbox, request(ERIN), f"X-Policy: {policy}", sender=ERIN)
            assert told(receipt) == [f"no_action/{found}"]
            assert len(await answers(store)) == (policy == "any")


async def test_off_for_guests_too(store: Store) -> None:
    """Where busy time is not published nobody is told it."""
    async with running(store, freebusy="off") as inbox:
        await register(inbox, event("a"))
        assert told(await asks(inbox, request())) == ["no_action/not_for_organizer"]
    assert await answers(store) == []


async def test_who_was_a_guest_is_known(store: Store) -> None:
    """Who was taken off the list, or was a guest of what is cancelled, is known still; of another organizer, not."""
    async with running(store) as inbox:
        await register(inbox, event("a"), event("b", f"ATTENDEE:mailto:{ERIN}"))
        await register(inbox, event("b", sequence=1))
        await inbox.command(Cancel("b"), at=NOW)
        assert told(await asks(inbox, request(ERIN), sender=ERIN)) == ["no_action/freebusy"]
        foreign = event("c", "ATTENDEE:mailto:zoe@example.org").replace(WE, "other@example.com")
        await register(inbox, foreign)
        receipt = await asks(inbox, request("zoe@example.org"), sender="zoe@example.org")
        assert told(receipt) == ["no_action/not_for_organizer"]


async def test_only_who_asks_is_told(store: Store) -> None:
    """Busy time goes to the ORGANIZER of the request only if From is them, whatever policy `sender` believes."""
    for sender in ("from", "any"):
        async with running(store, freebusy="any", sender=sender) as inbox:
            await register(inbox, event("a"))
            receipt = await asks(inbox, request(BOB), f"X-Policy: {sender}", sender="mallory@example.net")
            assert told(receipt) == ["no_action/sender_unproven"]
    assert await answers(store) == []


async def test_the_organizer_is_told_nothing(store: Store) -> None:
    """A request from the organizer's own address is a loop, or a client that asks itself: nothing is answered."""
    async with running(store, freebusy="any") as inbox:
        await register(inbox, event("a"))
        assert told(await asks(inbox, request(WE), sender=WE)) == ["no_action/own_mail"]
    assert await answers(store) == []


async def test_a_program_is_told_nothing(store: Store) -> None:
    """Automatic mail is not answered: two such programs would talk for ever (RFC 3834 §2)."""
    async with running(store) as inbox:
        await register(inbox, event("a"))
        for header, envelope in (("Auto-Submitted: auto-generated", BOB), ("X-Plain: 1", "")):
            receipt = await asks(inbox, request(), header, envelope=envelope)
            assert told(receipt) == ["no_action/not_for_organizer"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (request(about="somebody@example.com"), "no_action/not_for_organizer"),
        (request(end=""), "error/malformed"),
        (request(end="DTEND:20261130T000000Z"), "error/malformed"),
        (request(start="DTSTART:yesterday"), "error/malformed"),
        (request().replace(f"ORGANIZER:mailto:{BOB}\r\n", ""), "error/malformed"),
        (request(end="DTEND:20261208T000000"), "no_action/freebusy"),
        (request(start="DTSTART;TZID=Europe/Berlin:20261201T000000"), "no_action/freebusy"),
        (request().replace("VFREEBUSY", "VJOURNAL"), "no_action/not_for_organizer"),
        (request().replace("METHOD:REQUEST", "METHOD:REPLY"), "no_action/not_for_organizer"),
        (request().replace("METHOD:REQUEST", "METHOD:PUBLISH"), "no_action/not_for_organizer"),
    ],
)
async def test_what_is_asked(sqlite_url: str, text: str, found: str) -> None:
    """A request must be about us and name a span and who asks; a time that is not in UTC is understood all the same."""
    store = await Store.open(sqlite_url)
    async with running(store) as inbox:
        await register(inbox, event("a"))
        assert told(await asks(inbox, text)) == [found]
    await store.close()


async def test_a_long_span_is_cut(sqlite_url: str) -> None:
    """Of a span of years 62 days are answered, and the answer says so."""
    store = await Store.open(sqlite_url)
    async with running(store) as inbox:
        await register(inbox, event("a", "RRULE:FREQ=DAILY"))
        await asks(inbox, request(end="DTEND:20361201T000000Z"))
        (text,) = await answers(store)
    await store.close()
    assert "DTEND:20270201T000000Z" in text
    assert text.count("FREEBUSY;") == 62


async def test_what_takes_place_is_looked_up(store: Store) -> None:
    """Only meetings that may take place in the span are loaded; put, moved, ended or cancelled, they are found anew."""
    async with running(store, freebusy="any") as inbox:
        await register(
            inbox,
            event("past", start="20251201T090000Z"),
            event("now"),
            event("next", start="20270601T090000Z"),
            event("ended", "RRULE:FREQ=DAILY;COUNT=2", start="20260101T090000Z"),
            event("endless", "RRULE:FREQ=WEEKLY", start="20200101T090000Z"),
            event("moved", start="20271201T090000Z"),
            event("off"),
            event("todo").replace("VEVENT", "VTODO"),
        )
        await register(inbox, event("moved", start="20261203T090000Z", sequence=1))
        await inbox.command(Cancel("off"), at=NOW)
        async with store.batch() as batch:
            found = await batch.taking_place(WE, day(1), day(8), 100)
            assert [meeting.uid for meeting in found] == ["now", "endless", "moved"]
            assert await batch.taking_place("other@example.com", day(1), day(8), 100) == []
            assert len(await batch.taking_place(WE, day(1), day(8), 2)) == 2


async def test_what_the_batch_has_done_counts(store: Store) -> None:
    """A question sees what came before it in its own batch: a meeting registered, moved or cancelled, a new guest."""
    async with running(store) as inbox:
        await register(inbox, event("a", f"ATTENDEE:mailto:{ERIN}"), event("b"))
        (new,) = incoming(calendar(event("c", "ATTENDEE:mailto:zoe@example.org", start="20261204T090000Z")).encode())
        (moved,) = incoming(calendar(event("a", start="20270101T090000Z", sequence=1)).encode())
        asking = asks(inbox, request("zoe@example.org"), sender="zoe@example.org")
        orders = [
            inbox.command(order, at=NOW)
            for order in (Put(new, "none"), Put(moved, "none"), Cancel("b", organizer=WE, notify="none"))
        ]
        *_, receipt = await asyncio.gather(*orders, asking)
        assert told(receipt) == ["no_action/freebusy"]
        (text,) = await answers(store)
        assert [line for line in text.splitlines() if line.startswith("FREEBUSY")] == [
            "FREEBUSY;FBTYPE=BUSY:20261204T090000Z/20261204T100000Z"
        ]


async def test_too_many_meetings_are_refused(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An organizer of thousands of meetings in the span answers by name that it would cost too much."""
    store = await Store.open(sqlite_url)
    monkeypatch.setattr(freebusy, "MOST_MEETINGS", 3)
    async with running(store) as inbox:
        await register(inbox, *(event(f"m{number}") for number in range(4)))
        assert told(await asks(inbox, request())) == ["error/too_costly"]
        assert await answers(store) == []
        monkeypatch.setattr(periods, "MOST_INSTANCES", 2)
        monkeypatch.setattr(freebusy, "MOST_MEETINGS", 10)
        assert told(await asks(inbox, request(), "X-Again: 1")) == ["error/too_costly"]
    await store.close()
