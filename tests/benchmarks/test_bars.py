"""The bars harness: a row that fails, crashes or is not reached is short, and the exit code says so."""

import pathlib
import sys
from collections.abc import Callable

import pytest

from benchmarks import bars, overhead
from benchmarks.bars import Result, bar, rows

HERE = pathlib.Path(bars.__file__).parent
Run = Callable[..., tuple[int, list[str]]]


def crash() -> Result:
    raise ValueError("no\nluck")


ROWS = {
    "good": (lambda: Result("1 s", holds=True), False),
    "late": (lambda: Result("9 s", holds=False), False),
    "gone": (lambda: Result("no such device", holds=None), False),
    "bad": (crash, False),
    "slow": (lambda: Result("60 s", holds=True), True),
}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path) -> Run:
    """Runs the harness over rows of this file."""

    def go(*words: str, among: tuple[str, ...] = tuple(ROWS), **env: str) -> tuple[int, list[str]]:
        chosen = [bar(n, "<= 5 s", slow=ROWS[n][1])(ROWS[n][0]).__bar__ for n in among]  # type: ignore[attr-defined]
        monkeypatch.setattr(bars, "rows", lambda _group: iter(chosen))
        monkeypatch.setattr(bars, "RESULTS", tmp_path)
        monkeypatch.setattr(sys, "argv", ["bars", "walking", *words])
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        return bars.main(), capsys.readouterr().out.splitlines()

    return go


def test_every_row_has_its_line_and_the_last_one_counts(run: Run) -> None:
    """BAR, name, measured, bar, verdict, versions, tab-separated; a crash is short and hides no other row."""
    code, lines = run()
    cells = [line.split("\t") for line in lines[:-1]]
    assert [(c[0], c[1], c[4]) for c in cells] == [
        ("BAR", "good", "ok"),
        ("BAR", "late", "short"),
        ("BAR", "gone", "absent"),
        ("BAR", "bad", "short"),
    ]
    assert cells[3][2] == "crashed: ValueError: no luck"
    assert cells[0][5].startswith("pilotfish ")
    assert lines[-1] == "bars walking: 1 of 4 hold, 1 absent"
    assert code == 1


def test_all_good_or_absent_is_exit_0(run: Run) -> None:
    """What this machine cannot tell does not fail."""
    assert run(among=("good", "gone"))[0] == 0


def test_no_row_at_all_is_a_failure(run: Run) -> None:
    """A typing error in --only must not look like success."""
    assert run("--only", "nothing like it")[0] == 1


def test_time_that_is_over_makes_the_rest_short(run: Run) -> None:
    """BARS_S bounds the whole."""
    code, lines = run(BARS_S="0")
    assert code == 1
    assert lines[0].split("\t")[2:5:2] == ["not reached", "short"]


def test_slow_rows_are_kept_with_their_commit(run: Run, tmp_path: pathlib.Path) -> None:
    """The day's file holds the newest run of each slow row."""
    assert run("--slow")[0] == 0
    run("--slow")
    (path,) = tmp_path.iterdir()
    (line,) = path.read_text().splitlines()
    assert line.split("\t")[1:4] == ["BAR", "slow", "60 s"]


@pytest.mark.parametrize("group", ["walking", "hardware"])
def test_the_rows_of_a_group_are_found(group: str) -> None:
    """The folder is the registry; names are unique."""
    found = list(rows(group))
    assert len({r.name for r in found}) == len(found) > 30
    assert {r.slow for r in found} == {True, False}


def test_what_the_overhead_page_shows_are_rows_of_bars() -> None:
    """By name: a row that is renamed would be missing at the end of `make bench`."""
    known = {r.name for group in bars.GROUPS if (HERE / group).is_dir() for r in rows(group)}
    assert overhead.SHOWN.keys() <= known
