"""GPUs on the Hardware board: busy is not saturated; whose memory it is; what holds them back; what breaks."""

from __future__ import annotations

from grafana.boards.panels import Panel, ask, course, rows, sheet
from grafana.boards.promql import WINDOW, born, events, increase, most, of, rate, total

_ONE = ("instance", "gpu")
_NAME = "GPU {{gpu}} on {{instance}}"
_MINE = ("instance", "target", "gpu", "method")
_MINE_NAME = "{{target}} on GPU {{gpu}} of {{instance}} (by {{method}})"
_NONE = "no GPU"
_NOT_SAID = "the driver does not say"


def panels() -> list[Panel]:
    """Which there are, how busy, whose memory, how hot, what failed."""
    return [_which(), *_work(), *_memory(), *_heat(), *_faults()]


def _mine(expr: str) -> str:
    """A number of the model with the method by which it is attributed."""
    how = of("process_gpu_attribution_info")
    return total(f"{expr} * on (job, instance, target, uuid) group_left (method) {how}", *_MINE)


def _which() -> Panel:
    return sheet(
        "GPUs",
        "One row a GPU or MIG instance. Up 0: the driver lost it (see XID) and its numbers end; the host must be "
        "drained. Another driver than on its neighbours: an upgrade is under way.",
        ("", "short", rows(most(of("gpu_info"), *_ONE, "name", "driver"))),
        ("Up", "short", rows(most(of("gpu_up"), *_ONE))),
        ("Busy", "percentunit", rows(most(of("gpu_utilization_ratio"), *_ONE))),
        ("Memory", "bytes", rows(most(of("gpu_memory_used_bytes"), *_ONE))),
        ("Power", "watt", rows(most(of("gpu_power_watts"), *_ONE))),
        ("Heat", "celsius", rows(most(of("gpu_temperature_celsius"), *_ONE))),
        order=("gpu", "name", "driver", "instance"),
        widths={"gpu": 60, "name": 280},
        w=24,
        h=5,
        empty=_NONE,
    )


def _work() -> list[Panel]:
    return [
        course(
            "Busy",
            "Share of the time in which any kernel ran. One thread alone makes 100 %: look at the activity beside it "
            "before you add GPUs.",
            ask(most(of("gpu_utilization_ratio"), *_ONE), _NAME),
            unit="percentunit",
            high=1,
            w=8,
            empty=_NONE,
        ),
        course(
            "Saturated",
            "SM: multiprocessors with work; tensor: their tensor cores; DRAM: memory bandwidth. Busy and all of them "
            "low: batches are too small or the CPU cannot keep up. DRAM alone high: batch more, or quantise.",
            ask(most(of("gpu_sm_active_ratio"), *_ONE), _NAME + " SM"),
            ask(most(of("gpu_tensor_active_ratio"), *_ONE), _NAME + " tensor"),
            ask(most(of("gpu_dram_active_ratio"), *_ONE), _NAME + " DRAM"),
            unit="percentunit",
            high=1,
            w=8,
            empty="from Hopper on",
        ),
        course(
            "SM time of the model",
            "Share of the time in which kernels of the watched processes ran, by how it is known. Far below Busy: "
            "others use the GPU too.",
            ask(_mine(of("process_gpu_sm_utilization_ratio")), _MINE_NAME),
            ask(_mine(rate(of("process_gpu_seconds_total"))), _MINE_NAME + " mean"),
            unit="percentunit",
            high=1,
            w=8,
            empty=_NOT_SAID,
        ),
    ]


def _memory() -> list[Panel]:
    return [
        course(
            "GPU memory",
            "In use, and all there is. Servers of language models take nearly all at their start: look at the KV "
            "cache in Model for how much of it is used.",
            ask(most(of("gpu_memory_used_bytes"), *_ONE), _NAME),
            ask(most(of("gpu_memory_total_bytes"), *_ONE), _NAME + " in all"),
            unit="bytes",
            w=8,
            empty=_NONE,
        ),
        course(
            "GPU memory of the model",
            "Of the watched processes; the method says how it is known (docs/gpu.md). Growing without end: tensors "
            "are kept; another process in the GPU's memory: it competes with the model.",
            ask(_mine(of("process_gpu_memory_bytes")), _MINE_NAME),
            unit="bytes",
            w=8,
            empty=_NOT_SAID,
        ),
        course(
            "PCIe and NVLink",
            "Bytes a second. PCIe high while the GPU is not busy: weights or batches are moved again and again; pin "
            "memory, or keep them on the GPU.",
            ask(total(rate(of("gpu_pcie_bytes_total")), *_ONE, "direction"), _NAME + " PCIe {{direction}}"),
            ask(total(rate(of("gpu_nvlink_bytes_total")), *_ONE, "direction"), _NAME + " NVLink {{direction}}"),
            unit="Bps",
            w=8,
            empty=_NOT_SAID,
        ),
    ]


def _heat() -> list[Panel]:
    return [
        course(
            "GPU power",
            "From the energy counter (mean), as the driver says it now, and the limit. At the limit clocks fall: it "
            "is what the GPU can do, unless somebody lowered the limit.",
            ask(total(rate(of("gpu_energy_joules_total")), *_ONE), _NAME + " mean"),
            ask(most(of("gpu_power_watts"), *_ONE), _NAME + " now"),
            ask(most(of("gpu_power_limit_watts"), *_ONE), _NAME + " limit"),
            unit="watt",
            w=6,
            empty=_NOT_SAID,
        ),
        course(
            "GPU temperature",
            "A data centre's GPU slows down from about 85 °C on: look at its fans and its neighbours.",
            ask(most(of("gpu_temperature_celsius"), *_ONE), _NAME),
            unit="celsius",
            steps=((None, "green"), (85, "red")),
            w=6,
            empty=_NOT_SAID,
        ),
        course(
            "GPU clocks",
            "Falling under load: Held back says why.",
            ask(most(of("gpu_clock_hertz"), *_ONE, "domain"), _NAME + " {{domain}}"),
            unit="hertz",
            w=6,
            empty=_NOT_SAID,
        ),
        course(
            "Held back",
            "Share of the time in which clocks were lowered, by reason. power: the limit that somebody set, normal "
            "under full load; thermal: cooling; power brake: the supply. Nothing between two scrapes is missed.",
            ask(total(rate(of("gpu_throttle_seconds_total")), *_ONE, "reason"), _NAME + " {{reason}}"),
            unit="percentunit",
            w=6,
            empty=_NOT_SAID,
        ),
    ]


def _faults() -> list[Panel]:
    xids = of("gpu_xid_errors_total")
    told = f"round({total(f'{increase(xids, WINDOW)} > 0 or {born(xids)}', *_ONE, 'xid')})"
    return [
        course(
            "XID errors",
            "Faults that the driver reports, by code. 13, 31, 43: the model's own fault; 48, 63, 64, 94, 95: memory of "
            "the GPU; 74: NVLink; 79: the GPU is gone, drain the host (docs/gpu.md).",
            ask(told, _NAME + " XID {{xid}}"),
            bars=True,
            w=12,
            empty="no XID error since the agent began",
        ),
        course(
            "ECC errors",
            "Corrected ones may come now and then; one that is not corrected ends the work on it and wants a reset "
            "of the GPU.",
            ask(events(of("gpu_ecc_errors_total"), *_ONE, "kind", window=WINDOW), _NAME + " {{kind}}"),
            bars=True,
            w=12,
            empty="no ECC, or the driver does not say",
        ),
    ]
