"""The model's CPU limit stops it again and again."""

from pilotfish_alerts.rule import Check, Rule, Scenario, Setting, firing

_A = '{job="pilotfish",instance="a:7374",target="digits"}'
_B = '{job="pilotfish",instance="b:7374",target="digits"}'
_C = '{job="pilotfish",instance="c:7374",target="digits"}'

RULE = Rule(
    alert="PilotfishCpuThrottled",
    # With work in less than a tenth of the time (1 period a second) it is probes and housekeeping that wait.
    expr=(
        "rate(pilotfish_cgroup_cpu_throttled_periods_total[5m]) / (rate(pilotfish_cgroup_cpu_periods_total[5m]) > 1)"
        " > $throttled_ratio"
    ),
    severity="warning",
    hold="15m",
    summary="The CPU limit of {{ $labels.target }} on {{ $labels.instance }} holds it up",
    description=(
        "In {{ $value | humanizePercentage }} of its scheduling periods (limit: $throttled_ratio) {{ $labels.target }} "
        "used up its CPU limit and waited for the next period, up to .1 s in the midst of a request. Raise the limit "
        "(pilotfish_cgroup_cpu_limit_cores), or start fewer threads and workers than it has cores."
    ),
    settings=(
        Setting("throttled_ratio", "0.25", "share of periods; a start or one large batch throttles more for a moment"),
    ),
    scenarios=(
        Scenario(
            {
                f"pilotfish_cgroup_cpu_periods_total{_A}": "0+600x90",
                f"pilotfish_cgroup_cpu_throttled_periods_total{_A}": "0x10 0+300x50 15000x30",
                f"pilotfish_cgroup_cpu_periods_total{_B}": "0x90",  # has no limit
                f"pilotfish_cgroup_cpu_throttled_periods_total{_B}": "0x90",
                # At night nothing but a probe every 10 s, which takes 2 periods of a small limit.
                f"pilotfish_cgroup_cpu_periods_total{_C}": "0+12x90",
                f"pilotfish_cgroup_cpu_throttled_periods_total{_C}": "0+6x90",
            },
            (
                Check("20m"),
                Check("40m", (firing("job=pilotfish instance=a:7374 target=digits", value="50%"),)),
                Check("80m"),
            ),
        ),
    ),
)
