"""What a watch knows, as bytes, and back (docs/statistics.md, section 12).

A checkpoint belongs to one reference, budget, F, dependence and layout: `tables.cache_key` names them together. One
that does not fit, or is damaged, is refused as a whole; evidence is then zero, which is earlier, never newer. Counters
of Prometheus are not in it: none is restored from an older value.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift.comparison import table_request
from pilotfish_agent.drift.judge import WHOLE, Judge
from pilotfish_agent.drift.latch import Entry, Latch, rule
from pilotfish_agent.drift.pack import DamagedError, pack, unpack
from pilotfish_agent.drift.reference import Reference
from pilotfish_agent.drift.tested import Tested, tested
from pilotfish_agent.drift.tick_clock import Tick
from pilotfish_core.errors import DataError

if TYPE_CHECKING:
    from pilotfish_agent.drift.watch import DriftWatch

VERSION: Final = 1
Arrays = dict[str, NDArray[Any]]
_LOGS: Final = ("evidence", "cusum")  # up to 1e250: as logarithms they fit float32 (section 12)


def save(watch: DriftWatch) -> bytes | None:
    """The watch after its last closed tick; rows of the open tick are not in it.

    Returns:
        None where there is no evidence yet, or none under the dependence that has just been measured.
    """
    comparison = watch.comparison
    if comparison is None or comparison.judge is None:
        return None
    request = table_request(comparison.streams, watch.config, watch.phis)
    if any(t.phi != s.phi for t, s in zip(comparison.judge.tables, request.specs, strict=True)):
        return None
    meta: dict[str, Any] = {"version": VERSION, "model": watch.model, "phis": watch.phis, "last_run": watch.last_run}
    arrays: Arrays = {}
    meta |= {"key": request.key, "judge": _judge(comparison.judge, arrays)}
    arrays |= {f"window.{name}": array for name, array in comparison.window.dump().items()}
    if watch.learner is not None:
        learner = watch.learner
        meta["learnt"] = {"reference": comparison.streams.reference.to_json(), "since": learner.since}
    return pack(meta, {name: _small(array) for name, array in arrays.items()})


def _small(array: NDArray[Any]) -> NDArray[Any]:
    """float32 and int32: evidence to 1e-6 of its logarithm, which decides nothing."""
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    return array.astype(np.int32 if not array.size or np.abs(array).max() < 2**31 else np.int64)


def _judge(judge: Judge, arrays: Arrays) -> dict[str, Any]:
    with np.errstate(divide="ignore"):
        for name, value in judge.engine.state().items():
            arrays[f"engine.{name}"] = np.log(value) if name in _LOGS else np.asarray(value)
    arrays["scores"] = judge.scores
    latches = [_latch(f, level, latch, arrays) for (f, level), latch in judge.latches.items()]
    history = judge.history
    return {
        "history": history.dump(),
        "ticks": history.ticks,
        "rows": history.rows,
        "tick": asdict(judge.tick),
        "latches": latches,
    }


def _latch(f: int, level: int, latch: Latch, arrays: Arrays) -> dict[str, Any]:
    rules = []
    for g, one in latch.rules.items():
        prefix = f"rule.{f}.{level}.{g}."
        arrays[prefix + "held"] = one.held
        for name, value in one.resolve.state().items():
            arrays[prefix + name] = np.asarray(value)
        rules.append({"stream": g, "rows": one.rows, "holds": one.holds, "run": one.run})
    return {
        "f": f,
        "level": level,
        "entry": asdict(latch.entry),
        "severity": latch.severity,
        "crossed": latch.crossed,
        "checked_rows": latch.checked_rows,
        "critical": latch.critical,
        "rules": rules,
    }


class Saved:
    """A checkpoint that was read and fits; the evidence goes into a judge once its tables are there.

    Attributes:
        streams: the tested streams it speaks of.
        phis: dependence that was measured.
        last_run: epoch seconds.
        learnt: the provisional reference of the earlier run, None where one is given.
        since: of the learner.
    """

    def __init__(self, meta: dict[str, Any], arrays: Arrays, given: Tested | None, limit: int) -> None:
        self._meta = meta
        self._arrays = arrays
        self._parts: dict[str, Arrays] = {}
        for name, array in arrays.items():
            prefix, _, rest = name.rpartition(".")
            self._parts.setdefault(prefix, {})[rest] = array
        found = meta.get("learnt")
        self.learnt = None if found is None else Reference.from_json(found["reference"])
        self.since: float | None = None if found is None else found["since"]
        streams = given if self.learnt is None else tested(self.learnt, limit)
        if streams is None:
            raise DamagedError("no reference")
        self.streams = streams
        self.phis: dict[str, float] = meta["phis"]
        self.last_run: float | None = meta["last_run"]
        self.key: str = meta["key"]
        self._check()

    def _check(self) -> None:
        """Refuses arrays and latches that do not speak of these streams."""
        f, window = len(self.streams.streams), self.part("window")
        shapes = [window["counts"].shape, window["squares"].shape, window["seen"].shape, self._arrays["scores"].shape]
        latches = self._meta["judge"]["latches"]
        if shapes != [(self.streams.width,), (f,), (f,), (2, f)]:
            raise DamagedError(f"shapes {shapes}")
        if not all(WHOLE <= one["f"] < f and one["level"] in (0, 1) for one in latches):
            raise DamagedError("a latch of no stream")

    def part(self, prefix: str) -> Arrays:
        """The arrays whose names are ``prefix.`` and one more word, by that word."""
        return dict(self._parts.get(prefix, {}))

    def into(self, judge: Judge) -> None:
        """Evidence, latches and history as they were.

        Raises:
            ValueError, KeyError, TypeError: of another version, though it looks alike.
        """
        saved = self._meta["judge"]
        engine = {n: np.exp(a.astype(np.float64)) if n in _LOGS else a for n, a in self.part("engine").items()}
        judge.engine.restore(engine)
        judge.scores = self._arrays["scores"].astype(np.float64)
        judge.history.load(saved["history"], saved["ticks"], saved["rows"])
        judge.tick = Tick(**saved["tick"])
        for one in saved["latches"]:
            judge.latches[one["f"], one["level"]] = self._latch(judge, one)

    def _latch(self, judge: Judge, one: dict[str, Any]) -> Latch:
        f, level, rules = one["f"], one["level"], {}
        for r in one["rules"]:
            made = rule(judge.tables[r["stream"]], r["run"], level)
            state = self.part(f"rule.{f}.{level}.{r['stream']}")
            made.held[:] = state.pop("held")
            made.rows, made.holds = r["rows"], r["holds"]
            made.resolve.restore(state)
            rules[r["stream"]] = made
        entry = Entry(**one["entry"])
        rows, checked = int(one["crossed"]), int(one["checked_rows"])
        return Latch(entry.feature, level, entry, one["severity"], rows, rules, checked, bool(one["critical"]))


def read(content: bytes, watch: DriftWatch, limit: int) -> Saved | None:
    """The checkpoint if it is whole and fits ``watch`` (model, reference or none, budget, dependence, F), else None."""
    try:
        meta, arrays = unpack(content)
        if meta["version"] != VERSION or meta["model"] != watch.model:
            return None
        if ("learnt" in meta) != (watch.learner is not None):
            return None
        saved = Saved(meta, arrays, None if watch.comparison is None else watch.comparison.streams, limit)
        fits = saved.key == table_request(saved.streams, watch.config, saved.phis).key
    except (DamagedError, DataError, KeyError, TypeError, ValueError, AttributeError):
        return None
    return saved if fits else None
