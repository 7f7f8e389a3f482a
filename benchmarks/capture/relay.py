"""The relay's bars: what it costs beside nginx, that it holds nothing back, and what breaks when it dies."""

from __future__ import annotations

import statistics
import subprocess

from benchmarks.bars import Result, bar, versions
from benchmarks.capture.relay_bench import cpu_ns, missing, servers
from tests.capture_relay.box import RelayBox

ROUNDS = 5
SECONDS = 2
ALLOWED = 1.2


def nginx_version() -> str:
    """``nginx 1.22.1``."""
    told = subprocess.run(["nginx", "-v"], capture_output=True, text=True).stderr
    return "nginx " + told.strip().rpartition("/")[2]


@bar("relay: CPU of an exchange, 64 connections, framing included", f"<= {ALLOWED} x nginx proxy_pass, median of 5")
def cpu() -> Result:
    if why := missing():
        return Result(why, None)
    ratios, ours, theirs, lost, failed = [], [], [], 0, 0
    with servers() as peer, RelayBox(peer.model) as box:
        cases = {"ours": (box.port, box.process.pid), "nginx": (peer.proxy, peer.proxy_pid)}
        for port, _ in cases.values():
            peer.load(port, 1)
        box.beaten()
        box.records.clear()
        exchanges = 0
        for turn in range(ROUNDS):
            cost = {}
            for name in sorted(cases, reverse=bool(turn % 2)):
                port, pid = cases[name]
                before = cpu_ns(pid)
                done, wrong = peer.load(port, SECONDS)
                cost[name] = (cpu_ns(pid) - before) / done / 1e3
                failed += wrong
                exchanges += done if name == "ours" else 0
            ours.append(cost["ours"])
            theirs.append(cost["nginx"])
            ratios.append(cost["ours"] / cost["nginx"])
        box.beaten()
        lost = exchanges - len([1 for line, _ in box.records if line == b"POST /"])
        faults = box.counter("relay:faults")
    ratio = statistics.median(ratios)
    words = f"{ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f}; {statistics.median(ours):.1f} us, "
    words += f"nginx {statistics.median(theirs):.1f} us; {exchanges} exchanges, {max(lost, 0)} not recorded, "
    words += f"{failed} failed)"
    return Result(words, ratio <= ALLOWED and not failed and not faults, versions("uvloop") + ", " + nginx_version())
