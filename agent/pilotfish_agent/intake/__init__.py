"""Frames from senders (SDK, capture, tails) to ObservationBatch values."""
