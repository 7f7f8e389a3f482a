"""Costs of a request and of 1,000 tokens: the recording rules under promtool beside the same sums by hand."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import yaml

from benchmarks.bars import Result, bar
from benchmarks.drift.fleet import promtool
from pilotfish_alerts import efficiency, generate

SEED: Final = 7402
AGENTS: Final = 5
MODELS: Final = (1, 2, 3, 1, 0)
"""Models of each agent's tree; the last one answers nothing."""
MINUTES: Final = 20
Costs = dict[tuple[str, str, str], float]
"""(rule, instance, model) -> value."""


def made(rng: random.Random) -> tuple[dict[str, str], Costs]:
    """Series of five trees, minute by minute, and what each rule must give at the end."""
    series: dict[str, str] = {}
    wanted: Costs = {}
    for agent in range(AGENTS):
        tree = f'job="pilotfish",instance="a{agent}:7374",target="serve"'
        grown = {
            name: sum(add(series, f"{counter}{{{tree},{label}}}", rng, 50.0) for label in labels)
            for name, counter, labels in (
                ("joules5m", efficiency.COSTS["joules5m"], ('source="cpu"', 'source="gpu"')),
                ("cpu_seconds5m", efficiency.COSTS["cpu_seconds5m"], ('mode="user"', 'mode="system"')),
                ("gpu_seconds5m", efficiency.COSTS["gpu_seconds5m"], ('uuid="GPU-1",gpu="0"', 'uuid="GPU-2",gpu="1"')),
            )
        }
        models = [f"m{number}" for number in range(MODELS[agent])]
        requests, tokens = 0.0, 0.0
        for model in models:
            one = f'{tree},model="{model}",model_version="7"'
            for code in ("200", "500"):
                label = f'protocol="http",operation="chat",code="{code}"'
                requests += add(series, f"pilotfish_requests_total{{{one},{label}}}", rng, 600.0)
            for side in ("input", "output"):
                tokens += add(series, f"pilotfish_{side}_tokens_total{{{one}}}", rng, 90_000.0)
        for name, cost in grown.items():
            for model in models:
                wanted[f"request:{name}", f"a{agent}:7374", model] = cost / requests
                wanted[f"kilotoken:{name}", f"a{agent}:7374", model] = cost / tokens * 1000
    return series, wanted


def add(series: dict[str, str], name: str, rng: random.Random, most: float) -> float:
    """A counter that grows at random; by how much in the last 5 minutes."""
    steps = [float(int(rng.random() * most) + 1) for _ in range(MINUTES)]
    values = [float(int(rng.random() * most))]
    for step in steps:
        values.append(values[-1] + step)
    series[name] = " ".join(map(repr, values))
    return sum(steps[-5:])


def asked(folder: Path, series: Mapping[str, str]) -> Costs:
    """What the rules give at the end: promtool tells what it got where nothing is expected."""
    (folder / "rules.yml").write_text(generate.prometheus(), encoding="utf-8")
    names = [record.name for record in efficiency.RECORDS if not record.name.endswith("rate5m")]
    tests = [{"expr": name, "eval_time": f"{MINUTES}m", "exp_samples": []} for name in names]
    lines = [{"series": name, "values": values} for name, values in series.items()]
    content = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": lines, "promql_expr_test": tests}],
    }
    (folder / "tests.yml").write_text(yaml.safe_dump(content, width=1_000_000), encoding="utf-8")
    command = ("promtool", "test", "rules", "tests.yml")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=110, check=False)
    line = r'__name__="pilotfish:([\w:]+)", instance="([^"]+)"[^}]*model="(\w+)"[^}]*\} ([-+.\deE]+|NaN|\+Inf)'
    return {(n, i, m): float(value) for n, i, m, value in re.findall(line, done.stdout + done.stderr)}


@bar(
    "efficiency: joules, CPU- and GPU-seconds a request and 1,000 tokens, under promtool",
    "equal to 1e-9; none without requests",
)
def rules() -> Result:
    if shutil.which("promtool") is None:
        return Result("promtool is not installed: apt-get install prometheus", None)
    series, wanted = made(random.Random(SEED))
    with tempfile.TemporaryDirectory(prefix="pilotfish-bars-") as folder:
        found = asked(Path(folder), series)
    off = max((abs(found.get(key, float("inf")) / value - 1) for key, value in wanted.items()), default=float("inf"))
    extra = len(found.keys() - wanted.keys())
    text = f"{len(wanted)} costs of {AGENTS} trees off by {off:.1e}, {extra} without requests, seed {SEED}"
    return Result(text, off <= 1e-9 and not extra, promtool())
