"""Wrong inputs through real processes: one clear line and the right exit code."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.bad_input import cases
from tests.config import museum


def test_configs() -> None:
    """A handful of the museum through a real process (tests/config checks every one in this process)."""
    chosen = [
        c for c in cases.configs() if c.name.split(": ")[1] in {"alias", "tab", "utf16", "unknown_key", "list_as_key"}
    ]
    assert len(chosen) == 5
    assert cases.faults(chosen) == []


def test_enough_cases(tmp_path: Path) -> None:
    """At least forty wrong inputs, each named once, for all three commands."""
    every = [*cases.configs(), *cases.data_files(str(tmp_path))]
    assert len(every) >= 40
    assert len({c.name for c in every}) == len(every)
    assert {c.name.split(":")[0] for c in every} == {"config check", "reference build", "replay"}


@pytest.mark.parametrize(
    ("exit_code", "words", "found"),
    [
        (0, ("unknown",), "exit 2, not 0"),
        (2, ("nothing of the kind",), "no ['nothing of the kind']"),
        (2, ("unknown section",), ""),
    ],
    ids=["exit code", "words", "right"],
)
def test_the_judge_sees_faults(exit_code: int, words: tuple[str, ...], found: str) -> None:
    """A wrong exit code and a line that does not say it are found."""
    path = next(p for p in museum.BAD if p.stem == "unknown_section")
    case = cases.Case("x", ("config", "check", str(path)), exit_code, words)
    assert found in cases.fault(case)
    assert bool(cases.fault(case)) == bool(found)


def test_the_judge_sees_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash is several lines, even with the right exit code."""
    monkeypatch.setattr(
        cases, "COMMAND", (sys.executable, "-c", "import sys; print('a\\nb', file=sys.stderr); sys.exit(2)")
    )
    assert "2 lines" in cases.fault(cases.Case("x", (), 2, ()))
