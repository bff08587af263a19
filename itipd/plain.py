"""A text from outside as one harmless line: for the log, where it must not write a line of its own, and for terminals,
where it must not move the cursor (hardening: values cut and free of controls)."""

from __future__ import annotations

import re

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(value: object, longest: int) -> str:
    """`value` as text, every control a blank, cut at `longest` characters."""
    text = str(value)
    if len(text) > longest:
        text = text[: longest - 1] + "…"
    return text if text.isprintable() else _CONTROLS.sub(" ", text)
