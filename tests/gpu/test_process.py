"""The real pf-nvml process: what it is, what it imports, and how it ends."""

import os
import pathlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pilotfish_agent.gpu.report import Gpu
from pilotfish_agent.gpu.wire import CODE_UNAVAILABLE, Began, Ended, Message, Orders, decode
from pilotfish_agent.launch.child import LARGEST, entry
from tests.capture_process.test_process import FORBIDDEN, imported
from tests.gpu import fake

pytestmark = fake.NEEDS_COMPILER
PATH = tuple(folder for folder in sys.path if folder)


@contextmanager
def nvml(orders: Orders | None, stderr: pathlib.Path) -> Iterator[tuple["subprocess.Popen[bytes]", socket.socket]]:
    """A reading process with its orders, and the agent's end of its socket; each import is a line on stderr."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(30)
    if orders is not None:
        ours.send(orders.to_bytes())
    program, *rest = entry("nvml")
    fd = theirs.fileno()
    with ours, theirs, stderr.open("wb") as err:
        process = subprocess.Popen([program, "-X", "importtime", *rest, str(fd)], pass_fds=[fd], stderr=err)
        theirs.close()
        try:
            yield process, ours
        finally:
            ours.close()
            process.kill()
            process.wait()


def hear(agent: socket.socket) -> Message:
    """The next message."""
    return decode(agent.recv(LARGEST))


def test_it_reads_gives_way_and_imports_little(gpus: fake.Gpus, tmp_path: pathlib.Path) -> None:
    """Name, priority, first to go when memory is short, no core; no numpy, aiohttp or structlog."""
    gpus.set(count=2)
    orders = Orders(("nvidia",), str(fake.driver_library()), 0.05, PATH)
    with nvml(orders, tmp_path / "err") as (process, agent):
        assert [hear(agent) for _ in range(2)] == [Began("open"), Began("round")]
        told = [hear(agent) for _ in range(2)]
        assert [one.gpu for one in told if isinstance(one, Gpu)] == ["0", "1"]
        assert [hear(agent) for _ in range(2)] == [Ended(), Began("round")]
        proc = pathlib.Path(f"/proc/{process.pid}")
        assert (proc / "comm").read_text() == "pf-nvml\n"
        assert (proc / "oom_score_adj").read_text() == "900\n"
        assert os.getpriority(os.PRIO_PROCESS, process.pid) >= 10
        limits = {line[:26].strip(): line[26:].split()[:2] for line in (proc / "limits").read_text().splitlines()}
        assert limits["Max core file size"] == ["0", "0"]
        assert 0 < int(limits["Max data size"][1]) < 1 << 30
        agent.close()
        assert process.wait(30) == 0, (tmp_path / "err").read_text()[-2_000:]
    names = imported((tmp_path / "err").read_text())
    assert "pynvml" in names, "this looked at the right process"
    assert not names & FORBIDDEN


@pytest.mark.parametrize(
    ("function", "reason"),
    [("nvmlInitWithFlags", "failed"), ("nvmlDeviceGetUtilizationRates", "failed"), ("nvmlDeviceGetCount_v2", "failed")],
)
def test_a_driver_that_was_exchanged_ends_it(
    function: str, reason: str, gpus: fake.Gpus, tmp_path: pathlib.Path
) -> None:
    """The library stays loaded in a process: only another one can ask the new driver. The last word says why."""
    gpus.set(**{f"fail.{function}": 18, "samples": 0})
    with nvml(Orders(("nvidia",), str(fake.driver_library()), 0.05, PATH), tmp_path / "err") as (process, agent):
        while not isinstance(said := hear(agent), Ended):
            pass
        assert said.reason == reason
        assert "version" in said.words
        assert process.wait(30) == CODE_UNAVAILABLE


def test_an_agent_that_ends_before_it_has_given_orders_ends_it(tmp_path: pathlib.Path) -> None:
    """Without a word."""
    with nvml(None, tmp_path / "err") as (process, agent):
        agent.close()
        assert process.wait(30) == 0


def test_the_agent_loads_nothing_of_a_driver() -> None:
    """Neither its parts nor the catalogue of all that they declare."""
    program = (
        "import sys; import pilotfish_agent.app; from pilotfish_agent import catalogue; "
        "assert 'gpu' in catalogue.sections(); "
        "print({'pynvml', 'amdsmi', 'pilotfish_agent.gpu.nvml'} & {*sys.modules})"
    )
    done = subprocess.run((sys.executable, "-c", program), capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
