"""New model versions: equal ones are not called changed, whatever the number of looks; moved ones are found soon."""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np

from benchmarks.bars import Result, bar, versions
from pilotfish_agent.drift import version_looks
from pilotfish_agent.drift.layout import Floats
from pilotfish_agent.drift.version_looks import LEVEL, LOOKS, Answer, Side, alpha, due_at, verdict
from tests.agent.live import Live, until
from tests.agent.test_versions import compared, start

SEED = 9707
NEWCOMERS, BEFORE, MOVED = 200, 20_000, 25
MIN_EFFECT = 0.1
FOUND_ROWS = 4_000


def _masses() -> list[tuple[str, str, Floats]]:
    """Streams on the bins of a reference: two numbers, a score that leans to one side, classes, a rare category."""
    even = np.append(np.full(30, 0.995 / 30), [0.004, 0.0005, 0.0005])
    fine = np.append(np.full(60, 1.0 / 60), [0.0, 0.0, 0.0])
    leaning = np.append(np.diff(np.linspace(0, 1, 31) ** 2), [0.0, 0.0, 0.0])
    classes = np.array([0.7, 0.25, 0.05, 0.0, 0.0])
    rare = np.append(0.5 ** np.arange(1, 12), [0.5**11, 0.0])
    return [
        ("amount", "numeric", even),
        ("age", "numeric", fine),
        ("@score", "numeric", leaning),
        ("@prediction", "categorical", classes),
        ("shop", "categorical", rare / rare.sum()),
    ]


def _moved(mass: Floats, by: float) -> Floats:
    """Masses whose scores' mean is ``by`` standard deviations higher, the shape a tilt."""
    regular = mass[:-3]
    place = np.arange(len(regular), dtype=np.float64)
    mean = float(regular @ place) / regular.sum()
    unit = (place - mean) / np.sqrt(float(regular @ (place - mean) ** 2) / regular.sum())
    low, high = 0.0, 2.0
    for _ in range(50):
        tilt = (low + high) / 2
        q = regular * np.exp(tilt * unit)
        low, high = (tilt, high) if float(q @ unit) / q.sum() < by else (low, tilt)
    q = regular * np.exp(low * unit)
    return np.append(q / q.sum() * regular.sum(), mass[-3:])


def _looks(rng: np.random.Generator, *, shared: bool, looks: int, by: float = 0.0) -> Iterator[Sequence[Side]]:
    """What is compared at each look: a canary with a tenth of the traffic, or a new version after a switch."""
    streams = _masses()
    candidate = [np.zeros(len(mass)) for _, _, mass in streams]
    baseline = [np.zeros(len(m)) if shared else rng.multinomial(BEFORE, m).astype(float) for _, _, m in streams]
    before = 0
    for look in range(looks):
        more, before = due_at(look) - before, due_at(look)
        for f, (name, _, mass) in enumerate(streams):
            candidate[f] += rng.multinomial(more, _moved(mass, by) if by and name == "@score" else mass)
            if shared:
                baseline[f] += rng.multinomial(9 * more, mass)
        yield [
            Side(name, kind, b.copy(), c.copy(), 1.0, MIN_EFFECT)
            for (name, kind, _), b, c in zip(streams, baseline, candidate, strict=True)
        ]


@cache
def _smallest() -> list[list[Answer]]:
    """All answers of each of the equal newcomers, one half canaries, one half after a switch."""
    found = []
    for i in range(NEWCOMERS):
        rng = np.random.default_rng((SEED, i))
        found.append(
            [
                answer
                for sides in _looks(rng, shared=i % 2 == 0, looks=LOOKS)
                for answer in version_looks.look(sides).values()
            ]
        )
    return found


def _called(level: float) -> int:
    return sum(any(verdict(a, level) != "same" for a in answers) for answers in _smallest())


@bar("equal new versions called changed or different, 200 of them, 12 looks, 5 streams", f"<= {LEVEL:.0%}")
def equal_versions() -> Result:
    """With the share that has no union bound: it must be larger, or the row would show nothing."""
    level = alpha(len(_masses()))
    called, mutant = _called(level), _called(LEVEL)
    share, without = called / NEWCOMERS, mutant / NEWCOMERS
    return Result(
        f"{share:.1%} (each test at 5 % instead: {without:.0%}); seed {SEED}",
        share <= LEVEL < without,
        versions("numpy", "scipy"),
    )


@bar(f"a new version whose scores lie .25 sd higher called different within {FOUND_ROWS:,} rows", "all of 25")
def moved_version() -> Result:
    """Canaries and switches in turn; nothing else may be called so."""
    level, at, others = alpha(len(_masses())), [], 0
    for i in range(MOVED):
        rng = np.random.default_rng((SEED, 1_000 + i))
        for look, sides in enumerate(_looks(rng, shared=i % 2 == 0, looks=8, by=0.25)):
            found = {name: verdict(answer, level) for name, answer in version_looks.look(sides).items()}
            others += sum(one != "same" for name, one in found.items() if name != "@score")
            if found["@score"] == "different":
                at.append(due_at(look))
                break
    within = sum(rows <= FOUND_ROWS for rows in at)
    median = f"{int(np.median(at)):,}" if at else "none"
    return Result(
        f"{within} of {MOVED}, median {median} rows, last {max(at, default=0):,}; other streams called: {others}; "
        f"seed {SEED}",
        within == MOVED,
        versions("numpy", "scipy"),
    )


@bar("a canary of the SDK that differs by .4 sd in one feature, on a real agent", "different, and no other stream")
def on_a_real_agent() -> Result:
    """Two processes of one model name two versions; what `status` says of them."""
    with tempfile.TemporaryDirectory() as folder:
        live = Live(pathlib.Path(folder))
        try:
            start(live)
            (live.root / "canary").touch()
            found = until(lambda: compared(live) if compared(live).get("state") == "different" else {}, "different")
        finally:
            live.stop()
    differ = [one["feature"] for one in found["largest"] if one["state"] != "same"]
    return Result(f"{found['words']}; look {found['looks']}", differ == ["age"])
