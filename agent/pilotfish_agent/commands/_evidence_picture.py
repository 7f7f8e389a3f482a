"""The picture of a replay: evidence over time, one band a stream, as an SVG of its own (light and dark)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from pilotfish_agent.commands._svg import element, moments, path, round_steps, text_of
from pilotfish_agent.drift.entry import Entry
from pilotfish_agent.drift.explain import moment, shown
from pilotfish_agent.drift.latch import ALARM, NOTICE
from pilotfish_agent.drift.layout import Floats
from pilotfish_agent.drift.trace import Trace

BANDS: Final = 24
"""Streams drawn at most: those that alarmed, then those with the most evidence."""
_WIDTH, _LEFT, _RIGHT = 1050.0, 190.0, 205.0
_TOP, _BAND, _GAP, _BOTTOM = 108.0, 56.0, 14.0, 46.0
_CEILING: Final = 1.5
"""Evidence of so many times the line fills a band; what is above it is more than enough."""
_NAME: Final = 24  # characters of a name that fit left of the bands
_STYLE: Final = """
svg{--bg:#fff;--ink:#16222a;--soft:#55646d;--line:#dde4e7;--band:#f4f6f7;--any:#a9c7d4;--now:#0b6684;--bad:#b3261e;
--warn:#8f5600;background:var(--bg);font:13px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
@media (prefers-color-scheme:dark){svg{--bg:#0f161a;--ink:#e5ecef;--soft:#9fb1ba;--line:#2f3f48;--band:#172127;
--any:#35515e;--now:#63bddb;--bad:#ff8b82;--warn:#f0b350}}
text{fill:var(--ink)}.title{font-size:18px;font-weight:600}.soft{fill:var(--soft);font-size:12px}
.name{font-weight:600}.end{text-anchor:end}.middle{text-anchor:middle}.back{fill:var(--bg)}.band{fill:var(--band);opacity:.8}
.grid{stroke:var(--line)}.limit{stroke:var(--bad);stroke-dasharray:4 3;opacity:.75}
.any{fill:var(--any);opacity:.55}.area{fill:var(--now);opacity:.22}
.line{fill:none;stroke:var(--now);stroke-width:1.6;stroke-linejoin:round}
.over{fill:none;stroke:var(--bad);stroke-width:2;stroke-linejoin:round}.drift{fill:var(--bad);opacity:.16}
.alarm{fill:var(--bad)}.notice{fill:var(--warn)}.began{stroke:var(--bad);stroke-dasharray:1 3;stroke-width:1.5}
.bad{fill:var(--bad);font-weight:600}
"""


@dataclass(frozen=True, slots=True)
class Axis:
    """What lies from left to right: moments, or rows where a log has no times."""

    low: float
    high: float
    timed: bool

    def x(self, value: float) -> float:
        """Where it lies, pixels."""
        share = (value - self.low) / max(self.high - self.low, 1e-9)
        return _LEFT + min(max(share, 0.0), 1.0) * (_WIDTH - _LEFT - _RIGHT)

    def ticks(self) -> list[tuple[float, str]]:
        """Where it is labelled, and with what."""
        if self.timed:
            return moments(self.low, self.high, 8)
        return [(row, f"{row:,.0f}") for row in round_steps(self.low, self.high, 8)]


class Spans:
    """From which moment to which a stream was in alarm; rows where a log has no times."""

    def __init__(self) -> None:
        self._open: dict[str, float] = {}
        self._closed: list[tuple[str, float, float]] = []

    def add(self, entry: Entry, *, timed: bool) -> None:
        """A transition."""
        at = entry.ts if timed else float(entry.row)
        if entry.kind == "alarm":
            self._open.setdefault(entry.feature, at)
        elif entry.kind == "resolved" and entry.level == "alarm" and entry.feature in self._open:
            self._closed.append((entry.feature, self._open.pop(entry.feature), at))

    def of(self, name: str, end: float) -> Iterator[tuple[float, float]]:
        """Those of a stream; ``end``: of the log, for an alarm that lasts."""
        yield from ((begin, last) for feature, begin, last in self._closed if feature == name)
        if name in self._open:
            yield self._open[name], end


@dataclass(frozen=True, slots=True)
class Story:
    """What is drawn.

    Attributes:
        report: the object of ``replay --json``; its ``streams`` are the most interesting first.
        trace: evidence of the same replay; spans: when which stream was in alarm.
        timed: whether the log has times.
        log: its name.
    """

    report: Mapping[str, Any]
    trace: Trace
    spans: Spans
    timed: bool
    log: str

    @property
    def ends(self) -> Floats:
        """Where the points of the trace lie."""
        return self.trace.times if self.timed else self.trace.rows

    def axis(self) -> Axis:
        """Of all of them."""
        ends = self.ends
        return Axis(float(ends[0]), float(ends[-1]), self.timed) if len(ends) else Axis(0.0, 1.0, timed=False)


def picture(story: Story) -> str:
    """The whole file."""
    axis, streams = story.axis(), story.report["streams"]
    chosen = streams[:BANDS]
    height = _TOP + len(chosen) * (_BAND + _GAP) + _BOTTOM
    parts = [
        element("title", text_of(f"Evidence of drift in {story.log}")),
        element("desc", text_of("; ".join(_sentence(s) for s in chosen))),
        element("style", _STYLE),
        element("rect", class_="back", width="100%", height="100%"),
        *_heading(story, len(streams) - len(chosen)),
        *_axis(axis, height),
    ]
    for i, stream in enumerate(chosen):
        parts += _band(story, stream, axis, _TOP + i * (_BAND + _GAP))
    size = {"width": _WIDTH, "height": height, "viewBox": f"0 0 {_WIDTH:g} {height:g}"}
    return element("svg", "\n", "\n".join(parts), "\n", xmlns="http://www.w3.org/2000/svg", role="img", **size) + "\n"


def _sentence(stream: Mapping[str, Any]) -> str:
    return f"{shown(stream['feature'])}: {stream['verdict']}, largest evidence {_ratio(stream):.2f} of its line"


def _ratio(stream: Mapping[str, Any]) -> float:
    return float(stream["evidence"] / stream["threshold"])


def _heading(story: Story, left_out: int) -> Iterator[str]:
    report = story.report
    yield element("text", text_of(f"Evidence of drift in {shown(story.log)}"), class_="title", x=24, y=36)
    words = f"{report['rows']:,} rows against reference {report['reference_id']}, budget {report['false_alarms']}"
    if left_out > 0:
        words += f"; {left_out} more streams stayed lower"
    yield element("text", text_of(words), class_="soft", x=24, y=57)
    y = 80.0
    keys = (
        (24.0, "beyond the minimum effect", element("path", class_="line", d=f"M24,{y - 4:g}h18")),
        (236.0, "any change", element("rect", class_="any", x=236, y=y - 10, width=18, height=11)),
        (350.0, "alarm line", element("path", class_="limit", d=f"M350,{y - 4:g}h18")),
        (458.0, "alarm", _alarm(468, y - 4)),
        (532.0, "notice", _notice(542, y - 4)),
        (610.0, "began", element("path", class_="began", d=f"M620,{y - 12:g}v16")),
    )
    for x, word, mark in keys:
        yield mark
        yield element("text", word, class_="soft", x=x + 25, y=y)


def _axis(axis: Axis, height: float) -> Iterator[str]:
    bottom = height - _BOTTOM
    for value, words in axis.ticks():
        x = axis.x(value)
        yield element("path", class_="grid", d=f"M{x:.1f},{_TOP - 6:g}V{bottom:g}")
        yield element("text", text_of(words), class_="soft middle", x=x, y=bottom + 16)
    unit = "UTC" if axis.timed else "rows"
    yield element("text", unit, class_="soft", x=_WIDTH - _RIGHT + 12, y=bottom + 16)


def _band(story: Story, stream: Mapping[str, Any], axis: Axis, top: float) -> Iterator[str]:
    name, bottom, width = stream["feature"], top + _BAND, _WIDTH - _LEFT - _RIGHT
    x = [axis.x(end) for end in story.ends.tolist()]
    anything, real = (story.trace.course(name, level) for level in (NOTICE, ALARM))
    yield element("rect", class_="band", x=_LEFT, y=top, width=width, height=_BAND, rx=3)
    for begin, end in story.spans.of(name, axis.high):
        left, right = axis.x(begin), axis.x(end)
        yield element("rect", class_="drift", x=left, y=top, width=max(right - left, 1.0), height=_BAND)
    yield element("path", class_="any", d=path(_points(x, anything, bottom), closed_at=bottom))
    yield element("path", class_="area", d=path(_points(x, real, bottom), closed_at=bottom))
    yield element("path", class_="limit", d=f"M{_LEFT:g},{_y(1.0, bottom):.1f}h{width:g}")
    yield element("path", class_="line", d=path(_points(x, real, bottom)))
    for run in _runs(real >= 1):
        yield element("path", class_="over", d=path(_points(x[run], real[run], bottom)))
    yield from _marks(story.report, name, axis, top)
    yield from _words(stream, top)


def _y(ratio: float, bottom: float) -> float:
    return bottom - min(ratio, _CEILING) / _CEILING * (_BAND - 4)


def _points(x: list[float], ratios: Floats, bottom: float) -> list[tuple[float, float]]:
    return [(a, _y(r, bottom)) for a, r in zip(x, ratios.tolist(), strict=True)]


def _runs(mask: np.ndarray) -> Iterator[slice]:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8))).tolist()
    return (slice(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True))


def _where(item: Mapping[str, Any], axis: Axis, key: str = "ts") -> float:
    return axis.x(item[key] if axis.timed else item["row"])


def _marks(report: Mapping[str, Any], name: str, axis: Axis, top: float) -> Iterator[str]:
    for word, draw in (("notices", _notice), ("alarms", _alarm)):
        for item in report[word]:
            if item["feature"] != name:
                continue
            if word == "alarms" and axis.timed and item["began"] is not None:
                yield element("path", class_="began", d=f"M{_where(item, axis, 'began'):.1f},{top:g}v{_BAND:g}")
            mark = draw(_where(item, axis), _y(1.0, top + _BAND))
            yield element("g", element("title", text_of(item["explanation"])), mark)


def _alarm(x: float, y: float) -> str:
    return element("circle", class_="alarm", cx=x, cy=y, r=5)


def _notice(x: float, y: float) -> str:
    return element("path", class_="notice", d=f"M{x:.1f},{y - 5.5:.1f}l5,5.5l-5,5.5l-5,-5.5z")


def _words(stream: Mapping[str, Any], top: float) -> Iterator[str]:
    name = shown(stream["feature"])
    short = name if len(name) <= _NAME else name[: _NAME - 1] + "…"
    middle, right = top + _BAND / 2, _WIDTH - _RIGHT + 12
    yield element(
        "text", element("title", text_of(name)), text_of(short), class_="name end", x=_LEFT - 12, y=middle - 2
    )
    yield element("text", text_of(stream["verdict"].replace("_", " ")), class_="soft end", x=_LEFT - 12, y=middle + 15)
    ratio = _ratio(stream)
    bad = {"class_": "bad"} if ratio >= 1 else {}
    yield element("text", f"{ratio:.2f} of the line", x=right, y=middle - 2, **bad)
    facts = [] if stream["effect"] is None else [f"effect {stream['effect']:.2f}"]
    facts += [] if stream["began"] is None else [f"since {moment(stream['began'])[5:16].replace('T', ' ')}"]
    yield element("text", text_of(", ".join(facts)), class_="soft", x=right, y=middle + 15)
