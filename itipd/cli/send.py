"""`itipd replay --smtp`: the mails to a running daemon, over one connection."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiosmtplib

from itipd.cli.base import TRY_AGAIN, Failure
from itipd.config_values import endpoint
from itipd.replay import addressed, envelope

if TYPE_CHECKING:
    from itipd.config import Config
    from itipd.readers import Readers


class Sender:
    """A connection to the daemon at `place` (HOST:PORT); an async context manager."""

    def __init__(self, place: str, readers: Readers, config: Config) -> None:
        try:
            found = endpoint(place, Path(), unix=False)
        except ValueError as error:
            raise Failure(f"option --smtp: found {place!r}, expected {error}", 2) from None
        if found is None:
            raise Failure("option --smtp: found `-`, expected HOST:PORT", 2)
        self._place = place
        self._client = aiosmtplib.SMTP(hostname=found.host, port=found.port, start_tls=False, timeout=60)
        self._readers = readers
        self._organizers = config.organizers

    async def __aenter__(self) -> Sender:
        try:
            await self._client.connect()
        except (aiosmtplib.SMTPException, OSError) as error:
            raise Failure(f"{self._place}: found no daemon ({error}), expected one that listens", TRY_AGAIN) from None
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._client.is_connected:
            self._client.close()

    async def send(self, raw: bytes) -> dict[str, Any]:
        """One mail; `response` is what the daemon said, `results` stays empty: it decides, not we."""
        found = envelope(raw)
        to = await addressed(self._readers, raw, found, self._organizers) or found.candidates
        line = {"message_id": found.message_id, "from": found.from_ or found.sender, "to": list(to), "results": []}
        try:
            refused, response = await self._client.sendmail(found.sender, list(to), raw)
            said = next((f"{r.code} {r.message}" for r in refused.values()), f"250 {response}")
        except aiosmtplib.SMTPRecipientsRefused as error:
            said = "; ".join(f"{refusal.code} {refusal.message}" for refusal in error.recipients) or "550 no recipient"
        except aiosmtplib.SMTPResponseException as error:
            said = f"{error.code} {error.message}"
        except (aiosmtplib.SMTPException, OSError) as error:
            raise Failure(f"{self._place}: found the connection lost ({error})", TRY_AGAIN) from None
        return line | {"response": said}
