"""GPUs: a process that asks the driver and may hang, its supervisor, and what it reports."""
