"""The hypervisor gives the machine's CPU time to others."""

from pilotfish_alerts.rule import Check, Rule, Scenario, Setting, firing

_CPU = 'pilotfish_host_cpu_seconds_total{job="pilotfish",instance="a:7374",mode='

RULE = Rule(
    alert="PilotfishHostSteal",
    expr=(
        'sum without (mode) (rate(pilotfish_host_cpu_seconds_total{mode="steal"}[5m])) '
        "/ sum without (mode) (rate(pilotfish_host_cpu_seconds_total[5m])) > $steal_ratio"
    ),
    severity="warning",
    hold="15m",
    summary="The hypervisor takes CPU time from {{ $labels.instance }}",
    description=(
        "For 15 minutes {{ $value | humanizePercentage }} of the CPU time of {{ $labels.instance }} have gone to "
        "others (limit: $steal_ratio). The model stands still for that time, whatever its own limits are. Move it to "
        "another host or to a machine type without shared or burstable CPUs."
    ),
    settings=(Setting("steal_ratio", "0.1", "share of all CPU time; a few per cent are usual on shared hosts"),),
    scenarios=(
        Scenario(
            {
                f'{_CPU}"busy"}}': "0+60x100",
                f'{_CPU}"idle"}}': "0+42x100",
                f'{_CPU}"iowait"}}': "0+0x100",
                f'{_CPU}"steal"}}': "0x20 0+18x40 720x40",
            },
            (
                Check("30m"),
                Check("45m", (firing("job=pilotfish instance=a:7374", value="15%"),)),
                Check("80m"),
            ),
        ),
    ),
)
