"""When an organizer is busy: the times that meetings take, as periods (RFC 5545 §3.6.4, §3.8.2.6-7).

Pure, and bounded: series are expanded a few instances at a time, and only within the span that is asked about.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from itipd.itip import derive, lookup, recurrence
from itipd.itip.model import Event, Meeting, Moment
from itipd.itip.properties import value_of
from itipd.itip.read import Zones
from itipd.itip.recurrence import TooCostly

MOST_PERIODS = 500  # in one answer; where there are more it ends before the next
MOST_INSTANCES = 10_000  # of all meetings
CHUNK = 250  # instances of a series that are looked for at once
DAY, SECOND = timedelta(days=1), timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Period:
    """Busy from `start` to `end` (aware, UTC); `tentative`: only perhaps."""

    start: datetime
    end: datetime
    tentative: bool = False


def busy(meetings: Iterable[Meeting], start: datetime, end: datetime) -> tuple[tuple[Period, ...], datetime]:
    """(the busy periods from `start` to `end`, in order, how far they reach); overlapping ones of a kind are one.

    `meetings` have all their events. The second value is before `end` where there were too many. Raises `TooCostly`.
    """
    found: list[Period] = []
    for meeting in meetings:
        for period in _periods(meeting, start, end):
            found.append(period)
            if len(found) > MOST_INSTANCES:
                raise TooCostly(f"more than {MOST_INSTANCES} instances of meetings in the span")
    merged = _merged(found)
    if len(merged) > MOST_PERIODS:
        return tuple(merged[:MOST_PERIODS]), merged[MOST_PERIODS].start
    return tuple(merged), end


def _periods(meeting: Meeting, start: datetime, end: datetime) -> Iterator[Period]:
    if meeting.status == lookup.CANCELLED or meeting.component != "VEVENT":
        return
    for event in _instances(meeting, start, end):
        length = _length(event)
        if event.start is None or not length or event.status == lookup.CANCELLED or not _opaque(event):
            continue
        begins = instant(event.start)
        if begins < end and begins + length > start:
            yield Period(max(begins, start), min(begins + length, end), event.status == "TENTATIVE")


def _instances(meeting: Meeting, start: datetime, end: datetime) -> Iterator[Event]:
    """Everything of a meeting that may take place in between: single events, overrides, instances of the series."""
    master = meeting.events.get("")
    recurs = master is not None and bool(master.rrules or master.rdates)
    yield from (event for rid, event in meeting.events.items() if rid or not recurs)
    if master is None or master.start is None or not recurs:
        return
    zones = lookup.zones(meeting.zones)
    # RANGE=THISANDFUTURE (RFC 5545 §3.2.13): from there on the instances are as that override has them.
    later = sorted(rid for rid, event in meeting.events.items() if rid and event.future)
    models = [master, *(meeting.events[rid] for rid in later)]
    if not any(_length(model) and _opaque(model) for model in models):
        return
    shift = _shift(meeting, zones)
    for moment in _starts(master, master.start, zones, start - max(map(_length, models)) - shift, end + shift):
        if moment.rid in meeting.events:
            continue  # the override speaks for it
        if later and moment.rid > later[0]:
            yield derive.at(meeting, zones, moment.rid)
        else:
            yield replace(master, start=moment, end=_after(moment, _length(master)))


def _after(start: Moment, length: timedelta) -> Moment:
    return Moment(start.local + length, start.utc + length if start.utc else None, start.is_date)


def _shift(meeting: Meeting, zones: Zones) -> timedelta:
    """How far an override that holds for all that follow may move them, at most."""
    found = [timedelta()]
    for rid, event in meeting.events.items():
        if rid and event.future and event.start is not None and "" in meeting.events:
            try:
                original, _ = recurrence.span(meeting.events[""], zones, rid)
            except ValueError:
                continue  # a series that cannot be followed: nothing follows from it for other instances either
            found.append(abs(instant(event.start) - instant(original)) + DAY)
    return max(found)


def _starts(event: Event, first: Moment, zones: Zones, after: datetime, before: datetime) -> Iterator[Moment]:
    """The instances that begin in between, looked for a few at a time, as far as they are wanted."""
    try:
        while True:
            found = recurrence.expand(event, zones, after, CHUNK, before)
            yield from found
            if len(found) < CHUNK:
                return
            after = instant(found[-1]) + SECOND
    except TooCostly:  # one bad rule must not make all the rest unknown: of it only the first instance is known
        yield first


def _opaque(event: Event) -> bool:
    """RFC 5545 §3.8.2.7: TRANSP:TRANSPARENT takes no time."""
    return (value_of(event.lines, "TRANSP") or "").strip().upper() != "TRANSPARENT"


def _length(event: Event) -> timedelta:
    """How long an instance takes: a VEVENT has both times, whatever it leaves out (`incoming`, RFC 5545 §3.6.1)."""
    return instant(event.end) - instant(event.start) if event.start and event.end else timedelta()


def instant(moment: Moment) -> datetime:
    """An instant; floating times and dates count as UTC."""
    return moment.order.replace(tzinfo=UTC)


def _merged(periods: Iterable[Period]) -> list[Period]:
    """In order, those that touch as one; what is only perhaps busy gives way where it surely is."""
    sure = _united(one for one in periods if not one.tentative)
    perhaps = _united(one for one in periods if one.tentative)
    return sorted([*sure, *_without(perhaps, sure)], key=lambda one: (one.start, one.end))


def _united(periods: Iterable[Period]) -> list[Period]:
    found: list[Period] = []
    for one in sorted(periods, key=lambda one: one.start):
        if found and one.start <= found[-1].end:
            found[-1] = Period(found[-1].start, max(found[-1].end, one.end), one.tentative)
        else:
            found.append(one)
    return found


def _without(periods: Iterable[Period], others: list[Period]) -> Iterator[Period]:
    """What of `periods` lies in none of `others`; both are in order and without overlaps."""
    first = 0
    for one in periods:
        begins = one.start
        while first < len(others) and others[first].end <= begins:
            first += 1
        index = first
        while index < len(others) and others[index].start < one.end:
            if begins < others[index].start:
                yield Period(begins, others[index].start, one.tentative)
            begins = max(begins, others[index].end)
            index += 1
        if begins < one.end:
            yield Period(begins, one.end, one.tentative)


def span(meeting: Meeting) -> tuple[datetime | None, datetime | None]:
    """(when the first instance begins, when the last is over), None: unknown, or endless. It may be too wide."""
    if meeting.component != "VEVENT":
        return None, None
    zones = lookup.zones(meeting.zones)
    events = [event for event in meeting.events.values() if event.start is not None]
    begins = [instant(moment) for event in events for moment in (event.start, *event.rdates) if moment is not None]
    ends = []
    for event in events:
        try:
            last = recurrence.last_end(event, zones)
        except TooCostly:
            last = None
        if last is None:
            return min(begins, default=None), None
        ends.append(instant(last) + (DAY if last.is_date else timedelta()))
    if not begins:
        return None, None
    shift = _shift(meeting, zones)
    return min(begins) - shift, max(ends) + shift
