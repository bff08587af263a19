"""What a meeting does by itself: cancelled when all declined or too few accepted, answers published (rules.md §9.7-8).

Only a meeting whose own policy (`own_policy`) asks for it does any of this. Pure; `meeting` is whole but where it says
otherwise. It must never cancel on doubt: who comes to one instance has not declined.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from itipd.itip import lookup, organize, periods
from itipd.itip.guests import reachable
from itipd.itip.model import Attendee, Decision, Meeting, PutMeeting, Send
from itipd.itip.outcomes import Outcome, Reason
from itipd.itip.render import GUEST_LIMIT
from itipd.itip.revise import over

COMING = frozenset({"ACCEPTED", "COMPLETED", "IN-PROCESS"})  # the last two: of a to-do
NOT_COMING = frozenset({"DECLINED", "DELEGATED"})  # for a delegator the delegate counts (RFC 5546 §3.2.2.3)
OPTIONAL = frozenset({"OPT-PARTICIPANT", "NON-PARTICIPANT"})
THINGS = frozenset({"ROOM", "RESOURCE"})  # a room that is free does not make a meeting


def counts(row: Attendee, organizer: str, *, required: bool = False) -> bool:
    """Whether this person's answer counts: a guest who is invited to take part, or (`required`) who must."""
    role = (row.params.get("ROLE") or ("REQ-PARTICIPANT",))[0].upper()
    kind = (row.params.get("CUTYPE") or ("INDIVIDUAL",))[0].upper()
    if row.removed or row.address == organizer or kind in THINGS:
        return False
    return role not in OPTIONAL if required else role != "NON-PARTICIPANT"


def asks(meeting: Meeting) -> str:
    """`all` or `required` where the meeting is cancelled when these have declined, else "". Any part of it will do."""
    return meeting.policy.get("cancel_when_declined", "")


def may_complete(decision: Decision) -> bool:
    """An answer after which nobody may be left who comes."""
    return any(change.field == "partstat" and change.new in NOT_COMING for change in decision.changes)


def may_be_over(meeting: Meeting) -> bool:
    """Nobody in the loaded part of a meeting comes to the series, so it is worth looking at the rest."""
    required = asks(meeting) == "required"
    rows = (
        row for row in meeting.attendees.values() if not row.rid and counts(row, meeting.organizer, required=required)
    )
    return all(row.partstat in NOT_COMING for row in rows)


def _answers(meeting: Meeting, *, required: bool) -> list[Attendee]:
    """The rows that say something of their own about the series or an instance that takes place."""
    gone = {rid for rid, event in meeting.events.items() if rid and event.status == lookup.CANCELLED}
    rows = (row for row in meeting.attendees.values() if row.partstat is not None and row.rid not in gone)
    return [row for row in rows if counts(row, meeting.organizer, required=required)]


def when_declined(meeting: Meeting, now: datetime) -> Decision | None:
    """CANCEL to all, if all (or all who are required) have declined and there is anybody who has; else None."""
    word = asks(meeting)
    if not word or meeting.status == lookup.CANCELLED:
        return None
    answers = _answers(meeting, required=word == "required")
    declined = {row.address for row in answers if row.partstat == "DECLINED"}
    if not declined or any(row.partstat not in NOT_COMING for row in answers):
        return None
    who = "all who are required" if word == "required" else "all"
    return _ended(meeting, now, Reason.ALL_DECLINED, f"{who} have declined: {len(declined)}")


def is_due(meeting: Meeting, at: datetime | None, now: datetime) -> bool:
    """`at` (the meeting's `deadline_at` or `publish_at`) has come. Of a cancelled meeting nothing is due."""
    return at is not None and at <= now and meeting.status != lookup.CANCELLED


def at_deadline(meeting: Meeting, now: datetime) -> Decision:
    """CANCEL to all where fewer than `minimum_accepted` have accepted at the deadline. It is looked at once."""
    if not is_due(meeting, meeting.deadline_at, now):
        return _nothing(meeting, "no deadline has come")
    needed = int(meeting.policy.get("minimum_accepted", "0"))
    coming = {row.address for row in _answers(meeting, required=False) if row.partstat in COMING}
    detail = f"{len(coming)} of at least {needed} have accepted"
    if len(coming) < needed:
        return _ended(meeting, now, Reason.TOO_FEW_ACCEPTED, detail)
    return replace(
        _nothing(meeting, detail),
        reason=Reason.ENOUGH_ACCEPTED,
        writes=(PutMeeting(replace(meeting, deadline_at=None)),),
    )


def _ended(meeting: Meeting, now: datetime, reason: Reason, detail: str) -> Decision:
    """The meeting cancelled by itself (RFC 5546 §3.2.5): nobody asked for it just now, and the mails say why."""
    decision = organize.cancel(in_order(meeting), now)
    sends = tuple(replace(send, reason=reason.value, automatic=True) for send in decision.sends)
    return replace(decision, reason=reason, sends=sends, detail=f"{detail}; {decision.detail}")


def in_order(meeting: Meeting) -> Meeting:
    """The guests in the organizer's order, so that mails leave in one order however the meeting was loaded."""
    rows = sorted(meeting.attendees.items(), key=lambda item: (item[1].position, item[0]))
    return replace(meeting, attendees=dict(rows))


def _nothing(meeting: Meeting, detail: str) -> Decision:
    return Decision(
        Outcome.NO_ACTION, Reason.UNCHANGED, uid=meeting.uid, rid="", sequence=meeting.sequence, detail=detail
    )


# -- published answers -------------------------------------------------------------------------------------------


def to_publish(meeting: Meeting, decision: Decision, now: datetime) -> datetime | None:
    """When the answers are to be told after `decision` has changed one; None: no other time than before.

    Any part of the meeting will do. They are gathered: the first change sets the time, later ones wait for it too.
    """
    minutes = int(meeting.policy.get("publish_answers", "0"))
    seen = any(change.field in ("partstat", "delegated_to", "delegated_from") for change in decision.changes)
    answered = seen and decision.outcome in (Outcome.UPDATED, Outcome.ADDED)
    if not minutes or not answered or meeting.status == lookup.CANCELLED:
        return None
    at = now + timedelta(minutes=minutes)
    # The earlier wins, so that what two processes decide at once does not depend on who writes last.
    return at if meeting.publish_at is None or at < meeting.publish_at else None


def publish(meeting: Meeting, now: datetime) -> Decision:
    """REQUEST with the PARTSTATs of now to everybody, SEQUENCE as it is (RFC 5546 §3.2.2.2), where one is due."""
    if not is_due(meeting, meeting.publish_at, now):
        return _nothing(meeting, "no answers are due")
    done = replace(_nothing(meeting, ""), writes=(PutMeeting(replace(meeting, publish_at=None)),))
    guests = {address for _, address in meeting.attendees}
    if len(guests) > GUEST_LIMIT:
        return replace(done, detail=f"{len(guests)} guests: a mail to more than {GUEST_LIMIT} names nobody else")
    if over(meeting.events.values(), lookup.zones(meeting.zones), now):
        return replace(done, detail="the meeting is over")
    if not any(row.replied_at is not None for row in meeting.attendees.values()):
        return replace(done, detail="all answers were set back since")
    sends = tuple(_sends(in_order(meeting)))
    if not sends:
        return replace(done, detail="there is nobody to tell")
    return replace(done, outcome=Outcome.UPDATED, reason=Reason.ANSWERS_PUBLISHED, sends=sends)


def _sends(meeting: Meeting) -> Iterable[Send]:
    """To the guests of the series, and to those who are invited to some instances only."""
    told: set[str] = set()
    for rid, event in sorted(meeting.events.items()):
        if event.status == lookup.CANCELLED:
            continue
        rows = [row for row in meeting.attendees.values() if row.rid == rid]
        to = tuple(name for name in reachable(meeting, rows) if name not in told)
        if rid == "":
            told.update(to)
        if to:
            sequence = event.sequence if rid else meeting.sequence
            yield Send("REQUEST", to, rid, sequence, Reason.ANSWERS_PUBLISHED.value)


# -- the meeting's own row ---------------------------------------------------------------------------------------


def settled(meeting: Meeting) -> Meeting:
    """`meeting` with what follows from its events: when it takes place; a cancelled one waits for nothing."""
    begins, ends = periods.span(meeting)
    waits = meeting.status != lookup.CANCELLED
    due = (meeting.deadline_at, meeting.publish_at) if waits else (None, None)
    if (begins, ends, *due) == (meeting.begins_at, meeting.ends_at, meeting.deadline_at, meeting.publish_at):
        return meeting
    return replace(meeting, begins_at=begins, ends_at=ends, deadline_at=due[0], publish_at=due[1])
