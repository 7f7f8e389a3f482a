"""The golden pages of the standard Snapshot. ``python -m tests.exporters.golden`` writes them anew: read the diff."""

from __future__ import annotations

import platform
from pathlib import Path

from pilotfish_exporters.prometheus import render
from tests.standard import standard_snapshot

FOLDER = Path(__file__).parent.parent / "golden"
ACCEPT = {"prometheus.txt": "", "openmetrics.txt": "application/openmetrics-text;version=1.0.0"}


def page(name: str) -> bytes:
    """A golden page as it is now: without the agent's own process, the Python version named PYTHON."""
    body = render(
        standard_snapshot(), accept=ACCEPT[name], static_labels={"team": "risk"}, proc="/nonexistent/proc"
    ).body
    return body.replace(f'python="{platform.python_version()}"'.encode(), b'python="PYTHON"')


if __name__ == "__main__":
    for file in ACCEPT:
        (FOLDER / file).write_bytes(page(file))
