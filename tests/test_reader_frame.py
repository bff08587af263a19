"""What goes between the daemon and its readers comes out as it went in."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from itipd.itip.model import Evidence, Fault, Message, Moment
from itipd.itip.outcomes import Outcome, Reason
from itipd.mail.reading import Reading, ReadSettings, read_mail
from itipd.reader_frame import LARGE, LENGTH, answer, answered, request, requested

FIXTURES = Path(__file__).parent.parent / "fixtures"
PLAIN = Reading(
    message_id="<a@example.com>",
    from_header="Büro <b@example.com>",
    to=("meetings@example.com",),
    subject="Yes",
    date=datetime(2026, 11, 1, 8, tzinfo=UTC),
    digest=bytes(16),
    packed=b"\x00\xff",
    evidence=Evidence("b@example.com", date=datetime(2026, 11, 1, 8, tzinfo=UTC), automatic=True),
    messages=(Message("REPLY", "VEVENT", "m1", dtstamp=datetime(1901, 2, 3, tzinfo=UTC), quirks=("bom",)),),
)


def there_and_back(reading: Reading) -> Reading:
    """`reading` through a frame."""
    sent = answer(reading)
    (size,) = LENGTH.unpack_from(sent)
    assert size == len(sent) - LENGTH.size
    return answered(sent[LENGTH.size :])


def test_every_mail_of_the_fixtures_comes_out_as_it_was_read() -> None:
    """Replies, counters, reports, faults, the organizer's own calendars: all readings pass unchanged."""
    mails = sorted(FIXTURES.glob("*/*.eml"))
    assert len(mails) > 50
    for path in mails:
        submission = path.name.endswith(".submission.eml")
        raw = path.read_bytes()
        reading = read_mail(raw, sender="<>", recipients=(), submission=submission, settings=ReadSettings())
        assert there_and_back(reading) == reading


@pytest.mark.parametrize(
    "rid",
    [
        None,
        Moment(datetime.fromisoformat("20261208"), is_date=True),
        Moment(datetime.fromisoformat("20261208T100000")),
        Moment(datetime.fromisoformat("20261208T100000"), datetime(2026, 12, 8, 9, tzinfo=UTC)),
    ],
)
def test_an_answer_to_an_instance_keeps_its_moment(rid: Moment | None) -> None:
    """A date, a floating and a zoned time come out as such."""
    (message,) = PLAIN.messages
    assert isinstance(message, Message)
    reading = replace(PLAIN, messages=(replace(message, rid=rid),))
    assert there_and_back(reading) == reading


def test_the_usual_answer_is_not_pickled() -> None:
    """A REPLY goes as plain values; only what is rare, as a fault is, goes as pickled objects."""
    fault = Fault(Outcome.ERROR, Reason.TOO_COSTLY)
    assert b"itipd" not in answer(PLAIN)
    assert b"itipd" in answer(replace(PLAIN, messages=(fault,)))


def test_a_request_comes_out_as_it_went_in() -> None:
    """The mail to be read, whatever octets it has."""
    sent = request(b"\x00\xff\r\n", "b@example.com", ["a@example.com"], submission=True, trusted=False)
    assert requested(sent[LENGTH.size :]) == (b"\x00\xff\r\n", "b@example.com", ("a@example.com",), True, False)


def test_a_large_mail_follows_its_request() -> None:
    """What a large mail's request leaves out is the mail itself: behind each other they are one frame."""
    raw = b"x" * LARGE
    whole = request(raw, "a@example.com", ("b@example.com",), submission=False, trusted=True) + raw
    (size,) = LENGTH.unpack_from(whole)
    assert size == len(whole) - LENGTH.size
    assert requested(whole[LENGTH.size :]) == (raw, "a@example.com", ("b@example.com",), False, True)
