"""JSON lines, one prediction a line, as column batches (docs/reference-and-replay.md).

The lines of a batch are joined to one array and parsed at once: half the cost of one call a line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from typing import Any, BinaryIO

import numpy as np

from pilotfish import described
from pilotfish_agent.drift.list_columns import OBJECTS, ListColumns
from pilotfish_agent.drift.rows import (
    BATCH_CELLS,
    BATCH_ROWS,
    EXPECTED_TIME,
    MAX_LINE,
    BadRows,
    Layout,
    Rows,
    blocks,
    check_names,
    times,
)
from pilotfish_agent.drift.streams import OUTPUT, with_output
from pilotfish_agent.windows.binning import EXACT, MISSING_WORDS, canonical, number
from pilotfish_core.errors import DataError
from pilotfish_core.nouns import Column, ObservationBatch

_NUMBER, _TEXT, _BOOL, _NONE = {int, float}, {str}, {bool}, type(None)
_SCALARS = {int, float, str, bool, _NONE}
EXPECTED_RECORD = 'an object a line such as {"ts": 1732320000, "features": {"age": 41}, "prediction": 0.8}'

Record = dict[str, Any]


@dataclass(slots=True)
class Held:
    """Records that wait for a batch, with their numbers in the file."""

    numbers: list[int] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)

    def runs(self) -> Iterator[Held]:
        """Parts with features and without: a record without any says nothing of them, so it has batches of its own."""
        if all(r.get("features") for r in self.records):
            if self.records:
                yield self
            return
        pairs = zip(self.numbers, self.records, strict=True)
        for _, run in groupby(pairs, lambda pair: bool(pair[1].get("features"))):
            numbers, records = zip(*run, strict=True)
            yield Held(list(numbers), list(records))


@dataclass(slots=True)
class JsonRows:
    """A reader of one JSON lines file.

    Attributes:
        bad: where bad rows go.
        rows: records seen, bad ones included, label records not.
    """

    layout: Layout
    bad: BadRows
    rows: int = 0
    _raw: dict[str, None] = field(default_factory=dict)
    _timed: bool | None = None
    _width: int | None = None
    _objects: bool | None = None
    _lists: ListColumns = field(default_factory=ListColumns)
    _models: set[str] = field(default_factory=set)

    @property
    def names(self) -> tuple[str, ...]:
        """The features seen."""
        answers = self._lists.names(OUTPUT) if self._objects else ()
        return tuple(dict.fromkeys([*(name for raw in self._raw for name in self._lists.names(raw)), *answers]))

    def read(self, file: BinaryIO) -> Iterator[Rows]:
        """Batches of the file; a bad row ends them, unless bad rows are skipped."""
        held = Held()
        for lines in blocks(file):
            for start in range(0, len(lines), BATCH_ROWS):
                self._take(lines[start : start + BATCH_ROWS], held)
                cells = len(self._raw) + sum(self._lists.widths.values())
                if len(held.records) >= min(BATCH_ROWS, max(100, BATCH_CELLS // max(cells, 1))):
                    yield from self._rows(held)
                    held = Held()
        if held.records:
            yield from self._rows(held)

    def _take(self, lines: Sequence[bytes | None], held: Held) -> None:
        """The numbered records of some lines: blank lines are no rows."""
        full = [line for line in lines if line is None or not line.isspace()]
        parsed = _parse_all(full)
        if parsed is None:
            self._one_by_one(full, held)
            return
        held.numbers += range(self.rows + 1, self.rows + len(parsed) + 1)
        held.records += parsed
        self.rows += len(parsed)

    def _one_by_one(self, lines: Sequence[bytes | None], held: Held) -> None:
        for line in lines:
            self.rows += 1
            if line is None:
                self.bad.add(self.rows, None, f"a line of more than {MAX_LINE:,} bytes", EXPECTED_RECORD)
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                self.bad.add(self.rows, None, _shown(line), f"{EXPECTED_RECORD} ({_why(error)})")
                continue
            if isinstance(record, dict):
                held.numbers.append(self.rows)
                held.records.append(record)
            else:
                self.bad.add(self.rows, None, record, EXPECTED_RECORD)

    def _rows(self, held: Held) -> Iterator[Rows]:
        good = held if self._plain(held.records) else self._checked(held)
        for part in good.runs():
            made = self._batch(part.records, part.numbers)
            if not self.bad.stopped() and made.batch.rows:
                yield made

    def _plain(self, records: list[Record]) -> bool:
        """Whether all records have features and name no model, or the one we know: nothing to look at one by one."""
        if set(map(type, [r.get("features") for r in records])) != {dict}:
            return False
        try:
            models = {r.get("model") for r in records} - {None}
        except TypeError:  # a list or an object
            return False
        return models <= ({self.layout.model} if self.layout.model is not None else self._models)

    def _checked(self, held: Held) -> Held:
        """Without records that are bad as a whole, label records and those of other models."""
        good = Held()
        for row, record in zip(held.numbers, held.records, strict=True):
            features, model = record.get("features"), record.get("model")
            if features.__class__ is not dict:
                if "features" in record and features is not None:
                    self.bad.add(row, "features", features, 'an object such as {"age": 41}')
                    continue
                if record.get("prediction") is None:
                    if "label" not in record or "id" not in record:
                        self.bad.add(row, None, record, "a record with features or a prediction, or an id and a label")
                    continue
            if model is None or self._wanted(row, model):
                good.numbers.append(row)
                good.records.append(record)
        return good

    def _wanted(self, row: int, model: object) -> bool:
        if not isinstance(model, str):
            self.bad.add(row, "model", model, "a text")
            return False
        if self.layout.model is not None:
            return model == self.layout.model
        self._models.add(model)
        if len(self._models) > 1:
            raise DataError(
                f"{self.bad.name}: row {row}: records of several models",
                got=", ".join(sorted(self._models)),
                expected="one",
                todo="choose one with --model",
            )
        return True

    def _batch(self, records: list[Record], numbers: list[int]) -> Rows:
        """Columns of records; rows found bad on the way are dropped at the end."""
        drop: dict[int, None] = {}

        def refuse(i: int, column: str, got: object, expected: str) -> None:
            if i not in drop:
                drop[i] = None
                self.bad.add(numbers[i], column, got, expected)

        moments = self._times(records, refuse)
        features = self._features(records, numbers, refuse)
        answers = [r.get("prediction") for r in records]
        if self._answers_objects(answers):
            features |= self._lists.columns(OUTPUT, answers, numbers)
            answers = [None] * len(answers)
        prediction, probabilities = self._predictions(answers, refuse)
        latency = None
        if any("latency" in r for r in records):
            latency = _numeric("latency", [r.get("latency") for r in records], refuse)
        ids = [None if (i := r.get("id")) is None else str(i) for r in records] if "id" in records[0] else None
        keep = np.array([i for i in range(len(records)) if i not in drop], np.int64) if drop else None
        batch = ObservationBatch(
            model=self.layout.model or next(iter(self._models), ""),
            version=_version(records[-1]),
            source="tail",
            rows=len(records) - len(drop),
            features={k: select(v, keep) for k, v in features.items()},
            prediction=select(prediction, keep),
            probabilities=select(probabilities, keep),
            n_classes=0 if probabilities is None else probabilities.shape[1],
            latency=select(latency, keep),
            ids=select(ids, keep),
        )
        return Rows(with_output(batch), select(np.array(numbers, np.int64), keep), select(moments, keep))

    def _times(self, records: list[Record], refuse: Any) -> Column | None:
        if self._timed is None:
            self._timed = "ts" in records[0]
        if not self._timed:
            return None
        raw = [r.get("ts") for r in records]
        found = times(raw)
        for i in np.flatnonzero(np.isnan(found)).tolist():
            refuse(i, "ts", raw[i], EXPECTED_TIME)
        return found

    def _features(self, records: list[Record], numbers: list[int], refuse: Any) -> dict[str, Column]:
        dicts = [r.get("features") or {} for r in records]
        shapes = set(map(tuple, dicts))  # the names of each row: mostly one set of them
        fresh = [n for n in dict.fromkeys(chain.from_iterable(shapes)) if n not in self._raw]
        fresh = [n for n in fresh if n not in self.layout.ignore]
        if fresh:
            check_names(self.bad.name, fresh)
            self._raw.update(dict.fromkeys(fresh))
            check_names(self.bad.name, self._raw)
        if not any(shapes):
            return {}
        if len(shapes) == 1:
            found = dict(zip(next(iter(shapes)), zip(*map(dict.values, dicts), strict=True), strict=True))
            raw = {name: list(found[name]) if name in found else [None] * len(dicts) for name in self._raw}
        else:
            raw = {name: [d.get(name) for d in dicts] for name in self._raw}
        columns: dict[str, Column] = {}
        for name, values in raw.items():
            types = set(map(type, values))
            if self._lists.holds(name, types):
                columns.update(self._lists.columns(name, values, numbers))
            else:
                columns[name] = self._column(name, values, types, refuse)
        return columns

    def _column(self, name: str, values: list[Any], types: set[type], refuse: Any) -> Column:
        if not types <= _SCALARS:
            for i, value in enumerate(values):
                if type(value) not in _SCALARS:
                    refuse(i, name, value, "a number, text, true, false or null")
                    values[i] = None
            types &= _SCALARS
        if name in self.layout.numeric:
            return _numeric(name, values, refuse)
        return scalars(values, types)

    def _answers_objects(self, values: list[Any]) -> bool:
        """Whether the file's answers are lists of objects (boxes, entities), by the first one."""
        if self._objects is None:
            first = next((v for v in values if v is not None), None)
            if first is None:
                return False
            self._objects = type(first) is list and described.is_objects(first)
            self._lists.widths.update({OUTPUT: OBJECTS} if self._objects else {})
        return self._objects

    def _predictions(self, values: list[Any], refuse: Any) -> tuple[Column | None, Any]:
        """(prediction, probabilities) columns: one of them, or none."""
        types = set(map(type, values)) - {_NONE}
        if not types:
            return None, None
        if self._width is None:
            first = next(v for v in values if v is not None)
            self._width = len(first) if isinstance(first, list) else 0
        if self._width:
            return None, _lists(values, self._width, refuse)
        if not types <= _SCALARS:
            for i, value in enumerate(values):
                if type(value) not in _SCALARS:
                    refuse(i, "prediction", value, "a number or a class, as in the rows before")
                    values[i] = None
            types &= _SCALARS
        return scalars(values, types | {_NONE}), None


def scalars(values: list[Any], types: set[type]) -> Column:
    """A column of JSON scalars: float64 where all are numbers or null, else canonical texts."""
    kinds = types - {_NONE}
    if kinds <= _NUMBER:
        try:
            x = np.array(values, np.float64)
        except OverflowError:
            return [canonical(v) for v in values]
        if int in kinds and len(x) and np.nanmax(np.abs(x), initial=0) >= EXACT:
            return [canonical(v) for v in values]
        return x
    return values if kinds <= _TEXT else [canonical(v) for v in values]


def _numeric(name: str, values: list[Any], refuse: Any) -> Column:
    """A column that must hold numbers; texts count where they are numbers."""
    out = np.full(len(values), np.nan)
    for i, value in enumerate(values):
        if isinstance(value, str):
            out[i] = number(value)
            wrong = bool(np.isnan(out[i])) and value not in MISSING_WORDS and value.lower() != "nan"
        elif isinstance(value, int | float):
            out[i] = number(str(value)) if not isinstance(value, bool) else value
            wrong = False
        else:
            wrong = value is not None
        if wrong:
            refuse(i, name, value, "a number")
    return out


def _lists(values: list[Any], width: int, refuse: Any) -> Any:
    out = np.full((len(values), width), np.nan)
    expected = f"a list of {width} numbers, as in the rows before"
    for i, value in enumerate(values):
        if value is None:
            continue
        if not isinstance(value, list) or len(value) != width or not set(map(type, value)) <= _NUMBER:
            refuse(i, "prediction", value, expected)
            continue
        out[i] = value
    return out


def select(column: Any, keep: Any) -> Any:
    """Some rows of a column of any type, all of them when ``keep`` is None."""
    if column is None or keep is None:
        return column
    return [column[i] for i in keep.tolist()] if isinstance(column, list) else column[keep]


def _parse_all(lines: Sequence[bytes | None]) -> list[Record] | None:
    """The records of all lines in one go; None when any of them is not one object."""
    if not all(line is not None and line[:1] == b"{" for line in lines):
        return None
    try:
        parsed = json.loads(b"[" + b",".join(lines) + b"]")  # type: ignore[arg-type] # no None: checked above
    except (ValueError, RecursionError):
        return None
    # Two objects on one line, or one over two lines, would shift the numbering.
    return parsed if len(parsed) == len(lines) and set(map(type, parsed)) <= {dict} else None


def _version(record: Record) -> str | None:
    version = record.get("version")
    return None if version is None or not str(version) else str(version)


def _shown(line: bytes) -> str:
    return line[:100].decode("utf-8", "backslashreplace").rstrip("\n")


def _why(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    return "nested too deep" if isinstance(error, RecursionError) else str(error)
