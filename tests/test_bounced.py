"""A delivery report sets SCHEDULE-STATUS of whom it is about, and nothing else (rules.md §11)."""

from __future__ import annotations

from typing import Any

import pytest

from itipd.itip.bounced import bounced
from itipd.itip.model import Change, Report
from tests.itip_samples import ANN, BOB, DEC_8, EVE, LATER, NOW, apply, at, hear, override, reply, series, single, words

FAILED = Report(ANN, "failed", "3.7", "5.1.1")


@pytest.mark.parametrize(
    ("report", "more", "found"),
    [
        (FAILED, {}, ANN),
        (Report(EVE, "failed", "3.7"), {"known": ANN}, ANN),
        (Report(EVE, "failed", "3.7", final=BOB), {}, BOB),
        (Report(EVE, "failed", "3.7"), {}, None),
    ],
    ids=["Original-Recipient", "whom our mail went to", "Final-Recipient", "nobody"],
)
def test_a_report_finds_its_attendee(report: Report, more: dict[str, Any], found: str | None) -> None:
    """rules.md §11: the delivery that the token names, else Original-, else Final-Recipient."""
    decision = bounced(single(), report, **more)
    if found is None:
        assert (words(decision), decision.writes) == ("no_action/unknown_report", ())
        return
    after = apply(single(), decision)
    assert (words(decision), after.attendees["", found].schedule_status) == ("updated/bounced", "3.7")
    assert after.attendees["", found].partstat == "NEEDS-ACTION"


def test_a_report_about_an_instance() -> None:
    """The row of that instance where there is one, else that of the series."""
    overridden, plain = series(override(8)), series()
    assert apply(overridden, bounced(overridden, FAILED, rid=DEC_8)).attendees[DEC_8, ANN].schedule_status == "3.7"
    assert apply(plain, bounced(plain, FAILED, rid=DEC_8)).attendees["", ANN].schedule_status == "3.7"


def test_a_later_answer_stands_above_a_report() -> None:
    """rules.md §11: a later REPLY clears it; one that came before the mail was sent does not."""
    meeting, _ = hear(single(), reply(ANN))
    assert words(bounced(meeting, FAILED, sent_at=NOW)) == "no_action/bounced"
    assert words(bounced(meeting, FAILED, sent_at=at(61))) == "updated/bounced"
    assert meeting.attendees["", ANN].replied_at == LATER


def test_delayed_changes_nothing() -> None:
    """rules.md §11: `delayed`: no change."""
    decision = bounced(single(), Report(ANN, "delayed", None, "4.4.1"))
    assert (words(decision), decision.writes, decision.attendee) == ("no_action/bounced", (), ANN)


def test_the_change_is_told_once() -> None:
    """A second report with the same code is `updated`, but there is no change to see."""
    meeting = single()
    first = bounced(meeting, FAILED)
    assert first.changes == (Change(ANN, "", "schedule_status", None, "3.7"),)
    assert bounced(apply(meeting, first), FAILED).changes == ()


def test_a_report_without_a_meeting() -> None:
    """rules.md §11: a forged one, or one about another's mail, changes nothing."""
    decision = bounced(None, FAILED)
    assert (words(decision), decision.attendee) == ("no_action/unknown_report", ANN)
