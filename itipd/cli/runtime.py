"""The one place that constructs things: store, readers, inbox, outbox. Commands ask for what they need of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from itipd.cli.base import BAD_CONFIG, TRY_AGAIN, Failure
from itipd.config import Config
from itipd.config_values import shown_url
from itipd.store import Conflict, Store, StoreError

if TYPE_CHECKING:
    from itipd.inbox import Inbox
    from itipd.mail.reading import ReadSettings
    from itipd.readers import Readers


@dataclass(frozen=True, slots=True)
class Parts:
    """What a command works with."""

    config: Config
    store: Store
    inbox: Inbox


def now() -> datetime:
    """The time, in UTC: the only place where a command looks at the clock."""
    return datetime.now(UTC)


@asynccontextmanager
async def open_store(config: Config) -> AsyncIterator[Store]:
    """The configured database, migrated, closed at the end. Its errors become Failures, here and in the body."""
    with _failures(config, BAD_CONFIG if config.database.startswith("sqlite") else TRY_AGAIN):
        store = await Store.open(config.database)
    try:
        with _failures(config, TRY_AGAIN):
            yield store
    finally:
        await store.close()


@contextmanager
def _failures(config: Config, code: int) -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        raise Failure(
            f"{shown_url(config.database)}: {error}", TRY_AGAIN if isinstance(error, Conflict) else code
        ) from None


@asynccontextmanager
async def open_all(config: Config) -> AsyncIterator[Parts]:
    """Store and inbox, for the organizer's commands: they read no mail, so there are no reader processes."""
    async with open_store(config) as store, open_inbox(store, None, config) as inbox:
        yield Parts(config, store, inbox)


@asynccontextmanager
async def open_inbox(
    store: Store, readers: Readers | None, config: Config, on_send: Callable[[], None] | None = None
) -> AsyncIterator[Inbox]:
    """The inbox, started, and stopped at the end. `on_send` is called when something was put into the outbox."""
    from itipd.inbox import Inbox

    quiet()
    inbox = Inbox(store, readers, config, on_send=on_send)
    await inbox.start()
    try:
        yield inbox
    finally:
        await inbox.stop()


def quiet() -> None:
    """Commands show only warnings, on stderr. The daemon has configured its log before it comes here."""
    import structlog

    from itipd.log import configure

    if not structlog.is_configured():
        configure(level="warning")


@asynccontextmanager
async def temporary(config: Config, *, copy: bool) -> AsyncIterator[Config]:
    """`config` on a temporary database, empty or (`copy`) with all that is in the configured one."""
    with TemporaryDirectory(prefix="itipd-") as folder:
        file = Path(folder) / "itipd.db"
        if copy:
            async with open_store(config) as store:
                await _copy(store, config, file)
        yield config.model_copy(update={"database": f"sqlite:///{file}"})


async def _copy(store: Store, config: Config, file: Path) -> None:
    if config.database.startswith("sqlite"):
        await store.backup(file)
        return
    target = await Store.open(f"sqlite:///{file}")
    try:
        await store.copy(target)
    finally:
        await target.close()


@dataclass(slots=True)
class Pools:
    """Reader processes, one pool for each way of reading; `async with` ends them all."""

    count: int | None = None  # None: as configured
    _started: dict[ReadSettings, Readers] = field(default_factory=dict)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def __aenter__(self) -> Pools:
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        await self._stack.aclose()
        if error is not None and self._started:
            from itipd.readers import ReadersError

            if isinstance(error, ReadersError):
                raise Failure(f"reader processes: {error}", TRY_AGAIN) from None

    async def get(self, config: Config) -> Readers:
        """The pool for `config`, started at its first use."""
        from itipd.readers import Readers

        quiet()
        settings = config.reading
        readers = self._started.get(settings)
        if readers is None:
            count = self.count or config.readers.count
            limits = config.readers
            readers = await Readers.start(count, settings, deadline=limits.deadline, memory=limits.memory)
            self._started[settings] = readers
            self._stack.push_async_callback(readers.stop)
        return readers
