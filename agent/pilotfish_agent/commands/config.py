"""``pilotfish config check|show|example``: is the configuration right, what is in force, what could stand in it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator

from pilotfish_agent import catalogue, config
from pilotfish_core.config import FreeSection, ListSection, options

HELP = "check or show the configuration, or print an example"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the three subcommands."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="check|show|example")
    check = actions.add_parser("check", help="exit 2 and one line for each problem, 0 when all is good")
    check.add_argument("file", nargs="?", help="else --config, $PILOTFISH_CONFIG or " + config.DEFAULT_PATH)
    check.add_argument("--config", metavar="F", help="the same as FILE")
    show = actions.add_parser("show", help="every value in force and where it comes from")
    show.add_argument("--config", metavar="F", help="else $PILOTFISH_CONFIG or " + config.DEFAULT_PATH)
    show.add_argument("--json", action="store_true", help="as JSON")
    example = actions.add_parser("example", help="a configuration file with every key")
    example.add_argument("--schema", action="store_true", help="its JSON Schema instead, for an editor")


def run(args: argparse.Namespace) -> int:
    """Does one of them; exit 0, or 2 when the configuration is wrong."""
    if args.action == "example":
        text = json.dumps(catalogue.schema(), indent=2) + "\n" if args.schema else catalogue.example()
        sys.stdout.write(text)
        return 0
    path = args.config or getattr(args, "file", None)
    settings = config.load(path, os.environ, {})
    if args.action == "show":
        sys.stdout.write(_json(settings) if args.json else _table(settings))
    for warning in settings.warnings:
        print(f"pilotfish: warning: {warning}", file=sys.stderr)
    for problem in settings.problems:
        print(f"pilotfish: {problem.line()}", file=sys.stderr)
    if settings.problems:
        return 2
    if args.action == "check":
        print(_good(settings))
    return 0


def _good(settings: config.Settings) -> str:
    given = len(settings.origins)
    keys = f"{given} key{'' if given == 1 else 's'} set, everything else at its default"
    return f"{settings.path or 'no configuration file'}: good, {keys}"


def rows(settings: config.Settings) -> Iterator[tuple[str, str, str]]:
    """(key, value as a user would write it, where it comes from) of everything in force."""
    for name, section in catalogue.sections().items():
        value = settings.section(name)
        if isinstance(section, FreeSection):
            yield from ((f"{name}.{k}", v, settings.origins[f"{name}.{k}"]) for k, v in value.items())
            continue
        if isinstance(section, ListSection):
            listed = [k for k in settings.given if k.startswith(f"{name}[")]
            yield from ((k, catalogue.words(settings.given[k]), settings.origins[k]) for k in listed)
            continue
        for key, option in options(section).items():
            dotted = f"{name}.{key}"
            given = dotted in settings.given
            text = catalogue.words(settings.given[dotted]) if given else catalogue.words(getattr(value, key), option)
            yield dotted, text, settings.origins.get(dotted, "default")


def _table(settings: config.Settings) -> str:
    lines = [(key, value or "(not set)", origin) for key, value, origin in rows(settings)]
    wide = [max(len(line[i]) for line in lines) for i in (0, 1)]
    return "".join(f"{k:<{wide[0]}}  {v:<{wide[1]}}  {o}\n" for k, v, o in lines)


def _json(settings: config.Settings) -> str:
    found = {key: {"value": value or None, "origin": origin} for key, value, origin in rows(settings)}
    return json.dumps({"file": settings.path, "keys": found}, indent=2) + "\n"
