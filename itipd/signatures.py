"""DKIM checked here, where no relay in front does it: the extra `dkim`, `[identity] dkim = "on"` (RFC 6376, RFC 8601).

Duty: what a door took -> the same mail under one field of our own that says which domain's signature holds, as a relay
would write it. Keys are asked for here, by DNS, within bounds; reading stays pure, and what was found stays with the
mail in the journal, so that it is decided alike whenever it is read again. It must never raise for the mail's sake.
"""

from __future__ import annotations

import asyncio
import importlib
import re
import time
from collections.abc import Awaitable, Callable, Mapping

from itipd.itip.addresses import domain
from itipd.mail.evidence import OWN_ID, covers, from_address, tags
from itipd.mail.extract import wire
from itipd.mail.headers import Headers, MailLimits, TooLarge, scan

Lookup = Callable[[str], Awaitable[bytes | None]]
"""The TXT record of a name; None where there is none. OSError: not to be had now."""

LARGEST = 2 << 20  # bytes of a mail that is checked
SIGNATURES = 3  # of one mail: those of the domain of From
KEY = 2_000  # bytes of a TXT record: RSA keys of 4096 bits have 800
PATIENCE = 5.0  # seconds for one mail
KEPT = 1_000  # keys
KEEP, KEEP_NONE = 300.0, 60.0  # seconds
AT_ONCE = 50  # mails that wait for keys
THREADS = 2

_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63}){0,20}")


class Signatures:
    """See the module. `stamped` may be called from any number of tasks."""

    def __init__(self, lookup: Lookup | None = None) -> None:
        self._lookup = lookup or resolver()
        self._keys: dict[str, tuple[float, bytes | None]] = {}  # oldest first
        self._waiting = asyncio.Semaphore(AT_ONCE)
        self._checking = asyncio.Semaphore(THREADS)

    async def stamped(self, raw: bytes) -> bytes:
        """The mail under our own field; that is always there, so that nobody else's can be taken for it."""
        try:
            async with self._waiting:
                found = await asyncio.wait_for(self._holding(raw), PATIENCE)
        except (OSError, TimeoutError, TooLarge):
            found = None
        result = f"dkim=pass header.d={found}" if found is not None else "dkim=none"
        first = raw.find(b"\n") + 1 if raw.startswith(b"From ") else 0  # the separator of an mbox
        end = "\n" if raw.find(b"\n", first) >= 0 and not raw[: raw.find(b"\n", first)].endswith(b"\r") else "\r\n"
        return raw[:first] + f"Authentication-Results: {OWN_ID}; {result}{end}".encode() + raw[first:]

    async def _holding(self, raw: bytes) -> str | None:
        """The domain of the first signature that holds and covers the domain of From."""
        if len(raw) > LARGEST:
            return None
        data = wire(raw)
        limits = MailLimits()
        headers, _ = scan(data, data.find(b"\n") + 1 if data.startswith(b"From ") else 0, len(data), limits)
        sender = from_address(headers)
        wanted = _candidates(headers, domain(sender)) if sender is not None else {}
        keys: dict[str, bytes] = {}
        for name, _ in wanted.values():
            key = await self._key(name)
            if key is not None:
                keys[name] = key
        if not keys:
            return None
        async with self._checking:  # a signature takes a millisecond or two of arithmetic
            return await asyncio.to_thread(_first_holding, data, wanted, keys)

    async def _key(self, name: str) -> bytes | None:
        now = time.monotonic()
        known = self._keys.pop(name, None)
        if known is None or known[0] < now:
            record = await self._lookup(name)
            record = record if record is not None and len(record) <= KEY else None
            known = now + (KEEP if record is not None else KEEP_NONE), record
        self._keys[name] = known
        while len(self._keys) > KEPT:
            del self._keys[next(iter(self._keys))]
        return known[1]


def _candidates(headers: Headers, own: str) -> dict[int, tuple[str, str]]:
    """Which signatures are worth a question: number among all -> (name of the key, signing domain)."""
    found: dict[int, tuple[str, str]] = {}
    bodies = [body for name, body in headers.fields if name == b"dkim-signature"]
    for number, body in enumerate(bodies[:50]):
        if len(body) > headers.limit or len(found) >= SIGNATURES:
            continue
        given = tags(body.decode("ascii", "replace"))
        signer, selector = given.get("d", "").lower(), given.get("s", "").lower()
        # With l= anybody may write on below what was signed (RFC 6376 §8.2): a calendar, for one.
        sound = _NAME.fullmatch(signer) and _NAME.fullmatch(selector) and "l" not in given
        if sound and covers(signer, own):
            found[number] = f"{selector}._domainkey.{signer}", signer
    return found


def _first_holding(data: bytes, wanted: Mapping[int, tuple[str, str]], keys: Mapping[str, bytes]) -> str | None:
    dkim = importlib.import_module("dkim")  # the extra: only who asks for it has it

    def known(name: bytes, timeout: float = 5) -> bytes | None:
        return keys.get(name.decode("ascii", "replace").rstrip(".").lower())

    for number, (_, signer) in wanted.items():
        try:
            if dkim.DKIM(data).verify(idx=number, dnsfunc=known):
                return signer
        except Exception:  # noqa: S112 - its exceptions are of many kinds, on mail that anybody may have sent
            continue
    return None


def resolver() -> Lookup:
    """Asks the name servers of this machine."""
    import dns.asyncresolver
    import dns.exception
    import dns.resolver

    async def txt(name: str) -> bytes | None:
        try:
            answer = await dns.asyncresolver.resolve(f"{name}.", "TXT", lifetime=PATIENCE / 2)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return None
        except dns.exception.DNSException as error:
            raise OSError(f"{name}: {error}") from None
        return next((b"".join(record.strings) for record in answer), None)

    return txt
