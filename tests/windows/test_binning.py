"""Values to bin counts."""

from __future__ import annotations

import math
from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.windows.binning import (
    LevelBinner,
    NumericBinner,
    canonical,
    floats,
    lower_edge,
    number,
    reread,
    rounded,
    upper_edge,
)

FINITE = st.floats(allow_nan=False, allow_infinity=False)
ANY = st.floats()


def plain_bin(edges: list[float], x: float) -> int:
    """The rule as the document has it: round, then search; missing, +inf, -inf are the last three bins."""
    if math.isnan(x):
        return len(edges) + 1
    if math.isinf(x):
        return len(edges) + (2 if x > 0 else 3)
    return sum(e < rounded(x) for e in edges)


@given(FINITE)
def test_a_moved_edge_is_the_largest_double_that_rounds_to_it_or_below(x: float) -> None:
    """Binning unrounded values at the moved edge equals binning rounded values at the edge."""
    edge = rounded(x)
    if math.isinf(edge):  # the largest doubles round beyond the range
        return
    moved = upper_edge(edge)
    assert rounded(moved) <= edge
    assert moved >= edge
    above = math.nextafter(moved, math.inf)
    assert math.isinf(above) or rounded(above) > edge


@given(FINITE)
def test_the_lower_edge_is_the_largest_double_that_rounds_to_less(x: float) -> None:
    """Between lower and upper edge lie exactly the doubles that are this value in 12 digits."""
    value = rounded(x)
    if math.isinf(value) or value == 0:
        return
    below = lower_edge(value)
    assert rounded(below) < value
    assert rounded(math.nextafter(below, math.inf)) >= value


@given(st.lists(FINITE, min_size=1, max_size=40), st.lists(ANY, max_size=60))
def test_numeric_counts_are_those_of_the_plain_rule(edges: list[float], values: list[float]) -> None:
    """Any edges, any values: the vectorised counts and ids are those of rounding and searching one by one."""
    kept = sorted({rounded(e) for e in edges if math.isfinite(rounded(e))})
    if not kept:
        return
    binner = NumericBinner(kept)
    want = [plain_bin(kept, x) for x in values]
    assert binner.ids(np.array(values)).tolist() == want
    assert binner.counts(np.array(values)).tolist() == np.bincount(want, minlength=len(kept) + 4).tolist()
    assert binner.bins == len(kept) + 4


def test_float_noise_stays_in_its_bin() -> None:
    """.1 + .2 is .3: the last digits of float64 are no drift."""
    binner = NumericBinner([0.3])
    assert binner.counts([0.1 + 0.2] and np.array([0.1 + 0.2, 0.3, 0.3000001])).tolist() == [2, 1, 0, 0, 0]


def test_the_edges_of_the_range_are_regular_bins() -> None:
    """The largest double is a value, not an infinity."""
    largest = np.finfo(np.float64).max
    assert NumericBinner([0.0]).counts(np.array([-largest, largest, math.inf, -math.inf, math.nan])).tolist() == [
        1,
        1,
        1,
        1,
        1,
    ]


def test_texts_in_a_numeric_stream_count_as_their_numbers() -> None:
    """A column may come as text; what is no number is missing."""
    binner = NumericBinner([1.0, 2.0])
    assert binner.counts(["0.5", "1.5", "3", None, "NA", "abc", "inf", "true"]).tolist() == [2, 1, 1, 3, 1, 0]


def test_columns_of_the_standard_library_are_taken() -> None:
    """``array('d')`` and tuples are columns too."""
    assert NumericBinner([1.0]).counts(array("d", [0.0, 2.0, math.nan])).tolist() == [1, 1, 1, 0, 0]
    assert LevelBinner(["a"]).counts(("a", "b", None)).tolist() == [1, 1, 1]
    assert floats(("1", None)).tolist()[0] == 1.0


@pytest.mark.parametrize("edges", [[2.0, 1.0], [1.0, 1.0], [math.nan], [math.inf], [1.0, 1.0 + 1e-15]])
def test_edges_that_do_not_ascend_are_refused(edges: list[float]) -> None:
    """Also those that are one value in 12 digits."""
    with pytest.raises(ValueError, match="ascending"):
        NumericBinner(edges)


def test_counts_add() -> None:
    """Counts of parts sum to the counts of the whole."""
    x = np.random.default_rng(1).normal(size=999)
    binner = NumericBinner(np.linspace(-2, 2, 31))
    parts = np.sum([binner.counts(p) for p in np.split(x, [10, 500])], axis=0)
    assert (parts == binner.counts(x)).all()


LEVELS = st.lists(
    st.one_of(st.text(max_size=5), st.floats(allow_nan=False, allow_infinity=False).map(lambda x: canonical(x) or "")),
    unique=True,
    max_size=12,
)


@given(LEVELS, st.lists(st.one_of(st.none(), st.text(max_size=5)), max_size=40))
def test_level_counts_and_ids_agree_for_texts(levels: list[str], values: list[str | None]) -> None:
    """counts is the histogram of ids, and a level is always found."""
    binner = LevelBinner(levels)
    column = [*values, *levels]
    ids = binner.ids(column)
    assert ids[len(values) :].tolist() == list(range(len(levels)))
    assert binner.counts(column).tolist() == np.bincount(ids, minlength=len(levels) + 2).tolist()


@given(st.lists(st.floats(-1e9, 1e9), unique_by=canonical, max_size=12), st.lists(st.floats(), max_size=40))
def test_numbers_find_the_level_of_their_canonical_text(levels: list[float], values: list[float]) -> None:
    """A number counts where its canonical text would; NaN is missing, the rest other."""
    texts = [canonical(x) or "" for x in levels]
    binner = LevelBinner(texts)
    column = np.array([*values, *levels])
    want = [
        len(texts) + 1 if x != x else texts.index(canonical(x) or "") if canonical(x) in texts else len(texts)
        for x in column.tolist()
    ]
    assert binner.ids(column).tolist() == want
    assert binner.counts(column).tolist() == np.bincount(want, minlength=len(texts) + 2).tolist()


def test_one_category_has_one_rendering() -> None:
    """true is True, 3 is 3.0 is "3.0"; a post code is no number."""
    binner = LevelBinner(["true", "3", "007"])
    assert binner.counts(["true", "True", "3", "3.0", "007", "7"]).tolist() == [2, 2, 1, 1, 0]
    assert binner.counts(np.array([3.0, 7.0, math.nan, 3.0000000000000004])).tolist() == [0, 2, 0, 1, 1]


def test_missing_words_are_missing_unless_they_are_levels() -> None:
    """A country NA that the reference lists is a country."""
    assert LevelBinner(["NO"]).counts(["NO", "NA", "", None, "null"]).tolist() == [1, 0, 4]
    assert LevelBinner(["NO", "NA"]).counts(["NO", "NA", "", None]).tolist() == [1, 1, 0, 2]


def test_levels_called_other_and_missing_are_ordinary() -> None:
    """`other` and `missing` are positions, not names."""
    assert LevelBinner(["other", "missing"]).counts(["other", "missing", "x", None]).tolist() == [1, 1, 1, 1]


def test_infinities_are_no_level() -> None:
    """They are other, whatever the levels."""
    assert LevelBinner(["1"]).counts(np.array([math.inf, -math.inf, 1.0])).tolist() == [1, 2, 0]


def test_large_integers_are_told_apart() -> None:
    """Codes of more than 12 digits are exact."""
    binner = LevelBinner(["1234567890123", "1234567890124"])
    assert binner.counts(np.array([1234567890123.0, 1234567890124.0, 1234567890125.0])).tolist() == [1, 1, 1, 0]


def test_unknown_texts_are_remembered_only_so_far() -> None:
    """A stream of ever new texts does not grow the binner."""
    binner = LevelBinner(["a"])
    for start in range(0, 5000, 500):
        assert binner.counts([f"x{i}" for i in range(start, start + 500)]).tolist() == [0, 500, 0]
    assert len(binner._seen) < 300


def test_repeated_levels_are_refused() -> None:
    """Two bins of one name would split its rows."""
    with pytest.raises(ValueError, match="unique"):
        LevelBinner(["a", "a"])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (np.bool_(False), "false"),
        (3, "3"),
        (3.0, "3"),
        (-0.0, "0"),
        (0.1 + 0.2, "0.3"),
        (math.nan, None),
        (None, None),
        ("3.0", "3.0"),
        (2.0**60, "1.15292150461e+18"),
        (10**20, "100000000000000000000"),
        (math.inf, "inf"),
        (np.float64(2.5), "2.5"),
    ],
)
def test_canonical_rendering(value: object, text: str | None) -> None:
    """Booleans in small letters, integers without .0, others in 12 digits."""
    assert canonical(value) == text


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("3.0", "3"),
        ("+3", "3"),
        ("1e3", "1000"),
        ("007", "007"),
        ("-007", "-007"),
        ("1_000", "1_000"),
        ("0.50", "0.5"),
        ("12345678901234567890", "12345678901234567890"),
        ("TRUE", "true"),
        ("nan", "nan"),
        ("-", "-"),
        ("", ""),
    ],
)
def test_rereading_texts(text: str, want: str) -> None:
    """Only what is surely a number or a boolean is rewritten."""
    assert reread(text) == want


@given(st.text(max_size=8))
def test_rereading_is_stable(text: str) -> None:
    """A canonical text stays as it is."""
    assert reread(reread(text)) == reread(text)


def test_numbers_of_texts() -> None:
    """Missing words and words are NaN."""
    assert [number(t) for t in ("1.5", "-inf", "false")] == [1.5, -math.inf, 0.0]
    assert all(math.isnan(number(t)) for t in ("", "x", None, "N/A", "nan"))
