"""The words that people read in our mails: subject, plain text and HTML of an iTIP message (RFC 6047 §2.4).

Duty: from a calendar and a few plain values to text. It must never decide anything, never read a clock or a locale of
the machine, and never let a value from the calendar become markup. English stands in the code; `translator` is the one
place where a catalog of another language comes in.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape

from itipd.itip.contentlines import Component
from itipd.itip.model import clean
from itipd.itip.timezones import parse_duration

Translate = Callable[[str], str]

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
EVERY = {
    "DAILY": ("every day", "every {n} days"),
    "WEEKLY": ("every week", "every {n} weeks"),
    "MONTHLY": ("every month", "every {n} months"),
    "YEARLY": ("every year", "every {n} years"),
}

_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]")
"""Controls, line and paragraph separators, invisible marks, turns of the writing direction, lone surrogates."""

MAX_DATES = 10
"""So many dates of one calendar are written out; the rest is a number."""

MAX_TEXT = 4_000
"""So many characters of a description are repeated in the body; the calendar itself has all."""


@dataclass(frozen=True, slots=True)
class Words:
    """What differs from mail to mail: the subject with `{summary}` in it, the first sentence with `{organizer}`, and
    whether an answer is asked for."""

    subject: str
    intro: str
    ask: bool = False


INVITATION = Words("Invitation: {summary}", "{organizer} invites you:", ask=True)
UPDATE = Words("Updated: {summary}", "{organizer} has changed this invitation:", ask=True)
REMINDER = Words("Please answer: {summary}", "{organizer} is still waiting for your answer:", ask=True)
CURRENT = Words("Invitation: {summary}", "This is the invitation as it stands now:", ask=True)
CANCELLATION = Words("Cancelled: {summary}", "{organizer} has cancelled this:")
INSTANCE_CANCELLED = Words("Cancelled: {summary}", "{organizer} has cancelled this date; the rest of the series stays:")
UNINVITED = Words("Cancelled: {summary}", "{organizer} has taken you off the guest list of this:")
DECLINED = Words("Proposal declined: {summary}", "{organizer} has declined your proposal; this stays as it is:")
OTHER = Words("{summary}", "{organizer} sends you this:")

REQUESTS = {
    "significant_change": UPDATE,
    "minor_change": UPDATE,
    "proposal_accepted": UPDATE,
    "reminded": REMINDER,
    "stale_sequence": CURRENT,
    "refresh": CURRENT,
}
"""By the reason for which a REQUEST is sent; any other reason is a first invitation."""


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


def translator(language: str) -> Translate:
    """The function that turns an English text of this module into `language`.

    There is no catalog yet, so every language reads English; a gettext catalog's `gettext` fits in here unchanged.
    """
    del language  # one language, until there is a catalog to choose from
    return str


def words(method: str, reason: str, rid: str, facts: Facts) -> Words:
    """The words for a METHOD, the reason it is sent for, and the instance (`""`: the series)."""
    if method == "REQUEST":
        return REQUESTS.get(reason, INVITATION)
    if method == "CANCEL":
        if not facts.cancelled:
            return UNINVITED  # RFC 5546 §3.2.5: no STATUS where only these attendees are taken off
        return INSTANCE_CANCELLED if rid else CANCELLATION
    return DECLINED if method == "DECLINECOUNTER" else OTHER


def facts(components: list[Component], translate: Translate) -> Facts:
    """What the VEVENTs or VTODOs of one calendar say, the series first; empty texts where there is nothing."""
    if not components:
        return Facts()
    # The series is the calendar's subject; overrides add their dates.
    main = next((c for c in components if c.first("RECURRENCE-ID") is None), components[0])
    ordered = [main, *(c for c in components if c is not main)]
    whens = tuple(text for c in ordered[:MAX_DATES] if (text := when(c, translate)))
    return Facts(
        summary=one_line(main.text("SUMMARY") or "", 255),
        whens=whens,
        more=max(0, len(ordered) - MAX_DATES),
        repeats=repeats(main, translate),
        location=one_line(main.text("LOCATION") or "", 255),
        description=clean(main.text("DESCRIPTION") or "", MAX_TEXT).strip(),
        cancelled=(main.text("STATUS") or "").upper() == "CANCELLED",
    )


def one_line(text: str, limit: int) -> str:
    """`text` on one line, every run of white space one blank, without what cannot be seen, cut at `limit`."""
    return _UNSEEN.sub("", " ".join(text.split()))[:limit]


def when(component: Component, translate: Translate) -> str:
    """The time of one component as its organizer wrote it, with the name of its zone; "" where it has none.

    Nothing is computed across zones: the wall clock of the calendar is what people agreed on.
    """
    line = component.first("DTSTART") or component.first("DUE") or component.first("RECURRENCE-ID")
    start = _local(line.value) if line is not None else None
    if line is None or start is None:
        return ""
    end_line = component.first("DTEND") or component.first("DUE")
    end = _local(end_line.value) if end_line is not None and end_line is not line else None
    if end is None and (duration := component.first("DURATION")) is not None:
        end = start + (parse_duration(duration.value) or timedelta())
    if "T" not in line.value:
        last = end - timedelta(days=1) if end is not None else start  # RFC 5545 §3.6.1: DTEND is exclusive
        first = _day(start, translate)
        return first if last <= start else f"{first} – {_day(last, translate)}"
    text = f"{_day(start, translate)}, {start:%H:%M}"
    if end is not None and end > start:
        text += f"–{end:%H:%M}" if end.date() == start.date() else f" – {_day(end, translate)}, {end:%H:%M}"
    zone = "UTC" if line.value.endswith("Z") else one_line("".join(line.params.get("TZID", ())[:1]), 60)
    return f"{text} ({zone})" if zone else text


def repeats(component: Component, translate: Translate) -> str:
    """The rule in a few words: how often and until when; "" for what does not repeat or has an unusual rule."""
    line = component.first("RRULE")
    if line is None:
        return ""
    rule = dict(part.upper().split("=", 1) for part in line.value.split(";") if "=" in part)
    if rule.get("FREQ") not in EVERY:
        return ""
    single, several = EVERY[rule["FREQ"]]
    n = rule.get("INTERVAL", "1")
    text = translate(single) if n == "1" else translate(several).format(n=one_line(n, 9))
    until = _local(rule.get("UNTIL", ""))
    if until is not None:
        return text + ", " + translate("until {day}").format(day=_day(until, translate))
    if rule.get("COUNT"):
        return text + ", " + translate("{n} times").format(n=one_line(rule["COUNT"], 9))
    return text


def rows(facts: Facts, organizer: str, comment: str, translate: Translate) -> list[tuple[str, str]]:
    """Label and value of what stands in the body, one above the other; empty values are left out."""
    whens = "\n".join(facts.whens)
    if facts.more:
        whens += "\n" + translate("and {n} more").format(n=facts.more)
    table = (
        (translate("What"), facts.summary),
        (translate("When"), whens),
        (translate("Repeats"), facts.repeats),
        (translate("Where"), facts.location),
        (translate("Organizer"), organizer),
        (translate("Comment"), comment),
    )
    return [(label, value) for label, value in table if value]


def plain(intro: str, table: list[tuple[str, str]], description: str, footer: str) -> str:
    """The text/plain body, lines ended by "\\n"."""
    width = max((len(label) for label, _ in table), default=0) + 2
    lines = [intro, ""]
    for label, value in table:
        head, *rest = value.split("\n")
        lines.append(f"{label + ':':<{width}}{head}")
        lines.extend(" " * width + more for more in rest)
    for block in (description, footer):
        if block:
            lines += ["", block]
    return "\n".join(lines) + "\n"


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


def _day(moment: datetime, translate: Translate) -> str:
    day, month = translate(DAYS[moment.weekday()]), translate(MONTHS[moment.month - 1])
    return translate("{day}, {date} {month} {year}").format(day=day, date=moment.day, month=month, year=moment.year)


def _local(value: str) -> datetime | None:
    # RFC 5545 §3.3.4-5; the calendar is our own, but a value that is no time must not stop a mail.
    digits = value.strip().upper().removesuffix("Z")
    for form, length in (("%Y%m%dT%H%M%S", 15), ("%Y%m%d", 8)):
        if len(digits) == length:
            try:
                return datetime.strptime(digits, form)  # noqa: DTZ007 - a wall clock has no zone
            except ValueError:
                return None
    return None
