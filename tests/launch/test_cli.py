"""The dispatcher: commands are files of a folder, every error is one line."""

import argparse
import subprocess
import types

import pytest

from pilotfish_agent import cli, dispatch
from pilotfish_core import registry
from pilotfish_core.errors import DataError, EmptyDataError
from tests.launch.box import SCRIPT, WITH_STAND_IN, Box


def command(run: object) -> types.SimpleNamespace:
    """A command's module."""

    def configure(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--count", type=int)

    return types.SimpleNamespace(HELP="counts", configure=configure, run=run)


@pytest.fixture
def one(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """The folder holds one command, count-rows."""
    module = command(lambda args: args.count or 0)
    monkeypatch.setattr(registry, "names", lambda package: ("count_rows",))
    monkeypatch.setattr(registry, "load", lambda package, name: module)
    return module


def test_a_command_runs_and_its_code_is_ours(one: types.SimpleNamespace) -> None:
    """The file's run gets the arguments, its exit code is the process's."""
    assert cli.main(["count-rows", "--count", "3"]) == 3


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["count-row"], "unknown command; got 'count-row'; expected count-rows"),
        (["zzz"], "unknown command; got 'zzz'; expected one of count-rows, run"),
        (["count-rows", "--count", "x"], "count-rows: argument --count: invalid int value: 'x'"),
        (["count-rows", "--counts", "1", "2"], "count-rows: "),
    ],
)
def test_a_wrong_line_is_one_line(
    one: types.SimpleNamespace, capsys: pytest.CaptureFixture[str], argv: list[str], words: str
) -> None:
    """Exit 2, one line on stderr that names the nearest, no usage block."""
    assert cli.main(argv) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"pilotfish: {words}")
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (DataError("row 3: age", got="x\ny", expected="a number"), 2, r"row 3: age; got 'x\ny'; expected a number"),
        (EmptyDataError("a header without rows"), 4, "a header without rows"),
        (ModuleNotFoundError("no", name="numpy"), 1, "count-rows: numpy is not installed; pip install"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_are_one_line_with_their_code(
    one: types.SimpleNamespace, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, words: str
) -> None:
    """Every error a user can meet, with newlines of foreign values escaped."""

    def fail(_args: argparse.Namespace) -> int:
        raise error

    one.run = fail
    assert cli.main(["count-rows"]) == code
    shown = capsys.readouterr().err
    assert words in shown
    assert shown.count("\n") == (1 if words else 0)


def test_our_own_missing_module_is_a_bug(one: types.SimpleNamespace) -> None:
    """A module of ours that is not there is not explained away as a missing extra."""

    def fail(_args: argparse.Namespace) -> int:
        raise ModuleNotFoundError("no", name="pilotfish_agent.nothing")

    one.run = fail
    with pytest.raises(ModuleNotFoundError):
        cli.main(["count-rows"])


def test_help_and_version() -> None:
    """The overview names every command there is; without a word it is a usage error."""
    script = SCRIPT[:-1]
    overview = subprocess.run([*script, "--help"], capture_output=True, text=True, timeout=60)
    assert overview.returncode == 0, overview.stderr
    names = [name.replace("_", "-") for name in registry.names(dispatch.COMMANDS)]
    assert all(f"\n  {name} " in overview.stdout for name in ["run", *names])
    assert subprocess.run(script, capture_output=True, timeout=60).returncode == 2
    shown = subprocess.run([*script, "--version"], capture_output=True, text=True, timeout=60).stdout
    assert shown.startswith("pilotfish 0.")


def test_a_reader_that_leaves_is_no_error() -> None:
    """`pilotfish ... | head` says nothing on stderr."""
    line = f"{' '.join(SCRIPT[:-1])} --help | true; sleep 0.1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, timeout=60)
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("words", "code", "shown"),
    [
        ([], 2, b"no command to start"),
        (["--"], 2, b"no command to start"),
        (["--liste", "x", "--", "true"], 2, b"unknown option; got '--liste'; expected --listen"),
        (["--help"], 0, b""),
        (["-h"], 0, b""),
    ],
)
def test_the_command_line_of_run(box: Box, words: list[str], code: int, shown: bytes) -> None:
    """2 with one line for a wrong line; help is no error."""
    done = subprocess.run([*WITH_STAND_IN, *words], env=box.env, capture_output=True, timeout=60)
    assert done.returncode == code
    assert shown in done.stderr
    assert done.stderr.count(b"\n") == (1 if code else 0)
    assert (b"usage: pilotfish run" in done.stdout) == (code == 0)
