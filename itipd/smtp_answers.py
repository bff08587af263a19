"""What the mail doors answer, in fixed texts (RFC 5321 §4.2, RFC 3463)."""

from __future__ import annotations

import errno

from itipd.inbox import InboxFullError
from itipd.orders import Receipt
from itipd.smtp_syntax import Parameters
from itipd.store import NoSpaceError

_MAIL_PARAMETERS = frozenset({"SIZE", "BODY", "SMTPUTF8", "AUTH", "RET", "ENVID"})  # the last three: only tolerated
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM, errno.EMFILE, errno.ENFILE})

OURS = b"451 4.3.0 Could not be taken now, try again later"
BUSY = b"451 4.3.2 Too much mail at once, try again later"
FULL = b"452 4.3.1 No space left, try again later"
TOO_LARGE = b"552 5.3.4 Message too large"
LOOP = b"554 5.4.6 Too many hops"
SEQUENCE = b"503 5.5.1 Bad sequence of commands"
NO_ARGUMENT = b"501 5.5.4 This command takes no argument"
NOT_IMPLEMENTED = b"502 5.5.1 Command not implemented"
UNKNOWN_PARAMETER = b"555 5.5.4 Unknown parameter"  # RFC 5321 §4.1.1.11
NEEDS_UTF8 = b"553 5.6.7 This address needs SMTPUTF8"  # RFC 6531 §3.5


def answer_for(error: BaseException) -> bytes:
    """The fixed answer to a fault of ours. All are temporary, so the relay keeps the mail (RFC 5321 §4.2.1)."""
    if isinstance(error, InboxFullError):
        return BUSY
    seen: BaseException | None = error
    for _ in range(8):  # the layers of the database wrap it
        if seen is None:
            break
        if isinstance(seen, NoSpaceError) or (isinstance(seen, OSError) and seen.errno in _FULL):
            return FULL
        seen = seen.__cause__ or seen.__context__
    return OURS


def taken(receipt: Receipt) -> bytes:
    """`250 2.0.0 updated 17`: what became of the first component, and the mail's id in the journal."""
    outcome = receipt.results[0].outcome.value if receipt.results else "taken"
    return f"250 2.0.0 {outcome} {receipt.id}".encode("ascii", "replace")


def mail_fault(parameters: Parameters, limit: int) -> bytes | None:
    """What is wrong with the parameters of a MAIL, at a door that takes messages of `limit` octets."""
    if not parameters:
        return None
    if not parameters.keys() <= _MAIL_PARAMETERS:
        return UNKNOWN_PARAMETER
    if (parameters.get("BODY", "7BIT") or "").upper() not in ("7BIT", "8BITMIME"):  # RFC 6152 §2
        return b"501 5.5.4 BODY is 7BIT or 8BITMIME"
    if parameters.get("SMTPUTF8") is not None:
        return b"501 5.5.4 SMTPUTF8 takes no value"
    size = parameters.get("SIZE", "0") or ""
    if not (size.isascii() and size.isdigit() and len(size) <= 20):
        return b"501 5.5.4 SIZE is a number"
    return TOO_LARGE if int(size) > limit else None  # RFC 1870 §6.1
