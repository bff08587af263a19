"""The API under /v1: what the commands print, as JSON over HTTP; mail and answers to proposals go through the inbox.

Every GET only reads. Lists come in pages with a cursor; every error is a problem (RFC 9457). UIDs in addresses are
percent-encoded; where two organizers have the same UID, `organizer=` says whose meeting is meant.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from itipd.config import Config
from itipd.inbox import AcceptProposal, DeclineProposal, Inbox, Mail, Receipt
from itipd.itip import render, transcript
from itipd.itip.addresses import canonical, served
from itipd.itip.attendance import status
from itipd.itip.model import clean
from itipd.replay import envelope, recipients
from itipd.store import Store
from itipd.web import shapes
from itipd.web.problems import Kind, Problem
from itipd.web.respond import (
    answer_proposal,
    as_json,
    committed,
    cursor_of,
    find_meeting,
    mail_as_received,
    page,
    tagged,
)

PARTSTATS = ("NEEDS-ACTION", "ACCEPTED", "DECLINED", "TENTATIVE", "DELEGATED", "COMPLETED", "IN-PROCESS")
PROBLEM: dict[str, Any] = {
    "description": "A problem (RFC 9457)",
    "content": {"application/problem+json": {"schema": shapes.Problem.model_json_schema()}},
}
BODIES = 32  # mails that are taken in at a time: more would only fill the memory
PATIENCE = 60.0  # seconds that a client may take to send one
MAIL_BODY = {"required": True, "content": {"message/rfc822": {"schema": {"type": "string", "format": "binary"}}}}

Limit = Annotated[int, Query(ge=1, le=500, description="How many at most.")]
Cursor = Annotated[str | None, Query(max_length=500, description="`next` of the page before.")]
Owner = Annotated[str | None, Query(description="Whose meeting, where several organizers have the same UID.")]
Search = Annotated[str, Query(alias="q", max_length=1000, description="Words of the title, the UID or an address.")]
PartStats = Annotated[list[str] | None, Query(description="Repeated, or with commas between them.")]
Recipients = Annotated[list[str] | None, Query(description="As RCPT; else as its headers and its calendar say.")]
Comment = Annotated[str | None, Query(max_length=1000, description="What the proposer is told.")]
Sender = Annotated[
    str | None, Query(max_length=1000, description="As MAIL, `<>`: the null sender; else Return-Path or From.")
]
OutboxState = Annotated[Literal["waiting", "sending", "sent", "failed", "held"] | None, Query()]
ProposalState = Annotated[Literal["open", "accepted", "declined", "retired", "all"], Query()]


def receipt_of(receipt: Receipt) -> Response:
    """What was committed: the journal's id and a result for every component, as `itipd replay --json` has them."""
    told = {"id": receipt.id, "results": [transcript.result(decision) for decision in receipt.results]}
    return Response(as_json(told), media_type="application/json")


def preferred(accept: str | None, offered: Sequence[str]) -> str:
    """The media type of `offered` that Accept likes best, the first of equals (RFC 9110 §12.5.1). Else 406."""
    if not accept or not accept.strip():
        return offered[0]
    best, found = 0.0, None
    for kind in offered:
        weight = max((_weight(range_, kind) for range_ in accept.split(",")), default=(0, 0.0))[1]
        if weight > best:
            best, found = weight, kind
    if found is None:
        raise Problem(Kind.NOT_ACCEPTABLE, f"Offered are {' and '.join(offered)}.")
    return found


def _weight(range_: str, kind: str) -> tuple[int, float]:
    """How exactly a media range names `kind` (0: not at all), and its weight: the most exact one counts."""
    named, *parameters = (part.strip().lower() for part in range_.split(";"))
    exact = {"*/*": 1, f"{kind.partition('/')[0]}/*": 2, kind: 3}.get(named, 0)
    weight = next((text[2:] for text in parameters if text.startswith("q=")), "1")
    try:
        return exact, min(1.0, max(0.0, float(weight))) if exact else 0.0
    except ValueError:
        return exact, 0.0


def _partstats(given: list[str] | None) -> frozenset[str]:
    """The PARTSTATs to show, empty for all."""
    wanted = frozenset(word.strip().upper() for text in given or () for word in text.split(",") if word.strip())
    if unknown := sorted(wanted.difference(PARTSTATS)):
        raise Problem(Kind.BAD_PARAMETER, f"Found partstat={unknown[0][:40]}, expected one of {', '.join(PARTSTATS)}.")
    return wanted


def _sender(text: str) -> str:
    address = canonical(text) if text not in ("", "<>") else ""
    if address is None:
        raise Problem(Kind.BAD_PARAMETER, "Found a sender that is no address, expected one like b@example.com.")
    return address


def _named(given: Sequence[str], organizers: Sequence[str]) -> tuple[str, ...]:
    """The mailboxes that the client names, each of which must be served here."""
    found = []
    for text in given:
        address = canonical(text)
        if address is None or not served(address, organizers):
            raise Problem(Kind.NO_RECIPIENT, f"Found recipient={text[:80]}, expected an organizer served here.")
        found.append(address)
    return tuple(dict.fromkeys(found))


async def _addressed(mail: Mail, inbox: Inbox, organizers: Sequence[str]) -> tuple[str, ...]:
    """Whose mailboxes the mail itself is for, by its headers and its calendar, as `itipd ingest` finds them."""
    found = recipients(mail.recipients, organizers, None)
    if len(found) != 1 and not (found and organizers):
        reading = await committed(inbox.read(mail))
        named = (getattr(message, "organizer", None) for message in reading.messages)
        found = recipients(mail.recipients, organizers, next((name for name in named if name), None))
    if not found:
        raise Problem(Kind.NO_RECIPIENT, "The mail names no organizer served here: give `recipient`.")
    return found


def _trusted(client: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    """May this client vouch with Authentication-Results, as at the SMTP door (hardening §20)?"""
    try:
        return any(ip_address(client) in network for network in networks)
    except ValueError:  # no address: a client without a socket
        return False


async def _body(request: Request, limit: int) -> bytes:
    """The mail in the body, at most `limit` bytes; more is never kept in memory."""
    announced = request.headers.get("content-length", "")
    too_large = Problem(Kind.TOO_LARGE, f"Found more than {limit} bytes, allowed by [smtp] max_message_size.")
    if announced.isdecimal() and int(announced) > limit:
        raise too_large
    found = bytearray()
    try:
        async with asyncio.timeout(PATIENCE):
            async for chunk in request.stream():
                found += chunk
                if len(found) > limit:
                    raise too_large
    except TimeoutError:
        raise Problem(Kind.TOO_SLOW, f"The mail was not there after {PATIENCE:g} seconds.") from None
    if not found.strip():
        raise Problem(Kind.EMPTY_MAIL, "Found an empty body, expected a mail (message/rfc822).")
    return bytes(found)


def _ok(shape: type[BaseModel] | None, *media_types: str) -> dict[int | str, dict[str, Any]]:
    """What the description says of a good answer."""
    found: dict[str, Any] = {"description": "Done", "content": {kind: {} for kind in media_types}}
    return {200: found | ({"model": shape} if shape else {})}


def router(store: Store, inbox: Inbox, config: Config) -> APIRouter:
    """The routes under /v1."""
    routes = APIRouter(prefix="/v1", responses={"default": PROBLEM})
    bodies = asyncio.Semaphore(BODIES)

    @routes.get("/meetings", responses=_ok(shapes.MeetingPage))
    async def meetings(request: Request, limit: Limit = 100, cursor: Cursor = None, search: Search = "") -> Response:
        """All meetings, a line each, as `itipd status --json`; `q` searches."""
        lines, next_ = await store.meeting_lines(limit, cursor_of(cursor), clean(search.strip(), 200) or None)
        return page(request, "meetings", lines, next_)

    @routes.get("/meetings/{uid:uid}/attendees", responses=_ok(shapes.AttendeePage))
    async def attendees(request: Request, uid: str, organizer: Owner = None, partstat: PartStats = None) -> Response:
        """The attendees of a meeting (of the series), all or those with one of the given PARTSTATs."""
        wanted_ones = _partstats(partstat)
        found = await asyncio.to_thread(status, await find_meeting(store, uid, organizer))
        people = [one for one in found["attendees"] if not wanted_ones or one["partstat"] in wanted_ones]
        return page(request, "attendees", people, None)

    @routes.get("/meetings/{uid:uid}/history")
    async def history(
        request: Request, uid: str, organizer: Owner = None, limit: Limit = 100, cursor: Cursor = None
    ) -> Response:
        """What was decided for this meeting and why, the latest first."""
        meeting = await find_meeting(store, uid, organizer)
        lines = await store.history(meeting.organizer, meeting.uid, limit, cursor_of(cursor))
        return page(request, "history", lines, lines[-1]["id"] if len(lines) == limit else None)

    @routes.get("/meetings/{uid:uid}", responses=_ok(shapes.Meeting, "text/calendar"))
    async def meeting(request: Request, uid: str, organizer: Owner = None) -> Response:
        """One meeting, as `itipd status UID --json`; as iCalendar with `Accept: text/calendar`."""
        kind = preferred(request.headers.get("accept"), ("application/json", "text/calendar"))
        found = await find_meeting(store, uid, organizer)
        if kind == "text/calendar":
            text = await asyncio.to_thread(render.export, found, datetime.now(UTC))
            return tagged(request, text.encode(), "text/calendar; charset=utf-8")
        return tagged(request, await asyncio.to_thread(lambda: as_json(status(found))), "application/json")

    @routes.get("/mail")
    async def mail_list(request: Request, limit: Limit = 100, cursor: Cursor = None) -> Response:
        """The received mail with its outcomes, the latest first."""
        return page(request, "mail", *await store.mail_list(limit, cursor_of(cursor)))

    @routes.get("/mail/{number:int}/raw", responses=_ok(None, "message/rfc822"))
    async def raw(number: int) -> Response:
        """A mail as it was received, octet for octet."""
        return await mail_as_received(store, number)

    @routes.post("/mail", responses=_ok(shapes.Receipt), openapi_extra={"requestBody": MAIL_BODY})
    async def post_mail(request: Request, recipient: Recipients = None, sender: Sender = None) -> Response:
        """Takes a mail as the SMTP door does: the answer comes after the commit, and a bad mail is an outcome."""
        async with bodies:
            data = await _body(request, config.smtp.max_message_size)
            client = request.client.host if request.client else ""
            found = await asyncio.to_thread(envelope, data)
            mail = Mail(
                sender=_sender(sender) if sender is not None else found.sender,
                recipients=_named(recipient, config.organizers) if recipient else found.candidates,
                raw=data,
                received_at=datetime.now(UTC),
                client=client,
                door="http",
                trusted=_trusted(client, config.smtp.trusted_networks),
            )
            if not recipient:
                mail = replace(mail, recipients=await _addressed(mail, inbox, config.organizers))
            return receipt_of(await committed(inbox.submit(mail)))

    @routes.get("/outbox")
    async def outbox(
        request: Request, state: OutboxState = None, limit: Limit = 100, cursor: Cursor = None
    ) -> Response:
        """The outgoing mail, the latest first."""
        return page(request, "outbox", *await store.outbox_list(state, limit, cursor_of(cursor), newest=True))

    @routes.get("/proposals")
    async def proposals(request: Request, state: ProposalState = "open") -> Response:
        """The counter proposals: the open ones, or those in another state, or `all`."""
        return page(request, "proposals", await store.proposals(None if state == "all" else state), None)

    @routes.post("/proposals/{number:int}/accept", responses=_ok(shapes.Receipt))
    async def accept(number: int) -> Response:
        """The meeting takes the proposal; everybody is sent the new version."""
        _, receipt = await answer_proposal(store, inbox, number, AcceptProposal(number))
        return receipt_of(receipt)

    @routes.post("/proposals/{number:int}/decline", responses=_ok(shapes.Receipt))
    async def decline(number: int, comment: Comment = None) -> Response:
        """The proposal is declined; the proposer is sent a DECLINECOUNTER, with `comment`."""
        order = DeclineProposal(number, comment=clean(comment, 1000) if comment else None)
        _, receipt = await answer_proposal(store, inbox, number, order)
        return receipt_of(receipt)

    return routes
