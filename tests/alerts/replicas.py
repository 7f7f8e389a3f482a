"""Replicas of one model with bin counters, minute by minute, and what promtool makes of their counters.

The agents' side is real: real references, rows and watches; numpy counts the same rows by itself.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml

from pilotfish_agent.drift.builder import ReferenceBuilder
from pilotfish_agent.drift.fleet import REFERENCE_RATIO, VALUES, folded
from pilotfish_agent.drift.options import Config
from pilotfish_agent.drift.reference import FeatureReference, Reference
from pilotfish_agent.drift.watch import DriftWatch
from pilotfish_alerts import generate
from pilotfish_core.nouns import ObservationBatch

WINDOW: Final = 60
"""Minutes that the rules look back."""
DISTANCES: Final = ("psi1h", "js1h", "ks1h")
_CONFIG: Final = Config(bins="all", tick=10.0)
_LEVELS: Final = 14
Key = tuple[str, str]
"""Feature and bin."""


def draw(rng: np.random.Generator, rows: int, shift: float = 0.0) -> dict[str, Any]:
    """Rows of a number, a skew number with gaps and infinities, one that hardly varies, and a category."""
    skew = rng.lognormal(shift, 1.0, rows)
    skew[rng.random(rows) < 0.02 + shift / 20] = np.nan
    skew[rng.random(rows) < 0.001] = np.inf
    level = rng.zipf(1.6 - shift / 4, rows) % (_LEVELS + 6)
    return {
        "even": rng.normal(shift, 1.0 + shift, rows),
        "skew": skew,
        "steps": np.floor(rng.exponential(3.0 + shift, rows) * 2) / 2,
        "level": [f"L{i}" for i in level.tolist()],
    }


def batch(columns: Mapping[str, Any]) -> ObservationBatch:
    """Columns as the SDK sends them."""
    return ObservationBatch(
        model="m", version="7", source="sdk", rows=len(columns["level"]), features=columns, prediction=None
    )


def reference(seed: int) -> Reference:
    """Of 20,000 rows."""
    made = ReferenceBuilder(types={"steps": "numeric"})
    made.add(batch(draw(np.random.default_rng(seed), 20_000)))
    return made.reference(created=0.0, model="m", independent=True)


@dataclass(slots=True)
class Replica:
    """One agent; scraped once a minute, from minute 0 on."""

    reference: Reference
    watch: DriftWatch = field(init=False)
    series: dict[tuple[str, Key], list[str]] = field(default_factory=dict)
    minute: int = 0

    def __post_init__(self) -> None:
        """Starts without rows."""
        self.restart()

    def restart(self) -> None:
        """A new process: counters begin at 0."""
        self.watch = DriftWatch("m", self.reference, _CONFIG)

    def take(self, columns: Mapping[str, Any]) -> None:
        """Rows of this minute."""
        self.watch.add(batch(columns), self.minute * 60.0 + 1)
        self.watch.advance(self.minute * 60.0 + 30)

    def scrape(self, *, down: bool = False) -> None:
        """The minute ends."""
        found = {}
        for sample in () if down else self.watch.samples(version="7"):
            if sample.metric in (VALUES, REFERENCE_RATIO):
                feature, name = str(sample.labels[0]), str(sample.labels[1])
                found[sample.metric.name, (feature, name)] = repr(sample.value)
        for key in {*self.series, *found}:
            self.series.setdefault(key, ["_"] * self.minute).append(found.get(key, "stale"))
        self.minute += 1

    def lines(self, instance: str) -> list[dict[str, str]]:
        """As promtool reads series."""
        own = f'job="pilotfish",instance="{instance}",model="m",model_version="7",reference_id="{self.reference.id}"'
        return [
            {"series": f'{name}{{{own},feature="{feature}",bin="{label}"}}', "values": " ".join(values)}
            for (name, (feature, label)), values in self.series.items()
        ]


def counted(stream: FeatureReference, column: Any) -> Counter[str]:
    """numpy's own count of a column, in the bins that are exported."""
    bins = folded(stream)
    if stream.edges is None:
        shown = set(bins.names) - {"other", "missing"}
        return Counter(name if name in shown else "other" for name in column)
    regular = bins.place[: len(stream.edges) + 1]
    edges = stream.edges[np.flatnonzero(np.diff(regular))]  # the last of each bin but the last
    finite = column[np.isfinite(column)]
    counts = np.histogram(finite, [-np.inf, *np.nextafter(edges, np.inf), np.inf])[0].tolist()
    special = {"missing": np.isnan(column).sum(), "+inf": (column == np.inf).sum(), "-inf": (column == -np.inf).sum()}
    return Counter(dict(zip(bins.names, [*counts, *map(int, special.values())], strict=True)))


def distances(stream: FeatureReference, now: Mapping[str, float]) -> dict[str, float]:
    """The three distances by numpy, from counts of the window."""
    bins = folded(stream)
    q = np.bincount(bins.place, stream.counts) / stream.counts.sum()
    p = np.array([now.get(name, 0) for name in bins.names], np.float64)
    p /= p.sum()
    a, b = np.maximum(p, 1e-4), np.maximum(q, 1e-4)
    with np.errstate(divide="ignore", invalid="ignore"):
        sides = [np.where(s > 0, s * np.log(s / ((p + q) / 2)), 0.0).sum() for s in (p, q)]
    found = {"psi1h": float(((a - b) * np.log(a / b)).sum()), "js1h": float(sum(sides) / 2)}
    if stream.edges is not None:
        regular = len(bins.names) - 3
        if p[:regular].sum() > 0:
            below, above = (np.cumsum(s[:regular]) / s[:regular].sum() for s in (p, q))
            found["ks1h"] = float(np.abs(below - above).max())
    return found


def folded_share(stream: FeatureReference) -> dict[str, float]:
    """The reference's own shares, by the names of the exported bins."""
    bins = folded(stream)
    return dict(zip(bins.names, np.bincount(bins.place, stream.counts).tolist(), strict=True))


def asked(
    folder: Path, lines: list[dict[str, str]], at: int, changed: Mapping[str, str] | None = None, of: str = r"\w+"
) -> dict[Key, float]:
    """What the rules give at minute ``at``, by (feature, distance): promtool tells what it got where none is expected.

    Args:
        folder: for the rules and the test.
        lines: of all replicas.
        at: minutes since the start.
        changed: settings of the rules.
        of: the reference that is asked about.
    """
    (folder / "rules.yml").write_text(generate.prometheus(changed), encoding="utf-8")
    tests = [{"expr": f"pilotfish:feature:{name}", "eval_time": f"{at}m", "exp_samples": []} for name in DISTANCES]
    content = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": lines, "promql_expr_test": tests}],
    }
    (folder / "tests.yml").write_text(yaml.safe_dump(content, width=1_000_000), encoding="utf-8")
    command = ("promtool", "test", "rules", "tests.yml")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=110, check=False)
    found: dict[Key, float] = {}
    blocks = re.findall(r'expr: "pilotfish:feature:(\w+)"(.*?)(?=expr:|\Z)', done.stdout + done.stderr, re.DOTALL)
    for name, block in blocks:
        for feature, value in re.findall(rf'feature="(\w+)"[^}}]*reference_id="{of}"\}} ([-+.\deE]+|NaN)', block):
            found[feature, name] = float(value)
    return found


def expected(made: Reference, minutes: list[list[Mapping[str, Any]]], at: int) -> dict[Key, float]:
    """What numpy gives for the rows of the hour that ends with the scrape at minute ``at``."""
    rows = [part for minute in minutes[at + 1 - WINDOW : at + 1] for part in minute]
    found: dict[Key, float] = {}
    for stream in made.features:
        now: Counter[str] = Counter()
        for part in rows:
            now.update(counted(stream, part[stream.name]))
        found.update({(stream.name, name): value for name, value in distances(stream, now).items()})
    return found


def furthest(found: Mapping[Key, float], wanted: Mapping[Key, float]) -> float:
    """The largest difference; infinite where one is missing."""
    if found.keys() != wanted.keys():
        return float("inf")
    return max(abs(found[key] - wanted[key]) for key in wanted)
