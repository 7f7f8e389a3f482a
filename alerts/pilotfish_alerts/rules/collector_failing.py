"""A part of the agent that reads the machine fails."""

from pilotfish_alerts.rule import Check, Rule, Scenario, firing

RULE = Rule(
    alert="PilotfishCollectorFailing",
    expr="pilotfish_collector_success == 0",
    severity="warning",
    hold="15m",
    summary="{{ $labels.instance }}: the collector {{ $labels.collector }} fails",
    description=(
        "The collector {{ $labels.collector }} on {{ $labels.instance }} has failed for 15 minutes; its metrics are "
        "absent. pilotfish_signal_unavailable and the agent's log say why."
    ),
    scenarios=(
        Scenario(
            {'pilotfish_collector_success{job="pilotfish",instance="a:7374",collector="io"}': "1x5 0x30 1x10"},
            (Check("10m"), Check("30m", (firing("job=pilotfish instance=a:7374 collector=io"),)), Check("40m")),
        ),
    ),
)
