"""Section `gpu` of the configuration: whether and how GPUs are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pilotfish_core.config import choice, duration_between, option, text

SECTION = "gpu"


def _path(value: Any) -> str:
    path = text(4_000)(value)
    if not path.startswith("/"):
        raise ValueError("an absolute path such as /usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1")
    return path


@dataclass(frozen=True, slots=True)
class Config:
    """GPUs: who reads them, see docs/gpu.md."""

    mode: str = option("auto", choice("auto", "off"), "With auto those whose driver is found are read.", "auto")
    driver_library: str | None = option(
        None,
        _path,
        "Path of libnvidia-ml.so.1 where the loader does not find it.",
        "/usr/local/nvidia/lib64/libnvidia-ml.so.1",
    )
    deadline: float = option(
        5.0,
        duration_between("100ms", "60s"),
        "A driver that has not answered for so long hangs: its GPUs' series vanish, it is asked anew.",
        "5s",
    )
