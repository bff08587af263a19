"""What changed between two versions of the organizer's component, and how much it matters (RFC 5546 §2.1.4).

Pure. Compares values, not texts: another zone with the same instants, DURATION for an equal DTEND and the order of a
rule's parts are no change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, timedelta

from itipd.itip import recurrence, timezones
from itipd.itip.model import Change, Event, Moment
from itipd.itip.properties import name_of, split
from itipd.itip.read import Zones
from itipd.itip.recurrence import TooCostly

# Never a reason to write to anybody: bookkeeping, and what is compared by value elsewhere.
UNSEEN = frozenset(
    "DTSTAMP CREATED LAST-MODIFIED PRODID SEQUENCE UID RECURRENCE-ID DTSTART DTEND DUE DURATION RRULE RDATE EXDATE "
    "STATUS LOCATION ORGANIZER REQUEST-STATUS".split()
)
SEEN_EXTENSIONS = frozenset({"X-ALT-DESC"})  # shown to people; other X- properties are not


@dataclass(frozen=True, slots=True)
class Difference:
    """Which kinds of properties differ. `rule`: there are other instances; `cut`: only fewer (UNTIL, COUNT, EXDATE)."""

    time: bool = False
    rule: bool = False
    cut: bool = False
    status: bool = False
    place: bool = False
    texts: bool = False
    dropped: tuple[str, ...] = ()  # instances that new EXDATEs take out, where nothing else cuts the series

    @property
    def resets(self) -> bool:
        """Answers fall back to NEEDS-ACTION: time or rule changed, more than by cutting the series short."""
        return self.time or self.rule

    @property
    def significant(self) -> bool:
        """SEQUENCE must rise (RFC 5546 §2.1.4)."""
        return self.time or self.rule or self.cut or self.status

    @property
    def visible(self) -> bool:
        """Somebody who is invited would see it."""
        return self.significant or self.place or self.texts

    @property
    def only_instances_out(self) -> bool:
        """Nothing but new EXDATEs: the instances are cancelled, the rest stays."""
        return bool(self.dropped) and not (self.time or self.rule or self.status or self.place or self.texts)


def difference(old: Event, new: Event, old_zones: Zones, new_zones: Zones) -> Difference:
    """How `new` differs from `old`, both the same R."""
    recurs = bool(old.rrules or new.rrules)
    time = not same(old.start, new.start) or not same(old.end, new.end)
    if recurs and not time and old.tzid != new.tzid:
        time = not _same_zone(old, new, old_zones, new_zones)
    edited, longer = _rules(old, new, old_zones, new_zones)
    dates = _dates(old, new)
    try:
        come, out = _appeared(old, new, old_zones, new_zones), _taken_out(old, new, old_zones)
    except TooCostly:
        come, out = dates, set()  # the safe side asks again
    return Difference(
        time=time,
        rule=longer or come,
        cut=edited or dates,
        status=old.status != new.status,
        place=(old.location or "") != (new.location or ""),
        texts=_shown(old) != _shown(new),
        dropped=tuple(sorted(out)) if not edited and _texts(old.rdates) == _texts(new.rdates) else (),
    )


def _texts(moments: Iterable[Moment]) -> set[str]:
    return {moment.rid for moment in moments}


def _beyond(moments: Iterable[Moment], known: Iterable[Moment]) -> list[Moment]:
    rids = _texts(known)
    return [moment for moment in moments if moment.rid not in rids]


def _dates(old: Event, new: Event) -> bool:
    """RDATE or EXDATE changed, in whatever way (RFC 5546 §2.1.4)."""
    return _texts(old.rdates) != _texts(new.rdates) or _texts(old.exdates) != _texts(new.exdates)


def _appeared(old: Event, new: Event, old_zones: Zones, new_zones: Zones) -> bool:
    """RDATE or a dropped EXDATE brings an instance that was not there."""
    moments = (*_beyond(new.rdates, old.rdates), *_beyond(old.exdates, new.exdates))
    there = (moment for moment in moments if recurrence.find(new, new_zones, moment) is not None)
    return any(recurrence.find(old, old_zones, moment) is None for moment in there)


def _taken_out(old: Event, new: Event, zones: Zones) -> set[str]:
    """The instances that were there and that new EXDATEs take out."""
    found = (recurrence.find(old, zones, moment) for moment in _beyond(new.exdates, old.exdates))
    return {rid for rid in found if rid is not None}


def same(one: Moment | None, other: Moment | None) -> bool:
    """The same instant, or the same date or floating time."""
    if one is None or other is None:
        return one is other
    if one.is_date != other.is_date:
        return False
    if one.utc is not None and other.utc is not None:
        return one.utc == other.utc
    return one.utc is other.utc and one.local == other.local


def _same_zone(old: Event, new: Event, old_zones: Zones, new_zones: Zones) -> bool:
    """Two spellings of zones that agree for two years from the start, looked at every eleven days."""
    if old.start is None or new.start is None or old.start.utc is None:
        return old.start is None or old.start.is_date  # a date has no zone, whatever is written
    one, other = (
        timezones.resolve(event.tzid, zones) if event.tzid is not None else UTC
        for event, zones in ((old, old_zones), (new, new_zones))
    )
    days = (old.start.local + timedelta(days=11 * step) for step in range(67))
    return all(timezones.at(day, one) == timezones.at(day, other) for day in days)


def _parts(rule: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in rule.upper().split(";") if part)
    parts = {name.strip(): value.strip() for name, _, value in pairs}
    for name, default in (("INTERVAL", "1"), ("WKST", "MO")):
        if parts.get(name) == default:
            del parts[name]
    return {name: ",".join(sorted(value.split(","))) for name, value in parts.items()}


def _rules(old: Event, new: Event, old_zones: Zones, new_zones: Zones) -> tuple[bool, bool]:
    """(RRULE changed, by more than cutting the series short)."""
    before, after = [_parts(rule) for rule in old.rrules], [_parts(rule) for rule in new.rrules]
    if before == after:
        return False, False
    for rule in (*before, *after):
        rule.pop("UNTIL", None)
        rule.pop("COUNT", None)
    if len(before) != 1 or before != after:
        return True, True
    try:
        was, now = recurrence.last_end(old, old_zones), recurrence.last_end(new, new_zones)
    except TooCostly:
        return True, True  # the safe side asks again
    return True, now is None or (was is not None and now.order > was.order)


def _shown(event: Event) -> list[tuple[str, str]]:
    """What people see of a component, in no order; parameters do not count, VALARMs are the reader's own."""
    found = []
    for line in split(event.lines)[0]:
        name = name_of(line)
        if name in UNSEEN or (name.startswith("X-") and name not in SEEN_EXTENSIONS):
            continue
        value = line.partition(":")[2]
        if value:
            found.append((name, value))
    return sorted(found)


def changes(old: Event | None, new: Event) -> Iterator[Change]:
    """The visible changes of a component, for transcripts."""
    pairs = {
        "start": (old.start.iso if old and old.start else None, new.start.iso if new.start else None),
        "end": (old.end.iso if old and old.end else None, new.end.iso if new.end else None),
        "rrule": ("\n".join(old.rrules) if old else None, "\n".join(new.rrules)),
        "status": (old.status if old else None, new.status),
        "summary": (old.summary if old else None, new.summary),
        "location": (old.location if old else None, new.location),
    }
    for name, (before, after) in pairs.items():
        if (before or None) != (after or None):
            yield Change(None, new.rid, name, before or None, after or None)
