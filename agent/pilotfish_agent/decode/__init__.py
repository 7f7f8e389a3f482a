"""Protocol bytes to Observations: one file a protocol, the folder is the registry."""
