"""The page shows what the store has, as text whatever it is, and keeps itself fresh."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from urllib.parse import quote

import httpx2
import pytest

from itipd.itip.model import Moment, Proposal, Proposed
from itipd.itip.outcomes import Reason
from itipd.web.assets import FILES
from tests.web_world import BOB, CAROL, World, calendar, world

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'`{{7*7}}</title></textarea>&lt;"
EVIL_UID = "x\"'><script>alert(3)</script>&#x27;/../?a=b#c%3Cscript%3E"
OWN_POST = {"Origin": "http://localhost:8080", "Sec-Fetch-Site": "same-origin"}
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


class Tags(HTMLParser):
    """Every tag of a page with its attributes, and all text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        """The attributes of every `tag` that has the wanted ones."""
        return [has for name, has in self.found if name == tag and wanted.items() <= has.items()]


@pytest.fixture
async def here(sqlite_url: str) -> AsyncIterator[World]:
    """A world on SQLite."""
    async with world(sqlite_url) as made:
        yield made


async def page(here: World, url: str) -> Tags:
    """The page at `url`, which must be a good one."""
    answer = await here.web.get(url)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    return Tags(answer.text)


def harmless(tags: Tags) -> None:
    """Nothing but our own script runs, no handler and no style stands in the page, no address leaves it."""
    own = re.compile(r"/static/page\.js\?v=[0-9a-f]+")
    for name, has in tags.found:
        assert name not in {"iframe", "object", "embed", "base", "style", "template", "math"}
        assert name != "script" or own.fullmatch(has["src"])
        for attribute, value in has.items():
            assert not attribute.startswith("on")
            assert attribute != "style"
            if attribute in {"href", "src", "action", "formaction", "data-source"}:
                assert value.startswith(("/", "#")), value
                assert not value.startswith("//")


async def test_the_list(here: World) -> None:
    """Each meeting stands in the list with its title, time, organizer and answers, for eyes and for ears."""
    await here.put(calendar("plan", "Roadmap"))
    await here.answer("plan", BOB, "ACCEPTED")
    tags = await page(here, "/")
    for text in ("Roadmap", "10:00–11:00 UTC+1", "meetings@example.com", "DEC 2026"):
        assert text in tags.text
    assert tags.all("svg", role="img")[0]["aria-label"] == "1 accepted, 1 no answer of 2"
    assert [has["width"] for has in tags.all("rect")] == ["50.0%", "50.0%"]


async def test_an_empty_list_says_what_to_do(here: World) -> None:
    """Without meetings the page says how to get one."""
    assert "itipd meeting put FILE.ics" in (await page(here, "/")).text


async def test_totals_at_a_glance(here: World) -> None:
    """The head of the list counts meetings and what waits for somebody."""
    await here.put(calendar("plan"))
    await here.propose("plan", Proposal(0, BOB, "", Proposed(location="Room 9")))
    await here.send("plan", [BOB, CAROL])
    text = " ".join((await page(here, "/")).text.split())
    for told in ("1 meeting ", "1 open proposal ", "2 mails to send", "1 proposal "):
        assert told in text


@pytest.mark.parametrize("uid", ["plain", "a/b", "a%2Fb", "..", ".", "q?x=1#y", "ü €", EVIL_UID])
async def test_the_list_leads_to_the_meeting(here: World, uid: str) -> None:
    """The link of a meeting leads to its page, whatever its UID; also after a browser has normalised it."""
    await here.put(calendar(uid.replace(",", "\\,"), "Roadmap"))
    (link,) = [has["href"] for has in (await page(here, "/")).all("a") if has["href"].startswith("/meetings/")]
    assert not re.search(r"/\.{1,2}(/|$|\?)|/(%2e){1,2}(/|$|\?)", link, re.IGNORECASE)
    tags = await page(here, link)
    assert uid in tags.text
    (live,) = tags.all("div", id="live")
    assert uid in (await page(here, live["data-source"])).text


async def test_search(here: World) -> None:
    """The search works by its form alone, keeps what was asked for, and says when there is nothing."""
    await here.put(calendar("one", "Roadmap"))
    await here.put(calendar("two", "Budget"))
    tags = await page(here, "/?q=road")
    assert "Roadmap" in tags.text
    assert "Budget" not in tags.text
    assert tags.all("input", id="q")[0]["value"] == "road"
    assert tags.all("label", **{"for": "q"})
    assert "No meeting matches" in (await page(here, "/?q=nothing")).text


async def test_pages_of_the_list(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long list goes on behind a link, and each page leads back to the first."""
    monkeypatch.setattr("itipd.web.pages.MEETINGS", 2)
    for number in range(3):
        await here.put(calendar(f"m{number}", f"Meeting {number}"))
    first = await page(here, "/?q=Meeting")
    (more,) = first.all("a", rel="next")
    second = await page(here, more["href"])
    assert [f"Meeting {number}" in second.text for number in range(3)] == [True, False, False]
    assert second.all("a", href="/?q=Meeting")


async def test_a_meeting(here: World) -> None:
    """A meeting's page shows who answered what, with comments and delegation, and what has happened."""
    await here.put(calendar("plan", "Roadmap", "LOCATION:Room 4", "RRULE:FREQ=WEEKLY;COUNT=3"))
    mail = await here.answer("plan", BOB, "DELEGATED", delegated_to=(CAROL,))
    await here.answer("plan", CAROL, "TENTATIVE", comment="perhaps late", delegated_from=(BOB,), schedule_status="3.7")
    await here.send("plan", [BOB])
    tags = await page(here, "/meetings/plan")
    text = " ".join(tags.text.split())
    for told in (
        "Tue 1 December 2026, 10:00–11:00 UTC+1", "Europe/Berlin", "Room 4", "Every week, 3 times", "perhaps late",
        "delegated to Carol", "in place of Bob", "unknown mailbox (3.7)", "REQUEST to bob@example.com", "replied Bob",
    ):  # fmt: skip
        assert told in text, told
    assert tags.all("a", href=f"/mail/{mail}/raw")
    assert (await here.web.get(f"/mail/{mail}/raw")).content == b"mail of bob@example.com: DELEGATED"


async def test_attendees_with_one_answer(here: World) -> None:
    """The legend is a filter: only those with that answer are listed, and a way back."""
    await here.put(calendar("plan"))
    await here.answer("plan", BOB, "ACCEPTED")
    (link,) = [
        has["href"] for has in (await page(here, "/meetings/plan")).all("a") if "partstat=ACCEPTED" in has["href"]
    ]
    tags = await page(here, link)
    assert tags.all("a", **{"aria-current": "true"})
    assert "bob@example.com" in tags.text
    assert "carol@example.com" not in tags.text.partition("About")[0]
    assert "Show all 2" in tags.text


async def test_many_attendees_come_in_pages(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page shows some of a large meeting's attendees and leads to the next."""
    monkeypatch.setattr("itipd.web.views.PEOPLE", 5)
    more = [f"ATTENDEE;CN=Guest {number}.:mailto:g{number}@example.com" for number in range(7)]
    await here.put(calendar("plan", "Plan", *more))
    seen, url = [], "/meetings/plan"
    while url:
        tags = await page(here, url)
        seen += re.findall(r"Guest \d+\.", tags.text)
        url = next((has["href"] for has in tags.all("a", **{"class": "next"})), "")
    assert seen == [f"Guest {number}." for number in range(7)]


async def test_instances(here: World) -> None:
    """Instances that differ show how, and only the answers that are not those of the series."""
    await here.put(calendar("plan", "Plan", "RRULE:FREQ=WEEKLY;COUNT=5"))
    moved = (
        b"END:VEVENT\r\nBEGIN:VEVENT\r\nUID:plan\r\nRECURRENCE-ID:20261208T090000Z\r\nDTSTAMP:20261101T080000Z\r\n"
        b"DTSTART;TZID=Europe/Berlin:20261208T140000\r\nDURATION:PT1H\r\nSUMMARY:Plan\r\n"
        b"ORGANIZER:mailto:meetings@example.com\r\nATTENDEE:mailto:bob@example.com\r\nEND:VEVENT\r\nEND:VCALENDAR"
    )
    data = calendar("moved", "Plan", "RRULE:FREQ=WEEKLY;COUNT=5").replace(b"END:VEVENT\r\nEND:VCALENDAR", moved)
    await here.put(data.replace(b"UID:plan", b"UID:moved"))
    text = " ".join((await page(here, "/meetings/moved")).text.split())
    assert "Instances that differ 1" in text
    assert "Tue 8 December 2026, 14:00–15:00 UTC+1 moved" in text
    assert "Instances that differ" not in (await page(here, "/meetings/plan")).text


# -- what calendars smuggle in


async def test_nothing_from_a_calendar_becomes_markup(here: World) -> None:
    """Title, UID, names, place, comments, addresses, search words: all stay text, in the page and in its addresses."""
    escaped = EVIL.replace("\\", "").replace(";", "\\;")
    await here.put(
        calendar(
            EVIL_UID,
            escaped,
            f"LOCATION:{escaped}",
            f'ATTENDEE;CN="{EVIL.replace(chr(34), "")}":mailto:evil@example.com',
        )
    )
    for who in (BOB, "evil@example.com"):
        await here.answer(
            EVIL_UID, who, "DELEGATED", comment=EVIL, delegated_to=(EVIL,), sent_by=EVIL, schedule_status=EVIL[:20],
        )  # fmt: skip
    proposed = Proposed(start=Moment.decode("U20261201T15000020261201T140000"), location=EVIL)
    await here.propose(EVIL_UID, Proposal(0, BOB, "", proposed, comment=EVIL))
    await here.send(EVIL_UID, ["evil@example.com"])
    for url in (
        "/", f"/?q={quote(EVIL[:100])}", f"/?q={quote('</script>')}", f"/meetings/{quote(EVIL_UID, safe='')}",
        "/fragments/meetings", f"/fragments/meeting?uid={quote(EVIL_UID, safe='')}",
        f"/meetings/{quote(EVIL_UID, safe='')}?partstat={quote(EVIL)}&notice={quote(EVIL)}",
    ):  # fmt: skip
        tags = await page(here, url)
        harmless(tags)
    text = (await page(here, f"/meetings/{quote(EVIL_UID, safe='')}")).text
    assert text.count(EVIL.replace('"', "")) >= 1  # the name
    assert text.count(EVIL) >= 5  # the others, whole


async def test_errors_repeat_nothing(here: World) -> None:
    """An error page says what is wrong in our own words; nothing of the address comes back as markup."""
    for url in (f"/meetings/{quote(EVIL, safe='')}", f"/{quote(EVIL, safe='')}", f"/meetings/plan?skip={quote(EVIL)}"):
        answer = await here.web.get(url, headers=BROWSER)
        assert answer.status_code in (400, 404)
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        harmless(Tags(answer.text))
        assert "alert" not in answer.text


async def test_programs_get_problems_from_the_page_too(here: World) -> None:
    """Who did not ask for HTML gets problem+json."""
    answer = await here.web.get("/meetings/nothing")
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")


# -- fresh without a reload


@pytest.mark.parametrize("url", ["/", "/meetings/plan"])
async def test_fragments_keep_the_page_fresh(here: World, url: str) -> None:
    """The page names its fragment and tag: unchanged is a 304 without a body, a new answer is the new content."""
    await here.put(calendar("plan"))
    (live,) = (await page(here, url)).all("div", id="live")
    headers = {"If-None-Match": live["data-etag"]}
    same = await here.web.get(live["data-source"], headers=headers)
    assert (same.status_code, same.content) == (304, b"")
    await here.answer("plan", BOB, "ACCEPTED")
    changed = await here.web.get(live["data-source"], headers=headers)
    assert changed.status_code == 200
    assert "1 accepted, 1 no answer of 2" in unescape(changed.text)
    assert "<html" not in changed.text
    assert (
        await here.web.get(live["data-source"], headers={"If-None-Match": changed.headers["ETag"]})
    ).status_code == 304


async def test_the_page_holds_its_fragment(here: World) -> None:
    """What the page shows at first is what its fragment gives later."""
    await here.put(calendar("plan"))
    for url in ("/", "/meetings/plan"):
        whole = (await here.web.get(url)).text
        source = Tags(whole).all("div", id="live")[0]["data-source"]
        assert (await here.web.get(source)).text.strip() in whole


@pytest.mark.parametrize("url", ["/", "/meetings/plan"])
async def test_without_scripts_the_page_reloads(here: World, url: str) -> None:
    """Where scripts are off the browser reloads the page by itself."""
    await here.put(calendar("plan"))
    assert '<noscript><meta http-equiv="refresh"' in (await here.web.get(url)).text


async def test_files_of_the_page(here: World) -> None:
    """Style, script and icon come from here, under addresses that change with them, so they may be kept."""
    tags = await page(here, "/")
    used = {
        has[name] for tag, has in tags.found for name in ("href", "src") if has.get(name, "").startswith("/static/")
    }
    assert {url.partition("?")[0] for url in used} == {f"/static/{name}" for name in FILES}
    for url in used:
        answer = await here.web.get(url)
        assert "immutable" in answer.headers["Cache-Control"]
        assert "://" not in answer.text.replace("http://www.w3.org/2000/svg", "")
    assert (await here.web.get("/static/pages.py")).status_code == 404


# -- proposals


@pytest.mark.parametrize(("button", "reason"), [("yes", Reason.PROPOSAL_ACCEPTED), ("no", Reason.PROPOSAL_DECLINED)])
async def test_answering_a_proposal(here: World, button: str, reason: Reason) -> None:
    """The buttons give the organizer's order to the inbox and lead back to the meeting, which says what was done."""
    await here.put(calendar("plan", "Plan", "LOCATION:Room 4"))
    proposed = Proposed(start=Moment.decode("U20261201T15000020261201T140000"), location="Room 9")
    await here.propose("plan", Proposal(0, BOB, "", proposed, comment="the afternoon?"))
    tags = await page(here, "/meetings/plan")
    text = " ".join(tags.text.split())
    assert "Bob proposes another time" in text
    assert "Tue 1 December 2026, 10:00–11:00 UTC+1 Tue 1 December 2026, 15:00 UTC+1" in text
    assert "Room 4 Room 9" in text
    (form,) = tags.all("form", method="post")
    (pressed,) = tags.all("button", **{"class": button})
    here.inbox.decision = replace(here.inbox.decision, reason=reason)
    answer = await here.web.post(pressed.get("formaction") or form["action"], headers=OWN_POST)
    assert answer.status_code == 303
    assert len(here.inbox.orders) == 1
    assert reason.sentence in (await page(here, answer.headers["Location"])).text


async def test_foreign_forms_press_no_button(here: World) -> None:
    """A form on another site reaches the inbox neither with Origin nor without."""
    await here.put(calendar("plan"))
    number = await here.propose("plan", Proposal(0, BOB, "", Proposed(location="Room 9")))
    for headers in ({"Origin": "http://evil.test"}, {}):
        assert (await here.web.post(f"/proposals/{number}/accept", headers=headers)).status_code == 403
    assert here.inbox.orders == []


async def test_the_page_says_only_what_is_on_its_list(here: World) -> None:
    """The notice at the head is one of our sentences, chosen by a word: a link cannot put another text there."""
    await here.put(calendar("plan"))
    text = (await page(here, "/meetings/plan?notice=Your+account+is+locked")).text
    assert "locked" not in text


# -- for everybody


@pytest.mark.parametrize("url", ["/", "/meetings/plan"])
async def test_accessible(here: World, url: str) -> None:
    """One h1, a language, a title, landmarks, a way to the content, a name for every picture and control."""
    await here.put(calendar("plan", "Roadmap"))
    tags = await page(here, url)
    assert tags.all("html", lang="en")
    assert len(tags.all("h1")) == 1
    assert [len(tags.all(tag)) for tag in ("header", "main", "footer")] == [1, 1, 1]
    assert "itipd" in tags.text.strip().splitlines()[0]  # the title
    assert tags.all("a", href="#main")
    assert all("alt" in has for has in tags.all("img"))
    assert all("aria-label" in has for has in tags.all("svg"))
    ids = [has["id"] for _, has in tags.found if "id" in has]
    assert len(ids) == len(set(ids))
    for _, has in tags.found:
        if "aria-labelledby" in has:
            assert has["aria-labelledby"] in ids


async def test_with_a_token(sqlite_url: str) -> None:
    """With a token the page asks for it by Basic and shows nothing before."""
    async with world(sqlite_url, http={"token": "s3cret"}) as here:
        await here.put(calendar("plan", "Roadmap"))
        refused = await here.web.get("/")
        assert (refused.status_code, refused.headers["WWW-Authenticate"][:5]) == (401, "Basic")
        assert "Roadmap" not in refused.text
        shown = await here.web.get("/", auth=httpx2.BasicAuth("anybody", "s3cret"))
        assert "Roadmap" in shown.text
        api = await here.web.get("/v1/meetings", headers={"Authorization": "Bearer s3cret"})
        assert len(api.json()["meetings"]) == 1
