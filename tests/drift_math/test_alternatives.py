"""Whatever the log ratios look like, stacked alternatives gain what the plain product gives."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish_agent.drift.alternatives import Alternatives
from pilotfish_agent.drift.layout import Floats
from pilotfish_agent.drift.tables import StreamTables
from tests.drift_math import golden


def gains(tables: tuple[StreamTables, ...], counts: list[Floats]) -> list[Floats]:
    """Of each stream the gains of both levels (2, J) in the order of its table."""
    made = Alternatives(tables, np.float64)
    padded = np.zeros((len(tables), made.width))
    for f, c in enumerate(counts):
        padded[f, : len(c)] = c
    out = np.full((2, len(tables), made.size + 4), np.nan)
    phis = np.array([t.phi for t in tables])
    made.gains(padded, np.pad(padded.cumsum(1), ((0, 0), (1, 0))), padded.sum(1) / phis, out)
    assert golden.close(
        out[..., made.size :], -5e-4 * padded.sum(1)[None, :, None] / phis[:, None] * np.ones((2, 1, 4))
    )
    found = []
    for f, table in enumerate(tables):
        order = made.order[f, : made.size]
        assert sorted(order[order >= 0]) == list(range(len(table.log_ratios)))
        one = np.empty((2, len(table.log_ratios)))
        one[:, order[order >= 0]] = out[:, f, : made.size][:, order >= 0]
        found.append(one)
        assert not made.weights[f, : made.size][order < 0].any()
        assert made.weights[f].sum() == pytest.approx(1.0)
    return found


def plain(table: StreamTables, counts: Floats) -> Floats:
    """The formula as it stands."""
    wanted: Floats = (table.log_ratios @ counts - counts.sum() * table.penalties) / table.phi
    return wanted


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_gains_of_real_dictionaries(seed: int) -> None:
    """Streams of every kind together, special bins hit and not."""
    tables, rng = golden.assorted(), np.random.default_rng(seed)
    counts = [rng.integers(0, 30, len(t.pi)).astype(np.float64) * (rng.random(len(t.pi)) < 0.7) for t in tables]
    for table, one, found in zip(tables, counts, gains(tables, counts), strict=True):
        assert golden.close(found, plain(table, one))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.sampled_from([(), (6,), (4, 5, 6)]))
def test_gains_of_any_numbers(seed: int, values: int, special: tuple[int, ...]) -> None:
    """Rows of one to four distinct values, sets across special bins, constant rows: nothing is mistaken for a set."""
    rng = np.random.default_rng(seed)
    base = golden.assorted()[1]
    size = len(base.log_ratios)
    ratios = rng.normal(size=(size, values))[np.arange(size)[:, None], rng.integers(0, values, (size, 7))]
    ratios[:3] = rng.normal(size=(3, 7))
    table = dataclasses.replace(base, other_ratios=ratios, special=special)
    counts = rng.integers(0, 30, 7).astype(np.float64)
    assert golden.close(gains((table,), [counts])[0], plain(table, counts))


def test_the_structure_of_a_numeric_dictionary_is_found() -> None:
    """At most a few clipped tilts stay rows of a matrix, else a tick would be slow again."""
    for table in golden.assorted():
        made = Alternatives([table], np.float64)
        assert made._full <= 2
        read = made._sums.nbytes + made._factors.nbytes + made._lift.nbytes + made._runs.nbytes
        assert read < table.log_ratios.nbytes or len(table.pi) < 10
