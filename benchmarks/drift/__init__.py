"""Bars of drift, whole."""
