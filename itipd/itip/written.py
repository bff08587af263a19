"""Who an ATTENDEE or ORGANIZER is, however the client wrote it (RFC 5545 §3.3.3, RFC 7986 §6.2, vCalendar 1.0).

Duty: a line -> a canonical address, and of the organizer's own ATTENDEEs a row, every tolerance named as a quirk. It
must never take one of two addresses for the other: where a text has several, it has none. Pure.
"""

from __future__ import annotations

import re
from binascii import a2b_qp
from functools import lru_cache

from itipd.itip.addresses import canonical
from itipd.itip.case import partstat_of
from itipd.itip.contentlines import Component, Line, parse_line
from itipd.itip.model import NEEDS_ACTION, Attendee, CalAddress, clean
from itipd.itip.quick import replace

_SCHEME = re.compile(r"(?:mailto:|smtp:)?(?://)?", re.IGNORECASE)
_ANGLE = re.compile(r"[^<>@]*+<([^<>]++)>[^<>@]*+")
SHORT = 256  # characters of an ATTENDEE that is kept
STATE = ("PARTSTAT", "RSVP", "SCHEDULE-STATUS", "DELEGATED-TO", "DELEGATED-FROM")  # kept in columns of their own
_STATUSES = {"CONFIRMED": "ACCEPTED", "NEEDS ACTION": "NEEDS-ACTION", "SENT": "NEEDS-ACTION"}
"""vCalendar 1.0 §2.4.1.5 (Status): what is another word there."""


def address_of(line: Line, quirks: list[str]) -> str | None:
    """The canonical address of a line: its value, else a parameter, else the one address in the words of either."""
    address = canonical(line.value)
    if address is not None and not address.startswith("//"):
        if line.value.strip()[:7].lower() != "mailto:":
            quirks.append("no_mailto")
        return address
    value = line.value
    if (line.one("ENCODING") or "").upper() == "QUOTED-PRINTABLE":  # vCalendar 1.0 §2.1.6
        value = a2b_qp(value.encode("utf-8", "replace")).decode("utf-8", "replace")
        quirks.append("encoding")
    address = _in_words(value)
    if address is not None:
        quirks.append("address_in_words")  # `Bob <bob@example.com>`, `mailto:'bob@example.com'`, `smtp:...`
        return address
    name = (line.one("CN") or "").strip("'\" ")
    for text in (line.one("EMAIL") or "", line.one("X-CALENDARSERVER-EMAIL") or "", name):
        address = canonical(text)
        if address is not None:
            quirks.append("address_in_parameter")
            return address
    address = _in_words(name)
    if address is not None:
        quirks.append("address_in_parameter")
    return address


def attendee_of(line: Line, quirks: list[str]) -> CalAddress | None:
    """An ATTENDEE with its canonical address; None where it has none."""
    address = address_of(line, quirks)
    if address is None:
        return None
    params = {name: tuple(clean(value, 1000) for value in values) for name, values in line.params.items()}
    if "STATUS" in params and "PARTSTAT" not in params:
        word = params["STATUS"][0].upper()
        params["PARTSTAT"] = (_STATUSES.get(word, word),)
        quirks.append("vcalendar_status")
    return CalAddress(address, params)


def known_attendee(raw: str) -> tuple[CalAddress | None, tuple[str, ...]]:
    """The attendee of an ATTENDEE line, and the quirks of it. The same few people stand in most calendars."""
    return _known(raw) if len(raw) <= SHORT else _read(raw)


def _read(raw: str) -> tuple[CalAddress | None, tuple[str, ...]]:
    quirks: list[str] = []
    return attendee_of(parse_line(raw), quirks), tuple(quirks)


_known = lru_cache(maxsize=4096)(_read)


def attendees_of(component: Component, rid: str, quirks: list[str]) -> list[Attendee]:
    """The ATTENDEEs of one component, PARTSTAT and RSVP as written; one that stands twice counts once."""
    found: dict[str, Attendee] = {}
    for raw in component.lines("ATTENDEE"):
        row, tolerated = _remembered(raw, component.name) if len(raw) <= SHORT else _attendee(raw, component.name)
        quirks += tolerated
        if row is None:
            quirks.append("attendee_without_address")
        elif row.address in found:
            quirks.append("attendee_twice")
        else:
            found[row.address] = replace(row, rid=rid, position=len(found))
    return list(found.values())


def _attendee(raw: str, component: str) -> tuple[Attendee | None, tuple[str, ...]]:
    """An ATTENDEE line as the first of a series, None where it has no address, and what was tolerated."""
    address, quirks = _read(raw)
    if address is None:
        return None, quirks
    row = Attendee(
        address=address.address,
        params={name: values for name, values in address.params.items() if name not in STATE},
        partstat=partstat_of(address, component) or NEEDS_ACTION,  # RFC 5545 §3.2.12
        rsvp=(address.one("RSVP") or "").upper() == "TRUE",
        schedule_status=address.one("SCHEDULE-STATUS"),
        delegated_to=_addresses(address, "DELEGATED-TO"),
        delegated_from=_addresses(address, "DELEGATED-FROM"),
    )
    return row, quirks


_remembered = lru_cache(maxsize=4096)(_attendee)


def _addresses(address: CalAddress, name: str) -> tuple[str, ...]:
    return tuple(found for value in address.params.get(name, ()) if (found := canonical(value)))


def _in_words(text: str) -> str | None:
    """The one address in a text around it; the strict grammar still decides what an address is (hardening §22)."""
    text = text.strip(" \t;,")
    found = _ANGLE.fullmatch(text)
    if found is not None:
        text = found[1]
    text = _SCHEME.sub("", text.strip(), count=1).strip("'\" \t")
    address = canonical(text)
    return None if address is None or address.startswith("//") else address
