"""The API under /v1 tells what the store has, hands mail to the inbox, and puts every error into a problem."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from urllib.parse import quote

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from itipd.config import Config
from itipd.inbox import Inbox
from itipd.itip.attendance import status
from itipd.itip.model import Moment, Proposal, Proposed
from itipd.itip.outcomes import Outcome, Reason
from itipd.store import Store
from itipd.web import shapes
from itipd.web.api import preferred
from itipd.web.app import create_app, serve_http
from itipd.web.problems import Problem
from tests.web_world import BOB, CAROL, WE, NotingInbox, World, calendar, world

AWKWARD = [
    "plain@example.com", "a/b", "a%2Fb", "a%252Fb", "with space", "a?b#c", "ü/€/😀", "..", ".", "a/attendees",
    "history", "a/history", "//", "\"'<>&", "a+b", "a;b=c", "a\\b", "{uid}", "x" * 250,
]  # fmt: skip
BOTH = ["two", "one"]
MAIL = f"From: {BOB}\r\nTo: Meetings <{WE}>, {CAROL}\r\nSubject: Accepted\r\n\r\nhello\r\n".encode()


@pytest.fixture
async def here(store_url: str) -> AsyncIterator[World]:
    """A world on each engine."""
    async with world(store_url) as made:
        yield made


@pytest.fixture
async def lite(sqlite_url: str) -> AsyncIterator[World]:
    """A world for what does not depend on the engine."""
    async with world(sqlite_url) as made:
        yield made


def problem(answer: httpx2.Response, status_code: int, word: str) -> dict[str, Any]:
    """The problem in an answer, which must be this one."""
    assert answer.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["status"], body["type"]) == (status_code, status_code, f"urn:itipd:problem:{word}")
    assert body["title"]
    return body


# -- meetings


async def test_no_meetings(here: World) -> None:
    """A new database has an empty list, not an error."""
    answer = await here.web.get("/v1/meetings")
    assert answer.json() == {"meetings": [], "next": None}
    assert "Link" not in answer.headers


async def test_pages_of_meetings(here: World) -> None:
    """Following `next`, or the Link header, gives every meeting exactly once, in the same order."""
    for number in range(5):
        await here.put(calendar(f"m{number}@example.com"))
    seen, cursor, url = [], None, "/v1/meetings?limit=2"
    for _ in range(3):
        answer = await here.web.get(url)
        page = answer.json()
        shapes.MeetingPage.model_validate(page)
        seen += [line["uid"] for line in page["meetings"]]
        cursor = page["next"]
        if cursor is not None:
            url = answer.links["next"]["url"]
            assert url == f"/v1/meetings?limit=2&cursor={quote(cursor, safe='')}"
    assert cursor is None
    assert sorted(seen) == [f"m{number}@example.com" for number in range(5)]


async def test_a_line_has_the_fields_of_the_command(here: World) -> None:
    """A line of the list is that of `itipd status --json`: these keys and no others."""
    await here.put(calendar("plan"))
    await here.answer("plan", BOB, "ACCEPTED")
    (line,) = (await here.web.get("/v1/meetings")).json()["meetings"]
    assert line == {
        "uid": "plan",
        "organizer": WE,
        "summary": "Plan",
        "status": "CONFIRMED",
        "sequence": 0,
        "start": "2026-12-01T10:00:00+01:00",
        "end": "2026-12-01T11:00:00+01:00",
        "counts": {"ACCEPTED": 1, "DECLINED": 0, "TENTATIVE": 0, "DELEGATED": 0, "NEEDS-ACTION": 1},
    }


async def test_search(here: World) -> None:
    """Titles and UIDs are found in any case; what SQL takes for a pattern is taken literally."""
    await here.put(calendar("one", "The Roadmap"))
    await here.put(calendar("two", "Budget"))
    for words, found in (
        ("roadmap", ["one"]),
        ("ROADMAP", ["one"]),
        ("two", ["two"]),
        ("%", []),
        ("_", []),
        ("\0", BOTH),
    ):
        page = (await here.web.get("/v1/meetings", params={"q": words})).json()
        assert [line["uid"] for line in page["meetings"]] == found, words


@pytest.mark.parametrize("uid", AWKWARD)
async def test_any_uid_has_an_address(lite: World, uid: str) -> None:
    """Percent-encoded, every UID finds its meeting and what belongs to it, whatever characters it has."""
    await lite.put(calendar(uid.replace("\\", "\\\\").replace(";", "\\;")))
    address = f"/v1/meetings/{quote(uid, safe='').replace('.', '%2E')}"
    for path in (address, f"{address}/attendees", f"{address}/history"):
        answer = await lite.web.get(path)
        assert answer.status_code == 200, path
    assert (await lite.web.get(address)).json()["uid"] == uid


async def test_a_slash_may_stay_as_it_is(lite: World) -> None:
    """A UID with slashes is found even where a client did not encode them."""
    await lite.put(calendar("a/b/c"))
    assert (await lite.web.get("/v1/meetings/a/b/c")).json()["uid"] == "a/b/c"
    assert len((await lite.web.get("/v1/meetings/a/b/c/attendees")).json()["attendees"]) == 2


async def test_unknown_meeting(here: World) -> None:
    """What is no meeting is a 404 by name, also where it is no text."""
    for uid in ("nothing", "%00", "%FF%FE", "a%00b", "%0d%0aX: y", "'; DROP TABLE meetings; --", "x" * 20_000):
        for path in ("", "/attendees", "/history"):
            problem(await here.web.get(f"/v1/meetings/{uid}{path}"), 404, "unknown_meeting")


async def test_a_meeting_is_the_status_object(here: World) -> None:
    """One meeting is exactly the object of `itipd status UID --json`, in the described shape."""
    await here.put(calendar("plan", "Plan", "RRULE:FREQ=WEEKLY;COUNT=5", "LOCATION:Room 4"))
    await here.answer("plan", BOB, "TENTATIVE", comment="late", guests=2)
    proposed = Proposed(start=Moment.decode("U20261201T15000020261201T140000"), location="Room 9")
    await here.propose("plan", Proposal(0, CAROL, "", proposed, comment="later?"))
    stored = await here.store.meeting("plan")
    assert stored is not None
    body = (await here.web.get("/v1/meetings/plan")).json()
    assert body == status(stored)
    shapes.Meeting.model_validate(body)


async def test_same_uid_of_two_organizers(here: World) -> None:
    """`organizer` says whose meeting is meant where two have the same UID."""
    await here.put(calendar("plan", "Ours"))
    await here.put(calendar("plan", "Theirs").replace(f"mailto:{WE}".encode(), b"mailto:other@example.org"))
    for organizer, summary in ((WE, "Ours"), ("other@example.org", "Theirs")):
        found = (await here.web.get("/v1/meetings/plan", params={"organizer": organizer})).json()
        assert (found["organizer"], found["summary"]) == (organizer, summary)
    problem(await here.web.get("/v1/meetings/plan?organizer=nobody@example.com"), 404, "unknown_meeting")


async def test_a_meeting_as_icalendar(here: World) -> None:
    """With `Accept: text/calendar` the meeting is an export with the PARTSTATs of now."""
    await here.put(calendar("plan"))
    await here.answer("plan", BOB, "DECLINED")
    answer = await here.web.get("/v1/meetings/plan", headers={"Accept": "text/calendar"})
    assert answer.headers["Content-Type"] == "text/calendar; charset=utf-8"
    assert answer.headers["Vary"] == "Accept"
    text = answer.text.replace("\r\n ", "")
    assert text.startswith("BEGIN:VCALENDAR\r\n")
    assert "PARTSTAT=DECLINED" in text
    assert "METHOD" not in text


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("text/html, */*;q=0.1", "application/json"),
        ("text/calendar, application/json;q=0.9", "text/calendar"),
        ("text/calendar;q=0.5, application/json", "application/json"),
        ("application/json;q=0, */*", "text/calendar"),
        ("text/*", "text/calendar"),
        ("TEXT/Calendar", "text/calendar"),
    ],
)
def test_accept(accept: str | None, kind: str) -> None:
    """The media type with the highest weight wins; the most exact range decides a type's weight (RFC 9110 §12.5.1)."""
    assert preferred(accept, ("application/json", "text/calendar")) == kind


@pytest.mark.parametrize("accept", ["image/png", "application/json;q=0", "text/calendar;q=x", ";;,"])
def test_nothing_acceptable(accept: str) -> None:
    """What is not offered is a 406, not something else instead."""
    with pytest.raises(Problem, match="not_acceptable"):
        preferred(accept, ("application/json", "text/calendar"))


@pytest.mark.parametrize("accept", ["application/json", "text/calendar"])
async def test_etag(here: World, accept: str) -> None:
    """With If-None-Match an unchanged meeting is a 304 without a body; a new answer changes the tag."""
    await here.put(calendar("plan"))
    headers = {"Accept": accept}
    first = await here.web.get("/v1/meetings/plan", headers=headers)
    tag = first.headers["ETag"]
    for given in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = await here.web.get("/v1/meetings/plan", headers=headers | {"If-None-Match": given})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    await here.answer("plan", BOB, "ACCEPTED")
    changed = await here.web.get("/v1/meetings/plan", headers=headers | {"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != tag


async def test_attendees_by_partstat(here: World) -> None:
    """`partstat` chooses attendees, several by commas or repeated, in any case; without it all are told."""
    await here.put(calendar("plan"))
    await here.answer("plan", BOB, "ACCEPTED")

    async def asked(query: str) -> list[str]:
        page = (await here.web.get(f"/v1/meetings/plan/attendees{query}")).json()
        shapes.AttendeePage.model_validate(page)
        return [one["address"] for one in page["attendees"]]

    assert await asked("") == [BOB, CAROL]
    assert await asked("?partstat=ACCEPTED") == [BOB]
    assert await asked("?partstat=needs-action") == [CAROL]
    assert await asked("?partstat=DECLINED") == []
    assert await asked("?partstat=accepted,needs-action") == [BOB, CAROL]
    assert await asked("?partstat=accepted&partstat=needs-action") == [BOB, CAROL]
    body = problem(await here.web.get("/v1/meetings/plan/attendees?partstat=ACEPTED"), 400, "bad_parameter")
    assert "ACEPTED" in body["detail"]


async def test_history(here: World) -> None:
    """The history tells what was decided, why, and by which mail."""
    await here.put(calendar("plan"))
    mail = await here.answer("plan", BOB, "ACCEPTED")
    (entry,) = (await here.web.get("/v1/meetings/plan/history")).json()["history"]
    assert (entry["attendee"], entry["partstat"], entry["outcome"], entry["reason"], entry["mail"]) == (
        BOB, "ACCEPTED", "updated", "replied", mail,
    )  # fmt: skip


# -- mail


async def test_mail_in_pages(here: World) -> None:
    """The received mail is listed in pages, the latest first."""
    await here.put(calendar("plan"))
    ids = [await here.answer("plan", BOB, word) for word in ("ACCEPTED", "DECLINED", "TENTATIVE")]
    first = (await here.web.get("/v1/mail?limit=2")).json()
    second = (await here.web.get("/v1/mail", params={"limit": 2, "cursor": first["next"]})).json()
    assert [one["id"] for one in first["mail"] + second["mail"]] == ids[::-1]
    assert second["next"] is None


async def test_raw_mail(here: World) -> None:
    """A mail comes back octet for octet, to be saved under a name of our own."""
    await here.put(calendar("plan"))
    number = await here.answer("plan", BOB, "ACCEPTED")
    answer = await here.web.get(f"/v1/mail/{number}/raw")
    assert answer.content == b"mail of bob@example.com: ACCEPTED"
    assert answer.headers["Content-Type"] == "message/rfc822"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="mail-{number}.eml"'


async def test_raw_mail_that_was_removed(here: World) -> None:
    """Of a mail whose bytes were purged the line is there, and instead of the bytes a 404 that says so."""
    await here.put(calendar("plan"))
    number = await here.answer("plan", BOB, "ACCEPTED")
    later = datetime.now(UTC) + timedelta(days=10_000)
    await here.store.purge_mail(later, later)
    assert [one["id"] for one in (await here.web.get("/v1/mail")).json()["mail"]] == [number]
    found = await here.web.get(f"/v1/mail/{number}/raw")
    problem(found, 404, "unknown_mail")
    assert "bytes were removed" in found.json()["detail"]


async def test_unknown_mail(here: World) -> None:
    """An id that no mail has is a 404, also one that no database could have."""
    for number in (0, 999_999, 2**63, 10**40):
        problem(await here.web.get(f"/v1/mail/{number}/raw"), 404, "unknown_mail")


async def test_mail_that_is_posted(lite: World) -> None:
    """A posted mail goes through the inbox as it came, and the answer is its results."""
    given = {"recipient": [WE], "sender": BOB}
    answer = await lite.web.post("/v1/mail", content=MAIL, params=given, headers={"Content-Type": "message/rfc822"})
    assert answer.status_code == 200
    shapes.Receipt.model_validate(answer.json())
    assert (answer.json()["id"], answer.json()["results"][0]["reason"]) == (7, "replied")
    (mail,) = lite.inbox.mails
    assert (mail.raw, mail.sender, mail.recipients, mail.door) == (MAIL, BOB, (WE,), "http")
    assert mail.received_at.tzinfo is not None


async def test_mail_without_an_envelope(lite: World) -> None:
    """Without `recipient` and `sender` the mail's own headers say both."""
    await lite.web.post("/v1/mail", content=MAIL)
    assert (lite.inbox.mails[0].recipients, lite.inbox.mails[0].sender) == ((WE, CAROL), BOB)
    await lite.web.post("/v1/mail", content=b"Return-Path: <>\r\n" + MAIL)
    assert lite.inbox.mails[1].sender == ""
    for null in ("", "<>"):
        await lite.web.post("/v1/mail", content=MAIL, params={"sender": null})
        assert lite.inbox.mails[-1].sender == ""


async def test_mail_is_for_the_organizer_of_its_calendar(lite: World) -> None:
    """Where everybody is served, a reply to all is decided for the calendar's ORGANIZER and not for all in Cc."""
    reply = calendar("plan").replace(b"VERSION:2.0", b"VERSION:2.0\r\nMETHOD:REPLY")
    one = reply.replace(f"ATTENDEE;RSVP=TRUE;CN=Carol:mailto:{CAROL}\r\n".encode(), b"")
    head = MAIL.partition(b"\r\n\r\n")[0] + b"\r\nContent-Type: text/calendar; method=REPLY\r\n\r\n"
    await lite.web.post("/v1/mail", content=head + one)
    assert lite.inbox.mails[0].recipients == (WE,)


async def test_only_served_recipients(sqlite_url: str) -> None:
    """A mailbox that is not served here takes nothing, named by the client or by the mail."""
    async with world(sqlite_url, organizers=[WE]) as here:
        await here.web.post("/v1/mail", content=MAIL)
        assert here.inbox.mails[0].recipients == (WE,)
        for asked in ("recipient=bob@example.com", f"recipient={WE}&recipient=%00", "recipient=nonsense"):
            problem(await here.web.post(f"/v1/mail?{asked}", content=MAIL), 400, "no_recipient")
        problem(
            await here.web.post("/v1/mail", content=MAIL.replace(WE.encode(), b"x@example.net")), 400, "no_recipient"
        )
        assert len(here.inbox.mails) == 1


async def test_bad_mail_posts(lite: World) -> None:
    """An empty body, a wrong sender and a mail over the limit are refused by name and reach nobody."""
    problem(await lite.web.post("/v1/mail", content=b""), 400, "empty_mail")
    problem(await lite.web.post("/v1/mail?sender=no-address", content=MAIL), 400, "bad_parameter")
    problem(await lite.web.post("/v1/mail", content=b"x" * 20_001), 413, "too_large")

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b"x" * 1000

    problem(await lite.web.post("/v1/mail", content=endless()), 413, "too_large")
    assert lite.inbox.mails == []


async def test_a_slow_post(lite: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does not go on sending is told so and keeps no place."""
    monkeypatch.setattr("itipd.web.api.PATIENCE", 0.05)

    async def stalls() -> AsyncIterator[bytes]:
        yield MAIL
        await asyncio.sleep(5)
        yield b"."

    problem(await lite.web.post("/v1/mail", content=stalls()), 408, "too_slow")
    assert lite.inbox.mails == []


async def test_our_own_fault_is_try_again(lite: World) -> None:
    """If the inbox fails nothing was written: 503, when to try again, and not a word of what went wrong."""
    lite.inbox.failure = RuntimeError("disk /secret/path is full")
    answer = await lite.web.post("/v1/mail", content=MAIL)
    problem(answer, 503, "unavailable")
    assert answer.headers["Retry-After"] == "5"
    assert "secret" not in answer.text


# -- outgoing mail and proposals


async def test_outbox(here: World) -> None:
    """The outgoing mail is listed in pages and by state, with the fields of `itipd outbox list --json`."""
    await here.put(calendar("plan"))
    await here.send("plan", [BOB, CAROL])
    first = (await here.web.get("/v1/outbox?limit=1")).json()
    second = (await here.web.get("/v1/outbox", params={"limit": 1, "cursor": first["next"]})).json()
    found = first["outbox"] + second["outbox"]
    assert sorted(one["to"] for one in found) == [[BOB], [CAROL]]
    assert {*found[0]} >= {
        "id", "method", "uid", "recurrence_id", "sequence", "to", "state", "attempts", "next_attempt", "last_error",
        "message_id", "reason",
    }  # fmt: skip
    assert len((await here.web.get("/v1/outbox?state=waiting")).json()["outbox"]) == 2
    assert (await here.web.get("/v1/outbox?state=sent")).json() == {"outbox": [], "next": None}
    problem(await here.web.get("/v1/outbox?state=lost"), 400, "bad_parameter")


async def test_proposals(here: World) -> None:
    """Open proposals are listed with their meeting; other states are asked for."""
    await here.put(calendar("plan"))
    number = await here.propose("plan", Proposal(0, BOB, "", Proposed(location="Room 9"), comment="there"))
    await here.propose("plan", Proposal(0, CAROL, "", Proposed(location="Room 1"), state="retired"))
    (found,) = (await here.web.get("/v1/proposals")).json()["proposals"]
    assert (found["id"], found["uid"], found["attendee"], found["location"], found["state"]) == (
        number, "plan", BOB, "Room 9", "open",
    )  # fmt: skip
    assert len((await here.web.get("/v1/proposals?state=all")).json()["proposals"]) == 2
    assert [one["attendee"] for one in (await here.web.get("/v1/proposals?state=retired")).json()["proposals"]] == [
        CAROL
    ]
    problem(await here.web.get("/v1/proposals?state=lost"), 400, "bad_parameter")


@pytest.mark.parametrize(
    ("verb", "reason"), [("accept", Reason.PROPOSAL_ACCEPTED), ("decline", Reason.PROPOSAL_DECLINED)]
)
async def test_answering_a_proposal(lite: World, verb: str, reason: Reason) -> None:
    """Accept and decline are the organizer's orders to the inbox; the answer is what was decided."""
    await lite.put(calendar("plan"))
    number = await lite.propose("plan", Proposal(0, BOB, "", Proposed(location="Room 9")))
    lite.inbox.decision = replace(lite.inbox.decision, reason=reason)
    answer = await lite.web.post(f"/v1/proposals/{number}/{verb}")
    assert answer.status_code == 200
    assert answer.json()["results"][0]["reason"] == reason
    (order,) = lite.inbox.orders
    assert type(order).__name__.lower().startswith(verb)
    problem(await lite.web.get(f"/v1/proposals/{number}/{verb}"), 405, "method_not_allowed")


async def test_proposals_that_cannot_be_answered(lite: World) -> None:
    """One that is not there is a 404, one that is no longer open a 409, our own fault a 503."""
    await lite.put(calendar("plan"))
    closed = await lite.propose("plan", Proposal(0, BOB, "", Proposed(location="Room 9"), state="retired"))
    opened = await lite.propose("plan", Proposal(0, CAROL, "", Proposed(location="Room 1")))
    for number in (999, 2**63):
        problem(await lite.web.post(f"/v1/proposals/{number}/accept"), 404, "unknown_proposal")
    problem(await lite.web.post(f"/v1/proposals/{closed}/accept"), 409, "proposal_closed")
    assert lite.inbox.orders == []
    lite.inbox.decision = replace(lite.inbox.decision, outcome=Outcome.NO_ACTION, reason=Reason.NOT_FOUND)
    problem(await lite.web.post(f"/v1/proposals/{opened}/accept"), 409, "proposal_closed")
    lite.inbox.failure = RuntimeError("no")
    problem(await lite.web.post(f"/v1/proposals/{opened}/accept"), 503, "unavailable")


def message(method: str, attendee: str, *lines: str) -> bytes:
    """An attendee's mail about the meeting `plan`."""
    text = [
        f"From: {attendee}", f"To: {WE}", f"Message-ID: <{method}-{attendee}>", "MIME-Version: 1.0",
        f"Content-Type: text/calendar; method={method}; charset=utf-8", "", "BEGIN:VCALENDAR", "VERSION:2.0",
        "PRODID:-//example.com//test//EN", f"METHOD:{method}", "BEGIN:VEVENT", "UID:plan", "SEQUENCE:0",
        "DTSTAMP:20261120T080000Z", f"ORGANIZER:mailto:{WE}", *lines, "END:VEVENT", "END:VCALENDAR", "",
    ]  # fmt: skip
    return "\r\n".join(text).encode()


async def test_the_whole_way(here: World) -> None:
    """An answer and a proposal posted as mail, and the proposal accepted: the meeting moves and everybody is asked."""
    await here.put(calendar("plan"))
    config = Config.model_validate({"database": here.store.url})
    inbox = Inbox(here.store, None, config)
    await inbox.start()
    transport = httpx2.ASGITransport(create_app(here.store, inbox, config))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as web:
        replied = await web.post(
            "/v1/mail", content=message("REPLY", CAROL, f"ATTENDEE;PARTSTAT=DECLINED:mailto:{CAROL}")
        )
        assert replied.json()["results"][0]["reason"] == "replied"
        again = await web.post(
            "/v1/mail", content=message("REPLY", CAROL, f"ATTENDEE;PARTSTAT=DECLINED:mailto:{CAROL}")
        )
        assert (again.json()["id"], again.json()["results"][0]["reason"]) == (replied.json()["id"], "duplicate")
        counter = message(
            "COUNTER", BOB, f"ATTENDEE;PARTSTAT=TENTATIVE:mailto:{BOB}", "DTSTART:20261201T140000Z",
            "DTEND:20261201T150000Z",
        )  # fmt: skip
        assert (await web.post("/v1/mail", content=counter)).json()["results"][0]["reason"] == "proposal"
        (proposal,) = (await web.get("/v1/proposals")).json()["proposals"]
        accepted = await web.post(f"/v1/proposals/{proposal['id']}/accept")
        shapes.Receipt.model_validate(accepted.json())
        assert accepted.json()["results"][0]["reason"] == "proposal_accepted"
        problem(await web.post(f"/v1/proposals/{proposal['id']}/decline"), 409, "proposal_closed")
        plan = (await web.get("/v1/meetings/plan")).json()
        assert (plan["sequence"], plan["start"]) == (1, "2026-12-01T15:00:00+01:00")
        assert [one["partstat"] for one in plan["attendees"]] == ["ACCEPTED", "NEEDS-ACTION"]
        outbox = (await web.get("/v1/outbox")).json()["outbox"]
        assert sorted((one["method"], *one["to"]) for one in outbox) == [("REQUEST", BOB), ("REQUEST", CAROL)]
        reasons = [one["reason"] for one in (await web.get("/v1/meetings/plan/history")).json()["history"]]
        assert reasons == ["proposal_accepted", "proposal", "replied"]
        raw = await web.get(f"/v1/mail/{replied.json()['id']}/raw")
        assert b"PARTSTAT=DECLINED" in raw.content
        problem(await web.get(f"/v1/mail/{accepted.json()['id']}/raw"), 404, "unknown_mail")
    await inbox.stop()


# -- the door as a whole


@pytest.mark.parametrize(
    "query", ["meetings?limit=0", "meetings?limit=501", "meetings?limit=x", "mail?limit=-1", "outbox?limit=1e9"]
)
async def test_bad_limits(lite: World, query: str) -> None:
    """A limit that is none is a problem that names the parameter."""
    body = problem(await lite.web.get(f"/v1/{query}"), 400, "bad_parameter")
    assert body["errors"][0]["parameter"] == "limit"


async def test_bad_cursors(here: World) -> None:
    """A cursor that we never gave is a problem, never our failure."""
    await here.put(calendar("plan"))
    for name in ("meetings", "mail", "outbox", "meetings/plan/history"):
        for cursor in ("x", "%00", "-1", "9" * 30, "AAAA", "%F0%9F%98%80", "%D9%A1", "null"):
            problem(await here.web.get(f"/v1/{name}?cursor={cursor}"), 400, "bad_cursor")


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1", "/v1/mail/x/raw", "/nothing", "/static/../app.py", "/docs"])
async def test_unknown_paths(lite: World, path: str) -> None:
    """What is not there is a problem too."""
    problem(await lite.web.get(path), 404, "not_found")


async def test_wrong_methods(lite: World) -> None:
    """A method that is not offered is a 405 that says which are."""
    answer = await lite.web.request("PATCH", "/v1/meetings")
    problem(answer, 405, "method_not_allowed")
    assert "GET" in answer.headers["Allow"]


async def test_health(here: World) -> None:
    """Alive is who answers; ready is who can write the database."""
    assert (await here.web.get("/livez")).json() == {"status": "ok"}
    assert (await here.web.get("/readyz")).json() == {"status": "ok", "database": "ok"}


async def test_not_ready_without_the_database(lite: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that fails, or does not answer, makes the door alive but not ready."""

    async def fails() -> None:
        raise OSError("password of the database")

    async def hangs() -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr("itipd.web.ready.PATIENCE", 0.05)
    monkeypatch.setattr("itipd.web.ready.KEPT", 0.0)
    for broken in (fails, hangs):
        monkeypatch.setattr(lite.store, "probe", broken)
        answer = await lite.web.get("/readyz")
        problem(answer, 503, "unavailable")
        assert "password" not in answer.text
        assert (await lite.web.get("/livez")).status_code == 200


async def test_description(lite: World) -> None:
    """OpenAPI 3.1 describes every route under /v1 and promises problems for errors."""
    found = (await lite.web.get("/openapi.json")).json()
    assert found["openapi"].startswith("3.1")
    assert set(found["paths"]) == {
        "/v1/meetings", "/v1/meetings/{uid}", "/v1/meetings/{uid}/attendees", "/v1/meetings/{uid}/history", "/v1/mail",
        "/v1/mail/{number}/raw", "/v1/outbox", "/v1/proposals", "/v1/proposals/{number}/accept",
        "/v1/proposals/{number}/decline",
    }  # fmt: skip
    for path in found["paths"].values():
        for operation in path.values():
            assert "application/problem+json" in operation["responses"]["default"]["content"]
            assert "422" not in operation["responses"]


async def test_reading_changes_nothing(lite: World) -> None:
    """After every GET there is, the database is as it was."""
    await lite.put(calendar("plan"))
    number = await lite.propose("plan", Proposal(0, BOB, "", Proposed(location="Room 9")))
    mail = await lite.answer("plan", BOB, "ACCEPTED")
    before = await lite.store.version()
    for path in (
        "/v1/meetings", "/v1/meetings/plan", "/v1/meetings/plan/attendees", "/v1/meetings/plan/history", "/v1/mail",
        f"/v1/mail/{mail}/raw", "/v1/outbox", "/v1/proposals", "/readyz", "/", "/meetings/plan", f"/mail/{mail}/raw",
        "/fragments/meetings", "/fragments/meeting?uid=plan",
    ):  # fmt: skip
        assert (await lite.web.get(path)).status_code == 200, path
    for verb in ("accept", "decline"):
        assert (await lite.web.get(f"/proposals/{number}/{verb}")).status_code == 405
    assert await lite.store.version() == before
    assert (lite.inbox.orders, lite.inbox.mails) == ([], [])


# -- the server


async def test_serve_at_any_port(lite: World) -> None:
    """Port 0 is any free one: the real one is told, and it answers over a socket."""
    door = await serve_http(lite.web._transport.app, "127.0.0.1", 0)  # type: ignore[attr-defined]
    try:
        host, port = door.address
        assert port > 0
        async with httpx2.AsyncClient() as web:
            assert (await web.get(f"http://{host}:{port}/livez")).json() == {"status": "ok"}
            assert (await web.get(f"http://{host}:{port}/livez", headers={"Host": "evil.test"})).status_code == 421
    finally:
        await door.drain(1)
    await door.drain(1)


async def test_serve_leaves_signals_alone() -> None:
    """The server installs no signal handlers: SIGTERM belongs to the daemon (uvicorn would raise it again)."""
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    door = await serve_http(Starlette(), "127.0.0.1", 0)
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before
    await door.drain(1)


async def test_serve_at_a_taken_port() -> None:
    """A port that is taken is an OSError for the caller, not an exit of the process."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            await serve_http(Starlette(), "127.0.0.1", taken.getsockname()[1])


async def test_drain_lets_requests_end() -> None:
    """Draining takes no new connection, but a request that is running is answered."""
    running = asyncio.Event()

    async def slow(request: Request) -> PlainTextResponse:
        running.set()
        await asyncio.sleep(0.2)
        return PlainTextResponse("done")

    door = await serve_http(Starlette(routes=[Route("/", slow)]), "127.0.0.1", 0)
    host, port = door.address
    async with httpx2.AsyncClient() as web:
        asked = asyncio.create_task(web.get(f"http://{host}:{port}/"))
        await running.wait()
        await door.drain(5)
        assert (await asked).text == "done"
        with pytest.raises(httpx2.ConnectError):
            await web.get(f"http://{host}:{port}/")


async def test_the_door_needs_no_inbox_to_read(sqlite_url: str) -> None:
    """Without a running inbox everything can be read (a page beside a daemon that is down)."""
    store = await Store.open(sqlite_url)
    app = create_app(store, cast(Inbox, NotingInbox(failure=RuntimeError("down"))), Config())
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://127.0.0.1") as web:
        assert (await web.get("/v1/meetings")).status_code == 200
    await store.close()
