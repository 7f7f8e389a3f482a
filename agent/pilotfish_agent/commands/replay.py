"""``pilotfish replay LOG --reference REF``: a log through the same engine as fast as it goes.

What would have alarmed, when and why; exit 0 whether or not it alarmed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from pilotfish_agent.commands import _data, _evidence_picture, _replay_summary
from pilotfish_agent.commands._data import Source
from pilotfish_agent.drift import ahead
from pilotfish_agent.drift.entry import Entry
from pilotfish_agent.drift.readers import STDIN, DataFile
from pilotfish_agent.drift.reference import Reference, require
from pilotfish_agent.drift.rows import Rows
from pilotfish_agent.drift.strata import WORDS, Strata, of_reference
from pilotfish_agent.drift.trace import Trace
from pilotfish_agent.drift.watch import DriftWatch
from pilotfish_agent.windows.ticks import RowSplitter, TickRule, TickSplitter
from pilotfish_core.errors import UsageError

HELP = "run a log through the drift engine: what would have alarmed, when and why"
ROW_TICK_SECONDS = 60.0  # a tick of a fixed number of rows stands for one minute
_MAX_ROWS_PER_TICK = 1_000_000
_LOOK_ROWS = 50_000  # a column that none of so many records has is missing; one that comes late is not


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("log", metavar="LOG", help="CSV or JSON lines, also .gz, or Parquet; `-` for standard input")
    parser.add_argument("--reference", metavar="REF", required=True, help="a built reference, or any data file")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--tick", metavar="10s", help="ticks of log time (drift.tick)")
    how.add_argument("--rows-per-tick", metavar="N", type=int, help="ticks of N rows, each standing for a minute")
    parser.add_argument("--false-alarms", metavar="BUDGET", help="`1 per 30d`: over all streams (drift.false_alarms)")
    parser.add_argument("--min-effect", metavar="D", help="changes within it are notices (drift.min_effect)")
    parser.add_argument("--critical-effect", metavar="D", help="drift.critical_effect")
    parser.add_argument("--dependence", metavar="PHI", help="rows that count as one, or auto (drift.dependence)")
    parser.add_argument("--config", metavar="F", help="the agent's configuration")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument("--svg", metavar="F", help="also a picture of the evidence over time")
    _data.add_data_options(parser)


def run(args: argparse.Namespace) -> int:
    """Replays; exit 0, 2 for bad input."""
    rows_per_tick = args.rows_per_tick
    if rows_per_tick is not None and not 1 <= rows_per_tick <= _MAX_ROWS_PER_TICK:
        raise UsageError("--rows-per-tick", got=rows_per_tick, expected=f"1 to {_MAX_ROWS_PER_TICK}")
    if args.log == STDIN and args.reference == STDIN:
        raise UsageError("LOG and REF cannot both be standard input")
    if args.svg is not None:
        _data.check_output(args.svg, "the picture")
    tick = args.tick if rows_per_tick is None else f"{ROW_TICK_SECONDS:.0f}s"
    flags = {"drift.tick": tick, "drift.false_alarms": args.false_alarms, "drift.min_effect": args.min_effect}
    flags |= {"drift.critical_effect": args.critical_effect, "drift.dependence": args.dependence}
    settings = _data.load_settings(args, flags)
    reference = _data.any_reference(args.reference, args, settings)
    drift = settings.section("drift")
    model = args.model or reference.model or ""
    most = settings.section("limits").features
    features = settings.section("features")
    features = replace(features, ignore=tuple({*features.ignore, *_data.names(args.ignore)}))
    task = settings.section("model").task
    watch = DriftWatch(model, reference, drift, task=task, features=features, max_features=most)
    replay = Replay(watch, reference, rows_per_tick, drift.tick, features.ignore)
    replay.tables()
    log = DataFile(args.log, _data.layout(args), skip_bad=args.skip_bad)
    file: Source = ahead.ReadAhead(log) if ahead.worth_it(log) else log
    for rows in _data.with_progress(file, "replaying"):
        replay.feed(rows, file)
    replay.finish(file)
    for notice in replay.notes(file):
        _data.say(f"notice: {notice}")
    found = replay.report(file.rows, drift.false_alarms.text)
    if args.json:
        print(json.dumps(found, ensure_ascii=False, allow_nan=False))
    else:
        sys.stdout.writelines(line + "\n" for line in _replay_summary.table(found))
    if args.svg is not None:
        _data.write_output(args.svg, _evidence_picture.picture(replay.story(found, file.name)), "the picture")
    return 0


@dataclass(slots=True)
class Replay:
    """A log on its way through one watch.

    Attributes:
        watch: the engine, with a reference.
        reference: the watch's.
        rows_per_tick: None: ticks of log time.
        tick_seconds: of a tick of log time.
        ignored: columns that are not watched, so that the log may lack them.
        trace: evidence over time.
        alarms, notices: items of the report.
    """

    watch: DriftWatch
    reference: Reference
    rows_per_tick: int | None
    tick_seconds: float
    ignored: tuple[str, ...] = ()
    trace: Trace = field(init=False)
    alarms: list[dict[str, Any]] = field(default_factory=list)
    notices: list[dict[str, Any]] = field(default_factory=list)
    ticks: int = 0
    _strata: Strata = field(init=False)
    _times: TickSplitter = field(init=False)
    _counted: RowSplitter = field(init=False)
    _read: int = 0
    _number: int = 0
    _complete: bool = False
    _last: float | None = None
    _timed: bool = False
    _spans: _evidence_picture.Spans = field(default_factory=_evidence_picture.Spans)

    def __post_init__(self) -> None:
        """Starts before the first row."""
        comparison = self.watch.comparison
        self.watch.trace = self.trace = Trace(() if comparison is None else comparison.streams.streams)
        self._strata = of_reference(self.reference.strata)
        self._times = TickSplitter(TickRule(self.tick_seconds), self._strata)
        self._counted = RowSplitter(self.rows_per_tick or 1)

    def tables(self) -> None:
        """Makes what the watch asks for: phi once it is measured, tables when it has none or phi moved them."""
        asked = self.watch.phi_request()
        if asked is not None:
            self.watch.set_phi({n: s.value() for n, s in zip(asked.names, asked.sums, strict=True)})
        while (request := self.watch.table_request()) is not None:
            self.watch.set_tables(_data.make_tables(request, os.environ))

    def feed(self, rows: Rows, file: Source) -> None:
        """The next rows.

        Raises:
            UsageError: no times and no --rows-per-tick, or columns of the reference are missing.
        """
        if not self._read:
            self._timed = rows.times is not None
        if not self._complete:
            self._look(file, last=self._read >= _LOOK_ROWS)
        if rows.times is None and self._strata.kind != "none":
            raise UsageError(
                f"{file.name}: the rows have no times, and the reference tells rows apart {WORDS[self._strata.kind]}",
                todo="name a --time-column, or build the reference with features.season: none",
            )
        if self.rows_per_tick is None:
            if rows.times is None:
                raise UsageError(
                    f"{file.name}: the rows have no times",
                    todo="name a --time-column, or give --rows-per-tick 100 (a tick then stands for a minute)",
                )
            closes = self._times.split(rows.times)
        else:
            ends = None if rows.times is None else self._strata.ends(rows.times)
            closes = self._counted.split(rows.batch.rows, ends)
            if rows.times is not None:
                closes = [(i, float(rows.times[i - 1]) if i else self._last or at) for i, at in closes]
        self.ticks += len(closes)
        entries = self.watch.run(rows.batch, closes=closes, times=rows.times)
        self._take(entries, rows)
        self.tables()
        self._read += rows.batch.rows
        self._number = int(rows.numbers[-1])
        if rows.times is not None:
            self._last = float(rows.times[-1])

    def finish(self, file: Source) -> None:
        """Closes the last tick where the rule would.

        Raises:
            UsageError: columns of the reference are missing.
        """
        if not self._complete:
            self._look(file, last=True)
        if self.rows_per_tick is None:
            at = self._times.flush()
            if at is not None:
                self.ticks += 1
                self._take(self.watch.finish(at), None)

    def _look(self, file: Source, *, last: bool) -> None:
        """Whether the file has all columns; a record may lack one, so that is sure at the ``last`` look only."""
        try:
            require(self.reference, (*file.names, *self.ignored), file.name)
        except UsageError:
            if last:
                raise
        else:
            self._complete = True

    def _take(self, entries: list[Entry], rows: Rows | None) -> None:
        for entry in entries:
            self._spans.add(entry, timed=self._timed)
            row = self._number  # of the file, where bad rows have numbers too; the tick ended with the last batch
            if rows is not None and entry.row > self._read:
                row = int(rows.numbers[entry.row - self._read - 1])
            item = {
                "feature": entry.feature,
                "ts": entry.ts if self._timed else None,
                "began": entry.began if self._timed else None,
                "row": row,
                "evidence": entry.evidence,
                "threshold": entry.threshold,
                "effect": entry.effect,
                "severity": entry.severity,
                "explanation": entry.explanation,
            }
            if entry.kind == "alarm":
                self.alarms.append(item)
            elif entry.kind == "notice":
                self.notices.append(item)

    def report(self, rows: int, budget: str) -> dict[str, Any]:
        """The object of ``replay --json``."""
        return {
            "reference_id": self.reference.id,
            "rows": rows,
            "late_rows": self._times.late,
            "ticks": self.ticks,
            "tick_seconds": ROW_TICK_SECONDS if self.rows_per_tick else self.tick_seconds,
            "false_alarms": budget,
            "alarms": self.alarms,
            "notices": self.notices,
            "final": [{"feature": r.feature, "verdict": r.verdict} for r in self.watch.results()],
            "streams": _replay_summary.streams(self.alarms, self.notices, self.watch.results(), self.trace),
        }

    def story(self, report: dict[str, Any], log: str) -> _evidence_picture.Story:
        """What the picture shows of a report; ``log`` is the log's name."""
        return _evidence_picture.Story(report, self.trace, self._spans, timed=self._timed, log=os.path.basename(log))

    def notes(self, file: Source) -> Iterator[str]:
        """What the user should know beside the report."""
        known = {*self.reference.columns} | {i.name for i in self.reference.ignored}
        extra = [n for n in file.names if n not in known]
        if extra:
            more = f" and {len(extra) - 8} more" if len(extra) > 8 else ""
            yield f"columns that the reference lacks are not tested: {', '.join(extra[:8])}{more}"
        if file.skipped:
            yield f"{_data.counted(file.skipped, 'bad row')} left out"
        if self._times.late:
            yield f"{_data.counted(self._times.late, 'row')} older than the open tick, and counted in it"
