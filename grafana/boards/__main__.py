"""``python -m grafana.boards``: writes grafana/dashboards/*.json; a test compares them with what is committed."""

from __future__ import annotations

import pathlib

from grafana.boards import drift, hardware, model, overview

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "dashboards"


def texts() -> dict[str, str]:
    """File name -> content."""
    boards = (overview.board(), model.board(), drift.board(), hardware.board())
    return {f"{board.name}.json": board.text() for board in boards}


def main() -> None:
    """Writes all of them."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in texts().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
