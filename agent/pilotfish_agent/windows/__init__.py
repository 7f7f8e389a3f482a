"""Tick counts and histograms: mergeable, bounded, pure."""
