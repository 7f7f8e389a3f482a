"""Observations were lost before they were counted."""

from pilotfish_alerts.rule import Check, Rule, Scenario, firing

RULE = Rule(
    alert="PilotfishRowsDropped",
    expr="increase(pilotfish_capture_dropped_total[10m]) > 0",
    severity="warning",
    hold="5m",
    summary="{{ $labels.instance }} loses observations ({{ $labels.reason }})",
    description=(
        "About {{ $value | humanize }} observations were lost in 10 minutes, for the reason {{ $labels.reason }}. "
        "Verdicts rest on the others. sdk_buffer: the agent was away or too slow; intake_buffer: it has too little CPU "
        "or memory; frame_*: something else writes to its socket; kernel, exchanges_*: part of the traffic is not "
        "seen; bodies_*, copy_*: it is counted, but not read."
    ),
    scenarios=(
        Scenario(
            {
                'pilotfish_capture_dropped_total{job="pilotfish",instance="a:7374",reason="sdk_buffer"}': (
                    "0x10 0+9x20 180x30"
                ),
                'pilotfish_capture_dropped_total{job="pilotfish",instance="a:7374",reason="intake_buffer"}': "7x60",
            },
            (
                Check("10m"),
                Check("25m", (firing("job=pilotfish instance=a:7374 reason=sdk_buffer", value="90"),)),
                Check("55m"),
            ),
        ),
    ),
)
