"""A model without an accepted reference can page nobody."""

from pilotfish_alerts.rule import Check, Rule, Scenario, firing

_STATE = 'pilotfish_drift_state{job="pilotfish",instance="a:7374",model="m",state='

RULE = Rule(
    alert="PilotfishReferenceProvisional",
    expr='pilotfish_drift_state{state=~"learning|provisional"} == 1',
    severity="info",
    hold="2d",
    summary="{{ $labels.model }} on {{ $labels.instance }}: still {{ $labels.state }} after two days",
    description=(
        "{{ $labels.model }} on {{ $labels.instance }} has no reference that was given or accepted, so its drift "
        "alarms have severity info and page nobody. Build one with `pilotfish reference build` and give it with "
        "--reference."
    ),
    scenarios=(
        Scenario(
            {_STATE + '"provisional"}': "1x100 0x4", _STATE + '"stable"}': "0x100 1x4"},
            (
                Check("1d"),
                Check("49h", (firing("job=pilotfish instance=a:7374 model=m state=provisional"),)),
                Check("51h"),
            ),
            every="30m",
        ),
    ),
)
