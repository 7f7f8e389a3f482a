"""From what the sources produced to one Snapshot a step: where sources, windows, drift and state meet."""
