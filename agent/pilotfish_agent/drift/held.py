"""Evidence as it stands, stream by stream, to go on with elsewhere: after a restart, or against a changed reference.

What one stream's evidence depends on is its key (`comparison.stream_keys`): where the key is the same, the evidence
goes on; all else starts at zero, which is earlier, never newer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift.entry import Entry
from pilotfish_agent.drift.judge import WHOLE, Judge
from pilotfish_agent.drift.latch import Latch, rule
from pilotfish_agent.drift.pack import DamagedError
from pilotfish_agent.drift.tick_clock import Tick

if TYPE_CHECKING:
    from pilotfish_agent.drift.comparison import Comparison
    from pilotfish_agent.drift.phi import OnlinePhi

Arrays = dict[str, NDArray[Any]]
_WINDOW = ("counts", "squares", "seen")


@dataclass(frozen=True, slots=True)
class Held:
    """The evidence and the window of a comparison.

    Attributes:
        keys: of the streams' evidence, in order.
        layouts: what each stream's window depends on.
        judge: latches and history, JSON.
        arrays: by name, those of all streams one after the other; rules of latches apart.
        sizes: of each stream's share, by name.
        measured: ticks over which dependence was measured, by stream; what was found is the array `phi`.
    """

    keys: Sequence[str]
    layouts: Sequence[str]
    judge: Mapping[str, Any]
    arrays: Arrays
    sizes: Mapping[str, Sequence[int]]
    measured: Mapping[str, int]

    @staticmethod
    def of(comparison: Comparison, judge: Judge, measured: OnlinePhi | None) -> Held:
        """What ``comparison`` knows after its last closed tick, and what is known of dependence."""
        streams = comparison.streams
        each: dict[str, list[NDArray[Any]]] = {}
        for f in range(len(streams.streams)):
            dumped = {f"engine.{name}": array.ravel() for name, array in judge.engine.dump(f).items()}
            for name, array in {**dumped, "scores": judge.scores[:, f]}.items():
                each.setdefault(name, []).append(array)
        window = comparison.window.dump()
        each["window.counts"] = [streams.part(window["counts"], f) for f in range(len(streams.streams))]
        for name in _WINDOW[1:]:
            each[f"window.{name}"] = [window[name][f : f + 1] for f in range(len(streams.streams))]
        arrays = {name: np.concatenate(parts) for name, parts in each.items()}
        latches = [_latch(f, level, latch, arrays) for (f, level), latch in judge.latches.items()]
        history = judge.history
        told = {
            "history": history.dump(),
            "ticks": history.ticks,
            "rows": history.rows,
            "tick": asdict(judge.tick),
            "latches": latches,
        }
        sizes = {name: [part.size for part in parts] for name, parts in each.items()}
        ticks: dict[str, int] = {}
        if measured is not None:
            ticks, arrays["phi"] = measured.dump()
        return Held(comparison.keys, comparison.layouts, told, arrays, sizes, ticks)

    def check(self) -> None:
        """Refuses what does not fit together.

        Raises:
            DamagedError: it is of another format.
        """
        if any(
            sum(sizes) != self.arrays[name].size or len(sizes) != len(self.keys) for name, sizes in self.sizes.items()
        ):
            raise DamagedError("shares of streams do not add up")
        if not all(WHOLE <= one["f"] < len(self.keys) and one["level"] in (0, 1) for one in self.judge["latches"]):
            raise DamagedError("a latch of no stream")

    def phi_into(self, measured: OnlinePhi, comparison: Comparison) -> None:
        """What was measured of each stream whose bins and reference are the same.

        Raises:
            ValueError: of another version, though it looks alike.
        """
        same = set(self.layouts)
        streams = zip(comparison.streams.streams, comparison.layouts, strict=True)
        names = {stream.name for stream, layout in streams if layout in same}
        known = [i for i, name in enumerate(self.measured) if name in names]
        if known:
            ticks = {name: n for name, n in self.measured.items() if name in names}
            measured.load(ticks, self.arrays["phi"][known])

    def going_on(self, keys: Sequence[str]) -> set[int]:
        """Positions here of the streams that go on, and `WHOLE` where all do."""
        found = set(self.kept(keys).values())
        return found | {WHOLE} if len(found) == len(self.keys) == len(keys) else found

    def kept(self, keys: Sequence[str]) -> dict[int, int]:
        """Streams that go on: position now -> position here."""
        here = {key: i for i, key in enumerate(self.keys)}
        return {f: here[key] for f, key in enumerate(keys) if key in here}

    def into(self, judge: Judge, keys: Sequence[str]) -> None:
        """Evidence, latches and history into a fresh ``judge`` of streams with ``keys``.

        Raises:
            ValueError, KeyError, TypeError: of another version, though it looks alike.
        """
        kept = self.kept(keys)
        names = [name for name in self.sizes if name.startswith("engine.")]
        judge.history.load(self.judge["history"], self.judge["ticks"], self.judge["rows"])
        judge.tick = Tick(**self.judge["tick"])
        parts = {f: {n.removeprefix("engine."): self._part(n, i) for n in names} for f, i in kept.items()}
        judge.engine.take(int(self.judge["ticks"]), parts)
        for f, i in kept.items():
            judge.scores[:, f] = self._part("scores", i)
        now = {i: f for f, i in kept.items()} | ({WHOLE: WHOLE} if len(kept) == len(self.keys) == len(keys) else {})
        for one in self.judge["latches"]:
            if one["f"] in now:
                judge.latches[now[one["f"]], one["level"]] = self._latch(judge, one, now)

    def window_into(self, comparison: Comparison) -> None:
        """The recent rows of each stream whose bins and reference are the same."""
        here = {layout: i for i, layout in enumerate(self.layouts)}
        dumped = comparison.window.dump()
        for f, layout in enumerate(comparison.layouts):
            if (i := here.get(layout)) is not None:
                comparison.streams.part(dumped["counts"], f)[:] = self._part("window.counts", i)
                for name in _WINDOW[1:]:
                    dumped[name][f] = self._part(f"window.{name}", i)[0]

    def share(self, prefix: str) -> Arrays:
        """The arrays whose names are ``prefix.`` and more, by the rest."""
        return {n.removeprefix(prefix + "."): a for n, a in self.arrays.items() if n.startswith(prefix + ".")}

    def _part(self, name: str, i: int) -> NDArray[Any]:
        ends = np.cumsum(self.sizes[name])
        return self.arrays[name][ends[i] - self.sizes[name][i] : ends[i]]

    def _latch(self, judge: Judge, one: Mapping[str, Any], now: Mapping[int, int]) -> Latch:
        f, level, rules = one["f"], one["level"], {}
        for r in one["rules"]:
            made = rule(judge.tables[now[r["stream"]]], r["run"], level)
            prefix = f"rule.{f}.{level}.{r['stream']}."
            state = {n.removeprefix(prefix): a for n, a in self.arrays.items() if n.startswith(prefix)}
            made.held[:], made.after[:] = state.pop("held"), state.pop("after")
            made.rows, made.holds = r["rows"], r["holds"]
            made.resolve.restore(state)
            rules[now[r["stream"]]] = made
        rows, checked = int(one["crossed"]), int(one["checked_rows"])
        entry = Entry(**one["entry"])
        return Latch(one["feature"], level, entry, one["severity"], rows, rules, checked, bool(one["critical"]))


def _latch(f: int, level: int, latch: Latch, arrays: Arrays) -> dict[str, Any]:
    rules = []
    for g, one in latch.rules.items():
        prefix = f"rule.{f}.{level}.{g}."
        arrays[prefix + "held"], arrays[prefix + "after"] = one.held, one.after
        for name, value in one.resolve.state().items():
            arrays[prefix + name] = np.asarray(value)
        rules.append({"stream": g, "rows": one.rows, "holds": one.holds, "run": one.run})
    return {
        "f": f,
        "level": level,
        "feature": latch.feature,
        "entry": asdict(latch.entry),
        "severity": latch.severity,
        "crossed": latch.crossed,
        "checked_rows": latch.checked_rows,
        "critical": latch.critical,
        "rules": rules,
    }
