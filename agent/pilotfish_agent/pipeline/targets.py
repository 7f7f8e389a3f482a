"""The watched process trees: each is found, followed and sampled by itself."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pilotfish_agent.hardware import _runner
from pilotfish_agent.hardware._context import HardwareContext, HostContext
from pilotfish_agent.hardware._runner import Runner
from pilotfish_agent.launch.postmortem import Ending
from pilotfish_agent.target.daemons import Daemons
from pilotfish_agent.target.group import ControlGroup
from pilotfish_agent.target.locate import Finder
from pilotfish_agent.target.processes import Processes
from pilotfish_agent.target.tree import ProcessTree
from pilotfish_core.events import Event, Events
from pilotfish_core.metrics import Metric, Reading, Sample, Unavailable

TARGET_UP = Metric(
    "pilotfish_target_up",
    "gauge",
    "1 while the watched process runs, else 0; under `run` the agent leaves with it, so alert on `up` there.",
    ("target",),
)
METRICS = (TARGET_UP,)
FOUND = Event("target_found", "info", "A watched process is there: the first one, or the next after it ended.")
LOST = Event("target_lost", "warning", "A watched process has ended, how as far as known; `attach` waits for the next.")
UNSEEN = Event("target_unclear", "warning", "Several processes match a target, or it cannot be seen; words say which.")
BEFORE = Event("target_ended_before", "info", "How a target's process before this one ended, as it was recorded.")
EVENTS = (FOUND, LOST, UNSEEN, BEFORE)
PORT_SECONDS = 1.0
"""Between two looks whether a target's port is another process' now, while the old one still runs: 0.1 ms each."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A target as it was asked for.

    Attributes:
        name: value of the label `target`.
        key: its root, (pid, start time), where it is there already.
        find: looks for it; None under `run`, where the agent ends with its model.
        before: how its process before this one ended, where that was recorded and no agent has counted it.
        launched: epoch seconds at which `pilotfish run` was about to become it; None where nobody did.
    """

    name: str
    key: tuple[int, int | None] | None
    find: Finder | None
    before: Ending | None = None
    launched: float | None = None


class Watched:
    """One target. One thread uses it.

    Args:
        wanted: what was asked for.
        host: the machine on which it runs.
        exclude: our own processes, where they hang in the same tree.
        events: where things are told.

    Attributes:
        ports: TCP ports known to be its: traffic on them is its traffic.
        launched: as of ``wanted``.
    """

    def __init__(
        self,
        wanted: Wanted,
        *,
        host: HostContext,
        events: Events,
        exclude: frozenset[int] = frozenset(),
    ) -> None:
        clock = host.clock
        self.name = wanted.name
        self.launched = wanted.launched
        self.tree = ProcessTree(*(wanted.key or (0, None)), clock=clock, exclude=exclude)
        port = wanted.find.selector.port if wanted.find is not None else None
        self.ports: frozenset[int] = frozenset() if port is None else frozenset({port})
        self._find = wanted.find
        self._clock = clock
        self._events = events
        group = ControlGroup(self.tree, host.sys)
        self.tree.oom_kills = group.oom_kills
        self.tree.ends.records = None if host.exits is None else host.exits.reader()
        self.tree.daemons = Daemons(self.tree, group)
        self._runner = Runner(HardwareContext(host, self.tree, self.name, group, events), events=events)
        self._next_port = 0.0
        self._told = ""
        self._was_up = False
        self._ending: Ending | None = None
        if (last := wanted.before) is not None:
            self.tree.ends.count(last.cause)
            events.emit(BEFORE, target=self.name, cause=last.cause, pid=last.pid, code=last.code, signal=last.signal)

    @property
    def up(self) -> bool:
        """Whether its root runs, as of the last sample."""
        return self.tree.root is not None

    @property
    def notice(self) -> str:
        """What a user should know of how it was, or was not, found; empty for nothing."""
        return "" if self._find is None else self._find.notice

    def sample(self, table: Callable[[], Processes]) -> list[Reading]:
        """Finds it where it is not there (in ``table``), and reads everything of it."""
        self._locate(table)
        readings = self._runner.collect()
        self._tell()
        return [*readings, Sample(TARGET_UP, (self.name,), float(self.up))]

    @property
    def ending(self) -> Ending | None:
        """How its process ended last, as far as we have seen one."""
        seen, known = self.tree.ends.root, self._ending
        if seen is not None and (known is None or (known.pid, known.start) != seen.key):
            self._ending = Ending.of(*seen.key, self._clock.wall(), seen.status, seen.cause)
        return self._ending

    def status(self) -> dict[str, Any]:
        """Its line of `status`."""
        root, last = self.tree.root, self.ending
        found: dict[str, Any] = {"name": self.name, "pid": root.pid if root else None, "up": root is not None}
        if last is not None and last.how():
            found["ended"] = f"PID {last.pid} {last.how()}"
        return found

    def close(self) -> None:
        """Closes what its collectors hold."""
        self._runner.close()

    def _locate(self, table: Callable[[], Processes]) -> None:
        root, now = self.tree.root, self._clock.monotonic()
        if self._find is None or (root is not None and now < self._next_port):
            return
        self._next_port = now + PORT_SECONDS
        if root is not None and not self._find.moved():
            return
        found = self._find(table)
        if found is None or (root is not None and found == root.key):
            return
        # Workers on sockets of their own came up below one parent: the tree has grown upwards, nothing has restarted.
        grown = root is not None and found[0] in table().chain(root.pid)
        self.tree.follow(*found, restarted=not grown)

    def _tell(self) -> None:
        root = self.tree.root
        if (root is not None) != self._was_up:
            self._was_up = root is not None
            last = self.ending
            if root is not None:
                self._events.emit(FOUND, target=self.name, pid=root.pid)
            elif last is None:
                self._events.emit(LOST, target=self.name, pid=None)
            else:
                how = {"cause": last.cause, "code": last.code, "signal": last.signal}
                self._events.emit(LOST, target=self.name, pid=last.pid, **how)
        if self.notice != self._told:
            self._told = self.notice
            if self._told:
                self._events.emit(UNSEEN, target=self.name, words=self._told)


def sample(targets: Sequence[Watched]) -> list[Reading]:
    """The readings of all targets: a collector's success is the worst of them, its duration the sum."""
    table = functools.cache(Processes)  # all targets that are looked for now are sought in one table
    if len(targets) == 1:
        return targets[0].sample(table)
    found: list[Reading] = []
    runs: dict[tuple[Metric, tuple[str | None, ...]], list[float]] = {}
    gaps: dict[Unavailable, None] = {}
    for reading in (r for target in targets for r in target.sample(table)):
        if isinstance(reading, Unavailable):
            gaps[reading] = None
        elif reading.metric in _JOINED and isinstance(reading.value, float):
            runs.setdefault((reading.metric, reading.labels), []).append(reading.value)
        else:
            found.append(reading)
    joined = [Sample(metric, labels, float(_JOINED[metric](values))) for (metric, labels), values in runs.items()]
    return [*found, *joined, *gaps]


_JOINED: dict[Metric, Callable[[Iterable[float]], float]] = {_runner.SUCCESS: min, _runner.DURATION: sum}


def of_port(targets: Sequence[Watched], port: int) -> str:
    """The target whose traffic is on a port; the first one where no target is known to have it."""
    return next((t.name for t in targets if port in t.ports), targets[0].name)
