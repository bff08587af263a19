"""The organizer's busy time (RFC 5546 §3.3): who may ask for it, which periods it has, the REPLY that says so.

A stranger's VFREEBUSY REQUEST is answered only where the policy publishes busy time, only to whom it comes from, and
only with times: never a title, a place or a guest. Pure, and bounded in span, periods and work.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from itipd.itip import lookup, recurrence, who
from itipd.itip.contentlines import escape, fold, format_line
from itipd.itip.model import CalAddress, Decision, Event, Evidence, Meeting, Message, Moment, Policy, Send
from itipd.itip.outcomes import Outcome, Reason
from itipd.itip.properties import value_of
from itipd.itip.read import Zones
from itipd.itip.recurrence import TooCostly
from itipd.itip.render import PRODID

LONGEST = timedelta(days=62)  # of the span that is answered; of a longer one the beginning is
MOST_PERIODS = 500  # in one answer; where there are more it ends before the next
MOST_MEETINGS = 1000  # that are looked at for one answer
MOST_INSTANCES = 10_000  # of all of them
CHUNK = 250  # instances of a series that are looked for at once
DAY, SECOND = timedelta(days=1), timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Period:
    """Busy from `start` to `end` (aware, UTC); `tentative`: only perhaps."""

    start: datetime
    end: datetime
    tentative: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """A request that may be answered, once `requester` is known well enough: busy time from `start` to `end`."""

    requester: str
    start: datetime
    end: datetime


def is_request(message: Message) -> bool:
    """A VFREEBUSY REQUEST: somebody asks for busy time."""
    return message.method == "REQUEST" and message.component == "VFREEBUSY"


def question(message: Message, organizer: str, sender: Evidence, policy: Policy) -> Question | Decision:
    """What is asked of this organizer and by whom; a Decision where nothing is answered, and why.

    Where the policy is "off" and where the request is not about us, it is told nothing more than any other REQUEST.
    """
    if sender.from_address == organizer:
        return _nothing(message, Reason.OWN_MAIL, f"From {sender.from_address} is the organizer")
    if policy.freebusy == "off":
        return _nothing(message, Reason.NOT_FOR_ORGANIZER, "policy freebusy = off")
    if organizer not in {who.alias_of(line.address, policy) for line in message.attendees}:
        return _nothing(message, Reason.NOT_FOR_ORGANIZER, f"{organizer} is none of the ATTENDEEs that it asks about")
    if message.organizer is None or message.asked is None:
        # RFC 5546 §3.3.2: ORGANIZER, DTSTART and DTEND exactly once
        return _nothing(message, Reason.MALFORMED, "no ORGANIZER, or no span from DTSTART to DTEND", Outcome.ERROR)
    asking = CalAddress(message.organizer)
    # Busy time goes out to whoever the calendar names: at least From must agree, whatever answers are believed.
    needed = policy if policy.sender != "any" else _from_only(policy)
    if not who.proven(asking, message.organizer, sender, needed):
        found = sender.from_address or "no single mailbox"
        return _nothing(message, Reason.SENDER_UNPROVEN, f"From {found}, ORGANIZER {message.organizer}")
    if sender.automatic:
        # RFC 3834 §2: two programs must not talk to each other for ever, and nothing remembers what we told a stranger
        return _nothing(message, Reason.NOT_FOR_ORGANIZER, "asked by a program (Auto-Submitted, list or null sender)")
    start, end = (_instant(moment) for moment in message.asked)
    if end <= start:
        return _nothing(message, Reason.MALFORMED, f"DTEND {end} is not after DTSTART {start}", Outcome.ERROR)
    return Question(message.organizer, start, min(end, start + LONGEST))


def _from_only(policy: Policy) -> Policy:
    return Policy(sender="from", aliases=policy.aliases, plus_tag=policy.plus_tag)


def unknown(message: Message) -> Decision:
    """Policy "known", and the requester never was an attendee of this organizer's."""
    return _nothing(message, Reason.NOT_FOR_ORGANIZER, "policy freebusy = known; the requester is nobody we know")


def too_costly(message: Message, detail: str) -> Decision:
    """Nothing is answered, because it would take too long."""
    return _nothing(message, Reason.TOO_COSTLY, detail, Outcome.ERROR)


def answered(message: Message, asked: Question, detail: str) -> Decision:
    """The REPLY goes to the requester alone."""
    send = Send("REPLY", (asked.requester,), "", 0, Reason.FREEBUSY.value)
    return Decision(
        Outcome.NO_ACTION,
        Reason.FREEBUSY,
        uid=message.uid,
        rid="",
        method=message.method,
        attendee=asked.requester,
        quirks=message.quirks,
        sends=(send,),
        detail=detail,
    )


def _nothing(message: Message, reason: Reason, detail: str, outcome: Outcome = Outcome.NO_ACTION) -> Decision:
    return Decision(
        outcome, reason, uid=message.uid, rid="", method=message.method, quirks=message.quirks, detail=detail
    )


# -- busy periods ------------------------------------------------------------------------------------------------


def busy(meetings: Iterable[Meeting], start: datetime, end: datetime) -> tuple[tuple[Period, ...], datetime]:
    """(the busy periods from `start` to `end`, in order, how far they reach); overlapping ones of a kind are one.

    `meetings` have all their events. The second value is before `end` where there were too many. Raises `TooCostly`.
    """
    found: list[Period] = []
    for meeting in meetings:
        for period in _periods(meeting, start, end):
            found.append(period)
            if len(found) > MOST_INSTANCES:
                raise TooCostly(f"more than {MOST_INSTANCES} instances of meetings in the span")
    merged = _merged(found)
    if len(merged) > MOST_PERIODS:
        return tuple(merged[:MOST_PERIODS]), merged[MOST_PERIODS].start
    return tuple(merged), end


def _periods(meeting: Meeting, start: datetime, end: datetime) -> Iterator[Period]:
    if meeting.status == lookup.CANCELLED or meeting.component != "VEVENT":
        return
    zones = lookup.zones(meeting.zones)
    for rid, event in meeting.events.items():
        length = _length(event)
        if not length or event.status == lookup.CANCELLED or not _opaque(event):
            continue
        tentative = event.status == "TENTATIVE"
        recurs = rid == "" and bool(event.rrules or event.rdates)
        for moment in _starts(event, zones, start - length, end) if recurs else (event.start,):
            if moment is None or (recurs and moment.rid in meeting.events):
                continue  # the override speaks for it
            begins = _instant(moment)
            if begins < end and begins + length > start:
                yield Period(max(begins, start), min(begins + length, end), tentative)


def _starts(event: Event, zones: Zones, after: datetime, before: datetime) -> Iterator[Moment]:
    """The instances that begin in between, looked for a few at a time, as far as they are wanted."""
    found: list[Moment] = []
    try:
        while len(found) in (0, CHUNK):
            found = recurrence.expand(event, zones, after, CHUNK, before)
            yield from found
            if not found:
                return
            after = _instant(found[-1]) + SECOND
    except TooCostly:  # one bad rule must not make all the rest unknown: of it only the first instance is known
        if not found and event.start is not None:
            yield event.start


def _opaque(event: Event) -> bool:
    """RFC 5545 §3.8.2.7: TRANSP:TRANSPARENT takes no time."""
    return (value_of(event.lines, "TRANSP") or "").strip().upper() != "TRANSPARENT"


def _length(event: Event) -> timedelta:
    """How long an instance takes; a DATE without an end takes its day (RFC 5545 §3.6.1)."""
    if event.start is None:
        return timedelta()
    if event.end is None:
        return DAY if event.start.is_date else timedelta()
    return _instant(event.end) - _instant(event.start)


def _instant(moment: Moment) -> datetime:
    """An instant; floating times and dates count as UTC."""
    return moment.order.replace(tzinfo=UTC)


def _merged(periods: Iterable[Period]) -> list[Period]:
    """In order, those that touch as one; what is only perhaps busy gives way where it surely is."""
    sure = _united(one for one in periods if not one.tentative)
    perhaps = _united(one for one in periods if one.tentative)
    return sorted([*sure, *_without(perhaps, sure)], key=lambda one: (one.start, one.end))


def _united(periods: Iterable[Period]) -> list[Period]:
    found: list[Period] = []
    for one in sorted(periods, key=lambda one: one.start):
        if found and one.start <= found[-1].end:
            found[-1] = Period(found[-1].start, max(found[-1].end, one.end), one.tentative)
        else:
            found.append(one)
    return found


def _without(periods: Iterable[Period], others: list[Period]) -> Iterator[Period]:
    """What of `periods` lies in none of `others`; both are in order and without overlaps."""
    first = 0
    for one in periods:
        begins = one.start
        while first < len(others) and others[first].end <= begins:
            first += 1
        index = first
        while index < len(others) and others[index].start < one.end:
            if begins < others[index].start:
                yield Period(begins, others[index].start, one.tentative)
            begins = max(begins, others[index].end)
            index += 1
        if begins < one.end:
            yield Period(begins, one.end, one.tentative)


def span(meeting: Meeting) -> tuple[datetime | None, datetime | None]:
    """(when the first instance begins, when the last is over), None: unknown, or endless. It may be too wide."""
    if meeting.component != "VEVENT":
        return None, None
    zones = lookup.zones(meeting.zones)
    events = [event for event in meeting.events.values() if event.start is not None]
    begins = [_instant(moment) for event in events for moment in (event.start, *event.rdates) if moment is not None]
    ends = []
    for event in events:
        try:
            last = recurrence.last_end(event, zones)
        except TooCostly:
            last = None
        if last is None:
            return min(begins, default=None), None
        ends.append(_instant(last) + (DAY if last.is_date else timedelta()))
    return min(begins, default=None), max(ends, default=None)


# -- the answer --------------------------------------------------------------------------------------------------


def reply(
    uid: str, organizer: str, name: str, asked: Question, periods: Iterable[Period], until: datetime, now: datetime
) -> str:
    """The VCALENDAR of the REPLY (RFC 5546 §3.3.3), folded: the requester's UID and ORGANIZER, us as the ATTENDEE.

    DTSTART and DTEND say what the answer covers, which may be less than was asked for.
    """
    lines = [
        "BEGIN:VCALENDAR",
        f"PRODID:{PRODID}",
        "VERSION:2.0",
        "METHOD:REPLY",
        "BEGIN:VFREEBUSY",
        format_line("UID", {}, escape(uid)),
        f"DTSTAMP:{_stamp(now)}",
        f"DTSTART:{_stamp(asked.start)}",
        f"DTEND:{_stamp(until)}",
        format_line("ORGANIZER", {}, f"mailto:{asked.requester}"),
        format_line("ATTENDEE", {"CN": (name,)} if name else {}, f"mailto:{organizer}"),
    ]
    for one in periods:
        kind = "BUSY-TENTATIVE" if one.tentative else "BUSY"
        lines.append(f"FREEBUSY;FBTYPE={kind}:{_stamp(one.start)}/{_stamp(one.end)}")
    lines += ["REQUEST-STATUS:2.0;Success", "END:VFREEBUSY", "END:VCALENDAR"]
    return "".join(map(fold, lines))


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
