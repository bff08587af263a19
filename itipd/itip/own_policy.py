"""A meeting's own policy: the words in which it differs from the configured one, and its thresholds.

Each word has a closed list of values; what is not understood is refused by name and changes nothing. Pure: `now` is an
argument. What the thresholds do is in `thresholds`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from itipd.itip.model import Change, Decision, Meeting, Policy, PutMeeting
from itipd.itip.outcomes import Outcome, Reason

TASTE: Mapping[str, tuple[str, ...]] = {
    "sender": ("token", "dmarc", "from", "any"),
    "party_crasher": ("held", "added", "no_action"),
    "counter": ("hold", "decline", "accept"),
    "stale_reply": ("resend", "ignore"),
    "delegation": ("allow", "forbid"),
    "location": ("minor", "significant"),
}
"""The words of the configured policy that a meeting may override, with their values."""

OFF: Mapping[str, str] = {
    "cancel_when_declined": "off",
    "minimum_accepted": "0",
    "deadline": "",
    "publish_answers": "0",
}
"""The words that only a meeting has, with the value that means: not this one."""

WORDS = (*TASTE, *OFF)
MOST_GUESTS = 1_000_000
LONGEST = 7 * 24 * 60  # minutes that answers are gathered at most


def changed(meeting: Meeting, given: Iterable[tuple[str, str]], now: datetime) -> Decision:
    """The meeting with these words; an empty value goes back to the configured one. All or none of them."""
    words = dict(meeting.policy)
    for name, value in given:
        try:
            normal = normalised(name, value)
        except ValueError as error:
            return _bad(meeting, str(error))
        if normal:
            words[name] = normal
        else:
            words.pop(name, None)
    both = [name for name in ("minimum_accepted", "deadline") if name in words]
    if len(both) == 1:
        return _bad(meeting, f"found only {both[0]}, expected minimum_accepted and deadline together")
    told = [
        Change(None, "", f"policy.{name}", meeting.policy.get(name), words.get(name))
        for name in WORDS
        if meeting.policy.get(name) != words.get(name)
    ]
    decision = Decision(Outcome.NO_ACTION, Reason.UNCHANGED, uid=meeting.uid, rid="", sequence=meeting.sequence)
    if not told:
        return decision
    deadline = meeting.deadline_at
    if words.get("deadline") != meeting.policy.get("deadline"):
        deadline = datetime.fromisoformat(words["deadline"]) if "deadline" in words else None
        if deadline is not None and deadline <= now:
            return _bad(meeting, f"deadline: found {words['deadline']}, expected a time after {now.isoformat()}")
    after = replace(
        meeting,
        policy=words,
        deadline_at=deadline,
        publish_at=meeting.publish_at if "publish_answers" in words else None,
    )
    return replace(
        decision,
        outcome=Outcome.UPDATED,
        reason=Reason.POLICY_CHANGED,
        changes=tuple(told),
        writes=(PutMeeting(after),),
        detail=", ".join(
            f"{change.field.removeprefix('policy.')} = {change.new or 'as configured'}" for change in told
        ),
    )


def effective(policy: Policy, meeting: Meeting) -> dict[str, str]:
    """Every word with the value that holds for this meeting."""
    configured = {name: str(getattr(policy, name)) for name in TASTE}
    return {name: meeting.policy.get(name) or configured.get(name) or OFF.get(name, "") for name in WORDS}


def normalised(name: str, value: str) -> str:
    """The value as it is stored, "" for "as configured" or off. Raises ValueError: what was found and expected."""
    value = value.strip()
    if name not in WORDS:
        raise ValueError(f"found the word {name!r:.40}, expected one of {', '.join(WORDS)}")
    if not value or value == OFF.get(name):
        return ""
    if name in TASTE or name == "cancel_when_declined":
        values = TASTE.get(name, ("all", "required", "off"))
        if value not in values:
            raise ValueError(f"{name}: found {value!r:.40}, expected one of {', '.join(values)}")
        return value
    return _time(name, value) if name == "deadline" else _number(name, value)


def _number(name: str, value: str) -> str:
    most = LONGEST if name == "publish_answers" else MOST_GUESTS
    unit = "minutes" if name == "publish_answers" else "guests"
    digits = value.lstrip("0") if value.isascii() and value.isdigit() and len(value) < 20 else ""
    if not digits or int(digits) > most:
        raise ValueError(f"{name}: found {value!r:.40}, expected 0 (off) to {most} {unit}")
    return digits


def _time(name: str, value: str) -> str:
    expected = "expected a time with its offset, like 2026-11-25T12:00:00+01:00"
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{name}: found {value!r:.40}, {expected}") from None
    if found.tzinfo is None or not 1900 < found.year < 2200:
        raise ValueError(f"{name}: found {value!r:.40}, {expected}")
    return found.astimezone(UTC).isoformat()


def _bad(meeting: Meeting, detail: str) -> Decision:
    return Decision(Outcome.ERROR, Reason.BAD_POLICY, uid=meeting.uid, rid="", detail=detail)
