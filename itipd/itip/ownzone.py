"""A stranger's VTIMEZONE (RFC 5545 §3.6.5) as a tzinfo.

Duty: evaluate a definition by bounded code of our own: at most 20 observances, yearly rules, a few dates. It must never
iterate a stranger's rule from its beginning, and never keep anything between two messages.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo

from itipd.itip.contentlines import Component

MAX_OBSERVANCES = 20
MAX_DATES = 400

_DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_OFFSET = re.compile(r"([+-]?)([0-9]{2}):?([0-9]{2}):?([0-9]{2})?")
_TIME = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})(?:T([0-9]{2})([0-9]{2})([0-9]{2}))?Z?", re.IGNORECASE)
_BYDAY = re.compile(r"([+-]?[0-9]{1,2})?(MO|TU|WE|TH|FR|SA|SU)")
_INTEGER = re.compile(r"[+-]?[0-9]{1,4}")


class NoZone(ValueError):  # noqa: N818 - it names what the definition is not
    """A VTIMEZONE that cannot be evaluated, or only at a cost."""


@dataclass(frozen=True, slots=True)
class Yearly:
    """A rule of a time zone: which days of a year (RRULE with FREQ=YEARLY)."""

    months: tuple[int, ...]
    weekdays: tuple[tuple[int, int], ...]  # (n-th or 0 for each, Monday 0)
    monthdays: tuple[int, ...]
    positions: tuple[int, ...]
    interval: int
    last: datetime | None  # UNTIL, in UTC; naive

    def days(self, year: int, first: datetime) -> Iterator[datetime]:
        """The days of this rule in `year`, with the time of `first`."""
        for month in self.months:
            length = monthrange(year, month)[1]
            days = sorted({d if d > 0 else length + d + 1 for d in self.monthdays}) or list(range(1, length + 1))
            days = [d for d in days if 1 <= d <= length]
            if self.weekdays:
                monday = datetime(year, month, 1).weekday()
                days = [d for d in days if self._named(d, (monday + d - 1) % 7, length)]
            elif not self.monthdays:
                days = [d for d in days if d == first.day]
            if self.positions:
                days = [days[p - 1 if p > 0 else p] for p in self.positions if p and -len(days) <= p <= len(days)]
            for day in days:
                yield first.replace(year=year, month=month, day=day)

    def _named(self, day: int, weekday: int, length: int) -> bool:
        """Whether the day of the month is one that BYDAY names."""
        return any(
            wanted == weekday and n in (0, (day - 1) // 7 + 1, -((length - day) // 7 + 1))
            for n, wanted in self.weekdays
        )


@dataclass(frozen=True, slots=True)
class Observance:
    """A STANDARD or DAYLIGHT: when it begins (wall clock of `before`) and what holds then."""

    start: datetime
    before: timedelta
    after: timedelta
    rule: Yearly | None
    dates: tuple[datetime, ...]

    def onsets(self, year: int) -> Iterator[datetime]:
        """The instants (UTC, naive) that matter for `year`: all single ones, and the rule's around that year."""
        for date in (self.start, *self.dates):
            yield date - self.before
        if self.rule is None:
            return
        step, first = self.rule.interval, self.start.year
        last = year + 1 if self.rule.last is None else min(year + 1, self.rule.last.year)
        latest = last - (last - first) % step
        # Three turns reach back before `year` for every interval.
        for turn in (latest, latest - step, latest - 2 * step):
            if turn >= first:
                for day in self.rule.days(turn, self.start):
                    instant = day - self.before
                    if day >= self.start and (self.rule.last is None or instant <= self.rule.last):
                        yield instant


@dataclass(eq=False)
class OwnZone(tzinfo):
    """The tzinfo of a VTIMEZONE: gaps and repeated hours as in PEP 495 and RFC 5545 §3.3.5."""

    observances: tuple[Observance, ...]
    _earliest: timedelta = field(init=False, repr=False)  # what held before the first observance
    _years: dict[int, list[tuple[datetime, timedelta, timedelta]]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._earliest = min(self.observances, key=lambda o: o.start).before

    def _changes(self, year: int) -> list[tuple[datetime, timedelta, timedelta]]:
        changes = self._years.get(year)
        if changes is None:
            changes = sorted({(at, o.before, o.after) for o in self.observances for at in o.onsets(year)})
            if len(self._years) < 300:
                self._years[year] = changes
        return changes

    def utcoffset(self, when: datetime | None) -> timedelta | None:
        """The offset of a wall clock time; of a time that does not exist, the one before the gap."""
        if when is None:
            return None  # a time of no day, as zoneinfo has it
        local, pick = when.replace(tzinfo=None, fold=0), (max, min)[when.fold]
        offset = self._earliest
        for at, before, after in self._changes(when.year):
            if local - pick(before, after) >= at:
                offset = after
        return offset

    def dst(self, when: datetime | None) -> None:
        """Unknown: nothing here asks for it."""

    def tzname(self, when: datetime | None) -> None:
        """Unknown: nothing here asks for it."""

    def fromutc(self, when: datetime) -> datetime:
        """UTC -> wall clock."""
        instant = when.replace(tzinfo=None)
        offset = self._earliest
        fold = 0
        for at, before, after in self._changes(when.year):
            if at <= instant:
                offset = after
                fold = 1 if at + (before - after) > instant else 0
        return (instant + offset).replace(tzinfo=self, fold=fold)


def read(component: Component) -> OwnZone | None:
    """The zone that a VTIMEZONE defines; None where it is broken or costly. Kept in the component."""
    if component.memo is None:
        try:
            component.memo = (_read(component),)
        except (NoZone, ValueError, OverflowError):
            component.memo = (None,)
    zone = component.memo[0] if isinstance(component.memo, tuple) else None
    return zone if isinstance(zone, OwnZone) else None


def _read(component: Component) -> OwnZone:
    children = [child for child in component.children if child.name in ("STANDARD", "DAYLIGHT")]
    if not 1 <= len(children) <= MAX_OBSERVANCES:
        raise NoZone(f"{len(children)} observances, expected 1 to {MAX_OBSERVANCES}")
    zone = OwnZone(tuple(map(_observance, children)))
    if sum(1 + len(observance.dates) for observance in zone.observances) > MAX_DATES:
        raise NoZone(f"more than {MAX_DATES} dates")
    return zone


def _observance(component: Component) -> Observance:
    dates = [text for line in component.lines("RDATE") for text in line.rpartition(":")[2].split(",", MAX_DATES)]
    if len(dates) > MAX_DATES:
        raise NoZone(f"more than {MAX_DATES} dates")
    start, rules = _naive(_value(component, "DTSTART")), component.lines("RRULE")
    if len(rules) > 1:
        raise NoZone("more than one RRULE")
    return Observance(
        start,
        _offset(_value(component, "TZOFFSETFROM")),
        _offset(_value(component, "TZOFFSETTO")),
        _yearly(_value(component, "RRULE"), start) if rules else None,
        tuple(_naive(text.partition("/")[0]) for text in dates),
    )


def _value(component: Component, name: str) -> str:
    line = component.first(name)
    if line is None:
        raise NoZone(f"no {name}")
    return line.value.strip()


def _naive(text: str) -> datetime:
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise NoZone(f"time {text[:40]!r}")
    year, *rest = (int(number or 0) for number in match.groups())
    # Definitions "since ever" begin in the years 1 or 1601; nothing asks for what lies outside.
    return datetime(min(max(year, 1601), 4100), *rest)  # type: ignore[arg-type]


def _offset(text: str) -> timedelta:
    match = _OFFSET.fullmatch(text)
    if match is None or int(match[2]) > 23 or int(match[3]) > 59:
        raise NoZone(f"offset {text[:40]!r}")
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]), seconds=int(match[4] or 0))
    return -offset if match[1] == "-" else offset


def _yearly(text: str, start: datetime) -> Yearly | None:
    """A rule of the bounded kind; None for one that has no turn but the first."""
    parts: dict[str, str] = {}
    for part in text.upper().strip().strip(";").split(";"):
        key, _, value = part.partition("=")
        parts[key.strip()] = value.strip()
    unknown = parts.keys() - {
        "FREQ",
        "INTERVAL",
        "BYMONTH",
        "BYDAY",
        "BYMONTHDAY",
        "BYSETPOS",
        "UNTIL",
        "COUNT",
        "WKST",
    }
    interval = _integers(parts.get("INTERVAL", "1"))[0]
    if unknown or parts.get("FREQ") != "YEARLY" or interval < 1:
        raise NoZone(f"rule {text[:80]!r}: expected FREQ=YEARLY, INTERVAL of 1 or more, BYMONTH, BYDAY, BYMONTHDAY")
    last = _naive(parts["UNTIL"]) if "UNTIL" in parts else None
    if "COUNT" in parts:
        count = _integers(parts["COUNT"])[0]
        if count <= 1:
            return None
        # One turn a year, as every rule of a time zone has.
        last = datetime(min(start.year + (count - 1) * interval, 4100), 12, 31, 23, 59, 59)
    days = []
    for day in parts.get("BYDAY", "").split(",") if "BYDAY" in parts else ():
        match = _BYDAY.fullmatch(day.strip())
        if match is None:
            raise NoZone(f"BYDAY {day[:40]!r}")
        days.append((int(match[1] or 0), _DAYS.index(match[2])))
    months = _integers(parts["BYMONTH"]) if "BYMONTH" in parts else (start.month,)
    if any(not 1 <= month <= 12 for month in months):
        raise NoZone(f"BYMONTH {parts['BYMONTH'][:40]!r}")
    monthdays = _integers(parts["BYMONTHDAY"]) if "BYMONTHDAY" in parts else ()
    positions = _integers(parts["BYSETPOS"]) if "BYSETPOS" in parts else ()
    if max(len(days), len(months), len(monthdays), len(positions)) > 40:
        raise NoZone("a rule with more than 40 values")
    return Yearly(months, tuple(days), monthdays, positions, interval, last)


def _integers(text: str) -> tuple[int, ...]:
    numbers = text.split(",")
    if not all(_INTEGER.fullmatch(number.strip()) for number in numbers):
        raise NoZone(f"number {text[:40]!r}")
    return tuple(int(number) for number in numbers)
