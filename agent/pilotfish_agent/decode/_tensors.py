"""Tensors of the Open Inference protocol: as JSON lists, or binary after the JSON (Triton's extension)."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Final

from pilotfish_agent.decode import _coding, _columns, _json, _lists
from pilotfish_agent.decode._part import Unreadable
from pilotfish_core.nouns import Column

MAX_CELLS: Final = 400_000
"""Cells of a binary tensor that become numbers of 8 bytes: 3.2 MB."""
MAX_OBJECTS: Final = 12_000
"""Cells of a binary tensor that become objects, each of some 100 bytes until it is in its column."""
WIDE: Final = 200
"""Numbers a row from which a tensor of two dimensions is an embedding: its columns have no names of their own."""
MAX_TENSORS: Final = 1_000
HEADER_LENGTH: Final = "inference-header-content-length"
_DTYPES: Final = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
_BF16: Final = "BF16"
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named tensor.

    Attributes:
        name: of the input or output.
        shape: its dimensions.
        cells: all its values in row-major order: a list, or a numpy array of a number type.
    """

    name: str
    shape: tuple[int, ...]
    cells: Any

    @property
    def batch(self) -> int:
        """Its first dimension, 1 without dimensions."""
        return self.shape[0] if self.shape else 1

    def rows(self, count: int) -> list[list[Any]]:
        """Its values as ``count`` rows.

        Raises:
            Unreadable: rows_differ: they do not divide so; json_wide: too many for objects.
        """
        if count < 1 or len(self.cells) % count:
            raise Unreadable("rows_differ")
        cells = self.cells
        if hasattr(cells, "tolist"):
            if len(cells) > MAX_OBJECTS:
                raise Unreadable("json_wide")
            cells = cells.tolist()
        width = len(cells) // count
        return [cells[i * width : (i + 1) * width] for i in range(count)] if width else []


def read(data: bytes, headers: Mapping[str, str], *, cut: bool) -> tuple[dict[str, Any], bytes]:
    """A body's JSON, and the binary tensors that follow it.

    Raises:
        Unreadable: when it has none.
    """
    if cut:
        raise Unreadable("body_cut")
    data = _coding.decoded(data, headers.get("content-encoding", ""))
    text, binary = data, b""
    length = headers.get(HEADER_LENGTH)
    if length is not None:
        if not (length.isascii() and length.isdigit() and len(length) < 10 and int(length) <= len(data)):
            raise Unreadable("shape")
        text, binary = data[: int(length)], data[int(length) :]
    body = _json.parse(text)
    if not isinstance(body, dict):
        raise Unreadable("shape")
    return body, binary


def tensors(entries: Any, binary: bytes) -> list[Tensor]:
    """The tensors of `inputs` or `outputs`.

    Raises:
        Unreadable: shape: a tensor that is not as long as it says, or of an unknown type; json_wide: too large.
    """
    if not isinstance(entries, list) or len(entries) > MAX_TENSORS:
        raise Unreadable("shape")
    found, at = [], 0
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise Unreadable("shape")
        parameters = entry.get("parameters")
        size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
        if size is None:
            data = entry.get("data")
            cells: Any = _columns.flatten(data) if isinstance(data, list) else data
            if not isinstance(cells, list):
                raise Unreadable("shape")
        else:
            if type(size) is not int or not 0 <= size <= len(binary) - at:
                raise Unreadable("shape")
            cells = _binary(str(entry.get("datatype")), binary[at : at + size])
            at += size
        found.append(Tensor(entry["name"][: _columns.MAX_NAME], _shape(entry.get("shape"), len(cells)), cells))
    return found


def _shape(shape: Any, cells: int) -> tuple[int, ...]:
    if not isinstance(shape, list) or not all(type(n) is int and 0 <= n <= 2**31 for n in shape) or len(shape) > 32:
        raise Unreadable("shape")
    if prod(shape) != cells:
        raise Unreadable("shape")
    return tuple(map(int, shape))


def _binary(datatype: str, data: bytes) -> Any:
    import numpy as np

    if datatype == "BYTES":
        return _texts(data)
    if datatype == _BF16:
        if len(data) % 2:
            raise Unreadable("shape")
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    kind = _DTYPES.get(datatype)
    if kind is None or len(data) % np.dtype(kind).itemsize:
        raise Unreadable("shape")
    return np.frombuffer(data, kind)


def _texts(data: bytes) -> list[str]:
    """Elements of a BYTES tensor, each after its length; those that are no UTF-8 are told by their length alone."""
    found: list[str] = []
    at = 0
    while at < len(data):
        if len(data) - at < _LENGTH.size or len(found) >= MAX_OBJECTS:
            raise Unreadable("shape")
        (size,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size + size
        if at > len(data):
            raise Unreadable("shape")
        found.append(data[at - size : at].decode("utf-8", "replace"))
    return found


def features(tensor: Tensor, count: int, *, only: bool) -> dict[str, Column]:
    """The columns of an input of ``count`` rows; f0, f1, ... when it is the only one and has several.

    Raises:
        Unreadable: rows_differ, json_wide.
    """
    if count < 1 or len(tensor.cells) % count:
        raise Unreadable("rows_differ")
    width = len(tensor.cells) // count
    numbers = _small(tensor.cells)
    if width > (WIDE if numbers and len(tensor.shape) == 2 else _columns.MAX_FEATURES):
        wide = len(tensor.shape) == 2 and numbers and width <= _lists.MAX_WIDTH
        return {tensor.name: _matrix(tensor, count, width)} if wide else _described(tensor, count, width)
    if numbers and len(tensor.shape) > 3 and (found := _described(tensor, count, width, images=True)):
        return found
    if len(tensor.cells) > MAX_CELLS:
        raise Unreadable("json_wide")
    names = [tensor.name] if width == 1 else [f"f{i}" if only else f"{tensor.name}_{i}" for i in range(width)]
    if _small(tensor.cells):
        table = tensor.cells.reshape(count, width).T.astype("<f8", order="C")
        return {
            name: array("d", column.tobytes()) for name, column in zip(names, table, strict=True) if name[:1] != "@"
        }
    rows = tensor.rows(count)
    return _columns.columns(dict(zip(names, zip(*rows, strict=True), strict=False)))


def _small(cells: Any) -> bool:
    """Whether it is an array of numbers that are all exact as floats; truth values are none."""
    return hasattr(cells, "dtype") and cells.dtype.kind in "iuf" and (cells.dtype.kind == "f" or cells.itemsize < 8)


def _matrix(tensor: Tensor, count: int, width: int) -> Column:
    if len(tensor.cells) > MAX_CELLS:
        raise Unreadable("json_wide")
    return tensor.cells.reshape(count, width).astype("f8")


def _described(tensor: Tensor, count: int, width: int, *, images: bool = False) -> dict[str, Column]:
    """An image, a sound or the like: what describes each row of it; with ``images`` nothing but images."""
    found: dict[str, array[float]] = {}
    for i in range(count):
        row = tensor.cells[i * width : (i + 1) * width]
        told = dict(_lists.pixels_of(tensor.name, _pixels(tensor, row, count)))
        for name, value in told.items() or (() if images else _columns.described(tensor.name, row)):
            found.setdefault(name, array("d")).append(value)
    return {name: column for name, column in found.items() if len(column) == count}


def _pixels(tensor: Tensor, row: Any, count: int) -> Any:
    """A row in its dimensions, where the first one is the batch's."""
    import numpy as np

    cells = row if hasattr(row, "reshape") else np.array(row) if set(map(type, row)) <= {int, float} else np.zeros(0)
    fits = tensor.shape[0] == count and prod(tensor.shape[1:]) == cells.size and cells.dtype.kind in "iuf"
    return cells.reshape(tensor.shape[1:]) if fits else np.zeros(0)
