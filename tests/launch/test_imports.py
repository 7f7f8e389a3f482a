"""What stands between the user and the model: nothing but files of the launch folder may be imported before exec."""

import pathlib
import subprocess
import sys

import pytest

from tests.launch.box import SCRIPT, Box

# `_signal`, `time`, `errno` are built in; `fcntl` and `select` (the guard's) are small shared objects.
ALLOWED = {"time", "errno", "fcntl", "select", "pilotfish_agent"}


def imported(stderr: bytes) -> set[str]:
    """Names of ``-X importtime`` lines."""
    lines = [line for line in stderr.decode().splitlines() if line.startswith("import time:")]
    return {line.rsplit("|", 1)[1].strip() for line in lines[1:]}


def beyond(box: Box, *words: str) -> set[str]:
    """What a Python command imports beyond ``python -c pass``."""
    outputs = [
        subprocess.run([sys.executable, "-X", "importtime", *line], env=box.env, capture_output=True, timeout=60)
        for line in (("-c", "pass"), words)
    ]
    return imported(outputs[1].stderr) - imported(outputs[0].stderr)


def test_the_way_to_exec_imports_next_to_nothing(box: Box) -> None:
    """Neither re nor argparse, socket, signal, json, typing, dataclasses ...: each is time the model waits."""
    names = beyond(box, *SCRIPT[1:], "--quiet", "--", "true")
    assert {"pilotfish_agent.cli", "pilotfish_agent.launch.launcher"} <= names, "this looked at the right process"
    others = {name for name in names if name not in ALLOWED and not name.startswith("pilotfish_agent.launch")}
    assert others == {"pilotfish_agent.cli"}


def test_a_pip_made_entry_point_would_be_seen(box: Box, tmp_path: pathlib.Path) -> None:
    """The mutant: what pip writes for an entry point imports re before our first line."""
    script = tmp_path / "pilotfish"
    script.write_text(
        "import re\nimport sys\nfrom pilotfish_agent.cli import main\n"
        "sys.argv[0] = re.sub(r'(-script\\.pyw|\\.exe)?$', '', sys.argv[0])\nsys.exit(main(sys.argv[1:]))\n",
        encoding="ascii",
    )
    assert "re" in beyond(box, str(script), "run", "--quiet", "--", "true")


@pytest.mark.parametrize("module", ["pilotfish_agent", "pilotfish_agent.launch"])
def test_the_packages_do_nothing(module: str) -> None:
    """Importing the package imports no other module."""
    code = f"import sys; before = set(sys.modules); import {module}; print(sorted(set(sys.modules) - before))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60).stdout
    assert set(eval(shown)) <= {"pilotfish_agent", "pilotfish_agent.launch"}


def test_the_script_is_executable() -> None:
    """pip keeps the mode it finds: without it the command would not start; the first line is rewritten by pip."""
    script = pathlib.Path(SCRIPT[1])
    assert script.stat().st_mode & 0o111 == 0o111
    assert script.read_bytes().startswith(b"#!python\n")
