"""The rooms that read what strangers wrote, and what must hold of whatever comes out of them.

Each room is a function of octets that returns what was found out (a short word for each kind of result, by which the
machine sees that an input is a new one) and raises for whatever must not be. What a room may raise by its own contract
(`TooLarge`) is caught here; everything else that comes out is a find. `far`: what follows is done, too - the message
is decided, its mails are written -, which costs several times what reading costs.
"""

from __future__ import annotations

import dataclasses
import json
import pickle
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any

from itipd.cli.output import dumps
from itipd.itip import addresses, attendance, contentlines, organize, render
from itipd.itip.bounced import bounced
from itipd.itip.decide import decide
from itipd.itip.freebusy import question
from itipd.itip.incoming import incoming
from itipd.itip.model import Attendee, Decision, Evidence, Fault, Incoming, Meeting, Message, Policy, Report, Revision
from itipd.itip.read import read
from itipd.itip.transcript import result
from itipd.mail import compose, tnef
from itipd.mail.bounce import bounce
from itipd.mail.evidence import evidence
from itipd.mail.extract import MailLimits, TooLarge, extract, wire
from itipd.mail.headers import scan
from itipd.mail.note import own_words
from itipd.mail.reading import Reading, ReadSettings, read_mail
from itipd.mail.reply_token import Keys
from itipd.plain import plain
from itipd.reader_frame import LENGTH, answer, answered
from itipd.send import Origin, sendings
from itipd.store import Ref
from tests import itip_samples
from tests.fuzz import seeds

WE = "meetings@example.com"
NOW = datetime(2026, 11, 20, 8, tzinfo=UTC)
INT32 = 2**31 - 1
POLICIES = (
    Policy(sender="any", party_crasher="added", freebusy="any"),
    Policy(sender="any", counter="decline", plus_tag=True, aliases={"kim@example.org": "bob@example.net"}),
    Policy(organizers=(WE,)),
)
SETTINGS = ReadSettings(authserv_ids=("mx.example.com", ""))
LIMITS = MailLimits()
KEYS = Keys(b"s" * 32, signing=True)
HIDDEN = frozenset("LRE RLE LRO RLO PDF LRI RLI FSI PDI B".split())  # directions of text, and breaks
CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})
PLAIN = frozenset({type(None), bool, bytes, float, timedelta, datetime})

Seeds = Callable[[tuple[Path, ...]], tuple[bytes, ...]]


@dataclass(frozen=True)
class Room:
    """One reading room: what goes in, where seeds come from, and its share of the executions."""

    name: str
    run: Callable[[bytes, bool], Iterable[str]]
    seeds: Seeds
    share: int


class Unsound(AssertionError):  # noqa: N818 - it names what the result is
    """A result that a later room, a database or a reader of JSON cannot take."""


# -- what every result must be


def sound(value: object, far: bool = True) -> None:
    """`value` can be written as UTF-8 and kept by PostgreSQL: no NUL, no lone surrogate, no giant number.

    `far`: it can be pickled as well, and comes back the same.
    """
    _look(value)
    if far and pickle.loads(pickle.dumps(value, 5)) != value:
        raise Unsound(f"not the same after pickling: {value!r:.200}")


def _look(value: object) -> None:
    """All of a value, without recursion: this is done for every input."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        kind = type(one)
        if kind is str:
            if not one.isascii() or "\0" in one:  # type: ignore[attr-defined, operator]
                _text(one)  # type: ignore[arg-type]
        elif kind in PLAIN:
            continue
        elif kind is int:
            if not -INT32 <= one <= INT32:  # type: ignore[operator]
                raise Unsound(f"a number that no column takes: {one}")
        elif kind is tuple or kind is list or kind is frozenset:
            waiting.extend(one)  # type: ignore[arg-type]
        elif isinstance(one, Mapping):
            waiting.extend(one)
            waiting.extend(one.values())
        else:
            waiting.extend(_inside(kind)(one))  # type: ignore[arg-type]


@cache
def _inside(kind: type) -> Callable[[Any], Iterable[Any]]:
    """What a value of this kind holds."""
    if issubclass(kind, Enum):
        return lambda _: ()
    if not dataclasses.is_dataclass(kind):
        raise Unsound(f"a value of an unknown kind: {kind.__name__}")
    names = [field.name for field in dataclasses.fields(kind)]
    return attrgetter(*names, names[0])  # at least two, so that it gives a tuple


def _text(text: str) -> None:
    if "\0" in text:
        raise Unsound(f"NUL in {text!r:.200}")
    if not text.isascii():
        text.encode()  # raises for a lone surrogate


# -- the meetings that messages are decided against


@cache
def meetings() -> tuple[Meeting, ...]:
    """One without and two with a rule, one of whole days, one to-do, one that is cancelled; Ann and Bob are guests."""
    put = itip_samples.registered
    vevent = itip_samples.vevent
    series = put(vevent("RRULE:FREQ=DAILY", "EXDATE;TZID=Europe/Berlin:20261203T100000"))
    days = put(vevent("RRULE:FREQ=WEEKLY;COUNT=9", start="DTSTART;VALUE=DATE:20261201", end="DURATION:P1D"))
    moved = put(vevent(itip_samples.WEEKLY), itip_samples.override(8, hour=12))
    single = put(vevent(sequence=2))
    task = put(vevent(start="DTSTART:20261201T090000Z", end="DUE:20261202T090000Z", kind="VTODO"))
    over = itip_samples.apply(single, organize.cancel(single, NOW))
    return single, series, days, moved, task, over


def meeting_for(message: Message, choice: int) -> Meeting:
    """A meeting with the message's UID, whose guests are the message's attendees as well."""
    found = meetings()[choice % len(meetings())]
    rows = dict(found.attendees)
    for line in message.attendees[: choice % 3 + 1]:
        revision = Revision(2, NOW) if choice % 5 == 0 else None
        row = Attendee(line.address, params=line.params, revision=revision, reset_sequence=choice % 4)
        rows.setdefault(("", line.address), row)
    return replace(found, uid=message.uid, organizer=message.organizer or found.organizer, attendees=rows)


# -- what follows from a result


def heard(message: Message | Fault | Report, proof: Evidence, choice: int, far: bool) -> str:
    """The message decided, its rows kept, its mails composed, its words written down."""
    sound(message, far)
    policy = POLICIES[choice % len(POLICIES)]
    if isinstance(message, Fault):
        return f"{message.outcome}/{message.reason}"
    if not far:
        return f"{message.method[:16]} {message.component}" if isinstance(message, Message) else message.action
    if isinstance(message, Report):
        decision = bounced(meetings()[choice % len(meetings())], message)
        words(decision)
        return f"{decision.outcome}/{decision.reason}"
    asked = question(message, message.organizer or WE, proof, policy)
    if isinstance(asked, Decision):
        words(asked)
    meeting = meeting_for(message, choice)
    decision = decide(meeting, message, proof, policy, NOW)
    followed(meeting, decision)
    return f"{message.method[:16]} {decision.outcome}/{decision.reason}"


def followed(meeting: Meeting | None, decision: Decision) -> Meeting | None:
    """A decision carried out as the daemon does."""
    sound(decision)
    words(decision)
    if not decision.writes and not decision.sends:
        return meeting
    after = itip_samples.apply(meeting, decision)
    origin = Origin(Ref(after.organizer), NOW, "7", KEYS, "en")
    for sending in sendings(after, decision, origin):
        for delivery in sending.deliveries[:2]:
            outgoing = compose.Outgoing(
                organizer=sending.organizer,
                organizer_name=sending.organizer_name,
                uid=sending.uid,
                method=sending.method,
                rid=sending.rid,
                sequence=sending.sequence,
                reason=sending.reason,
                summary=sending.summary,
                calendar=sending.calendar,
                created_at=sending.created_at,
                recipient=delivery.recipient,
                message_id=delivery.message_id,
                comment=sending.comment,
                line=delivery.line,
            )
            try:
                mail(compose.compose(outgoing))
            except compose.ComposeError:
                continue  # a delivery that fails for good, by name
    return after


def mail(raw: bytes) -> None:
    """A mail that leaves has our headers, each once, and lines that every relay takes."""
    head = raw.partition(b"\r\n\r\n")[0]
    names = [line.partition(b":")[0].lower() for line in head.split(b"\r\n") if not line.startswith((b" ", b"\t"))]
    if len(set(names)) != len(names) or not OURS.issuperset(names):
        raise Unsound(f"headers of a mail of ours: {names}")
    if b"\0" in raw or b"\r" in raw.replace(b"\r\n", b"") or b"\n" in raw.replace(b"\r\n", b""):
        raise Unsound("a bare CR, LF or NUL in a mail of ours")
    if max(map(len, raw.split(b"\r\n"))) > 998:
        raise Unsound("a line of more than 998 octets in a mail of ours")


OURS = {
    name.encode()
    for name in (
        "from to subject date message-id mime-version content-language content-class auto-submitted "
        "x-auto-response-suppress content-type"
    ).split()
}


def words(decision: Decision) -> None:
    """What is said of a decision in JSON and in the log."""
    text = dumps(result(decision))
    if len(text.splitlines()) != 1 or json.loads(text)["reason"] != decision.reason.value:
        raise Unsound(f"a JSON line that is none: {text!r:.200}")
    text.encode()
    for value in (decision.uid, decision.attendee, decision.partstat, decision.method, decision.detail):
        if value is not None and not HIDDEN.isdisjoint(map(unicodedata.bidirectional, shown := plain(value, 256))):
            raise Unsound(f"a log value with a break or mark of direction: {shown!r:.200}")
        if value is not None and not CONTROLS.isdisjoint(map(unicodedata.category, shown)):
            raise Unsound(f"a log value with a control: {value!r:.200}")


def registered(one: Incoming, choice: int, far: bool) -> str:
    """The organizer's own calendar as a new meeting, then laid over that one again and over another."""
    sound(one, far)
    if not far:
        return f"{one.method} {one.component} {one.fault.reason if one.fault else len(one.events)}"
    policy = POLICIES[choice % 2]
    decision = organize.put(None, one, policy, NOW)
    after = followed(None, decision)
    if after is None or not after.events:
        return f"{decision.outcome}/{decision.reason}"
    sound(after)
    dumps(attendance.status(after)).encode()
    contentlines.parse(render.export(after, NOW).encode())
    again = organize.put(after, one, policy, NOW)
    followed(after, again)
    other = replace(meetings()[choice % len(meetings())], uid=one.uid, organizer=after.organizer)
    change = organize.put(other, one, policy, NOW)
    followed(other, change)
    return f"{decision.reason} {again.reason} {change.reason}"


# -- the rooms


def read_room(data: bytes, far: bool) -> Iterable[str]:
    choice = len(data)
    for message in read(data, (None, "REPLY", "COUNTER", "REFRESH")[choice % 4]):
        proof = Evidence(from_address="ann@example.org" if choice % 2 else None, automatic=choice % 3 == 0)
        yield heard(message, proof, choice, far)
        yield from message.quirks


def incoming_room(data: bytes, far: bool) -> Iterable[str]:
    for one in incoming(data, contentlines.Limits()):
        yield registered(one, len(data), far)
        yield from one.quirks


def extract_room(data: bytes, _far: bool) -> Iterable[str]:
    try:
        found = extract(wire(data), LIMITS)
    except TooLarge as error:
        yield str(error)[:30]
        return
    for part in found.parts:
        yield f"part {part.method or ''}"[:20]
    found.text.encode("utf-8", "backslashreplace")
    yield from found.quirks
    yield f"{len(found.faults)} {len(found.text) > 0}"


def carried(reading: Reading, far: bool) -> None:
    """A reading is sound, and comes out of a reader process as it was."""
    sound(reading, far)
    if far and answered(answer(reading)[LENGTH.size :]) != reading:
        raise Unsound(f"another reading behind the reader's door: {reading!r:.200}")


def mail_room(data: bytes, far: bool) -> Iterable[str]:
    choice = len(data)
    sender = ("kim@example.org", "", "mailer-daemon@example.net", *["kim@example.org"] * 7)[choice % 10]
    found = read_mail(data, sender=sender, recipients=[WE], submission=False, settings=SETTINGS)
    carried(found, far)
    for message in found.messages:
        yield heard(message, found.evidence, choice, far)
    yield from found.quirks


def submission_room(data: bytes, far: bool) -> Iterable[str]:
    found = read_mail(data, sender=WE, recipients=["kim@example.org"], submission=True, settings=SETTINGS)
    carried(found, far)
    if not found.incoming and not found.messages:
        raise Unsound("neither calendar nor fault")
    for one in found.incoming:
        yield registered(one, len(data), far)
    for message in found.messages:
        yield heard(message, found.evidence, len(data), far)


def evidence_room(data: bytes, far: bool) -> Iterable[str]:
    try:
        headers, _ = scan(data, 0, len(data), LIMITS)
    except TooLarge:
        return
    found = evidence(headers, ("", "kim@example.org")[len(data) % 2], SETTINGS.authserv_ids)
    sound(found, far)
    if found.from_address is not None and addresses.canonical(found.from_address) != found.from_address:
        raise Unsound(f"an address that is not canonical: {found.from_address}")
    proven = found.from_address is not None
    yield f"{found.dmarc} {len(found.passed_domains)} {found.automatic} {found.date is None} {proven}"


def bounce_room(data: bytes, far: bool) -> Iterable[str]:
    found = bounce(data, guess=len(data) % 2 == 0)
    sound(found, far)
    for report in found.reports if found is not None else ():
        yield f"{report.action} {report.status[:1]} {report.guessed}"


def tnef_room(data: bytes, far: bool) -> Iterable[str]:
    found = tnef.calendar(data, "kim@example.org")
    if found is None:
        return
    for message in read(found):
        yield heard(message, Evidence(), len(data), far)


def note_room(data: bytes, far: bool) -> Iterable[str]:
    text = data.decode("utf-8", "surrogateescape" if len(data) % 2 else "replace")
    found = own_words(text, "Accepted: Planning")
    sound(found, far)
    yield str(found is None)


ROOMS = {
    room.name: room
    for room in (
        Room("read", read_room, seeds.calendars, 34),
        Room("incoming", incoming_room, seeds.calendars, 6),
        Room("mail", mail_room, seeds.mails, 12),
        Room("submission", submission_room, seeds.mails, 2),
        Room("extract", extract_room, seeds.mails, 16),
        Room("evidence", evidence_room, seeds.headers, 16),
        Room("bounce", bounce_room, seeds.reports, 4),
        Room("tnef", tnef_room, seeds.winmails, 4),
        Room("note", note_room, seeds.texts, 6),
    )
}


def prepared() -> dict[str, Any]:
    """Everything that is loaded late, loaded: what is measured afterwards is the input's own cost."""
    return {name: list(room.run(room.seeds(())[-1], True)) for name, room in ROOMS.items()}
