"""``pilotfish check DATA --reference REF``: one batch against a reference, once.

Exit 0 stable (or changed by less than the minimum effect), 3 drift, 2 bad input, 4 not enough data.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from pilotfish_agent import config
from pilotfish_agent.commands import _check_metrics, _data
from pilotfish_agent.drift import battery
from pilotfish_agent.drift.check import Check, Checked, Options, StreamCheck
from pilotfish_agent.drift.explain import shown
from pilotfish_agent.drift.readers import STDIN, DataFile
from pilotfish_agent.drift.reference import Reference, require
from pilotfish_agent.drift.tests._part import TestResult
from pilotfish_agent.drift.timed import once_a_tick
from pilotfish_core.clock import SystemClock
from pilotfish_core.errors import UsageError
from pilotfish_core.nouns import Verdict

HELP = "one batch of data against a reference: what has changed, by how much"
EXIT: dict[Verdict, int] = {"stable": 0, "changed": 0, "drifting": 3, "not_enough_data": 4}
_NAMED = 8


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("data", metavar="DATA", help="CSV or JSON lines, also .gz, or Parquet; `-` for standard input")
    parser.add_argument("--reference", metavar="REF", required=True, help="a built reference, or any data file")
    parser.add_argument("--fdr", metavar="Q", type=_share, default=0.05, help="false ones among what is found (0.05)")
    parser.add_argument("--min-effect", metavar="D", help="changes within it are no drift (drift.min_effect)")
    parser.add_argument(
        "--require", choices=("all", "any"), default="all", help="columns that must have enough rows (all)"
    )
    parser.add_argument("--tests", metavar="T", help="tests and distances beside the verdict's own (js): names, or all")
    parser.add_argument("--dependence", metavar="PHI", help="rows that count as one, or auto (drift.dependence)")
    parser.add_argument("--config", metavar="F", help="the agent's configuration")
    parser.add_argument("--textfile", metavar="F", help="write metrics for node_exporter's textfile collector")
    parser.add_argument("--pushgateway", metavar="URL", help="put the same metrics there")
    parser.add_argument("--json", action="store_true", help="as JSON")
    _data.add_data_options(parser)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise UsageError("--fdr", got=text, expected="a share between 0 and 1 such as 0.05")
    return value


def run(args: argparse.Namespace) -> int:
    """Checks; exit 0, 3 for drift, 2 for bad input, 4 for too few rows."""
    if args.data == STDIN and args.reference == STDIN:
        raise UsageError("DATA and REF cannot both be standard input")
    settings = _data.load_settings(args, {"drift.min_effect": args.min_effect, "drift.dependence": args.dependence})
    drift = settings.section("drift")
    options = Options(
        fdr=args.fdr,
        min_effect=drift.min_effect,
        latency_min_effect=drift.latency_min_effect if args.min_effect is None else drift.min_effect,
        require_all=args.require == "all",
        dependence=None if drift.dependence == "auto" else float(drift.dependence),
        task=settings.section("model").task,
        tick_seconds=drift.tick,
        ignore=frozenset(settings.section("features").ignore) | _data.names(args.ignore),
    )
    tests = battery.chosen([t for t in (args.tests or "js").split(",") if t])
    if args.textfile is not None:
        _data.check_output(args.textfile, "the metrics")
    if args.pushgateway is not None:
        _check_metrics.check_address(args.pushgateway)
    report = _checked(args, settings, options, tests)
    if args.json:
        print(json.dumps(report.json(), ensure_ascii=False, allow_nan=False))
    else:
        sys.stdout.writelines(line + "\n" for line in report.table(tests=args.tests is not None))
    _export(args, report, drift.critical_effect)
    return EXIT[report.found.verdict]


def _checked(
    args: argparse.Namespace, settings: config.Settings, options: Options, tests: Mapping[str, ModuleType]
) -> Report:
    """Reads both sides and compares them."""
    reference = _data.any_reference(args.reference, args, settings, live=False)
    file = DataFile(args.data, _data.layout(args), skip_bad=args.skip_bad)
    before = _raw_reference(args, reference, options) if battery.need_values(tests) else battery.NO_VALUES
    now = battery.RawValues(reference, options.task)
    raw: battery.Raw = before if isinstance(before, str) else (before, now)
    found = _read(file, reference, options, None if isinstance(raw, str) else now)
    for notice in notices(found, file):
        _data.say(f"notice: {notice}")
    results = {name: tuple(battery.results(one, tests, raw)) for name, one in found.features().items()}
    return Report(found, file.skipped, results)


def _export(args: argparse.Namespace, report: Report, critical_effect: float) -> None:
    """Writes the metrics where they are asked for."""
    if args.textfile is None and args.pushgateway is None:
        return
    found = report.found
    text = _check_metrics.as_text(_check_metrics.samples(found, report.results, critical_effect, SystemClock().wall()))
    if args.textfile is not None:
        _data.write_output(args.textfile, text, "the metrics")
    if args.pushgateway is not None:
        _check_metrics.push(args.pushgateway, found.reference.model or "", text)


def _raw_reference(args: argparse.Namespace, reference: Reference, options: Options) -> battery.RawValues | str:
    """The raw values of a reference that is a data file, which is read once more; or why there are none."""
    if args.reference == STDIN:
        return battery.ONCE
    if _data.is_built(args.reference):
        return battery.NO_VALUES
    raw = battery.RawValues(reference, options.task)
    file = DataFile(args.reference, _data.layout(args), skip_bad=args.skip_bad)
    for rows in once_a_tick(_data.with_progress(file, "reading again"), options.tick_seconds):
        raw.add(rows.batch)
    return raw


def _read(file: DataFile, reference: Reference, options: Options, raw: battery.RawValues | None) -> Checked:
    """The batch, on the reference's bins.

    Raises:
        UsageError: it lacks a column of the reference.
    """
    check = Check(reference, options)
    for rows in once_a_tick(_data.with_progress(file, "checking"), options.tick_seconds):
        check.add(rows)
        if raw is not None:
            raw.add(rows.batch)
    require(reference, (*file.names, *options.ignore), file.name)
    return check.checked()


def notices(found: Checked, file: DataFile) -> Iterator[str]:
    """What the user should know beside the report."""
    reference = found.reference
    known = {*reference.columns, *found.options.ignore} | {i.name for i in reference.ignored}
    extra = [name for name in file.names if name not in known]
    if extra:
        more = f" and {len(extra) - _NAMED} more" if len(extra) > _NAMED else ""
        yield f"columns that the reference lacks are not tested: {', '.join(map(shown, extra[:_NAMED]))}{more}"
    if file.skipped:
        yield f"{_data.counted(file.skipped, 'bad row')} left out"
    most = max((s.phi for s in reference.features), default=1.0)
    if most > 1 and not found.phi_known:
        yield (
            f"rows of the reference follow one another (up to {most:.1f} count as one); these data have no times, so "
            f"their rows are taken as independent; else use --time-column or --dependence {most:.1f}"
        )


@dataclass(frozen=True, slots=True)
class Report:
    """What is printed.

    Attributes:
        found: the answer.
        skipped: bad rows left out.
        results: of the tests beside the verdict's own, by feature.
    """

    found: Checked
    skipped: int
    results: Mapping[str, tuple[TestResult, ...]]

    def json(self) -> dict[str, Any]:
        """The object of ``check --json``."""
        found = self.found
        return {
            "verdict": found.verdict,
            "reference_id": found.reference.id,
            "fdr": found.options.fdr,
            "min_effect": found.options.min_effect,
            "rows": found.rows,
            "skipped_rows": self.skipped,
            "features": [
                {
                    "feature": name,
                    "verdict": one.verdict,
                    "effect": None if one.effect is None else one.effect.value,
                    "effect_lower": None if one.effect is None else one.effect.lower,
                    "effect_upper": None if one.effect is None else one.effect.upper,
                    "tests": [*decisive(one), *map(_item, self.results[name])],
                    "explanation": one.words(),
                }
                for name, one in found.features().items()
            ],
        }

    def table(self, *, tests: bool) -> Iterator[str]:
        """The report for people, with the tests or without."""
        found = self.found
        options = found.options
        yield f"{found.rows:,} rows against reference {found.reference.id} of {found.reference.rows:,} rows"
        lines: list[tuple[str, ...]] = [("FEATURE", "VERDICT", "EFFECT", "95 %", "P", "P BEYOND", "WHAT")]
        lines += [_line(name, one) for name, one in found.features().items()]
        wide = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        for line in lines:
            yield "  ".join(cell.ljust(w) for cell, w in zip(line, wide, strict=True)).rstrip()
        if tests:
            yield from self._tests()
        yield f"{found.verdict.replace('_', ' ')}: {_summary(found)}"
        yield (
            f"P: chance of such data without any change; P BEYOND: with a change of {options.min_effect:g}; "
            f"verdicts at a false-discovery rate of {options.fdr:g}"
        )

    def _tests(self) -> Iterator[str]:
        lines = [("FEATURE", "TEST", "STATISTIC", "P")]
        for name, results in self.results.items():
            for r in results:
                value = f"({r.reason})" if r.statistic is None else f"{r.statistic:.4g}"
                p = (
                    ""
                    if r.statistic is None
                    else f"({r.reason})"
                    if r.reason
                    else ""
                    if r.pvalue is None
                    else _p(r.pvalue)
                )
                lines.append((shown(name), r.test, value, p))
        wide = [max(len(line[i]) for line in lines) for i in range(2)] + [10, 0]
        for line in lines:
            yield "  ".join(cell.ljust(w) for cell, w in zip(line, wide, strict=True)).rstrip()


def _summary(found: Checked) -> str:
    verdicts = [one.verdict for one in found.features().values()]
    words: tuple[tuple[Verdict, str], ...] = (
        ("drifting", "drifting"),
        ("changed", "changed within the minimum effect"),
        ("stable", "stable"),
    )
    parts = [f"{n} {word}" for verdict, word in words if (n := verdicts.count(verdict))]
    if few := verdicts.count("not_enough_data"):
        parts.append(f"{few} without enough rows")
    return ", ".join(parts)


def _line(name: str, one: StreamCheck) -> tuple[str, ...]:
    effect = (
        ("", "")
        if one.effect is None
        else (f"{one.effect.value:.2f}", f"{one.effect.lower:.2f} to {one.effect.upper:.2f}")
    )
    p = ("", "") if one.change is None or one.beyond is None else (_p(one.change.pvalue), _p(one.beyond.pvalue))
    what = "" if one.verdict == "stable" else one.words().partition(", effect ")[0]
    return (shown(name), one.verdict.replace("_", " "), *effect, *p, what)


def _p(value: float) -> str:
    return f"{value:.2g}" if value >= 1e-4 else "< 1e-4"


def decisive(one: StreamCheck) -> Iterator[dict[str, Any]]:
    """The two tests that the verdict comes from."""
    for name, test in (("any_change", one.change), ("beyond_min_effect", one.beyond)):
        if test is not None:
            yield {"test": name, "statistic": test.statistic, "pvalue": test.pvalue}


def _item(result: TestResult) -> dict[str, Any]:
    """A test of the registry as an item of `tests`; why it has no number, where it has none."""
    found = {"test": result.test, "statistic": result.statistic, "pvalue": result.pvalue}
    return found | ({"reason": result.reason} if result.reason else {})
