"""DKIM checked by itipd itself (RFC 6376), with keys from a function of this test: no name server is ever asked."""

from __future__ import annotations

import asyncio
import base64
import importlib
import importlib.util
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import ValidationError

from itipd import config as config_module
from itipd import signatures
from itipd.config import Config
from itipd.inbox import Inbox
from itipd.itip.incoming import incoming
from itipd.mail.evidence import OWN_ID
from itipd.mail.reading import Reading, ReadSettings, read_mail
from itipd.orders import Mail, Put
from itipd.signatures import Signatures
from itipd.store import Store

AT = datetime(2026, 11, 20, 9, tzinfo=UTC)
EVENT = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\n{method}BEGIN:VEVENT\r\nUID:m1@example.com\r\n"
    "DTSTAMP:20261120T090000Z\r\nSEQUENCE:0\r\nDTSTART:20261207T090000Z\r\nORGANIZER:mailto:meetings@example.com\r\n"
    "ATTENDEE;PARTSTAT={partstat}:mailto:ann@example.org\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
)
MAIL = (
    "From: Ann <ann@example.org>\r\nTo: meetings@example.com\r\nSubject: Accepted: Lunch\r\n"
    "Date: Fri, 20 Nov 2026 10:00:00 +0100\r\nMessage-ID: <a1@example.org>\r\n"
    "Content-Type: text/calendar; method=REPLY\r\n\r\n" + EVENT.format(method="METHOD:REPLY\r\n", partstat="ACCEPTED")
).encode()
PRIVATE = rsa.generate_private_key(public_exponent=65537, key_size=1024)
PEM = PRIVATE.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
)
PUBLIC = PRIVATE.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
RECORD = b"v=DKIM1; k=rsa; p=" + base64.b64encode(PUBLIC)
NAME = "s1._domainkey.example.org"


class Names:
    """What answers instead of DNS, and how often it was asked for what."""

    def __init__(self, records: dict[str, bytes | None] | None = None) -> None:
        self.records: dict[str, bytes | None] = {NAME: RECORD} if records is None else records
        self.asked: Counter[str] = Counter()

    async def __call__(self, name: str) -> bytes | None:
        self.asked[name] += 1
        if name not in self.records:
            raise OSError("no name server answers")
        return self.records[name]


def signed(raw: bytes = MAIL, domain: bytes = b"example.org", **words: Any) -> bytes:
    dkim = importlib.import_module("dkim")
    header: bytes = dkim.sign(raw, b"s1", domain, PEM, **words)
    return header + raw


async def verdict(raw: bytes, names: Names | None = None) -> str:
    """What our own field says of a mail."""
    found = await Signatures(names or Names()).stamped(raw)
    first, _, rest = found.partition(b"\r\n")
    assert rest == raw
    assert first.startswith(f"Authentication-Results: {OWN_ID}; ".encode())
    return first.partition(b"; ")[2].decode()


def read(raw: bytes, *, dkim: bool = True, trusted: bool = False) -> Reading:
    settings = ReadSettings(authserv_ids=("mx.example.com",), dkim=dkim)
    return read_mail(raw, sender="", recipients=(), submission=False, settings=settings, trusted=trusted)


async def test_a_signature_that_holds_proves_the_domain() -> None:
    """The domain of From signed the mail, and nothing was changed: an aligned pass, also from an unknown client."""
    raw = await Signatures(Names()).stamped(signed())
    assert read(raw).evidence.passed_domains == ("example.org",)
    assert read(raw, dkim=False).evidence.passed_domains == ()


@pytest.mark.parametrize(
    ("raw", "names"),
    [
        (MAIL, Names()),
        (signed().replace(b"PARTSTAT=ACCEPTED", b"PARTSTAT=DECLINED"), Names()),
        (signed().replace(b"Subject: Accepted", b"Subject: Declined"), Names()),
        (signed(length=True), Names()),
        (signed(domain=b"evil.test"), Names({"s1._domainkey.evil.test": RECORD})),
        (signed().replace(b"From: Ann", b"From: Eve <eve@example.org>\r\nFrom: Ann"), Names()),
        (signed(), Names({NAME: None})),
        (signed(), Names({NAME: b"v=DKIM1; k=rsa; p="})),
        (signed(), Names({NAME: RECORD + b" " * 2000})),
        (signed(), Names({})),
        (signed().replace(b"s=s1", b"s=../s1"), Names()),
        (signed() + b"x" * signatures.LARGEST, Names()),
        (b"X: y\r\n" * 600 + signed(), Names()),
        (b"DKIM-Signature: v=1; " + b"x" * 9000 + b"\r\n" + MAIL, Names()),
        (b"", Names()),
    ],
)
async def test_everything_else_proves_nothing(raw: bytes, names: Names) -> None:
    """Changed, unsigned, signed by others, with l=, without a key or too much of it: dkim=none, and no exception."""
    assert await verdict(raw, names) == "dkim=none"


async def test_only_three_keys_are_asked_for() -> None:
    """Fifty signatures of the sender's domain cost three questions."""
    names = Names({f"s{number}._domainkey.example.org": None for number in range(60)})
    forged = b"".join(b"DKIM-Signature: v=1; d=example.org; s=s%d; b=x\r\n" % number for number in range(60))
    assert await verdict(forged + MAIL, names) == "dkim=none"
    assert sum(names.asked.values()) == 3


async def test_keys_are_kept_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second mail of a domain asks nobody; later it does; what could not be had is asked for again at once."""
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(signatures, "KEPT", 1)
    names = Names()
    checker = Signatures(names)
    for _ in range(3):
        assert b"dkim=pass" in await checker.stamped(signed())
    assert names.asked[NAME] == 1
    clock[0] += signatures.KEEP + 1
    await checker.stamped(signed())
    assert names.asked[NAME] == 2
    names.records["s2._domainkey.example.org"] = None
    await checker.stamped(signed().replace(b"s=s1", b"s=s2"))  # only one key is kept
    await checker.stamped(signed())
    assert names.asked[NAME] == 3


async def test_a_name_server_that_is_silent_holds_up_no_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the patience for one mail it goes on without a proof."""
    monkeypatch.setattr(signatures, "PATIENCE", 0.05)

    async def silent(_name: str) -> bytes | None:
        await asyncio.sleep(60)
        return None

    began = time.monotonic()
    assert b"dkim=none" in await Signatures(silent).stamped(signed())
    assert time.monotonic() - began < 30


async def test_a_forged_field_of_ours_is_never_the_first() -> None:
    """A sender who writes our field stands below the one that our own door writes."""
    forged = f"Authentication-Results: {OWN_ID}; dkim=pass header.d=example.org\r\n".encode() + MAIL
    raw = await Signatures(Names()).stamped(forged)
    assert read(raw).evidence.passed_domains == ()


async def test_a_relay_that_saw_dmarc_fail_is_believed() -> None:
    """A DMARC failure of the configured relay refutes, whatever holds here."""
    raw = await Signatures(Names()).stamped(
        b"Authentication-Results: mx.example.com; dmarc=fail header.from=example.org\r\n" + signed()
    )
    assert read(raw).evidence.passed_domains == ("example.org",)
    assert read(raw, trusted=True).evidence.passed_domains == ()


async def test_the_field_changes_no_digest_and_fits_the_lines() -> None:
    """A mail is the same mail with and without our field; a mail with LF, or from an mbox, stays what it is."""
    checker = Signatures(Names())
    assert read(await checker.stamped(signed())).digest == read(signed()).digest
    bare = signed().replace(b"\r\n", b"\n")
    assert b"\r" not in await checker.stamped(bare)
    assert read(await checker.stamped(bare)).digest == read(bare).digest
    boxed = await checker.stamped(b"From ann Fri Nov 20 09:00:00 2026\r\n" + signed())
    assert boxed.startswith(b"From ann Fri Nov 20 09:00:00 2026\r\nAuthentication-Results: ")
    assert read(boxed).evidence.passed_domains == ("example.org",)


async def test_an_inbox_decides_by_it(tmp_path: Path) -> None:
    """With dkim = "on" and sender = "dmarc" a signed answer counts; a mail that was held keeps what was found then."""
    settings = Config.model_validate({"identity": {"dkim": "on"}, "policy": {"sender": "dmarc"}})
    store = await Store.open(f"sqlite:///{tmp_path / 'itipd.db'}")
    inbox = Inbox(store, None, settings)
    names = Names()
    inbox.signatures = Signatures(names)
    await inbox.start()
    try:
        receipt = await inbox.submit(Mail("ann@example.org", ("meetings@example.com",), signed(), AT, trusted=False))
        assert receipt.results[0].reason == "unknown_meeting"
        names.records.clear()
        (one,) = incoming(EVENT.format(method="", partstat="NEEDS-ACTION").encode())
        await inbox.command(Put(one, recorded=True), at=AT)
        meeting = await store.meeting("m1@example.com", "meetings@example.com")
    finally:
        await inbox.stop()
        await store.close()
    assert meeting is not None
    assert meeting.attendees["", "ann@example.org"].partstat == "ACCEPTED"


def test_without_its_library_the_configuration_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """dkim = "on" where the extra is not installed is an error that names what to install."""
    monkeypatch.setattr(config_module, "find_spec", lambda _name: None)
    with pytest.raises(ValidationError, match=r"pip install 'itipd\[dkim\]'"):
        Config.model_validate({"identity": {"dkim": "on"}})


async def test_the_resolver_asks_the_name_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A TXT record's pieces are one text; no record is None; what cannot be had now is an OSError."""
    dns = {name: importlib.import_module(f"dns.{name}") for name in ("asyncresolver", "resolver", "exception")}

    class Record:
        strings = (b"v=DKIM1; ", b"p=")

    async def resolve(name: str, kind: str, lifetime: float) -> list[Record]:
        assert (kind, lifetime) == ("TXT", signatures.PATIENCE / 2)
        if name == "none.example.":
            raise dns["resolver"].NXDOMAIN
        if name == "silent.example.":
            raise dns["exception"].Timeout
        return [Record()]

    monkeypatch.setattr(dns["asyncresolver"], "resolve", resolve)
    lookup = signatures.resolver()
    assert await lookup("a.example") == b"v=DKIM1; p="
    assert await lookup("none.example") is None
    with pytest.raises(OSError, match=r"silent\.example"):
        await lookup("silent.example")
