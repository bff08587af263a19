"""The journal is the truth (design.md, rule 8): plays it into a new database, and says where the two differ.

What became of outgoing mail is no decision but something that happened: the attempts to send it are played between the
entries of the journal, each at its time, and say the same about how an attendee is reached (SCHEDULE-STATUS). The
configuration is the present one; another policy then is a difference now.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from itipd.inbox import Inbox
from itipd.itip.attendance import status
from itipd.orders import Mail, unpack
from itipd.scenario import differences
from itipd.store import Store
from itipd.store.carry import Attempt
from itipd.store.mails import JournalRow

Row = dict[str, Any]

CHUNK = 500  # rows that are read at once
SHOWN = 100  # differences that are told


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """How much was played, and what differs (at most `SHOWN` lines; [] = equal).

    `unproven`: the meetings that were not compared, because something of their journal was removed, and why.
    """

    entries: int
    meetings: int
    differences: list[str]
    unproven: list[str]


async def rebuild(source: Store, target: Store, inbox: Inbox, advance: Callable[[], None]) -> Rebuilt:
    """Plays the journal of `source` through `inbox`, which works on the new `target`, and compares the two."""
    entries = 0
    sent = _Sent(source, target)
    async for row in _journal(source):
        await sent.until(row.received_at)
        if row.raw:  # else it was purged, or forgotten
            await _play(row, inbox)
        entries += 1
        advance()
    await sent.until(None)
    old_mail, new_mail = [row async for row in _ends(source)], [row async for row in _ends(target)]
    for first in range(0, len(old_mail), CHUNK):
        await target.carry_ends(old_mail[first : first + CHUNK])
    gone = await _purged(source, old_mail, new_mail)
    gaps = await source.unproven()
    unproven = [f"{organizer} {uid}: {why}" for (organizer, uid), why in gaps.items()]
    forgotten = {(row["organizer"], row["uid"]) for row in gone}
    found: list[str] = []
    count = 0
    keys = dict.fromkeys([*await source.meeting_keys(), *await target.meeting_keys()])
    for key in keys:
        if key in gaps:
            continue
        count += 1
        old, new = await _meeting(source, *key), await _meeting(target, *key)
        if key in forgotten:
            _unreached(old)
            _unreached(new)
        found += differences(old, new, " ".join(key))
        if len(found) >= SHOWN:
            return Rebuilt(entries, count, found[:SHOWN], unproven)
    missing = {row["message_id"] for row in gone}
    new_mail = [row async for row in _ends(target) if row["message_id"] not in missing]
    found += differences(_outgoing(old_mail, gaps), _outgoing(new_mail, gaps), "outbox")
    return Rebuilt(entries, count, found[:SHOWN], unproven)


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


class _Sent:
    """The attempts of `source`, played into `target` in their order."""

    def __init__(self, source: Store, target: Store) -> None:
        self._source = source
        self._target = target
        self._read: list[Attempt] = []
        self._last = 0
        self._early: list[Attempt] = []  # written before their mail: the clocks of two nodes differ

    async def until(self, moment: datetime | None) -> None:
        """Those that were made before `moment`; None: all."""
        while True:
            if not self._read:
                self._read = await self._source.attempts_from(self._last, CHUNK)
            count = next((n for n, one in enumerate(self._read) if moment is not None and one.at >= moment), CHUNK)
            now, self._read = self._read[:count], self._read[count:]
            if not now:
                break
            self._last = now[-1].id
            self._early = await self._target.carry_attempts([*self._early, *now])
        if moment is None and self._early:
            await self._target.carry_attempts(self._early)


async def _ends(store: Store) -> AsyncIterator[Row]:
    last = 0
    while rows := await store.ends_from(last, CHUNK):
        for row in rows:
            yield row
        last = rows[-1]["id"]


async def _purged(source: Store, old: list[Row], new: list[Row]) -> list[Row]:
    """What was put into the outbox again and is no more in the old one, because it was purged after it was sent."""
    before = await source.sent_since()
    there = {row["message_id"] for row in old}
    return [row for row in new if before is not None and row["created_at"] < before and row["message_id"] not in there]


async def _meeting(store: Store, organizer: str, uid: str) -> dict[str, Any] | None:
    meeting = await store.meeting(uid, organizer)
    if meeting is None:
        return None
    deadline = meeting.deadline_at.isoformat() if meeting.deadline_at is not None else None
    return status(meeting) | {"policy": dict(meeting.policy), "deadline": deadline}


def _unreached(found: dict[str, Any] | None) -> None:
    """Without what purged mail said about how attendees are reached."""
    for people in (found["attendees"], *(one["attendees"] for one in found["instances"])) if found else ():
        for person in people:
            del person["schedule_status"]


def _outgoing(found: list[Row], gaps: Mapping[tuple[str, str], str]) -> list[Row]:
    keys = ("message_id", "recipient", "method", "uid", "rid", "sequence", "reason", "state", "attempts", "last_error")
    rows = [{key: row[key] for key in keys} for row in found if (row["organizer"], row["uid"]) not in gaps]
    # Several nodes gave the ids in another order than one does now.
    return sorted(rows, key=lambda row: (row["uid"], row["message_id"]))
