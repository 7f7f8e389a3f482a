"""The table of all detectors on the same streams: measured, judged, and put into words."""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np

from benchmarks.environments import ROOT
from benchmarks.peers import datasets, environments, worlds
from benchmarks.peers.drivers import pilotfish, scipy_ks
from benchmarks.peers.protocol import WINDOW, Found
from benchmarks.peers.worlds import World
from benchmarks.reference import nulls

DRIVERS = ("whylogs", "evidently", "frouros", "scipy_ks", "river", "pilotfish", "alibi_detect", "nannyml")
"""The slowest first: as many run at a time as there are cores."""
OWN = ("pilotfish", "scipy_ks")
"""They run in our interpreter."""
BEST = "KS at the budget, best window in hindsight"
PATIENCE = 1800.0
QUIET = {"DO_NOT_TRACK": "1", "WHYLOGS_NO_ANALYTICS": "True", "NML_DISABLE_USAGE_LOGGING": "1", "OMP_NUM_THREADS": "1"}
"""Nobody phones home, and each takes one core."""
MEANS = ("mean +.1 sd", "mean +.25 sd", "mean +.5 sd")
TIMES = {"sd x1.25": 5.0, "bimodal": 3.0}
"""How much sooner than the best window ours has to be."""
MONTH_SEED, REAL_SEED = 9502, 9506
REAL_REFERENCE, REAL_ROWS = 20_000, 20_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """One claim, measured."""

    claim: str
    measured: str
    holds: bool


def ask(driver: str, folder: pathlib.Path) -> dict[str, Found]:
    """What the detectors of a driver did, in its own interpreter."""
    python = sys.executable if driver in OWN else environments.python(driver)
    command = [python, "-m", f"benchmarks.peers.drivers.{driver}", str(folder)]
    ran = subprocess.run(command, cwd=ROOT, env=os.environ | QUIET, capture_output=True, text=True, timeout=PATIENCE)
    if ran.returncode:
        raise RuntimeError(f"driver {driver} ended with {ran.returncode}: {ran.stderr.strip()[-2000:]}")
    return {name: Found(**found) for name, found in json.loads(ran.stdout.splitlines()[-1]).items()}


def measure(stable_rows: int, permutations: int, drivers: Sequence[str] = DRIVERS) -> dict[str, Found]:
    """All of them, on the same files."""
    with tempfile.TemporaryDirectory(prefix="pilotfish-peers-") as name:
        folder = pathlib.Path(name)
        drawn = [worlds.stable(world, stable_rows) for world in worlds.STABLE]
        drawn += [worlds.shifted(world) for world in worlds.SHIFTS]
        for world in itertools.chain(drawn, permuted(permutations)):
            worlds.save(world, folder)
        for driver in drivers:
            if driver not in OWN:
                environments.python(driver)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            parts = pool.map(lambda driver: ask(driver, folder), drivers)
            found = {name: one for part in parts for name, one in part.items()}
    found[BEST] = hindsight(found)
    return found


def permuted(count: int) -> Iterator[World]:
    """Real data in no order, so often."""
    for name, frame in (("flights", datasets.flights()), ("employment", datasets.employment())):
        for number in range(count):
            rng = np.random.default_rng([REAL_SEED, len(name), number])
            rows = frame.permuted(rng).part(slice(0, REAL_REFERENCE + REAL_ROWS))
            yield from datasets.worlds_of(rows, REAL_REFERENCE, number)


def hindsight(found: Mapping[str, Found]) -> Found:
    """For each shift the window with the smallest median: nobody could have chosen it before."""
    tried = [found[scipy_ks.fixed(rows)] for rows in scipy_ks.WINDOWS]
    most = max(tried, key=alarms_a_day)
    return Found(most.alarms, {w: min((f.delays[w] for f in tried), key=median) for w in tried[0].delays})


def median(delays: Sequence[int | None]) -> float:
    """Rows; infinite when most never came."""
    return statistics.median(float("inf") if d is None else d for d in delays)


def alarms_a_day(found: Found) -> float:
    """On stable data, over the columns that the detector can look at."""
    numeric = len(worlds.SHAPES)
    columns = {"stable numeric": numeric, "stable categorical": worlds.COLUMNS - numeric, "stable": worlds.COLUMNS}
    parts = [(found.alarms[world], count) for world, count in columns.items() if world in found.alarms]
    return sum(n / seen * worlds.ROWS_A_DAY * count for (n, seen), count in parts)


# -- what is promised


def verdicts(found: Mapping[str, Found]) -> list[Verdict]:
    """The claims about delays, from the same run."""
    ours, best = found[pilotfish.NOTICE].delays, found[BEST].delays
    shares = {w: sum(d is not None for d in ds) / len(ds) for w, ds in ours.items()}
    worst = min(shares, key=lambda w: shares[w])
    missed = Verdict("misses nothing", f"least found: {shares[worst]:.0%} of columns ({worst})", shares[worst] == 1)
    sooner = {w: median(best[w]) / median(ours[w]) for w in (*MEANS, *TIMES)}
    means = ", ".join(f"{w} {median(ours[w]):,.0f} rows, KS {median(best[w]):,.0f} ({sooner[w]:.2f}x)" for w in MEANS)
    result = [
        missed,
        Verdict("sooner than KS with its best window on every mean", means, min(sooner[w] for w in MEANS) > 1),
    ]
    for w, least in TIMES.items():
        text = f"{median(ours[w]):,.0f} rows, KS {median(best[w]):,.0f} ({sooner[w]:.1f}x)"
        result.append(Verdict(f"{w}: >= {least:g}x sooner than KS with its best window", text, sooner[w] >= least))
    return result


def within_budget(found: Mapping[str, Found], ticks: int = pilotfish.BUDGET_TICKS) -> Verdict:
    """The day of rows that all saw, and a month of counts on the same references."""
    name = pilotfish.NOTICE
    day, rows = found[name].alarms["stable"]
    month = pilotfish.month(ticks, MONTH_SEED)[0]
    expected = ticks / pilotfish.BUDGET_TICKS + rows / worlds.COLUMNS / worlds.BUDGET_ROWS
    most = nulls.limit(expected)
    days = ticks * pilotfish.ROWS / worlds.ROWS_A_DAY
    text = f"{day} alarms in the day that all saw, {month} in {days:.0f} days more (limit {most})"
    return Verdict("within the budget of one alarm in 30 days", text, day + month <= most)


# -- for people


def cell(found: Found, world: str) -> str:
    """Median rows, and how many of the columns were found where not all were."""
    delays = found.delays.get(world)
    if delays is None:
        return f"raises {found.failed[world].partition(':')[0]}" if world in found.failed else "-"
    count = sum(d is not None for d in delays)
    middle = median(delays)
    if count == len(delays):
        return f"{middle:,.0f}"
    return f"{middle:,.0f} ({count}/{len(delays)})" if middle < float("inf") else f"never ({count}/{len(delays)})"


def real_cell(found: Found, name: str) -> str:
    """False alarms in all permutations of a data set."""
    prefix = f"{worlds.PERMUTED} {name} "
    seen = [n for world, (n, _) in found.alarms.items() if world.startswith(prefix)]
    failed = [world for world in found.failed if world.startswith(prefix)]
    words = f"{sum(seen):,}" if seen else "-"
    return f"{words} (raises {found.failed[failed[0]].partition(':')[0]} in {len(failed)})" if failed else words


def real_markdown(found: Mapping[str, Found], permutations: int) -> list[str]:
    """False alarms on real data in no order."""
    lines = [
        f"| detector | flights, {permutations} permutations | employment, {permutations} permutations |",
        "| --- | --- | --- |",
    ]
    names = [n for n in order(found) if n != BEST]
    return lines + [f"| {n} | {real_cell(found[n], 'flights')} | {real_cell(found[n], 'employment')} |" for n in names]


def order(found: Mapping[str, Found]) -> list[str]:
    """Ours, KS at the budget, then the others by their alarms."""
    first = [pilotfish.NOTICE, pilotfish.ALARM, BEST, scipy_ks.fixed(WINDOW)]
    others = [n for n in found if n not in first and not n.startswith("KS at the budget")]
    return [n for n in first if n in found] + sorted(others, key=lambda n: alarms_a_day(found[n]))


def markdown(found: Mapping[str, Found]) -> list[str]:
    """The table."""
    lines = ["| detector | alarms a day, stable | " + " | ".join(worlds.SHIFTS) + " |"]
    lines.append("| --- " * (len(worlds.SHIFTS) + 2) + "|")
    for name in order(found):
        cells = [cell(found[name], w) for w in worlds.SHIFTS]
        lines.append(f"| {name} | {alarms_a_day(found[name]):,.0f} | " + " | ".join(cells) + " |")
    return lines


def winners(found: Mapping[str, Found]) -> list[str]:
    """A line for each shift that somebody finds sooner than ours, with what that costs in alarms."""
    ours, lines = found[pilotfish.NOTICE].delays, []
    for world in worlds.SHIFTS:
        sooner = [
            n
            for n in order(found)
            if n != pilotfish.NOTICE and median(found[n].delays.get(world) or [None]) < median(ours[world])
        ]
        words = [
            f"{n} ({median(found[n].delays[world]):,.0f} rows, {alarms_a_day(found[n]):,.0f} alarms a day)"
            for n in sooner
        ]
        if words:
            lines.append(f"- *{world}*: {', '.join(words)}; Pilotfish {median(ours[world]):,.0f} rows.")
    return lines


def versions(drivers: Sequence[str] = DRIVERS) -> str:
    """Of all packages that were run."""
    found = [f"pilotfish {version('pilotfish')}", f"scipy {version('scipy')}"]
    for driver in sorted(set(drivers) - set(OWN)):
        wanted = re.match(r"[a-z-]+", (environments.HERE / "locks" / f"{driver}.in").read_text(encoding="utf-8"))
        assert wanted is not None
        lock = (environments.HERE / "locks" / f"{driver}.txt").read_text(encoding="utf-8")
        locked = re.search(rf"^{wanted[0]}(\[[a-z]+\])?==(\S+)", lock, re.MULTILINE)
        assert locked is not None
        found.append(f"{wanted[0]} {locked[2]}")
    return ", ".join(found)
