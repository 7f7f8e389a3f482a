"""``pilotfish reference build|show|accept``: makes a reference of data, shows one, accepts the current data as one."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pilotfish_agent.commands import _agents, _data
from pilotfish_agent.drift import strata
from pilotfish_agent.drift.readers import DataFile
from pilotfish_agent.drift.reference import FeatureReference, Reference, load

if TYPE_CHECKING:
    from pilotfish_agent.drift.watch import DriftWatch

HELP = "make a reference from data, show one, or make the current data the new normal"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the subcommands."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="build|show|accept")
    make = actions.add_parser(
        "build", help="CSV or JSON lines (also .gz, `-` for standard input) or Parquet to a reference"
    )
    make.add_argument("data", metavar="DATA")
    make.add_argument("-o", "--output", metavar="REF", required=True, help="the file to write")
    _data.add_data_options(make)
    make.add_argument("--independent", action="store_true", help="rows have no order that matters")
    make.add_argument("--tick", metavar="10s", help="the tick the agent will have (drift.tick)")
    make.add_argument("--config", metavar="F", help="the agent's configuration")
    show = actions.add_parser("show", help="rows, features, ignored columns, minimum detectable effect")
    show.add_argument("reference", metavar="REF")
    show.add_argument("--json", action="store_true", help="as JSON")
    show.add_argument("--false-alarms", metavar="BUDGET", help="the budget for the minimum detectable effect")
    show.add_argument("--min-effect", metavar="D", help="drift.min_effect for the same")
    show.add_argument("--config", metavar="F", help="the agent's configuration")
    accept = actions.add_parser("accept", help="a running agent takes the current data as the new normal")
    accept.add_argument("--model", metavar="NAME", help="which model, where several are watched")
    accept.add_argument("--agent", metavar="NAME", help="which instance, where several run")


def run(args: argparse.Namespace) -> int:
    """Does one of them; exit 0, 2 for bad input or nothing to accept, 4 for too few rows."""
    return {"build": _build, "show": _show, "accept": _accept}[args.action](args)


def _accept(args: argparse.Namespace) -> int:
    answer = _agents.ask(_agents.find(args.agent), {"do": "accept", "model": args.model})
    print(f"{answer['model']}: {answer['words']}")
    return 0


def _build(args: argparse.Namespace) -> int:
    settings = _data.load_settings(args, {"drift.tick": args.tick})
    file = DataFile(args.data, _data.layout(args), skip_bad=args.skip_bad)
    _data.check_output(args.output, "the reference")
    made = _data.build_reference(file, args, settings)
    _data.write_output(args.output, made.to_json() + "\n", "the reference")
    watched = ", ".join(f.name for f in made.features[:8]) + (" ..." if len(made.features) > 8 else "")
    print(f"{args.output}: reference {made.id}, {made.rows:,} rows, {len(made.features)} streams: {watched}")
    for ignored in made.ignored:
        print(f"  not watched: {ignored.name}: {ignored.reason}")
    return 0


def _show(args: argparse.Namespace) -> int:
    from pilotfish_agent.drift.watch import DriftWatch

    made = load(args.reference)
    settings = _data.load_settings(args, {"drift.false_alarms": args.false_alarms, "drift.min_effect": args.min_effect})
    drift = settings.section("drift")
    most = settings.section("limits").features
    effects = detectable(DriftWatch(made.model or "", made, drift, max_features=most))
    if args.json:
        print(json.dumps(summary(made, effects, drift.false_alarms.text), ensure_ascii=False, allow_nan=False))
    else:
        sys.stdout.writelines(line + "\n" for line in _table(made, effects, drift.false_alarms.text))
    return 0


def detectable(watch: DriftWatch) -> dict[str, float | None]:
    """Minimum detectable effect (sd) of each stream at the watch's budget, None where there is none."""
    request = watch.table_request()
    if request is None:
        return {}
    found = _data.make_tables(request, os.environ)
    return {spec.name: table.mde for spec, table in zip(request.specs, found, strict=True)}


def summary(made: Reference, effects: Mapping[str, float | None], budget: str) -> dict[str, Any]:
    """The object of ``reference show --json``."""
    return {
        "id": made.id,
        "created": made.created,
        "model": made.model,
        "version": made.version,
        "rows": made.rows,
        "skipped_rows": made.skipped_rows,
        "from": made.begins,
        "to": made.ends,
        "source": made.source,
        "false_alarms": budget,
        "strata": dict(made.strata),
        "features": [
            {
                "name": f.name,
                "kind": f.kind,
                "rows": f.rows,
                "bins": len(f.counts),
                "missing": _missing(f),
                "strata": strata.kind_of(f.strata),
                "phi": f.phi,
                "phi_source": f.phi_source,
                "minimum_detectable_effect": effects.get(f.name),
            }
            for f in made.features
        ],
        "ignored": [{"name": i.name, "reason": i.reason} for i in made.ignored],
    }


def _missing(f: FeatureReference) -> int:
    counted = int(f.counts[f.special["missing"] if f.special else -1])
    return counted if f.stratum_edges is None else round(f.rows * counted / int(f.counts.sum()))


def _pattern(f: FeatureReference) -> str:
    if f.strata == 1:
        return ""
    how = "ranks" if f.stratum_edges is not None else "tables"
    return f"{strata.WORDS[strata.kind_of(f.strata)]} ({how})"


def _table(made: Reference, effects: Mapping[str, float | None], budget: str) -> Iterator[str]:
    who = " ".join(x for x in (made.model, made.version) if x)
    yield f"reference {made.id}{' of ' + who if who else ''}: {made.rows:,} rows from {made.source or 'traffic'}"
    if made.begins is not None and made.ends is not None:
        yield f"from {_moment(made.begins)} to {_moment(made.ends)}"
    kind, zone = made.strata.get("kind", "none"), made.strata.get("timezone", "UTC")
    if kind != "none":
        yield f"daily or weekly patterns: rows are compared {strata.WORDS[kind]}, in {zone}, where a stream has one"
    lines: list[tuple[str, ...]] = [
        ("STREAM", "KIND", "ROWS", "BINS", "MISSING", "DEPENDENCE", "DETECTABLE SHIFT", "PATTERN")
    ]
    for f in made.features:
        phi = {"times": f"{f.phi:.2f}", "set": "none (set)", "unknown": "not known"}[f.phi_source]
        least = effects.get(f.name)
        seen = "" if f.kind == "categorical" else "none" if least is None else f"{least:.2f} sd"
        lines.append((f.name, f.kind, f"{f.rows:,}", str(len(f.counts)), f"{_missing(f):,}", phi, seen, _pattern(f)))
    if kind == "none":
        lines = [line[:-1] for line in lines]
    wide = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        yield "  ".join(cell.ljust(w) for cell, w in zip(line, wide, strict=True)).rstrip()
    for ignored in made.ignored:
        yield f"not watched: {ignored.name}: {ignored.reason}"
    yield f"detectable shift: the smallest shift of the mean found within 20,000 rows at a budget of {budget}"
    for notice in _data.reference_notices(made):
        yield f"notice: {notice}"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
