"""What a meeting does by itself after an answer, in the answer's own transaction (rules.md §9.7-8).

Only a meeting whose own policy asks for it costs anything here. What is to be done is decided by `itip.thresholds`.
"""

from __future__ import annotations

from itipd.carrying import Context, all_of, applied, dispatch, together
from itipd.itip import thresholds
from itipd.itip.model import Decision, Meeting, PutMeeting
from itipd.itip.quick import replace
from itipd.send import Origin
from itipd.store import OutcomeRow


async def by_itself(context: Context, meeting: Meeting, decision: Decision, origin: Origin, position: int) -> Decision:
    """What a meeting with thresholds or published answers does after an answer (rules.md §9.7-8)."""
    batch = context.batch
    required = thresholds.asks(meeting) == "required"
    if (
        thresholds.asks(meeting)
        and thresholds.may_complete(decision)
        and thresholds.may_be_over(meeting)
        and not await batch.undecided(meeting.organizer, meeting.uid, required=required)
    ):
        meeting = await all_of(context, meeting)
        decision = await if_declined(context, meeting, decision, origin, position)
        meeting = batch.meeting(meeting.organizer, meeting.uid) or meeting
    due = thresholds.to_publish(meeting, decision, origin.at)
    if due is not None:
        row = PutMeeting(replace(meeting, publish_at=due))
        await batch.apply(meeting, meeting.organizer, meeting.uid, [row])
    return decision


async def if_declined(
    context: Context, meeting: Meeting, decision: Decision, origin: Origin, position: int = 0
) -> Decision:
    """`decision`, with the end of the meeting in it where all have declined: an outcome of its own, the same commit."""
    ended = thresholds.when_declined(meeting, origin.at)
    if ended is None:
        return decision
    after = await applied(context, meeting, meeting.organizer, meeting.uid, ended)
    await dispatch(context, after, ended, origin, whole=True)
    context.batch.outcome(OutcomeRow(origin.entry, position, ended, origin.at))
    return together(decision, ended)
