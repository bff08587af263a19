"""Delivery reports that are only words (qmail, old Exchange, large providers): who was not reached, and our mail in it.

The last resort after RFC 3464, and a guess: flufl.bounce knows the words of many mail systems, but it is slow on
hostile text and raises on odd text. So it sees a few kilobytes in short lines, and whatever it raises is no report.
It must never be asked about mail that does not look like a report, nor believed without an address that we wrote to.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from email.message import Message as Parsed
from functools import lru_cache
from typing import Protocol

from itipd.itip.addresses import canonical
from itipd.mail.extract import plain_text
from itipd.mail.headers import Headers, MailLimits, TooLarge, addresses, scan
from itipd.mail.mime import Leaf, body

LARGEST = 256 * 1024
"""Bytes of a mail that is looked at; a larger one is nobody's report."""

_TEXT = 16_384  # characters that flufl.bounce is shown: a report says what it has to say at the beginning
_LINE = 250  # characters of one line of them: its expressions are quadratic in that
_DAEMONS = ("mailer-daemon", "mailerdaemon", "postmaster", "mdaemon", "mail-daemon", "postoffice")
_STATUS = re.compile(r"(?<![\d.])[45]\.\d{1,3}\.\d{1,3}(?![\d.])")  # RFC 3463 §2
_COPIES = 20  # places that are tried as the beginning of our mail
# Our mail begins after an empty line with one of the fields that every mail of ours has, or a relay adds in front.
_COPY = re.compile(
    rb"\n\r?\n(?=(?:return-path|received|dkim-signature|message-id|date|from|to|subject|mime-version|content-type|"
    rb"content-class|auto-submitted):)",
    re.IGNORECASE,
)


class _Failures(Protocol):
    def __call__(self, msg: Parsed) -> tuple[frozenset[bytes], frozenset[bytes]]: ...


def likely(headers: Headers, sender: str, size: int) -> bool:
    """Whether a mail of `size` bytes may be a report: the null sender (RFC 5321 §4.5.5), or a daemon's From."""
    if size > LARGEST:
        return False
    if sender.strip() in ("", "<>"):
        return True
    return any(one.lower().startswith(_DAEMONS) for one in addresses(headers.first(b"from")))


def failures(raw: bytes, headers: Headers, found: Sequence[Leaf]) -> list[tuple[str, bool, str]]:
    """(canonical address, whether it is given up, status code or "") of everybody whom the words name.

    [] where they name nobody, or are none that is known. Raises nothing.
    """
    leaf = next((leaf for leaf in found if leaf.type.startswith("text/") and not leaf.attached), None)
    if leaf is None:
        return []
    text = plain_text(raw, leaf)[:_TEXT]
    try:
        delayed, failed = _flufl()(_shown(headers, leaf, text, several=len(found) > 1))
    except Exception:  # its own detectors raise on text that they half understand: then it is no report
        return []
    named = {address: True for one in failed if (address := _address(one))}
    named |= {address: False for one in delayed if (address := _address(one)) and address not in named}
    codes = codes_near(text, list(named))
    return [(address, given_up, codes[address]) for address, given_up in sorted(named.items())]


def codes_near(text: str, named: Sequence[str]) -> dict[str, str]:
    """For each address the enhanced status code (RFC 3463) that the text gives as its reason; "" where it gives none.

    The reason stands behind the address, before the next one; where only one stands somewhere, it holds for all.
    """
    low = text.lower()
    places = sorted((low.find(address), address) for address in named)
    found = {}
    for number, (place, address) in enumerate(places, 1):
        end = places[number][0] if number < len(places) else len(text)
        line = text.find("\n--", max(place, 0), end)  # below a line of dashes stands our own mail
        match = _STATUS.search(text, place, line if line >= 0 else end) if place >= 0 else None
        found[address] = match[0] if match else ""
    codes = set(_STATUS.findall(text))
    if not any(found.values()) and len(codes) == 1:
        return dict.fromkeys(found, codes.pop())
    return found


def copy(raw: bytes, found: Sequence[Leaf], limits: MailLimits) -> bytes | None:
    """Our mail where a report has it below its own words, in the same text (qmail, Exim); None where it has not."""
    for leaf in found:
        if leaf.type != "text/plain" or leaf.attached:
            continue
        data = body(raw, leaf)[0][:LARGEST]
        for number, match in enumerate(_COPY.finditer(data)):
            if number >= _COPIES:
                break
            try:
                fields, _ = scan(data, match.end(), len(data), limits)
            except TooLarge:
                continue
            if fields.count(b"message-id") and fields.count(b"from"):
                return data[match.end() :]
    return None


def _address(found: bytes) -> str | None:
    return canonical(found.decode("latin-1").strip("<> "))


def _shown(headers: Headers, leaf: Leaf, text: str, *, several: bool) -> Parsed:
    """What flufl.bounce is shown: a message made here, because parsing is slow on hostile mail and raises too."""
    # Without commas: one of its detectors takes any address between two commas for a failed one.
    lines = "\n".join(line[:_LINE] for line in text.replace(",", " ").splitlines())
    top = Parsed()
    # A bare address, and always one: another detector raises where there is none.
    spec = next((one for one in addresses(headers.first(b"from")) if "@" in one), "mailer-daemon@unknown.invalid")
    top["From"] = spec[:_LINE]
    part = Parsed() if several else top
    part["Content-Type"] = "text/plain"
    part["Content-Description"] = leaf.headers.first(b"content-description")[:_LINE]
    part.set_payload(lines)
    if several:
        top["Content-Type"] = "multipart/mixed"
        rest = Parsed()
        rest.set_payload("")
        top.set_payload([part, rest])
    return top


@lru_cache(maxsize=1)
def _flufl() -> _Failures:
    # Only the rare mail that looks like a report pays for the import.
    from flufl.bounce import all_failures

    return all_failures
