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
from dataclasses import dataclass

from itipd import memory
from itipd.itip import rrule
from itipd.mail.reading import ReadSettings, read_mail
from itipd.reader_frame import LENGTH, answer, framed, requested

LARGE = 1 << 20  # bytes of a mail
MEMORY_ERROR = 70
"""Exit status after a mail that wanted more memory than allowed."""


@dataclass(frozen=True, slots=True)
class Start:
    """The first frame to a reader."""

    settings: ReadSettings
    deadline: float  # seconds for one mail
    memory: int  # bytes of address space


def opening(start: Start) -> bytes:
    """The first frame."""
    return framed(pickle.dumps(start, pickle.HIGHEST_PROTOCOL))


def serve(door: socket.socket) -> None:
    """Read mails until the other end closes."""
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
            asked = None
            with memoryview(buffer) as view, view[at + LENGTH.size : end] as frame:  # a mail is copied once
                if start is not None:
                    asked = requested(frame)
                else:
                    start = pickle.loads(frame)  # noqa: S301 - our own parent wrote it
            at = end
            if size > LARGE:  # not kept a second time while it is read
                del buffer[:at]
                at = 0
            if asked is None:
                rrule.EFFORT.set(start.settings.steps)
                limit = (start.memory, start.memory)
                resource.setrlimit(resource.RLIMIT_AS, limit)
                door.sendall(framed(b"ready"))
                continue
            raw, sender, recipients, submission, trusted = asked
            del asked  # a mail may be large: it goes as soon as it is read
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
            del raw
            content = answer(reading)
            del reading
            door.sendall(content)  # at once: the parent knows from it which mail is next
            del content
        del buffer[:at]
        signal.setitimer(signal.ITIMER_REAL, 0)


def main() -> None:
    """Serve the socket that is standard input."""
    # The parent decides when it is over, also where a terminal or systemd signals the whole group: it drains first.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold mails
    memory.give_back()
    memory.settle()
    try:
        with contextlib.suppress(ConnectionError), socket.socket(fileno=os.dup(0)) as door:
            serve(door)
    except MemoryError:
        os._exit(MEMORY_ERROR)


if __name__ == "__main__":
    main()
