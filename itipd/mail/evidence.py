"""Who really sent a mail, as far as its headers and its relay prove it (RFC 6047 §2.2-2.3, RFC 8601, 8617, 3834).

Only what a configured relay wrote counts (its authserv-id), and only its topmost header. The From field is read by a
strict grammar: one field, one mailbox, or nothing. This room says what is proven; what is enough is policy.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from itertools import takewhile

from itipd.itip.addresses import canonical, domain
from itipd.itip.model import Evidence
from itipd.mail.headers import Headers, date

# RFC 5322 §3.4 without groups and routes. A phrase may hold dots (§4.1) and UTF-8 (RFC 6532), never a bare @, comma
# or bracket: `alice@example.org <mallory@example.net>` names nobody. A comment with none of these may stand in one, or
# follow a bare address.
_QUOTED = r'"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\x20-\x7e])*+"'
_ATOM = r"[^\x00-\x20\x7f()<>\[\]:;@\\,\"]+"
_ASIDE = r"(?:\([^()<>\[\]@\\\x00-\x1f\x7f\"]*+\)|\[[^()<>\[\]@\\\x00-\x1f\x7f\"]*+\])"  # `(Sales)`, `[EXTERNAL]`
_MAILBOX = re.compile(
    rf"(?:(?:{_ATOM}|{_QUOTED}|{_ASIDE}|[ \t])*+<[ \t]*([^\s<>(),:;]+)[ \t]*>"
    r"|([^\s<>(),:;]+)(?:[ \t]+\([^()<>@\\\x00-\x08\x0a-\x1f\x7f]*\))?)[ \t]*"
)
_TWICE = re.compile(r"[ \t]*<?([^\s<>(),:;\"]+)>?[ \t]*<[ \t]*([^\s<>(),:;\"]+)[ \t]*>[ \t]*")
_RESULT = re.compile(r"\s*+([A-Za-z][\w-]*+)\s*+(?:/\s*+\d++\s*+)?=\s*+([A-Za-z]++)", re.ASCII)
# A quoted string that is no value (reason="...") is passed over, so that nothing inside it looks like a property.
_PROPERTY = re.compile(
    r'(?<![\w-])([A-Za-z][\w-]*+\s*+\.\s*+[A-Za-z][\w-]*+)\s*+=\s*+((?:"[^"]*+"|[^\s;"])++)|"[^"]*+"', re.ASCII
)
_PIECE = re.compile(r'[^\\"()]++|\\.|["()\\]', re.DOTALL)
_LONGEST_CHAIN = 50  # RFC 8617 §4.2.1
_NO_MAIL_BACK = frozenset({"bulk", "list", "junk"})


OWN_ID = "dkim.itipd.invalid"
"""The authserv-id of what our own door found out (RFC 6761 §6.4: nobody has this name)."""

Results = list[tuple[str, str, dict[str, str]]]
"""(method, result, properties) of an Authentication-Results field, in order."""


def evidence(
    headers: Headers, sender: str, authserv_ids: Sequence[str], *, trusted: bool = True, dkim: bool = False
) -> Evidence:
    """What the headers and the envelope sender (`""` or `<>`: the null sender) prove.

    `trusted` False (a client that is no relay of ours): no Authentication-Results are believed, whoever they name.
    `token` stays None: the recipient address is the inbox's business. `dkim`: the topmost field is our own door's.
    """
    address = from_address(headers)
    dmarc, aligned = None, False
    if address is not None and trusted and authserv_ids:
        dmarc, aligned = _authenticated(headers, address, authserv_ids)
    if dkim and address is not None and dmarc != "fail" and is_stamped(headers):
        _, results = authentication_results(headers.first(b"authentication-results"))
        aligned = aligned or _judged(results, domain(address))[1]
    return Evidence(
        from_address=address,
        dmarc=dmarc,
        passed_domains=(domain(address),) if aligned and address is not None else (),
        date=date(headers.first(b"date")),
        automatic=automatic(headers, sender),
    )


def is_stamped(headers: Headers) -> bool:
    """Whether the first field is the one that our own door put there; anywhere else it is somebody's who lies."""
    if not headers.fields or headers.fields[0][0] != b"authentication-results":
        return False
    return headers.first(b"authentication-results").partition(";")[0].strip().lower() == OWN_ID


def from_address(headers: Headers) -> str | None:
    """The one mailbox of the one From field as a canonical address; None if there is any doubt (hardening §7)."""
    if headers.count(b"from") != 1:
        return None
    text = headers.first(b"from")
    match = _MAILBOX.fullmatch(text)
    if match is not None:
        return canonical(match[1] or match[2])
    twice = _TWICE.fullmatch(text)  # a name that is the very same address deceives nobody
    address = canonical(twice[2]) if twice is not None else None
    return address if twice is not None and canonical(twice[1]) == address else None


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
    dmarc, aligned = _judged(results, own)
    if dmarc != "pass" and any(one[:2] == ("arc", "pass") for one in results):
        # RFC 8617 §7.2: the chain holds, so what a trusted relay saw before the mail was changed still counts.
        sealed = _judged(_sealed(headers, trusted), own)
        if sealed[0] == "pass":
            return sealed
    return dmarc, aligned and dmarc != "fail"


def _judged(results: Results, own: str) -> tuple[str | None, bool]:
    """What the results say of the domain of From: DMARC, and whether anything aligned has passed."""
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
            aligned = aligned or any(covers(_domain(value), own) for value in named)
    return dmarc, aligned


def _sealed(headers: Headers, trusted: Set[str]) -> Results:
    """The results of the first relay in the ARC chain from which on only trusted ones sealed; [] where there is none.

    Our own relay has verified the chain (arc=pass). Anybody can seal, so each seal must be that of the owner of the
    configured authserv-id in its set: `d=example.com` for `mx.example.com`.
    """
    seals = [tags(text) for text in headers.all(b"arc-seal")]
    said = [text.partition(";") for text in headers.all(b"arc-authentication-results")]
    count = len(seals)
    numbers = {str(number) for number in range(1, count + 1)}
    by_seal = {seal.get("i", ""): seal for seal in seals}
    by_result = {tags(first).get("i", ""): rest for first, _, rest in said}
    whole = by_seal.keys() == by_result.keys() == numbers and len(said) == count
    if not whole or count > _LONGEST_CHAIN or headers.count(b"arc-message-signature") != count:
        return []
    found: Results = []
    for number in range(count, 0, -1):
        name, results = authentication_results(by_result[str(number)])
        seal = by_seal[str(number)]
        sealed = seal.get("cv", "").lower() == ("pass" if number > 1 else "none")  # RFC 8617 §4.1.3
        if not sealed or not name or name not in trusted or not covers(seal.get("d", "").lower(), name):
            break
        found = results
    return found


def tags(text: str) -> dict[str, str]:
    """The tag=value list of a DKIM or ARC field (RFC 6376 §3.2); of one that comes twice the last."""
    pairs = (part.partition("=") for part in text.split(";", _LONGEST_CHAIN))
    return {name.strip(): "".join(value.split()) for name, _, value in pairs}


_ALIGNED = {"dkim": ("header.d", "header.i"), "spf": ("smtp.mailfrom",)}


def authentication_results(text: str) -> tuple[str, Results]:
    """Read an Authentication-Results field: the authserv-id in lower case and (method, result, properties) in order.

    Also Exchange's form, which has no authserv-id ("") and words like `action=none` between the properties.
    """
    segments = _without_comments(text).split(";")
    name = ""
    if "=" not in segments[0]:
        name = next(iter(segments[0].split()), "").strip('"').lower()  # RFC 8601 §2.2: a version may follow
        segments = segments[1:]
    results: Results = []
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


def covers(signer: str, own: str) -> bool:
    """RFC 7489 §3.1 relaxed, without a list of public suffixes: the same domain or one above it, never one below."""
    return bool(signer) and (signer == own or ("." in signer and own.endswith("." + signer)))
