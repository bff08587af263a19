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
    local = moment.local.strftime("%Y%m%dT%H%M%S")
    if moment.utc is None:
        return f"{name}:{local}"
    if tzid is None:
        return f"{name}:{moment.utc.strftime('%Y%m%dT%H%M%SZ')}"
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
    lines = [time_line("RECURRENCE-ID", start, master.tzid), time_line("DTSTART", start, master.tzid)]
    if end is not None:
        lines.append(time_line("DUE" if master.component == "VTODO" else "DTEND", end, master.tzid))
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


def moved(event: Event, zones: Mapping[str, Component], start: Moment | None, end: Moment | None) -> Event:
    """`event` at another time, in its own zone; with only a start it keeps its length."""
    if start is None:
        return event
    if end is None and event.start is not None and event.end is not None:
        length = event.end.local - event.start.local
        end = Moment(start.local + length, start.utc + length if start.utc else None, start.is_date)
    zone = timezones.resolve(event.tzid, zones) if event.tzid is not None else None

    def here(moment: Moment) -> Moment:
        if moment.utc is None or zone is None:
            return moment
        return Moment(moment.utc.astimezone(zone).replace(tzinfo=None), moment.utc)

    start, end = here(start), here(end) if end is not None else None
    tzid = event.tzid if zone is not None and start.utc is not None else None
    lines = [time_line("DTSTART", start, tzid)]
    if end is not None:
        lines.append(time_line("DUE" if event.component == "VTODO" else "DTEND", end, tzid))
    return replace(event, lines=with_lines(event.lines, lines, TIMES), start=start, end=end, tzid=tzid)


def with_status(event: Event, status: str) -> Event:
    """`event` with this STATUS (RFC 5545 §3.8.1.11)."""
    return replace(event, status=status, lines=with_lines(event.lines, [f"STATUS:{status}"], {"STATUS"}))


def with_location(event: Event, location: str) -> Event:
    """`event` at another place."""
    lines = with_lines(event.lines, [f"LOCATION:{escape(location)}"], {"LOCATION"})
    return replace(event, location=location, lines=lines)
