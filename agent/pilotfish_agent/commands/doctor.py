"""``pilotfish doctor``: which signals and capture modes work here, tried; why the others do not, and what helps."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any

from pilotfish_agent import config
from pilotfish_agent.commands.attach import selectors, target_flags
from pilotfish_agent.doctor import _finding, _gpus
from pilotfish_agent.doctor._finding import Finding, Situation
from pilotfish_agent.hardware._context import HostContext
from pilotfish_agent.launch import places
from pilotfish_agent.settings import Target
from pilotfish_agent.target import processes
from pilotfish_agent.target.exit_feed import Feed
from pilotfish_agent.target.locate import Finder, Selector
from pilotfish_core.clock import SystemClock

HELP = "tells which signals and capture modes work here, and what would enable the others"
_MARKS = {"works": ("yes", "32"), "partly": ("part", "33"), "missing": ("no", "31")}


def configure(parser: argparse.ArgumentParser) -> None:
    """The selectors of `attach`, and the form."""
    parser.add_argument("--config", metavar="F", help="configuration file; its target: is looked at when none is given")
    parser.add_argument("--json", action="store_true", help="as JSON")
    selectors(parser)


def run(args: argparse.Namespace) -> int:
    """Tries everything and prints it; 0 whatever works."""
    settings = config.load(args.config, os.environ, target_flags(args))
    for problem in settings.problems:
        raise problem
    asked = [t for t in (settings.section("target"), *settings.section("targets")) if t != Target()]
    with _gpus.asked(settings.section("gpu")) as gpus, closing(Feed.of("/sys")) as exits:
        machine = HostContext(SystemClock(), state=_state_folder(), gpus=gpus, exits=exits)
        documents = [_examined(target, settings, machine) for target in asked or [None]]
    if args.json:
        sys.stdout.write(json.dumps(documents[0] if len(documents) == 1 else {"targets": documents}, indent=2) + "\n")
    else:
        color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        sys.stdout.write("\n".join("".join(f"{line}\n" for line in screen(d, color=color)) for d in documents))
    return 0


def _examined(target: Target | None, settings: config.Settings, machine: HostContext) -> dict[str, Any]:
    """The document of one target; None: of ourselves in the place of one."""
    asked = target or Target()
    find = Finder(Selector(asked.pid, asked.port, asked.name, asked.cgroup, asked.unit))
    key = (os.getpid(), 0) if target is None else find()
    pid = key[0] if key is not None else None
    uid = _finding.user_of(pid) if pid is not None else None
    situation = Situation(
        pid=pid,
        named=target is not None,
        refused=find.refused is not None,
        uid=os.geteuid() if uid is None else uid,
        port=asked.port,
        capture=settings.section("capture"),
        machine=machine,
    )
    words = find.notice
    if target is None:
        words = "none was named: this process stands for a model of the same user"
    elif pid is None and not words:
        words = f"{find.selector.words()}: no such process now; `attach` waits for it"
    reports = _finding.examine(situation)
    return {
        "version": version("pilotfish"),
        "kernel": platform.release(),
        "user": {"uid": os.geteuid(), "capabilities": sorted(_finding.capabilities())},
        "target": {"pid": pid, "name": processes.command(pid) if pid else None, "uid": uid, "words": words},
        "areas": {r.name: {"title": r.title, "findings": [asdict(f) for f in r.findings]} for r in reports},
    }


def _state_folder() -> str | None:
    """Where an agent of ours would keep its state, as far as that is there."""
    for base in places.state_bases(lambda name: os.environ.get(name, "")):
        folder = base
        while not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    return None


def screen(document: dict[str, Any], *, color: bool) -> Iterator[str]:
    """The document as lines for people."""
    user, target = document["user"], document["target"]
    rights = ", ".join(user["capabilities"]) or "no capability of those that matter"
    yield f"Pilotfish {document['version']} on Linux {document['kernel']}, uid {user['uid']}: {rights}"
    if target["pid"] is not None:
        yield f"target: PID {target['pid']} ({_clean(target['name'])}), uid {target['uid']}"
    if target["words"]:
        yield f"target: {_clean(target['words'])}"
    for area in document["areas"].values():
        findings = list(_folded(Finding(**f) for f in area["findings"]))
        wide = max((len(_short(f.name)) for f in findings), default=0)
        yield ""
        yield area["title"]
        told = ""
        for finding in findings:
            again = finding.enable == told  # one remedy for many signals is told once
            yield from _lines(replace(finding, enable="") if again else finding, wide, color=color)
            told = finding.enable


def _folded(findings: Iterable[Finding]) -> Iterator[Finding]:
    """What is missing for one reason is one line: a machine without a GPU has 18 metrics less."""
    for _, group in itertools.groupby(findings, key=lambda f: (f.state, f.reason, f.words, f.enable)):
        first, *more = group
        if first.state == "missing" and len(more) > 1:
            yield replace(first, name=f"{_short(first.name)} and {len(more)} more")
        else:
            yield from (first, *more)


def _lines(finding: Finding, wide: int, *, color: bool) -> Iterator[str]:
    mark, code = _MARKS[finding.state]
    shown = f"\033[{code}m{mark:<4}\033[0m" if color else f"{mark:<4}"
    why = f"{finding.reason}: " if finding.reason is not None else ""
    yield f"  {shown}  {_short(finding.name):<{wide}}  {why}{_clean(finding.words)}".rstrip()
    if finding.enable:
        yield f"  {'':<4}  {'':<{wide}}  -> {_clean(finding.enable)}"


def _short(name: str) -> str:
    return name.removeprefix("pilotfish_")


def _clean(value: object) -> str:
    """Text for a terminal: names of processes must not move the cursor."""
    return "".join(c if c.isprintable() else "\ufffd" for c in str(value))
