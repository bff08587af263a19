"""A delivery report -> Decision: SCHEDULE-STATUS of who was not reached (RFC 6638 §3.2.9, RFC 3464). Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from itipd.itip.model import Attendee, Change, Decision, Meeting, PutAttendee, Report
from itipd.itip.outcomes import Outcome, Reason


def bounced(
    meeting: Meeting | None, report: Report, *, rid: str = "", sent_at: datetime | None = None, known: str | None = None
) -> Decision:
    """What a report about one recipient changes. PARTSTAT never; a REPLY that came after the mail stands above it.

    `rid`, `sent_at`, `known`: of the mail of ours that it is about, and to whom that went, where one was found.
    """
    row = _row(meeting, known, report, rid)
    if meeting is None or row is None:
        detail = f"report for {report.recipient}: neither a mail of ours nor an attendee"
        return Decision(
            Outcome.NO_ACTION, Reason.UNKNOWN_REPORT, uid=report.uid, attendee=report.recipient, detail=detail
        )
    decision = Decision(
        Outcome.NO_ACTION,
        Reason.BOUNCED,
        uid=meeting.uid,
        rid=row.rid,
        attendee=row.address,
        detail=f"{report.action} {report.status}",
    )
    later = sent_at is not None and row.replied_at is not None and row.replied_at > sent_at
    if report.schedule_status is None or later:
        return decision
    change = Change(row.address, row.rid, "schedule_status", row.schedule_status, report.schedule_status)
    return replace(
        decision,
        outcome=Outcome.UPDATED,
        changes=(change,) if change.old != change.new else (),
        writes=(PutAttendee(replace(row, schedule_status=report.schedule_status)),),
    )


def _row(meeting: Meeting | None, known: str | None, report: Report, rid: str) -> Attendee | None:
    if meeting is None:
        return None
    for address in (known, report.recipient, report.final):
        for where in (rid, ""):
            row = meeting.attendees.get((where, address or ""))
            if row is not None:
                return row
    return None
