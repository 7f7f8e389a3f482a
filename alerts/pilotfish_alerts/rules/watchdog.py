"""Fires always: when it stops to arrive, the way from Prometheus to you is broken."""

from pilotfish_alerts.rule import Check, Rule, Scenario, firing

RULE = Rule(
    alert="PilotfishWatchdog",
    expr="vector(1)",
    severity="none",
    summary="The way from Prometheus to you works",
    description=(
        "This alert always fires. Send it to a dead man's switch that tells you when it stops; it is not for people."
    ),
    scenarios=(Scenario({}, (Check("1m", (firing(""),)), Check("30m", (firing(""),)))),),
    always=True,
)
