"""The catalogs of outgoing mails are whole, and mails read as they should in each language."""

from __future__ import annotations

import os
import subprocess
import sys
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path
from string import Formatter

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po

from itipd.mail.compose import compose
from itipd.mail.languages import CATALOGS, NAMES, language, supported
from tests.test_compose import calendar, mail, read, text_of, timed

MAIL = Path(__file__).parent.parent / "itipd" / "mail"

Key = str | tuple[str, ...]


def known() -> set[Key]:
    """Every text of the code that is to be translated."""
    keywords = {"marked": None, "translate": None, "several": (1, 2)}
    found = extract_from_dir(MAIL, method_map=[("*.py", "python")], options_map={}, keywords=keywords)
    return {message for _, _, message, _, _ in found}


def po(name: str) -> Catalog:
    with (MAIL / "locale" / name / "LC_MESSAGES" / "itipd.po").open("rb") as file:
        return read_po(file, locale=name)


def fields(text: str) -> set[str]:
    """The names in braces; nothing else may stand in them."""
    parts = list(Formatter().parse(text))
    assert all(not spec and conversion is None for _, name, spec, conversion in parts if name is not None), text
    return {name for _, name, _, _ in parts if name is not None}


def every(one: str | tuple[str, ...] | list[str] | None) -> list[str]:
    return [one] if isinstance(one, str) else list(one or ())


def test_texts_are_found() -> None:
    """The texts of the code are found, so that the tests below test something."""
    found = known()
    assert {"{organizer} invites you:", ("{n} time", "{n} times"), "every week", "What"} <= found
    assert len(found) > 45


@pytest.mark.parametrize("name", CATALOGS)
def test_catalog_is_whole(name: str) -> None:
    """A catalog has every text of the code and no other, none is empty, fuzzy or put away."""
    catalog = po(name)
    messages = [message for message in catalog if message.id]
    assert {message.id for message in messages} == known()
    assert not catalog.obsolete
    assert not catalog.fuzzy
    for message in messages:
        assert not message.fuzzy, message.id
        assert all(text.strip() for text in every(message.string)), message.id
        assert not list(message.check(catalog)), message.id


@pytest.mark.parametrize("name", CATALOGS)
def test_placeholders(name: str) -> None:
    """A translation fills in exactly what the English text fills in, in each of the language's plurals."""
    catalog = po(name)
    for message in catalog:
        if message.id:
            texts = every(message.string)
            assert len(texts) == (catalog.num_plurals if message.pluralizable else 1), message.id
            assert [fields(text) for text in texts] == [fields(every(message.id)[0])] * len(texts), message.id


@pytest.mark.parametrize("name", CATALOGS)
def test_what_is_installed_is_what_is_written(name: str) -> None:
    """The compiled catalog says what its .po file says: `pybabel compile -D itipd -d itipd/mail/locale`."""
    with (MAIL / "locale" / name / "LC_MESSAGES" / "itipd.mo").open("rb") as file:
        compiled = read_mo(file)
    written = po(name)
    assert compiled.plural_forms == written.plural_forms
    said = [{every(one.id)[0]: every(one.string) for one in catalog if one.id} for catalog in (compiled, written)]
    assert said[0] == said[1] != {}


def test_names_are_the_catalogs() -> None:
    """What a person is told to choose from is what there is."""
    assert sorted(NAMES.replace(" or ", ", ").split(", ")) == sorted(["en", *(name[:2] for name in CATALOGS)])
    assert sorted(path.parent.parent.name for path in (MAIL / "locale").glob("*/*/*.po")) == sorted(CATALOGS)


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        *[(name, True) for name in ("en", "de", "fr", "es", "cs", "ja", "zh")],
        *[(name, True) for name in ("de-AT", "EN-us", "zh-CN", "zh-Hans", "zh-Hans-TW", "zh-SG", "fr-CA", "de-1996")],
        *[(name, False) for name in ("pt", "zh-TW", "zh-Hant", "zh-HK", "tlh", "", "../de")],
    ],
)
def test_supported(tag: str, expected: bool) -> None:
    """There are words for these tags and no others; those who read traditional characters get English."""
    assert supported(tag) is expected
    assert language(tag).tag == (tag if expected else "en")


INVITED = {
    "en": (
        "Invitation: Planning",
        "Meetings invites you:",
        "When:      Tuesday, 1 December 2026, 10:00–11:00 (Berlin time)",
        "Repeats:   every 2 weeks: Tuesday and Friday, 10 times",
    ),
    "en-US": (
        "Invitation: Planning",
        "Meetings invites you:",
        "When:      Tuesday, December 1, 2026, 10:00\u202fAM–11:00\u202fAM (Berlin time)",
        "Repeats:   every 2 weeks: Tuesday and Friday, 10 times",
    ),
    "de": (
        "Einladung: Planning",
        "Meetings lädt Sie ein:",
        "Wann:         Dienstag, 1. Dezember 2026, 10:00–11:00 Uhr (Ortszeit Berlin)",
        "Wiederholung: alle 2 Wochen: Dienstag und Freitag, 10-mal",
    ),
    "fr": (
        "Invitation : Planning",
        "Meetings vous invite\u00a0:",
        "Date\u00a0:         mardi 1 décembre 2026, de 10:00 à 11:00 (heure\u00a0: Berlin)",
        "Récurrence\u00a0:   toutes les 2 semaines\u00a0: mardi et vendredi, 10 fois",
    ),
    "es": (
        "Invitación: Planning",
        "Meetings le invita:",
        "Cuándo:      martes, 1 de diciembre de 2026, de 10:00 a 11:00 (hora de Berlín)",
        "Repetición:  cada 2 semanas: martes y viernes, 10 veces",
    ),
    "cs": (
        "Pozvánka: Planning",
        "Meetings vás zve:",
        "Kdy:         úterý 1. prosince 2026, 10:00–11:00 (časové pásmo Berlín)",
        "Opakování:   každé 2 týdny: úterý a\u00a0pátek, 10krát",
    ),
    "zh-CN": (
        "邀请：Planning",
        "Meetings 邀请您参加：",
        "时间：   2026年12月1日星期二 10:00–11:00（柏林时间）",
        "重复：   每 2 周：星期二和星期五，共 10 次",
    ),
    "ja": (
        "招待: Planning",
        "Meetings から招待が届いています:",
        "日時:     2026年12月1日火曜日 10:00～11:00（ベルリン時間）",
        "繰り返し: 2 週間ごと: 火曜日、金曜日、全 10 回",
    ),
}


@pytest.mark.parametrize("tag", INVITED)
def test_an_invitation(tag: str) -> None:
    """Subject, first sentence, time and rule read as a calendar program of that language would say it."""
    given = calendar(lines=("RRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=FR,TU;COUNT=10",))
    raw = compose(mail(language=tag, calendar=given))
    plain, lines = text_of(raw, "plain"), text_of(raw, "plain").splitlines()
    subject, intro, when, repeats = INVITED[tag]
    assert read(raw)["Subject"] == subject
    assert lines[0] == intro
    assert when in lines, plain
    assert repeats in lines, plain
    assert read(raw)["Content-Language"] == tag
    assert f'<html lang="{tag}">' in text_of(raw, "html")


DECLINED = {
    "en": ("Proposal declined: Planning", "Meetings has declined your proposal; this event stays as it is:"),
    "de": ("Gegenvorschlag abgelehnt: Planning", "Meetings hat Ihren Gegenvorschlag abgelehnt; "),
    "fr": ("Contre-proposition refusée : Planning", "Meetings a refusé votre contre-proposition\u00a0; "),
    "es": ("Contrapropuesta rechazada: Planning", "Meetings ha rechazado su contrapropuesta; "),
    "cs": ("Protinávrh zamítnut: Planning", "Meetings zamítá váš protinávrh; "),
    "zh": ("更改提议未被接受：Planning", "Meetings 未接受您的更改提议，"),
    "ja": ("変更の提案は承認されませんでした: Planning", "Meetings は変更の提案を承認しませんでした。"),
}


@pytest.mark.parametrize("tag", DECLINED)
def test_a_counter_proposal_declined(tag: str) -> None:
    """One whose counter proposal was declined reads so in the own language, in the subject already."""
    raw = compose(mail("DECLINECOUNTER", reason="proposal_declined", language=tag))
    subject, intro = DECLINED[tag]
    assert read(raw)["Subject"] == subject
    assert text_of(raw, "plain").startswith(intro)


@pytest.mark.parametrize("tag", [*INVITED, "de-AT", "fr-CA", "es-MX"])
@pytest.mark.parametrize("method", ["REQUEST", "CANCEL", "DECLINECOUNTER", "PUBLISH"])
def test_no_text_is_left_over(method: str, tag: str) -> None:
    """No mail in any language shows a brace or, where there is a catalog, an English sentence."""
    given = timed(
        "DTSTART;VALUE=DATE:20261224", "DTEND;VALUE=DATE:20261227", "RRULE:FREQ=DAILY;UNTIL=20270101", "LOCATION:B7"
    ).replace("METHOD:REQUEST", f"METHOD:{method}")
    for rid, reason in (("", "reminded"), ("20261224", "significant_change")):
        plain = text_of(compose(mail(method, language=tag, calendar=given, rid=rid, reason=reason)), "plain")
        assert not set("{}") & set(plain)
        if not tag.startswith("en"):
            assert "Meetings has" not in plain
            assert not {"When", "Where", "Repeats", "every", "until"} & set(plain.replace(":", " ").split())


@pytest.mark.parametrize(
    ("count", "expected"), [(1, "a 1 další termín"), (3, "a 3 další termíny"), (5, "a 5 dalších termínů")]
)
def test_plurals(count: int, expected: str) -> None:
    """Numbers take the form that the language has for them: Czech has three."""
    event = "BEGIN:VEVENT\r\nRECURRENCE-ID:202612{:02}T090000Z\r\nDTSTART:202612{:02}T100000Z\r\nEND:VEVENT\r\n"
    given = calendar(more="".join(event.format(day, day) for day in range(8, 17 + count)))
    assert expected in text_of(compose(mail(language="cs", calendar=given)), "plain")


def when(*lines: str, tag: str = "en") -> str:
    """What stands beside "When" in a mail with these lines of time."""
    plain = text_of(compose(mail(language=tag, calendar=timed(*lines))), "plain")
    translate = language(tag).translate
    label = translate("{label}:").format(label=translate("When"))
    (found,) = (line for line in plain.splitlines() if line.startswith(label))
    return found.removeprefix(label).strip()


ZONES = [
    ("Asia/Calcutta", "de", "Ortszeit Kalkutta"),
    ("Asia/Kolkata", "de", "Ortszeit Kalkutta"),
    ("W. Europe Standard Time", "cs", "časové pásmo Berlín"),
    ("/freeassociation.sourceforge.net/Tzfile/Europe/London", "es", "hora de Londres"),
    ("US/Eastern", "zh", "纽约时间"),
    ("America/Argentina/Buenos_Aires", "en", "Buenos Aires time"),
    ("Europe/Kyiv", "de", "Ortszeit Kiew"),
    ("Etc/GMT+5", "en", "UTC-5"),
    ("CET", "en", "CET"),
    ("Our own zone", "en", "Our own zone"),
]


@pytest.mark.parametrize(("tzid", "tag", "expected"), ZONES)
def test_zones_are_named_for_their_city(tzid: str, tag: str, expected: str) -> None:
    """A zone reads as the time of a city in the reader's language, whatever vendor's name it has."""
    found = when(f"DTSTART;TZID={tzid}:20261201T100000", tag=tag)
    assert found.replace("（", "(").replace("）", ")").endswith(f"({expected})")


def test_an_end_in_another_zone() -> None:
    """An end that is written in another zone is told in the zone of the start."""
    found = when("DTSTART;TZID=Europe/Berlin:20261201T100000", "DTEND;TZID=America/New_York:20261201T060000")
    assert found == "Tuesday, 1 December 2026, 10:00–12:00 (Berlin time)"


def test_an_end_in_a_zone_of_the_calendars_own() -> None:
    """The calendar's own VTIMEZONE is what its TZID means."""
    zone = """BEGIN:VTIMEZONE
TZID:Hill
BEGIN:STANDARD
DTSTART:19700101T000000
TZOFFSETFROM:+0430
TZOFFSETTO:+0430
END:STANDARD
END:VTIMEZONE
BEGIN:VEVENT""".replace("\n", "\r\n")
    found = timed("DTSTART;TZID=Hill:20261201T100000", "DTEND:20261201T063000Z").replace("BEGIN:VEVENT", zone)
    assert "10:00–11:00 (Hill)" in text_of(compose(mail(calendar=found)), "plain")


def test_the_last_day_is_that_of_the_meetings_zone() -> None:
    """UNTIL stands in UTC; the day that is told is the day it is where the meeting is."""
    given = timed("DTSTART;TZID=Asia/Tokyo:20261201T080000", "RRULE:FREQ=DAILY;UNTIL=20270301T230000Z")
    assert "every day, until 2 March 2027" in text_of(compose(mail(calendar=given)), "plain")


TASKS = [
    ("REQUEST", "registered", "Task: Planning", "Meetings gives you this task:"),
    ("REQUEST", "significant_change", "Updated: Planning", "Meetings has changed this task:"),
    ("REQUEST", "reminded", "Please answer: Planning", "Meetings is still waiting for your answer:"),
    ("CANCEL", "cancelled", "Task cancelled: Planning", "Meetings has released you from this task:"),
    ("CANCEL", "party_crasher", "Task cancelled: Planning", "This task is not assigned to you:"),
    ("DECLINECOUNTER", "proposal", "Proposal declined: Planning", "Meetings has declined your proposal; this task"),
]


@pytest.mark.parametrize(("method", "reason", "subject", "intro"), TASKS)
def test_tasks(method: str, reason: str, subject: str, intro: str) -> None:
    """A VTODO is called a task and invites nobody."""
    given = calendar(method).replace("VEVENT", "VTODO").replace("DTEND", "DUE")
    raw = compose(mail(method, reason=reason, calendar=given))
    assert read(raw)["Subject"] == subject
    assert text_of(raw, "plain").startswith(intro)


BUSY = """BEGIN:VCALENDAR
METHOD:REPLY
BEGIN:VFREEBUSY
UID:asked
DTSTART:20261201T000000Z
DTEND:20261208T000000Z
{periods}END:VFREEBUSY
END:VCALENDAR
"""


def busy(*periods: str) -> str:
    """The text of a mail that answers a question for busy time."""
    lines = "".join(f"FREEBUSY;FBTYPE=BUSY:{period}\n" for period in periods)
    given = BUSY.format(periods=lines).replace("\n", "\r\n")
    return text_of(compose(mail("REPLY", reason="freebusy", calendar=given, summary="Meetings")), "plain")


def test_busy_time() -> None:
    """A person who asked for busy time can read it without a calendar program."""
    found = busy("20261201T090000Z/20261201T100000Z", "20261202T230000Z/20261203T010000Z")
    assert found.startswith("Meetings is busy at these times:")
    assert "Tuesday, 1 December 2026, 09:00–10:00 (UTC)" in found
    assert "Wednesday, 2 December 2026, 23:00 – Thursday, 3 December 2026, 01:00 (UTC)" in found
    assert found.count("2026") == 3


def test_no_busy_time() -> None:
    """Where there is none, the mail says so, and of which time."""
    found = busy()
    assert found.startswith("Meetings is not busy in this time:")
    assert "Tuesday, 1 December 2026, 00:00 – Tuesday, 8 December 2026, 00:00 (UTC)" in found


def test_language_without_words() -> None:
    """A language that there are no words for gives an English mail that says so."""
    raw = compose(mail(language="pt"))
    assert read(raw)["Content-Language"] == "en"
    assert read(raw)["Subject"] == "Invitation: Planning"
    assert "Tuesday, 1 December 2026" in text_of(raw, "plain")


COMPOSE = """
import sys
from base64 import b64encode
from tests.test_languages import everywhere
sys.stdout.write(b64encode(everywhere()).decode())
"""


def everywhere() -> bytes:
    """A mail in every language."""
    return b"".join(compose(mail(language=tag, created_at=datetime(2026, 11, 20, tzinfo=UTC))) for tag in INVITED)


@pytest.mark.parametrize(("zone", "locale"), [("Asia/Tokyo", "ja_JP.UTF-8"), ("nonsense", "nonsense"), ("", "C")])
def test_the_machine_is_not_asked(zone: str, locale: str) -> None:
    """A mail has the same bytes whatever zone and locale the machine has."""
    environ = {**os.environ, "TZ": zone, "LANG": locale, "LC_ALL": locale, "LC_TIME": locale, "LANGUAGE": locale[:2]}
    done = subprocess.run(
        [sys.executable, "-c", COMPOSE],
        env=environ,
        cwd=MAIL.parent.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == b64encode(everywhere()).decode(), done.stderr[-2000:]
