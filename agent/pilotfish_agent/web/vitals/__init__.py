"""The vital signs on the page: one file an area, read from a Snapshot and from how counters have risen lately."""
