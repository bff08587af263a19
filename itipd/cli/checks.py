"""What can be wrong with a configuration that reads well: files that are not there, a database or relay that fails."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from itipd.cli.base import Failure

if TYPE_CHECKING:
    from itipd.config import Config


def file_problems(config: Config) -> list[str]:
    """A sentence for each file or folder that is named and cannot be used."""
    problems = []
    for name in ("smtp", "lmtp", "submission"):
        section = getattr(config, name)
        for key in ("tls_cert", "tls_key"):
            file = getattr(section, key)
            if file is not None and not os.access(file, os.R_OK):
                problems.append(f"{name}.{key}: found no readable file {file}, expected PEM")
        place = section.listen
        if place is not None and place.path is not None and not place.path.parent.is_dir():
            problems.append(f"{name}.listen: found no folder {place.path.parent}, expected it to be there")
    if config.texts.templates is not None and not config.texts.templates.is_dir():
        problems.append(f"texts.templates: found no folder {config.texts.templates}, expected one of templates")
    directory = config.relay.directory
    if directory is not None and not _writable(directory):
        problems.append(f"relay.directory: found {directory} not writable, expected a folder that can be written to")
    return problems


def _writable(folder: Path) -> bool:
    # It is made when the first mail leaves.
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK)


async def deep_problems(config: Config) -> list[str]:
    """Tries the database and the relay; a sentence for each that fails. No mail is sent."""
    from itipd.cli.runtime import open_store

    problems = []
    try:
        async with open_store(config):
            pass
    except Failure as error:
        problems.append(f"database: {error.message}")
    if config.relay.host is not None:
        problems += await _relay_problems(config)
    return problems


async def _relay_problems(config: Config) -> list[str]:
    from itipd.relay import Smtp
    from itipd.relay_session import RelayError

    try:
        await Smtp(config.relay, timeout=10).probe()
    except RelayError as error:
        return [str(error)]
    return []
