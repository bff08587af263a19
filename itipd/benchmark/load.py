"""The client: several connections, kept, no pipelining; a process of its own, so that its work is not the server's.

Run as `python -m itipd.benchmark.load PORT CONNECTIONS`; reads pickled (sender, raw) pairs from stdin, prints one line
of JSON: seconds, and the answers that were not 250.
"""

from __future__ import annotations

import asyncio
import json
import pickle
import sys
import time
from collections import deque

from itipd.benchmark.mails import ORGANIZER

Pairs = list[tuple[str, bytes]]


async def _connection(port: int, work: deque[tuple[str, bytes]], latencies: list[float], wrong: list[str]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def expect(code: bytes) -> None:
        line = await reader.readline()
        while line[3:4] == b"-":
            line = await reader.readline()
        if not line.startswith(code):
            wrong.append(line.decode(errors="replace").strip()[:100])

    await expect(b"220")
    writer.write(b"EHLO bench.example.org\r\n")
    await expect(b"250")
    while work:
        sender, raw = work.popleft()
        started = time.perf_counter()
        writer.write(f"MAIL FROM:<{sender}>\r\n".encode())
        await expect(b"250")
        writer.write(f"RCPT TO:<{ORGANIZER}>\r\n".encode())
        await expect(b"250")
        writer.write(b"DATA\r\n")
        await expect(b"354")
        writer.write(raw + b".\r\n")
        await expect(b"250")
        latencies.append(time.perf_counter() - started)
    writer.write(b"QUIT\r\n")
    await reader.readline()
    writer.close()
    await writer.wait_closed()


async def _main(port: int, connections: int, pairs: Pairs) -> None:
    work, latencies, wrong = deque(pairs), [0.0][:0], [""][:0]
    started = time.perf_counter()
    await asyncio.gather(*(_connection(port, work, latencies, wrong) for _ in range(connections)))
    seconds = time.perf_counter() - started
    latencies.sort()

    def at(share: float) -> float:
        return round(latencies[min(len(latencies) - 1, int(share * len(latencies)))] * 1000, 2)

    answer = {"seconds": seconds, "p50_ms": at(0.5), "p99_ms": at(0.99), "wrong": wrong[:5], "wrong_count": len(wrong)}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    # Written by our own parent a moment ago.
    asyncio.run(_main(int(sys.argv[1]), int(sys.argv[2]), pickle.load(sys.stdin.buffer)))  # noqa: S301
