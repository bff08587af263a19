"""Header lines of the mails that leave (RFC 5322 §2.2, RFC 2047), written by hand.

Duty: a text from a calendar in, one header out, whatever the text holds. The standard library's writer is not used:
it decodes and encodes again what it is given, and lets a line break out of an encoded word (CVE-2024-6923).
"""

from __future__ import annotations

import re
from base64 import b64encode

from itipd.mail.texts import one_line

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def mailbox(name: str, address: str) -> str:
    """RFC 5322 §3.4: `"Name" <address>`."""
    name = _harmless(name)
    if not name:
        return address
    if name.isascii() and len(name) <= 60:
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        return _folded([f'"{quoted}"', f"<{address}>"])
    return _folded([*_encoded_words(name), f"<{address}>"])


def unstructured(text: str) -> str:
    """A free text: as it is where it is ASCII, else in encoded words (RFC 2047)."""
    text = _harmless(text)
    words = text.split(" ")
    return _folded(words if text.isascii() and max(map(len, words)) <= 60 else _encoded_words(text))


def _harmless(text: str) -> str:
    """One line without "=?": an encoded word in a text of the calendar would be decoded by somebody behind us, and
    line breaks hidden in it become headers (CVE-2024-6923)."""
    return one_line(text, 320).replace("=?", "= ?")


def _encoded_words(text: str) -> list[str]:
    """RFC 2047 §4.1, §5: each at most 60 characters, so that the header's name fits beside it; no character is cut."""
    found: list[str] = []
    chunk = b""
    for character in text:
        octets = character.encode()
        if len(chunk) + len(octets) > 36:  # 48 characters of base64
            found.append(f"=?utf-8?b?{b64encode(chunk).decode()}?=")
            chunk = b""
        chunk += octets
    found.append(f"=?utf-8?b?{b64encode(chunk).decode()}?=")
    return found


def _folded(words: list[str]) -> str:
    """The words of a header's value, lines of at most 76 characters where that is possible (RFC 2047 §2)."""
    text, column = words[0], len("Subject: ") + len(words[0])
    for word in words[1:]:
        blank = " " if column + 1 + len(word) <= 76 else "\r\n "
        column = column + 1 + len(word) if blank == " " else 1 + len(word)
        text += blank + word
    return text


def header(name: str, value: str) -> str:
    """A header line with its CRLF. The last gate: raises ValueError for any control that is no fold of ours."""
    if _CONTROL.search(value.replace("\r\n ", "")):
        raise ValueError(f"{name}: found a control character in {value!r:.80}, expected one line")
    return f"{name}: {value}\r\n"
