"""The detector: golden vectors, CPU of a stream-tick against the reference implementation, tables of the demo."""

from __future__ import annotations

import pathlib
import re
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.bars import Result, bar, versions
from benchmarks.reference.detector import Evidence, Since, plan
from examples.digits.demo import Place, prepare
from pilotfish_agent.drift import dictionary, layout, penalty, reference, tested
from pilotfish_agent.drift.comparison import TableRequest, table_request
from pilotfish_agent.drift.dependence import Phi
from pilotfish_agent.drift.detectors.shiryaev_roberts import Engine
from pilotfish_agent.drift.effect import effect
from pilotfish_agent.drift.judge import log_sum
from pilotfish_agent.drift.options import Config
from pilotfish_agent.drift.resolve import Resolve
from pilotfish_agent.drift.tables import StreamTables, TableSpec, build
from pilotfish_agent.drift.worker import Tables, start_tables
from tests.drift_math import golden

Counts = NDArray[np.int64]
SEED = 9301
STREAMS, ROWS, TICKS, ROUNDS = 100, 100, 50, 7
SAMPLE_SECONDS = 0.05
MIB = 1024.0


# -- golden vectors


def deviation(found: object, wanted: object) -> float:
    """Largest difference, over the number where that is above 1."""
    a, b = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    if a.shape != b.shape or (np.isfinite(a) != np.isfinite(b)).any():
        return float("inf")
    kept = np.isfinite(b)
    return float((np.abs(a - b)[kept] / np.maximum(1, np.abs(b[kept]))).max(initial=0.0))


def tables_deviations() -> Iterator[tuple[str, float]]:
    """What is computed once a stream."""
    wanted, table = golden.vectors(), golden.numeric()
    counts, special = golden.reference()
    pi = layout.nominal(counts)
    x = ((np.arange(1, 1201, dtype=np.float64) * 0.6180339887498949) % 1.0) * 10.0
    yield "layout", deviation(layout.edges_from_reference(x), wanted["layout"]["edges"])
    yield "layout_ties", deviation(layout.edges_from_reference(np.floor(x)), wanted["layout_ties"]["edges"])
    yield "nominal", deviation(pi, wanted["nominal"]["pi"])
    regular = pi[: special[0]] / pi[: special[0]].sum()
    scores = [wanted["scores"][h] for h in ("h1", "h2", "h3", "h4")]
    yield "scores", deviation(dictionary.normal_scores(regular), scores)
    made = dictionary.numeric(pi, special)
    rows = wanted["dictionary"]["rows"]
    found = [made.log_ratios[made.names.index(name)] for name in rows]
    yield "dictionary", deviation(found, list(rows.values()))
    yield "penalty", deviation(table.penalties, [wanted["penalty"]["delta0"], wanted["penalty"]["delta01"]])
    radius = wanted["chi_radius"]
    yield "chi_radius", deviation(penalty.chi_radius(counts, radius["gamma"]), radius["value"])
    yield "minimum_detectable_effect", deviation(table.mde, wanted["minimum_detectable_effect"]["alarm"])
    yield "phi", phi_deviation()
    for one in wanted["effect"]:
        measured = effect(np.array(one["ref"]), np.array(one["cur"]), pi, one["phi"])
        yield "effect", deviation(None if measured is None else measured.value, one["value"][0])


def phi_deviation() -> float:
    wanted, counts = golden.vectors()["phi"], np.array(golden.vectors()["layout"]["counts"])
    directions = dictionary.hermite_directions(layout.nominal(counts))[:2]
    phi = Phi("x", counts, numeric=True, directions=directions)
    for t in range(200):
        phi.add((np.arange(len(counts)) * 7 + t * t) % 5)
    return max(deviation(phi.sums.squares, wanted["ss"]), deviation(phi.value(), wanted["value"]))


def tick_deviations() -> Iterator[tuple[str, float]]:
    """What runs tick by tick."""
    wanted, ticks = golden.vectors(), golden.ticks()
    engine = Engine([golden.numeric()], np.float64)
    yield "engine", deviation([engine.step([t])[:, 0] for t in ticks], wanted["engine"]["scores"])
    engine.reset()
    since = []
    for t in ticks:
        engine.step([t])
        since.append(engine.since(0))
    yield "after", deviation(since, [t["since"] for t in wanted["after"]["ticks"]])
    slow = Engine([golden.numeric(wanted["engine_phi"]["phi"])], np.float64)
    yield "engine_phi", deviation([slow.step([t])[0, 0] for t in ticks], wanted["engine_phi"]["scores"])
    levels, counts = Engine([golden.categorical()], np.float64), np.array(wanted["engine_cat"]["counts"])
    yield "engine_cat", deviation([levels.step([t])[0, 0] for t in counts], wanted["engine_cat"]["scores"])
    yield "fleet", deviation(log_sum(np.array(wanted["fleet"]["scores"])) - np.log(3), wanted["fleet"]["value"])
    yield "resolve_cat", resolve_deviation("resolve_cat", golden.categorical(), 1, [counts[t % 4] for t in range(40)])
    table = golden.numeric()
    steady, most = np.floor(table.counts / 12), np.arange(len(table.pi)) < len(table.pi) - 2
    fed = [ticks[t % 4] if t < 10 else steady + (t % 2) * most for t in range(60)]
    for level, key in enumerate(("resolve_notice", "resolve_alarm")):
        yield key, resolve_deviation(key, table, level, fed)


def resolve_deviation(key: str, table: StreamTables, level: int, ticks: list[NDArray[np.float64]]) -> float:
    wanted = golden.vectors()[key]
    rule = Resolve(table, wanted["run"], level)
    ends = [t for t, counts in enumerate(ticks) if rule.add(counts)]
    return deviation([*ends, *rule.effects], [*wanted["ends"], *wanted["d_last"]])


@bar("detector: golden vectors", "largest deviation <= 1e-9")
def golden_vectors() -> Result:
    found = dict([*tables_deviations(), *tick_deviations()])
    worst = max(found, key=lambda key: found[key])
    return Result(
        f"largest deviation {found[worst]:.1e} ({worst}) over {len(found)} keys",
        found[worst] <= 1e-9,
        versions("numpy", "scipy"),
    )


# -- CPU of a stream-tick


def streams_of_their_own() -> list[StreamTables]:
    """100 numeric streams of 10,000 reference rows, each with other counts, so that no two share tables."""
    edges = layout.edges_from_reference(np.arange(1.0, 10_001.0))
    counts = np.diff(np.concatenate(([0.0], edges, [10_000.0])))
    special = tuple(range(len(counts), len(counts) + 3))
    specs = [TableSpec(f"x{i}", "numeric", np.array([*counts, 5.0 + i, 0, 0]), special) for i in range(STREAMS)]
    return build(specs, 43_200.0)


def per_stream_tick(step: Callable[[Counts], object], ticks: list[Counts]) -> float:
    """Microseconds of CPU."""
    began = time.process_time()
    for tick in ticks:
        step(tick)
    return (time.process_time() - began) / len(ticks) / STREAMS * 1e6


def race(tables: list[StreamTables], shift: float) -> tuple[float, float, float]:
    """Median microseconds (ours, reference with since, reference without), rounds taken in turns."""
    rng = np.random.default_rng([SEED, int(shift * 100)])
    masses = np.array([t.pi * np.exp(shift * np.linspace(-1, 1, len(t.pi))) for t in tables])
    ticks = [rng.multinomial(ROWS, masses / masses.sum(1, keepdims=True)) for _ in range(TICKS)]
    counts, penalties = np.array([t.counts for t in tables]), np.stack([t.penalties for t in tables], axis=1)
    planned = plan(counts, tables[0].special, penalties=penalties)
    ours, whole, bare = Engine(tables).step, Since(Evidence(planned)).step, Evidence(planned).step
    for step in (ours, whole, bare):
        per_stream_tick(step, ticks)  # plug-ins know the shift, evidence stands
    rounds = [[per_stream_tick(step, ticks) for step in (ours, whole, bare)] for _ in range(ROUNDS)]
    a, b, c = (statistics.median(column) for column in zip(*rounds, strict=True))
    return a, b, c


@bar("detector: CPU a stream-tick", ">= 5x less than the reference without drift, >= 3x with every stream drifting")
def cpu() -> Result:
    tables = streams_of_their_own()
    words, holds = [], True
    for name, shift, least in (("no drift", 0.0, 5.0), ("all drift", 0.5, 3.0)):
        ours, whole, bare = race(tables, shift)
        holds &= whole / ours >= least
        words.append(
            f"{name}: {ours:.1f} us, reference {whole:.1f} us ({whole / ours:.1f}x; "
            f"{bare:.1f} us without the tracking of when it began, {bare / ours:.1f}x)"
        )
    return Result(
        f"{'; '.join(words)}; {STREAMS} numeric streams with own tables, both levels and the tracking of when it began "
        f"in both, median of {ROUNDS}",
        holds,
        versions("numpy", "scipy"),
    )


# -- tables of the demo


@dataclass(frozen=True, slots=True)
class Built:
    """How a worker fared: seconds of CPU, peak PSS and resident size in MiB, seconds of the second start."""

    streams: int
    cpu: float
    pss: float
    resident: float
    again: float


def demo_request(folder: pathlib.Path) -> TableRequest:
    """The tables that the demo's agent asks for: 64 pixels, class and score, tick 2 s."""
    _, path = prepare(Place(folder), SEED)
    config = Config(tick=2.0, dependence=1.0)
    return table_request(tested.tested(reference.load(str(path)), 1000), config, {})


def memory(pid: int) -> tuple[float, float]:
    """(PSS, peak resident size), MiB; zeros when the process has just gone."""
    try:
        rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0, 0.0
    pss, peak = re.search(r"^Pss:\s+(\d+)", rollup, re.MULTILINE), re.search(r"^VmHWM:\s+(\d+)", status, re.MULTILINE)
    return (int(pss[1]) / MIB if pss else 0.0), (int(peak[1]) / MIB if peak else 0.0)


def children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def built() -> Built:
    with tempfile.TemporaryDirectory(prefix="pilotfish-bars-") as folder:
        request = demo_request(pathlib.Path(folder))
        cache = f"{folder}/tables.npz"
        before, most = children_cpu(), (0.0, 0.0)
        job = start_tables(request.specs, request.budget_ticks, request.streams, cache)
        assert job.pid is not None
        while not job.poll():
            now = memory(job.pid)
            most = max(most[0], now[0]), max(most[1], now[1])
            time.sleep(SAMPLE_SECONDS)
        job.result()
        spent = children_cpu() - before
        began = time.perf_counter()
        second = start_tables(request.specs, request.budget_ticks, request.streams, cache)
        found = second.result()
        assert isinstance(found, Tables)
        Engine(found.tables)
        return Built(len(request.specs), spent, *most, time.perf_counter() - began)


@bar("detector: tables of the demo in pf-worker", "<= 12 s CPU, <= 100 MiB peak PSS, second start <= 1 s")
def demo_tables() -> Result:
    found = built()
    return Result(
        f"{found.cpu:.1f} s CPU, {found.pss:.0f} MiB peak PSS (sampled each 50 ms; peak resident {found.resident:.0f} "
        f"MiB), second start {found.again:.2f} s from the cache to the engine; {found.streams} streams, scipy.special "
        "is all of scipy that is loaded",
        found.cpu <= 12 and found.pss <= 100 and found.again <= 1,
        versions("numpy", "scipy", "scikit-learn"),
    )
