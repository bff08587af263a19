"""Where in a meeting a message points: which instance, and how an attendee stands there (RFC 5545 §3.8.4.4).

Pure; works on the part of a meeting that was loaded as well as on the whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time
from functools import lru_cache

from itipd.itip import recurrence, timezones
from itipd.itip.contentlines import Component
from itipd.itip.model import Attendee, Event, Meeting, Moment, Revision
from itipd.itip.quick import replace
from itipd.itip.rrule import EFFORT

CANCELLED = "CANCELLED"
EARLIEST = datetime.min.replace(tzinfo=UTC)

Rows = Mapping[str, Attendee]
"""One attendee's rows of one meeting by rid, the series under ""."""


@lru_cache(maxsize=256)
def zones(text: str) -> Mapping[str, Component]:
    """The meeting's own VTIMEZONEs, parsed. They are the organizer's text, never an attendee's."""
    return timezones.zones_from_text(text) if text else {}


_answers: dict[tuple[object, ...], tuple[str | None]] = {}
REMEMBERED = 256  # answers: a message asks twice, and the guests of a meeting answer about the same instances


def _found(master: Event, own: str, rid: Moment) -> str | None:
    """`recurrence.find`, remembered by all that it looks at.

    What was found in so many steps is no answer where fewer are allowed.
    """
    asked = (rid, master.start, master.rrules, master.tzid, own, master.rdates, master.exdates, EFFORT.get())
    known = _answers.get(asked)  # in one step: each store has a thread, and all of them clear it
    if known is not None:
        return known[0]
    found = recurrence.find(master, zones(own), rid)
    if len(_answers) >= REMEMBERED:
        _answers.clear()
    _answers[asked] = (found,)
    return found


def locate(meeting: Meeting, rid: Moment | None) -> str | None:
    """The canonical rid of R in this meeting: "" for the series, None where there is no such instance."""
    if rid is None:
        return "" if "" in meeting.events else None
    if rid.rid in meeting.events:
        return rid.rid
    master = meeting.events.get("")
    if master is None:
        return _override_on(meeting, rid)
    found = _found(master, meeting.zones, rid)
    if found is not None and not master.rrules and not master.rdates:
        return ""  # some clients name the only instance of a single event
    return found


def _override_on(meeting: Meeting, rid: Moment) -> str | None:
    """An override without its series, on the wall clock of its own zone; a DATE or T000000: the only one that day."""
    clocks = {key: _clock(event, zones(meeting.zones)) for key, event in meeting.events.items()}
    exact = [key for key, clock in clocks.items() if clock == rid.local and rid.utc is None and not rid.is_date]
    if not exact and (rid.is_date or rid.local.time() == time()):
        exact = [key for key, clock in clocks.items() if clock is not None and clock.date() == rid.local.date()]
    return exact[0] if len(exact) == 1 else None


def _clock(event: Event, own: Mapping[str, Component]) -> datetime | None:
    """The RECURRENCE-ID of an override as the wall clock of the zone that its DTSTART is in."""
    moment = timezones.parse_value(event.rid)
    if isinstance(moment, str) or moment.utc is None:
        return None if isinstance(moment, str) else moment.local
    zone = timezones.resolve(event.tzid, own) if event.tzid is not None else None
    return moment.utc.astimezone(zone or UTC).replace(tzinfo=None)


def rows_of(meeting: Meeting, address: str) -> Rows:
    """One attendee's rows; a scan, so for the loaded part of a meeting only."""
    return {rid: row for (rid, who), row in meeting.attendees.items() if who == address}


def rows_by_address(meeting: Meeting) -> dict[str, dict[str, Attendee]]:
    """All rows, one dictionary an attendee, in the order of their position."""
    found: dict[str, dict[str, Attendee]] = {}
    for row in sorted(meeting.attendees.values(), key=lambda row: (row.rid, *place(row))):
        found.setdefault(row.address, {})[row.rid] = row
    return found


def place(row: Attendee) -> tuple[int, str]:
    """What guests are sorted by: as the organizer lists them, then those whom no file lists."""
    return row.position, row.address


def answer_at(rows: Rows, rid: str) -> Attendee | None:
    """The row whose answer holds for R: R's own, or that of a THISANDFUTURE before it.

    The later revision wins, of equal ones the nearer to R, so the order of arrival does not matter; an answer from
    before R's last reset is none.
    """
    if not rid:
        return rows.get("")
    reset, _ = reset_of(rows, rid)
    found = [row for row in _covering(rows, rid) if row.partstat is not None and _revision(row).sequence >= reset]
    return max(found, key=lambda row: (_revision(row), row.rid)) if found else None


def _covering(rows: Rows, rid: str) -> list[Attendee]:
    """R's own row, once answered, and those from which on THISANDFUTURE holds."""
    own = rows.get(rid)
    before = [row for key, row in rows.items() if row.future and "" < key < rid]
    return [own, *before] if own is not None and own.revision is not None else before


def _revision(row: Attendee) -> Revision:
    """Of the last answer; of a row that was set back and not answered since, the earliest that could answer it."""
    return row.revision or Revision(row.reset_sequence, EARLIEST)


def reset_of(rows: Rows, rid: str) -> tuple[int, datetime | None]:
    """The reset sequence of this attendee on R, and when that was."""
    own = rows.get(rid)
    row = own or rows.get("")
    found = [row] if row is not None else []
    if own is None or not own.listed:  # an override's row stands for itself
        found += [row for key, row in rows.items() if row.future and "" < key < rid]
    last = found[0] if len(found) == 1 else max(found, key=lambda row: row.reset_sequence, default=None)
    return (last.reset_sequence, last.reset_at) if last is not None else (0, None)


def standing(rows: Rows, rid: str, override: Event | None) -> Attendee | None:
    """The attendee as they stand at R, `removed` included; None: never a guest there."""
    base, exact = rows.get(""), rows.get(rid)
    if not rid:
        return base
    guest, answer = exact or base, shown_at(rows, rid, override)
    if guest is None or answer is None:
        return None
    return replace(
        answer,
        rid=rid,
        params=exact.params if exact is not None and exact.listed else (base or guest).params,
        removed=guest.removed,
        listed=guest.listed,
        position=guest.position,
        delegated_from=guest.delegated_from or (base.delegated_from if base is not None else ()),
    )


def shown_at(rows: Rows, rid: str, override: Event | None) -> Attendee | None:
    """The row whose answer is the attendee's at R; None: never a guest there.

    An override that kept its time shows the series' answer (its row has no PARTSTAT of its own); one that moved shows
    NEEDS-ACTION until answered.
    """
    base, exact = rows.get(""), rows.get(rid)
    guest = exact or base
    if guest is None or not rid:
        return base
    if exact is None and override is not None and override.status != CANCELLED and guest.listed:
        return None  # the override has a guest list of its own
    answer = answer_at(rows, rid)
    if answer is not None:
        return answer
    # Who stands in for somebody there follows the series like everybody else, once they are a guest of it, too.
    follows = exact is None or exact.partstat is None or (override is None and not exact.listed)
    return base if follows and base is not None and not base.removed else guest


def guest_at(meeting: Meeting, address: str, rid: str) -> Attendee | None:
    """The guest of this address as they stand at R; None where they are none, or none any more."""
    row = standing(rows_of(meeting, address), rid, meeting.events.get(rid) if rid else None)
    return row if row is not None and not row.removed else None


def asked_anew(guests: Sequence[Attendee]) -> list[Attendee]:
    """All guests of R, as they are shown: who delegated is asked again, once none of their delegates comes.

    RFC 5546 §4.2.7: the REQUEST then says RSVP=TRUE to the delegator, who may come after all or find somebody else.
    """
    gone = {row.address for row in guests if row.partstat == "DECLINED"}
    left = {row.address for row in guests if row.partstat == "DELEGATED" and gone.issuperset(row.delegated_to or ("",))}
    return [replace(row, rsvp=True) if row.address in left else row for row in guests]


def guests_at(meeting: Meeting, rid: str, people: Mapping[str, Rows] | None = None) -> list[Attendee]:
    """Everybody who is a guest at R, as they stand there. `people`: `rows_by_address`, where it is known already."""
    override = meeting.events.get(rid) if rid else None
    found = (standing(rows, rid, override) for rows in (people or rows_by_address(meeting)).values())
    return [row for row in found if row is not None and not row.removed]
