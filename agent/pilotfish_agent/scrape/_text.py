"""Reads Prometheus text as real servers write it: a line that is not understood costs that line, not the page.

`prometheus_client.parser` is the oracle of the tests, not the reader: it gives up the whole page at the first strange
line, and reads every series where a rule wants a few (benchmarks/capture/scrape_cost.py has the numbers).
"""

from __future__ import annotations

import math
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass

Series = tuple[dict[str, str], float]
_NAME = re.compile(r"[ \t]*([a-zA-Z_:][a-zA-Z0-9_:]*)")
_LINE = re.compile(
    r"[ \t]*[a-zA-Z_:][a-zA-Z0-9_:]*[ \t]*"
    r'(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\})?'  # labels: each character can be read in one way only, so linear time
    r"[ \t]*([^ \t#]+)(?:[ \t]|$)"
)
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_.:]*)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(.)")
_MAX_LABELS = 64


@dataclass(frozen=True, slots=True)
class Page:
    """What was read.

    Attributes:
        series: name -> its series, of the wanted names only.
        unread: lines that could not be understood.
    """

    series: Mapping[str, list[Series]]
    unread: int


def read(text: str, wanted: Container[str]) -> Page:
    """The series of the ``wanted`` names; never raises. A NaN is no value and left out."""
    series: dict[str, list[Series]] = {}
    unread = 0
    for line in text.split("\n"):
        if not line or line[0] == "#" or line.isspace():
            continue
        found = _NAME.match(line)
        if found is None:
            unread += 1
            continue
        name = found[1]
        if name not in wanted:
            continue
        one = _series(line)
        if one is None:
            unread += 1
        elif not math.isnan(one[1]):
            series.setdefault(name, []).append(one)
    return Page(series, unread)


def names(text: str) -> set[str]:
    """Every name on the page."""
    return {found[1] for line in text.split("\n") if (found := _NAME.match(line)) is not None}


def _series(line: str) -> Series | None:
    found = _LINE.match(line)
    if found is None:
        return None
    try:
        value = float(found[2])
    except ValueError:
        return None
    labels: dict[str, str] = {}
    for key, text in _LABEL.findall(found[1] or ""):
        if len(labels) >= _MAX_LABELS:
            return None
        labels[key] = _ESCAPE.sub(_unescape, text) if "\\" in text else text
    return labels, value


def _unescape(found: re.Match[str]) -> str:
    return "\n" if found[1] == "n" else found[1]
