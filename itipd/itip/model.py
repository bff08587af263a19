"""The plain values of iTIP (RFC 5546): what is read, what is stored, what is decided.

Frozen dataclasses only; no I/O, no clock. Addresses are canonical texts (`addresses.canonical`), `rid` is the
recurrence id as text, `""` for the series (or the only event), instants are aware datetimes in UTC.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache

from itipd.itip.outcomes import Outcome, Reason
from itipd.itip.quick import packs, quick

Params = Mapping[str, tuple[str, ...]]
"""Parameters of a property: upper-case name -> its values, without quotes."""

NEEDS_ACTION = "NEEDS-ACTION"
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
OF_TODOS = frozenset({"COMPLETED", "IN-PROCESS"})
PARTSTATS = frozenset({NEEDS_ACTION, "ACCEPTED", "DECLINED", "TENTATIVE", "DELEGATED"}) | OF_TODOS


@packs
@dataclass(frozen=True, slots=True)
class Moment:
    """A DATE or DATE-TIME (RFC 5545 §3.3.4-5), its zone already resolved.

    `local` is the wall clock as written (naive; midnight for a DATE), `utc` the instant, None for DATE and floating.
    """

    local: datetime
    utc: datetime | None = None
    is_date: bool = False

    @property
    def rid(self) -> str:
        """The recurrence id of the interface: `20261208T090000Z`, floating `20261208T090000`, `20261208`."""
        if self.is_date:
            return _basic(self.local)[:8]
        return _basic(self.local) if self.utc is None else _basic(self.utc) + "Z"

    @property
    def iso(self) -> str:
        """ISO 8601: a date, a floating time, or a time with its own zone's offset."""
        if self.is_date:
            return self.local.date().isoformat()
        if self.utc is None:
            return self.local.isoformat()
        offset = self.local - self.utc.replace(tzinfo=None)
        minutes = int(offset.total_seconds() // 60)
        sign = "-" if minutes < 0 else "+"
        return f"{self.local.isoformat()}{sign}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"

    @property
    def order(self) -> datetime:
        """A naive datetime to sort by: the instant where there is one, else the wall clock."""
        return self.utc.replace(tzinfo=None) if self.utc is not None else self.local

    def encode(self) -> str:
        """A text that `decode` reads back: local, utc and kind."""
        kind = "D" if self.is_date else "U" if self.utc is not None else "F"
        return f"{kind}{_basic(self.local)}{_basic(self.utc) if self.utc is not None else ''}"

    @classmethod
    def decode(cls, text: str) -> Moment:
        """The Moment that `encode` wrote."""
        local = _naive(text[1:16])
        utc = _naive(text[16:31]).replace(tzinfo=UTC) if text[0] == "U" else None
        return cls(local, utc, text[0] == "D")


@lru_cache(maxsize=1024)  # an answer to one instance is asked for its own five times
def _basic(moment: datetime) -> str:
    # 20261208T090000; strftime costs five times as much.
    return moment.isoformat()[:19].replace("-", "").replace(":", "")


def _naive(text: str) -> datetime:
    # Not strptime: this runs for every reply, and strptime costs a hundred times as much.
    return datetime.fromisoformat(text)


@dataclass(frozen=True, slots=True, order=True)
class Revision:
    """(SEQUENCE, DTSTAMP), ordered (RFC 5546 §2.1.5)."""

    sequence: int
    dtstamp: datetime


@packs
@dataclass(frozen=True, slots=True)
class CalAddress:
    """An ORGANIZER or ATTENDEE property: the canonical address and all parameters as written."""

    address: str
    params: Params = field(default_factory=dict)

    def one(self, name: str) -> str | None:
        """The first value of a parameter, or None."""
        values = self.params.get(name)
        return values[0] if values else None


@dataclass(frozen=True, slots=True)
class Proposed:
    """What a COUNTER proposes (RFC 5546 §3.2.7); None where it says nothing."""

    start: Moment | None = None
    end: Moment | None = None
    location: str | None = None
    summary: str | None = None
    original_start: Moment | None = None  # X-MS-OLK-ORIGINALSTART: the slot that was countered
    original_end: Moment | None = None
    tzid: str | None = None  # TZID of DTSTART as written; None for UTC, floating and DATE


@quick
@dataclass(frozen=True, slots=True)
class Message:
    """One component of an incoming calendar, as an attendee sent it (REPLY, COUNTER, REFRESH) or as anybody did."""

    method: str
    component: str  # VEVENT, VTODO, VFREEBUSY, ...
    uid: str
    rid: Moment | None = None
    future: bool = False  # RANGE=THISANDFUTURE
    organizer: str | None = None  # canonical; None where there is none
    attendees: tuple[CalAddress, ...] = ()
    sequence: int | None = None  # None: absent
    dtstamp: datetime | None = None  # None: absent
    reply_time: datetime | None = None  # X-MICROSOFT-CDO-REPLYTIME
    comment: str | None = None
    request_status: str | None = None  # its code
    proposed: Proposed | None = None  # only for COUNTER
    percent_complete: int | None = None  # only for VTODO
    completed: datetime | None = None  # only for VTODO
    asked: tuple[Moment, Moment] | None = None  # only for a VFREEBUSY REQUEST: the span it asks about
    quirks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """One recipient's part of a delivery report (RFC 3464 §2.3) and what it says of the mail that was not delivered."""

    recipient: str  # canonical
    action: str  # failed, delayed, delivered, relayed, expanded
    schedule_status: str | None  # what follows from its status code (RFC 6638 §3.2.9); None: no change
    status: str = ""  # the enhanced status code (RFC 3463)
    final: str | None = None  # canonical Final-Recipient, where it is another address
    message_id: str | None = None  # of the returned mail
    uid: str | None = None  # of the returned calendar
    rid: str | None = None
    guessed: bool = False  # read out of words, not of the fields of RFC 3464


@dataclass(frozen=True, slots=True)
class Fault:
    """A component or a whole mail that is no message: the outcome is known before any meeting is looked at."""

    outcome: Outcome
    reason: Reason
    method: str | None = None
    uid: str | None = None
    detail: str = ""  # for the log and `explain`: what was found, what was expected
    quirks: tuple[str, ...] = ()


@quick
@dataclass(frozen=True, slots=True)
class Evidence:
    """Who really sent a mail (RFC 6047 §2.2-2.3), as far as the mail and its relay prove it."""

    from_address: str | None = None  # the one mailbox of the one From header, strict; None: unproven
    dmarc: str | None = None  # "pass" or "fail" by a configured authserv-id; None: nothing trusted said
    passed_domains: tuple[str, ...] = ()  # domains with an aligned DMARC, DKIM or SPF pass
    token: str | None = None  # whose reply token stands in the recipient address; "": of none of the attendees
    date: datetime | None = None  # the Date header
    automatic: bool = False  # null sender, Auto-Submitted, Precedence, List-Id (RFC 3834)


@quick
@dataclass(frozen=True, slots=True)
class Attendee:
    """One row: an attendee of the series (`rid` "") or of one instance.

    An instance row exists where an override names the attendee (`listed`) or where they answered that instance.
    `partstat` None on an instance: as in the series.
    """

    address: str
    rid: str = ""
    position: int = 0
    params: Params = field(default_factory=dict)  # of the organizer's text, without PARTSTAT, RSVP, SCHEDULE-STATUS
    listed: bool = True  # in the organizer's text (of the series, or of that override)
    invited: bool = True  # False: came uninvited and was let in
    removed: bool = False  # was a guest, is none any more; kept so that late answers find a CANCEL
    partstat: str | None = NEEDS_ACTION
    rsvp: bool = False
    revision: Revision | None = None  # of the last applied reply
    reply_time: datetime | None = None  # what broke a tie: X-MICROSOFT-CDO-REPLYTIME, Date or arrival
    replied_at: datetime | None = None  # arrival of the last applied reply
    reset_sequence: int = 0
    reset_at: datetime | None = None
    future: bool = False  # the answer holds from this instance on (THISANDFUTURE)
    comment: str | None = None
    delegated_to: tuple[str, ...] = ()
    delegated_from: tuple[str, ...] = ()
    sent_by: str | None = None
    guests: int | None = None
    schedule_status: str | None = None
    percent_complete: int | None = None
    completed: datetime | None = None
    answered_at: datetime | None = None  # when we last answered one of their automatic mails by ourselves


@quick
@dataclass(frozen=True, slots=True)
class Event:
    """One component of the organizer's: the series (`rid` "") or an override, with its own lines, verbatim."""

    rid: str
    component: str  # VEVENT or VTODO
    lines: str  # unfolded content lines, each ended by "\n", without BEGIN, END and ATTENDEE
    sequence: int = 0
    sequence_given: bool = False
    dtstamp: datetime | None = None
    status: str = "CONFIRMED"
    summary: str = ""
    location: str | None = None
    start: Moment | None = None
    end: Moment | None = None  # DTEND or DUE, or DTSTART + DURATION; exclusive
    tzid: str | None = None  # of DTSTART, as written; resolved with the meeting's own VTIMEZONEs
    rrules: tuple[str, ...] = ()
    rdates: tuple[Moment, ...] = ()
    exdates: tuple[Moment, ...] = ()
    future: bool = False  # RECURRENCE-ID;RANGE=THISANDFUTURE


@dataclass(frozen=True, slots=True)
class Proposal:
    """A stored COUNTER. `state`: open, accepted, declined, retired."""

    id: int  # 0: not stored yet
    attendee: str
    rid: str
    proposed: Proposed
    added: tuple[CalAddress, ...] = ()  # attendees it would invite
    comment: str | None = None
    sequence: int = 0
    state: str = "open"


@quick
@dataclass(frozen=True, slots=True)
class Meeting:
    """All components with one UID that one organizer owns, or the part of them that a message needs.

    `attendees` is keyed by (rid, address). For a reply it holds the rows of the addresses in the message only.
    """

    organizer: str
    uid: str
    id: int = 0  # of the database; 0: not stored yet
    component: str = "VEVENT"
    sequence: int = 0  # the highest used for the series; never goes down
    status: str = "CONFIRMED"
    name: str = ""  # the organizer's CN
    zones: str = ""  # the organizer's own VTIMEZONEs, verbatim
    events: Mapping[str, Event] = field(default_factory=dict)
    attendees: Mapping[tuple[str, str], Attendee] = field(default_factory=dict)
    proposals: Mapping[int, Proposal] = field(default_factory=dict)
    policy: Mapping[str, str] = field(default_factory=dict)  # the meeting's own words: `itip.own_policy`
    deadline_at: datetime | None = None  # when it is to be looked at whether enough have accepted; None: not any more
    publish_at: datetime | None = None  # when the answers that have changed are told to all; None: none have
    begins_at: datetime | None = None  # the first of its instances; None: unknown
    ends_at: datetime | None = None  # when the last one is over; None: endless, or unknown


@quick
@dataclass(frozen=True, slots=True)
class Incoming:
    """One UID of the organizer's own calendar (a put, or mail at the submission door), read but not yet decided.

    `text` is a whole VCALENDAR of only this UID, as given: it goes into the journal. `attendees` has a row for every
    ATTENDEE of every component, with PARTSTAT and RSVP as written.
    """

    uid: str
    text: str
    method: str | None = None
    component: str = "VEVENT"
    organizer: CalAddress | None = None
    zones: str = ""
    events: tuple[Event, ...] = ()
    attendees: tuple[Attendee, ...] = ()
    fault: Fault | None = None
    quirks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """What is a matter of taste (rules.md §§2-7). `Meeting.policy` may override each word for one meeting."""

    sender: str = "from"  # token, dmarc, from, any
    party_crasher: str = "held"  # held, added, no_action
    counter: str = "hold"  # hold, decline, accept
    stale_reply: str = "resend"  # resend, ignore
    delegation: str = "allow"  # allow, forbid
    location: str = "minor"  # minor, significant
    freebusy: str = "off"  # off, known, any; of the organizer, so no meeting overrides it
    by_person: bool = False  # a person has decided so: no meeting's own words override it
    aliases: Mapping[str, str] = field(default_factory=dict)  # other address -> the attendee's or organizer's
    plus_tag: bool = False  # compare addresses without their plus tag
    organizers: tuple[str, ...] = ()  # patterns that are served; empty: any


@dataclass(frozen=True, slots=True)
class Change:
    """One visible change of one field, for transcripts and events."""

    attendee: str | None
    rid: str
    field: str
    old: str | None
    new: str | None


@quick
@dataclass(frozen=True, slots=True)
class Send:
    """A mail to each of `to`, to be composed from the meeting as it is after the decision."""

    method: str  # REQUEST, CANCEL, DECLINECOUNTER
    to: tuple[str, ...]
    rid: str  # "": the series with all that the recipient has
    sequence: int
    reason: str  # a Reason's word
    uninvite: bool = False  # CANCEL to removed ones: only their own ATTENDEE, no STATUS (RFC 5546 §3.2.5)
    automatic: bool = True  # we answer by ourselves, no person asked for it (RFC 3834)
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class PutMeeting:
    """Write the meeting's own row (never its events, attendees or proposals)."""

    meeting: Meeting


@dataclass(frozen=True, slots=True)
class PutEvent:
    event: Event


@dataclass(frozen=True, slots=True)
class DropEvent:
    rid: str


@dataclass(frozen=True, slots=True)
class PutAttendee:
    attendee: Attendee


@dataclass(frozen=True, slots=True)
class DropAttendee:
    rid: str
    address: str


@dataclass(frozen=True, slots=True)
class PutProposal:
    proposal: Proposal


Write = PutMeeting | PutEvent | DropEvent | PutAttendee | DropAttendee | PutProposal


@quick
@dataclass(frozen=True, slots=True)
class Decision:
    """What follows from one message: the words, the rows to write, the mails to send. Applied without branching."""

    outcome: Outcome
    reason: Reason
    uid: str | None = None
    rid: str | None = None
    method: str | None = None
    attendee: str | None = None
    partstat: str | None = None
    sequence: int | None = None
    quirks: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    writes: tuple[Write, ...] = ()
    sends: tuple[Send, ...] = ()
    detail: str = ""  # the values that were compared, for `explain` and the log


def clean(text: str, limit: int) -> str:
    """`text` without NUL, lone surrogates and other controls (C0, C1) but tab and newline, cut at `limit` characters.

    Everything from outside passes here once, at the edge: PostgreSQL refuses NUL and surrogates.
    """
    if not text.isprintable():
        text = _CONTROLS.sub("", text)
    return text[:limit]
