"""Prometheus cannot scrape the agent; under `run` the agent leaves with the model, so this is the model's alert too."""

from pilotfish_alerts.rule import JOB, Check, Rule, Scenario, firing

RULE = Rule(
    alert="PilotfishDown",
    expr='up{job="$job"} == 0',
    severity="critical",
    hold="2m",
    summary="{{ $labels.instance }} does not answer: its model has ended, or the agent has",
    description=(
        "Prometheus has not been able to scrape {{ $labels.instance }} for 2 minutes. Under `pilotfish run` the agent "
        "ends with its model: check the model first, then `pilotfish status` on the host."
    ),
    settings=(JOB,),
    scenarios=(
        Scenario(
            {
                'up{job="pilotfish",instance="a:7374"}': "1x5 0x10 1x10",
                'up{job="node",instance="a:9100"}': "0x25",
            },
            (Check("6m"), Check("12m", (firing("job=pilotfish instance=a:7374"),)), Check("20m")),
        ),
    ),
)
