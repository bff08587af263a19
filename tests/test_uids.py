"""`uid_key`: one meeting's UID in every spelling has one key, and nothing else shares it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from itipd.itip.uids import KEY_BYTES, uid_key

CLASS = "040000008200E00074C5B7101A82E008"


def exchange(data: bytes, date: str = "00000000", time: str = "70D8CA0E5C3CDC01") -> str:
    """A GlobalObjectId in hex ([MS-OXCICAL] 2.1.3.1.1.20.26)."""
    return (CLASS + date + time + "0" * 16 + len(data).to_bytes(4, "little").hex() + data.hex()).upper()


def wrapped(uid: str) -> str:
    """A foreign UID as Exchange wraps it."""
    return exchange(b"vCal-Uid" + b"\x01\0\0\0" + uid.encode() + b"\0", time="0" * 16)


OWN = exchange(bytes(range(16)))


@pytest.mark.parametrize(
    "other",
    [OWN.lower(), f" {OWN}\t", exchange(bytes(range(16)), date="07EA0C08"), wrapped(OWN), wrapped(OWN).lower()],
    ids=["lower", "space", "date of an instance", "wrapped", "wrapped lower"],
)
def test_spellings_of_an_exchange_uid(other: str) -> None:
    """Case, white space, the date of an instance and wrapping make no other UID."""
    assert uid_key(other) == uid_key(OWN)


@pytest.mark.parametrize("uid", ["a@example.com", "040000008200E000", "Ünï@example.com", "x" * 150])
def test_foreign_uid_is_unwrapped(uid: str) -> None:
    """A UID that Exchange wrapped is found under its own name; case counts in it."""
    assert uid_key(wrapped(uid)) == uid_key(uid) == uid
    assert uid_key(uid.swapcase()) != uid_key(uid)


@pytest.mark.parametrize(
    "uid",
    [
        exchange(b""),
        exchange(b"vCal-Uid"),
        exchange(b"vCal-Uid\x01\0\0\0"),
        exchange(b"vCal-Uid\x01\0\0\0\xff\xfe"),
        OWN[:-1],
        OWN[:79],
        OWN + "zz",
        wrapped(wrapped(wrapped(wrapped(wrapped("a"))))),
        "",
        "\0",
        "\ud800",
    ],
)
def test_broken_uids_have_a_key(uid: str) -> None:
    """Whatever the UID is, it has a key that both engines can keep."""
    key = uid_key(uid)
    assert len(key.encode()) <= KEY_BYTES
    assert "\0" not in key


def test_other_meetings_have_other_keys() -> None:
    """Another creation time or other data is another meeting."""
    assert uid_key(exchange(bytes(range(16)), time="70D8CA0E5C3CDC02")) != uid_key(OWN)
    assert uid_key(exchange(bytes(range(1, 17)))) != uid_key(OWN)


def test_long_uids_differ_in_their_end() -> None:
    """Long UIDs get short keys that still tell them apart."""
    one, two = "é" * 500 + "1", "é" * 500 + "2"
    assert uid_key(one) != uid_key(two)
    assert len(uid_key(one).encode()) <= KEY_BYTES
    assert uid_key("x" * KEY_BYTES) == "x" * KEY_BYTES


@given(st.text())
def test_key_of_a_key(uid: str) -> None:
    """A key is its own key, so it may stand for its UID."""
    assert uid_key(uid_key(uid)) == uid_key(uid)
    uid_key(uid).encode()
