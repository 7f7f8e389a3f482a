"""Pieces that the words of several alerts share."""

STREAMS = (
    '{{ range $i, $s := printf "sort_desc(topk(5, pilotfish_drift_evidence_ratio{job=%q,instance=%q,model=%q} >= 1))" '
    "$labels.job $labels.instance $labels.model | query }}{{ if $i }}, {{ end }}{{ $s.Labels.feature }}{{ end }}"
)
"""The (at most five) streams over their threshold, the strongest first; `@model` is the model as a whole."""
