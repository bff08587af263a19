"""Who really sent a mail, as far as its headers and its relay prove it (RFC 6047 §2.2-2.3, RFC 8601, RFC 3834).

Only what a configured relay wrote counts (its authserv-id), and only its topmost header. The From field is read by a
strict grammar: one field, one mailbox, or nothing. This room says what is proven; what is enough is policy.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile

from itipd.itip.addresses import canonical, domain
from itipd.itip.model import Evidence
from itipd.mail.headers import Headers, date

# RFC 5322 §3.4 without groups and routes. A phrase may hold dots (§4.1) and UTF-8 (RFC 6532), never a bare @, comma
# or bracket: `alice@example.org <mallory@example.net>` names nobody. A comment may only follow a bare address.
_QUOTED = r'"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\x20-\x7e])*+"'
_ATOM = r"[^\x00-\x20\x7f()<>\[\]:;@\\,\"]+"
_MAILBOX = re.compile(
    rf"(?:(?:{_ATOM}|{_QUOTED}|[ \t])*+<[ \t]*([^\s<>(),:;]+)[ \t]*>"
    r"|([^\s<>(),:;]+)(?:[ \t]+\([^()<>@\\\x00-\x08\x0a-\x1f\x7f]*\))?)[ \t]*"
)
_RESULT = re.compile(r"\s*+([A-Za-z][\w-]*+)\s*+(?:/\s*+\d++\s*+)?=\s*+([A-Za-z]++)", re.ASCII)
# A quoted string that is no value (reason="...") is passed over, so that nothing inside it looks like a property.
_PROPERTY = re.compile(
    r'(?<![\w-])([A-Za-z][\w-]*+\s*+\.\s*+[A-Za-z][\w-]*+)\s*+=\s*+((?:"[^"]*+"|[^\s;"])++)|"[^"]*+"', re.ASCII
)
_PIECE = re.compile(r'[^\\"()]++|\\.|["()\\]', re.DOTALL)
_NO_MAIL_BACK = frozenset({"bulk", "list", "junk"})


def evidence(headers: Headers, sender: str, authserv_ids: Sequence[str], *, trusted: bool = True) -> Evidence:
    """What the headers and the envelope sender (`""` or `<>`: the null sender) prove.

    `trusted` False (a client that is no relay of ours): no Authentication-Results are believed, whoever they name.
    `token` stays None: the recipient address is the inbox's business.
    """
    address = from_address(headers)
    dmarc, aligned = None, False
    if address is not None and trusted and authserv_ids:
        dmarc, aligned = _authenticated(headers, address, authserv_ids)
    return Evidence(
        from_address=address,
        dmarc=dmarc,
        passed_domains=(domain(address),) if aligned and address is not None else (),
        date=date(headers.first(b"date")),
        automatic=automatic(headers, sender),
    )


def from_address(headers: Headers) -> str | None:
    """The one mailbox of the one From field as a canonical address; None if there is any doubt (hardening §7)."""
    if headers.count(b"from") != 1:
        return None
    match = _MAILBOX.fullmatch(headers.first(b"from"))
    return canonical(match[1] or match[2]) if match else None


def automatic(headers: Headers, sender: str) -> bool:
    """Whether no person wrote the mail, so that it must cause no more than one answer (RFC 3834 §2)."""
    submitted = headers.first(b"auto-submitted").partition(";")[0].partition("(")[0].strip().lower()
    return (
        sender.strip() in ("", "<>")
        or submitted not in ("", "no")  # RFC 3834 §5
        or headers.first(b"precedence").lower() in _NO_MAIL_BACK
        or headers.count(b"list-id") > 0  # RFC 2919
    )


def _authenticated(headers: Headers, address: str, authserv_ids: Sequence[str]) -> tuple[str | None, bool]:
    # RFC 8601 §5, hardening §20: the topmost header of a configured relay, and no other.
    trusted = {name.lower() for name in authserv_ids}
    for text in headers.all(b"authentication-results"):
        name, results = authentication_results(text)
        if name in trusted:
            break
    else:
        return None, False
    own = domain(address)
    dmarc, aligned = None, False
    for method, result, properties in results:
        if method == "dmarc":
            about = _domain(properties.get("header.from", own))
            if result == "fail":
                dmarc = "fail"
            elif result == "pass" and about == own and dmarc is None:
                dmarc, aligned = "pass", True
        elif result == "pass":
            named = [properties[key] for key in _ALIGNED.get(method, ()) if key in properties][:1]
            aligned = aligned or any(_covers(_domain(value), own) for value in named)
    return dmarc, aligned and dmarc != "fail"


_ALIGNED = {"dkim": ("header.d", "header.i"), "spf": ("smtp.mailfrom",)}


def authentication_results(text: str) -> tuple[str, list[tuple[str, str, dict[str, str]]]]:
    """Read an Authentication-Results field: the authserv-id in lower case and (method, result, properties) in order.

    Also Exchange's form, which has no authserv-id ("") and words like `action=none` between the properties.
    """
    segments = _without_comments(text).split(";")
    name = ""
    if "=" not in segments[0]:
        name = next(iter(segments[0].split()), "").strip('"').lower()  # RFC 8601 §2.2: a version may follow
        segments = segments[1:]
    results = []
    for segment in segments:
        match = _RESULT.match(segment)
        if match is None:
            continue  # `none`, or nothing after the last semicolon
        properties: dict[str, str] = {}
        for key, value in _PROPERTY.findall(segment, match.end()):
            properties.setdefault("".join(key.split()).lower(), value.replace('"', "").lower())
        results.append((match[1].lower(), match[2].lower(), properties))
    return name, results


def _without_comments(text: str) -> str:
    # RFC 5322 §3.2.2: comments nest; a parenthesis in a quoted string or after a backslash is none. What would look
    # like structure in a quoted string (a semicolon, an escaped quote) becomes something harmless.
    kept: list[str] = []
    depth, quoted = 0, False
    for piece in _PIECE.findall(text):
        if quoted:
            quoted = piece != '"'
            kept.append("'" if piece == '\\"' else piece.replace(";", ","))
        elif piece == "(":
            depth += 1
        elif piece == ")":
            depth = max(depth - 1, 0)
            kept.append(" ")
        elif depth == 0:
            quoted = piece == '"'
            kept.append("'" if piece in ('\\"', "\\;") else piece)
    return "".join(kept)


def _domain(value: str) -> str:
    # header.i and smtp.mailfrom hold an address, or only a domain.
    name = value.rpartition("@")[2].strip("<>. ")
    return "".join(takewhile(lambda char: char not in "/>", name))


def _covers(signer: str, own: str) -> bool:
    # RFC 7489 §3.1 relaxed, without a list of public suffixes: the same domain or one above it, never one below.
    return bool(signer) and (signer == own or ("." in signer and own.endswith("." + signer)))
