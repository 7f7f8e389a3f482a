"""Cost of a request and of 1,000 tokens: the recording rules under promtool, with exact numbers."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from pilotfish_agent import catalogue
from pilotfish_alerts import efficiency, generate
from tests.system import needs

TREE: Final = 'job="pilotfish",instance="a:7374",target="serve"'
REQUESTS: Final = f'pilotfish_requests_total{{{TREE},protocol="http",operation="predict",code="200"'
CPU: Final = {
    f'pilotfish_process_cpu_seconds_total{{{TREE},mode="user"}}': "100+22.5x20",
    f'pilotfish_process_cpu_seconds_total{{{TREE},mode="system"}}': "10+7.5x20",
}
"""Half a core."""
ENERGY: Final = {
    f'pilotfish_process_energy_joules_total{{{TREE},source="cpu"}}': "0+1200x20",
    f'pilotfish_process_energy_joules_total{{{TREE},source="gpu"}}': "0+4800x20",
}
"""20 W and 80 W."""
GPU: Final = {
    f'pilotfish_process_gpu_seconds_total{{{TREE},uuid="GPU-1",gpu="0"}}': "0+30x20",
    f'pilotfish_process_gpu_seconds_total{{{TREE},uuid="GPU-2",gpu="1"}}': "0+30x20",
}
NAMES: Final = tuple(r.name for r in efficiency.RECORDS if "rate5m" not in r.name)


def requests(model: str, values: str, **labels: str) -> dict[str, str]:
    """The requests of a model."""
    more = "".join(f',{name}="{value}"' for name, value in {"model_version": "7", **labels}.items())
    return {f'{REQUESTS},model="{model}"{more}}}': values}


def tokens(side: str, model: str, values: str) -> dict[str, str]:
    """The tokens of a model."""
    return {f'pilotfish_{side}_tokens_total{{{TREE},model="{model}",model_version="7"}}': values}


def expect(name: str, at: str = "15m", **models: float) -> dict[str, Any]:
    """What a rule must give, by model."""
    samples = [{"labels": f'{name}{{{TREE},model="{model}"}}', "value": value} for model, value in models.items()]
    return {"expr": name, "eval_time": at, "exp_samples": samples}


def play(folder: Path, series: Mapping[str, str], *expected: dict[str, Any]) -> None:
    """promtool accepts what is expected, every minute one scrape and one evaluation."""
    (folder / "rules.yml").write_text(generate.prometheus(), encoding="utf-8")
    lines = [{"series": name, "values": values} for name, values in series.items()]
    test = {"interval": "1m", "input_series": lines, "promql_expr_test": list(expected)}
    content = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": [test]}
    (folder / "tests.yml").write_text(yaml.safe_dump(content, width=1_000_000), encoding="utf-8")
    command = ("promtool", "test", "rules", "tests.yml")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs("promtool", package="prometheus")
def test_one_model_costs_what_its_tree_takes(tmp_path: Path) -> None:
    """100 W, half a core and one GPU at 8 requests and 2,000 tokens a second."""
    series = CPU | ENERGY | GPU | requests("m", "0+480x20")
    series |= tokens("input", "m", "0+90000x20") | tokens("output", "m", "0+30000x20")
    play(
        tmp_path,
        series,
        expect("pilotfish:request:joules5m", m=12.5),
        expect("pilotfish:request:cpu_seconds5m", m=0.0625),
        expect("pilotfish:request:gpu_seconds5m", m=0.125),
        expect("pilotfish:kilotoken:joules5m", m=50.0),
        expect("pilotfish:kilotoken:cpu_seconds5m", m=0.25),
        expect("pilotfish:kilotoken:gpu_seconds5m", m=0.5),
        expect("pilotfish:request:rate5m", m=8.0),
        expect("pilotfish:kilotoken:rate5m", m=2.0),
    )


@needs("promtool", package="prometheus")
def test_models_of_one_tree_share_its_cost_by_requests(tmp_path: Path) -> None:
    """7 and 1 requests a second, two versions: each is shown with the mean of the tree; an idle one is not."""
    series = CPU | requests("big", "0+420x20") | requests("small", "0+30x20") | requests("idle", "7x20")
    series |= requests("small", "0+30x20", model_version="8")
    play(tmp_path, series, expect("pilotfish:request:cpu_seconds5m", big=0.0625, small=0.0625))


@needs("promtool", package="prometheus")
@pytest.mark.parametrize("asked", [{}, requests("m", "5x20")])
def test_without_requests_there_is_no_cost(tmp_path: Path, asked: dict[str, str]) -> None:
    """Neither infinity nor 0: nothing, with requests that stand still and without any."""
    play(tmp_path, CPU | ENERGY | GPU | asked, *(expect(name) for name in NAMES))


@needs("promtool", package="prometheus")
def test_without_a_source_there_is_no_cost_of_that_kind(tmp_path: Path) -> None:
    """No RAPL, no GPU, no tokens: the CPU alone; a tree of another agent pays nothing here."""
    other = {name.replace("a:7374", "b:7374"): value for name, value in ENERGY.items()}
    quiet = [expect(name) for name in NAMES if name != "pilotfish:request:cpu_seconds5m"]
    play(
        tmp_path,
        CPU | other | requests("m", "0+480x20"),
        expect("pilotfish:request:cpu_seconds5m", m=0.0625),
        *quiet,
    )


@needs("promtool", package="prometheus")
def test_a_server_that_only_embeds_has_tokens_of_prompts(tmp_path: Path) -> None:
    """And one whose prompts are not counted has those of answers."""
    play(
        tmp_path,
        CPU | tokens("input", "embed", "0+90000x20"),
        expect("pilotfish:kilotoken:cpu_seconds5m", embed=0.5 / 1.5),
    )
    play(tmp_path, CPU | tokens("output", "m", "0+90000x20"), expect("pilotfish:kilotoken:cpu_seconds5m", m=0.5 / 1.5))


@needs("promtool", package="prometheus")
def test_a_restart_of_the_agent_makes_no_cost_negative(tmp_path: Path) -> None:
    """All counters begin at 0 together."""
    series = {
        f'pilotfish_process_cpu_seconds_total{{{TREE},mode="user"}}': "300+30x10 0+30x10",
        **requests("m", "4800+480x10 0+480x10"),
    }
    play(tmp_path, series, expect("pilotfish:request:cpu_seconds5m", "13m", m=0.0625))


def test_the_rules_read_what_is_declared() -> None:
    """A renamed metric must not leave a silent rule behind."""
    declared = {m.name: set(m.labels) for m in catalogue.metrics()}
    for counter in (*efficiency.COSTS.values(), "pilotfish_requests_total"):
        assert "target" in declared[counter]
    assert "model" in declared["pilotfish_requests_total"]
    assert {"target", "model"} <= declared["pilotfish_input_tokens_total"] & declared["pilotfish_output_tokens_total"]
