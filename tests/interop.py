"""What other programs see in a mail of ours: the calendar part as icalendar, vobject and libical read it.

Each reader gives the same plain values, so that a test compares them with the meeting and needs to know none of them.
"""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from email.message import EmailMessage
from typing import Any

import icalendar
import vobject  # type: ignore[import-untyped] # it has no types

from itipd.itip.timezones import parse_duration
from tests import libical

KINDS = ("VEVENT", "VTODO")


@dataclass(frozen=True)
class Seen:
    """One component. Times are as in `Moment.rid`: `20261208T090000Z`, floating `20261208T090000`, `20261208`."""

    kind: str
    uid: str
    rid: str | None = None
    start: str | None = None
    end: str | None = None
    length: timedelta | None = None
    sequence: int = 0
    status: str | None = None
    summary: str = ""
    location: str | None = None
    comment: str | None = None
    organizer: str = ""
    name: str | None = None  # the organizer's CN
    attendees: frozenset[tuple[str, str]] = frozenset()  # address and PARTSTAT
    names: frozenset[tuple[str, str]] = frozenset()  # address and CN
    rule: frozenset[str] = frozenset()  # the parts of RRULE
    rdates: frozenset[str] = frozenset()
    exdates: frozenset[str] = frozenset()
    alarms: int = 0


Calendar = tuple[str, tuple[Seen, ...]]
"""METHOD, and the components in the order of their RECURRENCE-ID, the series first."""


def calendar_of(raw: bytes) -> bytes:
    """The calendar of a mail as a mail program finds it: the last alternative."""
    message = email.message_from_bytes(raw, policy=email.policy.default)
    (alternative,) = (part for part in message.walk() if part.get_content_type() == "multipart/alternative")
    *_, last = alternative.iter_parts()
    assert isinstance(last, EmailMessage)
    assert last.get_content_type() == "text/calendar"
    body = last.get_payload(decode=True)
    assert isinstance(body, bytes)
    return body


def text_of(value: date | datetime) -> str:
    """A time that a Python library gives."""
    if not isinstance(value, datetime):
        return value.strftime("%Y%m%d")
    if value.tzinfo is None:
        return value.strftime("%Y%m%dT%H%M%S")
    return value.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def _address(value: str) -> str:
    return value.lower().removeprefix("mailto:")


def _ordered(method: str, components: Iterable[Seen]) -> Calendar:
    return method, tuple(sorted(components, key=lambda one: one.rid or ""))


# -- icalendar


def by_icalendar(data: bytes) -> Calendar:
    """By icalendar: IANA names by zoneinfo, Windows names by its own table, others by the calendar's VTIMEZONE."""
    calendar = icalendar.Calendar.from_ical(data)
    components = (one for one in calendar.subcomponents if one.name in KINDS)
    return _ordered(str(calendar["METHOD"]), map(_icalendar, components))


def _icalendar(one: Any) -> Seen:
    def many(name: str) -> list[Any]:
        found = one.get(name, [])
        return found if isinstance(found, list) else [found]

    def time(name: str) -> str | None:
        return text_of(one[name].dt) if name in one else None

    def times(name: str) -> frozenset[str]:
        return frozenset(text_of(value.dt) for line in many(name) for value in line.dts)

    return Seen(
        kind=one.name,
        uid=str(one["UID"]),
        rid=time("RECURRENCE-ID"),
        start=time("DTSTART"),
        end=time("DTEND") or time("DUE"),
        length=one["DURATION"].dt if "DURATION" in one else None,
        sequence=int(one["SEQUENCE"]),
        status=str(one["STATUS"]) if "STATUS" in one else None,
        summary=str(one["SUMMARY"]),
        location=str(one["LOCATION"]) if "LOCATION" in one else None,
        comment=str(one["COMMENT"]) if "COMMENT" in one else None,
        organizer=_address(one["ORGANIZER"]),
        name=one["ORGANIZER"].params.get("CN"),
        attendees=frozenset((_address(line), line.params["PARTSTAT"]) for line in many("ATTENDEE")),
        names=frozenset((_address(line), line.params["CN"]) for line in many("ATTENDEE")),
        rule=frozenset(one["RRULE"].to_ical().decode().split(";")) if "RRULE" in one else frozenset(),
        rdates=times("RDATE"),
        exdates=times("EXDATE"),
        alarms=len(one.walk("VALARM")),
    )


# -- vobject


def by_vobject(data: bytes) -> Calendar:
    """By vobject: time zones by the calendar's VTIMEZONEs."""
    calendar = vobject.readOne(data.decode())
    components = (one for kind in KINDS for one in calendar.contents.get(kind.lower(), []))
    return _ordered(calendar.method.value, map(_vobject, components))


def _vobject(one: Any) -> Seen:
    def first(name: str) -> Any:
        lines = one.contents.get(name)
        return lines[0].value if lines else None

    def time(name: str) -> str | None:
        value = first(name)
        return text_of(value) if value is not None else None

    def times(name: str) -> frozenset[str]:
        return frozenset(text_of(value) for line in one.contents.get(name, []) for value in line.value)

    guests = one.contents.get("attendee", [])
    return Seen(
        kind=one.name,
        uid=first("uid"),
        rid=time("recurrence-id"),
        start=time("dtstart"),
        end=time("dtend") or time("due"),
        length=first("duration"),
        sequence=int(first("sequence")),
        status=first("status"),
        summary=first("summary"),
        location=first("location"),
        comment=first("comment"),
        organizer=_address(first("organizer")),
        name=one.organizer.params.get("CN", [None])[0],
        attendees=frozenset((_address(line.value), line.params["PARTSTAT"][0]) for line in guests),
        names=frozenset((_address(line.value), line.params["CN"][0]) for line in guests),
        rule=frozenset(filter(None, (first("rrule") or "").split(";"))),
        rdates=times("rdate"),
        exdates=times("exdate"),
        alarms=len(one.contents.get("valarm", [])),
    )


# -- libical


def by_libical(data: bytes) -> Calendar:
    """By libical: time zones by the calendar's VTIMEZONEs alone."""
    with libical.calendar(data) as calendar:
        components = [one for one in calendar.components() if one.name in KINDS]
        (method,) = calendar.properties("METHOD")
        return _ordered(method.value, [_libical(calendar, one) for one in components])


def _libical(calendar: libical.Component, one: libical.Component) -> Seen:
    def first(name: str) -> libical.Property | None:
        return next(iter(one.properties(name)), None)

    def text(name: str) -> str | None:
        found = first(name)
        return found.text if found is not None else None

    def times(name: str) -> list[str]:
        return [_libical_time(calendar, found) for found in one.properties(name)]

    length, organizer, rule, status = first("DURATION"), first("ORGANIZER"), first("RRULE"), first("STATUS")
    guests = one.properties("ATTENDEE")
    (sequence,) = one.properties("SEQUENCE")
    (uid,) = one.properties("UID")
    assert organizer is not None
    return Seen(
        kind=one.name,
        uid=uid.text,
        rid=next(iter(times("RECURRENCE-ID")), None),
        start=next(iter(times("DTSTART")), None),
        end=next(iter(times("DTEND") + times("DUE")), None),
        length=parse_duration(length.value) if length is not None else None,
        sequence=int(sequence.value),
        status=status.value if status is not None else None,
        summary=text("SUMMARY") or "",
        location=text("LOCATION"),
        comment=text("COMMENT"),
        organizer=_address(organizer.value),
        name=organizer.parameter("CN"),
        attendees=frozenset((_address(found.value), found.parameter("PARTSTAT") or "") for found in guests),
        names=frozenset((_address(found.value), found.parameter("CN") or "") for found in guests),
        rule=frozenset(rule.value.split(";")) if rule is not None else frozenset(),
        rdates=frozenset(times("RDATE")),
        exdates=frozenset(times("EXDATE")),
        alarms=len(one.components("VALARM")),
    )


def _libical_time(calendar: libical.Component, found: libical.Property) -> str:
    tzid = found.parameter("TZID")
    if tzid is None:
        return found.value
    local = datetime.strptime(found.value, "%Y%m%dT%H%M%S")  # noqa: DTZ007 - a wall clock
    return text_of((local - calendar.offset(tzid, local)).replace(tzinfo=UTC))


READERS = {"icalendar": by_icalendar, "vobject": by_vobject, "libical": by_libical}
