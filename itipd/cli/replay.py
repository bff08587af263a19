"""`itipd replay`: mails from files through the inbox, and scenario folders with their transcripts."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from itipd.cli import output
from itipd.cli.base import BAD_DATA, TRY_AGAIN, WRONG, App, Command, Failure, pass_app, run
from itipd.cli.times import Time
from itipd.cli.transcripts import accept, check, progress, sentence, show
from itipd.itip.model import Decision
from itipd.itip.outcomes import Outcome, Reason
from itipd.itip.transcript import result

if TYPE_CHECKING:
    from itipd.cli.runtime import Pools
    from itipd.cli.send import Sender
    from itipd.config import Config
    from itipd.replay import Delivered, Door, Item, Scenario
    from itipd.scenario import Player

AHEAD = 32
"""So many mails are under way at once: they share commits."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to play."""

    paths: tuple[Path, ...]
    dry_run: bool
    fresh: bool
    now: datetime | None
    meetings: tuple[Path, ...]
    smtp: str | None
    check: bool
    accept: bool

    def calendars(self) -> Iterator[tuple[Path, bytes]]:
        """The files of --meeting."""
        for file in self.meetings:
            yield file, file.read_bytes()


@click.command(cls=Command)
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Write nothing: play on a temporary copy of the database.")
@click.option("--fresh", is_flag=True, help="Play on an empty temporary database.")
@click.option("--now", type=Time(), metavar="TIME", help="Where the clock starts; else at the first mail's Date.")
@click.option(
    "--meeting",
    "meetings",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Register the meetings in this file first, as --recorded.",
)
@click.option("--smtp", metavar="HOST:PORT", help="Send the mails to a running daemon instead.")
@click.option(
    "--check", is_flag=True, help="Compare scenario folders with their expected.json; exit 1 on a difference."
)
@click.option("--accept", is_flag=True, help="Write the scenario folders' expected.json anew.")
@pass_app
def replay(app: App, /, **options: Any) -> None:
    """Play .eml files, mboxes, Maildirs, folders of mail, or scenario folders, in order."""
    chosen = Options(**options)
    together = [name for name in ("check", "accept", "smtp") if getattr(chosen, name)]
    together += ["fresh or dry-run"] if chosen.smtp and (chosen.fresh or chosen.dry_run) else []
    if len(together) > 1 or (chosen.fresh and chosen.dry_run):
        raise click.UsageError("--check, --accept, --smtp exclude each other, so do --fresh, --dry-run and --smtp.")
    code = run(Play(app, app.config(), chosen).all())
    if code:
        sys.exit(code)


@dataclass(slots=True)
class Play:
    """One call of `itipd replay`. What it needs is opened when the first mail or folder needs it."""

    app: App
    config: Config
    options: Options
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    pools: Pools = field(init=False)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    mails: int = 0
    folders: int = 0
    wrong: int = 0
    code: int = 0
    _door: Door | None = None
    _under_way: deque[tuple[Item, asyncio.Task[Delivered]]] = field(default_factory=deque)
    _player: Player | None = None
    _sender: Sender | None = None

    async def all(self) -> int:
        """Plays everything; the exit code."""
        from itipd.cli.runtime import Pools
        from itipd.replay import Scenario

        async with self.stack:
            self.pools = await self.stack.enter_async_context(Pools())
            for item in self._items():
                if isinstance(item, Scenario):
                    await self._catch_up(0)
                    await self._folder(item.path)
                elif not (self.options.check or self.options.accept):
                    await self._mail(item)
            await self._catch_up(0)
        self._summary()
        return self.code

    def _items(self) -> Iterator[Item | Scenario]:
        from itipd.replay import walk

        with progress(self.options.paths, as_json=self.app.as_json) as advance:
            for path in self.options.paths:
                try:
                    for item in walk(path, self.config.smtp.max_message_size):
                        yield item
                        advance(item)
                except OSError as error:
                    found = error.filename or path
                    raise Failure(f"{found}: found it unreadable ({error.strerror})", BAD_DATA) from None

    # -- mails ---------------------------------------------------------------------------------------------------

    async def _mail(self, item: Item) -> None:
        self.mails += 1
        if item.raw is None:
            await self._catch_up(0)
            too_large = Decision(Outcome.ERROR, Reason.TOO_LARGE)
            self._print(_line(item, None) | {"results": [result(too_large)]})
        elif self.options.smtp:
            self._print({"source": item.source} | await self._send(item.raw))
        else:
            if self._door is None:
                self._door = await self._open(item.raw)
            self._under_way.append((replace(item, raw=None), await self._door.begin(item.raw)))
            await self._catch_up(AHEAD)

    async def _catch_up(self, left: int) -> None:
        """Waits for and prints what is under way, in order, until only so many are."""
        while len(self._under_way) > left:
            item, task = self._under_way.popleft()
            self._print(_line(item, await task))

    async def _open(self, raw: bytes) -> Door:
        """Database, inbox and clock, at the first mail, whose Date starts the clock."""
        from itipd.cli.runtime import now, open_inbox, open_store, temporary
        from itipd.replay import Clock, Door, envelope
        from itipd.scenario import ScenarioError, Stage

        config = self.config
        if self.options.fresh or self.options.dry_run:
            config = await self.stack.enter_async_context(temporary(config, copy=self.options.dry_run))
        readers = await self.pools.get(config)
        store = await self.stack.enter_async_context(open_store(config))
        inbox = await self.stack.enter_async_context(open_inbox(store, readers, config))
        door = Door(config, readers, inbox, Clock(self.options.now or envelope(raw).date or now()))
        for file, calendar in self.options.calendars():
            try:
                await Stage(store, door).register(calendar)
            except ScenarioError as error:
                raise Failure(f"{file}: {error}", BAD_DATA) from None
        return door

    async def _send(self, raw: bytes) -> dict[str, Any]:
        from itipd.cli.send import Sender

        if self._sender is None:
            readers = await self.pools.get(self.config)
            self._sender = await self.stack.enter_async_context(Sender(self.options.smtp or "", readers, self.config))
        line = await self._sender.send(raw)
        if not line["response"].startswith("2"):
            self.wrong += 1
            self.code = self.code or (TRY_AGAIN if line["response"].startswith("4") else WRONG)
        return line

    def _print(self, line: dict[str, Any]) -> None:
        for found in line["results"]:
            self.counts[found["outcome"], found["reason"]] += 1
        if self.app.as_json:
            output.one(line)
            return
        for found in line["results"]:
            output.say(f"{output.cell(line['source'])}: {sentence(found)}")
        if not line["results"]:
            said = line.get("response") or "no recipient is an organizer here; nothing was decided"
            output.say(f"{output.cell(line['source'])}: {output.cell(said)}")

    # -- scenario folders ----------------------------------------------------------------------------------------

    async def _folder(self, path: Path) -> None:
        from itipd.cli.runtime import open_inbox
        from itipd.scenario import Player, ScenarioError, read_folder

        if self.options.smtp:
            raise Failure(f"{path}: found a scenario folder, expected mail: --smtp sends only mail", BAD_DATA)
        if self._player is None:
            self._player = Player(self.pools.get, open_inbox, self.options.now)
            self.stack.callback(self._player.close)
        self.folders += 1
        try:
            found = await self._player.play(read_folder(path))
        except ScenarioError as error:
            click.echo(f"itipd: {output.cell(str(error))}", err=True)
            self.wrong, self.code = self.wrong + 1, BAD_DATA
            return
        if self.options.accept:
            accept(path / "expected.json", found, as_json=self.app.as_json)
        elif self.options.check:
            if not check(path / "expected.json", found, as_json=self.app.as_json):
                self.wrong, self.code = self.wrong + 1, self.code or WRONG
        elif self.app.as_json:
            output.one(found)
        else:
            show(found)

    def _summary(self) -> None:
        if (self.options.check or self.options.accept) and not self.folders:
            raise Failure("found no scenario folder there, expected one: a given.ics or numbered steps", BAD_DATA)
        if self.app.as_json:
            return
        if self.options.check:
            output.say(
                f"{self.folders} scenarios, {self.wrong} differ."
                if self.wrong
                else f"{self.folders} scenarios, all as expected."
            )
        if self.mails:
            output.say(f"\n{self.mails} mails")
            rows = [(number, *words) for words, number in sorted(self.counts.items())]
            if rows:
                output.table(("results", "outcome", "reason"), rows)


def _line(item: Item, found: Delivered | None) -> dict[str, Any]:
    if found is None:
        return {"source": item.source, "message_id": None, "from": None, "to": [], "results": []}
    sender = found.envelope.from_ or found.envelope.sender
    return {
        "source": item.source,
        "message_id": found.envelope.message_id,
        "from": sender,
        "to": list(found.to),
        "results": found.results,
    }
