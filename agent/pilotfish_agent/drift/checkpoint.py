"""What a watch knows, as bytes, and back (docs/statistics.md, section 12).

The evidence of a stream belongs to its reference, the budget, F, its dependence and layout: `comparison.stream_keys`.
What does not fit, or is damaged, is left out; evidence is then zero, which is earlier, never newer. Counters of
Prometheus are not in it: none is restored from an older value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift.held import Held
from pilotfish_agent.drift.pack import DamagedError, pack, unpack
from pilotfish_agent.drift.reference import Reference
from pilotfish_core.errors import DataError

if TYPE_CHECKING:
    from pilotfish_agent.drift.standing import Standing

VERSION: Final = 2


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint that was read.

    Attributes:
        held: the evidence.
        phis: dependence that was measured.
        last_run: epoch seconds.
        given: id of the reference that the user had given, None where none was.
        reference: the one in force where it is not the given one: learnt, or accepted.
        learning: of the learner, None where it had ended.
        happenings: what had happened.
    """

    held: Held
    phis: dict[str, float]
    last_run: float | None
    given: str | None
    reference: Reference | None
    learning: dict[str, Any] | None
    happenings: Any


def save(standing: Standing) -> bytes | None:
    """What stands after its last closed tick; rows of the open tick are not in it. None where there is no evidence."""
    comparison = standing.comparison
    if comparison is None or comparison.judge is None:
        return None
    held = Held.of(comparison, comparison.judge, standing.measured)
    target, given = standing.target, standing.given
    learning, counted = (None, {}) if standing.learner is None else standing.learner.dump()
    meta: dict[str, Any] = {
        "version": VERSION,
        "model": standing.model,
        "phis": standing.phis,
        "last_run": standing.last_run,
        "given": None if given is None else given.id,
        "reference": None if target is None or target is given else target.to_json(),
        "learning": learning,
        "keys": list(held.keys),
        "layouts": list(held.layouts),
        "judge": held.judge,
        "sizes": held.sizes,
        "measured": held.measured,
        "happenings": standing.happenings.dump(),
    }
    arrays = held.arrays | {f"learn.{name}": array for name, array in counted.items()}
    return pack(meta, {name: _small(array) for name, array in arrays.items()})


def _small(array: NDArray[Any]) -> NDArray[Any]:
    """float32 and int32: evidence to 1e-6 of its logarithm, which decides nothing."""
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    return array.astype(np.int32 if not array.size or np.abs(array).max() < 2**31 else np.int64)


def read(content: bytes, standing: Standing) -> Saved | None:
    """The checkpoint if it is whole and of the model of ``standing``, else None."""
    try:
        meta, arrays = unpack(content)
        if meta["version"] != VERSION or meta["model"] != standing.model:
            return None
        held = Held(meta["keys"], meta["layouts"], meta["judge"], arrays, meta["sizes"], meta["measured"])
        held.check()
        text = meta["reference"]
        reference = None if text is None else Reference.from_json(text)
        learning = None if meta["learning"] is None else dict(meta["learning"])
        return Saved(held, dict(meta["phis"]), meta["last_run"], meta["given"], reference, learning, meta["happenings"])
    except (DamagedError, DataError, KeyError, TypeError, ValueError, AttributeError):
        return None
