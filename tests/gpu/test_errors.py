"""Every error code of NVML from every function: the right answer, through the real binding."""

import pathlib

import pytest

from pilotfish_agent.gpu import nvml
from pilotfish_agent.gpu.backend import BackendError
from pilotfish_agent.gpu.report import Gpu, GpuProcess
from tests.gpu import asked, fake
from tests.gpu.expected import AT_OPEN, CODES, GPM, OF_A_GPU, WHOLE, WITHOUT_EFFECT, XID, wrong

pytestmark = fake.NEEDS_COMPILER


def read(patch: pytest.MonkeyPatch, folder: pathlib.Path, state: dict[str, object]) -> Gpu:
    """The second reading of the one GPU with this state."""
    patch.setattr("pilotfish_agent.gpu._nvml_xid.WAIT_MS", 1)
    patch.setattr("pilotfish_agent.gpu._nvml_gpm.APART_SECONDS", 0.0)
    gpus = fake.Gpus(folder / "gpus", {**WHOLE, **state})
    patch.setenv(fake.STATE_VARIABLE, str(gpus.path))
    backend = nvml.make(str(fake.driver_library()))
    try:
        backend.open()
        backend.read()
        (gpu,) = backend.read()
    finally:
        backend.close()
    return gpu


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Gpu:
    """What is told of a GPU that lacks nothing."""
    with pytest.MonkeyPatch.context() as patch:
        return read(patch, tmp_path_factory.mktemp("whole"), {})


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("function", [*OF_A_GPU, *AT_OPEN])
def test_a_function_that_fails_costs_its_own_series_and_says_why(
    function: str, code: int, whole: Gpu, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost GPU is down, a driver that is gone ends the reading, all else is a gap or another way to the number."""
    told: Gpu | BackendError
    try:
        told = read(monkeypatch, tmp_path, {f"fail.{function}": code})
    except BackendError as error:
        told = error
    assert not wrong(function, code, told, whole)


def test_every_function_is_in_the_tables() -> None:
    """What the fake has is either asked, or said to be without effect; what is asked, it has."""
    assert {*OF_A_GPU, *AT_OPEN, *WITHOUT_EFFECT} == set(fake.functions())


def test_a_missing_function_is_as_one_that_is_not_supported() -> None:
    """Old drivers, one for each function: each in a process of its own, as a library stays loaded."""
    names = fake.functions()
    lacking = asked.ask([asked.Case(str(fake.driver_library((name,))), WHOLE) for name in names])
    failing = asked.ask([asked.Case(str(fake.driver_library()), {**WHOLE, f"fail.{name}": 13}) for name in names])
    for name, one, other in zip(names, lacking, failing, strict=True):
        assert one.told == other.told, name
        whole = name in WITHOUT_EFFECT or (name in OF_A_GPU and "never" in OF_A_GPU[name].fine)
        assert one.complete or not whole, name


def test_a_driver_of_before_ampere_gives_what_it_has() -> None:
    """R440: no GPM, no XID by the newer call; memory, processes and all else by the older ones."""
    (old,) = asked.ask([asked.Case(str(fake.driver_library(fake.OLD)), WHOLE)])
    (gpu,) = old.gpus
    assert dict(gpu.gaps) == dict.fromkeys((*GPM, *XID), "not_supported")
    assert gpu.processes == (GpuProcess(42, 1 << 30, 0.55),)
