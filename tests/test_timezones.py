# ruff: noqa: DTZ001 - wall clocks of iCalendar are naive by nature
"""Times and zones: what a TZID means, what a stranger's VTIMEZONE may cost, and what we write ourselves."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta, tzinfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itipd.itip import ownzone
from itipd.itip.contentlines import Component, parse, parse_line
from itipd.itip.model import Moment
from itipd.itip.timezones import (
    at,
    iana_names,
    moment,
    moments,
    parse_duration,
    parse_value,
    resolve,
    zones_from_text,
    zones_of,
)
from itipd.itip.vtimezone import guessed, rules, vtimezone

WINTER, SUMMER = datetime(2026, 12, 8, 10), datetime(2026, 7, 8, 10)

PARIS = """BEGIN:VTIMEZONE
TZID:{tzid}
BEGIN:STANDARD
DTSTART:16010101T030000
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
RRULE:FREQ=YEARLY;INTERVAL=1;BYDAY=-1SU;BYMONTH=10
END:STANDARD
BEGIN:DAYLIGHT
DTSTART:16010101T020000
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
RRULE:FREQ=YEARLY;INTERVAL=1;BYDAY=-1SU;BYMONTH=3
END:DAYLIGHT
END:VTIMEZONE
"""


def hours(tz: tzinfo | None, local: datetime) -> float | None:
    """The offset of a zone at a wall clock time, in hours."""
    if tz is None:
        return None
    offset = local.replace(tzinfo=tz).utcoffset()
    return None if offset is None else offset / timedelta(hours=1)


NAMES = {
    "Europe/Berlin": (1, 2, None),
    "europe/BERLIN": (1, 2, None),
    "America/New_York": (-5, -4, None),
    "America/Argentina/Salta": (-3, -3, None),
    "US/Pacific": (-8, -7, None),
    "Etc/GMT+5": (-5, -5, None),
    "UTC": (0, 0, None),
    "Z": (0, 0, None),
    '"Europe/Berlin"': (1, 2, None),
    "/freeassociation.sourceforge.net/Tzfile/Europe/Paris": (1, 2, "vanity_tzid"),
    "/freeassociation.sourceforge.net/Europe/Paris": (1, 2, "vanity_tzid"),
    "/mozilla.org/20050126_1/America/Argentina/Salta": (-3, -3, "vanity_tzid"),
    "/Europe/London": (0, 1, "vanity_tzid"),
    "/UTC": (0, 0, "vanity_tzid"),
    "/citadel.org/20210210_1/Europe/London": (0, 1, "vanity_tzid"),
    "/softwarestudio.org/Olson_20011030_5/UTC": (0, 0, "vanity_tzid"),
    "tzone://Microsoft/Utc": (0, 0, "vanity_tzid"),
    "Romance Standard Time": (1, 2, "windows_tzid"),
    "W. Europe Standard Time": (1, 2, "windows_tzid"),
    "eastern standard time": (-5, -4, "windows_tzid"),
    "Central Standard Time (Mexico)": (-6, -6, "windows_tzid"),
    "Romance": (1, 2, "windows_tzid"),
    "(GMT+01.00) Sarajevo/Warsaw/Zagreb": (1, 2, "display_tzid"),
    "(UTC-05:00) Eastern Time (US & Canada)": (-5, -4, "display_tzid"),
    "(GMT) Greenwich Mean Time": (0, 0, "offset_tzid"),
    "GMT -0500 (Standard) / GMT -0400 (Daylight)": (-5, -5, "offset_tzid"),
    "UTC+1": (1, 1, "offset_tzid"),
    "GMT-3": (-3, -3, "offset_tzid"),
    "+0530": (5.5, 5.5, "offset_tzid"),
}


@pytest.mark.parametrize(("tzid", "expected"), NAMES.items())
def test_names(tzid: str, expected: tuple[float, float, str | None]) -> None:
    """A TZID of any vendor has its offsets of winter and summer, and a quirk unless it is an IANA name."""
    winter, summer, quirk = expected
    tz = resolve(tzid, {})
    assert (hours(tz, WINTER), hours(tz, SUMMER)) == (winter, summer)
    _, quirks = moment(parse_line(f"DTSTART;TZID={tzid}:20261208T100000"), {})
    if ":" not in tzid:
        assert quirks == (() if quirk is None else (quirk,))


UNKNOWN = [
    "",
    "Nowhere",
    "America",
    "Factory",
    "../../../etc/passwd",
    "/etc/localtime",
    "/proc/self/environ",
    "posixrules",
    "Europe/Berlin\0",
    "GMT+99",
    "UTCx",
    "x" * 100_000,
    "Customized Time Zone",
    "Custom/Berlin",
]


@pytest.mark.parametrize("tzid", UNKNOWN)
def test_unknown_names_float(tzid: str) -> None:
    """A name out of no list opens no file and gives a floating time with the quirk `unknown_tzid`."""
    assert resolve(tzid, {}) is None
    if tzid:
        found, quirks = moment(parse_line(f'DTSTART;TZID="{tzid}":20261208T100000'), {})
        assert found == Moment(WINTER)
        assert quirks == ("unknown_tzid",)


def test_the_calendars_own_definition() -> None:
    """A name that nobody knows is what the same calendar says, and nothing in another calendar."""
    zones = zones_from_text(PARIS.format(tzid="Customized Time Zone"))
    line = parse_line("DTSTART;TZID=Customized Time Zone:20260708T100000")
    found, quirks = moment(line, zones)
    assert found == Moment(SUMMER, datetime(2026, 7, 8, 8, tzinfo=UTC))
    assert quirks == ("own_vtimezone",)
    assert moment(line, {}) == (Moment(SUMMER), ("unknown_tzid",))


def test_a_known_name_is_not_redefined() -> None:
    """A VTIMEZONE under an IANA or Windows name cannot shift that zone."""
    for tzid in ("America/New_York", "Eastern Standard Time"):
        zones = zones_from_text(PARIS.format(tzid=tzid))
        assert hours(resolve(tzid, zones), WINTER) == -5


@pytest.mark.parametrize("tzid", ['"Quoted, name"', "Quoted\\, name", "Quoted, name", " Quoted, name"])
def test_definitions_are_found_however_they_are_quoted(tzid: str) -> None:
    """Exchange quotes a TZID in its definition, Outlook for Mac only in use."""
    zones = zones_from_text(PARIS.format(tzid=tzid))
    found, _ = moment(parse_line('DTSTART;TZID="Quoted, name":20261208T100000'), zones)
    assert found == Moment(WINTER, datetime(2026, 12, 8, 9, tzinfo=UTC))


def test_zones_of_a_calendar() -> None:
    """All VTIMEZONEs of a calendar are found, one without TZID is none."""
    zones = PARIS.format(tzid="A") + PARIS.format(tzid="B") + "BEGIN:VTIMEZONE\nEND:VTIMEZONE\n"
    text = f"BEGIN:VCALENDAR\n{zones}END:VCALENDAR"
    assert list(zones_of(parse(text.encode())[0][0])) == ["A", "B"]
    assert zones_from_text("") == {}
    assert zones_from_text("nonsense") == {}


# Days around both changes of 2026 in Paris, hour by hour and twice where the hour comes twice.
LOCALS = [
    datetime(2026, month, day) + timedelta(minutes=30 * n) for month, day in ((3, 28), (10, 24)) for n in range(96)
]


@pytest.mark.parametrize("fold", [0, 1])
def test_own_code_agrees_with_zoneinfo(fold: int) -> None:
    """Gaps, repeated hours and everything else are as zoneinfo has them, in both directions."""
    own, known = resolve("X", zones_from_text(PARIS.format(tzid="X"))), resolve("Europe/Paris", {})
    for local in LOCALS:
        expected = local.replace(tzinfo=known, fold=fold).astimezone(UTC)
        assert local.replace(tzinfo=own, fold=fold).astimezone(UTC) == expected
        back, other = expected.astimezone(own), expected.astimezone(known)
        assert (back.replace(tzinfo=None), back.fold) == (other.replace(tzinfo=None), other.fold)


def definition(*lines: str, **changed: str) -> Component:
    """A VTIMEZONE with one STANDARD of these properties."""
    properties = {"DTSTART": "19700101T000000", "TZOFFSETFROM": "+0100", "TZOFFSETTO": "+0100", **changed}
    text = "\n".join([*(f"{name}:{value}" for name, value in properties.items() if value), *lines])
    return zones_from_text(f"BEGIN:VTIMEZONE\nTZID:X\nBEGIN:STANDARD\n{text}\nEND:STANDARD\nEND:VTIMEZONE\n")["X"]


OFFSETS = {
    "plain": (definition(TZOFFSETTO="+0300"), 3),
    "seconds": (definition(TZOFFSETTO="-001640"), -1000 / 3600),
    "without a sign": (definition(TZOFFSETTO="0300"), 3),
    "year 1": (definition(DTSTART="00010101T000000", TZOFFSETTO="+0300"), 3),
    "begins later": (definition(DTSTART="20300101T000000", TZOFFSETTO="+0300"), 1),
    "ended": (definition("RRULE:FREQ=YEARLY;UNTIL=20000101T000000Z", TZOFFSETTO="+0300"), 3),
    "every fourth year": (definition("RRULE:FREQ=YEARLY;INTERVAL=4", TZOFFSETTO="+0300"), 3),
    "counted": (definition("RRULE:FREQ=YEARLY;COUNT=3", TZOFFSETTO="+0300"), 3),
    "days of the month": (definition("RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=SU;BYMONTHDAY=8,9,10,11,12,13,14"), 1),
    "BYSETPOS": (definition("RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=SU;BYSETPOS=-1"), 1),
    "one turn": (definition("RRULE:FREQ=YEARLY;COUNT=1", TZOFFSETTO="+0300"), 3),
    "RDATE": (definition("RDATE:19800101T000000,19900101T000000", TZOFFSETTO="+0300"), 3),
    "extra properties": (definition("TZNAME;LANGUAGE=:x", "X-FOO:1", TZOFFSETTO="+0300"), 3),
}


@pytest.mark.parametrize(("component", "expected"), OFFSETS.values(), ids=OFFSETS.keys())
def test_definitions_that_are_followed(component: Component, expected: float) -> None:
    """Whatever a sound definition is made of, the offset at the end of 2026 is what it says."""
    zone = ownzone.read(component)
    assert zone is not None
    assert hours(zone, WINTER) == expected


def both(summer: str) -> Component:
    """A VTIMEZONE with +0100 from each January and +0200 from each July on, by this rule."""
    winter = "DTSTART:19700101T000000\nTZOFFSETFROM:+0200\nTZOFFSETTO:+0100\nRRULE:FREQ=YEARLY"
    half = f"DTSTART:19700701T000000\nTZOFFSETFROM:+0100\nTZOFFSETTO:+0200\n{summer}"
    lines = ["BEGIN:STANDARD", winter, "END:STANDARD", "BEGIN:DAYLIGHT", half, "END:DAYLIGHT"]
    return zones_from_text("\n".join(["BEGIN:VTIMEZONE", "TZID:X", *lines, "END:VTIMEZONE", ""]))["X"]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("RRULE:FREQ=YEARLY", {2024: 2, 2025: 2, 2026: 2, 2027: 2}),
        ("RRULE:FREQ=YEARLY;INTERVAL=4", {2022: 2, 2023: 1, 2026: 2, 2027: 1}),
        ("RRULE:FREQ=YEARLY;UNTIL=20260101T000000Z", {2024: 2, 2025: 2, 2026: 1, 2027: 1}),
        ("RRULE:FREQ=YEARLY;UNTIL=20260630T230000Z", {2025: 2, 2026: 2, 2027: 1}),
        ("RRULE:FREQ=YEARLY;COUNT=2", {1970: 2, 1971: 2, 1972: 1, 2026: 1}),
        ("RRULE:FREQ=YEARLY;COUNT=1", {1970: 2, 1971: 1}),
        ("RRULE:FREQ=YEARLY;BYMONTH=8;BYMONTHDAY=-1", {2026: 2}),
        ("RRULE:FREQ=YEARLY;BYMONTH=9;BYMONTHDAY=2,31", {2026: 1}),
        ("RRULE:FREQ=YEARLY;BYDAY=1SU,3SU;BYSETPOS=2;BYMONTH=8", {2026: 2}),
        ("RDATE:20260701T000000", {1970: 2, 2025: 1, 2026: 2, 2027: 1}),
    ],
)
def test_when_a_half_holds(rule: str, expected: dict[int, int]) -> None:
    """INTERVAL, UNTIL, COUNT and RDATE say in which autumns summer time holds."""
    zone = ownzone.read(both(rule))
    assert {year: hours(zone, datetime(year, 9, 1)) for year in expected} == expected
    assert hours(zone, datetime(2026, 3, 1)) == 1


STANDARD = "BEGIN:STANDARD\nDTSTART:19700101T000000\nTZOFFSETFROM:+0100\nTZOFFSETTO:+0100\nEND:STANDARD\n"
REFUSED = {
    "nothing in it": zones_from_text("BEGIN:VTIMEZONE\nTZID:X\nEND:VTIMEZONE\n")["X"],
    "no offset": definition(TZOFFSETTO=""),
    "no start": definition(DTSTART=""),
    "bad offset": definition(TZOFFSETTO="+9900"),
    "bad start": definition(DTSTART="20269999T000000"),
    "start in words": definition(DTSTART="long ago"),
    "SECONDLY": definition("RRULE:FREQ=SECONDLY"),
    "DAILY": definition("RRULE:FREQ=DAILY"),
    "INTERVAL=0": definition("RRULE:FREQ=YEARLY;INTERVAL=0"),
    "INTERVAL=-1": definition("RRULE:FREQ=YEARLY;INTERVAL=-1"),
    "BYHOUR": definition("RRULE:FREQ=YEARLY;BYHOUR=1,2,3"),
    "BYMONTH=13": definition("RRULE:FREQ=YEARLY;BYMONTH=13"),
    "BYMONTH=March": definition("RRULE:FREQ=YEARLY;BYMONTH=March"),
    "BYDAY=XX": definition("RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=XX"),
    "many days": definition("RRULE:FREQ=YEARLY;BYMONTH=3;BYMONTHDAY=" + ",".join(["1"] * 41)),
    "two rules": definition("RRULE:FREQ=YEARLY", "RRULE:FREQ=YEARLY"),
    "many dates": definition("RDATE:" + ",".join(["19800101T000000"] * 500)),
    "many lines of dates": definition(*["RDATE:19800101T000000"] * 500),
    "many dates in all": zones_from_text(
        "BEGIN:VTIMEZONE\nTZID:X\n"
        + STANDARD.replace("END:", f"RDATE:{','.join(['19800101T000000'] * 100)}\nEND:") * 4
        + "END:VTIMEZONE\n"
    )["X"],
    "many observances": zones_from_text(f"BEGIN:VTIMEZONE\nTZID:X\n{STANDARD * 21}END:VTIMEZONE\n")["X"],
}


@pytest.mark.parametrize("component", REFUSED.values(), ids=REFUSED.keys())
def test_definitions_that_are_refused(component: Component) -> None:
    """A broken or costly definition is none; nothing is raised, and the answer is there at once."""
    begin = time.process_time()
    assert ownzone.read(component) is None
    assert time.process_time() - begin < 0.5


def test_years_without_end_are_answered_alike() -> None:
    """However many years a calendar asks about, a definition says the same of each; it remembers some hundreds."""
    zone = ownzone.read(both("RRULE:FREQ=YEARLY"))
    years = [*range(1971, 2400), 1971]
    assert {hours(zone, datetime(year, 9, 1)) for year in years} == {2}
    assert {hours(zone, datetime(year, 3, 1)) for year in years} == {1}


def test_a_clock_without_a_day_has_no_offset() -> None:
    """Of a time of no day nobody knows whether it is summer: own definitions say so as zoneinfo does."""
    for zone in (ownzone.read(both("RRULE:FREQ=YEARLY")), resolve("Europe/Berlin", {})):
        assert WINTER.timetz().replace(tzinfo=zone).utcoffset() is None


def test_an_own_definition_counts_in_every_year() -> None:
    """Also in more years than are kept in memory, and as long as there are times of meetings."""
    zone = ownzone.read(both("RRULE:FREQ=YEARLY"))
    assert {hours(zone, datetime(year, 3, 8, 10)) for year in range(3600, 4001)} == {1}
    assert {hours(zone, datetime(year, 7, 8, 10)) for year in range(3600, 4001)} == {2}


def test_definitions_that_are_too_large_are_none() -> None:
    """An organizer's file may be larger than what is read of a mail; what its zones then mean is unknown."""
    text = f"BEGIN:VTIMEZONE\nTZID:X\n{STANDARD}END:VTIMEZONE\n"
    assert "X" in zones_from_text(text)
    assert zones_from_text(text.replace("TZID:X\n", "TZID:X\n" + "X-NOTE:1\n" * 70_000)) == {}


def test_the_costliest_definition_is_cheap() -> None:
    """Twenty observances that change every day, the most that is followed, answer within two seconds of CPU."""
    rule = "RRULE:FREQ=YEARLY;BYMONTH=1,2,3,4,5,6,7,8,9,10,11,12;BYDAY=MO,TU,WE,TH,FR,SA,SU"
    one = f"BEGIN:STANDARD\nDTSTART:16010101T000000\nTZOFFSETFROM:+0100\nTZOFFSETTO:+0200\n{rule}\nEND:STANDARD\n"
    component = zones_from_text(f"BEGIN:VTIMEZONE\nTZID:X\n{one * 20}END:VTIMEZONE\n")["X"]
    begin = time.process_time()
    zone = ownzone.read(component)
    for day in range(20):
        at(datetime(2026, 1, 1) + timedelta(days=day), zone)
    assert time.process_time() - begin < 2


VALUES = {
    "20261208": Moment(datetime(2026, 12, 8), is_date=True),
    "20261208T100000": Moment(WINTER),
    "20261208T100000Z": Moment(WINTER, WINTER.replace(tzinfo=UTC)),
    "20261208t100000z": Moment(WINTER, WINTER.replace(tzinfo=UTC)),
    " 20261208T100000 ": Moment(WINTER),
    "2026-12-08T10:00:00Z": Moment(WINTER, WINTER.replace(tzinfo=UTC)),
    "20261208T1000": Moment(WINTER),
    "20261231T235960Z": Moment(datetime(2026, 12, 31, 23, 59, 59), datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)),
    "20260230": "bad_time",
    "20260230T100000Z": "bad_time",
    "20261208T250000": "bad_time",
    "20261208T100099": "bad_time",
    "20261208T": "bad_time",
    "2026120": "bad_time",
    "": "bad_time",
    "tomorrow": "bad_time",
    "٢٠٢٦١٢٠٨": "bad_time",
    "00010101": "year_out_of_range",
    "18991231T235959Z": "year_out_of_range",
    "40010101T000000Z": "year_out_of_range",
    "99991231T235959Z": "year_out_of_range",
}


@pytest.mark.parametrize(("text", "expected"), VALUES.items())
def test_values(text: str, expected: Moment | str) -> None:
    """DATE and DATE-TIME in the forms that are met; years that no database takes are none."""
    assert parse_value(text) == expected


MOMENTS = {
    "DTSTART:20261208T100000": (WINTER, None, ()),
    "DTSTART:20261208T100000Z": (WINTER, WINTER, ()),
    "DTSTART;TZID=Europe/Berlin:20261208T100000": (WINTER, datetime(2026, 12, 8, 9), ()),
    "DTSTART;TZID=Europe/Berlin:20261208T100000Z": (WINTER, WINTER, ()),
    "DTSTART;TZID=Romance Standard Time:20261208T100000": (WINTER, datetime(2026, 12, 8, 9), ("windows_tzid",)),
    "DTSTART;VALUE=DATE-TIME;TZID=UTC:20261208T100000": (WINTER, WINTER, ()),
    # RFC 5545 §3.3.5: what does not exist counts with the offset before the gap; what comes twice is the first.
    "DTSTART;TZID=America/New_York:20070311T023000": (datetime(2007, 3, 11, 2, 30), datetime(2007, 3, 11, 7, 30), ()),
    "DTSTART;TZID=America/New_York:20071104T013000": (datetime(2007, 11, 4, 1, 30), datetime(2007, 11, 4, 5, 30), ()),
}


@pytest.mark.parametrize(("raw", "expected"), MOMENTS.items())
def test_moments_of_properties(raw: str, expected: tuple[datetime, datetime | None, tuple[str, ...]]) -> None:
    """The wall clock is as written, the instant as the zone has it."""
    local, utc, quirks = expected
    assert moment(parse_line(raw), {}) == (Moment(local, utc and utc.replace(tzinfo=UTC)), quirks)


@pytest.mark.parametrize(
    "raw", ["DTSTART;VALUE=DATE:20261208", "DTSTART:20261208", "DTSTART;VALUE=DATE:20261208T100000"]
)
def test_dates(raw: str) -> None:
    """A date is one by VALUE or by its form, and has no zone."""
    found, quirks = moment(parse_line(raw), {})
    assert found == Moment(datetime(2026, 12, 8), is_date=True)
    assert quirks == ()


def test_what_is_no_time_is_a_quirk() -> None:
    """A value that is no time gives None and says why."""
    assert moment(parse_line("DTSTART:x"), {}) == (None, ("bad_time",))
    assert moment(parse_line("DTSTART:00010101T000000Z"), {}) == (None, ("year_out_of_range",))


def test_lists_of_times() -> None:
    """Lists give each of their times, a PERIOD its start, and a bad one spoils only itself."""
    found, quirks = moments(parse_line("EXDATE;TZID=Europe/Berlin:20261208T100000,nonsense,20261209T100000Z"), {})
    assert [m.rid for m in found] == ["20261208T090000Z", "20261209T100000Z"]
    assert quirks == ("bad_time",)
    found, quirks = moments(
        parse_line("RDATE;VALUE=PERIOD:20261208T100000Z/PT1H,20261209T100000Z/20261209T110000Z"), {}
    )
    assert [m.rid for m in found] == ["20261208T100000Z", "20261209T100000Z"]
    assert quirks == ()
    found, quirks = moments(parse_line("EXDATE;VALUE=DATE:20261208,20261209"), {})
    assert [m.rid for m in found] == ["20261208", "20261209"]
    found, quirks = moments(parse_line("EXDATE;TZID=Nowhere:20261208T100000"), {})
    assert ([m.rid for m in found], quirks) == (["20261208T100000"], ("unknown_tzid",))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("PT1H", timedelta(hours=1)),
        ("P1W", timedelta(weeks=1)),
        ("P1DT2H3M4S", timedelta(days=1, hours=2, minutes=3, seconds=4)),
        ("-PT15M", timedelta(minutes=-15)),
        ("+P1D", timedelta(days=1)),
        ("pt0s", timedelta()),
        ("P", None),
        ("PT", None),
        ("1H", None),
        ("", None),
        ("P1Y", None),
        ("P9999999D", None),
        ("P" + "9" * 5000 + "D", None),
    ],
)
def test_durations(text: str, expected: timedelta | None) -> None:
    """A DURATION is a length of time of less than a hundred years, or none."""
    assert parse_duration(text) == expected


@settings(deadline=None)
@given(
    st.datetimes(datetime(1900, 1, 1), datetime(4000, 1, 1)), st.sampled_from(["Europe/Berlin", "Pacific/Apia", "UTC"])
)
def test_a_moment_survives_the_store(local: datetime, name: str) -> None:
    """Every time of the years that count has an instant, and is the same after encoding and decoding."""
    found = at(local.replace(microsecond=0, fold=0), resolve(name, {}))
    assert found.utc is not None
    assert Moment.decode(found.encode()) == found


@pytest.mark.parametrize("since", [1995, 2026])
def test_what_we_write_is_what_the_zone_is(since: int) -> None:
    """Every IANA zone's VTIMEZONE, read by our own bounded code, gives the zone's times for fifty years."""
    names = sorted(set(iana_names().values()))
    assert len(names) > 400
    seen = set()
    for name in names:
        text = vtimezone(name, since)
        assert text is not None
        rules = text.replace(name, "")
        if rules in seen:  # many names are one zone
            continue
        seen.add(rules)
        own, known = ownzone.read(zones_from_text(text)[name]), resolve(name, {})
        assert own is not None, name
        for week in range(0, 2500, 29):
            instant = datetime(since, 1, 1, 12, tzinfo=UTC) + timedelta(weeks=week, hours=7 * week % 24)
            assert instant.astimezone(own).replace(tzinfo=None) == instant.astimezone(known).replace(tzinfo=None), name


def test_what_outlook_needs() -> None:
    """The present rule is one RRULE for each half, under the TZID that was given."""
    expected = """BEGIN:VTIMEZONE
TZID:W. Europe Standard Time
BEGIN:DAYLIGHT
DTSTART:20250330T020000
RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
TZNAME:CEST
END:DAYLIGHT
BEGIN:STANDARD
DTSTART:20251026T030000
RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
TZNAME:CET
END:STANDARD
END:VTIMEZONE
"""
    assert vtimezone("W. Europe Standard Time", 2026) == expected


def test_changes_before_the_present_rule() -> None:
    """A meeting of long ago gets the changes of its time: Moscow has had three kinds of them."""
    text = vtimezone("Europe/Moscow", 2008) or ""
    assert "RRULE" not in text
    zone = ownzone.read(zones_from_text(text)["Europe/Moscow"])
    years = {2008: 4, 2012: 4, 2016: 3}
    assert {year: hours(zone, datetime(year, 7, 1)) for year in years} == years
    assert hours(zone, datetime(2008, 1, 1)) == 3


def test_changes_of_the_name_alone_are_not_written() -> None:
    """Nothing is told twice: each observance changes the offset, and each stands once."""
    text = vtimezone("Europe/London", 1995) or ""
    offsets = re.findall(r"TZOFFSETFROM:(.*)\nTZOFFSETTO:(.*)\n", text)
    assert len(offsets) == 4
    assert all(before != after for before, after in offsets)


@pytest.mark.parametrize(
    ("footer", "expected"),
    [
        ("CET-1CEST,M3.5.0,M10.5.0/3", ["0330T020000 BYMONTH=3;BYDAY=-1SU", "1026T030000 BYMONTH=10;BYDAY=-1SU"]),
        ("EST5EDT,M3.2.0,M11.1.0", ["0309T020000 BYMONTH=3;BYDAY=2SU", "1102T020000 BYMONTH=11;BYDAY=1SU"]),
        # Midnight behind the first Saturday: the Sunday between the 2nd and the 8th.
        (
            "<-04>4<-03>,M9.1.6/24,M4.1.6/24",
            [
                "0907T000000 BYMONTH=9;BYMONTHDAY=2,3,4,5,6,7,8;BYDAY=SU",
                "0406T000000 BYMONTH=4;BYMONTHDAY=2,3,4,5,6,7,8;BYDAY=SU",
            ],
        ),
        # An hour before the last Sunday begins: the Saturday between the 24th and the 30th.
        (
            "<-02>2<-01>,M3.5.0/-1,M10.5.0/0",
            ["0329T230000 BYMONTH=3;BYMONTHDAY=24,25,26,27,28,29,30;BYDAY=SA", "1026T000000 BYMONTH=10;BYDAY=-1SU"],
        ),
        # Two hours behind the fourth Thursday; and midnight behind the last one, which no rule can say.
        (
            "IST-2IDT,M3.4.4/26,M10.5.4/24",
            ["0328T020000 BYMONTH=3;BYMONTHDAY=23,24,25,26,27,28,29;BYDAY=FR", "1030T235959 BYMONTH=10;BYDAY=-1TH"],
        ),
        # An hour before the first Sunday begins is sometimes in the month before.
        ("CET-1CEST,M3.1.0/-1,M10.5.0/3", ["0302T000000 BYMONTH=3;BYDAY=1SU", "1026T030000 BYMONTH=10;BYDAY=-1SU"]),
        ("<+0530>-5:30", []),
    ],
)
def test_changes_at_odd_hours(footer: str, expected: list[str]) -> None:
    """A change before the beginning or behind the end of its day has a rule for the day it falls on."""
    found = []
    for half in rules(footer)[0]:
        rule, correction = half.rule()
        found.append(f"{half.onset(2025) + correction:%m%dT%H%M%S} {rule.removeprefix('FREQ=YEARLY;')}")
    assert found == expected


@pytest.mark.parametrize("footer", ["CET-1CEST,J60,J300", "nonsense", ""])
def test_rules_that_tzdata_has_not(footer: str) -> None:
    """A footer in a form that no zone has is an error of the data, not a wrong definition."""
    with pytest.raises(ValueError, match="time zone rule"):
        rules(footer)


def test_unknown_zones_are_not_written() -> None:
    """There is no VTIMEZONE for a name that nobody knows."""
    assert vtimezone("Nowhere", 2026) is None
    assert guessed("Nowhere", 2026) is None


@pytest.mark.parametrize("tzid", ["Romance", "(GMT+01.00) Sarajevo", "UTC-3:30", "GMT"])
def test_what_is_guessed_is_written_down(tzid: str) -> None:
    """A TZID that is only a hint goes out with a definition, so that everybody reads the times as we do."""
    text = guessed(tzid, 2026) or ""
    own, meant = ownzone.read(zones_from_text(text)[tzid]), resolve(tzid, {})
    for local in (WINTER, SUMMER):
        assert hours(own, local) == hours(meant, local) is not None
