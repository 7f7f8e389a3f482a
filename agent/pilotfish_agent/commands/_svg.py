"""The little of SVG that a picture of numbers needs: escaped text, coordinates, axes of round numbers and moments."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final
from xml.sax.saxutils import escape, quoteattr

_FORBIDDEN: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_TIME_STEPS: Final = (
    *(1, 2, 5, 10, 30),
    *(_MINUTE * n for n in (1, 2, 5, 10, 30)),
    *(_HOUR * n for n in (1, 2, 4, 6, 12)),
    *(_DAY * n for n in (1, 2, 3, 7, 14, 28, 91, 182, 364, 728, 1820)),
)


def text_of(value: object) -> str:
    """Foreign text for an element's content: escaped, without characters that XML forbids."""
    return escape(_FORBIDDEN.sub("\ufffd", str(value)))


def element(name: str, *inside: str, **attributes: object) -> str:
    """``<name ...>inside</name>``; an underscore of an attribute's name stands for a hyphen, at the end for nothing."""
    own = "".join(
        f" {key.rstrip('_').replace('_', '-')}={quoteattr(_FORBIDDEN.sub('', _plain(value)))}"
        for key, value in attributes.items()
    )
    return f"<{name}{own}>{''.join(inside)}</{name}>" if inside else f"<{name}{own}/>"


def _plain(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


def path(points: Iterable[tuple[float, float]], *, closed_at: float | None = None) -> str:
    """The ``d`` of a line through the points; ``closed_at``: an area down (or up) to that height."""
    kept = list(_without_flat(points))
    if not kept:
        return ""
    if closed_at is not None:
        kept = [(kept[0][0], closed_at), *kept, (kept[-1][0], closed_at)]
    return (
        "M"
        + "L".join(f"{_plain(float(x))},{_plain(float(y))}" for x, y in kept)
        + ("Z" if closed_at is not None else "")
    )


def _without_flat(points: Iterable[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Leaves out points inside a level stretch: most of a calm stream is one."""
    held: tuple[float, float] | None = None
    height: float | None = None
    for x, y in points:
        if height is not None and abs(y - height) < 0.05:
            held = (x, height)
            continue
        if held is not None:
            yield held
        yield x, y
        height, held = y, None
    if held is not None:
        yield held


def round_steps(low: float, high: float, most: int) -> list[float]:
    """At most ``most`` + 1 multiples of 1, 2 or 5 times a power of ten from ``low`` to ``high``."""
    raw = max(high - low, 1e-9) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * n for n in (1, 2, 5, 10) if power * n >= raw * (1 - 1e-9))
    return [step * i for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def moments(low: float, high: float, most: int) -> list[tuple[float, str]]:
    """At most ``most`` + 1 round moments (UTC) from ``low`` to ``high`` with their words; the date where it is new."""
    raw = max(high - low, 1.0) / most
    step = next((n for n in _TIME_STEPS if n >= raw), _TIME_STEPS[-1] * math.ceil(raw / _TIME_STEPS[-1]))
    found: list[tuple[float, str]] = []
    day = ""
    for i in range(math.ceil(low / step), math.floor(high / step) + 1):
        at = datetime.fromtimestamp(i * step, UTC)
        date = f"{at:%b} {at.day}" + (f" {at:%Y}" if step >= 91 * _DAY else "")
        if step >= _DAY:
            words = date
        else:
            clock = f"{at:%H:%M:%S}" if step < _MINUTE else f"{at:%H:%M}"
            words = clock if date == day else f"{date}, {clock}"
        day = date
        found.append((float(i * step), words))
    return found
