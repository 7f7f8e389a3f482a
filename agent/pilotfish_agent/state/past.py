"""What a `History` gives: which series there are, their points, and what they added up to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from pilotfish_agent.state.rings import Minutes


class Series(NamedTuple):
    """What a series is.

    Attributes:
        id: stays the same over restarts.
        metric, labels: as exported; quantiles and means have one label more.
        unit: of its values; of a rate, a second.
        kind: gauge, rate, quantile or mean.
    """

    id: str
    metric: str
    labels: dict[str, str]
    unit: str
    kind: str


class Past(NamedTuple):
    """Some series over time; a row of values each, in the order of ``ids``."""

    ids: Sequence[str]
    at: Any
    values: Any
    minutes: Minutes


class Rise(NamedTuple):
    """What a series added up to over some time: of a counter by how much it rose, of a gauge its sum over time.

    Attributes:
        labels: as exported.
        amount: of the unit, or of the unit times seconds.
        seconds: of the time in which it is known.
    """

    labels: dict[str, str]
    amount: float
    seconds: float
