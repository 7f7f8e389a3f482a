"""The table of detectors: what counts as found, as a false alarm, as an answer."""

import pathlib
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import ks_2samp

from benchmarks.peers import table, worlds
from benchmarks.peers.drivers import pilotfish, scipy_ks
from benchmarks.peers.protocol import Differs, Found, Judge, Sequential, Windowed, each, measured, window_delays
from benchmarks.peers.worlds import Values, World


def small(shifts: list[int] | None, rows: int = 40, columns: int = 2) -> World:
    """Zeros, then ones from the shift of each column on."""
    live = np.zeros((rows, columns))
    for column, row in enumerate(shifts or []):
        live[row:, column] = 1
    where = None if shifts is None else np.array(shifts)
    return World("one", "numeric", np.zeros((10, columns)), live, where)


def test_delay_counts_from_the_shift_to_the_end_of_the_first_alarming_window() -> None:
    """A window that holds shifted rows counts from its shift on; alarms before it are false."""
    world = small([12, 25])
    always: Judge = each(lambda w: [True] * w.shape[1])
    full: Judge = each(lambda w: list(w.min(0) > 0))
    never: Judge = each(lambda w: [False] * w.shape[1])
    assert world.shifts is not None
    assert window_delays(always, world.windows(10), world.shifts) == [20 - 12, 30 - 25]
    assert window_delays(full, world.windows(10), world.shifts) == [30 - 12, 40 - 25]
    assert window_delays(never, world.windows(10), world.shifts) == [None, None]


def test_what_a_peer_raises_is_an_answer_and_a_wrong_replica_is_not(tmp_path: pathlib.Path) -> None:
    """A detector that cannot take a world says so in the table; a replica that differs ends the run."""
    worlds.save(small(None), tmp_path)

    def broken(_reference: Values, _kind: worlds.Kind) -> Judge:
        raise ValueError("no NaN, please")

    def differs(_reference: Values, _windows: Values, _kind: worlds.Kind) -> str:
        raise Differs("by 1")

    found = measured({"peer": Windowed(broken, rows=10)}, tmp_path)["peer"]
    assert found.failed == {"one": "ValueError: no NaN, please"}
    assert not found.alarms
    with pytest.raises(Differs):
        measured({"peer": Windowed(lambda _r, _k: each(lambda w: [False] * w.shape[1]), 10, differs)}, tmp_path)


def test_sequential_detectors_see_values_and_no_holes(tmp_path: pathlib.Path) -> None:
    """A detector of values is asked value by value, columns apart; missing values are not given to it."""
    world = small([20, 30])
    world.live[25, 0] = np.nan
    worlds.save(world, tmp_path)
    seen: list[float] = []

    def make() -> Callable[[float], bool]:
        def update(value: float) -> bool:
            seen.append(value)
            return value > 0 and sum(seen) > 3

        seen.clear()
        return update

    found = measured({"peer": Sequential(make, before=5)}, tmp_path)["peer"]
    assert found.delays == {"one": [4, 4]}
    assert not np.isnan(seen).any()


def test_every_column_shifts_at_a_row_of_its_own_and_files_keep_it(tmp_path: pathlib.Path) -> None:
    """The same frame each time; the mean moves where it says."""
    world = worlds.shifted("mean +.5 sd", columns=3)
    assert world.shifts is not None
    assert len(set(world.shifts.tolist())) == 3
    for column, row in zip(world.live.T, world.shifts, strict=True):
        assert column[row:].mean() - column[:row].mean() == pytest.approx(0.5, abs=0.05)
    worlds.save(world, tmp_path)
    (again,) = worlds.saved(tmp_path)
    assert np.array_equal(again.live, worlds.shifted("mean +.5 sd", columns=3).live)
    assert np.array_equal(again.reference, world.reference)


def test_ks_threshold_is_the_one_of_scipy() -> None:
    """The critical statistic and scipy's p decide alike; the statistic is scipy's."""
    rng = np.random.default_rng(1)
    known = np.sort(rng.standard_normal(2_000))
    for shift in np.linspace(0, 0.3, 13):
        window = rng.standard_normal(300) + shift
        wanted = ks_2samp(known, window, method="asymp")
        assert scipy_ks.distance(known)(window) == pytest.approx(wanted.statistic, abs=1e-12)
        assert (wanted.statistic > scipy_ks.critical(2_000, 300, 1e-3)) == (wanted.pvalue < 1e-3)


def test_bins_of_ours_hold_every_row() -> None:
    """Missing values and unseen levels have bins of their own."""
    rng = np.random.default_rng(2)
    values = np.where(rng.random(1_000) < 0.1, np.nan, rng.standard_normal(1_000))
    numeric = pilotfish.Column(values, "numeric")
    assert numeric.counts(values).sum() == 1_000
    assert numeric.counts(values)[:, -3].sum() == np.isnan(values).sum()
    levels = pilotfish.Column(np.array([0.0, 1.0, 2.0] * 100), "categorical")
    assert levels.bins(np.array([0.0, 2.0, 3.0, 7.0])).tolist() == [0, 2, 3, 3]
    assert levels.size == 5


def test_hindsight_takes_the_best_window_of_each_shift() -> None:
    """Nobody could have chosen it: the smallest median, shift by shift; its alarms are the most of any window."""
    found = {scipy_ks.fixed(w): Found({"stable": [0, 100]}, {"a": [w, w], "b": [w, None]}) for w in scipy_ks.WINDOWS}
    found[scipy_ks.fixed(200)] = Found({"stable": [3, 100]}, {"a": [500, 500], "b": [7, 9]})
    best = table.hindsight(found)
    assert best.delays == {"a": [100, 100], "b": [7, 9]}
    assert best.alarms == {"stable": [3, 100]}


def test_cells_say_how_many_were_found() -> None:
    """Median of all, and how many of how many where some were never found; what a peer raised."""
    found = Found(
        delays={"all": [100, 300, 200], "most": [100, 300, None], "few": [1, None, None]}, failed={"x": "E: y"}
    )
    assert [table.cell(found, w) for w in ("all", "most", "few", "x", "y")] == [
        "200",
        "300 (2/3)",
        "never (1/3)",
        "raises E",
        "-",
    ]
