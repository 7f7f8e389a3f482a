"""A new model version against the one before: who is compared, on which rows, at which looks, and what is said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from pilotfish_agent.drift import version_looks, version_report
from pilotfish_agent.drift.builder import ReferenceBuilder
from pilotfish_agent.drift.version_looks import LOOKS, Answer, Side, alpha, due_at, verdict
from pilotfish_agent.drift.versions import AFTER_DAYS, DAY, MOST_VERSIONS, Look, Versions
from pilotfish_agent.drift.watch import DriftWatch
from tests.drift_watch.world import FAST, START, TICK, World, batch, give_tables, reference, watch


class Served:
    """A watch whose traffic comes from several versions; looks are answered here and now."""

    def __init__(self, watched: DriftWatch | None = None, seed: int = 7) -> None:
        self.watch = watch() if watched is None else watched
        self.world = World(seed)
        self.now = START
        self.looks: list[Look] = []

    @property
    def versions(self) -> Versions:
        return self.watch.standing.versions

    @property
    def words(self) -> str:
        return version_report.words(self.versions)

    def ticks(self, n: int, **rows: tuple[int, float]) -> None:
        """``n`` ticks; each version's rows a tick and the shift of its ``x``."""
        for _ in range(n):
            for i, (name, (size, shift)) in enumerate(rows.items()):
                version = None if name == "unnamed" else name
                self.watch.add(replace(self.world.batch(size, shift=shift), version=version), self.now + 1 + i)
            self.now += TICK
            self.watch.advance(self.now)
            self.answer()

    def answer(self) -> None:
        look = self.watch.look_request()
        if look is not None:
            self.looks.append(look)
            self.versions.answered(look, version_looks.look(look.sides))


def total(counts: np.ndarray) -> int:
    """Rows of the first stream, of three."""
    return round(float(counts.sum()) / 3)


def test_one_version_is_counted_with_the_whole_ticks() -> None:
    """Nothing is compared, and no row is binned twice."""
    served = Served()
    served.ticks(10, v1=(100, 0))
    assert served.versions.pair is None
    assert [t.open for t in served.versions._known.values()] == [None]
    assert (served.words, version_report.document(served.versions)) == ("", None)
    assert list(version_report.samples(served.versions, "m")) == []
    assert total(served.versions._known["v1"].recent) == 1_000


def test_a_canary_is_compared_over_the_ticks_that_both_served() -> None:
    """The rows of the older version from before do not count, and together they are all rows."""
    served = Served()
    served.ticks(10, v1=(300, 0))
    served.ticks(20, v1=(270, 0), v2=(30, 0))
    (look,) = served.looks
    assert look.shared
    assert look.rows == (510, 4_590)
    pair = served.versions.pair
    assert pair is not None
    assert (pair.baseline, pair.candidate, pair.state) == ("v1", "v2", "same")
    assert total(pair.before) == 3_000
    whole = served.watch.comparison
    assert whole is not None
    np.testing.assert_array_equal(sum(t.recent for t in served.versions._known.values()), whole.closed)
    assert served.words.startswith(
        "version v2 beside v1: no difference found after 510 rows, against 4,590 of the same"
    )


def test_a_replacement_is_compared_with_the_rows_before_the_switch() -> None:
    """Also where it comes in the middle of a tick: what was in the open tick belongs to the version before."""
    served = Served()
    served.ticks(20, v1=(100, 0))
    served.ticks(1, v1=(40, 0), v2=(60, 0))
    served.ticks(5, v2=(100, 0))
    (look,) = served.looks
    assert not look.shared
    assert look.rows == (560, 2_000)
    assert total(served.versions._known["v1"].recent) == 2_040
    assert served.words.startswith(
        "version v2 in place of v1: no difference found after 560 rows, against 2,000 before"
    )


def test_a_version_that_differs_is_told_and_is_no_drift_alarm() -> None:
    """A tenth of the traffic moves by .4 sd: the versions differ, the model as a whole hardly does."""
    served = Served()
    served.ticks(5, v1=(270, 0))
    served.ticks(40, v1=(270, 0), v2=(30, 0.4))
    pair = served.versions.pair
    assert pair is not None
    assert (pair.state, pair.found["x"], pair.found["y"]) == ("different", "different", "same")
    assert "version v2 beside v1: different after 1,020 rows" in served.words
    assert "x: mean" in served.words
    assert served.watch.alarms["warning"] == served.watch.alarms["critical"] == 0
    found = version_report.document(served.versions)
    assert found is not None
    assert (found["how"], found["state"], found["next_look_rows"]) == ("same_time", "different", 2_000)
    assert found["streams"] == {"not_enough_data": 0, "same": 2, "changed": 0, "different": 1}
    first = found["largest"][0]
    assert (first["feature"], first["state"]) == ("x", "different")
    assert first["effect_lower"] <= first["effect"] <= first["effect_upper"]
    assert found["words"] == served.words == (served.watch.status().versions or {})["words"]


def test_each_change_of_a_verdict_is_told_once() -> None:
    """At the first look of equal versions, and when the new one moves."""
    served = Served()
    served.ticks(5, v1=(100, 0))
    served.ticks(6, v1=(100, 0), v2=(100, 0))
    assert len(served.versions.taken()) == 1
    served.ticks(15, v1=(100, 0), v2=(100, 0))
    assert len(served.looks) == 3
    assert not served.versions.taken()
    served.ticks(80, v1=(100, 0), v2=(100, 0.5))
    assert [p.state for p in served.versions.taken()] == ["different"]
    assert not served.versions.taken()


def test_looks_double_and_end() -> None:
    """Twelve of them, from 500 rows on; one that was missed is left out."""
    assert [due_at(k) for k in range(LOOKS)] == [500 * 2**k for k in range(12)]
    served = Served()
    served.ticks(2, v1=(1_000, 0))
    served.ticks(9, v1=(300, 0), v2=(300, 0))
    assert [look.rows[0] for look in served.looks] == [600, 1_200, 2_100]
    served.ticks(1, v1=(10_000, 0), v2=(10_000, 0))
    assert served.versions.pair is not None
    assert due_at(served.versions.pair.look) == 16_000
    served.versions.pair.look = LOOKS
    served.ticks(1, v1=(10_000, 0), v2=(10_000, 0))
    assert len(served.looks) == 4
    assert (version_report.document(served.versions) or {})["next_look_rows"] is None


def test_a_switch_is_not_compared_for_ever() -> None:
    """What differs after a week is drift, whichever version serves; a canary goes on."""
    served = Served()
    served.ticks(10, v1=(100, 0))
    served.ticks(2, v2=(100, 0))
    served.now += AFTER_DAYS * DAY
    served.ticks(10, v2=(100, 0))
    assert not served.looks
    beside = Served()
    beside.ticks(10, v1=(100, 0))
    beside.ticks(2, v1=(100, 0), v2=(100, 0))
    beside.now += AFTER_DAYS * DAY
    beside.ticks(10, v1=(100, 0), v2=(100, 0))
    assert len(beside.looks) == 2


def test_the_baseline_is_of_the_last_days() -> None:
    """Rows older than two days say what the world was then, not what the version is."""
    served = Served()
    for _ in range(4):
        served.ticks(1, v1=(1_000, 0))
        served.now += DAY
    served.ticks(6, v2=(100, 0))
    (look,) = served.looks
    assert look.rows[1] == 2_000


def test_the_version_with_the_most_rows_is_the_baseline() -> None:
    """Of two that are there when the agent starts, and when a third comes: then a late answer of theirs is dropped."""
    served = Served()
    served.ticks(10, v1=(50, 0), v2=(200, 0))
    first = served.versions.pair
    assert first is not None
    assert (first.baseline, first.candidate, total(first.before)) == ("v2", "v1", 200)
    for version in ("v1", "v2"):
        served.watch.add(replace(served.world.batch(300), version=version), served.now + 1)
    served.now += TICK
    served.watch.advance(served.now)
    late = served.watch.look_request()
    assert late is not None
    assert served.watch.look_request() is late
    served.ticks(1, v1=(50, 0), v2=(200, 0), v3=(20, 0))
    pair = served.versions.pair
    assert pair is not None
    assert (pair.baseline, pair.candidate) == ("v2", "v3")
    served.versions.answered(late, version_looks.look(late.sides))
    assert (pair.look, first.look) == (0, 0)


def test_a_version_that_left_long_ago_is_no_baseline() -> None:
    """However many rows it had."""
    served = Served()
    served.ticks(10, v1=(500, 0))
    served.ticks(70, v2=(20, 0))
    served.ticks(1, v3=(20, 0))
    assert served.versions.pair is not None
    assert (served.versions.pair.baseline, served.versions.pair.candidate) == ("v2", "v3")


def test_rows_without_a_version_are_kept_apart() -> None:
    """They are neither baseline nor candidate, and no version's."""
    served = Served()
    served.ticks(10, unnamed=(100, 0))
    served.ticks(10, unnamed=(100, 0), v1=(100, 0))
    assert version_report.words(served.versions) == ""
    served.ticks(5, unnamed=(100, 0), v2=(100, 0))
    (look,) = served.looks
    assert look.rows == (500, 1_000)
    assert served.versions.pair is not None
    assert served.versions.pair.baseline == "v1"


def test_a_model_with_ever_new_versions_is_bounded() -> None:
    """A fifth in use at once is not counted; one that was away for ten minutes makes room."""
    served = Served()
    served.ticks(2, **{f"v{i}": (10, 0.0) for i in range(9)})
    assert list(served.versions._known) == ["v0", "v1", "v2", "v3"]
    assert len(served.versions._known) == MOST_VERSIONS
    served.now += 700
    served.ticks(1, v9=(10, 0))
    assert list(served.versions._known) == ["v1", "v2", "v3", "v9"]


def test_alone_again_the_new_version_needs_no_tick_of_its_own() -> None:
    """Ten minutes after the last row of the other; rows go on being counted as the candidate's."""
    served = Served()
    served.ticks(5, v1=(100, 0))
    served.ticks(2, v1=(50, 0), v2=(50, 0))
    served.ticks(70, v2=(50, 0))
    assert [t.open for t in served.versions._known.values()] == [None, None]
    assert served.versions.pair is not None
    assert total(served.versions.pair.after) == 72 * 50
    served.ticks(1, v1=(10, 0), v2=(10, 0))  # rolled back
    assert total(served.versions._known["v1"].recent) == 500 + 100 + 10


def test_it_waits_for_dependence() -> None:
    """Rows that follow one another would make equal versions look different."""
    made = ReferenceBuilder()
    made.add(World(3).batch(10_000))
    unknown = made.reference(created=START, model="m", independent=False)
    config = replace(FAST, dependence="auto")
    served = Served(watch(config, unknown))
    served.ticks(5, v1=(100, 0))
    served.ticks(10, v1=(100, 0), v2=(100, 0))
    assert not served.looks
    assert "waits for the dependence of rows" in served.words


def test_another_reference_begins_anew() -> None:
    """Counts on other bins say nothing; `drift.versions: off` counts nothing."""
    served = Served()
    served.ticks(10, v1=(100, 0))
    served.ticks(10, v1=(100, 0), v2=(100, 0))
    assert served.words
    served.watch.reload(reference(2), FAST)
    give_tables(served.watch)
    assert served.versions.pair is None
    off = Served(watch(replace(FAST, versions="off")))
    off.ticks(10, v1=(100, 0), v2=(100, 0))
    assert off.versions.pair is None
    assert not off.versions._known


def test_a_request_id_counts_once() -> None:
    """As everywhere: who mirrors traffic to a second version gives its rows ids of their own."""
    served = Served()
    rows = served.world.rows(100)
    for version in ("v1", "v2"):
        served.watch.add(batch(rows, version=version, ids=[str(i) for i in range(100)]), START + 1)
    served.watch.advance(START + TICK)
    assert [total(t.recent) for t in served.versions._known.values()] == [100, 0]


def _sides() -> Iterator[Side]:
    rng = np.random.default_rng(5)
    for kind in ("numeric", "categorical"):
        mass = np.append(np.full(10, 0.1), [0.0, 0.0, 0.0])
        moved = np.append(np.linspace(0.05, 0.15, 10), [0.0, 0.0, 0.0])
        r, c = rng.multinomial(5_000, mass), rng.multinomial(1_000, moved)
        yield Side(kind, kind, r.astype(float), c.astype(float), 1.0, 0.1)


def test_sides_travel_as_json() -> None:
    """Nothing is lost on the way to `pf-worker`; few rows have no answer."""
    sides = list(_sides())
    back = version_looks.of_plain(json.loads(json.dumps(version_looks.plain(sides))))
    assert version_looks.look(back) == version_looks.look(sides)
    few = replace(sides[0], name="few", candidate=sides[0].candidate / 10)
    assert not version_looks.look([few])


@pytest.mark.parametrize(
    ("change", "beyond", "found"),
    [(1e-9, 1e-9, "different"), (1e-9, 0.5, "changed"), (0.5, 1e-9, "same"), (0.5, 0.5, "same")],
)
def test_verdicts(change: float, beyond: float, found: str) -> None:
    """Different needs both tests, so that equal versions are called anything at most at the level."""
    assert verdict(Answer(change, beyond, "loc+", "loc+", 0.2, 0.1, 0.3), alpha(10)) == found
    assert alpha(10) == pytest.approx(0.05 / 120)


def test_versions_that_share_the_traffic_do_not_take_turns_in_the_labels() -> None:
    """The newest one names the series while it serves; ten minutes after its last row the other one does."""
    made, world, now = watch(), World(30), START
    told: list[str | None] = []

    def rows(version: str, seconds: float) -> None:
        nonlocal now
        now += seconds
        made.add(batch(world.rows(50), version=version), now)
        told.append(made.status().model_version)

    for version in ("7", "8", "7", "8", "7", "7"):
        rows(version, 10.0)
    assert told == ["7", "8", "8", "8", "8", "8"]
    again = DriftWatch("m", reference(), FAST)
    give_tables(again)
    again.standing.happenings.load(made.standing.happenings.dump())
    again.add(batch(world.rows(50), version="7"), now + 1.0)
    assert again.version == "8"
    rows("7", 700.0)
    assert told[-1] == "7"
