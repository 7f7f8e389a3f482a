"""A reader who follows a page: a machine without network or home, a fresh environment, the wheel in a local index."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.docs.fences import ROOT, Block

SECONDS: Final = 80.0
START: Final = "from {module} import main\nif __name__ == '__main__':\n    raise SystemExit(main())\n"
OURS: Final = re.compile(r"_*(editable_*)?(impl_)?pilotfish", re.IGNORECASE)
PREPARE: Final = """
set -euo pipefail
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/lib
"$PYTHON" -c 'import fcntl, socket, struct
with socket.socket() as s:
    fcntl.ioctl(s, 0x8914, struct.pack("16sh14x", b"lo", 1))'  # SIOCSIFFLAGS: up
cd "$WORK"
"""
END: Final = "[ ! -e ../failed ] || { echo 'a command in a terminal of its own failed'; exit 1; }\n"
LINE_TIME: Final = "sleep 2\n"  # what a reader takes for the next line after something was started in the background


@dataclass(frozen=True, slots=True)
class Shelf:
    """What pages share.

    Attributes:
        index: a package index with our wheel.
        farm: the dependencies that are installed here, without Pilotfish.
    """

    index: Path
    farm: Path


@dataclass(frozen=True, slots=True)
class Walked:
    """How a page went: exit code of the first command that failed, and all that was printed."""

    code: int
    printed: str


def shelf(folder: Path) -> Shelf:
    """Builds the wheel into an index, and a folder of links to the dependencies."""
    index, farm = folder / "simple", folder / "farm"
    wheels = index / "pilotfish"
    wheels.mkdir(parents=True)
    subprocess.run(
        (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)),
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    links = "".join(f'<a href="{wheel.name}">{wheel.name}</a>' for wheel in wheels.glob("*.whl"))
    (wheels / "index.html").write_text(f"<!DOCTYPE html><html><body>{links}</body></html>", encoding="utf-8")
    farm.mkdir()
    for there in _site_packages().iterdir():
        if not OURS.match(there.name) and there.suffix != ".pth":
            (farm / there.name).symlink_to(there)
    return Shelf(index, farm)


def _site_packages() -> Path:
    return Path(sys.prefix) / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def environment(folder: Path, shelf: Shelf, *, installed: bool) -> dict[str, str]:
    """A fresh virtual environment and an empty HOME in ``folder``, and the variables of a shell in them."""
    venv, home, work, tools = (folder / name for name in ("venv", "home", "work", "tools"))
    subprocess.run((sys.executable, "-m", "venv", "--without-pip", str(venv)), check=True)
    site = next((venv / "lib").glob("python3*/site-packages"))
    (site / "dependencies.pth").write_text(f"{shelf.farm}\n", encoding="utf-8")
    for name, module in (("pip", "pip._internal.cli.main"), ("uvicorn", "uvicorn.main")):
        _script(venv / "bin" / name, f"#!{venv}/bin/python\n{START.format(module=module)}")
    for new in (home, work, tools, folder / "tmp"):
        new.mkdir()
    # A server needs a moment to listen; a reader tries again.
    curl = shutil.which("curl")
    _script(tools / "curl", f'#!/bin/sh\nexec {curl} --retry 20 --retry-delay 1 --retry-connrefused "$@"\n')
    found = {
        "PATH": f"{venv}/bin:{tools}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": str(home),
        "WORK": str(work),
        "TMPDIR": str(folder / "tmp"),
        "PYTHON": sys.executable,
        "LANG": "C.UTF-8",
        "PIP_INDEX_URL": shelf.index.as_uri(),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
    }
    if installed:
        words = (str(venv / "bin" / "pip"), "install", "--quiet", "pilotfish[agent]")
        subprocess.run(words, env=found, check=True, capture_output=True)
    return found


def _script(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def walk(blocks: Iterable[Block], folder: Path, shelf: Shelf) -> Walked:
    """Types the commands of a page one after the other, in namespaces of their own that end with them."""
    blocks = list(blocks)
    commands = [b for b in blocks if not b.title]
    installs = any("pip install" in block.script for block in commands)
    variables = environment(folder, shelf, installed=not installs)
    for block in blocks:
        if block.title:
            (folder / "work" / block.title).write_text(block.text, encoding="utf-8")
    script = folder / "page.sh"
    script.write_text(PREPARE + "".join(map(_typed, commands)) + END, encoding="utf-8")
    apart = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"]
    if os.geteuid() != 0:
        apart[1:1] = ["--user", "--map-root-user"]
    log = folder / "printed"
    with log.open("wb") as file:
        process = subprocess.Popen(
            (*apart, "bash", str(script)), env=variables, stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )
        try:
            code = process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            code = 124
            process.wait()
    return Walked(code, log.read_text(encoding="utf-8", errors="replace"))


def _typed(block: Block) -> str:
    """The block, with a line that names it before, and a pause after what goes on in the background."""
    return f"echo '== {block}'\n" + "".join(map(_line, block.script.splitlines()))


def _line(line: str) -> str:
    """A command; one that goes on gets a terminal of its own, and is remembered when it fails there."""
    if line.startswith(("pilotfish run ", "pilotfish attach ")) and not line.endswith(" &"):
        return f"{{ {line} || touch ../failed; }} &\n{LINE_TIME}"
    return f"{line}\n{LINE_TIME if line.endswith(' &') else ''}"
