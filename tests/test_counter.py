"""COUNTER: what an attendee proposes is kept, compared with the meeting, and retired (rules.md §6; RFC 5546 §3.2.7)."""

from __future__ import annotations

from typing import Any

import pytest

from itipd.itip.model import Meeting, Message, Policy, Revision
from itipd.itip.organize import accept
from tests.itip_samples import (
    ANN,
    BOB,
    DAN,
    DEC_8,
    EVE,
    WE,
    WEEKLY,
    apply,
    at,
    counter,
    hear,
    instances,
    line,
    message,
    override,
    put,
    registered,
    reply,
    sender,
    sent,
    series,
    single,
    standing,
    vevent,
    words,
)

ADDED = Policy(party_crasher="added")


def delegates(*addresses: str, by: str = ANN, **more: Any) -> Message:
    """`by` delegates."""
    lines = [line(address, "NEEDS-ACTION", delegated_from=by, cn=f"Called {address[:3]}") for address in addresses]
    return message(line(by, "DELEGATED", delegated_to=addresses), *lines, **more)


def proposals(meeting: Meeting) -> list[tuple[str, str, str | None, str | None, str]]:
    """(attendee, rid, start, location, state) of all proposals."""
    return [
        (
            one.attendee,
            one.rid,
            one.proposed.start.iso if one.proposed.start else None,
            one.proposed.location,
            one.state,
        )
        for one in meeting.proposals.values()
    ]


def test_a_counter_stores_a_proposal_and_the_partstat() -> None:
    """rules.md §6.1: nothing else of the meeting changes."""
    meeting = single()
    after, decision = hear(meeting, counter(ANN, "20261203T090000Z", "20261203T100000Z", comment="Later?"))
    assert proposals(after) == [(ANN, "", "2026-12-03T09:00:00+00:00", None, "open")]
    assert (after.proposals[1].comment, after.events) == ("Later?", meeting.events)
    assert (standing(after)[ANN], words(decision)) == ("TENTATIVE", "updated/proposal")


@pytest.mark.parametrize("partstat", [None, "NEEDS-ACTION", "DELEGATED"])
def test_a_counter_without_an_answer_keeps_the_answer(partstat: str | None) -> None:
    """rules.md §6.1: PARTSTAT is taken if the COUNTER carries one; guests, comment and delegation stay, too.

    It takes a REPLY to delegate (RFC 5546 §3.2.2.3).
    """
    before, _ = hear(single(), delegates(DAN))
    after, _ = hear(before, counter(ANN, "20261203T090000Z", partstat=partstat, comment="Later?", minute=2))
    row = after.attendees["", ANN]
    assert (row.partstat, row.delegated_to, row.comment, row.revision) == (
        "DELEGATED",
        (DAN,),
        None,
        Revision(0, at(2)),
    )


def test_a_counter_to_an_instance_does_not_answer_it() -> None:
    """rules.md §4.3, §6.1: without PARTSTAT the instance shows the series' answer still, but its revision counts."""
    meeting, _ = hear(series(), reply(ANN), counter(ANN, "20261208T130000Z", rid=DEC_8, partstat=None, minute=5))
    assert instances(meeting) == []
    meeting, _ = hear(meeting, reply(ANN, "DECLINED", minute=6), reply(BOB, rid=DEC_8))
    assert standing(meeting, DEC_8)[ANN] == "DECLINED"
    assert words(hear(meeting, reply(ANN, rid=DEC_8, minute=4))[1]) == "no_action/out_of_order"


DIFFS: dict[str, tuple[Message, tuple[str | None, str | None, str | None, list[str]]]] = {
    "another time": (
        counter(ANN, "20261203T090000Z", "20261203T100000Z"),
        ("2026-12-03T09:00:00+00:00", "2026-12-03T10:00:00+00:00", None, []),
    ),
    "longer": (
        counter(ANN, "20261201T090000Z", "20261201T110000Z"),
        ("2026-12-01T09:00:00+00:00", "2026-12-01T11:00:00+00:00", None, []),
    ),
    "only another place": (counter(ANN, "20261201T090000Z", location="Garden"), (None, None, "Garden", [])),
    "the place of now": (
        counter(ANN, "20261203T090000Z", location="Room 4"),
        ("2026-12-03T09:00:00+00:00", None, None, []),
    ),
    "only more people": (
        counter(ANN, "20261201T090000Z", others=(line(EVE, None), line(BOB, None), line(WE, None))),
        (None, None, None, [EVE]),
    ),
}


@pytest.mark.parametrize(("one", "expected"), DIFFS.values(), ids=DIFFS.keys())
def test_a_proposal_is_a_difference(
    one: Message, expected: tuple[str | None, str | None, str | None, list[str]]
) -> None:
    """rules.md §6.1: diff against the meeting: accepting it later changes only what was proposed."""
    after, _ = hear(registered(vevent("LOCATION:Room 4")), one)
    found = after.proposals[1]
    start, end = (moment.iso if moment else None for moment in (found.proposed.start, found.proposed.end))
    assert (start, end, found.proposed.location, [one.address for one in found.added]) == expected


def test_who_was_taken_off_may_be_proposed_anew() -> None:
    """RFC 5546 §3.2.7: a COUNTER may propose attendees, one who is no guest any more among them: asked anew."""
    meeting, _ = put(single(), vevent(guests=(ANN,)))
    meeting, _ = hear(meeting, counter(ANN, others=[line(BOB, None)], sequence=1))
    (proposal,) = meeting.proposals.values()
    assert [one.address for one in proposal.added] == [BOB]
    decision = accept(meeting, proposal, at(2))
    assert (sent(decision), standing(apply(meeting, decision))[BOB]) == ([("REQUEST", BOB, "", 1)], "NEEDS-ACTION")


def test_the_time_of_an_instance_is_what_its_counter_is_compared_with() -> None:
    """A COUNTER to 8 December that keeps its time is none of time, though the series begins on the 1st."""
    after, _ = hear(series(), counter(ANN, "20261208T090000Z", "20261208T100000Z", rid=DEC_8, location="Garden"))
    assert proposals(after) == [(ANN, DEC_8, None, "Garden", "open")]


def test_a_later_answer_retires_a_proposal() -> None:
    """rules.md §6.4: a later REPLY or COUNTER of the same attendee on the same R; of others, or another R, not."""
    first = counter(ANN, "20261203T090000Z")
    meeting, _ = hear(series(), first, counter(BOB, "20261204T090000Z"), reply(ANN, rid=DEC_8, minute=2))
    assert [state for *_, state in proposals(meeting)] == ["open", "open"]
    replied, _ = hear(meeting, reply(ANN, minute=2))
    assert [state for *_, state in proposals(replied)] == ["retired", "open"]
    again, _ = hear(meeting, counter(ANN, "20261205T090000Z", minute=2))
    assert [state for *_, state in proposals(again)] == ["retired", "open", "open"]


def test_the_same_counter_again_is_a_duplicate() -> None:
    """rules.md §3: same revision, same proposal; another end or place at the same revision is another proposal."""
    meeting, _ = hear(single(), counter(ANN, "20261203T090000Z"))
    assert words(hear(meeting, counter(ANN, "20261203T090000Z"))[1]) == "no_action/duplicate"
    for other in (
        counter(ANN, "20261203T090000Z", location="Garden"),
        counter(ANN, "20261203T090000Z", "20261203T120000Z"),
    ):
        assert words(hear(meeting, other, evidence=sender(ANN, date=at(61)))[1]) == "updated/proposal"


def test_declining_by_policy_answers_at_once() -> None:
    """rules.md §6.2: policy `counter` = decline: DECLINECOUNTER with the SEQUENCE of R."""
    meeting, _ = put(series(), vevent(WEEKLY), override(8, hour=15))
    one = counter(ANN, "20261208T160000Z", rid=DEC_8, sequence=1)
    after, decision = hear(meeting, one, policy=Policy(counter="decline"))
    assert (sent(decision), proposals(after)[0][-1]) == ([("DECLINECOUNTER", ANN, DEC_8, 1)], "declined")


def test_a_strangers_counter_that_is_let_in_is_kept() -> None:
    """rules.md §3, §6.1: the policy for party crashers decides; then they are a guest with a proposal."""
    after, decision = hear(single(), counter(EVE, "20261203T090000Z"), policy=ADDED)
    assert (words(decision), sent(decision)) == ("added/party_crasher", [("REQUEST", EVE, "", 0)])
    assert (standing(after)[EVE], proposals(after)[0][0]) == ("TENTATIVE", EVE)


MOVED = "DTSTART;TZID=Europe/Berlin:20261202T100000"


@pytest.mark.parametrize(
    ("proposed", "now", "state"),
    [
        (counter(ANN, "20261202T090000Z"), vevent(start=MOVED), "accepted"),
        (counter(ANN, "20261202T090000Z"), vevent(start=MOVED, end="DURATION:PT2H"), "accepted"),
        (counter(ANN, "20261202T090000Z", "20261202T100000Z"), vevent(start=MOVED, end="DURATION:PT2H"), "open"),
        (counter(ANN, "20261202T090000Z", location="Garden"), vevent(start=MOVED), "open"),
        (counter(ANN, location="Garden"), vevent("LOCATION:Garden"), "accepted"),
        (counter(ANN, others=[line(EVE, None)]), vevent(guests=(ANN, EVE)), "accepted"),
        (counter(ANN, others=[line(EVE, None)]), vevent("LOCATION:Garden"), "open"),
        (counter(ANN, comment="Not so early, please"), vevent("LOCATION:Garden"), "open"),
    ],
    ids="the_start its_length another_end place_missing the_place the_guest guest_missing words_alone".split(),
)
def test_the_organizer_does_what_was_proposed(proposed: Message, now: str, state: str) -> None:
    """RFC 5546 §4.2.4: a new version that has all of a proposal accepts it; words alone are for a person to read."""
    meeting, _ = hear(single(), proposed)
    after, _ = put(meeting, now)
    assert proposals(after)[0][-1] == state
