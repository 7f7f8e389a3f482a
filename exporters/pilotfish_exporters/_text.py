"""Samples as one text in the exposition format 0.0.4, without the process's own: for a file or a gateway."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from prometheus_client import exposition
from prometheus_client.metrics_core import Metric as Family

from pilotfish_core.metrics import Sample
from pilotfish_exporters import _page


class _Families:
    """A collector of families."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = tuple(families)

    def collect(self) -> tuple[Family, ...]:
        return self._families


def text(samples: Iterable[Sample]) -> bytes:
    """The samples, families in name order; what cannot be shown is left out, as on the page."""
    groups = _page.collect(samples, (), Counter())
    return exposition.generate_latest(_Families(_page.family(group, openmetrics=False) for group in groups))
