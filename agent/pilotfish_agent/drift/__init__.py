"""Drift with a stated false-alarm budget (docs/statistics.md). Pure: values in, values out."""
