"""``pilotfish rules``: alerts and recording rules, as a Prometheus rule file or a PrometheusRule, to stdout."""

from __future__ import annotations

import argparse
import json
import sys

from pilotfish_alerts import generate
from pilotfish_core.errors import UsageError

HELP = "print the alert and recording rules for Prometheus"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument(
        "--format",
        choices=("prometheus", "kubernetes"),
        default="prometheus",
        help="a rule file (default), or a PrometheusRule for the Prometheus operator",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change a limit, such as latency_seconds=0.3 or job=serving; may be repeated; see --settings",
    )
    parser.add_argument("--settings", action="store_true", help="list what --set takes, its default and its reason")
    parser.add_argument("--json", action="store_true", help="with --settings: as JSON")
    parser.add_argument(
        "--runbooks",
        default=generate.RUNBOOKS,
        metavar="URL",
        help="where docs/alerts.md can be read, for runbook_url (default: the project's site; empty: no runbook_url)",
    )


def run(args: argparse.Namespace) -> int:
    """Prints them."""
    if args.settings:
        sys.stdout.write(_settings_json() if args.json else _settings())
        return 0
    if args.json:
        raise UsageError("--json", expected="--settings beside it", todo="rules are YAML: leave --json out")
    changed = dict(_pair(text) for text in args.set)
    make = generate.kubernetes if args.format == "kubernetes" else generate.prometheus
    sys.stdout.write(make(changed, args.runbooks))
    return 0


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError("--set", got=text, expected="NAME=VALUE", todo="see `pilotfish rules --settings`")
    return name.strip(), value.strip()


def _settings_json() -> str:
    listed = [{"name": n, "default": s.default, "about": s.help} for n, s in sorted(generate.every_setting().items())]
    return json.dumps({"settings": listed}, indent=2) + "\n"


def _settings() -> str:
    found = generate.every_setting()
    wide = max(map(len, found))
    return "".join(f"{n:<{wide}}  {found[n].default:<10}  {found[n].help}\n" for n in sorted(found))
