"""Who is coming: the shape of `itipd status UID --json` (interface.md)."""

from __future__ import annotations

from typing import Any

import pytest

from itipd.itip import attendance
from itipd.itip.model import Meeting, Policy
from tests.itip_samples import (
    ANN,
    BOB,
    CAT,
    DAN,
    DEC_8,
    DEC_15,
    DEC_22,
    EVE,
    UID,
    WE,
    WEEKLY,
    counter,
    hear,
    line,
    message,
    override,
    put,
    registered,
    reply,
    series,
    single,
    vevent,
)


def test_the_whole_shape() -> None:
    """interface.md: every key, also where there is nothing."""
    meeting, _ = hear(single(sequence=1, end="LOCATION:Room 4"), reply(ANN, sequence=1, comment="Late"))
    found = attendance.status(meeting)
    assert found == {
        "uid": UID,
        "organizer": WE,
        "summary": "Team meeting",
        "status": "CONFIRMED",
        "sequence": 1,
        "start": "2026-12-01T10:00:00+01:00",
        "end": "2026-12-01T10:00:00+01:00",
        "rrule": None,
        "counts": {"ACCEPTED": 1, "DECLINED": 0, "TENTATIVE": 0, "DELEGATED": 0, "NEEDS-ACTION": 1},
        "attendees": found["attendees"],
        "instances": [],
        "proposals": [],
    }
    assert found["attendees"][0] == {
        "address": ANN,
        "name": None,
        "role": "REQ-PARTICIPANT",
        "cutype": "INDIVIDUAL",
        "rsvp": False,
        "partstat": "ACCEPTED",
        "delegated_to": [],
        "delegated_from": [],
        "sent_by": None,
        "invited": True,
        "sequence": 1,
        "dtstamp": "2026-11-20T08:01:05+00:00",
        "replied_at": "2026-11-20T09:00:05+00:00",
        "comment": "Late",
        "schedule_status": "2.0",
    }


def test_the_organizers_words_about_an_attendee() -> None:
    """interface.md: name, role and cutype of the organizer's text; a word that is no event's counts as asked."""
    written = f"ATTENDEE;CN=Room;CUTYPE=room;ROLE=opt-participant;PARTSTAT=IN-PROCESS:mailto:{CAT}"
    found = attendance.status(registered(vevent(guests=(written, f"ATTENDEE:mailto:{WE}"))))
    room, organizer = found["attendees"]
    assert (room["name"], room["cutype"], room["role"]) == ("Room", "ROOM", "OPT-PARTICIPANT")
    assert organizer["address"] == WE
    assert found["counts"]["NEEDS-ACTION"] == 2


def test_a_to_do_counts_its_own_words() -> None:
    """interface.md: COMPLETED and IN-PROCESS for to-dos, and how far each is."""
    meeting = registered(vevent(kind="VTODO", start="DUE:20261210T090000Z", end=""))
    done = reply(BOB, "COMPLETED", completed=meeting.events[""].dtstamp)
    meeting, _ = hear(meeting, reply(ANN, "IN-PROCESS", percent_complete=40), done)
    found = attendance.status(meeting)
    assert (found["counts"]["IN-PROCESS"], found["counts"]["COMPLETED"]) == (1, 1)
    assert (found["attendees"][0]["percent_complete"], found["attendees"][1]["completed"]) == (
        40,
        "2026-11-17T09:00:00+00:00",
    )
    assert (found["start"], found["end"]) == (None, "2026-12-10T09:00:00+00:00")


def test_guests_that_somebody_brings() -> None:
    """notes/clients.md: X-NUM-GUESTS, only where there are any."""
    two, none = {"X-NUM-GUESTS": ("2",)}, {"X-NUM-GUESTS": ("0",)}
    meeting, _ = hear(single(), reply(ANN, params=two), reply(BOB, params=none))
    ann, bob = attendance.status(meeting)["attendees"]
    assert (ann["guests"], "guests" in bob) == (2, False)


def test_who_was_let_in_and_who_stands_in_come_last() -> None:
    """interface.md: `attendees` lists everybody, those that no file lists behind, in an order of their own."""
    delegation = message(line(ANN, "DELEGATED", delegated_to=DAN), line(DAN, None))
    meeting, _ = hear(single(), reply(EVE), delegation, policy=Policy(party_crasher="added", sender="any"))
    found = attendance.status(meeting)["attendees"]
    assert [(one["address"], one["invited"]) for one in found] == [(ANN, True), (BOB, True), (DAN, True), (EVE, False)]
    assert (found[0]["delegated_to"], found[2]["delegated_from"]) == ([DAN], [ANN])


def test_instances_are_overrides_and_what_was_answered() -> None:
    """interface.md: each with all attendees in effect there, in order of time."""
    meeting, _ = hear(series(override(15, hour=15, sequence=2)), reply(ANN), reply(BOB, "DECLINED", rid=DEC_8))
    eighth, fifteenth = attendance.status(meeting)["instances"]
    words = [{one["address"]: one["partstat"] for one in day["attendees"]} for day in (eighth, fifteenth)]
    assert words == [{ANN: "ACCEPTED", BOB: "DECLINED"}, {ANN: "NEEDS-ACTION", BOB: "NEEDS-ACTION"}]
    keys = ("recurrence_id", "status", "sequence", "start", "end")
    assert [[day[key] for key in keys] for day in (eighth, fifteenth)] == [
        [DEC_8, "CONFIRMED", 0, "2026-12-08T10:00:00+01:00", "2026-12-08T11:00:00+01:00"],
        [DEC_15, "CONFIRMED", 2, "2026-12-15T15:00:00+01:00", "2026-12-15T16:00:00+01:00"],
    ]


def test_a_cancelled_instance_says_so() -> None:
    """interface.md: its status; the series goes on."""
    meeting, _ = put(series(), vevent(WEEKLY), override(8, "STATUS:CANCELLED"))
    found = attendance.status(meeting)
    assert (found["status"], found["instances"][0]["status"]) == ("CONFIRMED", "CANCELLED")


def test_an_invitation_to_some_instances() -> None:
    """interface.md: overrides without their series: `attendees` empty, `start`, `end`, `sequence` null."""
    found = attendance.status(registered(override(15, summary="Later one"), override(8, summary="First")))
    assert (found["summary"], found["start"], found["end"], found["sequence"], found["attendees"]) == (
        "First",
        None,
        None,
        None,
        [],
    )
    assert [day["recurrence_id"] for day in found["instances"]] == [DEC_8, DEC_15]


def test_a_meeting_of_nothing() -> None:
    """A part of a meeting without any component still has the shape."""
    found = attendance.status(Meeting(WE, UID))
    assert (found["summary"], found["start"], found["instances"]) == ("", None, [])
    assert attendance.first(Meeting(WE, UID)) is None


@pytest.mark.parametrize(
    ("meeting", "rid", "expected"),
    [
        (series(), DEC_8, ("2026-12-08T10:00:00+01:00", 0)),
        (registered(override(15)), DEC_8, ("2026-12-08T09:00:00+00:00", 0)),
        (
            registered(vevent(kind="VTODO", start="DUE:20261210T090000Z", end="")),
            DEC_8,
            ("2026-12-08T09:00:00+00:00", 0),
        ),
    ],
    ids=["of the series", "without a series", "of what has no time"],
)
def test_when_an_instance_without_an_override_is(meeting: Meeting, rid: str, expected: tuple[str, int]) -> None:
    """rules.md §4.2: as the series has it; of one that is no more, what it was for."""
    start, _, sequence = attendance.times(meeting, rid)
    assert (start and start.iso, sequence) == expected


def test_proposals() -> None:
    """interface.md: what was proposed and what became of it; `added` only where it would invite somebody."""
    one = counter(ANN, "20261208T120000Z", "20261208T130000Z", rid=DEC_8, location="Garden", comment="Later?")
    more = counter(BOB, "20261222T090000Z", rid=DEC_22, others=(line(EVE, None),))
    meeting, _ = hear(series(), one, more)
    first, second = attendance.status(meeting)["proposals"]
    assert first == {
        "id": 1,
        "attendee": ANN,
        "recurrence_id": DEC_8,
        "start": "2026-12-08T12:00:00+00:00",
        "end": "2026-12-08T13:00:00+00:00",
        "location": "Garden",
        "comment": "Later?",
        "state": "open",
    }
    wanted: dict[str, Any] = {"start": None, "end": None, "added": [EVE], "recurrence_id": DEC_22}
    assert {key: second[key] for key in wanted} == wanted
