"""The organizer's busy time (RFC 5546 §3.3): who may ask for it, which periods it has, the REPLY that says so.

A stranger's VFREEBUSY REQUEST is answered only where the policy publishes busy time, only to whom it comes from, and
only with times: never a title, a place or a guest. Pure, and bounded in span, periods and work.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from itipd.itip import who
from itipd.itip.contentlines import escape, fold, format_line
from itipd.itip.model import CalAddress, Decision, Evidence, Message, Policy, Send
from itipd.itip.outcomes import Outcome, Reason
from itipd.itip.periods import Period, instant
from itipd.itip.render import PRODID

LONGEST = timedelta(days=62)  # of the span that is answered; of a longer one the beginning is
MOST_MEETINGS = 1000  # that are looked at for one answer


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
    start, end = (instant(moment) for moment in message.asked)
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
