"""Frouros: its tests at p < .05, and its PSI over the conventional .1."""

from __future__ import annotations

from typing import Any

from frouros.detectors.data_drift import PSI, ChiSquareTest, KSTest

from benchmarks.peers.protocol import Judge, Windowed, each, main
from benchmarks.peers.worlds import Kind, Values

LEVEL, FAR = 0.05, 0.1


def fitted(make: Any, reference: Values) -> list[Any]:
    """One detector a column."""
    detectors = [make() for _ in reference.T]
    for detector, column in zip(detectors, reference.T, strict=True):
        detector.fit(X=column)
    return detectors


def tests(reference: Values, kind: Kind) -> Judge:
    detectors = fitted(KSTest if kind == "numeric" else ChiSquareTest, reference)
    return each(lambda w: [d.compare(X=x)[0].p_value < LEVEL for d, x in zip(detectors, w.T, strict=True)])


def psi(reference: Values, kind: Kind) -> Judge | None:
    if kind == "categorical":
        return None
    detectors = fitted(PSI, reference)
    return each(lambda w: [d.compare(X=x)[0].distance > FAR for d, x in zip(detectors, w.T, strict=True)])


DETECTORS = {"frouros KS, chi-square p < .05": Windowed(tests), "frouros PSI > .1": Windowed(psi)}

if __name__ == "__main__":
    main(DETECTORS)
