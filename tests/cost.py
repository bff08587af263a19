"""What a piece of work costs this machine, where a bound on it is the point of a test."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

TRIES = 4


def cheap(seconds: float, work: Callable[[], object]) -> bool:
    """Whether `work` takes less CPU than that in one of a few tries; ten times as much in the first one is too much.

    A busy machine makes one run several times as slow as the next; what is quadratic is slow by far, and every time.
    """
    for number in range(TRIES):
        collects = gc.isenabled()
        gc.disable()  # a look through all that the other tests have left is not the work's cost
        began = time.thread_time()
        try:
            work()
        finally:
            took = time.thread_time() - began
            if collects:
                gc.enable()
        if took < seconds:
            return True
        if not number and took > 10 * seconds:
            return False
    return False
