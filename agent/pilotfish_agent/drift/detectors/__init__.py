"""Sequential detectors, the only parts that alarm: one file each, the folder is the registry."""
