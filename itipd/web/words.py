"""The words of the page: times, rules, answers and codes as people read them. Pure; never HTML.

Everything here takes texts of the API's JSON and gives texts; what comes from calendars is escaped by the templates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from itipd.itip.outcomes import Reason

# In the order of the bar: yes, perhaps, no, somebody else, nothing yet.
ANSWERS = {
    "ACCEPTED": ("accepted", "Accepted", "✓"),
    "COMPLETED": ("accepted", "Completed", "✓"),
    "TENTATIVE": ("tentative", "Tentative", "?"),
    "IN-PROCESS": ("tentative", "In process", "…"),
    "DECLINED": ("declined", "Declined", "✕"),
    "DELEGATED": ("delegated", "Delegated", "→"),
    "NEEDS-ACTION": ("waiting", "No answer", "○"),
}
_REASONS = {reason.value: reason for reason in Reason}
_DAYS = {"MO": "Monday", "TU": "Tuesday", "WE": "Wednesday", "TH": "Thursday", "FR": "Friday", "SA": "Saturday"}
_DAYS |= {"SU": "Sunday"}
_UNITS = {"DAILY": "day", "WEEKLY": "week", "MONTHLY": "month", "YEARLY": "year", "HOURLY": "hour"}
# RFC 6638 §3.2.9; only what asks for attention is shown as trouble.
_DELIVERY = {
    "1.0": "waiting to be sent",
    "1.1": "sent",
    "1.2": "delivered",
    "3.7": "unknown mailbox",
    "3.8": "not authorised",
    "5.1": "could not be delivered, given up",
    "5.2": "cannot be delivered",
    "5.3": "refused by the recipient's system",
}


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the bar: from `x` %, `width` % wide."""

    partstat: str
    name: str  # of the CSS class
    word: str
    sign: str
    number: int
    x: float
    width: float


def segments(counts: Mapping[str, int], *, every: bool = False) -> list[Segment]:
    """The bar of a meeting's counts; with `every` also those that are 0, for the legend."""
    total, done, found = max(1, sum(counts.values())), 0, []
    for partstat, (name, word, sign) in ANSWERS.items():
        number = counts.get(partstat, 0)
        if number or (every and partstat in counts):
            width = 100 * number / total
            found.append(Segment(partstat, name, word, sign, number, round(100 * done / total, 3), round(width, 3)))
        done += number
    return found


def answer(partstat: str) -> Segment:
    """How one PARTSTAT looks; one that nobody knows shows as itself (RFC 5545 §3.2.12: treated as NEEDS-ACTION)."""
    name, word, sign = ANSWERS.get(partstat, ("waiting", partstat, "○"))
    return Segment(partstat, name, word, sign, 1, 0, 100)


def in_words(counts: Mapping[str, int]) -> str:
    """`3 accepted, 1 declined of 5`: what a bar says to who cannot see it."""
    parts = [f"{s.number} {s.word.lower()}" for s in segments(counts)]
    return ", ".join(parts) + f" of {sum(counts.values())}" if parts else "nobody is invited"


def day(text: str | None) -> str:
    """`Tue 1 December 2026` of an ISO date or time."""
    return f"{_parse(text):%a} {_parse(text).day} {_parse(text):%B %Y}" if text else ""


def tile(text: str | None) -> tuple[str, str, str]:
    """Month, day and weekday for the calendar leaf: `DEC 2026`, `1`, `Tue`."""
    if not text:
        return ("", "–", "")
    found = _parse(text)
    return (f"{found:%b %Y}".upper(), str(found.day), f"{found:%a}")


def hours(start: str | None, end: str | None) -> str:
    """`10:00–11:00`, `all day`, or `10:00` where there is no end; with the day where the end is another one."""
    if not start:
        return ""
    if len(start) == 10:
        last = _parse(end) - timedelta(days=1) if end else _parse(start)  # DTEND is exclusive
        return "all day" if last <= _parse(start) else f"all day, until {last:%a} {last.day} {last:%B}"
    begins = start[11:16]
    if not end or end == start:
        return begins
    if end[:10] == start[:10]:
        return f"{begins}–{end[11:16]}"
    return f"{begins} – {_parse(end):%a} {_parse(end).day} {_parse(end):%B} {end[11:16]}"


def zone(text: str | None) -> str:
    """`UTC+1`, `UTC`, `local time` (floating) or nothing (a date)."""
    if not text or len(text) == 10:
        return ""
    offset = _parse(text).utcoffset() if len(text) > 19 else None
    if offset is None:
        return "local time"
    minutes = int(offset.total_seconds() // 60)
    hour, rest = divmod(abs(minutes), 60)
    return "UTC" + ("" if not minutes else f"{'-' if minutes < 0 else '+'}{hour}" + (f":{rest:02d}" if rest else ""))


def span(start: str | None, end: str | None) -> str:
    """`Tue 1 December 2026, 10:00–11:00 UTC+1`."""
    if not start:
        return f"until {day(end)}, {hours(end, None)} {zone(end)}".strip() if end else "no time"
    return f"{day(start)}, {hours(start, end)} {zone(start)}".strip()


def stamp(text: str | None) -> str:
    """`20 Nov 2026, 08:00 UTC` of an instant."""
    if not text:
        return ""
    found = _parse(text)
    found = found.astimezone(UTC) if found.tzinfo else found
    return f"{found.day} {found:%b %Y, %H:%M} UTC"


def instance(rid: str | None) -> str:
    """A recurrence id as people read it: `Tue 8 December 2026, 09:00 UTC`."""
    if not rid:
        return ""
    try:
        found = datetime.strptime(rid[:8], "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        return rid
    clock = f", {rid[9:11]}:{rid[11:13]}{' UTC' if rid.endswith('Z') else ''}" if len(rid) > 8 else ""
    return f"{found:%a} {found.day} {found:%B %Y}{clock}"


def rule(rrule: str | None) -> str:
    """A common RRULE in words; others, and several, as they stand."""
    if not rrule or "\n" in rrule:
        return rrule or ""
    parts = dict(part.partition("=")[::2] for part in rrule.upper().split(";"))
    unit, known = _UNITS.get(parts.get("FREQ", "")), {"FREQ", "INTERVAL", "BYDAY", "COUNT", "UNTIL", "WKST"}
    days = [_DAYS.get(name, "") for name in parts.get("BYDAY", "").split(",") if name]
    if not unit or not set(parts) <= known or not all(days) or (days and parts["FREQ"] not in ("WEEKLY", "DAILY")):
        return rrule
    interval = parts.get("INTERVAL", "1")
    words = f"every {unit}" if interval == "1" else f"every {interval} {unit}s"
    if days:
        words += " on " + _joined(days)
    if "COUNT" in parts:
        words += f", {parts['COUNT']} times"
    if "UNTIL" in parts:
        words += f", until {instance(parts['UNTIL'][:8])}"
    return words[0].upper() + words[1:]


def _joined(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def initials(name: str | None, address: str) -> str:
    """One or two letters for the avatar."""
    words = [word for word in (name or "").split() if word[0].isalnum()]
    letters = words[0][0] + (words[-1][0] if len(words) > 1 else "") if words else address[:1]
    return letters.upper()[:2]


def delivery(code: str | None) -> str:
    """The trouble that a SCHEDULE-STATUS tells; nothing where there is none."""
    if not code or code[0] in "12":
        return ""
    return _DELIVERY.get(code, f"delivery status {code}")


def sentence(reason: str) -> str:
    """The one sentence of a reason, with its section; a foreign word stays as it is."""
    found = _REASONS.get(reason)
    return f"{found.sentence} ({found.section})" if found else reason


def _parse(text: str | None) -> datetime:
    if text and len(text) == 10:
        found = date.fromisoformat(text)
        return datetime(found.year, found.month, found.day)  # noqa: DTZ001 a date has no zone
    return datetime.fromisoformat(text or "")
