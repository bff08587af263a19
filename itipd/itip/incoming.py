"""The organizer's own calendar -> one `Incoming` for each UID (RFC 5546 §3.2.2): for `meeting put` and submission.

The organizer's lines are kept verbatim; only what decisions compare is read out of them. What cannot be registered is
an `Incoming` with a fault, by name; one bad UID never spoils the others. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from itipd.itip import derive, timezones
from itipd.itip.addresses import canonical
from itipd.itip.contentlines import Component, Limits, TooLarge, Unreadable, format_line, parse
from itipd.itip.model import Attendee, CalAddress, Event, Fault, Incoming, Moment, clean
from itipd.itip.outcomes import Outcome, Reason
from itipd.itip.properties import join, name_of, text_of
from itipd.itip.quick import replace
from itipd.itip.read import SEQUENCE_LIMIT, UID_LIMIT, Zones, instant, number
from itipd.itip.recur import parse_rule
from itipd.itip.recurrence import BadRule, TooCostly, find
from itipd.itip.written import attendees_of

SCHEDULED = ("VEVENT", "VTODO")
LIMITS = Limits(size=64 << 20, lines=1_000_000, line=8 << 20, components=100_000)
"""An organizer's own file may be large: 10,000 ATTENDEEs are a megabyte."""


@dataclass(slots=True)
class _Group:
    """The components of one UID, and the calendar-wide things that go with them."""

    method: str | None
    components: list[Component] = field(default_factory=list)
    zones: dict[str, Component] = field(default_factory=dict)


def incoming(data: bytes, limits: Limits = LIMITS) -> tuple[Incoming, ...]:
    """Every UID in `data` (UTF-8, one or more VCALENDARs), in the order of their first component."""
    try:
        calendars, quirks = parse(data, limits=limits)
    except TooLarge as error:
        return (_faulty("", error.reason, str(error)),)
    except Unreadable as error:
        return (_faulty("", Reason.MALFORMED, str(error)),)
    groups: dict[str, _Group] = {}
    for calendar in calendars:
        zones = timezones.zones_of(calendar)
        method = (calendar.text("METHOD", 64) or "").upper() or None
        for component in calendar.children:
            if component.name in SCHEDULED:
                uid = component.text("UID", UID_LIMIT) or ""
                group = groups.setdefault(uid, _Group(method))
                group.components.append(component)
                group.zones.update(zones)
    if not groups:
        return (_faulty("", Reason.MALFORMED, "a calendar with neither VEVENT nor VTODO"),)
    return tuple(_meeting(uid, group, quirks) for uid, group in groups.items())


def _faulty(uid: str, reason: Reason, detail: str, text: str = "") -> Incoming:
    return Incoming(uid, text, fault=Fault(Outcome.ERROR, reason, None, uid or None, detail))


def _meeting(uid: str, group: _Group, quirks: tuple[str, ...]) -> Incoming:
    used = {name: zone for name, zone in group.zones.items() if _uses(group.components, name)}
    zones = "".join(text_of(zone) for zone in used.values())
    text = "BEGIN:VCALENDAR\nVERSION:2.0\n" + (f"METHOD:{group.method}\n" if group.method else "")
    text += zones + "".join(map(text_of, group.components)) + "END:VCALENDAR\n"
    if not uid:
        return _faulty("", Reason.NO_UID, f"{group.components[0].name} without UID", text)
    kinds = {component.name for component in group.components}
    if len(kinds) > 1:
        return _faulty(uid, Reason.MIXED_COMPONENTS, f"{' and '.join(sorted(kinds))} under one UID", text)
    organizers = _organizers(group.components)
    if not organizers:
        return _faulty(uid, Reason.NO_ORGANIZER, f"{group.components[0].name} without an ORGANIZER address", text)
    if len(organizers) > 1:  # RFC 6638 §3.2.4.2: the same in all components
        detail = f"{len(organizers)} ORGANIZERs under one UID: {', '.join(one.address for one in organizers)}"
        return _faulty(uid, Reason.MALFORMED, detail, text)
    found = list(quirks)
    events: dict[str, Event] = {}
    attendees: list[Attendee] = []
    for component in group.components:
        event = event_of(component, used, found)
        if event is None:
            detail = f"{component.name} with a DTSTART or RECURRENCE-ID that cannot be read"
            return _faulty(uid, Reason.MALFORMED, detail, text)
        if event.rid in events:
            return _faulty(uid, Reason.DUPLICATE_INSTANCE, f"{event.rid or 'the series'} stands there twice", text)
        if (bad := _bad_rule(event)) is not None:
            return _faulty(
                uid, Reason.MALFORMED if isinstance(bad, BadRule) else Reason.RULE_TOO_COSTLY, str(bad), text
            )
        events[event.rid] = event
        attendees += attendees_of(component, event.rid, found)
    read = Incoming(
        uid=uid,
        text=text,
        method=group.method,
        component=kinds.pop(),
        organizer=organizers[0],
        zones=zones,
        events=tuple(sorted(events.values(), key=lambda event: event.rid)),
        attendees=tuple(attendees),
        quirks=tuple(dict.fromkeys(found)),
    )
    if "" in events:
        read = named_alike(read, events[""], used)
        if len({event.rid for event in read.events}) < len(events):
            return _faulty(uid, Reason.DUPLICATE_INSTANCE, "one instance stands there twice, in two forms", text)
    return read


def _organizers(components: Iterable[Component]) -> list[CalAddress]:
    """The ORGANIZERs of one UID, each address once; there ought to be one."""
    found: dict[str, CalAddress] = {}
    for component in components:
        line = component.first("ORGANIZER")
        if line is not None:
            address = canonical(line.value) or canonical(line.one("EMAIL") or "")
            if address is not None:
                found.setdefault(address, CalAddress(address, line.params))
    return list(found.values())


def _uses(components: Sequence[Component], tzid: str) -> bool:
    return any(tzid in line for component in components for line in component.raw)


def _bad_rule(event: Event) -> TooCostly | None:
    """What is wrong with an RRULE that cannot be followed; None: nothing."""
    if event.start is None:
        return None
    try:
        for rule in event.rrules:
            parse_rule(rule, event.start.local, event.start.is_date)
    except TooCostly as error:
        return error
    return None


def named_alike(incoming: Incoming, master: Event, zones: Zones) -> Incoming:
    """`incoming` with RECURRENCE-IDs in the form that the series has: applications write dates and floating times, too.

    Every answer finds its override by that form (rules.md §4.1). What an override does not say of its time, the series
    does.
    """
    if incoming.events == (master,):
        return incoming
    names: dict[str, str] = {}
    for event in incoming.events:
        moment = timezones.parse_value(event.rid) if event.rid else None
        if master.start is None or not isinstance(moment, Moment) or len(event.rid) == len(master.start.rid):
            continue
        try:
            found = find(master, zones, moment)
        except TooCostly:
            found = None
        if found is not None:
            names[event.rid] = found
    named = (replace(event, rid=names[event.rid]) if event.rid in names else event for event in incoming.events)
    return replace(
        incoming,
        events=tuple(derive.timed(event, master, zones) for event in named),
        attendees=tuple(replace(row, rid=names[row.rid]) if row.rid in names else row for row in incoming.attendees),
    )


def event_of(component: Component, zones: Zones, quirks: list[str]) -> Event | None:
    """A VEVENT or VTODO as it is stored; None where its time or RECURRENCE-ID cannot be read."""
    start = _moment(component, "DTSTART", zones, quirks)
    recurrence = _moment(component, "RECURRENCE-ID", zones, quirks)
    line, start_line = component.first("RECURRENCE-ID"), component.first("DTSTART")
    if line is not None and recurrence is None:
        return None
    if start is None and component.name == "VEVENT":
        if start_line is not None:
            return None
        quirks.append("no_dtstart")
    # A UTC time has no zone, whatever is written beside it (RFC 5545 §3.2.19).
    tzid = start_line.one("TZID") if start_line is not None and not start_line.value.strip().endswith("Z") else None
    sequence = number(component.first("SEQUENCE"), SEQUENCE_LIMIT)
    own = [raw for raw in component.raw if not raw[:8].upper().startswith("ATTENDEE")]
    if any(map(_says_nothing, own)):
        quirks.append("empty_recurrence")
        own = [raw for raw in own if not _says_nothing(raw)]
    future = line is not None and (line.one("RANGE") or "").upper() == "THISANDFUTURE"
    if line is not None and future:  # written as RFC 5546 §4.4.5 does, without RANGE, nobody else could read it
        clear = format_line(line.name, line.params, line.value)
        own = [clear if name_of(raw) == line.name else raw for raw in own]
    return Event(
        rid=recurrence.rid if recurrence is not None else "",
        component=component.name,
        lines=join(own) + "".join(map(text_of, component.children)),
        sequence=sequence or 0,
        sequence_given=sequence is not None,
        dtstamp=instant(component.first("DTSTAMP")),
        status=(component.text("STATUS", 64) or "CONFIRMED").upper(),
        summary=component.text("SUMMARY", 1000) or "",
        location=component.text("LOCATION", 1000) or None,
        start=start,
        end=_end(component, start, tzid, zones, quirks),
        tzid=tzid,
        rrules=tuple(clean(rule.value.strip(), 1000) for rule in component.all("RRULE") if rule.value.strip()),
        rdates=_moments(component, "RDATE", zones, quirks),
        exdates=_moments(component, "EXDATE", zones, quirks),
        future=future,
    )


def _says_nothing(raw: str) -> bool:
    """RRULE, RDATE or EXDATE without a value: applications write them for "none", and no client may be sent one."""
    return not raw.partition(":")[2].strip() and name_of(raw) in ("RRULE", "RDATE", "EXDATE")


def _moment(component: Component, name: str, zones: Zones, quirks: list[str]) -> Moment | None:
    line = component.first(name)
    if line is None:
        return None
    found, tolerated = timezones.moment(line, zones)
    quirks += tolerated
    return found


def _moments(component: Component, name: str, zones: Zones, quirks: list[str]) -> tuple[Moment, ...]:
    found: list[Moment] = []
    for line in filter(lambda line: line.value.strip(), component.all(name)):
        moments, tolerated = timezones.moments(line, zones)
        found += moments
        quirks += tolerated
    return tuple(found)


def _end(
    component: Component, start: Moment | None, tzid: str | None, zones: Zones, quirks: list[str]
) -> Moment | None:
    """DTEND or DUE, else DTSTART and DURATION, else the day or the instant itself (RFC 5545 §3.6.1)."""
    end = _moment(component, "DTEND", zones, quirks) or _moment(component, "DUE", zones, quirks)
    if end is not None or start is None:
        return end
    duration = component.first("DURATION")
    length = timezones.parse_duration(duration.value) if duration is not None else None
    if length is None:
        if component.name == "VTODO":
            return None
        length = timedelta(days=1) if start.is_date else timedelta(0)
    return shifted(start, length, tzid, zones)


def shifted(start: Moment, length: timedelta, tzid: str | None, zones: Mapping[str, Component]) -> Moment:
    """`start` + `length` by the wall clock of its zone."""
    local = start.local + length
    if start.is_date:
        return Moment(local, None, True)
    if start.utc is None:
        return Moment(local)
    zone = timezones.resolve(tzid, zones) if tzid is not None else None
    return timezones.at(local, zone) if zone is not None else Moment(local, start.utc + length)
