"""What an alarm says (docs/statistics.md, section 13): golden texts."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.drift import tables
from pilotfish_agent.drift.effect import Effect
from pilotfish_agent.drift.explain import Crossing, moment, percent, sentence, shown, what_changed
from pilotfish_agent.drift.reference import FeatureReference, positions
from pilotfish_agent.drift.tables import StreamTables, TableSpec

EDGES = np.array([float(k) for k in range(1, 16)])  # 16 bins of equal mass: (k, k + 1]


def numeric(counts: list[int]) -> tuple[FeatureReference, StreamTables]:
    stream = FeatureReference(
        name="amount",
        kind="numeric",
        rows=sum(counts),
        counts=np.array(counts),
        edges=EDGES,
        special=positions(len(EDGES)),
    )
    return stream, built(stream)


def built(stream: FeatureReference) -> StreamTables:
    special = tuple(stream.special.values())
    return tables.build_one(TableSpec(stream.name, stream.kind, stream.counts.astype(float), special), 259_200.0, 2)


AMOUNT, AMOUNT_TABLES = numeric([1000] * 16 + [160, 0, 0])


def colours() -> tuple[FeatureReference, StreamTables]:
    counts = np.array([500, 300, 200, 0, 0])
    stream = FeatureReference("colour", "categorical", 1000, counts, levels=("A", "B", "C"))
    return stream, built(stream)


COLOUR, COLOUR_TABLES = colours()


def since(**moved: int) -> np.ndarray:
    counts = np.array([100] * 16 + [16, 0, 0], float)
    for name, n in moved.items():
        counts[int(name[1:])] = n
    return counts


@pytest.mark.parametrize(
    ("winner", "counts", "text"),
    [
        ("loc+0.4", since(b15=400, b14=200), "mean up by about 0.36 sd (median 8 -> 10)"),
        ("loc-0.4", since(b0=400, b1=200), "mean down by about 0.36 sd (median 8 -> 6)"),
        ("scale+0.4", since(b0=300, b15=300), "spread x1.3 (middle half 4 to 12 -> 3 to 13)"),
        (
            "locscale+0.2+0.2",
            since(b15=400),
            "mean up by about 0.31 sd (median 8 -> 9.5), spread x1.2 (middle half 4 to 12 -> 4.75 to 14.25)",
        ),
        ("spike3", since(b3=300), "values between 3 and 4: 6.19 % -> 16.5 %"),
        ("spike0", since(b0=300), "values up to 1: 6.19 % -> 16.5 %"),
        ("spike15", since(b15=300), "values above 15: 6.19 % -> 16.5 %"),
        ("oct1x2", since(b2=200, b3=200), "values between 2 and 4: 12.4 % -> 22 %"),
        ("sp0+.05", since(b16=100), "missing 0.99 % -> 5.88 %"),
        ("sp1+.01", since(b17=30), "+inf 0 % -> 1.82 %"),
        ("sp2+.01", since(b18=30), "-inf 0 % -> 1.82 %"),
        (
            "plug_fine10000",
            since(b0=300, b7=0),
            (
                "shape changed: values up to 1: 6.19 % -> 17.5 %, values between 7 and 8: 6.19 % -> 0 %, "
                "values between 1 and 2: 6.19 % -> 5.83 %"
            ),
        ),
        (
            "kurt+0.5",
            since(b0=200, b15=200),
            (
                "shape changed: values up to 1: 6.19 % -> 11 %, values above 15: 6.19 % -> 11 %, "
                "values between 1 and 2: 6.19 % -> 5.51 %"
            ),
        ),
    ],
)
def test_numeric_changes(winner: str, counts: np.ndarray, text: str) -> None:
    """Each family says what moved, from what to what, in the reference's own edges."""
    assert what_changed(AMOUNT, AMOUNT_TABLES, winner, counts) == text


def test_tails() -> None:
    """Tails are named by the reference's percentile, 1 or 0.1 on either side."""
    edges = np.array([1.0, *range(2, 32), 100.0])
    counts = np.array([100, *[300] * 31, 100, 0, 0, 0])
    stream = FeatureReference("t", "numeric", int(counts.sum()), counts, edges=edges, special=positions(len(edges)))
    table = built(stream)
    now = counts.astype(float)
    now[32] = 500.0
    assert what_changed(stream, table, "tail_hi1e-02x5", now) == (
        "values beyond the reference's 99 % point: 1.05 % -> 5.05 %"
    )
    assert what_changed(stream, table, "tail_lo1e-02x5", now) == (
        "values below the reference's 1 % point: 1.05 % -> 1.01 %"
    )
    assert what_changed(stream, table, "tail_both1e-02x5", now) == (
        "values beyond the reference's 1 % and 99 % points: 2.11 % -> 6.06 %"
    )


@pytest.mark.parametrize(
    ("winner", "counts", "text"),
    [
        ("cat1x2.0", [400, 400, 200, 0, 0], "'B' 30 % -> 40 %"),
        ("cat0x0.5", [250, 550, 200, 0, 0], "'A' 50 % -> 25 %, 'B' 30 % -> 55 %"),
        ("cat3+.01", [490, 300, 190, 20, 0], "unseen categories 0 % -> 2 %"),
        ("cat4+.01", [490, 300, 190, 0, 20], "missing 0 % -> 2 %"),
        ("plug_coarse1000", [400, 300, 300, 0, 0], "shape changed: 'C' 20 % -> 30 %, 'A' 50 % -> 40 %"),
    ],
)
def test_categories(winner: str, counts: list[int], text: str) -> None:
    """Levels are named; a loss names the level that gained as well."""
    assert what_changed(COLOUR, COLOUR_TABLES, winner, np.array(counts, float)) == text


def test_no_rows_since() -> None:
    """Without since-counts nothing is invented."""
    assert what_changed(AMOUNT, AMOUNT_TABLES, "loc+0.4", np.zeros(19)) == "distribution changed"


def test_the_whole_sentence() -> None:
    """The golden text of an alarm."""
    crossing = Crossing(
        stream="amount",
        level=1,
        what="missing 1 % -> 5 %",
        effect=Effect(0.413, 0.302, 0.524),
        began=1_700_000_000.0,
        rows=1_200,
        evidence=16.04,
        threshold=15.31,
        budget="1 per 30d",
        score_moved=False,
    )
    assert sentence(crossing) == (
        "amount: missing 1 % -> 5 %, effect 0.41 [0.30, 0.52] at the alarm, "
        "began 2023-11-14T22:13:20Z (1,200 rows ago), evidence 16.0 of 15.3 nats (budget 1 per 30d); "
        "@score has not moved"
    )


def test_the_sentence_of_the_model_and_of_a_held_back_alarm() -> None:
    """`@model` has no effect; an alarm that is only info says why."""
    crossing = Crossing(
        "@model", 1, "several: a, b", None, 0.0, 40, 12.0, 11.5, "2 per 1d", None, "the reference is provisional"
    )
    assert sentence(crossing) == (
        "@model: several: a, b, began 1970-01-01T00:00:00Z (40 rows ago), evidence 12.0 of 11.5 nats "
        "(budget 2 per 1d); severity info: the reference is provisional"
    )


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "0 %"), (0.0012, "0.12 %"), (0.05, "5 %"), (0.4312, "43.1 %"), (1.0, "100 %")]
)
def test_percent(share: float, text: str) -> None:
    """Three digits from one percent on, two below."""
    assert percent(share) == text


@given(st.text(max_size=300))
def test_foreign_names_stay_on_one_line(name: str) -> None:
    """Whatever a feature is called, the text is one printable line of bounded length."""
    assert shown(name).isprintable()
    assert len(shown(name)) <= 80


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_time_has_a_text(seconds: float) -> None:
    """Times outside the calendar are numbers."""
    assert moment(seconds)


def test_a_bin_that_the_reference_had_rows_in_is_not_called_unseen() -> None:
    """Rare levels of the reference count as other: a rise of them is no news of a new level."""
    stream = replace(COLOUR, counts=np.array([400, 300, 200, 100, 0], np.int64))
    text = what_changed(stream, COLOUR_TABLES, "cat3x2.0", np.array([350.0, 250, 200, 200, 0]))
    assert text == "other categories 10 % -> 20 %"
