"""Snapshot to the outside: one exporter a file, the folder is the registry."""
