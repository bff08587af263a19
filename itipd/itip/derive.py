"""Components that the organizer did not write: an instance derived from its series, a component at another time.

Pure. The lines stay the organizer's; only times, RECURRENCE-ID and STATUS are replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from itipd.itip import recurrence, timezones
from itipd.itip.contentlines import Component, escape
from itipd.itip.model import Event, Moment
from itipd.itip.properties import with_lines

RECURRENCE = frozenset({"RRULE", "RDATE", "EXDATE", "EXRULE", "RECURRENCE-ID"})
TIMES = frozenset({"DTSTART", "DTEND", "DUE", "DURATION"})


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
    if end is not None:
        end = here(end)
    elif start is not None and event.start is not None and event.end is not None:
        length = event.end.order - event.start.order
        end = here(Moment(start.local + length, start.utc + length if start.utc else None, start.is_date))
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
