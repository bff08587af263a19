"""Addresses: one spelling for each, and nothing that two programs could read in two ways."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itipd.itip.addresses import canonical, domain, served, strip_tag, tag

SAME = [
    "bob@example.com",
    "Bob@Example.COM",
    "mailto:bob@example.com",
    "MAILTO:bob@example.com",
    "MailTo:BOB@example.com",
    "mailto:b%6Fb@example.com",
    "mailto:bob%40example.com",
    "mailto:mailto:bob@example.com",
    " mailto:bob@example.com ",
    "mailto: bob@example.com",
    "<bob@example.com>",
]

KEPT = {
    "o'neil+x@example.com": "o'neil+x@example.com",
    "mailto:o%27neil%2Bx@example.com": "o'neil+x@example.com",
    "a%41@example.com": "a%41@example.com",
    "mailto:a%2541@example.com": "a%41@example.com",
    "meetings@localhost": "meetings@localhost",
    "bob@BÜCHER.example": "bob@xn--bcher-kva.example",
    "bob@xn--BCHER-kva.example": "bob@xn--bcher-kva.example",
    "mailto:j%C3%BCrgen@example.com": "jürgen@example.com",
    "ju\u0308rgen@example.com": "jürgen@example.com",
    "JÜRGEN@example.com": "jürgen@example.com",
    "x" * 64 + "@example.com": "x" * 64 + "@example.com",
}

REFUSED = {
    "empty": "",
    "no at": "bob",
    "no local part": "@example.com",
    "no domain": "bob@",
    "another scheme": "invalid:nomail",
    "url": "https://example.com/bob@example.com",
    "two ats": "bob@example.org@example.com",
    "mailto parameters": "mailto:bob@example.com?cc=eve@example.net",
    "encoded question mark": "mailto:bob%3Fcc@example.com",
    "encoded line break": "mailto:bob%0D%0ABcc:eve@example.com",
    "encoded NUL": "mailto:bob%00@example.com",
    "encoded nonsense": "mailto:%FF%FE@example.com",
    "encoded blank": "mailto:%20bob@example.com",
    "blank inside": "bob smith@example.com",
    "two addresses": "bob@example.com,eve@example.com",
    "display name": "Bob <bob@example.com>",
    "quoted local part": '"bob"@example.com',
    "quoted blank": '"bob smith"@example.com',
    "comment": "bob(x)@example.com",
    "two dots": "bob..smith@example.com",
    "leading dot": ".bob@example.com",
    "domain literal": "bob@[192.0.2.1]",
    "hyphen first": "bob@-example.com",
    "hyphen last": "bob@example-.com",
    "empty label": "bob@example..com",
    "underscore in the domain": "bob@exa_mple.com",
    "label too long": "bob@" + "x" * 64 + ".com",
    "local part too long": "x" * 65 + "@example.com",
    "too long": "bob@" + ".".join(["x" * 60] * 5),
    "accent before its letter": "bob@\u0301example.com",
    "huge": "mailto:" + "a" * 100_000 + "@example.com",
    "full-width at": "bob＠example.com",
    "full-width letters": "ｂob@example.com",
    "full-width dot": "bob@example．com",
    "ideographic stop": "bob@example。com",
    "zero width": "b\u200bob@example.com",
    "zero width in the domain": "bob@exam\u200bple.com",
    "right to left": "b\u202eob@example.com",
    "soft hyphen": "b\u00adob@example.com",
    "no-break space": "b\u00a0ob@example.com",
    "Kelvin sign": "\u212aate@example.com",
    "long s": "\u017fam@example.com",
    "ligature": "\ufb01n@example.com",
    "dotted capital I": "\u0130an@example.com",
    "lone surrogate": "b\ud800ob@example.com",
    "NUL": "b\0ob@example.com",
    "line break": "bob@example.com\n",
    "emoji": "b\U0001f600@example.com",
}


@pytest.mark.parametrize("text", SAME)
def test_one_person_has_one_spelling(text: str) -> None:
    """Scheme, case, percent-encoding and brackets do not make another address."""
    assert canonical(text) == "bob@example.com"


@pytest.mark.parametrize(("text", "expected"), KEPT.items())
def test_what_an_address_becomes(text: str, expected: str) -> None:
    """Only a URI is percent-decoded; domains become A-labels, local parts lower case and NFC."""
    assert canonical(text) == expected


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_address(text: str) -> None:
    """What could be read in two ways, or smuggles something, is no address."""
    assert canonical(text) is None


def test_a_look_alike_is_another_person() -> None:
    """A Cyrillic letter gives a different address, never the Latin one."""
    assert canonical("b\u043eb@example.com") != canonical("bob@example.com")
    assert canonical("bob@ex\u0430mple.com") == "bob@xn--exmple-4nf.com"


@settings(deadline=None)
@given(st.text(max_size=60) | st.from_regex(r"(mailto:)?[\w.+%-]{1,20}@[\w.-]{1,30}", fullmatch=True))
def test_canonical_is_a_fixed_point(text: str) -> None:
    """The canonical form of a canonical form is itself, and it never holds a blank, a control or a quote."""
    found = canonical(text)
    if found is not None:
        assert canonical(found) == found
        assert canonical(f"mailto:{found.replace('%', '%25')}") == found
        assert not set(found) & set(' \t\r\n\0"<>?,;:()')
        assert found == found.lower()


@pytest.mark.parametrize(
    ("address", "base", "expected"),
    [
        ("bob+x@example.com", "bob@example.com", "x"),
        ("bob+x+y@example.com", "bob@example.com", "x+y"),
        ("bob+@example.com", "bob@example.com", ""),
        ("bob@example.com", "bob@example.com", None),
        ("+x@example.com", "+x@example.com", None),
    ],
)
def test_plus_tags(address: str, base: str, expected: str | None) -> None:
    """The tag is what stands behind the first plus, and an address that begins with one has none."""
    assert strip_tag(address) == base
    assert tag(address) == expected


def test_domain() -> None:
    """The domain is what stands behind the at sign."""
    assert domain("bob@example.com") == "example.com"


@pytest.mark.parametrize(
    ("address", "patterns", "expected"),
    [
        ("bob@example.com", [], True),
        ("bob@example.com", ["*"], True),
        ("bob@example.com", ["bob@example.com"], True),
        ("bob@example.com", ["BOB@Example.com"], True),
        ("bob@example.com", ["x@example.com", "*@example.com"], True),
        ("bob@example.com", ["*@EXAMPLE.com"], True),
        ("bob@xn--bcher-kva.example", ["*@bücher.example"], True),
        ("bob@example.com", ["eve@example.com"], False),
        ("bob@sub.example.com", ["*@example.com"], False),
        ("bob@notexample.com", ["*@example.com"], False),
        ("bob@example.com", ["nonsense"], False),
        ("bob@example.com", ["*@"], False),
    ],
)
def test_served(address: str, patterns: list[str], expected: bool) -> None:
    """A pattern is an address, a whole domain (without its subdomains) or everything; no patterns are everything."""
    assert served(address, patterns) is expected
