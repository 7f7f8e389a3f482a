"""A JSON object and named arrays as bytes that tell when they are damaged: for checkpoints."""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
MAX_BYTES: Final = 256 << 20
_HEAD: Final = struct.Struct("<4sIQ")  # magic, CRC-32 and length of what follows
_MAGIC: Final = b"PFC1"
_TYPES: Final[dict[str, np.dtype[Any]]] = {
    "f8": np.dtype("<f8"),
    "f4": np.dtype("<f4"),
    "i8": np.dtype("<i8"),
    "i4": np.dtype("<i4"),
}


class DamagedError(ValueError):
    """The bytes are no whole pack."""


def pack(meta: Mapping[str, Any], arrays: Arrays) -> bytes:
    """``meta`` (JSON, finite numbers) and arrays of float64, float32, int64 or int32 of any shape."""
    layout = [(name, a.dtype.str[1:], a.shape) for name, a in arrays.items()]
    text = json.dumps({"meta": meta, "arrays": layout}, separators=(",", ":"), allow_nan=False).encode()
    parts = [
        np.ascontiguousarray(a, _TYPES[kind]).tobytes() for a, (_, kind, _) in zip(arrays.values(), layout, strict=True)
    ]
    body = zlib.compress(b"".join((struct.pack("<I", len(text)), text, *parts)), 1)
    return _HEAD.pack(_MAGIC, zlib.crc32(body), len(body)) + body


def unpack(content: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What `pack` was given.

    Raises:
        DamagedError: truncated, changed, of another format, or too large.
    """
    try:
        magic, check, size = _HEAD.unpack_from(content)
        body = content[_HEAD.size :]
        if magic != _MAGIC or len(body) != size or zlib.crc32(body) != check:
            raise DamagedError("no whole checkpoint")
        inflate = zlib.decompressobj()
        data = inflate.decompress(body, MAX_BYTES)
        if inflate.unconsumed_tail:
            raise DamagedError(f"larger than {MAX_BYTES} bytes")
        (length,) = struct.unpack_from("<I", data)
        head = json.loads(data[4 : 4 + length])
        arrays, at = {}, 4 + length
        for name, kind, shape in head["arrays"]:
            count = math.prod(shape)
            arrays[name] = np.frombuffer(data, _TYPES[kind], count, at).reshape(shape).copy()
            at += count * _TYPES[kind].itemsize
        return head["meta"], arrays
    except (struct.error, zlib.error, ValueError, KeyError, TypeError) as error:
        raise DamagedError(str(error)) from None
