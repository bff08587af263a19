"""What goes into the store and comes out of it, beside the values of `itip.model`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from itipd.itip.model import Attendee, Decision, Meeting
from itipd.itip.quick import quick

MeetingKey = tuple[str, str]
"""(organizer, uid_key(uid))."""


class StoreError(Exception):
    """The database cannot be used as asked; nothing was written."""


class Conflict(StoreError):  # noqa: N818 - it is no fault: somebody else was first
    """Another process changed the same rows, or holds the database: nothing was written, try the whole batch again."""

    foreseen = True  # one line in the log, no trace


class UnavailableError(Conflict):
    """The database does not answer now, whoever asks for whatever: locked, restarting, unreachable.

    Where the connection broke during the commit nobody knows whether it took place: the next try reads it.
    """


class NoSpaceError(StoreError):
    """The disk is full, or nearly so: nothing was written."""

    foreseen = True


@dataclass(frozen=True, slots=True)
class Want:
    """What of one meeting a message needs: see `Batch.gather`."""

    organizer: str
    uid: str
    addresses: frozenset[str] = frozenset()
    rids: frozenset[str] = frozenset()
    everything: bool = False
    guests: int = 0


@dataclass(slots=True)
class Ref:
    """A row that will be written: `id` is 0 until the batch is flushed."""

    organizer: str
    id: int = 0


@quick
@dataclass(frozen=True, slots=True)
class Entry:
    """A mail or command as it came, for the journal. `packed` is zlib of its bytes, `digest` 16 octets or None."""

    organizer: str
    kind: str  # mail, submission, put, command
    received_at: datetime
    packed: bytes
    sender: str = ""
    recipients: tuple[str, ...] = ()
    client: str = ""
    message_id: str = ""
    from_: str = ""
    digest: bytes | None = None


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """What was decided for one component of `entry`. `open`: held, and a person or a later put decides."""

    entry: Ref
    position: int
    decision: Decision
    at: datetime
    open: bool = False


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """One recipient of a Sending. `line`: its own ATTENDEE line, where the calendar is to have only that."""

    recipient: str
    message_id: str
    token: str
    line: str | None = None


@quick
@dataclass(frozen=True, slots=True)
class Sending:
    """Mails to leave: what they say, once, and to whom."""

    organizer: str
    organizer_name: str
    uid: str
    meeting_id: int
    method: str
    rid: str
    sequence: int
    reason: str
    summary: str
    calendar: str
    created_at: datetime
    deliveries: tuple[NewDelivery, ...]
    cause: Ref
    automatic: bool = False
    language: str | None = None
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class Delivered:
    """One mail of ours to one recipient, as a delivery report may name it."""

    id: int
    token: str
    message_id: str
    recipient: str
    uid: str
    rid: str
    created_at: datetime


@quick
@dataclass(frozen=True, slots=True)
class HeldMail:
    """An open held outcome with the mail it came in. `outcome` is for `close_held`, `entry` for new outcomes of it."""

    outcome: Ref
    entry: Ref
    position: int
    uid: str
    reason: str
    attendee: str | None
    kind: str
    received_at: datetime
    sender: str
    recipients: tuple[str, ...]
    client: str
    packed: bytes
    digest: bytes = b""
    rid: str = ""

    @property
    def name(self) -> str:
        """The mail and the position in it: what a rebuilt database finds it by, where ids are others."""
        return f"{self.digest.hex()} {self.position}"


@dataclass(slots=True)
class Loaded:
    """A meeting in a batch: as it is now, what of it is known, and what is to be written."""

    meeting: Meeting | None = None
    id: int = 0  # of the meeting; 0 where there is none
    looked: bool = False
    everything: bool = False
    guests: int = 0
    addresses: set[str] = field(default_factory=set)
    rids: set[str] = field(default_factory=set)
    stored: bool = False  # has a row
    stored_events: set[str] = field(default_factory=set)
    stored_attendees: dict[tuple[str, str], Attendee] = field(default_factory=dict)
    stored_proposals: set[int] = field(default_factory=set)
    touched_row: bool = False
    touched_events: set[str] = field(default_factory=set)
    touched_attendees: set[tuple[str, str]] = field(default_factory=set)
    touched_proposals: set[int] = field(default_factory=set)

    @property
    def there(self) -> Meeting:
        """The meeting, where it is known that there is one."""
        if self.meeting is None:
            raise LookupError("there is no meeting")
        return self.meeting

    def note(self, want: Want) -> None:
        """`want` has been fetched."""
        self.everything = self.everything or want.everything
        self.guests = max(self.guests, want.guests)
        self.addresses |= want.addresses
        if self.meeting is not None and any(address.endswith("+*") for address in want.addresses):
            self.addresses |= {address for _, address in self.meeting.attendees}
        self.rids |= want.rids

    def has(self, want: Want) -> bool:
        """Has all of `want` been fetched?"""
        if not self.looked:
            return False
        if self.everything:
            return True
        enough = not want.everything and want.guests <= self.guests
        return enough and want.addresses <= self.addresses and want.rids <= self.rids

    @property
    def touched(self) -> bool:
        """Is there anything to write?"""
        return self.touched_row or bool(self.touched_events or self.touched_attendees or self.touched_proposals)

    def has_row(self, rid: str, address: str) -> bool:
        """Has this attendee's row at `rid`, or its absence, been fetched?"""
        here = rid == "" or rid in self.rids or (rid, address) in self.stored_attendees
        return self.everything or (here and address in self.addresses)

    def has_event(self, rid: str) -> bool:
        """Has the event of `rid`, or its absence, been fetched?"""
        return self.everything or rid == "" or rid in self.rids
