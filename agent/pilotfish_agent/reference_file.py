"""``--reference REF``: a built reference, or any data file, of which one is built first, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable

from pilotfish_agent.drift import reference
from pilotfish_agent.drift.reference import Reference
from pilotfish_core.errors import DataError

_HEAD = 1 << 16
_START = (
    "import sys; sys.path.extend(p for p in sys.argv[4:] if p not in sys.path); "
    "from pilotfish_agent.cli import main; "
    "config = ['--config', sys.argv[3]] if sys.argv[3] else []; "
    "sys.exit(main(['reference', 'build', sys.argv[1], '-o', sys.argv[2], *config]))"
)


def load_reference(path: str, config: str | None, waiting: Callable[[], None], what: str = "--reference") -> Reference:
    """The reference of ``path``.

    Args:
        path: of a built reference or of a data file.
        config: the agent's configuration file: which features are ignored, and of which type they are.
        waiting: called several times a second while one is built.
        what: names it in an error.

    Raises:
        DataError: it is neither.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise DataError(
            f"{what}: {path}: {error.strerror}", expected="a built reference or a data file that can be read"
        ) from None
    return reference.load(path) if reference.looks_like_reference(head) else _build(path, config, waiting, what)


def _build(path: str, config: str | None, waiting: Callable[[], None], what: str) -> Reference:
    """Builds in another process: sorting columns takes memory that the agent must not keep."""
    with tempfile.TemporaryDirectory(prefix="pilotfish-reference-") as folder:
        out, errors = os.path.join(folder, "reference.json"), os.path.join(folder, "errors")
        with open(errors, "wb") as sink:
            process = subprocess.Popen(
                [sys.executable, "-I", "-c", _START, path, out, config or "", *(p for p in sys.path if p)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=sink,
            )
            while process.poll() is None:
                waiting()
                try:
                    process.wait(0.2)
                except subprocess.TimeoutExpired:
                    pass
        if process.returncode:
            with open(errors, encoding="utf-8", errors="replace") as file:
                last = file.read().strip().rpartition("\n")[2].removeprefix("pilotfish: ")
            raise DataError(f"{what}: {last or path}", todo="see `pilotfish reference build --help`")
        return reference.load(out)
