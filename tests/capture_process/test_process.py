"""The real pf-capture process: what it is, what it imports, and how it ends."""

import os
import pathlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pilotfish_agent.capture.control import CODE_UNAVAILABLE, Orders, RelayOrders, Report
from pilotfish_agent.capture.rights import tap_problem
from pilotfish_agent.launch.child import CHILD_FD, LARGEST, entry
from tests.capture_process.watched import gone, until

FORBIDDEN = {"numpy", "scipy", "aiohttp", "structlog", "psutil", "yaml", "prometheus_client", "msgspec", "hypothesis"}
TAP = Orders("tap", ports=(9,), path=tuple(p for p in sys.path if p))
RELAY = Orders("relay", ports=(9,), relay=RelayOrders("127.0.0.1:0", "127.0.0.1:9"), path=TAP.path)


@contextmanager
def capture(orders: Orders, stderr: pathlib.Path) -> Iterator[tuple["subprocess.Popen[bytes]", socket.socket]]:
    """A capture process with its first orders, and the agent's end of its socket; each import is a line on stderr."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(30)
    ours.send(orders.to_bytes())
    program, *rest = entry("capture")
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


def imported(text: str) -> set[str]:
    """Top packages of ``-X importtime`` lines."""
    lines = [line for line in text.splitlines() if line.startswith("import time:")]
    return {line.rsplit("|", 1)[1].strip().partition(".")[0] for line in lines[1:]}


@pytest.mark.parametrize("orders", [TAP, RELAY], ids=["tap", "relay"])
def test_it_beats_gives_way_and_imports_little(orders: Orders, tmp_path: pathlib.Path) -> None:
    """Name, priority, first to go when memory is short, no core, memory bounded; no numpy, aiohttp or structlog."""
    if orders.mode == "tap" and tap_problem():
        pytest.skip("a tap needs CAP_NET_RAW")
    with capture(orders, tmp_path / "err") as (process, agent):
        report = Report.from_bytes(agent.recv(LARGEST))
        assert report.mode == orders.mode, report.problem
        proc = pathlib.Path(f"/proc/{process.pid}")
        assert (proc / "comm").read_text() == "pf-capture\n"
        assert (proc / "oom_score_adj").read_text() == "900\n"
        nice = 10 if orders.mode == "tap" else 0  # a relay is in the path: it gives way to nobody
        assert os.getpriority(os.PRIO_PROCESS, process.pid) >= nice
        limits = {line[:26].strip(): line[26:].split()[:2] for line in (proc / "limits").read_text().splitlines()}
        assert limits["Max core file size"] == ["0", "0"]
        assert 0 < int(limits["Max data size"][1]) < 1 << 30
        agent.close()
        assert process.wait(30) == 0, (tmp_path / "err").read_text()[-2_000:]
    names = imported((tmp_path / "err").read_text())
    assert "pilotfish_agent" in names, "this looked at the right process"
    assert not names & FORBIDDEN


def test_what_cannot_be_done_is_reported(tmp_path: pathlib.Path) -> None:
    """The last report says why, and the exit code that there is no use in trying again at once."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        orders = Orders("relay", ports=(9,), relay=RelayOrders(address, "127.0.0.1:9"), path=TAP.path)
        with capture(orders, tmp_path / "err") as (process, agent):
            reports = [Report.from_bytes(agent.recv(LARGEST))]
            while reports[-1].mode != "off":
                reports.append(Report.from_bytes(agent.recv(LARGEST)))
            assert reports[-1].reason is not None
            assert reports[-1].problem
            assert process.wait(30) == CODE_UNAVAILABLE


def test_without_the_right_the_tap_says_permission(tmp_path: pathlib.Path) -> None:
    """As uid nobody without capabilities."""
    if os.geteuid() != 0:
        pytest.skip("only root can become nobody")
    code = (
        f"import os, sys; sys.path[:0] = {[p for p in sys.path if p]!r}\n"
        "os.setgroups([]); os.setresgid(65534, 65534, 65534)\n"
        "from pilotfish_agent.capture.rights import tap_problem, problems\n"
        "from pilotfish_agent.capture.settings import Config\n"
        "os.setresuid(65534, 65534, 65534)\n"
        "print(tap_problem()[0], problems(Config()), problems(Config(mode='tap'))[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("permission [] --capture; got 'tap'; expected auto, or the right to tap; ")
    assert "CAP_NET_RAW" in done.stdout


def test_nobody_at_the_other_end_is_the_end(tmp_path: pathlib.Path) -> None:
    """An agent that died before it gave orders."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.close()
    with theirs, subprocess.Popen([*entry("capture"), str(theirs.fileno())], pass_fds=[theirs.fileno()]) as process:
        assert process.wait(30) == 0
        assert until(lambda: gone(process.pid), "its end")
    assert CHILD_FD == 3
