"""The house: imports point downwards, the core is pure, modules are small, and README.md names all there is."""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeGuard

import click
import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.routing import BaseRoute, Route

from itipd.cli.main import cli
from itipd.config import Config
from itipd.inbox import Inbox
from itipd.itip.outcomes import Outcome, Reason
from itipd.itip.own_policy import WORDS
from itipd.store import Store
from itipd.web.app import create_app
from tests import readme

ROOT = readme.ROOT
PACKAGE = ROOT / "itipd"

ROOMS = (
    ("cli",),
    ("benchmark",),
    ("rebuild",),
    ("scenario",),
    ("smtp", "smtp_answers", "smtp_connection", "smtp_session", "smtp_syntax"),
    ("web",),
    ("replay",),
    ("scheduler",),
    ("inbox",),
    ("batches",),
    ("transaction",),
    ("commands",),
    ("mails",),
    ("forwarding",),
    ("applying",),
    ("busy", "by_itself"),
    ("carrying",),
    ("send",),
    ("outbox", "settling", "delivery"),
    ("relay", "relay_session", "relay_pipe"),
    ("ahead",),
    ("readers", "reader_link", "reader", "reader_frame"),
    ("signatures",),
    ("store",),
    ("log",),
    ("orders",),
    ("calfile",),
    ("memory", "cores"),
    ("config_load",),
    ("config",),
    ("config_values",),
    ("listening",),
    ("plain",),
    ("mail",),
    ("itip",),
)
"""From the roof to the cellar: a room imports itself and what is below it. A new module needs its place here."""

PURE = {"itip": frozenset({"icalendar", "dateutil", "idna"}), "mail": frozenset({"babel", "flufl", "tnefparse"})}
"""The pure rooms and what they may import beside the standard library and the rooms below."""

IMPURE = frozenset(
    "asyncio logging time random secrets uuid os socket ssl subprocess threading multiprocessing concurrent select "
    "selectors signal sqlite3 tempfile shutil http smtplib ctypes resource".split()
)
NETWORK = ("urllib.request", "importlib.metadata")
CLOCKS = frozenset({"now", "utcnow", "today"})

ONLY_IN = {
    "sqlalchemy": {"store"},
    "alembic": {"store"},
    "aiosqlite": {"store"},
    "psycopg": {"store"},
    "aiosmtpd": {"smtp", "benchmark"},
    "aiosmtplib": {"relay", "cli"},
    "fastapi": {"web"},
    "starlette": {"web"},
    "uvicorn": {"web"},
    "jinja2": {"web"},
    "dkim": {"signatures"},
    "dns": {"signatures"},
    "click": {"cli"},
    "rich": {"cli"},
    "pydantic": {"config", "config_values", "config_load", "web"},
}
"""Libraries that only these rooms know."""

LONGEST = 300
LONG = {
    "itip/decide.py": "the table of rules and the rules, which are read side by side",
    "store/gather.py": "the set-wise SELECTs of a batch: they share their keys and are read together",
    "store/mails.py": "the questions about the journal and their answers' shapes",
    "itip/model.py": "all plain values of the core: they refer to each other and hold no code",
}
"""The modules that may be longer, and why."""

UNPLAYED = {
    Reason.TOO_COSTLY: ("tests/test_readers.py", "what only a deadline and a limit of memory can say"),
    Reason.ALL_DECLINED: ("tests/test_thresholds.py", "the outcome beside a reply's; in transcripts its mails have it"),
}
"""Reasons that no scenario reaches: the test that does, and why it is there."""


@dataclass(frozen=True)
class Import:
    """One import: the importing module, its line, and what it imports with all dots."""

    module: Path
    line: int
    name: str

    @property
    def top(self) -> str:
        return self.name.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.module.relative_to(ROOT)}:{self.line} imports {self.name}"


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def modules(folder: Path = PACKAGE) -> list[Path]:
    found = sorted(folder.rglob("*.py"))
    assert found, f"no modules in {folder}"
    return found


@cache
def imports(file: Path) -> tuple[Import, ...]:
    """Every import of a module, those inside functions and for type checking too."""
    return tuple(_imports(file))


def _imports(file: Path) -> Iterator[Import]:
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            yield from (Import(file, node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: a relative import"
            # `from itipd.itip import model` is an import of the module.
            yield from (Import(file, node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and _called(node) == "import_module":
            yield from (Import(file, node.lineno, str(one.value)) for one in node.args if _is_text(one))


def _called(node: ast.Call) -> str:
    return getattr(node.func, "attr", "") or getattr(node.func, "id", "")


def _is_text(node: ast.expr) -> TypeGuard[ast.Constant]:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def module_name(file: Path) -> str:
    """Its room: the package below itipd, or the module itself."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def level(name: str) -> int:
    """The height of a room, 0 the roof."""
    for height, room in enumerate(ROOMS):
        if name in room:
            return height
    raise AssertionError(f"itipd/{name} is in no room: give it its place in ROOMS")


def text_files() -> Iterator[Path]:
    """What people write: code, tests, papers."""
    suffixes = {".py", ".md", ".toml", ".html", ".css", ".js", ".mako", ".ini", ".po"}
    places = (PACKAGE, ROOT / "tests", ROOT / "fixtures", ROOT / ".ci")
    yield from (ROOT / name for name in ("README.md", "pyproject.toml"))
    for place in places:
        for file in sorted(place.rglob("*")):
            hidden = any(part.startswith(".") for part in file.relative_to(place).parts)
            if file.is_file() and not hidden and (file.suffix in suffixes or file.name in ("README", "run")):
                yield file


# -- imports


def test_imports_point_downwards() -> None:
    """A room imports itself and the rooms below it, never one above."""
    wrong = []
    for file in modules():
        here = module_name(file)
        if here == "__init__":
            continue
        for found in imports(file):
            if found.top == "itipd" and found.name.count("."):
                there = found.name.split(".")[1]
                if level(there) < level(here):
                    wrong.append(str(found))
    assert not wrong


def test_every_room_is_there() -> None:
    """The list of rooms has no module that is gone."""
    assert [name for room in ROOMS for name in room if not list(PACKAGE.glob(f"{name}*"))] == []


@pytest.mark.parametrize("room", PURE)
def test_pure_rooms_import_nothing_that_acts(room: str) -> None:
    """itip/ and mail/ know no I/O, no clock, no randomness, no logging, no asyncio, and no foreign library but few."""
    known = (sys.stdlib_module_names - IMPURE) | PURE[room] | {"itipd"}
    wrong = [found for file in modules(PACKAGE / room) for found in imports(file) if found.top not in known]
    wrong += [found for file in modules(PACKAGE / room) for found in imports(file) if found.name.startswith(NETWORK)]
    assert [str(found) for found in wrong] == []


@pytest.mark.parametrize("room", PURE)
def test_pure_rooms_call_nothing_that_acts(room: str) -> None:
    """itip/ and mail/ ask no clock for the time, and open, print and read nothing by themselves."""
    wrong = []
    for file in modules(PACKAGE / room):
        for node in ast.walk(tree(file)):
            if not isinstance(node, ast.Call):
                continue
            called = node.func
            clock = isinstance(called, ast.Attribute) and called.attr in CLOCKS
            acts = isinstance(called, ast.Name) and called.id in ("open", "print", "input", "exec", "eval")
            if clock or acts:
                wrong.append(f"{file.relative_to(ROOT)}:{node.lineno} {ast.unparse(called)}")
    assert not wrong


@pytest.mark.parametrize("library", ONLY_IN)
def test_libraries_stay_in_their_rooms(library: str) -> None:
    """SQL is only in store/, aiosmtpd only in smtp*.py and the benchmark, the web stack only in web/, and so on."""
    users = {
        module_name(file).partition("_")[0] if module_name(file).startswith(("smtp", "relay")) else module_name(file)
        for file in modules()
        for found in imports(file)
        if found.top == library
    }
    assert users <= ONLY_IN[library]


# -- size and words


def lengths() -> dict[str, int]:
    return {str(file.relative_to(PACKAGE)): len(file.read_text(encoding="utf-8").splitlines()) for file in modules()}


def test_modules_are_short() -> None:
    """No module of itipd/ has more than 300 lines, but the few that say why."""
    assert {name: length for name, length in lengths().items() if length > LONGEST and name not in LONG} == {}


def test_exceptions_are_needed() -> None:
    """A module that has become short again is no exception any more."""
    assert [name for name in LONG if lengths().get(name, 0) <= LONGEST] == []


def test_every_module_says_its_duty() -> None:
    """Every module of itipd/ and tests/ that holds code begins with a docstring."""
    silent = [
        str(file.relative_to(ROOT))
        for file in [*modules(), *modules(ROOT / "tests")]
        if tree(file).body and not ast.get_docstring(tree(file))
    ]
    assert silent == []


def test_every_test_says_its_truth() -> None:
    """Every test has a docstring: the truth it pins."""
    silent = [
        f"{file.relative_to(ROOT)}:{node.lineno} {node.name}"
        for file in modules(ROOT / "tests")
        for node in ast.walk(tree(file))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def test_nothing_is_left_to_be_done() -> None:
    """No file puts something off with a word that nobody looks for later."""
    words = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|X" + r"XX)\b")  # broken, so as not to find themselves
    found = [
        f"{file.relative_to(ROOT)}:{number}"
        for file in text_files()
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if words.search(line)
    ]
    assert found == []


# -- fixtures


@cache
def played() -> set[str]:
    """Every reason in the transcripts."""
    return {
        result["reason"]
        for file in (ROOT / "fixtures").glob("*/expected.json")
        for step in json.loads(file.read_text(encoding="utf-8"))["steps"]
        for result in step["results"]
    }


def test_every_reason_is_reached_by_a_scenario() -> None:
    """Each Reason stands in some expected.json, but the few that have a test of their own."""
    assert set(Reason) - played() - set(UNPLAYED) == set()


@pytest.mark.parametrize("reason", UNPLAYED)
def test_unplayed_reasons_have_their_test(reason: Reason) -> None:
    """A reason without a scenario is named by the test that reaches it, and is not reached by a scenario as well."""
    file, why = UNPLAYED[reason]
    assert why
    assert f"Reason.{reason.name}" in (ROOT / file).read_text(encoding="utf-8")
    assert reason not in played()


def test_every_fixture_says_what_it_proves() -> None:
    """Every folder of fixtures/ has a README, and a transcript to be held against."""
    folders = [folder for folder in (ROOT / "fixtures").iterdir() if folder.is_dir() and folder.name != "private"]
    assert [folder.name for folder in folders if not (folder / "expected.json").is_file()] == []
    assert [folder.name for folder in folders if len((folder / "README").read_text(encoding="utf-8")) < 40] == []


def test_the_demo_plays_a_scenario() -> None:
    """What `itipd demo` plays is the scenario story-of-a-meeting, file by file."""
    story, scenario = PACKAGE / "story", ROOT / "fixtures" / "story-of-a-meeting"
    first, second = ({file.name: file.read_bytes() for file in place.iterdir()} for place in (story, scenario))
    assert first == second


# -- README.md


@pytest.fixture(scope="module")
def text() -> str:
    return readme.README.read_text(encoding="utf-8")


def leaves(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something: `itipd meeting put` and so on."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from leaves(found, f"{path} {name}")


def options(command: click.Command) -> set[str]:
    """The long names of its own options."""
    names = {max(one.opts, key=len) for one in command.params if isinstance(one, click.Option)}
    return names - {max(one.opts, key=len) for one in cli.params}


COMMANDS = dict(leaves(cli, "itipd"))


def command_rows(text: str) -> dict[str, tuple[str, str]]:
    """The table of commands: `itipd meeting put` -> (the first cell, the second)."""
    found: dict[str, tuple[str, str]] = {}
    for first, second in re.findall(r"^\| `(itipd [^`]+)` \| (.*) \|$", readme.section(text, "Commands"), re.MULTILINE):
        name = " ".join(word for word in first.split() if re.fullmatch(r"[a-z-]+", word))
        assert name not in found, f"{name} has two rows"
        found[name] = (first, second)
    return found


def test_readme_names_every_command_and_no_other(text: str) -> None:
    """The table of commands has a row for each command that there is."""
    assert sorted(command_rows(text)) == sorted(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_readme_names_every_option_and_no_other(text: str, name: str) -> None:
    """The row of a command names its options, and none that it does not take."""
    first, second = command_rows(text)[name]
    assert set(re.findall(r"--[a-z-]+", f"{first} {second}")) == options(COMMANDS[name])


def test_readme_names_the_global_options(text: str) -> None:
    """The options that every command takes have a row each."""
    rows = re.findall(r"^\| (`-.*?) \|", readme.section(text, "Commands"), re.MULTILINE)
    found = {name for row in rows for name in re.findall(r"--[a-z-]+", row)}
    assert found == {max(one.opts, key=len) for one in cli.params} | {"--help"}


def keys(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key of the configuration."""
    for name, field in model.model_fields.items():
        here = (*path, field.alias or name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from keys(field.annotation, here)
        else:
            yield here


def shown_keys(text: str) -> set[tuple[str, ...]]:
    """The keys in the configuration that README.md shows, those in comments too."""
    shown = re.search(r"```toml\n(.*?)```", readme.parts(text)["config"], re.DOTALL)
    assert shown is not None
    lines = [re.sub(r"^# (?=\w+ = )", "", line) for line in shown[1].splitlines()]
    found: set[tuple[str, ...]] = set()
    for name, value in tomllib.loads("\n".join(lines)).items():
        table = isinstance(value, dict)
        found |= {(name, key) for key in value} if table else {(name,)}
    return found


def test_readme_names_every_configuration_key(text: str) -> None:
    """The configuration in README.md has every key; what the three mail doors share stands in [smtp] alone."""
    shown = shown_keys(text)
    shared = {key for section, key in (one for one in shown if len(one) == 2) if section == "smtp"}
    missing = {
        path
        for path in keys(Config)
        if path not in shown and not (path[0] in ("lmtp", "submission") and path[-1] in shared)
    }
    assert missing == set()


@pytest.mark.parametrize("name", [name for name in readme.PARTS if name != "demo"])
def test_made_parts_are_as_the_code_has_them(text: str, name: str) -> None:
    """Reasons, configuration and relay snippets in README.md are what the code says (`python -m tests.readme`)."""
    assert readme.parts(text)[name] == readme.PARTS[name]()


def test_readme_names_every_outcome(text: str) -> None:
    """The table of outcomes has each of them."""
    found = re.findall(r"^\| `(\w+)` \| ", readme.section(text, "Outcomes and reasons"), re.MULTILINE)
    assert found == [*Outcome, *Reason]


async def routes(tmp_path: Path) -> set[str]:
    """Every route of the HTTP door that people and programs ask for by name: `GET /v1/meetings`."""
    store = await Store.open(f"sqlite:///{tmp_path / 'itipd.db'}")
    app: FastAPI = create_app(store, Inbox(store, None, Config()), Config())
    await store.close()
    there = {f"{method} {re.sub(r':[a-z]+}', '}', path)}" for method, path in _routes(app.routes)}
    described = {f"{method.upper()} {path}" for path, methods in app.openapi()["paths"].items() for method in methods}
    assert described <= there
    return there


def _routes(found: list[BaseRoute]) -> Iterator[tuple[str, str]]:
    for route in found:
        if isinstance(route, Route):
            yield from ((method, route.path) for method in (route.methods or ()) if method != "HEAD")
        inner = getattr(route, "original_router", None)  # FastAPI keeps an included router whole
        if inner is not None:
            yield from _routes(inner.routes)


async def test_readme_names_every_route_and_no_other(text: str, tmp_path: Path) -> None:
    """The table of routes has every route of the API, and of the page those that a person opens."""
    there = await routes(tmp_path)
    rows = re.findall(r"^\| .* \|$", readme.section(text, "HTTP"), re.MULTILINE)
    named = set(re.findall(r"`((?:GET|PUT|POST|DELETE|PATCH) /[^`?]*)`", "\n".join(rows)))
    assert named <= there
    inner = {route for route in there if re.search(r" /(?:fragments|static|proposals|meetings/$)", route)}
    assert there - named - inner == set()


def test_readme_names_every_word_of_a_meetings_own_policy(text: str) -> None:
    """The section about a meeting's own policy names every word that may stand in one."""
    words = set(re.findall(r"`([a-z_]+)", readme.section(text, "A meeting's own policy")))
    assert set(WORDS) - words == set()


def test_readme_begins_with_what_runs(text: str) -> None:
    """`## Try it` and `## Test` begin with the one block that runs the story, and the one that checks everything."""
    assert readme.first_block(readme.section(text, "Try it")).rstrip().endswith("itipd demo")
    last = "ruff format --check . && ruff check . && mypy && pytest -n 3 --dist worksteal"
    assert readme.first_block(readme.section(text, "Test")).splitlines()[-1] == last


def test_readme_says_where_each_section_is_enforced(text: str) -> None:
    """Each module that a row of "The standards" names is there, and cites the section of that row."""
    rows = re.findall(
        r"^\| (RFC \d+)(?: §([\d.]+))? \|.*\| (`[^|]*\.py`) \|$", readme.section(text, "The standards"), re.M
    )
    assert len(rows) > 40
    for rfc, section, modules in rows:
        for module in re.findall(r"`([^`]+)`", modules):
            source = (PACKAGE / module).read_text(encoding="utf-8")
            cited = rf"§{re.escape(section)}(?!\d)" if section else re.escape(rfc)
            assert rfc in source, (rfc, section, module)
            assert re.search(cited, source), (rfc, section, module)


def test_readme_cites_every_section_that_decides(text: str) -> None:
    """Every reason's section of iTIP and iMIP stands in the list, itself or with the section that it is part of."""
    listed = set(re.findall(r"(RFC \d+ §[\d.]+)", readme.section(text, "The standards")))
    for reason in Reason:
        if reason.section.startswith(("RFC 5546", "RFC 6047", "RFC 6638", "RFC 3464", "RFC 3834")):
            assert any(one.startswith(reason.section) for one in listed), reason


def test_links_inside_readme_lead_somewhere(text: str) -> None:
    """Every link to a heading has its heading."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) - anchors == set()
