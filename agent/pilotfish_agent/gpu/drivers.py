"""Whether there may be a GPU: a few looks at paths, so that a machine without one pays for nothing else."""

from __future__ import annotations

import os
from typing import Final

NVIDIA: Final = ("/proc/driver/nvidia", "/dev/nvidiactl", "/sys/module/nvidia", "/usr/lib/wsl/lib/libnvidia-ml.so.1")
"""The driver of a host, its device in a container, the module, and Windows' library (there the device is /dev/dxg)."""
AMD: Final = ("/dev/kfd",)
NONE: Final = f"no GPU driver is found: there is none of {', '.join((*NVIDIA, *AMD))}"


def found(library: str | None = None, root: str = "") -> tuple[str, ...]:
    """Vendors whose driver may be asked.

    Args:
        library: path of NVML's library, where the configuration names one: then it is asked.
        root: put before the paths, for tests.
    """
    nvidia = any(os.path.exists(root + path) for path in NVIDIA) or (library is not None and os.path.exists(library))
    amd = any(os.path.exists(root + path) for path in AMD)
    return ("nvidia",) * nvidia + ("amd",) * amd
