"""GPUs that a compiled library plays, read through the real nvidia-ml-py."""

import pathlib
from collections.abc import Iterator

import pytest

from pilotfish_agent.gpu import _nvml_xid, nvml
from tests.gpu import fake


@pytest.fixture
def gpus(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> fake.Gpus:
    """The state of the GPUs, at first of one, for this process and those it starts."""
    monkeypatch.setattr(_nvml_xid, "WAIT_MS", 5)
    state = fake.Gpus(tmp_path / "gpus", {"count": 1, "links": 2, "pid.0": 4242, "memory.0": 5 << 30})
    for name, value in state.environ.items():
        monkeypatch.setenv(name, value)
    return state


@pytest.fixture
def backend(gpus: fake.Gpus) -> Iterator[nvml.NvmlBackend]:
    """The backend, open."""
    del gpus
    opened = nvml.make(str(fake.driver_library()))
    opened.open()
    yield opened
    opened.close()
