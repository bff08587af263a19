"""The log: one line for each component of a mail, that no mail can forge."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TextIO

import pytest
import structlog

from itipd import log
from itipd.itip.model import Decision
from itipd.itip.outcomes import Outcome, Reason
from itipd.orders import Mail

UID = "offsite-2036@planner.example.com"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The log is configured for the whole process."""
    yield
    log.configure("json")
    structlog.reset_defaults()


def line(uid: str, message_id: str = "<a@example.com>", form: str = "text") -> str:
    """What is written about an answer to the meeting `uid`."""
    stream = io.StringIO()
    log.configure(form, "info", stream)
    mail = Mail("", ("a@example.com", "b@example.com"), b"", datetime(2026, 1, 1, tzinfo=UTC), "192.0.2.1")
    decision = Decision(Outcome.UPDATED, Reason.REPLIED, uid, method="REPLY", partstat="ACCEPTED")
    log.message(mail, decision, journal=7, message_id=message_id, seconds=0.00314)
    return stream.getvalue()


def test_a_line_has_what_is_known_in_its_order() -> None:
    """Values that are not known are left out; the null sender is `<>`."""
    assert line(UID) == (
        "mail=7 client=192.0.2.1 from=<> rcpt=a@example.com,b@example.com msgid=<a@example.com> "
        f"uid={UID} method=REPLY partstat=ACCEPTED outcome=updated reason=replied ms=3.1\n"
    )


@pytest.mark.parametrize("uid", [UID, "a b outcome=held", 'a"b', "a\\b", "é", "x\ny", "x\x1b[2J", "x" * 400, "", " "])
def test_the_short_way_writes_what_the_long_way_writes(uid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stands in a value: the line is the one that structlog's processors make of it, and it is one line."""
    written = line(uid)
    assert written.count("\n") == 1
    configure = log.configure

    def without(form: str, level: str, stream: TextIO) -> None:
        configure(form, level, stream)
        monkeypatch.setattr(log, "_lines", None)

    monkeypatch.setattr(log, "configure", without)
    assert line(uid) == written


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_often_written_line_is_like_any_other(form: str) -> None:
    """Past structlog or through it, the same stands there."""
    words = {"delivery": 7, "to": "a b@example.com", "code": None, "answer": 'x "y"\nz', "ms": 0.5}
    written = []
    for short in (True, False):
        stream = io.StringIO()
        log.configure(form, "info", stream)
        (log.line if short else log.log.info)("outbox", **words)
        written.append(re.sub(r'^{"time": "[^"]*"', "", stream.getvalue()))
    assert written[0] == written[1]
    log.configure(form, "warning", stream)
    log.line("outbox", **words)
    assert stream.getvalue().count("\n") == 1


def test_a_blank_in_a_value_makes_no_field() -> None:
    """Words in a UID that look like fields stay inside its quotes."""
    assert 'uid="a outcome=held"' in line("a outcome=held")


def test_json_has_the_same_values() -> None:
    """As JSON the line has a time, too."""
    written = line(UID, form="json")
    assert written.startswith('{"time": "')
    assert f'"uid": "{UID}", "method": "REPLY"' in written
