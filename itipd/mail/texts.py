"""What people read in our mails: plain text and HTML of an iTIP message (RFC 6047 §2.4); `sentences` says what it is.

Duty: from a calendar and a few plain values to text. It must never decide anything, never read a clock or a locale of
the machine, and never let a value from the calendar become markup. English stands in the code, each text marked for
the catalogs by the function that it is given to: `marked`, `translate` or `several`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from html import escape
from unicodedata import east_asian_width

from itipd.itip import timezones
from itipd.itip.contentlines import Component, Line
from itipd.itip.model import Moment
from itipd.mail.languages import Language, marked

EVERY = {
    "DAILY": marked("every day"),
    "WEEKLY": marked("every week"),
    "MONTHLY": marked("every month"),
    "YEARLY": marked("every year"),
}
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")

_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]")
"""Controls, line and paragraph separators, invisible marks, turns of the writing direction, lone surrogates."""

MAX_DATES = 10
"""So many dates of one calendar are written out; the rest is a number."""

MAX_TEXT = 4_000
"""So many characters of a description are repeated in the body; the calendar itself has all."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a person needs to know of a calendar; every text is cleaned, none is escaped."""

    summary: str = ""
    whens: tuple[str, ...] = ()
    more: int = 0  # dates beyond MAX_DATES
    repeats: str = ""
    location: str = ""
    description: str = ""
    cancelled: bool = False  # STATUS:CANCELLED stands in it
    task: bool = False  # a VTODO
    free: bool = False  # a VFREEBUSY without a busy period


def facts(calendar: Component, language: Language) -> Facts:
    """What the components of one VCALENDAR say, the series first; empty texts where there is nothing."""
    components = [child for child in calendar.children if child.name in ("VEVENT", "VTODO", "VFREEBUSY")]
    if not components:
        return Facts()
    zones, free = timezones.zones_of(calendar), False
    if components[0].name == "VFREEBUSY":
        periods = [period for line in components[0].all("FREEBUSY") for period in line.value.split(",")]
        free = not periods
        # Each busy period is told like a meeting's time, and nothing else of it is known.
        components = [_period(*period.partition("/")[::2]) for period in periods] or components
    # The series is the calendar's subject; overrides add their dates.
    main = next((c for c in components if c.first("RECURRENCE-ID") is None), components[0])
    ordered = [main, *(c for c in components if c is not main)]
    whens = tuple(text for c in ordered[:MAX_DATES] if (text := when(c, zones, language)))
    return Facts(
        summary=one_line(main.text("SUMMARY") or "", 255),
        whens=whens,
        more=max(0, len(ordered) - MAX_DATES),
        repeats=repeats(main, zones, language),
        location=one_line(main.text("LOCATION") or "", 255),
        description=lines_of(main.text("DESCRIPTION") or "", MAX_TEXT),
        cancelled=(main.text("STATUS") or "").upper() == "CANCELLED",
        task=main.name == "VTODO",
        free=free,
    )


def _period(start: str, end: str) -> Component:
    return Component("VFREEBUSY", [f"DTSTART:{start}", f"DTEND:{end}"])


def one_line(text: str, limit: int) -> str:
    """`text` on one line, every run of white space one blank, without what cannot be seen, cut at `limit`."""
    return _UNSEEN.sub("", " ".join(text.split()))[:limit]


def lines_of(text: str, limit: int) -> str:
    """`text` with its lines but without what cannot be seen, cut at `limit`: what it turns must not turn our words."""
    return "\n".join(_UNSEEN.sub("", line) for line in text[:limit].replace("\t", " ").split("\n")).strip()


def when(component: Component, zones: Mapping[str, Component], language: Language) -> str:
    """The time of one component in the zone that its organizer wrote it in, with that zone; "" where it has none."""
    line = component.first("DTSTART") or component.first("DUE") or component.first("RECURRENCE-ID")
    start = timezones.moment(line, zones)[0] if line is not None else None
    if line is None or start is None:
        return ""  # the calendar is our own, but a value that is no time must not stop a mail
    end_line = component.first("DTEND") or component.first("DUE")
    end = timezones.moment(end_line, zones)[0] if end_line is not None and end_line is not line else None
    until = start.local
    if end is not None:
        until = _local(end, start, _zone(line, zones))
    elif (duration := component.first("DURATION")) is not None:
        until += timezones.parse_duration(duration.value) or timedelta()
    first = language.day(start.local)
    if start.is_date:
        until -= timedelta(days=1)  # RFC 5545 §3.6.1: DTEND is exclusive
        if until <= start.local:
            return first
        return language.translate("{first} – {last}").format(first=first, last=language.day(until))
    names = {"day": first, "start": language.clock(start.local), "end": language.clock(until)}
    if until <= start.local:
        text = language.translate("{day}, {start}")
    elif until.date() == start.local.date():
        text = language.translate("{day}, {start}–{end}")
    else:
        text = language.translate("{day}, {start} – {last}, {end}")
        names["last"] = language.day(until)
    text = text.format(**names)
    zone = _place(line, language)
    return language.translate("{when} ({zone})").format(when=text, zone=zone) if zone else text


def _zone(line: Line, zones: Mapping[str, Component]) -> tzinfo | None:
    if line.value.strip().upper().endswith("Z"):
        return UTC
    return timezones.resolve(line.one("TZID") or "", zones)


def _local(moment: Moment, like: Moment, zone: tzinfo | None) -> datetime:
    """The wall clock of `moment` in the zone of `like`: an end may be written in another zone than its start."""
    if moment.utc is None or like.utc is None or zone is None:
        return moment.local
    return moment.utc.astimezone(zone).replace(tzinfo=None)


def _place(line: Line, language: Language) -> str:
    """The zone of a time in a word or two; "" for one that floats."""
    tzid = line.one("TZID")
    if line.value.strip().upper().endswith("Z"):
        return "UTC"
    if tzid is None:
        return ""
    city = language.city(timezones.iana_name(tzid)[0] or "")
    if not city:
        return one_line(tzid, 60)
    return city if city.startswith("UTC") else language.translate("{city} time").format(city=city)


def repeats(component: Component, zones: Mapping[str, Component], language: Language) -> str:
    """The rule in a few words: how often, on which days of the week and until when; "" for an unusual rule or none."""
    line, start = component.first("RRULE"), component.first("DTSTART")
    if line is None:
        return ""
    rule = dict(part.upper().split("=", 1) for part in line.value.split(";") if "=" in part)
    frequency, interval, count = (
        rule.get("FREQ", ""),
        _number(rule.get("INTERVAL", "1")),
        _number(rule.get("COUNT", "")),
    )
    if frequency not in EVERY or not interval:
        return ""
    text = language.translate(EVERY[frequency]) if interval == 1 else _every(frequency, interval, language)
    begin = timezones.moment(start, zones)[0] if start is not None else None
    days = [WEEKDAYS.index(day) for day in rule.get("BYDAY", "").split(",") if day in WEEKDAYS]
    if frequency == "WEEKLY" and days and (begin is None or days != [begin.local.weekday()]):
        named = language.listing([language.weekdays[day] for day in sorted(set(days))])
        text = language.translate("{rule}: {days}").format(rule=text, days=named)
    until = timezones.parse_value(rule["UNTIL"]) if "UNTIL" in rule else None
    if isinstance(until, Moment):
        # RFC 5545 §3.3.10: UNTIL is in UTC where DTSTART has a zone; people think of the day that it is there.
        last = _local(until, begin, _zone(start, zones)) if begin is not None and start is not None else until.local
        end = language.translate("until {day}").format(day=language.date(last))
    elif count:
        end = language.several("{n} time", "{n} times", count).format(n=count)
    else:
        return text
    return language.translate("{rule}, {end}").format(rule=text, end=end)


def _every(frequency: str, n: int, language: Language) -> str:
    several = language.several
    text = {
        "DAILY": several("every {n} day", "every {n} days", n),
        "WEEKLY": several("every {n} week", "every {n} weeks", n),
        "MONTHLY": several("every {n} month", "every {n} months", n),
        "YEARLY": several("every {n} year", "every {n} years", n),
    }[frequency]
    return text.format(n=n)


def _number(text: str) -> int:
    """A small positive number, or 0."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0


def rows(facts: Facts, organizer: str, comment: str, language: Language) -> list[tuple[str, str]]:
    """Label and value of what stands in the body, one above the other; empty values are left out."""
    translate, whens = language.translate, "\n".join(facts.whens)
    if facts.more:
        whens += "\n" + language.several("and {n} more", "and {n} more", facts.more).format(n=facts.more)
    table = (
        (translate("What"), facts.summary),
        (translate("When"), whens),
        (translate("Repeats"), facts.repeats),
        (translate("Where"), facts.location),
        (translate("Organizer"), organizer),
        (translate("Comment"), comment),
    )
    return [(translate("{label}:").format(label=label), value) for label, value in table if value]


def plain(intro: str, table: list[tuple[str, str]], description: str, footer: str) -> str:
    """The text/plain body, lines ended by "\n"; values stand below each other."""
    width = max((_width(label) for label, _ in table), default=0) + 1
    lines = [intro, ""]
    for label, value in table:
        head, *rest = value.split("\n")
        lines.append(label + " " * (width - _width(label)) + head)
        lines.extend(" " * width + more for more in rest)
    for block in (description, footer):
        if block:
            lines += ["", block]
    return "\n".join(lines) + "\n"


def _width(text: str) -> int:
    """The columns that a text takes where all letters are of one width: a Chinese or Japanese sign takes two."""
    if text.isascii():
        return len(text)
    return sum(2 if east_asian_width(sign) in "WF" else 1 for sign in text)


def html(intro: str, table: list[tuple[str, str]], description: str, footer: str, language: str) -> str:
    """The text/html body: the same as `plain`, every value escaped; no links, images or scripts (nothing to fetch)."""
    cells = "".join(
        f'<tr><th align="left" valign="top">{_markup(label)}</th><td>{_markup(value)}</td></tr>\n'
        for label, value in table
    )
    blocks = "".join(f"<p>{_markup(block)}</p>\n" for block in (description, footer) if block)
    return (
        f'<!DOCTYPE html>\n<html lang="{escape(language)}">\n<head><meta charset="utf-8"></head>\n<body>\n'
        f'<p>{_markup(intro)}</p>\n<table cellpadding="4">\n{cells}</table>\n{blocks}</body>\n</html>\n'
    )


def _markup(text: str) -> str:
    return escape(text).replace("\n", "<br>\n")
