"""The one way in: mail and the organizer's commands become decisions in one transaction (design.md, rule 5)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from itipd.itip.model import Decision


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail as a door took it: `recipients` are the addresses given at RCPT that are served here."""

    sender: str  # envelope sender, "" for the null sender
    recipients: tuple[str, ...]
    raw: bytes
    received_at: datetime  # aware, UTC
    client: str = ""  # address of the client, for the log
    door: str = "smtp"  # smtp, lmtp, submission, http, replay, ingest


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was committed for one mail or command: its journal id and a decision for every component."""

    id: int
    results: tuple[Decision, ...]
