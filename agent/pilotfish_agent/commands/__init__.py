"""One top-level command a file, the folder is the registry."""
