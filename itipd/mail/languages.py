"""The languages of outgoing mails: gettext catalogs for the words, CLDR by way of Babel for dates and cities.

Duty: a language tag in, a `Language` out, the same for the same tag on every machine: the machine's own locale, zone
and clock are never asked. Catalogs and CLDR are files of installed packages, like the modules beside them: they are
read once and never change while the program runs. So reading them is loading a part of the program and no I/O in the
sense of the house: no result depends on when it happens. `locale/README.md` tells how catalogs are made.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache, partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gettext import NullTranslations

    from babel import Locale

CATALOGS = ("cs", "de", "es", "fr", "ja", "zh_Hans")
"""Languages with a catalog; English stands in the code."""

NAMES = "cs, de, en, es, fr, ja or zh"
"""What a person may choose, a region may follow: `de-AT`, `en-US`, `zh-CN`."""

_TRADITIONAL = re.compile(r"hant|tw|hk|mo", re.IGNORECASE)
_OFFSET = re.compile(r"Etc/GMT([+-])([0-9]+)")


@dataclass(frozen=True, slots=True, eq=False)
class Language:
    """What turns values into the words of one language. `tag` is what the mail says its language is (RFC 3282)."""

    tag: str
    translate: Callable[[str], str]  # an English text
    several: Callable[[str, str, int], str]  # the English singular and plural, and how many they are
    day: Callable[[datetime], str]  # "Tuesday, 1 December 2026"
    date: Callable[[datetime], str]  # "1 December 2026"
    clock: Callable[[datetime], str]  # "10:00"
    weekdays: Sequence[str]  # Monday first
    listing: Callable[[list[str]], str]  # "Monday and Friday"
    city: Callable[[str], str]  # of an IANA zone; "" where it is named for none


def marked(text: str) -> str:
    """A text of the catalogs that is translated later; the name is what `pybabel extract` looks for."""
    return text


def supported(tag: str) -> bool:
    """There are words for this language tag (RFC 5646)."""
    return _catalog(tag) is not None


@lru_cache(maxsize=64)
def language(tag: str) -> Language:
    """The language of a tag like `de`, `de-AT` or `zh-CN`; English where there are no words for it."""
    # Here and below, imported when the first mail is composed: it takes a tenth of a second, and the configuration,
    # which only asks `supported`, is read by every command.
    from babel import dates, lists

    catalog = _catalog(tag)
    if catalog is None:
        tag, catalog = "en", "en"
    locale, words = _locale(tag, catalog), _words(catalog)
    days = locale.days["stand-alone"]["wide"]
    return Language(
        tag=tag,
        translate=words.gettext,
        several=words.ngettext,
        day=partial(dates.format_date, format="full", locale=locale),
        date=partial(dates.format_date, format="long", locale=locale),
        clock=partial(_clock, locale),
        weekdays=tuple(days[number] for number in range(7)),
        listing=partial(lists.format_list, locale=locale),
        city=partial(_city, locale),
    )


def _catalog(tag: str) -> str | None:
    """The name of the catalog for a tag, `en` for none at all; None where there are no words for it."""
    primary, *more = tag.replace("_", "-").split("-")
    if primary.lower() == "zh":
        # Taiwan and Hong Kong read traditional characters, unless the tag says otherwise.
        hans = any(part.lower() == "hans" for part in more)
        return "zh_Hans" if hans or not any(map(_TRADITIONAL.fullmatch, more)) else None
    return primary.lower() if primary.lower() in ("en", *CATALOGS) else None


def _locale(tag: str, catalog: str) -> Locale:
    from babel import Locale, UnknownLocaleError

    try:
        locale = Locale.parse(tag.replace("-", "_"))
    except (ValueError, UnknownLocaleError):
        locale = Locale.parse(catalog)
    # Plain English is read all over the world: day before month, and 24 hours.
    return Locale.parse("en_150") if locale.language == "en" and locale.territory is None else locale


@cache
def _words(catalog: str) -> NullTranslations:
    from gettext import GNUTranslations, NullTranslations
    from importlib import resources

    if catalog == "en":
        return NullTranslations()
    file = resources.files("itipd.mail").joinpath("locale", catalog, "LC_MESSAGES", "itipd.mo")
    with file.open("rb") as opened:
        return GNUTranslations(opened)


def _clock(locale: Locale, when: datetime) -> str:
    from babel.dates import format_time

    return str(format_time(when.time(), "short", locale=locale))


@lru_cache(maxsize=1024)
def _city(locale: Locale, name: str) -> str:
    """The city that a zone is named for, in the language; `UTC-5` for `Etc/GMT+5`, whose sign is that of POSIX."""
    from babel.core import get_global

    if match := _OFFSET.fullmatch(name):
        return f"UTC{'-' if match[1] == '+' else '+'}{match[2]}"
    if "/" not in name or name.startswith("Etc/"):
        return ""
    aliases: Mapping[str, str] = get_global("zone_aliases")
    known = aliases.get(name, name)
    for key in (name, known, *(old for old, new in aliases.items() if new == known)):
        if city := locale.time_zones.get(key, {}).get("city"):
            return str(city)
    return known.rpartition("/")[2].replace("_", " ")
