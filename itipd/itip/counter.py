"""A COUNTER as a stored proposal (RFC 5546 §3.2.7): what it would change, and when it is over. Pure."""

from __future__ import annotations

from itipd.itip import derive, lookup, who
from itipd.itip.case import Case
from itipd.itip.compare import same
from itipd.itip.model import CalAddress, Moment, Proposal, Proposed, PutProposal
from itipd.itip.quick import replace


def retire(case: Case) -> list[PutProposal]:
    """A later REPLY or COUNTER of the same attendee on the same R retires what they proposed before."""
    mine = (
        p for p in case.meeting.proposals.values() if (p.attendee, p.rid, p.state) == (case.address, case.rid, "open")
    )
    return [PutProposal(replace(proposal, state="retired")) for proposal in mine]


def proposal_of(case: Case) -> Proposal:
    """What a COUNTER proposes, against the meeting as it is: a time or a place that is that of now is none."""
    proposed = case.message.proposed or Proposed()
    start, end = times_at(case)
    if same(proposed.start, start) and (proposed.end is None or same(proposed.end, end)):
        proposed = replace(proposed, start=None, end=None)
    if case.event is not None and proposed.location == case.event.location:
        proposed = replace(proposed, location=None)
    strangers = tuple(
        line
        for line in case.message.attendees
        if line is not case.line
        and not _is_guest(case, line)
        and not who.is_organizer(line.address, case.meeting, case.policy)
    )
    return Proposal(
        id=0,
        attendee=case.address,
        rid=case.rid or "",
        proposed=proposed,
        added=strangers,
        comment=case.message.comment,
        sequence=case.revision.sequence,
    )


def _is_guest(case: Case, line: CalAddress) -> bool:
    """At R; who was taken off the list may be proposed anew."""
    name = who.known_as(line, case.meeting, case.policy)
    return name is not None and lookup.guest_at(case.meeting, name, case.rid or "") is not None


def times_at(case: Case) -> tuple[Moment | None, Moment | None]:
    """When R begins and ends now."""
    event = case.event
    if event is not None and event.start is not None and event.rid != case.rid:
        event = derive.at(case.meeting, lookup.zones(case.meeting.zones), case.rid or "")
    return (event.start, event.end) if event is not None else (None, None)


def same_proposal(case: Case) -> bool:
    """A COUNTER that says what its attendee has proposed for R last, whatever has become of that."""
    new = proposal_of(case)
    mine = [p for p in case.meeting.proposals.values() if (p.attendee, p.rid) == (new.attendee, new.rid)]
    return bool(mine) and replace(max(mine, key=lambda known: known.id), id=0, state="open") == new
