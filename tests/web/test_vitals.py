"""The vital signs of hardware: limits, GPUs, what a call costs, the host; in groups, marked where it matters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.state.history import History
from pilotfish_agent.web import numbers, page
from pilotfish_agent.web.vitals._vital import Vital
from pilotfish_agent.web.vitals.gpus import GpuRow, gpus
from pilotfish_agent.web.vitals.groups import groups
from pilotfish_core.metrics import Metric, Sample
from pilotfish_core.nouns import Snapshot
from tests.standard import AT, standard_snapshot

Labels = Mapping[str, str]
GPU = {"uuid": "GPU-1", "gpu": "0"}
OURS = {"target": "digits"}


def sample(name: str, value: float, labels: Labels | None = None) -> Sample:
    """One of a metric that need not be declared anywhere."""
    kind = "counter" if name.endswith("_total") else "gauge"
    metric = Metric(f"pilotfish_{name}", kind, "For a test.", tuple(labels or ()))  # type: ignore[arg-type]
    return Sample(metric, tuple((labels or {}).values()), value)


def hardware(minutes: float = 0.0) -> Snapshot:
    """A model in a group with limits, on a GPU, after some minutes of steady work."""
    at = 60.0 * minutes
    of = {resource: {**OURS, "resource": resource} for resource in ("cpu", "memory", "io")}
    samples = [
        sample("requests_total", 600 * minutes, {**OURS, "code": "200"}),  # 10 a second
        sample("input_tokens_total", 5000 * minutes, OURS),
        sample("output_tokens_total", 1000 * minutes, OURS),
        sample("process_cpu_seconds_total", 5 + 1.5 * at, {**OURS, "mode": "user"}),
        sample("process_run_delay_seconds_total", 0.6 * at, OURS),
        sample("model_startup_duration_seconds", 12.5, {**OURS, "phase": "load"}),
        sample("model_startup_duration_seconds", 0.02, {**OURS, "phase": "spawn"}),
        sample("model_startup_duration_seconds", 4, {**OURS, "phase": "initialise"}),
        sample("process_threads", 12, OURS),
        sample("processes", 1, {**OURS, "role": "main"}),
        sample("processes", 4, {**OURS, "role": "worker"}),
        sample("process_exits_total", 2, {**OURS, "cause": "oom"}),
        sample("process_exits_total", 1, {**OURS, "cause": "exit_zero"}),
        sample("process_energy_joules_total", 20 * at, {**OURS, "source": "cpu"}),
        sample("process_energy_joules_total", 300 * at, {**OURS, "source": "gpu"}),
        sample("process_energy_attribution_info", 1, {**OURS, "source": "cpu", "method": "cpu_time"}),
        sample("cgroup_cpu_limit_cores", 2, OURS),
        sample("cgroup_cpu_periods_total", 100 + 10 * at, OURS),
        sample("cgroup_cpu_throttled_periods_total", 4 * at, OURS),
        sample("cgroup_memory_bytes", 1.5 * 2**30, OURS),
        sample("cgroup_memory_reclaimable_bytes", 2**29, OURS),
        sample("cgroup_memory_limit_bytes", 2 * 2**30, OURS),
        sample("cgroup_oom_kills_total", 2 + (minutes > 4), OURS),
        *(sample("cgroup_pressure_waiting_seconds_total", r * at, of[k]) for k, r in (("cpu", 0.4), ("memory", 0.004))),
        sample("gpu_info", 1, {**GPU, "name": "NVIDIA H100 80GB HBM3", "driver": "570.1"}),
        sample("gpu_up", 1, GPU),
        sample("gpu_utilization_ratio", 0.97, GPU),
        sample("gpu_sm_active_ratio", 0.31, GPU),
        sample("gpu_tensor_active_ratio", 0.08, GPU),
        sample("gpu_memory_used_bytes", 60 * 2**30, GPU),
        sample("gpu_memory_total_bytes", 80 * 2**30, GPU),
        sample("gpu_power_watts", 350.4, GPU),
        sample("gpu_power_limit_watts", 700, GPU),
        sample("gpu_temperature_celsius", 61, GPU),
        sample("gpu_xid_errors_total", 1, {**GPU, "xid": "79"}),
        sample("gpu_throttle_seconds_total", 0.5 * at, {**GPU, "reason": "hw_thermal"}),
        sample("gpu_throttle_seconds_total", 0.9 * at, {**GPU, "reason": "power"}),
        sample("process_gpu_memory_bytes", 40 * 2**30, {**OURS, **GPU}),
        sample("process_gpu_sm_utilization_ratio", 0.5, {**OURS, **GPU}),
        sample("process_gpu_seconds_total", 0.5 * at, {**OURS, **GPU}),
        sample("process_gpu_attribution_info", 1, {**OURS, **GPU, "method": "pid"}),
        *(
            sample("host_cpu_seconds_total", r * at, {"mode": mode})
            for mode, r in (("busy", 1.0), ("idle", 2.4), ("iowait", 0.0), ("steal", 0.6))
        ),
        sample("host_memory_available_bytes", 2 * 2**30),
        sample("host_memory_total_bytes", 64 * 2**30),
        sample("state_disk_free_bytes", 30 * 2**30),
        sample("state_disk_size_bytes", 1000 * 2**30),
        sample("host_clock_source_info", 1, {"source": "hpet"}),
        sample("host_clock_source_changes_total", 1),
    ]
    return replace(standard_snapshot(), at=AT + at, samples=tuple(samples))


def lately(*moments: float) -> numbers.Rises:
    """What a history says that has seen these minutes, point by point."""
    history = History()
    for tenth in range(round(10 * max(moments)) + 1):
        history.add(hardware(tenth / 10))
    return history.rises(numbers.COUNTERS, numbers.LATELY_S)


def shown(snapshot: Snapshot, rises: numbers.Rises | None = None) -> dict[str, Vital]:
    """Every vital sign by its name."""
    return {v.name: v for group in groups(numbers.Numbers(snapshot, rises)) for v in group.vitals}


def test_the_groups_are_those_a_person_looks_for() -> None:
    """In reading order, each with a heading."""
    titles = [g.title for g in groups(numbers.Numbers(hardware(6), lately(6)))]
    assert titles == ["Calls", "Process", "Control group", "What a call costs", "Host"]


@pytest.mark.parametrize(
    ("name", "value", "note", "tone"),
    [
        ("CPU used", "9.08 min", "1.5 cores in the last 5 min", ""),
        ("Waiting for a CPU", "0.6", "threads that were ready; too few CPUs", "warning"),
        ("Start-up", "12.5 s", "until it listened; first good answer or probe 4 s later", ""),
        ("Threads", "12", "4 worker, 1 main", ""),
        ("Ended badly", "2 out of memory", "", "critical"),
        ("Ended", "1 well", "", ""),
        ("CPU limit", "2 cores", "", ""),
        ("Throttled", "40 %", "of CPU periods: the limit is too small, in the last 5 min", "warning"),
        ("Memory of the group", "1.5 GiB", "of 2.0 GiB, 512.0 MiB of it can be dropped", ""),
        ("Pressure", "CPU 40 %", "of the time some task waited, last 5 min; memory 0.4 %", "warning"),
        ("OOM kills", "3", "1 in the last 5 min", "critical"),
        ("Power", "320 W", "CPU 20 W by cpu time, GPU 300 W", ""),
        ("CPU time per call", "150 ms", "", ""),
        ("GPU time per call", "50 ms", "", ""),
        ("Energy per call", "32 J", "", ""),
        ("Energy per 1,000 tokens", "3.2 kJ", "", ""),
        ("CPU busy", "25 %", "last 5 min", ""),
        ("CPU stolen", "15 %", "taken by the hypervisor", "warning"),
        ("Memory left", "2.0 GiB", "3.1 % of 64.0 GiB are left", "warning"),
        ("State disk", "30.0 GiB", "3.0 % of 1000.0 GiB", ""),  # room enough for what the agent keeps
        ("Clock source", "changed 1 time", "now hpet: a look at the clock may be slow", "warning"),
    ],
)
def test_each_is_a_number_with_what_it_means(name: str, value: str, note: str, tone: str) -> None:
    """In words, and marked where something is to be done."""
    assert shown(hardware(6), lately(6))[name] == Vital(name, value, note, tone)  # type: ignore[arg-type]


def test_without_a_past_throttling_is_that_of_the_whole_life_and_rates_are_left_out() -> None:
    """A page in the first seconds invents nothing."""
    found = shown(hardware(6))
    assert (found["Throttled"].value, found["Throttled"].note) == (
        "39 %",
        "of CPU periods: the limit is too small, since the group began",
    )
    assert not found.keys() & {"Pressure", "Power", "CPU time per call", "CPU busy", "Waiting for a CPU"}


def test_kills_of_before_are_no_cry_of_now() -> None:
    """The kernel counts since the group was made: of another model in it, of last month, of the agent."""
    vital = shown(hardware(4), lately(4))["OOM kills"]
    assert (vital.value, vital.note, vital.tone) == ("2", "since the group began", "")


def test_memory_is_marked_when_what_cannot_be_dropped_is_near_the_limit() -> None:
    """File cache fills every limit in time, and that is no fault."""
    usual = hardware(6)
    full = tuple(
        Sample(s.metric, s.labels, 1.9 * 2**30) if "cgroup_memory_bytes" in s.metric.name else s for s in usual.samples
    )
    without = tuple(s for s in full if "reclaimable" not in s.metric.name)
    assert shown(replace(usual, samples=full))["Memory of the group"].tone == ""
    found = shown(replace(usual, samples=without))["Memory of the group"]
    assert (found.note, found.tone) == ("of 2.0 GiB, 95 % cannot be dropped: at the limit the kernel kills", "warning")


def test_a_gpu_is_a_row_that_tells_busy_from_saturated() -> None:
    """Its name, utilisation beside SM and tensor activity, memory of all and of the model, what is wrong."""
    (row,) = gpus(numbers.Numbers(hardware(6), lately(6)))
    assert row == GpuRow(
        "0 NVIDIA H100 80GB HBM3",
        "97 %",
        "SM 31 %, tensor 8.0 %",
        "60.0 GiB of 80.0 GiB",
        "40.0 GiB, SM 50 % (by pid)",
        "350 W of 700 W",
        "61 °C",
        "XID 79 1 time, held back by hw thermal 50 %",
        "critical",
    )


def test_a_lost_gpu_says_so_and_shows_nothing_old() -> None:
    """Of the GPU nothing but its absence is known."""
    lost = (sample("gpu_up", 0, GPU), sample("gpu_info", 1, {**GPU, "name": "A10", "driver": "550"}))
    (row,) = gpus(numbers.Numbers(replace(hardware(), samples=lost)))
    assert (row.gpu, row.busy, row.memory, row.tone) == ("0 A10", "", "", "critical")
    assert "lost" in row.notes


def test_an_error_of_a_program_is_not_one_of_the_gpu() -> None:
    """By NVIDIA's own list; corrected memory errors are none, uncorrected ones are."""
    up = sample("gpu_up", 1, GPU)

    def told(*samples: Sample) -> tuple[str, str]:
        (row,) = gpus(numbers.Numbers(replace(hardware(), samples=(up, *samples))))
        return row.notes, row.tone

    xid = sample("gpu_xid_errors_total", 2, {**GPU, "xid": "31"})
    assert told(xid) == ("XID 31 2 times (a program's own)", "warning")
    assert told(sample("gpu_ecc_errors_total", 9, {**GPU, "kind": "corrected"})) == ("", "")
    assert told(sample("gpu_ecc_errors_total", 1, {**GPU, "kind": "uncorrected"}))[1] == "critical"


def test_each_of_several_targets_has_its_own_control_group() -> None:
    """Limits are not added up."""
    usual = hardware(6)
    trees = ({"name": "digits", "pid": 1, "up": True}, {"name": "other", "pid": 2, "up": True})
    status = replace(usual.status, targets=trees)
    samples = (*usual.samples, sample("cgroup_cpu_limit_cores", 4, {"target": "other"}))
    found = {g.title: g for g in groups(numbers.Numbers(replace(usual, status=status, samples=samples)))}
    assert found["Control group of other"].vitals == (Vital("CPU limit", "4 cores"),)
    assert found["Control group of digits"].vitals[0] == Vital("CPU limit", "2 cores")


def test_everything_stands_on_the_page() -> None:
    """Groups under headings, the GPUs in a table; marks are classes, and the words say it too."""
    text = page.html(hardware(6), rises=lately(6)).decode()
    for part in ("<h3>Control group</h3>", "<h3>GPUs</h3>", "NVIDIA H100", "<dd class=critical>2", "Energy per call"):
        assert part in text


@given(st.dictionaries(st.sampled_from([s.metric.name for s in hardware(6).samples]), st.floats()))
def test_no_number_breaks_the_page(values: dict[str, float]) -> None:
    """Zeros, infinities, negative numbers: text all the same."""
    usual = hardware(6)
    samples = tuple(Sample(s.metric, s.labels, values.get(s.metric.name, s.value)) for s in usual.samples)
    assert page.html(replace(usual, samples=samples))
