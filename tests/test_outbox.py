"""outbox: claim -> compose -> deliver -> settle, over a real store and a real relay (RFC 5321 §4.5.4.1)."""

from __future__ import annotations

import asyncio
import email
import email.policy
import errno
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from itipd import delivery, relay, settling
from itipd import outbox as room
from itipd.config import Relay
from itipd.delivery import backoff, file_name, outgoing
from itipd.itip.contentlines import fold
from itipd.mail.compose import compose, message_id, return_path, token
from itipd.outbox import Outbox
from itipd.relay import Smtp
from itipd.relay_session import Envelope, RelayError, Verdict
from itipd.store import Entry, NewDelivery, Sending, Store
from itipd.store.claims import SUPERSEDED
from itipd.store.outbox import Result
from tests.sink import DROP, HANG, Sink, sink

ORGANIZER = "meetings@example.com"
AT = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
TEMPORARY = "451 4.3.2 not now"
PERMANENT = "550 5.1.1 no such user"


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = AT + timedelta(seconds=1)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **length: float) -> None:
        self.now += timedelta(**length)


def calendar(method: str = "REQUEST", summary: str = "Planning") -> str:
    lines = ("BEGIN:VCALENDAR", f"METHOD:{method}", "BEGIN:VEVENT", "UID:plan", f"SUMMARY:{summary}", "END:VEVENT")
    return "".join(map(fold, (*lines, "END:VCALENDAR")))


async def put(
    store: Store,
    *recipients: str,
    uid: str = "plan",
    sequence: int = 0,
    text: str | None = None,
    at: datetime = AT,
    method: str = "REQUEST",
) -> None:
    """One sending to these recipients, as the inbox writes it."""
    deliveries = []
    for recipient in recipients:
        identity = message_id(
            organizer=ORGANIZER,
            uid=uid,
            rid="",
            method=method,
            sequence=sequence,
            recipient=recipient,
            created_at=at,
        )
        deliveries.append(NewDelivery(recipient, identity, token(store.secret, identity)))
    async with store.batch() as batch:
        cause = batch.journal(Entry(ORGANIZER, "put", at, b""))
        batch.send(
            Sending(
                organizer=ORGANIZER,
                organizer_name="Meetings",
                uid=uid,
                meeting_id=0,
                method=method,
                rid="",
                sequence=sequence,
                reason="registered",
                summary="Planning",
                calendar=calendar(method) if text is None else text,
                created_at=at,
                deliveries=tuple(deliveries),
                cause=cause,
            )
        )


@pytest.fixture
async def sqlite_store(sqlite_url: str) -> AsyncIterator[Store]:
    """One engine, for what does not depend on it."""
    opened = await Store.open(sqlite_url)
    yield opened
    await opened.close()


async def rows(store: Store) -> list[dict[str, Any]]:
    """The outbox, in order of id."""
    lines, _ = await store.outbox_list(limit=1000)
    return sorted(lines, key=lambda line: line["id"])


async def states(store: Store) -> list[str]:
    return [line["state"] for line in await rows(store)]


def guests(number: int) -> list[str]:
    return [f"g{n}@example.org" for n in range(number)]


def relay_of(found: Sink, **keys: Any) -> Relay:
    return Relay(host="127.0.0.1", port=found.port, **keys)


class Recorder:
    """A way out that takes everything, or does what it is told."""

    def __init__(self, *verdicts: Verdict | Exception) -> None:
        self.verdicts = list(verdicts)
        self.envelopes: list[Envelope] = []

    async def deliver(self, envelope: Envelope) -> Verdict:
        self.envelopes.append(envelope)
        verdict = self.verdicts.pop(0) if self.verdicts else Verdict("sent", None, "ok")
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    async def tidy(self) -> None: ...

    async def close(self) -> None: ...


async def test_everything_due_is_sent(store: Store) -> None:
    """All that waits is sent to its own recipient, with the return path of its own, over a few kept connections."""
    await put(store, *guests(60))
    async with sink() as found:
        outbox = Outbox(store, relay_of(found), clock=Clock())
        assert await outbox.deliver_due() == Counter(sent=60)
        assert await outbox.deliver_due() == Counter()
        await outbox.close()
    assert Counter(taken.recipient for taken in found.taken) == Counter(guests(60))
    assert found.connections <= 4
    for taken in found.taken:
        mail = email.message_from_bytes(taken.raw, policy=email.policy.SMTP)
        assert mail["To"] == taken.recipient
        assert taken.sender == return_path(ORGANIZER, token(store.secret, mail["Message-ID"]))
    lines = await rows(store)
    assert {line["state"] for line in lines} == {"sent"}
    assert {line["attempts"] for line in lines} == {1}
    assert {line["last_error"] for line in lines} == {None}


async def test_without_a_relay(sqlite_store: Store) -> None:
    """With no relay nothing is claimed: mail waits, untouched."""
    await put(sqlite_store, *guests(2))
    outbox = Outbox(sqlite_store, Relay(), clock=Clock())
    assert await outbox.deliver_due() == Counter()
    assert [(line["state"], line["attempts"]) for line in await rows(sqlite_store)] == [("waiting", 0)] * 2


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA", "BODY"])
async def test_refused_for_the_moment(sqlite_store: Store, stage: str) -> None:
    """4xx at any stage: it waits with the relay's words, and is sent when its time has come."""
    clock = Clock()
    await put(sqlite_store, "bea@example.org")
    async with sink(Sink({stage: [TEMPORARY]})) as found:
        outbox = Outbox(sqlite_store, relay_of(found), clock=clock)
        assert await outbox.deliver_due() == Counter(waiting=1)
        (line,) = await rows(sqlite_store)
        assert (line["state"], line["attempts"]) == ("waiting", 1)
        assert "not now" in line["last_error"]
        assert datetime.fromisoformat(line["next_attempt"]) > clock.now
        assert await outbox.deliver_due() == Counter()
        clock.forward(seconds=15)
        assert await outbox.deliver_due() == Counter(sent=1)
        await outbox.close()
    assert len(found.taken) == 1
    (line,) = await rows(sqlite_store)
    assert (line["state"], line["attempts"]) == ("sent", 2)


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA", "BODY"])
async def test_refused_for_good(sqlite_store: Store, stage: str) -> None:
    """5xx at any stage: failed with the relay's words, and never tried again."""
    clock = Clock()
    await put(sqlite_store, "bea@example.org", "carl@example.org")
    async with sink(Sink({stage: [PERMANENT]})) as found:
        outbox = Outbox(sqlite_store, relay_of(found), clock=clock)
        assert await outbox.deliver_due() == Counter(failed=1, sent=1)
        clock.forward(days=1)
        assert await outbox.deliver_due() == Counter()
        await outbox.close()
    (line,) = (line for line in await rows(sqlite_store) if line["state"] == "failed")
    assert "no such user" in line["last_error"]
    assert line["next_attempt"] is None
    assert len(found.taken) == 1


@pytest.mark.parametrize("fault", [DROP, HANG, TEMPORARY])
async def test_retry_is_the_same_bytes(sqlite_store: Store, fault: str) -> None:
    """A relay that answers nothing or 4xx to the whole mail is given the same bytes again."""
    clock = Clock()
    await put(sqlite_store, "bea@example.org")
    async with sink(Sink({"BODY": [fault, fault]})) as found:
        for _ in range(3):
            # Each try in a process of its own, as far as the outbox can tell.
            way = Smtp(relay_of(found), data_timeout=0.2)
            outbox = Outbox(sqlite_store, relay_of(found), clock=clock, way=way)
            await outbox.deliver_due()
            await outbox.close()
            clock.forward(minutes=1)
    assert len(found.seen) == 3
    assert len(set(found.seen)) == 1
    assert await states(sqlite_store) == ["sent"]


async def test_each_recipient_alone(sqlite_store: Store) -> None:
    """What the relay says to one recipient concerns no other."""
    refused = {"g1@example.org": PERMANENT, "g3@example.org": TEMPORARY}
    await put(sqlite_store, *guests(5))
    async with sink(Sink(refused=refused)) as found:
        outbox = Outbox(sqlite_store, relay_of(found), clock=Clock())
        assert await outbox.deliver_due() == Counter(sent=3, failed=1, waiting=1)
        await outbox.close()
    assert await states(sqlite_store) == ["sent", "failed", "sent", "waiting", "sent"]


async def test_order_is_kept(sqlite_store: Store) -> None:
    """A later mail about the same meeting never overtakes an earlier one that has to wait; other guests go on."""
    clock = Clock()
    for sequence, method in enumerate(("REQUEST", "CANCEL", "REQUEST")):
        await put(sqlite_store, "bea@example.org", "carl@example.org", sequence=sequence, method=method)
    async with sink(Sink(refused={"bea@example.org": TEMPORARY})) as found:
        outbox = Outbox(sqlite_store, relay_of(found), clock=clock)
        await outbox.deliver_due()
        assert [taken.recipient for taken in found.taken] == ["carl@example.org"] * 3
        found.refused.clear()
        clock.forward(minutes=1)
        await outbox.deliver_due()
        await outbox.close()
    for guest in ("bea@example.org", "carl@example.org"):
        sent = [email.message_from_bytes(taken.raw)["Message-ID"] for taken in found.taken if taken.recipient == guest]
        assert sent == [line["message_id"] for line in await rows(sqlite_store) if line["to"] == [guest]]


async def test_newest_request_alone_is_sent(sqlite_store: Store) -> None:
    """After an outage the recipient gets the newest REQUEST and none of those before it, which say why they failed."""
    clock = Clock()
    await put(sqlite_store, "bea@example.org", sequence=0)
    async with sink(Sink(refused={"bea@example.org": TEMPORARY})) as found:
        outbox = Outbox(sqlite_store, relay_of(found), clock=clock)
        assert await outbox.deliver_due() == Counter(waiting=1)
        for sequence in (1, 2):
            await put(sqlite_store, "bea@example.org", sequence=sequence)
        found.refused.clear()
        assert await outbox.deliver_due() == Counter(sent=1)
        clock.forward(hours=1)
        assert await outbox.deliver_due() == Counter()
        await outbox.close()
    lines = await rows(sqlite_store)
    assert [email.message_from_bytes(taken.raw)["Message-ID"] for taken in found.taken] == [lines[2]["message_id"]]
    assert [(line["state"], line["last_error"]) for line in lines] == [
        ("failed", SUPERSEDED), ("failed", SUPERSEDED), ("sent", None)
    ]  # fmt: skip


async def test_poisoned_delivery(sqlite_store: Store) -> None:
    """What no mail can be made of fails with its error, by name, and blocks nobody."""
    await put(sqlite_store, "bea@example.org", text="no calendar")
    await put(sqlite_store, "carl@example.org", text=calendar("CANCEL"))
    await put(sqlite_store, ORGANIZER, "not an address", "dora@example.org")
    async with sink() as found:
        outbox = Outbox(sqlite_store, relay_of(found), clock=Clock())
        assert await outbox.deliver_due() == Counter(failed=4, sent=1)
        await outbox.close()
    assert [taken.recipient for taken in found.taken] == ["dora@example.org"]
    errors = [line["last_error"] for line in await rows(sqlite_store)]
    for error, word in zip(errors, ("calendar", "METHOD", "organizer", "address"), strict=False):
        assert word in error


async def test_bug_in_compose(sqlite_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even an error that nobody foresaw is the end of that delivery only."""

    def broken(mail: Any) -> bytes:
        if mail.recipient == "g1@example.org":
            raise ZeroDivisionError("division by zero")
        return compose(mail)

    monkeypatch.setattr(room, "compose", broken)
    await put(sqlite_store, *guests(3))
    outbox = Outbox(sqlite_store, Relay(), clock=Clock(), way=Recorder())
    assert await outbox.deliver_due() == Counter(sent=2, failed=1)
    assert "ZeroDivisionError" in (await rows(sqlite_store))[1]["last_error"]


async def test_no_memory_to_compose(sqlite_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine cannot do at the moment is no fault of the mail: it waits, and leaves later."""
    failures = [MemoryError(), OSError(errno.EMFILE, "too many open files")]

    def poor(mail: Any) -> bytes:
        if failures:
            raise failures.pop()
        return compose(mail)

    monkeypatch.setattr(room, "compose", poor)
    await put(sqlite_store, *guests(3))
    clock = Clock()
    outbox = Outbox(sqlite_store, Relay(), clock=clock, way=Recorder())
    assert await outbox.deliver_due() == Counter(sent=1, waiting=2)
    clock.forward(minutes=1)
    assert await outbox.deliver_due() == Counter(sent=2)


async def test_recipient_that_cannot_be_sent_to(sqlite_store: Store) -> None:
    """A non-ASCII address at a relay without SMTPUTF8 fails for good, at once."""
    await put(sqlite_store, "jörg@example.org", "bea@example.org")
    async with sink(Sink(utf8=False)) as found:
        outbox = Outbox(sqlite_store, relay_of(found), clock=Clock())
        assert await outbox.deliver_due() == Counter(sent=1, failed=1)
        await outbox.close()
    assert "SMTPUTF8" in (await rows(sqlite_store))[0]["last_error"]


async def test_given_up(sqlite_store: Store) -> None:
    """A delivery that is refused for the moment for five days has failed; before that it has not."""
    clock = Clock()
    await put(sqlite_store, "bea@example.org")
    async with sink(Sink({"RCPT": TEMPORARY})) as found:
        outbox = Outbox(sqlite_store, relay_of(found), clock=clock)
        clock.forward(days=4, hours=23)
        assert await outbox.deliver_due() == Counter(waiting=1)
        clock.forward(hours=2)
        assert await outbox.deliver_due() == Counter(failed=1)
        await outbox.close()
    (line,) = await rows(sqlite_store)
    assert line["last_error"].startswith("given up after 5 days: RCPT: 451")


async def test_dead_relay(sqlite_store: Store, unused_tcp_port: int) -> None:
    """A dead relay is asked once a pass; all mail waits and is sent when the relay is back."""
    clock = Clock()
    await put(sqlite_store, *guests(40))
    outbox = Outbox(sqlite_store, Relay(host="127.0.0.1", port=unused_tcp_port), clock=clock)
    first = await outbox.deliver_due()
    assert first["waiting"] == room.FIRST
    assert await outbox.deliver_due() == Counter(waiting=1)  # from now on it is only felt for
    for line in (await rows(sqlite_store))[: room.FIRST]:
        assert f"127.0.0.1:{unused_tcp_port}" in line["last_error"]
    clock.forward(minutes=1)
    async with sink(port=unused_tcp_port) as found:
        assert await outbox.deliver_due() == Counter(sent=40)
        await outbox.close()
    assert len(found.taken) == 40


async def test_relay_dies_in_the_middle(sqlite_store: Store) -> None:
    """When the relay refuses connections in the middle of a pass, the pass ends and nothing is lost."""
    clock = Clock()
    await put(sqlite_store, *guests(40))
    way = Recorder(*[Verdict("sent", None, "ok")] * 5, RelayError("gone"))
    outbox = Outbox(sqlite_store, Relay(), clock=clock, way=way)
    counts = await outbox.deliver_due()
    assert counts["sent"] >= 5
    assert counts["waiting"] >= 1
    clock.forward(minutes=1)
    total = counts["sent"] + sum([(await outbox.deliver_due())["sent"] for _ in range(2)])
    assert total == 40


async def test_hanging_relay_is_asked_few_times(sqlite_store: Store) -> None:
    """While a relay lets us wait for its refusal, only as many mails ask as there are connections; the rest follow."""

    class Slow(Recorder):
        async def deliver(self, envelope: Envelope) -> Verdict:
            self.envelopes.append(envelope)
            await asyncio.sleep(0.05)
            raise RelayError("timed out")

    await put(sqlite_store, *guests(40))
    way = Slow()
    counts = await Outbox(sqlite_store, Relay(), clock=Clock(), way=way).deliver_due()
    assert counts == Counter(waiting=room.FIRST)
    assert len(way.envelopes) == relay.CONNECTIONS


async def test_unforeseen_error_of_the_way(sqlite_store: Store) -> None:
    """An error that nobody foresaw while sending makes that mail wait, not fail."""
    await put(sqlite_store, "bea@example.org", "carl@example.org")
    outbox = Outbox(sqlite_store, Relay(), clock=Clock(), way=Recorder(KeyError("what")))
    assert await outbox.deliver_due() == Counter(waiting=1, sent=1)
    assert "KeyError" in str([line["last_error"] for line in await rows(sqlite_store)])


async def test_return_path(sqlite_store: Store) -> None:
    """The return path carries the delivery's token, or is the plain address where relays know no tags."""
    await put(sqlite_store, "bea@example.org", uid="a")
    tagged = Recorder()
    await Outbox(sqlite_store, Relay(), clock=Clock(), way=tagged).deliver_due()
    await put(sqlite_store, "bea@example.org", uid="b")
    plain = Recorder()
    await Outbox(sqlite_store, Relay(return_path="plain"), clock=Clock(), way=plain).deliver_due()
    assert tagged.envelopes[0].sender.startswith("meetings+b-")
    assert plain.envelopes[0].sender == ORGANIZER


async def test_folder(sqlite_store: Store, tmp_path: Path) -> None:
    """With a folder, each mail is one .eml file, the same at another try, whose name begins with its time."""
    await put(sqlite_store, *guests(3))
    outbox = Outbox(sqlite_store, Relay(directory=tmp_path / "out"), clock=Clock())
    assert await outbox.deliver_due() == Counter(sent=3)
    files = {file.name: file.read_bytes() for file in (tmp_path / "out").glob("*")}
    assert len(files) == 3
    for name, raw in files.items():
        identity = email.message_from_bytes(raw)["Message-ID"]
        assert name == f"20261120T080000Z-{identity[1:27]}.eml"


async def test_run(sqlite_store: Store) -> None:
    """The daemon sends what is there and what another process puts there, over one connection; stop ends it."""
    stop = asyncio.Event()
    async with sink() as found:
        outbox = Outbox(sqlite_store, relay_of(found))
        await put(sqlite_store, "bea@example.org", uid="before")
        task = asyncio.create_task(outbox.run(stop))
        await until(lambda: len(found.taken) == 1)
        await put(sqlite_store, "bea@example.org", uid="after")
        await until(lambda: len(found.taken) == 2, 2.0)
        stop.set()
        await asyncio.wait_for(task, 20)
        assert not found.open
    assert found.connections == 1


async def test_run_wakes(sqlite_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that is woken looks at once, however long it would have waited."""
    monkeypatch.setattr(room, "POLL", 60.0)
    stop = asyncio.Event()
    way = Recorder()
    outbox = Outbox(sqlite_store, Relay(), way=way)
    task = asyncio.create_task(outbox.run(stop))
    await asyncio.sleep(0.2)
    await put(sqlite_store, "bea@example.org")
    await asyncio.sleep(0.2)
    assert not way.envelopes
    outbox.wake()
    await until(lambda: way.envelopes != [], 2.0)
    stop.set()
    await asyncio.wait_for(task, 20)


async def test_run_finds_the_relay_again(
    sqlite_store: Store, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon whose relay was away sends everything once it is back, without being told."""
    monkeypatch.setattr(delivery, "FIRST_RETRY", 0.2)
    monkeypatch.setattr(room, "LAST_RETRY_DOWN", 0.4)
    stop = asyncio.Event()
    await put(sqlite_store, *guests(30))
    outbox = Outbox(sqlite_store, Relay(host="127.0.0.1", port=unused_tcp_port))
    task = asyncio.create_task(outbox.run(stop))
    await asyncio.sleep(0.7)
    async with sink(port=unused_tcp_port) as found:
        await until(lambda: len(found.taken) == 30)
        stop.set()
        await asyncio.wait_for(task, 20)
    assert Counter(taken.recipient for taken in found.taken) == Counter(guests(30))


async def test_stop_does_not_wait_for_a_silent_relay(sqlite_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that says nothing holds the daemon up for a moment only; its mail is sent after the next start."""
    monkeypatch.setattr(room, "STOP", 0.2)
    clock = Clock()
    stop = asyncio.Event()
    await put(sqlite_store, "bea@example.org")
    async with sink(Sink({"RCPT": [HANG]})) as found:
        outbox = Outbox(sqlite_store, relay_of(found), clock=clock)
        task = asyncio.create_task(outbox.run(stop))
        await until(lambda: any(command.startswith("RCPT") for command in found.commands))
        stop.set()
        await asyncio.wait_for(task, 20)
        assert await states(sqlite_store) == ["sending"]
        clock.forward(seconds=room.LEASE.total_seconds() + 1)
        again = Outbox(sqlite_store, relay_of(found), clock=clock)
        assert await again.deliver_due() == Counter(sent=1)
        await again.close()


async def test_stop_finishes_what_is_being_sent(sqlite_store: Store) -> None:
    """What is being sent when the daemon stops is sent and settled; nothing more is begun."""
    stop = asyncio.Event()
    await put(sqlite_store, *guests(50))
    async with sink(Sink(delay=0.1)) as found:
        outbox = Outbox(sqlite_store, relay_of(found))
        task = asyncio.create_task(outbox.run(stop))
        await until(lambda: len(found.seen) > 0)  # and before the first is settled, so before more are claimed
        stop.set()
        await asyncio.wait_for(task, 20)
    counted = Counter(await states(sqlite_store))
    assert 0 < counted["sent"] == len(found.taken) <= room.FIRST
    assert counted["waiting"] == 50 - counted["sent"]


async def test_two_outboxes(store: Store) -> None:
    """Two processes over one store send each mail once."""
    await put(store, *guests(60))
    async with sink(Sink(delay=0.005)) as found:
        both = [Outbox(store, relay_of(found), clock=Clock()) for _ in range(2)]
        counts = await asyncio.gather(*(outbox.deliver_due() for outbox in both))
        for outbox in both:
            await outbox.close()
    assert counts[0] + counts[1] == Counter(sent=60)
    assert Counter(taken.recipient for taken in found.taken) == Counter(guests(60))


async def test_lease_is_renewed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a slow relay thinks, no other process takes the mail, however long it lasts."""
    monkeypatch.setattr(room, "LEASE", timedelta(seconds=0.6))
    monkeypatch.setattr(room, "RENEW", 0.1)
    await put(store, "bea@example.org")
    async with sink(Sink(delay=1.5)) as found:
        slow, other = (Outbox(store, relay_of(found)) for _ in range(2))
        task = asyncio.create_task(slow.deliver_due())
        await until(lambda: found.seen != [])
        for _ in range(10):
            assert await other.deliver_due() == Counter()
            await asyncio.sleep(0.1)
        assert await task == Counter(sent=1)
        await slow.close()
    assert len(found.taken) == 1


async def test_crash(store: Store) -> None:
    """What a dead process had claimed is sent by the next one after the lease, the same bytes."""
    clock = Clock()
    await put(store, "bea@example.org")
    (claimed,) = await store.claim(clock(), room.LEASE, 10)
    async with sink() as found:
        outbox = Outbox(store, relay_of(found), clock=clock)
        assert await outbox.deliver_due() == Counter()
        clock.forward(seconds=room.LEASE.total_seconds() + 1)
        assert await outbox.deliver_due() == Counter(sent=1)
        await outbox.close()
    assert found.taken[0].raw == compose(outgoing(claimed, store.secret))
    # The dead one comes back: it has nothing to say any more.
    assert not await store.settle(claimed, "failed", clock(), error="late")
    assert await states(store) == ["sent"]


class Flaky:
    """A store whose named methods fail so many times before they work."""

    def __init__(self, store: Store, **failures: int) -> None:
        self.store = store
        self.failures = Counter(failures)

    def __getattr__(self, name: str) -> Any:
        async def call(*given: Any, **named: Any) -> Any:
            if self.failures[name] > 0:
                self.failures[name] -= 1
                raise OSError(28, "No space left on device")
            return await getattr(self.store, name)(*given, **named)

        return call


async def test_settle_is_tried_again(sqlite_store: Store) -> None:
    """A store that is busy for a moment after the relay took the mail does not make it go twice."""
    await put(sqlite_store, "bea@example.org")
    way = Recorder()
    store: Any = Flaky(sqlite_store, settle_many=2)
    outbox = Outbox(store, Relay(), clock=Clock(), way=way)
    assert await outbox.deliver_due() == Counter(sent=1)
    assert store.failures["settle_many"] == 0
    assert len(way.envelopes) == 1
    assert await states(sqlite_store) == ["sent"]


async def test_results_share_transactions(sqlite_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What became of many mails is written together, and nothing waits for mails that are not on their way."""
    monkeypatch.setattr(settling, "GATHER", 600.0)
    await put(sqlite_store, *guests(room.FIRST + 2 * settling.ENOUGH))
    sizes: list[int] = []
    written = sqlite_store.settle_many

    async def counted(results: Sequence[Result]) -> list[bool]:
        sizes.append(len(results))
        return await written(results)

    monkeypatch.setattr(sqlite_store, "settle_many", counted)
    counts = await Outbox(sqlite_store, Relay(), clock=Clock(), way=Recorder()).deliver_due()
    assert counts == Counter(sent=sum(sizes))
    assert sum(sizes) == room.FIRST + 2 * settling.ENOUGH
    assert len(sizes) <= 4


async def test_results_do_not_wait_for_a_slow_mail(sqlite_store: Store) -> None:
    """While one mail is still on its way, what became of the others is written."""
    await put(sqlite_store, *guests(3))
    hang = asyncio.Event()

    class Slow(Recorder):
        async def deliver(self, envelope: Envelope) -> Verdict:
            if envelope.recipient == guests(1)[0]:
                await hang.wait()
            return await super().deliver(envelope)

    task = asyncio.create_task(Outbox(sqlite_store, Relay(), clock=Clock(), way=Slow()).deliver_due())
    while sorted(await states(sqlite_store)) != ["sending", "sent", "sent"]:  # noqa: ASYNC110 - what the database says
        await asyncio.sleep(0.01)
    hang.set()
    assert await task == Counter(sent=3)


async def test_failing_store_is_told(sqlite_store: Store) -> None:
    """A pass says that the store failed, after all that it had claimed came to its end."""
    await put(sqlite_store, *guests(3))
    store: Any = Flaky(sqlite_store, claim=1)
    with pytest.raises(OSError, match="No space"):
        await Outbox(store, Relay(), clock=Clock(), way=Recorder()).deliver_due()


async def test_run_outlives_a_failing_store(sqlite_store: Store) -> None:
    """A daemon goes on when its store works again."""
    await put(sqlite_store, "bea@example.org")
    stop = asyncio.Event()
    way = Recorder()
    store: Any = Flaky(sqlite_store, claim=2)
    task = asyncio.create_task(Outbox(store, Relay(), way=way).run(stop))
    await until(lambda: way.envelopes != [], 10)
    stop.set()
    await asyncio.wait_for(task, 20)
    assert await states(sqlite_store) == ["sent"]


async def test_large_calendar_beside_the_loop(sqlite_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A calendar with thousands of guests is composed beside the event loop, and whole."""
    threads: list[Any] = []
    real = asyncio.to_thread

    async def watched(work: Any, *rest: Any) -> Any:
        threads.append(work)
        return await real(work, *rest)

    monkeypatch.setattr(asyncio, "to_thread", watched)
    way = Recorder()
    await put(sqlite_store, "bea@example.org", text=calendar(summary="x" * room.LARGE))
    await Outbox(sqlite_store, Relay(), clock=Clock(), way=way).deliver_due()
    assert compose in threads
    assert len(way.envelopes[0].raw) > room.LARGE


async def test_backoff(sqlite_store: Store) -> None:
    """Each try waits about twice as long as the one before, up to an hour, and the same whenever it is asked."""
    clock = Clock()
    await put(sqlite_store, "bea@example.org")
    way = Recorder(*[Verdict("later", "4.0.0", "no")] * 14)
    outbox = Outbox(sqlite_store, Relay(), clock=clock, way=way)
    waits: list[float] = []
    for _ in range(14):
        assert await outbox.deliver_due() == Counter(waiting=1)
        due = datetime.fromisoformat((await rows(sqlite_store))[0]["next_attempt"])
        waits.append((due - clock.now).total_seconds())
        clock.now = due
    assert 8 <= waits[0] <= 12
    expected = [min(3600.0, 10.0 * 2**n) for n in range(14)]
    for wait, middle in zip(waits, expected, strict=True):
        assert 0.79 * middle <= wait <= 1.21 * middle
    (delivery,) = await sqlite_store.claim(clock.now, room.LEASE, 1)
    assert backoff(delivery, 3600) == backoff(delivery, 3600)
    assert file_name(delivery).isascii()


async def until(done: Any, seconds: float = 30.0) -> None:
    """Wait until `done()`, for so many seconds at most."""
    async with asyncio.timeout(seconds):
        while not done():  # noqa: ASYNC110 - what is waited for knows no events
            await asyncio.sleep(0.01)
