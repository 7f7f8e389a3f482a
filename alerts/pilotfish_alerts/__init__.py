"""Alert rules and their files."""
