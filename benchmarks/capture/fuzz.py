"""Every decoder on captures changed at random: nothing uncaught, nothing that hangs, nothing that grows."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from benchmarks.bars import Result, bar, versions
from pilotfish_agent.decode._runner import PACKAGE
from pilotfish_core import registry
from tests.decode.fuzzing import HANG_S, Fuzzer, Report

SECONDS = 10.0
EXECUTIONS = 1_000_000
MAX_GROWTH = 4 << 20  # a heap that has settled still moves by its fragments; a leak of 64 bytes shows at 65,536 runs
NO_FAULT = "0 uncaught, 0 hangs, no growth"


@bar("decoders fuzzed: 10 s each", NO_FAULT)
def fuzzed() -> Result:
    def start() -> Callable[[int], float]:
        began = time.monotonic()
        return lambda _: (time.monotonic() - began) / SECONDS

    return _fuzzed(start)


@bar("decoders fuzzed: 1,000,000 executions each", NO_FAULT, slow=True)
def fuzzed_long() -> Result:
    return _fuzzed(lambda: lambda executions: executions / EXECUTIONS)


def _fuzzed(start: Callable[[], Callable[[int], float]]) -> Result:
    seed = int(os.environ.get("PILOTFISH_FUZZ_SEED", time.time_ns() % 2**32))
    reports: dict[str, Report] = {name: Fuzzer(name, seed).run(start()) for name in registry.names(PACKAGE)}
    faults = [fault for report in reports.values() for fault in report.faults]
    for fault in faults:
        print(f"seed {seed}: {fault}", file=sys.stderr)
    growth = max(report.growth for report in reports.values())
    slowest = max(report.slowest for report in reports.values())
    done = sum(report.executions for report in reports.values())
    hangs = sum("TimeoutError" in fault for fault in faults)
    idle = [name for name, report in reports.items() if report.rows < report.executions / 10]
    measured = (
        f"{len(faults) - hangs} uncaught, {hangs} hangs of {done:,} executions of {len(reports)} decoders, "
        f"slowest {slowest * 1e3:.0f} ms, largest growth {growth / 2**20:.1f} MiB, seed {seed}"
    )
    if idle:
        measured += f"; hardly anything read: {', '.join(idle)}"
    holds = not faults and growth <= MAX_GROWTH and slowest < HANG_S and not idle
    return Result(measured, holds, versions("msgspec"))
