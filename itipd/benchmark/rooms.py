"""The pure rooms by themselves: CPU of reading and of deciding one mail, without daemon, disk or client."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from itipd.benchmark.mails import ORGANIZER, letters
from itipd.itip.decide import decide
from itipd.itip.model import Message, Policy
from itipd.mail.reading import ReadSettings, read_mail
from itipd.store import Store


async def measure(url: str) -> dict[str, float]:
    """Microseconds a mail, the best of five passes over 300 mails whose 50 meetings are in the database."""
    sent = letters(300, 50, 10, 1)
    settings = ReadSettings()
    read = [
        read_mail(one.raw, sender=one.sender, recipients=(ORGANIZER,), submission=False, settings=settings)
        for one in sent
    ]
    store = await Store.open(url)
    try:
        meetings = {one.uid: await store.meeting(one.uid) for one in sent}
    finally:
        await store.close()
    cases = [
        (meetings[one.uid], message, reading.evidence)
        for one, reading in zip(sent, read, strict=True)
        for message in reading.messages
        if isinstance(message, Message)
    ]
    now, policy = datetime.now(UTC), Policy()

    def reading() -> None:
        for one in sent:
            read_mail(one.raw, sender=one.sender, recipients=(ORGANIZER,), submission=False, settings=settings)

    def deciding() -> None:
        for meeting, message, evidence in cases:
            decide(meeting, message, evidence, policy, now)

    return {"reading_us": _best(reading) / len(sent) * 1e6, "deciding_us": _best(deciding) / len(cases) * 1e6}


def _best(work: Callable[[], None]) -> float:
    """Process CPU seconds of one pass."""
    passes = []
    for _ in range(5):
        started = time.process_time()
        work()
        passes.append(time.process_time() - started)
    return min(passes)
