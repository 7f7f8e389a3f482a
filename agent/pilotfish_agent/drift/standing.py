"""What a model is compared with, and how that changes: learnt, given, reloaded, accepted, restored. Pure.

The comparison in force goes on until tables of the next one are there; then evidence goes on for every stream that is
compared as before (`held.Held`), and counters of Prometheus keep what they have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pilotfish_agent.drift import accept, checkpoint, gauges, phi
from pilotfish_agent.drift.checkpoint import Saved
from pilotfish_agent.drift.comparison import Comparison, TableRequest, notices, restarts, stream_keys, table_request
from pilotfish_agent.drift.entry import Entry
from pilotfish_agent.drift.happenings import Happenings
from pilotfish_agent.drift.held import Held
from pilotfish_agent.drift.judge import Judge, Terms
from pilotfish_agent.drift.layout import Ints
from pilotfish_agent.drift.learn import Learner, halts
from pilotfish_agent.drift.mix import Mix
from pilotfish_agent.drift.reference import Reference
from pilotfish_agent.drift.setting import Setting
from pilotfish_agent.drift.tables import StreamTables
from pilotfish_agent.drift.tested import Tested, tested
from pilotfish_agent.drift.tick_clock import Tick, TickClock
from pilotfish_agent.drift.versions import Look, Versions
from pilotfish_agent.windows.ticks import TickRule
from pilotfish_core.errors import DataError
from pilotfish_core.nouns import ObservationBatch


class Standing:
    """The reference in force, the one to come, and what is known of dependence.

    Args:
        model: its name.
        given: the reference that the user gave; None: one is learnt.
        setting: what the user says.
        clock: of the model's ticks.
        emit: takes transitions.

    Attributes:
        comparison: in force with its evidence, None while there is none.
        learner: None where a reference was given, or learning has ended.
        phis: measured dependence by stream; measured: what measures it, None where all is known.
        predicted: what the predictions look like.
        notices: what people should know about the reference, a line each.
        happenings, mix: what happened to the model, and of whom its traffic is.
        versions: a new version of the model against the one before.
        last_run: when the engine last ran, epoch seconds.
        changes: moves whenever a gauge may.
    """

    def __init__(
        self,
        model: str,
        given: Reference | None,
        setting: Setting,
        clock: TickClock,
        emit: Callable[[list[Entry]], None],
    ) -> None:
        self.model = model
        self.given = given
        self.setting = setting
        self.comparison: Comparison | None = None
        self.phis: dict[str, float] = {}
        self.measured: phi.OnlinePhi | None = None
        self.predicted = gauges.Predicted()
        self.notices: tuple[str, ...] = ()
        self.happenings = Happenings()
        self.mix = Mix()
        self.versions = Versions()
        self.last_run: float | None = None
        self.changes = 0
        self._clock = clock
        self._emit = emit
        self._counted = gauges.Counters()
        self._requested: tuple[Tested, TableRequest] | None = None
        self._saved: Held | None = None
        self._kept = b""
        self.learner = self._new_learner() if given is None else None
        if given is not None:
            self._request(self._compare_with(self._tested(given)).streams)

    @property
    def judge(self) -> Judge | None:
        """The evidence, None while tables are missing."""
        return None if self.comparison is None else self.comparison.judge

    @property
    def building(self) -> bool:
        """Whether tables are being built."""
        return self._requested is not None

    @property
    def held_back(self) -> str:
        """Why alarms are only info now; empty when they are not."""
        if self.learner is not None:
            return f"the reference is provisional ({self.learner.words()})"
        if self.measured is not None:
            return f"dependence is not known yet ({self.measured.words()}), drift.dependence settles it"
        return "tables are being built" if self.building else ""

    # -- tables and dependence, made elsewhere

    def table_request(self) -> TableRequest | None:
        """The tables that are needed now, None when they are there; the same object until they are."""
        return None if self._requested is None else self._requested[1]

    def set_tables(self, tables: Sequence[StreamTables]) -> None:
        """The answer to `table_request`: evidence starts (again), and the ticks kept meanwhile are judged.

        Raises:
            ValueError: nothing was requested, or these are other streams' tables.
        """
        if self._requested is None or not self._requested[1].answered_by(tables):
            raise ValueError("these tables were not requested")
        (streams, request), self._requested = self._requested, None
        held, self._saved = self._saved, None
        if self.comparison is not None and self.comparison.judge is not None:
            held = Held.of(self.comparison, self.comparison.judge, self.measured)
            self._emit(self.comparison.judge.release(held.going_on(stream_keys(streams, request))))
        if self.comparison is None or streams is not self.comparison.streams:
            self._switch_to(streams, held)
        assert self.comparison is not None
        config = self.setting.config
        terms = Terms(self.model, config.false_alarms.text, config.critical_effect, self.happenings, self.mix)
        self._emit(self.comparison.start(tables, request, terms, held, self.held_back))
        self.changes += 1
        if self.measured is not None:
            self.measured.start(tables)

    def phi_request(self) -> phi.PhiRequest | None:
        """The measured dependence, to be turned into phi elsewhere (it needs a chi-square quantile); None: not due."""
        return None if self.measured is None else self.measured.request()

    def set_phi(self, values: Mapping[str, float]) -> None:
        """The answer to `phi_request`, by stream: fixed from now on. Tables are asked for again where it matters.

        Raises:
            ValueError: nothing was requested, or a stream is not answered with a number of at least 1.
        """
        asked = self.phi_request()
        if asked is None or self.comparison is None:
            raise ValueError("no phi was requested")
        if any(not 1 <= values.get(name, 0.0) < math.inf for name in asked.names):
            raise ValueError(f"expected a phi of at least 1 for each of {asked.names}, got {values}")
        self.phis |= {name: float(values[name]) for name in asked.names}
        self.measured = None
        self.changes += 1
        if any(self.phis[name] != 1 for name in asked.names):
            self._request(self.comparison.streams if self._requested is None else self._requested[0])

    def look_request(self) -> Look | None:
        """Counts of two versions, to be compared elsewhere (it needs scipy); None: not due."""
        phis = self.phis if self.measured is None else None
        return self.versions.request(self._clock.closed, self.setting.config, phis)

    # -- changes while it runs

    def reload(self, reference: Reference | None, setting: Setting) -> str:
        """Takes up what was read anew.

        What is in force stays until tables of the new are there; then evidence restarts of the streams that are
        compared with something else, or under other terms, and goes on for the others.

        Returns:
            What changes, in words; empty when nothing that evidence depends on does.
        """
        given, self.given = self.given, reference
        self.setting = setting
        self._clock.rule = TickRule(setting.config.tick)
        if (None if given is None else given.id) == (None if reference is None else reference.id):
            words = self._take_up(self._coming)  # something else may have been learnt or accepted since
            self.measured, told = phi.again(self.measured, self.comparison, setting.config.dependence, self.phis)
            return words or told
        if reference is None:
            return self._learn_anew()
        self.learner = None
        return self._take_up(reference)

    def accept(self, now: float) -> str:
        """Makes the current data the new normal; words of what was done.

        With a latched alarm the streams concerned take what was counted since they changed; else a provisional
        reference becomes final.

        Raises:
            DataError: too few rows, or nothing to accept.
        """
        if self.comparison is None:
            raise accept.too_few(self.model, 0 if self.learner is None else self.learner.rows)
        if self.judge is None or self._requested is not None:
            raise DataError(f"{self.model}: tables are being built", todo="accept again in a minute")
        before, streams = self.comparison.streams.reference, self.comparison.streams
        counts, missing = accept.changed(self.judge, streams)
        if not counts and self.learner is None:
            todo = "accept follows an alarm, or ends learning"
            raise DataError(f"{self.model}: nothing to accept, it looks like its reference", todo=todo)
        learner, self.learner = self.learner, None
        after = accept.accepted(before, counts, now) if counts or learner is None else learner.final(before, now)
        for name in counts:
            self.phis.pop(name, None)
        self._take_up(after)
        return accept.words(counts, missing, before, after, learnt=learner is not None)

    # -- from one run to the next

    @property
    def target(self) -> Reference | None:
        """The reference in force, or the one that was given or accepted and will be once its tables are there."""
        if self.learner is None:
            return self._coming
        return None if self.comparison is None else self.comparison.streams.reference

    @property
    def _coming(self) -> Reference | None:
        if self._requested is not None:
            return self._requested[0].reference
        return None if self.comparison is None else self.comparison.streams.reference

    def checkpoint(self) -> bytes:
        """What is known after the last closed tick, for `restore` of the next run.

        While the tables of the streams are being built there is no evidence: then it is the checkpoint before.
        """
        self._kept = checkpoint.save(self) or self._kept
        return self._kept

    def restore(self, content: bytes) -> bool:
        """Takes up a checkpoint of an earlier run; evidence follows when the tables are set.

        Args:
            content: what `checkpoint` gave.

        Returns:
            False, and nothing happens, when it is damaged, when its reference, budget, number of streams, dependence
            or layout differ, or when rows came already: what is counted is never counted twice.
        """
        saved = checkpoint.read(content, self) if not self._clock.rows and self.judge is None else None
        if saved is None or not self._restore(saved):
            return False
        self._kept = content
        return True

    def unlisted(self, batch: ObservationBatch) -> None:
        """Predictions of a reference that does not speak of them, or of none."""
        self._counted.unlisted_predictions(batch)

    def counters(self) -> gauges.Counters:
        """Predictions and missing values so far; bins what waits in the open tick."""
        found = self._counted.copy()
        if self.comparison is not None:
            opened = self.comparison.open
            opened.flush()
            self.predicted.add(*opened.columns())
            found.add(self.comparison.streams, self.comparison.counted)
        return found

    # -- rows and ticks

    def _new_learner(self, learnt: Reference | None = None, told: Mapping[str, Any] | None = None) -> Learner:
        one = self.setting
        return Learner(self.model, one.task, one.features, learnt, told, limit=one.max_features)

    def learn(self, batch: ObservationBatch, now: float) -> None:
        """Rows of a latched period never enter a provisional reference."""
        if self.learner is None or not batch.rows or halts(self.judge):
            return
        made = self.learner.add(batch, now)
        if made is not None:
            streams = tested(made, self.setting.max_features)
            if self.comparison is None:
                self._compare_with(streams)
            self._request(streams)

    def close(self, tick: Tick) -> list[Entry]:
        """The open tick is over: its counts go into the window, the evidence, and what is learnt."""
        comparison = self.comparison
        if comparison is None:
            return []
        if comparison.judge is not None:
            self.last_run = tick.closed
        counts, entries = comparison.close(tick, self.held_back)
        self.versions.close(counts, tick)
        self.predicted.add(*comparison.open.columns())
        if self.measured is not None:
            levelled = comparison.streams.levelled(counts, tick.stratum)
            self.measured.add(counts if levelled is None else levelled)
        if self.learner is not None:
            self._learnt(self.learner, counts, tick)
        return entries

    def _learnt(self, learner: Learner, counts: Ints, tick: Tick) -> None:
        """What is learnt from a tick; the final reference where that is the end."""
        final = learner.count(counts, tick, latched=halts(self.judge))
        if final is not None:
            self.learner = None
            self._take_up(final)

    def _tested(self, reference: Reference) -> Tested:
        return tested(reference, self.setting.max_features, self.setting.features.ignore)

    def _compare_with(self, streams: Tested) -> Comparison:
        """From now on rows are counted on the bins of ``streams``."""
        self.comparison = made = Comparison(streams, self.setting.task)
        self.predicted.see(streams)
        self.measured = phi.unknown(streams, self.setting.config.dependence, self.phis)
        self._clock.tell_apart(streams.strata)
        self.versions.begin(streams, self.setting.task)
        if self.learner is not None:
            self.learner.begin(streams)
        self.note(made)
        return made

    def _take_up(self, reference: Reference | None) -> str:
        """Asks for the tables of ``reference`` under the present terms, where they are not those in force."""
        if reference is None:
            return ""
        comparison, streams = self.comparison, self._tested(reference)
        if comparison is None:
            self._request(self._compare_with(streams).streams)
            return f"compared with reference {reference.id} from now on"
        if comparison.same(streams, self.setting.task):
            streams = comparison.streams
        keys = stream_keys(streams, table_request(streams, self.setting.config, self.phis))
        pending, self._requested = self._requested, None
        if streams is comparison.streams and keys == comparison.keys:
            return "" if pending is None else f"reference {reference.id} stays in force: all evidence goes on"
        if pending is not None and keys == stream_keys(*pending):
            self._requested = pending
            return ""
        self._request(streams)
        return restarts(comparison, streams, keys)

    def _learn_anew(self) -> str:
        """The reference was taken away."""
        self.learner, self._requested, self._saved = self._new_learner(), None, None
        if self.comparison is not None:
            self._counted = self.counters()
            if self.judge is not None:
                self._emit(self.judge.release())
            self._clock.drop()
        self.comparison = self.measured = None
        self.versions.begin(None, self.setting.task)
        self.changes += 1
        return "no reference is given any more: a new one is learnt"

    def _switch_to(self, streams: Tested, held: Held | None) -> None:
        """Another reference is ready: counters keep what they have, streams that are compared as before go on."""
        self._counted = self.counters()
        self._clock.drop()
        self._go_on(self._compare_with(streams), held)

    def _go_on(self, comparison: Comparison, held: Held | None) -> None:
        """Recent rows and measured dependence of the streams whose reference is the same."""
        if held is None:
            return
        held.window_into(comparison)
        if self.measured is not None:
            held.phi_into(self.measured, comparison)

    def _request(self, streams: Tested) -> None:
        """Asks for tables; a reference without streams needs none."""
        if streams.streams:
            self._requested = (streams, table_request(streams, self.setting.config, self.phis))
        self.changes += 1

    def note(self, comparison: Comparison) -> None:
        """Says what people should know of it."""
        self.changes += 1
        self.notices = notices(comparison, self.setting.max_features)

    def _restore(self, saved: Saved) -> bool:
        """False where nothing of it fits."""
        id_ = None if self.given is None else self.given.id
        mine = self.comparison.streams.reference if self.comparison is not None else None
        learning = self.learner is not None and saved.given is None
        reference = saved.reference if saved.reference is not None and saved.given == id_ else mine
        if reference is None:
            return False
        streams = self._tested(reference)
        kept = saved.held.kept(stream_keys(streams, table_request(streams, self.setting.config, saved.phis)))
        if not kept and reference is mine:
            return False
        self.phis, self.last_run, self._saved = saved.phis, saved.last_run, saved.held
        if learning:
            self.learner = None if saved.learning is None else self._new_learner(reference, saved.learning)
        self._go_on(self._compare_with(streams), saved.held)
        if self.learner is not None:
            self.learner.load(saved.held.share("learn"))
        self.happenings.load(saved.happenings)
        self._request(streams)
        return True
