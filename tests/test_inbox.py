"""The inbox: many messages in one commit, each fails or succeeds alone, nothing is answered before it is committed."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import structlog

from itipd import transaction
from itipd.batches import ATTEMPTS
from itipd.benchmark.mails import ORGANIZER, Letter, calendar, guest, letters, uid
from itipd.carrying import Context
from itipd.config import Config
from itipd.inbox import AcceptHeld, Inbox, InboxFullError, Mail, Put, Receipt, Remind
from itipd.itip.incoming import incoming
from itipd.log import configure
from itipd.mail.reading import Reading
from itipd.mails import decide_mail
from itipd.orders import Cancel, DeclineProposal, RejectHeld, pack, unpack
from itipd.store import Conflict, Store, Want, gather
from itipd.store.rows import key_of

NOW = datetime(2026, 11, 20, 8, tzinfo=UTC)


@pytest.fixture(autouse=True)
def short_traces() -> Iterator[None]:
    """A fault is logged without the values of all variables: to show them takes longer than a batch may."""
    configure(level="error", stream=io.StringIO())
    yield
    structlog.reset_defaults()


@asynccontextmanager
async def running(store: Store, **config: object) -> AsyncIterator[Inbox]:
    """An inbox that reads in this process."""
    inbox = Inbox(store, None, Config.model_validate(config))
    await inbox.start()
    try:
        yield inbox
    finally:
        await inbox.stop()


async def register(inbox: Inbox, meetings: int = 1, guests: int = 4) -> None:
    for one in incoming("".join(calendar(meetings, guests)).encode()):
        await inbox.command(Put(one, recorded=True), at=NOW)


def mail(letter: Letter, at: datetime = NOW) -> Mail:
    return Mail(letter.sender, (ORGANIZER,), letter.raw, at, door="smtp")


async def partstats(store: Store, number: int = 0) -> dict[str, str | None]:
    meeting = await store.meeting(uid(number))
    assert meeting is not None
    return {row.address: row.partstat for row in meeting.attendees.values()}


def words(receipt: Receipt) -> list[str]:
    return [f"{decision.outcome}/{decision.reason}" for decision in receipt.results]


async def test_many_mails_share_a_commit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mails that wait together are decided in one transaction, in the order in which they were settled."""
    sizes: list[int] = []
    process = transaction.process

    async def counted(context: Context, jobs: list[transaction.Job]) -> None:
        sizes.append(len(jobs))
        await process(context, jobs)

    monkeypatch.setattr("itipd.batches.process", counted)
    async with running(store) as inbox:
        await register(inbox, meetings=2, guests=8)
        sizes.clear()
        found = await asyncio.gather(*(inbox.submit(mail(letter)) for letter in letters(16, 2, 8, 0)))
    assert len(sizes) <= 2 < len(found)
    assert {words(receipt)[0] for receipt in found} == {"updated/replied"}
    ids = [receipt.id for receipt in found]
    assert ids == sorted(ids)
    assert len(set(ids)) == 16


async def test_mails_that_are_being_read_share_a_commit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first mail that is read waits a moment for the others; for one that takes long only once, and not again."""
    sizes: list[int] = []
    process, hang = transaction.process, asyncio.Event()

    async def counted(context: Context, jobs: list[transaction.Job]) -> None:
        sizes.append(len(jobs))
        await process(context, jobs)

    async with running(store) as inbox:
        await register(inbox, meetings=2, guests=8)
        work = [mail(letter) for letter in letters(10, 2, 8, 0)]
        read, turns = inbox.read, {one.raw: turn for turn, one in enumerate(work)}

        async def slow(one: Mail) -> Reading:
            if one is work[-1]:
                await hang.wait()
            for _ in range(20 * turns[one.raw]):
                await asyncio.sleep(0)
            return await read(one)

        monkeypatch.setattr(inbox, "read", slow)
        monkeypatch.setattr("itipd.batches.process", counted)
        monkeypatch.setattr("itipd.batches.ENOUGH", 9)
        monkeypatch.setattr("itipd.batches.COMPANY", 60.0)
        await asyncio.gather(*(inbox.submit(one) for one in work[:8]))
        assert sizes == [8]
        monkeypatch.setattr("itipd.batches.COMPANY", 0.01)
        late = asyncio.create_task(inbox.submit(work[9]))
        await asyncio.sleep(0)
        await inbox.submit(work[8])
        monkeypatch.setattr("itipd.batches.COMPANY", 60.0)
        async with asyncio.timeout(30):
            assert words(await inbox.submit(work[0])) == ["no_action/duplicate"]
            hang.set()
            assert words(await late) == ["updated/replied"]
    assert sizes == [8, 1, 1, 1]


async def test_what_comes_during_a_commit_shares_the_next(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one batch is committed all that comes gathers for the next, in the order in which it came."""
    sizes: list[int] = []
    process, begun, go = transaction.process, asyncio.Event(), asyncio.Event()

    async def held_up(context: Context, jobs: list[transaction.Job]) -> None:
        sizes.append(len(jobs))

        async def wait() -> None:
            begun.set()
            await go.wait()

        await context.batch.outside(wait())
        await process(context, jobs)

    async with running(store) as inbox:
        await register(inbox)
        work = [mail(letter) for letter in letters(4, 1, 4, 0)]
        monkeypatch.setattr("itipd.batches.process", held_up)
        waiting = [asyncio.ensure_future(inbox.submit(work[0]))]
        await begun.wait()
        for one in work[1:]:
            waiting.append(asyncio.ensure_future(inbox.submit(one)))
            for _ in range(50):  # each has come as far as it can
                await asyncio.sleep(0)
        assert not any(one.done() for one in waiting)
        go.set()
        assert {words(await one)[0] for one in waiting} == {"updated/replied"}
    assert sizes == [1, 3]


async def test_one_bad_message_does_not_spoil_the_batch(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception of ours fails the one message that causes it; the others of its batch are committed."""

    async def poisoned(context: Context, job: transaction.Job, order: Mail, seen: dict[tuple[str, bytes], int]) -> None:
        if order.sender == guest(2):
            raise RuntimeError("a fault of ours")
        await decide_mail(context, job, order, seen)

    monkeypatch.setattr(transaction, "decide_mail", poisoned)
    async with running(store) as inbox:
        await register(inbox)
        work = [inbox.submit(mail(letter)) for letter in letters(4, 1, 4, 0)]
        found = await asyncio.gather(*work, return_exceptions=True)
    kinds = [type(one).__name__ for one in found]
    assert kinds == ["Receipt", "Receipt", "RuntimeError", "Receipt"]
    known = await partstats(store)
    assert known[guest(2)] == "NEEDS-ACTION"
    assert [known[guest(n)] != "NEEDS-ACTION" for n in (0, 1, 3)] == [True] * 3
    assert len((await store.mail_list())[0]) == 3


async def test_a_conflict_is_tried_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """When another process was faster the whole batch is decided again, a bounded number of times."""
    process, failures = transaction.process, [ATTEMPTS - 1]

    async def contended(context: Context, jobs: list[transaction.Job]) -> None:
        await process(context, jobs)
        if failures[0]:
            failures[0] -= 1
            raise Conflict("somebody else was first")

    async with running(store) as inbox:
        await register(inbox)
        monkeypatch.setattr("itipd.batches.process", contended)
        (letter, other) = letters(2, 1, 4, 0)
        assert words(await inbox.submit(mail(letter))) == ["updated/replied"]
        failures[0] = ATTEMPTS
        with pytest.raises(Conflict):
            await inbox.submit(mail(other))
    assert (await partstats(store))[guest(1)] == "NEEDS-ACTION"


async def test_the_same_mail_twice_in_one_batch_counts_once(store: Store) -> None:
    """A mail delivered twice at the same time has one journal entry and one effect; the second is a duplicate."""
    async with running(store) as inbox:
        await register(inbox)
        (letter,) = letters(1, 1, 4, 0)
        first, second = await asyncio.gather(inbox.submit(mail(letter)), inbox.submit(mail(letter)))
        third = await inbox.submit(mail(letter, NOW + timedelta(hours=1)))
    assert [words(one) for one in (first, second, third)] == [
        ["updated/replied"],
        ["no_action/duplicate"],
        ["no_action/duplicate"],
    ]
    assert first.id == second.id == third.id
    assert len((await store.mail_list())[0]) == 1


async def test_what_waited_is_decided_when_the_meeting_is_registered(store: Store) -> None:
    """A reply to an unknown UID is held, and is decided by itself in the transaction that registers the meeting."""
    async with running(store) as inbox:
        (letter,) = letters(1, 1, 4, 0)
        receipt = await inbox.submit(mail(letter))
        assert words(receipt) == ["held/unknown_meeting"]
        assert len((await store.held_list())[0]) == 1
        await register(inbox)
        assert (await partstats(store))[guest(0)] == letter.partstat
        assert (await store.held_list())[0] == []
        found = await store.mail(receipt.id)
    assert found is not None
    assert [(one["outcome"], one["reason"]) for one in found["results"]] == [
        ("held", "unknown_meeting"),
        ("updated", "replied"),
    ]


async def test_a_person_lets_a_party_crasher_in_or_refuses_them(store: Store) -> None:
    """Accepting makes the crasher an attendee and sends the REQUEST, rejecting the CANCEL; then it is closed."""
    async with running(store) as inbox:
        await register(inbox, guests=2)
        for letter in letters(4, 1, 4, 0)[2:]:
            assert words(await inbox.submit(mail(letter))) == ["held/party_crasher"]
        waiting = (await store.held_list())[0]
        accepted = await inbox.command(AcceptHeld(waiting[0]["id"]))
        rejected = await inbox.command(RejectHeld(waiting[1]["id"]))
        assert words(await inbox.command(AcceptHeld(waiting[0]["id"]))) == ["error/not_found"]
    assert [send.method for one in (accepted, rejected) for send in one.results[0].sends] == ["REQUEST", "CANCEL"]
    known = await partstats(store)
    assert known[guest(2)] == letters(4, 1, 4, 0)[2].partstat
    assert (await store.held_list())[0] == []
    assert [line["method"] for line in (await store.outbox_list())[0]] == ["REQUEST", "CANCEL"]


async def test_beyond_the_queue_the_sender_is_asked_to_come_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full queue is an exception of ours (451), not memory."""
    monkeypatch.setattr("itipd.inbox.QUEUE", 0)
    async with running(store) as inbox:
        with pytest.raises(InboxFullError):
            await inbox.submit(mail(letters(1, 1, 4, 0)[0]))


async def test_nobody_waits_for_a_database_that_hangs(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mails of a batch that does not end, those behind it and new ones are refused; each counts once in the end."""
    store, holder = await Store.open(store_url), await Store.open(store_url)
    async with running(store) as inbox:
        await register(inbox)
        first, second = map(mail, letters(2, 1, 2, 0))
        async with hanging(holder, monkeypatch):
            found = await asyncio.gather(inbox.submit(first), inbox.submit(second), return_exceptions=True)
            assert [type(one) for one in found] == [InboxFullError, InboxFullError]
            with pytest.raises(InboxFullError):
                await inbox.submit(second)
        while inbox.stalled:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.01)
        await inbox.submit(first)
        await inbox.submit(second)
        assert len((await store.mail_list())[0]) == 2
        assert set((await partstats(store)).values()) > {"NEEDS-ACTION"}
        async with hanging(holder, monkeypatch):
            order = asyncio.create_task(inbox.command(Remind(uid(0), organizer=ORGANIZER), at=NOW))
            while not inbox.stalled:  # noqa: ASYNC110 - nobody is told
                await asyncio.sleep(0.01)
            assert not order.done()  # given again it might be obeyed twice
        assert [one.reason.value for one in (await order).results] == ["reminded"]
    await asyncio.gather(store.close(), holder.close())


@asynccontextmanager
async def hanging(holder: Store, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Somebody holds the meeting, and on SQLite the file; patience is short meanwhile."""
    wanted = {key_of(ORGANIZER, uid(0)): Want(ORGANIZER, uid(0), everything=True)}
    with monkeypatch.context() as patience:
        async with holder.database.writing() as transaction:
            await transaction.run(partial(gather.lock, wanted=wanted))
            patience.setattr("itipd.batches.STALLED", 0.05)
            yield


async def test_stop_finishes_what_is_queued(store: Store) -> None:
    """What was handed over before the stop is committed; what comes after it is refused."""
    inbox = Inbox(store, None, Config())
    await inbox.start()
    await register(inbox)
    waiting = [asyncio.ensure_future(inbox.submit(mail(letter))) for letter in letters(4, 1, 4, 0)]
    await asyncio.sleep(0)
    await inbox.stop()
    assert {words(await one)[0] for one in waiting} == {"updated/replied"}
    with pytest.raises(RuntimeError, match="not running"):
        await inbox.command(Cancel(uid(0)))


async def test_each_inbox_has_its_own_bound_of_expansion(store: Store) -> None:
    """`[limits] expansion` is that of the configuration that decides, whatever another inbox in this process has."""
    folder = Path(__file__).parent.parent / "fixtures" / "bound-expansion"
    raw = (folder / "1-beyond-the-bound.eml").read_bytes()
    (given,) = incoming((folder / "given.ics").read_bytes())
    async with running(store, limits={"expansion": 20}) as narrow, running(store) as wide:
        await wide.command(Put(given, recorded=True), at=NOW)
        said = []
        for number, inbox in enumerate((narrow, wide)):
            again = b"X-Number: %d\r\n%b" % (number, raw)
            said += words(await inbox.submit(Mail("sven@example.net", (ORGANIZER,), again, NOW)))
    assert said == ["error/rule_too_costly", "updated/replied"]


async def test_a_mail_without_calendar_is_kept(store: Store) -> None:
    """It changes nothing, is answered, and stands in the journal with its outcome."""
    async with running(store) as inbox:
        receipt = await inbox.submit(
            Mail("a@example.org", (ORGANIZER,), b"Subject: hello\r\n\r\nHow are you?\r\n", NOW)
        )
    assert words(receipt) == ["no_action/not_calendar"]
    found = await store.mail(receipt.id)
    assert found is not None
    assert found["raw"].endswith(b"How are you?\r\n")


def test_an_order_comes_back_from_the_journal_as_it_went_in() -> None:
    """Orders are written without the ids that a rebuilt database would not have, and read back equal otherwise."""
    (one,) = incoming("".join(calendar(1, 2)).encode())
    again = unpack(pack(Put(one, "all", recorded=True)))
    assert isinstance(again, Put)
    assert (again.notify, again.recorded, again.incoming.uid) == ("all", True, one.uid)
    assert {row.address for row in again.incoming.attendees} == {row.address for row in one.attendees}
    order = DeclineProposal(7, uid(0), guest(1), "", ORGANIZER, "not then")
    assert unpack(pack(order)) == replace(order, id=0)
    assert unpack(pack(Cancel(uid(0), ("20261208T090000Z",)))) == Cancel(uid(0), ("20261208T090000Z",))
