"""``pilotfish attach``: the agent beside a process that runs already; the daemon of a unit or a container."""

from __future__ import annotations

import argparse
import os
import sys
import time

from pilotfish_agent.launch import places
from pilotfish_agent.launch.handover import Handover
from pilotfish_agent.launch.places import Instance
from pilotfish_core.errors import UnavailableError, UsageError

HELP = "watches a running process tree by PID or port"


def configure(parser: argparse.ArgumentParser) -> None:
    """The options that `run` has too, and the selectors."""
    parser.add_argument("--config", metavar="F", help="configuration file")
    parser.add_argument("--pid", help="the root of the process tree")
    parser.add_argument("--port", help="a TCP port on which the process listens; with --pid both must agree")
    parser.add_argument("--listen", metavar="ADDR", help="where to serve HTTP (default 127.0.0.1:7374)")
    parser.add_argument("--instance", metavar="NAME", help="name of this agent")
    parser.add_argument("--model", metavar="NAME", help="name of the model where the traffic names none")
    parser.add_argument("--model-version", metavar="V", help="its version")
    parser.add_argument("--capture", metavar="MODE", help="in this version auto and off: the SDK tells of the traffic")
    parser.add_argument("--reference", metavar="REF", help="a built reference, or a data file")
    parser.add_argument("--state-dir", metavar="D", help="where state is kept")
    parser.add_argument("--log-file", metavar="F", help="where the log goes")
    parser.add_argument("--intake-group", metavar="GROUP", help="the group that may send to intake.sock")
    parser.add_argument("--quiet", action="store_true", help="no line on stderr, except errors that end it")


class Voice:
    """No guard listens: the start line and what goes wrong before it are printed here.

    Args:
        quiet: nothing is.
    """

    __slots__ = ("_done", "alone")

    def __init__(self, quiet: bool) -> None:
        self.alone = True
        self._done = quiet

    def beat(self) -> None:
        """Nobody waits for it."""

    def warn(self, text: str) -> None:
        """One line, until the start line; then it is the log's."""
        if not self._done:
            print(f"pilotfish: {text}", file=sys.stderr, flush=True)

    def ready(self, text: str) -> None:
        """The start line."""
        self.warn(text)
        self._done = True


def run(args: argparse.Namespace) -> int:
    """Runs the agent in this process until SIGTERM or SIGINT."""
    from pilotfish_agent import app, config
    from pilotfish_agent.hardware import _locate
    from pilotfish_agent.launch.values import problems
    from pilotfish_agent.reference_file import load_reference
    from pilotfish_core.clock import SystemClock

    given = {k.replace("_", "-"): v for k, v in vars(args).items() if v is not None}
    flags = {"model.name": args.model, "model.version": args.model_version}
    flags |= {"target.pid": args.pid, "target.port": args.port}
    settings = config.load(args.config, os.environ, {k: v for k, v in flags.items() if v is not None})
    for problem in (*settings.problems, *problems(given)):
        raise problem
    target = settings.section("target")
    if target.pid is None and target.port is None:
        todo = "see `pilotfish attach --help`"
        raise UsageError("attach: no selector", expected="--pid N, --port N, or target: in the config", todo=todo)
    reference = load_reference(args.reference, args.config, lambda: None) if args.reference else None
    find = _locate.finder(target.pid, target.port)
    key = find()
    own = (os.getpid(), _locate.start_time(os.getpid()) or 0)
    name = args.instance or settings.section("model").name or _name(key, target.port)
    bases = places.runtime_bases(lambda v: os.environ.get(v, ""))
    states = places.state_bases(lambda v: os.environ.get(v, ""), args.state_dir or "")
    try:
        instance = places.claim(name, bases, states, own, group=args.intake_group or "")
    except places.NoPlaceError as error:
        raise UnavailableError("attach: no runtime folder", got=str(error), todo="set PILOTFISH_RUNTIME_DIR") from None
    if args.state_dir and instance.problem:
        places.release(instance, own)
        raise UsageError("--state-dir", got=args.state_dir, expected=f"a folder we can write; {instance.problem}")
    handover = _handover(given, instance, key, target.port)
    around = app.Surroundings(handover, settings, SystemClock(), Voice(args.quiet), locate=find, reference=reference)
    try:
        return app.start(around)
    finally:
        places.release(instance, own)


def _handover(given: dict[str, str], instance: Instance, key: tuple[int, int] | None, port: int | None) -> Handover:
    state = instance.state
    return Handover(
        instance=instance.name,
        runtime_dir=instance.runtime,
        state_dir=state,
        log_file=given.get("log-file", f"{state}/agent.log" if state else ""),
        target=_name(key, port),
        cwd=os.getcwd(),
        model_pid=key[0] if key else 0,
        model_start=key[1] if key else 0,
        launched_ns=time.time_ns(),
        problems=[instance.problem] if instance.problem else [],
        options={k: v for k, v in given.items() if k in {"listen", "intake-group", "config"}},
    )


def _name(key: tuple[int, int] | None, port: int | None) -> str:
    """Base name of the process, as the kernel has it; the port while nobody is there."""
    if key is None:
        return f"port-{port}" if port is not None else "model"
    try:
        with open(f"/proc/{key[0]}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip() or "model"
    except OSError:  # it has just ended
        return _name(None, port)
