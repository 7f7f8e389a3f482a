"""Bad input: every wrong file is one clear line and the right exit code; nothing that is sent ends the agent."""

from __future__ import annotations

import pathlib
import re
import sys
import tempfile
from collections.abc import Callable

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from benchmarks.bars import Result, bar, versions
from tests.agent.live import Live, until
from tests.bad_input import cases, hostile

EXAMPLES = 500
LEAST = 40


@bar("bad input: wrong configs and data files", f">= {LEAST}, all one line and the right exit code")
def wrong_files() -> Result:
    with tempfile.TemporaryDirectory(prefix="pilotfish-bars-") as folder:
        every = [*cases.configs(), *cases.data_files(folder)]
        faults = cases.faults(every)
    for fault in faults:
        print(fault, file=sys.stderr)
    right = len(every) - len(faults)
    return Result(f"{right} of {len(every)} right", right >= LEAST and not faults)


@bar("bad input: malformed frames", "same agent process, healthy, rows counted, no step failed")
def malformed_frames() -> Result:
    return _attacked(hostile.DATAGRAM, lambda live, data: hostile.send(str(live.root / "run/toy/intake.sock"), data))


@bar("bad input: malformed HTTP", "same agent process, healthy, rows counted, no step failed")
def malformed_http() -> Result:
    return _attacked(hostile.REQUEST, lambda live, data: hostile.ask(live.address(), data))


def _attacked(strategy: st.SearchStrategy[bytes], hit: Callable[[Live, bytes], object]) -> Result:
    with tempfile.TemporaryDirectory(prefix="pilotfish-bars-") as folder:
        live = Live(pathlib.Path(folder))
        try:
            live.start()
            until(lambda: live.model().get("window_rows"), "rows")
            before, sent = live.status()["processes"]["agent"], 0

            @given(strategy)
            @settings(
                max_examples=EXAMPLES,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            def attack(data: bytes) -> None:
                nonlocal sent
                sent += 1
                hit(live, data)

            attack()
            faults = _faults(live, before)
        finally:
            live.stop()
    return Result(", ".join(faults) or f"{sent} sent, agent as before", not faults, versions("hypothesis"))


def _faults(live: Live, before: int) -> list[str]:
    faults = []
    after = until(live.status, "a status")["processes"]["agent"]
    if after != before:
        faults.append("another agent")
    if not live.get("/-/healthy"):
        faults.append("not healthy")
    pattern = re.escape("pilotfish_observations_total{") + ".*sdk"
    rows = live.metric(pattern) or 0.0
    try:
        until(lambda: (live.metric(pattern) or 0.0) > rows, "rows")
    except AssertionError:
        faults.append("no more rows")
    if live.metric(re.escape("pilotfish_events_total{") + '[^}]*event="step_failed"'):
        faults.append("a step failed")
    return faults
