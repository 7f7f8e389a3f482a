"""The relay's bars: what it costs beside nginx, that it holds nothing back, and what breaks when it dies."""

from __future__ import annotations

import logging
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from benchmarks.bars import Result, bar, versions
from benchmarks.capture.relay_bench import CONNECTIONS, cpu_ns, listening, missing, rss, servers
from benchmarks.capture.relay_clients import LARGE, Stream, large_bodies, steady, swallow
from pilotfish_agent.capture.settings import Config
from pilotfish_agent.capture.supervisor import HANG_SECONDS, Supervisor
from pilotfish_core.clock import SystemClock
from pilotfish_core.events import Events
from tests.capture_relay.box import RelayBox, free_port, server, until

ROUNDS = 5
SECONDS = 2
ALLOWED = 1.2
ADDED_MS = 1.0
LARGE_MIB = 16
OUTAGE_S = 5.0
"""An interpreter's start on a loaded machine, and the back-off."""


def nginx_version() -> str:
    """``nginx 1.22.1``."""
    told = subprocess.run(["nginx", "-v"], capture_output=True, text=True).stderr
    return "nginx " + told.strip().rpartition("/")[2]


@bar("relay: CPU of an exchange, 64 connections, framing included", f"<= {ALLOWED} x nginx proxy_pass, median of 5")
def cpu() -> Result:
    if why := missing():
        return Result(why, None)
    ratios, ours, theirs, lost, failed = [], [], [], 0, 0
    with servers() as peer, RelayBox(peer.model, keep=False) as box:
        cases = {"ours": (box.port, box.process.pid), "nginx": (peer.proxy, peer.proxy_pid)}
        for port, _ in cases.values():
            peer.load(port, 1)
        time.sleep(1.5)  # copies come at the end of their second
        exchanges, known = 0, box.rows
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
        end = time.monotonic() + 10
        while box.rows - known < exchanges and time.monotonic() < end:
            time.sleep(0.05)
        lost = max(exchanges - box.rows + known, 0)
        faults = box.counter("relay:faults")
    ratio = statistics.median(ratios)
    words = f"{ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f}; {statistics.median(ours):.1f} us, "
    words += f"nginx {statistics.median(theirs):.1f} us; {exchanges} exchanges, {lost} not recorded, "
    words += f"{failed} failed)"
    return Result(words, ratio <= ALLOWED and not failed + faults + lost, versions("uvloop") + ", " + nginx_version())


@bar("relay: SSE and NDJSON chunks are never held, added time to the first token", f"<= {ADDED_MS:g} ms median")
def chunks() -> Result:
    words, worst = [], 0.0
    for kind in (b"text/event-stream", b"application/x-ndjson"):
        stream = Stream(kind)
        with server(stream) as port, RelayBox(port) as box:
            seen: dict[int, tuple[list[float], list[float]]] = {port: ([], []), box.port: ([], [])}
            for _ in range(10):
                for to, delays in seen.items():
                    first, every = stream.delays(to, 5)
                    delays[0].extend(first)
                    delays[1].extend(every)
        added = (statistics.median(seen[box.port][0]) - statistics.median(seen[port][0])) * 1e3
        later = (statistics.median(seen[box.port][1]) - statistics.median(seen[port][1])) * 1e3
        longest = max(seen[box.port][1]) * 1e3
        worst = max(worst, added, later)
        words.append(f"{kind.decode()} +{added:.2f} ms, any chunk +{later:.2f} ms, longest {longest:.1f} ms")
    return Result("; ".join(words), worst <= ADDED_MS, versions("uvloop"))


@bar(f"relay: {LARGE >> 20} MiB bodies both ways x {CONNECTIONS}", f"RSS + <= {LARGE_MIB} MiB")
def memory() -> Result:
    with server(swallow) as port, RelayBox(port) as box:
        pid = box.process.pid
        large_bodies(box.port, 1)
        before = rss(pid)
        pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")  # VmHWM counts from here (proc(5))
        done = large_bodies(box.port, CONNECTIONS)
        more = rss(pid, "VmHWM") - before
    words = f"+{more / (1 << 20):.1f} MiB at the most (of {before / (1 << 20):.0f}), {done} of {CONNECTIONS} whole"
    return Result(words, more <= LARGE_MIB << 20 and done == CONNECTIONS, versions("uvloop"))


@bar(
    f"relay: killed with -9 under {CONNECTIONS} connections, started again by the supervisor",
    f"measured (docs/capture-relay.md); all clients go on, no answer for <= {OUTAGE_S:g} s",
)
def killed() -> Result:
    return outage(signal.SIGKILL, OUTAGE_S)


@bar(
    f"relay: hangs (SIGSTOP) under {CONNECTIONS} connections, ended and started again by the supervisor",
    f"measured (docs/capture-relay.md); all clients go on, no answer for <= {HANG_SECONDS + OUTAGE_S:g} s",
)
def hung() -> Result:
    return outage(signal.SIGSTOP, HANG_SECONDS + OUTAGE_S)


def outage(blow: signal.Signals, most: float) -> Result:
    """What clients see of a relay that gets this signal."""
    if why := missing():
        return Result(why, None)
    with servers() as peer, supervised(peer.model) as (guard, port), steady(port, CONNECTIONS) as seen:
        time.sleep(1.0)
        before = seen.answered
        pid = guard.view.pid
        assert pid is not None
        os.kill(pid, blow)
        until(lambda: guard.view.pid not in {None, pid}, "the next one")
        again = time.monotonic()
        until(lambda: len(seen.last) == CONNECTIONS and min(seen.last.values()) > again, "an answer for each client")
    words = (
        f"{seen.broken} requests broken, no answer for {seen.gap() * 1e3:.0f} ms ({seen.refused} attempts refused), "
    )
    words += f"all {CONNECTIONS} clients go on; {before} answers in the second before"
    return Result(words, bool(seen.broken) and seen.gap() <= most, versions("uvloop"))


@contextmanager
def supervised(model: int) -> Iterator[tuple[Supervisor, int]]:
    """A relay as the agent runs it, with the agent's supervisor; and its port."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="pfrelay") as folder:
        path = f"{folder}/intake.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as intake:
            intake.bind(path)
            config = Config(mode="relay", relay_listen=f"127.0.0.1:{port}", relay_upstream=f"127.0.0.1:{model}")
            structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
            guard = Supervisor(config, path, events=Events(SystemClock()))
            guard.start()
            try:
                listening(port)
                until(lambda: guard.view.mode == "relay", "the relay")
                yield guard, port
            finally:
                guard.stop()
