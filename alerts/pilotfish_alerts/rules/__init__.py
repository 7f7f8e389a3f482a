"""One alert a file, as ``RULE``; the folder is the registry."""
