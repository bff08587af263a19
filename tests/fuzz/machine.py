"""One process that fuzzes: an input in, its cost measured, what goes wrong caught, made smaller and kept.

What counts as wrong: an exception that is none of the room's own, more than so much CPU or memory for one input, and
the end of the process. The input under way stands in shared memory, so that the parent has it after a crash in C.
"""

from __future__ import annotations

import hashlib
import mmap
import resource
import signal
import struct
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType

from tests.fuzz.mutations import LONGEST, mutate
from tests.fuzz.rooms import Room

SLICE = 20  # times its share: executions in one room before the next one has its turn
FAR = 16  # every such input goes all the way, and each from which something new comes
AT_ONCE = 0.002  # seconds of CPU; who takes less has not filled much memory
MOST_NEW = 3000  # inputs of a room that are kept because something new came out of them
_HEAD = struct.Struct("<QII")  # finds, number of the room, length of the input
_COUNT = struct.Struct("<Q")  # executions of a room
_ROOMS = 32


@dataclass(frozen=True)
class Budget:
    """What one input may cost."""

    cpu: float = 1.0  # seconds
    memory: int = 64 << 20  # bytes that the process grows by


class TooSlow(BaseException):
    """The input's CPU time is over."""


class TooFat(Exception):  # noqa: N818
    """The process has grown by more than the input may cost."""


@dataclass
class Find:
    """An input that must not do what it does."""

    room: str
    data: bytes
    error: str  # its kind and the line of ours that it came from: finds that agree in it are one
    trace: str
    seconds: float = 0.0

    def save(self, folder: Path) -> Path:
        """The input in a file, how it failed in another beside it."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{self.room}-{hashlib.sha256(self.error.encode()).hexdigest()[:10]}.bin"
        file.write_bytes(self.data)
        file.with_suffix(".txt").write_text(f"{self.error}\n\n{self.trace}", encoding="utf-8", errors="replace")
        return file


class Window:
    """What a process is at and has done: shared with its parent, and still there when the process is not."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, _HEAD.size + _ROOMS * _COUNT.size + LONGEST)
        self.start = _HEAD.size + _ROOMS * _COUNT.size

    def show(self, room: int, data: bytes, finds: int) -> None:
        """The input that is tried next."""
        _HEAD.pack_into(self.memory, 0, finds, room, len(data))
        self.memory[self.start : self.start + len(data)] = data

    def count(self, room: int, done: int) -> None:
        _COUNT.pack_into(self.memory, _HEAD.size + room * _COUNT.size, done)

    def look(self) -> tuple[int, int, bytes]:
        """Finds, number of the room, input."""
        finds, room, length = _HEAD.unpack_from(self.memory)
        return finds, room, self.memory[self.start : self.start + length]

    def counts(self) -> list[int]:
        """Executions by room."""
        return [_COUNT.unpack_from(self.memory, _HEAD.size + room * _COUNT.size)[0] for room in range(_ROOMS)]


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """No more CPU time than that: TooSlow is raised inside."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def too_slow(_number: int, _frame: FrameType | None) -> None:
    raise TooSlow


class _Peak:
    """The most memory that this process ever had, in KB, as of the last look."""

    def __init__(self) -> None:
        self.known = 0

    def look(self) -> int:
        """By how many bytes it is more than at the last look."""
        before, self.known = self.known, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return (self.known - before) << 10


_peak = _Peak()


def attempt(room: Room, data: bytes, budget: Budget, *, far: bool) -> tuple[frozenset[str], Find | None]:
    """One execution: what came out, or what went wrong."""
    if not _peak.known:
        _peak.look()
    began = time.process_time()
    try:
        with limited(budget.cpu):
            found = frozenset(room.run(data, far))
        # To ask for the peak costs as much as reading a mail, and nobody fills a megabyte in less time than this.
        if time.process_time() - began > AT_ONCE and (grown := _peak.look()) > budget.memory:
            raise TooFat(f"{grown >> 20} MB")
    except (Exception, TooSlow) as error:
        return frozenset(), Find(room.name, data, _name(error), traceback.format_exc(), time.process_time() - began)
    return found, None


def _name(error: BaseException) -> str:
    """The kind of an error and the last lines of ours that it went through."""
    if isinstance(error, TooSlow):
        return "TooSlow"
    frames = [
        f"{Path(frame.filename).name}:{frame.name}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if "itipd" in frame.filename or "rooms" in frame.filename
    ]
    return f"{type(error).__name__} {' '.join(frames[-2:])}"


def smaller(find: Find, again: Callable[[bytes], Find | None], tries: int = 2000) -> Find:
    """The same find with as little input as can be found in so many tries: without lines, then without octets."""
    best = find
    for pieces in (_split_lines, _split_octets):
        step = max(len(pieces(best.data)) // 2, 1)
        while step and tries > 0:
            at, shrunk = 0, False
            while at < len(parts := pieces(best.data)) and tries > 0:
                tries -= 1
                tried = again(b"".join([*parts[:at], *parts[at + step :]]))
                if tried is not None and tried.error == best.error:
                    best, shrunk = tried, True
                else:
                    at += step
            step = step if shrunk and step == 1 else step // 2
    return best


def _split_lines(data: bytes) -> Sequence[bytes]:
    return data.splitlines(keepends=True)


def _split_octets(data: bytes) -> Sequence[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@dataclass
class Machine:
    """Fuzzes some rooms in turn. The same seed gives the same inputs, as long as the code under test is the same."""

    rooms: Sequence[Room]
    folders: tuple[Path, ...]
    seed: str
    budget: Budget
    window: Window
    saved: Callable[[Find], None]
    finds: dict[str, Find] = field(default_factory=dict)

    def run(self, executions: int, until: float = float("inf")) -> None:
        """So many executions, shared out among the rooms; at most until this moment of the monotonic clock."""
        signal.signal(signal.SIGPROF, too_slow)
        whole = sum(room.share for room in self.rooms)
        shares = [max(executions * room.share // whole, 1) for room in self.rooms]
        workers = [self._work(*one) for one in zip(range(_ROOMS), self.rooms, shares, strict=False)]
        while workers and time.monotonic() < until:
            workers = [worker for worker in workers if next(worker, False)]

    def _work(self, number: int, room: Room, executions: int) -> Iterator[bool]:
        """Yields after every slice."""
        random = Random(f"{self.seed}:{room.name}")
        seeds = room.seeds(self.folders)
        pool = list(seeds)
        known: set[frozenset[str]] = set()
        for done in range(1, executions + 1):
            # What is new is a seed again; half of the time one begins with the sound ones, the short ones more often.
            if random.random() < 0.5:
                begun = seeds[int(len(seeds) * random.random() ** 2)]
            else:
                begun = pool[random.randrange(len(pool))]
            data = mutate(random, begun, seeds)
            self.window.show(number, data, len(self.finds))
            far = done % FAR == 0
            found, find = attempt(room, data, self.budget, far=far)
            if find is None and not far and found not in known:
                known.add(found)
                if len(known) < MOST_NEW:
                    pool.append(data)
                far = True
                _, find = attempt(room, data, self.budget, far=True)
            self.window.count(number, done)
            if find is not None:
                self._keep(room, find, far)
            if done % (SLICE * room.share) == 0:
                yield True

    def _keep(self, room: Room, find: Find, far: bool) -> None:
        if find.error in self.finds:
            return
        if not find.error.startswith("Too"):
            find = smaller(find, lambda data: attempt(room, data, self.budget, far=far)[1])
        self.finds[find.error] = find
        self.saved(find)
