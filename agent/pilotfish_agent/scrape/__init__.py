"""The servers' own /metrics, normalised: one file a server, the folder is the registry."""
