"""`itipd serve --workers N`, from outside: several daemons that look like one."""

from __future__ import annotations

import os
import signal
import smtplib
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemon import COMMAND, PATIENCE, Daemon

GUESTS = [f"guest{number}@example.org" for number in range(24)]
MEETING = "\n".join(
    [
        *("BEGIN:VCALENDAR", "BEGIN:VEVENT", "UID:many@example.com", "DTSTAMP:20261001T080000Z", "SEQUENCE:0"),
        *("DTSTART:20991201T090000Z", "SUMMARY:Many", "ORGANIZER:mailto:meetings@example.com"),
        *(f"ATTENDEE:mailto:{guest}" for guest in GUESTS),
        *("END:VEVENT", "END:VCALENDAR", ""),
    ]
)


def accepts(guest: str) -> str:
    """An answer to that meeting."""
    return (
        f"From: {guest}\r\nTo: meetings@example.com\r\nMessage-ID: <{guest}>\r\n"
        "Content-Type: text/calendar; method=REPLY\r\n\r\nBEGIN:VCALENDAR\r\nMETHOD:REPLY\r\nBEGIN:VEVENT\r\n"
        "UID:many@example.com\r\nDTSTAMP:20261101T080000Z\r\nSEQUENCE:0\r\n"
        f"ATTENDEE;PARTSTAT=ACCEPTED:mailto:{guest}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )


def workers(daemon: Daemon) -> list[int]:
    """The processes of the daemons that share the work."""
    found = Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children").read_text()
    return sorted(map(int, found.split()))


def until(true: Callable[[], bool], patience: float = PATIENCE) -> None:
    """Waits until something is so."""
    end = time.monotonic() + patience
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.05)


def deliver(daemon: Daemon, guests: list[str]) -> None:
    """One mail over one connection for each guest, all open at the same time."""
    open_ = [smtplib.SMTP(*daemon.address("smtp"), timeout=PATIENCE) for _ in guests]
    for client, guest in zip(open_, guests, strict=True):
        client.sendmail(guest, ["meetings@example.com"], accepts(guest))
    for client in open_:
        client.quit()


def gone(pid: int) -> bool:
    """Whether a process has ended (its parent may not have looked yet)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_several_daemons_look_like_one(tmp_path: Path) -> None:
    """Ready once, the port is shared, every mail is decided; who is killed is replaced; SIGTERM ends all with 0."""
    (tmp_path / "many.ics").write_text(MEETING)
    with Daemon(tmp_path, "--workers", "2", "--lmtp", f"unix:{tmp_path / 'lmtp'}") as daemon:
        first = workers(daemon)
        assert len(first) == 2
        assert (tmp_path / "lmtp").is_socket()
        daemon.itipd("meeting", "put", "many.ics", "--recorded")
        deliver(daemon, GUESTS[:12])

        os.kill(first[0], signal.SIGKILL)
        until(lambda: len(workers(daemon)) == 2 and first[0] not in workers(daemon))
        deliver(daemon, GUESTS[12:])  # the kernel kept those for whom there was nobody for a moment
        until(lambda: "worker_ended status=-9" in (tmp_path / "daemon.log").read_text())

        (status,) = daemon.json("status", "many@example.com")
        assert status["counts"]["ACCEPTED"] == len(GUESTS)
        last = workers(daemon)
        assert daemon.stop() == 0
        assert all(map(gone, last))
        assert not (tmp_path / "lmtp").exists()


def test_no_daemon_outlives_the_one_that_watches(tmp_path: Path) -> None:
    """When the watching process is killed, the others drain and end."""
    with Daemon(tmp_path, "--workers", "2") as daemon:
        left = workers(daemon)
        daemon.kill()
        until(lambda: all(map(gone, left)))


@pytest.mark.parametrize("options", [(), ("--workers", "2")])
def test_a_shared_port_is_not_shared_with_strangers(tmp_path: Path, options: tuple[str, ...]) -> None:
    """A second itipd on the same port, whatever kind, is refused by name with 75."""
    with Daemon(tmp_path, "--workers", "2") as daemon:
        host, port = daemon.address("smtp")
        off = ["--lmtp", "-", "--submission", "-", "--http", "-"]
        command = [*COMMAND, "--database", "sqlite:///other.db", "serve", "--smtp", f"{host}:{port}", *off, *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (75, "")
        assert f"smtp: found {host}:{port} in use" in done.stderr


def test_a_daemon_that_cannot_start_ends_all(tmp_path: Path) -> None:
    """Where the first daemon fails, its message and its exit code are those of the whole; nobody is left."""
    (tmp_path / "folder").mkdir()
    command = [*COMMAND, "--database", f"sqlite:///{tmp_path}/folder", "serve", "--workers", "2", "--smtp"]
    off = ["--lmtp", "-", "--submission", "-", "--http", "-"]
    done = subprocess.run([*command, "127.0.0.1:0", *off], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (78, "")
    assert "itipd: " in done.stderr
