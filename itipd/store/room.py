"""Whether a file may grow no more: SQLite tells ENOSPC, but of a quota or a limit on files only "disk I/O error"."""

from __future__ import annotations

import errno
import os
import tempfile
from contextlib import suppress
from pathlib import Path

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

PROBE = 1 << 16
"""So many octets are tried: more than a small reply adds."""


def full(path: str) -> bool:
    """Asks the system for what it refused SQLite: the largest file of this database, and a little more."""
    size = 0
    for name in (path, f"{path}-wal"):
        with suppress(OSError):
            size = max(size, os.stat(name).st_size)
    try:
        with tempfile.TemporaryFile(dir=Path(path).absolute().parent) as file:
            return os.pwrite(file.fileno(), bytes(PROBE), size) < PROBE
    except OSError as error:
        return error.errno in _FULL
