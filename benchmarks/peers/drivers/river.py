"""River: ADWIN, KSWIN and Page-Hinkley as they come. KSWIN sees a part: it takes .5 ms a value."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from river import drift

from benchmarks.peers.protocol import Sequential, main


def fresh(make: Callable[[], drift.base.DriftDetector]) -> Callable[[float], bool]:
    detector = make()

    def update(value: float) -> bool:
        detector.update(value)
        return bool(detector.drift_detected)

    return update


DETECTORS = {
    "river ADWIN": Sequential(partial(fresh, drift.ADWIN)),
    "river Page-Hinkley": Sequential(partial(fresh, drift.PageHinkley)),
    "river KSWIN": Sequential(partial(fresh, partial(drift.KSWIN, seed=1)), stable_rows=4_000, before=500, columns=10),
}

if __name__ == "__main__":
    main(DETECTORS)
