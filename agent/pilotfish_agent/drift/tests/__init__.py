"""Tests and distances: one file each, the folder is the registry. They describe; they never alarm live."""
