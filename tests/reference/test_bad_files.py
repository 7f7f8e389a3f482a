"""Wrong data: one clear line and the right exit code."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from pilotfish_agent.dispatch import dispatch
from tests.reference.bad_files import BAD_FILES, BadFile, argv, good_csv, good_jsonl, write


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A reference of the good file."""
    folder = tmp_path_factory.mktemp("good")
    (folder / "good.csv").write_bytes(good_csv())
    path = str(folder / "ref.json")
    assert dispatch(["reference", "build", str(folder / "good.csv"), "-o", path, "--independent"]) == 0
    return path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("bad", BAD_FILES, ids=lambda b: f"{b.command.split()[-1]}: {b.name}")
def test_a_wrong_file_is_one_line(
    bad: BadFile, reference: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line names the place, the value, the expectation; nothing is written; the exit code is the contract's."""
    if bad.name.startswith("an unreadable") and not os.path.exists(bad.place):
        pytest.skip("no /proc here")
    data = write(bad, str(tmp_path))
    output = str(tmp_path / "out.json")
    capsys.readouterr()
    code = dispatch(argv(bad, data, reference, output))
    out, err = capsys.readouterr()
    errors = [line for line in err.splitlines() if not line.startswith("pilotfish: notice: ")]
    assert code == bad.exit_code, err
    assert len(errors) == 1, err
    assert errors[0].startswith("pilotfish: ")
    assert all(word in errors[0] for word in bad.words), errors[0]
    assert len(errors[0]) < 500
    assert out == ""
    assert not os.path.exists(output)


def test_the_table_is_as_large_as_promised() -> None:
    """At least twenty wrong files a command, each named once."""
    assert min(Counter(b.command for b in BAD_FILES).values()) >= 20
    assert len({(b.command, b.name) for b in BAD_FILES}) == len(BAD_FILES)


@pytest.mark.parametrize("content", [good_csv(), good_jsonl()], ids=["csv", "jsonl"])
def test_the_good_file_is_good(content: bytes, tmp_path: Path) -> None:
    """What the wrong ones are made from is accepted."""
    (tmp_path / "data").write_bytes(content)
    assert dispatch(["reference", "build", str(tmp_path / "data"), "-o", str(tmp_path / "r"), "--independent"]) == 0
