"""Bars of the first slice: alarm on real data."""
