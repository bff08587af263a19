"""Subject and first sentence of a mail: what has happened, in a person's words (RFC 6047 §2.4).

Duty: a METHOD and the reason for which it is sent -> `Words`. English stands here, marked for the catalogs
(`languages`). It must never decide anything nor hold a value of a calendar.
"""

from __future__ import annotations

from dataclasses import dataclass

from itipd.mail.languages import marked


@dataclass(frozen=True, slots=True)
class Words:
    """What differs from mail to mail: the subject with `{summary}` in it, the first sentence with `{organizer}`, and
    whether an answer is asked for."""

    subject: str
    intro: str
    ask: bool = False


INVITATION = Words(marked("Invitation: {summary}"), marked("{organizer} invites you:"), ask=True)
UPDATE = Words(marked("Updated: {summary}"), marked("{organizer} has changed this invitation:"), ask=True)
REMINDER = Words(marked("Please answer: {summary}"), marked("{organizer} is still waiting for your answer:"), ask=True)
CURRENT = Words(INVITATION.subject, marked("This is the invitation as it stands now:"), ask=True)
CANCELLATION = Words(marked("Cancelled: {summary}"), marked("{organizer} has cancelled this event:"))
INSTANCE_CANCELLED = Words(
    CANCELLATION.subject, marked("{organizer} has cancelled this date; the rest of the series stays:")
)
UNINVITED = Words(CANCELLATION.subject, marked("{organizer} has taken you off the guest list of this event:"))
ALL_DECLINED = Words(CANCELLATION.subject, marked("Nobody can come, so this event is cancelled:"))
TOO_FEW = Words(CANCELLATION.subject, marked("Too few have accepted, so this event is cancelled:"))
ANSWERS = Words(marked("Who is coming: {summary}"), marked("These are the answers that {organizer} has so far:"))
BUSY = Words(marked("Busy time: {summary}"), marked("{organizer} is busy at these times:"))
FREE = Words(BUSY.subject, marked("{organizer} is not busy in this time:"))
NOT_INVITED = Words(CANCELLATION.subject, marked("You are not on the guest list of this event:"))
DECLINED = Words(
    marked("Proposal declined: {summary}"),
    marked("{organizer} has declined your proposal; this event stays as it is:"),
)
OTHER = Words("{summary}", marked("{organizer} sends you this:"))

TASK_CANCELLED = marked("Task cancelled: {summary}")
TASKS = {
    INVITATION: Words(marked("Task: {summary}"), marked("{organizer} gives you this task:"), ask=True),
    UPDATE: Words(UPDATE.subject, marked("{organizer} has changed this task:"), ask=True),
    CURRENT: Words(marked("Task: {summary}"), marked("This is the task as it stands now:"), ask=True),
    CANCELLATION: Words(TASK_CANCELLED, marked("{organizer} has cancelled this task:")),
    INSTANCE_CANCELLED: Words(TASK_CANCELLED, INSTANCE_CANCELLED.intro),
    ALL_DECLINED: Words(TASK_CANCELLED, marked("Nobody takes this task, so it is cancelled:")),
    TOO_FEW: Words(TASK_CANCELLED, marked("Too few have accepted this task, so it is cancelled:")),
    UNINVITED: Words(TASK_CANCELLED, marked("{organizer} has released you from this task:")),
    NOT_INVITED: Words(TASK_CANCELLED, marked("This task is not assigned to you:")),
    DECLINED: Words(DECLINED.subject, marked("{organizer} has declined your proposal; this task stays as it is:")),
}
"""What is said of a VTODO instead."""

REQUESTS = {
    "significant_change": UPDATE,
    "minor_change": UPDATE,
    "proposal_accepted": UPDATE,
    "reminded": REMINDER,
    "stale_sequence": CURRENT,
    "refresh": CURRENT,
    "answers_published": ANSWERS,
}
"""By the reason for which a REQUEST is sent; any other reason is a first invitation."""

CANCELS = {"all_declined": ALL_DECLINED, "too_few_accepted": TOO_FEW}
"""By the reason for which a whole meeting is cancelled by itself."""


def words(method: str, reason: str, rid: str, *, cancelled: bool, task: bool, free: bool) -> Words:
    """The words for a METHOD, the reason it is sent for, and the instance (`""`: the series).

    `cancelled`: STATUS:CANCELLED stands in the calendar; `task`: it is a VTODO; `free`: a VFREEBUSY without a period.
    """
    if method == "REPLY":  # the only one that an organizer sends: busy time (RFC 5546 §3.3.3)
        return FREE if free else BUSY
    found = _words(method, reason, rid, cancelled=cancelled)
    return TASKS.get(found, found) if task else found


def _words(method: str, reason: str, rid: str, *, cancelled: bool) -> Words:
    if method == "REQUEST":
        return REQUESTS.get(reason, INVITATION)
    if method == "CANCEL":
        if not cancelled:  # RFC 5546 §3.2.5: no STATUS where only these attendees are taken off
            return NOT_INVITED if reason == "party_crasher" else UNINVITED
        return CANCELS.get(reason, INSTANCE_CANCELLED if rid else CANCELLATION)
    return DECLINED if method == "DECLINECOUNTER" else OTHER
