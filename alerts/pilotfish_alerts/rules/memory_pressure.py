"""The model waits for memory."""

from pilotfish_alerts.rule import Check, Rule, Scenario, Setting, firing

_WAITING = 'pilotfish_cgroup_pressure_waiting_seconds_total{job="pilotfish",instance="a:7374",target="digits",resource='

RULE = Rule(
    alert="PilotfishMemoryPressure",
    expr=('rate(pilotfish_cgroup_pressure_waiting_seconds_total{resource="memory"}[5m]) > $memory_waiting_ratio'),
    severity="warning",
    hold="5m",
    summary="{{ $labels.target }} on {{ $labels.instance }} waits for memory",
    description=(
        "In {{ $value | humanizePercentage }} of the time (limit: $memory_waiting_ratio) a thread of "
        "{{ $labels.target }} waited until the kernel had found memory for it, or had read back a page that it had "
        "dropped. Latency suffers now, and a kill may follow. Compare pilotfish_cgroup_memory_bytes with its limit: "
        "far below it, the host is short of memory (PilotfishHostMemoryPressure)."
    ),
    settings=(
        Setting("memory_waiting_ratio", "0.1", "share of time in which a thread waited; a healthy model has none"),
    ),
    scenarios=(
        Scenario(
            {f'{_WAITING}"memory"}}': "0x10 0+15x30 450x30", f'{_WAITING}"cpu"}}': "0+55x70"},
            (
                Check("10m"),
                Check("30m", (firing("job=pilotfish instance=a:7374 target=digits resource=memory", value="25%"),)),
                Check("60m"),
            ),
        ),
    ),
)
