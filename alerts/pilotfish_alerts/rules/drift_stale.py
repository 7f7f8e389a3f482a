"""No tick of the drift detector has closed for long."""

from pilotfish_alerts.rule import Check, Rule, Scenario, Setting, firing

_LAST = 'pilotfish_drift_last_run_timestamp_seconds{job="pilotfish",instance="a:7374",model="m"}'

RULE = Rule(
    alert="PilotfishDriftStale",
    expr="time() - (pilotfish_drift_last_run_timestamp_seconds > 0) > $drift_stale_seconds",
    severity="warning",
    hold="5m",
    summary="{{ $labels.model }} on {{ $labels.instance }}: drift not tested for {{ $value | humanizeDuration }}",
    description=(
        "The detector of {{ $labels.model }} on {{ $labels.instance }} has not closed a tick for "
        "{{ $value | humanizeDuration }}: no rows arrive (no traffic, or the SDK is cut off), or the agent is stuck. "
        "While it lasts, no drift alert of this model means nothing."
    ),
    settings=(
        Setting("drift_stale_seconds", "1800", "three times the longest tick (10 minutes with at least one row)"),
    ),
    scenarios=(
        Scenario(
            # Runs each minute until 20 min, stands still, runs again from 70 min on; 0: it never ran.
            {_LAST: "0+60x20 1200x49 4200+60x20", _LAST.replace('"m"', '"never"'): "0x90"},
            (
                Check("30m"),
                Check("60m", (firing("job=pilotfish instance=a:7374 model=m", value="40m 0s"),)),
                Check("80m"),
            ),
        ),
    ),
)
