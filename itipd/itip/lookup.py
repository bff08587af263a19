"""Where in a meeting a message points: which instance, and how an attendee stands there (RFC 5545 §3.8.4.4).

Pure; works on the part of a meeting that was loaded as well as on the whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from itipd.itip import recurrence
from itipd.itip.contentlines import Component
from itipd.itip.model import Attendee, Event, Meeting, Moment
from itipd.itip.timezones import zones_from_text

CANCELLED = "CANCELLED"

Rows = Mapping[str, Attendee]
"""One attendee's rows of one meeting by rid, the series under ""."""


@lru_cache(maxsize=256)
def zones(text: str) -> Mapping[str, Component]:
    """The meeting's own VTIMEZONEs, parsed. They are the organizer's text, never an attendee's."""
    return zones_from_text(text) if text else {}


def locate(meeting: Meeting, rid: Moment | None) -> str | None:
    """The canonical rid of R in this meeting: "" for the series, None where there is no such instance."""
    if rid is None:
        return "" if "" in meeting.events else None
    if rid.rid in meeting.events:
        return rid.rid
    master = meeting.events.get("")
    if master is None:
        return _override_on(meeting, rid)
    found = recurrence.find(master, zones(meeting.zones), rid)
    if found is not None and not master.rrules and not master.rdates:
        return ""  # some clients name the only instance of a single event
    return found


def _override_on(meeting: Meeting, rid: Moment) -> str | None:
    """An override without its series: a DATE or local midnight finds the only one on that day."""
    if rid.utc is not None and rid.local.time().isoformat() != "00:00:00":
        return None
    found = [key for key in meeting.events if key[:8] == rid.local.strftime("%Y%m%d")]
    return found[0] if len(found) == 1 else None


def rows_of(meeting: Meeting, address: str) -> Rows:
    """One attendee's rows; a scan, so for the loaded part of a meeting only."""
    return {rid: row for (rid, who), row in meeting.attendees.items() if who == address}


def rows_by_address(meeting: Meeting) -> dict[str, dict[str, Attendee]]:
    """All rows, one dictionary an attendee, in the order of their position."""
    found: dict[str, dict[str, Attendee]] = {}
    for row in sorted(meeting.attendees.values(), key=lambda row: (row.rid != "", row.rid, row.position)):
        found.setdefault(row.address, {})[row.rid] = row
    return found


def answer_at(rows: Rows, rid: str) -> Attendee | None:
    """The row that holds this attendee's answer to R itself: its own, or that of a THISANDFUTURE before it.

    The later revision wins, so the order of arrival does not matter; an answer from before R's last reset is none.
    """
    if not rid:
        return rows.get("")
    reset = reset_at(rows, rid)
    best: Attendee | None = None
    for key, row in rows.items():
        covers = key == rid or (row.future and key != "" and key <= rid)
        if not covers or row.partstat is None or row.revision is None or row.revision.sequence < reset:
            continue
        if best is None or best.revision is None or row.revision > best.revision:
            best = row
    return best


def reset_at(rows: Rows, rid: str) -> int:
    """The reset sequence of this attendee on R."""
    row = rows.get(rid) or rows.get("")
    return row.reset_sequence if row is not None else 0


def standing(rows: Rows, rid: str, override: Event | None) -> Attendee | None:
    """The attendee as they stand at R, `removed` included; None: never a guest there.

    An override that kept its time shows the series' answer (its row has no PARTSTAT of its own); one that moved shows
    NEEDS-ACTION until answered.
    """
    base, exact = rows.get(""), rows.get(rid)
    if not rid:
        return base
    guest = exact if exact is not None else base
    if guest is None:
        return None
    if exact is None and override is not None and override.status != CANCELLED and guest.listed:
        return None  # the override has a guest list of its own
    answer = answer_at(rows, rid)
    if answer is None and exact is not None and exact.partstat is not None:
        answer = exact
    if answer is None:
        answer = base if base is not None else guest
    params = exact.params if exact is not None and exact.listed else (base or guest).params
    removed = exact.removed if exact is not None else guest.removed
    if exact is not None and not exact.listed and base is not None:
        removed = exact.removed or base.removed
    return replace(answer, rid=rid, params=params, removed=removed, listed=guest.listed, position=guest.position)
