"""``pilotfish reload``: a running agent reads its configuration and references anew."""

from __future__ import annotations

import argparse
import sys

from pilotfish_agent.commands import _agents

HELP = "a running agent reads its configuration and references anew, and says what that changes"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the option."""
    parser.add_argument("--agent", metavar="NAME", help="which instance, where several run")


def run(args: argparse.Namespace) -> int:
    """Asks and prints; exit 2 when something is wrong with what was read: then everything stays as it was."""
    agent = _agents.find(args.agent)
    answer = _agents.ask(agent, {"do": "reload"})
    sys.stdout.write(f"{agent.name}: {answer['words']}\n")
    return 0
