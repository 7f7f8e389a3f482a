"""The readable reference implementation matches the golden vectors and agrees with the product on other data."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.reference import tables
from benchmarks.reference.detector import Evidence, Plan, Since, model_score, plan
from pilotfish_agent.drift.detectors.shiryaev_roberts import Engine
from pilotfish_agent.drift.layout import Floats
from pilotfish_agent.drift.tables import StreamTables, TableSpec, build
from tests.drift_math import golden
from tests.drift_math.golden import close

QUICK = ("loc+0.4", "scale-0.2", "tail_hi1e-02x5", "spike5", "sp0x.2", "sp2+.01")


def planned(table: StreamTables, streams: int, deltas: tuple[float, ...] = (0.0, 0.1)) -> Plan:
    """The reference's plan with the penalties of golden tables, which have their own test."""
    return plan(
        np.array([table.counts]),
        table.special,
        categorical=table.kind == "categorical",
        phi=[table.phi],
        streams=streams,
        deltas=deltas,
        penalties=table.penalties[: len(deltas), None],
    )


@pytest.mark.parametrize("rule", ["layout", "layout_ties"])
def test_layout(rule: str) -> None:
    """Edges and counts."""
    wanted, x = golden.vectors()[rule], ((np.arange(1, 1201, dtype=np.float64) * 0.6180339887498949) % 1.0) * 10.0
    x = np.floor(x) if rule == "layout_ties" else x
    edges = tables.edges(x)
    assert close(edges, wanted["edges"], 0)
    assert close(tables.counts_in(edges, x), wanted["counts"], 0)


def test_alternatives() -> None:
    """Masses, scores, names, weights and likelihood ratios, in order."""
    counts, special = golden.reference()
    pi, wanted = tables.masses(counts), golden.vectors()
    made = tables.numeric_alternatives(pi, special)
    regular = pi[: special[0]] / pi[: special[0]].sum()
    assert close(pi, wanted["nominal"]["pi"])
    assert close(tables.hermite_means(regular), [wanted["scores"][h] for h in ("h1", "h2", "h3", "h4")])
    assert list(made) == wanted["dictionary"]["names"]
    assert close(tables.log_weights(tuple(made)), wanted["dictionary"]["logw"])
    for name, row in wanted["dictionary"]["rows"].items():
        assert close(np.log(made[name]), row), name


def test_tails_and_radius() -> None:
    """Dirichlet tails and the radius of the reference's own error."""
    counts, special = golden.reference()
    wanted, radius = golden.vectors()["tail_prob"], golden.vectors()["chi_radius"]
    made = tables.numeric_alternatives(tables.masses(counts), special)
    found = [tables.tail(made[n], counts, t) for n, t in zip(wanted["alt"], wanted["t"], strict=True)]
    assert close(found, wanted["p"])
    assert close(tables.chi_radius(np.array(radius["alpha"]), radius["gamma"]), radius["value"])


@pytest.mark.parametrize(("key", "delta"), [("delta0", 0.0), ("delta01", 0.1)])
def test_penalties(key: str, delta: float) -> None:
    """A few alternatives of each kind, one root at a time."""
    counts, special = golden.reference()
    pi, wanted = tables.masses(counts), golden.vectors()
    made, names = tables.numeric_alternatives(pi, special), wanted["dictionary"]["names"]
    line = wanted["penalty"]["logA"]
    for name in QUICK:
        j = names.index(name)
        weight = wanted["dictionary"]["logw"][j]
        assert close(tables.penalty(made[name], counts, pi, line, weight, delta), wanted["penalty"][key][j]), name


def test_evidence() -> None:
    """Scores of both levels; with dependence; of levels; of the model."""
    wanted = golden.vectors()
    evidence = Evidence(planned(golden.numeric(), 100))
    assert close([evidence.step(t[None])[:, 0] for t in golden.ticks()], wanted["engine"]["scores"])
    winner = int(np.argmax(evidence.logs[0, 0] + evidence.plan.log_weights))
    assert evidence.plan.names[winner] == wanted["engine"]["best"]
    assert close(evidence.plan.log_threshold, wanted["engine"]["log_threshold"])
    slow = Evidence(planned(golden.numeric(wanted["engine_phi"]["phi"]), 100, (0.0,)))
    assert close([slow.step(t[None])[0, 0] for t in golden.ticks()], wanted["engine_phi"]["scores"])
    levels = Evidence(planned(golden.categorical(), 3, (0.0,)))
    assert list(levels.plan.names) == wanted["engine_cat"]["names"]
    counts = np.array(wanted["engine_cat"]["counts"])
    assert close([levels.step(t[None])[0, 0] for t in counts], wanted["engine_cat"]["scores"])
    assert close(model_score(np.array(wanted["fleet"]["scores"])), wanted["fleet"]["value"])


def test_since() -> None:
    """When it began, tick by tick."""
    since = Since(Evidence(planned(golden.numeric(), 100)))
    for tick, wanted in zip(golden.ticks(), golden.vectors()["after"]["ticks"], strict=True):
        since.step(tick[None])
        assert close(since.counts[0], wanted["since"])
        assert since.tick[0] == wanted["since_tick"]
        assert since.began(0, 0) == wanted["began"]


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_the_product_agrees_on_long_runs(shift: float) -> None:
    """400 ticks of three streams with own tables and phi, plug-ins awake in the shifted half."""
    rng = np.random.default_rng(9)
    counts: Floats = np.stack([rng.multinomial(5000, np.full(35, 1 / 35)) for _ in range(3)]).astype(np.float64)
    counts = np.concatenate((counts, np.array([[40.0, 0, 0], [0, 3, 0], [9, 0, 0]])), axis=1)
    special, phis = (35, 36, 37), [1.0, 1.25, 1.953125]
    made = build([TableSpec("x", "numeric", c, special, p) for c, p in zip(counts, phis, strict=True)], 500.0)
    known = np.stack([t.penalties for t in made], axis=1)
    evidence = Evidence(plan(counts, special, phi=phis, budget_ticks=500.0, penalties=known))
    since, engine = Since(evidence), Engine(made, np.float64)
    tilt = np.exp(shift * np.concatenate((np.linspace(-1.7, 1.7, 35), np.zeros(3))))
    for t in range(400):
        masses = np.array([m.pi for m in made]) * (tilt if t >= 200 else 1)
        tick = rng.multinomial(100, masses / masses.sum(1, keepdims=True))
        found, wanted = engine.step(tick), since.step(tick)
        assert close(found[wanted < 500], wanted[wanted < 500])
    for f in range(3):
        assert close(engine.since(f), since.counts[f])
        assert engine.began(f, 1) == since.began(f, 1)
