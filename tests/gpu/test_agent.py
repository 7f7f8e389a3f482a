"""A whole agent beside a process, on a library that plays GPUs: what its page says, and what it leaves."""

import pathlib
from collections.abc import Iterator

import pytest

from tests.agent.live import Live, until
from tests.capture_process.watched import gone
from tests.gpu import fake

pytestmark = fake.NEEDS_COMPILER


@pytest.fixture
def live(gpus: fake.Gpus, tmp_path: pathlib.Path) -> Iterator[Live]:
    """Running, with one GPU."""
    running = Live(tmp_path)
    running.start(command=["sleep", "600"], PILOTFISH_GPU_DRIVER_LIBRARY=str(fake.driver_library()), **gpus.environ)
    yield running
    running.stop()


def test_gpus_on_the_page_of_an_agent(live: Live, gpus: fake.Gpus) -> None:
    """Its series, what reading costs, and words where it fails; the process ends with the agent."""
    until(lambda: live.metric("pilotfish_gpu_up{.*}") == 1.0, "the GPU")
    assert live.metric("pilotfish_gpu_power_watts{.*}") == 350
    until(lambda: live.metric('pilotfish_component_resident_memory_bytes{component="nvml"}'), "its memory")
    assert live.metric('pilotfish_component_restarts_total{component="nvml"}') == 0
    pid = live.status()["processes"]["nvml"]
    gpus.set(fail__nvmlInitWithFlags=18, fail__nvmlDeviceGetTemperature=18)
    until(lambda: live.metric("pilotfish_gpu_up{.*}") == 0.0, "the driver to be exchanged")
    assert live.metric("pilotfish_gpu_power_watts{.*}") is None
    until(lambda: any("load it anew" in notice for notice in live.status()["notices"]), "words for people")
    assert gone(pid)
    gpus.unset("fail.nvmlInitWithFlags", "fail.nvmlDeviceGetTemperature")
    until(lambda: live.metric("pilotfish_gpu_up{.*}") == 1.0, "the new driver")
    pid = live.status()["processes"]["nvml"]
    live.stop()
    until(lambda: gone(pid), "its end")
