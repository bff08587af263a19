"""The disk: full, nearly full, a limit on the size of files, writes and fsyncs that fail; a real daemon each time."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import shutil
import signal
import smtplib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from itipd.store import NoSpaceError, Store
from itipd.store.room import full
from tests.cli_help import BOB, WE, Itipd, calendar, event, mail, reply
from tests.daemon import DEFAULT, PATIENCE, Daemon
from tests.store_help import guest, register
from tests.store_help import reply as answered

MIB = 1024 * 1024
SMALL = 8 * MIB
BALLAST = 5 * MIB
UID = "plan@example.com"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "none", str(place)]
    if os.geteuid() != 0 or shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def answer(number: int) -> bytes:
    """A reply of Bob's, each later than the one before."""
    text = reply(UID, at=f"20261120T{number // 3600:02}{number // 60 % 60:02}{number % 60:02}Z")
    return mail(text, message_id=f"<{number}@mail.test>")


def big(number: int) -> bytes:
    """The same with an attachment of 300 kB of noise."""
    head, _, body = answer(number).partition(b"\r\n\r\n")
    kind = re.search(rb"Content-Type:[^\r]*\r\nContent-Transfer-Encoding:[^\r]*", head)
    assert kind is not None
    noise = re.sub(rb"(.{76})", rb"\1\r\n", os.urandom(150_000).hex().encode())
    parts = [kind[0] + b"\r\n\r\n" + body, b"Content-Type: application/octet-stream\r\n\r\n" + noise]
    mixed = b"".join(b"--b0\r\n" + part + b"\r\n" for part in parts) + b"--b0--\r\n"
    return head.replace(kind[0], b'Content-Type: multipart/mixed; boundary="b0"') + b"\r\n\r\n" + mixed


def send(daemon: Daemon, raw: bytes) -> tuple[int, str]:
    """One mail; code and text of the answer to it."""
    with smtplib.SMTP(*daemon.address("smtp"), timeout=PATIENCE) as client:
        return one(client, raw)


def one(client: smtplib.SMTP, raw: bytes) -> tuple[int, str]:
    """The same over a connection that is there."""
    client.ehlo_or_helo_if_needed()
    client.mail(BOB)
    client.rcpt(WE)
    code, text = client.data(raw)
    return code, text.decode()


def kept(daemon: Daemon) -> list[str]:
    """The Message-IDs in the journal."""
    return sorted(line["message_id"] for line in daemon.json("mail", "list"))


def filled(daemon: Daemon, most: int = 200) -> tuple[list[int], tuple[int, str]]:
    """Sends large mails until one is refused: the numbers of those that were taken, and the refusal."""
    taken: list[int] = []
    with smtplib.SMTP(*daemon.address("smtp"), timeout=PATIENCE) as client:
        for number in range(most):
            code, text = one(client, big(number))
            if code != 250:
                return taken, (code, text)
            taken.append(number)
    raise AssertionError(f"{most} mails and no refusal")


def test_a_disk_that_runs_full_is_452_and_loses_nothing(small_disk: Path, tmp_path: Path) -> None:
    """452 4.3.1 while something is still free; what was acknowledged is there; with room again the rest is taken."""
    with Daemon(tmp_path, database=f"sqlite:///{small_disk / 'itipd.db'}") as daemon:
        daemon.itipd("meeting", "put", "-", "--recorded", text=calendar(event(UID)))
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(BALLAST))
        taken, (code, text) = filled(daemon)
        assert (code, text) == (452, "4.3.1 No space left, try again later")
        assert len(taken) > 3
        free = os.statvfs(small_disk)
        assert free.f_bavail * free.f_frsize > 0  # a reserve is left: 1/16 of so small a disk
        assert kept(daemon) == sorted(f"<{number}@mail.test>" for number in taken)
        ballast.unlink()
        end = time.monotonic() + PATIENCE
        while send(daemon, big(len(taken)))[0] != 250:  # an answer about the room holds for a moment
            assert time.monotonic() < end
        assert len(kept(daemon)) == len(taken) + 1
        assert daemon.itipd("db", "verify").strip() == "The database is whole."
        assert daemon.stop() == 0
    log = (tmp_path / "daemon.log").read_text()
    assert "Traceback" not in log
    assert "disk_reserve" in log


def test_a_disk_that_is_full_to_the_last_octet_loses_nothing(small_disk: Path, tmp_path: Path) -> None:
    """Without a reserve SQLite itself finds the disk full: 452, nothing half written, and all goes on afterwards."""
    config = f"disk_reserve = 1\n{DEFAULT}"
    with Daemon(tmp_path, config=config, database=f"sqlite:///{small_disk / 'itipd.db'}") as daemon:
        daemon.itipd("meeting", "put", "-", "--recorded", text=calendar(event(UID)))
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(BALLAST))
        taken, (code, text) = filled(daemon)
        assert (code, text) == (452, "4.3.1 No space left, try again later")
        ballast.unlink()
        assert send(daemon, big(len(taken)))[0] == 250
        daemon.kill()
        daemon = Daemon(tmp_path, config=config, database=f"sqlite:///{small_disk / 'itipd.db'}")
        assert kept(daemon) == sorted(f"<{number}@mail.test>" for number in range(len(taken) + 1))
        assert daemon.itipd("db", "verify").strip() == "The database is whole."
        assert daemon.stop() == 0


def test_a_limit_on_the_size_of_files_loses_nothing(tmp_path: Path) -> None:
    """RLIMIT_FSIZE reached: 452 as on a full disk, the daemon lives, and without the limit all goes on."""
    with Daemon(tmp_path) as daemon:
        daemon.itipd("meeting", "put", "-", "--recorded", text=calendar(event(UID)))
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (2 * MIB, resource.RLIM_INFINITY))
        taken, (code, text) = filled(daemon)
        assert (code, text) == (452, "4.3.1 No space left, try again later")
        assert kept(daemon) == sorted(f"<{number}@mail.test>" for number in taken)
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert send(daemon, big(len(taken)))[0] == 250
        assert daemon.itipd("db", "verify").strip() == "The database is whole."
        assert daemon.stop() == 0


async def test_a_database_that_may_not_grow_is_full(sqlite_url: str) -> None:
    """SQLite's own word for a full disk is NoSpaceError, and what fits afterwards is written."""
    store = await Store.open(sqlite_url)
    await register(store, "a", guest(BOB))

    def limited(connection: object, pages: int) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")  # type: ignore[attr-defined]

    async with store.database.writing() as transaction:
        await transaction.run(lambda connection: limited(connection, 1))  # the smallest possible: as large as it is
        with pytest.raises(NoSpaceError, match="full"):
            await transaction.run(
                lambda connection: connection.exec_driver_sql(
                    "INSERT INTO settings (name, value) VALUES ('large', zeroblob(1000000))"
                )
            )
    await answered(store, "a", BOB)
    assert await store.verify() == []
    await store.close()


@pytest.mark.parametrize(("number", "found"), [(errno.EDQUOT, True), (errno.EFBIG, True), (errno.EIO, False)])
def test_a_quota_is_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, found: bool) -> None:
    """What SQLite calls an I/O error is a full disk where the system gives no more room; a broken disk is none."""
    assert not full(str(tmp_path / "itipd.db"))

    def refused(*_given: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.pwrite", refused)
    assert full(str(tmp_path / "itipd.db")) is found


STRACE = shutil.which("strace")


@pytest.mark.skipif(STRACE is None, reason="strace is not installed")
@pytest.mark.parametrize(
    "fault", ["pwrite64:error=EIO:when=40+31", "pwrite64:error=ENOSPC:when=40+31", "fdatasync:error=EIO:when=7+5"]
)
def test_the_nth_write_and_the_nth_fsync_fail(tmp_path: Path, fault: str) -> None:
    """Every so many-th write or fsync of the daemon fails in the kernel: what was acknowledged survives kill -9.

    Each refused mail is sent again, as a relay does; in the end all are there, once.
    """
    assert STRACE is not None
    itipd = Itipd(tmp_path)
    assert itipd.put(event(UID)).code == 0
    name = fault.partition(":")[0]
    words = [STRACE, "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", f"trace={name}", "-e", f"inject={fault}"]
    acknowledged, refused = 0, 0
    for cycle in range(2):
        daemon = Daemon(tmp_path, under=words)
        try:
            with smtplib.SMTP(*daemon.address("smtp"), timeout=PATIENCE) as client:
                for number in range(20 * cycle, 20 * cycle + 20):
                    while (found := one(client, answer(number)))[0] != 250:
                        refused += 1
                        assert found[1].endswith("try again later")
                        assert refused < 100
                    acknowledged += 1
        finally:
            for child in Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children").read_text().split():
                os.kill(int(child), signal.SIGKILL)
            daemon.kill()
    mails = (json.loads(line)["message_id"] for line in itipd("mail", "list", "--json").out.splitlines())
    assert sorted(mails) == sorted(f"<{number}@mail.test>" for number in range(acknowledged))
    assert itipd("db", "verify").out.strip() == "The database is whole."
    assert refused > 0
