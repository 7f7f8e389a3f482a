"""How many rows count as one, measured on the live traffic when nobody says (docs/statistics.md, section 7). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift.dependence import BLOCKS, Phi
from pilotfish_agent.drift.layout import Floats, Ints
from pilotfish_agent.drift.reference import FeatureReference
from pilotfish_agent.drift.tables import StreamTables
from pilotfish_agent.drift.tested import Tested

if TYPE_CHECKING:
    from pilotfish_agent.drift.comparison import Comparison

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


def again(
    measured: OnlinePhi | None, comparison: Comparison | None, dependence: str | float, known: Mapping[str, float]
) -> tuple[OnlinePhi | None, str]:
    """What measures from now on, as ``drift.dependence`` was read anew; what that changes, in words, else empty."""
    if comparison is None:
        return measured, ""
    wanted = unknown(comparison.streams, dependence, known)
    if (wanted is None) == (measured is None):
        return measured, ""
    if wanted is None:
        return None, "dependence is known from now on: alarms do not wait for it"
    if comparison.judge is not None:
        wanted.start(comparison.judge.tables)
    return wanted, f"dependence is measured from now on: alarms are info for {TICKS:,} ticks"


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
        self._ticks: dict[int, int] = dict.fromkeys(wanted, 0)
        self._earlier: dict[int, NDArray[np.float64]] = {}  # loaded before the tables were there

    @property
    def ticks(self) -> int:
        """Of the stream that has the fewest."""
        return min(self._ticks.values())

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
            if f in self._earlier:
                self._phis[f].load(self._earlier.pop(f))

    def add(self, counts: Ints | Floats) -> None:
        """One tick of counts (width,)."""
        for f, one in self._phis.items():
            if self._ticks[f] < TICKS:
                self._ticks[f] += 1
                one.add(self._streams.part(counts, f))

    def request(self) -> PhiRequest | None:
        """The sums once they are complete, else None."""
        if not self._phis or self.ticks < TICKS:
            return None
        names = tuple(self._streams.streams[f].name for f in self._phis)
        return PhiRequest(names, tuple(self._phis.values()))

    def words(self) -> str:
        """Progress for people: ``312 of 1,600 ticks``."""
        return f"{self.ticks:,} of {TICKS:,} ticks"

    def dump(self) -> tuple[dict[str, int], NDArray[np.float64]]:
        """For a checkpoint: ticks of each stream by name, and what was measured, one line a stream."""
        held = self._earlier | {f: one.dump() for f, one in self._phis.items()}
        names = {self._streams.streams[f].name: self._ticks[f] for f in held}
        return names, np.array(list(held.values())).reshape(len(held), -1)

    def load(self, ticks: Mapping[str, int], measured: NDArray[np.floating[Any]]) -> None:
        """Back from `dump`, as far as the streams are still to be measured; before `start` or after.

        Raises:
            ValueError: a damaged dump.
        """
        for (name, count), one in zip(ticks.items(), measured, strict=True):
            f = self._streams.index.get(name)
            if f not in self._ticks:
                continue
            state = one.reshape(len(BLOCKS), -1)
            if f in self._phis:
                self._phis[f].load(state)
            else:
                self._earlier[f] = state
            self._ticks[f] = min(int(count), TICKS)
