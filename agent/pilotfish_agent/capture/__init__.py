"""Seeing traffic: pf-capture (tap, relay, framing, sampling), and who looks after it. No numpy here."""
