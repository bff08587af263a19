"""Addresses, parameters and the end of a message, as pure functions."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from itipd.smtp_syntax import Body, hops, normalise, parse_mail, parse_rcpt
from tests.cost import cheap


@pytest.mark.parametrize(
    ("argument", "address", "parameters"),
    [
        ("FROM:<b@example.com>", "b@example.com", {}),
        ("from:<b@example.com>", "b@example.com", {}),
        ("FROM: <b@example.com>", "b@example.com", {}),
        ("FROM:<>", "", {}),
        ("FROM:<> AUTH=<>", "", {"AUTH": "<>"}),
        ("FROM:<b@example.com> SIZE=12 body=8BITMIME", "b@example.com", {"SIZE": "12", "BODY": "8BITMIME"}),
        ("FROM:<b@example.com> SMTPUTF8", "b@example.com", {"SMTPUTF8": None}),
        ("FROM:<b@example.com>  RET=HDRS ENVID=a+2Bb", "b@example.com", {"RET": "HDRS", "ENVID": "a+2Bb"}),
        ("FROM:<b=c+d/e=f@example.com>", "b=c+d/e=f@example.com", {}),
        ('FROM:<"b c"@example.com>', '"b c"@example.com', {}),
        (r'FROM:<"b\"c>"@example.com>', r'"b\"c>"@example.com', {}),
        ("FROM:<b@[192.0.2.1]>", "b@[192.0.2.1]", {}),
        ("FROM:<b@[IPv6:2001:db8::1]>", "b@[IPv6:2001:db8::1]", {}),
        ("FROM:<@relay.example.net,@a.test:b@example.com>", "b@example.com", {}),
        ("FROM:<jürgen@bücher.test> SMTPUTF8", "jürgen@bücher.test", {"SMTPUTF8": None}),
        ("FROM:<b@localhost>", "b@localhost", {}),
    ],
)
def test_a_path_gives_its_address_and_parameters(argument: str, address: str, parameters: dict[str, object]) -> None:
    """Every form of RFC 5321 §4.1.2 is understood: null sender, quotes, literals, source routes, parameters."""
    assert parse_mail(argument) == (address, parameters)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "<",
        ">",
        "<<",
        "<b@example.com",
        "b@example.com",
        "b@example.com>",
        "<b>",
        "<b@>",
        "<@example.com>",
        "<@>",
        "<@a.test:>",
        "<b@@example.com>",
        "<b@c@example.com>",
        "<b c@example.com>",
        "<b@exa mple.com>",
        "<b..c@example.com>",
        "<.b@example.com>",
        "<b.@example.com>",
        "<b@example..com>",
        "<b@example.com.>",
        "<b@-example.com>",
        "<b@example-.com>",
        "<b@[192.0.2.1>",
        "<b@[evil]>",
        '<"b@example.com>',
        "<b\x00@example.com>",
        "<b\r@example.com>",
        "<b\x7f@example.com>",
        "<b\u200b@example.com>",
        "<b\u2028@example.com>",
        "<b\x85@example.com>",
        "<b@example.com><c@example.com>",
        "<b@example.com>SIZE=1",
        "<b@example.com> SIZE=",
        "<b@example.com> =1",
        "<b@example.com> SIZE=1 SIZE=2",
        "<b@example.com> SIZE=1 size=2",
        "<b@example.com> A\tB",
        f"<{'b' * 400}@example.com>",
    ],
)
def test_a_malformed_path_is_none(path: str) -> None:
    """What is not exactly a path and parameters is refused, for senders and recipients alike, and raises nothing."""
    assert parse_mail(f"FROM:{path}") is None
    assert parse_rcpt(f"TO:{path}") is None


def test_only_a_sender_may_be_null_and_only_a_recipient_a_bare_postmaster() -> None:
    """`<>` is no recipient (RFC 5321 §4.1.1.3), `<Postmaster>` needs no domain (§4.5.1)."""
    assert parse_rcpt("TO:<>") is None
    assert parse_rcpt("TO:<Postmaster>") == ("Postmaster", {})
    assert parse_mail("FROM:<Postmaster>") is None
    assert parse_mail("TO:<b@example.com>") is None
    assert parse_rcpt("FROM:<b@example.com>") is None


@given(st.text(alphabet=st.sampled_from('<>@.,:"\\[] ab=\x00é-'), max_size=60))
def test_no_argument_raises(text: str) -> None:
    """Whatever follows MAIL or RCPT is parsed or refused, never an exception."""
    for found in (parse_mail(f"FROM:{text}"), parse_rcpt(f"TO:{text}")):
        assert found is None or "\x00" not in found[0]


@pytest.mark.parametrize(
    "text", ["@a," * 680 + "b>", "a." * 1000, '"' * 2000, "-" * 2000, "a@" + "b-" * 1000, "@a" * 1000]
)
def test_a_long_path_takes_no_time(text: str) -> None:
    """No spelling makes the parser backtrack: 2,000 characters take well below a tenth of a second."""
    assert cheap(0.1, lambda: parse_mail(f"FROM:<{text}"))


def reference(stream: bytes) -> tuple[bytes, bytes] | None:
    """Message and rest, by the plain words of RFC 5321 §4.5.2: line by line."""
    lines = re.split(rb"(?<=\r\n)", stream)
    message = b""
    for number, line in enumerate(lines):
        if line == b".\r\n":
            return message, b"".join(lines[number + 1 :])
        message += line[1:] if line.startswith(b".") else line
    return None


@given(
    st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"..", b"a", b"\r\n.\r\n", b".\r\n"]), max_size=30),
    st.lists(st.integers(1, 5), min_size=1, max_size=40),
)
def test_a_message_is_the_same_in_whatever_pieces_it_comes(parts: list[bytes], sizes: list[int]) -> None:
    """The end, the dots and what follows are found right wherever the pieces are cut."""
    stream = b"".join(parts)
    body, position, rest = Body(1000), 0, None
    for size in sizes * (len(stream) // len(sizes) + 1):
        if rest is not None or position >= len(stream):
            break
        rest = body.feed(stream[position : position + size])
        position += size
    expected = reference(stream)
    if expected is None:
        assert rest is None
    else:
        assert rest is not None
        assert (body.message(), rest + stream[position:]) == expected


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 4096])
def test_the_limit_counts_the_message_without_its_stuffed_dots(chunk: int) -> None:
    """A message of exactly the limit passes, one octet more does not, however many dots were stuffed (RFC 1870 §5)."""
    message = b".\r\n" * 100
    stream = b"..\r\n" * 100 + b".\r\n"
    for limit, too_large in ((300, False), (299, True)):
        body = Body(limit)
        rests = [body.feed(stream[i : i + chunk]) for i in range(0, len(stream), chunk)]
        assert rests[-1] == b""
        if too_large and not body.too_large:
            body.message()
        assert body.too_large is too_large
        assert too_large or body.message() == message


@pytest.mark.parametrize("line", [b"\r\n", b"x" * 1000, b"."])
def test_a_body_above_the_limit_is_not_kept(line: bytes) -> None:
    """Beyond the limit nothing is held in memory, and the end is still found."""
    body = Body(10_000)
    for _ in range(20_000):
        assert body.feed(line) is None
        assert body.size < 12_000
    assert body.too_large
    assert body.size <= 4
    assert body.feed(b"\r\n.\r\nQUIT\r\n") == b"QUIT\r\n"


def test_bare_line_ends_are_made_whole() -> None:
    """A bare LF becomes CRLF, a bare CR goes; what is right stays the very same."""
    right = b"A: 1\r\nB: 2\r\n\r\nx\r\n"
    assert normalise(right) is right
    assert normalise(b"A: 1\nB: 2\r\r\n\r\nx\ry\r\n") == b"A: 1\r\nB: 2\r\n\r\nxy\r\n"


@given(st.lists(st.text(alphabet="\r\na", max_size=8), max_size=8))
def test_normalising_pieces_is_normalising_the_whole(pieces: list[str]) -> None:
    """Where a message is cut makes no difference, and nothing bare is left."""
    whole = normalise("".join(pieces).encode())
    assert b"".join(normalise(piece.encode()) for piece in pieces) == whole
    assert whole.count(b"\r") == whole.count(b"\n") == whole.count(b"\r\n")


def test_hops_are_the_received_headers_only() -> None:
    """Received headers are counted in any case, also the first; nothing of the body is, and nothing that is folded."""
    head = b"Received: by a\r\nX: 1\r\n Received: no\r\nRECEIVED: by b\r\nX-Received: no\r\n"
    assert hops(head + b"\r\nReceived: in the body\r\n") == 2
    assert hops(head.replace(b"\r\n", b"\n") + b"\nReceived: in the body\n") == 2
    assert hops(b"\r\nReceived: in the body\r\n") == 0
    assert hops(b"") == 0
