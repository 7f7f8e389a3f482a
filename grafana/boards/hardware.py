"""Hardware: utilisation, saturation and errors of the model's process tree, and what watching costs."""

from __future__ import annotations

from grafana.boards import hardware_energy, hardware_gpu, hardware_group, hardware_host
from grafana.boards.board import Board
from grafana.boards.panels import PLAIN, Panel, ask, bars, course, dial, now, number, rows, sheet
from grafana.boards.promql import WINDOW, events, most, of, rate, total

_ONE = ("instance", "target")
_NAME = "{{target}} on {{instance}}"
_NONE = "no process"
_CEILING = 160 * 1024**2  # default of limits.memory


def board() -> Board:
    """The dashboard."""
    made = Board("hardware", "Hardware", "What do the model's processes use, what do they wait for, what fails?")
    made.row("At a glance", *_glance())
    made.row("CPU", *_cpu())
    made.row("Memory", *_memory())
    made.row("Control group: limits and pressure", *hardware_group.panels())
    made.closed("GPUs", *hardware_gpu.panels())
    made.row("Energy, and what a call costs", *hardware_energy.panels())
    made.row("Files and storage", *_files())
    made.row("Ends and starts", *_lifecycle())
    made.row("Host", *hardware_host.panels())
    made.row("What watching costs", *_cost())
    made.row("What the agent cannot see", *_blind())
    return made


def _glance() -> list[Panel]:
    return [
        number(
            "CPU cores in use",
            "Of all chosen processes. At the number that they may use: they are the limit.",
            ask(total(rate(of("process_cpu_seconds_total")))),
            unit="short",
            line=True,
            empty=_NONE,
        ),
        number(
            "Waiting for a CPU",
            "Threads that are ready and do not run. Above a tenth of the cores in use: the host "
            "or the limit is too small.",
            ask(total(rate(of("process_run_delay_seconds_total")))),
            unit="short",
            line=True,
            steps=((None, "green"), (1, "orange"), (4, "red")),
            empty="not readable",
        ),
        number(
            "Memory",
            "Physical memory of all chosen processes; shared pages count once in each.",
            ask(total(of("process_resident_memory_bytes"))),
            unit="bytes",
            line=True,
            empty=_NONE,
        ),
        number(
            "File descriptors",
            "Of the process nearest to its limit. At 100 % it takes no connection: raise its limit or find the leak.",
            ask(most(of("process_fd_usage_max_ratio"))),
            unit="percentunit",
            steps=((None, "green"), (0.7, "orange"), (0.9, "red")),
            line=True,
            empty="not readable",
        ),
        number(
            "Restarts in the shown time",
            "Main processes that came back. More than 3 an hour alert: Ends says why they ended.",
            now(events(of("process_restarts_total"))),
            steps=((None, "green"), (1, "orange")),
            empty=_NONE,
        ),
        number(
            "Youngest process",
            "How long ago the youngest main process started. Shorter than you think: it was restarted.",
            now(f"min(time() - {of('process_start_time_seconds')})"),
            unit="s",
            steps=PLAIN,
            empty=_NONE,
        ),
    ]


def _cpu() -> list[Panel]:
    faults = of("process_context_switches_total")
    return [
        course(
            "CPU cores in use",
            "User and system time, ended children included. Much system time: many small calls or page faults.",
            ask(total(rate(of("process_cpu_seconds_total")), *_ONE, "mode"), _NAME + " {{mode}}"),
            stacked=True,
            w=8,
            empty=_NONE,
        ),
        course(
            "CPU cores by role",
            "Of the main process, its workers and what else it starts. other: of processes that ended between two "
            "samples; much of it: something starts many short ones.",
            ask(total(rate(of("process_role_cpu_seconds_total")), *_ONE, "role"), _NAME + " {{role}}"),
            stacked=True,
            w=8,
            empty=_NONE,
        ),
        course(
            "Waiting for a CPU",
            "Seconds a second that ready threads waited (saturation). It rises with the duration "
            "of calls: fewer threads, more CPUs or a higher limit.",
            ask(total(rate(of("process_run_delay_seconds_total")), *_ONE), _NAME),
            w=8,
            empty="not readable",
        ),
        course(
            "Context switches",
            "involuntary: a CPU was taken away, there are too few; voluntary: waiting for locks, disks or the network.",
            ask(total(rate(faults), *_ONE, "kind"), _NAME + " {{kind}}"),
            unit="cps",
            w=12,
            empty="not readable",
        ),
        course(
            "Processes and threads",
            "Growing without end: a leak. More busy threads than CPUs: set OMP_NUM_THREADS or the server's workers.",
            ask(total(of("processes"), *_ONE, "role"), _NAME + " {{role}}"),
            ask(total(of("process_threads"), *_ONE), _NAME + " threads"),
            w=12,
            empty=_NONE,
        ),
    ]


def _memory() -> list[Panel]:
    by_role = total(of("process_role_resident_memory_bytes"), *_ONE, "role")
    return [
        course(
            "Memory by kind",
            "anonymous growing without end is a leak; swap makes calls slow; file pages may be given back.",
            ask(total(of("process_memory_bytes"), *_ONE, "kind"), _NAME + " {{kind}}"),
            unit="bytes",
            stacked=True,
            w=8,
            empty="not readable",
        ),
        course(
            "Resident memory",
            "Compare with the limit of the control group, below: the kernel kills at it.",
            ask(total(of("process_resident_memory_bytes"), *_ONE), _NAME),
            unit="bytes",
            w=4,
            empty="not readable",
        ),
        course(
            "Memory by role",
            "Of the main process, its workers and what else it starts. One role that grows: look there; all workers "
            "alike: each holds a copy of the model, so fewer of them or one shared mapping.",
            ask(by_role, _NAME + " {{role}}"),
            unit="bytes",
            stacked=True,
            w=8,
            empty="not readable",
        ),
        course(
            "Page faults",
            "major: waited for storage; it swaps or loads weights again. minor: memory is given back and taken again.",
            ask(total(rate(of("process_page_faults_total")), *_ONE, "kind"), _NAME + " {{kind}}"),
            unit="cps",
            w=4,
            empty=_NONE,
        ),
    ]


def _files() -> list[Panel]:
    return [
        course(
            "Storage",
            "Bytes read and written a second, page cache hits not counted. Reading while calls are slow: "
            "weights or data do not stay in memory.",
            ask(total(rate(of("process_io_bytes_total")), *_ONE, "direction"), _NAME + " {{direction}}"),
            unit="Bps",
            w=9,
            empty="not readable",
        ),
        course(
            "Open file descriptors",
            "Growing without end: connections or files are not closed.",
            ask(total(of("process_open_fds"), *_ONE), _NAME),
            w=9,
            empty="not readable",
        ),
        dial(
            "Descriptors, nearest to its limit",
            "At 100 % it takes no connection: raise its limit or find the leak.",
            ask(most(of("process_fd_usage_max_ratio"), "target"), "{{target}}"),
            steps=((None, "green"), (0.7, "orange"), (0.9, "red")),
            empty="not readable",
        ),
    ]


def _lifecycle() -> list[Panel]:
    ended = events(of("process_exits_total"), *_ONE, "cause", window=WINDOW)
    back = events(of("process_restarts_total"), *_ONE, window=WINDOW)
    return [
        course(
            "Ends and restarts",
            "Processes that ended, by cause, and main processes that came back. oom: the kernel killed it for memory; "
            "signal: somebody did; exit_nonzero of workers is what a server hides. Read the log of that time.",
            ask(back, _NAME + " restarts"),
            ask(ended, _NAME + " {{cause}}"),
            bars=True,
            w=8,
            empty=_NONE,
        ),
        sheet(
            "Processes",
            "One row a watched process. Ends are counted since the agent started, or since the guard did.",
            ("Up", "short", rows(most(of("target_up"), *_ONE))),
            ("Started", "dateTimeFromNow", rows(f"1000 * {most(of('process_start_time_seconds'), *_ONE)}")),
            ("Restarts", "short", rows(events(of("process_restarts_total"), *_ONE))),
            ("Ends", "short", rows(events(of("process_exits_total"), *_ONE))),
            order=("target", "instance"),
            widths={"target": 90, "instance": 140, "Up": 50, "Started": 145, "Restarts": 80, "Ends": 65},
            w=9,
            empty=_NONE,
        ),
        bars(
            "Start-up time",
            "Of the last start, by phase. spawn: `pilotfish run` up to exec; load: until it listens; initialise: until "
            "its first good answer. load grows with the artifact: keep it on local storage, or map it.",
            now(most(of("model_startup_duration_seconds"), *_ONE, "phase"), "{{phase}}, " + _NAME),
            unit="s",
            steps=PLAIN,
            w=7,
            empty="no start was seen",
        ),
    ]


def _cost() -> list[Panel]:
    one = ("instance", "component")
    name = "{{component}} on {{instance}}"
    return [
        course(
            "CPU cores of Pilotfish",
            "By part. Above what you grant: raise the tick, watch fewer features, or leave "
            "bodies out (docs/operate.md).",
            ask(total(rate(of("component_cpu_seconds_total")), *one), name),
            w=8,
            empty="no agent",
        ),
        course(
            "Memory of Pilotfish",
            "By part; the line is the default of limits.memory. Near it: lower limits.features or limits.series.",
            ask(total(of("component_resident_memory_bytes"), *one), name),
            unit="bytes",
            steps=((None, "green"), (_CEILING, "red")),
            w=8,
            empty="no agent",
        ),
        course(
            "Reading the machine",
            "How long each collector's last run took. One that stands out waits for something: "
            "`pilotfish doctor` on that host.",
            ask(most(of("collector_duration_seconds"), "instance", "collector"), "{{collector}} on {{instance}}"),
            unit="s",
            w=8,
            empty="no agent",
        ),
        course(
            "Restarts and errors of Pilotfish",
            "Parts that were started anew, and the agent's own errors. Not 0: see "
            "the agent's log; the model is not affected.",
            ask(events(of("component_restarts_total"), *one, window=WINDOW), name),
            ask(
                events(of("events_total", 'level="error"'), "instance", "event", window=WINDOW),
                "{{event}} on {{instance}}",
            ),
            bars=True,
            w=12,
            empty="no agent",
        ),
        course(
            "Observations",
            "Rows received by source, and scrapes of the server that gave nothing. Fewer rows than "
            "calls: part of the traffic is not reported.",
            ask(total(rate(of("observations_total")), "instance", "source"), "{{source}} on {{instance}}"),
            ask(
                total(rate(of("scrape_failures_total")), "instance", "server", "reason"),
                "{{server}} {{reason}} on {{instance}}",
            ),
            unit="cps",
            w=12,
            empty="no agent",
        ),
    ]


def _blind() -> list[Panel]:
    lost = "{{reason}} on {{instance}}"
    return [
        course(
            "Dropped",
            "Rows, exchanges and frames that were not used, series that were left out. Not 0: the "
            "reason's line in docs/alerts.md (PilotfishRowsDropped) says what to do.",
            ask(total(rate(of("capture_dropped_total")), "instance", "reason"), lost),
            ask(total(rate(of("series_dropped_total")), "instance", "metric"), "series of {{metric}} on {{instance}}"),
            ask(total(rate(of("exit_records_lost_total")), "instance"), "exit records on {{instance}}"),
            unit="cps",
            w=8,
            empty="nothing can be dropped",
        ),
        course(
            "Traffic as it is seen",
            "Exchanges by how they ended, connections of the relay, bodies that could not be "
            "read, connections whose framing is doubtful.",
            ask(total(rate(of("capture_exchanges_total")), "instance", "outcome"), "{{outcome}} on {{instance}}"),
            ask(total(rate(of("relay_connections_total")), "instance", "outcome"), "relay {{outcome}} on {{instance}}"),
            ask(
                total(rate(of("capture_unreadable_total")), "instance", "reason"),
                "unreadable, {{reason}} on {{instance}}",
            ),
            ask(
                total(rate(of("capture_framing_problems_total")), "instance", "reason"),
                "framing, {{reason}} on {{instance}}",
            ),
            unit="cps",
            w=8,
            empty="no capture",
        ),
        sheet(
            "Signals that are not there",
            "Each with its reason; `pilotfish doctor` on the host says what would enable it.",
            ("", "short", rows(most(of("signal_unavailable"), "instance", "collector", "signal", "reason"))),
            w=8,
            order=("signal", "reason", "collector", "instance"),
            widths={"signal": 280, "reason": 110},
            empty="all signals are there",
        ),
    ]
