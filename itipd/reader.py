"""One reader process: mails in, Readings out, in order, over its standard input (hardening §9).

It is started by `itipd.readers` and by nobody else. A hostile mail can hurt this process only: its memory is limited
here, its time by the parent (and by an alarm, should the parent be gone). It logs nothing: mails are private.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import resource
import signal
import socket
import struct
from dataclasses import dataclass

from itipd import memory
from itipd.mail.reading import ReadSettings, read_mail

LENGTH = struct.Struct(">I")
MEMORY_ERROR = 70
"""Exit status after a mail that wanted more memory than allowed."""


@dataclass(frozen=True, slots=True)
class Start:
    """The first frame to a reader."""

    settings: ReadSettings
    deadline: float  # seconds for one mail
    memory: int  # bytes of address space


def frame(content: object) -> bytes:
    """`content` pickled, behind its length. Only ever read by the other end of our own socket."""
    data = pickle.dumps(content, pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(data)) + data


def serve(door: socket.socket) -> None:
    """Read mails until the other end closes. A frame in: (raw, sender, recipients, submission, trusted)."""
    buffer = bytearray()
    start: Start | None = None
    while chunk := door.recv(1 << 18):
        buffer += chunk
        at = 0
        while len(buffer) - at >= LENGTH.size:
            (size,) = LENGTH.unpack_from(buffer, at)
            end = at + LENGTH.size + size
            if len(buffer) < end:
                break
            with memoryview(buffer) as view, view[at + LENGTH.size : end] as content:
                given = pickle.loads(content)  # noqa: S301 - our own parent wrote it; the mail in it is only bytes
            at = end
            if start is None:
                start = given
                limit = (start.memory, start.memory)
                resource.setrlimit(resource.RLIMIT_AS, limit)
                door.sendall(frame(None))  # ready
                continue
            raw, sender, recipients, submission, trusted = given
            # Should the parent die while a mail spins here, nobody else would end this process.
            signal.setitimer(signal.ITIMER_REAL, 2 * start.deadline + 1)
            reading = read_mail(
                raw,
                sender=sender,
                recipients=recipients,
                submission=submission,
                settings=start.settings,
                trusted=trusted,
            )
            door.sendall(frame(reading))  # at once: the parent knows from it which mail is next
        del buffer[:at]
        signal.setitimer(signal.ITIMER_REAL, 0)


def main() -> None:
    """Serve the socket that is standard input."""
    # The parent decides when it is over, also where a terminal or systemd signals the whole group: it drains first.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold mails
    memory.give_back()
    try:
        with contextlib.suppress(ConnectionError), socket.socket(fileno=os.dup(0)) as door:
            serve(door)
    except MemoryError:
        os._exit(MEMORY_ERROR)


if __name__ == "__main__":
    main()
