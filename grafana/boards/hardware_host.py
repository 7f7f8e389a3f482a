"""The host on the Hardware board: what the model suffers from and cannot see itself."""

from __future__ import annotations

from grafana.boards.panels import Panel, ask, bars, course, now, rows, sheet
from grafana.boards.promql import events, most, of, rate, share, total

_NAME = "{{instance}}"
_NONE = "no agent"
_PRESSED = ((None, "green"), (0.1, "orange"))


def panels() -> list[Panel]:
    """CPU, pressure, memory, disk, clock."""
    cpu = total(rate(of("host_cpu_seconds_total")), "instance")
    stolen, busy = (
        total(rate(of("host_cpu_seconds_total", f'mode="{mode}"')), "instance") for mode in ("steal", "busy")
    )
    free, size = (most(of(f"state_disk_{what}_bytes"), "instance") for what in ("free", "size"))
    return [
        course(
            "CPU of the host",
            "Cores by what they do. iowait: storage is slow; no idle left: others on the host take what the model "
            "waits for.",
            ask(total(rate(of("host_cpu_seconds_total")), "instance", "mode"), _NAME + " {{mode}}"),
            stacked=True,
            w=8,
            empty=_NONE,
        ),
        course(
            "Busy and stolen",
            "Shares of the CPU time. Stolen: this machine was ready and the hypervisor ran another one. Over the line "
            "calls get slower for no reason visible inside: move it, or take a size with CPUs of its own.",
            ask(share(stolen, cpu), _NAME + " stolen"),
            ask(share(busy, cpu), _NAME + " busy"),
            unit="percentunit",
            steps=((None, "green"), (0.1, "orange")),
            high=1,
            w=8,
            empty=_NONE,
        ),
        course(
            "Memory of the host",
            "Available without swapping, and all there is. Near 0 the kernel kills, whoever took it.",
            ask(most(of("host_memory_available_bytes"), "instance"), _NAME + " available"),
            ask(most(of("host_memory_total_bytes"), "instance"), _NAME + " in all"),
            unit="bytes",
            w=8,
            empty=_NONE,
        ),
        *_pressure(),
        bars(
            "State disk, used",
            "Of the disk that holds the agent's state. Full: references, history and evidence are not kept; free it, "
            "or set --state-dir.",
            now(f"1 - {free} / ({size} > 0)", _NAME),
            steps=((None, "green"), (0.85, "orange"), (0.95, "red")),
            unit="percentunit",
            high=1,
            w=5,
            empty="no state is kept",
        ),
        sheet(
            "Hosts",
            "The kernel leaves the clock source tsc when it finds it unstable: each look at the time then is a system "
            "call, and durations jumped once. After a change distrust latency of that moment.",
            ("", "short", rows(most(of("host_clock_source_info"), "instance", "source"))),
            ("Clock changes", "short", rows(events(of("host_clock_source_changes_total"), "instance"))),
            ("Memory left", "bytes", rows(most(of("host_memory_available_bytes"), "instance"))),
            ("Disk left", "bytes", rows(free)),
            order=("instance", "source"),
            widths={"instance": 140, "source": 70, "Clock changes": 120, "Memory left": 110, "Disk left": 110},
            w=9,
            empty=_NONE,
        ),
    ]


def _pressure() -> list[Panel]:
    name = _NAME + " {{resource}}"
    return [
        course(
            "Host: some task waits",
            "Share of the time in which a task of the host waited for the resource. High here and low in the group: a "
            "neighbour suffers, soon the model will.",
            ask(total(rate(of("host_pressure_waiting_seconds_total")), "instance", "resource"), name),
            unit="percentunit",
            steps=_PRESSED,
            w=5,
            empty="no pressure information",
        ),
        course(
            "Host: all tasks stand",
            "Share of the time in which nobody could work. Of memory: the host thrashes.",
            ask(total(rate(of("host_pressure_stalled_seconds_total")), "instance", "resource"), name),
            unit="percentunit",
            steps=_PRESSED,
            w=5,
            empty="no pressure information",
        ),
    ]
