"""What the templates show, from the API's own objects and the stored meeting. Pure.

Gives plain values and functions of them; nothing here is HTML, and nothing is marked safe.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from itipd.itip.attendance import status
from itipd.itip.model import Meeting
from itipd.web import words

PEOPLE = 200  # on a page of a meeting
INSTANCES = 50


def meeting_url(uid: str, organizer: str) -> str:
    """A meeting's page. `.` and `..` are asked for: a browser would resolve them even percent-encoded."""
    path, query = f"/meetings/{quote(uid, safe='')}", {"organizer": organizer}
    if uid in (".", ".."):
        path, query = "/meetings/", query | {"uid": uid}
    return f"{path}?{urlencode(query)}"


def at_a_glance(totals: Mapping[str, int]) -> list[dict[str, Any]]:
    """The counts at the head of the list: what there is, then what waits for somebody."""
    shown = [("meetings", "meeting", "meetings", ""), ("proposals", "open proposal", "open proposals", "hot")]
    shown += [("held", "mail held", "mails held", "hot"), ("waiting", "mail to send", "mails to send", "")]
    shown += [("failed", "mail failed", "mails failed", "bad")]
    found = []
    for name, one, many, tone in shown:
        number = totals.get(name, 0)
        if number or name == "meetings":
            found.append({"number": number, "word": one if number == 1 else many, "tone": tone})
    return found


def of_list(
    lines: list[dict[str, Any]],
    proposals: list[dict[str, Any]],
    after: str,
    next_: str | None,
    totals: Mapping[str, int],
    search: str,
) -> dict[str, Any]:
    """What the list shows, with the open proposals of each meeting."""
    waiting = Counter((one["organizer"], one["uid"]) for one in proposals)

    def url(cursor: str | None) -> str:
        query = {name: value for name, value in (("q", search), ("cursor", cursor)) if value}
        return "/?" + urlencode(query) if query else "/"

    return {
        "lines": [line | {"proposals": waiting[line["organizer"], line["uid"]]} for line in lines],
        "totals": at_a_glance(totals),
        "search": search,
        "first_url": url(None) if after else None,
        "next_url": url(next_) if next_ else None,
        "meeting_url": meeting_url,
    }


def of_meeting(
    meeting: Meeting, history: list[dict[str, Any]], outbox: list[dict[str, Any]], partstat: str, skip: int
) -> dict[str, Any]:
    """What a meeting's page shows: the people with `partstat` (or all), from the one at `skip` on."""
    found = status(meeting)
    people = [person for person in found["attendees"] if partstat in ("", person["partstat"])]
    master = meeting.events.get("")
    series = {person["address"]: person["partstat"] for person in found["attendees"]}
    own = meeting_url(meeting.uid, meeting.organizer)
    spans = {one["recurrence_id"]: words.span(one["start"], one["end"]) for one in found["instances"] if one["start"]}

    def url(**query: Any) -> str:
        given = {name: value for name, value in query.items() if value}
        return f"{own}&{urlencode(given)}" if given else own

    def differing(one: dict[str, Any]) -> dict[str, Any]:
        there = one["attendees"]
        differ = [person for person in there if series.get(person["address"]) != person["partstat"]]
        return one | {"counts": Counter(person["partstat"] for person in there), "differ": differ[:PEOPLE]}

    def current(rid: str | None) -> str:
        return spans.get(rid) or words.instance(rid) if rid else words.span(found["start"], found["end"])

    return {
        "m": found,
        "tzid": master.tzid if master else None,
        "location": master.location if master else None,
        "names": {person["address"]: person["name"] for person in found["attendees"]},
        "partstat": partstat,
        "matching": len(people),
        "people": people[skip : skip + PEOPLE],
        "more_url": url(partstat=partstat, skip=skip + PEOPLE) if len(people) > skip + PEOPLE else None,
        "filter_url": lambda word: url(partstat=word if word != partstat else ""),
        "instances": [differing(one) for one in found["instances"][:INSTANCES]],
        "moved": moved,
        "current": current,
        "history": history,
        "outbox": outbox,
    }


def moved(instance: dict[str, Any]) -> bool:
    """True if an instance starts at another time than its recurrence id says."""
    rid, start = instance["recurrence_id"], instance["start"]
    if not start or len(rid) == 8 or not rid.endswith("Z"):
        return bool(start) and rid != start.replace("-", "").replace(":", "")
    return datetime.fromisoformat(rid) != datetime.fromisoformat(start)
