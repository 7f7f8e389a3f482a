"""The model's control group on frozen trees: version 1, hybrid, version 2, from a sidecar, and none at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from pilotfish_agent.hardware import cgroup_cpu, cgroup_memory, cgroup_pressure
from pilotfish_agent.hardware._context import HardwareContext
from pilotfish_agent.hardware._runner import Runner
from pilotfish_agent.target import pressure
from pilotfish_agent.target.procfs import Descriptors, ProcessFiles
from pilotfish_core.clock import ManualClock
from pilotfish_core.events import Events
from pilotfish_core.metrics import Unavailable
from tests.hardware.fake_proc import context, frozen

PARTS = ("cgroup_cpu", "cgroup_memory", "cgroup_pressure")
ALL = {m.name for part in (cgroup_cpu, cgroup_memory, cgroup_pressure) for m in part.METRICS}
MIB = 1 << 20


class Watched:
    """The three collectors over a tree that can be changed."""

    def __init__(self, proc: Path) -> None:
        self.proc = proc
        self.context: HardwareContext = context(proc)
        self.context = replace(self.context, events=Events(self.context.clock))
        self.runner = Runner(self.context, PARTS)

    def look(self, *, later: float = 0.0) -> tuple[dict[str, float], dict[str, str]]:
        """Values by ``name`` or ``name/label``, and reasons by name, both without their common prefix."""
        assert isinstance(self.context.clock, ManualClock)
        self.context.clock.advance(later)
        values: dict[str, float] = {}
        reasons: dict[str, str] = {}
        for reading in self.runner.collect():
            if isinstance(reading, Unavailable):
                reasons[_short(reading.signal)] = reading.reason
            elif reading.metric.name in ALL:
                assert isinstance(reading.value, float)
                assert reading.labels[0] == "serve"
                values["/".join([_short(reading.metric.name), *map(str, reading.labels[1:])])] = reading.value
        return values, reasons


def _short(name: str) -> str:
    return name.removeprefix("pilotfish_cgroup_")


@pytest.fixture
def watch(tmp_path: Path) -> Callable[[str], Watched]:
    """Unpacks a frozen tree and watches process 4100 of it."""
    return lambda name: Watched(frozen(name, tmp_path))


def test_a_pod_of_version_2_seen_from_its_sidecar(watch: Callable[[str], Watched]) -> None:
    """The model's own numbers, through its own mount: never those of the sidecar's group, which is at the same path."""
    values, reasons = watch("cgroup-pod-v2").look()
    assert values == {
        "cpu_limit_cores": 1.5,
        "cpu_periods_total": 8123,
        "cpu_throttled_periods_total": 911,
        "cpu_throttled_seconds_total": 45.678901,
        "memory_bytes": 1536 * MIB,
        "memory_reclaimable_bytes": 256 * MIB,
        "memory_limit_bytes": 2048 * MIB,
        "oom_kills_total": 2,
        "memory_events_total/low": 0,
        "memory_events_total/high": 0,
        "memory_events_total/max": 17,
        "pressure_waiting_seconds_total/cpu": 61.0,
        "pressure_stalled_seconds_total/cpu": 12.0,
        "pressure_waiting_seconds_total/memory": 2.5,
        "pressure_stalled_seconds_total/memory": 1.25,
        "pressure_waiting_seconds_total/io": 0.3,
        "pressure_stalled_seconds_total/io": 0.1,
    }
    assert reasons == {"pressure_events_total": "not_supported"}, "a copied file takes no trigger"


def test_a_sidecar_without_the_rights_says_permission(
    watch: Callable[[str], Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`/proc/PID/root` is closed to another user: nothing is told of our own group in place of the model's."""
    watched = watch("cgroup-pod-v2")
    real = open

    def closed(path: str, mode: str = "r") -> object:
        if "/root/" in str(path):
            raise PermissionError(13, "Permission denied", path)
        return real(path, mode)

    monkeypatch.setattr("pilotfish_agent.target.group.open", closed, raising=False)
    values, reasons = watched.look()
    assert values == {}
    assert reasons == {_short(name): "permission" for name in ALL}


def test_what_was_closed_is_tried_again(watch: Callable[[str], Watched], monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point that starts as root and goes on as the model's user: same process, same group, other rights."""
    watched = watch("cgroup-pod-v2")
    tries = []
    real = open

    def closed(path: str, mode: str = "r") -> object:
        if "/root/" not in str(path):
            return real(path, mode)
        tries.append(path)
        raise PermissionError(13, "Permission denied", path)

    with monkeypatch.context() as patch:
        patch.setattr("pilotfish_agent.target.group.open", closed, raising=False)
        for _ in range(1 + 10 + 20 + 40):
            assert watched.look()[0] == {}
    assert len(tries) == 4, "less often each time"
    looks = 0
    while not (found := watched.look()[0]):
        looks += 1
        assert looks < 80
    assert found["memory_bytes"] == 1536 * MIB


def test_a_level_that_is_closed_hides_those_above_it(
    watch: Callable[[str], Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The container's own numbers are told all the same."""
    real = ProcessFiles.__init__

    def open_folder(files: ProcessFiles, folder: str, descriptors: Descriptors) -> None:
        if folder.endswith("pod41.slice"):
            raise PermissionError(13, "Permission denied", folder)
        real(files, folder, descriptors)

    monkeypatch.setattr(ProcessFiles, "__init__", open_folder)
    values, reasons = watch("cgroup-nested-v2").look()
    assert values["memory_limit_bytes"] == 2048 * MIB
    assert reasons["cpu_limit_cores"] == "no_data"


def test_a_sidecar_without_shared_mounts_says_not_supported(watch: Callable[[str], Watched]) -> None:
    """The model's container has no cgroup files mounted, ours hold only our own group."""
    watched = watch("cgroup-pod-v2")
    (watched.proc / "4100" / "mountinfo").write_text("")
    assert watched.look() == ({}, {_short(name): "not_supported" for name in ALL})


def test_the_hosts_mount_shows_a_sidecar_the_model_and_the_limits_above_it(tmp_path: Path) -> None:
    """A host mount begins further up than our namespace: the names in between are found, and proven by the process."""
    proc = frozen("cgroup-pod-v2", tmp_path / "proc")
    shutil.rmtree(proc / "4100" / "root")
    node = frozen("cgroup-nested-v2", tmp_path / "node") / "sys/fs/cgroup"
    pods = node / "kubepods.slice" / "kubepods-burstable.slice"
    other = pods / "kubepods-burstable-pod99.slice" / "cri-containerd-9f2c.scope"
    shutil.copytree(pods / "kubepods-burstable-pod41.slice" / "cri-containerd-9f2c.scope", other)
    (other / "cgroup.procs").write_text("9\n")  # the same name in another pod is not the same group
    line = "1400 1198 0:31 /../../../.. {} ro,nosuid - cgroup2 cgroup rw\n"
    with (proc / "self" / "mountinfo").open("a") as file:
        file.write(line.format(str(node).replace(" ", r"\040")))
    values, _ = Watched(proc).look()
    assert values["cpu_limit_cores"] == 2.0
    assert values["memory_limit_bytes"] == 2048 * MIB
    assert values["memory_bytes"] == 1024 * MIB


def test_the_least_limit_of_the_path_holds_and_its_group_counts_the_throttling(
    watch: Callable[[str], Watched],
) -> None:
    """Only the pod has a CPU limit: its container's own `cpu.stat` says 0 while it is throttled."""
    watched = watch("cgroup-nested-v2")
    values, _ = watched.look()
    assert values["cpu_limit_cores"] == 2.0
    assert (values["cpu_periods_total"], values["cpu_throttled_periods_total"]) == (500, 50)
    assert values["cpu_throttled_seconds_total"] == 2.5
    assert values["memory_limit_bytes"] == 2048 * MIB, "the container's, below its pod's 4 GiB"
    assert values["memory_bytes"] == 1024 * MIB, "the container's own"


def test_docker_on_version_1(watch: Callable[[str], Watched]) -> None:
    """Paths of the host, mounted from there; the memory limit above the container is in `memory.stat`."""
    values, reasons = watch("cgroup-docker-v1").look()
    assert values == {
        "cpu_limit_cores": 0.5,
        "cpu_periods_total": 700,
        "cpu_throttled_periods_total": 350,
        "cpu_throttled_seconds_total": 21.0,
        "memory_bytes": 512 * MIB,
        "memory_reclaimable_bytes": 64 * MIB,
        "memory_limit_bytes": 1024 * MIB,
        "oom_kills_total": 3,
    }
    assert set(reasons) == {
        "memory_events_total",
        "pressure_waiting_seconds_total",
        "pressure_stalled_seconds_total",
        "pressure_events_total",
    }
    assert set(reasons.values()) == {"not_supported"}


def test_a_hybrid_system_has_pressure_and_no_limit_is_no_number(watch: Callable[[str], Watched]) -> None:
    """Version 1 has the controllers, version 2 the pressure; without a limit there is no series, not an endless one."""
    values, reasons = watch("cgroup-hybrid").look()
    assert values["memory_bytes"] == 100 * MIB
    assert values["cpu_throttled_periods_total"] == 0
    assert values["pressure_waiting_seconds_total/memory"] == 0.25
    assert reasons["cpu_limit_cores"] == reasons["memory_limit_bytes"] == "no_data"
    assert max(values.values()) < 1 << 40


def test_no_control_group(watch: Callable[[str], Watched]) -> None:
    """Everything is absent with a reason; nothing is 0."""
    assert watch("cgroup-none").look() == ({}, {_short(name): "not_supported" for name in ALL})


def test_the_root_of_a_hierarchy_is_nobodys_own(watch: Callable[[str], Watched]) -> None:
    """There the numbers are the machine's, which has series of its own."""
    watched = watch("cgroup-nested-v2")
    (watched.proc / "4100" / "cgroup").write_text("0::/\n")
    (watched.proc / "sys/fs/cgroup/cgroup.procs").write_text("1\n4100\n")
    assert watched.look() == ({}, {_short(name): "not_supported" for name in ALL})


def test_a_process_that_moves_takes_its_counters_with_it(watch: Callable[[str], Watched]) -> None:
    """Limits and memory are the new group's; a counter goes on and never takes over the new group's past."""
    watched = watch("cgroup-docker-v1")
    before, _ = watched.look()
    for controller in ("cpu,cpuacct", "memory"):
        mount = watched.proc / "sys/fs/cgroup" / controller
        shutil.copytree(mount, watched.proc / "next" / controller)
        shutil.move(watched.proc / "next" / controller, mount / "inner")
    cpu = watched.proc / "sys/fs/cgroup/cpu,cpuacct/inner"
    (cpu / "cpu.stat").write_text("nr_periods 9000\nnr_throttled 8000\nthrottled_time 7000000000\n")
    (cpu / "cpu.cfs_quota_us").write_text("25000\n")
    lines = (watched.proc / "4100/cgroup").read_text().replace("/docker/5d1e", "/docker/5d1e/inner")
    (watched.proc / "4100/cgroup").write_text(lines)
    after, _ = watched.look()
    assert after["cpu_limit_cores"] == 0.25
    assert {k: v for k, v in after.items() if k.endswith("_total")} == {
        k: v for k, v in before.items() if k.endswith("_total")
    }
    (cpu / "cpu.stat").write_text("nr_periods 9010\nnr_throttled 8004\nthrottled_time 7500000000\n")
    later, _ = watched.look()
    assert later["cpu_periods_total"] == 710
    assert later["cpu_throttled_periods_total"] == 354
    assert later["cpu_throttled_seconds_total"] == 21.5


def test_between_two_processes_counters_stand_and_gauges_are_absent(watch: Callable[[str], Watched]) -> None:
    """A model that restarts: no counter falls, no memory of a process that is not there."""
    watched = watch("cgroup-pod-v2")
    before, _ = watched.look()
    (watched.proc / "4100" / "stat").write_text("")
    shutil.move(watched.proc / "4100", watched.proc / "gone")
    after, reasons = watched.look()
    assert after == {k: v for k, v in before.items() if "_total" in k}
    assert {"memory_bytes", "memory_limit_bytes", "cpu_limit_cores"} <= {
        k for k, r in reasons.items() if r == "no_data"
    }


def test_limits_are_read_each_10_seconds_and_the_rest_at_each_sample(watch: Callable[[str], Watched]) -> None:
    """`kubectl patch` resizes a pod in place."""
    watched = watch("cgroup-pod-v2")
    watched.look()
    group = watched.proc / "4100/root/sys/fs/cgroup"
    (group / "memory.max").write_text("max\n")
    (group / "cpu.max").write_text("max 100000\n")
    (group / "memory.current").write_text("4096\n")
    values, _ = watched.look(later=9)
    assert values["memory_bytes"] == 4096
    assert values["memory_limit_bytes"] == 2048 * MIB
    values, reasons = watched.look(later=2)
    assert reasons["memory_limit_bytes"] == reasons["cpu_limit_cores"] == "no_data"
    assert values["memory_bytes"] == 4096


def test_a_controller_that_is_not_enabled_is_not_supported(watch: Callable[[str], Watched]) -> None:
    """Version 2 without the cpu controller has `cpu.stat` with times only, and no `cpu.max`."""
    watched = watch("cgroup-pod-v2")
    group = watched.proc / "4100/root/sys/fs/cgroup"
    (group / "cpu.max").unlink()
    (group / "cpu.stat").write_text("usage_usec 99\nuser_usec 66\nsystem_usec 33\n")
    values, reasons = watched.look()
    assert {name for name in reasons if name.startswith("cpu_")} == {_short(m.name) for m in cgroup_cpu.METRICS}
    assert values["memory_bytes"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PermissionError(13, "no"), "permission"),
        (FileNotFoundError(2, "no"), "not_supported"),
        (OSError(95, "psi=0"), "not_supported"),
        (OSError(19, "the group has gone"), "no_data"),
        (OSError(5, "a broken disk"), "failed"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(
    error: OSError, reason: str, watch: Callable[[str], Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the kernel's error."""
    watched = watch("cgroup-pod-v2")
    real = ProcessFiles.read_list

    def refuse(files: ProcessFiles, name: str, *, keep: bool = True) -> bytes:
        if name in {"cpu.stat", "memory.current", "cpu.pressure"}:
            raise error
        return real(files, name, keep=keep)

    monkeypatch.setattr(ProcessFiles, "read_list", refuse)
    values, reasons = watched.look()
    assert values == {}
    assert reasons == {_short(name): reason for name in ALL}


def test_the_exits_ask_for_kills_before_the_collectors_have_run(tmp_path: Path) -> None:
    """The tree's first scan may already see a killed worker."""
    surroundings = context(frozen("cgroup-pod-v2", tmp_path))
    surroundings.tree.scan()
    assert surroundings.tree.oom_kills is not None
    assert surroundings.tree.oom_kills() == 2
    surroundings.group.close()
    assert surroundings.group.of("memory") == "no_data"


def test_pressure_is_told_once_an_episode_and_counted_each_time(
    watch: Callable[[str], Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line when it begins, with the share of the last seconds; a minute of quiet ends it."""
    firing: list[list[str]] = []
    monkeypatch.setattr(pressure.Triggers, "armed", ("memory",))
    monkeypatch.setattr(pressure.Triggers, "fired", lambda _: firing.pop(0) if firing else [])
    watched = watch("cgroup-pod-v2")
    file = watched.proc / "4100/root/sys/fs/cgroup/memory.pressure"
    watched.look()
    with capture_logs() as lines:
        for seconds, total in ((2, 3_000_000), (2, 3_000_000), (2, 4_000_000), (70, 4_000_000), (1, 4_250_000)):
            file.write_text(f"some avg10=1.00 avg60=0.30 avg300=0.00 total={total}\n")
            firing.append([] if seconds == 70 else ["memory"])
            values, _ = watched.look(later=seconds)
    assert values["pressure_events_total/memory"] == 4
    assert values["pressure_waiting_seconds_total/memory"] == 4.25
    assert [(x["kind"], x["log_level"], x["target"], x["waiting"]) for x in lines] == [
        ("memory_pressure", "warning", "serve", 0.25),
        ("memory_pressure", "warning", "serve", 0.25),
    ]


def test_the_share_is_no_less_than_what_the_trigger_has_proved(
    watch: Callable[[str], Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel adds to the sums every 2 s: at one sample a second they often stand still when a trigger fires."""
    firing = [[], [], ["cpu", "memory"]]
    monkeypatch.setattr(pressure.Triggers, "armed", ("cpu", "memory"))
    monkeypatch.setattr(pressure.Triggers, "fired", lambda _: firing.pop(0))
    watched = watch("cgroup-pod-v2")
    with capture_logs() as lines:
        for cpu in (1_000_000, 2_600_000, 2_600_000):
            files = watched.proc / "4100/root/sys/fs/cgroup"
            (files / "cpu.pressure").write_text(f"some avg10=1.00 avg60=0.30 avg300=0.00 total={cpu}\n")
            watched.look(later=1)
    assert {line["kind"]: line["waiting"] for line in lines} == {"cpu_pressure": 0.8, "memory_pressure": 0.07}


def test_each_third_look_leaves_the_files_to_the_kernel(
    watch: Callable[[str], Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a trigger is set; it repeats the sums, and says what has fired."""
    monkeypatch.setattr(pressure.Triggers, "armed", ("cpu",))
    watched = watch("cgroup-pod-v2")
    file = watched.proc / "4100/root/sys/fs/cgroup/cpu.pressure"
    seen = []
    for second in range(1, 7):
        file.write_text(f"some avg10=1.00 avg60=0.30 avg300=0.00 total={second}000000\n")
        seen.append(watched.look(later=1)[0]["pressure_waiting_seconds_total/cpu"])
    assert seen == [1.0, 2.0, 2.0, 4.0, 5.0, 5.0]


def test_a_threaded_group_lists_threads_only(watch: Callable[[str], Watched], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its `cgroup.procs` answers EOPNOTSUPP."""
    watched = watch("cgroup-pod-v2")
    group = watched.proc / "4100/root/sys/fs/cgroup"
    (group / "cgroup.threads").write_text("4100\n4107\n")
    real = open

    def threaded(path: str, mode: str = "r") -> object:
        if str(path).endswith("cgroup.procs"):
            raise OSError(95, "Operation not supported")
        return real(path, mode)

    monkeypatch.setattr("pilotfish_agent.target.group.open", threaded, raising=False)
    values, _ = watched.look()
    assert values["memory_bytes"] == 1536 * MIB
