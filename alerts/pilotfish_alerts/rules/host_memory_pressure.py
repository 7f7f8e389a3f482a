"""The whole machine stands still for want of memory."""

from pilotfish_alerts.rule import Check, Rule, Scenario, Setting, firing

_STALLED = 'pilotfish_host_pressure_stalled_seconds_total{job="pilotfish",instance="a:7374",resource='

RULE = Rule(
    alert="PilotfishHostMemoryPressure",
    expr='rate(pilotfish_host_pressure_stalled_seconds_total{resource="memory"}[5m]) > $memory_stalled_ratio',
    severity="warning",
    hold="5m",
    summary="{{ $labels.instance }} stands still for want of memory",
    description=(
        "In {{ $value | humanizePercentage }} of the time (limit: $memory_stalled_ratio) everything that had work on "
        "{{ $labels.instance }} waited for memory: it swaps, or reads programs back from disk. Requests are slow, and "
        "the out-of-memory killer is near. See who grows, and give the machine memory or the model a limit."
    ),
    settings=(Setting("memory_stalled_ratio", "0.1", "share of time; a healthy machine has none, whatever its load"),),
    scenarios=(
        Scenario(
            {f'{_STALLED}"memory"}}': "0x10 0+15x30 450x30", f'{_STALLED}"io"}}': "0+30x70"},
            (
                Check("10m"),
                Check("30m", (firing("job=pilotfish instance=a:7374 resource=memory", value="25%"),)),
                Check("60m"),
            ),
        ),
    ),
)
