"""Every error code of NVML from every function: the right answer, through the real binding."""

import pathlib
from collections.abc import Iterator

import pytest

from pilotfish_agent.gpu import nvml
from pilotfish_agent.gpu.backend import BackendError
from pilotfish_agent.gpu.report import Gpu, GpuProcess
from tests.gpu import asked, fake
from tests.gpu.expected import (
    AT_INIT,
    AT_OPEN,
    CODES,
    GPM,
    OF_A_GPU,
    REASON,
    TIMEOUT,
    WITHOUT_EFFECT,
    XID,
    answer,
)

pytestmark = fake.NEEDS_COMPILER
WHOLE = {"links": 2, "pid.0": 42, "memory.0": 1 << 30, "gpm_apart_ms": 0, "samples": 0}


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Iterator[set[str]]:
    """What is told of a GPU that lacks nothing."""
    with pytest.MonkeyPatch.context() as patch:
        yield {value.name for value in read(patch, tmp_path_factory.mktemp("complete"), {})[0].values}


def read(patch: pytest.MonkeyPatch, folder: pathlib.Path, state: dict[str, object]) -> tuple[Gpu, ...]:
    """The second reading of one GPU with this state."""
    patch.setattr("pilotfish_agent.gpu._nvml_xid.WAIT_MS", 1)
    patch.setattr("pilotfish_agent.gpu._nvml_gpm.APART_SECONDS", 0.0)
    gpus = fake.Gpus(folder / "gpus", {**WHOLE, **state})
    patch.setenv(fake.STATE_VARIABLE, str(gpus.path))
    backend = nvml.make(str(fake.library()))
    try:
        backend.open()
        backend.read()
        return backend.read()
    finally:
        backend.close()


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("function", OF_A_GPU)
def test_a_reading_that_fails_costs_its_own_series_and_says_why(
    function: str, code: int, complete: set[str], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost GPU is down, a driver that is gone ends the reading, all else is a gap or another way to the number."""
    state: dict[str, object] = {f"fail.{function}": code}
    says, expected = answer(code), OF_A_GPU[function]
    if says == "down":
        with pytest.raises(BackendError):
            read(monkeypatch, tmp_path, state)
        return
    (gpu,) = read(monkeypatch, tmp_path, state)
    assert gpu.up == (says != "lost")
    if says == "lost":
        assert not gpu.values
        assert gpu.processes is None
        return
    gaps = {} if says in expected.fine else dict.fromkeys(expected.names, REASON[says])
    assert dict(gpu.gaps) == gaps
    assert complete - {value.name for value in gpu.values} == {name for name in gaps if name in complete}


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("function", AT_OPEN)
def test_a_start_that_fails(
    function: str, code: int, complete: set[str], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a GPU the reason is told; what is only lacking is lacking."""
    says, expected = answer(code), AT_OPEN[function]
    waits = function.startswith("nvmlEvent") or function == "nvmlDeviceRegisterEvents"
    if expected is None or says == "down" or (says == "lost" and not waits):
        with pytest.raises(BackendError) as refused:
            read(monkeypatch, tmp_path, {f"fail.{function}": code})
        assert refused.value.words
        if function == "nvmlInitWithFlags":
            assert refused.value.reason == AT_INIT.get(code, "failed")
        return
    (gpu,) = read(monkeypatch, tmp_path, {f"fail.{function}": code})
    reason = REASON.get(says, "failed")
    none_came = function == "nvmlEventSetWait_v2" and code == TIMEOUT
    assert dict(gpu.gaps) == ({} if says in expected.fine or none_came else dict.fromkeys(expected.names, reason))
    assert {value.name for value in gpu.values} == complete


def test_every_function_is_in_the_tables() -> None:
    """What the fake has is either asked, or said to be without effect; what is asked, it has."""
    assert {*OF_A_GPU, *AT_OPEN, *WITHOUT_EFFECT} == set(fake.functions())


def test_a_missing_function_is_as_one_that_is_not_supported() -> None:
    """Old drivers, one for each function: each in a process of its own, as a library stays loaded."""
    names = fake.functions()
    state = {**WHOLE, "gpm_apart_ms": 0}
    lacking = asked.ask([asked.Case(str(fake.library((name,))), state) for name in names])
    failing = asked.ask([asked.Case(str(fake.library()), {**state, f"fail.{name}": 13}) for name in names])
    for name, one, other in zip(names, lacking, failing, strict=True):
        assert one.told == other.told, name
        whole = name in WITHOUT_EFFECT or (name in OF_A_GPU and "never" in OF_A_GPU[name].fine)
        assert one.complete or not whole, name


def test_a_driver_of_before_ampere_gives_what_it_has() -> None:
    """R440: no GPM, no XID by the newer call; memory, processes and all else by the older ones."""
    (old,) = asked.ask([asked.Case(str(fake.library(fake.OLD)), dict(WHOLE))])
    (gpu,) = old.gpus
    assert dict(gpu.gaps) == dict.fromkeys((*GPM, *XID), "not_supported")
    assert gpu.processes == (GpuProcess(42, 1 << 30, 0.55),)
