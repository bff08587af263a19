"""A meeting as iCalendar, for a method and its recipients (RFC 5546 §3.2, RFC 5545; what Outlook and Exchange need).

The organizer's lines go out as they came, VALARM and X- too; ATTENDEE, SEQUENCE, DTSTAMP and STATUS are ours.
Pure: `now` is an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from itipd.itip import derive, lookup, recurrence
from itipd.itip.attendance import instances
from itipd.itip.contentlines import escape, fold, format_line, parse_line
from itipd.itip.model import NEEDS_ACTION, Attendee, Event, Meeting, Params, Send
from itipd.itip.properties import name_of, split, text_of, value_of, with_lines
from itipd.itip.vtimezone import guessed, vtimezone

PRODID = "-//itipd//itipd//EN"
ZONED = frozenset({"DTSTART", "DTEND", "DUE", "RECURRENCE-ID", "RDATE", "EXDATE"})
FIRST_YEAR = 2038  # a zone is described from the first year in use on, and never from a later one
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
    people = lookup.rows_by_address(meeting)
    for rid in sorted({*meeting.events, *instances(meeting)}):
        event = meeting.events.get(rid) or _instance(meeting, rid)
        if event is not None:
            events.append(event)
            send = Send("", (), rid, event.sequence, "")
            lines += _component(meeting, event, _guests(meeting, rid, people), send, event.dtstamp or now)
    return _folded(meeting, events, lines)


def _instance(meeting: Meeting, rid: str) -> Event | None:
    """An instance with an answer of its own as an override, derived from the series (rules.md §4.2)."""
    try:
        return replace(derive.at(meeting, lookup.zones(meeting.zones), rid), sequence=meeting.sequence)
    except (KeyError, ValueError):
        return None  # the answer is kept for people to see, but its instance is gone


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
        for line in (parse_line(raw) for raw in split(event.lines)[0] if name_of(raw) in ZONED):
            tzid = line.one("TZID")
            if tzid:
                years = [int(text[:4]) for text in line.value.split(",") if text[:4].isdecimal()]
                used[tzid] = min([used.get(tzid, FIRST_YEAR), *years])
    found: list[str] = []
    own = lookup.zones(meeting.zones)
    for tzid, since in used.items():
        text = vtimezone(tzid, since)
        if text is None and tzid in own:
            text = text_of(own[tzid])
        found += (text or guessed(tzid, since) or "").splitlines()
    return found


def _components(meeting: Meeting, send: Send) -> Iterable[tuple[Event, list[Attendee]]]:
    """The components of a mail with the attendees each lists."""
    if send.rid:
        event = meeting.events.get(send.rid)
        if event is None:
            event = derive.at(meeting, lookup.zones(meeting.zones), send.rid)
            event = replace(event, sequence=send.sequence)
        yield event, _listed(meeting, send, send.rid)
        return
    master = meeting.events[""]
    if send.method != "REQUEST":
        yield master, _listed(meeting, send, "")
        return
    people = lookup.rows_by_address(meeting)
    recipients = set(send.to)
    out: list[str] = []
    shown: list[tuple[Event, list[Attendee]]] = []
    for rid in sorted(rid for rid in meeting.events if rid):
        event, rows = meeting.events[rid], _guests(meeting, rid, people)
        if event.status != lookup.CANCELLED and recipients & {row.address for row in rows}:
            shown.append((event, rows))
        else:
            out.append(rid)
    yield _without(meeting, master, out), _listed(meeting, send, "")
    yield from shown


def _without(meeting: Meeting, master: Event, rids: Iterable[str]) -> Event:
    """The series with an EXDATE for instances that are cancelled, or not for these recipients.

    A REQUEST without them would bring them back.
    """
    lines = []
    for rid in rids:
        instant, _ = recurrence.span(master, lookup.zones(meeting.zones), rid)
        lines.append(derive.time_line("EXDATE", instant, master.tzid))
    return replace(master, lines=with_lines(master.lines, lines, ())) if lines else master


def _guests(meeting: Meeting, rid: str, people: Mapping[str, lookup.Rows] | None = None) -> list[Attendee]:
    return lookup.asked_anew(sorted(lookup.guests_at(meeting, rid, people), key=lookup.place))


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
    if event.rid:
        drop |= {"RRULE", "RDATE", "EXDATE"}  # RFC 5545 §3.8.4.4: an instance has none
    if send.method == "CANCEL":
        drop.add("STATUS")
    if send.method == "DECLINECOUNTER":
        drop |= {"RRULE", "RDATE", "EXDATE", "ATTACH", "COMMENT", "STATUS"}
    if send.method in ("CANCEL", "DECLINECOUNTER"):
        inner = []  # RFC 5546 §3.2.5, §3.2.8: no VALARM
    sequence = send.sequence if event.rid == send.rid else event.sequence
    organizer = meeting.name or meeting.organizer
    kept = [_ours(line, sequence, stamp, organizer) for line in own if name_of(line) not in drop]
    lines = [f"BEGIN:{event.component}", *kept, f"DTSTAMP:{stamp}", f"SEQUENCE:{sequence}"]
    lines += [f"{name}:{stamp}" for name in ("CREATED", "LAST-MODIFIED") if value_of(event.lines, name) is None]
    needed = {"SUMMARY": "", **({"PRIORITY": "0"} if event.component == "VTODO" else {})}
    if send.method == "REQUEST":  # RFC 5546 §3.2.2, §3.4.2: once each; null, and undefined
        lines += [f"{name}:{value}" for name, value in needed.items() if value_of(event.lines, name) is None]
    if send.method == "CANCEL" and not send.uninvite:
        lines.append("STATUS:CANCELLED")  # RFC 5546 §3.2.5; not to one who is only taken off the list
    if send.comment:
        lines.append(f"COMMENT:{escape(send.comment)}")
    lines += [attendee_line(row) for row in rows]
    return [*lines, *inner, f"END:{event.component}"]


def _ours(line: str, sequence: int, stamp: str, organizer: str) -> str:
    """A line of the organizer's as it leaves: nothing of what is between them and us, and no second SEQUENCE."""
    name = name_of(line)
    if name == "ORGANIZER":
        found = parse_line(line)
        params = _public(found.params)  # RFC 6638 §7
        params.setdefault("CN", (organizer,))  # Exchange shows nobody without it
        return format_line(name, params, found.value)
    # Outlook and Exchange believe these before SEQUENCE and DTSTAMP ([MS-OXCICAL] 2.1.3.1.1.20.22, .29).
    if name == "X-MICROSOFT-CDO-APPT-SEQUENCE":
        return f"{name}:{sequence}"
    return f"{name}:{stamp}" if name in ("X-MICROSOFT-CDO-OWNER-CRITICAL-CHANGE", "X-MS-OLK-APPTSEQTIME") else line


def _public(params: Params) -> dict[str, tuple[str, ...]]:
    return {name: values for name, values in params.items() if not name.startswith("SCHEDULE-")}


def attendee_line(row: Attendee) -> str:
    """ATTENDEE with all the organizer's parameters and the state of now, unfolded (RFC 5545 §3.8.4.1)."""
    params = _public(row.params)
    params["PARTSTAT"] = (row.partstat or NEEDS_ACTION,)
    if row.rsvp:
        params["RSVP"] = ("TRUE",)
    for name, addresses in (("DELEGATED-TO", row.delegated_to), ("DELEGATED-FROM", row.delegated_from)):
        if addresses:
            params[name] = tuple(f"mailto:{address}" for address in addresses)
    if row.sent_by:
        params["SENT-BY"] = (f"mailto:{row.sent_by}",)
    return format_line("ATTENDEE", params, f"mailto:{row.address}")
