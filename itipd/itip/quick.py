"""Frozen dataclasses that are made quickly: the same values, a third of the time.

A frozen dataclass sets each field by `object.__setattr__`, which costs ten times a plain assignment, and one mail makes
twenty such values of up to twenty-five fields. Here they are filled as instances of a twin with the same slots that is
not frozen, and become what they are at the end ("`__class__` assignment" in Python's data model).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import MISSING, Field, field, fields, make_dataclass
from functools import wraps
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

T = TypeVar("T")

_become = object.__setattr__
_changed: dict[type[Any], Callable[[Any, dict[str, Any]], Any]] = {}
_twins: dict[type[Any], Any] = {}


def quick(kind: type[T]) -> type[T]:
    """Above `@dataclass(frozen=True, slots=True)`, where there are more than five fields: fewer gain nothing."""
    listed = fields(kind)  # type: ignore[arg-type] # it is a dataclass
    twin = make_dataclass(f"{kind.__name__}Twin", [(one.name, Any, _alike(one)) for one in listed], slots=True)
    fill, usual = twin.__dict__["__init__"], kind.__dict__["__init__"]
    values = attrgetter(*(one.name for one in listed))

    @wraps(usual)
    def init(self: Any, *args: Any, **given: Any) -> None:
        _become(self, "__class__", twin)
        fill(self, *args, **given)
        self.__class__ = kind

    def changed(old: Any, new: dict[str, Any]) -> Any:
        self: Any = twin(*values(old))
        for name, value in new.items():
            setattr(self, name, value)
        self.__class__ = kind
        return self

    setattr(kind, "__init__", init)  # noqa: B010 - mypy knows no other way
    setattr(kind, "__reduce__", lambda self: (_made, (kind, *values(self))))  # noqa: B010
    _changed[kind], _twins[kind] = changed, twin
    return kind


def packs(kind: type[T]) -> type[T]:
    """Above a smaller one that other processes send us: unpickled by its `__init__`, which is quicker, too."""
    values = attrgetter(*(one.name for one in fields(kind)))  # type: ignore[arg-type] # it is a dataclass
    setattr(kind, "__reduce__", lambda self: (kind, values(self)))  # noqa: B010 - mypy knows no other way
    return kind


def _made(kind: Any, *values: Any) -> Any:
    """A pickled one again."""
    self: Any = _twins[kind](*values)
    self.__class__ = kind
    return self


def _alike(one: Field[Any]) -> Any:
    if one.default_factory is not MISSING:
        return field(default_factory=one.default_factory)
    return field(default=one.default) if one.default is not MISSING else field()


if TYPE_CHECKING:
    from dataclasses import replace as replace  # whose fields the type checker knows
else:

    def replace(value: T, **new: Any) -> T:
        """`dataclasses.replace`, quickly where the class is `quick`."""
        changed = _changed.get(type(value))
        return changed(value, new) if changed is not None else dataclasses.replace(value, **new)
