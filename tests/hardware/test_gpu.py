"""The GPUs of the machine: what goes out of a report, and what is absent and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pilotfish_agent.gpu import nvml
from pilotfish_agent.gpu.report import Gpu, GpuReport, GpuValue
from pilotfish_agent.hardware import gpu as part
from pilotfish_agent.hardware._context import HostContext
from pilotfish_agent.hardware._runner import Runner, scope
from pilotfish_core.clock import ManualClock
from pilotfish_core.metrics import PREFIX, Reading, Reason, Sample, Unavailable
from tests.gpu import fake

A = Gpu("GPU-aaaa", "0", "H200", "580.1", up=True)
Series = tuple[str, tuple[str | None, ...]]


@dataclass
class Source:
    """Somebody who reports what he is told to."""

    report: GpuReport


def report(*gpus: Gpu, reason: Reason | None = None) -> GpuReport:
    return GpuReport(gpus, reason)


class Gpus:
    """The collector over reports that a test gives."""

    def __init__(self, first: GpuReport) -> None:
        self.source = Source(first)
        self._collector = part.make(HostContext(ManualClock(), gpus=self.source))

    def collect(self, now: GpuReport | None = None) -> tuple[dict[Series, float], dict[str, Reason]]:
        """(values by name and labels, reasons by name), names without prefix."""
        if now is not None:
            self.source.report = now
        return split(self._collector.collect())


def split(readings: Iterable[Reading]) -> tuple[dict[Series, float], dict[str, Reason]]:
    values: dict[Series, float] = {}
    gaps: dict[str, Reason] = {}
    for one in readings:
        if isinstance(one, Unavailable):
            assert one.signal not in gaps, "told twice"
            gaps[one.signal.removeprefix(PREFIX)] = one.reason
            continue
        assert len(one.labels) == len(one.metric.labels)
        assert isinstance(one.value, float)
        key = one.metric.name.removeprefix(PREFIX), one.labels
        assert key not in values, "a series twice"
        values[key] = one.value
    return values, gaps


def all_names() -> set[str]:
    return {m.name.removeprefix(PREFIX) for m in part.METRICS}


def test_a_gpu_is_told_with_everything_that_could_be_read() -> None:
    """Each value under its own name, with the GPU's labels first; what could not be read says why, once."""
    gpu = replace(
        A,
        values=(
            GpuValue("gpu_utilization_ratio", 0.5),
            GpuValue("gpu_clock_hertz", 1.9e9, "sm"),
            GpuValue("gpu_clock_hertz", 2.6e9, "memory"),
            GpuValue("gpu_energy_joules_total", 12.5),
        ),
        gaps=(("gpu_tensor_active_ratio", "not_supported"), ("gpu_ecc_errors_total", "permission")),
    )
    values, gaps = Gpus(report(gpu)).collect()
    at = ("GPU-aaaa", "0")
    assert values == {
        ("gpu_up", at): 1.0,
        ("gpu_info", (*at, "H200", "580.1")): 1.0,
        ("gpu_utilization_ratio", at): 0.5,
        ("gpu_clock_hertz", (*at, "sm")): 1.9e9,
        ("gpu_clock_hertz", (*at, "memory")): 2.6e9,
        ("gpu_energy_joules_total", at): 12.5,
    }
    assert gaps["gpu_tensor_active_ratio"] == "not_supported"
    assert gaps["gpu_ecc_errors_total"] == "permission"
    assert gaps["gpu_power_watts"] == "no_data"
    assert {name for name, _ in values} | gaps.keys() | {"gpu_xid_errors_total"} == all_names()


def test_no_error_so_far_is_no_missing_signal() -> None:
    """XIDs have no series before the first one; where they cannot be read at all, that is told."""
    assert "gpu_xid_errors_total" not in Gpus(report(A)).collect()[1]
    deaf = replace(A, gaps=(("gpu_xid_errors_total", "not_supported"),))
    assert Gpus(report(deaf)).collect()[1]["gpu_xid_errors_total"] == "not_supported"


def test_what_another_gpu_gives_is_not_absent() -> None:
    """An old card beside a new one: `signal_unavailable` speaks of signals that no GPU here gives."""
    new = replace(A, values=(GpuValue("gpu_sm_active_ratio", 0.25),))
    old = Gpu("GPU-bbbb", "1", "T4", "580.1", up=True, gaps=(("gpu_sm_active_ratio", "not_supported"),))
    values, gaps = Gpus(report(new, old)).collect()
    assert values["gpu_sm_active_ratio", ("GPU-aaaa", "0")] == 0.25
    assert "gpu_sm_active_ratio" not in gaps


def test_a_machine_without_a_gpu_says_so_once() -> None:
    """One series, not one for each metric; nobody to ask is `disabled`."""
    for reason in ("not_installed", "no_data", "failed"):
        assert Gpus(report(reason=reason)).collect() == ({}, {"gpu_up": reason})
    nobody = part.make(HostContext(ManualClock())).collect()
    assert split(nobody) == ({}, {"gpu_up": "disabled"})


def test_a_lost_gpu_is_down_with_its_errors_and_comes_back() -> None:
    """Its numbers vanish, not the XID that says why; the other GPU is as ever; afterwards all is as before."""
    values = (GpuValue("gpu_power_watts", 300.0), GpuValue("gpu_energy_joules_total", 1000.0))
    good, other = replace(A, values=values), Gpu("GPU-bbbb", "1", "H200", "580.1", up=True, values=values)
    gpus = Gpus(report(good, other))
    before, _ = gpus.collect()
    fallen = GpuValue("gpu_xid_errors_total", 1.0, "79")
    now, gaps = gpus.collect(report(replace(A, up=False, values=(fallen,)), other))
    of_a = {name: value for (name, labels), value in now.items() if labels[0] == "GPU-aaaa"}
    assert of_a == {"gpu_up": 0.0, "gpu_xid_errors_total": 1.0}
    assert {k: v for k, v in now.items() if k[1][0] == "GPU-bbbb"} == {
        k: v for k, v in before.items() if k[1][0] == "GPU-bbbb"
    }
    assert "gpu_power_watts" not in gaps
    back, _ = gpus.collect(report(replace(good, values=(*values, fallen)), other))
    assert back == before | {("gpu_xid_errors_total", ("GPU-aaaa", "0", "79")): 1.0}


def test_the_only_gpu_lost_leaves_everything_absent_with_a_reason() -> None:
    """Nothing is 0 but `gpu_up`."""
    values, gaps = Gpus(report(replace(A, up=False))).collect()
    assert values == {("gpu_up", ("GPU-aaaa", "0")): 0.0}
    assert gaps == dict.fromkeys(all_names() - {"gpu_up"}, "no_data")


def test_an_old_report_is_no_report() -> None:
    """While the driver hangs, no GPU is up and no old number is repeated; the reason is the reader's."""
    gpu = replace(A, values=(GpuValue("gpu_power_watts", 300.0), GpuValue("gpu_xid_errors_total", 2.0, "31")))
    gpus = Gpus(report(gpu))
    gpus.collect()
    values, gaps = gpus.collect(report(gpu, reason="failed"))
    assert values == {
        ("gpu_up", ("GPU-aaaa", "0")): 0.0,
        ("gpu_xid_errors_total", ("GPU-aaaa", "0", "31")): 2.0,
    }
    assert gaps == dict.fromkeys(all_names() - {"gpu_up", "gpu_xid_errors_total"}, "failed")


@fake.NEEDS_COMPILER
@pytest.mark.parametrize("more", [{}, {"mig": 2}, {"xid_count": 1}])
def test_everything_that_nvml_gives_has_its_metric(
    more: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the real binding, on a library that plays a GPU with all there is: no value is left over."""
    gpus = fake.Gpus(tmp_path / "gpus", {"count": 1, "links": 2, "pid.0": 4242, "memory.0": 1 << 30})
    for name, value in gpus.environ.items():
        monkeypatch.setenv(name, value)
    backend = nvml.make(str(fake.driver_library()))
    backend.open()
    backend.read()
    gpus.set(**more)
    found = backend.read()
    backend.close()
    values, gaps = Gpus(report(*found)).collect()
    assert sum(len(gpu.values) for gpu in found) + 2 * len(found) == len(values)
    declared_elsewhere = {name for gpu in found for name, _ in gpu.gaps} - all_names()
    assert declared_elsewhere <= {"process_gpu_memory_bytes", "process_gpu_sm_utilization_ratio"}
    assert gaps.keys() <= all_names()


def test_the_host_runner_runs_it_and_a_target_does_not() -> None:
    """Once a machine, not once a tree."""
    assert scope(part) == "host"
    runner = Runner(HostContext(ManualClock(), gpus=Source(report(A))), ["gpu"])
    assert any(isinstance(r, Sample) and r.metric is part.UP for r in runner.collect())
    runner.close()


def test_every_metric_is_in_the_documentation() -> None:
    """docs/gpu.md names each signal, and each method of attribution."""
    page = Path("docs/gpu.md").read_text()
    for name in all_names():
        assert f"`{name}" in page, name
