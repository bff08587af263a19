"""The text of a recurrence rule (RECUR, RFC 5545 §3.3.10) -> `Rule`, with all that DTSTART fills in.

Duty: read the value strictly and refuse by name what would be costly to follow. It must never make a time.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from functools import lru_cache

from itipd.itip.rrule import STEPS, BadRule, Rule, TooCostly, picked
from itipd.itip.timezones import LAST_YEAR, parse_value

_FREQUENCIES = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY")
_WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_BYDAY = re.compile(r"([+-]?[0-9]{1,2})?(MO|TU|WE|TH|FR|SA|SU)")
_NUMBER = re.compile(r"[+-]?[0-9]{1,15}")
_RANGES = {
    "BYMONTH": (1, 12),
    "BYMONTHDAY": (-31, 31),
    "BYYEARDAY": (-366, 366),
    "BYWEEKNO": (-53, 53),
    "BYSETPOS": (-366, 366),
    "BYHOUR": (0, 23),
    "BYMINUTE": (0, 59),
    "BYSECOND": (0, 60),
}
_LONGEST = 10**10  # an INTERVAL of that many seconds leaves all years that count
_MOST_VALUES = 400  # in one BYxxx part
_MOST_TIMES = 100  # on one day, or in one step of a sub-daily rule


@lru_cache(maxsize=1024)
def parse_rule(text: str, start: datetime, is_date: bool = False) -> Rule:
    """The RECUR value `text` of a series that begins at `start` (wall clock, naive; `is_date`: of all-day instances).

    Raises `BadRule` where it cannot be read and `TooCostly` where a day has too many times.
    """
    parts: dict[str, str] = {}
    for part in text.strip().strip(";").upper().split(";", 40):
        key, _, value = part.partition("=")
        parts[key.strip()] = value.strip()
    frequency = parts.get("FREQ", "")
    if frequency not in _FREQUENCIES or (is_date and frequency in STEPS):
        raise BadRule(f"RRULE {text[:80]!r}: expected FREQ to be one of {', '.join(_FREQUENCIES)}")
    if parts.get("RSCALE", "GREGORIAN") != "GREGORIAN":
        raise BadRule(f"RRULE {text[:80]!r}: only RSCALE=GREGORIAN is known")
    interval = min(_number(parts.get("INTERVAL", "1"), "INTERVAL"), _LONGEST)
    if interval < 1:
        raise BadRule(f"RRULE {text[:80]!r}: expected INTERVAL of 1 or more")
    until = parse_value(parts["UNTIL"]) if "UNTIL" in parts else None
    if until == "year_out_of_range" and parts["UNTIL"] > str(LAST_YEAR):
        until = None  # 9999 is "for ever"
    if isinstance(until, str):
        raise BadRule(f"UNTIL={parts['UNTIL'][:40]!r}: expected a date or a time")
    lists = {name: _numbers(parts[name], name) for name in _RANGES if parts.get(name)}
    weekdays = frozenset(map(_weekday, parts["BYDAY"].split(",", _MOST_VALUES))) if parts.get("BYDAY") else frozenset()
    if frequency not in ("YEARLY", "MONTHLY"):
        weekdays = frozenset((0, weekday) for _, weekday in weekdays)  # an n-th one is only of a month or a year
    months, monthdays = lists.get("BYMONTH", ()), lists.get("BYMONTHDAY", ())
    yeardays, weeks = lists.get("BYYEARDAY", ()), lists.get("BYWEEKNO", ())
    if not (monthdays or yeardays or weekdays):
        # What the rule leaves open is as in DTSTART (RFC 5545 §3.3.10).
        if frequency == "WEEKLY" or (weeks and frequency == "YEARLY"):
            weekdays = frozenset({(0, start.weekday())})
        elif frequency in ("YEARLY", "MONTHLY"):
            monthdays = (start.day,)
            months = months or ((start.month,) if frequency == "YEARLY" else ())
    level = _FREQUENCIES.index(frequency)
    if is_date:  # they MUST be ignored then (RFC 5545 §3.3.10)
        lists = {name: values for name, values in lists.items() if name not in ("BYHOUR", "BYMINUTE", "BYSECOND")}
    hours = lists.get("BYHOUR") or ((start.hour,) if level < 4 else tuple(range(24)))
    minutes = lists.get("BYMINUTE") or ((start.minute,) if level < 5 else tuple(range(60)))
    seconds = lists.get("BYSECOND") or ((start.second,) if level < 6 else tuple(range(60)))
    seconds = tuple(sorted({min(second, 59) for second in seconds}))  # a leap second counts as the one before
    clock = (hours if level < 4 else (0,), minutes if level < 5 else (0,), seconds if level < 6 else (0,))
    if len(clock[0]) * len(clock[1]) * len(clock[2]) > _MOST_TIMES:
        raise TooCostly(f"RRULE {text[:80]!r}: more than {_MOST_TIMES} times a day")
    times = tuple(timedelta(hours=h, minutes=m, seconds=s) for h in clock[0] for m in clock[1] for s in clock[2])
    positions = lists.get("BYSETPOS", ())
    if positions and level > 3:
        raise TooCostly(f"RRULE {text[:80]!r}: FREQ={frequency} is not followed with BYSETPOS")
    most = len(times) * (1, len(weekdays) or 7, 31, 366)[3 - min(level, 3)]
    if positions and not picked(positions, most):
        times = ()  # BYSETPOS counts further than any period has times
    elif positions and level == 3:
        times, positions = tuple(times[number] for number in picked(positions, most)), ()
    count = _number(parts["COUNT"], "COUNT") if "COUNT" in parts else None
    week_start = _WEEKDAYS.index(parts["WKST"]) if parts.get("WKST") in _WEEKDAYS else 0
    days = (frozenset(months), frozenset(monthdays), frozenset(yeardays), frozenset(weeks), weekdays)
    return Rule(start, frequency, interval, count, until, week_start, *days, positions, hours, minutes, seconds, times)


def _number(text: str, name: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise BadRule(f"{name}={text[:40]!r}: expected a number")
    return int(text)


def _numbers(text: str, name: str) -> tuple[int, ...]:
    low, high = _RANGES[name]
    numbers = {_number(number.strip(), name) for number in text.split(",", _MOST_VALUES)}
    if any(not low <= number <= high or (number == 0 and low < 0) for number in numbers):
        raise BadRule(f"{name}={text[:40]!r}: expected numbers from {low} to {high}")
    return tuple(sorted(numbers))


def _weekday(text: str) -> tuple[int, int]:
    match = _BYDAY.fullmatch(text.strip())
    if match is None or match[1] in ("0", "00", "+0", "-0"):
        raise BadRule(f"BYDAY={text[:40]!r}: expected days like MO or -1SU")
    return int(match[1] or 0), _WEEKDAYS.index(match[2])
