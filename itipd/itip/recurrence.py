"""The instances of a series (RFC 5545 §3.8.5): does this one exist, when is it, which come next.

Duty: RECURRENCE-IDs as instants, in whatever way a client writes them (rules.md §4.1), at a cost that depends neither
on how long a series has run nor on what a stranger put into its rule. It must never expand a series to find one time.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from itertools import islice, takewhile

from itipd.itip.contentlines import Component
from itipd.itip.model import Event, Moment
from itipd.itip.recur import parse_rule
from itipd.itip.rrule import BadRule, Rule, TooCostly
from itipd.itip.timezones import at, parse_value, resolve

__all__ = ["BadRule", "TooCostly", "expand", "find", "last_end", "span"]

_DAY = timedelta(days=1)
_NONE, _CHANGE = timedelta(), timedelta(hours=3)
_MOST_RULES = 20


class _Series:
    """A series on the wall clock of its own zone: a class, because all that is asked needs the same five things."""

    __slots__ = ("event", "is_date", "rules", "start", "tz")

    def __init__(self, event: Event, zones: Mapping[str, Component], start: Moment) -> None:
        self.event = event
        self.start = start.local
        self.is_date = start.is_date
        self.tz = _zone(event, zones, start)
        if len(event.rrules) > _MOST_RULES:
            raise TooCostly(f"{len(event.rrules)} RRULEs, at most {_MOST_RULES} are followed")
        self.rules: list[Rule] = [parse_rule(text, start.local, start.is_date) for text in event.rrules]

    def moment(self, local: datetime) -> Moment:
        """The Moment of a wall clock time of this series."""
        return Moment(local, is_date=True) if self.is_date else at(local, self.tz)

    def local(self, moment: Moment) -> datetime:
        """The wall clock time of a Moment in the zone of this series; a date has the series' time of the day."""
        if self.is_date:
            return _date(moment)
        if moment.is_date:
            return datetime.combine(moment.local, self.start.time())
        if moment.utc is None or self.tz is None:
            return moment.local  # a floating value is the wall clock of the series' zone
        return moment.utc.astimezone(self.tz).replace(tzinfo=None, fold=0)

    def candidates(self, moment: Moment) -> list[datetime]:
        """The wall clock times that `moment` may mean exactly."""
        if moment.is_date and not self.is_date:
            return []
        if self.tz is None or self.is_date or moment.utc is None:
            return [self.local(moment)]
        # In the gap of spring two wall clock times have one instant: both offsets around it are tried.
        instants = (moment.utc, moment.utc - _DAY, moment.utc + _DAY)
        offsets = {instant.astimezone(self.tz).utcoffset() or timedelta() for instant in instants}
        found = (moment.utc.replace(tzinfo=None) + offset for offset in offsets)
        return [local for local in found if at(local, self.tz).utc == moment.utc]

    def contains(self, local: datetime) -> bool:
        """Whether there is an instance at this wall clock time."""
        instant = self.moment(local).utc if self.event.rdates else None
        return (
            local == self.start
            or any(self._same(rdate, local, instant) for rdate in self.event.rdates)
            or any(self.in_time(rule, local) and rule.contains(local) for rule in self.rules)
        ) and not self.excluded(local)

    def excluded(self, local: datetime) -> bool:
        """Whether EXDATE takes this instance out; a DATE takes out the day."""
        if not self.event.exdates:
            return False
        instant, day = self.moment(local).utc, local.date()
        return any(
            exdate.local.date() == day if exdate.is_date else self._same(exdate, local, instant)
            for exdate in self.event.exdates
        )

    def _same(self, moment: Moment, local: datetime, instant: datetime | None) -> bool:
        if moment.utc is not None and instant is not None:
            return moment.utc == instant
        return self.local(moment) == local

    def in_time(self, rule: Rule, local: datetime) -> bool:
        """Whether UNTIL allows this wall clock time; a DATE includes the whole day."""
        until = rule.until
        if until is None:
            return True
        if self.is_date:
            return local <= _date(until)
        if until.is_date:
            return local.date() <= until.local.date()
        instant = self.moment(local).utc
        return local <= until.local if until.utc is None or instant is None else instant <= until.utc

    def walk(self, low: datetime, high: datetime | None = None) -> Iterator[datetime]:
        """The instances from `low` (wall clock) on, in order, each once; at least those up to `high`, if given."""
        single = sorted({self.start, *map(self.local, self.event.rdates)})
        sources = (takewhile(partial(self.in_time, rule), rule.walk(low, high)) for rule in self.rules)
        previous = None
        for local in heapq.merge([s for s in single if s >= low], *sources):
            if local != previous and not self.excluded(local):
                yield local
            previous = local

    def length(self) -> timedelta | None:
        """The exact duration of every instance (RFC 5545 §3.8.5.3), None where there is no end."""
        start, end = self.event.start, self.event.end
        if start is None or end is None:
            return None
        if start.utc is not None and end.utc is not None:
            return end.utc - start.utc
        return end.local - start.local

    def end(self, start: Moment) -> Moment | None:
        """The end of the instance that begins at `start`."""
        length = self.length()
        if length is None:
            return None
        if start.utc is None or self.tz is None:
            return Moment(start.local + length, is_date=start.is_date)
        end = start.utc + length
        return Moment(end.astimezone(self.tz).replace(tzinfo=None, fold=0), end)


def _zone(event: Event, zones: Mapping[str, Component], start: Moment) -> tzinfo | None:
    """The zone of the series' wall clock; None where it floats or has dates."""
    if start.utc is None:
        return None
    tz = resolve(event.tzid, zones) if event.tzid else None
    # A DTSTART in UTC that has a TZID all the same is in UTC.
    return tz if tz is not None and at(start.local, tz).utc == start.utc else UTC


def _date(moment: Moment) -> datetime:
    """The day that a RECURRENCE-ID, RDATE or EXDATE of an all-day series means, at midnight."""
    local = moment.local
    if not moment.is_date and moment.utc is not None and moment.utc.replace(tzinfo=None) == local:
        # Written in UTC, it is the midnight of a zone that nobody tells: 23:00Z is the next day in Paris, 05:00Z is
        # the same day in New York.
        local += timedelta(hours=12)
    return local.replace(hour=0, minute=0, second=0)


def find(event: Event, zones: Mapping[str, Component], rid: Moment) -> str | None:
    """The canonical rid of the instance that `rid` means; None where the series has none there (rules.md §4.1).

    Raises `TooCostly` for a rule that cannot be followed in bounded time.
    """
    if event.start is None:
        return None
    series = _Series(event, zones, event.start)
    for local in series.candidates(rid):
        if series.contains(local):
            return series.moment(local).rid
    if series.is_date or not (rid.is_date or (rid.local.hour, rid.local.minute, rid.local.second) == (0, 0, 0)):
        return None
    # A DATE or T000000 means the only instance on that local day: Exchange writes it so.
    day = rid.local.replace(hour=0, minute=0, second=0)
    today = [local for local in islice(series.walk(day, day + _DAY), 2) if local < day + _DAY]
    return series.moment(today[0]).rid if len(today) == 1 else None


def span(event: Event, zones: Mapping[str, Component], rid: str) -> tuple[Moment, Moment | None]:
    """Start and end of the instance `rid` as the series (`event`) gives them; the series' own for `""`.

    Raises ValueError where `rid` is no recurrence id or the series has no DTSTART.
    """
    if event.start is None:
        raise ValueError(f"instance {rid!r} of a series without DTSTART")
    if not rid:
        return event.start, event.end
    series = _Series(event, zones, event.start)
    moment = parse_value(rid)
    if isinstance(moment, str):
        raise ValueError(f"recurrence id {rid!r}: {moment}")
    local = series.local(moment)
    start = Moment(local, moment.utc) if moment.utc is not None and series.tz is not None else series.moment(local)
    return start, series.end(start)


def expand(
    event: Event, zones: Mapping[str, Component], after: datetime, limit: int, before: datetime | None = None
) -> list[Moment]:
    """The starts of at most `limit` instances that begin at `after` (aware) or later, and before `before`, if given.

    Floating times and dates count as UTC here. Raises `TooCostly`.
    """
    if event.start is None:
        return []
    series = _Series(event, zones, event.start)
    tz, floor = series.tz or UTC, after.astimezone(UTC).replace(tzinfo=None)
    lows = [(after + shift).astimezone(tz).replace(tzinfo=None, microsecond=0, fold=0) for shift in (-_CHANGE, _NONE)]
    # What is written for a time in the gap of spring comes later than its wall clock says.
    low = lows[1] if lows[1] - lows[0] == _CHANGE else lows[0] - _CHANGE
    if before is None:
        found = map(series.moment, series.walk(low))
        return list(islice((moment for moment in found if moment.order >= floor), limit))
    end = before.astimezone(UTC).replace(tzinfo=None)
    # On the wall clock the end may lie later by the change of autumn.
    high = before.astimezone(tz).replace(tzinfo=None, fold=0) + _CHANGE
    found = map(series.moment, takewhile(lambda local: local < high, series.walk(low, high)))
    return list(islice((moment for moment in found if floor <= moment.order < end), limit))


def last_end(event: Event, zones: Mapping[str, Component]) -> Moment | None:
    """When the last instance is over (EXDATE not considered); None where the series has no end, or none that is known.

    An instance without an end is over when it begins. Sub-daily rules are over at UNTIL. Raises `TooCostly`.
    """
    if event.start is None:
        return None
    if not event.rrules and not event.rdates and event.start.utc is not None and event.end and event.end.utc:
        return event.end  # most meetings take place once
    series = _Series(event, zones, event.start)
    last = max([series.start, *map(series.local, event.rdates)])
    for rule in series.rules:
        if rule.count is not None:
            found = rule.last()
        elif rule.until is not None:
            found = _last_before(series, rule, series.local(rule.until))
        else:
            return None
        last = max(last, found or last)
    start = series.moment(last)
    return series.end(start) or start


def _last_before(series: _Series, rule: Rule, until: datetime) -> datetime | None:
    """The last time of a rule with UNTIL, looked for from shortly before it, then from further back."""
    if not rule.daily:
        return until
    until, days = until + _DAY, 3
    while True:
        low = until - min(timedelta(days=days), max(until - series.start, _DAY))
        found = max(takewhile(lambda local: series.in_time(rule, local), rule.walk(low, until)), default=None)
        if found is not None or low <= series.start:
            return found
        days *= 15
