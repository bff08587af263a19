"""Components of iCalendar and their lines (RFC 5545 §3.4-6): the tolerant layer in front of everything.

Duty: bytes that a stranger sent -> a tree of components whose lines are parsed when asked for, in linear time. Each
tolerance has a name, a *quirk*. It must never guess at meaning (dates, addresses, methods are other rooms' work), nor
raise anything but `Unreadable`. Line syntax is in `line`, decoding and unfolding in `unfold`; both are met here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from itipd.itip.line import Line, escape, fold, format_line, has_unquoted_colon, parse_line, unescape, value_of
from itipd.itip.model import clean
from itipd.itip.outcomes import Reason
from itipd.itip.unfold import Limits, TooLarge, Unreadable, logical_lines, with_breaks, without_indent

__all__ = [
    "Component",
    "Limits",
    "Line",
    "TooLarge",
    "Unreadable",
    "escape",
    "fold",
    "format_line",
    "parse",
    "parse_line",
    "unescape",
]

DEFAULTS = Limits()
TEXT_LIMIT = 65536
"""Characters that `Component.text` gives at most."""

# Possessive quantifiers throughout: no pattern of this module can backtrack.
_NAMES = re.compile(r"\n([A-Za-z0-9_-]*+)")
_EDGE = re.compile(r"\n(BEGIN|END)[ \t]*+:([^\n]*+)", re.IGNORECASE)
# An address has a colon in its scheme; a closer look is worth its time only where there are more.
_MORE_COLONS = re.compile(
    r"\n((?:(?:ATTENDEE|ORGANIZER);[^\n:]*+:|(?:DTSTART|DTEND|RECURRENCE-ID);)(?:[^\n:]*+:){2}[^\n]*+)", re.IGNORECASE
)

# Where a component can only stand: a BEGIN elsewhere means that an END was lost.
_PARENTS: dict[str, tuple[str, ...]] = {
    "VCALENDAR": (),
    **dict.fromkeys(("VEVENT", "VTODO", "VJOURNAL", "VFREEBUSY", "VTIMEZONE", "VAVAILABILITY"), ("VCALENDAR",)),
    **dict.fromkeys(("STANDARD", "DAYLIGHT"), ("VTIMEZONE",)),
    "VALARM": ("VEVENT", "VTODO"),
}
_BARE = frozenset({"VEVENT", "VTODO", "VJOURNAL", "VFREEBUSY"})  # readable even without a VCALENDAR around them


@dataclass(slots=True)
class Component:
    """A component: upper-case name, its own lines (unfolded, verbatim), the components in it.

    Lines are parsed when asked for. Do not change `raw` after the first look-up.
    """

    name: str
    raw: list[str] = field(default_factory=list)
    children: list[Component] = field(default_factory=list)
    memo: object = field(default=None, repr=False, compare=False)  # what a reader derived from it, to do it only once
    _index: dict[str, list[str]] | None = field(default=None, repr=False, compare=False)

    def lines(self, name: str) -> Sequence[str]:
        """The raw lines with this property name (upper-case), in order."""
        index = self._index
        if index is None:
            index = self._index = {}
            for raw, written in zip(self.raw, _NAMES.findall("\n".join(["", *self.raw])), strict=True):
                upper = written.upper()
                if upper in index:
                    index[upper].append(raw)
                else:
                    index[upper] = [raw]
            index.pop("", None)  # what has no name
        return index.get(name, ())

    def first(self, name: str) -> Line | None:
        """The first property of this name (upper-case), or None."""
        lines = self.lines(name)
        return parse_line(lines[0]) if lines else None

    def all(self, name: str) -> list[Line]:
        """All properties of this name (upper-case), in order."""
        return [parse_line(raw) for raw in self.lines(name)]

    def text(self, name: str, limit: int = TEXT_LIMIT) -> str | None:
        """The TEXT value of the first property of this name: unescaped, cleaned, without blanks around it."""
        lines = self.lines(name)
        return clean(unescape(value_of(lines[0])), limit).strip() if lines else None


def parse(
    data: bytes, *, limits: Limits = DEFAULTS, skip: frozenset[str] = frozenset()
) -> tuple[list[Component], tuple[str, ...]]:
    """The VCALENDARs in `data` (UTF-8) and the quirks that were tolerated, sorted.

    Components named in `skip` (upper-case) are left out with all that is in them. Raises `Unreadable` where there is no
    calendar and `TooLarge` beyond `limits`; time is linear in the size.
    """
    quirks: set[str] = set()
    calendars = _components(logical_lines(data, limits, quirks), limits, skip, quirks)
    if not calendars and (broken := with_breaks(data)) is not None:
        quirks.clear()
        quirks.add("lost_breaks")
        calendars = _components(logical_lines(broken, limits, quirks), limits, skip, quirks)
    if not calendars and (outdented := without_indent(data)) is not None:
        quirks.clear()
        quirks.add("indented")
        calendars = _components(logical_lines(outdented, limits, quirks), limits, skip, quirks)
    if not calendars:
        raise Unreadable("no calendar: expected a line BEGIN:VCALENDAR")
    return calendars, tuple(sorted(quirks))


def _components(text: str, limits: Limits, skip: frozenset[str], quirks: set[str]) -> list[Component]:
    """The tree: lost ENDs supplied, stray ones ignored."""
    calendars: list[Component] = []
    stack: list[Component] = []
    colons = _MORE_COLONS.search(text) is not None
    skipped = count = done = 0  # skipped: the depth at which a left-out component stands, 0: none
    for edge in _EDGE.finditer(text):
        start, end = edge.span()
        if start > done:
            _take(text[done:start], stack, skipped, quirks, colons)
        done = end
        name = edge[2].strip().upper()
        if len(edge[1]) == 3:  # END
            if stack and stack[-1].name == name:  # as it should be
                stack.pop()
            elif name not in [component.name for component in stack]:
                quirks.add("stray_end")
                continue
            else:
                while stack.pop().name != name:
                    quirks.add("missing_end")
        else:
            count += 1
            if count > limits.components:
                raise TooLarge(f"more than {limits.components} components", Reason.TOO_MANY_COMPONENTS)
            parents = _PARENTS.get(name)
            if parents is not None and stack and stack[-1].name not in parents:
                if not parents or any(component.name in parents for component in stack):
                    while stack and stack[-1].name not in parents:
                        stack.pop()
                        quirks.add("missing_end")
                if len(stack) < skipped:
                    skipped = 0
            if not stack and name != "VCALENDAR":
                if name not in _BARE:
                    quirks.add("garbage")
                    continue
                quirks.add("no_vcalendar")
                stack.append(Component("VCALENDAR"))
                calendars.append(stack[0])
            component = Component(name)
            if not stack:
                calendars.append(component)
            elif not skipped and name in skip:
                skipped = len(stack) + 1
            elif not skipped:
                stack[-1].children.append(component)
            stack.append(component)
            if len(stack) > limits.depth:
                raise TooLarge(f"components nested deeper than {limits.depth}", Reason.NESTED_TOO_DEEP)
        if skipped and len(stack) < skipped:
            skipped = 0
    if len(text) > done:
        _take(text[done:], stack, skipped, quirks, colons)
    if stack:
        quirks.add("missing_end")
    return calendars


def _take(block: str, stack: list[Component], skipped: int, quirks: set[str], colons: bool) -> None:
    """Give the lines between two edges, each begun by LF, to the component they stand in; `colons`: look for those."""
    if not stack:
        quirks.add("garbage")
    elif not skipped:
        stack[-1].raw.extend(block[1:].split("\n"))
        if colons and "unquoted_colon" not in quirks and any(map(has_unquoted_colon, _MORE_COLONS.findall(block))):
            quirks.add("unquoted_colon")
