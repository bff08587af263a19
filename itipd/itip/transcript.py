"""A Decision as the public result object: the shape of `itipd replay --json`, the API and the golden files.

Pure, and the only place where a decision is put into these words.
"""

from __future__ import annotations

from typing import Any

from itipd.itip.model import Change, Decision, Send


def result(decision: Decision) -> dict[str, Any]:
    """One component's result: every key always present, None where there is nothing; `rid` "" (the series) is None."""
    return {
        "outcome": decision.outcome.value,
        "reason": decision.reason.value,
        "method": decision.method,
        "uid": decision.uid,
        "recurrence_id": decision.rid or None,
        "attendee": decision.attendee,
        "partstat": decision.partstat,
        "sequence": decision.sequence,
        "quirks": list(decision.quirks),
        "changes": [_change(change) for change in decision.changes],
        "send": [_send(send) for send in decision.sends],
    }


def _change(change: Change) -> dict[str, Any]:
    return {
        "attendee": change.attendee,
        "recurrence_id": change.rid or None,
        "field": change.field,
        "old": change.old,
        "new": change.new,
    }


def _send(send: Send) -> dict[str, Any]:
    return {
        "method": send.method,
        "to": list(send.to),
        "recurrence_id": send.rid or None,
        "sequence": send.sequence,
        "reason": send.reason,
    }
