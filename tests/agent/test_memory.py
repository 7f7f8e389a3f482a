"""The agent's own ceiling."""

import subprocess
import sys

from pilotfish_agent import memory

HOG = """
from pilotfish_agent import memory
memory.HEADROOM = 8 << 20
memory.limit(32 << 20)
kept = []
try:
    for _ in range(200):
        kept.append(bytearray(1 << 20))
except MemoryError:
    print("refused after", len(kept))
"""


def test_allocation_beyond_the_ceiling_is_refused_not_fatal() -> None:
    """A leak becomes a MemoryError of ours, not an OOM kill in the model's control group."""
    done = subprocess.run([sys.executable, "-c", HOG], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("refused after")
    assert 20 <= int(done.stdout.split()[-1]) <= 45


def test_verdicts() -> None:
    """Well, then tight, then over."""
    assert memory.verdict(50, 100) == "well"
    assert memory.verdict(90, 100) == "tight"
    assert memory.verdict(101, 100) == "over"
    memory.give_back()
