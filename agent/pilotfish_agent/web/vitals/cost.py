"""What one call takes: CPU, GPU and energy over calls and tokens of the last five minutes.

The same sums as the recording rules of `pilotfish rules` (group pilotfish-efficiency).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pilotfish_agent.web.numbers import Numbers, duration, joules, share
from pilotfish_agent.web.vitals._vital import Vital


def vitals(numbers: Numbers) -> Iterator[Vital]:
    """Nothing where no call was seen: a cost without calls is no cost of a call."""
    watts = numbers.rate("process_energy_joules_total")
    if watts is not None:
        yield Vital("Power", f"{watts:.3g} W", _sources(numbers))
    calls = numbers.risen("requests_total")
    tokens = [n for side in ("input", "output") if (n := numbers.risen(f"{side}_tokens_total")) is not None]
    yield from _each(numbers, "per call", calls)
    yield from _each(numbers, "per 1,000 tokens", sum(tokens) / 1000)


def _each(numbers: Numbers, of_what: str, count: float | None) -> Iterator[Vital]:
    used: tuple[tuple[str, float | None, Callable[[float], str]], ...] = (
        ("CPU time", numbers.risen("process_cpu_seconds_total"), duration),
        ("GPU time", numbers.risen("process_gpu_seconds_total"), duration),
        ("Energy", numbers.risen("process_energy_joules_total"), joules),
    )
    for name, amount, words in used:
        each = share(amount, count)
        if each is not None:
            yield Vital(f"{name} {of_what}", words(each))


def _sources(numbers: Numbers) -> str:
    """``CPU 12 W by cpu_time``: what it is the sum of, and how it is attributed."""
    parts = []
    for source in ("cpu", "gpu"):
        watts = numbers.rate("process_energy_joules_total", source=source)
        if watts is not None:
            how = ", ".join(numbers.values("process_energy_attribution_info", "method", source=source))
            parts.append(f"{source.upper()} {watts:.3g} W" + f" by {how.replace('_', ' ')}" * bool(how))
    return ", ".join(parts)
