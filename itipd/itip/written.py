"""Who an ATTENDEE or ORGANIZER is, however the client wrote it (RFC 5545 §3.3.3, RFC 7986 §6.2, vCalendar 1.0).

Duty: a parsed line -> a canonical address, every tolerance named as a quirk. It must never take one of two addresses
for the other: where a text has several, it has none. Pure.
"""

from __future__ import annotations

import re
from binascii import a2b_qp

from itipd.itip.addresses import canonical
from itipd.itip.contentlines import Line
from itipd.itip.model import CalAddress, clean

_SCHEME = re.compile(r"(?:mailto:|smtp:)?(?://)?", re.IGNORECASE)
_ANGLE = re.compile(r"[^<>@]*+<([^<>]++)>[^<>@]*+")
_STATUSES = {"CONFIRMED": "ACCEPTED", "NEEDS ACTION": "NEEDS-ACTION", "SENT": "NEEDS-ACTION"}
"""vCalendar 1.0 §2.4.1.5 (Status): what is another word there."""


def address_of(line: Line, quirks: list[str]) -> str | None:
    """The canonical address of a line: its value, else a parameter, else the one address in the words of either."""
    address = canonical(line.value)
    if address is not None and not address.startswith("//"):
        if line.value.strip()[:7].lower() != "mailto:":
            quirks.append("no_mailto")
        return address
    value = line.value
    if (line.one("ENCODING") or "").upper() == "QUOTED-PRINTABLE":  # vCalendar 1.0 §2.1.6
        value = a2b_qp(value.encode("utf-8", "replace")).decode("utf-8", "replace")
        quirks.append("encoding")
    address = _in_words(value)
    if address is not None:
        quirks.append("address_in_words")  # `Bob <bob@example.com>`, `mailto:'bob@example.com'`, `smtp:...`
        return address
    name = (line.one("CN") or "").strip("'\" ")
    for text in (line.one("EMAIL") or "", line.one("X-CALENDARSERVER-EMAIL") or "", name):
        address = canonical(text)
        if address is not None:
            quirks.append("address_in_parameter")
            return address
    address = _in_words(name)
    if address is not None:
        quirks.append("address_in_parameter")
    return address


def attendee_of(line: Line, quirks: list[str]) -> CalAddress | None:
    """An ATTENDEE with its canonical address; None where it has none."""
    address = address_of(line, quirks)
    if address is None:
        return None
    params = {name: tuple(clean(value, 1000) for value in values) for name, values in line.params.items()}
    if "STATUS" in params and "PARTSTAT" not in params:
        word = params["STATUS"][0].upper()
        params["PARTSTAT"] = (_STATUSES.get(word, word),)
        quirks.append("vcalendar_status")
    return CalAddress(address, params)


def _in_words(text: str) -> str | None:
    """The one address in a text around it; the strict grammar still decides what an address is (hardening §22)."""
    text = text.strip(" \t;,")
    found = _ANGLE.fullmatch(text)
    if found is not None:
        text = found[1]
    text = _SCHEME.sub("", text.strip(), count=1).strip("'\" \t")
    address = canonical(text)
    return None if address is None or address.startswith("//") else address
