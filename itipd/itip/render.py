"""A meeting as iCalendar, for a method and its recipients (RFC 5546 §3.2, RFC 5545; what Outlook and Exchange need).

The organizer's lines go out as they came, VALARM and X- too; ATTENDEE, SEQUENCE, DTSTAMP and STATUS are ours.
Pure: `now` is an argument.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from itipd.itip import derive, lookup, timezones
from itipd.itip.contentlines import escape, fold, format_line
from itipd.itip.model import NEEDS_ACTION, Attendee, Event, Meeting, Send
from itipd.itip.properties import join, name_of, split, text_of, value_of
from itipd.itip.vtimezone import vtimezone

PRODID = "-//itipd//itipd//EN"
GUEST_LIMIT = 200
"""A mail lists at most so many ATTENDEEs; in a larger meeting each sees only their own (cost follows the message)."""


def calendar(meeting: Meeting, send: Send, now: datetime) -> str:
    """The VCALENDAR of one mail, folded. `meeting` is as it is after the decision.

    In a meeting of more than `GUEST_LIMIT` guests only the recipients who are given a line of their own
    (`own_line`) are listed.
    """
    events = list(_components(meeting, send))
    lines = _frame(send.method)
    for event, rows in events:
        shown = rows if len(rows) <= GUEST_LIMIT else []
        lines += _component(meeting, event, shown, send, now)
    return _folded(meeting, [event for event, _ in events], lines)


def export(meeting: Meeting, now: datetime) -> str:
    """The whole meeting with the PARTSTATs of now, without METHOD."""
    lines = _frame(None)
    events = []
    for rid in sorted(meeting.events):
        event = meeting.events[rid]
        rows = _guests(meeting, rid)
        events.append(event)
        send = Send("", (), rid, event.sequence, "")
        lines += _component(meeting, event, rows, send, event.dtstamp or now)
    return _folded(meeting, events, lines)


def own_line(row: Attendee) -> str:
    """One recipient's ATTENDEE, unfolded: for meetings too large to list everybody."""
    return attendee_line(row)


def _frame(method: str | None) -> list[str]:
    lines = ["BEGIN:VCALENDAR", f"PRODID:{PRODID}", "VERSION:2.0", "CALSCALE:GREGORIAN"]
    return [*lines, f"METHOD:{method}"] if method else lines


def _folded(meeting: Meeting, events: Iterable[Event], lines: list[str]) -> str:
    zones = _zones(meeting, events)
    at = next(index for index, line in enumerate([*lines, "BEGIN:V"]) if index and line.startswith("BEGIN:"))
    return "".join(map(fold, [*lines[:at], *zones, *lines[at:], "END:VCALENDAR"]))


def _zones(meeting: Meeting, events: Iterable[Event]) -> list[str]:
    """A VTIMEZONE for every TZID in use (RFC 5545 §3.6.5): ours for known zones, else the organizer's own."""
    used: dict[str, int] = {}
    for event in events:
        for line in event.lines.split("\n"):
            name, sep, rest = line.partition(";TZID=")
            if sep and name.isascii():
                tzid = rest[1:].partition('"')[0] if rest[:1] == '"' else rest.partition(":")[0].partition(";")[0]
                year = event.start.local.year if event.start is not None else 1970
                used[tzid] = min(used.get(tzid, year), year)
    found: list[str] = []
    own = lookup.zones(meeting.zones)
    for tzid, since in used.items():
        text = vtimezone(tzid, since)
        if text is None and tzid in own:
            text = text_of(own[tzid])
        found += (text or "").splitlines()
    return found


def _components(meeting: Meeting, send: Send) -> Iterable[tuple[Event, list[Attendee]]]:
    """The components of a mail with the attendees each lists."""
    recipients = set(send.to)
    if send.rid:
        event = meeting.events.get(send.rid)
        if event is None:
            event = derive.instance(meeting.events[""], lookup.zones(meeting.zones), send.rid)
            event = replace(event, sequence=send.sequence)
        yield event, _listed(meeting, send, send.rid)
        return
    master = meeting.events.get("")
    if master is None:  # an invitation to some instances only
        yield from ((meeting.events[rid], _listed(meeting, send, rid)) for rid in sorted(meeting.events))
        return
    yield _without_cancelled(meeting, master), _listed(meeting, send, "")
    if send.method != "REQUEST":
        return
    for rid in sorted(rid for rid in meeting.events if rid):
        event, rows = meeting.events[rid], _guests(meeting, rid)
        if event.status != lookup.CANCELLED and recipients & {row.address for row in rows}:
            yield event, rows


def _without_cancelled(meeting: Meeting, master: Event) -> Event:
    """The series with an EXDATE for every cancelled instance, so that a REQUEST does not bring it back."""
    if not master.rrules and not master.rdates:
        return master
    lines = []
    for rid, event in sorted(meeting.events.items()):
        if not rid or event.status != lookup.CANCELLED or meeting.status == lookup.CANCELLED:
            continue
        instant = derive.moment_of(rid)
        if instant is not None and instant.utc is not None and master.tzid is not None:
            zone = timezones.resolve(master.tzid, lookup.zones(meeting.zones))
            local = instant.utc.astimezone(zone).replace(tzinfo=None) if zone is not None else instant.local
            instant = replace(instant, local=local)
        if instant is not None:
            lines.append(derive.time_line("EXDATE", instant, master.tzid))
    own, inner = split(master.lines)
    return replace(master, lines=join([*own, *lines], inner)) if lines else master


def _guests(meeting: Meeting, rid: str) -> list[Attendee]:
    override = meeting.events.get(rid) if rid else None
    found = (lookup.standing(rows, rid, override) for rows in lookup.rows_by_address(meeting).values())
    return sorted((row for row in found if row is not None and not row.removed), key=lambda row: row.position)


def _listed(meeting: Meeting, send: Send, rid: str) -> list[Attendee]:
    """REQUEST lists everybody; CANCEL to removed ones and DECLINECOUNTER only whom they are about."""
    if not send.uninvite and send.method != "DECLINECOUNTER":
        return _guests(meeting, rid)
    found = []
    for address in send.to:
        rows = lookup.rows_of(meeting, address)
        row = rows.get(rid) or rows.get("")
        found.append(row if row is not None else Attendee(address))
    return found


def _component(meeting: Meeting, event: Event, rows: list[Attendee], send: Send, now: datetime) -> list[str]:
    stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    own, inner = split(event.lines)
    drop = {"DTSTAMP", "SEQUENCE", "REQUEST-STATUS"}
    if send.method == "CANCEL":
        drop |= {"STATUS", "RRULE", "RDATE", "EXDATE"} if send.rid or send.uninvite else {"STATUS"}
    if send.method == "DECLINECOUNTER":
        drop |= {"RRULE", "RDATE", "EXDATE", "ATTACH", "COMMENT"}
    if send.method in ("CANCEL", "DECLINECOUNTER"):
        inner = []  # RFC 5546 §3.2.5, §3.2.8: no VALARM
    kept = [line for line in own if name_of(line) not in drop]
    lines = [f"BEGIN:{event.component}", *kept]
    if send.rid and value_of(event.lines, "RECURRENCE-ID") is None:
        lines.append(derive.time_line("RECURRENCE-ID", event.start, event.tzid) if event.start else "")
    sequence = send.sequence if event.rid == send.rid else event.sequence
    lines += [f"DTSTAMP:{stamp}", f"SEQUENCE:{sequence}"]
    lines += [f"{name}:{stamp}" for name in ("CREATED", "LAST-MODIFIED") if value_of(event.lines, name) is None]
    if send.method == "CANCEL" and not send.uninvite:
        lines.append("STATUS:CANCELLED")  # RFC 5546 §3.2.5; not to one who is only taken off the list
    if send.comment:
        lines.append(f"COMMENT:{escape(send.comment)}")
    lines += [attendee_line(row) for row in rows]
    return [*[line for line in lines if line], *inner, f"END:{event.component}"]


def attendee_line(row: Attendee) -> str:
    """ATTENDEE with all the organizer's parameters and the state of now, unfolded (RFC 5545 §3.8.4.1)."""
    params = {name: values for name, values in row.params.items() if not name.startswith("SCHEDULE-")}
    params["PARTSTAT"] = (row.partstat or NEEDS_ACTION,)
    if row.rsvp:
        params["RSVP"] = ("TRUE",)
    for name, addresses in (("DELEGATED-TO", row.delegated_to), ("DELEGATED-FROM", row.delegated_from)):
        if addresses:
            params[name] = tuple(f"mailto:{address}" for address in addresses)
    if row.sent_by:
        params["SENT-BY"] = (f"mailto:{row.sent_by}",)
    return format_line("ATTENDEE", params, f"mailto:{row.address}")
