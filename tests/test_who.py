"""Who answered, and what proves it (rules.md §2; RFC 6047 §2.2-2.3)."""

from __future__ import annotations

from typing import Any

import pytest

from itipd.itip import who
from itipd.itip.model import CalAddress, Policy
from tests.itip_samples import ANN, BOB, CAT, DAN, EVE, POLICY, WE, line, message, sender, single

HOME = "ann@home.example.net"
ALIASES = Policy(aliases={HOME: ANN})
TAGS = Policy(plus_tag=True)
TAGGED = "ann+calendar@example.org"

# The ATTENDEE, as whom the meeting knows them, the policy, From and the rest of the evidence, and whether it is enough.
PROOFS: dict[str, tuple[CalAddress, str, dict[str, Any], str | None, dict[str, Any], bool]] = {
    "From is the attendee": (line(ANN), ANN, {}, ANN, {}, True),
    "From is somebody else": (line(ANN), ANN, {}, EVE, {}, False),
    "From is nobody": (line(ANN), ANN, {}, None, {}, False),
    "From is an alias": (line(ANN), ANN, {"aliases": {HOME: ANN}}, HOME, {}, True),
    "the attendee is an alias of From": (line(HOME), ANN, {"aliases": {HOME: ANN}}, ANN, {}, True),
    "two aliases of one": (line(HOME), ANN, {"aliases": {HOME: ANN, CAT: ANN}}, CAT, {}, True),
    "From is SENT-BY": (line(ANN, sent_by=DAN), ANN, {}, DAN, {}, True),
    "From is EMAIL": (line("opaque@imip.example.com", email=ANN), ANN, {}, ANN, {}, True),
    "a tag, not configured": (line(ANN), ANN, {}, TAGGED, {}, False),
    "a tag of From": (line(ANN), ANN, {"plus_tag": True}, TAGGED, {}, True),
    "a tag of the attendee": (line(TAGGED), ANN, {"plus_tag": True}, ANN, {}, True),
    "a DMARC fail refutes": (line(ANN), ANN, {}, ANN, {"dmarc": "fail"}, False),
    "any": (line(ANN), ANN, {"sender": "any"}, None, {"dmarc": "fail"}, True),
    "a token": (line(ANN), ANN, {"sender": "token"}, EVE, {"token": ANN}, True),
    "no token": (line(ANN), ANN, {"sender": "token"}, ANN, {}, False),
    "a token is enough for all": (line(ANN), ANN, {"sender": "dmarc"}, EVE, {"token": ANN}, True),
    "somebody else's token": (line(ANN), ANN, {}, ANN, {"token": BOB}, False),
    "DMARC, passed": (line(ANN), ANN, {"sender": "dmarc"}, ANN, {"passed_domains": ("example.org",)}, True),
    "DMARC, not vouched for": (line(ANN), ANN, {"sender": "dmarc"}, ANN, {}, False),
    "DMARC, another domain passed": (line(ANN), ANN, {"sender": "dmarc"}, ANN, {"passed_domains": ("x.test",)}, False),
    "DMARC by a configured alias": (
        line(ANN),
        ANN,
        {"sender": "dmarc", "aliases": {HOME: ANN}},
        HOME,
        {"passed_domains": ("home.example.net",)},
        True,
    ),
    "DMARC of an assistant in the house": (
        line(ANN, sent_by="pa@example.org"),
        ANN,
        {"sender": "dmarc"},
        "pa@example.org",
        {"passed_domains": ("example.org",)},
        True,
    ),
    "DMARC of who only says to be the assistant": (
        line(ANN, sent_by="x@evil.test"),
        ANN,
        {"sender": "dmarc"},
        "x@evil.test",
        {"passed_domains": ("evil.test",)},
        False,
    ),
    "DMARC of who writes another's EMAIL": (
        line("x@evil.test", email=ANN),
        ANN,
        {"sender": "dmarc"},
        "x@evil.test",
        {"passed_domains": ("evil.test",)},
        False,
    ),
}


@pytest.mark.parametrize(
    ("attendee", "known", "policy", "from_", "more", "expected"), PROOFS.values(), ids=PROOFS.keys()
)
def test_evidence_is_as_strong_as_the_policy_asks(
    attendee: CalAddress, known: str, policy: dict[str, Any], from_: str | None, more: dict[str, Any], expected: bool
) -> None:
    """rules.md §2.3: token, DMARC aligned with the attendee's domain, From; RFC 6047 §2.2.1 makes it a MUST."""
    assert who.proven(attendee, known, sender(from_, **more), Policy(**policy)) is expected


KNOWN: dict[str, tuple[CalAddress, Policy, str | None]] = {
    "itself": (line(ANN), POLICY, ANN),
    "an alias": (line(HOME), ALIASES, ANN),
    "EMAIL": (line("opaque@imip.example.com", email=ANN), POLICY, ANN),
    "its own address before EMAIL": (line(BOB, email=ANN), POLICY, BOB),
    "EMAIL that is an alias": (line("opaque@imip.example.com", email=HOME), ALIASES, ANN),
    "a tag, configured": (line(TAGGED), TAGS, ANN),
    "a tag, not configured": (line(TAGGED), POLICY, None),
    "nobody": (line(EVE), POLICY, None),
}


@pytest.mark.parametrize(("attendee", "policy", "expected"), KNOWN.values(), ids=KNOWN.keys())
def test_an_attendee_is_known_by_several_names(attendee: CalAddress, policy: Policy, expected: str | None) -> None:
    """rules.md §2.2: address, alias, EMAIL, and without the plus tag where that is configured."""
    assert who.known_as(attendee, single(), policy) == expected


def test_who_was_invited_with_a_tag_answers_without() -> None:
    """rules.md §2.2: the plus tag is left out on both sides."""
    assert who.known_as(line(ANN), single(guests=(TAGGED,)), TAGS) == TAGGED


@pytest.mark.parametrize(
    ("attendees", "from_", "token", "expected"),
    [
        ((line(EVE),), ANN, None, EVE),
        ((line(EVE), line(ANN)), ANN, None, ANN),
        ((line(ANN), line(BOB)), BOB, None, BOB),
        ((line(ANN), line(BOB)), ANN, BOB, BOB),
        ((line(ANN), line(BOB)), EVE, CAT, ANN),
        ((line(WE), line(EVE), line(BOB)), "x@example.org", None, BOB),
        ((line(EVE), line(BOB)), None, None, BOB),
        ((line(BOB), line(ANN, "DELEGATED", delegated_to=BOB)), None, None, ANN),
        ((line(EVE), line(DAN)), None, None, EVE),
        ((line(WE), line(EVE)), None, None, EVE),
    ],
    ids=[
        "the only one",
        "whom From proves",
        "whom From proves of two guests",
        "whom the token proves",
        "neither proves any",
        "the only guest, not the organizer",
        "the only guest",
        "of two guests who delegates",
        "nobody is a guest: the first",
        "nobody is a guest: not the organizer",
    ],
)
def test_one_of_several_attendees_answers(
    attendees: tuple[CalAddress, ...], from_: str | None, token: str | None, expected: str
) -> None:
    """rules.md §3: the one that the sender proves, else the only one who is an attendee."""
    evidence = sender(from_, token=token)
    meeting = single(guests=(ANN, BOB, f"ATTENDEE:mailto:{WE}"))
    assert who.answering(message(*attendees), meeting, evidence, POLICY).address == expected


def test_the_rows_that_a_decision_needs_are_named_beforehand() -> None:
    """design.md, rule 7: a reply loads a few rows: all names of the attendees, and whom they stand in for."""
    one = message(line(HOME, email=BOB, delegated_to=DAN, delegated_from=EVE, member="team@example.com"))
    found = who.wanted(one, sender(HOME), ALIASES)
    assert found == {HOME, ANN, BOB, DAN, EVE, "team@example.com"}
    assert who.wanted(message(line(TAGGED)), sender(TAGGED), TAGS) == {TAGGED, ANN, "ann+*"}


def test_the_organizer_by_any_name() -> None:
    """rules.md §3: ours, an alias, or one of our own tagged return paths; nobody else."""
    meeting, policy = single(), Policy(aliases={"boss@example.net": WE})
    names = (WE, "boss@example.net", "meetings+b-token@example.com", ANN)
    assert [who.is_organizer(name, meeting, policy) for name in names] == [True, True, True, False]


def test_addresses_in_parameters_are_canonical() -> None:
    """rules.md §2.2: what is no address in DELEGATED-TO is left out; aliases count."""
    params = {"DELEGATED-TO": ("MAILTO:Ann@Home.Example.NET", "urn:uuid:1", "dan@example.org")}
    assert who.related(CalAddress(BOB, params), "DELEGATED-TO", ALIASES) == (ANN, DAN)
