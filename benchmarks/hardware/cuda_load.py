"""``python cuda_load.py GIB PHASE=SECONDS...``: a CUDA load of known shape, with nothing but a driver.

No toolkit and no framework: CUDA's driver API through ctypes, kernels as PTX, which the driver compiles for whatever
GPU there is. It tells each phase on standard output when it begins, and runs as a file of its own.

Phases: ``idle`` holds memory only; ``spin`` keeps every multiprocessor at work; ``half`` does so in every other tenth
of a second; ``tensor`` feeds the tensor cores (Ampere and newer); ``copy`` moves memory as fast as it goes.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable
from typing import Any, Final

LIBRARY: Final = "libcuda.so.1"
_SM_COUNT, _MAJOR = 16, 75  # CUdevice_attribute
THREADS: Final = 256
_LAUNCH_SECONDS: Final = 0.05
"""How long one launch shall take: short enough to stop in time, long enough that launching costs nothing."""

PTX: Final = """
.version 6.0
.target sm_70
.address_size 64

.visible .entry spin(.param .u32 rounds, .param .u64 out)
{
    .reg .pred %p1;
    .reg .f32 %f<7>;
    .reg .u32 %r<3>;
    .reg .u64 %d<4>;
    ld.param.u32 %r1, [rounds];
    ld.param.u64 %d1, [out];
    cvta.to.global.u64 %d1, %d1;
    mov.u32 %r2, %tid.x;
    cvt.rn.f32.u32 %f1, %r2;
    add.f32 %f2, %f1, 0f3F800000;
    add.f32 %f3, %f1, 0f40000000;
    add.f32 %f4, %f1, 0f40400000;
    mov.f32 %f5, 0f3F7FFFFF;
    mov.f32 %f6, 0f33800000;
again:
    fma.rn.f32 %f1, %f1, %f5, %f6;
    fma.rn.f32 %f2, %f2, %f5, %f6;
    fma.rn.f32 %f3, %f3, %f5, %f6;
    fma.rn.f32 %f4, %f4, %f5, %f6;
    sub.u32 %r1, %r1, 1;
    setp.ne.u32 %p1, %r1, 0;
    @%p1 bra again;
    add.f32 %f1, %f1, %f2;
    add.f32 %f3, %f3, %f4;
    add.f32 %f1, %f1, %f3;
    mul.wide.u32 %d2, %r2, 4;
    add.u64 %d3, %d1, %d2;
    st.global.f32 [%d3], %f1;
    ret;
}

.visible .entry copy(.param .u32 rounds, .param .u64 out, .param .u64 half)
{
    .reg .pred %p1;
    .reg .u32 %r<10>;
    .reg .u64 %d<8>;
    ld.param.u32 %r1, [rounds];
    ld.param.u64 %d1, [out];
    ld.param.u64 %d2, [half];
    cvta.to.global.u64 %d1, %d1;
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mov.u32 %r4, %tid.x;
    mov.u32 %r5, %nctaid.x;
    mad.lo.u32 %r6, %r2, %r3, %r4;
    mul.lo.u32 %r7, %r5, %r3;
    mul.wide.u32 %d3, %r6, 16;
    mul.wide.u32 %d4, %r7, 16;
next:
    setp.ge.u64 %p1, %d3, %d2;
    @%p1 mul.wide.u32 %d3, %r6, 16;
    add.u64 %d5, %d1, %d3;
    add.u64 %d6, %d5, %d2;
    ld.global.v4.u32 {%r2, %r3, %r4, %r5}, [%d5];
    st.global.v4.u32 [%d6], {%r2, %r3, %r4, %r5};
    add.u64 %d3, %d3, %d4;
    sub.u32 %r1, %r1, 1;
    setp.ne.u32 %p1, %r1, 0;
    @%p1 bra next;
    ret;
}
"""
TENSOR_PTX: Final = """
.version 7.0
.target sm_80
.address_size 64

.visible .entry tensor(.param .u32 rounds, .param .u64 out)
{
    .reg .pred %p1;
    .reg .f32 %f<9>;
    .reg .b32 %h<7>;
    .reg .u32 %r<3>;
    .reg .u64 %d<4>;
    ld.param.u32 %r1, [rounds];
    ld.param.u64 %d1, [out];
    cvta.to.global.u64 %d1, %d1;
    mov.u32 %r2, %tid.x;
    mov.b32 %h1, 0x2c002c00;
    mov.b32 %h2, 0x2c002c00;
    mov.b32 %h3, 0x2c002c00;
    mov.b32 %h4, 0x2c002c00;
    mov.b32 %h5, 0x2c002c00;
    mov.b32 %h6, 0x2c002c00;
    mov.f32 %f1, 0f00000000;
    mov.f32 %f2, 0f00000000;
    mov.f32 %f3, 0f00000000;
    mov.f32 %f4, 0f00000000;
    mov.f32 %f5, 0f00000000;
    mov.f32 %f6, 0f00000000;
    mov.f32 %f7, 0f00000000;
    mov.f32 %f8, 0f00000000;
again:
    mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32
        {%f1, %f2, %f3, %f4}, {%h1, %h2, %h3, %h4}, {%h5, %h6}, {%f1, %f2, %f3, %f4};
    mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32
        {%f5, %f6, %f7, %f8}, {%h1, %h2, %h3, %h4}, {%h5, %h6}, {%f5, %f6, %f7, %f8};
    sub.u32 %r1, %r1, 1;
    setp.ne.u32 %p1, %r1, 0;
    @%p1 bra again;
    add.f32 %f1, %f1, %f5;
    mul.wide.u32 %d2, %r2, 4;
    add.u64 %d3, %d1, %d2;
    st.global.f32 [%d3], %f1;
    ret;
}
"""


class Cuda:
    """The first GPU, with memory taken and kernels loaded.

    Args:
        gibibytes: of device memory.
    """

    def __init__(self, gibibytes: float) -> None:
        self._cuda = ctypes.CDLL(LIBRARY)
        self._call("cuInit", 0)
        device = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(device), 0)
        self._device = device
        context = ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._call("cuCtxSetCurrent", context)
        self.memory = ctypes.c_uint64()
        self.size = int(gibibytes * 2**30) // 32 * 32
        self._call("cuMemAlloc_v2", ctypes.byref(self.memory), ctypes.c_size_t(self.size))
        self._call("cuMemsetD32_v2", self.memory, ctypes.c_uint(1), ctypes.c_size_t(self.size // 4))
        self._blocks = 8 * self._attribute(_SM_COUNT)  # 8 x 256: every multiprocessor has all its threads
        self._kernels = {name: self._kernel(PTX, name) for name in ("spin", "copy")}
        if self._attribute(_MAJOR) >= 8:
            self._kernels["tensor"] = self._kernel(TENSOR_PTX, "tensor")
        self._rounds: dict[str, int] = {}

    def run(self, name: str, until: float) -> None:
        """Launches a kernel again and again; one that this GPU has not waits instead."""
        if name not in self._kernels:
            time.sleep(max(0.0, until - time.monotonic()))
            return
        rounds = self._rounds.get(name, 256)
        while time.monotonic() < until:
            began = time.monotonic()
            self._launch(name, rounds)
            took = time.monotonic() - began
            rounds = max(1, min(int(rounds * min(_LAUNCH_SECONDS / max(took, 1e-6), 8.0)), 2**31))
            self._rounds[name] = rounds

    def _launch(self, name: str, rounds: int) -> None:
        values: list[Any] = [ctypes.c_uint32(rounds), ctypes.c_uint64(self.memory.value)]
        values += [ctypes.c_uint64(self.size // 2)] if name == "copy" else []
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(v) for v in values))
        grid = (self._blocks, 1, 1, THREADS, 1, 1)
        self._call("cuLaunchKernel", self._kernels[name], *grid, 0, None, pointers, None)
        self._call("cuCtxSynchronize")

    def _kernel(self, source: str, name: str) -> ctypes.c_void_p:
        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuModuleLoadData", ctypes.byref(module), ctypes.c_char_p(source.encode("ascii")))
        self._call("cuModuleGetFunction", ctypes.byref(function), module, ctypes.c_char_p(name.encode("ascii")))
        return function

    def _attribute(self, number: int) -> int:
        value = ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(value), number, self._device)
        return value.value

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._cuda, name)(*arguments)
        if code:
            raise RuntimeError(f"{name}: CUDA error {code}")


def _half(cuda: Cuda, until: float) -> None:
    while time.monotonic() < until:
        cuda.run("spin", min(until, time.monotonic() + 0.1))
        time.sleep(0.1)


def _idle(_: Cuda, until: float) -> None:
    time.sleep(max(0.0, until - time.monotonic()))


PHASES: Final[dict[str, Callable[[Cuda, float], None]]] = {
    "idle": _idle,
    "spin": lambda cuda, until: cuda.run("spin", until),
    "half": _half,
    "tensor": lambda cuda, until: cuda.run("tensor", until),
    "copy": lambda cuda, until: cuda.run("copy", until),
}


def main() -> None:
    """All phases, one after the other."""
    cuda = Cuda(float(sys.argv[1]))
    for word in sys.argv[2:]:
        name, _, seconds = word.partition("=")
        print(name, flush=True)
        PHASES[name](cuda, time.monotonic() + float(seconds))
    print("end", flush=True)


if __name__ == "__main__":
    main()
