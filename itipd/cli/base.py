"""What all commands share: the global options, the exit codes, how a foreseeable mistake is told.

Imports only click and the standard library, and what does no more: `itipd --help` must be quick.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from itipd.plain import plain

if TYPE_CHECKING:
    from itipd.config import Config

T = TypeVar("T")

LONGEST = 4000  # characters of a line that tells a mistake
WRONG = 1  # a check or a comparison found something
USAGE = 2
BAD_DATA = 65  # EX_DATAERR
TRY_AGAIN = 75  # EX_TEMPFAIL
BAD_CONFIG = 78  # EX_CONFIG


class Failure(click.ClickException):
    """A foreseeable mistake: one sentence (or several lines) on stderr, an exit code, no traceback."""

    exit_code: int  # type: ignore[misc]  # click declares it per class; here each mistake has its own

    def __init__(self, message: str, code: int = WRONG) -> None:
        super().__init__(message)
        self.exit_code = code

    def show(self, file: Any = None) -> None:
        for line in self.message.splitlines():
            click.echo(f"itipd: {plain(line, LONGEST)}", err=True, file=file)


@dataclass(slots=True)
class App:
    """The global options of this call."""

    config_file: Path | None = None
    database: str | None = None
    as_json: bool = False

    def config(self, **options: Any) -> Config:
        """The configuration; `options` has the shape of the file. A bad one is a Failure with exit code 78."""
        from itipd.config_load import ConfigError, load

        if self.database is not None:
            options["database"] = self.database
        try:
            return load(self.config_file, options)
        except ConfigError as error:
            raise Failure(str(error), BAD_CONFIG) from None


pass_app = click.make_pass_decorator(App, ensure=True)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs the command's coroutine to its end."""
    return asyncio.run(work)


def _remember(context: click.Context, option: click.Parameter, value: Any) -> None:
    # Given before or after the command, or both: the later one wins.
    app = context.ensure_object(App)
    if value and option.name is not None:
        setattr(app, option.name, value)


def _global_options() -> list[click.Parameter]:
    shared: dict[str, Any] = {"expose_value": False, "callback": _remember}
    file = click.Path(path_type=Path, dir_okay=False)
    return [
        click.Option(["-c", "--config", "config_file"], type=file, help="Configuration file.", **shared),
        click.Option(["--database"], metavar="URL", help="Database, instead of the configured one.", **shared),
        click.Option(["--json", "as_json"], is_flag=True, help="JSON; lists are JSON Lines.", **shared),
    ]


class Command(click.Command):
    """A command that takes the global options too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _global_options()


class Group(click.Group):
    """A group of commands; the global options may stand before its command."""

    command_class = Command
    group_class = type

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _global_options()
