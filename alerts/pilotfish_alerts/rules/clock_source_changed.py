"""The kernel reads time from something else than before."""

from pilotfish_alerts.rule import Check, Rule, Scenario, firing

RULE = Rule(
    alert="PilotfishClockSourceChanged",
    expr="increase(pilotfish_host_clock_source_changes_total[1h]) > 0",
    severity="warning",
    summary="The kernel of {{ $labels.instance }} has changed its clock source",
    description=(
        "Within the last hour the kernel of {{ $labels.instance }} has begun to read time from another source; "
        "pilotfish_host_clock_source_info says from which. With hpet or acpi_pm each look at the clock is a system "
        "call, and programs that look at it all the time, as model servers do, get slower. `dmesg | grep -i "
        "clocksource` says why; most often a reboot, or a move to another host, is the cure."
    ),
    scenarios=(
        Scenario(
            {'pilotfish_host_clock_source_changes_total{job="pilotfish",instance="a:7374"}': "0x20 1x100"},
            (Check("20m"), Check("25m", (firing("job=pilotfish instance=a:7374"),)), Check("100m")),
        ),
    ),
)
