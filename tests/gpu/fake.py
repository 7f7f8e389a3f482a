"""A driver library that plays GPUs, compiled from `fake_nvml.c`; the real nvidia-ml-py is used on top of it.

Nothing measured on it says anything about a GPU; whatever shows its numbers to people says that they are the fake's.
"""

from __future__ import annotations

import atexit
import functools
import os
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from typing import Final

from tests.system import needs

SOURCE: Final = pathlib.Path(__file__).with_name("fake_nvml.c")
SONAME: Final = "libnvidia-ml.so.1"
STATE_VARIABLE: Final = "FAKE_NVML"
NEEDS_COMPILER: Final = needs("gcc", package="gcc")
OLD: Final = (
    "nvmlDeviceGetComputeRunningProcesses_v3",
    "nvmlDeviceGetGraphicsRunningProcesses_v3",
    "nvmlDeviceGetMPSComputeRunningProcesses_v3",
    "nvmlDeviceGetMPSComputeRunningProcesses_v2",
    "nvmlDeviceGetMemoryInfo_v2",
    "nvmlDeviceGetMigMode",
    "nvmlDeviceGetRemappedRows",
    "nvmlEventSetWait_v2",
    "nvmlGpmQueryDeviceSupport",
    "nvmlGpmSampleAlloc",
    "nvmlGpmSampleGet",
    "nvmlGpmMetricsGet",
)
"""What a driver of before Ampere (R440) has not; for `driver_library`."""


@functools.cache
def _folder() -> pathlib.Path:
    folder = tempfile.mkdtemp(prefix="pilotfish-fake-nvml-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return pathlib.Path(folder)


@functools.cache
def _object() -> pathlib.Path:
    built = _folder() / "fake_nvml.o"
    words = ("gcc", "-c", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", built, SOURCE)
    subprocess.run(words, check=True)
    return built


@functools.cache
def driver_library(without: tuple[str, ...] = ()) -> pathlib.Path:
    """The library, compiled at the first call.

    Args:
        without: functions that it shall not have, as an old driver.
    """
    folder = pathlib.Path(tempfile.mkdtemp(dir=_folder()))
    built, script = folder / SONAME, folder / "script"
    script.write_text(
        "{ global: nvml*;%s };\n" % ("local: " + "".join(f"{name};" for name in without) if without else "")
    )
    words = ("gcc", "-shared", "-pthread", f"-Wl,-soname,{SONAME},--version-script={script}", "-o", built, _object())
    subprocess.run(words, check=True)
    return built


def functions() -> tuple[str, ...]:
    """Names of all that the library has."""
    words = ("nm", "-D", "--defined-only", driver_library())
    listed = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    return tuple(sorted(line.split()[-1] for line in listed.splitlines() if " T nvml" in line))


class Gpus:
    """The state of the fake's GPUs: a file that it looks at in each call.

    Args:
        path: of the file; it is written at once.
        state: keys and values as `fake_nvml.c` names them.
    """

    def __init__(self, path: pathlib.Path, state: Mapping[str, object] | None = None) -> None:
        self.path = path
        self._state: dict[str, object] = dict(state or {})
        self._write()

    @property
    def environ(self) -> dict[str, str]:
        """What a process needs that shall see these GPUs."""
        return {STATE_VARIABLE: str(self.path)}

    def set(self, **keys: object) -> None:
        """Changes keys; ``__`` stands for a dot: ``set(fail__nvmlDeviceGetName=3)``, ``set(**{"1.lost": 1})``."""
        self._state |= {name.replace("__", "."): value for name, value in keys.items()}
        self._write()

    def unset(self, *keys: str) -> None:
        """Takes keys away, named as in the file."""
        for key in keys:
            self._state.pop(key, None)
        self._write()

    def replace(self, state: Mapping[str, object]) -> None:
        """Another state altogether."""
        self._state = dict(state)
        self._write()

    def _write(self) -> None:
        """At once for whoever reads it."""
        new = self.path.with_name(f"{self.path.name}.new")
        new.write_text("".join(_lines(self._state.items())), encoding="ascii")
        os.replace(new, self.path)


def _lines(items: Iterable[tuple[str, object]]) -> Iterable[str]:
    return (f"{key} {value}\n" for key, value in items)
