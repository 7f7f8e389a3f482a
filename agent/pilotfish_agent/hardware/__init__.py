"""What the watched process tree uses. One collector a file; files that start with ``_`` are no collectors."""
