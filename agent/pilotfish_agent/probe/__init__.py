"""Asking the model whether it is well: readiness, canary requests, model state."""
