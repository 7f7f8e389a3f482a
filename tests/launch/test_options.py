"""The command line of `run`."""

import contextlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.launch.options import (
    HELP,
    PATHS,
    SWITCHES,
    VALUED,
    BadOption,
    absolute,
    config_flags,
    parse,
    usage,
)

VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).filter(lambda text: text != "--")
COMMANDS = st.lists(st.text(max_size=8), min_size=1, max_size=4)


@given(
    st.dictionaries(st.sampled_from(sorted(VALUED)), VALUES),
    st.sets(st.sampled_from(sorted(set(SWITCHES) - {"help"}))),
    COMMANDS,
    st.booleans(),
)
def test_what_is_given_is_what_is_read(
    values: dict[str, str], switches: set[str], command: list[str], joined: bool
) -> None:
    """Both spellings of a value, all switches, and any command after `--` come back as they were given."""
    words = [f"--{name}" for name in sorted(switches)]
    for name, value in values.items():
        words += [f"--{name}={value}"] if joined else [f"--{name}", value]
    options = parse([*words, "--", *command])
    assert options.values == values
    assert options.command == command
    assert {name for name in ("strict", "quiet", "supervise") if getattr(options, name)} == switches


@given(st.lists(st.text(max_size=12) | st.sampled_from(["--", "--listen", "--quiet", "-h", "--strict=x"])))
def test_any_words_are_read_or_refused(words: list[str]) -> None:
    """No command line raises anything but BadOption; what is read has a command or asked for help."""
    with contextlib.suppress(BadOption):
        options = parse(words)
        assert options.command or options.help


def test_the_command_may_stand_without_dashes() -> None:
    """As with env and nohup, the first word without a dash starts CMD, and CMD's own options are its own."""
    options = parse(["--quiet", "python", "serve.py", "--listen", "x"])
    assert options.command == ["python", "serve.py", "--listen", "x"]
    assert options.values == {}


def test_a_second_double_dash_is_the_commands() -> None:
    """Only the first `--` is ours."""
    assert parse(["--", "git", "log", "--", "x"]).command == ["git", "log", "--", "x"]


def test_the_last_of_two_wins() -> None:
    """As everywhere: an option given twice has its last value."""
    assert parse(["--listen=a:1", "--listen", "b:2", "--", "x"]).values == {"listen": "b:2"}


@pytest.mark.parametrize(
    ("words", "what", "expected"),
    [
        ([], "no command", "CMD"),
        (["--"], "no command", "CMD"),
        (["--quiet"], "no command", "CMD"),
        (["--liste", "x", "--", "y"], "unknown option", "--listen"),
        (["-q", "y"], "unknown option", "one of"),
        (["--zzzzzzzz", "y"], "unknown option", "one of"),
        (["--listen"], "--listen needs a value", "--listen ADDR"),
        (["--listen", "--", "x"], "--listen needs a value", "--listen ADDR"),
        (["--listen=", "--", "x"], "--listen is empty", "--listen ADDR"),
        (["--quiet=yes", "--", "x"], "--quiet takes no value", "--quiet"),
    ],
)
def test_a_wrong_line_is_named(words: list[str], what: str, expected: str) -> None:
    """Each wrong command line says what is wrong and what was expected, with the nearest known option."""
    with pytest.raises(BadOption) as caught:
        parse(words)
    assert what in caught.value.what
    assert expected in caught.value.expected


def test_paths_are_made_absolute_and_nothing_else() -> None:
    """Guard and agent work in `/`: a relative path would lead elsewhere there."""
    values = dict.fromkeys(VALUED, "x/y")
    made = absolute(values)
    assert {name for name in values if made[name] != "x/y"} == set(PATHS)
    assert all(made[name] == os.path.join(os.getcwd(), "x/y") for name in PATHS)


def test_options_above_the_configuration_have_its_keys() -> None:
    """--model, --model-version and --port stand above keys of the file; other options are the agent's own."""
    assert config_flags({"model": "m", "model-version": "7", "port": "1", "listen": "x"}) == {
        "model.name": "m",
        "model.version": "7",
        "target.port": "1",
    }


def test_the_help_names_every_option() -> None:
    """No option is hidden."""
    assert all(f"--{name}" in usage() for name in [*VALUED, *SWITCHES])
    assert set(HELP) == set(VALUED)
