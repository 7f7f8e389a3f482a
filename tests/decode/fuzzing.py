"""Captures changed at random, in bytes and in JSON, and what must hold of whatever a decoder reads in them."""

from __future__ import annotations

import dataclasses
import json
import marshal
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pilotfish_agent.decode._columns import MAX_FEATURES, MAX_ROWS
from pilotfish_agent.decode._part import PROBLEMS, Route, Unreadable
from pilotfish_agent.decode._runner import Decoders
from pilotfish_core.nouns import Exchange, Observation
from tests.decode import captures

HANG_S = 5.0
"""CPU seconds after which an execution is stopped and counts as hanging; the slowest ordinary one takes 0.01."""
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**53 + 1, 2**63, 2**64, -(2**63), 10**30, 0.1, -0.0, 1e308, 1e-320, "", "x", "é" * 90,
    "\x00", "\u202e", "x" * 5_000, "1e5", "nan", [], [[]], [[], []], [[[[[]]]]], {}, {"": {}}, {"b64": 1}, {"b64": "!"},
    [None], [True, "x", 1.5], [0.5, 0.5], [[0.5, 0.5], [0.5]], [1, [2, [3]]], {"a": [1, {"b": []}]},
    [{"a": 1}, {"b": 2}], [{}], ["x"], [0] * 1_500, [[1, 2]] * 40, {"@prediction": 1},
    {str(i): i for i in range(1_200)},
)  # fmt: skip
_ODD = tuple(map(marshal.dumps, ODD))
KEYS = ("instances", "inputs", "outputs", "predictions", "choices", "usage", "error", "data", "shape", "index", "model",
        "delta", "content", "embedding", "parameters", "binary_data_size", "type", "response", "")  # fmt: skip
PIECES = (b"[", b"{", b'"', b",", b"\n\n", b"data: ", b"\x00", b"\xff", b"1e999", b"\\u")
CODINGS = ("gzip", "deflate", "br", "zstd", "identity", "x", "gzip, br")
LENGTHS = ("0", "1", "10", "99999", "-1", "1e3", "²", "", "007")


@dataclass
class Report:
    """What a run of the fuzzer found.

    Attributes:
        executions: changed exchanges given to the decoder.
        faults: what was wrong, the first few.
        slowest: CPU seconds of the slowest execution.
        growth: bytes that the process grew by after the first fifth of the run.
        rows: read in all: a fuzzer whose every exchange is refused tests little.
    """

    executions: int = 0
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0
    growth: int = 0
    rows: int = 0


class Fuzzer:
    """Changes the captures of one protocol.

    Args:
        protocol: its name.
        seed: of the changes.
    """

    def __init__(self, protocol: str, seed: int) -> None:
        self._random = random.Random(seed)
        self._protocol = protocol
        seeds = [json.loads(p.read_text(encoding="utf-8")) for p in captures.paths() if p.parent.name == protocol]
        for capture in seeds:
            del capture["observation"]
        self._whole = [captures.exchange(capture) for capture in seeds]
        self._seeds = [marshal.dumps(capture) for capture in seeds]  # copied five times as fast as by deepcopy
        self._decoders = [Decoders(captures.config(capture)) for capture in seeds]

    def run(self, progress: Callable[[int], float]) -> Report:
        """Executes until ``progress(executions)`` is 1; needs the main thread, for its timer."""
        report, base, began = Report(), resident(), 0.0
        before = signal.signal(signal.SIGVTALRM, _hanging)
        settled = False
        try:
            while (done := progress(report.executions)) < 1:
                exchange, decoders = self._changed()
                signal.setitimer(signal.ITIMER_VIRTUAL, HANG_S)
                began = time.process_time()
                try:
                    report.rows += self._execute(exchange, decoders)
                except BaseException as error:
                    if len(report.faults) < 5:
                        report.faults.append(f"{self._protocol}: {type(error).__name__}: {error} of {exchange}"[:3_000])
                    if isinstance(error, KeyboardInterrupt):
                        raise
                finally:
                    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
                report.slowest = max(report.slowest, time.process_time() - began)
                report.executions += 1
                if not settled and done >= 0.2:  # until then caches and the heap fill
                    base, settled = resident(), True
            report.growth = resident() - base
        finally:
            signal.signal(signal.SIGVTALRM, before)
        return report

    def _execute(self, exchange: Exchange, decoders: Decoders) -> int:
        found = decoders._find(exchange.method, exchange.target)
        if found.chosen is None:
            return 0
        decoder, route = decoders._recognised(found, exchange, success=True)
        try:
            seen = decoder.decode(exchange, route)
        except Unreadable as error:
            seen = Observation(route.operation, problem=error.reason)
        check(route, seen)
        return seen.rows

    def _changed(self) -> tuple[Exchange, Decoders]:
        draw = self._random
        place = draw.randrange(len(self._seeds))
        exchange = self._whole[place]
        if draw.random() < 0.7:
            capture = marshal.loads(self._seeds[place])
            for _ in range(draw.choice((1, 1, 2, 5))):
                self._change_json(capture)
            exchange = captures.exchange(capture)
        changes: dict[str, Any] = {"status": 200}
        if draw.random() < 0.5:
            side = draw.choice(("request", "response"))
            changes[f"{side}_body"] = self._change_bytes(getattr(exchange, f"{side}_body"))
        if draw.random() < 0.1:
            side = draw.choice(("request", "response"))
            headers = dict(getattr(exchange, f"{side}_headers"))
            name = draw.choice(("content-encoding", "inference-header-content-length", "content-type", "x-request-id"))
            values = {"content-encoding": CODINGS, "inference-header-content-length": LENGTHS}.get(name)
            headers[name] = draw.choice(values or ("text/event-stream", "text/csv", "", "é"))
            changes[f"{side}_headers"] = headers
        if draw.random() < 0.1:
            changes["outcome"] = draw.choice(("aborted", "server_error"))
            changes["response_cut"] = draw.random() < 0.5
            changes["marks"] = tuple((draw.randrange(500), draw.random()) for _ in range(draw.randrange(5)))
        return dataclasses.replace(exchange, **changes), self._decoders[place]

    def _change_json(self, capture: dict[str, Any]) -> None:
        draw = self._random
        side = capture[draw.choice(("request", "response"))]
        if "json" in side:
            side["json"] = self._mutated(side["json"])
        elif side.get("lines"):
            i = draw.randrange(len(side["lines"]))
            line = side["lines"][i]
            start = line.find("{")
            try:
                value = json.loads(line[start:])
            except ValueError:
                side["lines"].insert(i, line)
                return
            end = "\n\n" if line.endswith("\n\n") else "\n"
            side["lines"][i] = line[:start] + json.dumps(self._mutated(value)) + end

    def _mutated(self, value: Any) -> Any:
        """The value with one node replaced, taken away, doubled or renamed; most likely a deep one."""
        draw = self._random
        if isinstance(value, dict) and value and draw.random() < 0.85:
            key = draw.choice(list(value))
            kind = draw.random()
            if kind < 0.1:
                del value[key]
            elif kind < 0.2:
                value[draw.choice(KEYS)] = value[key]
            else:
                value[key] = self._mutated(value[key])
            return value
        if isinstance(value, list) and value and draw.random() < 0.85:
            i = draw.randrange(len(value))
            kind = draw.random()
            if kind < 0.1:
                del value[i]
            elif kind < 0.2:
                value.append(marshal.loads(marshal.dumps(value[i])))
            else:
                value[i] = self._mutated(value[i])
            return value
        return marshal.loads(draw.choice(_ODD))

    def _change_bytes(self, data: bytes) -> bytes:
        draw = self._random
        changed = bytearray(data)
        for _ in range(draw.choice((1, 1, 3, 10))):
            at = draw.randrange(len(changed) + 1)
            kind = draw.randrange(4)
            if kind == 0 and at < len(changed):
                changed[at] = draw.randrange(256)
            elif kind == 1:
                del changed[at : at + draw.choice((1, 4, 50))]
            elif kind == 2:
                changed[at:at] = draw.choice(
                    (b"[", b"{", b'"', b",", b"\n\n", b"data: ", b"\x00", b"\xff", b"1e999", b"\\u")
                )
            else:
                changed[at:at] = changed[at // 2 : at // 2 + draw.choice((1, 20, 200))]
        return bytes(changed)


def check(route: Route, seen: Observation) -> None:
    """What holds of every observation; asserts."""
    assert seen.operation == route.operation
    assert seen.problem is None or seen.problem in PROBLEMS
    assert 0 <= seen.rows <= MAX_ROWS
    assert len(seen.features) <= 3 * MAX_FEATURES  # a text has its category, length and script
    for name, column in seen.features.items():
        assert name
        assert name[0] != "@"
        assert len(column) == seen.rows, name
        _check_column(column)
    if seen.prediction is not None:
        _check_column(seen.prediction)
    assert seen.prediction is None or len(seen.prediction) == seen.rows
    assert seen.probabilities is None or len(seen.probabilities) == seen.rows * seen.n_classes
    assert seen.classes is None or len(seen.classes) == seen.n_classes
    assert seen.ids is None or len(seen.ids) == seen.rows
    for label in (seen.model, seen.version):
        assert label is None or 0 < len(label) <= 200
    tokens = seen.tokens
    if tokens is not None:
        counts = (tokens.input, tokens.output, tokens.cached_input, tokens.reasoning_output)
        assert all(n is None or 0 <= n <= 10**9 for n in counts)
    assert all(gap >= 0 for gap in seen.chunk_gaps)


def _check_column(column: Any) -> None:
    """A list of categories, or float64 numbers; a list of numbers would be taken for texts."""
    if isinstance(column, list):
        assert all(v is None or (type(v) is str and len(v) <= 64) for v in column)
    else:
        assert memoryview(column).format == "d"


def resident() -> int:
    """Bytes of memory of this process."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4_096


def _hanging(*_: object) -> None:
    raise TimeoutError(f"more than {HANG_S} s of CPU")
