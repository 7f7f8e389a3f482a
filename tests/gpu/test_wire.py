"""What agent and pf-nvml say to each other, and totals that never fall."""

import contextlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.gpu.report import Gpu, GpuProcess, GpuValue
from pilotfish_agent.gpu.totals import Totals
from pilotfish_agent.gpu.wire import REASONS, Began, Ended, Message, Orders, decode, encode
from pilotfish_agent.launch.child import LARGEST

words = st.text(max_size=40)
numbers = st.floats(allow_nan=False, allow_infinity=False)
reasons = st.sampled_from(sorted(REASONS))
processes = st.builds(GpuProcess, st.integers(0, 2**22), st.none() | st.integers(0, 2**64), st.none() | st.floats(0, 1))
gpus = st.builds(
    Gpu,
    uuid=words,
    gpu=words,
    name=words,
    driver=words,
    up=st.booleans(),
    values=st.lists(st.builds(GpuValue, words, numbers, st.none() | words, st.booleans()), max_size=5).map(tuple),
    gaps=st.lists(st.tuples(words, reasons), max_size=3).map(tuple),
    processes=st.none() | st.lists(processes, max_size=3).map(tuple),
    at=numbers,
)
messages = gpus | st.sampled_from([Began("open"), Began("round"), Ended()]) | st.builds(Ended, reasons, words)
json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)


@given(messages)
def test_what_is_said_is_what_is_heard(message: Message) -> None:
    """Every noun survives the way."""
    assert decode(encode(message)) == message


@given(
    vendors=st.lists(words, max_size=2).map(tuple),
    library=st.none() | words,
    interval=st.floats(0, 1e6),
    path=st.lists(words, max_size=3).map(tuple),
)
def test_orders(vendors: tuple[str, ...], library: str | None, interval: float, path: tuple[str, ...]) -> None:
    """So do the orders."""
    orders = Orders(vendors, library, interval, path)
    assert Orders.from_bytes(orders.to_bytes()) == orders


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    """Are a message or a ValueError."""
    for read in (decode, Orders.from_bytes):
        with contextlib.suppress(ValueError):
            read(data)


@given(gpus, st.sampled_from(["uuid", "up", "values", "gaps", "processes", "at", "name"]), json_values)
def test_any_damage(gpu: Gpu, key: str, value: object) -> None:
    """One member is replaced by anything: a good message, or a ValueError; never a number that is none."""
    plain = json.loads(encode(gpu)) | {key: value}
    with contextlib.suppress(ValueError):
        heard = decode(json.dumps(plain).encode())
        assert isinstance(heard, Gpu)
        assert all(math.isfinite(one.value) for one in heard.values)
        assert all(reason in REASONS for _, reason in heard.gaps)


@pytest.mark.parametrize("data", [b"[" * 50_000, b"{}", b"[]", b'{"began": "lunch"}', b'{"ended": "tired"}'])
def test_no_messages(data: bytes) -> None:
    """A ValueError, and no other."""
    with pytest.raises(ValueError, match=r"expected|Expecting"):
        decode(data)


def test_a_gpu_with_too_many_processes_fits() -> None:
    """Those that come first are told: they hold most memory."""
    many = tuple(GpuProcess(pid, 2**40 - pid, 0.5) for pid in range(10_000))
    data = encode(Gpu("GPU-1", "0", "", "", True, processes=many))
    heard = decode(data)
    assert len(data) <= LARGEST
    assert isinstance(heard, Gpu)
    assert heard.processes
    assert heard.processes == many[: len(heard.processes)]


def gpu(*values: GpuValue) -> Gpu:
    """One with these numbers."""
    return Gpu("GPU-1", "0", "", "", True, values)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1e12)), max_size=30))
def test_totals_never_fall(story: list[tuple[bool, float]]) -> None:
    """Whatever the driver counts, and however often the reading process begins anew."""
    totals, last = Totals(), 0.0
    for anew, counted in story:
        if anew:
            totals.anew()
        (told,) = totals.add(gpu(GpuValue("gpu_energy_joules_total", counted))).values
        assert told.value >= last
        last = told.value


def test_what_a_reading_process_counts_itself_adds_up() -> None:
    """Three XIDs of two processes are three, also when the second one counts more than the first."""
    totals = Totals()
    totals.add(gpu(GpuValue("gpu_xid_errors_total", 1, "79", counted_here=True)))
    totals.anew()
    assert [value.value for value in totals.add(gpu()).values] == [1], "told before the next one comes"
    (told,) = totals.add(gpu(GpuValue("gpu_xid_errors_total", 2, "79", counted_here=True))).values
    assert told.value == 3


def test_what_the_driver_counts_goes_on_with_another_process() -> None:
    """It is no new count: 5 and then 7 are 7; after a reload of the driver 2 more are 9. A gauge stays what it is."""
    totals, told = Totals(), []
    for counted in (5.0, 7.0, 2.0):
        totals.anew()
        one = totals.add(gpu(GpuValue("gpu_energy_joules_total", counted), GpuValue("gpu_power_watts", counted)))
        told.append([value.value for value in one.values])
    assert told == [[5, 5], [7, 7], [9, 2]]
