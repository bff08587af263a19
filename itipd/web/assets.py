"""The page's templates and its three files, read once at the start; nothing comes from anywhere else.

Autoescape is on for every template and nothing is marked safe: calendars can put only text on the page.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import Response

from itipd.web import words
from itipd.web.problems import Kind, Problem

HERE = Path(__file__).parent
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
FILES = {file.name: file.read_bytes() for file in sorted((HERE / "static").iterdir()) if file.suffix in TYPES}
USED = "segments answer in_words tile hours zone span stamp instance rule initials delivery sentence".split()
"""The functions of `words` that templates call."""
TONES = {"updated": "good", "added": "good", "sent": "good", "held": "warn", "waiting": "warn", "sending": "warn"}
TONES |= {"cancelled": "bad", "error": "bad", "failed": "bad"}


def _fingerprint() -> str:
    content = b"".join(file.read_bytes() for file in sorted((HERE / "templates").iterdir()) if file.is_file())
    return hashlib.sha256(content + b"".join(FILES.values())).hexdigest()[:12]


FINGERPRINT = _fingerprint()
"""Changes with every template and file: part of every ETag, so that a new version is seen at once."""


def environment() -> Environment:
    """The templates, with the words that they use."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.globals |= {name: getattr(words, name) for name in USED}
    made.globals["static"] = lambda name: f"/static/{name}?v={FINGERPRINT}"
    made.globals["tone"] = lambda word: TONES.get(word, "")
    made.globals["version"] = version("itipd")
    return made


async def static(request: Request) -> Response:
    """One of the three files; its address changes with its content, so it may be kept for ever."""
    name = request.path_params["name"]
    if name not in FILES:
        raise Problem(Kind.NOT_FOUND)
    kept = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(FILES[name], media_type=TYPES[Path(name).suffix], headers=kept)
