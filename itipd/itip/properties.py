"""Editing the organizer's stored lines (`Event.lines`) without parsing them: drop, replace and compare properties.

Lines are unfolded and end with "\\n"; components inside (VALARM) are blocks at the end and are left alone. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from itipd.itip.contentlines import Component


def name_of(line: str) -> str:
    """The upper-case property name of an unfolded line."""
    end = len(line)
    for sign in ":;":
        found = line.find(sign)
        if 0 <= found < end:
            end = found
    return line[:end].strip().upper()


def split(lines: str) -> tuple[list[str], list[str]]:
    """(the component's own lines, the lines of the components in it), without line ends."""
    every = lines.split("\n")[:-1]  # each line is ended
    for index, line in enumerate(every):
        if line[:6].upper() == "BEGIN:":
            return every[:index], every[index:]
    return every, []


def join(own: Iterable[str], inner: Iterable[str] = ()) -> str:
    """The text that `split` took apart."""
    return "".join(f"{line}\n" for line in (*own, *inner))


def with_lines(lines: str, new: Iterable[str], replacing: Collection[str]) -> str:
    """`lines` with `new` lines instead of the properties named in `replacing`."""
    own, inner = split(lines)
    kept = [line for line in own if name_of(line) not in replacing]
    return join((*kept, *new), inner)


def value_of(lines: str, name: str) -> str | None:
    """The raw value of the first property of this upper-case name that has no parameters with a colon in them."""
    for line in split(lines)[0]:
        if name_of(line) == name:
            return line.partition(":")[2]
    return None


def text_of(component: Component) -> str:
    """A component as it was read: unfolded lines, each ended by "\n", from BEGIN to END."""
    inner = "".join(f"{line}\n" for line in component.raw) + "".join(map(text_of, component.children))
    return f"BEGIN:{component.name}\n{inner}END:{component.name}\n"
