"""The pool of reader processes: order, deadline, memory, crashes, and an event loop that never waits."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from itipd.itip.model import Fault, Message
from itipd.itip.outcomes import Outcome, Reason
from itipd.mail.reading import Reading, ReadSettings, read_mail
from itipd.readers import Readers, ReadersError

REPLY = b"""From: b@example.com\r
To: meetings@example.net\r
Message-ID: <%s@example.com>\r
Content-Type: text/calendar; method=REPLY; charset=utf-8\r
\r
BEGIN:VCALENDAR\r
VERSION:2.0\r
METHOD:REPLY\r
BEGIN:VEVENT\r
UID:%s\r
DTSTAMP:20261201T090000Z\r
ATTENDEE;PARTSTAT=ACCEPTED:mailto:b@example.com\r
END:VEVENT\r
END:VCALENDAR\r
"""

# A reader whose reading obeys the mail's UID: what a hostile mail may do to one, without having such a mail.
HOSTILE = """
import os, pathlib, time
from itipd import reader

honest = reader.read_mail

def read_mail(raw, **options):
    if b"UID:spin" in raw:
        while True:
            pass
    if b"UID:sleep" in raw:
        time.sleep(0.6)
    if b"UID:crash" in raw:
        os.kill(os.getpid(), 11)
    if b"UID:bomb" in raw:
        return bytearray(1 << 40)
    if b"UID:creep" in raw:
        kept = []
        while True:
            kept.append(bytearray(1 << 20))
    if b"UID:once" in raw:
        marker = pathlib.Path(os.environ["MARKER"])
        if not marker.exists():
            marker.touch()
            os._exit(3)
    return honest(raw, **options)

reader.read_mail = read_mail
reader.main()
"""
COMMAND = (sys.executable, "-c", HOSTILE)


def mail(uid: str) -> bytes:
    """A reply to the meeting `uid`, whose Message-ID is made of it, too."""
    return REPLY % (uid.encode(), uid.encode())


@asynccontextmanager
async def pool(
    count: int = 2, deadline: float = 5.0, memory: int = 512 << 20, command: tuple[str, ...] = COMMAND
) -> AsyncIterator[Callable[[str], Awaitable[Reading]]]:
    """A pool of hostile readers; gives a function that reads `mail(uid)`."""
    readers = await Readers.start(count, ReadSettings(), deadline, memory, command)
    try:
        yield lambda uid: readers.read(mail(uid), sender="b@example.com", recipients=(), submission=False)
    finally:
        await readers.stop()


def uid_of(found: Reading) -> str:
    """The UID of the only message."""
    (message,) = found.messages
    assert isinstance(message, Message)
    return message.uid


def fault_of(found: Reading) -> Fault:
    """The only fault, which must be error/too_costly."""
    (fault,) = found.messages
    assert isinstance(fault, Fault)
    assert (fault.outcome, fault.reason) == (Outcome.ERROR, Reason.TOO_COSTLY)
    return fault


async def test_a_process_reads_as_the_function_does() -> None:
    """The Reading that comes back from the real reader process equals that of read_mail."""
    readers = await Readers.start(1, ReadSettings(authserv_ids=("mx.example.net",)))
    try:
        raw = b"Authentication-Results: mx.example.net; dmarc=pass header.from=example.com\r\n" + mail("m1")
        for trusted, dmarc in ((True, "pass"), (False, None)):
            found = await readers.read(raw, sender="<>", recipients=("a@b.example",), submission=False, trusted=trusted)
            settings = ReadSettings(authserv_ids=("mx.example.net",))
            here = read_mail(raw, sender="<>", recipients=(), submission=False, settings=settings, trusted=trusted)
            assert found == here
            assert (found.evidence.dmarc, found.evidence.automatic) == (dmarc, True)
    finally:
        await readers.stop()


async def test_every_mail_gets_its_own_answer() -> None:
    """Hundreds of mails at once over two readers: each waiting task gets the reading of its own mail."""
    async with pool() as read:
        found = await asyncio.gather(*(read(f"m{number}") for number in range(400)))
    assert [uid_of(reading) for reading in found] == [f"m{number}" for number in range(400)]


async def test_a_mail_over_the_deadline_is_too_costly_and_the_others_do_not_wait() -> None:
    """An endless mail is given up at the deadline with its headers; mails before and behind it come at once."""
    async with pool(deadline=4.0) as read:
        began = time.monotonic()
        endless = asyncio.ensure_future(read("spin"))
        others = await asyncio.gather(*(read(f"m{number}") for number in range(60)))
        assert not endless.done()
        assert [uid_of(reading) for reading in others] == [f"m{number}" for number in range(60)]
        found = await endless
        assert time.monotonic() - began > 3.9
        assert "more than 4 s" in fault_of(found).detail
        honest = read_mail(
            mail("spin"), sender="b@example.com", recipients=(), submission=False, settings=ReadSettings()
        )
        assert (found.message_id, found.digest) == ("<spin@example.com>", honest.digest)
        assert zlib.decompress(found.packed) == mail("spin")
        assert uid_of(await read("after")) == "after"


@pytest.mark.parametrize("slow", [1, 2])
async def test_with_all_readers_busy_another_one_stands_in(slow: int) -> None:
    """One reader, endless mails: those behind them are read by a new process before the deadline is over."""
    async with pool(count=1, deadline=20.0) as read:
        endless = [asyncio.ensure_future(read("spin")) for _ in range(slow)]
        found = await asyncio.gather(*(read(f"m{number}") for number in range(20)))
        assert [uid_of(reading) for reading in found] == [f"m{number}" for number in range(20)]
        assert not any(one.done() for one in endless)
        for one in endless:
            one.cancel()


async def test_a_slow_mail_is_not_given_up_early() -> None:
    """A mail that takes long but not too long is read, and so is what was queued behind it."""
    async with pool(count=1) as read:
        found = await asyncio.gather(read("sleep1"), *(read(f"m{number}") for number in range(5)), read("sleep2"))
    assert [uid_of(reading) for reading in found] == ["sleep1", "m0", "m1", "m2", "m3", "m4", "sleep2"]


async def test_a_mail_that_crashes_readers_is_too_costly() -> None:
    """A mail that ends two processes is given up; those behind it are read, each once."""
    async with pool() as read:
        crash, *others = await asyncio.gather(read("crash"), *(read(f"m{number}") for number in range(50)))
        assert "ended two reader processes (status -11)" in fault_of(crash).detail
        assert [uid_of(reading) for reading in others] == [f"m{number}" for number in range(50)]


async def test_a_mail_whose_reader_was_killed_once_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that ends for another reason costs no mail: it is read by the next one."""
    monkeypatch.setenv("MARKER", str(tmp_path / "marker"))
    async with pool(count=1) as read:
        found = await asyncio.gather(*(read(uid) for uid in ("m1", "once", "m2")))
    assert [uid_of(reading) for reading in found] == ["m1", "once", "m2"]
    assert (tmp_path / "marker").exists()


@pytest.mark.parametrize("uid", ["bomb", "creep"])
async def test_a_memory_bomb_is_too_costly(uid: str) -> None:
    """A mail that wants more memory than allowed ends its reader, and is given up at the first try."""
    async with pool(memory=300 << 20) as read:
        bomb, other = await asyncio.gather(read(uid), read("m1"))
        assert f"more than {300 << 20} bytes of memory" in fault_of(bomb).detail
        assert uid_of(other) == "m1"


async def test_the_memory_limit_is_enough_for_the_largest_mail() -> None:
    """A mail of 10 MiB is read within the default limits."""
    readers = await Readers.start(1, ReadSettings())
    try:
        raw = mail("m1").replace(b"\r\n", b"\n") + b"X" * (10 << 20)
        found = await readers.read(raw, sender="b@example.com", recipients=(), submission=False)
        assert [message.reason for message in found.messages if isinstance(message, Fault)] == [Reason.TOO_LARGE]
    finally:
        await readers.stop()


async def test_the_event_loop_never_waits() -> None:
    """While a huge reading, a crash, an endless mail and a restart happen, the loop turns every few milliseconds."""
    worst = 0.0

    async def watch() -> None:
        nonlocal worst
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.005)
            worst = max(worst, time.monotonic() - began)

    guests = b"".join(b"ATTENDEE;CN=Guest:mailto:g%d@example.org\r\n" % number for number in range(3000))
    large = mail("large").replace(
        b"DTSTAMP", b"ORGANIZER:mailto:m@example.net\r\nDTSTART:20261208T090000Z\r\n%sDTSTAMP" % guests
    )
    readers = await Readers.start(2, ReadSettings(), 4.0, 512 << 20, COMMAND)
    watcher = asyncio.ensure_future(watch())
    try:
        own, *_ = await asyncio.gather(
            readers.read(large, sender="b@example.com", recipients=(), submission=True),
            *(readers.read(mail(uid), sender="", recipients=(), submission=False) for uid in ("crash", "spin", "m1")),
        )
        assert len(own.incoming[0].attendees) == 3001
        began = time.monotonic()
        read_mail(large, sender="b@example.com", recipients=(), submission=True, settings=ReadSettings())
        assert worst < max(0.8, time.monotonic() - began)  # the machine may be slow
    finally:
        watcher.cancel()
        await readers.stop()


async def test_a_cancelled_read_disturbs_nobody() -> None:
    """A task that is cancelled while its mail is read leaves the other mails in order."""
    async with pool(count=1) as read:
        tasks = [asyncio.ensure_future(read(f"m{number}")) for number in range(30)]
        await asyncio.sleep(0)
        for task in tasks[::3]:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
    for number, result in enumerate(found):
        if number % 3 == 0:
            assert isinstance(result, asyncio.CancelledError)
        else:
            assert isinstance(result, Reading)
            assert uid_of(result) == f"m{number}"


async def test_stop_ends_every_process_and_every_wait() -> None:
    """After stop no process is left and who still waits is told; a later read is refused."""
    readers = await Readers.start(2, ReadSettings(), 60.0, command=COMMAND)
    processes = [reader.process for reader in readers._readers]
    waiting = [
        asyncio.ensure_future(readers.read(mail(uid), sender="", recipients=(), submission=False))
        for uid in ("spin", "spin", "m1")
    ]
    await asyncio.sleep(0.2)
    began = time.monotonic()
    await readers.stop()
    assert time.monotonic() - began < 20  # nothing waits for the deadline of the endless ones
    assert all(isinstance(error, ReadersError) for error in await asyncio.gather(*waiting, return_exceptions=True))
    for process in processes:
        assert process.returncode is not None
        with pytest.raises(ProcessLookupError):
            os.kill(process.pid, 0)
    with pytest.raises(ReadersError):
        await readers.read(mail("m2"), sender="", recipients=(), submission=False)


async def test_stop_in_the_middle_of_a_restart() -> None:
    """Stopping while a killed process is being replaced leaves none behind."""
    readers = await Readers.start(2, ReadSettings(), command=COMMAND)
    first = readers._readers[0].process
    first.kill()
    await asyncio.sleep(0.02)
    await readers.stop()
    assert readers._alive == set()
    assert first.returncode == -signal.SIGKILL


async def test_a_reader_that_cannot_start_is_an_error_at_once() -> None:
    """If the processes do not come up, start raises, and does not wait for ever."""
    with pytest.raises(ReadersError, match="before it was ready"):
        await Readers.start(2, ReadSettings(), command=(sys.executable, "-c", "raise SystemExit(1)"))


async def test_readers_that_do_not_come_back_are_our_fault(tmp_path: Path) -> None:
    """If no process can be started any more, waiting mails get ReadersError (451), never a decision."""
    flag = tmp_path / "broken"
    code = f"import os, sys\nif os.path.exists({str(flag)!r}): sys.exit(1)\n" + HOSTILE
    async with pool(count=1, command=(sys.executable, "-c", code)) as read:
        flag.touch()
        with pytest.raises(ReadersError, match="no reader process can be started"):
            await asyncio.wait_for(read("crash"), 20)
        flag.unlink()
        assert uid_of(await asyncio.wait_for(read("m1"), 20)) == "m1"


async def test_a_reader_ignores_the_signals_of_a_shutdown() -> None:
    """SIGTERM and SIGINT to the whole group do not lose the mails that are being drained."""
    readers = await Readers.start(1, ReadSettings(), command=COMMAND)
    try:
        reading = asyncio.ensure_future(readers.read(mail("sleep"), sender="", recipients=(), submission=False))
        await asyncio.sleep(0.1)
        pid = readers._readers[0].process.pid
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGINT)
        assert uid_of(await reading) == "sleep"
        assert readers._readers[0].process.pid == pid
    finally:
        await readers.stop()


def runs(pid: int) -> bool:
    """Whether the process exists and is no zombie that waits for init."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("uid", ["m1", "spin"])
async def test_a_reader_dies_with_its_daemon(uid: str) -> None:
    """When the daemon is killed its readers end, an idle one at once, one with an endless mail by its alarm."""
    daemon = (
        "import asyncio, sys\n"
        "from itipd.readers import Readers, ReadSettings\n"
        "from tests.test_readers import COMMAND, mail\n"
        "async def main():\n"
        "    readers = await Readers.start(1, ReadSettings(), 0.5, command=COMMAND)\n"
        "    reading = readers.read(mail(sys.argv[1]), sender='', recipients=(), submission=False)\n"
        "    task = asyncio.ensure_future(reading)\n"
        "    await asyncio.sleep(0.02)\n"
        "    print(readers._readers[0].process.pid, flush=True)\n"
        "    import os, signal\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    root = Path(__file__).parent.parent
    run = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", daemon, uid], cwd=root, capture_output=True, timeout=60, check=False
    )
    assert run.returncode == -signal.SIGKILL, run.stderr
    pid = int(run.stdout)
    ends = time.monotonic() + 10
    while runs(pid):
        assert time.monotonic() < ends
        await asyncio.sleep(0.02)
