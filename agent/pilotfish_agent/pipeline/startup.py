"""How long the model's processes took to start: until they listen on a port, and from then until they are ready.

What was not seen is not told: a process that already listened when it was first looked at has no load time, unless it
is as young as the time between two samples, or was waited for. Readiness is the first readiness probe that passes, or
the first call with a good answer, whichever comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pilotfish_agent.capture.ports import PortFinder
from pilotfish_agent.hardware._kept import KeptFile
from pilotfish_agent.pipeline.targets import Watched
from pilotfish_agent.probe import _runner as probe
from pilotfish_agent.target.ledger import Key
from pilotfish_agent.target.procfs import CLOCK_TICKS
from pilotfish_agent.target.tree import Member
from pilotfish_agent.windows.requests import REQUESTS
from pilotfish_core.clock import Clock
from pilotfish_core.metrics import Metric, Reading, Sample, Unavailable

DURATION = Metric(
    "pilotfish_model_startup_duration_seconds",
    "gauge",
    "How long the model's present process took: spawn, `pilotfish run` up to exec; load, from its start until it "
    "listened on a port; initialise, from then until its first good answer or readiness probe.",
    ("target", "phase"),
)
METRICS = (DURATION,)
PHASES: Final = ("spawn", "load", "initialise")
YOUNG_SECONDS: Final = 3.0
"""A process that listens already when it is first seen, but is no older, has loaded in less: its age is told."""
HASTE_SECONDS: Final = 60.0
"""For how long after its start a process without a port is looked at at each sample; then every `LATER_SECONDS`."""
LATER_SECONDS: Final = 10.0
_GOOD: Final = frozenset({"0", "OK"})  # of gRPC


@dataclass(frozen=True, slots=True)
class Look:
    """One target at one sample.

    Attributes:
        root: its process; None while there is none.
        age: seconds since the process started.
        listening: whether it listens; None where nobody has looked.
        answered: calls with a good answer so far.
        passed: a readiness probe that has passed; the same object as long as it is the same probe.
    """

    root: Key | None
    age: float = 0.0
    listening: bool | None = None
    answered: float = 0.0
    passed: object = None


class StartUp:
    """One target's start. Pure.

    Attributes:
        phases: seconds of those that are known of the present process.
    """

    def __init__(self) -> None:
        self.phases: dict[str, float] = {}
        self._last: Look | None = None
        self._known = False  # whether it was seen, or waited for, before it listened
        self._listened: float | None = None  # its age then
        self._ready = False

    @property
    def waits(self) -> bool:
        """Whether it is still to listen."""
        return self._listened is None

    def over(self, root: Key | None) -> bool:
        """Whether nothing is left to be seen of a process."""
        if self._last is None or self._last.root != root:
            return False
        return root is None or self._ready or (self._listened is not None and not self._known)

    def late(self, root: Key | None) -> bool:
        """Whether a process has not listened in its first minute: it is looked at rarely from then on."""
        last = self._last
        return last is not None and last.root == root is not None and self.waits and last.age > HASTE_SECONDS

    def see(self, now: Look) -> None:
        """Another sample; none need be given while it is `over`."""
        last, self._last = self._last, now
        fresh = last is None or now.root != last.root
        if last is None or fresh:
            self.phases, self._listened, self._ready = {}, None, False
            # One that was not there a sample ago was found as soon as it could be, whatever its age.
            self._known = now.age <= YOUNG_SECONDS or (last is not None and last.root is None)
        if now.root is None:
            return
        if self._listened is None and now.listening:
            self._listened = now.age
            if self._known:
                self.phases["load"] = now.age
        elif self._listened is None:
            self._known = self._known or now.listening is False
        if self._listened is None or self._ready or last is None or fresh:
            return
        self._ready = now.answered > last.answered or (now.passed is not None and now.passed is not last.passed)
        if self._ready and self._known:
            self.phases["initialise"] = now.age - self._listened


class StartUps:
    """The starts of all targets. One thread uses it.

    Args:
        targets: which.
        clock: for the slower looks, and for the age of what was launched.
        proc: where the proc file system is.
    """

    def __init__(self, targets: Sequence[Watched], clock: Clock, proc: str = "/proc") -> None:
        self._targets = targets
        self._clock = clock
        self._uptime = KeptFile(f"{proc}/uptime")
        self._starts = {target.name: StartUp() for target in targets}
        self._finders = {target.name: PortFinder(proc=proc) for target in targets}
        self._launched = {target.name: target.launched for target in targets if target.launched is not None}
        self._next_look = {target.name: 0.0 for target in targets}

    def see(self, samples: Iterable[Sample]) -> list[Reading]:
        """What is known, after these samples of one moment."""
        roots = [(target, target.tree.root) for target in self._targets]
        starting = [(t, r) for t, r in roots if not self._rests(t.name, None if r is None else r.key)]
        if starting:
            self._look(starting, _answered(samples), _passed(samples))
        found: list[Reading] = []
        for target in self._targets:
            known = self._starts[target.name].phases
            found += [Sample(DURATION, (target.name, phase), known[phase]) for phase in PHASES if phase in known]
        return found or [Unavailable("startup", DURATION.name, "no_data")]

    def _rests(self, name: str, root: Key | None) -> bool:
        """Whether there is nothing to be seen of a target now."""
        start = self._starts[name]
        if start.over(root):
            return True
        return start.late(root) and self._clock.monotonic() < self._next_look[name]

    def _look(self, at: Iterable[tuple[Watched, Member | None]], answered: Mapping[str, float], passed: object) -> None:
        uptime = float(self._uptime.read().split()[0])
        for target, root in at:
            start = self._starts[target.name]
            if root is None:
                start.see(Look(None))
                continue
            age = max(uptime - root.key[1] / CLOCK_TICKS, 0.0)
            listening = self._listens(target, age) if start.waits else None
            start.see(Look(root.key, age, listening, answered.get(target.name, 0.0), passed))
            launched = self._launched.pop(target.name, None)
            if launched is not None:
                start.phases["spawn"] = max(age - (self._clock.wall() - launched), 0.0)

    def _listens(self, target: Watched, age: float) -> bool | None:
        """Whether a target that has not listened yet does; None where that is not looked at now, or not known.

        What the capture knows of ports is of a look that may be older than the process.
        """
        now = self._clock.monotonic()
        if age > HASTE_SECONDS and now < self._next_look[target.name]:
            return None
        self._next_look[target.name] = now + LATER_SECONDS
        looked = self._finders[target.name].look(tuple(m.pid for m in target.tree.living))
        return True if looked.ports else False if looked.whole and not looked.denied else None


def _answered(samples: Iterable[Sample]) -> dict[str, float]:
    """Calls with a good answer, by target."""
    found: dict[str, float] = {}
    for one in samples:
        if one.metric is REQUESTS and isinstance(one.value, float):
            code = str(one.labels[-1])
            if code in _GOOD or (len(code) == 3 and code.startswith("2")):
                target = str(one.labels[0])
                found[target] = found.get(target, 0.0) + one.value
    return found


def _passed(samples: Iterable[Sample]) -> object:
    """The last readiness probe, if it has passed."""
    for one in samples:
        if one.metric is probe.SUCCESS and one.labels == ("readiness",):
            return one if one.value == 1.0 else None
    return None
