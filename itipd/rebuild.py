"""The journal is the truth (design.md, rule 8): plays it into a new database, and says where the two differ.

What is not in the journal is not compared: what became of outgoing mail after it was put into the outbox, and the
SCHEDULE-STATUS that came of it. The configuration is the present one; another policy then is a difference now.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from itipd.inbox import Inbox
from itipd.itip.attendance import status
from itipd.orders import Mail, unpack
from itipd.scenario import differences
from itipd.store import Store
from itipd.store.mails import JournalRow

CHUNK = 500  # rows that are read at once
SHOWN = 100  # differences that are told


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """How much was played, and what differs (at most `SHOWN` lines; [] = equal)."""

    entries: int
    meetings: int
    differences: list[str]


async def rebuild(source: Store, target: Store, inbox: Inbox, advance: Callable[[], None]) -> Rebuilt:
    """Plays the journal of `source` through `inbox`, which works on the new `target`, and compares the two."""
    entries = 0
    async for row in _journal(source):
        await _play(row, inbox)
        entries += 1
        advance()
    found: list[str] = []
    count = 0
    keys = dict.fromkeys([*await source.meeting_keys(), *await target.meeting_keys()])
    for organizer, uid in keys:
        count += 1
        old, new = await _meeting(source, organizer, uid), await _meeting(target, organizer, uid)
        found += differences(old, new, f"{organizer} {uid}")
        if len(found) >= SHOWN:
            return Rebuilt(entries, count, found[:SHOWN])
    found += differences(await _outgoing(source), await _outgoing(target), "outbox")
    return Rebuilt(entries, count, found[:SHOWN])


async def _journal(source: Store) -> AsyncIterator[JournalRow]:
    last = 0
    while rows := await source.journal_from(last, CHUNK):
        for row in rows:
            yield row
        last = rows[-1].id


async def _play(row: JournalRow, inbox: Inbox) -> None:
    if row.kind not in ("mail", "submission"):
        await inbox.command(unpack(zlib.compress(row.raw, 1)), at=row.received_at)
        return
    mail = Mail(
        sender=row.sender,
        recipients=row.recipients,
        raw=row.raw,
        received_at=row.received_at,
        client=row.client,
        door="submission" if row.kind == "submission" else "replay",
        trusted=inbox.config.trusts(row.client),
    )
    await inbox.settle(mail, await inbox.read(mail), only=row.organizer)


async def _meeting(store: Store, organizer: str, uid: str) -> dict[str, Any] | None:
    meeting = await store.meeting(uid, organizer)
    if meeting is None:
        return None
    deadline = meeting.deadline_at.isoformat() if meeting.deadline_at is not None else None
    found = status(meeting) | {"policy": dict(meeting.policy), "deadline": deadline}
    for people in (found["attendees"], *(instance["attendees"] for instance in found["instances"])):
        for person in people:
            del person["schedule_status"]
    return found


async def _outgoing(store: Store) -> list[dict[str, Any]]:
    keys = ("method", "to", "uid", "recurrence_id", "sequence", "reason", "message_id")
    after: int | None = 0
    found = []
    while after is not None:
        lines, after = await store.outbox_list(limit=CHUNK, after=after)
        found += [{key: line[key] for key in keys} for line in lines]
    return found
