"""``pilotfish attach``: the agent beside a process that runs already; the daemon of a unit or a container."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pilotfish_agent.launch import notify, places
from pilotfish_agent.launch.handover import Handover
from pilotfish_agent.launch.places import Instance
from pilotfish_agent.target import processes
from pilotfish_agent.target.locate import Finder, Key, Selector
from pilotfish_core.errors import UnavailableError, UsageError

if TYPE_CHECKING:
    from pilotfish_agent import config
    from pilotfish_agent.pipeline.targets import Wanted
    from pilotfish_agent.settings import Target

HELP = "watches a running process tree, found by PID, port, name, control group or unit"


def configure(parser: argparse.ArgumentParser) -> None:
    """The options that `run` has too, and the selectors."""
    parser.add_argument("--config", metavar="F", help="configuration file")
    selectors(parser)
    parser.add_argument("--listen", metavar="ADDR", help="where to serve HTTP (default 127.0.0.1:7374)")
    parser.add_argument("--instance", metavar="NAME", help="name of this agent")
    parser.add_argument("--model", metavar="NAME", help="name of the model where the traffic names none")
    parser.add_argument("--model-version", metavar="V", help="its version")
    parser.add_argument("--capture", metavar="MODE", help="how traffic is seen: auto, tap, relay or off")
    parser.add_argument("--relay-listen", metavar="ADDR", help="where the relay listens, with --capture relay")
    parser.add_argument("--reference", metavar="REF", help="a built reference, or a data file")
    parser.add_argument("--state-dir", metavar="D", help="where state is kept")
    parser.add_argument("--log-file", metavar="F", help="where the log goes; -: stderr")
    parser.add_argument("--intake-group", metavar="GROUP", help="the group that may send to intake.sock")
    parser.add_argument("--quiet", action="store_true", help="no line on stderr, except errors that end it")


def selectors(parser: argparse.ArgumentParser) -> None:
    """The options that name a process; `doctor` has them too."""
    group = parser.add_argument_group("which process", "all that are given must hold; of several trees the oldest")
    group.add_argument("--pid", metavar="N", help="the root of the process tree")
    group.add_argument("--port", metavar="N", help="a TCP port on which it or a process below it listens")
    group.add_argument("--name", metavar="REGEX", help="sought in the command line")
    group.add_argument("--cgroup", metavar="PATH", help="it is in this control group, or below")
    group.add_argument("--unit", metavar="NAME", help="it belongs to this systemd unit")


class Voice:
    """No guard listens: the start line and what goes wrong before it are printed, the service manager is told.

    Args:
        quiet: nothing is printed.
        manager: systemd, where it started us.
    """

    __slots__ = ("_done", "_manager", "alone")

    def __init__(self, quiet: bool, manager: notify.Manager) -> None:
        self.alone = True
        self._done = quiet
        self._manager = manager

    def beat(self) -> None:
        """The watchdog's sign of life."""
        self._manager.beat()

    def warn(self, text: str) -> None:
        """One line, until the start line; then it is the log's."""
        if not self._done:
            print(f"pilotfish: {text}", file=sys.stderr, flush=True)

    def ready(self, text: str) -> None:
        """The start line."""
        self.warn(text)
        self._done = True
        self._manager.ready(text)

    def tell(self, text: str) -> None:
        """What is watched now, for `systemctl status`."""
        self._manager.status(text)

    def ended(self, cause: str) -> None:
        """Whoever started the model knows."""

    def leave(self) -> None:
        """The end begins."""
        self._manager.stopping()


def run(args: argparse.Namespace) -> int:
    """Runs the agent in this process until SIGTERM or SIGINT."""
    from pilotfish_agent import reload, start
    from pilotfish_agent.capture import rights
    from pilotfish_agent.launch.options import config_flags
    from pilotfish_agent.launch.values import problems, with_variables
    from pilotfish_agent.surroundings import Surroundings
    from pilotfish_core.clock import SystemClock

    _be_called("pf-agent")
    voice = Voice(args.quiet, notify.Manager(os.environ, time.monotonic))
    given = {k.replace("_", "-"): v for k, v in vars(args).items() if v is not None}
    given = with_variables(given, os.environ)
    origin = reload.Origin(args.config, {**config_flags(given), **target_flags(args)}, args.reference)
    settings = origin.settings()
    for problem in (*settings.problems, *problems(given), *rights.problems(settings.section("capture"))):
        raise problem
    targets = wanted(settings)
    for target in targets:
        if target.find is not None and target.find.notice:
            voice.warn(target.find.notice)
    references, wrong = reload.references(origin, settings, lambda: None)
    for problem in wrong:
        raise problem
    own = (os.getpid(), processes.start_time(os.getpid()) or 0)
    name = args.instance or settings.section("model").name or targets[0].name
    bases = places.runtime_bases(lambda v: os.environ.get(v, ""))
    states = places.state_bases(lambda v: os.environ.get(v, ""), args.state_dir or "")
    try:
        instance = places.claim(name, bases, states, own, group=args.intake_group or "")
    except places.NoPlaceError as error:
        raise UnavailableError("attach: no runtime folder", got=str(error), todo="set PILOTFISH_RUNTIME_DIR") from None
    if args.state_dir and instance.problem:
        places.release(instance, own)
        raise UsageError("--state-dir", got=args.state_dir, expected=f"a folder we can write; {instance.problem}")
    handover = _handover(given, instance, targets[0].name)
    around = Surroundings(handover, settings, origin, SystemClock(), voice, targets=targets, references=references)
    try:
        return start.start(around)
    finally:
        places.release(instance, own)


def target_flags(args: argparse.Namespace) -> dict[str, str]:
    """The selectors of the command line, by configuration key."""
    names = ("pid", "port", "name", "cgroup", "unit")
    return {f"target.{name}": value for name in names if (value := getattr(args, name)) is not None}


def wanted(settings: config.Settings) -> list[Wanted]:
    """What the configuration and the command line ask for, looked for once.

    Raises:
        UsageError: nothing is asked for, or a target can never be found without a right that we lack.
    """
    from pilotfish_agent.pipeline.targets import Wanted

    found: list[Wanted] = []
    for target in _asked(settings):
        find = Finder(Selector(target.pid, target.port, target.name, target.cgroup, target.unit))
        key = find()
        if find.refused is not None:
            raise find.refused
        found.append(Wanted(_label(find.selector, key, [w.name for w in found]), key, find))
    return found


def _asked(settings: config.Settings) -> Sequence[Target]:
    one, several = settings.section("target"), settings.section("targets")
    if one != type(one)():
        origins = [o for key, o in settings.origins.items() if key.startswith("target.")]
        if several and all(o.startswith(f"{settings.path}:") for o in origins):
            raise UsageError(f"{settings.path}: both `target` and `targets`", expected="one of them")
        return [one]  # what the command line or a variable names stands above the file's list
    if not several:
        expected = "--pid N, --port N, --name REGEX, --cgroup PATH, --unit NAME, or target: in the config"
        raise UsageError("attach: no selector", expected=expected, todo="see `pilotfish attach --help`")
    return list(several)


def _label(selector: Selector, key: Key | None, taken: Sequence[str]) -> str:
    """What the label `target` says: the name or unit asked for, else the process' name, else what it is sought by."""
    base = selector.name or selector.unit or (processes.command(key[0]) if key else "")
    if not base:
        last = (selector.cgroup or "").rpartition("/")[2]
        base = last or (f"port-{selector.port}" if selector.port is not None else "model")
    number = 2
    name = base
    while name in taken:
        name, number = f"{base}-{number}", number + 1
    return name


def _be_called(name: str) -> None:
    """The agent's own command name, by which it is told from a model of the same words."""
    try:
        with open("/proc/self/comm", "w", encoding="ascii") as file:
            file.write(name)
    except OSError:
        pass


def _handover(given: dict[str, str], instance: Instance, target: str) -> Handover:
    state = instance.state
    log = given.get("log-file") or os.environ.get("PILOTFISH_LOG_FILE") or (f"{state}/agent.log" if state else "-")
    return Handover(
        instance=instance.name,
        runtime_dir=instance.runtime,
        state_dir=state,
        log_file="" if log == "-" else log,
        target=target,
        cwd=os.getcwd(),
        launched_ns=time.time_ns(),
        problems=[instance.problem] if instance.problem else [],
        options={k: v for k, v in given.items() if k in {"listen", "intake-group", "config"}},
    )
