"""`python -m tests.fuzz`: the reading rooms under mutated mails and calendars, for as long as one likes.

    python -m tests.fuzz --executions 10000000 --seed 1 --jobs 2 --crashes crashes/

prints what was run and found. The exit code is 1 where something was found. A file that is named is run once, as it is:
`python -m tests.fuzz --rooms read crashes/read-0123456789.bin`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.machine import Budget, Find, Machine, Window, attempt
from tests.fuzz.rooms import ROOMS, Room, prepared

PATIENCE = 60.0  # seconds without one execution: then a process hangs where no signal reaches it
SPACE = 1 << 30  # bytes of address space beyond what a process has when it begins


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzzes the rooms that read mail.")
    parser.add_argument("files", nargs="*", type=Path, help="inputs to run once, instead of mutated ones")
    parser.add_argument("--executions", type=int, default=100_000, help="in all, shared out among rooms and jobs")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="at most so long")
    parser.add_argument("--seed", default="1", help="the same one gives the same inputs")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--rooms", default=",".join(ROOMS), help="some of: %(default)s")
    parser.add_argument("--seeds", type=Path, action="append", default=[], help="a folder of more .eml and .ics")
    parser.add_argument("--crashes", type=Path, default=Path("crashes"), help="the folder for what is found")
    parser.add_argument("--cpu", type=float, default=Budget.cpu, help="seconds that one input may take")
    parser.add_argument("--memory", type=int, default=Budget.memory >> 20, help="MB that one input may take")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between lines about how far it is")
    return parser.parse_args(words)


def work(machine: Machine, executions: int, seconds: float) -> None:
    """The life of one process."""
    prepared()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + SPACE, used + SPACE))
    machine.run(executions, time.monotonic() + seconds)


class Job:
    """One process and what the parent knows of it."""

    def __init__(self, number: int, options: argparse.Namespace, rooms: Sequence[Room], start: int = 0) -> None:
        self.number, self.rooms, self.start = number, rooms, start
        self.window = Window()
        budget = Budget(options.cpu, options.memory << 20)
        seed = f"{options.seed}:{number}:{start}"
        save = lambda find: report(find, options.crashes)  # noqa: E731
        machine = Machine(rooms, tuple(options.seeds), seed, budget, self.window, save)
        self.todo = options.executions // options.jobs - start
        self.process = multiprocessing.get_context("fork").Process(
            target=work, args=(machine, self.todo, options.seconds)
        )
        self.process.start()
        self.done, self.moved = 0, time.monotonic()

    def look(self) -> bool:
        """Whether it still works. A process in which nothing moves any more is ended."""
        done = sum(self.window.counts())
        if done != self.done:
            self.done, self.moved = done, time.monotonic()
        elif time.monotonic() - self.moved > PATIENCE and self.process.is_alive():
            self.process.kill()
        return self.process.is_alive()

    def end(self) -> Find | None:
        """What ended the process, if it did not end by itself."""
        if self.process.exitcode == 0:
            return None
        _, room, data = self.window.look()
        return Find(self.rooms[room].name, data, f"the process ended with {self.process.exitcode}", "")


def report(find: Find, folder: Path) -> None:
    file = find.save(folder)
    print(f"found in {find.room}: {find.error} ({len(find.data)} octets, {find.seconds:.2f} s): {file}", flush=True)


def run_files(options: argparse.Namespace, rooms: Sequence[Room]) -> int:
    """Each file through each room, once."""
    import signal

    from tests.fuzz.machine import too_slow

    signal.signal(signal.SIGPROF, too_slow)
    wrong = 0
    for file in options.files:
        for room in rooms:
            found, find = attempt(room, file.read_bytes(), Budget(options.cpu, options.memory << 20), far=True)
            wrong += find is not None
            print(f"{file} {room.name}: {find.trace if find else ', '.join(sorted(found)) or 'nothing'}")
    return int(wrong > 0)


def main(words: Sequence[str] | None = None) -> int:
    options = arguments(words)
    rooms = [ROOMS[name] for name in options.rooms.split(",")]
    prepared()
    if options.files:
        return run_files(options, rooms)
    began = shown = time.monotonic()
    jobs = [Job(number, options, rooms) for number in range(options.jobs)]
    over: list[Job] = []
    found = 0  # by the end of a process
    while jobs:
        time.sleep(0.2)
        for job in [one for one in jobs if not one.look()]:
            jobs.remove(job)
            over.append(job)
            find = job.end()
            if find is not None:
                found += 1
                report(find, options.crashes)
                if job.todo - job.done > 1 and time.monotonic() - began < options.seconds:
                    jobs.append(Job(job.number, options, rooms, job.start + job.done + 1))
        if time.monotonic() - shown > options.every or not jobs:
            shown = time.monotonic()
            counts = [sum(each) for each in zip(*(job.window.counts() for job in (*jobs, *over)), strict=True)]
            finds = found + sum(job.window.look()[0] for job in (*jobs, *over))
            line = {"executions": sum(counts), "rate": round(sum(counts) / (shown - began)), "finds": finds}
            print(json.dumps({**line, "rooms": dict(zip(options.rooms.split(","), counts, strict=False))}), flush=True)
    return int(finds > 0)


if __name__ == "__main__":
    sys.exit(main())
