"""The daemon's own threads keep to one core; a process that is freed has all again."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
import json, os, subprocess, sys, threading
from itipd import cores
cores.together()
theirs = []
thread = threading.Thread(target=lambda: theirs.extend(os.sched_getaffinity(0)))
thread.start()
thread.join()
child = subprocess.Popen(["sleep", "60"])
before = os.sched_getaffinity(child.pid)
cores.freed(child.pid)
found = [os.sched_getaffinity(0), theirs, before, os.sched_getaffinity(child.pid)]
child.kill()
child.wait()
cores.freed(child.pid)
print(json.dumps([[sorted(one) for one in found], sys.getswitchinterval()]))
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system keeps no thread on a core")
def test_own_threads_share_a_core_and_others_are_freed() -> None:
    """One core for the daemon, by its process number; to free a process that has ended does no harm."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60)
    (mine, theirs, before, freed), turn = json.loads(done.stdout)
    assert len(mine) == 1
    assert theirs == before == mine
    assert freed == sorted(os.sched_getaffinity(0))
    assert turn == pytest.approx(0.002)
