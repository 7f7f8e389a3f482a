"""What an alarm says (docs/statistics.md, section 13): golden texts."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.drift import tables
from pilotfish_agent.drift.changes import Moved, most_moved, names_bins, what_changed
from pilotfish_agent.drift.dictionary import family
from pilotfish_agent.drift.entry import Entry
from pilotfish_agent.drift.explain import moment, percent, shown
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
        ("spike3", since(b3=300), "values between 3 and 4: 6.19 % -> 16.5 % (x2.7)"),
        ("spike0", since(b0=300), "values up to 1: 6.19 % -> 16.5 % (x2.7)"),
        ("spike15", since(b15=300), "values above 15: 6.19 % -> 16.5 % (x2.7)"),
        ("oct1x2", since(b2=200, b3=200), "values between 2 and 4: 12.4 % -> 22 %"),
        ("sp0+.05", since(b16=100), "missing 0.99 % -> 5.88 % (x5.9)"),
        ("sp1+.01", since(b17=30), "+inf 0 % -> 1.82 %"),
        ("sp2+.01", since(b18=30), "-inf 0 % -> 1.82 %"),
        ("plug_fine10000", since(b0=200, b4=200, b7=0, b12=0), "shape changed"),
        ("plug_fine10000", since(b0=300, b7=0), "values up to 1: 6.19 % -> 17.5 % (x2.8)"),
        ("plug_coarse1000", since(b16=200), "missing 0.99 % -> 11.1 % (x11)"),
        ("skew+0.25", since(b15=400), "shape changed, skewed towards high values"),
        ("skew-0.1", since(b0=400), "shape changed, skewed towards low values"),
        ("kurt+0.5", since(b0=200, b15=200), "shape changed, heavier tails"),
        ("kurt-0.25", since(b0=10, b15=10), "shape changed, lighter tails"),
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
        "upper tail x4.8 (values beyond the reference's 99 % point: 1.05 % -> 5.05 %)"
    )
    assert what_changed(stream, table, "tail_lo1e-02x5", now) == (
        "lower tail x0.96 (values below the reference's 1 % point: 1.05 % -> 1.01 %)"
    )
    assert what_changed(stream, table, "tail_both1e-02x5", now) == (
        "tails x2.9 (values beyond the reference's 1 % and 99 % points: 2.11 % -> 6.06 %)"
    )


@pytest.mark.parametrize(
    ("winner", "counts", "text"),
    [
        ("cat1x2.0", [400, 400, 200, 0, 0], "'B' 30 % -> 40 %"),
        ("cat0x0.5", [250, 550, 200, 0, 0], "'A' 50 % -> 25 % (x0.5), 'B' 30 % -> 55 %"),
        ("cat3+.01", [490, 300, 190, 20, 0], "unseen categories 0 % -> 2 %"),
        ("cat4+.01", [490, 300, 190, 0, 20], "missing 0 % -> 2 %"),
        ("plug_coarse1000", [420, 340, 240, 0, 0], "shares of the levels changed"),
        ("plug_coarse1000", [500, 300, 190, 10, 0], "unseen categories 0 % -> 1 %"),
    ],
)
def test_categories(winner: str, counts: list[int], text: str) -> None:
    """Levels are named; a loss names the level that gained as well."""
    assert what_changed(COLOUR, COLOUR_TABLES, winner, np.array(counts, float)) == text


def test_no_rows_since() -> None:
    """Without since-counts nothing is invented."""
    assert what_changed(AMOUNT, AMOUNT_TABLES, "loc+0.4", np.zeros(19)) == "distribution changed"


def test_every_family_has_words_and_none_is_forgotten() -> None:
    """Whatever alternative wins, the text names a change, and either it or the bins beside it have numbers."""
    for stream, table, counts in ((AMOUNT, AMOUNT_TABLES, since(b15=300, b16=50)), (COLOUR, COLOUR_TABLES, since_b())):
        for winner in table.names:
            text = what_changed(stream, table, winner, counts)
            assert text != "distribution changed"
            moved = () if names_bins(winner) else most_moved(stream, table, winner, counts)
            assert any(c.isdigit() for c in text) or moved, (winner, family(winner))


def since_b() -> np.ndarray:
    return np.array([400.0, 400, 200, 0, 0])


@pytest.mark.parametrize(
    ("winner", "counts", "moved"),
    [
        ("loc+0.4", since(b15=400, b14=200), Moved("values above 14", 2000 / 16160, 600 / 2016)),
        ("plug_coarse1000", since(b15=400), Moved("values above 14", 2000 / 16160, 500 / 1916)),
        ("plug_fine10000", since(b7=400), Moved("values between 7 and 8", 1000 / 16160, 400 / 1916)),
        ("sp0+.05", since(b16=200), Moved("missing", 160 / 16160, 200 / 1800)),
    ],
)
def test_the_bins_that_moved_most(winner: str, counts: np.ndarray, moved: Moved) -> None:
    """Eighths where the whole distribution moved, single bins where one may have; shares add up."""
    found = most_moved(AMOUNT, AMOUNT_TABLES, winner, counts)
    assert found[0].words == moved.words
    assert found[0][1:] == pytest.approx(moved[1:])
    assert len(found) <= 5


def test_bins_of_categories() -> None:
    """Levels by name."""
    found = most_moved(COLOUR, COLOUR_TABLES, "plug_coarse1000", np.array([400.0, 300, 300, 0, 0]))
    assert [m.words for m in found] == ["'C'", "'A'"]


def test_an_hour_has_ranks_of_its_own() -> None:
    """Where each hour has edges of its own, words name ranks: the median's edges are nobody's."""
    stream = replace(AMOUNT, stratum_edges=np.stack([EDGES, EDGES + 1]))
    text = what_changed(stream, AMOUNT_TABLES, "spike3", since(b3=300))
    assert text == "values between the 18.8 % and 25 % points of their hour: 6.19 % -> 16.5 % (x2.7)"
    assert what_changed(stream, AMOUNT_TABLES, "loc+0.4", since(b15=400)) == "mean up by about 0.31 sd"


def entry(**facts: object) -> Entry:
    usual = {
        "kind": "alarm",
        "level": "alarm",
        "model": "m",
        "feature": "amount",
        "ts": 1_700_000_100.0,
        "began": 1_700_000_000.0,
        "row": 9_000,
        "since_rows": 1_200,
        "severity": "warning",
        "evidence": 16.04,
        "threshold": 15.31,
        "effect": 0.413,
        "effect_lower": 0.302,
        "effect_upper": 0.524,
        "what": "missing 1 % -> 5 %",
        "budget": "1 per 30d",
    }
    return Entry(**{**usual, **facts})  # type: ignore[arg-type]


def test_the_whole_sentence() -> None:
    """The golden text of an alarm."""
    assert entry(score_moved=False).explanation == (
        "amount: missing 1 % -> 5 %, effect 0.41 [0.30, 0.52] at the alarm, "
        "began 2023-11-14T22:13:20Z (1,200 rows ago), evidence 16.0 of 15.3 nats (budget 1 per 30d); "
        "@score has not moved"
    )


def test_all_that_can_be_beside_it() -> None:
    """The part of a composite stream, bins, company, score, hints: in this order, each only where it applies."""
    text = entry(
        feature="emb",
        part="distance to its own centre",
        bins=[["values above 2", 0.125, 0.5], ["values up to 1", 0.125, 0.02]],
        together=["a", "b", "c", "d", "e", "f", "g"],
        score_moved=True,
        hints=["looks like a unit change x1000"],
        held_back="the reference is provisional",
        timed=False,
    ).explanation
    assert text == (
        "emb: distance to its own centre: missing 1 % -> 5 %, effect 0.41 [0.30, 0.52] at the alarm, "
        "began 1,200 rows ago, evidence 16.0 of 15.3 nats (budget 1 per 30d); "
        "most moved: values above 2: 12.5 % -> 50 %, values up to 1: 12.5 % -> 2 %; "
        "moved together with a, b, c, d, e and 2 more; @score moved too; looks like a unit change x1000; "
        "severity info: the reference is provisional"
    )


def test_the_sentence_of_the_model() -> None:
    """`@model` has no effect."""
    none = {"effect": None, "effect_lower": None, "effect_upper": None}
    assert entry(feature="@model", what="several: a, b", began=0.0, since_rows=40, **none).explanation == (
        "@model: several: a, b, began 1970-01-01T00:00:00Z (40 rows ago), evidence 16.0 of 15.3 nats (budget 1 per 30d)"
    )


def test_a_resolution_says_how_it_ended() -> None:
    """And nothing of the alarm's numbers."""
    assert entry(kind="resolved", what="back to the reference").explanation == "amount: back to the reference"


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
    assert text == "other categories 10 % -> 20 % (x2)"
