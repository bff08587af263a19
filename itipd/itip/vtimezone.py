"""VTIMEZONE texts (RFC 5545 §3.6.5) of IANA zones, as Outlook and Exchange understand them.

Duty: write the definition of a zone from the tzdata package's own files: one RRULE for each half of the present rule,
and the single changes before it. It must never write what depends on the clock or on the machine.
"""

from __future__ import annotations

import re
import struct
from calendar import monthrange
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from importlib import resources
from zoneinfo import ZoneInfo

from itipd.itip.contentlines import escape
from itipd.itip.timezones import LAST_YEAR, iana_name, resolve

_DAYS = ("SU", "MO", "TU", "WE", "TH", "FR", "SA")
_EPOCH = datetime(1970, 1, 1)
_DAY = timedelta(days=1)
# The part of a POSIX TZ text that tzdata uses: `CET-1CEST,M3.5.0,M10.5.0/3`, `<-03>3` (RFC 9636 §3.3.1).
_POSIX = re.compile(
    r"(<[^>]+>|[A-Za-z]+)(-?[0-9:]+)(?:(<[^>]+>|[A-Za-z]+)(-?[0-9:]+)?,M([0-9.]+)(?:/(-?[0-9:]+))?,M([0-9.]+)(?:/(-?[0-9:]+))?)?"
)


@dataclass(frozen=True, slots=True)
class _Change:
    """A change of the offset: the instant (UTC, naive), the offsets around it, the new name; is it summer time then."""

    at: datetime
    before: timedelta
    after: timedelta
    name: str
    summer: bool


@dataclass(frozen=True, slots=True)
class _Half:
    """One half of a yearly rule: the n-th (5: last) weekday (Sunday 0) of a month, at a time of that day's wall clock.

    The time may be negative or beyond 24 hours.
    """

    month: int
    week: int
    weekday: int
    time: timedelta
    before: timedelta
    after: timedelta
    name: str
    summer: bool

    def onset(self, year: int) -> datetime:
        """The wall clock time of the change in a year."""
        first = datetime(year, self.month, 1)
        day = first + timedelta(days=(self.weekday - first.isoweekday()) % 7 + (self.week - 1) * 7)
        while day.month != self.month:
            day -= timedelta(days=7)
        return day + self.time

    def rule(self) -> tuple[str, timedelta]:
        """The RRULE, and what is added to `onset` where no rule says exactly the same (24:00 becomes 23:59:59)."""
        shift = self.time // _DAY
        length = monthrange(2001, self.month)[1]  # not a leap year
        low = length - 6 if self.week == 5 else (self.week - 1) * 7 + 1
        if not shift:
            return self._by_week(), timedelta()
        if low + shift < 1 or low + shift + 6 > length:  # the day may fall into another month
            return self._by_week(), (timedelta() if shift < 0 else _DAY - timedelta(seconds=1)) - self.time
        days = ",".join(str(day) for day in range(low + shift, low + shift + 7))
        weekday = _DAYS[(self.weekday + shift) % 7]
        return f"FREQ=YEARLY;BYMONTH={self.month};BYMONTHDAY={days};BYDAY={weekday}", timedelta()

    def _by_week(self) -> str:
        week = -1 if self.week == 5 else self.week
        return f"FREQ=YEARLY;BYMONTH={self.month};BYDAY={week}{_DAYS[self.weekday]}"


@lru_cache(maxsize=512)
def vtimezone(tzid: str, since: int) -> str | None:
    """The VTIMEZONE for `tzid` (an IANA or a Windows name, also behind a vendor's prefix) from the year `since` on.

    Unfolded lines ended by "\\n", from BEGIN to END; TZID is as given. None where the name is unknown.
    """
    name = iana_name(tzid)[0]
    return _definition(tzid, name, since) if name is not None else None


@lru_cache(maxsize=512)
def guessed(tzid: str, since: int) -> str | None:
    """The same for a TZID that no calendar defines and that is only a hint: Lotus Notes' "Romance", "(GMT+01.00) Rome".

    It says what `timezones.resolve` takes it for, so that everybody reads the times as we do; None where that is None.
    """
    zone = resolve(tzid, {})
    if isinstance(zone, ZoneInfo) and zone.key is not None:
        return _definition(tzid, zone.key, since)
    if zone is None:
        return None
    offset = zone.utcoffset(None) or timedelta()
    lines = ["BEGIN:VTIMEZONE", f"TZID:{escape(tzid)}"]
    lines += _observance(False, offset, offset, f"UTC{_text(offset)}", [_EPOCH], None)
    return "\n".join([*lines, "END:VTIMEZONE"]) + "\n"


def _definition(tzid: str, name: str, since: int) -> str:
    changes, footer = _tzif(name)
    halves, initial = rules(footer)
    # A file tells changes of the name or the law, too; only those of the offset are written.
    changes = [change for change in _with_rule(changes, halves) if change.before != change.after]
    first = _first_year_of_rule(changes, halves) if halves else LAST_YEAR
    start = datetime(max(min(since, LAST_YEAR), 1900), 1, 1)
    # The rule's observances begin a year early, so that they also say what holds on the first day.
    from_year = max(first, start.year - 1)
    lines = ["BEGIN:VTIMEZONE", f"TZID:{escape(tzid)}"]
    # All that the file foretells is written: Morocco's and Palestine's changes follow the moon, up to 2086.
    lines += _singles(changes, start, datetime(from_year, 1, 1), initial, bool(halves))
    for half in halves:
        rule, correction = half.rule()
        onset = half.onset(from_year) + correction
        lines += _observance(half.summer, half.before, half.after, half.name, [onset], rule)
    return "\n".join([*lines, "END:VTIMEZONE"]) + "\n"


def _singles(changes: list[_Change], start: datetime, end: datetime, initial: _Change, has_rule: bool) -> list[str]:
    """The observances of the changes between two years, and of what holds when the first begins."""
    before = [change for change in changes if change.at < start]
    wanted = [change for change in changes if start <= change.at < end]
    if not has_rule or end > start:
        wanted = [before[-1] if before else initial, *wanted]
    groups: dict[tuple[bool, timedelta, timedelta, str], list[datetime]] = {}
    for change in wanted:
        key = (change.summer, change.before, change.after, change.name)
        groups.setdefault(key, []).append(change.at + change.before)
    return [line for key, onsets in groups.items() for line in _observance(*key, onsets, None)]


def _observance(
    summer: bool, before: timedelta, after: timedelta, name: str, onsets: list[datetime], rule: str | None
) -> list[str]:
    kind = "DAYLIGHT" if summer else "STANDARD"
    lines = [f"BEGIN:{kind}", f"DTSTART:{onsets[0]:%Y%m%dT%H%M%S}"]
    lines += [f"RRULE:{rule}"] if rule else []
    lines += [f"RDATE:{onset:%Y%m%dT%H%M%S}" for onset in onsets[1:]]  # a line for each: vobject reads no list
    return [
        *lines,
        f"TZOFFSETFROM:{_text(before)}",
        f"TZOFFSETTO:{_text(after)}",
        f"TZNAME:{escape(name)}",
        f"END:{kind}",
    ]


def _text(offset: timedelta) -> str:
    seconds = int(abs(offset).total_seconds())
    text = f"{'-' if offset < timedelta() else '+'}{seconds // 3600:02d}{seconds // 60 % 60:02d}"
    return f"{text}{seconds % 60:02d}" if seconds % 60 else text


def _first_year_of_rule(changes: list[_Change], halves: tuple[_Half, ...]) -> int:
    """The first year from which on the changes are those of the present rule, and none of them is missing."""
    ruled = {half.onset(year) - half.before: half.after for half in halves for year in range(1970, 2040)}
    known = {change.at for change in changes}
    others = [change.at.year for change in changes if ruled.get(change.at) != change.after]
    missing = [at.year for at in ruled if at <= changes[-1].at and at not in known]
    return max([1969, *others, *missing]) + 1


def _with_rule(changes: list[_Change], halves: tuple[_Half, ...]) -> list[_Change]:
    """The changes of a file and those of the two years behind it: files end where their rule goes on alone."""
    last = changes[-1].at if changes else _EPOCH
    more = [
        _Change(half.onset(year) - half.before, half.before, half.after, half.name, half.summer)
        for half in halves
        for year in range(last.year, last.year + 3)
    ]
    return changes + sorted((change for change in more if change.at > last), key=lambda change: change.at)


def rules(footer: str) -> tuple[tuple[_Half, ...], _Change]:
    """The two halves of the present rule (none: no summer time), and what holds where a file has no change at all."""
    match = _POSIX.fullmatch(footer)
    if match is None:
        raise ValueError(f"time zone rule {footer!r}: expected a POSIX TZ text with M rules")
    std, std_name = -_clock(match[2]), match[1].strip("<>")
    initial = _Change(_EPOCH, std, std, std_name, summer=False)
    if match[3] is None:
        return (), initial
    dst, dst_name = -_clock(match[4]) if match[4] else std + timedelta(hours=1), match[3].strip("<>")
    # Ireland's summer time is its standard: what is ahead is called DAYLIGHT, or Outlook turns it around.
    into = _half(match[5], match[6], std, dst, dst_name, summer=dst > std)
    back = _half(match[7], match[8], dst, std, std_name, summer=std > dst)
    return (into, back), initial


def _half(date: str, time: str | None, before: timedelta, after: timedelta, name: str, *, summer: bool) -> _Half:
    month, week, weekday = map(int, date.split("."))
    return _Half(month, week, weekday, _clock(time or "2"), before, after, name, summer)


def _clock(text: str) -> timedelta:
    """`-3:30` -> a length; the sign is of the whole."""
    hours, minutes, seconds, *_ = (*map(int, text.lstrip("-").split(":")), 0, 0)
    length = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    return -length if text.startswith("-") else length


@lru_cache(maxsize=32)
def _tzif(name: str) -> tuple[list[_Change], str]:
    """The changes of a zone's file and its footer (RFC 9636 §3)."""
    data = resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes()
    isut, isstd, leap, times, types, chars = struct.unpack_from(">6l", data, 20)
    # The first block has 32-bit times: skipped.
    start = 44 + times * 5 + types * 6 + chars + leap * 8 + isstd + isut
    isut, isstd, leap, times, types, chars = struct.unpack_from(">6l", data, start + 20)
    at = start + 44
    instants = struct.unpack_from(f">{times}q", data, at)
    indices = data[at + times * 8 : at + times * 9]
    at += times * 9
    kinds = [struct.unpack_from(">lbB", data, at + number * 6) for number in range(types)]
    at += types * 6
    names = data[at : at + chars]
    footer = data[at + chars + leap * 12 + isstd + isut :].decode("ascii").strip("\n")
    changes: list[_Change] = []
    previous = timedelta(seconds=kinds[0][0])
    for instant, index in zip(instants, indices, strict=True):
        seconds, isdst, offset = kinds[index]
        after = timedelta(seconds=seconds)
        text = names[offset : names.index(b"\0", offset)].decode("ascii")
        summer = bool(isdst) and after > previous
        when = _EPOCH + timedelta(seconds=max(instant, -(2**33)))  # some files begin with the big bang
        changes.append(_Change(when, previous, after, text, summer))
        previous = after
    return changes, footer
