"""Reads the configuration: `itipd.toml`, then `ITIPD_SECTION__KEY` variables, then options; the later wins.

What is not understood is an error that names its file and key, what was found and what was expected; nothing is guessed
or skipped in silence. Relative paths are relative to the configuration file, or to the current folder where there is
none; those of options to the current folder.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from itipd.config import Config
from itipd.config_values import database_url, endpoint, shown_url

DEFAULT_FILE = "itipd.toml"
PREFIX = "ITIPD_"


class ConfigError(Exception):
    """A configuration that cannot be used; `problems` has one sentence for each thing that is wrong."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load(
    file: Path | None = None,
    options: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """The configuration of `file` (None: `itipd.toml` in the current folder, if it is there), `environ`, `options`.

    `options` has the shape of the file: `{"database": ..., "smtp": {"listen": ...}}`. Raises ConfigError.
    """
    here = Path.cwd()
    if file is None and (here / DEFAULT_FILE).is_file():
        file = here / DEFAULT_FILE
    written = _read(file) if file is not None else {}
    variables, names = _environment(os.environ if environ is None else environ)
    chosen = _options(options or {}, here)
    base = file.absolute().parent if file is not None else here
    try:
        return Config.model_validate(_merge(_merge(written, variables), chosen), context={"base": base})
    except ValidationError as error:
        places = (chosen, names, str(file or "configuration"))
        raise ConfigError(list(dict.fromkeys(_problem(found, *places) for found in error.errors()))) from None


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_bytes().decode())
    except OSError as error:
        raise ConfigError([f"{file}: found no readable file ({error.strerror}), expected the configuration"]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([f"{file}: found byte {error.start} that is no UTF-8, expected TOML in UTF-8"]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{file}: found no TOML ({error}), expected TOML"]) from None


def _environment(environ: Mapping[str, str]) -> tuple[dict[str, Any], dict[tuple[str, ...], str]]:
    """The values of all ITIPD_ variables in the shape of the file, and the variable of each key.

    Every variable with the prefix is taken, so that a misspelt one is found as an unknown key.
    """
    values: dict[str, Any] = {}
    names: dict[tuple[str, ...], str] = {}
    for name, value in sorted(environ.items()):
        if name.startswith(PREFIX):
            path = tuple(name.removeprefix(PREFIX).lower().split("__", 1))
            names[path] = name
            nested: Any = value
            for key in reversed(path):
                nested = {key: nested}
            values = _merge(values, nested)
    return values, names


def _options(options: Mapping[str, Any], here: Path) -> dict[str, Any]:
    """`options` with relative paths made absolute from the current folder, not from the file's."""
    made: dict[str, Any] = {}
    try:
        for key, value in options.items():
            made[key] = database_url(value, here) if key == "database" else value
            if isinstance(value, Mapping) and "listen" in value:
                made[key] = {**value, "listen": endpoint(value["listen"], here, unix=key == "lmtp")}
    except ValueError as error:
        found = value["listen"] if isinstance(value, Mapping) else shown_url(value)
        raise ConfigError([f"option --{key}: found {found!r}, expected {error}"]) from None
    return made


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


_EXPECTED = {
    "bool": "true or false",
    "int": "a whole number",
    "string": "a text",
    "tuple": "a list",
    "dict": "a table",
    "model": "a section of keys",
    "string_too_short": "a text that is not empty",
    "ip": "a network like `10.0.0.0/8` or `::1/128`",
    "path": "a path",
}
_SECRETS = {"password", "token", "database"}


def _problem(error: Any, options: Mapping[str, Any], names: Mapping[tuple[str, ...], str], file: str) -> str:
    """One sentence for one error of pydantic: where, what was found, what was expected."""
    path = tuple(str(part) for part in error["loc"] if not str(part).startswith(("lax", "function-", "ip")))
    place = next((names[path[:n]] for n in (2, 1) if path[:n] in names), None)
    where = f"variable {place}" if place else file
    key = ".".join(path)
    if path and path[0] in options:
        where, key = f"option --{path[0]}", ""
    where = ": ".join(part for part in (where, key) if part)
    kind, found = error["type"], "a value" if path and path[-1] in _SECRETS else repr(error["input"])
    if kind == "extra_forbidden":
        return f"{where}: found an unknown key, expected {_known(path)}"
    message = str(error["msg"]).removeprefix("Value error, ")
    if message.startswith("found "):
        return f"{where}: {message}"
    expected = error.get("ctx", {}).get("expected") or _EXPECTED.get(kind) or _EXPECTED.get(kind.partition("_")[0])
    if kind in ("greater_than_equal", "less_than_equal"):
        expected = message.removeprefix("Input should be ")
    return f"{where}: found {found}, expected {expected or message}"


def _known(path: tuple[str, ...]) -> str:
    """The keys that are known where `path` is not, the likeliest first."""
    model: type[BaseModel] = Config
    for part in path[:-1]:
        field = next(f for name, f in model.model_fields.items() if part in (name, f.alias))
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            break
        model = field.annotation
    keys = [field.alias or name for name, field in model.model_fields.items()]
    close = difflib.get_close_matches(path[-1], keys, n=1)
    return f"`{close[0]}`" if close else f"one of {', '.join(keys)}"
