"""Interpreters that benchmarks need beside our own: built from a hashed lock file when that has changed."""

from __future__ import annotations

import fcntl
import hashlib
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent


def built(lock: pathlib.Path, folder: pathlib.Path) -> str:
    """The interpreter of ``FOLDER/NAME``, the environment of ``NAME.txt``; building takes 20 to 120 s."""
    folder.mkdir(exist_ok=True)
    home, mark = folder / lock.stem, folder / f"{lock.stem}.lock"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    with (folder / f"{lock.stem}.busy").open("w") as busy:
        fcntl.flock(busy, fcntl.LOCK_EX)  # two benchmarks may want it at once
        if not mark.exists() or mark.read_text(encoding="ascii") != digest:
            print(f"building {home} from {lock.name}", file=sys.stderr)
            mark.unlink(missing_ok=True)
            shutil.rmtree(home, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
            pip = [str(home / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
            # the lock is whole; pip would not take its pins for those that name an extra
            options = ["--quiet", "--require-hashes", "--no-deps", "-r", str(lock)]
            subprocess.run([*pip, *options], check=True, stdout=sys.stderr)
            mark.write_text(digest, encoding="ascii")
    return str(home / "bin" / "python")
