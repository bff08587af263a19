"""The values a configuration is written with: addresses, sizes, durations, places to listen at, database URLs.

Each parser takes what stands in a file, a variable or an option and gives the plain value, or raises ValueError
with what was expected; `config.py` says at which key, in which file, and what was found.
"""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, ValidationInfo

from itipd.itip.addresses import canonical
from itipd.mail import languages

T = TypeVar("T")

_SIZES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_DURATIONS = {"": 1.0, "ms": 0.001, "s": 1.0, "sec": 1.0, "second": 1.0, "m": 60.0, "min": 60.0, "minute": 60.0}
_DURATIONS |= {"h": 3600.0, "hour": 3600.0, "d": 86400.0, "day": 86400.0}
_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([A-Za-z]*)")
_LOCAL_PATTERN = re.compile(r"\*|[^*@]+")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server listens: a TCP host and port (0: any free one), or the path of a unix socket."""

    host: str = ""
    port: int = 0
    path: Path | None = None

    def __str__(self) -> str:
        """As the interface writes it: `127.0.0.1:8025`, `[::1]:8025`, `unix:PATH`."""
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def size(value: object) -> int:
    """Bytes of `10485760`, `"10 MiB"`, `"500 kB"`."""
    return int(_quantity(value, _SIZES, "a size above 0 in bytes, or like `10 MiB`"))


def duration(value: object) -> float:
    """Seconds of `10`, `"10 s"`, `"500 ms"`, `"5 min"`, `"2 days"`."""
    return _quantity(value, _DURATIONS, "a time above 0 in seconds, or like `10 s`, `5 min`, `2 days`")


def _quantity(value: object, units: dict[str, Any], expected: str) -> float:
    match = _QUANTITY.fullmatch(str(value).strip())
    if match is None or isinstance(value, bool):
        raise ValueError(expected)
    unit = match[2].lower()
    factor = units.get(unit) or units.get(unit.removesuffix("s"))
    if factor is None or float(match[1]) * factor <= 0:
        raise ValueError(expected)
    return float(match[1]) * float(factor)


def endpoint(value: object, base: Path, *, unix: bool) -> Endpoint | None:
    """The Endpoint of `HOST:PORT`, `[::1]:PORT` or (with `unix`) `unix:PATH`; None for `-`: off.

    The path of a socket is made absolute from `base`.
    """
    expected = (
        "`HOST:PORT` (port 0: any), `unix:PATH` or `-` (off)" if unix else "`HOST:PORT` (port 0: any) or `-` (off)"
    )
    if isinstance(value, Endpoint) or value is None:
        return value
    text = str(value)
    if text == "-":
        return None
    if text.startswith("unix:") and len(text) > 5 and unix:
        return Endpoint(path=base / text[5:])
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{expected}, an IPv6 address in brackets")
    if not colon or not host or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535 or re.search(r"[\s/]", host):
        raise ValueError(expected)
    return Endpoint(host, int(port))


def database_url(value: object, base: Path) -> str:
    """`value` with the path of an SQLite file made absolute from `base`."""
    text = str(value)
    if text.startswith(("postgresql://", "postgres://")):
        return "postgresql://" + text.partition("://")[2]
    path = text.removeprefix("sqlite:///")
    if path == text or not path or path.startswith(":memory:"):
        raise ValueError("`sqlite:///FILE`, `sqlite:////absolute/FILE` or `postgresql://USER@HOST/NAME`")
    return f"sqlite:///{base / path}"


def shown_url(url: str) -> str:
    """A database URL without its password, for people and logs."""
    return re.sub(r"^(\w+://[^:/@]*):[^@]*@", r"\1:***@", url)


def organizer_pattern(value: object) -> str:
    """An address, `*@domain` or `*`, canonical."""
    text = str(value)
    if text == "*":
        return text
    local, _, domain = text.rpartition("@")
    address = canonical(f"any@{domain}" if local == "*" else text)
    if address is None:
        raise ValueError("an address like `meetings@example.com`, or `*@meet.example.com`, or `*`")
    return "*" + address.removeprefix("any") if local == "*" else address


def address(value: object) -> str:
    """The canonical address of `value`."""
    found = canonical(str(value))
    if found is None:
        raise ValueError("an address like `b@example.com`")
    return found


def language(value: object) -> str:
    """A language tag that there are words for: `de`, `de-AT`, `zh-CN`."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,3}", value):
        raise ValueError("a language tag like `en`, `de-AT` or `zh-CN`")
    if not languages.supported(value):
        raise ValueError(f"one of {languages.NAMES}, also with a region, like `de-AT` or `zh-CN`")
    return value


def _split(value: object) -> object:
    # A variable of the environment (or a single word in the file) is a list too: `a@example.com, b@example.com`.
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return _structure(value, 'a list like `["a", "b"]`, or words with commas between them')
    return [word for part in value.split(",") if (word := part.strip())]


def _table(value: object) -> object:
    return (
        _structure(value, 'a table like `{"b@home.example.net" = "b@example.com"}`')
        if isinstance(value, str)
        else value
    )


def _structure(text: str, expected: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        try:
            return json.loads(text)
        except ValueError:
            raise ValueError(expected) from None


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a whole number above 0")
    return value


def _base(info: ValidationInfo) -> Path:
    return Path((info.context or {}).get("base", "")).absolute()


Size = Annotated[int, PlainValidator(size)]
Duration = Annotated[float, PlainValidator(duration)]
Count = Annotated[int, BeforeValidator(_no_bool), Field(ge=1)]
Port = Annotated[int, BeforeValidator(_no_bool), Field(ge=1, le=65535)]
Location = Annotated[Path, AfterValidator(lambda path, info: _base(info) / path)]
Database = Annotated[str, PlainValidator(lambda value, info: database_url(value, _base(info)))]
Listen = Annotated[Endpoint | None, PlainValidator(lambda value, info: endpoint(value, _base(info), unix=False))]
ListenUnix = Annotated[Endpoint | None, PlainValidator(lambda value, info: endpoint(value, _base(info), unix=True))]
Organizer = Annotated[str, PlainValidator(organizer_pattern)]
HostName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$"), AfterValidator(str.lower)]
Address = Annotated[str, PlainValidator(address)]
Language = Annotated[str, PlainValidator(language)]
Words = Annotated[tuple[T, ...], BeforeValidator(_split)]
Network = IPv4Network | IPv6Network
Aliases = Annotated[dict[Address, Address], BeforeValidator(_table)]
