"""The log: one line for each message, as logfmt text or JSON, on stderr.

`mail=ID client=IP from=... rcpt=... msgid=... uid=... method=REPLY attendee=... partstat=ACCEPTED outcome=updated
reason=replied ms=3.1`. Values are cut at 256 characters and free of controls, so that nobody's mail can write a line
of its own. Never a body, never a secret.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

import structlog

from itipd.plain import plain

if TYPE_CHECKING:
    from itipd.itip.model import Decision
    from itipd.orders import Mail

LONGEST = 256  # characters of one value
_BARE = re.compile(r"[^\s\"\\]+")
# Fields of printable ASCII, which stand in the line as they are.
_HARMLESS = re.compile(rf"(?:[a-z]++=[!#-\[\]-~]{{1,{LONGEST}}}(?: |\Z))++")
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

Event = MutableMapping[str, Any]
log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
_lines: TextIO | None = None  # where lines of text go, past structlog, which costs more than the line


def configure(form: str = "text", level: str = "info", stream: TextIO | None = None) -> None:
    """Sets the log up: `form` is "text" or "json", `stream` stderr unless given."""
    render = _json if form == "json" else _text
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.format_exc_info, render],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=lambda *_: structlog.WriteLogger(stream or sys.stderr),
        cache_logger_on_first_use=False,
    )
    global _lines
    _lines = (stream or sys.stderr) if form == "text" and _LEVELS[level] <= logging.INFO else None


def message(mail: Mail, decision: Decision, *, journal: int, message_id: str, seconds: float) -> None:
    """The one line of one component of `mail`: `journal` is its id, `seconds` how long it took to the commit."""
    fields = {
        "mail": journal,
        "client": mail.client or None,
        "from": mail.sender or "<>",
        "rcpt": ",".join(mail.recipients),
        "msgid": message_id,
        "uid": decision.uid,
        "method": decision.method,
        "attendee": decision.attendee,
        "partstat": decision.partstat,
        "outcome": decision.outcome.value,
        "reason": decision.reason.value,
        "ms": round(seconds * 1000, 1),
    }
    if _lines is not None:
        shown = [f"{key}={value}" for key, value in fields.items() if value is not None]
        line = " ".join(shown)
        # A blank in a value would make two fields of it.
        if _HARMLESS.fullmatch(line) and line.count(" ") == len(shown) - 1:
            _lines.write(line + "\n")
            _lines.flush()
            return
    log.info("", **fields)


def line(event: str, **words: Any) -> None:
    """`log.info`, for what is written very often: the same line in half the time."""
    if _lines is None:
        log.info(event, **words)
        return
    _lines.write(_text(None, "", {"event": event, **words}) + "\n")
    _lines.flush()


def fault(event: str, error: BaseException, **words: Any) -> None:
    """A fault of ours: with its trace, unless it says of itself that it was foreseen (a full disk, a busy database)."""
    if getattr(error, "foreseen", False):
        log.error(event, **words, error=str(error))
    else:
        log.error(event, **words, exc_info=error)


def _fields(event: Event) -> dict[str, Any]:
    """What is written of an event, in order: its name and level where they say something, then its values."""
    name, level = event.pop("event", ""), event.pop("level", "info")
    trace = event.pop("exception", None)
    fields = {} if level == "info" else {"level": level}
    if name:
        fields["event"] = name
    for key, value in event.items():
        if value is not None:
            fields[key] = value if isinstance(value, int | float) else plain(value, LONGEST)
    if trace is not None:  # our own fault: whole, but on the same line
        fields["trace"] = plain(trace.replace("\n", " | "), 8192)
    return fields


def _text(_logger: Any, _method: str, event: Event) -> str:
    return " ".join(f"{key}={_quoted(value)}" for key, value in _fields(event).items())


def _quoted(value: object) -> str:
    text = str(value)
    if _BARE.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _json(_logger: Any, _method: str, event: Event) -> str:
    return json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds")} | _fields(event))
