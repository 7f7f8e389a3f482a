"""The agent reports errors of its own."""

from pilotfish_alerts.rule import Check, Rule, Scenario, firing

_EVENTS = 'pilotfish_events_total{job="pilotfish",instance="a:7374",'

RULE = Rule(
    alert="PilotfishAgentErrors",
    # A counter that starts at 1 has not increased: an error at the start, such as a bad reference, counts by itself.
    expr=(
        'increase(pilotfish_events_total{level="error"}[15m]) > 0\n'
        'or (pilotfish_events_total{level="error"} unless pilotfish_events_total{level="error"} offset 15m)\n'
    ),
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
        Scenario(
            {_EVENTS + 'event="reference_bad",level="error"}': "_x5 1x60"},
            (
                Check("5m"),
                Check("15m", (firing("job=pilotfish instance=a:7374 event=reference_bad level=error"),)),
                Check("40m"),
            ),
        ),
    ),
)
