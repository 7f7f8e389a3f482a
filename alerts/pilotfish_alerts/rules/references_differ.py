"""Replicas of one model version test against different references."""

from pilotfish_alerts.rule import Check, Rule, Scenario, firing

_INFO = 'pilotfish_reference_info{job="pilotfish",target="t",model="m",model_version="7",'

RULE = Rule(
    alert="PilotfishReferencesDiffer",
    expr="""\
count by (job, model, model_version) (
  count by (job, model, model_version, reference_id) (pilotfish_reference_info)
) > 1
""",
    severity="warning",
    hold="15m",
    summary="{{ $labels.model }} {{ $labels.model_version }}: replicas have {{ $value | humanize }} references",
    description=(
        "The replicas of {{ $labels.model }} {{ $labels.model_version }} test against {{ $value | humanize }} "
        "different references, so their verdicts cannot be compared. Give all of them the same file."
    ),
    scenarios=(
        Scenario(
            {
                _INFO + 'instance="a:7374",reference_id="r1"}': "1x60",
                _INFO + 'instance="b:7374",reference_id="r1"}': "1x5 _x30 1x25",
                _INFO + 'instance="b:7374",reference_id="r2"}': "_x5 1x30 stale _x24",
            },
            (
                Check("4m"),
                Check("30m", (firing("job=pilotfish model=m model_version=7", value="2"),)),
                Check("55m"),
            ),
        ),
    ),
)
