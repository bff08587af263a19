"""Times as they are written (RFC 5545 §3.3.4-6, §3.3.10, §3.2.19) -> instants.

Duty: find the zone that a TZID means and turn values into `Moment`s. Zones come from a fixed set of names, from
Microsoft's names, or from the same calendar's VTIMEZONE by bounded code. It must never pass a stranger's text to
`ZoneInfo`, and nothing that a message says may influence another message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cache, lru_cache
from importlib import resources
from zoneinfo import ZoneInfo

from itipd.itip import ownzone
from itipd.itip.contentlines import Component, Line, Unreadable, parse, unescape
from itipd.itip.model import Moment

FIRST_YEAR, LAST_YEAR = 1900, 4000
"""Years beyond these are no times of a meeting: databases and calendars fail on them."""

_LONGEST_TZID = 255
_VALUE = re.compile(
    r"([0-9]{4})-?([0-9]{2})-?([0-9]{2})"
    r"(?:[T ]([0-9]{2}):?([0-9]{2})(?::?([0-9]{2})(?:\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?",
    re.IGNORECASE,
)
_UTC = re.compile(r"[0-9]{8}T(?:[01][0-9]|2[0-3])[0-5][0-9][0-5][0-9]Z")
_DURATION = re.compile(
    r"([+-])?P(?:([0-9]{1,7})W)?(?:([0-9]{1,7})D)?(?:T(?:([0-9]{1,7})H)?(?:([0-9]{1,7})M)?(?:([0-9]{1,9})S)?)?"
)
_WORDS = re.compile(r"[,/()]")
_PLACES = {
    f"{word} time": f"America/{city}"
    for word, city in (
        ("pacific", "Los_Angeles"),
        ("mountain", "Denver"),
        ("central", "Chicago"),
        ("eastern", "New_York"),
        ("atlantic", "Halifax"),
    )
}
"""What Outlook calls the zones of North America."""
_OFFSET_NAME = re.compile(
    r"\(?[ ]?(?:(UTC|GMT|Z)|(?=[+-]))[ ]?(?:([+-])([0-9]{1,2})(?:[:.]?([0-9]{2}))?)?(?:\)|[ ]|$)", re.IGNORECASE
)


def resolve(tzid: str, zones: Mapping[str, Component]) -> tzinfo | None:
    """The zone that a TZID means in a calendar with these VTIMEZONEs (`zones_of`), or None.

    In this order: IANA names (also behind a vendor's prefix), Windows names, the calendar's own definition, the short
    names of Lotus Notes, offsets (`(GMT+01.00) Sarajevo`, `UTC+1`).
    """
    return _resolve(tzid, zones)[0]


def _resolve(tzid: str, zones: Mapping[str, Component]) -> tuple[tzinfo | None, str | None]:
    """The zone and how it was found, as a quirk; None for a plain IANA name."""
    tzid = _key(tzid)
    if not tzid or len(tzid) > _LONGEST_TZID:
        return None, "unknown_tzid"
    name, quirk = iana_name(tzid)
    if name is not None:
        return _iana(name), quirk
    if tzid in zones and (zone := ownzone.read(zones[tzid])) is not None:
        return zone, "own_vtimezone"
    name = _windows().get(f"{tzid.lower()} standard time")  # Lotus Notes: "Romance"
    if name is not None:
        return _iana(name), "windows_tzid"
    offset = _offset(tzid)
    if offset is None:
        return None, "unknown_tzid"
    named = _display_name(tzid, offset.utcoffset(None))
    return (offset, "offset_tzid") if named is None else (_iana(named), "display_tzid")


@lru_cache(maxsize=1024)
def iana_name(tzid: str) -> tuple[str | None, str | None]:
    """The IANA name for an IANA name in any case, a vendor's form of one, or a Windows name; and the quirk it is."""
    known = iana_names()
    lower = tzid.lower()
    if lower in known:
        return known[lower], None
    if "/" in tzid:
        # `/freeassociation.sourceforge.net/Tzfile/Europe/Paris`, `/mozilla.org/20050126_1/America/Argentina/Salta`,
        # `tzone://Microsoft/Utc`: the name is the last one to three parts. A single part only behind a real prefix.
        parts = [part for part in lower.split("/") if part]
        for count in (3, 2, 1) if tzid[0] == "/" or "://" in tzid else (3, 2):
            name = known.get("/".join(parts[-count:]))
            if name is not None:
                return name, "vanity_tzid"
    name = _windows().get(lower)
    return (None, None) if name is None else (name, "windows_tzid")


@cache
def iana_names() -> Mapping[str, str]:
    """Lower-case name -> IANA name: the fixed set of the tzdata package, the same on every machine."""
    text = resources.files("tzdata").joinpath("zones").read_text("ascii")
    names = {name.lower(): name for name in text.split() if name != "Factory"}
    return names | {"z": "UTC", "coordinated universal time": "UTC"}


@cache
def _windows() -> Mapping[str, str]:
    """Lower-case Windows name -> IANA name (CLDR, by way of icalendar)."""
    # Imported when the first such name comes: it takes a tenth of a second, and most commands never need it.
    from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

    known = iana_names()
    return {windows.lower(): name for windows, name in WINDOWS_TO_OLSON.items() if name.lower() in known}


@cache
def _iana(name: str) -> tzinfo:
    """The zone of a name out of `iana_names`, from the tzdata package: never from what the machine happens to have."""
    if name == "UTC":
        return UTC
    with resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


@lru_cache(maxsize=1024)
def _display_name(tzid: str, offset: timedelta) -> str | None:
    """The IANA name that the words of `(GMT-08.00) Pacific Time (US & Canada)/Tijuana` mean, if its offset is theirs.

    Outlook's display name of a zone says its standard time; only the place says when summer time is.
    """
    for word in _WORDS.split(tzid)[:20]:
        word = word.strip().lower()
        name = _PLACES.get(word) or _cities().get(word.replace(" ", "_"))
        if name is not None:
            halves = (datetime(2026, month, 1, tzinfo=_iana(name)).utcoffset() for month in (1, 7))
            if min(half for half in halves if half is not None) == offset:
                return name
    return None


@cache
def _cities() -> Mapping[str, str]:
    """Lower-case city -> IANA name."""
    found: dict[str, str] = {}
    for lower, name in iana_names().items():
        area, _, city = lower.rpartition("/")
        if area and not area.startswith(("etc", "us", "brazil", "canada", "chile", "mexico")):
            found.setdefault(city, name)
    return found


def _offset(tzid: str) -> timezone | None:
    match = _OFFSET_NAME.match(tzid)
    if match is None or (match[2] is None and match[1].upper() == "Z"):
        return None
    delta = timedelta(hours=int(match[3] or 0), minutes=int(match[4] or 0))
    if delta > timedelta(hours=15):
        return None
    return timezone(-delta if match[2] == "-" else delta)


def _key(tzid: str) -> str:
    """A TZID as it is compared: Exchange quotes it in one place and not in the other."""
    return tzid.strip(" \t\"'")


def zones_of(calendar: Component) -> dict[str, Component]:
    """TZID -> VTIMEZONE of a VCALENDAR."""
    zones: dict[str, Component] = {}
    for child in calendar.children:
        if child.name == "VTIMEZONE":
            line = child.first("TZID")
            if line is not None:
                zones.setdefault(_key(unescape(line.value)), child)
    return zones


def zones_from_text(text: str) -> dict[str, Component]:
    """TZID -> VTIMEZONE of a text of VTIMEZONEs (`Meeting.zones`)."""
    if not text:
        return {}
    try:
        calendars, _ = parse(f"BEGIN:VCALENDAR\n{text}\nEND:VCALENDAR\n".replace("\n", "\r\n").encode())
    except Unreadable:
        return {}
    return zones_of(calendars[0])


def at(local: datetime, tz: tzinfo | None) -> Moment:
    """The Moment of a wall clock time (naive) in a zone; in None it floats.

    A time that occurs twice is the first; one that does not occur counts with the offset before the gap (RFC 5545
    §3.3.5). That is what `fold=0` means.
    """
    if tz is None:
        return Moment(local)
    return Moment(local, local.replace(tzinfo=tz, fold=0).astimezone(UTC))


def moment(line: Line, zones: Mapping[str, Component]) -> tuple[Moment | None, tuple[str, ...]]:
    """The DATE or DATE-TIME of a property and its quirks.

    None with `bad_time` or `year_out_of_range` where it is none. An unresolved TZID gives a floating time and
    `unknown_tzid`; `windows_tzid`, `vanity_tzid`, `own_vtimezone` and `offset_tzid` say how a zone was found.
    """
    parsed = parse_value(line.value, is_date=(line.one("VALUE") or "").upper() == "DATE")
    if isinstance(parsed, str):
        return None, (parsed,)
    tzid = line.one("TZID")
    if parsed.utc is not None or parsed.is_date or not tzid:
        return parsed, ("offset_time",) if parsed.utc is not None and line.value.strip()[-1] not in "zZ" else ()
    tz, quirk = _resolve(tzid, zones)
    return at(parsed.local, tz), () if quirk is None else (quirk,)


def moments(line: Line, zones: Mapping[str, Component]) -> tuple[tuple[Moment, ...], tuple[str, ...]]:
    """The values of a list property (RDATE, EXDATE); of a PERIOD its start. What is no time is only a quirk."""
    tzid, found, quirks = line.one("TZID"), [], set()
    tz, quirk = _resolve(tzid, zones) if tzid else (None, None)
    is_date = (line.one("VALUE") or "").upper() == "DATE"
    for text in line.value.split(","):
        parsed = parse_value(text.partition("/")[0], is_date=is_date)
        if isinstance(parsed, str):
            quirks.add(parsed)
        elif parsed.utc is not None or parsed.is_date or not tzid:
            found.append(parsed)
        else:
            found.append(at(parsed.local, tz))
            if quirk is not None:
                quirks.add(quirk)
    return tuple(found), tuple(sorted(quirks))


def parse_value(text: str, *, is_date: bool = False) -> Moment | str:
    """A DATE, a floating or a UTC DATE-TIME (RFC 5545 §3.3.4-5), or the quirk that it is instead."""
    if not is_date and _UTC.fullmatch(text):
        # As most are written. What is wrong with the others (a leap second, the year 1) is said below.
        try:
            utc = datetime.fromisoformat(text)
        except ValueError:
            utc = datetime.min.replace(tzinfo=UTC)
        if FIRST_YEAR <= utc.year <= LAST_YEAR:
            return Moment(datetime.fromisoformat(text[:-1]), utc)  # a quarter of what `replace` takes
    match = _VALUE.fullmatch(text.strip())
    if match is None:
        return "bad_time"
    year, month, day, hour, minute, second, zone = match.groups()
    if not FIRST_YEAR <= int(year) <= LAST_YEAR:
        return "year_out_of_range"
    try:
        if is_date or hour is None:
            return Moment(datetime(int(year), int(month), int(day)), is_date=True)
        # A leap second (60) counts as the one before it (RFC 5545 §3.3.12).
        clock = (int(hour), int(minute), 59 if second == "60" else int(second or 0))
        local = datetime(int(year), int(month), int(day), *clock)
    except ValueError:
        return "bad_time"
    if zone and zone[0] in "+-":  # ISO 8601; RFC 5545 §3.3.5 forbids it
        ahead = timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:])) * (1 if zone[0] == "+" else -1)
        if abs(ahead) > timedelta(hours=15):
            return "bad_time"
        local -= ahead
    return Moment(local, local.replace(tzinfo=UTC) if zone else None)


def parse_duration(value: str) -> timedelta | None:
    """A DURATION (RFC 5545 §3.3.6); None where it is none or longer than a hundred years."""
    match = _DURATION.fullmatch(value.strip().upper())
    if match is None or not any(match.groups()[1:]):
        return None
    weeks, days, hours, minutes, seconds = (int(number or 0) for number in match.groups()[1:])
    length = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    if length > timedelta(days=36525):
        return None
    return -length if match[1] == "-" else length
