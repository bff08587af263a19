"""What was held is decided again: the component that waited, for the organizer for whom it waited, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli_help import BOB, CAROL, WE, Itipd, calendar, event, mail, reply


@pytest.fixture
def itipd(sqlite_url: str, tmp_path: Path) -> Itipd:
    """`itipd` with an empty database."""
    return Itipd(tmp_path)


def component(uid: str, *lines: str, who: str = BOB) -> str:
    """The VEVENT of a reply."""
    return reply(uid, *lines, who=who).partition("METHOD:REPLY\r\n")[2].removesuffix("END:VCALENDAR\r\n")


def accepted(itipd: Itipd, uid: str) -> int:
    return int(itipd("status", uid, "--json").json["counts"]["ACCEPTED"])


def test_mail_about_two_unknown_meetings(itipd: Itipd) -> None:
    """Each of its components is decided when its own meeting is registered, the other one goes on waiting."""
    two = calendar(component("one@example.com"), component("two@example.com"), method="REPLY")
    held = itipd("ingest", "--json", stdin=mail(two)).json["results"]
    assert [line["reason"] for line in held] == ["unknown_meeting"] * 2
    assert itipd.put(event("one@example.com")).code == 0
    assert accepted(itipd, "one@example.com") == 1
    assert [line["uid"] for line in itipd("held", "list", "--json").lines] == ["two@example.com"]
    assert itipd.put(event("two@example.com")).code == 0
    assert accepted(itipd, "two@example.com") == 1


def test_mail_to_a_tagged_address(itipd: Itipd) -> None:
    """Whatever tag the recipient had, the answer is found and decided with its meeting."""
    to = "meetings+anything@example.com"
    words = ("ingest", "--json", "--recipient", to, "--recipient", WE)
    itipd(*words, stdin=mail(reply("one@example.com"), to=to))
    assert itipd.put(event("one@example.com")).code == 0
    assert accepted(itipd, "one@example.com") == 1


def test_many_days_of_an_unknown_series(itipd: Itipd) -> None:
    """A mail that asks again for each of 31 days is answered with the whole series, once."""
    days = [
        component("series@example.com", f"RECURRENCE-ID:202612{1 + day:02d}T090000Z", who=CAROL) for day in range(31)
    ]
    itipd("ingest", "--json", stdin=mail(calendar(*days, method="REFRESH"), sender=CAROL))
    itipd.put(event("series@example.com", "RRULE:FREQ=DAILY", sequence=1))
    lines = itipd("outbox", "list", "--json").lines
    assert [(line["to"], line["recurrence_id"]) for line in lines] == [([CAROL], None)]


def test_a_rebuilt_database_takes_the_mail_that_the_person_took(itipd: Itipd) -> None:
    """Of two mails of one stranger a person lets in the second: the journal says which, whatever its id is then."""
    uid, eve = "party@example.com", "eve@example.net"
    itipd.put(event(uid))
    for number, answer in enumerate(("DECLINED", "ACCEPTED")):
        said = reply(uid, who=eve, partstat=answer)
        itipd("ingest", "--json", stdin=mail(said, sender=eve, message_id=f"<{number}@mail.example.net>"))
    first, second = (line["id"] for line in itipd("held", "list", "--json").lines)
    assert itipd("held", "accept", str(second)).code == 0
    assert itipd("held", "reject", str(first)).code == 0
    assert accepted(itipd, uid) == 1
    assert itipd("db", "rebuild", "--json").json["differences"] == []
