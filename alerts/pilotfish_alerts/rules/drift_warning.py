"""A stream has drifted by at least `drift.min_effect`."""

from pilotfish_alerts.rule import Check, Rule, Scenario, firing
from pilotfish_alerts.rules._words import DRIFT_KEEP, EXPLANATIONS, STREAMS

_MODEL = 'job="pilotfish",instance="a:7374",model="digits",model_version="7"'
_TEXT = "pixel_07: '0' 15.1 % -> 68 %, effect 1.47 [1.34, 1.60] at the alarm"
_FIRES = firing(
    "job=pilotfish instance=a:7374 model=digits model_version=7",
    streams="pixel_07, @prediction",
    explanations=f"{_TEXT}. @prediction: '3' 10 % -> 20 % (x2). ",
)

RULE = Rule(
    alert="PilotfishDriftWarning",
    # No `for`: the detector is sequential and keeps its own budget of false alarms; waiting only delays the truth.
    expr='pilotfish_drift_alert_severity{severity="warning"} == 1',
    severity="warning",
    keep="$drift_keep",
    settings=(DRIFT_KEEP,),
    summary="{{ $labels.model }} on {{ $labels.instance }}: inputs or predictions have drifted",
    description=(
        f"The data of model {{{{ $labels.model }}}} on {{{{ $labels.instance }}}} differ from the reference by at "
        f"least the minimum effect. Streams over their threshold: {STREAMS}. {EXPLANATIONS}The agent's page and "
        "/api/v1/drift show more; look for a change upstream before retraining."
    ),
    scenarios=(
        Scenario(
            {
                f'pilotfish_drift_alert_severity{{{_MODEL},severity="warning"}}': "0x10 1x10 0x30",
                f'pilotfish_drift_alert_severity{{{_MODEL},severity="info"}}': "1x10 0x40",
                f'pilotfish_drift_evidence_ratio{{{_MODEL},feature="@prediction"}}': "0.2x10 1.5x10 0.1x30",
                f'pilotfish_drift_evidence_ratio{{{_MODEL},feature="pixel_07"}}': "0.2x10 9x10 0.1x30",
                f'pilotfish_drift_evidence_ratio{{{_MODEL},feature="pixel_08"}}': "0.9x50",
                f'pilotfish_drift_explanation_info{{{_MODEL},feature="@prediction",'
                "explanation=\"@prediction: '3' 10 % -> 20 % (x2)\"}": "_x10 1x10 stale",
                f'pilotfish_drift_explanation_info{{{_MODEL},feature="pixel_07",explanation="{_TEXT}"}}': (
                    "_x10 1x10 stale"
                ),
            },
            (Check("5m"), Check("15m", (_FIRES,)), Check("45m")),
        ),
    ),
)
