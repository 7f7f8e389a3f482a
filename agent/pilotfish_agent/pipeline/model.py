"""One model as the agent watches it: its drift, the jobs that build its tables, its checkpoint."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from pilotfish_agent.drift import shapes, version_report, worker
from pilotfish_agent.drift.entry import Entry
from pilotfish_agent.drift.features import Config as Features
from pilotfish_agent.drift.reference import Reference
from pilotfish_agent.drift.versions import Look
from pilotfish_agent.drift.watch import Config, DriftWatch
from pilotfish_agent.pipeline import kept
from pilotfish_core.events import Event, Events
from pilotfish_core.metrics import Sample
from pilotfish_core.nouns import DriftResult, ModelStatus, ObservationBatch, Shape

DRIFT_ALARM = Event("drift_alarm", "warning", "A stream has drifted beyond the minimum effect.")
DRIFT_NOTICE = Event(
    "drift_notice", "info", "A stream has changed by less than the minimum effect, or is not sure yet."
)
DRIFT_WORSE = Event("drift_worse", "warning", "A drifting stream has become more severe.")
DRIFT_RESOLVED = Event("drift_resolved", "info", "A stream is back at its reference.")
JOB_FAILED = Event("worker_failed", "error", "A job of pf-worker failed; it is tried again in a minute.")
EVIDENCE_RESTARTS = Event(
    "evidence_restarts", "info", "What a model is compared with, or its budget, has changed; evidence of it restarts."
)
LEARNT = Event("reference_learnt", "info", "Learning has ended by itself: the reference is final.")
REFERENCE_ACCEPTED = Event("reference_accepted", "info", "A user has made the current data of a model its new normal.")
VERSION_COMPARED = Event(
    "version_compared", "info", "What the comparison of a new model version with the one before has come to."
)
EVENTS = (
    VERSION_COMPARED,
    EVIDENCE_RESTARTS,
    LEARNT,
    REFERENCE_ACCEPTED,
    DRIFT_ALARM,
    DRIFT_NOTICE,
    DRIFT_WORSE,
    DRIFT_RESOLVED,
    JOB_FAILED,
)
_TOLD = {"alarm": DRIFT_ALARM, "notice": DRIFT_NOTICE, "rise": DRIFT_WORSE, "resolved": DRIFT_RESOLVED}

RETRY_SECONDS = 60.0
MAX_CACHES = 64
"""Table caches kept in a folder, the newest: a few a model, as budgets and references change by hand."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the configuration says of every model.

    Attributes:
        target: `target` label.
        drift, features: the sections of those names.
        task: `model.task`; version: `model.version`; max_features: `limits.features`.
        folder: where checkpoints go; None keeps nothing.
        shared: where table caches go, of all agents of this user; where it is not ours, they go to ``folder``.
    """

    target: str
    drift: Config
    features: Features
    task: str
    version: str | None
    max_features: int
    folder: str | None
    shared: str | None = None


class WatchedModel:
    """Everything about one model. One thread uses it.

    Args:
        name: of the model.
        reference: what is normal; None learns it.
        terms: of the configuration.
        events: where transitions are told.
    """

    def __init__(self, name: str, reference: Reference | None, terms: Terms, events: Events) -> None:
        self.name = name
        self.reference = reference
        self._terms = terms
        self._events = events
        self.watch = DriftWatch(
            name,
            reference,
            terms.drift,
            task=terms.task,
            features=terms.features,
            max_features=terms.max_features,
        )
        self._job: worker.Job | None = None
        self._asked: object = None
        self._retry_at = 0.0
        self._judged: tuple[int, tuple[DriftResult, ...]] | None = None
        self._shaped: tuple[int, tuple[Shape, ...]] | None = None
        self._stem = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:12]

    # -- rows

    def add(self, batch: ObservationBatch, now: float) -> None:
        """Takes rows that arrived at ``now``, epoch seconds."""
        self.watch.add(batch, now)

    def advance(self, now: float) -> None:
        """Closes ticks that are due, and tells what changed."""
        learning = self.watch.learner is not None
        self.tell(self.watch.advance(now))
        if learning and self.watch.learner is None and (final := self.watch.standing.target) is not None:
            self._events.emit(LEARNT, model=self.name, reference=final.id, rows=final.rows, strata=final.strata["kind"])

    def tell(self, entries: list[Entry]) -> None:
        """One event a transition."""
        for entry in entries:
            self._events.emit(
                _TOLD[entry.kind],
                model=self.name,
                feature=entry.feature,
                severity=entry.severity,
                explanation=entry.explanation,
            )

    def _tell_versions(self) -> None:
        for pair in self.watch.standing.versions.taken():
            self._events.emit(
                VERSION_COMPARED,
                model=self.name,
                version=pair.candidate,
                baseline=pair.baseline,
                state=pair.state,
                words=version_report.words(self.watch.standing.versions),
            )

    # -- changes while it runs

    def reload(self, reference: Reference | None, terms: Terms, now: float) -> str:
        """Takes up another reference or other terms; words of what that changes, empty when nothing."""
        self.reference, self._terms = reference, terms
        words = self.watch.reload(
            reference, terms.drift, task=terms.task, features=terms.features, max_features=terms.max_features
        )
        if words:
            self._events.emit(EVIDENCE_RESTARTS, model=self.name, words=words)
            self.watch.happened(now, "config", words)
        return words

    def accept(self, now: float) -> str:
        """The current data are the new normal; words of what was done.

        Raises:
            DataError: too few rows, or there is nothing to accept.
        """
        words = self.watch.accept(now)
        self._events.emit(REFERENCE_ACCEPTED, model=self.name, words=words)
        self.save()
        return words

    # -- jobs of pf-worker

    @property
    def worker_pid(self) -> int | None:
        """The process of the running job."""
        return None if self._job is None else self._job.pid

    def work(self, monotonic: float, *, may_start: bool) -> None:
        """Looks after the job: takes its result, or starts the one that is asked for."""
        if self._job is not None:
            self._take_result(self._job, monotonic)
        elif may_start and monotonic >= self._retry_at:
            self._start()

    def _start(self) -> None:
        tables = self.watch.table_request()
        phi = None if tables is not None else self.watch.phi_request()
        if tables is not None:
            cache = self._cache(tables.key)
            self._job = worker.start_tables(tables.specs, tables.budget_ticks, tables.streams, cache)
        elif phi is not None:
            self._job = worker.start_phi(phi)
        elif (look := self.watch.look_request()) is not None:
            self._job = worker.start_look(look.sides)
            self._asked = look
            return
        self._asked = tables if tables is not None else phi

    def _take_result(self, job: worker.Job, monotonic: float) -> None:
        if not job.poll():
            return
        self._job = None
        try:
            result = job.result()
        except worker.JobError as error:
            self._events.emit(JOB_FAILED, model=self.name, error=str(error))
            self._retry_at = monotonic + RETRY_SECONDS
            return
        if isinstance(result, worker.Tables):
            if self._asked is self.watch.table_request():  # the reference may have moved on meanwhile
                self.watch.set_tables(result.tables)
        elif isinstance(result, worker.Compared):
            if isinstance(self._asked, Look):
                self.watch.standing.versions.answered(self._asked, result.answers)
                self._tell_versions()
        elif (due := self.watch.phi_request()) is not None and set(due.names) == set(result.values):
            self.watch.set_phi(result.values)

    def _cache(self, key: str) -> str | None:
        """Where tables of this key are, or are to be: the agents of a host share them."""
        for folder in (self._terms.shared, self._terms.folder):
            if folder is None:
                continue
            place = os.path.join(folder, "tables")
            try:
                os.makedirs(place, 0o700, exist_ok=True)
                if os.access(place, os.W_OK):
                    _tidy(place)
                    return os.path.join(place, f"{key}.npz")
            except OSError:
                continue  # a folder of another user, or a full disk: they are built again by the next agent
        return None

    def close(self) -> None:
        """Ends the running job."""
        if self._job is not None:
            self._job.kill()
            self._job = None

    # -- out

    def samples(self) -> Iterator[Sample]:
        """Predictions and drift."""
        yield from self.watch.samples(self.name, self._version())

    def results(self) -> tuple[DriftResult, ...]:
        """What the detector says of each stream."""
        if self._judged is None or self._judged[0] != self.watch.changes:
            self._judged = (self.watch.changes, self.watch.results())  # half of an idle second's CPU otherwise
        return self._judged[1]

    def shapes(self) -> tuple[Shape, ...]:
        """Reference and present spread of each stream."""
        if self._shaped is None or self._shaped[0] != self.watch.changes:
            self._shaped = (self.watch.changes, shapes.shapes(self.watch))
        return self._shaped[1]

    def status(self) -> ModelStatus:
        """This model's line of `status`."""
        return self.watch.status()

    def _version(self) -> str | None:
        return self.watch.version if self.watch.version is not None else self._terms.version

    # -- state over restarts

    def _checkpoint(self) -> str | None:
        return None if self._terms.folder is None else os.path.join(self._terms.folder, f"model-{self._stem}.ckpt")

    def save(self) -> None:
        """Writes the evidence to the state folder."""
        path = self._checkpoint()
        if path is not None:
            kept.save(path, self._events, self.watch.checkpoint())

    def restore(self) -> None:
        """Takes up the evidence of an earlier run where it still fits; what cannot be read is moved aside."""
        path = self._checkpoint()
        if path is not None:
            kept.restore(path, self._events, self.watch.restore)


def _tidy(folder: str) -> None:
    """Removes the oldest caches; one that another agent removes first is gone as well."""
    caches = [e for e in os.scandir(folder) if e.name.endswith(".npz")]
    for old in sorted(caches, key=lambda e: e.stat().st_mtime)[: -MAX_CACHES or None]:
        os.unlink(old.path)
