"""The whole page over frozen machines: a series is there with its number, or absent with its reason, and never 0."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from pilotfish_agent.hardware._runner import PACKAGE
from pilotfish_core import registry
from tests.hardware.exposed import DENIED, MACHINES, golden, shown
from tests.system import needs

OF_GPUS = re.compile(r"pilotfish_(process_)?gpu_")
"""Where there is no GPU one line says so, not one for each of its signals."""


def series(page: str) -> dict[str, str]:
    """Value by series, what collectors say of themselves left out."""
    lines = (line for line in page.splitlines() if not line.startswith(("#", "pilotfish_collector_")))
    return dict(line.rsplit(" ", 1) for line in lines)


def gaps(page: str) -> dict[str, str]:
    """Reason by metric that is absent."""
    found = re.finditer(r'^pilotfish_signal_unavailable{.*reason="(\w+)",signal="(\w+)"}', page, re.MULTILINE)
    return {m[2]: m[1] for m in found}


def metrics(page: str) -> set[str]:
    """Those that have series."""
    return {one.partition("{")[0] for one in series(page)} - {"pilotfish_signal_unavailable"}


@pytest.mark.parametrize("name", MACHINES)
def test_each_machine_gives_its_golden_page(name: str, tmp_path: Path) -> None:
    """All collectors of both scopes, through the exporter; `python -m tests.hardware.exposed` writes them anew."""
    assert shown(name, tmp_path) == golden(name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", MACHINES)
def test_every_declared_metric_is_there_or_absent_with_a_reason(name: str) -> None:
    """None is forgotten, none is both, and no collector has failed."""
    page = golden(name).read_text(encoding="utf-8")
    declared = {m.name for _, part in registry.parts(PACKAGE) for m in part.METRICS if not OF_GPUS.match(m.name)}
    assert declared - metrics(page) - gaps(page).keys() == set()
    assert metrics(page) & gaps(page).keys() == set()
    assert "failed" not in gaps(page).values()
    assert set(re.findall(r"^pilotfish_collector_success{.*} (.*)$", page, re.MULTILINE)) == {"1.0"}


def test_without_rights_nothing_is_said_that_was_not_read() -> None:
    """What is shown is what is shown with all rights; of all else the page says that rights are missing."""
    allowed, denied = (golden(n).read_text(encoding="utf-8") for n in ("bare-debian", DENIED))
    shown_still = {s: v for s, v in series(denied).items() if not s.startswith("pilotfish_signal_unavailable")}
    assert shown_still.items() <= series(allowed).items()
    missing = metrics(allowed) - metrics(denied)
    assert len(missing) > 20
    assert {gaps(denied)[name] for name in missing} == {"permission"}


@needs("promtool", package="prometheus")
@pytest.mark.parametrize("name", MACHINES)
def test_promtool_finds_nothing_to_say(name: str) -> None:
    """`promtool check metrics` is clean."""
    done = subprocess.run(
        ("promtool", "check", "metrics"), input=golden(name).read_bytes(), capture_output=True, timeout=60
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
