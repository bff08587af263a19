"""Content lines: everything that real clients send is read, nothing that strangers send costs more than its size."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itipd.itip.contentlines import (
    Component,
    Limits,
    Line,
    TooLarge,
    Unreadable,
    escape,
    fold,
    format_line,
    parse,
    parse_line,
    unescape,
)
from itipd.itip.line import value_of
from tests.cost import cheap

ALARM = frozenset({"VALARM"})


def calendar(*lines: str, end: str = "\r\n") -> bytes:
    """A calendar with one VEVENT that has these lines."""
    text = ["BEGIN:VCALENDAR", "METHOD:REPLY", "BEGIN:VEVENT", *lines, "END:VEVENT", "END:VCALENDAR", ""]
    return end.join(text).encode()


def event(data: bytes) -> tuple[Component, tuple[str, ...]]:
    """The first component of the first calendar in `data`, and the quirks."""
    calendars, quirks = parse(data, skip=ALARM)
    return calendars[0].children[0], quirks


def test_a_plain_reply() -> None:
    """A calendar by the book has no quirks, and its lines are found by name in any case of the source."""
    found, quirks = event(
        calendar("UID:1", "Summary:Tea\\, at four\\nBring cake", "ATTENDEE;PARTSTAT=ACCEPTED:mailto:b@example.com")
    )
    assert quirks == ()
    assert found.name == "VEVENT"
    assert found.text("UID") == "1"
    assert found.text("SUMMARY") == "Tea, at four\nBring cake"
    assert found.first("ATTENDEE") == Line("ATTENDEE", {"PARTSTAT": ("ACCEPTED",)}, "mailto:b@example.com")
    assert found.first("LOCATION") is None
    assert found.text("LOCATION") is None
    assert found.all("LOCATION") == []


TOLERATED = {
    "bom": (b"\xef\xbb\xbf" + calendar("UID:1"), ("bom",)),
    "bare line feeds": (calendar("UID:1", end="\n"), ("bare_lf",)),
    "bare carriage returns": (calendar("UID:1", end="\r"), ("bare_cr",)),
    "mixed line ends": (calendar("UID:1").replace(b"\r\n", b"\n", 2), ("bare_lf",)),
    "carriage return twice": (calendar("UID:1", end="\r\r\n"), ("cr_cr_lf",)),
    "blank lines": (calendar("", "UID:1", "", ""), ()),
    "fold with a blank": (calendar("UI", " D:1"), ()),
    "fold with a tab": (calendar("UID", "\t:1"), ()),
    "NUL": (calendar("UID:\x001\x00"), ("controls",)),
    "escape character": (calendar("UID:\x1b1"), ("controls",)),
    "stray carriage return": (calendar("UID:\r1"), ("controls",)),
    "UTF-16": (calendar("UID:1").decode().encode("utf-16"), ("charset",)),
    "lower case": (calendar("uid:1").lower(), ()),
    "text around": (b"Hello,\r\n\r\n" + calendar("UID:1") + b"-- \r\nlist footer: x\r\n", ("garbage",)),
    "blanks before": (b"\r\n  " + calendar("UID:1"), ()),
    "END lost at the end": (calendar("UID:1").removesuffix(b"END:VCALENDAR\r\n"), ("missing_end",)),
    "both ENDs lost": (calendar("UID:1").partition(b"END:")[0], ("missing_end",)),
    "END of something else": (calendar("END:VTODO", "UID:1"), ("stray_end",)),
    "alarm without END": (calendar("UID:1", "BEGIN:VALARM", "UID:2"), ("missing_end",)),
    "alarm": (calendar("BEGIN:VALARM", "UID:2", "END:VALARM", "UID:1"), ()),
    "alarm in an alarm": (calendar("BEGIN:VALARM", "BEGIN:VALARM", "UID:2", "END:VALARM", "UID:1"), ("missing_end",)),
    "no VCALENDAR": (b"BEGIN:VEVENT\r\nUID:1\r\nEND:VEVENT\r\n", ("missing_end", "no_vcalendar")),
    "underscore": (calendar("X-ENTOURAGE_UUID:5", "UID:1"), ("underscore_name",)),
    "blank before the colon": (calendar("UID :1"), ()),
    "nonsense after BEGIN": (calendar("*** nonsense ***", "UID:1"), ("garbage",)),
}


@pytest.mark.parametrize(("data", "expected"), TOLERATED.values(), ids=TOLERATED.keys())
def test_what_is_tolerated(data: bytes, expected: tuple[str, ...]) -> None:
    """Every tolerance has its quirk and leaves the properties readable."""
    found, quirks = event(data)
    assert quirks == expected
    assert found.text("UID") == "1"


FOLDS = {
    "in the address": ("ATTENDEE;PARTSTAT=ACCEPTED:mailto:a-very-long-name", "@example.com"),
    "in the address, with a tab": ("ATTENDEE;PARTSTAT=ACCEPTED:mailto:a-very-lo", "\tng-name@example.com"),
    "before the scheme": ("ATTENDEE;PARTSTAT=ACCEPTED:", "mailto:a-very-long-name@example.com"),
    "in a parameter": ("ATTENDEE;PARTSTAT=ACCE", "PTED:mailto:a-very-long-name@example.com"),
    "behind a parameter's name": ("ATTENDEE;PARTSTAT", "=ACCEPTED:mailto:a-very-long-name@example.com"),
    "at a hyphen in capitals": (
        "ATTENDEE;ROLE=REQ-",
        "PARTICIPANT;PARTSTAT=ACCEPTED:mailto:a-very-long-name@example.com",
    ),
    "in a name": (
        "ATTENDEE;CN=Alexandra",
        "ina;PARTSTAT=ACCEPTED:mailto:a-very-long-name@example.com",
    ),
    "in three pieces, before capitals": (
        "ATTENDEE;ROLE=RE",
        "Q-",
        "PARTICIPANT;PARTSTAT=ACCEPTED:mailto:a-very-long-name@example.com",
    ),
    "in three pieces": ("ATTENDEE;PARTSTAT=ACCE", "PTED:mailto:a-very-", "long-name@example.com"),
}


@pytest.mark.parametrize("lines", FOLDS.values(), ids=FOLDS.keys())
def test_lost_folds(lines: tuple[str, ...]) -> None:
    """A line that a gateway broke without the blank is put together again."""
    found, quirks = event(calendar("UID:1", *lines, "DTSTAMP:20261201T000000Z"))
    line = found.first("ATTENDEE")
    assert line is not None
    assert line.one("PARTSTAT") == "ACCEPTED"
    assert line.value == "mailto:a-very-long-name@example.com"
    assert quirks == (() if lines[1].startswith("\t") else ("broken_fold",))
    assert found.text("DTSTAMP") == "20261201T000000Z"


def test_running_text_is_no_property() -> None:
    """In a long text without folds a word before a colon does not become a property."""
    text = "DESCRIPTION:" + "x" * 60
    found, quirks = event(calendar(text, "Remember: bring cake", "UID:1"))
    assert quirks == ("broken_fold",)
    assert found.text("DESCRIPTION") == "x" * 60 + "Remember: bring cake"


def test_a_fold_inside_a_character() -> None:
    """Folds are taken out of the octets, before decoding (RFC 5545 §3.1)."""
    data = calendar("SUMMARY:Käse").replace(b"\xc3\xa4", b"\xc3\r\n \xa4")
    found, quirks = event(data)
    assert found.text("SUMMARY") == "Käse"
    assert quirks == ()


@pytest.mark.parametrize(
    ("octets", "expected"),
    [(b"K\xe4se", "Käse"), (b"\x80", "€"), (b"\x81z", "z"), (b"\xed\xa0\x80", "í\xa0€"), (b"K\xc3\xa4se", "Käse")],
)
def test_charsets_are_told_line_by_line(octets: bytes, expected: str) -> None:
    """A line that is no UTF-8 is read as Windows-1252, else Latin-1, and the other lines are not spoilt by it."""
    data = calendar("LOCATION:Café", "UID:?").replace(b"?", octets)
    found, quirks = event(data)
    assert found.text("UID") == expected
    assert found.text("LOCATION") == "Café"
    assert quirks == (() if octets == b"K\xc3\xa4se" else ("charset",))


LINES = {
    "ATTENDEE:mailto:b@example.com": ({}, "mailto:b@example.com", False),
    "ATTENDEE;CN=Dr. No: chief;PARTSTAT=ACCEPTED:mailto:b@example.com": (
        {"CN": ("Dr. No: chief",), "PARTSTAT": ("ACCEPTED",)},
        "mailto:b@example.com",
        True,
    ),
    "ATTENDEE;CN=see:mailto:me;PARTSTAT=ACCEPTED:mailto:b@example.com": (
        {"CN": ("see:mailto:me",), "PARTSTAT": ("ACCEPTED",)},
        "mailto:b@example.com",
        True,
    ),
    "ATTENDEE;PARTSTAT=ACCEPTED;CN=Dr. No: chief:MAILTO:b@example.com": (
        {"CN": ("Dr. No: chief",), "PARTSTAT": ("ACCEPTED",)},
        "MAILTO:b@example.com",
        True,
    ),
    "ATTENDEE;CN=A: b;PARTSTAT=ACCEPTED:invalid:nomail": (
        {"CN": ("A: b",), "PARTSTAT": ("ACCEPTED",)},
        "invalid:nomail",
        True,
    ),
    "ATTENDEE;SENT-BY=mailto:s@example.com;PARTSTAT=ACCEPTED:mailto:b@example.com": (
        {"SENT-BY": ("mailto:s@example.com",), "PARTSTAT": ("ACCEPTED",)},
        "mailto:b@example.com",
        True,
    ),
    "ATTENDEE;CN=x@y:invalid:nomail": ({"CN": ("x@y",)}, "invalid:nomail", False),
    'ATTENDEE;CN="Doe; J: x, y";RSVP=TRUE:mailto:b@example.com': (
        {"CN": ("Doe; J: x, y",), "RSVP": ("TRUE",)},
        "mailto:b@example.com",
        False,
    ),
    'ATTENDEE;DELEGATED-TO="mailto:d@example.com","mailto:e,f@example.com":mailto:b@example.com': (
        {"DELEGATED-TO": ("mailto:d@example.com", "mailto:e,f@example.com")},
        "mailto:b@example.com",
        False,
    ),
    'ATTENDEE;CN="Foo;PARTSTAT=ACCEPTED:mailto:b@example.com': (
        {"CN": ("Foo",), "PARTSTAT": ("ACCEPTED",)},
        "mailto:b@example.com",
        False,
    ),
    "ATTENDEE;CN=Smith, John;RSVP=TRUE:mailto:b@example.com": (
        {"CN": ("Smith, John",), "RSVP": ("TRUE",)},
        "mailto:b@example.com",
        False,
    ),
    "ATTENDEE;CN=Smith; John;RSVP=TRUE:mailto:b@example.com": (
        {"CN": ("Smith; John",), "RSVP": ("TRUE",)},
        "mailto:b@example.com",
        False,
    ),
    "ATTENDEE;CN=a; b c=d;RSVP=TRUE:mailto:b@example.com": (
        {"CN": ("a; b c=d",), "RSVP": ("TRUE",)},
        "mailto:b@example.com",
        False,
    ),
    "ATTENDEE;;=x;RSVP=TRUE:mailto:b@example.com": ({"RSVP": ("TRUE",)}, "mailto:b@example.com", False),
    "ATTENDEE;CN=^'A^' ^n ^^ ^x:mailto:b@example.com": ({"CN": ('"A" \n ^ ^x',)}, "mailto:b@example.com", False),
    "ATTENDEE; partstat=ACCEPTED ;\tRSVP=TRUE:mailto:b@example.com": (
        {"PARTSTAT": ("ACCEPTED",), "RSVP": ("TRUE",)},
        "mailto:b@example.com",
        False,
    ),
    "ATTENDEE;PARTSTAT=ACCEPTED;PARTSTAT=DECLINED:mailto:b@example.com": (
        {"PARTSTAT": ("ACCEPTED",)},
        "mailto:b@example.com",
        False,
    ),
    "ATTENDEE;X-LIST=a,b:mailto:b@example.com": ({"X-LIST": ("a", "b")}, "mailto:b@example.com", False),
    "ATTENDEE;CN=": ({}, "", False),
    "DTSTART;TZID=Europe/Berlin:20261208T100000": ({"TZID": ("Europe/Berlin",)}, "20261208T100000", False),
    "DTSTART;TZID=(GMT+01:00) Berlin, Rome:20261208T100000": (
        {"TZID": ("(GMT+01:00) Berlin, Rome",)},
        "20261208T100000",
        True,
    ),
    "SUMMARY;LANGUAGE=en:Tea: at four: http://example.com": (
        {"LANGUAGE": ("en",)},
        "Tea: at four: http://example.com",
        False,
    ),
    'SUMMARY;X-A="1:2":say "hi; there"': ({"X-A": ("1:2",)}, 'say "hi; there"', False),
}


@pytest.mark.parametrize(("raw", "expected"), LINES.items())
def test_parameters(raw: str, expected: tuple[dict[str, tuple[str, ...]], str, bool]) -> None:
    """Parameters and value of a line, also where a client forgot the quotes."""
    params, value, colon = expected
    line = parse_line(raw)
    if raw.endswith("CN="):
        assert line.value == ""  # no colon: no value
        return
    assert (dict(line.params), line.value) == (params, value)
    _, quirks = event(calendar(raw))
    assert quirks == (("unquoted_colon",) if colon else ())


def test_a_line_without_a_name_is_nobodys() -> None:
    """What begins with no name is found under none, and is all value."""
    component = Component("VEVENT", ["=nameless", "UID:1"])
    assert component.lines("") == ()
    assert component.text("UID") == "1"
    assert parse_line("=nameless") == Line("", {}, "=nameless")
    assert value_of("=nameless") == "=nameless"


def test_skipped_components_leave_nothing() -> None:
    """An ATTENDEE of an alarm never counts as the event's, and a skipped VTIMEZONE takes its children along."""
    zone = ("BEGIN:VTIMEZONE", "TZID:X", "BEGIN:STANDARD", "DTSTART:x", "END:STANDARD", "END:VTIMEZONE")
    inside = ("BEGIN:VALARM", "ATTENDEE:mailto:x@example.com", "END:VALARM", "ATTENDEE:mailto:b@example.com")
    data = calendar(*inside).replace(b"BEGIN:VEVENT", "\r\n".join([*zone, "BEGIN:VEVENT"]).encode())
    calendars, quirks = parse(data, skip=frozenset({"VALARM", "VTIMEZONE"}))
    assert quirks == ()
    assert [child.name for child in calendars[0].children] == ["VEVENT"]
    assert calendars[0].children[0].children == []
    assert [line.value for line in calendars[0].children[0].all("ATTENDEE")] == ["mailto:b@example.com"]
    assert calendars[0].raw == ["METHOD:REPLY"]


def test_properties_behind_a_component() -> None:
    """A VTIMEZONE behind the event, and properties of the calendar behind both, stay where they belong."""
    zone = b"BEGIN:VTIMEZONE\r\nTZID:X\r\nEND:VTIMEZONE\r\n"
    data = b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\nEND:VEVENT\r\n" + zone + b"METHOD:REPLY\r\nEND:VCALENDAR"
    calendars, quirks = parse(data)
    assert quirks == ()
    assert [child.name for child in calendars[0].children] == ["VEVENT", "VTIMEZONE"]
    assert calendars[0].text("METHOD") == "REPLY"


def test_two_calendars_stay_apart() -> None:
    """Two VCALENDARs in one part are two, also where the first has lost its END."""
    first, second = calendar("UID:1"), calendar("UID:2")
    for data in (first + second, first.removesuffix(b"END:VCALENDAR\r\n") + second):
        calendars, _ = parse(data)
        assert [c.children[0].text("UID") for c in calendars] == ["1", "2"]


def test_an_alarm_outside_an_event_costs_nothing_else() -> None:
    """A component at a place where it cannot be does not end the calendar."""
    data = calendar("UID:1").replace(
        b"END:VEVENT\r\n", b"END:VEVENT\r\nBEGIN:VALARM\r\nEND:VALARM\r\nBEGIN:VTODO\r\nUID:2\r\nEND:VTODO\r\n"
    )
    calendars, _ = parse(data)
    assert [child.text("UID") for child in calendars[0].children if child.name != "VALARM"] == ["1", "2"]


@pytest.mark.parametrize(
    "data", [b"", b"\xef\xbb\xbf", b"\0\0", b"Hello", b"BEGIN:VCARD\r\nFN:x\r\n", b"/proc/self/environ"]
)
def test_what_is_no_calendar(data: bytes) -> None:
    """Bytes without a calendar in them are refused by one exception, and a path is never opened."""
    with pytest.raises(Unreadable):
        parse(data)


TOO_LARGE = {
    "bytes": (calendar("X:" + "x" * 300), Limits(size=300), "too_large"),
    "lines": (calendar(*["X:1"] * 30), Limits(lines=30), "too_many_properties"),
    "line": (calendar("X:" + "x" * 300), Limits(line=300), "line_too_long"),
    "folded line": (calendar("X:", *[" x"] * 300), Limits(line=300), "line_too_long"),
    "components": (calendar(*["BEGIN:X", "END:X"] * 30), Limits(components=30), "too_many_components"),
    "depth": (calendar(*["BEGIN:X"] * 10), Limits(depth=10), "nested_too_deep"),
    "100,000 components": (calendar(*["BEGIN:X", "END:X"] * 50_000), Limits(), "too_many_properties"),
    "100,000 lines": (calendar(*["X:1"] * 100_000), Limits(), "too_many_properties"),
}


@pytest.mark.parametrize(("data", "limits", "reason"), TOO_LARGE.values(), ids=TOO_LARGE.keys())
def test_limits(data: bytes, limits: Limits, reason: str) -> None:
    """Beyond each limit there is a reason of its own, not a slow answer."""
    with pytest.raises(TooLarge) as caught:
        parse(data, limits=limits)
    assert caught.value.reason == reason


MEBI = 1 << 20
BOMBS = {
    "carriage returns": b"\r" * MEBI,
    "carriage returns and one line": b"\r" * (MEBI - 3) + b"\r\r\n",
    "line feeds": b"\n" * 50_000,
    "one line": b"BEGIN:VCALENDAR\r\nX:" + b"x" * 500_000,
    "quotes": b"BEGIN:VCALENDAR\r\nATTENDEE;" + b'"' * 500_001 + b":::",
    "semicolons": b"BEGIN:VCALENDAR\r\nATTENDEE;X=" + b";a" * 250_000 + b":mailto:b@example.com",
    "parameters": b"BEGIN:VCALENDAR\r\nATTENDEE" + b";X=1" * 120_000 + b":mailto:b@example.com",
    "cut parameters": b"BEGIN:VCALENDAR\r\nATTENDEE" + b";X=1;a" * 80_000 + b":mailto:b@example.com",
    "commas": b"BEGIN:VCALENDAR\r\nATTENDEE;X=" + b"," * 500_000 + b":mailto:b@example.com",
    "colons": b"BEGIN:VCALENDAR\r\nATTENDEE;X=" + b":" * 500_000,
    "schemes": b"BEGIN:VCALENDAR\r\nATTENDEE;X=" + b":mailto:" * 60_000,
    "blanks": b"BEGIN:VCALENDAR\r\nATTENDEE;X=" + b": " * 250_000,
    "carets": b"BEGIN:VCALENDAR\r\nATTENDEE;X=" + b"^n" * 250_000 + b":mailto:b@example.com",
    "backslashes": b"BEGIN:VCALENDAR\r\nATTENDEE:" + b"\\" * 500_000,
    "name": b"BEGIN:VCALENDAR\r\n" + b"A" * 500_000,
    "underscores": b"BEGIN:VCALENDAR\r\n" + b"_" * 500_000,
    "lost folds": b"BEGIN:VCALENDAR\r\nATTENDEE;X=1:\r\n" + b"=a\r\n" * 55_000,
    "folds": b"BEGIN:VCALENDAR\r\nATTENDEE:\r\n" + b" a\r\n" * 200_000,
    "BEGINs": b"BEGIN:VCALENDAR\r\n" + b"BEGIN:VEVENT\r\n" * 4_990,
    "ENDs": b"BEGIN:VCALENDAR\r\n" + b"END:VEVENT\r\n" * 29_000,
    "no UTF-8": b"BEGIN:VCALENDAR\r\n" + b"X:\xff\r\n" * 29_000,
    "attendees": b"BEGIN:VCALENDAR\r\n" + b'ATTENDEE;CN="a:b";X=:::mailto:b@example.com\r\n' * 20_000,
}


@pytest.mark.parametrize("data", BOMBS.values(), ids=BOMBS.keys())
def test_bombs_cost_what_they_weigh(data: bytes) -> None:
    """A megabyte made to hurt is parsed, or refused, within four seconds of CPU; what is quadratic takes minutes."""

    def read() -> None:
        with suppress(Unreadable):
            calendars, _ = parse(data)
            for line in calendars[0].all("ATTENDEE"):
                unescape(line.value)

    assert cheap(4, read)


@settings(deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: calendar(text)))
def test_nothing_but_unreadable_is_raised(data: bytes) -> None:
    """Whatever the bytes, the answer is a tree of clean lines or `Unreadable`."""
    try:
        calendars, quirks = parse(data)
    except Unreadable:
        return
    assert all(isinstance(quirk, str) for quirk in quirks)
    for top in calendars:
        for component in (top, *top.children):
            for raw in component.raw:
                line = parse_line(raw)
                assert component.text(line.name) is not None or not line.name
                assert not set(raw) & {*map(chr, range(9)), "\n", "\r", "\x7f"}


@settings(deadline=None)
@given(st.text(max_size=200))
def test_escape_and_back(text: str) -> None:
    """A text survives escaping, but for controls, which go, and line ends, which become one kind."""
    escaped = escape(text)
    assert not set(escaped) & {*map(chr, range(9)), *map(chr, range(10, 32)), *map(chr, range(127, 160))}
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    expected = "".join(c for c in lines if c in "\t\n" or (c >= " " and not "\x7f" <= c <= "\x9f"))
    assert unescape(escaped) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("a\\nb\\Nc", "a\nb\nc"), ("\\\\n", "\\n"), ('\\;\\,\\:\\"', ';,:"'), ("C:\\Users", "C:\\Users"), ("\\", "\\")],
)
def test_unescape(value: str, expected: str) -> None:
    """Escapes of the standard and of careless clients are decoded; a backslash before anything else stays."""
    assert unescape(value) == expected


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=400))
def test_fold_and_back(text: str) -> None:
    """Folded lines have 75 octets at most, are cut between characters, and unfold to the same text."""
    folded = fold(text)
    assert folded.endswith("\r\n")
    pieces = folded.removesuffix("\r\n").split("\r\n")
    assert all(len(piece.encode()) <= 75 for piece in pieces)
    assert all(piece.startswith(" ") for piece in pieces[1:])
    assert folded.replace("\r\n ", "").removesuffix("\r\n") == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x" * 75, [75]),
        ("x" * 76, [75, 2]),
        ("x" * 149, [75, 75]),
        ("x" * 150, [75, 75, 2]),
        ("x" + "xü" * 25, [74, 3]),
    ],
)
def test_folds_are_as_long_as_allowed(text: str, expected: list[int]) -> None:
    """Lines are filled up to 75 octets, the blank of a continuation counted, and not beyond."""
    assert [len(piece.encode()) for piece in fold(text).removesuffix("\r\n").split("\r\n")] == expected


NAMES = st.from_regex(r"X-[A-Z0-9-]{1,10}", fullmatch=True)
PLAIN = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)


@settings(deadline=None)
@given(NAMES, st.dictionaries(NAMES, st.lists(PLAIN, min_size=1, max_size=3), max_size=4), PLAIN)
def test_what_is_written_is_read(name: str, params: dict[str, list[str]], value: str) -> None:
    """A line that is written, folded and parsed again has the same name, parameters and text."""
    params = {key: [text.strip() for text in values] for key, values in params.items()}
    folded = fold(format_line(name, params, escape(value)))
    calendars, quirks = parse(f"BEGIN:VCALENDAR\r\n{folded}END:VCALENDAR\r\n".encode())
    line = calendars[0].first(name)
    assert quirks == ()
    assert line is not None
    assert unescape(line.value) == value
    assert {key: list(values) for key, values in line.params.items()} == params


@pytest.mark.parametrize(
    ("params", "value", "expected"),
    [
        ({"CN": ["Bob"]}, "mailto:b@example.com", "ATTENDEE;CN=Bob:mailto:b@example.com"),
        ({"CN": ["Dr. No: chief"]}, "x:y", 'ATTENDEE;CN="Dr. No: chief":x:y'),
        ({"CN": ['a "b" ^ c\r\nd']}, "x:y", "ATTENDEE;CN=a ^'b^' ^^ c^nd:x:y"),
        ({"CN": ["a\0b\x1b\x85"]}, "x\r\nATTENDEE:y\0\x9b", "ATTENDEE;CN=ab:xATTENDEE:y"),
        (
            {"MEMBER": ["mailto:a@example.com", "mailto:b@example.com"]},
            "x",
            'ATTENDEE;MEMBER="mailto:a@example.com","mailto:b@example.com":x',
        ),
        ({"CN": [""]}, "x:y", "ATTENDEE;CN=:x:y"),
    ],
)
def test_format_line(params: dict[str, list[str]], value: str, expected: str) -> None:
    """Parameters are quoted where needed, encoded by RFC 6868, and no control gets out."""
    assert format_line("ATTENDEE", params, value) == expected


@pytest.mark.parametrize(
    ("name", "key"), [("X Y", "A"), ("X:Y", "A"), ("", "A"), ("X", "A=B"), ("X", ""), ("X\r\n", "A")]
)
def test_no_name_injection(name: str, key: str) -> None:
    """A name that is none is refused, never written."""
    with pytest.raises(ValueError, match="name"):
        format_line(name, {key: ["1"]}, "x")


def test_a_reply_as_apple_mail_writes_it() -> None:
    """The shape of Apple Mail's replies is read: VTIMEZONE first, the attendee folded inside a parameter."""
    attendee = (
        'ATTENDEE;CN="c@example.com";CUTYPE=INDIVIDUAL;PARTSTAT=ACCEPTED;ROLE=R\r\n EQ-PARTICIPANT:mailto:c@example.com'
    )
    zone = ["BEGIN:VTIMEZONE", "TZID:US/Pacific", "BEGIN:DAYLIGHT", "DTSTART:20070311T020000", "END:DAYLIGHT"]
    lines = ["BEGIN:VCALENDAR", "METHOD:REPLY", *zone, "END:VTIMEZONE", "BEGIN:VEVENT", "SEQUENCE:7", attendee]
    calendars, quirks = parse("\r\n".join([*lines, "END:VEVENT", "END:VCALENDAR", ""]).encode())
    line = calendars[0].children[1].first("ATTENDEE")
    assert quirks == ()
    assert line is not None
    assert line.one("ROLE") == "REQ-PARTICIPANT"
    assert line.one("NONE") is None
