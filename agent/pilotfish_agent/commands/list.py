"""``pilotfish list``: every part that this installation has, and every metric that it can export."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Iterator

from pilotfish_agent import catalogue
from pilotfish_alerts import generate
from pilotfish_core import registry

HELP = "list the parts of this installation and the metrics they export"

FOLDERS = {
    "collector": "pilotfish_agent.hardware",
    "decoder": "pilotfish_agent.decode",
    "detector": "pilotfish_agent.drift.detectors",
    "encoder": "pilotfish_agent.drift.encoders",
    "test": "pilotfish_agent.drift.tests",
    "scrape": "pilotfish_agent.scrape",
    "probe": "pilotfish_agent.probe",
    "exporter": "pilotfish_exporters",
    "alert": generate.PACKAGE,
}
"""Kind of part -> the folder that is its registry."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the option."""
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace) -> int:
    """Prints them."""
    sys.stdout.write(_json() if args.json else _text())
    return 0


def parts() -> Iterator[tuple[str, str, str]]:
    """(kind, name, one line of what it is) of every part: the first line of its file's docstring."""
    for kind, folder in FOLDERS.items():
        if importlib.util.find_spec(folder) is None:
            continue
        for name, module in registry.parts(folder):
            yield kind, name, (module.__doc__ or "").strip().split("\n")[0]


def _text() -> str:
    lines = []
    listed = list(parts())
    wide = max(len(name) for _, name, _ in listed)
    for kind in FOLDERS:
        of_kind = [(n, w) for k, n, w in listed if k == kind]
        lines += [f"{kind}s", *(f"  {n:<{wide}}  {w}" for n, w in of_kind), ""]
    lines.append("metrics")
    for metric in catalogue.metrics():
        labels = "{" + ",".join(metric.labels) + "}" if metric.labels else ""
        lines.append(f"  {metric.kind:<9}  {metric.name}{labels}")
    return "\n".join(lines) + "\n"


def _json() -> str:
    named = [{"kind": k, "name": n, "about": w} for k, n, w in parts()]
    exported = [{"name": m.name, "kind": m.kind, "labels": list(m.labels), "help": m.help} for m in catalogue.metrics()]
    return json.dumps({"parts": named, "metrics": exported}, indent=2) + "\n"
