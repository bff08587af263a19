"""The shapes of the API's objects, for its description at /openapi.json.

Only described here: the objects are made by `itip.attendance`, `itip.transcript` and the store, and a test holds them
against these.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Shape(BaseModel):
    """Every key without a default is always there, and there are no others."""

    model_config = ConfigDict(extra="forbid")


class Counts(BaseModel):
    """How many attendees gave each answer; COMPLETED and IN-PROCESS for to-dos."""

    accepted: int = Field(alias="ACCEPTED")
    declined: int = Field(alias="DECLINED")
    tentative: int = Field(alias="TENTATIVE")
    delegated: int = Field(alias="DELEGATED")
    needs_action: int = Field(alias="NEEDS-ACTION")
    completed: int = Field(default=0, alias="COMPLETED")
    in_process: int = Field(default=0, alias="IN-PROCESS")


class Attendee(Shape):
    address: str
    name: str | None
    role: str
    cutype: str
    rsvp: bool
    partstat: str
    delegated_to: list[str]
    delegated_from: list[str]
    sent_by: str | None
    invited: bool = Field(description="False: came uninvited and was let in.")
    sequence: int | None
    dtstamp: str | None
    replied_at: str | None
    comment: str | None
    schedule_status: str | None = Field(description="The bare code of RFC 6638 §3.2.9.")
    guests: int = Field(default=0, description="Only where they bring somebody (X-NUM-GUESTS).")
    percent_complete: int = Field(default=0, description="Only for to-dos.")
    completed: str = Field(default="", description="Only for to-dos.")


class Instance(Shape):
    recurrence_id: str = Field(examples=["20261208T090000Z"])
    status: str
    sequence: int | None
    start: str | None
    end: str | None
    attendees: list[Attendee]


class MeetingProposal(Shape):
    id: int
    attendee: str
    recurrence_id: str | None
    start: str | None
    end: str | None
    location: str | None
    comment: str | None
    state: str = Field(description="open, accepted, declined, retired")
    added: list[str] = Field(default=[], description="Only where it would invite somebody.")


class MeetingLine(Shape):
    uid: str
    organizer: str
    summary: str
    status: str
    sequence: int | None
    start: str | None = Field(description="ISO 8601 with offset; a date for all-day; null without a series.")
    end: str | None
    counts: Counts


class Meeting(MeetingLine):
    rrule: str | None
    attendees: list[Attendee]
    instances: list[Instance]
    proposals: list[MeetingProposal]


class Change(Shape):
    attendee: str | None
    recurrence_id: str | None
    field: str
    old: str | None
    new: str | None


class Send(Shape):
    method: str
    to: list[str]
    recurrence_id: str | None
    sequence: int
    reason: str


class Result(Shape):
    """What was decided for one component of a mail or command."""

    outcome: str
    reason: str
    method: str | None
    uid: str | None
    recurrence_id: str | None
    attendee: str | None
    partstat: str | None
    sequence: int | None
    quirks: list[str]
    changes: list[Change]
    send: list[Send]


class Receipt(Shape):
    id: int = Field(description="Of the journal: `GET /v1/mail/{id}/raw`.")
    results: list[Result]


class Page(Shape):
    next: str | None = Field(description="`cursor` of the next page; null on the last one.")


class MeetingPage(Page):
    meetings: list[MeetingLine]


class AttendeePage(Page):
    attendees: list[Attendee]


class Problem(BaseModel):
    """RFC 9457."""

    type: str = Field(examples=["urn:itipd:problem:unknown_meeting"])
    title: str
    status: int
    detail: str = ""
