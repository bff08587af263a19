"""A relay for the benchmark's outgoing mail: speaks SMTP with PIPELINING, counts, and throws everything away.

Run as `python -m itipd.benchmark.sink`; prints its port. A line on stdin is answered with a line of JSON: how many
mails have come, and the seconds from the first to the last; it ends at EOF.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import cast

_EHLO = b"250-sink.example.net\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE\r\n"
_ANSWERS = {b"EHLO": _EHLO, b"DATA": b"354 go on\r\n", b"QUIT": b"221 bye\r\n"}
came: list[float] = []


class Sink(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.rest = b""
        self.in_data = False
        self.transport.write(b"220 sink.example.net\r\n")

    def data_received(self, data: bytes) -> None:
        self.rest += data
        out = []
        while self.rest:
            end = b"\r\n.\r\n" if self.in_data else b"\r\n"
            piece, found, rest = self.rest.partition(end)
            if not found:
                break
            self.rest = rest
            if self.in_data:
                self.in_data = False
                came.append(time.monotonic())
                out.append(b"250 taken\r\n")
            else:
                verb = piece[:4].upper()
                self.in_data = verb == b"DATA"
                out.append(_ANSWERS.get(verb, b"250 OK\r\n"))
                if verb == b"QUIT":
                    self.transport.write(b"".join(out))
                    self.transport.close()
                    return
        if out:
            self.transport.write(b"".join(out))


async def _main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Sink, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    while await loop.run_in_executor(None, sys.stdin.readline):
        first, last = (came[0], came[-1]) if came else (0.0, 0.0)
        found = {"mails": len(came), "seconds": last - first, "since": time.monotonic() - first}
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()
    server.close()


if __name__ == "__main__":
    asyncio.run(_main())
