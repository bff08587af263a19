"""A real Postfix in front: it relays to itipd by LMTP and by SMTP, as a mail administrator would have it."""

from __future__ import annotations

import shutil
import smtplib
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from itipd.benchmark.mails import ORGANIZER, calendar, letters
from tests.daemon import PATIENCE, Daemon

POSTFIX = shutil.which("postfix") or shutil.which("postfix", path="/usr/sbin")
MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
lmtp unix - - n - - lmtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
MAIN = """
compatibility_level = 3.6
queue_directory = {queue}
data_directory = {data}
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
myhostname = relay.example.com
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
relay_domains = example.com
transport_maps = inline:{{ example.com={transport} }}
maillog_file = {log}
maillog_file_prefixes = /
smtpd_relay_restrictions = permit_mynetworks, reject
disable_dns_lookups = yes
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def relay(folder: Path, transport: str) -> Iterator[tuple[int, Path]]:
    """A Postfix of our own that hands everything for example.com to `transport`: its port and its log."""
    port = free_port()
    config, queue, data, log = (folder / name for name in ("config", "queue", "data", "mail.log"))
    for place in (config, queue, data):
        place.mkdir()
    for place in (folder, *folder.parents):  # its unprivileged daemons must be able to reach the queue
        if (place.stat().st_mode & 0o055) != 0o055:
            place.chmod(place.stat().st_mode | 0o055)
    shutil.chown(data, "postfix", "postfix")
    config.joinpath("master.cf").write_text(MASTER.format(port=port).lstrip())
    config.joinpath("main.cf").write_text(MAIN.format(queue=queue, data=data, transport=transport, log=log).lstrip())
    assert POSTFIX is not None
    command = [POSTFIX, "-c", str(config)]
    started = subprocess.run([*command, "start"], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert started.returncode == 0, started.stderr + (log.read_text() if log.exists() else "")
    try:
        yield port, log
    finally:
        subprocess.run([*command, "stop"], check=True, capture_output=True, timeout=PATIENCE)


def wait_for(log: Path, text: str, count: int) -> str:
    """The log, once it has `text` so often."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        found = log.read_text() if log.exists() else ""
        if found.count(text) >= count:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{text!r} not {count} times in:\n{log.read_text()[-3000:]}")


@pytest.mark.skipif(POSTFIX is None, reason="needs Debian's postfix")
@pytest.mark.parametrize("door", ["lmtp", "smtp"])
def test_postfix_relays_answers_and_hears_of_unknown_recipients(tmp_path: Path, door: str) -> None:
    """Behind a real Postfix answers are applied, two recipients get an answer each, and a stranger's address is 550."""
    with Daemon(tmp_path, config='organizers = ["meetings@example.com", "rooms@example.com"]\n') as daemon:
        relay_through(daemon, tmp_path, door)
        assert daemon.stop() == 0


def relay_through(daemon: Daemon, tmp_path: Path, door: str) -> None:
    """Ten answers to two recipients, and one mail to nobody, through a Postfix."""
    file = tmp_path / "meetings.ics"
    file.write_text("".join(calendar(1, 10)), newline="")
    daemon.itipd("meeting", "put", str(file), "--recorded")
    host, port = daemon.address(door)
    transport = f"lmtp:inet:{host}:{port}" if door == "lmtp" else f"smtp:[{host}]:{port}"
    (tmp_path / "postfix").mkdir()
    with relay(tmp_path / "postfix", transport) as (entrance, log):
        mails = letters(10, 1, 10, 0)
        with smtplib.SMTP("127.0.0.1", entrance, timeout=PATIENCE) as client:
            for letter in mails:
                client.sendmail(letter.sender, [ORGANIZER, "rooms@example.com"], letter.raw)
            client.sendmail("guest@example.org", ["nobody@example.com"], mails[0].raw)
        found = wait_for(log, "status=sent", 20)
        found = wait_for(log, "status=bounced", 1)
    assert "550 5.1.1" in found
    people = daemon.json("status", mails[0].uid)[0]["attendees"]
    assert {row["address"]: row["partstat"] for row in people} == {one.attendee: one.partstat for one in mails}
