"""The page: the list of meetings and one meeting, whole and as the fragments that keep them fresh.

Every GET only reads. The two forms of a proposal do what the API's POSTs do, through the same inbox.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from itipd.inbox import AcceptProposal, DeclineProposal, Inbox, Order
from itipd.itip.model import clean
from itipd.itip.outcomes import Reason
from itipd.store import Store
from itipd.web.assets import FINGERPRINT, environment, static
from itipd.web.respond import answer_proposal, cursor_of, find_meeting, mail_as_received, tag_of, unchanged
from itipd.web.views import meeting_url, of_list, of_meeting

MEETINGS = 50  # on a page of the list
PROPOSALS = 1000  # open ones that the list counts
LATEST = 30  # lines of history and of outgoing mail on a meeting's page
LONGEST = 200  # characters of a search

Search = Annotated[str, Query(alias="q")]
Skip = Annotated[int, Query(ge=0, le=1_000_000)]

NOTICES = (Reason.PROPOSAL_ACCEPTED, Reason.PROPOSAL_DECLINED)
"""What may be told at the head of a page: its address names a word of this list, never a text."""


def router(store: Store, inbox: Inbox) -> APIRouter:
    """The page's routes."""
    routes = APIRouter(include_in_schema=False)
    templates = environment()

    async def the_list(search: str, cursor: str) -> dict[str, Any]:
        lines, next_ = await store.meeting_lines(MEETINGS, cursor_of(cursor), search or None)
        proposals = await store.proposals("open", limit=PROPOSALS)
        return of_list(lines, proposals, cursor, next_, await store.totals(), search)

    async def the_meeting(uid: str, organizer: str, partstat: str, skip: int) -> dict[str, Any]:
        meeting = await find_meeting(store, uid, organizer)
        owner, own = meeting.organizer, meeting.uid
        history = await store.history(owner, own, LATEST)
        outbox, _ = await store.outbox_list(None, LATEST, organizer=owner, uid=own, newest=True)
        # A meeting may have ten thousand attendees: not in the event loop.
        return await asyncio.to_thread(of_meeting, meeting, history, outbox, partstat, skip)

    async def shown(template: str, context: dict[str, Any], etag: str) -> Response:
        text = await asyncio.to_thread(templates.get_template(template).render, context | {"etag": etag})
        headers = {"Cache-Control": "private, no-cache"} | ({"ETag": etag} if template.startswith("_") else {})
        return Response(text, media_type="text/html", headers=headers)

    async def fresh() -> str:
        # Read before everything else: what is written meanwhile shows at the next look.
        return tag_of(FINGERPRINT, await store.version())

    @routes.get("/")
    async def meetings(search: Search = "", cursor: str = "") -> Response:
        etag = await fresh()
        context = await the_list(clean(search.strip(), LONGEST), cursor)
        given = {name: value for name, value in (("q", context["search"]), ("cursor", cursor)) if value}
        source = "/fragments/meetings" + ("?" + urlencode(given) if given else "")
        return await shown("meetings.html", context | {"source": source}, etag)

    @routes.get("/fragments/meetings")
    async def meetings_fragment(request: Request, search: Search = "", cursor: str = "") -> Response:
        etag = await fresh()
        if unchanged(request, etag):
            return Response(status_code=304, headers={"ETag": etag})
        return await shown("_meetings.html", await the_list(clean(search.strip(), LONGEST), cursor), etag)

    @routes.get("/meetings/{uid:uid}")
    async def meeting(uid: str, organizer: str = "", partstat: str = "", skip: Skip = 0, notice: str = "") -> Response:
        etag = await fresh()
        context = await the_meeting(uid, organizer, partstat, skip)
        owner = context["m"]["organizer"]
        given = {"uid": uid, "organizer": owner} | {"partstat": partstat, "skip": skip}
        source = "/fragments/meeting?" + urlencode({name: value for name, value in given.items() if value})
        told = next((reason.sentence for reason in NOTICES if reason == notice), "")
        return await shown("meeting.html", context | {"source": source, "notice": told}, etag)

    @routes.get("/meetings/")
    async def awkward(uid: str, organizer: str = "", partstat: str = "", skip: Skip = 0, notice: str = "") -> Response:
        return await meeting(uid, organizer, partstat, skip, notice)

    @routes.get("/fragments/meeting")
    async def meeting_fragment(
        request: Request, uid: str, organizer: str = "", partstat: str = "", skip: Skip = 0
    ) -> Response:
        etag = await fresh()
        if unchanged(request, etag):
            return Response(status_code=304, headers={"ETag": etag})
        return await shown("_meeting.html", await the_meeting(uid, organizer, partstat, skip), etag)

    @routes.post("/proposals/{number:int}/accept")
    async def accept(number: int) -> Response:
        return await answered(number, AcceptProposal(number))

    @routes.post("/proposals/{number:int}/decline")
    async def decline(number: int) -> Response:
        return await answered(number, DeclineProposal(number))

    async def answered(number: int, order: Order) -> Response:
        organizer, receipt = await answer_proposal(store, inbox, number, order)
        decision = receipt.results[0]
        back = meeting_url(decision.uid or "", organizer)
        # 303: what follows is a GET, and a reload of it changes nothing (RFC 9110 §15.4.4).
        return RedirectResponse(f"{back}&notice={decision.reason}", status_code=303)

    @routes.get("/mail/{number:int}/raw")
    async def mail(number: int) -> Response:
        return await mail_as_received(store, number)

    routes.add_route("/static/{name}", static)
    return routes
