"""The agent's work, once a step, in one thread: drain, judge, sample, publish."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Protocol

from pilotfish_agent.drift.reference import Reference
from pilotfish_agent.hardware._runner import Runner
from pilotfish_agent.hardware._tree import ProcessTree
from pilotfish_agent.pipeline.components import Components
from pilotfish_agent.pipeline.model import OTHER, Terms, WatchedModel
from pilotfish_agent.state.store import Store
from pilotfish_core.clock import Clock
from pilotfish_core.events import Event, Events
from pilotfish_core.metrics import Metric, Reading, Sample, Unavailable
from pilotfish_core.nouns import ObservationBatch, Snapshot, Status

TARGET_UP = Metric(
    "pilotfish_target_up",
    "gauge",
    "1 while the watched process runs, else 0; under `run` the agent leaves with it, so alert on `up` there.",
    ("target",),
)
CAPTURE_MODE = Metric(
    "pilotfish_capture_mode", "gauge", "How the model's traffic is seen: 1 for the mode in force.", ("mode",)
)
RELOAD_OK = Metric(
    "pilotfish_config_last_reload_successful",
    "gauge",
    "0 when configuration, options or reference had errors and only what is good is in force; the log names them.",
)
RELOAD_TIME = Metric(
    "pilotfish_config_last_reload_success_timestamp_seconds", "gauge", "When the configuration was last read well."
)
METRICS = (TARGET_UP, CAPTURE_MODE, RELOAD_OK, RELOAD_TIME)
MODEL_FOUND = Event("model_found", "info", "A model is seen for the first time.")
EVENTS = (MODEL_FOUND,)

MAX_MODELS = 16
"""Models with drift of their own; the rest share one name. Each costs tables and evidence."""
SAVE_SECONDS = 60.0


class Source(Protocol):
    """Where observations come from."""

    def drain(self) -> list[ObservationBatch]:
        """What has arrived since the last call."""
        ...

    def samples(self) -> Iterable[Sample]:
        """Its own counts."""
        ...


@dataclass(frozen=True, slots=True)
class Identity:
    """What does not change while the agent runs.

    Attributes:
        instance: name of this instance.
        target: `target` label.
        model: name of the model where the traffic names none.
        reference: given by the user, for ``reference_model`` or, where that is None, the first model seen.
        reference_model: its model's name.
        config_ok: whether the configuration had no errors; config_read: when it was read, epoch seconds.
        notices: lines for `status`.
    """

    instance: str
    target: str
    model: str
    reference: Reference | None
    reference_model: str | None
    config_ok: bool
    config_read: float
    notices: tuple[str, ...]


class Pipeline:
    """One step moves everything on. One thread uses it.

    Args:
        identity: who we are.
        terms: what the configuration says of models.
        interval: `sample.interval`, seconds.
        source: of observations.
        tree: the watched processes; runner: its collectors.
        locate: finds the target again, (pid, start_time); None when it is not there.
        components: our own processes.
        store: where Snapshots go.
        listen: the bound address, None before there is one.
        clock: where time comes from.
        events: where things are told.
    """

    def __init__(
        self,
        identity: Identity,
        terms: Terms,
        *,
        interval: float,
        source: Source,
        tree: ProcessTree,
        runner: Runner,
        locate: Callable[[], tuple[int, int] | None],
        components: Components,
        store: Store,
        listen: Callable[[], str | None],
        clock: Clock,
        events: Events,
    ) -> None:
        self._identity = identity
        self._terms = terms
        self._interval = interval
        self._source = source
        self._tree = tree
        self._runner = runner
        self._locate = locate
        self._components = components
        self._store = store
        self._listen = listen
        self._clock = clock
        self._events = events
        self._models: dict[str, WatchedModel] = {}
        self._next_sample = self._next_save = clock.monotonic()
        self._version = version("pilotfish")
        self._finished = False
        if identity.reference is not None and identity.reference_model is not None:
            self._model(identity.reference_model)

    def step(self) -> None:
        """Drains the source, closes ticks, and publishes a Snapshot when the sample interval has passed."""
        now, monotonic = self._clock.wall(), self._clock.monotonic()
        for batch in self._source.drain():
            self._model(batch.model or self._identity.model).add(batch, now)
        busy = any(m.worker_pid is not None for m in self._models.values())
        for model in self._models.values():
            model.advance(now)
            model.work(monotonic, may_start=not busy)
            busy = busy or model.worker_pid is not None
        if monotonic >= self._next_save:
            self._next_save = monotonic + SAVE_SECONDS
            self.save()
        if monotonic >= self._next_sample:
            following = self._next_sample + self._interval
            # After a pause (SIGSTOP, a starved machine) one sample, not one for each that was missed.
            self._next_sample = following if following > monotonic else monotonic + self._interval
            self._publish(now)

    def save(self) -> None:
        """Checkpoints every model."""
        for model in self._models.values():
            model.save()

    def finish(self) -> None:
        """The end: what has arrived is counted, everything saved, no job left. A second call does nothing."""
        if self._finished:
            return
        self._finished = True
        self._next_sample = self._next_save = self._clock.monotonic()
        self.step()
        self.save()
        for model in self._models.values():
            model.close()
        self._runner.close()

    def _model(self, name: str) -> WatchedModel:
        found = self._models.get(name)
        if found is not None:
            return found
        if len(self._models) >= MAX_MODELS:
            if OTHER in self._models:
                return self._models[OTHER]
            name = OTHER
        who = self._identity
        given = who.reference if who.reference_model in (None, name) else None
        if who.reference_model is None and any(m.reference is not None for m in self._models.values()):
            given = None
        model = WatchedModel(name, given, self._terms, self._events)
        model.restore()
        self._models[name] = model
        self._events.emit(MODEL_FOUND, model=name, reference=given.id if given is not None else None)
        return model

    # -- out

    def _publish(self, now: float) -> None:
        if self._tree.root is None:
            found = self._locate()
            if found is not None:
                self._tree.follow(*found)
        readings = [*self._runner.collect(), *self._own()]
        self._store.publish(
            Snapshot(
                at=now,
                samples=tuple(r for r in readings if isinstance(r, Sample)),
                unavailable=tuple(r for r in readings if isinstance(r, Unavailable)),
                status=self._status(),
                drift=tuple(r for m in self._models.values() for r in m.results(now)),
            )
        )

    def _own(self) -> Iterator[Reading]:
        who = self._identity
        yield Sample(TARGET_UP, (who.target,), float(self._tree.root is not None))
        yield Sample(CAPTURE_MODE, ("sdk",), 1.0)
        yield Sample(RELOAD_OK, (), float(who.config_ok))
        if who.config_ok:
            yield Sample(RELOAD_TIME, (), who.config_read)
        for model in self._models.values():
            yield from model.samples()
        yield from self._source.samples()
        yield from self._components.samples()
        yield from self._events.samples()

    def _status(self) -> Status:
        who, root = self._identity, self._tree.root
        models = tuple(m.status() for m in self._models.values())
        worker = next((m.worker_pid for m in self._models.values() if m.worker_pid is not None), None)
        self._components.pids["worker"] = worker
        budget = self._terms.drift.false_alarms
        total = budget.count * max(len(models), 1)
        return Status(
            version=self._version,
            instance=who.instance,
            target={"name": who.target, "pid": root.pid if root else None, "up": root is not None},
            models=models,
            processes=dict(self._components.pids),
            listen=self._listen(),
            capture={"mode": "sdk"},
            budget={"false_alarms": budget.text, "implied_total": f"{total} per {budget.text.split()[-1]}"},
            notices=who.notices + tuple(n for m in self._models.values() for n in m.watch.notices),
        )
