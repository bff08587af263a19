"""The one frozen `Config`: every key with its type and default.

`config_load.load` makes it from `itipd.toml`, `ITIPD_SECTION__KEY` variables and options. Durations are seconds, sizes
bytes, paths absolute. It is only data: nothing here opens, connects or listens.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cached_property
from importlib.util import find_spec
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from itipd.config_values import (
    Address,
    Aliases,
    Count,
    Database,
    Duration,
    Endpoint,
    HostName,
    Language,
    Listen,
    ListenUnix,
    Location,
    Network,
    Organizer,
    Port,
    Size,
    Words,
    size,
)
from itipd.itip.model import Policy

if TYPE_CHECKING:
    from itipd.mail.reading import ReadSettings

KIB = 1024
MIB = 1024 * KIB
STRUCTURE = 25  # components of any kind for each that is decided: alarms, time zones and what is in them
LOOPBACK: tuple[Network, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))


def processors() -> int:
    """How many this process may use: in a container, or under taskset, fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class Section(BaseModel):
    """A table of the file: its keys, no others, unchangeable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Listener(Section):
    """One mail door: where it listens and what it allows a client."""

    listen: Listen = None  # None: off, written as `-`
    tls_cert: Location | None = None  # with both: STARTTLS is offered
    tls_key: Location | None = None
    max_message_size: Size = 10 * MIB  # bytes; read from [smtp], the same for all mail doors
    max_connections: Count = 1000
    max_connections_per_client: Count = 100
    trusted_networks: Words[Network] = LOOPBACK  # whose clients no limit per client applies to

    @model_validator(mode="after")
    def _cert_and_key(self) -> Listener:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("found only one of tls_cert and tls_key, expected both or neither")
        return self


class Smtp(Listener):
    listen: Listen = Endpoint("127.0.0.1", 8025)


class Lmtp(Listener):
    listen: ListenUnix = Endpoint("127.0.0.1", 8024)


class Submission(Listener):
    listen: Listen = Endpoint("127.0.0.1", 8587)
    forward: bool = False  # also send the application's mail on to its recipients


class Http(Section):
    listen: Listen = Endpoint("127.0.0.1", 8080)
    token: str | None = Field(default=None, min_length=1, repr=False)  # what `Authorization: Bearer` must carry
    names: Words[HostName] = ()  # further names that the Host header may carry

    @model_validator(mode="after")
    def _open_only_at_home(self) -> Http:
        # The API changes meetings and shows everybody's answers.
        if self.token is None and self.listen is not None and not _loopback(self.listen.host):
            raise ValueError(f"found listen {self.listen} without a token, expected a token, or a loopback address")
        return self


class Relay(Section):
    """Where outgoing mail goes: a host, or a folder of .eml files, or (neither) nowhere: it waits."""

    host: str | None = Field(default=None, min_length=1)
    port: Port | None = None  # default: 465 for `implicit`, else 25
    tls: Literal["opportunistic", "verify", "implicit", "off"] = "opportunistic"
    username: str | None = None
    password: str | None = Field(default=None, repr=False)
    directory: Location | None = None
    return_path: Literal["tagged", "plain"] = "tagged"

    @model_validator(mode="after")
    def _one_way_out(self) -> Relay:
        if self.host is not None and self.directory is not None:
            raise ValueError("found both host and directory, expected one of them")
        if (self.username is None) != (self.password is None):
            raise ValueError("found only one of username and password, expected both or neither")
        return self

    @property
    def effective_port(self) -> int:
        """The port to connect to (RFC 8314 §7.3: 465 is TLS from the first byte)."""
        return self.port or (465 if self.tls == "implicit" else 25)


class PolicySection(Section):
    """What is a matter of taste (rules.md); a meeting may differ."""

    sender: Literal["token", "dmarc", "from", "any"] = "from"
    party_crasher: Literal["held", "added", "no_action"] = "held"
    counter: Literal["hold", "decline", "accept"] = "hold"
    stale_reply: Literal["resend", "ignore"] = "resend"
    delegation: Literal["allow", "forbid"] = "allow"
    location: Literal["minor", "significant"] = "minor"
    freebusy: Literal["off", "known", "any"] = "off"
    forward_to: Address | None = None  # who also gets mail without a calendar


class Identity(Section):
    """Which addresses are the same person, and whose word about a sender counts."""

    aliases: Aliases = Field(default_factory=dict)
    plus_tag: bool = False
    authserv_ids: Words[str] = ()
    dkim: Literal["off", "on"] = "off"  # whether signatures are checked here, where no relay does it
    tokens: Literal["off", "on"] = "off"  # whether each invitation asks for the answer at an address of its own

    @model_validator(mode="after")
    def _has_its_library(self) -> Identity:
        if self.dkim == "on" and find_spec("dkim") is None:
            raise ValueError("found dkim = \"on\" without its library, expected the extra: pip install 'itipd[dkim]'")
        return self


class Texts(Section):
    language: Language = "en"  # of outgoing mails
    templates: Location | None = None


class Readers(Section):
    """The processes that read mail, and what one mail may cost them."""

    count: Count = Field(default_factory=lambda: max(1, min(4, processors() - 1)))  # one is the daemon's own
    deadline: Duration = 5.0  # seconds
    memory: Size = 512 * MIB


class Limits(Section):
    """What of one mail is read; beyond a bound it is an `error` with that bound's reason."""

    header_block: Size = 64 * KIB  # of the mail, or of one of its parts: too_many_headers
    headers: Count = 500  # fields in one block: too_many_headers
    header: Size = 8 * KIB  # a longer field is passed over
    parts: Count = 200  # too_many_parts
    part_depth: Count = 20  # nested_too_deep
    calendar: Size = MIB  # one calendar, decoded: too_large
    properties: Count = 30_000  # lines of one calendar: too_many_properties
    line: Size = 512 * KIB  # characters of one of them, unfolded: line_too_long
    components: Count = 200  # of one mail, without alarms and time zones: too_many_components
    component_depth: Count = 8  # nested_too_deep
    attendees: Count = 5  # of a REPLY: too_many_attendees
    counter_attendees: Count = 1_000  # of a COUNTER, which may list everybody: too_many_attendees
    expansion: Count = 2_000  # steps to follow one recurrence rule: rule_too_costly


class Retention(Section):
    """How long things are kept, in seconds; None: for ever."""

    mail: Duration | None = None  # the bytes of received mail
    outcomes: Duration | None = None  # what was decided and why, and then the mail too
    sent: Duration | None = None  # mail that was sent or has failed


class Log(Section):
    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Config(Section):
    """Everything that is configured. Durations are seconds, sizes bytes, paths absolute."""

    organizers: Words[Organizer] = ()  # patterns; empty: any recipient is an organizer
    database: Database = Field(default="sqlite:///itipd.db", validate_default=True)
    disk_reserve: Size = 64 * MIB  # free bytes that new mail leaves on the disk of an SQLite database
    drain_timeout: Duration = 10.0
    smtp: Smtp = Field(default_factory=Smtp)
    lmtp: Lmtp = Field(default_factory=Lmtp)
    submission: Submission = Field(default_factory=Submission)
    http: Http = Field(default_factory=Http)
    relay: Relay = Field(default_factory=Relay)
    rules: PolicySection = Field(default_factory=PolicySection, alias="policy")
    identity: Identity = Field(default_factory=Identity)
    texts: Texts = Field(default_factory=Texts)
    readers: Readers = Field(default_factory=Readers)
    limits: Limits = Field(default_factory=Limits)
    retention: Retention = Field(default_factory=Retention)
    log: Log = Field(default_factory=Log)

    @model_validator(mode="before")
    @classmethod
    def _one_size(cls, data: Any) -> Any:
        # [smtp] max_message_size governs all mail doors, so the two others take it over.
        if not isinstance(data, dict):
            return data
        smtp = data.get("smtp")
        given: dict[str, int] = {}
        if isinstance(smtp, dict) and "max_message_size" in smtp:
            with suppress(ValueError):  # it is told once, for [smtp]
                given["max_message_size"] = size(smtp["max_message_size"])
        doors = {name: data.get(name, {}) for name in ("lmtp", "submission")}
        for name, door in doors.items():
            if isinstance(door, dict) and "max_message_size" in door:
                raise ValueError(
                    f"found max_message_size in [{name}], expected it in [smtp]: it governs all mail doors"
                )
        return data | {name: door | given for name, door in doors.items() if isinstance(door, dict)}

    def trusts(self, client: str) -> bool:
        """Whether a client may vouch with Authentication-Results; no address means one of our own doors."""
        try:
            address = ip_address(client)
        except ValueError:
            return True
        return any(address in network for network in self.smtp.trusted_networks)

    @cached_property
    def reading(self) -> ReadSettings:
        """What reading a mail needs of the configuration: [limits] and [identity]."""
        from itipd.itip.unfold import Limits as CalendarLimits
        from itipd.mail.headers import MailLimits
        from itipd.mail.reading import ReadSettings  # only who reads mail loads all that reads it

        bounds = self.limits
        mail = MailLimits(
            header_block=bounds.header_block,
            header=bounds.header,
            headers=bounds.headers,
            parts=bounds.parts,
            depth=bounds.part_depth,
            part=bounds.calendar,
        )
        calendar = CalendarLimits(
            size=bounds.calendar,
            lines=bounds.properties,
            line=bounds.line,
            components=STRUCTURE * bounds.components,
            depth=bounds.component_depth,
            attendees=bounds.attendees,
            counter_attendees=bounds.counter_attendees,
        )
        return ReadSettings(
            authserv_ids=self.identity.authserv_ids,
            mail=mail,
            calendar=calendar,
            components=bounds.components,
            steps=bounds.expansion,
            dkim=self.identity.dkim == "on",
        )

    @cached_property
    def policy(self) -> Policy:
        """The policy as the core takes it: [policy], [identity] and the organizers."""
        return Policy(
            **self.rules.model_dump(exclude={"forward_to"}),
            aliases=self.identity.aliases,
            plus_tag=self.identity.plus_tag,
            organizers=self.organizers,
        )
