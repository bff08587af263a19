"""The configuration: where values come from, what they may be, and how each mistake is named."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from itipd.cli.setup import TEMPLATE
from itipd.config import Config, Limits, Readers
from itipd.config_load import ConfigError, load
from itipd.config_values import Endpoint, database_url, duration, shown_url, size
from itipd.mail.reading import ReadSettings

BAD = sorted((Path(__file__).parent / "bad_config").glob("*.toml"))


def problems(file: Path | None = None, environ: dict[str, str] | None = None, **options: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(file, options, environ or {})
    return caught.value.problems


@pytest.fixture
def toml(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a configuration and returns its path."""

    def write(text: str) -> Path:
        file = tmp_path / "itipd.toml"
        file.write_text(text)
        return file

    return write


@pytest.mark.parametrize("file", BAD, ids=[file.stem for file in BAD])
def test_bad_file_is_named_with_key_found_and_expected(file: Path) -> None:
    """Each bad file gives the one error that its first line says, with the file's name before it."""
    said = file.read_text().partition("\n")[0].removeprefix("# ")
    (problem,) = problems(file)
    assert problem.startswith(f"{file}: ")
    assert said in problem
    assert "secret" not in problem


def test_there_are_bad_files() -> None:
    """The folder of bad configurations is not empty, so that the test above tests something."""
    assert len(BAD) > 30


def test_without_anything_the_defaults_are_the_interfaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file, no variables: loopback doors, SQLite in the current folder, any recipient is an organizer."""
    monkeypatch.chdir(tmp_path)
    config = load(environ={})
    assert [str(getattr(config, door).listen) for door in ("smtp", "lmtp", "submission", "http")] == [
        "127.0.0.1:8025",
        "127.0.0.1:8024",
        "127.0.0.1:8587",
        "127.0.0.1:8080",
    ]
    assert config.database == f"sqlite:///{tmp_path}/itipd.db"
    assert config.organizers == ()
    assert config.smtp.max_message_size == 10 * 1024 * 1024
    assert (config.smtp.max_connections, config.smtp.max_connections_per_client) == (1000, 100)
    assert config.drain_timeout == 10
    assert config.relay.host is None
    assert config.relay.directory is None


def test_file_of_the_current_folder_is_found(toml: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`itipd.toml` in the current folder is read without being named."""
    monkeypatch.chdir(toml("drain_timeout = 3").parent)
    assert load(environ={}).drain_timeout == 3


def test_variables_win_over_the_file_and_options_over_both(toml: Any) -> None:
    """File, then environment, then options: the later source wins, key by key."""
    file = toml('[smtp]\nlisten = "127.0.0.1:1"\nmax_connections = 7\n[http]\nlisten = "127.0.0.1:2"')
    environ = {"ITIPD_SMTP__LISTEN": "127.0.0.1:3", "ITIPD_HTTP__LISTEN": "127.0.0.1:4"}
    config = load(file, {"http": {"listen": "127.0.0.1:5"}}, environ)
    assert str(config.smtp.listen) == "127.0.0.1:3"
    assert config.smtp.max_connections == 7
    assert str(config.http.listen) == "127.0.0.1:5"


def test_lists_and_tables_fit_into_variables() -> None:
    """A list is words with commas or TOML, a table is TOML or JSON."""
    environ = {
        "ITIPD_ORGANIZERS": "Meetings@Example.com, *@meet.example.com",
        "ITIPD_SMTP__TRUSTED_NETWORKS": '["10.0.0.0/8"]',
        "ITIPD_IDENTITY__ALIASES": '{"b@home.example.net" = "b@example.com"}',
    }
    config = load(environ=environ)
    assert config.organizers == ("meetings@example.com", "*@meet.example.com")
    assert [str(network) for network in config.smtp.trusted_networks] == ["10.0.0.0/8"]
    assert config.identity.aliases == {"b@home.example.net": "b@example.com"}
    json = {"ITIPD_IDENTITY__ALIASES": '{"b@home.example.net": "b@example.com"}'}
    assert load(environ=json).identity.aliases == config.identity.aliases


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "ITIPD_SMTP__LISTNE",
            "x",
            "variable ITIPD_SMTP__LISTNE: smtp.listne: found an unknown key, expected `listen`",
        ),
        ("ITIPD_DATABSE", "x", "variable ITIPD_DATABSE: databse: found an unknown key, expected `database`"),
        ("ITIPD_FROBNICATE", "x", "variable ITIPD_FROBNICATE: frobnicate: found an unknown key, expected one of"),
        ("ITIPD_SMTP", "x", "variable ITIPD_SMTP: smtp: found 'x', expected a section of keys"),
        ("ITIPD_RELAY__PORT", "x", "variable ITIPD_RELAY__PORT: relay.port: found 'x', expected a whole number"),
        ("ITIPD_RELAY__PORT", "0", "variable ITIPD_RELAY__PORT: relay.port: found '0', expected greater than"),
        ("ITIPD_HTTP__TOKEN", "", "variable ITIPD_HTTP__TOKEN: http.token: found a value, expected a text that is not"),
    ],
)
def test_bad_variable_is_named(name: str, value: str, said: str) -> None:
    """An error in the environment names the variable; a misspelt one is an error, not silence."""
    (problem,) = problems(environ={name: value})
    assert problem.startswith(said)


def test_other_variables_are_nobodys_business() -> None:
    """Only variables that begin with ITIPD_ are ours."""
    assert load(environ={"PATH": "/bin", "MY_ITIPD_FOO": "x"}).drain_timeout == 10


def test_bad_option_is_named() -> None:
    """An error in an option names the option."""
    assert problems(smtp={"listen": "nowhere"})[0].startswith("option --smtp: found 'nowhere', expected `HOST:PORT`")
    assert problems(database="mysql://u:secret@h/n")[0].startswith("option --database: found 'mysql://u:***@h/n'")


def test_every_mistake_is_named_at_once(toml: Any) -> None:
    """A file with three mistakes gives three sentences, not the first alone."""
    found = problems(toml('drain_timeout = "soon"\n[policy]\nsender = "form"\n[relay]\nport = 0'))
    assert [line.split(": ")[1] for line in found] == ["drain_timeout", "relay.port", "policy.sender"]


def test_missing_file_is_named(tmp_path: Path) -> None:
    """A file that was asked for and is not there is an error."""
    assert problems(tmp_path / "none.toml")[0].startswith(f"{tmp_path}/none.toml: found no readable file")


def test_paths_are_relative_to_the_file(toml: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths in a file and in variables are relative to the file, those of options to the current folder."""
    file = toml('database = "sqlite:///a.db"\n[lmtp]\nlisten = "unix:l.sock"\n[relay]\ndirectory = "outgoing"')
    elsewhere = file.parent / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    config = load(file, environ={"ITIPD_SMTP__TLS_CERT": "c.pem", "ITIPD_SMTP__TLS_KEY": "/k.pem"})
    assert config.database == f"sqlite:///{file.parent}/a.db"
    assert config.lmtp.listen == Endpoint(path=file.parent / "l.sock")
    assert config.relay.directory == file.parent / "outgoing"
    assert config.smtp.tls_cert == file.parent / "c.pem"
    assert config.smtp.tls_key == Path("/k.pem")
    config = load(file, {"database": "sqlite:///b.db", "lmtp": {"listen": "unix:m.sock"}}, {})
    assert config.database == f"sqlite:///{elsewhere}/b.db"
    assert config.lmtp.listen == Endpoint(path=elsewhere / "m.sock")


def test_one_size_for_all_mail_doors(toml: Any) -> None:
    """[smtp] max_message_size holds for LMTP and submission too."""
    config = load(toml('[smtp]\nmax_message_size = "2 MiB"\n[lmtp]\nmax_connections = 5'), environ={})
    assert {config.smtp.max_message_size, config.lmtp.max_message_size, config.submission.max_message_size} == {2 << 20}


def test_policy_is_the_cores(toml: Any) -> None:
    """`Config.policy` has [policy], [identity] and the organizers, canonical."""
    file = toml(
        'organizers = ["Meetings@EXAMPLE.com"]\n[policy]\nsender = "dmarc"\n[identity]\nplus_tag = true\n'
        'aliases = { "B@Home.example.net" = "b@example.com" }'
    )
    policy = load(file, environ={}).policy
    assert (policy.sender, policy.plus_tag, policy.organizers) == ("dmarc", True, ("meetings@example.com",))
    assert policy.aliases == {"b@home.example.net": "b@example.com"}


def test_configuration_is_frozen() -> None:
    """Nothing changes a configuration once it is read."""
    config = Config()
    with pytest.raises(ValueError, match="frozen"):
        config.smtp.max_connections = 3


@pytest.mark.parametrize(
    ("text", "octets"), [(5, 5), ("5", 5), ("10 MiB", 10 << 20), ("1 kB", 1000), ("1.5KiB", 1536), ("2 GB", 2 * 10**9)]
)
def test_sizes(text: object, octets: int) -> None:
    """Sizes are bytes, or a number with a unit of 1000 (kB) or 1024 (KiB)."""
    assert size(text) == octets


@pytest.mark.parametrize(
    ("text", "seconds"), [(5, 5), (0.5, 0.5), ("10 s", 10), ("500 ms", 0.5), ("5 min", 300), ("2 days", 172800)]
)
def test_durations(text: object, seconds: float) -> None:
    """Durations are seconds, or a number with a unit."""
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["127.0.0.1:8025", "[::1]:8025", "localhost:0"])
def test_endpoint_is_written_as_it_is_read(text: str) -> None:
    """A place to listen at comes out as the interface writes it."""
    assert str(load(options={"smtp": {"listen": text}}, environ={}).smtp.listen) == text


def test_minus_is_off() -> None:
    """`-` turns a door off, in the file, the environment and as an option."""
    assert load(environ={"ITIPD_HTTP__LISTEN": "-"}).http.listen is None
    assert load(options={"lmtp": {"listen": "-"}}, environ={}).lmtp.listen is None


def test_password_of_a_database_is_never_shown() -> None:
    """The URL that is printed and logged has no password."""
    url = database_url("postgres://itipd:s3cret@db.example.com/itipd", Path())
    assert url == "postgresql://itipd:s3cret@db.example.com/itipd"
    assert shown_url(url) == "postgresql://itipd:***@db.example.com/itipd"
    assert "s3cret" not in repr(Config.model_validate({"relay": {"username": "u", "password": "s3cret"}}))


def test_template_has_every_key_with_its_default(toml: Any) -> None:
    """What `itipd init` writes is the default configuration, and names every key there is."""
    file = toml(TEMPLATE)
    assert load(file, environ={}) == load(toml(""), environ={})
    # With every key uncommented it still reads; keys that exclude each other are looked at one by one.
    keys = {line.lstrip("# ").partition(" = ")[0] for line in TEMPLATE.splitlines() if " = " in line}
    for name, section in Config.model_fields.items():
        inner = section.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            assert f"[{section.alias or name}]" in TEMPLATE
            assert set(inner.model_fields) <= keys
        else:
            assert name in tomllib.loads(TEMPLATE)


def test_every_bound_reaches_the_readers() -> None:
    """Each key of [limits] is one of the bounds that reading is given; by default they are those of the rooms."""
    keys = list(Limits.model_fields)
    config = Config.model_validate({"limits": {key: 1000 + number for number, key in enumerate(keys)}})
    settings = config.reading
    values = [*astuple(settings.mail), *astuple(settings.calendar), settings.components, settings.steps]
    assert {1000 + number for number in range(len(keys))} <= set(values)
    assert Config().reading == ReadSettings()


def test_a_bound_is_a_number_above_zero(toml: Callable[[str], Path]) -> None:
    """0 is no bound; the error names the key."""
    (problem,) = problems(toml("[limits]\nparts = 0\n"))
    assert "limits.parts: found 0" in problem


@pytest.mark.parametrize(("processors", "count"), [(1, 1), (2, 1), (3, 2), (5, 4), (64, 4)])
def test_as_many_readers_as_there_are_processors_to_use(
    monkeypatch: pytest.MonkeyPatch, processors: int, count: int
) -> None:
    """One processor is the daemon's own, each of the others has a reader by default; at least one, at most four."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(processors)), raising=False)
    assert Readers().count == count
