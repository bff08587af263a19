"""Memory of large mails goes back to the system as soon as they are done, and what stays is not searched for garbage.

glibc's malloc learns from the first large block that is freed, keeps later ones in its heap, and a daemon that has
once seen mails of 10 MiB stays several times as large as before. Other C libraries are left as they are.
"""

from __future__ import annotations

import ctypes
import gc
import sys

LARGE = 1 << 19  # bytes; above what is read from a socket at once, so that everyday work never asks the system
KEPT = 1 << 23  # bytes of free heap that are kept for what comes next

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h


def give_back() -> None:
    """From now on each block of `LARGE` bytes and more is the system's again when it is freed."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, LARGE)
        mallopt(_TRIM_THRESHOLD, KEPT)


def settle() -> None:
    """What is there now stays: a search through all modules for garbage would make every client wait for 0.1 s."""
    gc.collect()
    gc.freeze()
