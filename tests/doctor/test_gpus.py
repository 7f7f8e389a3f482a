"""GPUs as doctor tells of them, on a compiled library that plays them, through the real nvidia-ml-py."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.agent.live import PILOTFISH
from tests.gpu import fake


def asked(folder: Path, gpus: fake.Gpus, deadline: str = "5s") -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The finding of the GPUs, and those of the machine's signals."""
    config = folder / "pilotfish.yaml"
    config.write_text(f"gpu: {{driver_library: {fake.driver_library()}, deadline: {deadline}}}\n")
    command = [*PILOTFISH, "doctor", "--json", "--config", str(config)]
    variables = {**os.environ, **gpus.environ}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=variables, check=False)
    assert done.returncode == 0, done.stderr
    areas = json.loads(done.stdout)["areas"]
    found = {f["name"]: f for f in areas["host"]["findings"]}
    return found["GPUs"], {f["name"]: f for f in areas["machine"]["findings"]}


@fake.NEEDS_COMPILER
def test_what_answers_is_named_and_what_it_does_not_give(tmp_path: Path) -> None:
    """Two GPUs, their driver, and a value that this one does not know, with the reason; the others work."""
    gpus = fake.Gpus(
        tmp_path / "gpus", {"count": 2, "fail.nvmlDeviceGetTemperature": 3, "fail.nvmlDeviceGetTemperatureV": 3}
    )
    finding, signals = asked(tmp_path, gpus)
    assert finding["state"] == "works"
    assert finding["words"].startswith("2 of 2 answer: 0 ")
    assert "driver " in finding["words"]
    assert "temperature_celsius (not_supported)" in finding["words"]
    assert signals["pilotfish_gpu_temperature_celsius"]["reason"] == "not_supported"
    for name in ("gpu_utilization_ratio", "gpu_memory_used_bytes", "gpu_energy_joules_total", "gpu_sm_active_ratio"):
        assert signals[f"pilotfish_{name}"]["state"] == "works", name
    xids = signals["pilotfish_gpu_xid_errors_total"]
    assert (xids["state"], xids["words"]) == ("works", "gpu: none so far"), "no errors are no fault"


@fake.NEEDS_COMPILER
def test_a_driver_that_hangs_costs_a_deadline_and_is_named(tmp_path: Path) -> None:
    """The doctor itself comes to its end, and knows all else."""
    gpus = fake.Gpus(tmp_path / "gpus", {"count": 1, "hang_ms.nvmlDeviceGetMemoryInfo_v2": 30_000})
    finding, signals = asked(tmp_path, gpus, deadline="300ms")
    assert (finding["state"], finding["reason"]) == ("missing", "failed")
    assert "did not answer" in finding["words"]
    assert finding["enable"]
    assert signals["pilotfish_host_cpu_seconds_total"]["state"] == "works"
