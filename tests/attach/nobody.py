"""Pilotfish as uid nobody without any capability, or with a few, beside processes of root."""

from __future__ import annotations

import os
import pathlib
import stat
import subprocess
import sys

import pilotfish_agent
from tests.agent.live import SCRIPT, Live

NOBODY = 65534
DROP = (
    "setpriv",
    f"--reuid={NOBODY}",
    f"--regid={NOBODY}",
    "--clear-groups",
    "--bounding-set=-all",
    "--inh-caps=-all",
    "--no-new-privs",
)
UNPRIVILEGED_ROOT = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
"""Of the same user as processes of root, and nothing more."""
SHOW = """
keep=$1; shift
while [ "$1" != -- ]; do
    mount --bind "$2" "$keep"
    mount -t tmpfs -o mode=755 tmpfs "$1"
    mkdir -p "$2"
    mount --move "$keep" "$2"
    shift 2
done
shift
exec "$@"
"""
"""In a mount namespace of its own: of a folder that others may not pass through, only what is needed is shown."""


def possible() -> bool:
    """Whether we can become nobody: only root can."""
    return os.geteuid() == 0


def dropped(capabilities: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The beginning of a command as nobody, with these capabilities only (``net_admin``)."""
    if not capabilities:
        return DROP
    only = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    return (*DROP[:4], f"--bounding-set={only}", f"--inh-caps={only}", f"--ambient-caps={only}", "--no-new-privs")


def command(words: list[str], scratch: pathlib.Path, capabilities: tuple[str, ...] = ()) -> list[str]:
    """``words`` as nobody, with the interpreter and the packages readable; keeps the PID of what is started.

    Args:
        words: a command of ours.
        scratch: an empty folder.
        capabilities: that it has all the same.
    """
    needed = [os.path.realpath(sys.executable), sys.prefix, sys.base_prefix, os.path.dirname(pilotfish_agent.__file__)]
    pairs = dict(pair for path in needed for pair in _hidden(path))
    if not pairs:
        return [*dropped(capabilities), *words]
    keep = scratch / "keep"
    keep.mkdir(exist_ok=True)
    shown = [word for folder, below in pairs.items() for word in (folder, below)]
    return ["unshare", "--mount", "sh", "-c", SHOW, "sh", str(keep), *shown, "--", *dropped(capabilities), *words]


def _hidden(path: str) -> list[tuple[str, str]]:
    """(a folder above ``path`` that others may not pass through, what is needed of it)."""
    parts = pathlib.Path(path).parts
    for at in range(1, len(parts)):
        folder = pathlib.Path(*parts[:at])
        if not stat.S_IMODE(folder.stat().st_mode) & stat.S_IXOTH:
            return [(str(folder), str(pathlib.Path(*parts[: at + 1])))]
    return []


class LiveNobody(Live):
    """A live agent of uid nobody.

    Args:
        root: an empty folder below one that everybody may pass through.
    """

    def __init__(self, root: pathlib.Path) -> None:
        super().__init__(root)
        self.env["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
        root.chmod(0o755)
        os.chown(root, NOBODY, NOBODY)

    def attach(self, *options: str) -> None:
        """``pilotfish attach OPTIONS``."""
        words = [SCRIPT, "attach", "--listen", "127.0.0.1:0", "--instance", "toy", *options]
        with open(self.root / "err", "ab") as err:
            self.process = subprocess.Popen(command(words, self.root), env=self.env, cwd="/", stderr=err)

    def ask(self, *words: str, capabilities: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """``pilotfish WORDS``, to its end, with a few capabilities."""
        done = command([SCRIPT, *words], self.root, capabilities)
        return subprocess.run(done, env=self.env, cwd="/", capture_output=True, text=True, timeout=60)
