"""A place of its own for one launch: runtime and state folders, and a way to find every process of ours."""

import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
WITH_STAND_IN = [sys.executable, str(HERE / "with_stand_in.py")]
SCRIPT = [sys.executable, str(ROOT / "bin" / "pilotfish"), "run"]
PATIENCE = 30.0
_OURS = (b"stand_in.py\0", b"bin/pilotfish\0run", b"\0agent\0")  # the guard before it has renamed itself, the agent


def until(what: Callable[[], object], why: str) -> None:
    """Waits for something that must come; how long it takes is no matter here."""
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end, f"waited {PATIENCE:.0f} s for: {why}"
        time.sleep(0.01)


def read(path: str | pathlib.Path) -> str:
    """A file's text, empty while it is not there."""
    try:
        return pathlib.Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


class Box:
    """Folders below ``root`` and the variables that lead there."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.runtime = root / "run"
        self.state = root / "state"
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("PILOTFISH_")} | {
            "PILOTFISH_RUNTIME_DIR": str(self.runtime),
            "PILOTFISH_STATE_DIR": str(self.state),
        }

    def run(
        self,
        *command: str,
        launcher: list[str] | None = None,
        options: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Runs a command to its end; ``launcher=[]`` is the bare command, ``env`` more variables."""
        words = [*(WITH_STAND_IN if launcher is None else launcher), *options, *(["--"] if launcher != [] else [])]
        return subprocess.run([*words, *command], env=self.env | (env or {}), capture_output=True, timeout=60)

    def start(self, *command: str, options: tuple[str, ...] = (), **more: str) -> "subprocess.Popen[bytes]":
        """Starts a command beside the stand-in; stdout and stderr go to ``out`` and ``err`` below the root."""
        with open(self.root / "out", "ab") as out, open(self.root / "err", "ab") as err:
            return subprocess.Popen(
                [*WITH_STAND_IN, *options, "--", *command],
                env=self.env | more,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    def ours(self) -> dict[int, str]:
        """pid and comm of every guard and agent of this box, zombies left out."""
        found = {}
        mark = f"PILOTFISH_RUNTIME_DIR={self.runtime}\0".encode()
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) == os.getpid():
                continue
            try:
                with open(f"/proc/{entry}/environ", "rb") as file:
                    environ = file.read()
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    words = file.read()
            except OSError:
                continue
            named = words.startswith(b"pf-guard") or any(word in words for word in _OURS)
            if mark in environ and named:
                found[int(entry)] = read(f"/proc/{entry}/comm").strip()
        return found

    def agents(self, name: str) -> list[list[int]]:
        """(pid, restarts) of each stand-in that was started for an instance."""
        return [[int(word) for word in line.split()] for line in read(self.state / name / "agents").splitlines()]
