"""What the codes of NVML mean for whoever reads numbers: nvml.h (`nvmlReturn_enum`), by their names in nvidia-ml-py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NoReturn, ParamSpec, TypeVar

import pynvml

from pilotfish_agent.gpu.backend import BackendError
from pilotfish_core.metrics import Reason

P = ParamSpec("P")
T = TypeVar("T")

LOST: Final = frozenset(
    {pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED, pynvml.NVML_ERROR_GPU_NOT_FOUND}
)
"""The GPU fell off the bus or waits for a reset (XID 79): none of its numbers can be had."""
DOWN: Final = frozenset(
    {
        pynvml.NVML_ERROR_UNINITIALIZED,
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
        pynvml.NVML_ERROR_LIBRARY_NOT_FOUND,
        pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
    }
)
"""No GPU can be asked by this process any more: the driver was unloaded or exchanged under it."""
NEVER: Final = frozenset(
    {
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        pynvml.NVML_ERROR_INVALID_ARGUMENT,
        pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
        pynvml.NVML_ERROR_DEPRECATED,
        pynvml.NVML_ERROR_VGPU_ECC_NOT_SUPPORTED,
        pynvml.NVML_ERROR_FREQ_NOT_SUPPORTED,
    }
)
"""This GPU, or this driver, has no such number: it is not asked again until the library is opened anew."""
NOTHING_YET: Final = frozenset(
    {pynvml.NVML_ERROR_NOT_FOUND, pynvml.NVML_ERROR_NO_DATA, pynvml.NVML_ERROR_NOT_READY, pynvml.NVML_SUCCESS}
)
"""No sample since the last question. pynvml raises code 0 where a driver has nothing to size a list for."""
_DOWN_REASONS: Final[dict[int, Reason]] = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: "not_installed",
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "not_installed",
    pynvml.NVML_ERROR_NO_PERMISSION: "permission",
    pynvml.NVML_ERROR_NOT_SUPPORTED: "not_supported",
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: "not_supported",
}
_DOWN_WORDS: Final = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: (
        "libnvidia-ml.so.1 is not found; gpu.driver_library tells where it is, a container gets it with "
        "NVIDIA_DRIVER_CAPABILITIES=utility"
    ),
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA driver is not loaded",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
        "the NVIDIA driver in the kernel is of another version than its library: it was upgraded, load it anew"
    ),
    pynvml.NVML_ERROR_NO_PERMISSION: "no permission to ask the NVIDIA driver; it needs /dev/nvidiactl and /dev/nvidia*",
}


class LostError(Exception):
    """This GPU is gone."""


class GapError(Exception):
    """This number cannot be had.

    Args:
        reason: why.
        lasting: whether it is so until the library is opened anew.
    """

    def __init__(self, reason: Reason, *, lasting: bool = False) -> None:
        super().__init__(reason)
        self.reason: Reason = reason
        self.lasting = lasting


def ask(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What a call of pynvml answers.

    Raises:
        GapError: there is no answer.
        LostError: there is no such GPU any more.
        BackendError: there is no driver any more.
    """
    try:
        return call(*args, **kwargs)
    except pynvml.NVMLError as error:
        refuse(error.value)
    except pynvml.NVMLLibraryMismatchError:  # the binding's own, for a function without a version
        raise GapError("not_supported", lasting=True) from None


def refuse(code: int) -> NoReturn:
    """Raises what a code means, see `ask`."""
    if code in LOST:
        raise LostError(f"code {code}") from None
    if code in DOWN:
        raise down(code) from None
    if code in NEVER:
        raise GapError("not_supported", lasting=True) from None
    if code in NOTHING_YET:
        raise GapError("no_data") from None
    raise GapError("permission" if code == pynvml.NVML_ERROR_NO_PERMISSION else "failed") from None


def down(code: int) -> BackendError:
    """Why the library as a whole does not answer."""
    words = _DOWN_WORDS.get(code) or f"NVML: {pynvml.NVMLError(code)} ({code})"
    return BackendError(_DOWN_REASONS.get(code, "failed"), words)
