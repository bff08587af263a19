"""Who sent a mail: a strict From, the relay's own Authentication-Results, and signs of automatic mail."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from itipd.itip.model import Evidence
from itipd.mail.evidence import authentication_results, automatic, evidence, from_address
from itipd.mail.headers import Headers, MailLimits, scan
from tests.cost import cheap

EXCHANGE = (
    "spf=pass (sender IP is 192.0.2.7)\r\n smtp.mailfrom=example.com; dkim=pass (signature was verified)\r\n"
    " header.d=example.com;dmarc=pass action=none\r\n header.from=example.com;compauth=pass reason=100"
)


def block(text: str) -> Headers:
    """The headers in `text`, one a line."""
    raw = text.encode().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") + b"\r\n\r\n"
    return scan(raw, 0, len(raw), MailLimits())[0]


def proof(results: str, sender: str = "b@example.com", **options: bool) -> Evidence:
    """Evidence for a mail with one Authentication-Results, of the configured mx.example.net."""
    headers = block(f"Authentication-Results: {results}\nFrom: {sender}")
    return evidence(headers, sender, ["mx.example.net"], **options)


@pytest.mark.parametrize(
    "text",
    [
        "b@example.com",
        "<b@example.com>",
        "Bob <b@example.com>",
        "Bob B. Builder <B@Example.COM>",
        '"Builder, Bob" <b@example.com>',
        '"a@evil.test" <b@example.com>',
        '"quo\\"te" <b@example.com>',
        "=?utf-8?q?B=C3=B6b?= <b@example.com>",
        "Böb Büilder <b@example.com>",
        "Bob\r\n\t<b@example.com>",
        "b@example.com (Bob)",
        "Bob (Sales) <b@example.com>",
        "[EXTERNAL] Bob B. <b@example.com>",
        "b@example.com <b@example.com>",
        "<B@Example.com> <b@example.com>",
    ],
)
def test_one_mailbox_is_read(text: str) -> None:
    """One mailbox in any proper spelling is the sender, in canonical form."""
    assert from_address(block(f"From: {text}")) == "b@example.com"


@pytest.mark.parametrize(
    "text",
    [
        "alice@example.org <mallory@evil.test>",
        "<alice@example.org> <mallory@evil.test>",
        "alice@example.org, mallory@evil.test",
        "Alice <alice@example.org>, Mallory <mallory@evil.test>",
        '"Alice" <alice@example.org> mallory@evil.test',
        "Alice <alice@example.org> (<mallory@evil.test>)",
        "Alice (x@evil.test) <alice@example.org>",
        "Alice (x <alice@example.org>",
        "Alice [<mallory@evil.test>] <alice@example.org>",
        "alice@example.org <alice@example.org.evil.test>",
        "alice <alice> <alice@example.org>",
        "alice@example.org (Alice <mallory@evil.test>)",
        "alice@example.org (a) (b)",
        "team: alice@example.org;",
        "undisclosed-recipients:;",
        "<@evil.test:alice@example.org>",
        "Doe, Alice <alice@example.org>",
        '"alice@example.org" mallory@evil.test',
        '"a b"@example.org',
        "alice@example.org@evil.test",
        "alice@example.org\x00@evil.test",
        "alice\x00@example.org",
        "Alice <alice@exam\u200bple.org>",
        "Alice <alice＠example.org>",
        "<mailto:alice@example.org>",
        "<mailto:%61lice@example.org>",
        "mailto:alice@example.org",
        "=?utf-8?q?alice=40example.org?=",
        "=?utf-8?q?alice=40example.org_=3C?=<alice@example.org",
        "Alice alice@example.org",
        "Alice <>",
        "Alice <alice>",
        "Alice <alice@example.org",
        "alice@example.org>",
        "Alice \\<alice@example.org>",
        '"unclosed <alice@example.org>',
        "",
    ],
)
def test_a_doubtful_from_proves_nothing(text: str) -> None:
    """What two programs could read in two ways, or what is no single mailbox, is nobody (hardening §7)."""
    assert from_address(block(f"From: {text}")) is None


def test_two_from_fields_prove_nothing() -> None:
    """Two From fields are no proof, even with the same address or with a space before the colon."""
    assert from_address(block("From: b@example.com\nFrom: b@example.com")) is None
    assert from_address(block("From: b@example.com\nfrom : b@example.com")) is None
    assert from_address(block("Sender: b@example.com")) is None


def test_exchange_form_is_read() -> None:
    """Exchange's Authentication-Results, with its words between the properties, gives all three results."""
    assert proof("mx.example.net; " + EXCHANGE) == Evidence("b@example.com", "pass", ("example.com",))


def test_exchange_form_without_an_authserv_id_counts_only_when_configured() -> None:
    """Exchange Online names no authserv-id: only the configured empty one stands for it."""
    headers = block(f"Authentication-Results: {EXCHANGE}\nFrom: b@example.com")
    assert evidence(headers, "b@example.com", ["mx.example.net"]).dmarc is None
    assert evidence(headers, "b@example.com", [""]).dmarc == "pass"


@pytest.mark.parametrize(
    ("results", "dmarc", "domains"),
    [
        ("mx.example.net; dmarc=pass header.from=example.com", "pass", ("example.com",)),
        ("MX.Example.Net 1; dmarc = pass (p=reject; dis=none) header.from = Example.COM", "pass", ("example.com",)),
        ("mx.example.net; dmarc=pass", "pass", ("example.com",)),
        ("mx.example.net; dmarc=pass header.from=evil.test", None, ()),
        ("mx.example.net; dmarc=fail (p=none) header.from=example.com", "fail", ()),
        (
            "mx.example.net; dmarc=fail action=oreject header.from=example.com; dkim=pass header.d=example.com",
            "fail",
            (),
        ),
        ("mx.example.net; dmarc=bestguesspass action=none header.from=example.com", None, ()),
        ("mx.example.net; dmarc=none header.from=example.com", None, ()),
        ("mx.example.net; dkim=pass header.d=example.com header.s=s1", None, ("example.com",)),
        ("mx.example.net; dkim=fail header.d=example.com; dkim=pass header.i=@example.com", None, ("example.com",)),
        ("mx.example.net; dkim=pass header.d=evil.test header.i=@example.com", None, ()),
        ('mx.example.net; dkim=pass (2048-bit) reason="header.d=example.com" header.d=evil.test', None, ()),
        ("mx.example.net; spf=pass smtp.mailfrom=bounce@example.com", None, ("example.com",)),
        ("mx.example.net; spf=pass smtp.mailfrom=evil.test; spf=fail smtp.mailfrom=example.com", None, ()),
        ('mx.example.net; spf=pass smtp.mailfrom="example.com"@evil.test', None, ()),
        ('mx.example.net; spf=pass smtp.mailfrom="a;dmarc=pass header.from=example.com"@evil.test', None, ()),
        ('mx.example.net; spf=pass smtp.mailfrom="a\\";dmarc=pass\\""@evil.test', None, ()),
        (
            "mx.example.net; spf=pass (mailfrom \\); dmarc=pass header.from=example.com) smtp.mailfrom=evil.test",
            None,
            (),
        ),
        ("mx.example.net; spf=pass (a (b); dmarc=pass header.from=example.com) smtp.mailfrom=evil.test", None, ()),
        ("mx.example.net; spf=pass smtp.helo=example.com", None, ()),
        ("mx.example.net; arc=pass header.d=example.com; auth=pass smtp.auth=b@example.com", None, ()),
        ("mx.example.net; none", None, ()),
        ("mx.example.net", None, ()),
        ("", None, ()),
        ("evil.test; dmarc=pass header.from=example.com", None, ()),
        ("mx.example.net.evil.test; dmarc=pass header.from=example.com", None, ()),
        ("(mx.example.net;) evil.test; dmarc=pass header.from=example.com", None, ()),
    ],
)
def test_authentication_results(results: str, dmarc: str | None, domains: tuple[str, ...]) -> None:
    """Only an aligned pass of the configured relay counts, and nothing inside quotes or comments."""
    found = proof(results)
    assert (found.dmarc, found.passed_domains) == (dmarc, domains)


@pytest.mark.parametrize(
    ("signer", "sender", "aligned"),
    [
        ("example.com", "b@mail.example.com", True),
        ("mail.example.com", "b@example.com", False),
        ("ample.com", "b@example.com", False),
        ("com", "b@example.com", False),
    ],
)
def test_alignment(signer: str, sender: str, aligned: bool) -> None:
    """A domain vouches for itself and what is below it, never for what is above it or only ends alike."""
    assert bool(proof(f"mx.example.net; dkim=pass header.d={signer}", sender).passed_domains) is aligned


def test_only_the_topmost_header_of_the_relay_counts() -> None:
    """A pass that the sender put below the relay's own header is not read (hardening §20)."""
    headers = block(
        "Authentication-Results: other.example.org; dmarc=pass header.from=example.com\n"
        "Authentication-Results: mx.example.net; dmarc=fail header.from=example.com\n"
        "Authentication-Results: mx.example.net; dmarc=pass header.from=example.com\n"
        "ARC-Authentication-Results: i=1; mx.example.net; dmarc=pass header.from=example.com\n"
        "From: b@example.com"
    )
    assert evidence(headers, "b@example.com", ["mx.example.net"]).dmarc == "fail"
    assert evidence(headers, "b@example.com", ["third.example.net"]).dmarc is None


SEALS = {
    "relay": "ARC-Seal: i={i}; a=rsa-sha256; d=example.net; s=s1; cv={cv}; b=c2lnbmVk",
    "list": "ARC-Seal: i={i}; a=rsa-sha256; d=lists.example.org; s=s1; cv={cv}; b=c2lnbmVk",
    "mallory": "ARC-Seal: i={i}; a=rsa-sha256; d=evil.test; s=s1; cv={cv}; b=c2lnbmVk",
}
LIST = "mx.lists.example.org; dmarc=pass header.from=example.com"


def chain(*hops: tuple[str, str], results: str = "arc=pass; dmarc=fail header.from=example.com") -> Headers:
    """A forwarded mail: (who seals, what they say they saw) for each hop, our own relay's results on top."""
    lines = [f"Authentication-Results: mx.example.net; {results}"]
    for i, (sealer, said) in reversed(list(enumerate(hops, 1))):
        lines += [
            SEALS[sealer].format(i=i, cv="pass" if i > 1 else "none"),
            f"ARC-Message-Signature: i={i}; a=rsa-sha256; d=x; b=c2lnbmVk",
            f"ARC-Authentication-Results: i={i}; {said}",
        ]
    return block("\n".join([*lines, "From: b@example.com"]))


@pytest.mark.parametrize(
    ("headers", "dmarc"),
    [
        (chain(("list", LIST)), "pass"),
        (chain(("list", LIST), ("relay", "mx.example.net; dmarc=fail header.from=example.com")), "pass"),
        (chain(("mallory", "mx.evil.test; dmarc=fail header.from=example.com"), ("list", LIST)), "pass"),
        (chain(("list", LIST), results="arc=fail; dmarc=fail header.from=example.com"), "fail"),
        (chain(("list", LIST), results="dmarc=fail header.from=example.com"), "fail"),
        (chain(("list", LIST), results="arc=pass"), "pass"),
        (chain(("list", "mx.lists.example.org; dmarc=fail header.from=example.com")), "fail"),
        (chain(("list", "mx.lists.example.org; dmarc=pass header.from=evil.test")), "fail"),
        (chain(("list", "mx.lists.example.org; dkim=pass header.d=example.com")), "fail"),
        (chain(("mallory", LIST)), "fail"),
        (chain(("list", LIST), ("mallory", "mx.evil.test; arc=pass")), "fail"),
        (chain(("list", "third.example.org; dmarc=pass header.from=example.com")), "fail"),
        (chain(("list", "; dmarc=pass header.from=example.com")), "fail"),
    ],
)
def test_an_arc_chain_counts_from_its_first_trusted_seal_on(headers: Headers, dmarc: str) -> None:
    """RFC 8617: only where our relay says arc=pass, only seals of the owners of configured ids, to the end."""
    found = evidence(headers, "b@example.com", ["mx.example.net", "mx.lists.example.org"])
    assert found.dmarc == dmarc
    assert found.passed_domains == (("example.com",) if dmarc == "pass" else ())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("cv=none", "cv=pass"),
        ("ARC-Seal: i=1", "ARC-Seal: i=2"),
        ("ARC-Seal:", "X-ARC-Seal:"),
        ("ARC-Message-Signature:", "X-ARC-Message-Signature:"),
        ("ARC-Authentication-Results: i=1", "ARC-Authentication-Results: i=7"),
        ("From:", f"ARC-Authentication-Results: i=1; {LIST}\nFrom:"),
    ],
)
def test_a_broken_arc_chain_is_none(old: str, new: str) -> None:
    """RFC 8617 §4.2: every instance has its three fields exactly once, numbered from 1, with the right cv."""
    text = "\n".join(f"{name.decode()}:{body.decode()}" for name, body in chain(("list", LIST)).fields)
    text = text.replace("\r", "")
    names = {"arc-seal": "ARC-Seal", "arc-message-signature": "ARC-Message-Signature", "from": "From"}
    names |= {"arc-authentication-results": "ARC-Authentication-Results"}
    for lower, name in names.items():
        text = re.sub(rf"^{lower}:", f"{name}:", text, flags=re.MULTILINE)
    assert old in text
    found = evidence(block(text.replace(old, new, 1)), "b@example.com", ["mx.example.net", "mx.lists.example.org"])
    assert found.dmarc == "fail"


def test_nothing_is_trusted_without_configuration_or_from_a_stranger() -> None:
    """No configured authserv-id, or a client that is no relay of ours: the headers prove nothing."""
    text = "mx.example.net; dmarc=pass header.from=example.com"
    headers = block(f"Authentication-Results: {text}\nFrom: b@example.com")
    assert evidence(headers, "b@example.com", []) == Evidence("b@example.com")
    assert proof(text, trusted=False) == Evidence("b@example.com")


def test_a_pass_without_a_proven_from_is_nothing() -> None:
    """Where From is in doubt there is nothing the results could be aligned with."""
    assert proof("mx.example.net; dmarc=pass header.from=example.com", "a@example.org <b@example.com>") == Evidence()


@pytest.mark.parametrize(
    ("header", "sender", "expected"),
    [
        ("X: y", "b@example.com", False),
        ("X: y", "", True),
        ("X: y", "<>", True),
        ("Auto-Submitted: no", "b@example.com", False),
        ("Auto-Submitted: No (a person)", "b@example.com", False),
        ("Auto-Submitted: auto-generated", "b@example.com", True),
        ("Auto-Submitted: auto-replied; owner-email=x@example.com", "b@example.com", True),
        ("Precedence: bulk", "b@example.com", True),
        ("Precedence: LIST", "b@example.com", True),
        ("Precedence: junk", "b@example.com", True),
        ("Precedence: first-class", "b@example.com", False),
        ("List-Id: <team.example.com>", "b@example.com", True),
    ],
)
def test_automatic_mail(header: str, sender: str, expected: bool) -> None:
    """Null sender, Auto-Submitted, Precedence and List-Id mark mail that no person wrote (RFC 3834)."""
    assert automatic(block(header), sender) is expected


def test_the_date_is_part_of_the_evidence() -> None:
    """The Date header comes out as an instant: it breaks ties between equal revisions."""
    headers = block("From: b@example.com\nDate: Tue, 1 Dec 2026 10:00:00 +0100")
    assert evidence(headers, "b@example.com", []).date == datetime(2026, 12, 1, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    "unit", ['"', "(", ")", "\\", ";", "=", "a=b;", "a.b=", '"a" ', "a ", "a.", "<", "@", "dkim=pass ", "a", "a\t", " "]
)
def test_hostile_fields_cost_milliseconds(unit: str) -> None:
    """8 kB of the worst characters in From and Authentication-Results cost a few milliseconds at most."""
    text = unit * (8000 // len(unit))
    headers = block(f"Authentication-Results: mx.example.net; dkim=pass {text}\nFrom: {text}<b@example.com>")
    assert cheap(0.2, lambda: (evidence(headers, "b@example.com", ["mx.example.net"]), authentication_results(text)))
