"""The order in which answers arrive never matters, nor does it when one comes twice (RFC 5546 §2.1.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from itipd.itip import attendance
from itipd.itip.model import Evidence, Meeting, Message
from tests.itip_samples import (
    ANN,
    BOB,
    DAN,
    DEC_1,
    DEC_8,
    DEC_15,
    DEC_22,
    EVE,
    at,
    hear,
    line,
    message,
    override,
    put,
    reply,
    sender,
    series,
    vevent,
)

Mail = tuple[Message, Evidence]
LONGER = "RRULE:FREQ=WEEKLY;BYDAY=TU;COUNT=9"


PLAIN = series()
WITH_OVERRIDES = series(override(8, hour=15), override(15, summary="Long one"), override(22, guests=(BOB,)))
# Its rule was changed at SEQUENCE 2: answers to 0 and 1 are stale, but for the override that stayed as it was.
CHANGED = put(series(override(8, hour=15)), vevent(LONGER, sequence=2), override(8, hour=15), now=at(2.5))[0]
MEETINGS = [PLAIN, WITH_OVERRIDES, CHANGED]
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
    for one, evidence in mails:
        meeting, _ = hear(meeting, one, evidence=evidence)
    return attendance.status(meeting)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(MEETINGS), answers(), st.randoms(use_true_random=False))
def test_any_order_of_arrival_ends_in_one_state(meeting: Meeting, mails: list[Mail], random: Any) -> None:
    """RFC 5546 §2.1.5: the latest revision counts for each R, whenever it arrives."""
    shuffled = list(mails)
    random.shuffle(shuffled)
    assert after(meeting, shuffled) == after(meeting, mails)


@st.composite
def tied(draw: st.DrawFn) -> list[Mail]:
    """Some answers of Ann's of one revision, as Outlook for Mac sends them, each with a Date of its own."""
    found: list[Mail] = []
    for number in range(draw(st.integers(2, 5))):
        rid = draw(st.sampled_from((DEC_1, DEC_8)))
        one = reply(ANN, draw(st.sampled_from(("ACCEPTED", "DECLINED"))), rid=rid, future=draw(st.booleans()))
        found.append((one, sender(ANN, date=at(5 + number / 100))))
    return [*found, (reply(BOB, rid=DEC_15), sender(BOB, date=at(6)))]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tied(), st.randoms(use_true_random=False))
def test_any_order_of_answers_of_one_revision_ends_in_one_state(mails: list[Mail], random: Any) -> None:
    """rules.md §3: REPLYTIME or Date decides between equal revisions, also where the same answer comes twice."""
    shuffled = list(mails)
    random.shuffle(shuffled)
    assert after(PLAIN, shuffled) == after(PLAIN, mails)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(MEETINGS), answers(), st.randoms(use_true_random=False))
def test_twice_is_once(meeting: Meeting, mails: list[Mail], random: Any) -> None:
    """rules.md §12: a mail that comes again has no second effect, whatever came before it and between."""
    twice = [*mails, *mails]
    random.shuffle(twice)
    assert after(meeting, twice) == after(meeting, mails)


def proved(*messages: Message) -> list[Mail]:
    """Each from the attendee who comes first in it."""
    return [(one, sender(one.attendees[0].address)) for one in messages]


def to(delegator: str, delegate: str, by: str = "", **more: Any) -> Message:
    """A delegation; `by`: the delegator is a delegate, too."""
    above = {"delegated_from": by} if by else {}
    behind = line(delegate, "NEEDS-ACTION", delegated_from=delegator, cn="As they call them")
    return message(line(delegator, "DELEGATED", delegated_to=delegate, **above), behind, **more)


def for_(delegate: str, delegator: str, partstat: str = "ACCEPTED", **more: Any) -> Message:
    """A delegate's answer."""
    return message(line(delegate, partstat, delegated_from=delegator, cn="Own name"), **more)


CASES = {
    "delegated, answered": [to(ANN, DAN, minute=1), for_(DAN, ANN, minute=2)],
    "one instance": [to(ANN, DAN, minute=1, rid=DEC_8), for_(DAN, ANN, minute=2, rid=DEC_8)],
    "taken back": [to(ANN, DAN, minute=1), reply(ANN, minute=3)],
    "taken back for one instance": [to(ANN, DAN, minute=1, rid=DEC_8), reply(ANN, minute=3, rid=DEC_8)],
    "taken back after the answer": [to(ANN, DAN, minute=1), for_(DAN, ANN, minute=2), reply(ANN, minute=3)],
    "to somebody else": [to(ANN, DAN, minute=1), to(ANN, EVE, minute=2)],
    "to somebody else after the answer": [to(ANN, DAN, minute=1), for_(DAN, ANN, minute=2), to(ANN, EVE, minute=3)],
    "to a guest": [to(ANN, BOB, minute=1), reply(BOB, minute=2)],
    "to a guest, taken back": [to(ANN, BOB, minute=1), reply(BOB, minute=2), reply(ANN, minute=3)],
    "to a guest for one instance": [to(ANN, BOB, minute=1, rid=DEC_8), reply(BOB, "DECLINED", minute=2)],
    "by two": [to(ANN, DAN, minute=1), to(BOB, DAN, minute=1), reply(ANN, minute=2)],
    "a refusal": [to(ANN, DAN, minute=1), for_(DAN, ANN, "DECLINED", minute=2)],
    "a refusal, then not": [
        to(ANN, DAN, minute=1),
        for_(DAN, ANN, "DECLINED", minute=2),
        for_(DAN, ANN, "ACCEPTED", minute=3),
    ],
    "the delegator after a refusal": [
        to(ANN, DAN, minute=1, rid=DEC_8),
        for_(DAN, ANN, "DECLINED", minute=2, rid=DEC_8),
        reply(ANN, minute=3, rid=DEC_8),
    ],
    "for one instance, then for all": [
        to(ANN, DAN, minute=1, rid=DEC_8),
        to(BOB, DAN, minute=2),
        for_(DAN, BOB, minute=3),
    ],
    "a chain": [to(ANN, DAN, minute=1), to(DAN, EVE, by=ANN, minute=2), for_(EVE, DAN, minute=3)],
}


@pytest.mark.parametrize("messages", CASES.values(), ids=CASES.keys())
def test_delegations_end_in_one_state_in_any_order(messages: list[Message]) -> None:
    """rules.md §5: the delegate's REPLY may arrive first, and the delegator may have changed their mind."""
    ends = [after(PLAIN, proved(*order)) for order in permutations(messages) if _vouched(order)]
    assert ends == ends[:1] * len(ends)


@st.composite
def delegations(draw: st.DrawFn) -> list[Message]:
    """What Ann and Bob say, and whoever they delegate to, of the series or of one day; no two at one time."""
    found: list[Message] = []
    made: list[tuple[str, str, str]] = []  # (delegator, delegate, rid)
    for minute in draw(st.lists(st.integers(1, 59), min_size=2, max_size=5, unique=True)):
        rid, partstat = draw(st.sampled_from(("", DEC_8))), draw(st.sampled_from(("ACCEPTED", "DECLINED", "TENTATIVE")))
        deeper = [one for one in made if one[1] == DAN]
        kind = draw(st.sampled_from(["delegate", "reply", *(["answer", "answer"] if made else []), *deeper[:1]]))
        if kind == "delegate":
            made.append((draw(st.sampled_from((ANN, BOB))), draw(st.sampled_from((DAN, EVE))), rid))
            found.append(to(*made[-1][:2], minute=minute, rid=rid))
        elif kind == "reply":
            found.append(reply(draw(st.sampled_from((ANN, BOB))), partstat, minute=minute, rid=rid))
        elif kind == "answer":
            delegator, delegate, rid = draw(st.sampled_from(made))
            found.append(for_(delegate, delegator, partstat, minute=minute, rid=rid))
        else:
            above, _, rid = kind
            made.append((DAN, EVE, rid))
            found.append(to(DAN, EVE, by=above, minute=minute, rid=rid))
    return found


def said(messages: Sequence[Message]) -> dict[str, Any]:
    """What people see, but for how those are called who are on no list of the organizer's, and for whom they came.

    Both are as they said last, in whichever mail could still be believed when it came. Where somebody answers for one
    who is no guest yet, or no more, a person decides: of those orders nothing is said here.
    """
    meeting = PLAIN
    for one, evidence in proved(*messages):
        meeting, decision = hear(meeting, one, evidence=evidence)
        assume(decision.outcome != "held")
    status = attendance.status(meeting)
    for row in (*status["attendees"], *(row for one in status["instances"] for row in one["attendees"])):
        del row["name"], row["delegated_from"]
    return status


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(delegations(), st.randoms(use_true_random=False))
def test_any_delegations_end_in_one_state_in_any_order(messages: list[Message], random: Any) -> None:
    """rules.md §5: who is a guest, what each has said of R, and who delegates to whom, do not depend on arrival."""
    shuffled = list(messages)
    random.shuffle(shuffled)
    assert said(shuffled) == said(messages)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(MEETINGS), st.one_of(answers().map(lambda mails: [one for one, _ in mails]), delegations()))
def test_nobody_is_changed_but_who_answers_and_delegates(meeting: Meeting, messages: list[Message]) -> None:
    """rules.md §3, §5: a reply writes rows of its sender and of whom they delegate to now or did; no other, no event.

    Mail goes to these alone, and to whom a delegate stood in for.
    """
    for one, evidence in proved(*messages):
        mine = {one.attendees[0].address, *(attendee.address for attendee in one.attendees)}
        before = [row for (_, address), row in meeting.attendees.items() if address == one.attendees[0].address]
        mine |= {name for row in before for name in row.delegated_to}
        reached = mine | {name for row in before for name in row.delegated_from}
        reached |= {name.removeprefix("mailto:") for name in one.attendees[0].params.get("DELEGATED-FROM", ())}
        later, decision = hear(meeting, one, evidence=evidence)
        assert replace(later, attendees=meeting.attendees) == meeting
        others = {key: row for key, row in meeting.attendees.items() if key[1] not in mine}
        assert {key: row for key, row in later.attendees.items() if key[1] not in mine} == others
        assert {name for send in decision.sends for name in send.to} <= reached
        meeting = later


def _vouched(order: Sequence[Message]) -> bool:
    """Nobody is delegated from who is a stranger still: that one is a party crasher, and a person decides."""
    guests = {ANN, BOB}
    for one in order:
        names = one.attendees[0].params.get("DELEGATED-FROM", ())
        if any(name.removeprefix("mailto:") not in guests for name in names):
            return False
        guests |= {attendee.address for attendee in one.attendees}
    return True
