"""Calendar user addresses (RFC 5545 §3.3.3, RFC 6068, RFC 5321 §4.1.2, RFC 6531, RFC 5891): one spelling for each.

Duty: the canonical text by which addresses are compared, stored and shown. It must never let through what two programs
could read in two ways: quotes, blanks, controls, `?`, look-alikes of ASCII signs. What is no address is None.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import unquote

import idna

_LONGEST = 1000  # characters looked at, percent-encoded; an address has at most 254 octets (RFC 5321 §4.5.3.1)
_ATOM = r"[a-z0-9!#$%&'*+/=^_`{|}~\x80-\U0010ffff-]++"  # RFC 5322 §3.2.3 without `?`; others are looked at one by one
_LOCAL = re.compile(rf"{_ATOM}(?:\.{_ATOM})*+")
_DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def canonical(text: str) -> str | None:
    """The canonical address of a `mailto:` URI or an addr-spec: lower case, NFC, the domain in A-label form.

    The local part is compared case-insensitively (rules.md §2.2). None where it is no address.
    """
    return None if len(text) > _LONGEST else _canonical(text)


@lru_cache(maxsize=16384)
def _canonical(text: str) -> str | None:
    text = text.strip(" \t")
    for _ in range(2):  # some gateways write the scheme twice
        if text[:7].lower() == "mailto:":
            text = unquote(text[7:].strip(" \t"))  # RFC 6068 §2; what is no UTF-8 becomes U+FFFD, which no address has
    if text[:1] == "<" and text[-1:] == ">":
        text = text[1:-1]
    if not text.isascii():
        if not all(map(_sound, text)):
            return None
        text = unicodedata.normalize("NFC", text.lower())
    local, at, domain_ = text.lower().rpartition("@")
    if not at or not _LOCAL.fullmatch(local) or len(local.encode()) > 64:  # RFC 5321 §4.5.3.1.1
        return None
    if not domain_.isascii():
        try:
            domain_ = idna.encode(domain_).decode("ascii")  # RFC 5891 §4
        except idna.IDNAError:
            return None
    if not _DOMAIN.fullmatch(domain_) or len(local.encode()) + 1 + len(domain_) > 254:
        return None
    return f"{local}@{domain_}"


def _sound(char: str) -> bool:
    """ASCII, or a letter, digit or mark that is no ASCII sign in disguise (full-width, Kelvin sign, zero width)."""
    if char.isascii():
        return True
    if unicodedata.category(char)[0] not in "LMN":
        return False
    return not any(c.isascii() for c in unicodedata.normalize("NFKC", char.lower()))


def domain(address: str) -> str:
    """The domain of a canonical address."""
    return address.rpartition("@")[2]


def tag(address: str) -> str | None:
    """What stands behind the first plus of the local part; None where there is none."""
    local = address.rpartition("@")[0]
    base, plus, text = local.partition("+")
    return text if base and plus else None


def strip_tag(address: str) -> str:
    """`a+x@example.com` -> `a@example.com`; other addresses as they are."""
    if "+" not in address:
        return address
    local, _, domain_ = address.rpartition("@")
    base = local.partition("+")[0]
    return f"{base}@{domain_}" if base else address


def served(address: str, patterns: Sequence[str]) -> bool:
    """Whether a canonical address is one of `patterns`: an address, `*@domain`, or `*`. No patterns: any is."""
    if not patterns:
        return True
    forms = ("*", address, f"*@{domain(address)}")
    return any(pattern in forms or _pattern(pattern) in forms for pattern in patterns)


@lru_cache(maxsize=1024)
def _pattern(text: str) -> str | None:
    """A configured pattern in canonical spelling."""
    text = text.strip()
    if not text.startswith("*@"):
        return text if text == "*" else canonical(text)
    known = canonical(f"x@{text[2:]}")
    return None if known is None else f"*@{domain(known)}"
