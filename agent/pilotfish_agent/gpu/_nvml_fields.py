"""Field values of NVML: many numbers of a GPU in one call, each with its own error and its own type."""

from __future__ import annotations

import math
from typing import Any, Final

import pynvml

from pilotfish_agent.gpu._nvml_errors import GapError, ask, refuse
from pilotfish_agent.gpu.report import GpuValue

ENERGY: Final = pynvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION
POWER: Final = pynvml.NVML_FI_DEV_POWER_INSTANT
POWER_LIMIT: Final = pynvml.NVML_FI_DEV_POWER_CURRENT_LIMIT
PCIE: Final = {
    pynvml.NVML_FI_DEV_PCIE_COUNT_TX_BYTES: "transmit",
    pynvml.NVML_FI_DEV_PCIE_COUNT_RX_BYTES: "receive",
}
ECC: Final = (pynvml.NVML_FI_DEV_ECC_SBE_VOL_TOTAL, pynvml.NVML_FI_DEV_ECC_DBE_VOL_TOTAL)
THROTTLE: Final = {
    pynvml.NVML_FI_DEV_PERF_POLICY_POWER: "power",
    pynvml.NVML_FI_DEV_PERF_POLICY_THERMAL: "thermal",
    pynvml.NVML_FI_DEV_PERF_POLICY_BOARD_LIMIT: "board_limit",
    pynvml.NVML_FI_DEV_PERF_POLICY_RELIABILITY: "reliability",
    269: "sw_thermal",
    270: "hw_thermal",
    271: "hw_power_brake",
}
"""Nanoseconds spent below the asked clock, counted by the driver: none is missed between two readings.

269 to 271 are ``NVML_FI_DEV_CLOCKS_EVENT_REASON_*_SLOWDOWN``, named only by newer bindings.
"""
LINKS: Final = pynvml.NVML_FI_DEV_NVLINK_LINK_COUNT
LINK_BYTES: Final = (
    (pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX, pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX, 1024),
    (pynvml.NVML_FI_DEV_NVLINK_COUNT_XMIT_BYTES, pynvml.NVML_FI_DEV_NVLINK_COUNT_RCV_BYTES, 1),
)
"""Of one link: field of what it sent, of what it received, bytes of one count; the second pair is Blackwell's."""
_MEMBERS: Final = {
    pynvml.NVML_VALUE_TYPE_DOUBLE: "dVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG: "ulVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal",
    pynvml.NVML_VALUE_TYPE_SIGNED_LONG_LONG: "sllVal",
    pynvml.NVML_VALUE_TYPE_SIGNED_INT: "siVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_SHORT: "usVal",
}
_BLANK: Final = {"uiVal": 2**32 - 1, "ulVal": 2**64 - 1, "ullVal": 2**64 - 1}
"""What the driver says where it does not know (`NVML_VALUE_NOT_AVAILABLE`)."""
_AT_ONCE: Final = 64
"""Fields of one call."""
_MOST_LINKS: Final = pynvml.NVML_NVLINK_MAX_LINKS

Field = tuple[int, int]
"""Number and scope: the link, where it speaks of one."""


def number(kind: int, value: Any) -> float:
    """The member of a union of NVML that holds the number.

    Raises:
        GapError: it is of a type we do not know, or says that there is none.
    """
    member = _MEMBERS.get(kind)
    if member is None:
        raise GapError("not_supported")
    found = float(getattr(value, member))
    if found == _BLANK.get(member) or not math.isfinite(found):
        raise GapError("no_data")
    return found


class Fields:
    """The fields of one GPU that it has; those that it has not are asked for once.

    Args:
        handle: of the GPU.
    """

    __slots__ = ("_found", "_handle", "_links", "_wanted")

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._wanted: list[Field] = [(n, 0) for n in (ENERGY, POWER, POWER_LIMIT, *PCIE, *ECC, *THROTTLE, LINKS)]
        self._found: dict[Field, float | GapError] = {}
        self._links: int | None = None

    def refresh(self) -> None:
        """Asks for all of them.

        Raises:
            LostError: there is no such GPU any more.
            BackendError: there is no driver any more.
        """
        for first in range(0, len(self._wanted), _AT_ONCE):
            some = self._wanted[first : first + _AT_ONCE]
            try:
                answers = ask(pynvml.nvmlDeviceGetFieldValues, self._handle, some)
            except GapError as gap:
                self._found |= dict.fromkeys(some, gap)
            else:
                self._found |= {w: _value(a) for w, a in zip(some, answers, strict=True)}
        self._wanted = [w for w in self._wanted if not _lasting(self._found[w])]
        if self._links is None:
            self._want_links()

    def get(self, field: int, scope: int = 0) -> float:
        """One of them as of the last `refresh`.

        Raises:
            GapError: it could not be read.
        """
        found = self._found.get((field, scope), GapError("no_data"))
        if isinstance(found, GapError):
            raise found
        return found

    def nvlink(self, name: str) -> list[GpuValue]:
        """Bytes over all links, by direction.

        Raises:
            GapError: there are no links, or they do not count.
        """
        if not self.get(LINKS):
            raise GapError("not_supported", lasting=True)
        gap = GapError("not_supported", lasting=True)
        for sent, received, size in LINK_BYTES:
            try:
                return [
                    GpuValue(name, self._sum(sent) * size, "transmit"),
                    GpuValue(name, self._sum(received) * size, "receive"),
                ]
            except GapError as error:
                gap = gap if error.lasting else error
        raise gap

    def _sum(self, field: int) -> float:
        """Over the links that count; one that is down does not.

        Raises:
            GapError: none does, or one that did could not be read now: the sum would fall.
        """
        found = [self._found.get((field, link), GapError("no_data")) for link in range(self._links or 0)]
        for one in found:
            if isinstance(one, GapError) and not one.lasting:
                raise one
        counts = [one for one in found if not isinstance(one, GapError)]
        if not counts:
            raise GapError("not_supported", lasting=True)
        return sum(counts)

    def _want_links(self) -> None:
        found = self._found.get((LINKS, 0))
        if found is None or isinstance(found, GapError):
            return
        self._links = min(int(found), _MOST_LINKS)
        self._wanted += [(n, link) for *pair, _ in LINK_BYTES for n in pair for link in range(self._links)]


def _value(answer: Any) -> float | GapError:
    try:
        if answer.nvmlReturn != pynvml.NVML_SUCCESS:
            refuse(answer.nvmlReturn)
        return number(answer.valueType, answer.value)
    except GapError as gap:
        return gap


def _lasting(found: float | GapError) -> bool:
    return isinstance(found, GapError) and found.lasting
