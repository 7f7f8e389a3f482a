"""The loader: precedence, origins, environment, secrets, unreadable files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pilotfish_agent import config, settings, yaml_tree
from pilotfish_core.config import FreeSection, ListSection, Secret, integer, option, secret


@dataclass(frozen=True, slots=True)
class Door:
    """A section with a secret and two keys that depend on each other."""

    password: Secret | None = option(None, secret, "Word that opens.", "sesame", secret=True)  # noqa: RUF009 - an option is a field
    low: int = option(1, integer(0, 100), "Least.", "1")
    high: int = option(9, integer(0, 100), "Most.", "9")

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low at most high")


DOOR: dict[str, type | FreeSection | ListSection] = {"door": Door}


def load(text: str, tmp_path: Path, **more: Any) -> config.Settings:
    """Loads a file with this text."""
    path = tmp_path / "p.yaml"
    path.write_text(text)
    return config.load(str(path), more.pop("environ", {}), more.pop("flags", {}), **more)


def test_flags_over_environment_over_file_over_default(tmp_path: Path) -> None:
    """The strongest level wins, and the origin says which one it was."""
    text = "model: {name: file}\nlimits:\n  series: 500\n"
    environ = {"PILOTFISH_MODEL_NAME": "env", "PILOTFISH_MODEL_VERSION": "env"}
    found = load(text, tmp_path, environ=environ, flags={"model.name": "flag"})
    model = found.section("model")
    assert (model.name, model.version, model.task) == ("flag", "env", "auto")
    assert found.section("limits").series == 500
    assert found.origins == {
        "model.name": "--model",
        "model.version": "PILOTFISH_MODEL_VERSION",
        "limits.series": f"{tmp_path}/p.yaml:3",
    }


def test_a_bad_level_falls_to_the_one_below(tmp_path: Path) -> None:
    """A wrong variable is a problem, and the file's good value stays in force."""
    found = load("limits: {series: 500}\n", tmp_path, environ={"PILOTFISH_LIMITS_SERIES": "many"})
    assert found.section("limits").series == 500
    (problem,) = found.problems
    assert problem.line() == (
        "environment: PILOTFISH_LIMITS_SERIES; got 'many'; expected a whole number from 100 to 1000000"
    )


def test_bad_flag_names_the_flag() -> None:
    """The user reads the flag that was typed, not the key behind it."""
    found = config.load(None, {}, {"target.port": "http", "model.version": ""}, default_path="/nonexistent")
    assert [p.line().split(";")[0] for p in found.problems] == ["command line: --port", "command line: --model-version"]


def test_all_problems_are_collected(tmp_path: Path) -> None:
    """One run of `config check` is enough to see everything that is wrong."""
    found = load("modle: 1\nsample: {interval: x}\nlog: {level: loud, fromat: json}\n", tmp_path)
    assert [p.what.split(": ", 1)[1] for p in found.problems] == [
        "unknown section `modle`",
        "sample.interval",
        "log.level",
        "unknown key `log.fromat`",
    ]


def test_missing_default_file_is_no_problem() -> None:
    """Without any file the defaults are in force."""
    found = config.load(None, {}, {}, default_path="/nonexistent/pilotfish.yaml")
    assert (found.path, found.problems, found.origins) == (None, (), {})


@pytest.mark.parametrize("by", ["flag", "environment"])
def test_missing_named_file_is_a_problem(by: str) -> None:
    """A file that was asked for must be there."""
    name = "/nonexistent/mine.yaml"
    path, environ = (name, {}) if by == "flag" else (None, {"PILOTFISH_CONFIG": name})
    (problem,) = config.load(path, environ, {}).problems
    assert problem.line() == f"{name}: no such file; expected a configuration file"


def test_config_flag_beats_variable(tmp_path: Path) -> None:
    """``--config`` wins over ``PILOTFISH_CONFIG``."""
    found = load("model: {name: a}\n", tmp_path, environ={"PILOTFISH_CONFIG": "/nonexistent"})
    assert found.section("model").name == "a"


def test_working_directory_is_never_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pilotfish.yaml that lies around is not read."""
    (tmp_path / "pilotfish.yaml").write_text("model: {name: stray}\n")
    monkeypatch.chdir(tmp_path)
    assert config.load(None, {}, {}, default_path="/nonexistent").section("model").name is None


def test_folder_as_file(tmp_path: Path) -> None:
    """A folder is refused with the system's reason."""
    (problem,) = config.load(str(tmp_path), {}, {}).problems
    assert problem.line() == f"{tmp_path}: cannot be read (Is a directory); expected a readable file"


def test_nul_in_the_name() -> None:
    """A name no file can have is a problem, not a crash."""
    (problem,) = config.load("a\0b", {}, {}).problems
    assert "cannot be read" in problem.line()


def test_endless_file() -> None:
    """A device that never ends is read up to the limit and refused."""
    (problem,) = config.load("/dev/zero", {}, {}).problems
    assert problem.line() == ("/dev/zero: too large; got 'over 1048576 bytes'; expected at most 1 MiB of configuration")


def test_many_values(tmp_path: Path) -> None:
    """A data file given by accident is refused before it costs memory."""
    (problem,) = load("labels: [" + "1," * (yaml_tree.MAX_NODES + 1) + "]\n", tmp_path).problems
    assert problem.line().endswith("more than 20000 values; expected a configuration, not a data file")


def test_unknown_variable_is_one_warning() -> None:
    """A misspelled variable is told once, with the nearest known."""
    found = config.load(None, {"PILOTFISH_LIMIT_SERIES": "3"}, {}, default_path="/nonexistent")
    assert found.problems == ()
    assert found.warnings == (
        "environment: unknown variable PILOTFISH_LIMIT_SERIES is ignored; did you mean PILOTFISH_LIMITS_SERIES?",
    )


def test_variables_that_are_not_ours() -> None:
    """What Kubernetes injects for a Service named pilotfish, and our own two, pass in silence."""
    names = ("SERVICE_HOST", "SERVICE_PORT_HTTP", "PORT", "PORT_7374_TCP_ADDR", "SOCKET")
    found = config.load(None, {f"PILOTFISH_{n}": "tcp://1" for n in names}, {}, default_path="/nonexistent")
    assert (found.problems, found.warnings) == ((), ())


def test_label_from_environment() -> None:
    """Labels can be given as variables, in lower case."""
    environ = {"PILOTFISH_LABELS_TEAM": "risk", "PILOTFISH_LABELS_MODEL": "x"}
    found = config.load(None, environ, {}, default_path="/nonexistent")
    assert found.section("labels") == {"team": "risk"}
    assert "PILOTFISH_LABELS_MODEL; got 'model'" in found.problems[0].line()


def test_unknown_section_asked_by_code() -> None:
    """Asking for a section nobody declared is the caller's mistake."""
    with pytest.raises(KeyError):
        config.load(None, {}, {}, default_path="/nonexistent").section("nope")


def test_secret_in_the_file(tmp_path: Path) -> None:
    """A secret's value never prints."""
    found = load("door: {password: hunter2}\n", tmp_path, sections=DOOR)
    assert found.section("door").password.reveal() == "hunter2"
    assert "hunter2" not in repr(found)


def test_secret_from_a_file_of_its_own(tmp_path: Path) -> None:
    """``<key>_file`` gives the secret without the newline at its end."""
    (tmp_path / "word").write_text("hunter2\n")
    found = load(f"door:\n  password_file: {tmp_path}/word\n", tmp_path, sections=DOOR)
    assert found.section("door").password == Secret("hunter2")
    assert found.origins == {"door.password": f"{tmp_path}/p.yaml:2"}


def test_bad_secret_is_not_printed(tmp_path: Path) -> None:
    """Even a refused secret does not appear in the message."""
    (problem,) = load("door: {password: [hunter2]}\n", tmp_path, sections=DOOR).problems
    assert problem.line().endswith("door.password; got <secret>; expected a text of 1 to 10000 characters")


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "No such file or directory"), (b"\xff", "not UTF-8")], ids=["missing", "binary"]
)
def test_unreadable_secret_file(tmp_path: Path, content: bytes | None, reason: str) -> None:
    """The file's name and the reason are told."""
    if content is not None:
        (tmp_path / "word").write_bytes(content)
    (problem,) = load(f"door: {{password_file: {tmp_path}/word}}\n", tmp_path, sections=DOOR).problems
    assert problem.line().endswith(
        f"door.password_file; got '{tmp_path}/word'; expected the name of a readable text file ({reason})"
    )


def test_only_secrets_have_a_file_form(tmp_path: Path) -> None:
    """``low_file`` is an unknown key."""
    (problem,) = load("door: {low_file: x}\n", tmp_path, sections=DOOR).problems
    assert "unknown key `door.low_file`" in problem.line()


def test_combination_that_a_section_refuses(tmp_path: Path) -> None:
    """Good values that do not go together leave the whole section at its defaults."""
    found = load("door: {low: 5, high: 3}\n", tmp_path, sections=DOOR)
    (problem,) = found.problems
    assert problem.line() == (
        f"{tmp_path}/p.yaml:1: section door; got {{'low': 5, 'high': 3}}; expected low at most high"
    )
    assert (found.section("door"), found.origins) == (Door(), {})


def test_reserved_labels_hold_all_of_ours() -> None:
    """No metric of any part uses a label that a user could set."""
    from pilotfish_agent import catalogue

    used = {label for metric in catalogue.metrics() for label in metric.labels}
    assert used <= settings.RESERVED_LABELS


@dataclass(frozen=True, slots=True)
class Window:
    """An entry of a list whose keys depend on each other."""

    low: int = option(1, integer(0, 100), "Least.", "1")
    high: int = option(9, integer(0, 100), "Most.", "9")

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low at most high")


WINDOWS: dict[str, type | FreeSection | ListSection] = {"windows": ListSection(Window, "Windows.", ("- {low: 1}",), 3)}


def test_a_list_of_mappings_is_a_tuple_of_its_entries(tmp_path: Path) -> None:
    """Every entry has its own defaults, and the origins name entry and line."""
    found = load("windows:\n  - {low: 2}\n  - high: 7\n    low: 3\n", tmp_path, sections=WINDOWS)
    assert not found.problems
    assert found.section("windows") == (Window(2, 9), Window(3, 7))
    assert found.origins == {
        "windows[0].low": f"{tmp_path}/p.yaml:2",
        "windows[1].high": f"{tmp_path}/p.yaml:3",
        "windows[1].low": f"{tmp_path}/p.yaml:4",
    }
    assert load("windows:\n", tmp_path, sections=WINDOWS).section("windows") == ()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "windows: {low: 1}",
            "1: windows; got {'low': '1'}; expected a list of at most 3 entries such as `- {low: 1}`",
        ),
        ("windows: x", "1: windows; got 'x'; expected a list of at most 3 entries such as `- {low: 1}`"),
        (
            "windows: [{low: 1}, {low: 1}, {low: 1}, {low: 1}]",
            "1: windows; got '4 entries'; expected a list of at most 3 entries such as `- {low: 1}`",
        ),
        ("windows:\n  - {low: 3}\n  - 5", "3: windows[1]; got '5'; expected an entry such as `- {low: 1}`"),
        ("windows:\n  -\n  - {low: 3}", "2: windows[0]; got 'nothing'; expected an entry such as `- {low: 1}`"),
        (
            "windows:\n  - {low: 3}\n  - {low: x, high: 9}",
            "3: windows[1].low; got 'x'; expected a whole number from 0 to 100",
        ),
        ("windows:\n  - {low: 3}\n  - {hihg: 9}", "3: unknown key `windows[1].hihg`; did you mean `windows[1].high`?"),
        (
            "windows:\n  - {low: 3}\n  - {low: 9, high: 8}",
            "3: windows[1]; got {'low': 9, 'high': 8}; expected low at most high",
        ),
    ],
)
def test_a_wrong_entry_of_a_list_is_left_out_as_a_whole(text: str, line: str, tmp_path: Path) -> None:
    """One line with file, line and key; the good entries stay."""
    found = load(text + "\n", tmp_path, sections=WINDOWS)
    assert [p.line() for p in found.problems] == [f"{tmp_path}/p.yaml:{line}"]
    assert found.section("windows") == ((Window(3, 9),) if "low: 3" in text else ())
    assert not [k for k in found.origins if k.startswith("windows[1]")] or "windows[0]" in line


def test_a_list_has_no_variables(tmp_path: Path) -> None:
    """A variable that looks like one is a warning, as any unknown one."""
    found = load("", tmp_path, sections=WINDOWS, environ={"PILOTFISH_WINDOWS_LOW": "1"})
    assert found.section("windows") == ()
    assert len(found.warnings) == 1
