"""Recurrence rules (RFC 5545 §3.3.10) on wall clock times, at a cost that no rule can drive up.

Duty: answer "is this one of its times" and "which come next" month by month, beginning near the
time that is asked for. It must never step through a rule from its beginning one time after another: a month of a rule
is computed at once, months are bounded by the last year, and sub-daily rules are arithmetic or refused.
"""

from __future__ import annotations

from calendar import isleap, monthrange
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby, islice, takewhile

from itipd.itip.model import Moment
from itipd.itip.timezones import LAST_YEAR

STEPS = {"HOURLY": 3600, "MINUTELY": 60, "SECONDLY": 1}  # seconds
_HORIZON = 100  # years; where there is no time for so long, none comes

STEPS_ALLOWED = 2_000
EFFORT = ContextVar("EFFORT", default=STEPS_ALLOWED)
"""What following one rule may cost: steps of anything that can only be tried one by one. Whoever decides sets it."""


class TooCostly(ValueError):  # noqa: N818 - it names what the rule is
    """A rule whose answer would take unbounded work."""


class BadRule(TooCostly):
    """A rule that cannot be read: there is no answer at any cost."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A RECUR value with all that DTSTART fills in. Times are naive wall clock times; `start` is DTSTART."""

    start: datetime
    frequency: str
    interval: int
    count: int | None  # as written: DTSTART is the first of them
    until: Moment | None  # not looked at here: it may need a zone
    week_start: int  # Monday 0
    months: frozenset[int]
    monthdays: frozenset[int]
    yeardays: frozenset[int]
    weeks: frozenset[int]
    weekdays: frozenset[tuple[int, int]]  # (n-th or 0 for each, Monday 0)
    positions: tuple[int, ...]
    hours: tuple[int, ...]
    minutes: tuple[int, ...]
    seconds: tuple[int, ...]
    times: tuple[timedelta, ...]  # of each matching day; of each hour, minute or second where that is the frequency

    @property
    def daily(self) -> bool:
        """Whether the rule counts in days or more."""
        return self.frequency not in STEPS

    def contains(self, local: datetime) -> bool:
        """Whether `local` is one of the rule's times, COUNT considered, UNTIL not."""
        if local < self.start or not self._matches(local):
            return False
        return self.count is None or self._index(local) < self._rest()

    def walk(self, low: datetime, high: datetime | None = None) -> Iterator[datetime]:
        """The times from `low` on, in order, COUNT considered, UNTIL not; at least those up to `high`, if given.

        Ends after a hundred years. Raises `TooCostly` where a sub-daily rule finds nothing for long.
        """
        if not self.times:
            return iter(())
        low = max(low, self.start)
        times = self._steps(low) if self.frequency in STEPS else self._times(low, high)
        return times if self.count is None else islice(times, max(self._rest() - self._index(low), 0))

    def last(self) -> datetime | None:
        """The last time of a rule with COUNT; None where it has no time. Raises `TooCostly`."""
        rest = self._rest()
        if rest < 1 or not self.times:
            return None
        if self.frequency in STEPS:
            self._index(self.start)  # refuses what cannot be counted
            seconds = (rest - 1) * self.interval * STEPS[self.frequency]
            return self.start + timedelta(seconds=min(seconds, _seconds(datetime(LAST_YEAR, 1, 1))))
        low = self.start
        for year, month in self._months(self.start) if self._monthly else ():
            here = self._count_month(year, month)
            if here >= rest:
                low = max(self.start, datetime(year, month, 1))
                break
            rest -= here
        if rest > EFFORT.get():
            raise TooCostly(f"COUNT={self.count}: at most {EFFORT.get()} are counted one by one")
        return max(islice(self._times(low), rest), default=None)

    def _rest(self) -> int:
        """How many times the rule itself gives: DTSTART always counts as the first (RFC 5545 §3.3.10, COUNT)."""
        return (self.count or 0) - (not self._matches(self.start))

    def _matches(self, local: datetime) -> bool:
        if self.frequency in STEPS:
            step = STEPS[self.frequency]
            turn = _seconds(local) // step - _seconds(self.start) // step
            return (
                turn % self.interval == 0
                and local.hour in self.hours
                and local.minute in self.minutes
                and local.second in self.seconds
                and local.day in self.days(local.year, local.month)
            )
        if self.positions:
            return next(self._times(local, local), None) == local
        time = timedelta(hours=local.hour, minutes=local.minute, seconds=local.second)
        return time in self.times and local.day in self.days(local.year, local.month)

    def _index(self, local: datetime) -> int:
        """How many times lie before `local`, from DTSTART on; may stop at COUNT."""
        number = 0
        if self.frequency in STEPS:
            size = {"HOURLY": 24, "MINUTELY": 24 * 60, "SECONDLY": 24 * 3600}[self.frequency]
            lists = (self.months, self.monthdays, self.yeardays, self.weeks, self.weekdays)
            whole = len(self.hours) * len(self.minutes) * len(self.seconds) == size
            if any(lists) or not whole or not self._matches(self.start):
                raise TooCostly(f"FREQ={self.frequency} with COUNT and BYxxx cannot be counted")
            return -((_seconds(self.start) - _seconds(local)) // (STEPS[self.frequency] * self.interval))
        if not self._monthly:
            for found in self._times(self.start, local):
                if found >= local or number >= (self.count or 0):
                    break
                number += 1
                if number > EFFORT.get():
                    raise TooCostly(f"BYSETPOS with COUNT: at most {EFFORT.get()} times are counted one by one")
            return number
        for year, month in self._months(self.start, local):
            if (year, month) >= (local.year, local.month) or number >= (self.count or 0):
                break
            number += self._count_month(year, month)
        for found in self._times(max(self.start, datetime(local.year, local.month, 1)), local):
            if found >= local:
                break
            number += 1
        return number

    @property
    def _monthly(self) -> bool:
        """Whether the times of a month can be counted without making them."""
        return not self.positions or self.frequency == "MONTHLY"

    def _count_month(self, year: int, month: int) -> int:
        if (year, month) == (self.start.year, self.start.month):
            high = datetime(year, month, monthrange(year, month)[1], 23, 59, 59)
            return sum(1 for _ in takewhile(lambda found: found <= high, self._times(self.start, high)))
        total = len(self.days(year, month)) * len(self.times)
        return len(picked(self.positions, total)) if self.positions else total

    def _steps(self, low: datetime) -> Iterator[datetime]:
        """The times of a sub-daily rule from `low` on."""
        unit = STEPS[self.frequency]
        seconds = unit * self.interval
        current = self.start - timedelta(seconds=_seconds(self.start) % unit)
        current += timedelta(seconds=max((_seconds(low) - _seconds(current)) // seconds, 0) * seconds)
        end, tries = _seconds(datetime(LAST_YEAR, 12, 31)), 0
        month, days = (0, 0), list[int]()
        while tries < EFFORT.get():
            if month != (current.year, current.month):
                month = (current.year, current.month)
                days = self.days(*month)
                tries += 20
            if current.day in days and current.hour in self.hours:
                tries += len(self.times)
                for found in (current + time for time in self.times):
                    if found >= low and found.minute in self.minutes and found.second in self.seconds:
                        yield found
            if _seconds(current) + seconds > end:
                return
            current += timedelta(seconds=seconds)
            tries += 1
        raise TooCostly(f"FREQ={self.frequency}: at most {EFFORT.get()} steps are tried")

    def _times(self, low: datetime, high: datetime | None = None) -> Iterator[datetime]:
        """The times of a daily or rarer rule from `low` on."""
        if not self.positions:
            for day in self._dates(low, high):
                for time in self.times:
                    if day + time >= low:
                        yield day + time
            return
        size = len(self.times)
        for _, group in groupby(self._dates(self._period(low), high), self._period):
            days = list(group)
            for number in picked(self.positions, len(days) * size):
                found = days[number // size] + self.times[number % size]
                if found >= low:
                    yield found

    def _period(self, day: datetime) -> datetime:
        """The first day of the period that BYSETPOS counts in."""
        midnight = day.replace(hour=0, minute=0, second=0)
        if self.frequency == "YEARLY":
            return midnight.replace(month=1, day=1)
        if self.frequency == "MONTHLY":
            return midnight.replace(day=1)
        return midnight - timedelta(days=(midnight.weekday() - self.week_start) % 7)

    def _dates(self, low: datetime, high: datetime | None = None) -> Iterator[datetime]:
        """The matching days, at midnight, from the day of `low` on."""
        for year, month in self._months(low, high):
            for day in self.days(year, month):
                if day >= low.day or (year, month) != (low.year, low.month):
                    yield datetime(year, month, day)

    def _months(self, low: datetime, high: datetime | None = None) -> Iterator[tuple[int, int]]:
        """The months from that of `low` on in which there may be times; periods that `high` is in are complete."""
        months = sorted(self.months) or range(1, 13)
        last = low.year + _HORIZON if high is None else high.year + 1
        for year in range(low.year, min(last, LAST_YEAR) + 1):
            if self.frequency == "YEARLY" and (year - self.start.year) % self.interval:
                continue
            for month in months:
                if year > low.year or month >= low.month:
                    yield year, month

    def days(self, year: int, month: int) -> list[int]:
        """The days of a month that the rule allows, in order; BYSETPOS, the clock and DTSTART are not considered."""
        if self.months and month not in self.months:
            return []
        turn = (year - self.start.year) * 12 + month - self.start.month
        if (self.frequency == "YEARLY" and (year - self.start.year) % self.interval) or (
            self.frequency == "MONTHLY" and turn % self.interval
        ):
            return []
        length = monthrange(year, month)[1]
        first = date(year, month, 1).toordinal()  # of the first of the month; 1 is a Monday
        days: set[int] | range = range(1, length + 1)
        if self.monthdays:
            days = {d if d > 0 else length + 1 + d for d in self.monthdays if abs(d) <= length}
        if self.weekdays:
            days = self._weekdays(year, length, first).intersection(days)
        if self.frequency == "DAILY" and self.interval > 1:
            offset = self.start.toordinal() - first + 1
            days = {d for d in days if (d - offset) % self.interval == 0}
        elif self.frequency == "WEEKLY" and self.interval > 1:
            zero = self._period(self.start).toordinal() - first + 1
            days = {d for d in days if (d - zero) // 7 % self.interval == 0}
        if self.yeardays:
            before, size = first - date(year, 1, 1).toordinal(), 365 + isleap(year)
            days = {d for d in days if {before + d, before + d - size - 1} & self.yeardays}
        if self.weeks:
            zero = first - 2 - self.week_start  # so that days of one week have one quotient
            wanted = {week for week in {(zero + d) // 7 for d in days} if self._week(week) & self.weeks}
            days = {d for d in days if (zero + d) // 7 in wanted}
        return sorted(days)

    def _weekdays(self, year: int, length: int, first: int) -> set[int]:
        """The days of a month that BYDAY names; n-th ones count in the month, or in the year (RFC 5545 §3.3.10)."""
        begin, size = 1, length
        if self.frequency == "YEARLY" and not self.months:
            begin, size = date(year, 1, 1).toordinal() - first + 1, 365 + isleap(year)
        named: set[int] = set()
        for n, weekday in self.weekdays:
            if n == 0:
                named.update(range(1 + (weekday - first + 1) % 7, length + 1, 7))
                continue
            # Days are numbered from the first of the month; `begin` is that of the month, or of the year.
            earliest = begin + (weekday - (first + begin - 2)) % 7
            latest = begin + size - 1 - ((first + begin + size - 3) - weekday) % 7
            day = earliest + (n - 1) * 7 if n > 0 else latest + (n + 1) * 7
            if 1 <= day <= length:
                named.add(day)
        return named

    def _week(self, week: int) -> set[int]:
        """The number of the week that begins at ordinal 7 * `week` + 1 + WKST, from the front and from the back."""
        fourth = 7 * week + self.week_start + 4  # a week is of the year of its fourth day (RFC 5545 §3.3.10, BYWEEKNO)
        year = date.fromordinal(fourth).year
        first = date(year, 1, 1).toordinal()
        return {(fourth - first) // 7 + 1, -((first + 364 + isleap(year) - fourth) // 7 + 1)}


def picked(positions: tuple[int, ...], total: int) -> list[int]:
    """The indices, in order, that BYSETPOS picks from `total` times of a period."""
    return sorted({p - 1 if p > 0 else total + p for p in positions if abs(p) <= total})


def _seconds(local: datetime) -> int:
    return local.toordinal() * 86400 + local.hour * 3600 + local.minute * 60 + local.second
