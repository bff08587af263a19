"""What the API and the page have in common: entity tags, pages of a list, the UID in an address, two answers.

A cursor is the store's own (opaque to clients); it is taken back only as it was given.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlencode

from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response

from itipd.inbox import Inbox, Order, Receipt
from itipd.itip.addresses import canonical
from itipd.itip.model import Meeting, clean
from itipd.itip.outcomes import Reason
from itipd.log import fault
from itipd.store import Store
from itipd.web.problems import Kind, Problem

T = TypeVar("T")

BIGGEST = 2**63 - 1
"""The highest id a database has; a higher one names nothing."""
LONGEST_UID = 10_000
"""Characters; a longer one is in no database."""


class Uid(Convertor[str]):
    """A UID in a path: percent-encoded; a slash may also stand there as it is. The guard routes by the raw path."""

    regex = ".+"

    def convert(self, value: str) -> str:
        return unquote(value)

    def to_string(self, value: str) -> str:
        return quote(value, safe="")


register_url_convertor("uid", Uid())


def tag_of(*parts: str | bytes) -> str:
    """A strong entity tag of what decides about the content (RFC 9110 §8.8.3)."""
    content = b"\0".join(part.encode() if isinstance(part, str) else part for part in parts)
    return f'"{hashlib.sha256(content).hexdigest()[:24]}"'


def unchanged(request: Request, etag: str) -> bool:
    """True if the client has this very content (RFC 9110 §13.1.2: weak comparison)."""
    given = ",".join(request.headers.getlist("if-none-match"))
    return given.strip() == "*" or etag in (one.strip().removeprefix("W/") for one in given.split(","))


def tagged(request: Request, content: bytes, media_type: str) -> Response:
    """`content` with its ETag, or 304 if the client has it. What `Accept` chose is told to caches by Vary."""
    etag = tag_of(media_type, content)
    headers = {"ETag": etag, "Cache-Control": "private, no-cache", "Vary": "Accept"}
    if unchanged(request, etag):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)


def as_json(value: Any) -> bytes:
    """JSON as the command line prints it: UTF-8, no escapes that nobody needs."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def page(request: Request, name: str, items: list[Any], next_: Any) -> Response:
    """`{name: items, "next": cursor or null}` and a Link to the next page (RFC 8288 §3)."""
    cursor = None if next_ is None else str(next_)
    headers = {"Cache-Control": "private, no-cache"}
    if cursor is not None:
        query = [(key, value) for key, value in request.query_params.multi_items() if key != "cursor"]
        target = f"{request.url.path}?{urlencode([*query, ('cursor', cursor)])}"
        headers["Link"] = f'<{target}>; rel="next"'
    return Response(as_json({name: items, "next": cursor}), media_type="application/json", headers=headers)


def cursor_of(text: str | None) -> int | None:
    """The store's cursor in a request: an id. Raises Problem for what no page gave."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or int(text[:20]) > BIGGEST:
        raise Problem(Kind.BAD_CURSOR, "Expected `next` of the page before, as it was given there.")
    return int(text)


async def find_meeting(store: Store, uid: str, organizer: str | None) -> Meeting:
    """The meeting with this UID, of this organizer or, without, of the first who has one. Raises Problem."""
    owner = canonical(organizer) if organizer else None
    # What `clean` changes is in no database, and PostgreSQL fails on it (hardening §17).
    known = clean(uid, LONGEST_UID) == uid and bool(owner) == bool(organizer)
    found = await store.meeting(uid, owner) if known else None
    if found is None:
        raise Problem(Kind.UNKNOWN_MEETING, "No meeting with this UID is registered.")
    return found


async def mail_as_received(store: Store, number: int) -> Response:
    """The mail with this id, octet for octet; a browser saves it and never shows it."""
    found = await store.mail(number) if number <= BIGGEST else None
    if found is None or found["kind"] not in ("mail", "submission"):  # the journal has the organizer's orders too
        raise Problem(Kind.UNKNOWN_MAIL)
    if not found["raw"]:
        raise Problem(Kind.UNKNOWN_MAIL, "Its bytes were removed: they were old, or named somebody who is forgotten.")
    # The name is our own id: nothing of the mail's gets into a header (hardening §26).
    headers = {"Content-Disposition": f'attachment; filename="mail-{number}.eml"', "Cache-Control": "private, no-cache"}
    return Response(found["raw"], media_type="message/rfc822", headers=headers)


async def answer_proposal(store: Store, inbox: Inbox, number: int, order: Order) -> tuple[str, Receipt]:
    """Gives the organizer's answer to proposal `number` to the inbox: whose meeting it is, and what was committed."""
    found = await store.proposal(number) if number <= BIGGEST else None
    if found is None:
        raise Problem(Kind.UNKNOWN_PROPOSAL)
    closed = Problem(Kind.PROPOSAL_CLOSED, "It was accepted, declined, or retired by a later answer.")
    if found["state"] != "open":
        raise closed
    receipt = await committed(inbox.command(order))
    if receipt.results[0].reason == Reason.NOT_FOUND:  # somebody else answered it in the meantime
        raise closed
    return found["organizer"], receipt


async def committed(work: Awaitable[T]) -> T:
    """What the inbox gives. Its failure is our own fault: nothing was written, as with 451 at the SMTP door."""
    try:
        return await work
    except Exception as error:
        fault("http: not committed", error)
        raise Problem(Kind.UNAVAILABLE, "Nothing was written.", headers={"Retry-After": "5"}) from error
