"""Pieces that several alerts share."""

from pilotfish_alerts.rule import Setting

DRIFT_KEEP = Setting(
    "drift_keep", "10m", "how long a drift alert goes on firing after its end: against a new message at each return"
)

STREAMS = (
    '{{ range $i, $s := printf "sort_desc(topk(5, pilotfish_drift_evidence_ratio{job=%q,instance=%q,model=%q} >= 1))" '
    "$labels.job $labels.instance $labels.model | query }}{{ if $i }}, {{ end }}{{ $s.Labels.feature }}{{ end }}"
)
"""The (at most five) streams over their threshold, the strongest first; `@model` is the model as a whole."""
