"""What a panel shows against what Prometheus says when it is asked directly, for the same instant."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from grafana.proof.exceptions import NEVER_HERE, lacking
from grafana.proof.prometheus import Prometheus, QueryError, Series
from grafana.proof.reading import UnreadableError, read
from grafana.proof.settings import Settings, settings

LAST: Final = "Last *"
"""How Grafana heads the column of the calculation lastNotNull."""
RANKED: Final = re.compile(r"\b(top|bottom)k\b")
LABEL: Final = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Expected:
    """A value that must stand in a panel.

    Attributes:
        name: its series' name, by the target's legend; ref: the target.
        labels: of the series; value: of the last point that is a number.
        ranked: the query takes the largest or smallest, so that another series of the same value may stand for it.
    """

    name: str
    ref: str
    labels: Mapping[str, str]
    value: float
    ranked: bool = False


@dataclass(slots=True)
class Verdict:
    """Of one panel.

    Attributes:
        problems: in words; compared: how many values were.
        constant: nothing in it moved: no series has two values in the shown range, and none comes or goes.
        excused: entries of `NEVER_HERE` and `lacking` that a query without data needed.
        lacking: why the whole panel is empty or still on this machine; None where it is not, or must not be.
    """

    problems: list[str]
    compared: int = 0
    constant: bool = False
    excused: set[str] = field(default_factory=set)
    lacking: str | None = None


def judged(panel: Mapping[str, Any], drawn: Mapping[str, Any], prometheus: Prometheus) -> Verdict:
    """All that can be wrong with a drawn panel.

    Args:
        panel: as it stands in the dashboard.
        drawn: what the page told of it.
        prometheus: is asked anew.
    """
    verdict = Verdict([])
    if drawn["type"] == "text":
        return verdict
    expected: list[Expected] = []
    moved = False
    for target in drawn["targets"]:
        if target["error"]:
            verdict.problems.append(f"query {target['refId']}: {target['error']}")
            continue
        if "$" in target["expr"]:
            verdict.problems.append(f"query {target['refId']}: a variable is left in {target['expr']}")
        try:
            series, found = asked(target, prometheus)
        except QueryError as error:
            verdict.problems.append(f"query {target['refId']}: {error}")
            continue
        excuses = {words for words in NEVER_HERE | lacking() if words in target["expr"]}
        if not found and excuses:
            verdict.excused |= excuses
        elif not found:
            verdict.problems.append(f"query {target['refId']}: no data: {target['expr']}")
        expected += found
        moved = moved or any(moves(one, target["start"], target["end"], target["step"]) for one in series)
    if lacks := _lacks(drawn, verdict, empty=not expected, moved=moved):
        verdict.excused |= lacks.keys()
        verdict.lacking = next(iter(lacks.values()))
        if not expected:
            return verdict
    verdict.constant = not moved and not lacks
    shown = drawn["shown"]
    if shown is None or shown["empty"]:
        verdict.problems.append("shows no data")
    elif not verdict.problems:
        verdict.compared = len(expected)
        verdict.problems += list(_KINDS[drawn["type"]](panel, drawn, expected))
    return verdict


def _lacks(drawn: Mapping[str, Any], verdict: Verdict, *, empty: bool, moved: bool) -> dict[str, str]:
    """What this machine lacks that explains an empty panel, or one in which nothing moves."""
    if verdict.problems or (moved and not empty):
        return {}
    exprs = " ".join(target["expr"] for target in drawn["targets"])
    return {words: why for words, why in lacking().items() if words in exprs}


def asked(target: Mapping[str, Any], prometheus: Prometheus) -> tuple[list[Series], list[Expected]]:
    """The target's series over the shown range, and the value of each: at its end, else its last before that."""
    end = float(target["end"])
    series = prometheus.over(target["expr"], target["start"], end, target["step"])
    latest = {tuple(sorted(s.labels.items())): s.points[-1][1] for s in prometheus.at(target["expr"], end)}
    if not target["instant"]:
        for one in series:
            key = tuple(sorted(one.labels.items()))
            if math.isnan(latest.get(key, math.nan)):
                latest[key] = next((v for _, v in reversed(one.points) if not math.isnan(v)), math.nan)
    ranked = RANKED.search(target["expr"]) is not None
    found = [
        Expected(legend(target["legendFormat"], dict(k)), target["refId"], dict(k), v, ranked)
        for k, v in latest.items()
    ]
    return series, [e for e in found if not math.isnan(e.value)]


def legend(form: str, labels: Mapping[str, str]) -> str:
    """The name that Grafana gives a series."""
    if form and form != "__auto":
        return " ".join(LABEL.sub(lambda m: labels.get(m[1], ""), form).split())  # as a browser shows spaces
    inside = ", ".join(f'{k}="{v}"' for k, v in labels.items() if k != "__name__")
    return f"{labels.get('__name__', '')}{{{inside}}}"


def moves(series: Series, start: float, end: float, step: float) -> bool:
    """Whether a series has two values that differ, or comes or goes within the range."""
    whole = (end - start) // step + 1
    return len({v for _, v in series.points if not math.isnan(v)}) > 1 or len(series.points) < whole


def says(text: str, value: float, look: Settings, now: float = math.nan) -> str | None:
    """None when the text says the value, else what is wrong."""
    words = look.text(value)
    if words is not None:
        return None if words == text.strip() else f"shows {text!r}, expected {words!r} for {value:g}"
    try:
        return None if read(text, look.unit, now).is_(value) else f"shows {text!r}, Prometheus says {value!r}"
    except UnreadableError as error:
        return f"shows {text!r} for {value!r}: {error}"


# -- one function a kind of panel; each yields problems


def _series(panel: Mapping[str, Any], drawn: Mapping[str, Any], expected: Sequence[Expected]) -> Iterator[str]:
    """By the table below the graph."""
    table = drawn["shown"]["legend"]
    if table is None or LAST not in table["head"]:
        yield "its legend is no table with the calculation lastNotNull: its values cannot be read"
        return
    if not drawn["shown"]["canvases"]:
        yield "nothing is drawn"
    column, name_column = table["head"].index(LAST), table["head"].index("Name")
    rows = [(cells[name_column], cells[column]) for cells in table["rows"]]
    yield from _paired(panel, drawn, rows, [e for e in expected if not settings(panel, e.name, e.ref).hidden])


def _items(panel: Mapping[str, Any], drawn: Mapping[str, Any], expected: Sequence[Expected]) -> Iterator[str]:
    """Stat, gauge, bar gauge: each value in a box of its own, its name before it where there are several."""
    names = sorted((settings(panel, e.name, e.ref).name or e.name for e in expected), key=len, reverse=True)
    rows = []
    for text in drawn["shown"]["items"]:
        name = next((n for n in names if text.startswith(n)), None) if len(expected) > 1 else None
        rows.append((name or names[0], text.removeprefix(name) if name is not None else text))
    yield from _paired(panel, drawn, rows, expected)


def _paired(
    panel: Mapping[str, Any], drawn: Mapping[str, Any], rows: Sequence[tuple[str, str]], expected: Sequence[Expected]
) -> Iterator[str]:
    """Rows of (name, text) against what is expected, by name; of one name several may be, in any order."""
    texts: dict[str, list[str]] = defaultdict(list)
    for name, text in rows:
        texts[name].append(text)
    now = drawn["targets"][0]["end"]
    missing, shown = [], set()
    for one in expected:
        look = settings(panel, one.name, one.ref)
        mine = texts.get(look.name or one.name, [])
        wrong = [says(text, one.value, look, now) for text in mine]
        if None in wrong:
            mine.pop(wrong.index(None))
            shown.add(one.value)
        elif wrong or not one.ranked:
            yield f"{one.name}: {wrong[0] if wrong else f'is not shown, Prometheus says {one.value!r}'}"
        else:
            missing.append(one)
    for name, left in texts.items():
        for text in left:
            tied = next((o for o in missing if says(text, o.value, settings(panel, name, o.ref), now) is None), None)
            if tied is None:
                yield f"{name}: shows {text!r}, for which Prometheus has no series"
            else:
                missing.remove(tied)
    # Of equals Prometheus takes any, and another one over a range than at its end: one of them is enough.
    missing = [one for one in missing if one.value not in shown]
    yield from (f"{one.name}: is not shown, Prometheus says {one.value!r}" for one in missing)


def _table(panel: Mapping[str, Any], drawn: Mapping[str, Any], expected: Sequence[Expected]) -> Iterator[str]:
    """Each series has a row with its labels and a cell that says its value; each cell belongs to one."""
    grid = drawn["shown"]["grid"]
    if grid is None or not grid["rows"]:
        yield "the table has no row"
        return
    labels = {v for one in expected for v in one.labels.values()}
    several, now = len(drawn["targets"]) > 1, drawn["targets"][0]["end"]
    rows = [list(cells) for cells in grid["rows"]]
    left_out = {
        name
        for change in panel.get("transformations") or ()
        for name, is_out in change["options"].get("excludeByName", {}).items()
        if is_out
    }
    for one in expected:
        column = f"Value #{one.ref}" if several else "Value"
        look = settings(panel, column, one.ref)
        if look.hidden or column in left_out:  # the labels are the news
            seen = [v for k, v in one.labels.items() if k not in left_out]
            if not any(all(v in cells for v in seen) for cells in rows):
                yield f"{dict(one.labels)}: no row has {seen}"
            continue
        ranked = sorted(rows, key=lambda cells: -sum(v in cells for v in one.labels.values()))
        best = ranked[0]
        hits = [
            i for i, cell in enumerate(best) if cell and cell not in labels and says(cell, one.value, look, now) is None
        ]
        if not hits and (text := look.text(one.value)) in best:
            hits = [best.index(str(text))]
        if hits:
            best[hits[0]] = ""
        else:
            yield f"{dict(one.labels)}: no cell of the row {best} says {one.value!r}"


def _heat(panel: Mapping[str, Any], drawn: Mapping[str, Any], expected: Sequence[Expected]) -> Iterator[str]:
    """The last column of cells against the differences of the buckets."""
    del panel
    buckets = sorted(
        (float(one.labels["le"].replace("+Inf", "inf")), one.value) for one in expected if "le" in one.labels
    )
    counts = [
        max(0.0, value - below) for (_, value), below in zip(buckets, [0.0, *(v for _, v in buckets)], strict=False)
    ]
    drawn_counts = [row["counts"][-1] for row in drawn["cells"]["rows"]]
    if not drawn["shown"]["canvases"]:
        yield "nothing is drawn"
    if len(counts) != len(drawn_counts):
        yield f"{len(drawn_counts)} rows of cells, expected {len(counts)}"
    elif wrong := [(a, b) for a, b in zip(drawn_counts, counts, strict=True) if abs(a - b) > 1e-6 * max(1.0, abs(b))]:
        yield f"cells differ, (drawn, Prometheus): {wrong[:3]}"
    if not any(n > 0 for row in drawn["cells"]["rows"] for n in row["counts"]):
        yield "all cells are empty"


_KINDS: Final = {
    "timeseries": _series,
    "stat": _items,
    "gauge": _items,
    "bargauge": _items,
    "table": _table,
    "heatmap": _heat,
}
