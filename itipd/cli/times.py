"""Times on the command line."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click


class Time(click.ParamType[datetime]):
    """A time as ISO 8601; without an offset it is UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"found {value!r}, expected a time like 2026-11-20T08:00:00Z", param, ctx)
        return found.astimezone(UTC) if found.tzinfo is not None else found.replace(tzinfo=UTC)
