"""A GPU to draw on a machine without one: the driver library of tests/gpu plays it, its name says so in every picture.

Its numbers follow a load that rises and falls; they prove panels, queries and units, and nothing about a GPU.
"""

from __future__ import annotations

import math
import threading
import time
from pathlib import Path
from typing import Final

import pynvml

from tests.gpu import fake

NAME: Final = "Fake-H100-80GB-(no-GPU-here)"
PERIOD_S: Final = 13.0
STEP_S: Final = 0.25
GIB: Final = 2**30
XID: Final = 31
XID_AFTER_S: Final = 25.0
PERCENT: Final = {2: 55, 5: 30, 10: 70}
"""GPM's number of SM, tensor and DRAM activity -> at full load."""
NANOSECONDS: Final = {
    pynvml.NVML_FI_DEV_PERF_POLICY_POWER: 0.4,
    pynvml.NVML_FI_DEV_PERF_POLICY_THERMAL: 0.05,
}
"""Throttle counter -> share of the time at full load."""
BYTES: Final = {
    pynvml.NVML_FI_DEV_PCIE_COUNT_TX_BYTES: 2e9,
    pynvml.NVML_FI_DEV_PCIE_COUNT_RX_BYTES: 6e9,
}
LINK_KIB: Final = {
    pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX: 4e6,
    pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX: 5e6,
}


class Played:
    """One GPU under the load of a model and of a stranger.

    Args:
        folder: for the state that the library reads.
    """

    def __init__(self, folder: Path) -> None:
        self.driver_library = fake.driver_library()
        still = {"name": NAME, "links": 2, "pid.1": 1, "memory.1": 3 * GIB, "sm.1": 5, "xid": XID}
        limit = f"field.{pynvml.NVML_FI_DEV_POWER_CURRENT_LIMIT}"
        uncorrected = f"field.{pynvml.NVML_FI_DEV_ECC_DBE_VOL_TOTAL}"
        self._gpus = fake.Gpus(folder / "gpu", {**still, limit: 700_000, uncorrected: 0})
        self._counted: dict[int, float] = dict.fromkeys((*NANOSECONDS, *BYTES, *LINK_KIB), 0.0)
        self._joules = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._play, name="gpu", daemon=True)

    @property
    def environ(self) -> dict[str, str]:
        """What the agent needs to see it."""
        return self._gpus.environ

    def start(self, pid: int) -> None:
        """From now on the process works on it, beside a stranger (PID 1)."""
        self._gpus.set(pid__0=pid)
        self._thread.start()

    def end(self) -> None:
        """The work stops; the GPU stays as it is."""
        self._ended.set()
        self._thread.join(5)

    def _play(self) -> None:
        began = before = time.monotonic()
        while not self._ended.wait(STEP_S):
            now = time.monotonic()
            self._move(now - began, now - before)
            before = now

    def _move(self, at: float, passed: float) -> None:
        load = 0.6 + 0.35 * math.sin(2 * math.pi * at / PERIOD_S)
        watts = 120 + 520 * load
        self._joules += watts * passed
        rates = {k: 1e9 * share for k, share in NANOSECONDS.items()} | BYTES | LINK_KIB
        for field, rate in rates.items():
            self._counted[field] += rate * load * passed
        self._gpus.set(
            util=round(100 * load),
            power_mw=round(1000 * watts),
            energy_mj=round(1000 * self._joules),
            memory_used=round((24 + 8 * load) * GIB),
            temperature=round(45 + 25 * load),
            memory__0=round((20 + 8 * load) * GIB),
            sm__0=round(90 * load),
            clock__0=round(1980 - 300 * load),
            clock__1=round(1980 - 300 * load),
            ecc__0=int(at // 20),
            xid_count=int(at > XID_AFTER_S),
            **{f"gpm__{metric}": round(most * load) for metric, most in PERCENT.items()},
            **{f"field__{field}": round(value) for field, value in self._counted.items()},
            **{
                f"field__{pynvml.NVML_FI_DEV_POWER_INSTANT}": round(1000 * watts),
                f"field__{pynvml.NVML_FI_DEV_ECC_SBE_VOL_TOTAL}": int(at // 20),
            },
        )
