"""Families are left out of the page of metrics."""

from pilotfish_alerts.rule import Check, Rule, Scenario, firing

RULE = Rule(
    alert="PilotfishSeriesDropped",
    expr="increase(pilotfish_series_dropped_total[15m]) > 0",
    severity="info",
    hold="15m",
    summary="{{ $labels.instance }} leaves {{ $labels.metric }} out of its metrics",
    description=(
        "The page of {{ $labels.instance }} would have more series than limits.series, or has series that cannot be "
        "shown; {{ $labels.metric }} is left out. Raise limits.series or ignore features."
    ),
    scenarios=(
        Scenario(
            {
                'pilotfish_series_dropped_total{job="pilotfish",instance="a:7374",metric="pilotfish_drift_effect"}': (
                    "0x5 0+40x40 1600x40"
                ),
            },
            (
                Check("10m"),
                Check("40m", (firing("job=pilotfish instance=a:7374 metric=pilotfish_drift_effect"),)),
                Check("80m"),
            ),
        ),
    ),
)
