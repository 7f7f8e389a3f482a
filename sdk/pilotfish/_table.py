"""Reads what models are given and give: arrays, data frames, mappings, lists. By their looks, importing none of them.

Everything is copied while it is read: the model may change its input afterwards.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from pilotfish import described, wire
from pilotfish._rows import MAX_FEATURES, probabilities
from pilotfish._schema import BODY_BYTES, GONE, MAX_TEXT, NAN, float_of, kind_of, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SMALL = 32
"""Fewer rows than this travel with others in one frame; more make frames of their own, column by column."""
LISTS = 64
"""Numbers a row from which an array of a mapping is one column of lists (an embedding), not as many features."""
MOST_BYTES = 4 << 20
"""Of one batch; of a larger one evenly spread rows are taken, the others count as lost."""


class Table:
    """Columns of equal length, copied.

    Attributes:
        names: of the columns, unique.
        columns: lists of Python values (small tables), or (kind, cells): bytes of numbers, or a list of texts.
        rows: how many rows there are in the columns.
        skipped: rows of the original that are not in the columns.
    """

    __slots__ = ("columns", "names", "rows", "skipped")

    def __init__(self, names: tuple[str, ...], columns: list[Any], rows: int, skipped: int = 0) -> None:
        self.names = names
        self.columns = columns
        self.rows = rows
        self.skipped = skipped


def read(data: Any, name: Callable[[int], tuple[str, ...]], *, row: bool = False) -> Table:
    """A table of what came.

    Args:
        data: array of one or two dimensions, data frame, mapping of columns, list of rows or of records.
        name: gives names to that many columns of an array.
        row: one dimension is one row; else it is one column.

    Raises:
        TypeError: for what is none of these, or has more than `MAX_FEATURES` columns.
    """
    data = _host(data)
    if getattr(data, "ndim", 0) == 2 and hasattr(data, "tolist") and 0 < len(data) < SMALL:
        width = data.shape[1]  # the usual call of a server: one look for all cells, not one a column
        if 0 < width <= MAX_FEATURES:
            return Table(name(width), list(zip(*data.tolist(), strict=True)), len(data))
    found = list(_columns(data, name, row=row))
    if not found or len(found) > MAX_FEATURES:
        raise TypeError(f"{len(found)} columns")
    sizes = {len(column) for _, column in found}
    if len(sizes) != 1:
        raise TypeError(f"columns of lengths {sorted(sizes)[:5]}")
    total = sizes.pop()
    names = tuple(n for n, _ in found)
    if total < SMALL:
        return Table(names, [values(column) for _, column in found], total)
    step = -(-total * sum(map(bytes_of, (column for _, column in found))) // MOST_BYTES)
    kept: list[tuple[str, Any]] = []
    for n, column in found:
        kept += described_cells(n, column[::step] if step > 1 else column)
    rows = -(-total // step)
    return Table(tuple(n for n, _ in kept), [c for _, c in kept], rows, total - rows)


def _columns(data: Any, name: Callable[[int], tuple[str, ...]], *, row: bool) -> Iterator[tuple[str, Any]]:
    if hasattr(data, "iter_columns"):  # polars
        yield from ((str(c.name), c) for c in data.iter_columns())
    elif isinstance(data, Mapping) or (hasattr(data, "items") and hasattr(data, "columns")):  # columns, pandas
        for key, column in data.items():
            yield from _named(str(key), _host(column))
    elif getattr(data, "ndim", None) == 2:
        width = data.shape[1]
        if width > MAX_FEATURES:
            raise TypeError(f"{width} columns")
        yield from zip(name(width), (data[:, j] for j in range(width)), strict=True)
    elif getattr(data, "ndim", None) == 1:
        names = name(len(data) if row else 1)  # first: it refuses what is too wide to be read
        yield from zip(names, ([v] for v in data.tolist()), strict=True) if row else [(names[0], data)]
    elif isinstance(data, (list, tuple)) and data:
        yield from _of_list(data, name, row=row)
    else:
        raise TypeError(type(data).__name__)


def _named(key: str, column: Any) -> Iterator[tuple[str, Any]]:
    """A mapping's column; one of two dimensions is several, or lists where it is wide."""
    if getattr(column, "ndim", 1) == 2 and column.shape[1] < LISTS:
        width = column.shape[1]
        names = [key] if width == 1 else [f"{key}_{j}" for j in range(width)]
        yield from zip(names, (column[:, j] for j in range(width)), strict=True)
    elif isinstance(column, (str, bytes)) or not hasattr(column, "__len__") or getattr(column, "ndim", 1) == 0:
        yield key, [column]  # a record: a single value is a row
    else:
        yield key, column


def _of_list(data: Sequence[Any], name: Callable[[int], tuple[str, ...]], *, row: bool) -> Iterator[tuple[str, Any]]:
    first = data[0]
    if isinstance(first, Mapping):
        names = list(dict.fromkeys(key for record in data for key in record))
        yield from ((str(key), [record.get(key) for record in data]) for key in names)
    elif isinstance(first, (list, tuple)) or getattr(first, "ndim", 0) == 1:
        yield from zip(name(len(first)), zip(*data, strict=True), strict=True)
    elif kind_of(first) == wire.TEXT and row:
        raise TypeError("a list of texts")  # prompts, not features: they stay in the process
    elif row:
        yield from zip(name(len(data)), ([v] for v in data), strict=True)
    else:
        yield name(1)[0], data


def _host(data: Any) -> Any:
    """A tensor in host memory as an array; one on a device stays where it is: copying it would wait for the device."""
    if hasattr(data, "detach") and hasattr(data, "numpy"):
        if getattr(getattr(data, "device", None), "type", "cpu") != "cpu":
            raise TypeError("a tensor on a device")
        return data.detach().numpy()
    return data


def values(column: Any) -> list[Any]:
    """A column as Python values."""
    if isinstance(column, (list, tuple)) or getattr(column, "ndim", 1) > 2:  # images stay arrays
        return list(column)
    for method in ("tolist", "to_list", "to_pylist"):
        if hasattr(column, method):
            listed: list[Any] = getattr(column, method)()
            return listed
    return list(column)


def cells(column: Any) -> tuple[int, Any]:
    """(kind, cells) of a long column.

    Raises:
        TypeError: when its values are neither single ones nor lists of as many numbers.
    """
    if getattr(column, "ndim", 1) > 2:
        raise TypeError("images")
    first = column[0] if getattr(column, "ndim", 1) == 2 or isinstance(column, (list, tuple)) else None
    if getattr(first, "ndim", 0) == 1 or isinstance(first, (list, tuple)):
        return _lists(column, first)
    kind = getattr(getattr(column, "dtype", None), "kind", "")
    if kind in ("f", "i") and hasattr(column, "astype"):
        wanted = "<f8" if kind == "f" else "<i8"
        try:
            return wire.FLOAT if kind == "f" else wire.INTEGER, column.astype(wanted).tobytes()
        except (AttributeError, TypeError, ValueError):
            pass  # a column of pandas, perhaps with gaps: by its values
    listed = values(column)
    kinds = {kind_of(v) for v in listed}
    if wire.TEXT in kinds:
        return wire.TEXT, [_text(v) for v in listed]
    if kinds == {wire.INTEGER}:
        return wire.INTEGER, struct.pack(f"<{len(listed)}q", *listed)
    return wire.FLOAT, struct.pack(f"<{len(listed)}d", *map(float_of, listed))


def described_cells(name: str, column: Any) -> list[tuple[str, tuple[int, Any]]]:
    """(name, (kind, cells)) of a long column, or of what describes its images or lists of objects; none of others."""
    try:
        return [(name, cells(column))]
    except TypeError:
        rows = [dict(described.expanded(name, value)) for value in values(column)]
        names = dict.fromkeys(part for row in rows for part in row if part != name)
        return [(part, cells([row.get(part) for row in rows])) for part in names]


def _lists(column: Any, first: Any) -> tuple[int, bytes]:
    """(kind, cells) of lists of numbers, or of an array of two dimensions; others than as the first are missing."""
    width = described.width(first)
    if not width:
        raise TypeError("lists of other things")
    fill = b"\0" * (4 * (width % 2))
    pack = described.packer(width)
    return wire.lists_of(width), b"".join([pack(row) + fill for row in column])


def bytes_of(column: Any) -> int:
    """Of a row of the column."""
    first: Any = column[0] if getattr(column, "ndim", 1) == 2 or isinstance(column, (list, tuple)) else None
    return max(8, 4 * described.width(first))


def _text(value: Any) -> str:
    if isinstance(value, float):
        return wire.MISSING if value != value else str(int(value)) if value.is_integer() else repr(value)  # noqa: PLR0124 - NaN
    text = text_of(value)
    return wire.MISSING if text is GONE else wire.escape(text[:MAX_TEXT])


def predictions(data: Any) -> tuple[list[Any], bool] | None:
    """Columns of a model's answers and whether they are probabilities; None when they are neither these nor values."""
    data = _host(data)
    if isinstance(data, (list, tuple)) and len(data) and getattr(data[0], "ndim", 0) >= 1:
        data = data[0]  # several outputs: the first
    if hasattr(data, "iloc") or (hasattr(data, "to_numpy") and not hasattr(data, "iter_columns")):
        data = data.to_numpy()
    if getattr(data, "ndim", 1) == 2:
        if data.shape[1] == 1:
            return [data[:, 0]], False
        if len(data) and probabilities(data[0]) is not None:
            return [data[:, j] for j in range(data.shape[1])], True
        return None
    if isinstance(data, (list, tuple)) and len(data) and isinstance(data[0], (list, tuple)):
        return (list(zip(*data, strict=True)), True) if probabilities(data[0]) is not None else None
    if isinstance(data, (list, tuple)) or getattr(data, "ndim", 0) == 1 or hasattr(data, "tolist"):
        return ([data], False) if hasattr(data, "__len__") and getattr(data, "ndim", 1) == 1 else None
    return None


def outputs(data: Any) -> Any:
    """Answers that are lists of numbers but no probabilities, or of objects, one a row; None of all others."""
    data = _host(data)
    if isinstance(data, (list, tuple)) and len(data) and getattr(data[0], "ndim", 0) > 1:
        data = data[0]
    if getattr(data, "ndim", 0) == 2 and hasattr(data, "tolist"):
        return data if described.width(data[0]) else None
    listed = isinstance(data, (list, tuple)) and len(data) and not isinstance(data[0], (str, Mapping))
    return data if listed and (described.width(data[0]) or described.is_objects(data[0])) else None


def sections(columns: Sequence[tuple[tuple[int, str], tuple[int, Any]]], rows: int) -> Iterator[tuple[bytes, int]]:
    """Frame bodies of a long table of ((role, name), (kind, cells)), at most `BODY_BYTES` each, with their rows."""
    descriptor = wire.describe((role, kind, name) for (role, name), (kind, _) in columns)
    numbers = [(c, 8 * wire.cells_of(kind)) for _, (kind, c) in columns if kind != wire.TEXT]
    texts = [c for _, (kind, c) in columns if kind == wire.TEXT]
    room = BODY_BYTES - len(descriptor) - wire.SECTION_BYTES
    step = max(1, min(wire.MAX_ROWS, room // max(1, sum(size for _, size in numbers) + 12 * len(texts))))
    waiting = [(start, min(start + step, rows)) for start in range(0, rows, step)][::-1]
    while waiting:
        start, end = waiting.pop()
        packed = _section(descriptor, len(columns), numbers, texts, (start, end))
        if len(packed) <= BODY_BYTES:
            yield packed, end - start
        elif end - start == 1:
            yield b"", 1
        else:
            middle = (start + end) // 2
            waiting += [(middle, end), (start, middle)]


def _section(
    descriptor: bytes,
    count: int,
    numbers: Iterable[tuple[bytes, int]],
    texts: Iterable[list[str]],
    where: tuple[int, int],
) -> bytes:
    start, end = where
    packed = b"".join(column[size * start : size * end] for column, size in numbers)
    text = wire.utf8("\0".join(cell for column in texts for cell in column[start:end]))
    return wire.pack_section(wire.Section(descriptor, count, end - start, packed, text, layout=wire.BY_COLUMN))


def latencies(latency: Any, rows: int) -> list[float]:
    """A latency a row. A single one is the call's: its first row has it, so that calls are counted once."""
    if latency is None:
        return [NAN] * rows
    if hasattr(latency, "__len__"):
        listed = [float_of(v) for v in values(latency)]
        if len(listed) != rows:
            raise ValueError(f"{len(listed)} latencies for {rows} rows")
        return listed
    return [float_of(latency)] + [NAN] * (rows - 1)
