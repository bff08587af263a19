"""What the store tells the command line, the API and the page, on SQLite and PostgreSQL alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from itipd.itip.attendance import status
from itipd.itip.model import Attendee, Decision, DropEvent, Event, Proposal, Proposed, PutProposal
from itipd.itip.outcomes import Outcome, Reason
from itipd.store import OutcomeRow, Store, StoreError, Want
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
    send,
    statements,
    whole,
)

LINE = ("uid", "organizer", "summary", "status", "sequence", "start", "end", "counts")


async def test_lines_are_what_status_says(store: Store) -> None:
    """A meeting's line has the words of its status: a series, a to-do, one without guests, overrides alone."""
    rid = moment(8, 10).rid
    await register(store, "a", guest(BOB), Attendee(EVE, partstat="ODD"), Attendee("x@x.test", removed=True))
    async with store.batch() as batch:
        uids = ("todo", "empty", "alone")
        await batch.gather([Want(WE, uid, everything=True) for uid in uids])
        await batch.apply(None, WE, "todo", put("todo", [Attendee(BOB, partstat="COMPLETED")], component="VTODO"))
        await batch.apply(None, WE, "empty", put("empty"))
        only = Event(rid, "VEVENT", "", summary="Only", start=moment(8, 10))
        await batch.apply(None, WE, "alone", [*put("alone", [Attendee(BOB, rid)], [only]), DropEvent("")])
    lines, after = await store.meeting_lines()
    assert after is None
    assert [line["uid"] for line in lines] == ["alone", "empty", "todo", "a"]
    for line in lines:
        expected = status(await whole(store, line["uid"]))
        assert line == {name: expected[name] for name in LINE}


async def test_lists_do_not_ask_for_each_line(store: Store) -> None:
    """A list of twenty takes the statements of a list of one."""

    async def asked() -> list[int]:
        numbers = []
        for question in (store.meeting_lines, store.mail_list, store.outbox_list, store.held_list, store.proposals):
            with statements() as found:
                await question()
            numbers.append(len(found))
        return numbers

    async def add(uid: str) -> None:
        meeting = await register(store, uid, guest(BOB))
        await reply(store, uid, BOB)
        await send(store, meeting, BOB)
        async with store.batch() as batch:
            await batch.gather([Want(WE, uid, frozenset({BOB}))])
            await batch.apply(batch.meeting(WE, uid), WE, uid, [PutProposal(Proposal(0, BOB, "", Proposed()))])
            decision = Decision(Outcome.HELD, Reason.PARTY_CRASHER, uid=uid, attendee=EVE)
            batch.outcome(OutcomeRow(mail(batch), 0, decision, NOW, open=True))

    await add("a")
    before = await asked()
    for number in range(19):
        await add(f"{number}")
    assert await asked() == before
    assert len((await store.held_list())[0]) == 20


async def test_lines_page_by_page_and_by_search(store: Store) -> None:
    """Pages follow each other without gap; a search ignores case and takes % and _ as they are."""
    for uid in ("a", "B_1", "B%2"):
        await register(store, uid, guest(BOB))
    first, after = await store.meeting_lines(2)
    second, end = await store.meeting_lines(2, after)
    assert [line["uid"] for line in first + second] == ["B%2", "B_1", "a"]
    assert end is None
    for search, expected in (("b_", ["B_1"]), ("b%", ["B%2"]), ("PLAN", ["B%2", "B_1", "a"]), (BOB, 3), ("BOB@", 0)):
        lines, _ = await store.meeting_lines(search=search)
        assert (len(lines) if isinstance(expected, int) else [line["uid"] for line in lines]) == expected
    with pytest.raises(ValueError, match="invalid literal"):
        await store.meeting_lines(after="no cursor")


async def test_meeting_by_any_spelling_of_its_uid(store: Store) -> None:
    """A meeting is found by the UID in any spelling, with its organizer or without."""
    uid = "040000008200E00074C5B7101A82E008" + "00000000" + "70D8CA0E" * 4 + "10000000" + "AB" * 16
    put_ = await register(store, uid)
    assert await store.meeting(uid.lower()) == put_
    assert await store.meeting(uid, "other@example.com") is None
    assert await store.meeting_keys() == [(WE, uid)]
    assert await store.meeting_keys(after=(WE, uid)) == []


async def test_mail_with_its_results(store: Store) -> None:
    """A mail is listed with its outcomes in order, and shown with its bytes and what left because of it."""
    meeting = await register(store, "a", guest(BOB))
    await send(store, meeting, BOB, EVE)
    await reply(store, "a", BOB)
    await reply(store, "a", BOB, "DECLINED")
    lines, after = await store.mail_list(1)
    (result,) = lines[0]["results"]
    assert (result["outcome"], result["reason"], result["partstat"]) == ("updated", "replied", "DECLINED")
    assert result["changes"][0]["old"] == "ACCEPTED"
    second, _ = await store.mail_list(1, after)
    assert second[0]["results"][0]["partstat"] == "ACCEPTED"
    assert len((await store.mail_list())[0]) == 2
    shown = await store.mail(1)
    assert shown is not None
    assert shown["raw"] == b"raw"
    assert shown["send"][0]["to"] == [BOB, EVE]
    assert await store.mail(99) is None


async def test_history_of_a_meeting(store: Store) -> None:
    """The history has a meeting's decisions only, the latest first."""
    await register(store, "a", guest(BOB))
    await register(store, "b", guest(BOB))
    for uid, word in (("a", "ACCEPTED"), ("b", "TENTATIVE"), ("a", "DECLINED")):
        await reply(store, uid, BOB, word)
    lines = await store.history(WE, "a", 10)
    assert [line["partstat"] for line in lines] == ["DECLINED", "ACCEPTED"]
    assert lines[0]["at"] == NOW.isoformat()
    assert [line["partstat"] for line in await store.history(WE, "a", 10, lines[0]["id"])] == ["ACCEPTED"]
    assert await store.history(WE, "none", 10) == []


async def test_held_list(store: Store) -> None:
    """What is held is listed until it is closed, shown ever after, and given to a batch only while it is open."""
    decision = Decision(Outcome.HELD, Reason.PARTY_CRASHER, uid="a", attendee=EVE, rid="20261208")
    async with store.batch() as batch:
        await batch.gather([Want(WE, "a")])
        outcome = batch.outcome(OutcomeRow(mail(batch, b"said"), 0, decision, NOW, open=True))
    ((line,), after) = await store.held_list()
    assert after is None
    assert (line["id"], line["reason"], line["recurrence_id"]) == (outcome.id, "party_crasher", "20261208")
    one = await store.held_mail(outcome.id)
    assert one is not None
    async with store.batch() as batch:
        await batch.gather([Want(WE, "a", everything=True)])
        batch.close_held(one.outcome, "accepted")
    assert await store.held_list() == ([], None)
    assert await store.held_mail(outcome.id) is None
    shown = await store.held(outcome.id)
    assert shown is not None
    assert (shown["state"], shown["raw"]) == ("accepted", b"said")
    assert await store.held(99) is None


async def test_proposals(store: Store) -> None:
    """Proposals are listed with their meeting, by state."""
    await register(store, "a", guest(BOB))
    async with store.batch() as batch:
        await batch.gather([Want(WE, "a", frozenset({BOB}))])
        proposal = Proposal(0, BOB, "", Proposed(moment(2, 10), moment(2, 11)), comment="why")
        for state in ("open", "retired"):
            await batch.apply(batch.meeting(WE, "a"), WE, "a", [PutProposal(replace(proposal, state=state))])
    (line,) = await store.proposals()
    assert line == {
        "id": 1, "uid": "a", "organizer": WE, "summary": "Plan", "attendee": BOB, "recurrence_id": None,
        "start": "2026-12-02T10:00:00+01:00", "end": "2026-12-02T11:00:00+01:00", "location": None, "comment": "why",
        "added": [], "sequence": 0, "state": "open",
    }  # fmt: skip
    assert await store.proposal(1) == line
    assert await store.proposal(99) is None
    assert [one["state"] for one in await store.proposals(None, WE, "a")] == ["open", "retired"]
    assert await store.proposals("retired", WE, "b") == []


async def test_version_and_totals(store: Store) -> None:
    """The marker changes with everything that is written; the totals count what there is and what waits."""
    seen = [await store.version()]

    async def changed() -> bool:
        seen.append(await store.version())
        return seen[-1] not in seen[:-1]

    meeting = await register(store, "a", guest(BOB))
    await send(store, meeting, BOB, EVE)
    assert await changed()
    await reply(store, "a", BOB)
    assert await changed()
    await store.hold(1)
    assert await changed()
    expected = {"meetings": 1, "proposals": 0, "held": 0, "waiting": 1, "sending": 0, "failed": 0, "outbox_held": 1}
    assert await store.totals() == expected


async def test_journal_plays_in_order(store: Store) -> None:
    """The journal gives back every entry's bytes and times, in the order in which they were decided."""
    await register(store, "a", guest(BOB))
    async with store.batch() as batch:
        await batch.gather([Want(WE, "a", frozenset({BOB}))])
        for number in range(5):
            mail(batch, b"%d" % number, kind="command" if number % 2 else "mail")
    rows = await store.journal_from(0, 3)
    rows += await store.journal_from(rows[-1].id)
    assert [row.raw for row in rows] == [b"0", b"1", b"2", b"3", b"4"]
    assert (rows[0].received_at, rows[0].recipients, rows[1].kind) == (NOW, (WE,), "command")


async def test_copy_is_equal(store: Store, sqlite_url: str) -> None:
    """A copy in another database has every row and the secret, is sound, and goes on with new ids."""
    meeting = await register(store, "a", guest(BOB))
    await send(store, meeting, BOB)
    await reply(store, "a", BOB)
    other = await Store.open(sqlite_url + "2")
    counts = (await store.copy(other)).counts
    assert (counts["meetings"], counts["attendees"], counts["journal"]) == (1, 1, 2)
    assert other.secret == store.secret
    assert await other.meeting("a") == await store.meeting("a")
    assert await other.mail_list() == await store.mail_list()
    assert await other.outbox(1) == await store.outbox(1)
    again = await register(other, "b")
    assert again.id > meeting.id
    with pytest.raises(StoreError, match="is not empty"):
        await store.copy(other)
    await other.close()


async def test_copy_into_postgresql_counts_on(sqlite_url: str, postgres_url: str) -> None:
    """After a copy into PostgreSQL its sequences are behind the copied ids."""
    here, there = await Store.open(sqlite_url), await Store.open(postgres_url)
    meeting = await register(here, "a", guest(BOB))
    await send(here, meeting, BOB)
    await here.copy(there)
    assert (await register(there, "b")).id == meeting.id + 1
    await send(there, meeting, BOB)
    assert [line["id"] for line in (await there.outbox_list())[0]] == [1, 2]
    await here.close()
    await there.close()


async def test_backup_and_verify(sqlite_url: str, tmp_path: Path) -> None:
    """A backup is a sound database of its own; a file that exists is never overwritten."""
    store = await Store.open(sqlite_url)
    await register(store, "a", guest(BOB))
    await reply(store, "a", BOB)
    await store.backup(tmp_path / "copy.db")
    with pytest.raises(StoreError, match="exists already"):
        await store.backup(tmp_path / "copy.db")
    copy = await Store.open(f"sqlite:///{tmp_path / 'copy.db'}")
    assert await copy.meeting("a") == await store.meeting("a")
    assert await copy.verify() == []
    await copy.close()
    await store.close()


async def test_verify_names_what_is_wrong(store: Store) -> None:
    """An entry without outcome is found, on both engines."""
    async with store.batch() as batch:
        await batch.gather([Want(WE, "a")])
        mail(batch)
    assert await store.verify() == ["1 entries of the journal without an outcome (the first: 1)"]


async def test_backup_of_postgresql_is_refused(postgres_url: str, tmp_path: Path) -> None:
    """PostgreSQL has its own tool, and the message says which."""
    store = await Store.open(postgres_url)
    with pytest.raises(StoreError, match="pg_dump"):
        await store.backup(tmp_path / "copy.db")
    await store.close()


async def test_reads_see_nothing_unfinished(store: Store) -> None:
    """A query during a batch sees the state before it."""
    await register(store, "a", guest(BOB))
    async with store.batch() as batch:
        await batch.gather([Want(WE, "a", frozenset({BOB}))])
        await answer(batch, "a", BOB)
        assert (await whole(store, "a")).attendees["", BOB].partstat == "NEEDS-ACTION"
    assert (await whole(store, "a")).attendees["", BOB].partstat == "ACCEPTED"
