"""Whatever is thrown at the mail doors: a named outcome or a clear refusal, and nobody else notices.

A real daemon takes all of `rubbish.corpus`, on SQLite over SMTP from a client that it does not trust, on PostgreSQL
over LMTP from one that it does, while another client's ordinary replies come in on a connection of their own. What is
said of time here is said in CPU time or in the order of events: a busy machine changes neither.
"""

from __future__ import annotations

import email
import re
import smtplib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from itipd.benchmark.mails import ORGANIZER, calendar, letters
from itipd.mail.reading import ReadSettings, read_mail
from tests import rubbish
from tests.conftest import ENGINES, new_database
from tests.daemon import PATIENCE, Daemon
from tests.rubbish import Rubbish

CONFIG = f"""
organizers = ["{ORGANIZER}"]
[smtp]
max_message_size = {rubbish.LIMIT}
trusted_networks = []
[readers]
deadline = "60 s"  # what a slow machine needs for a mail says nothing about the mail
[relay]
directory = "outgoing"
"""
CPU = 1.0  # seconds that reading one mail may take of the processor
TURN = 40  # hostile mails that are answered while one ordinary reply waits for its answer
GROWTH = 100 << 20  # bytes of daemon and readers together
WARM = 20  # ordinary replies before the first of the corpus
ORDINARY = 20, 50  # meetings and guests of the other client's

CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
HEADERS = set(
    "from to subject date message-id mime-version content-language content-class content-type auto-submitted "
    "x-auto-response-suppress".split()
)


@dataclass
class Thrown:
    """One mail of the corpus and what was answered."""

    mail: Rubbish
    code: int
    text: bytes


@dataclass
class Story:
    """Everything that was seen of one daemon's life."""

    thrown: list[Thrown] = field(default_factory=list)
    waits: list[int] = field(default_factory=list)  # for each ordinary reply: hostile mails answered before it was
    refused: list[str] = field(default_factory=list)  # ordinary replies that were not applied
    applied: list[int] = field(default_factory=list)  # the ids of those that were
    growth: int = 0  # bytes of daemon and readers, at their largest
    journal: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    log: str = ""
    code: int | None = None
    caused: dict[str, int] = field(default_factory=dict)  # mails of ours that some have caused
    sent: int = 0
    outgoing: list[bytes] = field(default_factory=list)


def number(text: bytes) -> int:
    """The id in the journal that an answer names; 0 where it names none."""
    match = re.fullmatch(rb"2\.0\.0 [a-z_]+ (\d+)", text)
    return int(match[1]) if match else 0


class Client:
    """A client of one door that comes back after a refusal."""

    def __init__(self, daemon: Daemon, door: str) -> None:
        kind = smtplib.LMTP if door == "lmtp" else smtplib.SMTP
        self.connection: smtplib.SMTP = kind(*daemon.address(door), timeout=PATIENCE)
        self.connection.ehlo("client.example.org")

    def send(self, sender: str, raw: bytes) -> tuple[int, bytes]:
        self.begin(sender, raw)
        return self.connection.getreply()

    def begin(self, sender: str, raw: bytes) -> None:
        """All of a mail, without waiting for what is said of it."""
        self.connection.mail(sender)
        self.connection.rcpt(ORGANIZER)
        code, text = self.connection.docmd("DATA")
        assert code == 354, text
        end = b".\r\n" if raw.endswith(b"\r\n") or not raw else b"\r\n.\r\n"
        stuffed = b"\r\n" + raw
        self.connection.send(stuffed.replace(b"\r\n.", b"\r\n..")[2:] + end)

    def quit(self) -> None:
        self.connection.quit()


class Other(threading.Thread):
    """Somebody else, whose replies are in order."""

    def __init__(self, daemon: Daemon, story: Story) -> None:
        super().__init__()
        self.client, self.story = Client(daemon, "smtp"), story
        self.warm, self.over = threading.Event(), threading.Event()

    def run(self) -> None:
        for count, letter in enumerate(letters(ORDINARY[0] * ORDINARY[1], *ORDINARY, 0)):
            before = len(self.story.thrown)
            code, text = self.client.send(letter.sender, letter.raw)
            self.story.waits.append(len(self.story.thrown) - before)
            if code == 250 and text.startswith(b"2.0.0 updated "):
                self.story.applied.append(number(text))
            else:
                self.story.refused.append(f"{code} {text!r}")
            if count >= WARM:
                self.warm.set()  # everything is loaded that ordinary work loads
                if self.over.wait(0.05):
                    break
        self.client.quit()


class Scales:
    """How much the daemon and its readers have grown since, each at its largest moment: the kernel remembers it."""

    def __init__(self, daemon: Daemon) -> None:
        self.pid = daemon.process.pid
        for pid in self._pids():
            try:
                Path(f"/proc/{pid}/clear_refs").write_text("5")  # the high-water mark is what there is now
            except OSError as error:
                pytest.skip(f"needs Linux's /proc to weigh a process: {error}")
        self.before = self._weight()

    def growth(self) -> int:
        """Bytes."""
        return self._weight() - self.before

    def _pids(self) -> list[str]:
        """The daemon and its readers."""
        return [str(self.pid), *Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def _weight(self) -> int:
        status = "".join(Path(f"/proc/{pid}/status").read_text() for pid in self._pids())
        return sum(int(found) * 1024 for found in re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE))


@pytest.fixture(scope="module", params=ENGINES)
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """The daemon's whole life, on each engine; the tests look at one side of it each."""
    folder = tmp_path_factory.mktemp("rubbish")
    if request.param == "sqlite":
        yield live(folder, "smtp")
        return
    for url in new_database(request.getfixturevalue("postgres_server")):
        yield live(folder, "lmtp", url)


def live(folder: Path, door: str, database: str | None = None) -> Story:
    found = Story()
    with Daemon(folder, config=CONFIG, database=database) as daemon:
        daemon.itipd("meeting", "put", "-", "--recorded", text=rubbish.MEETINGS + "".join(calendar(*ORDINARY)))
        other = Other(daemon, found)
        other.start()
        try:
            assert other.warm.wait(PATIENCE)
            scales = Scales(daemon)
            client = Client(daemon, door)
            for mail in rubbish.corpus(0):
                code, text = client.send(rubbish.KIM, mail.raw)
                found.thrown.append(Thrown(mail, code, text))
            client.quit()
        finally:
            other.over.set()
            other.join()
        found.growth = scales.growth()
        look(daemon, found)
        found.code = daemon.stop()
    found.log = (folder / "daemon.log").read_bytes().decode()
    found.outgoing = [file.read_bytes() for file in (folder / "outgoing").glob("*.eml")]
    return found


def look(daemon: Daemon, found: Story) -> None:
    """What the commands say of it, once everything has left."""
    end = time.monotonic() + PATIENCE
    said = daemon.json("outbox", "list")
    while any(line["state"] in ("waiting", "sending") for line in said):
        assert time.monotonic() < end, said
        time.sleep(0.1)
        said = daemon.json("outbox", "list")
    states = Counter((line["state"], line["last_error"]) for line in said)
    found.sent = states.pop(("sent", None))
    assert states.keys() <= {("failed", f"superseded by a newer {word}") for word in ("REQUEST", "CANCEL")}
    found.journal = {line["id"]: line["results"] for line in daemon.json("mail", "list")}
    for one in found.thrown:
        if one.mail.name.startswith("200 days"):
            (shown,) = daemon.json("mail", "show", str(number(one.text)))
            found.caused[one.mail.name] = sum(len(send["to"]) for send in shown["send"])


def test_each_has_its_named_outcome(story: Story) -> None:
    """Every mail is in the journal with exactly the outcomes it must have, or is refused with its code."""
    wrong = {}
    for one in story.thrown:
        expected = (one.mail.code, Counter(one.mail.results))
        results = story.journal.get(number(one.text), [])
        found = (one.code, Counter(f"{line['outcome']}/{line['reason']}" for line in results))
        if found != expected:
            wrong[one.mail.name] = (found, one.text, [line["detail"] for line in results][:3])
    assert not wrong, "\n".join(f"{key}: {value}" for key, value in wrong.items())


def test_answers_say_nothing_of_the_mail(story: Story) -> None:
    """An answer is one of our fixed texts: nothing out of a mail, a file or an exception comes back."""
    texts = {one.text for one in story.thrown}
    assert {text for text in texts if not number(text)} == {b"5.3.4 Message too large", b"5.4.6 Too many hops"}


def test_none_costs_a_second_to_read() -> None:
    """No mail, however made, takes a second of a processor's time to read."""
    costly = {}
    for mail in rubbish.corpus(0):
        began = time.process_time()
        read_mail(mail.raw, sender=rubbish.KIM, recipients=(ORGANIZER,), submission=False, settings=ReadSettings())
        seconds = time.process_time() - began
        if seconds > CPU:
            costly[mail.name] = seconds
    assert costly == {}


def test_ordinary_replies_go_on(story: Story) -> None:
    """Somebody else's replies are all applied meanwhile, and none waits until many a hostile mail has had its turn."""
    assert story.refused == []
    assert len(story.applied) > WARM
    assert max(story.waits) < TURN


def test_memory_is_bounded(story: Story) -> None:
    """Daemon and readers never grow by 100 MB, all of it together."""
    assert story.growth < GROWTH


def test_log_has_one_clean_line_for_each(story: Story) -> None:
    """One line for every component of every mail, none of them broken by what is in the mail, and nothing else."""
    assert CONTROLS.findall(story.log) == []
    lines = story.log.split("\n")
    assert lines.pop() == ""
    known = (r"mail=\d+ client=127\.0\.0\.1 ", "event=outbox delivery=", 'level=warning event="running as root')
    assert [line[:200] for line in lines if not re.match("|".join(known), line)] == []
    assert all(len(line) < 4096 for line in lines)
    taken = Counter(number(one.text) for one in story.thrown if one.code == 250) + Counter(story.applied)
    counted = Counter(int(line[5:].partition(" ")[0]) for line in lines if line.startswith("mail="))
    assert counted == {id_: times * len(story.journal[id_]) for id_, times in taken.items()}


def test_daemon_ends_as_always(story: Story) -> None:
    """SIGTERM after all that: it drains and ends with 0."""
    assert story.code == 0


def test_one_mail_causes_few(story: Story) -> None:
    """200 stale answers in one mail are one mail to their sender, and 200 delegations ten mails to others."""
    assert story.caused == {
        "200 days": 0,
        "200 days, all stale": 1,
        "200 days asked for again": 1,
        "200 days delegated": 10,
    }
    assert len(story.outgoing) == story.sent


def test_no_mail_has_a_header_that_is_not_ours(story: Story) -> None:
    """What left because of all this has our headers only, each once, and goes to nobody but the guests."""
    assert story.outgoing
    for raw in story.outgoing:
        mail = email.message_from_bytes(raw)
        names = Counter(name.lower() for name in mail)
        assert names.keys() <= HEADERS
        assert set(names.values()) == {1}
        assert mail["To"] in (rubbish.KIM, rubbish.LEE) or re.fullmatch(r"delegate\d+@example\.org", mail["To"])
        for part in mail.walk():
            if part.get_content_type() == "text/calendar":
                text = part.get_payload(decode=True)
                assert isinstance(text, bytes)
                assert not re.search(rb"^(BCC|X-EVIL)", text, re.MULTILINE | re.IGNORECASE)
