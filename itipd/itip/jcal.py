"""jCal, the JSON of iCalendar (RFC 7265) -> the iCalendar text that says the same, which is then read like any other.

Tolerant where the text is: what cannot be said as a property is left out. Bounded by the size of what it is given and
by a depth; it must never raise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from itipd.itip.line import escape, fold, format_line

_DEPTH = 8  # components in each other
_NAME = re.compile(r"[A-Za-z0-9-]{1,100}")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(?:T[\d:]{1,8}Z?)?", re.ASCII)
_MARKS = re.compile(r"[-:]")
_TYPES = {"date": "DATE", "period": "PERIOD", "uri": "URI"}  # where they are not the property's own, VALUE says so
_OWN = {"attach": "uri", "url": "uri", "tzurl": "uri", "freebusy": "period"}
_STRUCTURED = frozenset({"request-status", "geo"})  # the values in the array are fields (RFC 7265 §3.4.1.3)


def to_icalendar(data: bytes) -> bytes | None:
    """The calendar as UTF-8 text; None where `data` is no jCal."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):  # not JSON, no UTF-8, or brackets without end
        return None
    if not isinstance(found, list) or not found:
        return None
    # RFC 7265 §3.2: one calendar is an array that begins with its name; several are in an array around them.
    calendars = found if isinstance(found[0], list) else [found]
    lines = [line for one in calendars for line in _component(one, 0)]
    if not any(line == "BEGIN:VCALENDAR" for line in lines):
        return None
    return "".join(map(fold, lines)).encode("utf-8", "replace")


def _component(one: Any, depth: int) -> Iterator[str]:
    """[name, properties, components]."""
    if depth >= _DEPTH or not isinstance(one, list) or len(one) < 2 or not _named(one[0]):
        return
    yield f"BEGIN:{one[0].upper()}"
    for line in _listed(one[1]):
        yield from _property(line)
    for inner in _listed(one[2]) if len(one) > 2 else ():
        yield from _component(inner, depth + 1)
    yield f"END:{one[0].upper()}"


def _property(line: Any) -> Iterator[str]:
    """[name, parameters, type, value, ...]."""
    if not isinstance(line, list) or len(line) < 4 or not _named(line[0]):
        return
    name, given, kind = line[0].lower(), line[1], str(line[2]).lower()
    params: dict[str, tuple[str, ...]] = {}
    if kind in _TYPES and _OWN.get(name) != kind:
        params["VALUE"] = (_TYPES[kind],)
    for key, value in given.items() if isinstance(given, dict) else ():
        if _named(key):
            params[key.upper()] = tuple(map(_plain, value if isinstance(value, list) else [value]))
    if name in _STRUCTURED and isinstance(line[3], list):
        value = ";".join(_value(each, kind) for each in line[3])
    else:
        value = ",".join(_value(each, kind) for each in line[3:])
    yield format_line(name.upper(), params, value)


def _value(value: Any, kind: str) -> str:
    """One value as it is written in iCalendar (RFC 7265 §3.6)."""
    if kind == "recur" and isinstance(value, dict):
        rules = ((key, each if isinstance(each, list) else [each]) for key, each in value.items())
        return ";".join(f"{key.upper()}={','.join(map(_plain, listed))}" for key, listed in rules if _named(key))
    if kind == "period" and isinstance(value, list):
        return "/".join(map(_plain, value))
    if kind in ("time", "utc-offset") and isinstance(value, str):
        return value[:1] + _MARKS.sub("", value[1:])  # the sign of an offset stays
    return escape(_plain(value)) if kind == "text" else _plain(value)


def _plain(value: Any) -> str:
    """A text on one line, a number, or a time without the marks in it."""
    if isinstance(value, bool):
        return str(value).upper()
    if not isinstance(value, str | int | float):
        return ""
    text = str(value)
    return _MARKS.sub("", text) if _MOMENT.fullmatch(text) else text


def _named(name: Any) -> bool:
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
