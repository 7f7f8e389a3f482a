"""The agent's work, once a step, in one thread: drain, judge, sample, publish."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from pilotfish_agent.capture.supervisor import Supervisor
from pilotfish_agent.decode._runner import Decoders
from pilotfish_agent.drift.reference import Reference
from pilotfish_agent.gpu.supervisor import Supervisor as GpuSupervisor
from pilotfish_agent.launch.postmortem import Ending
from pilotfish_agent.pipeline import budget, kept
from pilotfish_agent.pipeline import targets as target_trees
from pilotfish_agent.pipeline.alerts import Alerts
from pilotfish_agent.pipeline.attribution import MAX_MODELS, OTHER, Names
from pilotfish_agent.pipeline.components import Components
from pilotfish_agent.pipeline.model import Terms, WatchedModel
from pilotfish_agent.pipeline.references import LastRead, References
from pilotfish_agent.pipeline.starts import Starts
from pilotfish_agent.pipeline.startup import StartUps
from pilotfish_agent.pipeline.targets import Watched
from pilotfish_agent.pipeline.traffic import Source, Traffic
from pilotfish_agent.state.history import History
from pilotfish_agent.state.store import Store
from pilotfish_core.clock import Clock
from pilotfish_core.errors import UsageError
from pilotfish_core.events import Event, Events
from pilotfish_core.metrics import Metric, Reading, Sample, told_apart
from pilotfish_core.nouns import Snapshot, Status

RELOAD_OK = Metric(
    "pilotfish_config_last_reload_successful",
    "gauge",
    "0 when configuration, options or reference had errors and only what is good is in force; the log names them.",
)
RELOAD_TIME = Metric(
    "pilotfish_config_last_reload_success_timestamp_seconds", "gauge", "When the configuration was last read well."
)
METRICS = (RELOAD_OK, RELOAD_TIME)
MODEL_FOUND = Event("model_found", "info", "A model is seen for the first time.")
EVENTS = (MODEL_FOUND,)

REST_SECONDS = 2.0
"""Between two steps at the most: rows are judged once a tick of seconds, so this is delay enough."""
BEHIND_SECONDS = 0.5
"""The same while copies of exchanges wait: see `traffic.DECODE_SECONDS`."""
SAVE_SECONDS = 60.0
KEEP_SECONDS = 600.0
"""Between two savings of the history, up to 8 MiB each: what a crash may cost of it."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What does not change while the agent runs.

    Attributes:
        instance: name of this instance.
        target: `target` label of what no target is known of.
        model: name of the model where the traffic names none.
        started: epoch seconds.
        notices: lines for `status`.
        by_target: captured traffic that names no model is of a model called like its target: several are watched.
    """

    instance: str
    target: str
    model: str
    started: float
    notices: tuple[str, ...]
    by_target: bool = False


class Pipeline:
    """One step moves everything on. One thread uses it.

    Args:
        identity: who we are.
        terms: what the configuration says of models.
        references: what they are compared with.
        last_read: how the configuration was read.
        interval: `sample.interval`, seconds.
        source: of rows and exchanges.
        decoders: read the exchanges.
        targets: the watched process trees, at least one.
        components: our own processes.
        capture: who looks after pf-capture.
        gpus: who looks after pf-nvml.
        outside: what is known beside the trees: the machine now, and what the model's server says of itself (scrape,
            probe), of the last time it was asked.
        store: where Snapshots go.
        history: what is remembered of them.
        listen: the bound address, None before there is one.
        clock: where time comes from.
        events: where things are told.
    """

    def __init__(
        self,
        identity: Identity,
        terms: Terms,
        references: References,
        last_read: LastRead,
        *,
        interval: float,
        source: Source,
        decoders: Decoders,
        targets: Sequence[Watched],
        components: Components,
        capture: Supervisor,
        gpus: GpuSupervisor,
        outside: Sequence[Callable[[], Iterable[Reading]]] = (),
        store: Store,
        history: History,
        listen: Callable[[], str | None],
        clock: Clock,
        events: Events,
    ) -> None:
        self._identity = identity
        self._terms = terms
        self._references = references
        self._last_read = last_read
        self._interval = interval
        self._targets = targets
        self._components = components
        self._capture = capture
        self._gpus = gpus
        self._outside = outside
        self._store = store
        self._history = history
        self._past = None if terms.folder is None else os.path.join(terms.folder, "history.ckpt")
        self._alerts = Alerts(identity.instance)
        self._listen = listen
        self._clock = clock
        self._events = events

        def target_of(port: int) -> str:
            return target_trees.of_port(targets, port)

        self._names = Names(identity.model, terms.version, target_of if identity.by_target else None)
        self._traffic = Traffic(
            self._names,
            source,
            target=terms.target,
            target_of=target_of,
            capture=capture,
            decoders=decoders,
        )
        self._starts = Starts()
        self._startups = StartUps(targets, clock)
        self._models: dict[str, WatchedModel] = {}
        self._given_to: str | None = None
        self._expected = budget.remembered(terms.folder, clock.wall())
        self._next_sample = self._next_save = self._stepped = clock.monotonic()
        self._next_keep = self._next_save + KEEP_SECONDS
        self._version = version("pilotfish")
        self._finished = False
        if self._past is not None:
            kept.restore(self._past, events, history.restore)
        if references.given is not None and references.model is not None:
            self._model(references.model)

    def step(self) -> None:
        """Takes in what has come, closes ticks, and publishes a Snapshot when the sample interval has passed."""
        now, monotonic = self._clock.wall(), self._clock.monotonic()
        self._stepped = monotonic
        for batch in self._traffic.step(monotonic, last=self._finished):
            self._model(batch.model).add(batch, now)
        busy = any(m.worker_pid is not None for m in self._models.values())
        for model in self._models.values():
            model.advance(now)
            model.work(monotonic, may_start=not busy)
            busy = busy or model.worker_pid is not None
        if monotonic >= self._next_save:
            self._next_save = monotonic + SAVE_SECONDS
            self.save()
        if monotonic >= self._next_keep:
            self._keep()
        if monotonic >= self._next_sample:
            following = self._next_sample + self._interval
            # After a pause (SIGSTOP, a starved machine) one sample, not one for each that was missed.
            self._next_sample = following if following > monotonic else monotonic + self._interval
            self._publish(now)

    def rest(self) -> float:
        """Seconds until the next step is due."""
        longest = BEHIND_SECONDS if self._traffic.behind else REST_SECONDS
        return max(min(self._next_sample, self._stepped + longest) - self._clock.monotonic(), 0.0)

    def save(self) -> None:
        """Checkpoints every model."""
        for model in self._models.values():
            model.save()

    def _keep(self) -> None:
        self._next_keep = self._clock.monotonic() + KEEP_SECONDS
        if self._past is not None:
            kept.save(self._past, self._events, *self._history.checkpoint())

    def finish(self) -> None:
        """The end: what has arrived is counted, everything saved, no job left. A second call does nothing."""
        if self._finished:
            return
        self._finished = True
        for model in self._models.values():
            model.watch.recount()
        self._next_sample = self._next_save = self._clock.monotonic()
        self.step()
        self.save()
        self._keep()
        for model in self._models.values():
            model.close()
        for target in self._targets:
            target.close()

    @property
    def ending(self) -> Ending | None:
        """How the first target's process ended, as far as it was seen."""
        return self._targets[0].ending

    def _model(self, name: str) -> WatchedModel:
        found = self._models.get(name)
        if found is not None:
            return found
        if len(self._models) >= MAX_MODELS:
            if OTHER in self._models:
                return self._models[OTHER]
            name = OTHER
        given = self._reference(name)
        before = self._part()
        model = WatchedModel(name, given, self._part(1), self._events)
        model.restore()
        self._tell_starts(self._starts.known(), [model])
        self._models[name] = model
        self._events.emit(MODEL_FOUND, model=name, reference=given.id if given is not None else None)
        if self._part() != before:  # the others share with it from now on
            self._share(self._clock.wall())
        return model

    def _reference(self, name: str) -> Reference | None:
        """What the user gave for a model; of the one that is for the first model, that model takes it."""
        found = self._references.of(name, first=self._given_to in (None, name))
        if found is not None and found is self._references.given:
            self._given_to = name
        return found

    def _part(self, more: int = 0) -> Terms:
        """The terms of each model."""
        return budget.part(self._terms, max(self._expected, len(self._models) + more))

    def _share(self, now: float) -> list[str]:
        """Every model takes up the present terms; words of what that changes, a line a model."""
        terms = self._part()
        found = [(name, model.reload(self._reference(name), terms, now)) for name, model in self._models.items()]
        return [f"{name}: {words}" for name, words in found if words]

    # -- changes while it runs

    def reload(self, terms: Terms, references: References, last_read: LastRead) -> list[str]:
        """Takes up what was read anew; words of what that changes, a line a model."""
        self._terms, self._references, self._last_read = terms, references, last_read
        self._names.version = terms.version
        changed = self._share(self._clock.wall())
        self.save()
        return changed

    def not_reloaded(self, error: str) -> None:
        """Everything stays as it was, which `status` and the metric say."""
        self._last_read = LastRead(ok=False, at=self._last_read.at, notices=(f"reload failed: {error}",))

    def accept(self, name: str | None) -> dict[str, str]:
        """Makes the current data of a model its new normal.

        Args:
            name: of the model; None where there is only one.

        Raises:
            UsageError: no such model, or several and none named.
            DataError: too few rows, or there is nothing to accept.
        """
        known = ", ".join(self._models) or "none has sent rows yet"
        if name is None and len(self._models) != 1:
            raise UsageError(f"{len(self._models)} models are watched ({known})", todo="choose one with --model NAME")
        model = self._models.get(name) if name is not None else next(iter(self._models.values()))
        if model is None:
            raise UsageError("--model", got=name, expected=f"a model that is watched ({known})")
        words = model.accept(self._clock.wall())
        return {"model": model.name, "words": words}

    # -- out

    def _publish(self, now: float) -> None:
        measured = target_trees.sample(self._targets)
        self._watch_ports()
        self._count_helpers()
        readings = [*measured, *self._own()]
        for ask in self._outside:
            readings += ask()
        samples, gaps = told_apart(readings)
        self._tell_starts(self._starts.see(samples), self._models.values())
        more, missing = told_apart(self._startups.see(samples))
        samples += more
        drift = tuple(r for m in self._models.values() for r in m.results())
        snapshot = Snapshot(
            at=now,
            samples=tuple(samples),
            unavailable=(*gaps, *missing),
            status=self._status(),
            drift=drift,
            alerts=self._alerts.update(samples, now, lambda: drift),
            shapes=tuple(s for m in self._models.values() for s in m.shapes()),
        )
        self._store.publish(snapshot)
        self._history.add(snapshot)

    def _own(self) -> Iterator[Reading]:
        yield from self._capture.samples()
        yield Sample(RELOAD_OK, (), float(self._last_read.ok))
        if self._last_read.at is not None:
            yield Sample(RELOAD_TIME, (), self._last_read.at)
        for model in self._models.values():
            yield from model.samples()
        yield from self._traffic.samples()
        yield from self._components.samples()
        yield from self._events.samples()

    def _tell_starts(self, starts: Iterable[tuple[str, float]], models: Iterable[WatchedModel]) -> None:
        """To the models that may be in those processes: what begins with a start may come from it."""
        told = list(models)
        for target, at in starts:
            for model in told:
                if not self._identity.by_target or model.name == target:
                    model.watch.happened(at, "start", f"{target} started")

    def _watch_ports(self) -> None:
        """Capture follows the trees; whose port is whose, it finds."""
        self._capture.follow(tuple((t.name, tuple(m.pid for m in t.tree.living)) for t in self._targets))
        found = self._capture.view.by_target
        for target in self._targets:
            target.ports = found.get(target.name) or target.ports

    def _count_helpers(self) -> None:
        """The processes of our own that come and go."""
        components = self._components
        for name, seen in (("capture", self._capture.view), ("nvml", self._gpus.report)):
            if seen.pid is not None or name in components.pids:
                components.pids[name] = seen.pid
                components.restarts[name] = seen.restarts
                components.ended[name] = seen.ended_cpu

    def _status(self) -> Status:
        who, trees = self._identity, [t.status() for t in self._targets]
        models = tuple(m.status() for m in self._models.values())
        worker = next((m.worker_pid for m in self._models.values() if m.worker_pid is not None), None)
        self._components.pids["worker"] = worker
        return Status(
            version=self._version,
            instance=who.instance,
            target=trees[0],
            targets=tuple(trees),
            started=who.started,
            models=models,
            processes=dict(self._components.pids),
            listen=self._listen(),
            capture=self._capture.status(),
            budget=budget.words(self._terms.drift, len(models)),
            notices=(
                *who.notices,
                *self._last_read.notices,
                *self._capture.notices(),
                *self._gpus.notices(),
                *(t.notice for t in self._targets if t.notice),
                *(n for m in self._models.values() for n in m.watch.notices),
            ),
        )
