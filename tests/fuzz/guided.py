"""`python -m tests.fuzz.guided ROOM [options of libFuzzer]`: a room under mutations that follow its coverage.

Needs atheris (`pip install atheris`), which the project does not ask for: `tests.fuzz` itself is mutation without
coverage. The seeds are the same, and half of the mutations are ours. What it finds it writes into the folder where it
was started, and `python -m tests.fuzz --rooms ROOM crash-...` shows it again.
"""

from __future__ import annotations

import importlib
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

BUDGET = 20  # seconds of the clock for one input: the machine may have other work


def main(words: list[str]) -> None:
    try:
        atheris: Any = importlib.import_module("atheris")
    except ImportError:
        sys.exit("atheris is not installed: pip install atheris, or run python -m tests.fuzz")
    # Before anything imports them: the counters are written into the modules as they are loaded.
    with atheris.instrument_imports(include=["itipd.itip", "itipd.mail"]):
        rooms = importlib.import_module("tests.fuzz.rooms")
    mutations = importlib.import_module("tests.fuzz.mutations")
    room = rooms.ROOMS[words[0]]
    seeds = room.seeds(())
    rooms.prepared()
    count = 0

    def once(data: bytes) -> None:
        nonlocal count
        count += 1
        for _ in room.run(data, count % 16 == 0):
            pass

    def changed(data: bytes, most: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < 0.5:
            found: bytes = atheris.Mutate(data, most)
            return found
        mutated: bytes = mutations.mutate(chance, data, seeds)
        return mutated[:most]

    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(seeds):
            (Path(folder) / str(number)).write_bytes(seed)
        limits = [f"-timeout={BUDGET}", f"-max_len={mutations.LONGEST}", "-rss_limit_mb=1024"]
        atheris.Setup([sys.argv[0], *limits, *words[1:], folder], once, custom_mutator=changed)
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:] or sys.exit("which room? See python -m tests.fuzz --help"))
