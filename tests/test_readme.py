"""What README.md shows is what happens: the demo and the sessions are run, and print what stands there."""

from __future__ import annotations

import time

import pytest

from tests import readme


@pytest.fixture(scope="module")
def text() -> str:
    return readme.README.read_text(encoding="utf-8")


def test_the_demo_prints_what_readme_shows(text: str) -> None:
    """`itipd demo` ends by itself within a minute and prints what README.md shows, but for times and ports."""
    begun = time.monotonic()
    found = readme.demo()
    assert time.monotonic() - begun < 60
    assert readme.unordered(found) == readme.unordered(readme.parts(text)["demo"])


def test_the_sessions_print_what_readme_shows(text: str) -> None:
    """Every command in the sessions of README.md succeeds and prints what stands below it, but for times."""
    shown = [readme.plain(block) for block in readme.consoles(text)]
    assert [readme.plain(block) for block in readme.session(text)] == shown
    assert sum(len(readme.commands(block)) for block in shown) > 5
