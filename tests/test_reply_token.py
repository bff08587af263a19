"""Reply tokens: an invitation asks for its answer at an address of its own, and that address proves the guest."""

from __future__ import annotations

import email
import re
from dataclasses import replace
from email.message import Message as Email
from pathlib import Path
from typing import Any

import pytest

from itipd.itip import who
from itipd.itip.addresses import canonical
from itipd.itip.contentlines import parse
from itipd.itip.model import Attendee, CalAddress, Evidence, Meeting, Message, Policy
from itipd.mail import reply_token
from itipd.mail.reply_token import Keys, address, label, marked, proven, taken, with_organizer
from tests.cli_help import BOB, CAROL, WE, Called, Itipd, event, mail, reply

SECRET = bytes(range(32))
UID = "plan@example.com"
POLICY = Policy()
MEETING = Meeting(WE, UID, attendees={("", name): Attendee(name) for name in (BOB, CAROL)})
BOBS = label(SECRET, 0, WE, UID, BOB)


def message(*lines: CalAddress, uid: str = UID) -> Message:
    return Message("REPLY", "VEVENT", uid, attendees=lines or (CalAddress(BOB),))


def tried(*recipients: str, number: int = 0, of: Message | None = None, policy: Policy = POLICY) -> str | None:
    """Whose token the recipients carry, for Bob's message unless another is given."""
    return proven(Keys(SECRET, number), recipients, of or message(), MEETING, policy)


def test_token_is_128_bits_that_survive_any_relay() -> None:
    """A label of 29 letters and digits of one case, and the tagged address is a canonical one."""
    assert re.fullmatch(r"r-a[a-z2-7]{26}", BOBS)
    assert canonical(address(WE, BOBS).upper()) == f"meetings+{BOBS}@example.com"
    assert reply_token.is_label(BOBS)
    assert not reply_token.is_label(BOBS[:-1])
    assert not reply_token.is_label(f"b-{BOBS[2:]}")


def test_token_is_bound_to_everything() -> None:
    """Another secret, key, organizer, meeting or attendee is another token; another spelling of the UID is not."""
    exchange = "040000008200E00074C5B7101A82E00800000000" + "0" * 40
    others = (
        label(SECRET[::-1], 0, WE, UID, BOB),
        label(SECRET, 1, WE, UID, BOB),
        label(SECRET, 32, WE, UID, BOB),
        label(SECRET, 0, "m@example.com", UID, BOB),
        label(SECRET, 0, WE, "plan2@example.com", BOB),
        label(SECRET, 0, WE, UID, CAROL),
    )
    assert len({BOBS, *others}) == 7
    assert label(SECRET, 0, WE, exchange, BOB) == label(SECRET, 0, WE, exchange.lower(), BOB)


@pytest.mark.parametrize(("length", "room"), [(34, True), (35, False)])
def test_local_part_has_64_octets(length: int, room: bool) -> None:
    """An organizer whose local part has no room for a token is written to without one (RFC 5321 §4.5.3.1.1)."""
    organizer = f"{'m' * length}@example.com"
    assert address(organizer, BOBS) == (f"{'m' * length}+{BOBS}@example.com" if room else organizer)


@pytest.mark.parametrize(
    ("recipients", "whose"),
    [
        ((WE,), None),
        ((), None),
        ((address(WE, BOBS),), BOB),
        ((address(WE, BOBS).upper(),), BOB),
        ((WE, address(WE, BOBS)), BOB),
        ((address(WE, label(SECRET, 0, WE, UID, CAROL)),), ""),
        ((address(WE, label(SECRET, 0, WE, "other@example.com", BOB)),), ""),
        ((address(WE, "r-a" + "a" * 26),), ""),
        ((address(WE, "r-9" + BOBS[3:]),), ""),
        ((address(WE, BOBS[:-1]),), None),
        ((address(WE, f"b-{'a' * 26}"),), None),
        ((address("other@example.com", BOBS),), None),
        (("meetings+x@example.com", "no address"), None),
    ],
)
def test_who_is_proven(recipients: tuple[str, ...], whose: str | None) -> None:
    """The right token names its attendee, any other refutes; no token of this organizer's says nothing."""
    assert tried(*recipients) == whose


def test_unknown_meeting_proves_nothing() -> None:
    """Without a meeting there is nobody whose token it could be: it is asked again when the meeting is there."""
    assert proven(Keys(SECRET), (address(WE, BOBS),), message(), None, POLICY) is None


@pytest.mark.parametrize(("number", "whose"), [(0, BOB), (1, BOB), (2, ""), (32, "")])
def test_keys_rotate(number: int, whose: str) -> None:
    """A token of the key before the present one counts; an older one refutes, also when its letter comes again."""
    assert tried(address(WE, BOBS), number=number) == whose


def test_the_next_key_counts() -> None:
    """Another process may have begun with a new key already: what it has sent counts here, too."""
    assert tried(address(WE, label(SECRET, 1, WE, UID, BOB)), number=0) == BOB
    assert tried(address(WE, label(SECRET, 2, WE, UID, BOB)), number=0) == ""


def test_aliases_and_tags() -> None:
    """The token of the invited address proves an answer under an alias, and, where tags do not count, under a tag."""
    home = message(CalAddress("bob@home.example.org"))
    assert tried(address(WE, BOBS), of=home, policy=replace(POLICY, aliases={"bob@home.example.org": BOB})) == BOB
    assert tried(address(WE, BOBS), of=home) == ""
    tagged = message(CalAddress("bob+work@example.org"))
    assert tried(address(WE, BOBS), of=tagged, policy=replace(POLICY, plus_tag=True)) == BOB


def test_own_token_proves_nobody_else() -> None:
    """Carol's own token with her address in EMAIL does not let her answer for Bob."""
    line = CalAddress(BOB, {"EMAIL": (CAROL,)})
    token = tried(address(WE, label(SECRET, 0, WE, UID, CAROL)), of=message(line))
    for policy in (POLICY, replace(POLICY, sender="token")):
        assert not who.proven(line, BOB, Evidence(CAROL, token=token), policy)
        assert not who.proven(line, BOB, Evidence(BOB, token=token), policy)


def test_right_token_is_stronger_than_everything() -> None:
    """It proves under every policy, whatever From or DMARC say; a wrong one refutes, also under the right From."""
    line = CalAddress(BOB)
    for sender in ("token", "dmarc", "from", "any"):
        policy = replace(POLICY, sender=sender)
        assert who.proven(line, BOB, Evidence("gateway@example.net", dmarc="fail", token=BOB), policy)
        wrong = Evidence(BOB, dmarc="pass", passed_domains=("example.org",), token="")
        assert who.proven(line, BOB, wrong, policy) is (sender == "any")
    assert not who.proven(line, BOB, Evidence(BOB), replace(POLICY, sender="token"))


CALENDAR = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nMETHOD:REQUEST\r\nBEGIN:VTIMEZONE\r\nTZID:X\r\nEND:VTIMEZONE\r\nBEGIN:VEVENT\r\n"
    'ORGANIZER;CN="Meetings; all of them, of every kind, in every place";SENT-BY="mailto:pa@ex\r\n ample.com":'
    "mailto:meetings@example.com\r\nDESCRIPTION:ORGANIZER:mailto:x\r\nBEGIN:VALARM\r\nORGANIZER:mailto:y@example.com\r\n"
    f"END:VALARM\r\nATTENDEE:mailto:{BOB}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
)


def test_organizer_is_replaced_and_nothing_else() -> None:
    """The address of each ORGANIZER changes, its parameters and all other lines stay, and lines are folded again."""
    own = address(WE, BOBS)
    text = with_organizer(CALENDAR, own)
    assert all(len(line) <= 75 for line in text.split("\r\n"))
    (top,), _ = parse(text.encode())
    (before,), _ = parse(CALENDAR.encode())
    line, old = top.children[1].first("ORGANIZER"), before.children[1].first("ORGANIZER")
    assert line is not None
    assert old is not None
    assert (line.value, line.params) == (f"mailto:{own}", old.params)
    assert with_organizer(text, WE).replace("\r\n ", "") == CALENDAR.replace("\r\n ", "")


def test_mark_says_the_key_and_comes_off() -> None:
    """A calendar is marked only while tokens are on, and is the same again without the mark."""
    assert marked(CALENDAR, Keys(SECRET, 7)) == CALENDAR
    assert taken(CALENDAR) == (CALENDAR, None)
    with_mark = marked(CALENDAR, Keys(SECRET, 7, signing=True))
    assert with_mark != CALENDAR
    assert taken(with_mark) == (CALENDAR, 7)


# -- from the invitation to the answer


@pytest.fixture
def itipd(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Itipd:
    """`itipd` with tokens and a folder for outgoing mail."""
    monkeypatch.setenv("ITIPD_IDENTITY__TOKENS", "on")
    monkeypatch.setenv("ITIPD_RELAY__DIRECTORY", str(tmp_path / "outgoing"))
    return Itipd(tmp_path)


def invitations(itipd: Itipd) -> dict[str, Email]:
    """What has left so far, the last one to each recipient."""
    itipd("outbox", "flush", "--deliver")
    files = sorted((itipd.home / "outgoing").glob("*.eml"), key=lambda file: file.stat().st_mtime_ns)
    return {one["To"]: one for one in (email.message_from_bytes(file.read_bytes()) for file in files)}


def organizer_of(sent: Email) -> str:
    """The one address in the ORGANIZER of its calendars and in From."""
    found = set()
    for part in sent.walk():
        if part.get_content_type() in ("text/calendar", "application/ics"):
            text = part.get_payload(decode=True)
            assert isinstance(text, bytes)
            found |= set(re.findall(r"^ORGANIZER;CN=Meetings:mailto:(.*)\r$", re.sub("\r\n ", "", text.decode()), re.M))
    found |= set(re.findall("<(.*)>", sent["From"]))
    (address_,) = found
    return str(address_)


def answer(itipd: Itipd, to: str, *, who: str = BOB, sender: str = BOB, at: str = "20261120T080000Z") -> Called:
    """Someone answers for `who` from `sender` to the address `to`, which stands in ORGANIZER, too."""
    raw = mail(reply(UID, who=who, at=at, organizer=to), sender=sender, to=to, message_id=f"<{at}.{sender}@x.test>")
    return itipd("ingest", "--json", "--recipient", to, stdin=raw)


def told(called: Called) -> str:
    """Outcome and reason of its one result."""
    (result,) = called.json["results"]
    return f"{result['outcome']}/{result['reason']}"


def put(itipd: Itipd, **words: Any) -> None:
    itipd.put(event(UID, **words), options=())


def test_invitation_asks_at_its_own_address(itipd: Itipd) -> None:
    """Every guest's mail has an ORGANIZER and From of its own, the same in a later REQUEST and in the CANCEL."""
    put(itipd)
    first = {to: organizer_of(one) for to, one in invitations(itipd).items()}
    assert first.keys() == {BOB, CAROL}
    assert len(set(first.values())) == 2
    assert all(re.fullmatch(r"meetings\+r-a[a-z2-7]{26}@example\.com", one) for one in first.values())
    put(itipd, start="20261201T100000Z", sequence=1)
    assert {to: organizer_of(one) for to, one in invitations(itipd).items()} == first
    itipd("meeting", "cancel", UID)
    last = invitations(itipd)
    assert {to: organizer_of(one) for to, one in last.items()} == first
    assert all(one["Subject"].startswith("Cancelled") for one in last.values())


@pytest.mark.parametrize("policy", ["token", "from"])
def test_right_token(itipd: Itipd, policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer to one's own address is one's own, also from a gateway's address; the token is no secret of From's."""
    monkeypatch.setenv("ITIPD_POLICY__SENDER", policy)
    put(itipd)
    to = organizer_of(invitations(itipd)[BOB])
    assert told(answer(itipd, to, sender="gateway@example.net")) == "updated/replied"
    later = mail(reply(UID, at="20261120T090000Z", organizer=to), sender="gateway@example.net", to=to)
    (result,) = itipd("explain", "--json", itipd.write("a.eml", later)).json["results"]
    assert (result["reason"], result["rules"][-1]) == ("replied", {"rule": "replied", "applies": True})


@pytest.mark.parametrize("policy", ["token", "from"])
def test_wrong_token(itipd: Itipd, policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Carol's address, or one made up, refutes an answer of Bob's, and his state stays; a person may let it count."""
    monkeypatch.setenv("ITIPD_POLICY__SENDER", policy)
    put(itipd)
    carols = organizer_of(invitations(itipd)[CAROL])
    assert told(answer(itipd, carols)) == "held/sender_unproven"
    assert told(answer(itipd, address(WE, "r-a" + "q" * 26), at="20261120T080001Z")) == "held/sender_unproven"
    assert itipd("status", UID, "--json").json["counts"]["ACCEPTED"] == 0
    (first, _) = itipd("held", "list", "--json").lines
    itipd("held", "accept", str(first["id"]))
    assert itipd("status", UID, "--json").json["counts"]["ACCEPTED"] == 1


def test_no_token(itipd: Itipd, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a token From decides, unless the policy asks for the token."""
    put(itipd)
    assert told(answer(itipd, WE)) == "updated/replied"
    monkeypatch.setenv("ITIPD_POLICY__SENDER", "token")
    assert told(answer(itipd, WE, at="20261120T080001Z")) == "held/sender_unproven"


def test_tokens_off(itipd: Itipd, monkeypatch: pytest.MonkeyPatch) -> None:
    """Switched off, the organizer's plain address stands in the invitation; tokens that were sent still count."""
    put(itipd)
    to = organizer_of(invitations(itipd)[BOB])
    monkeypatch.setenv("ITIPD_IDENTITY__TOKENS", "off")
    put(itipd, start="20261201T100000Z", sequence=1)
    assert organizer_of(invitations(itipd)[BOB]) == WE
    assert told(answer(itipd, to, sender="gateway@example.net")) == "no_action/stale_sequence"


def test_answer_before_the_meeting_is_known(itipd: Itipd) -> None:
    """A token is looked at again when the meeting of a held answer is registered: a made-up one refutes then."""
    itipd("db", "upgrade")
    assert told(answer(itipd, address(WE, "r-a" + "q" * 26))) == "held/unknown_meeting"
    put(itipd)
    assert [line["reason"] for line in itipd("held", "list", "--json").lines] == ["sender_unproven"]


def test_new_key(itipd: Itipd) -> None:
    """After one new key old addresses still count, after two they do not, and invitations carry the new one."""
    put(itipd)
    to = organizer_of(invitations(itipd)[BOB])
    assert itipd("db", "new-key", "--json").json == {"key": 1}
    assert told(answer(itipd, to, sender="gateway@example.net")) == "updated/replied"
    assert "Key 2 signs" in itipd("db", "new-key").out
    assert told(answer(itipd, to, sender="gateway@example.net", at="20261120T080001Z")) == "held/sender_unproven"
    itipd("meeting", "remind", UID)
    assert organizer_of(invitations(itipd)[CAROL]).startswith("meetings+r-c")


def test_rebuilt_database_believes_the_same_tokens(itipd: Itipd) -> None:
    """Played again, an answer that only its token proved is proven, and a refuted one refuted."""
    put(itipd)
    sent = invitations(itipd)
    assert told(answer(itipd, organizer_of(sent[BOB]), sender="gateway@example.net")) == "updated/replied"
    assert told(answer(itipd, organizer_of(sent[BOB]), who=CAROL, sender=CAROL)) == "held/sender_unproven"
    done = itipd("db", "rebuild", "--json")
    assert (done.code, done.json["differences"]) == (0, [])
