"""Interpreters of real servers: ``.servers/NAME``, built from the hashed lock file ``locks/NAME.txt`` when needed."""

from __future__ import annotations

import hashlib
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
FOLDER = ROOT / ".servers"


def locks() -> list[str]:
    """Names of all environments."""
    return sorted(path.stem for path in (HERE / "locks").glob("*.txt"))


def python(name: str) -> str:
    """The interpreter of an environment; builds it (25 to 75 s, 300 to 850 MB) when its lock file has changed."""
    lock = HERE / "locks" / f"{name}.txt"
    folder, mark = FOLDER / name, FOLDER / f"{name}.lock"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    if not mark.exists() or mark.read_text(encoding="ascii") != digest:
        print(f"building {folder} from {lock.name}", file=sys.stderr)
        mark.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
        subprocess.run([*pip, "--quiet", "--require-hashes", "-r", str(lock)], check=True, stdout=sys.stderr)
        mark.write_text(digest, encoding="ascii")
    return str(folder / "bin" / "python")
