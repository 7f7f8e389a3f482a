"""Prometheus knows no agent at all: a broken scrape configuration or service discovery."""

from pilotfish_alerts.rule import JOB, Check, Rule, Scenario, firing

RULE = Rule(
    alert="PilotfishAbsent",
    expr='absent(up{job="$job"})',
    severity="critical",
    hold="5m",
    summary="Prometheus has no target of the job $job",
    description=(
        "No agent has been in Prometheus' target list for 5 minutes, so none of the other alerts can fire. Check the "
        "scrape configuration, the service discovery and the job's name."
    ),
    settings=(JOB,),
    scenarios=(
        Scenario(
            {'up{job="pilotfish",instance="a:7374"}': "1x5 _x20 1x10"},
            (Check("4m"), Check("20m", (firing("job=pilotfish"),)), Check("30m")),
        ),
    ),
)
