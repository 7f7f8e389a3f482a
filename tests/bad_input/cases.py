"""All wrong inputs a user can hand to `config check`, `reference build` and `replay`, as command lines."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.config import museum
from tests.reference.bad_files import BAD_FILES, argv, good_csv, write

NOTICE = "pilotfish: notice: "
COMMAND = (sys.executable, "-I", "-m", "pilotfish_agent")


@dataclass(frozen=True, slots=True)
class Case:
    """One wrong input.

    Attributes:
        name: what is wrong.
        argv: the command line after ``pilotfish``.
        exit_code: as the contract has it.
        words: all of them stand in the one line on stderr.
    """

    name: str
    argv: tuple[str, ...]
    exit_code: int
    words: tuple[str, ...]


def configs() -> Iterator[Case]:
    """The museum's bad configurations."""
    for path in museum.BAD:
        words = (f"{path}:{museum.expectation(path)}",)
        yield Case(f"config check: {path.stem}", ("config", "check", str(path)), 2, words)


def data_files(folder: str) -> Iterator[Case]:
    """The wrong data files, written below ``folder``, which gets a good reference first.

    Raises:
        RuntimeError: the good reference cannot be built.
    """
    good, reference = os.path.join(folder, "good.csv"), os.path.join(folder, "reference.json")
    with open(good, "wb") as file:
        file.write(good_csv())
    code, err = outcome(("reference", "build", good, "-o", reference, "--independent"))
    if code != 0:
        raise RuntimeError(f"reference build of a good file: exit {code}: {err}")
    for number, bad in enumerate(BAD_FILES):
        own = os.path.join(folder, str(number))
        os.mkdir(own)
        command = argv(bad, write(bad, own), reference, os.path.join(own, "out.json"))
        yield Case(f"{bad.command}: {bad.name}", tuple(command), bad.exit_code, bad.words)


def outcome(argv: tuple[str, ...]) -> tuple[int, list[str]]:
    """(exit code, lines on stderr without notices) of a real process."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("PILOTFISH_")}
    done = subprocess.run(
        (*COMMAND, *argv), env=environ, capture_output=True, timeout=120, check=False, stdin=subprocess.DEVNULL
    )
    lines = done.stderr.decode("utf-8", "replace").splitlines()
    return done.returncode, [line for line in lines if not line.startswith(NOTICE)]


def fault(case: Case) -> str:
    """What is wrong with the answer to a case; empty when it is as it should be."""
    code, lines = outcome(case.argv)
    if code != case.exit_code:
        return f"{case.name}: exit {code}, not {case.exit_code}: {lines[-1:]}"
    if len(lines) != 1 or not lines[0].startswith("pilotfish: "):
        return f"{case.name}: {len(lines)} lines: {lines[:3]}"
    missing = [word for word in case.words if word not in lines[0]]
    return f"{case.name}: no {missing} in {lines[0]!r}" if missing else ""


def faults(cases: list[Case]) -> list[str]:
    """The faults of all cases, two processes at a time."""
    with ThreadPoolExecutor(2) as pool:
        return [found for found in pool.map(fault, cases) if found]
