"""The parts of README.md that are made, not written, and how to make them anew: `python -m tests.readme`.

Tables come from the code, sessions (```console blocks) are run again. The tests hold README.md against the same
functions, so that it can never say what the code does not.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path

from itipd.cli.setup import RELAYS, TEMPLATE
from itipd.itip.outcomes import Reason

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PATIENCE = 120.0
MARK = "\x1e"

_PART = re.compile(r"(<!-- made: (\w+) -->\n)(.*?)(<!-- end -->\n)", re.DOTALL)
_CONSOLE = re.compile(r"^```console\n(.*?)^```\n", re.DOTALL | re.MULTILINE)
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d(Z|[+-]\d\d:\d\d)")
_PLACE = re.compile(r"127\.0\.0\.1:\d+")


def section(text: str, title: str) -> str:
    """What stands under `## title`, up to the next heading of that rank."""
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def first_block(text: str) -> str:
    """The first fenced sh block, which must be the first thing in `text`."""
    found = re.match(r"\s*```sh\n(.*?)```\n", text, re.DOTALL)
    return found[1] if found else ""


def fenced(language: str, text: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```\n"


def reasons() -> str:
    rows = "".join(f"| `{reason}` | {reason.sentence} | {reason.section} |\n" for reason in Reason)
    return f"| reason | what it says | where that comes from |\n|---|---|---|\n{rows}"


def relay(name: str) -> str:
    """The paragraph of `itipd init` that begins with this relay's name."""
    (found,) = [part for part in RELAYS.split("\n\n") if part.startswith(f"# {name}")]
    return fenced("text", found)


def demo() -> str:
    """What `itipd demo` prints."""
    return fenced("text", run("itipd demo").strip("\n"))


PARTS: dict[str, Callable[[], str]] = {
    "reasons": reasons,
    "config": lambda: fenced("toml", TEMPLATE),
    "postfix": lambda: relay("Postfix"),
    "exim": lambda: relay("Exim"),
    "exchange": lambda: relay("Exchange"),
    "demo": demo,
}
"""The parts between `<!-- made: NAME -->` and `<!-- end -->`."""


def parts(text: str) -> dict[str, str]:
    """The made parts as they stand in `text`."""
    return {found[2]: found[3] for found in _PART.finditer(text)}


def commands(block: str) -> list[str]:
    """The commands of a console block: what stands behind `$ `."""
    return [line[2:] for line in block.splitlines() if line.startswith("$ ")]


def consoles(text: str) -> list[str]:
    """The console blocks of `text`; they are one session."""
    return _CONSOLE.findall(text)


def run(script: str) -> str:
    """What a shell prints, with `itipd` at hand, temporary files in a folder that goes away, at the project's root."""
    with tempfile.TemporaryDirectory(prefix="itipd-readme-") as folder:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ITIPD_")}
        environment["PATH"] = f"{sysconfig.get_path('scripts')}{os.pathsep}{environment['PATH']}"
        environment["TMPDIR"] = folder
        done = subprocess.run(
            ["bash", "-euc", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env=environment,
            timeout=PATIENCE,
            check=False,
        )
    if done.returncode:
        raise AssertionError(f"ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def session(text: str) -> list[str]:
    """The console blocks of `text` as they would be now: the same commands, run in one shell, with what they print."""
    asked = [commands(block) for block in consoles(text)]
    told = run("\n".join(f"printf '{MARK}'\n{command}" for block in asked for command in block)).split(MARK)[1:]
    answers = iter(told)
    return ["".join(f"$ {command}\n{next(answers)}" for command in block) for block in asked]


def plain(text: str) -> str:
    """`text` without what is another at each run: times and ports."""
    return _PLACE.sub("PLACE", _TIME.sub("TIME", text))


def unordered(text: str) -> list[str]:
    """The lines of `plain(text)`, sorted: what happens at the same time happens in any order."""
    return sorted(plain(text).splitlines())


def write() -> None:
    """Makes the parts and the sessions of README.md anew; what differs only in its times stays as it is."""
    text = README.read_text(encoding="utf-8")

    def part(found: re.Match[str]) -> str:
        new, old = PARTS[found[2]](), found[3]
        kept = found[2] == "demo" and unordered(new) == unordered(old)
        return found[1] + (old if kept else new) + found[4]

    text = _PART.sub(part, text)
    answers = iter(session(text))

    def answered(found: re.Match[str]) -> str:
        new = fenced("console", next(answers))
        return found[0] if plain(new) == plain(found[0]) else new

    README.write_text(_CONSOLE.sub(answered, text), encoding="utf-8")


if __name__ == "__main__":
    write()
    sys.stdout.write(f"{README} is as the code has it.\n")
