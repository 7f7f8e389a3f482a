"""Which part of a GPU is the model's: each rule, its traps, and that nothing is ever charged twice."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.gpu.attribution import Hints, Use, attribute, energy
from pilotfish_agent.gpu.report import Gpu, GpuProcess, GpuValue
from pilotfish_core.metrics import Reason

GIB = 2**30
CONTAINER = Hints(initial=False)


def gpu(
    *processes: GpuProcess, uuid: str = "GPU-a", number: str = "0", used: float = 10 * GIB, busy: float = 0.9
) -> Gpu:
    values = (GpuValue("gpu_memory_used_bytes", used), GpuValue("gpu_utilization_ratio", busy))
    return Gpu(uuid, number, "H200", "580.1", up=True, values=values, processes=processes)


def part(one: Gpu, members: Collection[int], hints: Hints) -> Use | Reason:
    """The model's part of one GPU, or why there is none."""
    found, reason = attribute([one], members, hints)
    return found.get(one.uuid, reason)


def test_a_listed_pid_of_the_tree_is_the_models() -> None:
    """On the host: sums over the processes of the tree, and their part of all."""
    one = gpu(GpuProcess(10, 4 * GIB, 0.25), GpuProcess(11, 2 * GIB, 0.125), GpuProcess(99, 2 * GIB, 0.375))
    assert part(one, {10, 11, 12}, Hints()) == Use("pid", 6 * GIB, 0.375, 0.75, 0.5)


def test_a_model_that_uses_no_gpu_has_no_part() -> None:
    """Absent, not 0: others use the GPU, or nobody does."""
    assert part(gpu(GpuProcess(99, GIB, 0.5)), {10}, Hints()) == "no_data"
    assert part(gpu(), {10}, Hints()) == "no_data"


def test_each_gpu_is_told_for_itself() -> None:
    """A model over two of three GPUs."""
    gpus = [
        gpu(GpuProcess(10, GIB, 0.5)),
        gpu(GpuProcess(10, 2 * GIB, 0.25), uuid="GPU-b", number="1"),
        gpu(GpuProcess(99, GIB, 0.5), uuid="GPU-c", number="2"),
    ]
    found, _ = attribute(gpus, {10}, Hints())
    assert {uuid: use.memory for uuid, use in found.items()} == {"GPU-a": GIB, "GPU-b": 2 * GIB}


def test_memory_that_the_driver_does_not_say_is_absent() -> None:
    """Some drivers (WDDM, vGPU) list the process and not its memory: a sum over the others would be wrong."""
    use = part(gpu(GpuProcess(10, None, 0.5), GpuProcess(11, GIB, None)), {10, 11}, Hints())
    assert use == Use("pid", None, None, None, None)


def test_one_process_in_two_lists_counts_once() -> None:
    """Compute and graphics contexts: the driver names the process in both, with the same memory."""
    use = part(gpu(GpuProcess(10, GIB, 0.5), GpuProcess(10, GIB, 0.0)), {10}, Hints())
    assert use == Use("pid", GIB, 0.5, 1.0, 1.0)


def test_in_a_container_a_list_is_believed_that_names_only_processes_that_are_here() -> None:
    """A newer driver speaks of our namespace and leaves the others out: the device says what they may use."""
    one = gpu(GpuProcess(7, 5 * GIB, 0.25), used=20 * GIB, busy=0.5)
    assert part(one, {7}, Hints(initial=False, visible=frozenset({7}))) == Use("pid", 5 * GIB, 0.25, 0.25, 0.5)


def test_a_process_of_another_namespace_may_be_listed_as_0() -> None:
    """Somebody who is not here: his part is not ours, and the others' numbers are."""
    one = gpu(GpuProcess(7, 5 * GIB, 0.25), GpuProcess(0, 5 * GIB, 0.25), busy=0.5)
    use = part(one, {7}, Hints(initial=False, visible=frozenset({7})))
    assert use == Use("pid", 5 * GIB, 0.25, 0.5, 0.5)
    assert part(gpu(GpuProcess(0, GIB, 0.5)), {7}, CONTAINER) == "permission"


def test_in_a_container_a_number_of_the_host_that_happens_to_be_ours_is_not_ours() -> None:
    """An older driver lists the host's PIDs: 4242 is not here, so this 7 is the host's 7 and some other process."""
    one = gpu(GpuProcess(7, 4 * GIB, 0.3), GpuProcess(4242, GIB, 0.1))
    assert part(one, {7}, Hints(initial=False, visible=frozenset({7}))) == "permission"


def test_a_number_from_a_namespace_below_ours() -> None:
    """The driver names a process as it is called in its own container; unless a process here has that number too."""
    one = gpu(GpuProcess(7, 4 * GIB, 0.3))
    hints = Hints(initial=True, aliases={4242: (7,)})
    assert part(one, {4242}, hints) == Use("nspid", 4 * GIB, 0.3, 1.0, 1.0)
    seen = Hints(initial=True, aliases={4242: (7,)}, visible=frozenset({7}))
    assert part(one, {4242}, seen) == "no_data"


def test_a_gpu_given_to_the_model_alone_is_all_its() -> None:
    """An older driver in a container lists nothing, or the host's PIDs: the device's own numbers are the model's."""
    ours = Hints(initial=False, holders={"GPU-a": 2})
    expected = Use("device", 10 * GIB, 0.9, 1.0, 1.0)
    assert part(gpu(), {7, 8}, ours) == expected
    assert part(gpu(GpuProcess(4242, 9 * GIB, 0.9)), {7, 8}, ours) == expected
    named = Hints(initial=False, holders={}, named=frozenset({"GPU-a"}))
    assert part(gpu(), {7}, named) == expected


def test_a_driver_that_speaks_of_our_pids_means_what_its_empty_lists_say() -> None:
    """CUDA opens every GPU that it may use: the one that the model does not use may be another container's."""
    hints = Hints(initial=False, visible=frozenset({7}), holders={"GPU-a": 1, "GPU-b": 1})
    found, _ = attribute([gpu(GpuProcess(7, GIB, 0.5)), gpu(uuid="GPU-b", number="1")], {7}, hints)
    assert {uuid: use.method for uuid, use in found.items()} == {"GPU-a": "pid"}


@pytest.mark.parametrize(
    ("hints", "processes", "reason"),
    [
        (CONTAINER, (), "permission"),  # we may not look who has it open
        (Hints(initial=False, holders={}), (), "not_supported"),
        (Hints(initial=False, holders={"GPU-a": 0}, named=frozenset({"GPU-a"})), (), "not_supported"),  # not opened
        (Hints(initial=False, holders={"GPU-a": 1}), (4242, 4243), "not_supported"),  # time-slicing
        (Hints(initial=False, holders={"GPU-a": 1}, shared=True), (), "not_supported"),  # --gpus all
        (Hints(initial=False, holders={"GPU-a": 1}, visible=frozenset({9})), (9,), "no_data"),  # a neighbour
        (Hints(initial=True, holders={"GPU-a": 1}), (), "no_data"),  # on the host the list is whole
    ],
)
def test_what_is_not_known_is_absent(hints: Hints, processes: tuple[int, ...], reason: Reason) -> None:
    """Never the whole of a GPU that others may have a part of."""
    assert part(gpu(*(GpuProcess(pid, GIB, 0.1) for pid in processes)), {7}, hints) == reason


def test_processes_that_cannot_be_read_have_the_drivers_reason() -> None:
    """No list at all."""
    deaf = Gpu("GPU-a", "0", "H200", "1", True, gaps=(("process_gpu_memory_bytes", "permission"),), processes=None)
    assert part(deaf, {7}, Hints()) == "permission"
    assert part(Gpu("GPU-a", "0", "H200", "1", True, processes=None), {7}, Hints()) == "not_supported"


def test_the_instances_of_a_gpu_stand_for_it() -> None:
    """In MIG mode a process is its instance's; the GPU above may list it again."""
    whole = gpu(GpuProcess(10, GIB, None))
    instance = gpu(GpuProcess(10, GIB, None), uuid="MIG-1", number="0/1")
    other = gpu(GpuProcess(10, GIB, 0.5), uuid="GPU-b", number="1")
    found, _ = attribute([whole, instance, other], {10}, Hints())
    assert found.keys() == {"MIG-1", "GPU-b"}
    assert found["MIG-1"].sm is None


def test_another_vendor_counts_for_itself() -> None:
    """Its GPU 0 is not the one that is divided."""
    instance = gpu(GpuProcess(10, GIB, None), uuid="MIG-1", number="0/1")
    amd = Gpu("1eff74a1", "0", "MI300X", "6.12.12", up=True, processes=(GpuProcess(10, GIB),))
    assert attribute([instance, amd], {10}, Hints())[0].keys() == {"MIG-1", "1eff74a1"}


def test_a_lost_gpu_has_no_part() -> None:
    """Nothing is known of it."""
    lost = Gpu("GPU-a", "0", "H200", "1", up=False, processes=(GpuProcess(10, GIB, 0.5),))
    assert attribute([lost], {10}, Hints()) == ({}, "no_data")


def test_energy_goes_by_time_else_by_memory() -> None:
    """While nobody's kernels run, who holds memory keeps the GPU awake."""
    busy = part(gpu(GpuProcess(10, GIB, 0.125), GpuProcess(99, GIB, 0.375)), {10}, Hints())
    idle = part(gpu(GpuProcess(10, GIB, 0.0), GpuProcess(99, 3 * GIB, 0.0)), {10}, Hints())
    assert isinstance(busy, Use)
    assert isinstance(idle, Use)
    assert energy(100.0, busy) == (25.0, "sm")
    assert energy(100.0, idle) == (25.0, "memory")
    assert energy(100.0, Use("device", None, None, 1.0, 1.0)) == (100.0, "device")
    assert energy(100.0, Use("pid", None, None)) is None


processes = st.lists(
    st.builds(
        GpuProcess,
        pid=st.integers(1, 30),
        memory=st.one_of(st.none(), st.integers(0, 80 * GIB)),
        sm=st.one_of(st.none(), st.floats(0, 1)),
    ),
    max_size=8,
    unique_by=lambda p: p.pid,
)
pids = st.frozensets(st.integers(1, 30), max_size=8)
containers = st.builds(
    Hints,
    initial=st.just(value=False),
    visible=pids,
    aliases=st.dictionaries(st.integers(1, 30), st.tuples(st.integers(1, 30)), max_size=4),
    holders=st.one_of(st.none(), st.dictionaries(st.just("GPU-a"), st.integers(0, 4))),
    named=st.frozensets(st.just("GPU-a")),
    shared=st.booleans(),
)


@given(processes, pids, pids)
def test_two_models_never_have_more_than_all(
    listed: list[GpuProcess], one: frozenset[int], two: frozenset[int]
) -> None:
    """On the host: disjoint trees, disjoint parts; together at most what is there."""
    uses = [part(gpu(*listed), members, Hints()) for members in (one, two - one)]
    known = [u for u in uses if isinstance(u, Use)]
    if all(p.memory is not None for p in listed):
        assert sum(u.memory or 0 for u in known) <= sum(p.memory or 0 for p in listed)
    assert sum(u.memory_share or 0.0 for u in known) <= 1 + 1e-9
    assert sum(u.sm_share or 0.0 for u in known) <= 1 + 1e-9


@given(processes, st.floats(0, 1e6))
def test_energy_is_divided_without_a_rest(listed: list[GpuProcess], joules: float) -> None:
    """Each process a model of its own: the parts add up to the whole, by whichever rule."""
    parts = []
    for one in listed:
        use = part(gpu(*listed), {one.pid}, Hints())
        assert isinstance(use, Use)
        parts.append(energy(joules, use))
    if parts and None not in parts:
        methods = {p[1] for p in parts if p is not None}
        assert len(methods) == 1
        assert sum(p[0] for p in parts if p is not None) == pytest.approx(joules)


@given(processes, pids, containers)
def test_numbers_are_numbers_of_the_driver(listed: list[GpuProcess], members: frozenset[int], hints: Hints) -> None:
    """No part exceeds the device; an unknown PID in the list is never looked up as if it were ours."""
    use = part(gpu(*listed), members, hints)
    if not isinstance(use, Use):
        return
    for share in (use.memory_share, use.sm_share, use.sm):
        assert share is None or 0 <= share <= 1
    if use.method == "device":
        assert hints.holders is not None
        assert not hints.shared
        assert not any(p.pid in hints.visible for p in listed if p.pid not in members)
        assert use.memory == 10 * GIB
        return
    numbers = {p.pid for p in listed}
    if use.method == "pid":
        assert numbers & members
        assert numbers - {0} <= hints.visible
    else:
        assert numbers & {alias for pid in members for alias in hints.aliases.get(pid, ())} - hints.visible
    if use.memory is not None:
        assert use.memory <= sum(p.memory or 0 for p in listed)


@given(processes, pids, st.one_of(st.just(Hints()), containers))
def test_the_order_of_the_list_does_not_matter(listed: list[GpuProcess], members: frozenset[int], hints: Hints) -> None:
    """The driver's order is its own affair."""
    assert part(gpu(*reversed(listed)), members, hints) == part(gpu(*listed), members, hints)
