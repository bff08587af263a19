"""What comes in at the inbox: a mail, or one of the organizer's orders, and the receipt for it.

Orders are plain values that go into the journal as JSON and come back out of it, so that `itipd db rebuild` can play
them again. They name things by UID, RECURRENCE-ID and attendee, never by an id that a rebuilt database would not have.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from itipd.itip.incoming import incoming as read_incoming
from itipd.itip.model import Decision, Incoming
from itipd.itip.quick import packs
from itipd.mail.reading import pack as pack_bytes


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail as a door took it: `recipients` are the addresses given at RCPT that are served here."""

    sender: str  # envelope sender, "" for the null sender
    recipients: tuple[str, ...]
    raw: bytes
    received_at: datetime  # aware, UTC
    client: str = ""  # address of the client, for the log
    door: str = "smtp"  # smtp, lmtp, submission, http, replay, ingest
    trusted: bool = True  # the client may vouch with Authentication-Results


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was committed for one mail or order: its journal id and a decision for every component."""

    id: int
    results: tuple[Decision, ...]


@packs
@dataclass(frozen=True, slots=True)
class Put:
    """Register or change one meeting. `notify`: changed, all, none; `recorded`: the application sent it itself."""

    incoming: Incoming
    notify: str = "changed"
    recorded: bool = False
    packed: bytes = field(default=b"", repr=False, compare=False)  # as `pack` makes it, where that was done already


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancel a meeting, or the instances `rids` of it."""

    uid: str
    rids: tuple[str, ...] = ()
    organizer: str | None = None
    notify: str = "changed"


@dataclass(frozen=True, slots=True)
class Remind:
    """Ask those again who have not answered, or only `attendees`, whether they have or not."""

    uid: str
    organizer: str | None = None
    attendees: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SetPolicy:
    """Words of a meeting's own policy (`itip.own_policy`): (name, value); an empty value: as configured."""

    uid: str
    words: tuple[tuple[str, str], ...] = ()
    organizer: str | None = None


@dataclass(frozen=True, slots=True)
class Deadline:
    """Given by the scheduler: the meeting's deadline has come."""

    uid: str
    organizer: str | None = None


@dataclass(frozen=True, slots=True)
class Publish:
    """Given by the scheduler: the answers that have changed are told to all."""

    uid: str
    organizer: str | None = None


@dataclass(frozen=True, slots=True)
class AcceptProposal:
    """Take a counter proposal, named by `id` or by who made it for what (the latest open one)."""

    id: int = 0
    uid: str = ""
    attendee: str | None = None
    instance: str | None = None
    organizer: str | None = None


@dataclass(frozen=True, slots=True)
class DeclineProposal:
    """Decline a counter proposal; `comment` goes to the proposer."""

    id: int = 0
    uid: str = ""
    attendee: str | None = None
    instance: str | None = None
    organizer: str | None = None
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class AcceptHeld:
    """A person lets a held message count, named by `id` or by whose it is."""

    id: int = 0
    uid: str = ""
    attendee: str | None = None
    instance: str | None = None
    organizer: str | None = None
    mail: str | None = None  # `HeldMail.name`, which outlives the id


@dataclass(frozen=True, slots=True)
class RejectHeld:
    """A person refuses a held message, named in the same ways."""

    id: int = 0
    uid: str = ""
    attendee: str | None = None
    instance: str | None = None
    organizer: str | None = None
    mail: str | None = None  # `HeldMail.name`, which outlives the id


Order = (
    Put | Cancel | Remind | AcceptProposal | DeclineProposal | AcceptHeld | RejectHeld | SetPolicy | Deadline | Publish
)

_COMMANDS: dict[str, type[Any]] = {
    "cancel": Cancel,
    "remind": Remind,
    "accept": AcceptProposal,
    "decline": DeclineProposal,
    "held-accept": AcceptHeld,
    "held-reject": RejectHeld,
    "policy": SetPolicy,
    "deadline": Deadline,
    "publish": Publish,
}
_json = json.JSONEncoder(ensure_ascii=False).encode
_WORDS = {kind: word for word, kind in _COMMANDS.items()}


def kind_of(order: Order) -> str:
    """The journal's kind: `put` or `command`."""
    return "put" if isinstance(order, Put) else "command"


def word_of(order: Order) -> str:
    """The order's name: put, cancel, remind, accept, ..., as the journal has it."""
    return "put" if isinstance(order, Put) else _WORDS[type(order)]


def pack(order: Order) -> bytes:
    """The order for the journal: compressed JSON."""
    if isinstance(order, Put):
        if order.packed:
            return order.packed
        values: dict[str, Any] = {
            "command": "put",
            "notify": order.notify,
            "recorded": order.recorded,
            "calendar": order.incoming.text,
        }
    else:
        values = {"command": _WORDS[type(order)], **asdict(order)}
        values.pop("id", None)
    return pack_bytes(_json(values).encode("utf-8", "replace"))


def unpack(packed: bytes) -> Order:
    """The order that `pack` wrote. Raises ValueError for anything else."""
    values = json.loads(zlib.decompress(packed))
    word = values.pop("command", "")
    if word == "put":
        (found,) = read_incoming(values["calendar"].encode())
        return Put(found, values["notify"], values["recorded"])
    if word not in _COMMANDS:
        raise ValueError(f"journal: command {word!r} is none of put, {', '.join(_COMMANDS)}")
    if "rids" in values:
        values["rids"] = tuple(values["rids"])
    if "attendees" in values:
        values["attendees"] = tuple(values["attendees"])
    if "words" in values:
        values["words"] = tuple((name, value) for name, value in values["words"])
    order: Order = _COMMANDS[word](**values)
    return order


@dataclass(slots=True)
class Done:
    """One mail or order in the making: what was decided, and the journal entries it went into."""

    results: list[Decision] = field(default_factory=list)
    entries: list[Any] = field(default_factory=list)  # store Refs; ids are known after the commit
    seen: int = 0  # the journal id of the same mail, where it came before
