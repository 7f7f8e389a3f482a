"""The units' bars: what systemd's own tools say of them, and what a service manager hears."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator

from benchmarks.bars import Result, bar
from tests.agent.live import until
from tests.deploy import units
from tests.deploy.manager import listening

DROP_INS: tuple[tuple[str, ...], ...] = ((), ("tier-2.conf",), ("tier-2.conf", "tap.conf"))
LIMITS = (2.0, 2.5, 2.8)
UNITS = ("pilotfish.service", "pilotfish@fraud.service")


def version() -> str:
    """``systemd 252 (252.38-1~deb12u1)``."""
    words = ["systemd-analyze", "--version"]
    return subprocess.run(words, capture_output=True, text=True, timeout=20).stdout.splitlines()[0]


@contextlib.contextmanager
def roots() -> Iterator[list[pathlib.Path]]:
    """A root for each set of drop-ins."""
    with tempfile.TemporaryDirectory(prefix="pilotfish-units-") as folder:
        made = [pathlib.Path(folder) / str(number) for number in range(len(DROP_INS))]
        for root, drop_ins in zip(made, DROP_INS, strict=True):
            units.lay_out(root, *drop_ins)
        yield made


@bar("systemd: `verify` of unit, template and a model's unit under `run`", "prints nothing")
def verify() -> Result:
    if shutil.which("systemd-analyze") is None:
        return Result("systemd-analyze is not installed", None)
    with roots() as made:
        lines = [line for root in made for unit in (*UNITS, "fraud.service") for line in _lines(root, unit)]
    return Result(f"{len(lines)} lines{': ' + lines[0] if lines else ''}", not lines, version())


def _lines(root: pathlib.Path, unit: str) -> list[str]:
    return units.verify(root, unit).splitlines()


@bar("systemd: `security --offline`: no capability, tier 2, tier 2 and tap", "<= 2.0, 2.5, 2.8")
def exposure() -> Result:
    if shutil.which("systemd-analyze") is None:
        return Result("systemd-analyze is not installed", None)
    with roots() as made:
        worst = [max(units.exposure(root, unit) for unit in UNITS) for root in made]
    holds = all(found <= limit for found, limit in zip(worst, LIMITS, strict=True))
    return Result(", ".join(f"{found:.1f}" for found in worst), holds, version())


@bar("systemd: READY, watchdog, STOPPING on a real socket", "signs of life while it runs, none while it is stopped")
def watchdog() -> Result:
    with tempfile.TemporaryDirectory(prefix="pilotfish-unit-") as folder:
        root = pathlib.Path(folder)
        unit = units.Unit(root)
        (root / "p.yaml").write_text("target: {name: nobody_is_called_so}\nmodel: {name: toy}\n")
        with listening(f"{root}/notify") as heard:
            started = time.monotonic()
            unit.start_unit("pilotfish.service", heard, PILOTFISH_CONFIG=str(root / "p.yaml"))
            try:
                until(heard.hear, "READY")
                ready = time.monotonic() - started
                process = unit.process
                assert process is not None
                time.sleep(9)
                running = heard.hear().count({"WATCHDOG": "1"})
                process.send_signal(signal.SIGSTOP)
                time.sleep(0.2)
                before = len(heard.hear())
                time.sleep(5)
                stopped = len(heard.hear()) - before
                process.send_signal(signal.SIGCONT)
                process.terminate()
                process.wait(20)
                said = [word for message in heard.hear() for word in message]
            finally:
                unit.stop()
    told = f"READY after {ready:.1f} s, {running} signs of life in 9 s, {stopped} while stopped"
    good = said[0] == "READY" and "STOPPING" in said and running >= 3 and stopped == 0
    return Result(f"{told}, STOPPING {'told' if 'STOPPING' in said else 'NOT told'}", good)
