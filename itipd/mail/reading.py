"""A raw mail -> everything the inbox needs to know of it, in one pure call (design.md: it runs in a reader process).

The mail's faults come out as `Fault`s, never as exceptions: only `MemoryError` passes, because after it nothing in
this process can be trusted.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from io import BytesIO

from itipd.itip.addresses import canonical
from itipd.itip.contentlines import Limits
from itipd.itip.incoming import incoming
from itipd.itip.model import Evidence, Fault, Incoming, Message, Report, clean
from itipd.itip.outcomes import Outcome, Reason
from itipd.itip.read import read
from itipd.itip.rrule import STEPS_ALLOWED
from itipd.mail import bounce_text, tnef
from itipd.mail.bounce import bounce, schedule_status
from itipd.mail.evidence import evidence, is_stamped
from itipd.mail.extract import ENCRYPTED, Extracted, MailLimits, Part, TooLarge, extract, wire
from itipd.mail.headers import Headers, addresses, decoded, scan
from itipd.mail.note import own_words

_TRACE = frozenset({b"received", b"return-path", b"delivered-to", b"x-original-to", b"envelope-to", b"x-received"})
_TO = (b"to", b"cc", b"delivered-to")
_LIMITS = MailLimits()
_ANY_COUNT = replace(_LIMITS, headers=_LIMITS.header_block)
_RECIPIENTS = 5  # for whom all components of a mail are decided; for more, fewer are
_PIECE = 1 << 18  # bytes that are packed at once
_SUBMITTED = 32 << 20  # bytes of the organizer's own calendar: 10,000 ATTENDEEs are more than a stranger may send


@dataclass(frozen=True, slots=True)
class ReadSettings:
    """What of the configuration reading needs; goes to the reader processes once, at their start."""

    authserv_ids: tuple[str, ...] = ()  # whose Authentication-Results are believed; "" is Exchange's, which has no id
    mail: MailLimits = _LIMITS
    calendar: Limits = Limits()
    components: int = 200  # of one mail that are decided: a series and all its overrides, with room
    steps: int = STEPS_ALLOWED  # to follow one recurrence rule
    dkim: bool = False  # our own door says of each mail whether a signature holds


@dataclass(frozen=True, slots=True)
class Reading:
    """A mail, read. `messages` is never empty, but for a submission that has `incoming`."""

    message_id: str  # with its angle brackets; "" where there is none
    from_header: str  # decoded, for people
    to: tuple[str, ...]  # canonical addresses of To, Cc, Delivered-To, each once
    subject: str
    date: datetime | None
    digest: bytes  # 16 bytes
    packed: bytes  # the raw mail, zlib
    evidence: Evidence
    messages: tuple[Message | Fault | Report, ...] = ()
    incoming: tuple[Incoming, ...] = ()
    received_count: int = 0
    note: str | None = None  # the person's own words, where a message has no COMMENT
    quirks: tuple[str, ...] = ()


def read_mail(
    raw: bytes,
    *,
    sender: str,
    recipients: Sequence[str],
    submission: bool,
    settings: ReadSettings,
    trusted: bool = True,
) -> Reading:
    """Read one mail as it came. Raises nothing but MemoryError.

    `sender` is the envelope sender, `""` or `<>` for the null sender; `submission`: the organizer's own application
    sent it, so its calendars fill `incoming`; `trusted`: the client may vouch with Authentication-Results.
    """
    try:
        return _read(raw, sender, len(recipients), submission, settings, trusted)
    except TooLarge as error:
        fault = Fault(Outcome.ERROR, error.reason, detail=str(error))
    except MemoryError:
        raise
    except Exception as error:  # whatever a parser raises on hostile input (hardening §5, §6) is the mail's fault
        fault = _malformed(error)
    return faulty(raw, sender=sender, fault=fault)


def faulty(raw: bytes, *, sender: str, fault: Fault) -> Reading:
    """The Reading of a mail that could not be read: only what a linear, bounded look at its headers gives."""
    data = wire(raw)
    headers, body = scan(data, 0, min(len(data), _LIMITS.header_block), _ANY_COUNT)
    proof = evidence(headers, sender, ())
    return Reading(
        message_id=_message_id(headers),
        from_header=decoded(headers.first(b"from")),
        to=_to(headers),
        subject=decoded(headers.first(b"subject")),
        date=proof.date,
        digest=digest(data, headers, body),
        packed=pack(raw),
        evidence=proof,
        messages=(fault,),
        received_count=headers.count(b"received"),
    )


def digest(data: bytes, headers: Headers, body: int) -> bytes:
    """16 bytes that are the same for the same mail on another way: all but the trace headers, and the body.

    `data` is the mail as `wire` gives it, `body` the offset of its body. Empty lines at the end do not count.
    """
    end = max(len(data.rstrip(b"\r\n")), body)
    fields = headers.fields[1:] if is_stamped(headers) else headers.fields
    kept = [b":".join(field) for field in fields if field[0] not in _TRACE]
    state = hashlib.blake2b(b"\n".join(kept), digest_size=16)
    state.update(memoryview(data)[body:end])
    return state.digest()


def pack(raw: bytes) -> bytes:
    """The mail for the journal: `zlib.decompress` gives it back."""
    # A small window: with the default one zlib spends more time on its 260 kB of memory than on a reply.
    packer = zlib.compressobj(1, zlib.DEFLATED, 13 if len(raw) <= 1 << 15 else 15, 6)
    if len(raw) <= _PIECE:
        return packer.compress(raw) + packer.flush()
    packed = BytesIO()  # a large mail piece by piece: otherwise what comes out is there twice for a moment
    with memoryview(raw) as view:
        for start in range(0, len(raw), _PIECE):
            packed.write(packer.compress(view[start : start + _PIECE]))
    packed.write(packer.flush())
    return packed.getvalue()


def _read(raw: bytes, sender: str, recipients: int, submission: bool, settings: ReadSettings, trusted: bool) -> Reading:
    data = wire(raw)
    limits = settings.mail
    if submission:
        limits = replace(limits, part=max(limits.part, _SUBMITTED))
    found = extract(data, limits)
    headers = found.headers
    messages: tuple[Message | Fault | Report, ...] = ()
    own: tuple[Incoming, ...] = ()
    if submission:
        own, messages = _incoming(found.parts)
    else:
        messages = _messages(found.parts, settings.calendar) or _reports(data, headers, sender, limits)
    messages += found.faults
    most = min(settings.components, settings.components * _RECIPIENTS // max(recipients, 1) or 1)
    if len(messages) > most and not own:  # each costs a decision, and the others wait for all of them
        detail = f"{len(messages)} components for {recipients} recipients, at most {most} are decided"
        messages = (Fault(Outcome.ERROR, Reason.TOO_MANY_COMPONENTS, detail=detail),)
    if not messages and not own:
        messages = (Fault(Outcome.NO_ACTION, Reason.NOT_CALENDAR, detail=_seen(found, settings)),)
    subject = decoded(headers.first(b"subject"))
    wordless = any(isinstance(message, Message) and not message.comment for message in messages)
    proof = evidence(headers, sender, settings.authserv_ids, trusted=trusted, dkim=settings.dkim)
    return Reading(
        message_id=_message_id(headers),
        from_header=decoded(headers.first(b"from")),
        to=_to(headers),
        subject=subject,
        date=proof.date,
        digest=digest(data, headers, found.body),
        packed=pack(raw),
        evidence=proof,
        messages=messages,
        incoming=own,
        received_count=headers.count(b"received"),
        note=own_words(found.text, subject) if wordless and found.text else None,
        quirks=found.quirks,
    )


def _messages(parts: Sequence[Part], limits: Limits) -> tuple[Message | Fault, ...]:
    found: list[Message | Fault] = []
    for part in parts:
        try:
            found.extend(read(part.data, part.method, limits))
        except MemoryError:
            raise
        except Exception as error:  # hostile input: hardening §5 lists what parsers raise
            found.append(_malformed(error))
    if len(found) < 2:
        return tuple(found)
    # rules.md §1.3: the same object twice has one effect, also where its copy was written a little differently.
    once: dict[str, Message | Fault] = {}
    for message in found:
        once.setdefault(repr(replace(message, quirks=())), message)
    return tuple(once.values())


def _reports(data: bytes, headers: Headers, sender: str, limits: MailLimits) -> tuple[Report, ...]:
    """The mail as a delivery report; what it returned of our own mail is looked at, never believed."""
    head = data[:65536].lower()
    guess = bounce_text.likely(headers, sender, len(data))
    if not guess and b"delivery-status" not in head and b"x-failed-recipients" not in head:
        return ()
    found = bounce(data, limits, guess=guess)
    if found is None:
        return ()
    return tuple(
        Report(
            recipient=one.recipient,
            action=one.action,
            schedule_status=schedule_status(one.status, one.action),
            status=one.status,
            final=one.final,
            message_id=found.message_id,
            uid=found.uid,
            rid=found.rid,
            guessed=one.guessed,
        )
        for one in found.reports
    )


def _incoming(parts: Sequence[Part]) -> tuple[tuple[Incoming, ...], tuple[Message | Fault, ...]]:
    own: dict[str, Incoming] = {}
    faults: list[Message | Fault] = []
    for part in parts:
        try:
            for one in incoming(part.data):
                named = one if one.method else replace(one, method=part.method)
                own.setdefault(one.uid or f"\0{len(own)}", named)
        except MemoryError:
            raise
        except Exception as error:  # as above
            faults.append(_malformed(error))
    return tuple(own.values()), tuple(faults)


def _malformed(error: Exception) -> Fault:
    return Fault(Outcome.ERROR, Reason.MALFORMED, detail=clean(f"{type(error).__name__}: {error}", 256))


def _seen(found: Extracted, settings: ReadSettings) -> str:
    """Why there is nothing to decide in a mail; what it forwards is shown and not believed (rules.md §2.1)."""
    if found.forwarded:
        return _forwarded(found.forwarded, settings)
    if ENCRYPTED in found.quirks:
        return "the mail is encrypted (S/MIME or OpenPGP), and there is no key here to read it with"
    if "tnef" not in found.quirks:
        return "no calendar part in the mail"
    if not tnef.available():
        return "found a winmail.dat, which is only opened with the extra: pip install 'itipd[tnef]'"
    return "found a winmail.dat with no answer to a meeting in it"


def _forwarded(mail: bytes, settings: ReadSettings) -> str:
    shown = ""
    with suppress(TooLarge):
        for message in _messages(extract(wire(mail.lstrip(b"\r\n")), settings.mail).parts, settings.calendar)[:1]:
            if isinstance(message, Message):
                who = ", ".join(f"{one.address} {one.one('PARTSTAT') or ''}".strip() for one in message.attendees[:5])
                shown = clean(f" ({message.method} {message.uid[:80]} {who}".rstrip(), 300) + ")"
    return f"no calendar part in the mail; a message that it forwards{shown} is not believed"


def _message_id(headers: Headers) -> str:
    return clean("".join(headers.first(b"message-id").split()), 250)


def _to(headers: Headers) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for name in _TO:
        for text in headers.all(name):
            found.update(dict.fromkeys(_known_mailboxes(text) if len(text) <= 256 else _mailboxes(text)))
    return tuple(found)[:100]


def _mailboxes(text: str) -> tuple[str, ...]:
    return tuple(address for spec in addresses(text) if (address := canonical(spec)) is not None)


_known_mailboxes = lru_cache(maxsize=1024)(_mailboxes)
"""Most mails go to the same few organizers."""
