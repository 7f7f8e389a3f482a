"""Recording rules: what a request and what 1,000 tokens cost in joules, CPU-seconds and GPU-seconds (docs/energy.md).

Each is the cost of a whole process tree over the last 5 minutes, divided by all that the tree answered in them. Which
of several models in one tree took what, nobody can say: each of them is shown with the mean of all.
"""

from __future__ import annotations

from typing import Final

from pilotfish_alerts.rule import Record

GROUP: Final = "pilotfish-efficiency"
INTERVAL: Final = "1m"
"""A mean over five minutes; the rules read a few series for each process tree."""
_TREE: Final = "job, instance, target"
_MODEL: Final = f"{_TREE}, model"
COSTS: Final = {
    "joules5m": "pilotfish_process_energy_joules_total",
    "cpu_seconds5m": "pilotfish_process_cpu_seconds_total",
    "gpu_seconds5m": "pilotfish_process_gpu_seconds_total",
}
_REQUESTS: Final = "pilotfish:request:rate5m"
_TOKENS: Final = "pilotfish:kilotoken:rate5m"


def _tokens() -> str:
    """Of prompts and of answers: a server that only embeds has no others, and both are computed."""
    asked, said = (
        f'label_replace(rate(pilotfish_{side}_tokens_total[5m]), "side", "{side}", "", "")'
        for side in ("input", "output")
    )
    return f"sum by ({_MODEL}) ({asked} or {said}) / 1000"


def _per(rate: str, counter: str) -> str:
    """The tree's cost over all that it answered, for each of its models that did; nothing where nothing was."""
    whole = f"sum by ({_TREE}) (rate({counter}[5m])) / (sum by ({_TREE}) ({rate}) > 0)"
    return f"({whole}) * on ({_TREE}) group_right () group by ({_MODEL}) ({rate} > 0)"


RECORDS: Final = (
    Record(_REQUESTS, f"sum by ({_MODEL}) (rate(pilotfish_requests_total[5m]))", _MODEL),
    Record(_TOKENS, _tokens(), _MODEL),
    *(
        Record(f"pilotfish:{unit}:{name}", _per(rate, counter), _MODEL)
        for unit, rate in (("request", _REQUESTS), ("kilotoken", _TOKENS))
        for name, counter in COSTS.items()
    ),
)
