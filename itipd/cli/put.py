"""`itipd meeting put`: a file of meetings through the inbox, many at once, what became of them in the file's order."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

from itipd.ahead import CutShortError, puts
from itipd.cli import output
from itipd.cli.base import TRY_AGAIN, App, Failure
from itipd.cli.meeting import report
from itipd.cli.runtime import open_all
from itipd.itip.model import Decision
from itipd.orders import Receipt

AHEAD = 256
"""So many meetings are under way at once: they share commits."""


async def put_all(app: App, file: Path, notify: str, recorded: bool) -> bool:
    """Registers the meetings in FILE and prints what became of each. False: something was wrong."""
    sound = True
    broken: CutShortError | None = None
    under_way: deque[asyncio.Task[Receipt]] = deque()

    async def caught_up(left: int) -> bool:
        """Waits for and prints what is under way, in order, until only so many are."""
        found: list[Decision] = []
        try:
            while len(under_way) > left:
                found += (await under_way.popleft()).results
        finally:
            good = report(app, found)
        return good

    async with open_all(app.config()) as parts:
        with _seekable(file) as path:
            async with aclosing(puts(path, notify, recorded, parts.config.reading.steps)) as windows:
                try:
                    async for window in windows:
                        under_way.extend(asyncio.create_task(parts.inbox.command(order)) for order in window)
                        await asyncio.sleep(0)  # they begin to wait for a commit before more is read
                        sound = await caught_up(AHEAD) and sound
                except CutShortError as error:
                    broken = error
        sound = await caught_up(0) and sound
    if broken is not None:
        raise Failure(f"{output.cell(str(file))}: {broken}; what is not named here was not registered", TRY_AGAIN)
    return sound


@contextmanager
def _seekable(file: Path) -> Iterator[Path]:
    """FILE; stdin goes through a temporary file, because it is read in two passes."""
    if str(file) != "-":
        yield file
        return
    with NamedTemporaryFile(prefix="itipd-", suffix=".ics") as spool:
        shutil.copyfileobj(sys.stdin.buffer, spool)
        spool.flush()
        yield Path(spool.name)
