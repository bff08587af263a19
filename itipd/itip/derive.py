"""Components that the organizer did not write: an instance derived from its series, a component at another time.

Pure. The lines stay the organizer's; only times, RECURRENCE-ID and STATUS are replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo

from itipd.itip import recurrence, timezones
from itipd.itip.contentlines import Component, escape
from itipd.itip.model import Event, Meeting, Moment
from itipd.itip.properties import value_of, with_lines

RECURRENCE = frozenset({"RRULE", "RDATE", "EXDATE", "EXRULE", "RECURRENCE-ID"})
ENDS = frozenset({"UNTIL", "COUNT"})
TIMES = frozenset({"DTSTART", "DTEND", "DUE", "DURATION"})
DAY = timedelta(days=1)


def time_line(name: str, moment: Moment, tzid: str | None) -> str:
    """A DATE or DATE-TIME property (RFC 5545 §3.3.4-5) in the form that `moment` has."""
    if moment.is_date:
        return f"{name};VALUE=DATE:{moment.rid}"
    if tzid is None:  # in UTC or floating
        return f"{name}:{moment.rid}"
    local = moment.local.strftime("%Y%m%dT%H%M%S")
    zone = f'"{tzid}"' if any(sign in tzid for sign in ":;,") else tzid
    return f"{name};TZID={zone}:{local}"


def moment_of(rid: str) -> Moment | None:
    """A recurrence id of the interface (`20261208T090000Z`, `20261208T090000`, `20261208`) as a Moment."""
    for form, is_date in (("%Y%m%dT%H%M%SZ", False), ("%Y%m%dT%H%M%S", False), ("%Y%m%d", True)):
        try:
            local = datetime.strptime(rid, form)  # noqa: DTZ007 - a wall clock
        except ValueError:
            continue
        return Moment(local, local.replace(tzinfo=UTC) if form.endswith("Z") else None, is_date)
    return None


def instance(master: Event, zones: Mapping[str, Component], rid: str) -> Event:
    """The instance at `rid` (canonical, it exists) as a component of its own, as the series has it."""
    start, end = recurrence.span(master, zones, rid)
    lines = [time_line("RECURRENCE-ID", start, master.tzid), *_times(master, start, end, master.tzid)]
    return replace(
        master,
        rid=rid,
        lines=with_lines(master.lines, lines, RECURRENCE | TIMES),
        sequence_given=False,
        start=start,
        end=end,
        rrules=(),
        rdates=(),
        exdates=(),
    )


def timed(event: Event, master: Event, zones: Mapping[str, Component]) -> Event:
    """An override that says nothing of when: at its RECURRENCE-ID, as long as the series, and of the same title.

    RFC 5546 §3.2.2 and §3.2.5 ask for DTSTART; applications leave it out, above all of an instance that they cancel.
    """
    if event.start is not None or not event.rid:
        return event
    try:
        start, end = recurrence.span(master, zones, event.rid)
    except ValueError:
        return event  # a series without DTSTART itself, or a rule that nobody can follow
    lines = [time_line("DTSTART", start, master.tzid)]
    length = timezones.parse_duration(value_of(event.lines, "DURATION") or "")
    if event.end is not None:
        end = event.end
    elif length is not None:
        end = Moment(start.local + length, start.utc + length if start.utc else None, start.is_date)
    else:
        lines += _times(event, None, end, master.tzid) if end is not None and end.order > start.order else []
    summary = event.summary
    if master.summary and value_of(event.lines, "SUMMARY") is None:
        summary = master.summary
        lines.append(f"SUMMARY:{escape(summary)}")
    text = with_lines(event.lines, lines, ())
    return replace(event, lines=text, start=start, end=end, summary=summary, tzid=master.tzid)


def at(meeting: Meeting, zones: Mapping[str, Component], rid: str) -> Event:
    """The instance at `rid` as it is without an override of its own.

    As the series has it, or the last override before it that holds for all that follow (RANGE=THISANDFUTURE, RFC 5545
    §3.2.13).
    """
    master = meeting.events[""]
    plain = instance(master, zones, rid)
    before = max((key for key, event in meeting.events.items() if event.future and "" < key < rid), default="")
    model = meeting.events[before]
    if not before or model.start is None or plain.start is None:
        return plain
    there, _ = recurrence.span(master, zones, before)
    local = plain.start.local + (model.start.local - there.local)
    zone = timezones.resolve(model.tzid, zones) if model.tzid is not None else None
    start = Moment(local, is_date=True) if model.start.is_date else timezones.at(local, zone or _utc(model.start))
    end = _after(start, model)
    lines = [time_line("RECURRENCE-ID", recurrence.span(master, zones, rid)[0], master.tzid)]
    lines += _times(model, start, end, model.tzid)
    text = with_lines(model.lines, lines, RECURRENCE | TIMES)
    return replace(model, rid=rid, lines=text, start=start, end=end, sequence_given=False, future=False)


def _utc(moment: Moment) -> tzinfo | None:
    return UTC if moment.utc is not None else None


def _after(start: Moment, model: Event) -> Moment | None:
    """The end of a component that begins at `start` and is as long as `model`; in days where it has no time."""
    if model.end is None or model.start is None:
        return None
    length = model.end.order - model.start.order
    if start.is_date:
        length = max(timedelta(days=-(-length // DAY)), DAY)
    return Moment(start.local + length, start.utc + length if start.utc else None, start.is_date)


def _times(event: Event, start: Moment | None, end: Moment | None, tzid: str | None) -> list[str]:
    lines = [time_line("DTSTART", start, tzid)] if start is not None else []
    if end is not None and (start is None or end.order > start.order):  # RFC 5545 §3.8.2.2: later than DTSTART
        lines.append(time_line("DUE" if event.component == "VTODO" else "DTEND", end, tzid))
    return lines


def moved(event: Event, zones: Mapping[str, Component], start: Moment | None, end: Moment | None) -> Event:
    """`event` at another time, in its own zone; with only a start it keeps its length, with only an end its start."""
    if start is None and end is None:
        return event
    zone = timezones.resolve(event.tzid, zones) if event.tzid is not None else None
    if zone is None and event.start is not None and event.start.utc is not None:
        zone = UTC

    def here(moment: Moment) -> Moment:
        if moment.is_date:
            return moment
        if moment.utc is None:
            return timezones.at(moment.local, zone)  # the wall clock of the event's own zone
        return Moment(moment.utc.astimezone(zone or UTC).replace(tzinfo=None), moment.utc)

    begin = here(start) if start is not None else event.start
    if end is None and start is not None:
        end = _after(start, event)
    end = here(end) if end is not None else None
    tzid = event.tzid if begin is not None and begin.utc is not None and zone is not UTC else None
    lines = with_lines(event.lines, _times(event, begin, end, tzid), TIMES)
    return replace(event, lines=lines, start=begin, end=end, tzid=tzid)


def with_status(event: Event, status: str) -> Event:
    """`event` with this STATUS (RFC 5545 §3.8.1.11)."""
    return replace(event, status=status, lines=with_lines(event.lines, [f"STATUS:{status}"], {"STATUS"}))


def with_location(event: Event, location: str) -> Event:
    """`event` at another place."""
    lines = with_lines(event.lines, [f"LOCATION:{escape(location)}"], {"LOCATION"})
    return replace(event, location=location, lines=lines)


def without_after(event: Event, rid: str) -> Event:
    """A series that ends with the instance at `rid`: its rules get this UNTIL (RFC 5545 §3.3.10)."""
    rules = []
    for rule in event.rrules:
        parts = [part for part in rule.split(";") if part and part.partition("=")[0].strip().upper() not in ENDS]
        rules.append(";".join([*parts, f"UNTIL={rid}"]))
    lines = with_lines(event.lines, [f"RRULE:{rule}" for rule in rules], {"RRULE"})
    return replace(event, rrules=tuple(rules), lines=lines)


def with_instance(event: Event, start: Moment, tzid: str | None) -> Event:
    """A series with one instance more (RDATE, RFC 5545 §3.8.5.2)."""
    lines = with_lines(event.lines, [time_line("RDATE", start, tzid)], ())
    return replace(event, rdates=(*event.rdates, start), lines=lines)
