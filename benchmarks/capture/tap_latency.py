"""What the tap adds to a server's latency: on and off by turns inside one run, beside pairs in which nothing changes.

Separate runs with and without it differ by more than the tap does. So the tap's filter is swapped every 0.15 s, in
random order inside each pair of windows, 30 ms after an edge are left out, and the answer is the median of the pairs'
log ratios with the interval of its order statistics (95 %). A/A pairs, off and off, are in the same run. When they are
too noisy to tell, as many pairs again join the first: what was seen is not thrown away, and more pairs tell more.
"""

from __future__ import annotations

import array
import math
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.bars import Result, bar, versions
from benchmarks.capture.tap_bench import Capture, free_port, load, process, started_load, wait_for

WINDOW_S = 0.15
EDGE_S = 0.03
PAIRS = 96
"""Of each kind; a pair with an empty window does not count, and 90 must."""
LEAST = 90
ATTEMPTS = 3
RATE = 1_500.0
P50, P99, P50_AT_HALF = 0.05, 0.15, 0.10
WIDEST_P50, WIDEST_P99 = 0.10, 0.30
LONGEST_MS = 20.0
"""Of the median: a longer one is a queue, in which no effect can be seen."""
APP = "benchmarks.capture.tap_app:app"


@dataclass(frozen=True, slots=True)
class Window:
    """One of a pair: of the tap's or of the A/A pairs, which of the two, and its begin (monotonic)."""

    kind: str
    on: bool
    begin: float


@dataclass(frozen=True, slots=True)
class Shift:
    """Relative change of a quantile: the median of the pairs and its interval."""

    middle: float
    low: float
    high: float
    pairs: int

    def __str__(self) -> str:
        return f"{self.middle:+.1%} ({self.low:+.1%} to {self.high:+.1%})"

    @property
    def width(self) -> float:
        return self.high - self.low


@dataclass(frozen=True, slots=True)
class Effect:
    """One run: the tap's pairs and the A/A pairs, of both quantiles."""

    on50: Shift
    on99: Shift
    aa50: Shift
    aa99: Shift
    median_ms: float

    def words(self) -> str:
        return (
            f"p50 {self.on50}, p99 {self.on99}; A/A p50 {self.aa50}, p99 {self.aa99}; "
            f"{min(self.on50.pairs, self.aa50.pairs)} pairs, p50 is {self.median_ms:.2f} ms"
        )


@bar("tap: added latency, uvicorn with 2 workers, 1,500/s", "p50 within 5 %, p99 within 15 %")
def at_rate() -> Result:
    return measured(lambda _: RATE, lambda e: abs(e.on50.middle) <= P50 and abs(e.on99.middle) <= P99, p99=True)


@bar("tap: added latency, uvicorn with 2 workers, half of its maximum", "p50 within 10 %, p99 printed")
def at_half() -> Result:
    return measured(lambda port: maximum(port) / 2, lambda e: abs(e.on50.middle) <= P50_AT_HALF, p99=False)


def measured(rate_of: Callable[[int], float], holds: Callable[[Effect], bool], *, p99: bool) -> Result:
    """Measures until the A/A pairs of all attempts together are quiet enough, at most `ATTEMPTS` times; else short."""
    port = free_port()
    uvicorn = ("-m", "uvicorn", APP, "--port", str(port), "--workers", "2", "--log-level", "warning")
    with process(sys.executable, *uvicorn, "--no-access-log"):
        wait_for(port)
        time.sleep(1)  # the second worker
        rate = rate_of(port)
        pairs = Pairs()
        for attempt in range(1, ATTEMPTS + 1):
            pairs.join(measure(port, rate, seed=attempt))
            found = pairs.effect()
            told = enough(found, p99=p99)
            words = f"{rate:,.0f}/s: {found.words()}, attempt {attempt}"
            print(words, file=sys.stderr)
            if told:
                break
    verdict = "" if told else "; too noisy to tell"
    return Result(words + verdict, told and holds(found), versions("uvicorn"))


def enough(found: Effect, *, p99: bool) -> bool:
    """Whether this run could have shown the effect at all."""
    quiet = found.aa50.width <= WIDEST_P50 and (not p99 or found.aa99.width <= WIDEST_P99)
    return quiet and found.median_ms <= LONGEST_MS and min(found.on50.pairs, found.aa50.pairs) >= LEAST


def maximum(port: int) -> float:
    """Exchanges a second at saturation: a rate far beyond it, what was answered by the scheduled end."""
    log = np.frombuffer(load(port, 20_000.0, 1.5)).reshape(-1, 2)
    end = log[0, 0] + 1.5
    return float(np.count_nonzero(log.sum(axis=1) <= end) / 1.5)


class Pairs:
    """Log ratios, on to off, of p50 and p99: of the tap's pairs and of the A/A pairs."""

    def __init__(self) -> None:
        self._ratios: dict[str, list[tuple[float, float]]] = {"tap": [], "none": []}
        self._medians: list[float] = []

    def join(self, other: tuple[array.array[float], list[Window]]) -> None:
        """The pairs of one more run."""
        log, windows = other
        rows = np.frombuffer(log).reshape(-1, 2)
        rows = rows[np.argsort(rows[:, 0])]
        self._medians.append(float(np.median(rows[:, 1])) * 1e3)
        for first, second in zip(windows[::2], windows[1::2], strict=True):
            on, off = (first, second) if first.on else (second, first)
            a, b = _inside(rows, on.begin), _inside(rows, off.begin)
            if len(a) and len(b):
                p50, p99 = (math.log(np.quantile(a, q) / np.quantile(b, q)) for q in (0.5, 0.99))
                self._ratios[on.kind].append((p50, p99))

    def effect(self) -> Effect:
        """Of all pairs so far."""
        on50, on99, aa50, aa99 = (shift([r[i] for r in self._ratios[k]]) for k in ("tap", "none") for i in (0, 1))
        return Effect(on50, on99, aa50, aa99, max(self._medians))


def measure(port: int, rate: float, *, seed: int) -> tuple[array.array[float], list[Window]]:
    """One run with both kinds of pairs, in random order: the generator's log and the windows."""
    draw = random.Random(seed)
    kinds = [kind for kind in ("tap", "none") for _ in range(PAIRS)]
    draw.shuffle(kinds)
    capture = Capture((), interfaces=("lo",))
    windows: list[Window] = []
    try:
        with started_load(port, rate, 2 * len(kinds) * WINDOW_S + 3) as finish:
            time.sleep(2)  # the generator's start
            for kind in kinds:
                for on in draw.sample((True, False), 2):
                    capture.order((port,) if on and kind == "tap" else ())
                    windows.append(Window(kind, on, time.monotonic()))
                    time.sleep(WINDOW_S)
            return finish(), windows
    finally:
        capture.close()


def _inside(rows: NDArray[np.float64], begin: float) -> NDArray[np.float64]:
    """Latencies of what was scheduled in a window, its edges left out."""
    low, high = np.searchsorted(rows[:, 0], (begin + EDGE_S, begin + WINDOW_S))
    return rows[low:high, 1]


def shift(logs: list[float]) -> Shift:
    """Median and the order statistics that hold the true one with 95 %: n/2 -+ 0.98 sqrt(n)."""
    ordered = np.sort(logs)
    n = len(ordered)
    reach = 0.98 * math.sqrt(n)
    low, high = max(0, math.floor(n / 2 - reach) - 1), min(n - 1, math.ceil(n / 2 + reach))
    middle, least, most = (math.expm1(v) for v in (np.median(ordered), ordered[low], ordered[high]))
    return Shift(middle, least, most, n)
