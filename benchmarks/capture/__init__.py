"""The bars of `make bars GROUP=capture`; see benchmarks/bars.py."""
