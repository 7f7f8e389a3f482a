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

EXPLANATIONS = (
    '{{ range printf "sort_desc(pilotfish_drift_evidence_ratio{job=%q,instance=%q,model=%q} '
    '* on (job, instance, model, model_version, feature) group_right () pilotfish_drift_explanation_info)" '
    "$labels.job $labels.instance $labels.model | query }}{{ .Labels.explanation }}. {{ end }}"
)
"""What the agent says of them, the strongest first: the same text as on its page and in its log."""
