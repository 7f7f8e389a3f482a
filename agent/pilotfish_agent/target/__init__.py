"""The watched target as the kernel shows it: its processes, their ends, its control group. Collectors read it."""
