"""The agent uses more memory than it may."""

from pilotfish_alerts.rule import JOB, Check, Rule, Scenario, Setting, firing

RULE = Rule(
    alert="PilotfishAgentMemoryHigh",
    expr='process_resident_memory_bytes{job="$job"} > $agent_memory_bytes',
    severity="warning",
    hold="15m",
    summary="The agent on {{ $labels.instance }} uses {{ $value | humanize1024 }}B of memory",
    description=(
        "The agent on {{ $labels.instance }} has used {{ $value | humanize1024 }}B for 15 minutes, more than "
        "limits.memory allows by default. Lower limits.features or limits.series; if it grows without end, report it."
    ),
    settings=(
        JOB,
        Setting("agent_memory_bytes", "167772160", "160 MiB, the default of limits.memory"),
    ),
    scenarios=(
        Scenario(
            {
                'process_resident_memory_bytes{job="pilotfish",instance="a:7374"}': "6e7x10 209715200x30 6e7x10",
                'process_resident_memory_bytes{job="node",instance="a:9100"}': "9e9x50",
            },
            (Check("20m"), Check("35m", (firing("job=pilotfish instance=a:7374", value="200Mi"),)), Check("45m")),
        ),
    ),
)
