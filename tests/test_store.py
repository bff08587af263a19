"""The batch: what is gathered, applied and written, on SQLite and PostgreSQL alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from itipd.itip.answer import LAST
from itipd.itip.model import (
    Attendee,
    CalAddress,
    Decision,
    DropAttendee,
    DropEvent,
    Event,
    Proposal,
    Proposed,
    PutAttendee,
    PutEvent,
    PutMeeting,
    PutProposal,
    Revision,
    Write,
)
from itipd.itip.outcomes import Outcome, Reason
from itipd.store import Batch, Conflict, OutcomeRow, Store, StoreError, Want
from tests.store_help import (
    BOB,
    EVE,
    NOW,
    WE,
    answer,
    guest,
    mail,
    moment,
    put,
    register,
    reply,
    sending,
    statements,
    whole,
)

RID = moment(8, 10).rid


async def test_meeting_comes_back_as_it_was_put(store: Store) -> None:
    """Every field of a meeting, its events and its attendees survives the database."""
    bob = Attendee(
        BOB, "", 3, {"CN": ("Bob",), "MEMBER": ("a", "b")}, False, False, True, "TENTATIVE", True,
        Revision(4, NOW), NOW, NOW, 2, NOW, True, "late", ("x@example.com",), ("y@example.com",), "s@example.com", 2,
        "2.0", 50, NOW, NOW,
    )  # fmt: skip
    override = Event(
        RID, "VEVENT", "LOCATION:B\n", 3, True, NOW, "CANCELLED", "Moved", "B", moment(8, 12), moment(8, 13),
        "Europe/Berlin", ("FREQ=DAILY",), (moment(9, 9),), (moment(10, 9), moment(11, 9)), True,
    )  # fmt: skip
    stored = await register(store, "a", bob, Attendee(BOB, RID, partstat=None), events=[override])
    assert stored.id > 0
    assert await whole(store, "a") == stored


async def test_reply_path(store: Store) -> None:
    """A reply writes its attendee, its mail, its outcome and a mail back, and the refs get their ids."""
    await register(store, "a", guest(BOB), guest(EVE, 1))
    digest = b"0123456789abcdef"
    async with store.batch() as batch:
        assert await batch.seen([(WE, digest)]) == {}
        await batch.gather([Want(WE, "a", frozenset({BOB}))])
        meeting = batch.meeting(WE, "a")
        assert meeting is not None
        assert list(meeting.attendees) == [("", BOB)]
        accepted = await answer(batch, "a", BOB)
        entry = mail(batch, digest=digest)
        assert batch.journaled(WE, digest) is entry
        assert batch.journaled("other@example.com", digest) is None
        sent = batch.send(sending(meeting, entry, BOB))
        assert (entry.id, sent.id) == (0, 0)
    assert min(entry.id, sent.id) > 0
    async with store.batch() as batch:
        assert await batch.seen([(WE, digest), (WE, b"x" * 16), ("o@x.test", digest)]) == {(WE, digest): entry.id}
    now = await whole(store, "a")
    assert now.attendees["", BOB] == accepted
    assert now.attendees["", EVE].partstat == "NEEDS-ACTION"


async def test_each_sees_what_came_before_in_the_batch(store: Store) -> None:
    """Changes of one message are seen by the next, through any spelling of the UID, also after a second gather."""
    await register(store, "a", guest(BOB), guest(EVE, 1))
    async with store.batch() as batch:
        await batch.gather([Want(WE, "a", frozenset({BOB}))])
        await answer(batch, "a", BOB, "DECLINED")
        await batch.gather([Want(WE, " a", frozenset({BOB, EVE}))])
        await answer(batch, "a ", EVE)
        await batch.gather([Want(WE, "a", everything=True)])
        meeting = batch.meeting(WE, "a")
    assert meeting is not None
    assert [row.partstat for row in meeting.attendees.values()] == ["DECLINED", "ACCEPTED"]
    assert await whole(store, "a") == meeting


async def test_want_loads_what_it_names(store: Store) -> None:
    """Addresses, instances, a day, the first guests, or all of it: no more rows than asked for."""
    other_day = moment(9, 10).rid
    events = [Event(rid, "VEVENT", "") for rid in (RID, other_day)]
    rows = [guest(f"g{number}@x.test", number) for number in range(5)]
    await register(store, "a", *rows, Attendee("g0@x.test", RID), Attendee("g1@x.test", RID), events=events)

    async def loaded(want: Want) -> tuple[list[str], list[tuple[str, str]]]:
        async with store.batch() as batch:
            await batch.gather([want])
            meeting = batch.meeting(WE, "a")
        assert meeting is not None
        return sorted(meeting.events), sorted((address[:2], rid) for rid, address in meeting.attendees)

    assert await loaded(Want(WE, "a")) == ([""], [])
    assert await loaded(Want(WE, "a", rids=frozenset({RID}))) == (["", RID], [])
    assert await loaded(Want(WE, "a", rids=frozenset({"20261208"}))) == (["", RID], [])
    assert await loaded(Want(WE, "a", frozenset({"g1@x.test"}))) == ([""], [("g1", ""), ("g1", RID)])
    two = [("g0", ""), ("g0", RID), ("g1", ""), ("g1", RID)]
    assert await loaded(Want(WE, "a", guests=1)) == (["", RID, other_day], two)
    assert await loaded(Want(WE, "a", guests=9)) == await loaded(Want(WE, "a", everything=True))


async def test_want_leaves_out_answers_to_other_instances(store: Store) -> None:
    """Of an attendee's rows come those that can say anything about the wanted R, and those of a later R with it."""
    days = [moment(day, 10).rid for day in range(1, 7)]
    mere, overridden, onward, uninvited = days[:4]
    rows = [
        guest(BOB),
        Attendee(BOB, mere, listed=False),
        Attendee(BOB, overridden),
        Attendee(BOB, onward, listed=False, future=True),
        Attendee(BOB, uninvited, listed=False, position=LAST),
        *(Attendee(BOB, rid, listed=False) for rid in days[4:]),
    ]
    await register(store, "a", *rows)
    async with store.batch() as batch:

        def there() -> list[str]:
            meeting = batch.meeting(WE, "a")
            assert meeting is not None
            return sorted(rid for rid, _ in meeting.attendees)

        await batch.gather([Want(WE, "a", frozenset({BOB}), frozenset({days[4]}))])
        assert there() == ["", overridden, onward, uninvited, days[4]]
        with pytest.raises(ValueError, match="was not gathered"):
            await batch.apply(batch.meeting(WE, "a"), WE, "a", [PutAttendee(Attendee(BOB, days[5]))])
        await batch.gather([Want(WE, "a", rids=frozenset({days[5]}))])
        assert there() == ["", overridden, onward, uninvited, *days[4:]]
        await batch.apply(batch.meeting(WE, "a"), WE, "a", [PutAttendee(Attendee(BOB, days[5], partstat="ACCEPTED"))])
    assert (await whole(store, "a")).attendees[days[5], BOB].partstat == "ACCEPTED"


async def test_want_one_mailbox_with_any_tag(store: Store) -> None:
    """`kim+*` loads kim's rows under every tag and nobody else's, and they may be written."""
    people = ("kim@x.test", "kim+a@x.test", "kim+b@x.test", "kimm@x.test")
    await register(store, "a", *(guest(address) for address in people))
    async with store.batch() as batch:
        await batch.gather([Want(WE, "a", frozenset({"kim+*", "kim@x.test"}))])
        meeting = batch.meeting(WE, "a")
        assert meeting is not None
        assert sorted(address for _, address in meeting.attendees) == ["kim+a@x.test", "kim+b@x.test", "kim@x.test"]
        await answer(batch, "a", "kim+b@x.test")
    assert (await whole(store, "a")).attendees["", "kim+b@x.test"].partstat == "ACCEPTED"


async def test_gather_again_adds(store: Store) -> None:
    """Guests may be asked for after a reply's rows, in many meetings at once; what the batch has changed stays."""
    for uid in ("a", "b"):
        await register(store, uid, guest(BOB), guest(EVE, 1))
    async with store.batch() as batch:
        await batch.gather([Want(WE, uid, frozenset({BOB})) for uid in ("a", "b")])
        await answer(batch, "a", BOB)
        await batch.gather([Want(WE, "a", guests=5), Want(WE, "b", guests=1)])
        a, b = batch.meeting(WE, "a"), batch.meeting(WE, "b")
        assert a is not None
        assert b is not None
        assert [(row.address, row.partstat) for row in a.attendees.values()] == [
            (BOB, "ACCEPTED"),
            (EVE, "NEEDS-ACTION"),
        ]
        assert len(b.attendees) == 2


async def test_drop_and_put_again(store: Store) -> None:
    """Rows are deleted, also those that come again under their key, and an override with them."""
    await register(store, "a", guest(BOB), guest(EVE, 1), events=[Event(RID, "VEVENT", "")])
    async with store.batch() as batch:
        await batch.gather([Want(WE, "a", everything=True)])
        writes: list[Write] = [DropAttendee("", BOB), DropAttendee("", EVE), PutAttendee(guest(BOB, 7)), DropEvent(RID)]
        meeting = await batch.apply(batch.meeting(WE, "a"), WE, "a", writes)
        new = PutAttendee(guest("new@x.test"))
        meeting = await batch.apply(meeting, WE, "a", [new, DropAttendee("", "new@x.test"), DropEvent("20300101")])
    assert await whole(store, "a") == meeting
    assert [(row.address, row.position) for row in meeting.attendees.values()] == [(BOB, 7)]
    assert list(meeting.events) == [""]


async def test_put_meeting_writes_its_own_row_only(store: Store) -> None:
    """PutMeeting changes the meeting's words and leaves its events and attendees alone."""
    await register(store, "a", guest(BOB))
    async with store.batch() as batch:
        await batch.gather([Want(WE, "a")])
        meeting = batch.meeting(WE, "a")
        assert meeting is not None
        changed = replace(meeting, sequence=3, status="CANCELLED", events={}, policy={"sender": "dmarc"})
        after = await batch.apply(meeting, WE, "a", [PutMeeting(changed)])
        assert after.events == meeting.events
    now = await whole(store, "a")
    assert (now.sequence, now.status, now.policy, len(now.attendees)) == (3, "CANCELLED", {"sender": "dmarc"}, 1)


async def test_write_to_what_was_not_seen_is_refused(store: Store) -> None:
    """A decision cannot overwrite rows that it has not seen, nor a meeting that has changed since."""
    await register(store, "a", guest(BOB), guest(EVE, 1))
    async with store.batch() as batch:
        with pytest.raises(LookupError, match="was not gathered"):
            batch.meeting(WE, "a")
        await batch.gather([Want(WE, "a", frozenset({BOB}))])
        meeting = batch.meeting(WE, "a")
        for write in (
            PutAttendee(guest(EVE)),
            DropAttendee("", EVE),
            PutEvent(Event(RID, "VEVENT", "")),
            DropEvent(RID),
        ):
            with pytest.raises(ValueError, match="was not gathered"):
                await batch.apply(meeting, WE, "a", [write])
        await answer(batch, "a", BOB)
        with pytest.raises(ValueError, match="has changed since"):
            await batch.apply(meeting, WE, "a", [PutAttendee(guest(BOB))])
        await batch.gather([Want(WE, "none")])
        with pytest.raises(ValueError, match="begin none"):
            await batch.apply(None, WE, "none", [PutAttendee(guest(BOB))])
    assert (await whole(store, "a")).attendees["", BOB].partstat == "ACCEPTED"


async def test_exception_writes_nothing(store: Store) -> None:
    """A batch that ends with an exception has not happened, and the store goes on."""
    await register(store, "a", guest(BOB))

    async def work() -> None:
        async with store.batch() as batch:
            await batch.gather([Want(WE, "a", frozenset({BOB}))])
            await answer(batch, "a", BOB)
            raise RuntimeError("ours")

    with pytest.raises(RuntimeError, match="ours"):
        await work()
    assert (await whole(store, "a")).attendees["", BOB].partstat == "NEEDS-ACTION"
    assert await store.mail_list() == ([], None)
    await reply(store, "a", BOB)


async def test_proposals(store: Store) -> None:
    """A proposal gets an id, comes back whole, and an attendee's last is loaded whatever became of it."""
    await register(store, "a", guest(BOB))
    said = Proposed(moment(2, 10), moment(2, 11), "there", "S", moment(1, 10), moment(1, 11), "Europe/Berlin")
    proposal = Proposal(0, BOB, "", said, (CalAddress("new@example.com", {"CN": ("N",)}),), "why", 1)
    async with store.batch() as batch:
        await batch.gather([Want(WE, "a", frozenset({BOB}))])
        writes = [PutProposal(proposal), PutProposal(replace(proposal, attendee=EVE))]
        meeting = await batch.apply(batch.meeting(WE, "a"), WE, "a", writes)
    one, two = meeting.proposals.values()
    assert 0 < one.id < two.id
    assert (await whole(store, "a")).proposals == meeting.proposals
    async with store.batch() as batch:
        await batch.gather([Want(WE, "a", frozenset({BOB}))])
        meeting = await batch.apply(batch.meeting(WE, "a"), WE, "a", [PutProposal(replace(one, state="retired"))])
        assert list(meeting.proposals) == [one.id]
    async with store.batch() as batch:
        await batch.gather([Want(WE, "a", frozenset({BOB}))])
        left = batch.meeting(WE, "a")
    assert left is not None
    assert left.proposals == {one.id: replace(one, state="retired")}


async def test_held_mail_of_this_and_of_earlier_batches(store: Store) -> None:
    """Open held outcomes are found until they are closed, also inside the batch that holds them."""
    decision = Decision(Outcome.HELD, Reason.UNKNOWN_MEETING, uid="a", attendee=BOB)
    async with store.batch() as batch:
        await batch.gather([Want(WE, "a")])
        entry = mail(batch)
        batch.outcome(OutcomeRow(entry, 0, decision, NOW, open=True))
        closed = batch.outcome(OutcomeRow(entry, 1, decision, NOW, open=True))
        batch.close_held(closed, "decided")
        (held,) = await batch.held([(WE, "a")], "unknown_meeting")
        assert (held.entry, held.sender) == (entry, BOB)
    async with store.batch() as batch:
        (held,) = await batch.held([(WE, "a"), (WE, "b")], "unknown_meeting")
        assert (held.entry.id, held.recipients, held.received_at) == (entry.id, (WE,), NOW)
        assert await batch.held([(WE, "a")], "party_crasher") == []
        batch.close_held(held.outcome, "decided")
        assert await batch.held([(WE, "a")]) == []
    async with store.batch() as batch:
        assert await batch.held([(WE, "a")]) == []


async def test_held_mail_is_decided_once(store: Store) -> None:
    """Who closes a held outcome that another has closed meanwhile gets a Conflict and writes nothing."""
    decision = Decision(Outcome.HELD, Reason.PARTY_CRASHER, uid="a", attendee=BOB)
    async with store.batch() as batch:
        outcome = batch.outcome(OutcomeRow(mail(batch), 0, decision, NOW, open=True))

    async def close(state: str) -> None:
        async with store.batch() as batch:
            mail(batch, b"command", kind="command")
            batch.close_held(outcome, state)

    await close("accepted")
    with pytest.raises(Conflict):
        await close("rejected")
    assert len(await store.journal_from()) == 2


async def test_same_digest_is_written_once(store: Store) -> None:
    """The same mail again, from a process that did not ask whether it was seen, is a Conflict."""
    async with store.batch() as batch:
        mail(batch, digest=b"d" * 16)
    with pytest.raises(Conflict):
        async with store.batch() as batch:
            mail(batch, digest=b"d" * 16)
    assert len(await store.journal_from()) == 1


async def test_constant_number_of_statements(store: Store) -> None:
    """One reply and sixty-four take the same statements, to the letter; so do one registration and sixty-four."""
    uids = [f"{number}@example.com" for number in range(64)]

    async def replies(count: int) -> list[str]:
        with statements() as found:
            async with store.batch() as batch:
                digests = [bytes([count, number]) * 8 for number in range(count)]
                await batch.seen([(WE, digest) for digest in digests])
                await batch.gather([Want(WE, uid, frozenset({BOB}), frozenset({RID})) for uid in uids[:count]])
                for uid, digest in zip(uids, digests, strict=False):
                    await answer(batch, uid, BOB)
                    meeting = batch.meeting(WE, uid)
                    assert meeting is not None
                    batch.send(sending(meeting, mail(batch, digest=digest), BOB))
        return found

    async def registrations(count: int) -> list[str]:
        with statements() as found:
            async with store.batch() as batch:
                await batch.gather([Want(WE, f"{count}-{uid}", everything=True) for uid in uids[:count]])
                for uid in uids[:count]:
                    await batch.apply(None, WE, f"{count}-{uid}", put(f"{count}-{uid}", [guest(BOB)]))
                await batch.held([(WE, f"{count}-{uid}") for uid in uids[:count]])
        return [statement for statement in found if "nextval" not in statement]

    for uid in uids:
        await register(store, uid, guest(BOB))
    assert await replies(1) == await replies(64)
    assert len(await replies(2)) < 20
    assert await registrations(1) == await registrations(64)


async def test_statements_are_compiled_once(store: Store) -> None:
    """However many keys a batch has, SQLAlchemy finds the compiled statement in its cache."""

    async def replies(count: int) -> int:
        async with store.batch() as batch:
            await batch.seen([(WE, bytes([number]) * 16) for number in range(count)])
            await batch.gather([Want(WE, f"{number}", frozenset({BOB, EVE})) for number in range(count)])
            for number in range(count):
                await answer(batch, f"{number}", BOB)
        return len(_cache(store))

    for number in range(100):
        await register(store, f"{number}", guest(BOB))
    await replies(1)  # one row and many are compiled apart, once each
    assert await replies(2) == await replies(100)


def _cache(store: Store) -> Any:
    engine: Any = store.database
    engine = engine._engine
    return getattr(engine, "sync_engine", engine)._compiled_cache


async def test_large_batch(store: Store) -> None:
    """No engine's limit of variables is met: five thousand meetings in one batch."""
    uids = [f"{number}@example.com" for number in range(5000)]
    async with store.batch() as batch:
        await batch.seen([(WE, number.to_bytes(16, "big")) for number in range(5000)])
        await batch.gather([Want(WE, uid, everything=True) for uid in uids])
        for uid in uids:
            await batch.apply(None, WE, uid, put(uid, [guest(BOB)]))
    async with store.batch() as batch:
        await batch.gather([Want(WE, uid, frozenset({BOB})) for uid in uids])
        assert all(batch.meeting(WE, uid) is not None for uid in uids)


Work = Callable[[Batch], Any]


@pytest.fixture
async def two(store_url: str) -> AsyncIterator[tuple[Store, Store]]:
    """Two stores over one database, as two processes have them."""
    stores = (await Store.open(store_url), await Store.open(store_url))
    yield stores
    for store in stores:
        await store.close()


async def test_no_lost_update(two: tuple[Store, Store]) -> None:
    """Forty read-modify-writes of one row by two processes at once: forty are there."""
    await register(two[0], "a", replace(guest(BOB), guests=0))

    async def add(store: Store) -> None:
        async with store.batch() as batch:
            await batch.gather([Want(WE, "a", frozenset({BOB}))])
            meeting = batch.meeting(WE, "a")
            assert meeting is not None
            row = meeting.attendees["", BOB]
            await asyncio.sleep(0)
            await batch.apply(meeting, WE, "a", [PutAttendee(replace(row, guests=(row.guests or 0) + 1))])

    await asyncio.gather(*(add(two[number % 2]) for number in range(40)))
    assert (await whole(two[0], "a")).attendees["", BOB].guests == 40


async def test_no_lost_first_answer(two: tuple[Store, Store]) -> None:
    """Two answers to an instance that had no row yet: the second sees the first."""
    await register(two[0], "a", guest(BOB))

    async def add(store: Store) -> None:
        async with store.batch() as batch:
            await batch.gather([Want(WE, "a", frozenset({BOB}), frozenset({RID}))])
            meeting = batch.meeting(WE, "a")
            assert meeting is not None
            row = meeting.attendees.get((RID, BOB), Attendee(BOB, RID, guests=0))
            await batch.apply(meeting, WE, "a", [PutAttendee(replace(row, guests=(row.guests or 0) + 1))])

    await asyncio.gather(*(add(two[number % 2]) for number in range(20)))
    assert (await whole(two[0], "a")).attendees[RID, BOB].guests == 20


async def test_registered_by_two_at_once(two: tuple[Store, Store]) -> None:
    """Two processes that register one UID at once: one registers it, the other finds it."""
    found: list[bool] = []

    async def add(store: Store) -> None:
        async with store.batch() as batch:
            await batch.gather([Want(WE, "a", everything=True)])
            meeting = batch.meeting(WE, "a")
            found.append(meeting is not None)
            if meeting is None:
                await asyncio.sleep(0.05)
                await batch.apply(None, WE, "a", put("a"))

    await asyncio.gather(*(add(store) for store in two))
    assert found == [False, True]


async def test_large_batches_in_any_order_do_not_deadlock(two: tuple[Store, Store]) -> None:
    """Batches that touch the same meetings in opposite order wait for each other and all succeed."""
    uids = [f"{number}" for number in range(30)]
    for uid in uids:
        await register(two[0], uid, guest(BOB))

    async def work(store: Store, order: list[str]) -> None:
        async with store.batch() as batch:
            await batch.gather([Want(WE, uid, frozenset({BOB})) for uid in order])
            for uid in order:
                await answer(batch, uid, BOB)

    await asyncio.gather(*(work(two[n % 2], uids if n % 3 else uids[::-1]) for n in range(12)))
    assert len((await two[0].mail_list(1000))[0]) == 12 * 30


async def test_replies_to_one_meeting_do_not_wait(postgres_url: str) -> None:
    """On PostgreSQL two attendees of one meeting are decided at the same time; a change of the meeting waits."""
    one, two = await Store.open(postgres_url), await Store.open(postgres_url)
    await register(one, "a", guest(BOB), guest(EVE, 1))
    async with one.batch() as batch:
        await batch.gather([Want(WE, "a", frozenset({BOB}))])
        await answer(batch, "a", BOB)
        await asyncio.wait_for(reply(two, "a", EVE), 5)
        changing = asyncio.create_task(register(two, "a", guest("new@x.test")))
        await asyncio.sleep(0.1)
        assert not changing.done()
    changed = await changing
    assert changed.attendees["", BOB].partstat == "ACCEPTED"
    await one.close()
    await two.close()


async def test_cancelled_batch_lets_the_next_one_in(store: Store) -> None:
    """A task that is cancelled in the middle of its batch leaves nothing behind, neither rows nor locks."""
    await register(store, "a", guest(BOB))
    inside = asyncio.Event()

    async def work() -> None:
        async with store.batch() as batch:
            await batch.gather([Want(WE, "a", everything=True)])
            await answer(batch, "a", BOB)
            inside.set()
            while True:
                await batch.seen([(WE, b"x" * 16)])

    task = asyncio.create_task(work())
    await inside.wait()
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(reply(store, "a", BOB, "DECLINED"), 5)
    assert (await whole(store, "a")).attendees["", BOB].partstat == "DECLINED"


async def test_failed_statement_rolls_back(store: Store) -> None:
    """An error of the database itself undoes the batch, and the next one works."""
    await register(store, "a", guest(BOB))

    async def work() -> None:
        async with store.batch() as batch:
            await batch.gather([Want(WE, "a", frozenset({BOB}))])
            await answer(batch, "a", BOB)
            await batch._transaction.run(lambda connection: connection.execute(text("SELECT * FROM no_such_table")))

    with pytest.raises(StoreError, match="no_such_table"):
        await work()
    await reply(store, "a", BOB, "TENTATIVE")
    assert (await whole(store, "a")).attendees["", BOB].partstat == "TENTATIVE"


async def test_whole_transaction_may_ask_the_event_loop(store: Store) -> None:
    """What runs where the database is can wait for the event loop by `outside`, and is committed at its end."""

    async def elsewhere() -> str:
        await asyncio.sleep(0.01)
        return "b"

    async def work(batch: Batch) -> str:
        uid = await batch.outside(elsewhere())
        await batch.gather([Want(WE, uid, everything=True)])
        await batch.apply(None, WE, uid, put(uid))
        return uid

    assert await store.whole(work) == "b"
    assert await store.meeting("b") is not None


async def test_whole_transaction_is_rolled_back(store: Store) -> None:
    """An exception in it leaves nothing behind, and the next one begins anew."""

    async def work(batch: Batch) -> None:
        await batch.gather([Want(WE, "b", everything=True)])
        await batch.apply(None, WE, "b", put("b"))
        raise RuntimeError("a fault of ours")

    for _ in range(2):
        with pytest.raises(RuntimeError, match="a fault of ours"):
            await store.whole(work)
    assert await store.meeting("b") is None
    await register(store, "b")


async def test_whole_transaction_of_sqlite_waits_for_nothing(sqlite_url: str) -> None:
    """Waiting for the event loop in the writer's thread would never end: it is an error that says what to use."""
    store = await Store.open(sqlite_url)

    async def work(batch: Batch) -> None:
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match=r"use Batch\.outside"):
        await store.whole(work)
    await store.close()
