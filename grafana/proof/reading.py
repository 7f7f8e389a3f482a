"""A drawn text back to a number: Grafana's unit formats read in reverse, with the rounding that the text admits."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

NUMBER: Final = re.compile(r"([-\u2212]?)([\d,]*\.?\d+)(?:e([+-]?\d+))?")
AGO: Final = re.compile(r"(a few|an?|\d+) (seconds|minutes?|hours?|days?) ago")
TIMES: Final = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0} | {
    name + plural: seconds
    for name, seconds in {
        "min": 60.0, "hour": 3600.0, "day": 86400.0, "week": 604800.0, "month": 2629800.0, "year": 31536000.0,
    }.items()
    for plural in ("", "s")
}  # fmt: skip
COUNTS: Final = {"": 1.0, "K": 1e3, "M": 1e6, "Mil": 1e6, "B": 1e9, "Bil": 1e9, "G": 1e9, "T": 1e12, "Tri": 1e12}
SMALL: Final = {"m": 1e-3, "µ": 1e-6, "n": 1e-9}
BINARY: Final = {"": 1.0} | {f"{letter}i": 1024.0**n for n, letter in enumerate("KMGTP", 1)}
DECIMAL: Final = {"": 1.0} | {letter: 1000.0**n for n, letter in enumerate(("k", "M", "G", "T", "P"), 1)}
PREFIXED: Final = {"watt": "W", "joule": "J", "hertz": "Hz"}
"""Units of SI, with any prefix before them."""
SUFFIXED: Final = {
    "reqps": "req/s", "ops": "ops/s", "cps": "c/s", "wps": "wr/s", "rps": "rd/s", "iops": "io/s", "eps": "evt/s",
    "mps": "msg/s", "recps": "rec/s", "rowsps": "rows/s", "cpm": "c/m", "opm": "ops/m",
}  # fmt: skip
"""Units that Grafana counts in thousands and that have a text of their own."""


@dataclass(frozen=True, slots=True)
class Read:
    """A number as read, with half a unit of its last digit."""

    value: float
    slack: float

    def is_(self, value: float) -> bool:
        """Whether ``value``, rounded as this was, gives this."""
        if math.isinf(value) or math.isnan(value):
            return False
        # Rounding in binary: Grafana may round a tie the other way, so a little more than half is allowed.
        return abs(self.value - value) <= self.slack * 1.02 + 1e-12 * abs(value)


class UnreadableError(Exception):
    """A text that is no number of this unit."""


def read(text: str, unit: str, now: float = math.nan) -> Read:
    """The number that a text of Grafana shows; of a time that is told as "3 minutes ago", with the end as ``now``.

    Raises:
        UnreadableError: the text is not a number followed by what this unit writes.
    """
    if unit == "dateTimeFromNow":
        return _ago(text.strip(), now)
    found = NUMBER.match(text.strip())
    if found is None:
        raise UnreadableError(f"{text!r} is no number")
    digits, exponent = found[2].replace(",", ""), int(found[3] or 0)
    factor = _factor(text.strip()[found.end() :].strip(), unit)
    scale = factor * 10.0**exponent
    decimals = len(digits.partition(".")[2])
    sign = -1.0 if found[1] else 1.0
    return Read(sign * float(digits) * scale, 0.5 * 10.0**-decimals * abs(scale))


def _ago(text: str, now: float) -> Read:
    """Milliseconds of the epoch, by the library's own steps: up to 45 s, 90 s, then rounded minutes, hours, days."""
    found = AGO.fullmatch(text)
    if found is None:
        raise UnreadableError(f"{text!r} is no time that has gone by")
    if found[1] == "a few":
        return Read((now - 22.5) * 1e3, 23e3)
    step = {"minute": 60.0, "hour": 3600.0, "day": 86400.0}[found[2].removesuffix("s")]
    if found[1] in {"a", "an"}:
        return Read((now - 1.1 * step) * 1e3, 0.45 * step * 1e3)
    return Read((now - float(found[1]) * step) * 1e3, 0.5 * step * 1e3)


def _factor(rest: str, unit: str) -> float:
    """What the text after the digits multiplies them by."""
    known = _factors(unit)
    if rest not in known:
        raise UnreadableError(f"{rest!r} is not how the unit {unit!r} ends; expected one of {', '.join(sorted(known))}")
    return known[rest]


def _factors(unit: str) -> Mapping[str, float]:
    if unit in {"percent", "percentunit"}:
        return {"%": 0.01 if unit == "percentunit" else 1.0}
    if unit in {"s", "ms", "µs", "ns"}:
        return {word: seconds / TIMES[unit] for word, seconds in TIMES.items()}
    if unit in {"bytes", "binBps"}:
        return {f"{p}B{'/s' if unit == 'binBps' else ''}": n for p, n in BINARY.items()}
    if unit in {"decbytes", "Bps"}:
        return {f"{p}B{'/s' if unit == 'Bps' else ''}": n for p, n in DECIMAL.items()}
    if unit in SUFFIXED or unit.startswith("suffix:"):
        words = SUFFIXED.get(unit) or unit.removeprefix("suffix:").strip()
        plain = unit.startswith("suffix:")
        return {f"{p} {words}".strip(): n for p, n in COUNTS.items() if not (plain and p)} | {words: 1.0}
    if unit in PREFIXED:
        return {p + PREFIXED[unit]: n for p, n in (DECIMAL | SMALL).items()}
    if unit == "celsius":
        return {"°C": 1.0}
    if unit == "short":
        return COUNTS | SMALL
    return {"": 1.0}
