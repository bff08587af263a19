"""The client: several connections, kept, no pipelining; a process of its own, so that its work is not the server's.

It shares the cores with what it measures, so it does as little as a client can: one thread, blocking sockets, a read
only where something has come.

Run as `python -m itipd.benchmark.load PORT CONNECTIONS GREETING` (EHLO or LHLO); reads pickled (sender, raw) pairs from
stdin, prints one line of JSON: seconds, median and 99th percentile in ms, CPU seconds, and the answers that were not
what they should be.
"""

from __future__ import annotations

import json
import pickle
import selectors
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator

from itipd.benchmark.mails import ORGANIZER

Pairs = list[tuple[str, bytes]]
_RECIPIENT = f"RCPT TO:<{ORGANIZER}>\r\n".encode()
PATIENCE = 120.0  # seconds without an answer on any connection


class _Connection:
    """One dialogue: what was answered in, what is to be sent next out."""

    def __init__(self, port: int, greeting: str, work: deque[tuple[str, bytes]]) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.latencies: list[float] = []
        self.wrong: list[str] = []
        self._read = b""
        self._expected = b"220"
        self._steps = self._dialogue(greeting, work)

    def _dialogue(self, greeting: str, work: deque[tuple[str, bytes]]) -> Iterator[tuple[bytes, bytes]]:
        """What is sent, and the code that must answer it."""
        yield f"{greeting} bench.example.org\r\n".encode(), b"250"
        while work:
            sender, raw = work.popleft()
            started = time.perf_counter()
            yield f"MAIL FROM:<{sender}>\r\n".encode(), b"250"
            yield _RECIPIENT, b"250"
            yield b"DATA\r\n", b"354"
            yield raw + b".\r\n", b"250"
            self.latencies.append(time.perf_counter() - started)
        yield b"QUIT\r\n", b"221"

    def readable(self) -> bool:
        """Takes what has come and sends what follows; False: the dialogue has ended."""
        came = self.socket.recv(65536)
        self._read += came
        if not came:
            self.wrong.append("the server has closed the connection")
            return False
        last = self._read[self._read.rfind(b"\n", 0, -1) + 1 :]
        if not last.endswith(b"\n") or last[3:4] == b"-":
            return True  # there is more of this answer
        if not last.startswith(self._expected):
            self.wrong.append(last.decode(errors="replace").strip()[:100])
        self._read = b""
        step = next(self._steps, None)
        if step is None:
            return False
        out, self._expected = step
        self.socket.sendall(out)
        return True


def drive(port: int, connections: int, greeting: str, pairs: Pairs) -> dict[str, object]:
    """Sends all of `pairs`; what the module's line says."""
    work = deque(pairs)
    started, cpu = time.perf_counter(), time.process_time()
    everyone = [_Connection(port, greeting, work) for _ in range(connections)]
    with selectors.DefaultSelector() as selector:
        for one in everyone:
            selector.register(one.socket, selectors.EVENT_READ, one)
        open_ = len(everyone)
        while open_:
            ready = selector.select(PATIENCE)
            if not ready:
                everyone[0].wrong.append(f"no answer within {PATIENCE:.0f} s")
                break
            for key, _ in ready:
                if not key.data.readable():
                    selector.unregister(key.fileobj)
                    key.data.socket.close()
                    open_ -= 1
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    latencies = sorted(one for connection in everyone for one in connection.latencies) or [0.0]
    wrong = [text for connection in everyone for text in connection.wrong]

    def at(share: float) -> float:
        return round(latencies[min(len(latencies) - 1, int(share * len(latencies)))] * 1000, 2)

    return {
        "seconds": seconds,
        "p50_ms": at(0.5),
        "p99_ms": at(0.99),
        "client_cpu": cpu,
        "wrong": wrong[:5],
        "wrong_count": len(wrong),
    }


if __name__ == "__main__":
    # Written by our own parent a moment ago.
    found = drive(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], pickle.load(sys.stdin.buffer))  # noqa: S301
    sys.stdout.write(json.dumps(found) + "\n")
