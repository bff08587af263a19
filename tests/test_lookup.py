"""Which instance a message means, and how an attendee stands there (rules.md §4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from itipd.itip import lookup
from itipd.itip.model import Meeting, Moment
from tests.itip_samples import (
    ANN,
    BOB,
    CAT,
    DEC_1,
    DEC_8,
    DEC_15,
    WEEKLY,
    hear,
    override,
    put,
    registered,
    reply,
    rid_of,
    series,
    single,
    vevent,
)

ALL_DAY = {"start": "DTSTART;VALUE=DATE:20261201", "end": ""}
FLOATING = {"start": "DTSTART:20261201T100000"}


def overrides_only() -> Meeting:
    """An invitation to two days of a series."""
    return registered(override(8), override(15, hour=15))


def at_midnight() -> Meeting:
    """An invitation to one night, which begins at midnight in Berlin: the day before in UTC."""
    rid = "RECURRENCE-ID;TZID=Europe/Berlin:20261209T000000"
    return registered(vevent(rid, start="DTSTART;TZID=Europe/Berlin:20261209T000000"))


def todo() -> Meeting:
    """A to-do that is only due."""
    return registered(vevent(kind="VTODO", start="DUE:20261210T090000Z", end=""))


LOCATED: dict[str, tuple[Callable[[], Meeting], str, str | None]] = {
    "the series": (series, "", ""),
    "an instance": (series, DEC_8, DEC_8),
    "an instance by its date": (series, "20261208", DEC_8),
    "an instance on the wall clock of the series": (series, "20261208T100000", DEC_8),
    "none": (series, "20261209T090000Z", None),
    "the only instance of a single event": (single, DEC_1, ""),
    "another day of a single event": (single, DEC_8, None),
    "an override": (lambda: series(override(8)), DEC_8, DEC_8),
    "an override by its date": (lambda: series(override(8)), "20261208", DEC_8),
    "an all-day instance": (lambda: series(**ALL_DAY), "20261208", "20261208"),
    "a floating instance": (lambda: series(**FLOATING), "20261208T100000", "20261208T100000"),
    "without the series, an override": (overrides_only, DEC_8, DEC_8),
    "without the series, by its date": (overrides_only, "20261208", DEC_8),
    "without the series, by T000000": (overrides_only, "20261215T000000", DEC_15),
    "without the series, on its wall clock": (overrides_only, "20261208T100000", DEC_8),
    "without the series, at another time": (overrides_only, "20261208T110000", None),
    "without the series, another day": (overrides_only, "20261209", None),
    "without the series, the series": (overrides_only, "", None),
    "without the series, the day of its zone": (at_midnight, "20261209", "20261208T230000Z"),
    "without the series, the day of UTC": (at_midnight, "20261208", None),
    "a to-do without DTSTART": (
        lambda: registered(vevent(kind="VTODO", start="DUE:20261210T090000Z", end="")),
        DEC_8,
        None,
    ),
}


@pytest.mark.parametrize(("meeting", "rid", "expected"), LOCATED.values(), ids=LOCATED.keys())
def test_the_instance_that_is_meant(meeting: Callable[[], Meeting], rid: str, expected: str | None) -> None:
    """rules.md §4.1: by instant, by the wall clock of the series' zone, or by the only instance on that day."""
    assert lookup.locate(meeting(), rid_of(rid) if rid else None) == expected


def test_a_date_of_two_overrides_is_none() -> None:
    """rules.md §4.1: a DATE matches the only instance on that local day."""
    morning = override(8)
    evening = morning.replace("T100000", "T180000")
    assert lookup.locate(registered(morning, evening), rid_of("20261208")) is None


def test_an_override_without_a_zone_has_its_own_wall_clock() -> None:
    """An all-day override and a floating one, put alone, are found by their date."""
    day = registered(vevent("RECURRENCE-ID;VALUE=DATE:20261208", start="DTSTART;VALUE=DATE:20261208", end=""))
    floating = registered(vevent("RECURRENCE-ID:20261208T100000", start="DTSTART:20261208T150000"))
    assert lookup.locate(day, rid_of("20261208T000000")) == "20261208"
    assert lookup.locate(floating, rid_of("20261208")) == "20261208T100000"


def test_a_moved_override_shows_needs_action_and_a_kept_one_the_series() -> None:
    """rules.md §4.3, of the same attendee."""
    meeting, _ = hear(series(override(8, hour=15), override(15, summary="Long")), reply(ANN))
    rows = lookup.rows_of(meeting, ANN)
    shown = [lookup.standing(rows, rid, meeting.events[rid]) for rid in (DEC_8, DEC_15)]
    assert [row.partstat for row in shown if row] == ["NEEDS-ACTION", "ACCEPTED"]


def test_an_override_with_a_guest_list_of_its_own() -> None:
    """Who is listed in the series but not there was never a guest there; a cancelled instance takes all along."""
    meeting = series(override(8, guests=(ANN, CAT)))
    assert lookup.guest_at(meeting, BOB, DEC_8) is None
    assert lookup.guest_at(meeting, BOB, DEC_15) is not None
    assert (lookup.guest_at(meeting, CAT, ""), lookup.guest_at(meeting, CAT, DEC_8) is not None) == (None, True)
    assert {row.address for row in lookup.guests_at(meeting, DEC_8)} == {ANN, CAT}
    assert {row.address for row in lookup.guests_at(meeting, DEC_15)} == {ANN, BOB}


def test_answers_from_before_a_reset_are_none() -> None:
    """rules.md, reset sequence: a THISANDFUTURE from before an instance moved does not hold there any more."""
    meeting, _ = hear(series(), reply(ANN, "DECLINED", rid=DEC_8, future=True))
    rows = dict(lookup.rows_of(meeting, ANN))
    assert lookup.answer_at(rows, DEC_15) == rows[DEC_8]
    meeting, _ = put(meeting, vevent(WEEKLY), override(8), override(15, hour=15))
    found = lookup.standing(lookup.rows_of(meeting, ANN), DEC_15, meeting.events[DEC_15])
    assert found is not None
    assert found.partstat == "NEEDS-ACTION"


def test_rows_of_one_attendee() -> None:
    """All rows of an address by rid, and everybody's in the order of the list."""
    meeting, _ = hear(series(guests=(BOB, ANN)), reply(ANN, rid=DEC_8))
    assert set(lookup.rows_of(meeting, ANN)) == {"", DEC_8}
    assert list(lookup.rows_by_address(meeting)) == [BOB, ANN]
    assert lookup.reset_of({}, DEC_8) == (0, None)
    assert lookup.answer_at({}, "") is None


def test_an_override_is_asked_about_by_its_own_reset() -> None:
    """An organizer's THISANDFUTURE asks about all later instances, but not about one with a row of its own list."""
    meeting = series(override(8), override(15))
    rows = dict(lookup.rows_of(meeting, ANN))
    rows[DEC_8] = replace(rows[DEC_8], future=True, reset_sequence=3, partstat="NEEDS-ACTION")
    assert lookup.reset_of(rows, DEC_15)[0] == 0
    assert lookup.reset_of(rows, "20261222T090000Z")[0] == 3


def test_so_much_is_remembered_at_most() -> None:
    """A message asks twice; the series of all meetings of a day are not kept for that."""
    first = series()
    rules = [(f"FREQ=WEEKLY;COUNT={number + 5}",) for number in range(300)]
    meetings = [replace(first, events={"": replace(first.events[""], rrules=rule)}) for rule in rules]
    assert {lookup.locate(meeting, rid_of(DEC_8)) for meeting in meetings for _ in range(2)} == {DEC_8}
    assert 0 < len(lookup._answers) <= lookup.REMEMBERED


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"rrules": ("FREQ=WEEKLY;COUNT=1",)}, None),
        ({"exdates": (rid_of(DEC_8),)}, None),
        ({"rrules": (), "rdates": (rid_of(DEC_8),)}, DEC_8),
        ({"start": rid_of("20261201T100000Z")}, None),
        ({"tzid": "Asia/Tokyo"}, None),
        ({"summary": "Another"}, DEC_8),
    ],
    ids=str,
)
def test_what_is_remembered_of_a_series_is_of_that_one(changes: dict[str, Any], expected: str | None) -> None:
    """Another that differs in one property is asked anew, where that property counts."""
    first = series()
    assert lookup.locate(first, rid_of(DEC_8)) == DEC_8
    other = replace(first, events={"": replace(first.events[""], **changes)})
    assert lookup.locate(other, rid_of(DEC_8)) == expected
    assert lookup.locate(first, rid_of(DEC_8)) == DEC_8


def test_a_zone_of_the_meetings_own_is_part_of_what_is_remembered() -> None:
    """The same TZID means what each meeting's own VTIMEZONE says."""

    def at(offset: str, local: datetime) -> Meeting:
        first = series()
        zone = f"BEGIN:STANDARD\nDTSTART:20000101T000000\nTZOFFSETFROM:{offset}\nTZOFFSETTO:{offset}\nEND:STANDARD\n"
        text = f"BEGIN:VTIMEZONE\nTZID:Office\n{zone}END:VTIMEZONE"
        event = replace(first.events[""], tzid="Office", rrules=("FREQ=WEEKLY",))
        start = Moment(local, datetime(2026, 12, 1, 23, tzinfo=UTC))
        return replace(first, zones=text, events={"": replace(event, start=start)})

    # 23:00Z is the next day at +0300: there a DATE means another instance.
    east = at("+0300", datetime(2026, 12, 2, 2))  # noqa: DTZ001 - a wall clock
    west = at("-0300", datetime(2026, 12, 1, 20))  # noqa: DTZ001
    assert lookup.locate(east, rid_of("20261209")) == "20261208T230000Z"
    assert lookup.locate(west, rid_of("20261209")) is None
    assert lookup.locate(east, rid_of("20261208")) is None
    assert lookup.locate(west, rid_of("20261208")) == "20261208T230000Z"
