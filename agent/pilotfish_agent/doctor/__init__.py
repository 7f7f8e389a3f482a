"""What works on this machine, tried: one area of checks a file; files that start with ``_`` are none."""
