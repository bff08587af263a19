"""What commands print for programs: JSON Lines that stay lines, whatever is in a mail."""

from __future__ import annotations

import json

import pytest

from itipd.cli.output import dumps


@pytest.mark.parametrize("hidden", ["\x85", "\u2028", "\u2029", "\x1b", "\x9b", "\u202e", "\ud800", "\x7f", "\n"])
def test_an_object_is_one_line_for_everybody(hidden: str) -> None:
    """No value ends the line, moves the cursor or cannot be encoded; whoever reads the JSON gets it back."""
    text = dumps({"comment": f"Käse{hidden}!"})
    assert text.isprintable()
    assert text.splitlines() == [text]
    assert json.loads(text) == {"comment": f"Käse{hidden}!"}
    assert "Käse" in text
