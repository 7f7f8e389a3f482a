"""Real processes that get the PID of one that has just ended."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pilotfish_agent.hardware._context import HardwareContext, HostContext
from pilotfish_agent.hardware._runner import Runner
from pilotfish_agent.target.group import ControlGroup
from pilotfish_agent.target.tree import ProcessTree
from pilotfish_core.clock import ManualClock
from pilotfish_core.metrics import Sample
from tests.hardware.reuse import Reusing, reusing

FIELDS = ("cpu", "faults", "files", "io", "memory", "scheduling", "tree")


@pytest.fixture
def model() -> Iterator[Reusing]:
    """A parent whose child can be replaced."""
    with reusing() as found:
        try:
            found.reuse()
        except PermissionError as error:
            pytest.skip(str(error))
        yield found


def watch(pid: int) -> tuple[ProcessTree, Runner]:
    """A tree with its first sample taken."""
    clock = ManualClock()
    tree = ProcessTree(pid, None, clock=clock)
    runner = Runner(HardwareContext(HostContext(clock), tree, "model", ControlGroup(tree)), FIELDS)
    runner.collect()
    return tree, runner


def test_a_worker_with_a_used_number_is_another_member(model: Reusing) -> None:
    """Within two samples, each time, and never with the numbers of the one before."""
    tree, runner = watch(model.parent)
    for _ in range(20):
        (old,) = [m for m in tree.members if m.pid == model.child]
        model.reuse()
        for name in ("stat", "status", "io"):
            with pytest.raises(ProcessLookupError):
                old.files.read(name)
        runner.collect()
        runner.collect()
        (new,) = [m for m in tree.members if m.pid == model.child]
        assert new is not old
        assert new.stat.comm == f"gen-{model.generation}"
    runner.close()


def test_who_has_the_number_of_the_root_is_nobody(model: Reusing) -> None:
    """Between scan and read, and at every later sample: counters stand, gauges are absent."""
    for _ in range(4):  # each second one has higher numbers than the one before
        tree, runner = watch(model.child)
        before = counters(runner)
        model.reuse()
        for collector in runner._collectors.values():
            list(collector.collect())
        assert counters(runner) == before
        assert tree.root is None
        assert tree.members == ()
        runner.close()


def counters(runner: Runner) -> dict[tuple[object, ...], object]:
    """What never falls, but the exits."""
    return {
        (r.metric.name, *r.labels): r.value
        for r in runner.collect()
        if isinstance(r, Sample) and r.metric.kind == "counter" and "exits" not in r.metric.name
    }
