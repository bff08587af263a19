"""Whatever is put into the reading rooms, an outcome or a clean refusal comes out, soon (hardening: reading).

Two ways: hypothesis, which knows what an iTIP mail is, and a short run of the fuzzer, which breaks the fixtures' mails.
`python -m tests.fuzz` runs the latter for as long as one likes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings

from itipd.itip.addresses import canonical
from itipd.itip.model import Fault, Message
from itipd.itip.read import read
from itipd.mail.reading import read_mail
from tests import strategies
from tests.fuzz import machine, seeds
from tests.fuzz.machine import Budget, Machine, Window, attempt, smaller
from tests.fuzz.mutations import LONGEST, MUTATIONS, Mutation, mutate
from tests.fuzz.rooms import ROOMS, SETTINGS, Room, Unsound, prepared, sound
from tests.strategies import ORGANIZER, Said

EXECUTIONS = 8_000  # in all rooms
FINDS = Path(__file__).parent / "fuzz" / "finds"
many = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def same(message: Message | Fault, said: Said) -> None:
    """What was read is what was said."""
    assert isinstance(message, Message), message
    assert (message.method, message.uid, message.organizer) == (said.method, said.uid, ORGANIZER)
    (attendee,) = message.attendees
    assert attendee.address == canonical(f"mailto:{said.attendee}") == said.attendee
    assert (attendee.one("PARTSTAT") or "").upper() == said.partstat
    assert attendee.one("CN") == said.name
    assert (message.sequence, message.dtstamp) == (said.sequence, said.dtstamp)
    assert (message.comment or "") == said.comment


@many
@given(answer=strategies.answers())
def test_an_answer_is_read_however_it_is_written(answer: tuple[Said, bytes]) -> None:
    """Folds, capitals, order, quotes and escapes as the RFCs allow them: what is read is what was written."""
    said, data = answer
    (message,) = read(data)
    same(message, said)
    sound(message)


@many
@given(mail=strategies.itip_mails())
def test_an_answer_is_found_wherever_it_is(mail: tuple[Said, bytes]) -> None:
    """In any nesting, type and transfer encoding of a mail the answer is found, once."""
    said, raw = mail
    found = read_mail(raw, sender=said.attendee, recipients=[ORGANIZER], submission=False, settings=SETTINGS)
    (message,) = found.messages
    assert isinstance(message, Message)
    same(message, said)
    sound(found)


@pytest.mark.parametrize("name", ["read", "incoming", "tnef", "note"])
@many
@given(data=strategies.broken_calendars())
def test_broken_calendars(name: str, data: bytes) -> None:
    """Lines that keep no rule are an outcome, and whatever follows from it can be kept and told."""
    list(ROOMS[name].run(data, True))


@pytest.mark.parametrize("name", ["mail", "submission", "extract", "evidence", "bounce"])
@many
@given(raw=strategies.broken_mails())
def test_broken_mails(name: str, raw: bytes) -> None:
    """So are mails."""
    list(ROOMS[name].run(raw, True))


# -- the fuzzer, for a while


def fuzzer(rooms: Iterable[Room], folder: Path, seed: str = "tests") -> Machine:
    return Machine(list(rooms), (), seed, Budget(), Window(), lambda find: print(find.save(folder)))


def test_mutated_fixtures(tmp_path: Path) -> None:
    """No exception but a room's own, no second of CPU, no 64 MB: for thousands of mutated mails and calendars."""
    prepared()
    run = fuzzer(ROOMS.values(), tmp_path)
    run.run(EXECUTIONS)
    assert run.finds == {}, "\n".join(find.trace for find in run.finds.values())
    assert sum(run.window.counts()) > EXECUTIONS * 0.99


@pytest.mark.parametrize("file", sorted(FINDS.glob("*.bin")), ids=lambda file: file.stem)
def test_what_was_found_once(file: Path) -> None:
    """An input that broke a room once breaks none any more; the room's name is the file's first word."""
    signal.signal(signal.SIGPROF, machine.too_slow)
    for far in (False, True):
        _, find = attempt(ROOMS[file.stem.partition("-")[0]], file.read_bytes(), Budget(), far=far)
        assert find is None, find.trace


# -- the fuzzer itself


def test_every_room_has_seeds() -> None:
    """Each room begins with mails or calendars of fixtures/, and those alone are no finds."""
    for room in ROOMS.values():
        found = room.seeds(())
        assert found, room.name
        for data in found[:20]:
            assert isinstance(list(room.run(data, True)), list)


def test_the_same_seed_gives_the_same_inputs() -> None:
    """A run can be done again."""
    sound_ones = seeds.calendars()
    first, second, other = ([mutate(Random(seed), sound_ones[0], sound_ones) for _ in range(3)] for seed in (1, 1, 2))
    assert first == second != other


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_mutations(mutation: Mutation) -> None:
    """Every mutation makes octets of whatever it gets, and does not always give back what it got."""
    random = Random(7)
    inputs = (seeds.mails()[0], b"", b"x", bytes(range(256)))
    changed = [mutation(random, data, inputs) != data for data in inputs for _ in range(30)]
    assert any(changed)
    assert len(mutate(random, b"x" * LONGEST, inputs)) <= LONGEST


def planted(kind: str) -> Room:
    """A room that does what none may do where an octet 7 is in its input."""

    def run(data: bytes, _far: bool) -> Iterable[str]:
        if b"\x07" not in data:
            return ["sound"]
        if kind == "raises":
            raise KeyError("planted")
        if kind == "hides":
            try:
                spin()
            except Exception:  # as rooms do
                return ["caught"]
        if kind == "spins":
            spin()
        if kind == "grows":
            return [str(len(b"x" * (256 << 20)))]
        if kind == "lies":
            sound("a\0b")
        if kind == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        return ["nothing"]

    return Room("planted", run, lambda _: (b"a\r\nb\r\n",), 1)


def spin() -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        pass


@pytest.mark.parametrize(
    ("kind", "error"),
    [("raises", "KeyError"), ("spins", "TooSlow"), ("hides", "TooSlow"), ("grows", "TooFat"), ("lies", "Unsound")],
)
def test_what_is_wrong_is_found(kind: str, error: str) -> None:
    """An exception, lost time, memory, and a result that nobody can take are found; sound input is not."""
    signal.signal(signal.SIGPROF, machine.too_slow)
    room, budget = planted(kind), Budget(cpu=5.0 if kind == "grows" else 0.2)
    assert attempt(room, b"harmless", budget, far=True) == (frozenset({"sound"}), None)
    _, find = attempt(room, b"with \x07 in it", budget, far=True)
    assert find is not None
    assert find.error.startswith(error)


def test_finds_are_made_smaller_and_kept(tmp_path: Path) -> None:
    """What is saved is the input with all taken away that does not matter."""
    room = planted("raises")
    data = b"one line\r\n" * 50 + b"a\x07b\r\n" + b"more\r\n" * 50
    _, find = attempt(room, data, Budget(), far=True)
    assert find is not None
    least = smaller(find, lambda tried: attempt(room, tried, Budget(), far=True)[1])
    assert least.data == b"\x07"
    file = least.save(tmp_path)
    assert file.read_bytes() == b"\x07"
    assert "KeyError: 'planted'" in file.with_suffix(".txt").read_text()


def test_an_unsound_result_is_named() -> None:
    """NUL, lone surrogates, numbers beyond a column and foreign objects are no results."""
    for value in ("a\0", ("x", "\ud800"), {"k": 2**40}, [object()]):
        with pytest.raises((Unsound, UnicodeEncodeError)):
            sound(value)
    sound(("ä", 1, None, {"k": ("v",)}))


def test_the_end_of_a_process_is_a_find(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where an input kills the process, the parent keeps it and goes on with a new one."""
    from tests.fuzz import __main__ as fuzz

    monkeypatch.setitem(ROOMS, "planted", planted("dies"))
    words = ["--rooms", "planted", "--executions", "3000", "--crashes", str(tmp_path), "--jobs", "1"]
    assert fuzz.main(words) == 1
    (file,) = tmp_path.glob("*.bin")
    assert b"\x07" in file.read_bytes()
    assert "ended with -9" in file.with_suffix(".txt").read_text()


def test_it_runs_as_a_program(tmp_path: Path) -> None:
    """`python -m tests.fuzz` runs so many executions in so many processes, says how many of each, and ends with 0."""
    words = ["--executions", "400", "--jobs", "2", "--seed", "x", "--crashes", str(tmp_path / "none")]
    command = [sys.executable, "-m", "tests.fuzz", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stdout + done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["executions"] == sum(last["rooms"].values())
    assert 350 < last["executions"] <= 400
    assert last["finds"] == 0
    assert set(last["rooms"]) == set(ROOMS)
    assert not (tmp_path / "none").exists()
