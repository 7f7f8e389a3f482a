"""Which columns are watched, as what, with which bins."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.drift import kept
from pilotfish_agent.drift.builder import ReferenceBuilder
from pilotfish_agent.drift.features import Config
from pilotfish_agent.drift.kept import MAX_CHARACTERS, KeptColumn, Reservoir
from pilotfish_agent.drift.layout import edges_from_reference
from pilotfish_agent.drift.redact import redacted
from pilotfish_agent.drift.reference import FeatureReference, Reference
from pilotfish_agent.drift.rows import Rows
from pilotfish_agent.windows.binning import rounded
from pilotfish_core.config import options
from pilotfish_core.errors import DataError, EmptyDataError
from pilotfish_core.nouns import Column, ObservationBatch

RNG = np.random.default_rng(20240229)
N = 1_000


def batch(features: dict[str, Column] | None = None, **more: Any) -> ObservationBatch:
    """A batch of these columns."""
    columns = features or {}
    rows = more.pop("rows", len(next(iter(columns.values()), ())))
    return ObservationBatch("m", None, "sdk", rows, columns, **more)


def built(features: dict[str, Column], **options_: Any) -> Reference:
    """A reference of one batch."""
    builder = ReferenceBuilder(**options_)
    builder.add(batch(features))
    return builder.reference(created=0.0)


def feature(features: dict[str, Column], name: str = "x", **options_: Any) -> FeatureReference:
    """One stream of it."""
    found = built(features, **options_).feature(name)
    assert found is not None
    return found


def reason(column: Column, **options_: Any) -> str:
    """Why a column is ignored, beside one that is not."""
    made = built({"ok": RNG.normal(size=len(column)), "x": column}, **options_)
    return {i.name: i.reason for i in made.ignored}["x"]


def test_numbers_get_quantile_edges() -> None:
    """The edges of the layout rule, in 12 digits; all rows counted; special bins last."""
    x = RNG.normal(size=N)
    column = np.concatenate((x, [math.nan, math.nan, math.inf, -math.inf]))
    found = feature({"x": column})
    assert found.kind == "numeric"
    assert found.edges is not None
    assert found.edges.tolist() == [rounded(e) for e in edges_from_reference(x)]
    assert found.counts[-3:].tolist() == [2, 1, 1]
    assert found.rows == found.counts.sum() == N + 4
    assert found.special == {
        "missing": len(found.edges) + 1,
        "pinf": len(found.edges) + 2,
        "ninf": len(found.edges) + 3,
    }
    assert found.log_abs_mean == pytest.approx(np.log(np.abs(x)).mean())
    assert found.zero_share == 0


@pytest.mark.parametrize(
    ("column", "levels"),
    [
        (["b", "a", "c", None] * 250, ("a", "b", "c")),
        (["true", "False"] * 500, ("false", "true")),
        (np.array([1.0, 2.0, 3.0, 4.0] * 250), ("1", "2", "3", "4")),
        (np.arange(20.0).repeat(50), tuple(sorted(map(str, range(20))))),
        (np.full(N, 2.5), ("2.5",)),
        (["only"] * N, ("only",)),
        (["1", "2", "3.0"] * 300, ("1", "2", "3")),
    ],
)
def test_categories(column: Column, levels: tuple[str, ...]) -> None:
    """Texts, booleans, at most 20 whole numbers, constants: levels by frequency, ties by name."""
    found = feature({"x": column, "ok": RNG.normal(size=len(column))})
    assert found.kind == "categorical"
    assert found.levels == levels
    assert len(found.counts) == len(levels) + 2
    assert found.special == {}


def test_more_whole_numbers_are_numbers() -> None:
    """21 distinct values."""
    assert feature({"x": RNG.permutation(np.arange(21.0).repeat(50))}).kind == "numeric"


def test_texts_that_are_numbers_are_numbers() -> None:
    """When more than 99 % of them parse; the others count as missing."""
    texts = [f"{x:.3f}" for x in RNG.normal(size=N)]
    texts[::200] = ["odd"] * 5
    found = feature({"x": texts})
    assert found.kind == "numeric"
    assert found.counts[found.special["missing"]] == 5
    texts[::50] = ["odd"] * 20
    assert feature({"x": texts, "ok": RNG.normal(size=N)}, types={"x": "categorical"}).kind == "categorical"


def test_asked_types_are_not_guessed() -> None:
    """features.types and --numeric, --categorical."""
    codes = RNG.permutation(np.arange(5.0).repeat(200))
    assert feature({"x": codes}, types={"x": "numeric"}).kind == "numeric"
    many = RNG.permutation(np.arange(50.0).repeat(20))
    found = feature({"x": many}, types={"x": "categorical"})
    assert found.levels is not None
    assert len(found.levels) == 50


def test_levels_are_the_frequent_ones() -> None:
    """At most 63, each in 20 rows or more; the rest is other."""
    texts = [f"l{i % 80:02}" for i in range(80 * 30)] + ["rare"] * 19
    found = feature({"x": texts})
    assert found.levels == tuple(f"l{i:02}" for i in range(63))
    assert found.counts[-2:].tolist() == [17 * 30 + 19, 0]


def test_private_texts_are_no_levels() -> None:
    """A redactor's match counts as other, whatever its frequency."""
    texts = ["ann@example.org", "4111 1111 1111 1111", "+47 22 12 34 56", "sk-abcdefghijklmnop1234", "NO"] * 200
    assert feature({"x": texts}).levels == ("NO",)


@pytest.mark.parametrize(
    "text", ["a@b.co", "4111111111111111", "+1 415 555 2671", "(415) 555-2671", "ghp_" + "a1" * 12]
)
def test_redactors_match(text: str) -> None:
    """Mail, card, phone, token."""
    assert redacted(text)
    assert redacted(f"x {text} y")


@pytest.mark.parametrize(
    "text", ["NO", "2024-11-23", "1234567890123", "v1.2.3", "Mozilla/5.0", "a" * 40, "12.5", "x@y"]
)
def test_redactors_leave_ordinary_values(text: str) -> None:
    """Dates, versions, plain numbers, words."""
    assert not redacted(text)


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ([f"u{i}" for i in range(N)], "identifier"),
        ([f"2024-01-{1 + i % 28:02}T00:00:{i % 60:02}Z" for i in range(N)], "dates"),
        (np.arange(1_700_000_000.0, 1_700_000_000.0 + N), "rise"),
        (np.full(N, math.nan), "missing"),
        ([None, "", "NA"] * 400, "missing"),
        (np.concatenate((RNG.normal(size=150), np.full(850, math.nan))), "150 numbers"),
    ],
)
def test_columns_that_are_no_features(column: Column, words: str) -> None:
    """Named with the reason."""
    assert words in reason(column)


def test_rising_floats_are_a_feature() -> None:
    """Only whole numbers are taken for a counter."""
    assert feature({"x": np.sort(RNG.normal(size=N))}).kind == "numeric"


def test_a_rising_counter_can_be_asked_for() -> None:
    """--numeric overrules the guess; --categorical does for identifiers and dates."""
    assert feature({"x": np.arange(float(N))}, types={"x": "numeric"}).kind == "numeric"
    days = [f"2024-01-{1 + i % 28:02}" for i in range(N)]
    assert feature({"x": days}, types={"x": "categorical"}).levels is not None


def test_ignored_columns_are_listed() -> None:
    """features.ignore, and lists that are too few or too long."""
    builder = ReferenceBuilder(ignore=["b"])
    few = np.full((N, 3), np.nan)
    few[:10] = 1.0
    builder.add(batch({"a": RNG.normal(size=N), "b": RNG.normal(size=N), "e": few, "f": np.zeros((N, 5_000))}))
    made = builder.reference(created=1.5, model="m", version="2", source="f.csv", skipped_rows=3)
    assert [(i.name, i.reason[:8]) for i in made.ignored] == [("b", "set by t"), ("e", "not enou"), ("f", "lists of")]
    assert [f.name for f in made.features] == ["a"]
    assert (made.created, made.model, made.version, made.source, made.skipped_rows) == (1.5, "m", "2", "f.csv", 3)
    assert made.features[0].phi_source == "unknown"
    assert builder.reference(created=0.0, independent=True).features[0].phi_source == "set"


def test_predictions_are_streams() -> None:
    """Classes, values, probabilities: @prediction, and @score where there is one."""
    builder = ReferenceBuilder()
    p = RNG.random(N)
    builder.add(batch(rows=N, probabilities=np.column_stack((p, 1 - p)), n_classes=2))
    made = builder.reference(created=0.0)
    assert {f.name: f.kind for f in made.features} == {"@prediction": "categorical", "@score": "numeric"}
    values = ReferenceBuilder()
    values.add(batch(rows=N, prediction=RNG.normal(size=N)))
    assert values.reference(created=0.0).features[0].kind == "numeric"
    codes = ReferenceBuilder()
    codes.add(batch(rows=N, prediction=RNG.permutation(np.arange(50.0).repeat(20))))
    assert codes.reference(created=0.0).features[0].kind == "categorical"
    regression = ReferenceBuilder(task="regression")
    regression.add(batch(rows=N, prediction=RNG.permutation(np.arange(50.0).repeat(20))))
    assert regression.reference(created=0.0).features[0].kind == "numeric"


def test_a_record_without_features_leaves_them_alone() -> None:
    """And one with some counts as missing for the others."""
    builder = ReferenceBuilder()
    builder.add(batch({"a": RNG.normal(size=N), "b": RNG.normal(size=N)}))
    builder.add(batch(rows=300, prediction=RNG.normal(size=300)))
    builder.add(batch({"a": RNG.normal(size=50)}))
    made = builder.reference(created=0.0)
    a, b, prediction = (made.feature(n) for n in ("a", "b", "@prediction"))
    assert a is not None
    assert b is not None
    assert prediction is not None
    assert (a.rows, b.rows, prediction.rows) == (N + 50, N + 50, 300)
    assert b.counts[b.special["missing"]] == 50
    assert made.rows == N + 350


def test_too_little_is_said() -> None:
    """Fewer than 200 rows, or no column."""
    builder = ReferenceBuilder()
    builder.add(batch({"a": RNG.normal(size=199)}))
    with pytest.raises(EmptyDataError, match="199"):
        builder.reference(created=0.0)
    builder.add(batch({"a": RNG.normal(size=1)}))
    assert builder.reference(created=0.0).rows == 200
    with pytest.raises(DataError, match="'x': all values are missing"):
        built({"x": np.full(N, math.nan)})


def parts(features: dict[str, np.ndarray], size: int) -> Iterable[ObservationBatch]:
    """The same rows in batches."""
    rows = len(next(iter(features.values())))
    for start in range(0, rows, size):
        yield batch({k: v[start : start + size] for k, v in features.items()})


@given(st.integers(7, 900))
def test_batches_do_not_matter(size: int) -> None:
    """A reference is the same however the rows came in."""
    features = {"x": np.random.default_rng(5).normal(size=N), "k": np.random.default_rng(6).integers(0, 4, N) * 1.0}
    builder = ReferenceBuilder()
    for part in parts(features, size):
        builder.add(part)
    assert builder.reference(created=0.0).id == built(features).id


def test_a_column_may_change_its_type() -> None:
    """Numbers in one batch and texts in the next are one column."""
    builder = ReferenceBuilder()
    builder.add(batch({"x": np.array([1.0, 2.0, math.nan] * 100), "late": np.zeros(300)}))
    builder.add(batch({"x": ["1", "b", None] * 100}))
    made = builder.reference(created=0.0).feature("x")
    assert made is not None
    assert made.levels == ("1", "2", "b")
    assert made.counts.tolist() == [200, 100, 100, 0, 200]


def test_beyond_the_limit_a_sample_sets_the_edges_and_all_rows_are_counted() -> None:
    """A second pass counts every row; without one the sample's counts stand."""
    x = np.random.default_rng(8).normal(size=5_000)
    batches = list(parts({"x": x}, 700))
    builder = ReferenceBuilder(max_rows=1_000)
    for part in batches:
        builder.add(part)
    again = [Rows(b, np.arange(b.rows), None) for b in batches]
    made = builder.reference(created=0.0, again=lambda: again)
    stream = made.features[0]
    assert made.rows == stream.rows == 5_000
    assert made.seed is not None
    assert stream.edges is not None
    want = np.bincount(np.searchsorted(stream.edges, list(map(rounded, x))), minlength=len(stream.edges) + 1)
    assert stream.counts[:-3].tolist() == want.tolist()
    assert builder.reference(created=0.0).rows == 1_000


def test_the_sample_is_uniform() -> None:
    """Each row is kept with the same chance: 400 reservoirs of 50 of 1,000 rows, chi-square of 20 groups."""
    kept_rows = np.zeros(1_000)
    for seed in range(400):
        sample, rows = Reservoir(50, seed), np.full(50, -1)
        for start in range(0, 1_000, 64):
            size = min(64, 1_000 - start)
            chosen, at = sample.place(size)
            rows[at] = start + (np.arange(size) if chosen is None else chosen)
        kept_rows[rows] += 1
        assert sample.kept == 50
    groups = kept_rows.reshape(20, 50).sum(1)
    assert ((groups - 1_000) ** 2 / 1_000).sum() < 43.8  # 99.9 % point of chi-square with 19 degrees of freedom


def test_texts_held_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ever new texts become other; frequent ones came before."""
    monkeypatch.setattr(kept, "MAX_TEXTS", 100)
    column = KeptColumn()
    column.add([f"t{i % 500}" for i in range(1_000)], None, np.arange(1_000), 1_000)
    assert len(column.texts) == 100
    assert column.beyond == 800
    assert column.seen == 1_000
    assert sum(column.counted(1_000).values()) == 200


def test_config_keys_parse() -> None:
    """Lists and mappings of the file, and their texts in variables."""
    keys = options(Config)
    assert keys["ignore"].parse(["a", "b"]) == keys["ignore"].parse("a, b") == ("a", "b")
    assert keys["types"].parse({"hour": "categorical"}) == keys["types"].parse("hour=categorical")
    for key, wrong in (("ignore", 3), ("ignore", [1]), ("types", {"a": "text"}), ("types", [])):
        with pytest.raises(ValueError, match="such as"):
            keys[key].parse(wrong)


def test_long_texts_take_bounded_memory() -> None:
    """Free text (prompts) is held up to some megabytes a column; levels that come often were there before."""
    column = KeptColumn()
    texts: list[str | None] = [f"{i:06}".ljust(900, ".") for i in range(6_000)]
    for start in range(0, 6_000, 1_000):
        part = ["often", *texts[start : start + 1_000]]
        column.add(part, None, np.arange(start, start + len(part)) + start // 1_000, start + len(part) + 6)
    assert sum(map(len, column.texts)) <= MAX_CHARACTERS + 900
    assert len(column.texts) + column.beyond == 6_001
    assert column.counted(6_006)["often"] == 6
