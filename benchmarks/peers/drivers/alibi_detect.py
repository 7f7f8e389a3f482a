"""Alibi Detect: TabularDrift as it comes, .05 shared by the columns of a frame (Bonferroni)."""

from __future__ import annotations

from alibi_detect.cd import TabularDrift

from benchmarks.peers.protocol import Judge, Verdicts, Windowed, each, main
from benchmarks.peers.worlds import COLUMNS, Kind, Values

LEVEL = 0.05


def tabular(reference: Values, kind: Kind) -> Judge:
    levels = dict.fromkeys(range(reference.shape[1])) if kind == "categorical" else None
    detector = TabularDrift(reference, categories_per_feature=levels)

    def decide(window: Values) -> Verdicts:
        found: Verdicts = detector.predict(window)["data"]["p_val"] < LEVEL / COLUMNS
        return found

    return each(decide)


DETECTORS = {"alibi-detect TabularDrift": Windowed(tabular)}

if __name__ == "__main__":
    main(DETECTORS)
