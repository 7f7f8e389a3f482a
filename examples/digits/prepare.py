"""Trains the model and builds its reference: ``model.joblib`` and ``reference.json`` in a folder.

python -m examples.digits.prepare FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from examples.digits.demo import DemoError, Place, prepare


def main(arguments: list[str]) -> int:
    """Does nothing when both are there."""
    if len(arguments) != 1:
        print(f"prepare: expected one folder, got {arguments}", file=sys.stderr)
        return 2
    folder = Path(arguments[0])
    if all((folder / name).exists() for name in ("model.joblib", "reference.json")):
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    try:
        print("\n".join(map(str, prepare(Place(folder), None))))
    except DemoError as error:
        print(f"prepare: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
