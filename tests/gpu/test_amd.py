"""AMD's backend over a stand-in that answers as the interface of ``amdsmi`` 7.0 says; never on a GPU or its library."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import IntEnum
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.gpu import amd
from pilotfish_agent.gpu.backend import Backend, BackendError
from pilotfish_agent.gpu.report import Gpu, GpuProcess
from pilotfish_agent.hardware import gpu as collector
from pilotfish_core.clock import ManualClock
from pilotfish_core.metrics import PREFIX, Reason


class Library(ModuleType):
    """``amdsmi``: functions by name, whose answers a test sets; an error code is raised as the library does."""

    class AmdSmiException(Exception):  # noqa: N818 - its name in the library
        """Base of all that the library raises."""

    class AmdSmiLibraryException(AmdSmiException):
        """Has the status code."""

        def __init__(self, code: int) -> None:
            super().__init__(code)
            self.err_code = code

        def __str__(self) -> str:
            return f"Error code:\n\t{self.err_code} | AMDSMI_STATUS"

    AmdSmiInitFlags = IntEnum("AmdSmiInitFlags", {"INIT_AMD_GPUS": 2})
    AmdSmiMemoryType = IntEnum("AmdSmiMemoryType", {"VRAM": 0})
    AmdSmiTemperatureType = IntEnum("AmdSmiTemperatureType", {"EDGE": 0, "HOTSPOT": 1})
    AmdSmiTemperatureMetric = IntEnum("AmdSmiTemperatureMetric", {"CURRENT": 0})
    AmdSmiClkType = IntEnum("AmdSmiClkType", {"GFX": 0, "MEM": 4, "VCLK0": 6})

    def __init__(self, answers: Mapping[str, Any]) -> None:
        super().__init__("amdsmi")
        self.answers = dict(answers)
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("amdsmi_") or name not in self.__dict__.get("answers", {}):
            raise AttributeError(name)

        def call(*arguments: Any) -> Any:
            self.calls.append(name)
            answer = self.answers[name]
            if isinstance(answer, BaseException):
                raise answer
            return answer(*arguments) if callable(answer) else answer

        return call

    def fails(self, call: str, code: int) -> None:
        """From now on with a status code."""
        self.answers[call] = self.AmdSmiLibraryException(code)


def mi300() -> dict[str, Any]:
    """What an MI300X answers, by the documentation of the library."""
    return {
        "amdsmi_init": None,
        "amdsmi_shut_down": None,
        "amdsmi_get_processor_handles": ["handle"],
        "amdsmi_get_gpu_device_uuid": "1eff74a1-0000-1000-80ca-fe16a79eb8c3",
        "amdsmi_get_gpu_asic_info": {"market_name": "AMD Instinct MI300X", "vendor_id": "0x1002"},
        "amdsmi_get_gpu_driver_info": {"driver_name": "amdgpu", "driver_version": "6.12.12", "driver_date": "N/A"},
        "amdsmi_get_gpu_activity": {"gfx_activity": 87, "umc_activity": 40, "mm_activity": "N/A"},
        "amdsmi_get_gpu_memory_usage": lambda handle, kind: 64 << 30,
        "amdsmi_get_gpu_memory_total": lambda handle, kind: 192 << 30,
        "amdsmi_get_energy_count": {"energy_accumulator": 2_000_000, "counter_resolution": 15.3, "timestamp": 1},
        "amdsmi_get_power_info": {"current_socket_power": 512, "average_socket_power": "N/A", "power_limit": 750},
        "amdsmi_get_power_cap_info": {"power_cap": 750_000_000, "max_power_cap": 750_000_000},
        "amdsmi_get_temp_metric": lambda handle, place, metric: _no_edge(place),
        "amdsmi_get_clock_info": lambda handle, kind: {"clk": 2100 if kind == 0 else 1300, "max_clk": 2100},
        "amdsmi_get_gpu_total_ecc_count": {"correctable_count": 3, "uncorrectable_count": 1, "deferred_count": 0},
        "amdsmi_get_link_metrics": {
            "num_links": 3,
            "links": [
                {"read": 10, "write": 20},
                {"read": 5, "write": 1},
                {"read": 2**64 - 1, "write": 2**64 - 1},
                {"read": 999, "write": 999},
            ],
        },
        "amdsmi_get_gpu_metrics_info": ticks(1000, 0, 0, 0),
        "amdsmi_get_gpu_process_list": [
            {"name": "python", "pid": 4242, "mem": 1 << 30, "memory_usage": {"vram_mem": 5 << 30, "gtt_mem": 1}}
        ],
    }


def _no_edge(place: int) -> int:
    if place == Library.AmdSmiTemperatureType.EDGE:
        raise Library.AmdSmiLibraryException(2)
    return 61


def ticks(passed: object, power: int, thermal: int, hot: int) -> dict[str, object]:
    return {
        "accumulation_counter": passed,
        "ppt_residency_acc": power,
        "socket_thm_residency_acc": thermal,
        "prochot_residency_acc": hot,
    }


class Machine:
    """A machine with the library."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
        self.driver_library = Library(mi300() | changes)
        monkeypatch.setitem(sys.modules, "amdsmi", self.driver_library)
        self.clock = ManualClock()
        self.backend: Backend = amd.AmdBackend(self.clock)

    def read(self, seconds: float = 0.0) -> Gpu:
        """Its one GPU, after a while."""
        self.clock.advance(seconds)
        (gpu,) = self.backend.read()
        return gpu


def values(gpu: Gpu) -> dict[tuple[str, str | None], float]:
    return {(v.name, v.label): v.value for v in gpu.values}


def test_a_gpu_is_read_in_the_units_of_the_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Per cent, micro-joules of 15.3, micro-watts, MHz and KiB become ratios, J, W, Hz and bytes."""
    machine = Machine(monkeypatch)
    machine.backend.open()
    gpu = machine.read()
    assert (gpu.uuid, gpu.gpu, gpu.name, gpu.driver, gpu.up) == (
        "1eff74a1-0000-1000-80ca-fe16a79eb8c3",
        "0",
        "AMD Instinct MI300X",
        "6.12.12",
        True,
    )
    assert values(gpu) == {
        ("gpu_utilization_ratio", None): 0.87,
        ("gpu_memory_used_bytes", None): 64 << 30,
        ("gpu_memory_total_bytes", None): 192 << 30,
        ("gpu_energy_joules_total", None): pytest.approx(30.6),
        ("gpu_power_watts", None): 512.0,
        ("gpu_power_limit_watts", None): pytest.approx(750.0),
        ("gpu_temperature_celsius", None): 61.0,
        ("gpu_clock_hertz", "graphics"): 2.1e9,
        ("gpu_clock_hertz", "memory"): 1.3e9,
        ("gpu_clock_hertz", "video"): 1.3e9,
        ("gpu_ecc_errors_total", "corrected"): 3.0,
        ("gpu_ecc_errors_total", "uncorrected"): 1.0,
        ("gpu_nvlink_bytes_total", "receive"): 15 * 1024,
        ("gpu_nvlink_bytes_total", "transmit"): 21 * 1024,
        ("gpu_throttle_seconds_total", "power"): 0.0,
        ("gpu_throttle_seconds_total", "thermal"): 0.0,
        ("gpu_throttle_seconds_total", "hw_thermal"): 0.0,
    }
    assert gpu.processes == (GpuProcess(4242, 5 << 30, None),)


def test_every_metric_is_given_or_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names are those of the collector, whichever vendor it is."""
    machine = Machine(monkeypatch)
    machine.backend.open()
    gpu = machine.read()
    declared = {m.name.removeprefix(PREFIX) for m in collector.METRICS} - {"gpu_info", "gpu_up"}
    told = {v.name for v in gpu.values} | {name for name, _ in gpu.gaps}
    assert told == declared | {"process_gpu_sm_utilization_ratio"}
    assert dict(gpu.gaps)["gpu_tensor_active_ratio"] == "not_supported"


@pytest.mark.parametrize(
    ("call", "answer", "gap"),
    [
        ("amdsmi_get_gpu_activity", None, "gpu_utilization_ratio"),
        ("amdsmi_get_temp_metric", "N/A", "gpu_temperature_celsius"),
        ("amdsmi_get_power_info", {"current_socket_power": "unknown"}, "gpu_power_watts"),
        ("amdsmi_get_energy_count", KeyError("power"), "gpu_energy_joules_total"),
        ("amdsmi_get_link_metrics", {"num_links": 1, "links": None}, "gpu_nvlink_bytes_total"),
        ("amdsmi_get_gpu_process_list", ["handle"], "process_gpu_memory_bytes"),
        ("amdsmi_get_gpu_driver_info", "6.12", ""),
    ],
)
def test_an_answer_in_another_form_costs_that_number_alone(
    monkeypatch: pytest.MonkeyPatch, call: str, answer: object, gap: str
) -> None:
    """Versions of the library differ; a number that it lost must not end the process that reads all GPUs."""
    machine = Machine(monkeypatch, **{call: answer})
    machine.backend.open()
    gpu = machine.read()
    assert dict(gpu.gaps).get(gap) == ("failed" if gap else None)
    assert values(gpu)["gpu_memory_used_bytes", None] == 64 << 30


def test_a_library_without_a_kind_of_number_has_not_that_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock, a place of a sensor that a version does not name."""
    machine = Machine(monkeypatch)
    monkeypatch.setattr(machine.driver_library, "AmdSmiTemperatureType", IntEnum("T", {"JUNCTION": 1}), raising=False)
    monkeypatch.setattr(machine.driver_library, "AmdSmiClkType", IntEnum("C", {"GFX": 0}), raising=False)
    machine.backend.open()
    gpu = machine.read()
    assert dict(gpu.gaps)["gpu_temperature_celsius"] == "failed"
    assert [v.label for v in gpu.values if v.name == "gpu_clock_hertz"] == ["graphics"]


def test_an_older_library_with_other_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """6.0 said `power` and `cur_clk`, knew average power only, and had no link metrics."""
    machine = Machine(
        monkeypatch,
        amdsmi_get_energy_count={"power": 1_000_000, "counter_resolution": 1.0, "timestamp": 1},
        amdsmi_get_power_info={"current_socket_power": "N/A", "average_socket_power": 200},
        amdsmi_get_clock_info=lambda handle, kind: {"cur_clk": 1000},
        amdsmi_get_gpu_metrics_info={"temperature_edge": 50},
    )
    del machine.driver_library.answers["amdsmi_get_link_metrics"]
    machine.backend.open()
    gpu = machine.read()
    found = values(gpu)
    assert found["gpu_energy_joules_total", None] == 1.0
    assert found["gpu_power_watts", None] == 200.0
    assert found["gpu_clock_hertz", "graphics"] == 1e9
    assert dict(gpu.gaps)["gpu_nvlink_bytes_total"] == "not_supported"
    assert dict(gpu.gaps)["gpu_throttle_seconds_total"] == "not_supported"


def test_throttling_is_the_share_of_the_firmwares_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of the ticks of 2 s is half a second; a counter that began anew adds nothing."""
    machine = Machine(monkeypatch)
    machine.backend.open()
    machine.read(5.0)
    machine.driver_library.answers["amdsmi_get_gpu_metrics_info"] = ticks(2000, 250, 1000, 0)
    found = values(machine.read(2.0))
    assert found["gpu_throttle_seconds_total", "power"] == pytest.approx(0.5)
    assert found["gpu_throttle_seconds_total", "thermal"] == pytest.approx(2.0)
    machine.driver_library.answers["amdsmi_get_gpu_metrics_info"] = ticks(10, 1, 1, 1)
    again = machine.read(1.0)
    assert values(again) == found
    assert all(v.counted_here == (v.name == "gpu_throttle_seconds_total") for v in again.values)


@pytest.mark.parametrize(
    ("code", "reason"), [(2, "not_supported"), (3, "not_supported"), (10, "permission"), (40, "no_data"), (7, "failed")]
)
def test_a_number_that_cannot_be_read_says_why(code: int, reason: Reason, monkeypatch: pytest.MonkeyPatch) -> None:
    """One refused call takes nothing else with it."""
    machine = Machine(monkeypatch)
    machine.backend.open()
    for call in ("amdsmi_get_gpu_activity", "amdsmi_get_gpu_process_list", "amdsmi_get_power_cap_info"):
        machine.driver_library.fails(call, code)
    gpu = machine.read()
    gaps = dict(gpu.gaps)
    assert gaps["gpu_utilization_ratio"] == reason
    assert gaps["process_gpu_memory_bytes"] == reason
    assert gaps["gpu_power_limit_watts"] == reason
    assert gpu.processes is None
    assert ("gpu_power_watts", None) in values(gpu)


def test_a_gpu_of_which_nothing_can_be_read_is_lost_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Down with nothing but its name; afterwards as before."""
    machine = Machine(monkeypatch)
    machine.backend.open()
    before = machine.read()
    good = dict(machine.driver_library.answers)
    for call in good:
        if call.startswith("amdsmi_get_"):
            machine.driver_library.fails(call, 12)
    lost = machine.read()
    assert (lost.up, lost.values, lost.processes, lost.uuid) == (False, (), None, before.uuid)
    machine.driver_library.answers = good
    assert machine.read() == before


def test_without_the_library_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is imported before `open`, and a missing library is no fault."""
    monkeypatch.setitem(sys.modules, "amdsmi", None)
    with pytest.raises(BackendError) as caught:
        amd.make(None).open()
    assert caught.value.reason == "not_installed"
    assert "amdsmi" in caught.value.words


@pytest.mark.parametrize(
    ("call", "code", "reason"),
    [
        ("amdsmi_init", 34, "not_installed"),
        ("amdsmi_init", 10, "permission"),
        ("amdsmi_get_processor_handles", 18, "failed"),
        ("amdsmi_get_gpu_device_uuid", 10, "permission"),
    ],
)
def test_a_library_that_cannot_be_asked_says_why(
    call: str, code: int, reason: Reason, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one line."""
    machine = Machine(monkeypatch)
    machine.driver_library.fails(call, code)
    with pytest.raises(BackendError) as caught:
        machine.backend.open()
    assert caught.value.reason == reason
    assert "\n" not in caught.value.words


def test_a_library_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """ROCm installed, no card."""
    machine = Machine(monkeypatch, amdsmi_get_processor_handles=[])
    with pytest.raises(BackendError) as caught:
        machine.backend.open()
    assert caught.value.reason == "no_data"


def test_it_can_be_closed_and_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it was never open, and when the library is down already."""
    machine = Machine(monkeypatch)
    machine.backend.close()
    machine.backend.open()
    machine.driver_library.fails("amdsmi_shut_down", 32)
    machine.backend.close()
    assert machine.backend.read() == ()
    machine.backend.open()
    assert machine.read().up


ANSWERED_OTHERWISE = ("gpu_memory_used_bytes", "gpu_memory_total_bytes", "gpu_temperature_celsius", "gpu_clock_hertz")
numbers = st.one_of(st.just("N/A"), st.integers(0, 2**64 - 1), st.floats(0, 1e6))


@given(st.dictionaries(st.sampled_from(["gfx_activity", "power_cap", "clk", "accumulation_counter", "read"]), numbers))
def test_answers_without_numbers_are_gaps(answer: dict[str, object]) -> None:
    """Every call answers with any part of what was asked, or with ``N/A``: no value is made up, nothing raises."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        machine = Machine(monkeypatch)
        machine.backend.open()
        machine.driver_library.answers |= {call: answer for call, was in mi300().items() if isinstance(was, dict)}
        for _ in range(2):
            gpu = machine.read(1.0)
            told = {v.name for v in gpu.values}
            assert told <= {"gpu_utilization_ratio", "gpu_power_limit_watts", *ANSWERED_OTHERWISE}
