"""Scenario folders: a meeting's life as files, played through the real inbox on a clock of its own (interface.md).

`given.ics`, `policy.toml` and numbered steps go in; the transcript comes out, which `expected.json` holds. The player
only reads files, moves the clock and calls the inbox: nothing is decided here.
"""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from itipd.config import Config
from itipd.config_load import ConfigError, load
from itipd.inbox import Inbox
from itipd.itip.attendance import status
from itipd.itip.incoming import incoming
from itipd.itip.outcomes import Outcome
from itipd.itip.own_policy import WORDS
from itipd.itip.transcript import result
from itipd.orders import (
    AcceptHeld,
    AcceptProposal,
    Cancel,
    DeclineProposal,
    Order,
    Put,
    RejectHeld,
    Remind,
    SetPolicy,
)
from itipd.readers import Readers
from itipd.replay import SECOND, STEP, Clock, Door, envelope
from itipd.scheduler import order_of
from itipd.store.due import Due
from itipd.store.store import Store

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)  # where no mail has a Date
KEYS = {
    "cancel": {"uid", "instance", "organizer"},
    "remind": {"uid", "attendee", "organizer"},
    "accept": {"uid", "instance", "attendee", "organizer"},
    "decline": {"uid", "instance", "attendee", "organizer"},
    "held-accept": {"uid", "instance", "attendee", "organizer"},
    "held-reject": {"uid", "instance", "attendee", "organizer"},
    "policy": {"uid", "organizer", *WORDS},
}
"""The commands of a .toml step and the keys that each takes."""

_NAMED: dict[str, Callable[..., Order]] = {
    "accept": AcceptProposal,
    "decline": DeclineProposal,
    "held-accept": AcceptHeld,
    "held-reject": RejectHeld,
}

OpenInbox = Callable[[Store, Readers, Config], AbstractAsyncContextManager[Inbox]]


class ScenarioError(ValueError):
    """A folder that cannot be played: the file, what was found, what was expected."""


@dataclass(frozen=True, slots=True)
class Step:
    """A numbered file."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Folder:
    """A scenario folder, read."""

    path: Path
    name: str
    given: bytes | None
    policy: Path | None
    steps: tuple[Step, ...]

    @property
    def first_date(self) -> datetime | None:
        """The Date of the first mail that has one."""
        dates = (envelope(step.data).date for step in self.steps if step.name.endswith(".eml"))
        return next((date for date in dates if date is not None), None)


def read_folder(path: Path) -> Folder:
    """The files of a scenario folder, its steps in order of their number. Raises ScenarioError, OSError."""
    found = []
    for inner in path.iterdir():
        match = STEP.fullmatch(inner.name)
        if match:
            found.append((int(match[1]), inner.name, inner))
        elif inner.name[:1].isdigit() and not inner.name.endswith("~"):
            raise ScenarioError(
                f"{inner}: found another kind of numbered file, expected NUMBER-NAME.eml, .ics or .toml"
            )
    given, policy = path / "given.ics", path / "policy.toml"
    return Folder(
        path=path,
        name=path.absolute().name,
        given=given.read_bytes() if given.is_file() else None,
        policy=policy if policy.is_file() else None,
        steps=tuple(Step(name, file.read_bytes()) for _, name, file in sorted(found)),
    )


@dataclass(slots=True)
class Player:
    """Plays folders one after the other; `readers` gives the pool for a configuration, `open_inbox` the inbox."""

    readers: Callable[[Config], Awaitable[Readers]]
    open_inbox: OpenInbox
    now: datetime | None = None
    _home: TemporaryDirectory[str] = field(default_factory=lambda: TemporaryDirectory(prefix="itipd-"))
    _empty: Path | None = None

    async def play(self, folder: Folder) -> dict[str, Any]:
        """The transcript of one folder. Raises ScenarioError."""
        with TemporaryDirectory(dir=self._home.name) as home:
            config = _configuration(folder, await self._database(Path(home)))
            readers = await self.readers(config)
            store = await Store.open(config.database)
            try:
                async with self.open_inbox(store, readers, config) as inbox:
                    clock = Clock(self.now or folder.first_date or EPOCH)
                    return await Stage(store, Door(config, readers, inbox, clock)).perform(folder)
            finally:
                await store.close()

    async def _database(self, home: Path) -> Path:
        """A fresh database: a copy of an empty one that was made once."""
        if self._empty is None:
            self._empty = Path(self._home.name) / "empty.db"
            await (await Store.open(f"sqlite:///{self._empty}")).close()
        shutil.copy(self._empty, home / "itipd.db")
        return home / "itipd.db"

    def close(self) -> None:
        """Removes the temporary databases."""
        self._home.cleanup()


def _configuration(folder: Folder, database: Path) -> Config:
    # The folder alone says what happens in it: no environment, no itipd.toml.
    options = {"database": f"sqlite:///{database}"}
    if folder.policy is None:
        return Config.model_validate(options)
    try:
        return load(folder.policy, options, environ={})
    except ConfigError as error:
        raise ScenarioError(str(error)) from None


@dataclass(slots=True)
class Stage:
    """Where a folder is played: its database and the door into it."""

    store: Store
    door: Door

    async def perform(self, folder: Folder) -> dict[str, Any]:
        """Every step in order, and what is there afterwards."""
        if folder.given is not None:
            await self.register(folder.given)
        steps = []
        for step in folder.steps:
            steps += await self.due(step)
            steps.append({"step": step.name, "results": await self.step(folder, step)})
        return {
            "scenario": folder.name,
            "steps": steps,
            "meetings": await meetings(self.store),
            "outbox": await outgoing(self.store),
        }

    async def register(self, calendar: bytes) -> None:
        """The meetings as they were before: recorded, nothing is sent."""
        for found in incoming(calendar):
            receipt = await self.door.inbox.command(Put(found, "none", recorded=True), at=self.door.clock.now)
            for decision in receipt.results:
                if decision.outcome is Outcome.ERROR:
                    raise ScenarioError(f"{decision.uid or 'a component'}: found {decision.reason} ({decision.detail})")

    async def due(self, step: Step) -> list[dict[str, Any]]:
        """What meetings do by themselves until this step happens, each at its time, as steps of their own."""
        clock, found = self.door.clock, []
        at = clock.now + SECOND
        if step.name.endswith(".eml"):
            at = max(clock.now, envelope(step.data).date or clock.now)
        last: Due | None = None
        while page := await self.store.due(at, 1, last):
            (last,) = page
            receipt = await self.door.inbox.command(order_of(last), at=clock.reach(last.at))
            name = f"{last.word} {last.at:%Y-%m-%dT%H:%M:%SZ}"
            found.append({"step": name, "results": [result(decision) for decision in receipt.results]})
        return found

    async def step(self, folder: Folder, step: Step) -> list[dict[str, Any]]:
        """The results of one numbered file."""
        if step.name.endswith(".eml"):
            submission = step.name.endswith(".submission.eml")
            return (await self.door.deliver(step.data, submission=submission)).results
        at = self.door.clock.tick()
        if step.name.endswith(".ics"):
            receipts = [await self.door.inbox.command(Put(found), at=at) for found in incoming(step.data)]
            return [result(decision) for receipt in receipts for decision in receipt.results]
        order = self.order(folder.path / step.name, step.data)
        receipt = await self.door.inbox.command(order, at=at)
        return [result(decision) for decision in receipt.results]

    def order(self, file: Path, data: bytes) -> Order:
        """The organizer's command that a .toml step holds."""
        try:
            values = tomllib.loads(data.decode())
        except ValueError as error:
            raise ScenarioError(f"{file}: found no TOML ({error}), expected TOML") from None
        command = values.pop("command", None)
        if command not in KEYS:
            raise ScenarioError(f"{file}: command: found {command!r}, expected one of {', '.join(KEYS)}")
        unknown = values.keys() - KEYS[command]
        if unknown or "uid" not in values:
            found = f"unknown keys {', '.join(sorted(unknown))}" if unknown else "no uid"
            raise ScenarioError(f"{file}: found {found}, expected of {command}: {', '.join(sorted(KEYS[command]))}")
        instance = values.pop("instance", None)
        if command == "cancel":
            rids = [instance] if isinstance(instance, str) else instance or []
            return Cancel(values["uid"], tuple(rids), values.get("organizer"))
        if command == "remind":
            one = values.get("attendee")
            return Remind(values["uid"], values.get("organizer"), (one,) if one else ())
        if command == "policy":
            words = tuple((name, _text(value)) for name, value in values.items() if name in WORDS)
            return SetPolicy(values["uid"], words, values.get("organizer"))
        return _NAMED[command](instance=instance, **values)


def _text(value: object) -> str:
    """A value of TOML as the command line would have it."""
    return value.isoformat() if isinstance(value, datetime) else str(value)


async def meetings(store: Store) -> list[dict[str, Any]]:
    """Every meeting as `itipd status UID --json`, in order of organizer and UID."""
    found = []
    for organizer, uid in sorted(await store.meeting_keys()):
        meeting = await store.meeting(uid, organizer)
        if meeting is not None:
            found.append(status(meeting))
    return found


async def outgoing(store: Store) -> list[dict[str, Any]]:
    """Everything in the outbox, in the order in which it was put there, with what a transcript says of it."""
    lines, _ = await store.outbox_list(limit=1_000_000)
    keys = ("method", "to", "uid", "recurrence_id", "sequence", "state")
    return [{key: line[key] for key in keys} for line in lines]


def differences(expected: object, found: object, where: str = "") -> list[str]:
    """What differs, a line each: `steps[0].results[0].outcome: expected "updated", found "held"`."""
    if isinstance(expected, dict) and isinstance(found, dict):
        lines = []
        for key in [*expected, *(key for key in found if key not in expected)]:
            place = f"{where}.{key}" if where else key
            if key not in found or key not in expected:
                side = "missing, expected" if key in expected else "not expected, found"
                lines.append(f"{place}: {side} {_short(expected.get(key, found.get(key)))}")
            else:
                lines += differences(expected[key], found[key], place)
        return lines
    if isinstance(expected, list) and isinstance(found, list):
        lines = [
            line
            for i, pair in enumerate(zip(expected, found, strict=False))
            for line in differences(*pair, f"{where}[{i}]")
        ]
        lines += [f"{where}[{i}]: missing, expected {_short(v)}" for i, v in enumerate(expected) if i >= len(found)]
        lines += [f"{where}[{i}]: not expected, found {_short(v)}" for i, v in enumerate(found) if i >= len(expected)]
        return lines
    same = expected == found and isinstance(expected, bool) == isinstance(found, bool)
    return [] if same else [f"{where}: expected {_short(expected)}, found {_short(found)}"]


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 300 else text[:299] + "…"
