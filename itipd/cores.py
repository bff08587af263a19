"""On which cores the daemon runs: its own threads share one, its readers have all.

The event loop and the store's thread hold one lock in turns (the GIL). On two cores each hand-over is a call across
them and what one thread has made is cold for the other: a fifth of what a mail costs the daemon, measured. While a
batch is decided the loop has its turn soon, so that the next mails are being read meanwhile: some 6 % more mails.
"""

from __future__ import annotations

import contextlib
import os
import sys

TURN = 0.002  # seconds that a thread of ours computes while another waits for the lock; Python's own are 0.005

_former: frozenset[int] = frozenset()


def together() -> None:
    """Keeps this thread, and all that it starts from now on, on one core of those it may use, in short turns.

    Not every system can keep it there.
    """
    global _former
    sys.setswitchinterval(TURN)
    if not hasattr(os, "sched_setaffinity"):
        return
    _former = frozenset(os.sched_getaffinity(0))
    # Several daemons on one machine had better not all take the same core; their ids follow one another.
    mine = sorted(_former)[os.getpid() % len(_former)]
    with contextlib.suppress(OSError):  # a sandbox may forbid it: then it is only slower
        os.sched_setaffinity(0, {mine})


def freed(pid: int) -> None:
    """Lets a process that was started after `together` use every core that this one could."""
    if _former:
        with contextlib.suppress(OSError):  # or it has ended already
            os.sched_setaffinity(pid, _former)
