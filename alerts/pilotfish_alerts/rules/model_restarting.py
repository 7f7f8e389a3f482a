"""The model process restarts again and again."""

from pilotfish_alerts.rule import Check, Rule, Scenario, Setting, firing

_RESTARTS = 'pilotfish_process_restarts_total{job="pilotfish",instance="a:7374",target="digits"}'

RULE = Rule(
    alert="PilotfishModelRestarting",
    expr="increase(pilotfish_process_restarts_total[1h]) > $restarts_per_hour",
    severity="warning",
    summary="{{ $labels.target }} restarts again and again on {{ $labels.instance }}",
    description=(
        "{{ $labels.target }} has restarted about {{ $value | humanize }} times in an hour (limit: "
        "$restarts_per_hour). pilotfish_process_exits_total says how it ended; oom is the kernel's "
        "out-of-memory killer, and so may be a signal where the control group cannot be seen."
    ),
    settings=(Setting("restarts_per_hour", "3", "a deploy restarts once or twice; more is a crash loop"),),
    scenarios=(
        Scenario(
            {_RESTARTS: "0x60 0+0.2x60 12x100"},
            (
                Check("50m"),
                Check("120m", (firing("job=pilotfish instance=a:7374 target=digits", value="11.8"),)),
                Check("200m"),
            ),
        ),
    ),
)
