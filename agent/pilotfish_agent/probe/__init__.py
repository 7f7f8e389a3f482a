"""Asks the model's server whether it is ready, and for a known answer: no traffic must not look like health."""
