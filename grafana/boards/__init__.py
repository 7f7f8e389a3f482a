"""The dashboards, one a file: ``board()`` makes it. ``python -m grafana.boards`` writes grafana/dashboards/."""
