"""A decision in public words: the result object of interface.md."""

from __future__ import annotations

from itipd.itip.transcript import result
from tests.itip_samples import ANN, BOB, DEC_8, UID, WEEKLY, hear, override, put, reply, series, vevent


def test_an_answer() -> None:
    """interface.md, `itipd replay --json`: every key, None where there is nothing; the series is null."""
    _, decision = hear(series(), reply(ANN, rid=DEC_8))
    assert result(decision) == {
        "outcome": "updated",
        "reason": "replied",
        "method": "REPLY",
        "uid": UID,
        "recurrence_id": DEC_8,
        "attendee": ANN,
        "partstat": "ACCEPTED",
        "sequence": 0,
        "quirks": [],
        "changes": [
            {"attendee": ANN, "recurrence_id": DEC_8, "field": "partstat", "old": "NEEDS-ACTION", "new": "ACCEPTED"}
        ],
        "send": [],
    }


def test_what_is_sent() -> None:
    """interface.md: an entry for each RECURRENCE-ID sent, null for the series."""
    _, decision = put(series(), vevent(WEEKLY, summary="Other"), override(8, guests=(ANN, BOB, "cat@example.com")))
    found = result(decision)
    assert (found["recurrence_id"], found["attendee"], found["method"]) == (None, None, None)
    keys = ("method", "to", "recurrence_id", "sequence", "reason")
    assert [[one[key] for key in keys] for one in found["send"]] == [
        ["REQUEST", [ANN, BOB], None, 0, "minor_change"],
        ["REQUEST", ["cat@example.com"], DEC_8, 0, "minor_change"],
    ]
