"""The page's words: times, rules and codes as people read them."""

from __future__ import annotations

import pytest

from itipd.web import words
from itipd.web.views import moved

BERLIN = "2026-12-01T10:00:00+01:00"


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        (BERLIN, "2026-12-01T11:00:00+01:00", "Tue 1 December 2026, 10:00–11:00 UTC+1"),
        (BERLIN, None, "Tue 1 December 2026, 10:00 UTC+1"),
        (BERLIN, BERLIN, "Tue 1 December 2026, 10:00 UTC+1"),
        ("2026-12-01T22:00:00-03:30", "2026-12-02T01:00:00-03:30",
         "Tue 1 December 2026, 22:00 – Wed 2 December 01:00 UTC-3:30"),
        ("2026-12-01T10:00:00+00:00", None, "Tue 1 December 2026, 10:00 UTC"),
        ("2026-12-01T10:00:00", None, "Tue 1 December 2026, 10:00 local time"),
        ("2026-12-10", "2026-12-11", "Thu 10 December 2026, all day"),
        ("2026-12-10", None, "Thu 10 December 2026, all day"),
        ("2026-12-10", "2026-12-13", "Thu 10 December 2026, all day, until Sat 12 December"),
        (None, "2026-12-24T18:00:00+01:00", "until Thu 24 December 2026, 18:00 UTC+1"),
        (None, None, "no time"),
    ],
)  # fmt: skip
def test_span(start: str | None, end: str | None, said: str) -> None:
    """A span of time is told shortly, with its zone; the end of an all-day one is exclusive (RFC 5545 §3.6.1)."""
    assert words.span(start, end) == said


@pytest.mark.parametrize(
    ("rrule", "said"),
    [
        (None, ""),
        ("FREQ=DAILY", "Every day"),
        ("FREQ=WEEKLY;BYDAY=TU", "Every week on Tuesday"),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,WE,FR", "Every 2 weeks on Monday, Wednesday and Friday"),
        ("freq=daily;count=10", "Every day, 10 times"),
        ("FREQ=YEARLY;UNTIL=20301231T000000Z", "Every year, until Tue 31 December 2030"),
        ("FREQ=MONTHLY;BYDAY=2TU", "FREQ=MONTHLY;BYDAY=2TU"),
        ("FREQ=WEEKLY;BYSETPOS=1", "FREQ=WEEKLY;BYSETPOS=1"),
        ("FREQ=SECONDLY", "FREQ=SECONDLY"),
        ("nonsense", "nonsense"),
        ("FREQ=DAILY\nFREQ=WEEKLY", "FREQ=DAILY\nFREQ=WEEKLY"),
    ],
)
def test_rule(rrule: str | None, said: str) -> None:
    """Common rules are said in words; what would be said wrongly stays as it stands."""
    assert words.rule(rrule) == said


@pytest.mark.parametrize(
    ("rid", "said"),
    [
        ("20261208T090000Z", "Tue 8 December 2026, 09:00 UTC"),
        ("20261208T090000", "Tue 8 December 2026, 09:00"),
        ("20261208", "Tue 8 December 2026"),
        ("odd", "odd"),
        (None, ""),
    ],
)
def test_instance(rid: str | None, said: str) -> None:
    """A recurrence id of any kind is told as a time."""
    assert words.instance(rid) == said


def test_segments_fill_the_bar() -> None:
    """The parts of a bar follow each other without a gap and end at 100 %."""
    found = words.segments({"ACCEPTED": 1, "DECLINED": 1, "NEEDS-ACTION": 1, "TENTATIVE": 0, "DELEGATED": 0})
    assert [(s.partstat, s.x, s.width) for s in found] == [
        ("ACCEPTED", 0, 33.333),
        ("DECLINED", 33.333, 33.333),
        ("NEEDS-ACTION", 66.667, 33.333),
    ]
    assert words.segments({}) == []


def test_bar_in_words() -> None:
    """Who cannot see the bar hears the same."""
    assert (
        words.in_words({"ACCEPTED": 3, "DECLINED": 1, "NEEDS-ACTION": 1}) == "3 accepted, 1 declined, 1 no answer of 5"
    )
    assert words.in_words({"ACCEPTED": 0}) == "nobody is invited"


def test_unknown_answer_shows_as_itself() -> None:
    """A PARTSTAT that nobody knows looks like none, under its own name (RFC 5545 §3.2.12)."""
    found = words.answer("X-PERHAPS")
    assert (found.name, found.word) == ("waiting", "X-PERHAPS")


@pytest.mark.parametrize(
    ("code", "said"),
    [(None, ""), ("1.1", ""), ("2.0", ""), ("3.7", "unknown mailbox"), ("5.9", "delivery status 5.9")],
)
def test_delivery(code: str | None, said: str) -> None:
    """Only trouble with the delivery is told (RFC 6638 §3.2.9)."""
    assert words.delivery(code) == said


@pytest.mark.parametrize(
    ("name", "address", "letters"),
    [("Ada Lovelace", "a@b.test", "AL"), ("Linus", "a@b.test", "L"), (None, "x@b.test", "X"), ("<b>", "q@b.test", "Q")],
)
def test_initials(name: str | None, address: str, letters: str) -> None:
    """The avatar has one or two letters, of the name or else of the address."""
    assert words.initials(name, address) == letters


@pytest.mark.parametrize(
    ("rid", "start", "is_moved"),
    [
        ("20261208T090000Z", "2026-12-08T10:00:00+01:00", False),
        ("20261208T090000Z", "2026-12-08T11:00:00+01:00", True),
        ("20261208", "2026-12-08", False),
        ("20261208", "2026-12-09", True),
        ("20261208T090000", "2026-12-08T09:00:00", False),
        ("20261208T090000", "2026-12-08T09:30:00", True),
        ("20261208", None, False),
    ],
)
def test_moved(rid: str, start: str | None, is_moved: bool) -> None:
    """An instance is moved if it starts at another instant than its recurrence id says."""
    assert moved({"recurrence_id": rid, "start": start}) is is_moved


def test_sentence() -> None:
    """A reason is told by its own sentence and section."""
    assert words.sentence("duplicate") == "This very answer has already been applied. (RFC 5546 §2.1.5)"
    assert words.sentence("other") == "other"
