"""How many rows count as one, measured on the live traffic when nobody says (docs/statistics.md, section 7). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pilotfish_agent.drift.dependence import Phi
from pilotfish_agent.drift.reference import FeatureReference
from pilotfish_agent.drift.tables import StreamTables
from pilotfish_agent.drift.tested import Ints, Tested

TICKS: Final = 1_600
"""Non-empty ticks, once: 24 differences of block means at 64 ticks a block."""


@dataclass(frozen=True, slots=True)
class PhiRequest:
    """Measured sums of each stream, for `pf-worker`.

    Attributes:
        names: the streams.
        sums: what each measured; its ``sums.value()`` is the phi, which needs scipy.
    """

    names: tuple[str, ...]
    sums: tuple[Phi, ...]


def of(stream: FeatureReference, dependence: str | float, measured: Mapping[str, float]) -> float:
    """The phi in force: the setting, the reference's own, the measured one, else 1 until it is known."""
    if not isinstance(dependence, str):
        return float(dependence)
    if stream.phi_source != "unknown":
        return stream.phi
    return measured.get(stream.name, 1.0)


def unknown(streams: Tested, dependence: str | float, measured: Mapping[str, float]) -> OnlinePhi | None:
    """What measures the streams whose phi nobody knows, None where there are none."""
    if not isinstance(dependence, str):
        return None
    wanted = [f for f, s in enumerate(streams.streams) if s.phi_source == "unknown" and s.name not in measured]
    return OnlinePhi(streams, wanted) if wanted else None


class OnlinePhi:
    """Measures streams over the first 1,600 ticks after their tables are there.

    Args:
        streams: all tested ones.
        wanted: positions of those to measure.
    """

    def __init__(self, streams: Tested, wanted: list[int]) -> None:
        self._streams = streams
        self._wanted = wanted
        self._phis: dict[int, Phi] = {}
        self.ticks = 0

    def start(self, tables: Sequence[StreamTables]) -> None:
        """The tables hold the location and scale scores, which need scipy to compute."""
        if self._phis:
            return
        for f in self._wanted:
            stream = self._streams.streams[f]
            numeric = stream.kind == "numeric"
            self._phis[f] = Phi(
                stream.name,
                stream.counts,
                numeric=numeric,
                levels=stream.levels or (),
                directions=tables[f].scores[:2] if numeric else None,
            )

    def add(self, counts: Ints) -> None:
        """One tick of counts (width,)."""
        if not self._phis or self.ticks >= TICKS:
            return
        self.ticks += 1
        for f, one in self._phis.items():
            one.add(self._streams.part(counts, f))

    def request(self) -> PhiRequest | None:
        """The sums once they are complete, else None."""
        if self.ticks < TICKS:
            return None
        names = tuple(self._streams.streams[f].name for f in self._phis)
        return PhiRequest(names, tuple(self._phis.values()))

    def words(self) -> str:
        """Progress for people: ``312 of 1,600 ticks``."""
        return f"{self.ticks:,} of {TICKS:,} ticks"
