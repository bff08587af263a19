"""libical by ctypes, as far as the tests need it: the library behind Evolution, GNOME Calendar, KOrganizer and others.

Debian's package `libical3`. It is another reading of RFC 5545, written by other people in another language, and it
takes its time zones from the VTIMEZONEs of the calendar alone.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char_p, c_int, c_void_p
from datetime import datetime, timedelta
from functools import cache
from typing import Any


class Time(ctypes.Structure):
    """`struct icaltimetype` of libical 3."""

    _fields_ = (
        *((name, c_int) for name in "year month day hour minute second is_date is_daylight".split()),
        ("zone", c_void_p),
    )


FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "icalparser_parse_string": (c_void_p, c_char_p),
    "icalcomponent_free": (None, c_void_p),
    "icalcomponent_new_clone": (c_void_p, c_void_p),
    "icalcomponent_string_to_kind": (c_int, c_char_p),
    "icalcomponent_kind_to_string": (c_char_p, c_int),
    "icalcomponent_isa": (c_int, c_void_p),
    "icalcomponent_get_first_component": (c_void_p, c_void_p, c_int),
    "icalcomponent_get_next_component": (c_void_p, c_void_p, c_int),
    "icalcomponent_get_first_property": (c_void_p, c_void_p, c_int),
    "icalcomponent_get_next_property": (c_void_p, c_void_p, c_int),
    "icalcomponent_get_timezone": (c_void_p, c_void_p, c_char_p),
    "icalcomponent_count_errors": (c_int, c_void_p),
    "icalcomponent_as_ical_string": (c_char_p, c_void_p),
    "icalrestriction_check": (c_int, c_void_p),
    "icalproperty_string_to_kind": (c_int, c_char_p),
    "icalproperty_get_property_name": (c_char_p, c_void_p),
    "icalproperty_get_value_as_string": (c_char_p, c_void_p),
    "icalproperty_get_value": (c_void_p, c_void_p),
    "icalvalue_get_text": (c_char_p, c_void_p),
    "icalproperty_get_parameter_as_string": (c_char_p, c_void_p, c_char_p),
    "icaltime_from_string": (Time, c_char_p),
    "icaltimezone_new": (c_void_p,),
    "icaltimezone_free": (None, c_void_p, c_int),
    "icaltimezone_set_component": (c_int, c_void_p, c_void_p),
    "icaltimezone_get_utc_offset": (c_int, c_void_p, POINTER(Time), POINTER(c_int)),
    "icaltimezone_get_utc_offset_of_utc_time": (c_int, c_void_p, POINTER(Time), POINTER(c_int)),
}
"""Name -> result and arguments."""


@cache
def library() -> ctypes.CDLL | None:
    """libical, or None where it is not installed."""
    try:
        found = ctypes.CDLL("libical.so.3")
    except OSError:
        return None
    for name, (result, *arguments) in FUNCTIONS.items():
        function = getattr(found, name)
        function.restype, function.argtypes = result, arguments
    return found


def _library() -> ctypes.CDLL:
    found = library()
    assert found is not None, "ask `library` first"
    return found


class Property:
    """One property of a component; texts are without their escapes."""

    def __init__(self, pointer: int) -> None:
        self._pointer = pointer

    @property
    def name(self) -> str:
        return str(_library().icalproperty_get_property_name(self._pointer).decode())

    @property
    def value(self) -> str:
        return str(_library().icalproperty_get_value_as_string(self._pointer).decode())

    @property
    def text(self) -> str:
        lib = _library()
        return str(lib.icalvalue_get_text(lib.icalproperty_get_value(self._pointer)).decode())

    def parameter(self, name: str) -> str | None:
        found = _library().icalproperty_get_parameter_as_string(self._pointer, name.encode())
        return found.decode() if found is not None else None


class Component:
    """A component of a parsed calendar, alive as long as `calendar` is open."""

    def __init__(self, pointer: int) -> None:
        self._pointer = pointer

    @property
    def name(self) -> str:
        lib = _library()
        return str(lib.icalcomponent_kind_to_string(lib.icalcomponent_isa(self._pointer)).decode())

    def components(self, name: str = "ANY") -> list[Component]:
        lib = _library()
        kind = lib.icalcomponent_string_to_kind(name.encode()) if name != "ANY" else 1  # ICAL_ANY_COMPONENT
        found = []
        pointer = lib.icalcomponent_get_first_component(self._pointer, kind)
        while pointer:
            found.append(Component(pointer))
            pointer = lib.icalcomponent_get_next_component(self._pointer, kind)
        return found

    def properties(self, name: str) -> list[Property]:
        lib = _library()
        kind = lib.icalproperty_string_to_kind(name.encode())
        found = []
        pointer = lib.icalcomponent_get_first_property(self._pointer, kind)
        while pointer:
            found.append(Property(pointer))
            pointer = lib.icalcomponent_get_next_property(self._pointer, kind)
        return found

    def errors(self) -> list[str]:
        """What libical finds wrong by RFC 5545's grammar and RFC 5546's tables for the METHOD."""
        lib = _library()
        lib.icalrestriction_check(self._pointer)
        text = lib.icalcomponent_as_ical_string(self._pointer).decode().replace("\r\n ", "")
        return [line for line in text.splitlines() if line.startswith("X-LIC-ERROR")]

    def offset(self, tzid: str, local: datetime) -> timedelta:
        """The offset of a wall clock time by the VTIMEZONE that this VCALENDAR has for a TZID."""
        lib = _library()
        zone = lib.icalcomponent_get_timezone(self._pointer, tzid.encode())
        assert zone, f"no VTIMEZONE for {tzid!r}"
        return timedelta(seconds=lib.icaltimezone_get_utc_offset(zone, byref(_time(local)), byref(c_int())))


def _time(when: datetime) -> Time:
    return Time(when.year, when.month, when.day, when.hour, when.minute, when.second, 0, 0, None)


@contextmanager
def calendar(data: bytes) -> Iterator[Component]:
    """The VCALENDAR in `data`."""
    lib = _library()
    pointer = lib.icalparser_parse_string(data)
    assert pointer, "libical could not read it"
    try:
        yield Component(pointer)
    finally:
        lib.icalcomponent_free(pointer)


def offsets(vtimezone: str, instants: list[datetime]) -> list[timedelta]:
    """The offset from UTC at each instant (in UTC) by a VTIMEZONE."""
    lib = _library()
    text = f"BEGIN:VCALENDAR\n{vtimezone}END:VCALENDAR\n".replace("\n", "\r\n")
    with calendar(text.encode()) as parsed:
        (component,) = parsed.components("VTIMEZONE")
        zone = lib.icaltimezone_new()
        try:
            clone = lib.icalcomponent_new_clone(component._pointer)
            assert lib.icaltimezone_set_component(zone, clone), "libical takes it for no time zone"
            found = []
            for instant in instants:
                seconds = lib.icaltimezone_get_utc_offset_of_utc_time(zone, byref(_time(instant)), byref(c_int()))
                found.append(timedelta(seconds=seconds))
            return found
        finally:
            lib.icaltimezone_free(zone, 1)
