"""The agent runs on an older or a partly refused configuration."""

from pilotfish_alerts.rule import Check, Rule, Scenario, firing

RULE = Rule(
    alert="PilotfishConfigInvalid",
    expr="pilotfish_config_last_reload_successful == 0",
    severity="warning",
    hold="5m",
    summary="{{ $labels.instance }} could not take its configuration",
    description=(
        "The agent on {{ $labels.instance }} runs on what was good of its configuration. `pilotfish status` names "
        "each fault, `pilotfish config check` those of the file with their lines."
    ),
    scenarios=(
        Scenario(
            {'pilotfish_config_last_reload_successful{job="pilotfish",instance="a:7374"}': "1x5 0x10 1x10"},
            (Check("7m"), Check("14m", (firing("job=pilotfish instance=a:7374"),)), Check("20m")),
        ),
    ),
)
