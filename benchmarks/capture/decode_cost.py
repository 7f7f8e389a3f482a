"""What one decoded exchange costs the agent."""

from __future__ import annotations

import json
import statistics
import time

from benchmarks.bars import Result, bar, versions
from pilotfish_agent.decode._runner import Decoders
from pilotfish_core.nouns import Exchange

ROUNDS = 15
CALLS = 400
LIMIT_US = 150  # bodies are a sample within 8 MiB/s: 8,000 of 1 KB are at most one core's second by 125 us each


def exchange(instances: list[object]) -> Exchange:
    body = json.dumps({"instances": instances}).encode()
    headers = {"content-type": "application/json"}
    answer = b'{"predictions":[[0.25,0.75]]}'
    target = "/v1/models/fraud/versions/7:predict"
    return Exchange(8501, 0.0, 0.01, 0.005, "POST", target, 200, "success", headers, body, headers, answer)


@bar("decoding one exchange: 1 KB of numbers, a row of 30 features", f"<= {LIMIT_US} us CPU each")
def decode_cost() -> Result:
    cases = {
        "1 KB": exchange([[i / 7 for i in range(55)]]),
        "30 features": exchange([{f"feature_{i}": i / 7 for i in range(30)}]),
    }
    decoders = Decoders()
    found = {name: [_microseconds(decoders, case) for _ in range(ROUNDS)] for name, case in cases.items()}
    medians = {name: statistics.median(values) for name, values in found.items()}
    text = ", ".join(f"{name} {value:.0f} us" for name, value in medians.items())
    return Result(text, max(medians.values()) <= LIMIT_US, versions("msgspec"))


def _microseconds(decoders: Decoders, case: Exchange) -> float:
    began = time.process_time()
    for _ in range(CALLS):
        decoders.observe(case)
    return (time.process_time() - began) / CALLS * 1e6
