"""What is kept of values that are no single numbers or categories: lists of numbers, images, lists of objects.

Arrays describe themselves by their own methods; nothing is imported. The agent describes what it captures by the same
functions, so that both name and measure the same.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence

from pilotfish import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOST_PIXELS = 128
"""Of a side: of a larger image evenly spread pixels are looked at, and its middle for sharpness: half a millisecond."""
MOST_OBJECTS = 10_000
LEAST_PIXELS = 8
"""Of a side: fewer are a table of boxes."""
LABELS = (
    *("label", "class", "class_name", "category", "entity_group", "entity", "name", "type"),
    *("category_id", "class_id"),
)
"""Keys under which detectors and taggers name what they found; the earlier one is taken."""
_DARK = 0.02
_DECIMALS = 9  # the last bits depend on the library: images of one colour have a contrast of 0
_CHANNELS = (1, 3, 4)
_turn = itertools.count()


def width(value: Any) -> int:
    """How many numbers a list, tuple or array of one dimension holds; 0 of all else, and of fewer than two."""
    if isinstance(value, (list, tuple)) or hasattr(value, "typecode"):
        numbers = 1 < len(value) <= wire.MAX_WIDTH and all(isinstance(v, (float, int)) for v in value)
        return len(value) if numbers else 0
    if getattr(value, "ndim", 0) != 1 or not hasattr(value, "tolist") or getattr(value.dtype, "kind", "f") not in "fiu":
        return 0
    return len(value) if 1 < len(value) <= wire.MAX_WIDTH else 0


def packer(numbers: int) -> Callable[[Any], bytes]:
    """What turns a list of so many numbers into its cells; missing throughout where it is none."""
    pack = struct.Struct(f"<{numbers}f").pack
    missing = pack(*[float("nan")] * numbers)

    def cells(value: Any) -> bytes:
        try:
            if getattr(value, "ndim", 0) == 1 and hasattr(value, "astype"):
                packed: bytes = value.astype("<f4").tobytes()
                return packed if len(packed) == len(missing) else missing
            return pack(*(value.tolist() if hasattr(value, "tolist") else value))
        except (TypeError, ValueError, OverflowError, struct.error):
            return missing

    return cells


def is_image(value: Any) -> bool:
    """Whether an array is one of pixels: of two dimensions, or three of which the first or last are channels."""
    shape: tuple[int, ...] = getattr(value, "shape", ())
    if len(shape) == 3:
        return (shape[0] in _CHANNELS or shape[-1] in _CHANNELS) and min(sorted(shape)[1:]) >= LEAST_PIXELS
    return len(shape) == 2 and min(shape) >= LEAST_PIXELS


def image(pixels: Any) -> dict[str, float]:
    """Brightness, contrast, sharpness, share of black, width and height of an image.

    Args:
        pixels: an array of shape (height, width), (height, width, channels) or (channels, height, width), such as
            numpy's. Whole numbers of 8 bits count as 0 to 1, others as they are.

    Returns:
        ``brightness`` and ``contrast`` (mean and spread of grey), ``sharpness`` (variance of the Laplacian), ``black``
        (share of pixels that are nearly 0), ``width``, ``height``.
    """
    channel = None
    if pixels.ndim == 3:
        channel = 2 if pixels.shape[2] in _CHANNELS else 0
    height, wide = (n for axis, n in enumerate(pixels.shape) if axis != channel)
    scale = 1 / 255 if str(pixels.dtype) in ("uint8", "torch.uint8") else 1.0
    seen = _grey(_spread(pixels, height, wide, channel), channel) * scale
    middle = _grey(_middle(pixels, height, wide, channel), channel) * scale
    around = middle[:-2, 1:-1] + middle[2:, 1:-1] + middle[1:-1, :-2] + middle[1:-1, 2:]
    told = {
        "brightness": seen.mean(),
        "contrast": seen.std(),
        "sharpness": (around - middle[1:-1, 1:-1] * 4).var(),
        "black": (seen <= _DARK).mean(),
        "width": wide,
        "height": height,
    }
    return {name: round(float(value), _DECIMALS) for name, value in told.items()}


def _grey(pixels: Any, channel: int | None) -> Any:
    if channel is None:
        return pixels.astype("f8")
    planes = [pixels[i] if channel == 0 else pixels[..., i] for i in range(min(pixels.shape[channel], 3))]
    grey = planes[0] * 1.0
    for plane in planes[1:]:
        grey += plane
    return grey / len(planes)


def _spread(pixels: Any, height: int, wide: int, channel: int | None) -> Any:
    down, across = (slice(None, None, -(-n // MOST_PIXELS)) for n in (height, wide))
    return pixels[:, down, across] if channel == 0 else pixels[down, across]


def _middle(pixels: Any, height: int, wide: int, channel: int | None) -> Any:
    down, across = (slice(max(0, (n - MOST_PIXELS) // 2), (n + MOST_PIXELS) // 2) for n in (height, wide))
    return pixels[:, down, across] if channel == 0 else pixels[down, across]


def objects(found: Sequence[Any], turn: int | None = None) -> dict[str, float | str | None]:
    """``count``: how many objects a list holds; ``label``: that of one of them, None where none has one.

    One, not all: objects of one row depend on one another, so that all of them would tell no more than as many rows.
    Over many rows every object has its turn.

    Args:
        found: texts (labels), mappings (with a label), or anything else, of which only the number is known.
        turn: a number of the row, which decides which object has its turn; None: the next one of this process.
    """
    labels = [label for one in found[:MOST_OBJECTS] if (label := _label(one)) is not None]
    if not labels:
        return {"count": float(len(found)), "label": None}
    number = next(_turn) if turn is None else turn
    at = number * 2_654_435_761 % 2**32 * len(labels) >> 32  # Knuth's hash: turns beat no time with the rows
    return {"count": float(len(found)), "label": labels[at]}


def _label(one: Any) -> str | None:
    if isinstance(one, str):
        return one
    if isinstance(one, Mapping):
        value = next((one[key] for key in LABELS if key in one), None)
        return str(value) if isinstance(value, (str, int)) else None
    return None


def is_objects(value: Any) -> bool:
    """Whether a list holds objects: none, texts, mappings, or lists (boxes); or a table with a row an object."""
    if getattr(value, "ndim", 0) == 2:
        return not is_image(value)
    return isinstance(value, (list, tuple)) and (not value or isinstance(value[0], (str, Mapping, list, tuple)))


def expanded(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """(feature, value) of a value that is no single one: itself where it is a list of numbers, else what describes it.

    Nothing of a value that cannot be described.
    """
    if width(value):
        yield name, value
    elif is_objects(value):
        yield from ((f"{name}.{part}", told) for part, told in objects(value).items())
    elif is_image(value):
        yield from ((f"{name}.{part}", told) for part, told in image(value).items())
