"""GPUs of NVIDIA as the real nvidia-ml-py tells of them, on a library that plays them."""

import os
import time
from collections.abc import Callable

import pytest

from pilotfish_agent.gpu import _nvml_gpm, nvml
from pilotfish_agent.gpu.backend import Backend, BackendError
from pilotfish_agent.gpu.report import Gpu, GpuProcess
from pilotfish_core.clock import ManualClock
from tests.gpu import asked, fake
from tests.gpu.expected import CODES, REASON, answer

pytestmark = fake.NEEDS_COMPILER
NAMES = {
    "gpu_utilization_ratio",
    "gpu_memory_used_bytes",
    "gpu_memory_total_bytes",
    "gpu_energy_joules_total",
    "gpu_power_watts",
    "gpu_power_limit_watts",
    "gpu_temperature_celsius",
    "gpu_clock_hertz",
    "gpu_throttle_seconds_total",
    "gpu_ecc_errors_total",
    "gpu_xid_errors_total",
    "gpu_pcie_bytes_total",
    "gpu_nvlink_bytes_total",
    "gpu_sm_active_ratio",
    "gpu_tensor_active_ratio",
    "gpu_dram_active_ratio",
}


def values(gpu: Gpu) -> dict[tuple[str, str | None], float]:
    """By metric and label."""
    return {(value.name, value.label): value.value for value in gpu.values}


def until(backend: Backend, what: Callable[[tuple[Gpu, ...]], bool]) -> tuple[Gpu, ...]:
    """Readings until one is as it must become."""
    end = time.monotonic() + 30
    while not what(found := backend.read()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return found


def test_all_numbers_of_a_gpu(gpus: fake.Gpus, backend: nvml.NvmlBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every metric of the contract, in its unit, with who it is."""
    monkeypatch.setattr(_nvml_gpm, "APART_SECONDS", 0.0)
    gpus.set(gpm_apart_ms=0, xid=43, xid_count=1, util=37, samples=0, **{"field.74": 2_500_000_000, "gpm.5": 42})
    backend.read()
    (gpu,) = until(backend, lambda found: any(value.name == "gpu_xid_errors_total" for value in found[0].values))
    assert (gpu.uuid, gpu.gpu, gpu.name, gpu.driver) == (
        "GPU-00000000-fa4e-fa4e-fa4e-000000000000",
        "0",
        "Fake-H100-80GB",
        "580.00.fake",
    )
    assert gpu.up
    assert gpu.gaps == ()
    assert {value.name for value in gpu.values} == NAMES
    found = values(gpu)
    assert found["gpu_memory_used_bytes", None] == 1 << 30, "without what the driver keeps for itself"
    assert found["gpu_utilization_ratio", None] == 0.37
    assert found["gpu_energy_joules_total", None] == pytest.approx(123456.789)
    assert found["gpu_power_watts", None] == 350
    assert found["gpu_clock_hertz", "memory"] == 2619e6
    assert found["gpu_throttle_seconds_total", "power"] == 2.5
    assert found["gpu_tensor_active_ratio", None] == 0.42
    assert found["gpu_xid_errors_total", "43"] == 1
    assert found["gpu_nvlink_bytes_total", "transmit"] == 2 * 138_000 * 1024, "KiB, over both links"
    assert gpu.processes == (GpuProcess(4242, 5 << 30, 0.55),)


@pytest.mark.parametrize("kind", range(7))
def test_each_type_of_a_field_is_read_as_what_it_is(kind: int, gpus: fake.Gpus, backend: nvml.NvmlBackend) -> None:
    """The other members of the union hold garbage."""
    gpus.set(**{"field_type.197": kind, "field.197": 4711})
    (gpu,) = backend.read()
    assert values(gpu)["gpu_pcie_bytes_total", "transmit"] == 4711


@pytest.mark.parametrize("code", [code for code in CODES if answer(code) in REASON])
def test_a_field_has_its_own_error(code: int, gpus: fake.Gpus, backend: nvml.NvmlBackend) -> None:
    """The others of the same call are good."""
    gpus.set(**{"field_error.197": code, "field_error.198": code})
    (gpu,) = backend.read()
    assert dict(gpu.gaps)["gpu_pcie_bytes_total"] == REASON[answer(code)]
    assert ("gpu_throttle_seconds_total", "power") in values(gpu)


def test_memory_that_the_driver_does_not_know(gpus: fake.Gpus, backend: nvml.NvmlBackend) -> None:
    """ULLONG_MAX is no number of bytes: of a process nothing is told, of the GPU it is a gap."""
    gpus.set(**{"pid.1": 77, "memory_used": 2**64 - 1, "field.83": 2**64 - 1})
    (gpu,) = backend.read()
    assert gpu.processes == (GpuProcess(4242, 5 << 30, 0.55), GpuProcess(77, None, 0.55))
    assert dict(gpu.gaps)["gpu_memory_used_bytes"] == "no_data"
    assert ("gpu_memory_used_bytes", None) not in values(gpu)


def test_a_lost_gpu_has_no_numbers_until_it_is_back(gpus: fake.Gpus, backend: nvml.NvmlBackend) -> None:
    """XID 79: the other GPU is read on; the XID itself is told."""
    gpus.set(count=2)
    backend.close()
    backend.open()
    assert [gpu.up for gpu in backend.read()] == [True, True]
    gpus.set(**{"1.lost": 1, "1.xid_count": 1})
    found = until(backend, lambda found: any(gpu.values and not gpu.up for gpu in found))
    assert {gpu.gpu: gpu.up for gpu in found} == {"0": True, "1": False}
    lost = next(gpu for gpu in found if not gpu.up)
    assert values(lost) == {("gpu_xid_errors_total", "79"): 1}
    assert lost.name == "Fake-H100-80GB"
    gpus.set(**{"1.lost": 0})
    back = until(backend, lambda found: all(gpu.up for gpu in found))
    assert [len(values(gpu)) > 20 for gpu in back] == [True, True]


def test_a_gpu_that_comes_back_as_another_handle_is_found(gpus: fake.Gpus) -> None:
    """After a reset the library must be opened anew for it."""
    clock = ManualClock()
    backend = nvml.NvmlBackend(str(fake.driver_library()), clock)
    backend.open()
    gpus.set(**{"fail.nvmlDeviceGetTemperature": 15})
    assert [gpu.up for gpu in backend.read()] == [False]
    clock.advance(nvml.REOPEN_SECONDS)
    gpus.set(**{"fail.nvmlDeviceGetTemperature": 3})
    backend.read()
    (gpu,) = backend.read()
    assert gpu.up
    assert dict(gpu.gaps)["gpu_temperature_celsius"] == "not_supported"
    gpus.set(**{"fail.nvmlDeviceGetHandleByIndex_v2": 15})
    clock.advance(nvml.REOPEN_SECONDS)
    assert backend.read()[0].up, "it is only looked for when it is lost"
    gpus.set(lost=1)
    assert not backend.read()[0].up
    clock.advance(nvml.REOPEN_SECONDS)
    assert [gpu.up for gpu in backend.read()] == [False]
    assert [gpu.up for gpu in backend.read()] == [False], "not found any more, and still known"
    backend.close()


def test_xids_are_counted_by_number(gpus: fake.Gpus, backend: nvml.NvmlBackend) -> None:
    """Each is told once; two of one kind are two, also over a library that is opened anew."""
    gpus.set(xid=31, xid_count=2)
    until(backend, lambda found: values(found[0]).get(("gpu_xid_errors_total", "31")) == 2)
    backend.close()
    backend.open()
    gpus.set(xid=48, xid_count=3)
    (gpu,) = until(backend, lambda found: ("gpu_xid_errors_total", "48") in values(found[0]))
    assert values(gpu)["gpu_xid_errors_total", "31"] == 2
    assert values(gpu)["gpu_xid_errors_total", "48"] == 1


def test_instances_of_mig(gpus: fake.Gpus, backend: nvml.NvmlBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its memory, its processes and its monitors; the GPU itself has what only it can have."""
    monkeypatch.setattr(_nvml_gpm, "APART_SECONDS", 0.0)
    gpus.set(gpm_apart_ms=0, mig=2, **{"on.0": 2, "instance.2.memory_used": 7 << 20})
    backend.close()
    backend.open()
    backend.read()
    whole, first, second = backend.read()
    assert [one.gpu for one in (whole, first, second)] == ["0", "0/1", "0/2"]
    assert len({one.uuid for one in (whole, first, second)}) == 3
    assert whole.processes == ()
    assert first.processes == ()
    assert second.processes == (GpuProcess(4242, 5 << 30, None),)
    assert dict(second.gaps) == {"process_gpu_sm_utilization_ratio": "not_supported"}
    assert values(second)["gpu_memory_used_bytes", None] == 7 << 20
    assert {value.name for value in second.values} == {
        "gpu_memory_used_bytes",
        "gpu_memory_total_bytes",
        "gpu_sm_active_ratio",
        "gpu_tensor_active_ratio",
        "gpu_dram_active_ratio",
    }
    assert ("gpu_power_watts", None) in values(whole)


def test_instances_that_are_made_later_are_found(gpus: fake.Gpus) -> None:
    """Within a minute; those that are taken apart are not lost, they are gone."""
    clock = ManualClock()
    backend = nvml.NvmlBackend(str(fake.driver_library()), clock)
    backend.open()
    for instances, labels in ((2, ["0", "0/1", "0/2"]), (1, ["0", "0/1"]), (0, ["0"])):
        gpus.set(mig=instances)
        clock.advance(nvml.LAYOUT_SECONDS)
        backend.read()
        assert [(gpu.gpu, gpu.up) for gpu in backend.read()] == [(label, True) for label in labels]
    backend.close()


def test_monitors_speak_of_the_time_between_two_samples(gpus: fake.Gpus) -> None:
    """None in the first reading; samples that lie too near are not compared; a nonsense share is none."""
    clock = ManualClock()
    gpus.set(gpm_apart_ms=0, **{"gpm.5": 250, "gpm_error.10": 3})
    backend = nvml.NvmlBackend(str(fake.driver_library()), clock)
    backend.open()
    assert dict(backend.read()[0].gaps)["gpu_sm_active_ratio"] == "no_data"
    clock.advance(0.05)
    assert dict(backend.read()[0].gaps)["gpu_sm_active_ratio"] == "no_data"
    clock.advance(0.05)
    (gpu,) = backend.read()
    assert values(gpu)["gpu_sm_active_ratio", None] == 0.12
    assert dict(gpu.gaps) == {"gpu_tensor_active_ratio": "no_data", "gpu_dram_active_ratio": "not_supported"}
    backend.close()


def test_a_gpu_before_hopper_has_no_monitors(gpus: fake.Gpus, backend: nvml.NvmlBackend) -> None:
    """Asked once."""
    gpus.set(gpm=0)
    assert dict(backend.read()[0].gaps)["gpu_sm_active_ratio"] == "not_supported"


def test_the_share_of_a_process(gpus: fake.Gpus, backend: nvml.NvmlBackend) -> None:
    """No sample is 0; garbage and samples of processes that are gone are passed over."""
    gpus.set(idle=1)
    assert backend.read()[0].processes == (GpuProcess(4242, 5 << 30, 0.0),)
    gpus.unset("idle")
    gpus.set(**{"pid.1": 77, "sm.1": 4_000_000, "stale.0": 55})
    (gpu,) = backend.read()
    assert gpu.processes == (GpuProcess(4242, 5 << 30, 0.55), GpuProcess(77, None, 0.0))


def test_a_process_of_two_kinds_is_one(gpus: fake.Gpus, backend: nvml.NvmlBackend) -> None:
    """Compute and graphics tell of the same memory; clients of MPS are there too."""
    more = {"pid.1": 4242, "kind.1": "g", "memory.1": 5 << 30, "pid.2": 9, "kind.2": "m", "memory.2": 1}
    gpus.set(**more)
    assert backend.read()[0].processes == (GpuProcess(4242, 5 << 30, 0.55), GpuProcess(9, 1, 0.55))


def test_energy_where_the_driver_counts_none(gpus: fake.Gpus, backend: nvml.NvmlBackend) -> None:
    """From its samples of power, and where it keeps none, from power at the readings: it rises and says who counts."""
    gpus.set(**{"field_error.83": 3, "fail.nvmlDeviceGetTotalEnergyConsumption": 3})

    def joules(found: tuple[Gpu, ...]) -> float:
        (one,) = (value for value in found[0].values if value.name == "gpu_energy_joules_total")
        assert one.counted_here
        return one.value

    assert joules(backend.read()) == 0
    assert joules(until(backend, lambda found: joules(found) > 0)) % 35 == pytest.approx(0, abs=1e-6), "350 W, 0.1 s"
    gpus.set(**{"fail.nvmlDeviceGetSamples": 13})
    backend.close()
    backend.open()
    backend.read()
    until(backend, lambda found: 0 < joules(found) < 35)


def test_links_that_are_down_do_not_count(gpus: fake.Gpus, backend: nvml.NvmlBackend) -> None:
    """A GPU without any says so; a newer one counts bytes in other fields."""
    gpus.set(**{"field_error.138": 3, "field_error.139": 3, "field.202": 10, "field.204": 20})
    found = values(backend.read()[0]) | values(backend.read()[0])
    assert (found["gpu_nvlink_bytes_total", "transmit"], found["gpu_nvlink_bytes_total", "receive"]) == (20, 40)
    gpus.set(links=0)
    backend.close()
    backend.open()
    assert dict(backend.read()[0].gaps)["gpu_nvlink_bytes_total"] == "not_supported"


def test_what_was_not_supported_is_not_asked_again(gpus: fake.Gpus, backend: nvml.NvmlBackend) -> None:
    """Until the library is opened anew."""
    gpus.set(fail__nvmlDeviceGetTemperature=3)
    backend.read()
    gpus.set(fail__nvmlDeviceGetTemperature=0)
    assert dict(backend.read()[0].gaps)["gpu_temperature_celsius"] == "not_supported"
    backend.close()
    backend.open()
    assert "gpu_temperature_celsius" not in dict(backend.read()[0].gaps)


def test_a_library_that_is_not_there(tmp_path: os.PathLike[str]) -> None:
    """In a process that has none loaded: as configured, and by the loader's path."""
    (named,) = asked.ask([asked.Case(f"{os.fspath(tmp_path)}/none.so", {})])
    assert named.reason == "not_installed"
    assert "none.so" in named.words


def test_gpus_that_may_not_be_used_are_no_gpus(gpus: fake.Gpus) -> None:
    """A container sees those that were given to it; without any it says why."""
    gpus.set(count=2, **{"0.fail.nvmlDeviceGetHandleByIndex_v2": 4})
    backend = nvml.make(str(fake.driver_library()))
    backend.open()
    assert [gpu.gpu for gpu in backend.read()] == ["1"]
    backend.close()
    gpus.set(fail__nvmlDeviceGetHandleByIndex_v2=4)
    with pytest.raises(BackendError, match="GPU 0: permission; GPU 1: permission"):
        nvml.make(str(fake.driver_library())).open()
