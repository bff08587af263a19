"""Delegation: who stands in for whom, and what becomes of it (rules.md §5; RFC 5546 §3.2.2.3)."""

from __future__ import annotations

from typing import Any

import pytest

from itipd.itip import attendance, render
from itipd.itip.model import Meeting, Message, Policy, Send
from tests.itip_samples import (
    ANN,
    BOB,
    DAN,
    DEC_8,
    DEC_15,
    EVE,
    NOW,
    POLICY,
    WE,
    WEEKLY,
    hear,
    line,
    message,
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

REFUSED = Policy(party_crasher="no_action")


def without_bob() -> Meeting:
    """A series that Bob was taken off."""
    return put(series(), vevent(WEEKLY, guests=(ANN,)))[0]


def moved() -> Meeting:
    """A single meeting that was moved: everybody's reset sequence is 1."""
    return put(single(), vevent(start="DTSTART;TZID=Europe/Berlin:20261201T140000"), now=NOW)[0]


def delegates(*addresses: str, by: str = ANN, **more: Any) -> Message:
    """`by` delegates."""
    lines = [line(address, "NEEDS-ACTION", delegated_from=by, cn=f"Called {address[:3]}") for address in addresses]
    return message(line(by, "DELEGATED", delegated_to=addresses), *lines, **more)


def for_ann(address: str = DAN, partstat: str = "ACCEPTED", **more: Any) -> Message:
    """An answer of Ann's delegate."""
    return message(line(address, partstat, delegated_from=ANN), **more)


def test_a_delegate_is_added_and_asked() -> None:
    """RFC 5546 §3.2.2.3: A is DELEGATED, D is there with DELEGATED-FROM=A, in A's role; SEQUENCE is not bumped."""
    meeting = registered(vevent(guests=(f"ATTENDEE;ROLE=OPT-PARTICIPANT:mailto:{ANN}", BOB)))
    after, decision = hear(meeting, delegates(DAN))
    ann, dan = after.attendees["", ANN], after.attendees["", DAN]
    assert (words(decision), sent(decision)) == ("updated/replied", [("REQUEST", DAN, "", 0)])
    assert (ann.partstat, ann.delegated_to, dan.partstat, dan.delegated_from) == (
        "DELEGATED",
        (DAN,),
        "NEEDS-ACTION",
        (ANN,),
    )
    assert (dan.params, dan.rsvp, dan.listed) == ({"ROLE": ("OPT-PARTICIPANT",), "CN": ("Called dan",)}, True, False)


def test_a_delegate_for_one_instance_is_a_guest_there_alone() -> None:
    """rules.md §5 per R: the series does not know D."""
    meeting, decision = hear(series(), delegates(DAN, rid=DEC_8))
    assert sent(decision) == [("REQUEST", DAN, DEC_8, 0)]
    assert (standing(meeting, DEC_8)[DAN], DAN in standing(meeting)) == ("NEEDS-ACTION", False)
    assert words(hear(meeting, for_ann(rid=DEC_8, minute=2))[1]) == "updated/replied"
    assert words(hear(meeting, reply(DAN, minute=2))[1]) == "held/party_crasher"


def test_a_guest_who_is_delegated_to_keeps_their_answer() -> None:
    """rules.md §5: NEEDS-ACTION, unless D answered first; for one instance what D said of the series is that."""
    meeting, _ = hear(series(), reply(BOB), delegates(BOB, rid=DEC_8, minute=2))
    assert standing(meeting, DEC_8) == {ANN: "DELEGATED", BOB: "ACCEPTED"}
    meeting, _ = hear(single(), reply(BOB), delegates(BOB, minute=2))
    assert (standing(meeting), meeting.attendees["", BOB].delegated_from) == (
        {ANN: "DELEGATED", BOB: "ACCEPTED"},
        (ANN,),
    )


REFUSED_DELEGATIONS: dict[str, tuple[list[Message], Policy]] = {
    "forbidden": ([delegates(DAN)], Policy(delegation="forbid")),
    "the delegate's answer, forbidden": ([for_ann()], Policy(delegation="forbid")),
    "to oneself": ([delegates(ANN)], POLICY),
    "to the organizer": ([delegates(WE)], POLICY),
    "back": ([delegates(DAN), delegates(ANN, by=DAN, minute=2)], POLICY),
    "to too many": ([delegates(*(f"d{number}@example.org" for number in range(5)))], POLICY),
    "too deep": (
        [
            delegates(f"d{number}@example.org", by=f"d{number - 1}@example.org" if number else ANN, minute=number)
            for number in range(6)
        ],
        POLICY,
    ),
}


@pytest.mark.parametrize(("messages", "policy"), REFUSED_DELEGATIONS.values(), ids=REFUSED_DELEGATIONS.keys())
def test_a_delegation_is_refused(messages: list[Message], policy: Policy) -> None:
    """rules.md §5: policy may forbid it; loops, chains too deep, and floods are refused and change nothing."""
    meeting = single()
    for one in messages[:-1]:
        meeting, _ = hear(meeting, one, policy=policy)
    after, decision = hear(meeting, messages[-1], policy=policy)
    assert (words(decision), decision.sends, after) == ("no_action/delegation_refused", (), meeting)


def test_delegations_of_different_instances_are_no_loop() -> None:
    """A to B on 8 December, B to A on 15 December: each is a delegation of its own."""
    meeting, _ = hear(series(), delegates(BOB, rid=DEC_8))
    assert words(hear(meeting, delegates(ANN, by=BOB, rid=DEC_15))[1]) == "updated/replied"
    assert words(hear(meeting, delegates(ANN, by=BOB, rid=DEC_8))[1]) == "no_action/delegation_refused"


def test_a_stranger_who_delegates_to_a_guest_is_a_stranger() -> None:
    """rules.md §5: a DELEGATED-FROM of somebody who is no attendee is a party crasher."""
    assert words(hear(single(), message(line(DAN, delegated_from=EVE)))[1]) == "held/party_crasher"
    assert words(hear(without_bob(), message(line(DAN, delegated_from=BOB)))[1]) == "held/party_crasher"


def test_a_delegates_first_answer_can_be_stale() -> None:
    """rules.md §3: for whom the delegator stands in, their reset counts; nobody is sent anything: A is asked again."""
    meeting = moved()
    after, decision = hear(meeting, for_ann(sequence=0))
    assert (words(decision), decision.sends, after) == ("no_action/stale_sequence", (), meeting)
    assert words(hear(meeting, for_ann(sequence=1))[1]) == "updated/replied"


def test_a_delegate_who_answers_first_is_not_lost() -> None:
    """RFC 5546 §3.2.2.3: D's answer stands when A's delegation arrives; A shows what A said until then."""
    meeting, decision = hear(single(), for_ann())
    assert (words(decision), standing(meeting)) == (
        "updated/replied",
        {ANN: "NEEDS-ACTION", BOB: "NEEDS-ACTION", DAN: "ACCEPTED"},
    )
    meeting, _ = hear(meeting, delegates(DAN, minute=2))
    assert standing(meeting) == {ANN: "DELEGATED", BOB: "NEEDS-ACTION", DAN: "ACCEPTED"}


def test_who_was_refused_becomes_a_guest_by_delegation() -> None:
    """A party crasher who was sent CANCEL, then stands in for a guest: invited as any delegate."""
    meeting, _ = hear(single(), reply(EVE), policy=REFUSED, evidence=sender(EVE, automatic=True))
    assert meeting.attendees["", EVE].removed
    for after in (hear(meeting, delegates(EVE, minute=2))[0], hear(meeting, for_ann(EVE, minute=2))[0]):
        row = after.attendees["", EVE]
        assert (row.removed, row.invited, row.delegated_from) == (False, True, (ANN,))


def test_a_delegate_who_was_taken_off_is_asked_anew() -> None:
    """Bob, taken off by the organizer, stands in for Ann: his old answer counts no more."""
    meeting, _ = put(hear(single(), reply(BOB))[0], vevent(guests=(ANN,)))
    meeting, _ = hear(meeting, delegates(BOB, sequence=0, minute=9))
    assert standing(meeting) == {ANN: "DELEGATED", BOB: "NEEDS-ACTION"}


TAKEN_BACK: dict[str, tuple[list[Message], dict[str, str], list[tuple[str, str, str, int]]]] = {
    "before the delegate answers": (
        [delegates(DAN), reply(ANN, minute=5)],
        {ANN: "ACCEPTED", BOB: "NEEDS-ACTION"},
        [("CANCEL", DAN, "", 0)],
    ),
    "after the delegate answered": (
        [delegates(DAN), for_ann(minute=2), reply(ANN, minute=5)],
        {ANN: "ACCEPTED", BOB: "NEEDS-ACTION", DAN: "ACCEPTED"},
        [],
    ),
    "for another": (
        [delegates(DAN), delegates(EVE, minute=5)],
        {ANN: "DELEGATED", BOB: "NEEDS-ACTION", EVE: "NEEDS-ACTION"},
        [("CANCEL", DAN, "", 0), ("REQUEST", EVE, "", 0)],
    ),
    "from a guest": ([delegates(BOB), reply(ANN, minute=5)], {ANN: "ACCEPTED", BOB: "NEEDS-ACTION"}, []),
    "from one who stands in for another, too": (
        [delegates(DAN), delegates(DAN, by=BOB), reply(ANN, minute=5)],
        {ANN: "ACCEPTED", BOB: "DELEGATED", DAN: "NEEDS-ACTION"},
        [],
    ),
}


@pytest.mark.parametrize(("messages", "people", "mails"), TAKEN_BACK.values(), ids=TAKEN_BACK.keys())
def test_a_delegation_is_taken_back(
    messages: list[Message], people: dict[str, str], mails: list[tuple[str, str, str, int]]
) -> None:
    """A delegate is there while somebody delegates to them, or once they have answered; else they are told."""
    meeting, decision = hear(single(), *messages)
    assert (standing(meeting), sent(decision)) == (people, mails)


def test_a_delegation_of_an_instance_that_is_taken_back_leaves_the_series() -> None:
    """Bob is a guest of the series: no CANCEL; Dan was one of that day alone: CANCEL for that day."""
    meeting, decision = hear(series(), delegates(BOB, DAN, rid=DEC_8), reply(ANN, rid=DEC_8, minute=5))
    assert (standing(meeting, DEC_8), sent(decision)) == (
        {ANN: "ACCEPTED", BOB: "NEEDS-ACTION"},
        [("CANCEL", DAN, DEC_8, 0)],
    )


def test_a_delegation_of_before_our_time_is_taken_back_without_harm() -> None:
    """The rows of a delegate need not be loaded, nor know of the delegation."""
    meeting = registered(vevent(guests=(f'ATTENDEE;PARTSTAT=DELEGATED;DELEGATED-TO="mailto:{DAN}":mailto:{ANN}', BOB)))
    after, decision = hear(meeting, reply(ANN))
    assert (standing(after), decision.sends) == ({ANN: "ACCEPTED", BOB: "NEEDS-ACTION"}, ())


def test_a_delegate_who_declines_is_told_to_the_delegator_once() -> None:
    """RFC 5546 §4.2.5, a MUST: REQUEST to the delegator, SEQUENCE unchanged, who is DELEGATED until they answer."""
    meeting, _ = hear(single(), delegates(DAN))
    after, decision = hear(meeting, for_ann(partstat="DECLINED", minute=2))
    assert (sent(decision), standing(after)[ANN]) == ([("REQUEST", ANN, "", 0)], "DELEGATED")
    assert hear(after, for_ann(partstat="DECLINED", minute=3))[1].sends == ()
    off, _ = put(after, vevent(guests=(BOB,)))
    assert hear(off, for_ann(partstat="ACCEPTED", minute=4), for_ann(partstat="DECLINED", minute=5))[1].sends == ()


def test_a_delegator_is_told_whoever_is_heard_first() -> None:
    """RFC 5546 §4.2.5: D's refusal may arrive before A's delegation; A is told then, too, and by a mail about R."""
    first, decision = hear(series(), for_ann(partstat="DECLINED", rid=DEC_8, minute=2))
    assert sent(decision) == [("REQUEST", ANN, DEC_8, 0)]
    both, decision = hear(first, delegates(DAN, rid=DEC_8))
    assert sent(decision) == [("REQUEST", ANN, DEC_8, 0), ("REQUEST", DAN, DEC_8, 0)]
    assert standing(both, DEC_8) == {ANN: "DELEGATED", BOB: "NEEDS-ACTION", DAN: "DECLINED"}


def test_who_comes_instead_of_the_delegate_is_not_asked() -> None:
    """Ann, who has said that she comes herself, delegates no more: what her delegate says concerns the organizer."""
    meeting, _ = hear(single(), delegates(DAN), for_ann(minute=2), reply(ANN, minute=3))
    assert hear(meeting, for_ann(partstat="DECLINED", minute=4))[1].sends == ()


def asked(meeting: Meeting, rid: str = "") -> list[str]:
    """Who is shown with RSVP=TRUE in the status and in the REQUEST for R; both say the same."""
    status = attendance.status(meeting)
    people = status["attendees"] if not rid else status["instances"][0]["attendees"]
    found = [row["address"] for row in people if row["rsvp"]]
    text = render.calendar(meeting, Send("REQUEST", (ANN,), rid, 0, ""), NOW).replace("\r\n ", "")
    lines = [one for one in text.split("\r\n") if one.startswith("ATTENDEE") and "RSVP=TRUE" in one]
    assert [one.rpartition("mailto:")[2] for one in lines] == found
    return found


@pytest.mark.parametrize("rid", ["", DEC_8])
def test_a_delegator_is_asked_again_once_no_delegate_comes(rid: str) -> None:
    """RFC 5546 §4.2.7: RSVP=TRUE to the delegator while none of the delegates comes; nobody's answer is touched."""
    meeting, _ = hear(series(), delegates(DAN, EVE, rid=rid), reply(BOB, rid=rid))
    assert asked(meeting, rid) == [DAN, EVE]
    one, _ = hear(meeting, for_ann(partstat="DECLINED", rid=rid, minute=2))
    assert asked(one, rid) == [EVE]
    both, _ = hear(one, for_ann(EVE, "DECLINED", rid=rid, minute=2))
    assert (asked(both, rid), standing(both, rid)[ANN]) == ([ANN], "DELEGATED")
    back, _ = hear(both, for_ann(EVE, "TENTATIVE", rid=rid, minute=3))
    assert asked(back, rid) == []


def test_a_delegation_that_is_said_again_leaves_the_delegate() -> None:
    """A newer REPLY with the same DELEGATED-TO: D keeps what D said."""
    meeting, decision = hear(single(), delegates(DAN), for_ann(minute=2), delegates(DAN, minute=3))
    assert (words(decision), standing(meeting)[DAN]) == ("updated/replied", "ACCEPTED")
