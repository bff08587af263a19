"""A mail for one recipient from what was decided to be sent (RFC 6047 §2.4-2.6; what Outlook and Exchange need).

Duty: `Outgoing` in, bytes out, the same bytes for the same input for ever: a retry is byte for byte the first try. It
must never read a clock, draw a random number, or let a text of the calendar start a header line of its own. What
cannot become a correct mail raises ComposeError: the delivery fails for good, by name.

    multipart/mixed
      multipart/alternative
        text/plain
        text/html
        text/calendar; method=...      the last alternative: the one that a calendar program prefers
      application/ics; name=invite.ics the same object for programs that look at attachments only
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any

from itipd.itip import contentlines
from itipd.mail import languages, sentences, texts
from itipd.mail.header_lines import header, mailbox, unstructured
from itipd.mail.parts import base32, base64_lines, part
from itipd.mail.reply_token import with_organizer


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One mail to one recipient, as it stands in the outbox. Addresses are canonical, times aware.

    `calendar` is the whole VCALENDAR. `line`, where given, is the recipient's own ATTENDEE content line (unfolded, no
    line break): it takes the place of every ATTENDEE in the calendar (RFC 5546 §3.2.5: a CANCEL to removed ones).
    """

    organizer: str
    organizer_name: str
    uid: str
    method: str
    rid: str
    sequence: int
    reason: str
    summary: str
    calendar: str
    created_at: datetime
    recipient: str
    message_id: str
    automatic: bool = True
    language: str = "en"
    comment: str | None = None
    line: str | None = None
    reply_to: str | None = None  # the organizer's address with this recipient's reply token, where they have one


class ComposeError(ValueError):
    """This can never become a mail; the text says what was found and what was expected, `code` is RFC 3463's."""

    def __init__(self, text: str, code: str = "5.6.0") -> None:
        super().__init__(text)
        self.code = code


# RFC 5321 §4.1.2 dot-string, with RFC 6531 §3.3's non-ASCII letters; quoted local parts are refused with everything
# that could end an address in a header or in an SMTP command.
_ADDRESS = re.compile(
    r"[^\s\x00-\x20\x7f-\x9f\ud800-\udfff()<>\[\]:;,\\\"@]+@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?"
)
_METHOD = re.compile(r"[A-Z][A-Z-]{0,31}")
_MESSAGE_ID = re.compile(r"<[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9.-]+>")
_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8}){0,3}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

_COMMON = attrgetter(
    *("organizer", "organizer_name", "method", "rid", "reason", "summary", "calendar", "created_at", "language"),
    "comment",
)
_LIMITS = contentlines.Limits(size=64 << 20, lines=2_000_000, components=200_000)
"""Our own calendars may be as large as the organizer's meeting is."""


def message_id(
    *,
    organizer: str,
    uid: str,
    rid: str,
    method: str,
    sequence: int,
    recipient: str,
    created_at: datetime,
    cause: str = "",
) -> str:
    """`<...@domain of the organizer>`, the same for the same arguments (RFC 5322 §3.6.4); 128 bits of SHA-256.

    `cause` is a text of what made us send it, so that two causes in one instant are two mails.
    """
    # The unit separator keeps ("a", "bc") and ("ab", "c") apart; no cleaned value contains it.
    parts = (organizer, uid, rid, method, str(sequence), recipient, created_at.isoformat(), cause)
    digest = hashlib.sha256("\x1f".join(parts).encode("utf-8", "backslashreplace")).digest()
    return f"<{base32(digest)}@{_domain(organizer)}>"


def is_ours(message_id: str, organizer: str) -> bool:
    """Whether a Message-ID has the form of those that this organizer's mails have."""
    return message_id.endswith(f"@{_domain(organizer)}>") and re.fullmatch(r"<[a-z2-7]{26}@.*", message_id) is not None


def _domain(organizer: str) -> str:
    domain = organizer.rpartition("@")[2]
    return domain if re.fullmatch(r"[A-Za-z0-9.-]+", domain) else "itipd.invalid"  # RFC 6761 §6.4: nobody's


def token(secret: bytes, message_id: str) -> str:
    """The tag of the return path that proves a delivery report: 128 bits, 26 letters and digits of one case.

    Relays may change the case of a local part, so the alphabet does not depend on it.
    """
    return base32(hmac.digest(secret, b"return path\x1f" + message_id.encode(), "sha256"))


def return_path(organizer: str, token: str) -> str:
    """The envelope sender `meetings+b-TOKEN@example.com` of `meetings@example.com`.

    A local part that would be longer than 64 octets (RFC 5321 §4.5.3.1.1) goes without the tag.
    """
    local, _, domain = organizer.rpartition("@")
    tagged = f"{local}+b-{token}"
    return f"{tagged}@{domain}" if len(tagged.encode()) <= 64 else organizer


def compose(outgoing: Outgoing) -> bytes:
    """The whole mail, lines ended by CRLF. ASCII, unless an address itself is not (then RFC 6532 headers).

    Raises ComposeError for an address, method, Message-ID or calendar that no mail can be made of.
    """
    _check(outgoing)
    calendar = _own_line(outgoing.calendar, outgoing.line) if outgoing.line is not None else outgoing.calendar
    if outgoing.reply_to is not None:
        calendar = with_organizer(calendar, outgoing.reply_to)
    # What people read does not name the guests: it is the same for everybody who gets the same calendar but for them.
    content = _content(_COMMON(outgoing))
    encoded = content.calendar if calendar is outgoing.calendar else base64_lines(calendar)
    outer, inner = _boundaries(outgoing, calendar)
    headers = [
        header("From", mailbox(content.name, outgoing.reply_to or outgoing.organizer)),  # RFC 6047 §2.3
        header("To", outgoing.recipient),
        header("Subject", content.subject),
        header("Date", content.date),
        header("Message-ID", outgoing.message_id),
        "MIME-Version: 1.0\r\n",
        header("Content-Language", content.language),
        "Content-Class: urn:content-classes:calendarmessage\r\n",
    ]
    if outgoing.automatic:
        headers.append("Auto-Submitted: auto-generated\r\n")  # RFC 3834 §5
        headers.append("X-Auto-Response-Suppress: All\r\n")  # the same for Exchange, which ignores the former
    headers.append(f'Content-Type: multipart/mixed; boundary="{outer}"\r\n\r\n')
    return "".join(
        [
            *headers,
            f'--{outer}\r\nContent-Type: multipart/alternative; boundary="{inner}"\r\n\r\n',
            f"--{inner}\r\n",
            content.plain,
            f"--{inner}\r\n",
            content.html,
            f"--{inner}\r\n",
            part(f"text/calendar; charset=utf-8; method={outgoing.method}", encoded),  # RFC 6047 §2.5: in base64
            f"--{inner}--\r\n\r\n--{outer}\r\n",
            # Not text/calendar a second time: Outlook would show two meetings.
            part('application/ics; name="invite.ics"', encoded, 'attachment; filename="invite.ics"'),
            f"--{outer}--\r\n",
        ]
    ).encode()


@dataclass(frozen=True, slots=True)
class _Content:
    """What is the same for everybody who gets the same calendar: values of headers, whole parts, encoded calendar."""

    name: str
    subject: str
    date: str
    language: str
    plain: str
    html: str
    calendar: str


@lru_cache(maxsize=4)  # one calendar goes to many recipients, one after the other
def _content(common: tuple[Any, ...]) -> _Content:
    address, name, method, rid, reason, title, calendar, created_at, tag, comment = common
    language = languages.language(tag)
    translate = language.translate
    found, facts = _read(calendar, language)
    if found != method:
        # RFC 6047 §2.4: the parameter MUST be the METHOD of the calendar.
        raise ComposeError(f"calendar: found METHOD {found!r:.40}, expected {method}; render it again")
    words = sentences.words(method, reason, rid, cancelled=facts.cancelled, task=facts.task, free=facts.free)
    name = texts.one_line(name, 128)
    organizer = f"{name} <{address}>" if name else address
    summary = facts.summary or texts.one_line(title, 255) or translate("(no title)")
    intro = translate(words.intro).format(organizer=name or address)
    table = texts.rows(facts, organizer, texts.lines_of(comment or "", texts.MAX_TEXT), language)
    footer = translate("Please answer with the buttons of your mail or calendar program.") if words.ask else ""
    plain = texts.plain(intro, table, facts.description, footer)
    html = texts.html(intro, table, facts.description, footer, language.tag)
    return _Content(
        name=name,
        subject=unstructured(translate(words.subject).format(summary=summary)),
        date=format_datetime(created_at),
        language=language.tag,
        plain=part("text/plain; charset=utf-8", base64_lines(plain.replace("\n", "\r\n"))),
        html=part("text/html; charset=utf-8", base64_lines(html.replace("\n", "\r\n"))),
        calendar=base64_lines(calendar),
    )


def _check(outgoing: Outgoing) -> None:
    addresses = [("organizer", outgoing.organizer, "5.1.7"), ("recipient", outgoing.recipient, "5.1.3")]
    if outgoing.reply_to is not None:
        addresses.append(("reply_to", outgoing.reply_to, "5.1.7"))
    for key, address, code in addresses:
        seen = address if address.isascii() else texts.one_line(address, 254)
        if not _ADDRESS.fullmatch(address) or seen != address or len(address) > 254:
            raise ComposeError(f"{key}: found {address!r:.80}, expected an address local@domain", code)
    if outgoing.recipient == outgoing.organizer:
        raise ComposeError("recipient: is the organizer, who is never sent the own invitation")
    if not _METHOD.fullmatch(outgoing.method):
        raise ComposeError(f"method: found {outgoing.method!r:.40}, expected an iTIP method in capitals")
    if not _MESSAGE_ID.fullmatch(outgoing.message_id):
        raise ComposeError(f"message_id: found {outgoing.message_id!r:.80}, expected <id@domain>")
    if not _LANGUAGE.fullmatch(outgoing.language):
        raise ComposeError(f"language: found {outgoing.language!r:.40}, expected a language tag like en or de-AT")
    if outgoing.created_at.tzinfo is None:
        raise ComposeError("created_at: found a time without a zone, expected UTC")


def _read(calendar: str, language: languages.Language) -> tuple[str, texts.Facts]:
    try:
        tops, _quirks = contentlines.parse(calendar.encode(), limits=_LIMITS, skip=frozenset({"VALARM"}))
    except ValueError as error:
        raise ComposeError(f"calendar: found {error}, expected one VCALENDAR") from error
    if len(tops) != 1:
        raise ComposeError(f"calendar: found {len(tops)} VCALENDARs, expected one")
    return (tops[0].text("METHOD") or "").upper(), texts.facts(tops[0], language)


def _own_line(calendar: str, line: str) -> str:
    """`calendar` where every VEVENT and VTODO has `line` as its only ATTENDEE; alarms keep theirs."""
    if not line.upper().startswith(("ATTENDEE:", "ATTENDEE;")) or _CONTROL.search(line.replace("\t", " ")):
        raise ComposeError(f"line: found {line!r:.80}, expected one ATTENDEE content line")
    pieces = _around(calendar)
    if len(pieces) == 1:
        raise ComposeError("calendar: found no VEVENT or VTODO for the ATTENDEE line, expected lines ended by CRLF")
    return contentlines.fold(line).join(pieces)


@lru_cache(maxsize=4)
def _around(calendar: str) -> tuple[str, ...]:
    """`calendar` without ATTENDEEs, cut at the end of every VEVENT and VTODO."""
    pieces, kept, inside, dropping = list[str](), list[str](), list[str](), False
    for text in calendar.split("\r\n"):
        if text[:1] in (" ", "\t"):  # a folded line shares the fate of its head
            if not dropping:
                kept.append(text)
            continue
        upper = text.upper()
        own = bool(inside) and inside[-1] in ("VEVENT", "VTODO")
        dropping = own and upper.startswith(("ATTENDEE:", "ATTENDEE;"))
        if upper.startswith("BEGIN:"):
            inside.append(upper[6:])
        elif upper.startswith("END:") and inside:
            if own:
                pieces.append("".join(f"{line}\r\n" for line in kept))
                kept = []
            inside.pop()
        if not dropping:
            kept.append(text)
    return (*pieces, "\r\n".join(kept))


def _boundaries(outgoing: Outgoing, calendar: str) -> tuple[str, str]:
    """Outer and inner boundary. "=_" cannot stand in base64, so no part can contain either (RFC 2045 §6.7)."""
    digest = base32(hashlib.sha256(f"{outgoing.message_id}\x1f{calendar}".encode()).digest())
    return f"=_m_{digest}", f"=_a_{digest}"
