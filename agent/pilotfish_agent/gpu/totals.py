"""Totals of GPUs that never fall: over a reload of the driver, a reset of a GPU, a new reading process."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from pilotfish_agent.gpu.report import Gpu, GpuValue

XID: Final = "gpu_xid_errors_total"
"""It is told also of a GPU that is down: its last XID says why."""

_Key = tuple[str, str, str | None]


@dataclass(slots=True)
class _Total:
    before: float = 0.0
    last: float = 0.0
    counted_here: bool = False


class Totals:
    """What was counted of each GPU since the agent began, and before it by the driver."""

    def __init__(self) -> None:
        self._totals: dict[_Key, _Total] = {}

    def anew(self) -> None:
        """Another reading process counts from now on; it begins at 0."""
        for total in self._totals.values():
            if total.counted_here:
                total.before, total.last = total.before + total.last, 0.0

    def add(self, gpu: Gpu) -> Gpu:
        """The GPU with its totals summed up, and with the XIDs that were told earlier."""
        values = [self._sum(gpu.uuid, value) if value.name.endswith("_total") else value for value in gpu.values]
        told = {value.label for value in values if value.name == XID}
        values += [value for value in self.xids(gpu.uuid) if value.label not in told]
        return replace(gpu, values=tuple(values))

    def xids(self, uuid: str) -> list[GpuValue]:
        """Those of one GPU."""
        return [
            GpuValue(XID, total.before + total.last, label, counted_here=True)
            for (of, name, label), total in self._totals.items()
            if of == uuid and name == XID
        ]

    def _sum(self, uuid: str, value: GpuValue) -> GpuValue:
        total = self._totals.setdefault((uuid, value.name, value.label), _Total(counted_here=value.counted_here))
        if value.value < total.last:
            total.before += total.last
        total.last, total.counted_here = value.value, value.counted_here
        return replace(value, value=total.before + total.last)
