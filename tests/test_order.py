"""The order in which answers arrive never matters, nor does it when one comes twice (RFC 5546 §2.1.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itipd.itip import attendance
from itipd.itip.model import Evidence, Meeting, Message
from tests.itip_samples import (
    ANN,
    BOB,
    CAT,
    DAN,
    DEC_1,
    DEC_8,
    DEC_15,
    DEC_22,
    EVE,
    WEEKLY,
    at,
    hear,
    line,
    message,
    override,
    put,
    registered,
    reply,
    sender,
    series,
    vevent,
)

Mail = tuple[Message, Evidence]


def moved_series() -> Meeting:
    """A series that was moved at SEQUENCE 2, with an override at a time of its own and one that kept its time."""
    meeting = series(override(8, hour=15), override(15, summary="Long one"))
    later = vevent(WEEKLY, start="DTSTART;TZID=Europe/Berlin:20261201T103000", sequence=2)
    moved = [text.replace("T100000", "T103000", 1) for text in (override(8, hour=15, sequence=2), override(15, sequence=2))]
    return put(meeting, later, *moved, now=at(3))[0]


PLAIN = series()
WITH_OVERRIDES = series(override(8, hour=15), override(15, summary="Long one"), override(22, guests=(BOB,)))
MEETINGS = [PLAIN, WITH_OVERRIDES]
RIDS = ("", DEC_1, DEC_8, DEC_15, DEC_22)


@st.composite
def answers(draw: st.DrawFn) -> list[Mail]:
    """Some answers of Ann and Bob; no two are equal in all that decides."""
    found: list[Mail] = []
    for number in range(draw(st.integers(1, 6))):
        rid = draw(st.sampled_from(RIDS))
        more: dict[str, Any] = {
            "rid": rid,
            "future": bool(rid) and draw(st.booleans()),
            "sequence": draw(st.sampled_from((None, 0, 1, 2, 3))),
            "dtstamp": draw(st.sampled_from((None, at(1), at(2), at(3), at(4)))),
            "reply_time": draw(st.sampled_from((None, at(10 + number)))),
            "comment": draw(st.sampled_from((None, "Late"))),
        }
        address = draw(st.sampled_from((ANN, BOB)))
        partstat = draw(st.sampled_from(("ACCEPTED", "DECLINED", "TENTATIVE", "NEEDS-ACTION")))
        # Each mail has a Date of its own: where even that is equal, arrival decides.
        found.append((reply(address, partstat, **more), sender(address, date=at(5 + number / 100))))
    return found


def after(meeting: Meeting, mails: Sequence[Mail]) -> dict[str, Any]:
    """What people see of the meeting when these mails have come, in this order."""
    for message, evidence in mails:
        meeting, _ = hear(meeting, message, evidence=evidence)
    return attendance.status(meeting)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(MEETINGS), answers(), st.randoms(use_true_random=False))
def test_any_order_of_arrival_ends_in_one_state(meeting: Meeting, mails: list[Mail], random: Any) -> None:
    """RFC 5546 §2.1.5: the latest revision counts for each R, whenever it arrives."""
    shuffled = list(mails)
    random.shuffle(shuffled)
    assert after(meeting, shuffled) == after(meeting, mails)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(MEETINGS), answers(), st.integers(0, 5))
def test_the_same_mail_again_changes_nothing(meeting: Meeting, mails: list[Mail], which: int) -> None:
    """rules.md §12: a mail that comes twice has no second effect, whatever came between."""
    again = mails[which % len(mails)]
    assert after(meeting, [*mails, again]) == after(meeting, mails)
