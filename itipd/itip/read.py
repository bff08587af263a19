"""Calendar bytes -> messages (RFC 5546 §3): tolerant, bounded, every tolerance named as a quirk.

Reads what attendees send: REPLY, COUNTER, REFRESH. Of other methods only method, UID and RECURRENCE-ID are looked at.
One bad component never spoils the others. Never raises for anything in the calendar.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from itipd.itip.addresses import canonical
from itipd.itip.contentlines import Component, Limits, Line, TooLarge, Unreadable, parse
from itipd.itip.model import CalAddress, Fault, Message, Moment, Proposed, clean
from itipd.itip.outcomes import Outcome, Reason
from itipd.itip.timezones import moment, parse_duration, zones_of
from itipd.itip.written import address_of, known_attendee

COMPONENTS = ("VEVENT", "VTODO", "VJOURNAL", "VFREEBUSY")
FROM_ATTENDEES = ("REPLY", "COUNTER", "REFRESH")
UID_LIMIT = 4096  # characters; longer ones are cut
COMMENT_LIMIT = 2000  # characters
SEQUENCE_LIMIT = 2**31 - 1  # RFC 5545 §3.8.7.4
STATUS_CODE = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){1,2}")

Zones = Mapping[str, Component]


def read(part: bytes, method: str | None = None, limits: Limits = Limits()) -> tuple[Message | Fault, ...]:
    """The messages in one calendar part (UTF-8), in order; `method` is the Content-Type's parameter.

    METHOD in the calendar wins over the parameter (Google sends COUNTER in a part marked REPLY).
    """
    try:
        calendars, quirks = parse(part, limits=limits, skip=frozenset({"VALARM"}))
    except TooLarge as error:
        return (Fault(Outcome.ERROR, error.reason, detail=str(error)),)
    except Unreadable as error:
        return (Fault(Outcome.ERROR, Reason.MALFORMED, detail=str(error)),)
    found: list[Message | Fault] = []
    for calendar in calendars:
        found += _calendar(calendar, method, quirks, limits)
    return tuple(found)


def _calendar(
    calendar: Component, method: str | None, quirks: tuple[str, ...], limits: Limits
) -> list[Message | Fault]:
    components = [child for child in calendar.children if child.name in COMPONENTS]
    if not components:
        detail = f"a calendar with none of {', '.join(COMPONENTS)}"
        return [Fault(Outcome.ERROR, Reason.MALFORMED, detail=detail, quirks=quirks)]
    written = calendar.text("METHOD", 64)
    misplaced = None if written or method else next(filter(None, (c.text("METHOD", 64) for c in components)), None)
    name = (written or method or misplaced or "").upper()
    if not name:
        return [Fault(Outcome.NO_ACTION, Reason.NO_METHOD, None, _uid(c), "no METHOD", quirks) for c in components]
    found = list(quirks)
    if written and not written.isupper():
        found.append("lower_case_method")
    if not written:
        found.append("method_misplaced" if misplaced else "method_only_in_content_type")
    if not calendar.lines("PRODID"):
        found.append("no_prodid")
    if not calendar.lines("VERSION"):
        found.append("version_misplaced" if any(c.lines("VERSION") for c in components) else "no_version")
    # A REPLY to a whole meeting has no time that needs one.
    zoned = name in ("COUNTER", "REQUEST") or any(c.lines("RECURRENCE-ID") for c in components)
    zones = zones_of(calendar) if zoned else {}
    return [component(child, name, zones, found, limits) for child in components]


def component(
    child: Component, method: str, zones: Zones, calendar_quirks: list[str], limits: Limits
) -> Message | Fault:
    """One component as a message of `method`."""
    uid = _uid(child)
    quirks = list(calendar_quirks)
    if uid is None:
        return Fault(Outcome.ERROR, Reason.NO_UID, method, None, f"{child.name} without UID", tuple(quirks))
    rid: Moment | None = None
    line = child.first("RECURRENCE-ID")
    if line is not None:
        rid, tolerated = moment(line, zones)
        quirks += tolerated
        if rid is None:
            detail = f"RECURRENCE-ID {clean(line.value, 40)!r} is no date or time"
            return Fault(Outcome.ERROR, Reason.MALFORMED, method, uid, detail, tuple(quirks))
        if child.lines("RRULE"):
            quirks.append("rrule_with_recurrence_id")
    if method == "REQUEST" and child.name == "VFREEBUSY":
        return _busy_request(child, uid, zones, quirks, limits)
    if method not in FROM_ATTENDEES or child.name not in ("VEVENT", "VTODO"):
        return Message(method, child.name, uid, rid, quirks=tuple(dict.fromkeys(quirks)))
    attendees = _attendees(child, quirks)
    if not attendees:
        return Fault(Outcome.ERROR, Reason.NO_ATTENDEE, method, uid, "no ATTENDEE with an address", tuple(quirks))
    most = limits.counter_attendees if method == "COUNTER" else limits.attendees
    if len(attendees) > most:
        detail = f"{len(attendees)} ATTENDEEs in a {method}, at most {most} are read"
        return Fault(Outcome.ERROR, Reason.TOO_MANY_ATTENDEES, method, uid, detail, tuple(quirks))
    organizer = child.first("ORGANIZER")
    if organizer is None:
        quirks.append("no_organizer")
    if method == "REPLY" and child.lines("STATUS") and child.name == "VEVENT":
        quirks.append("status_in_reply")
    return Message(
        method=method,
        component=child.name,
        uid=uid,
        rid=rid,
        future=line is not None and (line.one("RANGE") or "").upper() == "THISANDFUTURE",
        organizer=_organizer(organizer, quirks),
        attendees=attendees,
        sequence=_sequence(child, quirks),
        dtstamp=_dtstamp(child, quirks),
        reply_time=instant(child.first("X-MICROSOFT-CDO-REPLYTIME")),
        comment=_comment(child),
        request_status=_status_code(child),
        proposed=_proposed(child, zones, quirks) if method == "COUNTER" else None,
        percent_complete=number(child.first("PERCENT-COMPLETE"), 100),
        completed=instant(child.first("COMPLETED")),
        quirks=tuple(dict.fromkeys(quirks)),
    )


def _busy_request(child: Component, uid: str, zones: Zones, quirks: list[str], limits: Limits) -> Message:
    """Who asks for whose busy time, and for which span (RFC 5546 §3.3.2); the rest is for `freebusy` to refuse."""
    edges = []
    for name in ("DTSTART", "DTEND"):
        line = child.first(name)
        found, tolerated = moment(line, zones) if line is not None else (None, ())
        quirks += tolerated
        edges.append(found)
    start, end = edges
    organizer = _organizer(child.first("ORGANIZER"), quirks)
    attendees = _attendees(child, quirks)[: limits.counter_attendees]
    return Message(
        "REQUEST",
        child.name,
        uid,
        organizer=organizer,
        attendees=attendees,
        asked=(start, end) if start is not None and end is not None else None,
        quirks=tuple(dict.fromkeys(quirks)),
    )


def _uid(child: Component) -> str | None:
    return child.text("UID", UID_LIMIT) or None


def _organizer(line: Line | None, quirks: list[str]) -> str | None:
    if line is None:
        return None
    address = canonical(line.value)
    if address is None:
        address = address_of(line, quirks)
    if address is None:
        quirks.append("organizer_without_address")
    return address


def _attendees(child: Component, quirks: list[str]) -> tuple[CalAddress, ...]:
    found: dict[str, CalAddress] = {}
    for raw in child.lines("ATTENDEE"):
        attendee, tolerated = known_attendee(raw)
        quirks += tolerated
        if attendee is None:
            quirks.append("attendee_without_address")
        elif attendee.address in found:
            quirks.append("attendee_twice")
        else:
            found[attendee.address] = attendee
    return tuple(found.values())


def _sequence(child: Component, quirks: list[str]) -> int | None:
    """SEQUENCE; Exchange may write 0 and the real one in X-MICROSOFT-CDO-APPT-SEQUENCE."""
    line = child.first("SEQUENCE")
    written = number(line, SEQUENCE_LIMIT)
    if line is not None and written is None:
        quirks.append("bad_sequence")
    if not written:
        exchange = number(child.first("X-MICROSOFT-CDO-APPT-SEQUENCE"), SEQUENCE_LIMIT)
        if exchange is not None and (exchange > 0 or written is None):
            quirks.append("cdo_sequence")
            return exchange
    if written is None and line is None:
        quirks.append("no_sequence")
    return written


def _dtstamp(child: Component, quirks: list[str]) -> datetime | None:
    stamp = instant(child.first("DTSTAMP"))
    if stamp is None:
        quirks.append("no_dtstamp")
    return stamp


def _status_code(child: Component) -> str | None:
    """The code of REQUEST-STATUS (RFC 5545 §3.8.8.3), without its words; None where there is none."""
    code = (child.text("REQUEST-STATUS", 200) or "").partition(";")[0].strip()
    return code if STATUS_CODE.fullmatch(code) else None


def _comment(child: Component) -> str | None:
    """All COMMENTs, else the private one that macOS and iOS write."""
    for name in ("COMMENT", "X-CALENDARSERVER-PRIVATE-COMMENT"):
        texts = [Component("", [line]).text(name, COMMENT_LIMIT) or "" for line in child.lines(name)]
        text = "\n".join(text for text in texts if text)
        if text:
            return text[:COMMENT_LIMIT]
    return None


def _proposed(child: Component, zones: Zones, quirks: list[str]) -> Proposed:
    """The slot of a COUNTER; DTEND beside DURATION: DTEND (RFC 5545 §3.6.1 allows only one)."""
    values: dict[str, Moment | None] = {}
    for name in ("DTSTART", "DTEND", "DUE", "X-MS-OLK-ORIGINALSTART", "X-MS-OLK-ORIGINALEND"):
        line = child.first(name)
        if line is not None:
            values[name], tolerated = moment(line, zones)
            quirks += tolerated
    start = values.get("DTSTART")
    end = values.get("DTEND") or values.get("DUE")
    duration = child.first("DURATION")
    if end is not None and duration is not None:
        quirks.append("dtend_and_duration")
    elif end is None and start is not None and duration is not None:
        length = parse_duration(duration.value)
        if length is not None:
            end = Moment(start.local + length, start.utc + length if start.utc else None, start.is_date)
    if start is not None and end is not None and end.order < start.order:  # RFC 5545 §3.8.2.2: as long as before
        quirks.append("end_before_start")
        end = None
    line = child.first("DTSTART")
    return Proposed(
        start=start,
        end=end,
        location=child.text("LOCATION", 1000) or None,
        summary=child.text("SUMMARY", 1000) or None,
        original_start=values.get("X-MS-OLK-ORIGINALSTART"),
        original_end=values.get("X-MS-OLK-ORIGINALEND"),
        tzid=line.one("TZID") if line is not None else None,
    )


def number(line: Line | None, limit: int) -> int | None:
    """A whole number from 0, cut at `limit`; None where there is none."""
    value = line.value.strip() if line is not None else ""
    if not value.isascii() or not value.isdigit() or len(value) > 10:
        return None
    return min(int(value), limit)


def instant(line: Line | None) -> datetime | None:
    """A UTC time; one without Z is taken as UTC, which is what the property must be."""
    if line is None:
        return None
    found, _ = moment(line, {})
    if found is None:
        return None
    return found.utc if found.utc is not None else found.local.replace(tzinfo=UTC)
