"""Encoders: how a column that is no single number or category becomes streams that are; one file a kind."""
