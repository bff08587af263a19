"""The application's own mail at the submission door: REQUEST, ADD, CANCEL (interface.md; RFC 5546 §3.2.2, §3.2.4-5)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from itipd.itip.model import Decision, Meeting
from itipd.itip.submitted import submitted
from tests.itip_samples import (
    ANN,
    BOB,
    CAT,
    DEC_8,
    DEC_15,
    DEC_22,
    NOW,
    POLICY,
    WE,
    WEEKLY,
    apply,
    at,
    hear,
    instances,
    override,
    read_put,
    registered,
    reply,
    sent,
    series,
    single,
    standing,
    vevent,
    words,
)


def submit(
    meeting: Meeting | None, method: str, *texts: str, now: datetime = NOW, **more: Any
) -> tuple[Meeting, Decision]:
    """The meeting after such a mail."""
    decision = submitted(meeting, read_put(*texts, method=method), POLICY, now, **more)
    return apply(meeting, decision), decision


def test_a_request_registers_and_changes() -> None:
    """interface.md: `added`, then `updated`, at the application's own SEQUENCE; nothing is sent again."""
    meeting, first = submit(None, "REQUEST", vevent())
    after, second = submit(meeting, "REQUEST", vevent(sequence=3, start="DTSTART:20261202T090000Z"))
    assert (words(first), words(second), after.sequence) == ("added/registered", "updated/significant_change", 3)
    assert (first.sends, second.sends) == ((), ())


@pytest.mark.parametrize("method", ["REPLY", "COUNTER", "REFRESH", "DECLINECOUNTER"])
def test_what_an_application_does_not_register(method: str) -> None:
    """interface.md: only REQUEST, ADD and CANCEL (and a PUBLISH) are the organizer's word about a meeting."""
    meeting = single()
    after, decision = submit(meeting, method, vevent())
    assert (words(decision), after) == ("no_action/not_for_organizer", meeting)


def test_requests_of_one_revision_add_up() -> None:
    """An application may mail each guest a REQUEST that lists only them: nobody is removed, no override is dropped."""
    meeting, _ = submit(None, "REQUEST", vevent(WEEKLY, guests=(ANN,)), override(8, guests=(ANN,)))
    meeting, _ = submit(meeting, "REQUEST", vevent(WEEKLY, guests=(BOB,)), override(8, guests=(BOB,)))
    meeting, _ = submit(meeting, "REQUEST", vevent(WEEKLY, guests=(CAT,)))
    assert (set(standing(meeting)), set(standing(meeting, DEC_8))) == ({ANN, BOB, CAT}, {ANN, BOB})
    newer, _ = submit(meeting, "REQUEST", vevent(WEEKLY, guests=(ANN,), sequence=1))
    assert (set(standing(newer)), instances(newer)) == ({ANN}, [])


CANCELLED: dict[str, tuple[Meeting | None, list[str], str, str | None]] = {
    "the meeting": (series(), [vevent("STATUS:CANCELLED", sequence=2)], "cancelled/cancelled", ""),
    "without STATUS, for everybody": (series(), [vevent(sequence=2)], "cancelled/cancelled", ""),
    "without STATUS and names": (series(), [vevent(sequence=2, guests=())], "cancelled/cancelled", ""),
    "one instance": (series(), [override(8, "STATUS:CANCELLED")], "cancelled/cancelled", DEC_8),
    "one instance by its date": (
        series(),
        [vevent("RECURRENCE-ID;VALUE=DATE:20261208", "STATUS:CANCELLED")],
        "cancelled/cancelled",
        DEC_8,
    ),
    "two instances": (
        series(),
        [override(8, "STATUS:CANCELLED"), override(15, "STATUS:CANCELLED")],
        "cancelled/cancelled",
        "",
    ),
    "no instance": (series(), [override(9, "STATUS:CANCELLED")], "error/not_found", None),
    "what is not registered": (None, [vevent("STATUS:CANCELLED")], "error/not_found", None),
}


@pytest.mark.parametrize(("meeting", "texts", "expected", "rid"), CANCELLED.values(), ids=CANCELLED.keys())
def test_a_cancel_cancels(meeting: Meeting | None, texts: list[str], expected: str, rid: str | None) -> None:
    """RFC 5546 §3.2.5: the whole without RECURRENCE-ID, else those instances; the application has sent it itself."""
    decision = submitted(meeting, read_put(*texts, method="CANCEL"), POLICY, NOW)
    assert (words(decision), decision.rid, decision.sends) == (expected, rid, ())


def test_a_cancel_for_one_guest_takes_them_off() -> None:
    """RFC 5546 §3.2.5: no STATUS, and only some are named: uninvited; at the application's own SEQUENCE, each time."""
    meeting = series(guests=(ANN, BOB, CAT, f"ATTENDEE:mailto:{WE}"))
    meeting, first = submit(meeting, "CANCEL", vevent(guests=(BOB,), sequence=1))
    meeting, second = submit(meeting, "CANCEL", vevent(guests=(CAT,), sequence=1))
    assert [words(one) for one in (first, second)] == ["updated/minor_change"] * 2
    assert (set(standing(meeting)), meeting.sequence) == ({ANN, WE}, 1)
    # Its next version is therefore none that is older than ours.
    _, decision = submit(meeting, "REQUEST", vevent(WEEKLY, guests=(ANN,), sequence=1, summary="Other"))
    assert words(decision) == "updated/minor_change"
    _, last = submit(meeting, "CANCEL", vevent(guests=(ANN,), sequence=2))
    assert words(last) == "cancelled/cancelled"


def test_a_cancel_for_one_guest_of_some_days() -> None:
    """RFC 5546 §3.2.5: with RECURRENCE-ID: off those days only."""
    meeting, decision = submit(series(), "CANCEL", override(8, guests=(BOB,)), override(15, guests=(BOB,)))
    assert words(decision) == "updated/minor_change"
    assert words(hear(meeting, reply(BOB, rid=DEC_15))[1]) == "no_action/uninvited"
    assert words(hear(meeting, reply(BOB, rid=DEC_22))[1]) == "updated/replied"


def test_a_cancel_of_this_and_all_that_follow() -> None:
    """RFC 5546 §3.2.5 a: RANGE=THISANDFUTURE."""
    text = override(15, "STATUS:CANCELLED").replace("RECURRENCE-ID;", "RECURRENCE-ID;RANGE=THISANDFUTURE;")
    meeting, decision = submit(series(), "CANCEL", text)
    assert (words(decision), decision.sends) == ("cancelled/cancelled", ())
    found = [words(hear(meeting, reply(ANN, rid=rid))[1]) for rid in (DEC_8, DEC_15, DEC_22)]
    assert found == ["updated/replied", "no_action/cancelled", "no_action/cancelled"]


def test_what_is_forwarded_is_sent_by_us() -> None:
    """interface.md: `submission.forward`: our own SEQUENCE and mails."""
    _, whole = submit(series(), "CANCEL", vevent("STATUS:CANCELLED"), recorded=False)
    assert sent(whole) == [("CANCEL", ANN, "", 1), ("CANCEL", BOB, "", 1)]
    _, added = submit(series(), "ADD", vevent(start="DTSTART:20261210T090000Z"), recorded=False)
    assert sent(added) == [("REQUEST", ANN, "20261210T090000Z", 1), ("REQUEST", BOB, "20261210T090000Z", 1)]


def test_add_is_one_instance_more() -> None:
    """RFC 5546 §3.2.4: as if it were an RDATE of the series; only it is asked about; the series stays what it is."""
    meeting, _ = hear(series(guests=(f"ATTENDEE;PARTSTAT=ACCEPTED:mailto:{WE}", ANN, BOB)), reply(ANN))
    zone = "DTSTART;TZID=Asia/Tokyo:20261210T180000"
    text = vevent(start=zone, summary="Extra", guests=(), sequence=4)
    after, decision = submit(meeting, "ADD", text, now=at(90))
    rid = "20261210T090000Z"
    assert (words(decision), decision.rid, after.sequence) == ("updated/significant_change", rid, 4)
    assert (after.events[""].start, after.events[""].rrules) == (meeting.events[""].start, meeting.events[""].rrules)
    assert "RDATE;TZID=Asia/Tokyo:20261210T180000\n" in after.events[""].lines
    assert "RECURRENCE-ID;TZID=Asia/Tokyo:20261210T180000\n" in after.events[rid].lines
    assert (standing(after)[ANN], standing(after, rid)) == (
        "ACCEPTED",
        {WE: "ACCEPTED", ANN: "NEEDS-ACTION", BOB: "NEEDS-ACTION"},
    )
    after, _ = hear(after, reply(BOB, rid=rid, sequence=4))
    again, second = submit(after, "ADD", text, now=at(120))
    assert (words(second), again) == ("no_action/unchanged", after)


@pytest.mark.parametrize(
    ("meeting", "text", "expected"),
    [
        (None, vevent(), "error/not_found"),
        (registered(override(8)), vevent(), "error/not_found"),
        (series(), override(8), "error/malformed"),
        (series(kind="VTODO"), vevent(kind="VTODO", start="DUE:20261210T090000Z", end=""), "error/malformed"),
        (submit(series(), "CANCEL", vevent("STATUS:CANCELLED"))[0], vevent(), "no_action/cancelled"),
    ],
    ids=["nothing", "no series", "an instance of it", "without a time", "it is cancelled"],
)
def test_nothing_to_add_to(meeting: Meeting | None, text: str, expected: str) -> None:
    """RFC 5546 §3.2.4: there must be a series, and the component has no RECURRENCE-ID."""
    decision = submitted(meeting, read_put(text, method="ADD"), POLICY, NOW)
    assert (words(decision), decision.writes) == (expected, ())
