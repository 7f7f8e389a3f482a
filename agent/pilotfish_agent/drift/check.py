"""One batch against a reference, once: which streams have changed, by how much (docs/statistics.md, section 14).

Rows become counts on the reference's bins as they are read, so memory does not grow with the batch. Each stream has two
p-values (any change; a change beyond the minimum effect); each set goes through Benjamini-Hochberg over all streams.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift import masses, two_sample
from pilotfish_agent.drift.changes import what_changed
from pilotfish_agent.drift.composites import derived
from pilotfish_agent.drift.dependence import Phi
from pilotfish_agent.drift.effect import Effect, exact_effect
from pilotfish_agent.drift.explain import shown
from pilotfish_agent.drift.layout import Ints, nominal
from pilotfish_agent.drift.reference import Binner, FeatureReference, Reference
from pilotfish_agent.drift.rows import Rows
from pilotfish_agent.drift.strata import of_reference
from pilotfish_agent.drift.streams import LATENCY, columns
from pilotfish_agent.drift.tested import tested
from pilotfish_agent.drift.timed import Counts, Dependence, Plan, Says
from pilotfish_agent.windows.binning import StratumBinner
from pilotfish_agent.windows.ticks import TickRule, TickSplitter
from pilotfish_core.errors import UsageError
from pilotfish_core.nouns import Verdict

FEWEST_ROWS: Final = 200
"""Of a stream on either side: fewer say nothing."""
_SHOWN: Final = 20  # features that fit on a screen


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked.

    Attributes:
        fdr: expected share of false ones among the streams that are called changed.
        min_effect: chi distance within which a change does not count as drift.
        latency_min_effect: the same for `@latency`.
        require_all: too few rows in any stream make the whole not enough data; else only too few in all.
        dependence: how many rows count as one; None: as the reference and the batch say.
        task: `model.task`.
        tick_seconds: `drift.tick`, for dependence.
        ignore: streams or columns that are left out.
    """

    fdr: float = 0.05
    min_effect: float = 0.1
    latency_min_effect: float = 0.5
    require_all: bool = True
    dependence: float | None = None
    task: str = "auto"
    tick_seconds: float = 10.0
    ignore: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class StreamCheck:
    """One stream's answer.

    Attributes:
        stream: its reference, whose counts are those that the batch was compared with.
        rows: of the batch.
        phi: rows that count as one.
        counts: of the batch (K,).
        change, beyond: tests of any change, and of one beyond the minimum effect; None without enough rows.
        effect: with its interval, None where one side has no rows.
        verdict: what they come to.
        min_effect: its own.
    """

    stream: FeatureReference
    rows: int
    phi: float
    counts: Ints
    change: two_sample.Outcome | None
    beyond: two_sample.Outcome | None
    effect: Effect | None
    verdict: Verdict
    min_effect: float

    def __repr__(self) -> str:
        """A line, for notebooks."""
        return f"<StreamCheck {shown(self.stream.name)}: {self.verdict.replace('_', ' ')}, {self.words()}>"

    @property
    def feature(self) -> str:
        """The name that is reported: of a part the composite's."""
        return self.stream.told_as

    def words(self) -> str:
        """What was found, for people."""
        if self.verdict == "not_enough_data":
            side = f"{self.rows:,} rows" if self.rows < FEWEST_ROWS else f"{self.stream.rows:,} rows in the reference"
            return f"not enough data: {side}, at least {FEWEST_ROWS} are needed"
        if self.change is None or self.beyond is None or self.effect is None or self.verdict == "stable":
            return "no change found"
        winner = (self.beyond if self.verdict == "drifting" else self.change).winner
        part = f"{self.stream.part}: " if self.stream.part_of else ""
        size = f"effect {self.effect.value:.2f} [{self.effect.lower:.2f}, {self.effect.upper:.2f}]"
        within = f", within {self.min_effect:g}" if self.verdict == "changed" else ""
        text = what_changed(self.stream, masses.of(self.stream, self.phi), winner, self.counts.astype(np.float64))
        return f"{part}{text}, {size}{within}"


@dataclass(frozen=True, slots=True)
class Checked:
    """The whole answer; ``streams`` in the reference's order, parts of composites one by one."""

    reference: Reference
    options: Options
    rows: int
    streams: tuple[StreamCheck, ...]
    phi_known: bool

    def __repr__(self) -> str:
        """A table, for notebooks; of many features the loudest."""
        rows, of = f"{self.rows:,} rows", f"reference {self.reference.id} of {self.reference.rows:,} rows"
        features = sorted(self.features().items(), key=lambda item: _LOUD[item[1].verdict])
        cells = [(shown(name), one.verdict.replace("_", " "), one.words()) for name, one in features[:_SHOWN]]
        wide = [max((len(line[i]) for line in cells), default=0) for i in range(2)]
        lines = [f"{name:{wide[0]}}  {verdict:{wide[1]}}  {words}" for name, verdict, words in cells]
        if len(features) > _SHOWN:
            lines.append(f"and {len(features) - _SHOWN} more")
        return "\n".join([f"<Checked {self.verdict.replace('_', ' ')}: {rows} against {of}>", *lines])

    @property
    def verdict(self) -> Verdict:
        """Drifting when any stream is; else not enough data, where that is asked for; else stable."""
        verdicts = [s.verdict for s in self.streams]
        if "drifting" in verdicts:
            return "drifting"
        few = [v == "not_enough_data" for v in verdicts]
        return "not_enough_data" if (any(few) if self.options.require_all else all(few)) else "stable"

    def features(self) -> dict[str, StreamCheck]:
        """One a feature: of a composite the part that says the most."""
        found: dict[str, StreamCheck] = {}
        for one in self.streams:
            best = found.get(one.feature)
            if best is None or _loudness(one) < _loudness(best):
                found[one.feature] = one
        return found


class Check:
    """Collects a batch; can be asked at any time.

    Args:
        reference: to compare with.
        options: what is asked.
    """

    def __init__(self, reference: Reference, options: Options) -> None:
        self._options = options
        self._reference = reference
        self._streams = tested(reference, len(reference.features), options.ignore).streams
        strata = of_reference(reference.strata)
        own = {s.name: s.strata for s in self._streams}
        self._plan = Plan({s.name: _binner(s) for s in self._streams}, strata, own)
        self._needs_times = any(size > 1 for size in own.values())
        self._counts = Counts(self._plan)
        self._dependence: Dependence | None = None
        self._timed: bool | None = None

    def add(self, rows: Rows) -> None:
        """Takes rows, in file order.

        Raises:
            UsageError: rows without times, and a reference that tells hours apart.
        """
        if self._timed is None:
            self._timed = rows.times is not None
            if self._needs_times and not self._timed:
                raise UsageError(
                    "the reference tells hours apart and the data have no times",
                    todo="name a --time-column, or build the reference with `features.season: none`",
                )
            if self._timed and self._reference.begins is not None and self._options.dependence is None:
                self._dependence = self._measure()
        batch = derived(rows.batch, self._reference.encoders)
        ids = self._counts.add(columns(batch, self._options.task), batch.rows, Says.of(batch), rows.times)
        if self._dependence is not None and rows.times is not None:
            self._dependence.add(ids, rows.times)

    def _measure(self) -> Dependence:
        phis = {
            s.name: Phi(s.name, s.counts, numeric=s.levels is None, levels=s.levels or ())
            for s in self._streams
            if s.phi_source != "set"
        }
        counts = {s.name: s.counts[None] if s.stratum_counts is None else s.stratum_counts for s in self._streams}
        rule = TickRule(self._options.tick_seconds)
        return Dependence(phis, counts, self._plan, TickSplitter(rule, self._plan.strata))

    def checked(self) -> Checked:
        """The answer for the rows so far."""
        phis = self._phis()
        found = [self._stream(s, phis[s.name]) for s in self._streams]
        enough = [one for one in found if one.change is not None and one.beyond is not None]
        changed = rejected([one.change.pvalue for one in enough if one.change is not None], self._options.fdr)
        beyond = rejected([one.beyond.pvalue for one in enough if one.beyond is not None], self._options.fdr)
        verdicts: dict[str, Verdict] = {
            one.stream.name: "drifting" if far else "changed" if any_ else "stable"
            for one, any_, far in zip(enough, changed, beyond, strict=True)
        }
        return Checked(
            self._reference,
            self._options,
            self._counts.rows,
            tuple(replace(one, verdict=verdicts.get(one.stream.name, "not_enough_data")) for one in found),
            phi_known=self._dependence is not None or self._options.dependence is not None,
        )

    def _phis(self) -> Mapping[str, float]:
        """How many rows count as one: the reference's, or the batch's own where it is more."""
        if self._options.dependence is not None:
            return {s.name: self._options.dependence for s in self._streams}
        if self._dependence is None:  # a sample has no order in which rows could follow one another
            return {s.name: 1.0 for s in self._streams}
        own = self._dependence.values(self._counts.rows)
        return {s.name: max(s.phi, own.get(s.name, 1.0)) for s in self._streams}

    def _stream(self, stream: FeatureReference, phi: float) -> StreamCheck:
        options, by_stratum = self._options, self._counts.of[stream.name]
        current = by_stratum.sum(0)
        rows = int(current.sum())
        least = options.latency_min_effect if stream.name == LATENCY else options.min_effect
        change = beyond = None
        if stream.stratum_counts is not None and rows:
            stream = replace(stream, counts=standardised(stream.stratum_counts, by_stratum))
        r, c = stream.counts / phi, current / phi
        if min(rows, stream.rows) >= FEWEST_ROWS:
            change, beyond = two_sample.both(stream.kind, r, c, least)
        size = exact_effect(stream.counts.astype(np.float64), current.astype(np.float64), nominal(r), phi)
        return StreamCheck(stream, rows, phi, current, change, beyond, size, "stable", least)


def rejected(pvalues: Sequence[float], fdr: float) -> NDArray[np.bool_]:
    """Which of the hypotheses fall at this false-discovery rate (Benjamini and Hochberg, 1995)."""
    p = np.asarray(pvalues, np.float64)
    order = np.argsort(p, kind="stable")
    good = np.flatnonzero(p[order] <= fdr * np.arange(1, len(p) + 1) / max(len(p), 1))
    found = np.zeros(len(p), np.bool_)
    if len(good):
        found[order[: good[-1] + 1]] = True
    return found


def standardised(reference: Ints, current: Ints) -> Ints:
    """Counts (K,) that the reference would have, had its strata (S, K) the weights that they have in the batch (S, K).

    As many rows as its error allows: an hour that the batch is full of and the reference poor in makes it few.
    """
    weight = current.sum(1) / current.sum()
    rows = np.maximum(reference.sum(1), 1)
    mixed = weight @ (reference / rows[:, None])
    effective = 1.0 / float((weight**2 / rows).sum())
    found: Ints = np.rint(effective * mixed / max(float(mixed.sum()), 1e-300)).astype(np.int64)
    return found


def _binner(stream: FeatureReference) -> Binner | StratumBinner:
    return stream.binner() if stream.stratum_edges is None else StratumBinner(stream.stratum_edges)


_LOUD: Final[Mapping[Verdict, int]] = {"drifting": 0, "changed": 1, "stable": 2, "not_enough_data": 3}


def _loudness(one: StreamCheck) -> tuple[int, float, float]:
    beyond, change = one.beyond, one.change
    return (_LOUD[one.verdict], 1.0 if beyond is None else beyond.pvalue, 1.0 if change is None else change.pvalue)


def check(reference: Reference, rows: Iterable[Rows], options: Options | None = None) -> Checked:
    """One batch against a reference."""
    found = Check(reference, options or Options())
    for part in rows:
        found.add(part)
    return found.checked()
