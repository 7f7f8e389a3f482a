"""Metric declarations: what Prometheus' own lint would refuse is refused where it is declared."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pilotfish_core.metrics import Metric, Sample, families

GOOD: dict[str, Any] = {"name": "pilotfish_things", "kind": "gauge", "help": "Things."}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "things"}, "pilotfish_<what>_<unit>"),
        ({"name": "pilotfish_Things"}, "lower case"),
        ({"name": "pilotfish_things\n"}, "lower case"),
        ({"name": "pilotfish_things_total"}, "exactly the counters end in _total"),
        ({"kind": "counter"}, "exactly the counters end in _total"),
        ({"help": ""}, "full stop"),
        ({"help": "Things"}, "full stop"),
        ({"labels": ("a-b",)}, "bad label name 'a-b'"),
        ({"labels": ("__name__",)}, "bad label name"),
        ({"kind": "histogram"}, "exactly the histograms have buckets"),
        ({"buckets": (1.0,)}, "exactly the histograms have buckets"),
        ({"kind": "histogram", "buckets": (2.0, 1.0)}, "finite and ascending"),
        ({"kind": "histogram", "buckets": (1.0, 1.0)}, "finite and ascending"),
        ({"kind": "histogram", "buckets": (1.0, math.inf)}, "finite and ascending"),
        ({"kind": "histogram", "buckets": (1.0, math.nan)}, "finite and ascending"),
    ],
)
def test_bad_declarations(change: dict[str, Any], message: str) -> None:
    """Each is refused with the rule."""
    with pytest.raises(ValueError, match=message):
        Metric(**(GOOD | change))


@pytest.mark.parametrize(
    "change",
    [{}, {"name": "pilotfish_things_total", "kind": "counter"}, {"kind": "histogram", "buckets": (0.1, 1.0)}],
    ids=["gauge", "counter", "histogram"],
)
def test_good_declarations(change: dict[str, Any]) -> None:
    """One of each kind is accepted and is a value: equal and hashable."""
    assert len({Metric(**(GOOD | change)), Metric(**(GOOD | change))}) == 1


def test_families() -> None:
    """Samples of one metric come together, in name order, and keep their own order inside."""
    a, b = Metric("pilotfish_a", "gauge", "A.", ("x",)), Metric("pilotfish_b", "gauge", "B.")
    samples = (Sample(b, (), 1.0), Sample(a, ("2",), 2.0), Sample(a, ("1",), 3.0))
    found = families(samples)
    assert [f.metric for f in found] == [a, b]
    assert [s.labels for s in found[0].samples] == [("2",), ("1",)]
    assert families(()) == ()
