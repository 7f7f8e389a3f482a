"""Values that are no single ones: embeddings as rows of numbers; images and lists of objects by what tells of them."""

from __future__ import annotations

import base64
import struct
from array import array
from collections.abc import Iterator, Mapping, Sequence
from math import nan
from typing import Any, Final

from pilotfish import described
from pilotfish_agent import language
from pilotfish_core.nouns import Column

WIDE: Final = 64
"""Numbers from which a named list is an embedding; fewer are as many features."""
MAX_WIDTH: Final = 4_096
_IMAGE_SIDE = 16  # of lists of lists: fewer may be a table
_OBJECTS: Final = ("detections", "objects", "entities", "labels", "classes", "boxes")
"""Names under which detectors answer with lists, one item an object; the earlier one is taken."""
_NUMBER: Final = frozenset({float, int})
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG_SIZES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def is_vector(value: Any) -> bool:
    """Whether a list holds numbers only, at most `MAX_WIDTH`."""
    return type(value) is list and 0 < len(value) <= MAX_WIDTH and set(map(type, value)) <= _NUMBER


def rows(values: Sequence[Any]) -> Column | None:
    """Lists of numbers as float64 (rows, width of the first), NaN throughout what is none; None without any."""
    import numpy as np

    first = next((v for v in values if is_vector(v)), None)
    if first is None:
        return None
    found = np.full((len(values), len(first)), nan)
    for i, value in enumerate(values):
        if is_vector(value) and len(value) == len(first):
            try:
                found[i] = value
            except OverflowError:  # a whole number beyond any float
                continue
    return found


def floats(text: str) -> list[float] | None:
    """The numbers of an embedding that travels as float32 in base64; None of what is none."""
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return list(struct.unpack(f"<{len(raw) // 4}f", raw[: len(raw) // 4 * 4])) if len(raw) <= 4 * MAX_WIDTH else None


def outputs(name: str, values: Sequence[Any]) -> dict[str, Column]:
    """The columns of answers that are lists: of numbers of one length, else how many objects they hold, with a label.

    Nothing of lists of single numbers, and of mixtures.
    """
    if not values or not all(isinstance(v, list) for v in values):
        return {}
    widths = {len(v) if is_vector(v) else 0 for v in values}
    if len(widths) == 1 and min(widths) > 1:
        return {name: rows(values)}
    if all(described.is_objects(v) for v in values):
        told: list[dict[str, Any]] = [described.objects(v) for v in values]
        labels = [language.category(t["label"]) for t in told]
        return {f"{name}.count": array("d", [t["count"] for t in told]), f"{name}.label": labels}
    return {}


def objects(said: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The lists of objects among answers of several parts: boxes, labels and scores of the same objects; else none."""
    name = next((n for n in _OBJECTS if all(isinstance(row.get(n), list) for row in said)), None)
    if name is None:
        return []
    # of objects whose class is a number
    return [[str(item) if isinstance(item, int | float) else item for item in row[name]] for row in said]


def image(name: str, value: list[Any]) -> Iterator[tuple[str, float]]:
    """(feature, value) of nested lists of pixels; nothing of what is no image."""
    depth = 0
    inner: Any = value
    while type(inner) is list and inner and depth < 4:
        inner, depth = inner[0], depth + 1
    if depth not in (2, 3) or type(inner) not in _NUMBER:
        return
    import numpy as np

    try:
        pixels = np.array(value, np.float64)
    except (ValueError, TypeError, OverflowError):
        return
    if depth == 2 and min(pixels.shape) < _IMAGE_SIDE:
        return
    yield from pixels_of(name, pixels)


def pixels_of(name: str, pixels: Any) -> Iterator[tuple[str, float]]:
    """(feature, value) of an array of pixels; nothing of an array that is no image."""
    import numpy as np

    if described.is_image(pixels):
        with np.errstate(all="ignore"):  # foreign numbers: what overflows is missing
            yield from ((f"{name}.{part}", value) for part, value in described.image(pixels).items())


def encoded(name: str, text: str) -> Iterator[tuple[str, float]]:
    """(feature, value) of bytes in base64: how many, and width and height of a PNG or JPEG, from its head alone."""
    yield f"{name}.bytes", float(len(text) * 3 // 4)
    try:
        head = base64.b64decode(text[: 1 << 16])
    except ValueError:
        return
    size = _png(head) if head.startswith(_PNG) else _jpeg(head) if head.startswith(b"\xff\xd8") else None
    if size is not None:
        yield f"{name}.width", float(size[0])
        yield f"{name}.height", float(size[1])


def _png(head: bytes) -> tuple[int, int] | None:
    return struct.unpack_from(">II", head, 16) if len(head) >= 24 and head[12:16] == b"IHDR" else None


def _jpeg(head: bytes) -> tuple[int, int] | None:
    """Of the first frame header; segments before it are passed over."""
    at = 2
    while at + 9 <= len(head) and head[at] == 0xFF:
        if head[at + 1] in _JPEG_SIZES:
            height, width = struct.unpack_from(">HH", head, at + 5)
            return width, height
        at += 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return None
