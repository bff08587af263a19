"""Frozen dataclasses that are made quickly are what `dataclasses` would have made (itip/quick.py)."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from dataclasses import dataclass, field

import pytest

from itipd.itip.quick import quick, replace


@dataclass(frozen=True, slots=True)
class Slow:
    one: str
    two: int = 2
    three: dict[str, str] = field(default_factory=dict)


@quick
@dataclass(frozen=True, slots=True)
class Fast:
    one: str
    two: int = 2
    three: dict[str, str] = field(default_factory=dict)


def test_made_alike() -> None:
    """Same parameters, defaults, equality, hash and text; each has a dictionary of its own; copies are equal."""
    assert inspect.signature(Fast) == inspect.signature(Slow)
    fast, slow = Fast("a"), Slow("a")
    assert dataclasses.asdict(fast) == dataclasses.asdict(slow)
    assert repr(fast) == repr(slow).replace("Slow", "Fast")
    assert fast == Fast("a", 2, {}) != Fast("a", 3)
    assert fast.three is not Fast("a").three
    assert hash(Fast("a", 2, ())) == hash(Slow("a", 2, ()))  # type: ignore[arg-type] # something with a hash
    assert copy.deepcopy(fast) == pickle.loads(pickle.dumps(fast)) == fast
    with pytest.raises(TypeError, match="one"):
        Fast()  # type: ignore[call-arg]


def test_frozen() -> None:
    """Neither a new one nor a changed one can be written to."""
    for value in (Fast("a"), replace(Fast("a"), one="b")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            value.two = 3  # type: ignore[misc]
        with pytest.raises(dataclasses.FrozenInstanceError):
            del value.one


def test_replace() -> None:
    """`replace` leaves the old one, and takes any dataclass; a field that there is not is an error."""
    old = Fast("a", 5, {"k": "v"})
    assert replace(old, one="b") == Fast("b", 5, {"k": "v"})
    assert old == Fast("a", 5, {"k": "v"})
    assert replace(Slow("a"), two=7) == Slow("a", 7)
    with pytest.raises(AttributeError):
        replace(old, four=4)  # type: ignore[call-arg]
