"""The model's server answers no probe, or a canary request with another answer than it shall."""

from pilotfish_alerts.rule import Check, Rule, Scenario, firing

RULE = Rule(
    alert="PilotfishProbeFailing",
    expr="pilotfish_probe_success == 0",
    severity="critical",
    hold="2m",
    summary="{{ $labels.instance }}: the {{ $labels.probe }} probe of the model fails",
    description=(
        "The {{ $labels.probe }} probe from {{ $labels.instance }} has failed for 2 minutes: the model's server does "
        "not answer, says that it is not ready, or answers a canary request with something else than expected. "
        "The agent's log says which; pilotfish_server_model_state says what the server holds."
    ),
    scenarios=(
        Scenario(
            {'pilotfish_probe_success{job="pilotfish",instance="a:7374",probe="canary"}': "1x5 0x10 1x10"},
            (
                Check("6m"),
                Check("10m", (firing("job=pilotfish instance=a:7374 probe=canary"),)),
                Check("20m"),
            ),
        ),
    ),
)
