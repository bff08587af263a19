"""Reply tokens: the organizer's address as only one guest of one meeting was told it (rules.md §2.3, hardening §19).

`meetings+r-TOKEN@example.com` stands in the invitation's ORGANIZER and From; calendar programs answer to what stands
there, so the answer brings the token back, and with it the proof that its sender has that invitation. Pure: the secret
is an argument. What a recipient address says is never told to whoever is at the door: any tag is accepted there.
"""

from __future__ import annotations

import hmac
from base64 import b32encode
from collections.abc import Sequence
from dataclasses import dataclass

from itipd.itip import who
from itipd.itip.addresses import canonical, strip_tag, tag
from itipd.itip.contentlines import fold, format_line, parse_line
from itipd.itip.model import Meeting, Message, Policy
from itipd.itip.uids import uid_key

PREFIX = "r-"
LENGTH = 29  # of a label: the prefix, a letter for the key, 128 bits in base32
LOCAL_PART = 64  # octets (RFC 5321 §4.5.3.1.1)

_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_MARK = "X-ITIPD-REPLY-KEY:"
_BEGIN = "BEGIN:VCALENDAR\r\n"


@dataclass(frozen=True, slots=True)
class Keys:
    """The database's secret, the number of the key that signs now, and whether invitations carry tokens at all.

    A key is made of the secret and its number. The one before still counts, so that nobody's answer is lost when a new
    one begins, and so does the next one, which another process may have begun already.
    """

    secret: bytes
    number: int = 0
    signing: bool = False


def is_label(label: str) -> bool:
    """Whether the tag of an address is a reply token by its form."""
    return label.startswith(PREFIX) and len(label) == LENGTH


def label(secret: bytes, number: int, organizer: str, uid: str, attendee: str) -> str:
    """The token of this attendee for this meeting, of one case, because relays may change the case of a local part."""
    key = hmac.digest(secret, b"reply token\x1f%d" % number, "sha256")
    # The unit separator keeps the values apart; no address and no cleaned UID contains it.
    mac = hmac.digest(key, "\x1f".join((organizer, uid_key(uid), attendee)).encode("utf-8", "replace"), "sha256")
    return f"{PREFIX}{_LETTERS[number % 32]}{b32encode(mac[:16]).decode().rstrip('=').lower()}"


def address(organizer: str, label: str) -> str:
    """The organizer's address with the token; without it where the local part has no room for one."""
    local, _, domain = organizer.rpartition("@")
    tagged = f"{local}+{label}"
    return f"{tagged}@{domain}" if len(tagged.encode()) <= LOCAL_PART else organizer


def proven(
    keys: Keys, recipients: Sequence[str], message: Message, meeting: Meeting | None, policy: Policy
) -> str | None:
    """The attendee whose token stands in a recipient address of this mail; None where there is no token.

    "" where there is one, but of none of the message's attendees: it refutes them. `meeting` needs only their rows.
    """
    if meeting is None or not any("+" in one or "%" in one for one in recipients):
        return None  # no address has a tag, not even an encoded one
    found = [known for recipient in recipients if (known := canonical(recipient)) is not None]
    mine = [name for name in found if who.alias_of(strip_tag(name), policy) == meeting.organizer]
    labels = [text for name in mine if (text := tag(name)) is not None and is_label(text)]
    if not labels:
        return None
    names: dict[str, None] = {}
    for line in message.attendees:
        known_as = who.known_as(line, meeting, policy)
        names |= dict.fromkeys([known_as] if known_as is not None else [])
        names |= dict.fromkeys(who.names(line, policy))
    for text in labels:
        for number in (keys.number, keys.number - 1, keys.number + 1):
            if number < 0 or _LETTERS[number % 32] != text[len(PREFIX)]:
                continue
            for name in names:
                if hmac.compare_digest(label(keys.secret, number, meeting.organizer, message.uid, name), text):
                    return name
    return ""


# -- the way out: recipients share the calendar of a sending, so it says only which key; each mail gets its own token


def marked(calendar: str, keys: Keys) -> str:
    """A folded calendar that says with which key its ORGANIZER is to be signed for each recipient; or as it is."""
    if not keys.signing:
        return calendar
    return calendar.replace(_BEGIN, f"{_BEGIN}{_MARK}{keys.number}\r\n", 1)


def taken(calendar: str) -> tuple[str, int | None]:
    """What `marked` made, taken apart: the calendar as it was, and the number of the key or None."""
    if not calendar.startswith(_BEGIN + _MARK):
        return calendar, None
    number, _, rest = calendar[len(_BEGIN + _MARK) :].partition("\r\n")
    return _BEGIN + rest, int(number) if number.isascii() and number.isdigit() else None


def with_organizer(calendar: str, address: str) -> str:
    """A folded calendar in which the ORGANIZER of every component is `address`; parameters stay."""
    kept: list[str] = []
    inside = 0
    for text in calendar.replace("\r\n ", "").split("\r\n"):
        inside += text.startswith("BEGIN:") - text.startswith("END:")
        if inside == 2 and text[:10].upper() in ("ORGANIZER:", "ORGANIZER;"):  # VCALENDAR and VEVENT: of no alarm
            text = format_line("ORGANIZER", parse_line(text).params, f"mailto:{address}")
        if text:
            kept.append(text)
    return "".join(map(fold, kept))
