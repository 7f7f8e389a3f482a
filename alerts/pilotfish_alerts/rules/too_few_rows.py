"""The detector has too few rows to say anything."""

from pilotfish_alerts.rule import Check, Rule, Scenario, firing

_STATE = 'pilotfish_drift_state{job="pilotfish",instance="a:7374",model="m",state="not_enough_data"}'

RULE = Rule(
    alert="PilotfishTooFewRows",
    expr='pilotfish_drift_state{state="not_enough_data"} == 1',
    severity="info",
    hold="1h",
    summary="{{ $labels.model }} on {{ $labels.instance }}: too few rows to test for drift",
    description=(
        "For an hour {{ $labels.model }} on {{ $labels.instance }} has had too few rows for a verdict. Send more "
        "traffic through the SDK, or accept that a shift will be found late: `pilotfish reference show` prints the "
        "smallest change that this many rows can show."
    ),
    scenarios=(
        Scenario(
            {_STATE: "0x10 1x90 0x20"},
            (
                Check("60m"),
                Check("90m", (firing("job=pilotfish instance=a:7374 model=m state=not_enough_data"),)),
                Check("115m"),
            ),
        ),
    ),
)
