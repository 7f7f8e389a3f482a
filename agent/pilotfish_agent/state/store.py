"""The latest Snapshot, for every reader; one writer."""

from __future__ import annotations

from pilotfish_core.nouns import Snapshot


class Store:
    """Holds one reference: assignment is atomic in CPython, so readers in other threads need no lock."""

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None

    def publish(self, snapshot: Snapshot) -> None:
        """Makes ``snapshot`` what readers see from now on."""
        self._snapshot = snapshot

    def latest(self) -> Snapshot | None:
        """The newest snapshot, None before the first."""
        return self._snapshot
