"""What commands print for programs: JSON Lines that stay lines, whatever is in a mail."""

from __future__ import annotations

import json
import sys

import pytest

from itipd.cli.output import dumps, octets


@pytest.mark.parametrize("hidden", ["\x85", "\u2028", "\u2029", "\x1b", "\x9b", "\u202e", "\ud800", "\x7f", "\n"])
def test_an_object_is_one_line_for_everybody(hidden: str) -> None:
    """No value ends the line, moves the cursor or cannot be encoded; whoever reads the JSON gets it back."""
    text = dumps({"comment": f"Käse{hidden}!"})
    assert text.isprintable()
    assert text.splitlines() == [text]
    assert json.loads(text) == {"comment": f"Käse{hidden}!"}
    assert "Käse" in text


@pytest.mark.parametrize("terminal", [True, False])
def test_a_mail_does_not_play_with_the_terminal(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """What comes out as it is comes out octet for octet, but on a terminal without its controls."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    octets(b"Subject: \x1b[2Jx\x9b\r\n\r\n\xff\x07")
    shown = "Subject:  [2Jx\ufffd\n\n\ufffd \n".encode()
    assert capsysbinary.readouterr().out == (shown if terminal else b"Subject: \x1b[2Jx\x9b\r\n\r\n\xff\x07")
