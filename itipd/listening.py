"""Sockets to listen at: a unix socket that replaces a stale one, and ports that several processes share."""

from __future__ import annotations

import contextlib
import errno
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

BACKLOG = 512  # connections that the kernel keeps until we take them


@dataclass(frozen=True, slots=True)
class UnixSocket:
    """A bound unix socket and which file it is."""

    sock: socket.socket
    path: Path
    inode: int

    def remove(self) -> None:
        """Removes the file, unless somebody else's stands there now."""
        with contextlib.suppress(FileNotFoundError):
            if self.path.lstat().st_ino == self.inode:
                self.path.unlink()


def unix_socket(path: Path) -> UnixSocket:
    """A socket bound at `path` that everybody may connect to; one that nobody listens at any more is replaced."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode) and not _answers(path):
            path.unlink()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(path))
        path.chmod(0o666)  # the relay runs as another user
        return UnixSocket(sock, path, path.lstat().st_ino)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"{path}: cannot listen there: {error.strerror or error}") from error


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        return probe.connect_ex(str(path)) != errno.ECONNREFUSED


def shared_ports(host: str, port: int, count: int) -> list[socket.socket]:
    """`count` sockets that listen at the same address and port (0: any free one); the kernel parts the connections.

    Raises OSError when another program listens there already, also one that would share the port.
    """
    # With the protocol: asyncio then sets TCP_NODELAY.
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, where = found[0]
    with _bound(family, kind, protocol, where, shared=False) as alone:
        where = alone.getsockname()
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            sockets.append(_bound(family, kind, protocol, where, shared=True))  # noqa: PERF401 - what is open is closed
        for sock in sockets:
            sock.listen(BACKLOG)
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _bound(family: int, kind: int, protocol: int, where: object, *, shared: bool) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT if shared else socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(where)  # type: ignore[arg-type]  # as getaddrinfo gave it
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock
