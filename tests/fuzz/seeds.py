"""What mutations begin with: the mails and calendars of fixtures/, and of other folders where some are named."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from itipd.mail.extract import MailLimits, TooLarge, extract, wire
from itipd.mail.mime import body, leaves
from tests.fuzz.mutations import LONGEST

FIXTURES = Path(__file__).parents[2] / "fixtures"


@cache
def mails(folders: tuple[Path, ...] = ()) -> tuple[bytes, ...]:
    """Every mail, each once, shortest first."""
    return _read((FIXTURES, *folders), ".eml")


@cache
def calendars(folders: tuple[Path, ...] = ()) -> tuple[bytes, ...]:
    """Every calendar, by itself or in a mail."""
    found = set(_read((FIXTURES, *folders), ".ics"))
    for raw in mails(folders):
        try:
            found |= {part.data for part in extract(wire(raw), MailLimits()).parts}
        except TooLarge:
            continue
    return _sorted(found)


@cache
def winmails(folders: tuple[Path, ...] = ()) -> tuple[bytes, ...]:
    """The content of every winmail.dat."""
    return _parts(folders, ("application/ms-tnef", "application/vnd.ms-tnef"))


@cache
def texts(folders: tuple[Path, ...] = ()) -> tuple[bytes, ...]:
    """What people and their clients wrote."""
    return _parts(folders, ("text/plain",))


@cache
def headers(folders: tuple[Path, ...] = ()) -> tuple[bytes, ...]:
    """The header block of every mail."""
    return _sorted({raw.replace(b"\r\n", b"\n").partition(b"\n\n")[0] + b"\n\n" for raw in mails(folders)})


@cache
def reports(folders: tuple[Path, ...] = ()) -> tuple[bytes, ...]:
    """The mails that look like delivery reports, and two that do not."""
    marks = (b"delivery-status", b"x-failed-recipients", b"mailer-daemon", b"postmaster@")
    found = [raw for raw in mails(folders) if any(mark in raw.lower() for mark in marks)]
    return _sorted({*found, *mails(folders)[:2]})


def _parts(folders: tuple[Path, ...], types: tuple[str, ...]) -> tuple[bytes, ...]:
    found: set[bytes] = set()
    for raw in mails(folders):
        data = wire(raw)
        try:
            found |= {body(data, leaf)[0] for leaf in leaves(data, MailLimits())[2] if leaf.type in types}
        except TooLarge:
            continue
    return _sorted(found)


def _read(folders: Iterable[Path], suffix: str) -> tuple[bytes, ...]:
    return _sorted({file.read_bytes() for folder in folders for file in folder.rglob(f"*{suffix}")})


def _sorted(found: Iterable[bytes]) -> tuple[bytes, ...]:
    return tuple(sorted((one for one in found if 0 < len(one) <= LONGEST), key=lambda one: (len(one), one)))
