"""The agent reports errors of its own."""

from pilotfish_alerts.rule import Check, Rule, Scenario, firing

_EVENTS = 'pilotfish_events_total{job="pilotfish",instance="a:7374",'

RULE = Rule(
    alert="PilotfishAgentErrors",
    expr='increase(pilotfish_events_total{level="error"}[15m]) > 0',
    severity="warning",
    hold="5m",
    summary="The agent on {{ $labels.instance }} reports errors ({{ $labels.event }})",
    description=(
        "The agent on {{ $labels.instance }} has logged the error {{ $labels.event }} within 15 minutes. Look the name "
        "up in its log; the model is not affected."
    ),
    scenarios=(
        Scenario(
            {
                _EVENTS + 'event="http_failed",level="error"}': "0x5 0+1x20 20x40",
                _EVENTS + 'event="started",level="info"}': "0+1x60",
            },
            (
                Check("4m"),
                Check("20m", (firing("job=pilotfish instance=a:7374 event=http_failed level=error"),)),
                Check("60m"),
            ),
        ),
    ),
)
