"""Rows of one shape, packed at once: nothing of a caller's mutable objects is kept.

A schema remembers, for each combination of value types it has met, how to turn the values into cells (a *plan*).
A row whose types are those of the last one is packed by one `struct.Struct` without looking at the values.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable, Iterator, Sequence

from pilotfish import wire

TYPE_CHECKING = False  # the same to a type checker; the module `typing` costs milliseconds of the model's start
if TYPE_CHECKING:
    from typing import Any

NAN = float("nan")
MAX_TEXT = 4_096
"""Characters of a text value that are sent: a long one is no category, and the agent keeps what describes it."""
MAX_PLANS = 256
FRAME_ROWS = 256
"""Rows a frame while traffic is dense: handing a datagram over costs some 40 us (it wakes the agent), so 64 rows a
frame cost half as much again a row; the kernel queues about eleven datagrams, whatever their size."""
BODY_BYTES = wire.MAX_FRAME - 2_048  # the header with the names of model and version

GONE = "\x01\x03"  # a missing text among a row's cells; known by identity, so no value can be it

Plan = tuple[tuple[int, "Callable[[Any], Any]"], ...]
Key = tuple[tuple[int, str], ...]
"""(role, name) of each column."""


def kind_of(value: Any) -> int | None:
    """`wire.FLOAT`, `wire.INTEGER` or `wire.TEXT`; None for a missing value (it fits every kind).

    Raises:
        TypeError: for lists, mappings and other things that are no single value.
    """
    if value is None:
        return None
    if isinstance(value, (str, bool)):
        return wire.TEXT
    if isinstance(value, float):
        return wire.FLOAT
    if isinstance(value, int):
        return wire.INTEGER if -(2**63) <= value < 2**63 else wire.TEXT
    scalar = plain(value)
    if scalar is not None and not isinstance(scalar, (str, bool, float, int)):
        raise TypeError(type(value).__name__)
    return kind_of(scalar)


def plain(value: Any) -> Any:
    """The Python number, text or None of a scalar of numpy, torch, pandas or decimal; anything else as it came."""
    name = type(value).__name__
    if name in {"longdouble", "float128", "float96"}:  # whose `item` is another one
        return float(value)
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return value.item()
    if name in {"NAType", "NaTType"}:
        return None
    if name in {"Decimal", "Fraction"}:
        return float(value)
    return value


def text_of(value: Any) -> str:
    """The cell of a value in a text column: booleans as ``true`` and ``false``, whole numbers as written.

    Raises:
        TypeError: for what is no single value.
    """
    if isinstance(value, str):
        return str.__str__(value)  # of an enumeration: its value, not its name
    value = plain(value)
    if value is None:
        return GONE
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, (str, int)):
        raise TypeError(type(value).__name__)
    return str(value)


def float_of(value: Any) -> float:
    """The cell of a value in a column of numbers; a missing one is NaN."""
    value = plain(value)
    return NAN if value is None else float(value)


def fits(kind: int | None, column: int) -> bool:
    """Whether a value of ``kind`` can stand in a column of kind ``column`` as it is."""
    if kind is None:
        return column != wire.INTEGER
    return kind == column or (kind == wire.INTEGER and column == wire.FLOAT)


def widened(kind: int | None, column: int) -> int:
    """The kind of the column that takes a value which does not fit: whole numbers with gaps or fractions are floats."""
    if kind is None:
        return wire.FLOAT if column == wire.INTEGER else column
    if {kind, column} == {wire.INTEGER, wire.FLOAT}:
        return wire.FLOAT
    return column if wire.width_of(kind) and wire.width_of(column) else kind  # of another width: missing


class Schema:
    """The packed rows of one shape, waiting to be sent.

    Attributes:
        key: (role, name) of the columns, in the order of a row's values.
        kinds: of the columns.
        types: the value types of the row before, when its values needed no conversion.
        rows: packed rows: bytes, or (bytes, text) when there are text columns. Observers only append to it.
        limit: rows that fill a frame; 1 once retired.
        retired: forgotten: no new rows are to be added.

    Raises:
        ValueError: for columns that no frame can hold.
    """

    __slots__ = (
        *(
            "_frame",
            "_lists",
            "_split",
            "descriptor",
            "key",
            "kinds",
            "limit",
            "mixed",
            "outcome",
            "pack",
            "plans",
            "retired",
            "rows",
        ),
        "types",
    )

    def __init__(self, key: Key, kinds: Sequence[int], outcome: int = 0) -> None:
        self.key = key
        self.kinds = tuple(kinds)
        self.outcome = outcome
        numbers = [i for i, kind in enumerate(kinds) if kind != wire.TEXT]
        texts = [i for i, kind in enumerate(kinds) if kind == wire.TEXT]
        self._lists = {i: _packer(kind) for i, kind in enumerate(kinds) if wire.width_of(kind)}
        self.pack = struct.Struct("<" + "".join(_FORMATS.get(kinds[i]) or f"{_bytes(kinds[i])}s" for i in numbers)).pack
        self.mixed = bool(texts)
        self._split = (getter(numbers), getter(texts))
        self.descriptor = wire.describe((r, k, n) for (r, n), k in zip(key, kinds, strict=True))
        self.types: list[type] | None = None
        self.plans: dict[tuple[type, ...], Plan] = {}
        self.rows: list[Any] = []
        self.retired = False
        room = BODY_BYTES - len(self.descriptor) - wire.SECTION_BYTES
        self.limit = self._frame = min(FRAME_ROWS, room // (sum(map(_bytes, kinds)) + len(texts) or 1))
        named = [column for column in key if column[0] != wire.PROBABILITY]
        if self.limit < 1 or len(set(named)) != len(named):
            raise ValueError(f"{len(key)} columns with {len(self.descriptor)} bytes of names do not fit a frame")

    def accepts(self, values: Sequence[Any]) -> bool:
        """Whether the values' kinds fit the columns."""
        return all(fits(kind_of(v), k) for v, k in zip(values, self.kinds, strict=True))

    def add(self, values: Sequence[Any]) -> None:
        """Packs one row; `accepts` must hold of it or of a row with the same types.

        Raises:
            struct.error: a whole number beyond 64 bits.
            TypeError: a value that is no single value.
        """
        types = tuple(map(type, values))
        plan = self.plans.get(types)
        if plan is None:
            plan = self._learn(types)
        if plan:
            values = list(values)
            for i, convert in plan:
                values[i] = convert(values[i])
        else:
            listed = list(types)
            if not self.retired:  # else rows of these types would come here for ever, and nobody sends them
                self.types = listed
        self.rows.append(self.mix(values) if self.mixed else self.pack(*values))

    def retire(self) -> None:
        """No new row shall find its way here; each that is on its way is a full frame, so that its observer looks."""
        self.limit = 1
        self.retired = True
        self.types = None

    def _learn(self, types: tuple[type, ...]) -> Plan:
        """What has to be converted when the values have these types: all but plain numbers and texts."""
        plan: list[tuple[int, Callable[[Any], Any]]] = []
        for i, (kind, of) in enumerate(zip(self.kinds, types, strict=True)):
            if i in self._lists:
                plan.append((i, self._lists[i]))
            elif kind == wire.TEXT and of is not str:
                plan.append((i, text_of))
            elif kind != wire.TEXT and of not in (float, int):
                plan.append((i, float_of if kind == wire.FLOAT else int))
        if len(self.plans) >= MAX_PLANS:
            self.plans.clear()
        made = self.plans[types] = tuple(plan)
        return made

    def mix(self, values: Sequence[Any]) -> tuple[bytes, str]:
        """A row with text: the numbers packed, the texts joined."""
        numbers, texts = self._split
        cells = texts(values)
        joined = "\0".join(cells)
        # one look at the whole: a separator, an escape or an overlong text inside a cell is rare
        if len(joined) > MAX_TEXT or "\x01" in joined or joined.count("\0") >= len(cells):
            joined = "\0".join(wire.MISSING if c is GONE else wire.escape(c[:MAX_TEXT]) for c in cells)
        return self.pack(*numbers(values)), joined

    def sections(self, rows: Sequence[Any]) -> Iterator[tuple[bytes, int]]:
        """The given rows as packed sections that each fit a frame, with their numbers of rows.

        A single row that fits no frame (a thousand long texts) comes with empty bytes.
        """
        for start in range(0, len(rows), self._frame):
            yield from self._cut(rows[start : start + self._frame])

    def _cut(self, rows: Sequence[Any]) -> Iterator[tuple[bytes, int]]:
        numbers, text = b"".join(r[0] for r in rows) if self.mixed else b"".join(rows), b""
        if self.mixed:
            text = wire.utf8("\0".join([r[1] for r in rows]))
        section = wire.Section(self.descriptor, len(self.key), len(rows), numbers, text, outcome=self.outcome)
        packed = wire.pack_section(section)
        if len(packed) <= BODY_BYTES:
            yield packed, len(rows)
        elif len(rows) == 1:
            yield b"", 1
        else:
            yield from self._cut(rows[: len(rows) // 2])
            yield from self._cut(rows[len(rows) // 2 :])


_FORMATS = {wire.FLOAT: "d", wire.INTEGER: "q"}


def _bytes(kind: int) -> int:
    return 8 * wire.cells_of(kind)


def _packer(kind: int) -> Callable[[Any], bytes]:
    from pilotfish import described  # of models with lists among their features only

    return described.packer(wire.width_of(kind))


def getter(indices: Sequence[Any]) -> Callable[[Any], Sequence[Any]]:
    """A function that gives the items at ``indices`` of its argument."""
    if not indices:
        return lambda _: ()
    if len(indices) == 1:
        at = indices[0]
        return lambda values: (values[at],)
    return operator.itemgetter(*indices)
