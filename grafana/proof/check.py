"""``python -m grafana.proof``: every dashboard drawn on real data, every drawn value compared with Prometheus' own.

--again draws what the last run recorded: seconds instead of minutes, for work on the dashboards.
Exit 0 when nothing is wrong, 1 with a line for each problem, 2 when this machine lacks something.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from grafana.proof.bundle import CACHE, MissingError, built
from grafana.proof.compare import judged
from grafana.proof.draw import Drawn, Studio, When, every_panel, studio
from grafana.proof.exceptions import NEVER_HERE
from grafana.proof.prometheus import Prometheus
from grafana.proof.stack import Recorded, prometheus, recorded

DASHBOARDS: Final = Path(__file__).resolve().parents[1] / "dashboards"
PICTURES: Final = CACHE / "pictures"
RECORD: Final = CACHE / "recorded.json"
DATA: Final = CACHE / "data"
RENAMED: Final = "pilotfish_requests_total"
"""The metric whose rename must be noticed: rates, ratios and tables have it."""


@dataclass(slots=True)
class Report:
    """What was drawn and what is wrong with it.

    Attributes:
        dashboards, panels, queries, values: how many were drawn, asked, compared.
        constant: (uid, title) of the panels in which nothing moved.
        excused: entries of `NEVER_HERE` (and `lacking`) that were needed.
        lacking: panels that are empty or still because of what this machine lacks, by the reason.
        problems: in words, each with its dashboard and panel.
        seconds: from drawing's begin to its end.
    """

    dashboards: int = 0
    panels: int = 0
    queries: int = 0
    values: int = 0
    constant: set[tuple[str, str]] = field(default_factory=set)
    excused: set[str] = field(default_factory=set)
    lacking: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def line(self) -> str:
        """All of it in a line."""
        return (
            f"{self.dashboards} dashboards, {self.panels} panels, {self.queries} queries, {self.values} values, "
            f"drawn in {self.seconds:.0f} s: {len(self.problems)} problem{'s' * (len(self.problems) != 1)}"
            + "".join(
                f"; {count} panel{'s' * (count != 1)} with nothing to show: {why}"
                for why, count in self.lacking.items()
            )
        )


def committed() -> dict[str, dict[str, Any]]:
    """The dashboards by the name of their file."""
    return {p.stem: json.loads(p.read_text(encoding="utf-8")) for p in sorted(DASHBOARDS.glob("*.json"))}


def renamed(dashboards: Mapping[str, dict[str, Any]], metric: str) -> dict[str, dict[str, Any]]:
    """The dashboards as they would be had the metric another name, those only that have it."""
    found = {}
    for name, dashboard in dashboards.items():
        text = json.dumps(dashboard)
        changed = re.sub(rf"\b{metric}\b", f"{metric}_renamed", text)
        if changed != text:
            found[name] = json.loads(changed)
    return found


def check(
    place: Studio, asks: Prometheus, when: When, dashboards: Mapping[str, dict[str, Any]], pictures: Path | None
) -> Report:
    """Draws all and judges all."""
    report, began = Report(), time.monotonic()
    for name, dashboard in dashboards.items():
        picture = None if pictures is None else pictures / f"{name}.png"
        drawn = place.draw(name, dashboard, when, picture)
        report.dashboards += 1
        report.problems += [f"{name}: {text}" for text in _judged(report, dashboard, drawn, asks)]
    report.seconds = time.monotonic() - began
    return report


def _judged(report: Report, dashboard: Mapping[str, Any], drawn: Drawn, asks: Prometheus) -> Iterator[str]:
    panels = {panel["id"]: panel for panel in every_panel(dashboard)}
    for told in drawn.panels:
        verdict = judged(panels[told["id"]], told, asks)
        report.panels += 1
        report.queries += len(told["targets"])
        report.values += verdict.compared
        report.excused |= verdict.excused
        if verdict.lacking:
            report.lacking[verdict.lacking] += 1
        if verdict.constant:
            report.constant.add((dashboard["uid"], panels[told["id"]]["title"]))
        yield from (f"{told['title']}: {problem}" for problem in verdict.problems)
    undrawn = {i for i, p in panels.items() if p["type"] != "row"} - {told["id"] for told in drawn.panels}
    yield from (f"{panels[i]['title']}: was not drawn" for i in sorted(undrawn))
    yield from (f"variable {name}: has no value" for name, options in drawn.variables.items() if not options)
    for mark in drawn.annotations:
        if mark["error"] or not mark["series"]:
            yield f"annotation {mark['name']}: {mark['error'] or 'marks nothing'}: {mark['expr']}"
    yield from drawn.errors


def still(report: Report) -> list[str]:
    """Panels in which nothing moves, and exceptions that nothing needs."""
    wrong = [f"{uid}: {title}: constant while traffic varies" for uid, title in sorted(report.constant)]
    idle = sorted(set(NEVER_HERE) - report.excused)
    return wrong + [f"{words}: excused (grafana/proof/exceptions.py), but all its queries have data" for words in idle]


def unnoticed(place: Studio, asks: Prometheus, when: When, dashboards: Mapping[str, dict[str, Any]]) -> str | None:
    """Draws the dashboards with one metric renamed; None when that fails as it must, else what was wrong."""
    changed = renamed(dashboards, RENAMED)
    report = check(place, asks, when, changed, None)
    if any("no data" in problem for problem in report.problems):
        return None
    return f"{RENAMED} was renamed in {', '.join(changed) or 'no dashboard'}, and drawing did not notice"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one run: the report, and whether a renamed metric was noticed (None: it was)."""

    report: Report
    unnoticed: str | None
    seconds: float

    @property
    def problems(self) -> list[str]:
        """All of them."""
        return self.report.problems + ([self.unnoticed] if self.unnoticed else [])


def run(pictures: Path, *, again: bool = False) -> Outcome:
    """The whole check; with ``again`` on what the last run recorded.

    Raises:
        MissingError: something of this machine is not there.
    """
    dist, began = built(), time.monotonic()
    pictures.mkdir(parents=True, exist_ok=True)
    dashboards = committed()
    with tempfile.TemporaryDirectory(prefix="pf-proof-", dir="/tmp") as name, data(Path(name), again) as (asks, what):
        when = When(asks.address, what.now, what.span)
        with studio(dist) as place:
            report = check(place, asks, when, dashboards, pictures)
            report.problems += still(report)
            missed = unnoticed(place, asks, when, dashboards)
    return Outcome(report, missed, time.monotonic() - began)


@contextlib.contextmanager
def data(folder: Path, again: bool) -> Iterator[tuple[Prometheus, Recorded]]:
    """A Prometheus with something to draw: of a story played now, or of the last one."""
    if again and RECORD.exists():
        with prometheus(folder, [], DATA) as asks:
            yield asks, Recorded(**json.loads(RECORD.read_text(encoding="ascii")))
        return
    shutil.rmtree(DATA, ignore_errors=True)
    with recorded(folder, DATA, say) as (asks, what):
        RECORD.write_text(json.dumps(dataclasses.asdict(what)), encoding="ascii")
        yield asks, what


def say(text: str) -> None:
    """One line on stderr."""
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="grafana.proof", description=__doc__)
    parser.add_argument("--again", action="store_true", help="draw what the last run recorded")
    parser.add_argument("--pictures", type=Path, default=PICTURES, help=f"folder for a PNG of each ({PICTURES})")
    options = parser.parse_args()
    try:
        outcome = run(options.pictures, again=options.again)
    except MissingError as error:
        say(f"dashboards-check: {error}")
        return 2
    for problem in outcome.problems:
        print(problem)
    print(f"dashboards-check: {outcome.report.line()}; {outcome.seconds:.0f} s, pictures in {options.pictures}")
    return 1 if outcome.problems else 0
