# ruff: noqa: DTZ001 - wall clocks of iCalendar are naive by nature
"""Recurrence: every way of naming an instance finds it, and no rule costs more than a moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile

import pytest
from dateutil.rrule import rrulestr
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from itipd.itip.contentlines import Component, parse_line
from itipd.itip.model import Event, Moment
from itipd.itip.recur import parse_rule
from itipd.itip.recurrence import BadRule, TooCostly, expand, find, last_end, span
from itipd.itip.timezones import at, moment, moments, parse_value, resolve, zones_from_text
from tests.cost import cheap

NO_ZONES: dict[str, Component] = {}
TUESDAY = "DTSTART;TZID=Europe/Berlin:20261201T100000"


def event(
    start: str,
    *rrules: str,
    length: timedelta | None = timedelta(hours=1),
    rdate: str = "",
    exdate: str = "",
    zones: dict[str, Component] = NO_ZONES,
) -> Event:
    """A series whose DTSTART, RDATE and EXDATE are content lines."""
    line = parse_line(start)
    first = moment(line, zones)[0]
    assert first is not None
    tz = resolve(line.one("TZID") or "", zones) if first.utc is not None and not start.endswith("Z") else UTC
    end = None
    if length is not None and first.utc is not None:
        end = Moment((first.utc + length).astimezone(tz).replace(tzinfo=None), first.utc + length)
    elif length is not None:
        end = Moment(first.local + length, is_date=first.is_date)
    return Event(
        "",
        "VEVENT",
        "",
        start=first,
        end=end,
        tzid=line.one("TZID"),
        rrules=rrules,
        rdates=moments(parse_line(rdate), zones)[0] if rdate else (),
        exdates=moments(parse_line(exdate), zones)[0] if exdate else (),
    )


def rid(text: str, zones: dict[str, Component] = NO_ZONES) -> Moment:
    """The Moment of a RECURRENCE-ID: `;TZID=...:value`, or only the value."""
    found = moment(parse_line(f"RECURRENCE-ID{text}" if text[0] in ";:" else f"RECURRENCE-ID:{text}"), zones)[0]
    assert found is not None
    return found


WEEKLY = event(TUESDAY, "FREQ=WEEKLY")
TWICE = event(TUESDAY, "FREQ=WEEKLY;BYHOUR=10,15")
NIGHTLY = event("DTSTART;TZID=Europe/Berlin:20261201T000000", "FREQ=DAILY")
UTC_SERIES = event("DTSTART:20261201T090000Z", "FREQ=WEEKLY")
FLOATING = event("DTSTART:20261201T100000", "FREQ=WEEKLY")
ALL_DAY = event("DTSTART;VALUE=DATE:20261201", "FREQ=WEEKLY", length=timedelta(days=1))
ALL_DAYS = event("DTSTART;VALUE=DATE:20261201", "FREQ=DAILY", length=timedelta(days=1))
SINGLE = event(TUESDAY)

FOUND: dict[str, tuple[Event, str, str | None]] = {
    "UTC": (WEEKLY, "20261208T090000Z", "20261208T090000Z"),
    "the series' zone": (WEEKLY, ";TZID=Europe/Berlin:20261208T100000", "20261208T090000Z"),
    "another zone": (WEEKLY, ";TZID=America/New_York:20261208T040000", "20261208T090000Z"),
    "a Windows zone": (WEEKLY, ";TZID=W. Europe Standard Time:20261208T100000", "20261208T090000Z"),
    "an unknown zone": (WEEKLY, ";TZID=Nowhere:20261208T100000", "20261208T090000Z"),
    "floating": (WEEKLY, "20261208T100000", "20261208T090000Z"),
    "a date": (WEEKLY, ";VALUE=DATE:20261208", "20261208T090000Z"),
    "midnight": (WEEKLY, "20261208T000000", "20261208T090000Z"),
    "midnight in a zone": (WEEKLY, ";TZID=W. Europe Standard Time:20261208T000000", "20261208T090000Z"),
    "midnight in UTC": (WEEKLY, "20261208T000000Z", "20261208T090000Z"),
    "the first": (WEEKLY, "20261201T090000Z", "20261201T090000Z"),
    "in summer, by the wall clock": (WEEKLY, "20270706T080000Z", "20270706T080000Z"),
    "in summer, an hour off": (WEEKLY, "20270706T090000Z", None),
    "a minute off": (WEEKLY, "20261208T090100Z", None),
    "another day": (WEEKLY, "20261209T090000Z", None),
    "another day, as a date": (WEEKLY, ";VALUE=DATE:20261209", None),
    "before the first": (WEEKLY, "20261124T090000Z", None),
    "a date with two instances": (TWICE, ";VALUE=DATE:20261208", None),
    "midnight with two instances": (TWICE, "20261208T000000", None),
    "the second of a day": (TWICE, "20261208T140000Z", "20261208T140000Z"),
    "midnight is an instance": (NIGHTLY, ";TZID=Europe/Berlin:20261208T000000", "20261207T230000Z"),
    "midnight in UTC, a day series": (NIGHTLY, "20261207T230000Z", "20261207T230000Z"),
    "UTC series": (UTC_SERIES, "20261208T090000Z", "20261208T090000Z"),
    "UTC series, floating": (UTC_SERIES, "20261208T090000", "20261208T090000Z"),
    "UTC series in summer": (UTC_SERIES, "20270706T090000Z", "20270706T090000Z"),
    "floating series": (FLOATING, "20261208T100000", "20261208T100000"),
    "floating series, in a zone": (FLOATING, ";TZID=Europe/Berlin:20261208T100000", "20261208T100000"),
    "floating series, a date": (FLOATING, ";VALUE=DATE:20261208", "20261208T100000"),
    "all-day series, a date": (ALL_DAY, ";VALUE=DATE:20261208", "20261208"),
    "all-day series, midnight": (ALL_DAY, "20261208T000000", "20261208"),
    "all-day series, midnight in a zone": (ALL_DAY, ";TZID=Europe/Berlin:20261208T000000", "20261208"),
    "all-day series, midnight in UTC": (ALL_DAY, "20261208T000000Z", "20261208"),
    "all-day series, Berlin's midnight in UTC": (ALL_DAYS, "20261207T230000Z", "20261208"),
    "all-day series, New York's midnight in UTC": (ALL_DAYS, "20261208T050000Z", "20261208"),
    "all-day series, another day": (ALL_DAY, ";VALUE=DATE:20261209", None),
    "single": (SINGLE, "20261201T090000Z", "20261201T090000Z"),
    "single, a date": (SINGLE, ";VALUE=DATE:20261201", "20261201T090000Z"),
    "single, another day": (SINGLE, "20261208T090000Z", None),
}


@pytest.mark.parametrize(("series", "text", "expected"), FOUND.values(), ids=FOUND.keys())
def test_every_way_of_naming_an_instance(series: Event, text: str, expected: str | None) -> None:
    """A RECURRENCE-ID compares by instant; a floating one is the series' wall clock, a date the only one that day."""
    assert find(series, NO_ZONES, rid(text)) == expected


RULES: dict[str, tuple[Event, str, bool]] = {
    "RDATE": (event(TUESDAY, rdate="RDATE;TZID=Europe/Berlin:20261203T150000"), "20261203T140000Z", True),
    "RDATE, and DTSTART": (event(TUESDAY, rdate="RDATE:20261203T140000Z"), "20261201T090000Z", True),
    "RDATE, and nothing else": (event(TUESDAY, rdate="RDATE:20261203T140000Z"), "20261208T090000Z", False),
    "RDATE as a period": (event(TUESDAY, rdate="RDATE;VALUE=PERIOD:20261203T140000Z/PT1H"), "20261203T140000Z", True),
    "RDATE as a date": (event(TUESDAY, rdate="RDATE;VALUE=DATE:20261203"), "20261203T090000Z", True),
    "EXDATE": (event(TUESDAY, "FREQ=WEEKLY", exdate="EXDATE:20261208T090000Z"), "20261208T090000Z", False),
    "EXDATE of another": (event(TUESDAY, "FREQ=WEEKLY", exdate="EXDATE:20261215T090000Z"), "20261208T090000Z", True),
    "EXDATE, floating": (event(TUESDAY, "FREQ=WEEKLY", exdate="EXDATE:20261208T100000"), "20261208T090000Z", False),
    "EXDATE as a date": (event(TUESDAY, "FREQ=WEEKLY", exdate="EXDATE;VALUE=DATE:20261208"), "20261208T090000Z", False),
    "EXDATE as a date, twice a day": (
        event(TUESDAY, "FREQ=WEEKLY;BYHOUR=10,15", exdate="EXDATE;VALUE=DATE:20261208"),
        "20261208T140000Z",
        False,
    ),
    "EXDATE of the first": (event(TUESDAY, "FREQ=WEEKLY", exdate="EXDATE:20261201T090000Z"), "20261201T090000Z", False),
    "two rules": (event(TUESDAY, "FREQ=WEEKLY;INTERVAL=2", "FREQ=MONTHLY"), "20270101T090000Z", True),
    "COUNT, the last": (event(TUESDAY, "FREQ=WEEKLY;COUNT=3"), "20261215T090000Z", True),
    "COUNT, over": (event(TUESDAY, "FREQ=WEEKLY;COUNT=3"), "20261222T090000Z", False),
    "COUNT, an EXDATE counts": (
        event(TUESDAY, "FREQ=WEEKLY;COUNT=3", exdate="EXDATE:20261208T090000Z"),
        "20261222T090000Z",
        False,
    ),
    "COUNT, DTSTART outside the rule counts": (
        event(TUESDAY, "FREQ=WEEKLY;BYDAY=MO;COUNT=3"),
        "20261214T090000Z",
        True,
    ),
    "COUNT, DTSTART outside, over": (event(TUESDAY, "FREQ=WEEKLY;BYDAY=MO;COUNT=3"), "20261221T090000Z", False),
    "COUNT=0 leaves DTSTART": (event(TUESDAY, "FREQ=WEEKLY;COUNT=0"), "20261201T090000Z", True),
    "UNTIL, the last": (event(TUESDAY, "FREQ=WEEKLY;UNTIL=20261215T090000Z"), "20261215T090000Z", True),
    "UNTIL, over": (event(TUESDAY, "FREQ=WEEKLY;UNTIL=20261215T085959Z"), "20261215T090000Z", False),
    "UNTIL, floating": (event(TUESDAY, "FREQ=WEEKLY;UNTIL=20261215T100000"), "20261215T090000Z", True),
    "UNTIL, a date": (event(TUESDAY, "FREQ=WEEKLY;UNTIL=20261215"), "20261215T090000Z", True),
    "UNTIL, a date, over": (event(TUESDAY, "FREQ=WEEKLY;UNTIL=20261214"), "20261215T090000Z", False),
    "UNTIL, for ever": (event(TUESDAY, "FREQ=WEEKLY;UNTIL=99991231T235959Z"), "20461204T090000Z", True),
    "UNTIL, all-day": (
        event("DTSTART;VALUE=DATE:20261201", "FREQ=WEEKLY;UNTIL=20261214T230000Z"),
        ";VALUE=DATE:20261215",
        True,
    ),
    "UNTIL, all-day, over": (
        event("DTSTART;VALUE=DATE:20261201", "FREQ=WEEKLY;UNTIL=20261214"),
        ";VALUE=DATE:20261215",
        False,
    ),
    "BYHOUR, all-day": (event("DTSTART;VALUE=DATE:20261201", "FREQ=DAILY;BYHOUR=9"), ";VALUE=DATE:20261215", True),
    "sub-daily": (event(TUESDAY, "FREQ=HOURLY;INTERVAL=6"), "20461204T210000Z", True),
    "sub-daily, between": (event(TUESDAY, "FREQ=HOURLY;INTERVAL=6"), "20461204T200000Z", False),
    "sub-daily, a list below": (event(TUESDAY, "FREQ=HOURLY;BYMINUTE=0,30"), "20461204T203000Z", True),
    "sub-daily, counted": (event(TUESDAY, "FREQ=MINUTELY;COUNT=100"), "20261201T103900Z", True),
    "sub-daily, counted, over": (event(TUESDAY, "FREQ=MINUTELY;COUNT=100"), "20261201T104000Z", False),
    # 02:30 does not exist on 29 March 2026 in Berlin, and comes twice on 25 October (RFC 5545 §3.3.5).
    "in the gap": (event("DTSTART;TZID=Europe/Berlin:20260301T023000", "FREQ=DAILY"), "20260329T013000Z", True),
    "in the gap, as written": (
        event("DTSTART;TZID=Europe/Berlin:20260301T023000", "FREQ=DAILY"),
        ";TZID=Europe/Berlin:20260329T023000",
        True,
    ),
    "the first of two": (event("DTSTART;TZID=Europe/Berlin:20260301T023000", "FREQ=DAILY"), "20261025T003000Z", True),
    "the second of two": (event("DTSTART;TZID=Europe/Berlin:20260301T023000", "FREQ=DAILY"), "20261025T013000Z", False),
    "leap day": (event("DTSTART:20240229T100000Z", "FREQ=YEARLY"), "20280229T100000Z", True),
    "no leap day": (event("DTSTART:20240229T100000Z", "FREQ=YEARLY"), "20270228T100000Z", False),
    "the 31st of short months": (event("DTSTART:20260131T100000Z", "FREQ=MONTHLY"), "20260228T100000Z", False),
    "a TZID beside Z": (event("DTSTART;TZID=Europe/Berlin:20261201T090000Z", "FREQ=WEEKLY"), "20270706T090000Z", True),
}


@pytest.mark.parametrize(("series", "text", "expected"), RULES.values(), ids=RULES.keys())
def test_what_a_series_has(series: Event, text: str, expected: bool) -> None:
    """RRULE, RDATE and DTSTART make instances, EXDATE takes them out, COUNT and UNTIL end them."""
    assert (find(series, NO_ZONES, rid(text)) is not None) is expected


# RFC 5545 §3.8.5.3: the examples; DTSTART in New York, the first instances as the text has them.
EXAMPLES: list[tuple[str, str, Sequence[str]]] = [
    ("19970902T090000", "FREQ=DAILY;COUNT=10", [f"199709{day:02d}" for day in range(2, 12)]),
    ("19970902T090000", "FREQ=DAILY;INTERVAL=2", ["19970902", "19970904", "19970906", "19970908"]),
    ("19970902T090000", "FREQ=DAILY;INTERVAL=10;COUNT=5", ["19970902", "19970912", "19970922", "19971002", "19971012"]),
    ("19980101T090000", "FREQ=YEARLY;UNTIL=20000131T140000Z;BYMONTH=1;BYDAY=SU,MO,TU,WE,TH,FR,SA",
     ["19980101", "19980102", "19980103"]),
    ("19970902T090000", "FREQ=WEEKLY;INTERVAL=2;WKST=SU", ["19970902", "19970916", "19970930", "19971014"]),
    ("19970902T090000", "FREQ=WEEKLY;COUNT=10;WKST=SU;BYDAY=TU,TH", ["19970902", "19970904", "19970909", "19970911"]),
    ("19970901T090000", "FREQ=WEEKLY;INTERVAL=2;UNTIL=19971224T000000Z;WKST=SU;BYDAY=MO,WE,FR",
     ["19970901", "19970903", "19970905", "19970915", "19970917"]),
    ("19970905T090000", "FREQ=MONTHLY;COUNT=10;BYDAY=1FR", ["19970905", "19971003", "19971107", "19971205"]),
    ("19970907T090000", "FREQ=MONTHLY;INTERVAL=2;COUNT=10;BYDAY=1SU,-1SU",
     ["19970907", "19970928", "19971102", "19971130", "19980104", "19980125"]),
    ("19970922T090000", "FREQ=MONTHLY;COUNT=6;BYDAY=-2MO",
     ["19970922", "19971020", "19971117", "19971222", "19980119", "19980216"]),
    ("19970928T090000", "FREQ=MONTHLY;BYMONTHDAY=-3", ["19970928", "19971029", "19971128", "19971229", "19980129"]),
    ("19970930T090000", "FREQ=MONTHLY;COUNT=10;BYMONTHDAY=1,-1", ["19970930", "19971001", "19971031", "19971101"]),
    ("19970910T090000", "FREQ=MONTHLY;INTERVAL=18;COUNT=10;BYMONTHDAY=10,11,12,13,14,15",
     ["19970910", "19970911", "19970912", "19970913", "19970914", "19970915", "19990310"]),
    ("19970902T090000", "FREQ=MONTHLY;INTERVAL=2;BYDAY=TU", ["19970902", "19970909", "19970916", "19970923", "19970930",
                                                             "19971104"]),
    ("19971026T090000", "FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU", ["19971026", "19981025", "19991031"]),
    ("19970610T090000", "FREQ=YEARLY;COUNT=10;BYMONTH=6,7", ["19970610", "19970710", "19980610", "19980710"]),
    ("19970310T090000", "FREQ=YEARLY;INTERVAL=2;COUNT=10;BYMONTH=1,2,3", ["19970310", "19990110", "19990210",
                                                                          "19990310"]),
    ("19970101T090000", "FREQ=YEARLY;INTERVAL=3;COUNT=10;BYYEARDAY=1,100,200",
     ["19970101", "19970410", "19970719", "20000101", "20000409", "20000718"]),
    ("19970519T090000", "FREQ=YEARLY;BYDAY=20MO", ["19970519", "19980518", "19990517"]),
    ("19970512T090000", "FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO", ["19970512", "19980511", "19990517"]),
    ("19970313T090000", "FREQ=YEARLY;BYMONTH=3;BYDAY=TH", ["19970313", "19970320", "19970327", "19980305"]),
    ("19970902T090000", "FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13", ["19970902", "19980213", "19980313", "19981113",
                                                                "19990813", "20001013"]),
    ("19970913T090000", "FREQ=MONTHLY;BYDAY=SA;BYMONTHDAY=7,8,9,10,11,12,13", ["19970913", "19971011", "19971108"]),
    ("19961105T090000", "FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8",
     ["19961105", "20001107", "20041102"]),
    ("19970904T090000", "FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3", ["19970904", "19971007", "19971106"]),
    ("19970929T090000", "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-2", ["19970929", "19971030", "19971127"]),
    ("19970902T090000", "FREQ=HOURLY;INTERVAL=3;UNTIL=19970902T170000Z",
     ["19970902T090000", "19970902T120000"]),
    ("19970902T090000", "FREQ=MINUTELY;INTERVAL=90;COUNT=4",
     ["19970902T090000", "19970902T103000", "19970902T120000", "19970902T133000"]),
    ("19970902T090000", "FREQ=DAILY;BYHOUR=9,10;BYMINUTE=0,20,40",
     ["19970902T090000", "19970902T092000", "19970902T094000", "19970902T100000"]),
    ("19970805T090000", "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=MO",
     ["19970805", "19970810", "19970819", "19970824"]),
    ("19970805T090000", "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=SU",
     ["19970805", "19970817", "19970819", "19970831"]),
    ("20070115T090000", "FREQ=MONTHLY;BYMONTHDAY=15,30;COUNT=5",
     ["20070115", "20070130", "20070215", "20070315", "20070330"]),
]  # fmt: skip


@pytest.mark.parametrize(("start", "rule", "expected"), EXAMPLES, ids=[rule for _, rule, _ in EXAMPLES])
def test_the_examples_of_the_standard(start: str, rule: str, expected: Sequence[str]) -> None:
    """Each example of RFC 5545 §3.8.5.3 begins as the standard says, and each of its instances is found."""
    series = event(f"DTSTART;TZID=America/New_York:{start}", rule)
    found = expand(series, NO_ZONES, datetime(1996, 1, 1, tzinfo=UTC), len(expected))
    assert [f"{m.local:%Y%m%dT%H%M%S}"[: len(text)] for m, text in zip(found, expected, strict=True)] == list(expected)
    assert all(m.local.time() == datetime(1997, 1, 1, 9).time() for m in found) or "T" in expected[0]
    assert [find(series, NO_ZONES, m) for m in found] == [m.rid for m in found]


DAYS = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]


def _list(name: str, values: st.SearchStrategy[object], most: int = 3) -> st.SearchStrategy[str]:
    lists = st.lists(values.map(str), min_size=1, max_size=most, unique=True)
    return st.just("") | lists.map(lambda texts: f";{name}={','.join(texts)}")


@st.composite
def rules(draw: st.DrawFn) -> str:
    """Rules of daily or rarer frequencies on which dateutil and the standard agree."""
    frequency = draw(st.sampled_from(["YEARLY", "MONTHLY", "WEEKLY", "DAILY"]))
    text = f"FREQ={frequency};INTERVAL={draw(st.integers(1, 4))};WKST={draw(st.sampled_from(DAYS))}"
    text += draw(_list("BYMONTH", st.integers(1, 12)))
    text += draw(_list("BYMONTHDAY", st.integers(1, 31) | st.integers(-31, -1)))
    ordinal = st.sampled_from(["1", "2", "5", "-1", "-2"])
    # dateutil takes `MO,1TU` for both at once where the standard has either of them.
    if frequency in ("YEARLY", "MONTHLY") and draw(st.booleans()):
        text += draw(_list("BYDAY", st.tuples(ordinal, st.sampled_from(DAYS)).map("".join)))
    else:
        text += draw(_list("BYDAY", st.sampled_from(DAYS), 5))
    if frequency == "YEARLY" and "BYDAY" not in text:
        text += draw(_list("BYYEARDAY", st.sampled_from([1, 59, 60, 61, 366, -1, -366])))
    text += draw(_list("BYHOUR", st.integers(0, 23)))
    # dateutil cuts the first week of BYSETPOS at DTSTART.
    if frequency != "WEEKLY" and text.count(";") > 2:
        text += draw(_list("BYSETPOS", st.sampled_from([1, 2, 3, -1, -2])))
    return text


STARTS = st.datetimes(datetime(1995, 1, 1), datetime(2027, 1, 1)).map(lambda at: at.replace(microsecond=0, fold=0))


@settings(deadline=None, max_examples=30)
@given(rules(), STARTS, st.integers(0, 1000))
def test_the_same_times_as_dateutil(text: str, start: datetime, later: int) -> None:
    """Beginning anywhere, the times are those that dateutil finds from DTSTART on; days between them are none."""
    high = start + timedelta(days=1100)
    oracle = list(islice(rrulestr(f"{text};UNTIL={high:%Y%m%dT%H%M%S}", dtstart=start), 60))
    rule = parse_rule(text, start)
    complete = len(oracle) < 60
    low = start + timedelta(days=later)
    limit = high if complete else oracle[-1]
    found = _until(rule.walk(low, high), limit)
    assert found == [at for at in oracle if at >= low]
    assert all(map(rule.contains, oracle))
    assert not any(rule.contains(a + (b - a) / 2) for a, b in pairwise(oracle) if b - a >= timedelta(days=2))


def _until(times: Iterator[datetime], limit: datetime) -> list[datetime]:
    return list(takewhile(lambda found: found <= limit, times))


@settings(deadline=None, max_examples=100)
@given(rules(), STARTS, st.integers(1, 20))
def test_counting_is_the_same_from_anywhere(text: str, start: datetime, count: int) -> None:
    """COUNT ends at the same time whether one counts from DTSTART, from the middle, or asks for one time."""
    endless = parse_rule(text, start)
    everything = list(islice(endless.walk(start, start + timedelta(days=3600)), count + 1))
    assume(len(everything) > count)
    rule = parse_rule(f"{text};COUNT={count}", start)
    expected = everything[: count if everything[0] == start else count - 1]
    assert list(rule.walk(start)) == expected
    assert [at for at in everything if rule.contains(at)] == expected
    assert rule.last() == (expected[-1] if expected else None)
    for low in expected:
        assert list(rule.walk(low)) == [at for at in expected if at >= low]


@pytest.mark.parametrize(
    "text",
    [
        "FREQ=HOURLY;INTERVAL=5",
        "FREQ=HOURLY;BYHOUR=9,17;BYMINUTE=0,30",
        "FREQ=HOURLY;INTERVAL=7;BYDAY=WE",
        "FREQ=MINUTELY;INTERVAL=7;BYMINUTE=0,21",
        "FREQ=MINUTELY;INTERVAL=90;BYSECOND=0,15",
        "FREQ=MINUTELY;BYHOUR=10,11;BYMINUTE=5,6,7,50,51",
        "FREQ=SECONDLY;INTERVAL=10;BYMINUTE=0,3,4,5;BYSECOND=10,20",
        "FREQ=SECONDLY;INTERVAL=45",
    ],
)
def test_sub_daily_rules_are_dateutils(text: str) -> None:
    """Sub-daily rules give the times that dateutil finds, from DTSTART and from the middle of a step."""
    start = datetime(2026, 12, 1, 9, 0, 0)
    oracle = list(islice(rrulestr(text, dtstart=start), 8))
    rule = parse_rule(text, start)
    assert list(islice(rule.walk(start), 8)) == oracle
    assert list(islice(rule.walk(oracle[2] + timedelta(seconds=1)), 5)) == oracle[3:]
    assert all(map(rule.contains, oracle))
    assert not any(rule.contains(found + timedelta(seconds=1)) for found in oracle)


def test_a_position_in_the_week_of_new_year() -> None:
    """BYSETPOS counts in whole weeks, also in one that begins in the year before."""
    rule = parse_rule("FREQ=WEEKLY;BYDAY=MO,TH,FR;BYSETPOS=-1", datetime(2026, 12, 1, 10))
    assert not rule.contains(datetime(2026, 12, 31, 10))
    assert rule.contains(datetime(2027, 1, 1, 10))


def test_a_day_has_no_hours() -> None:
    """RFC 5545 §3.3.10: BYHOUR, BYMINUTE and BYSECOND MUST be ignored where the instances are days."""
    series = event(
        "DTSTART;VALUE=DATE:20261201", "FREQ=DAILY;BYHOUR=9,10;BYMINUTE=30;COUNT=3", length=timedelta(days=1)
    )
    found = expand(series, NO_ZONES, datetime(2026, 1, 1, tzinfo=UTC), 9)
    assert [m.rid for m in found] == ["20261201", "20261202", "20261203"]


def test_a_position_in_the_day() -> None:
    """RFC 5545 §3.3.10: BYSETPOS of a daily rule counts among the times of each day."""
    series = event("DTSTART:20261201T150000Z", "FREQ=DAILY;BYHOUR=9,12,15;BYSETPOS=-1;COUNT=3")
    found = expand(series, NO_ZONES, datetime(2026, 1, 1, tzinfo=UTC), 9)
    assert [m.rid for m in found] == ["20261201T150000Z", "20261202T150000Z", "20261203T150000Z"]


def test_a_leap_second_is_the_one_before() -> None:
    """BYSECOND=60 is the last second of the minute."""
    rule = parse_rule("FREQ=DAILY;BYSECOND=60", datetime(2026, 12, 1, 10))
    assert next(rule.walk(datetime(2026, 12, 2))) == datetime(2026, 12, 2, 10, 0, 59)


def test_weeks_are_those_of_the_iso_calendar() -> None:
    """BYWEEKNO with weeks from Monday on is the ISO week, in every year and from both ends."""
    start = datetime(1995, 1, 1, 9)
    for number in (1, 2, 30, 52, 53):
        rule = parse_rule(f"FREQ=YEARLY;BYWEEKNO={number};BYDAY=MO,TU,WE,TH,FR,SA,SU", start)
        back = parse_rule(f"FREQ=YEARLY;BYWEEKNO=-{number};BYDAY=MO,TU,WE,TH,FR,SA,SU", start)
        for day in (start + timedelta(days=n) for n in range(0, 3000, 3)):
            year, week, _ = day.isocalendar()
            weeks = datetime(year, 12, 28).isocalendar().week
            assert rule.contains(day) is (week == number)
            assert back.contains(day) is (weeks - week + 1 == number)


HOURS = ",".join(map(str, range(24)))
HOSTILE = [
    "FREQ=SECONDLY",
    "FREQ=SECONDLY;INTERVAL=0",
    "FREQ=DAILY;INTERVAL=0",
    "FREQ=DAILY;INTERVAL=-1",
    "FREQ=DAILY;INTERVAL=999999999999999",
    "FREQ=HOURLY;INTERVAL=999999999999999",
    "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
    "FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30",
    "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
    "FREQ=HOURLY;BYMONTH=2;BYMONTHDAY=30",
    "FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30",
    "FREQ=SECONDLY;BYMONTH=1;BYDAY=MO;BYHOUR=3;BYMINUTE=4;BYSECOND=5",
    "FREQ=SECONDLY;COUNT=999999999",
    "FREQ=SECONDLY;BYMONTH=1;COUNT=10",
    "FREQ=MINUTELY;BYSETPOS=-1",
    "FREQ=DAILY;COUNT=999999999999999",
    "FREQ=YEARLY;BYYEARDAY=366;BYMONTHDAY=30",
    "FREQ=YEARLY;BYWEEKNO=53;BYMONTH=6",
    "FREQ=WEEKLY;BYDAY=MO;BYSETPOS=2;COUNT=100",
    "FREQ=WEEKLY;BYDAY=MO,TU;BYMONTHDAY=1;BYSETPOS=2;COUNT=100",
    "FREQ=WEEKLY;BYDAY=1TH,1FR,1SA,-1SA;BYSETPOS=-4;COUNT=5",
    "FREQ=YEARLY;BYDAY=MO;BYSETPOS=366",
    f"FREQ=DAILY;BYHOUR={HOURS};BYMINUTE={HOURS};BYSECOND={HOURS}",
    f"FREQ=YEARLY;BYHOUR={HOURS};BYMINUTE=0,15,30,45;BYSETPOS=-366,366;COUNT=99999",
    f"FREQ=HOURLY;BYMINUTE={HOURS};BYSECOND={HOURS}",
    "FREQ=DAILY;BYYEARDAY=" + ",".join(map(str, range(1, 367))),
    "FREQ=DAILY;BYDAY=" + ",".join(["MO"] * 5000),
    "FREQ=DAILY;" + "X=1;" * 10_000,
    "FREQ=DAILY;COUNT=" + "9" * 10_000,
    "FREQ=DAILY;UNTIL=" + "9" * 10_000,
    "FREQ=DAILY;BYMONTH=",
    "FREQ=DAILY;BYMONTH=13",
    "FREQ=DAILY;BYMONTH=0,x",
    "FREQ=DAILY;BYMONTHDAY=0",
    "FREQ=DAILY;BYDAY=XX",
    "FREQ=DAILY;BYDAY=0MO",
    "FREQ=DAILY;UNTIL=tomorrow",
    "FREQ=FORTNIGHTLY",
    "RSCALE=HEBREW;FREQ=YEARLY",
    "",
    ";;;===",
    "\0\ud800",
]


@pytest.mark.parametrize("rule", HOSTILE, ids=[rule[:40].encode("ascii", "replace").decode() for rule in HOSTILE])
@pytest.mark.parametrize("start", ["DTSTART;TZID=Europe/Berlin:19000101T100000", "DTSTART;VALUE=DATE:20061205"])
def test_a_hostile_rule_costs_a_moment(rule: str, start: str) -> None:
    """Whatever the rule, each question about it is answered, or refused as TooCostly, within half a second of CPU."""
    series = event(start, rule)
    for question in (
        lambda: find(series, NO_ZONES, rid("20261208T090000Z")),
        lambda: find(series, NO_ZONES, rid("20261208T000000")),
        lambda: find(series, NO_ZONES, rid(";VALUE=DATE:20261208")),
        lambda: expand(series, NO_ZONES, datetime(2026, 12, 8, tzinfo=UTC), 5),
        lambda: last_end(series, NO_ZONES),
    ):

        def asked(question: Callable[[], object] = question) -> None:
            with suppress(TooCostly):
                question()

        assert cheap(0.5, asked)


def test_a_rule_that_cannot_be_read_has_a_name() -> None:
    """An unreadable rule is a BadRule, which is TooCostly, so that nobody has to tell them apart."""
    for rule in ("FREQ=DAILY;INTERVAL=0", "FREQ=FORTNIGHTLY", "", "FREQ=DAILY;BYDAY=XX"):
        with pytest.raises(BadRule):
            find(event(TUESDAY, rule), NO_ZONES, rid("20261208T090000Z"))
    with pytest.raises(TooCostly):
        find(event(TUESDAY, *["FREQ=DAILY"] * 21), NO_ZONES, rid("20261208T090000Z"))


def test_what_can_only_be_counted_one_by_one_is_bounded() -> None:
    """Whether COUNT allows an instance that BYSETPOS picks in its week is known by counting: to two thousand."""
    series = event(TUESDAY, "FREQ=WEEKLY;BYDAY=TU,WE;BYSETPOS=1;COUNT=5000")
    assert find(series, NO_ZONES, rid("20361202T090000Z")) == "20361202T090000Z"
    assert find(series, NO_ZONES, rid("20361203T090000Z")) is None
    with pytest.raises(TooCostly, match="one by one"):
        find(series, NO_ZONES, rid("20761201T090000Z"))


def test_twenty_years_into_a_daily_series() -> None:
    """An instance costs the same after twenty years as after a day: less than a millisecond."""
    series = event("DTSTART;TZID=Europe/Berlin:20061205T100000", "FREQ=DAILY")
    far = rid("20261208T090000Z")
    assert find(series, NO_ZONES, far) == "20261208T090000Z"
    assert any(cheap(0.001, lambda: find(series, NO_ZONES, far)) for _ in range(20))


def test_a_zone_of_the_calendars_own() -> None:
    """A series in a zone that only its own VTIMEZONE knows keeps its wall clock through the year."""
    text = """BEGIN:VTIMEZONE
TZID:Ours
BEGIN:STANDARD
DTSTART:16010101T030000
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10
END:STANDARD
BEGIN:DAYLIGHT
DTSTART:16010101T020000
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3
END:DAYLIGHT
END:VTIMEZONE
"""
    zones = zones_from_text(text)
    series = event("DTSTART;TZID=Ours:20261201T100000", "FREQ=WEEKLY", zones=zones)
    assert find(series, zones, rid("20270706T080000Z")) == "20270706T080000Z"
    assert find(series, zones, rid("20270706T090000Z")) is None
    assert find(series, zones, rid(";TZID=Ours:20270706T100000", zones)) == "20270706T080000Z"


SPANS: dict[str, tuple[Event, str, str, str | None]] = {
    "the series": (WEEKLY, "", "2026-12-01T10:00:00+01:00", "2026-12-01T11:00:00+01:00"),
    "winter": (WEEKLY, "20261208T090000Z", "2026-12-08T10:00:00+01:00", "2026-12-08T11:00:00+01:00"),
    "summer": (WEEKLY, "20270706T080000Z", "2027-07-06T10:00:00+02:00", "2027-07-06T11:00:00+02:00"),
    "UTC": (UTC_SERIES, "20261208T090000Z", "2026-12-08T09:00:00+00:00", "2026-12-08T10:00:00+00:00"),
    "floating": (FLOATING, "20261208T100000", "2026-12-08T10:00:00", "2026-12-08T11:00:00"),
    "all-day": (ALL_DAY, "20261208", "2026-12-08", "2026-12-09"),
    "no end": (event(TUESDAY, length=None), "20261201T090000Z", "2026-12-01T10:00:00+01:00", None),
    "from the night of the change on": (
        event("DTSTART;TZID=Europe/Berlin:20260328T230000", "FREQ=DAILY", length=timedelta(hours=5)),
        "20260329T210000Z",
        "2026-03-29T23:00:00+02:00",
        "2026-03-30T04:00:00+02:00",
    ),
    "through the night of the change": (
        event("DTSTART;TZID=Europe/Berlin:20260327T230000", "FREQ=DAILY", length=timedelta(hours=5)),
        "20260328T220000Z",
        "2026-03-28T23:00:00+01:00",
        "2026-03-29T05:00:00+02:00",
    ),
}


@pytest.mark.parametrize(("series", "text", "start", "end"), SPANS.values(), ids=SPANS.keys())
def test_spans(series: Event, text: str, start: str, end: str | None) -> None:
    """An instance keeps the series' wall clock and its exact duration (RFC 5545 §3.8.5.3)."""
    first, last = span(series, NO_ZONES, text)
    assert (first.iso, last and last.iso) == (start, end)
    if text:
        assert first.rid == text


def test_a_series_without_start() -> None:
    """A to-do without DTSTART has no instances, and asking for one of them by name is our own fault."""
    nothing = Event("", "VTODO", "", rrules=("FREQ=DAILY",))
    assert find(nothing, NO_ZONES, rid("20261208T090000Z")) is None
    assert expand(nothing, NO_ZONES, datetime(2026, 1, 1, tzinfo=UTC), 3) == []
    assert last_end(nothing, NO_ZONES) is None
    with pytest.raises(ValueError, match="DTSTART"):
        span(nothing, NO_ZONES, "20261208T090000Z")
    with pytest.raises(ValueError, match="recurrence id"):
        span(WEEKLY, NO_ZONES, "nonsense")


ENDS: dict[str, tuple[Event, str | None]] = {
    "single": (SINGLE, "2026-12-01T11:00:00+01:00"),
    "endless": (WEEKLY, None),
    "until 9999": (event(TUESDAY, "FREQ=WEEKLY;UNTIL=99991231T000000Z"), None),
    "count": (event(TUESDAY, "FREQ=WEEKLY;COUNT=3"), "2026-12-15T11:00:00+01:00"),
    "count into summer": (event(TUESDAY, "FREQ=MONTHLY;COUNT=8"), "2027-07-01T11:00:00+02:00"),
    "long count": (event(TUESDAY, "FREQ=DAILY;COUNT=9000"), "2051-07-22T11:00:00+02:00"),
    "count by position": (event(TUESDAY, "FREQ=MONTHLY;BYDAY=TU;BYSETPOS=1;COUNT=14"), "2028-01-04T11:00:00+01:00"),
    "count, sub-daily": (event(TUESDAY, "FREQ=HOURLY;COUNT=25"), "2026-12-02T11:00:00+01:00"),
    "until": (event(TUESDAY, "FREQ=WEEKLY;UNTIL=20261220T000000Z"), "2026-12-15T11:00:00+01:00"),
    "until a date": (event(TUESDAY, "FREQ=WEEKLY;UNTIL=20261215"), "2026-12-15T11:00:00+01:00"),
    "until, sub-daily": (event(TUESDAY, "FREQ=HOURLY;UNTIL=20261202T120000Z"), "2026-12-02T14:00:00+01:00"),
    "until, after two centuries": (event("DTSTART:19000101T100000Z", "FREQ=YEARLY;UNTIL=21990101T000000Z"),
                                   "2198-01-01T11:00:00+00:00"),
    "until, rarely": (event("DTSTART:20240229T100000Z", "FREQ=YEARLY;UNTIL=20430101T000000Z"),
                      "2040-02-29T11:00:00+00:00"),
    "until before the start": (event(TUESDAY, "FREQ=WEEKLY;UNTIL=20200101"), "2026-12-01T11:00:00+01:00"),
    "rdate": (event(TUESDAY, rdate="RDATE:20270101T100000Z"), "2027-01-01T12:00:00+01:00"),
    "rdate behind a rule": (event(TUESDAY, "FREQ=WEEKLY;COUNT=3", rdate="RDATE:20270101T100000Z"),
                            "2027-01-01T12:00:00+01:00"),
    "all-day": (event("DTSTART;VALUE=DATE:20261201", "FREQ=DAILY;COUNT=3", length=timedelta(days=1)), "2026-12-04"),
    "no end": (event(TUESDAY, "FREQ=WEEKLY;COUNT=3", length=None), "2026-12-15T10:00:00+01:00"),
}  # fmt: skip


@pytest.mark.parametrize(("series", "expected"), ENDS.values(), ids=ENDS.keys())
def test_when_a_series_is_over(series: Event, expected: str | None) -> None:
    """The end of the last instance, or None where there is always another one."""
    found = last_end(series, NO_ZONES)
    assert (found and found.iso) == expected


def test_expanding_begins_where_it_is_told() -> None:
    """The next instances from a moment on, that moment included, each once and without those taken out."""
    series = event(TUESDAY, "FREQ=WEEKLY", "FREQ=WEEKLY;INTERVAL=2", rdate="RDATE:20461205T120000Z,20461204T090000Z",
                   exdate="EXDATE:20461211T090000Z")  # fmt: skip
    found = expand(series, NO_ZONES, datetime(2046, 12, 4, 9, tzinfo=UTC), 3)
    assert [m.rid for m in found] == ["20461204T090000Z", "20461205T120000Z", "20461218T090000Z"]
    found = expand(series, NO_ZONES, datetime(2046, 12, 4, 9, 0, 1, tzinfo=UTC), 1)
    assert [m.rid for m in found] == ["20461205T120000Z"]


def test_expanding_over_years_without_an_instance() -> None:
    """A series that pauses for years goes on where it does; COUNT has counted what came before the pause."""
    series = event("DTSTART:20260501T100000Z", "FREQ=YEARLY;INTERVAL=4;COUNT=3")
    found = expand(series, NO_ZONES, datetime(2027, 6, 1, tzinfo=UTC), 5)
    assert [m.rid for m in found] == ["20300501T100000Z", "20340501T100000Z"]


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (datetime(2026, 10, 25, 0, 30, tzinfo=UTC), "20261025T003000Z"),
        (datetime(2026, 10, 25, 0, 31, tzinfo=UTC), "20261026T013000Z"),
        (datetime(2026, 10, 25, 1, 15, tzinfo=UTC), "20261026T013000Z"),
        (datetime(2026, 3, 29, 0, 59, tzinfo=UTC), "20260329T013000Z"),
        (datetime(2026, 3, 29, 1, 10, tzinfo=UTC), "20260329T013000Z"),
        (datetime(2026, 3, 29, 1, 31, tzinfo=UTC), "20260330T003000Z"),
    ],
)
def test_expanding_over_a_change_of_the_clock(after: datetime, expected: str) -> None:
    """Neither the hour that comes twice nor the one that is missing hides an instance or repeats one."""
    series = event("DTSTART;TZID=Europe/Berlin:20260301T023000", "FREQ=DAILY")
    assert [m.rid for m in expand(series, NO_ZONES, after, 1)] == [expected]


@settings(deadline=None, max_examples=100)
@given(rules(), STARTS, st.sampled_from(["Europe/Berlin", "America/New_York", "Pacific/Apia"]))
def test_every_instance_is_found_by_its_own_name(text: str, start: datetime, zone: str) -> None:
    """What `expand` lists, `find` finds: by its rid in UTC, as wall clock, and from another zone."""
    first = at(start, resolve(zone, {}))
    series = Event("", "VEVENT", "", start=first, tzid=zone, rrules=(text,))
    found = expand(series, NO_ZONES, start.replace(tzinfo=UTC), 5)
    assert [m.order for m in found] == sorted({m.order for m in found})
    for instance in found:
        named = parse_value(instance.rid)
        assert isinstance(named, Moment)
        assert instance.utc is not None
        assert find(series, NO_ZONES, named) == instance.rid
        assert find(series, NO_ZONES, Moment(instance.local)) == instance.rid
        tokyo = instance.utc.astimezone(resolve("Asia/Tokyo", {})).replace(tzinfo=None)
        assert find(series, NO_ZONES, Moment(tokyo, instance.utc)) == instance.rid
