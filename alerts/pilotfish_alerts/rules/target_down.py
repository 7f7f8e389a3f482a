"""The watched process is gone while the agent still runs (`attach`, or a lingering `run`)."""

from pilotfish_alerts.rule import Check, Rule, Scenario, firing

RULE = Rule(
    alert="PilotfishTargetDown",
    expr="pilotfish_target_up == 0",
    severity="critical",
    hold="1m",
    summary="{{ $labels.target }} is down on {{ $labels.instance }}",
    description=(
        "No process of {{ $labels.target }} has been alive for a minute, seen by the agent on {{ $labels.instance }}. "
        "pilotfish_process_exits_total says how it ended; read its log and restart it."
    ),
    scenarios=(
        Scenario(
            {'pilotfish_target_up{job="pilotfish",instance="a:7374",target="digits"}': "1x5 0x10 1x10"},
            (
                Check("5m"),
                Check("10m", (firing("job=pilotfish instance=a:7374 target=digits"),)),
                Check("20m"),
            ),
        ),
    ),
)
