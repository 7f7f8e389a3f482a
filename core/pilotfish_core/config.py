"""Configuration types. A part declares ``SECTION`` and a frozen dataclass ``Config`` whose fields are options.

The loader (pilotfish_agent.config) fills them from flags > environment > file > defaults;
the schema, the example file and the reference page are assembled from the same declarations.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

_UNITS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0}
# At most 12 digits a number: beyond lies float overflow, and nobody's duration or memory.
_DURATION = re.compile("".join(rf"(?:([0-9]{{1,12}}){u})?" for u in ("y", "w", "d", "h", "m", "s", "ms")) + r"\Z")
_SIZE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)\s*([KMGT]i?)?B?\Z")
_FACTORS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_BUDGET = re.compile(r"([0-9]{1,9})\s+per\s+(\S+)\Z")


@dataclass(frozen=True, slots=True)
class Option:
    """One key's declaration.

    Attributes:
        parse: turns the value of the file (or the text of a flag or variable) into the typed one; raises ValueError
            whose text is the expectation, for example ``a duration such as 10s``. A scalar of the file arrives as
            the text that was written (``1.10`` stays ``1.10``), but true and false as bool, null as None.
        help: one line for the schema and the reference page.
        example: how it stands in the example file, as YAML text.
        secret: printed as ``<secret>``; may be given as ``<key>_file``; the value is a `Secret`.
    """

    parse: Callable[[Any], Any]
    help: str
    example: str
    secret: bool = False


def option(
    default: Any,
    parse: Callable[[Any], Any],
    help: str,  # noqa: A002 - the word users know
    example: str = "",
    *,
    secret: bool = False,
) -> Any:
    """A dataclass field with an `Option`; ``default`` is the parsed value and must be immutable."""
    return field(default=default, metadata={"option": Option(parse, help, example, secret)})


@dataclass(frozen=True, slots=True)
class FreeSection:
    """A section whose keys are the user's own, such as ``labels``; its value is a mapping of text to text.

    Attributes:
        parse_key: as `Option.parse`, for a key.
        parse_value: as `Option.parse`, for a value.
        help: one line for the schema and the reference page.
        example: ``key: value`` lines for the example file.
    """

    parse_key: Callable[[Any], str]
    parse_value: Callable[[Any], str]
    help: str
    example: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ListSection:
    """A section that is a list of mappings, such as ``targets``; its value is a tuple of ``item``.

    An entry with anything wrong in it is a problem and left out as a whole: half of it might mean something else.

    Attributes:
        item: a frozen dataclass of `option` fields; its ``__post_init__`` may raise ValueError with the expectation.
        help: one line for the schema and the reference page.
        example: ``- {key: value}`` lines for the example file.
        most: entries allowed.
    """

    item: type
    help: str
    example: tuple[str, ...]
    most: int


class Secret:
    """A text that prints as ``<secret>``; `reveal` gives it to the code that needs it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The text itself."""
        return self._value

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)


def secret(value: Any) -> Secret:
    """A parser for a secret: a text of 1 to 10,000 characters."""
    if not isinstance(value, str) or not 0 < len(value) <= 10_000:
        raise ValueError("a text of 1 to 10000 characters")
    return Secret(value)


def options(section: type) -> dict[str, Option]:
    """The options of a ``Config`` dataclass, by key, in declaration order."""
    return {f.name: f.metadata["option"] for f in fields(section) if "option" in f.metadata}


@dataclass(frozen=True, slots=True)
class Budget:
    """``count`` false alarms allowed per ``seconds``."""

    count: int
    seconds: float
    text: str

    def ticks(self, tick: float, replicas: int = 1) -> float:
        """A of docs/statistics.md section 4: ticks in the budget's duration / alarms allowed x replicas."""
        return self.seconds / tick / self.count * replicas


def duration(value: Any) -> float:
    """Seconds of a Prometheus duration: ``1h30m``, ``10s``, ``500ms``; a bare 0 is allowed."""
    text = str(value).strip()
    match = _DURATION.match(text) if text else None
    if text == "0":
        return 0.0
    if match is None or isinstance(value, bool):
        raise ValueError("a duration such as 500ms, 10s, 5m, 1h30m or 30d")
    return sum(
        int(n) * _UNITS[u] for n, u in zip(match.groups(), ("y", "w", "d", "h", "m", "s", "ms"), strict=True) if n
    )


def positive_duration(value: Any) -> float:
    """A duration above 0."""
    seconds = duration(value)
    if seconds <= 0:
        raise ValueError("a duration above 0 such as 10s")
    return seconds


def duration_between(low: str, high: str) -> Callable[[Any], float]:
    """A parser for a duration in [low, high], both written as durations."""
    least, most = duration(low), duration(high)

    def parse(value: Any) -> float:
        seconds = duration(value)
        if not least <= seconds <= most:
            raise ValueError(f"a duration from {low} to {high}")
        return seconds

    return parse


def size(value: Any) -> int:
    """Bytes of ``160MiB``, ``1GB``, ``1024``."""
    match = _SIZE.match(str(value).strip()) if not isinstance(value, bool) else None
    if match is None:
        raise ValueError("a size such as 160MiB, 1GB or 1048576")
    amount = float(match[1]) if "." in match[1] else int(match[1])
    return round(amount * _FACTORS[match[2] or ""])


def budget(value: Any) -> Budget:
    """``N per DURATION``, for example ``1 per 30d``."""
    text = " ".join(str(value).split())
    match = _BUDGET.match(text)
    if match is None or int(match[1]) < 1:
        raise ValueError("a budget such as `1 per 30d`: a whole number of alarms per duration")
    seconds = positive_duration(match[2])
    return Budget(int(match[1]), seconds, text)


def number(low: float = -math.inf, high: float = math.inf, *, above: float = -math.inf) -> Callable[[Any], float]:
    """A parser for a finite number in [low, high], and greater than ``above``."""
    limits = [f"at least {low:g}"] * (low > -math.inf) + [f"above {above:g}"] * (above > -math.inf)
    limits += [f"at most {high:g}"] * (high < math.inf)
    words = "a number" + (" " + " and ".join(limits) if limits else "")

    def parse(value: Any) -> float:
        try:
            x = float(value) if not isinstance(value, bool) else math.nan
        except (TypeError, ValueError, OverflowError):
            x = math.nan
        if not (math.isfinite(x) and low <= x <= high and x > above):
            raise ValueError(words)
        return x

    return parse


def integer(low: int, high: int) -> Callable[[Any], int]:
    """A parser for a whole number in [low, high]."""

    def parse(value: Any) -> int:
        try:
            x = int(str(value)) if not isinstance(value, bool) else low - 1
        except ValueError:
            x = low - 1
        if not low <= x <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return x

    return parse


def choice(*words: str) -> Callable[[Any], str]:
    """A parser for one of ``words``."""

    def parse(value: Any) -> str:
        if value not in words:
            raise ValueError("one of " + ", ".join(words))
        return str(value)

    return parse


def text(limit: int = 200) -> Callable[[Any], str]:
    """A parser for a text of 1 to ``limit`` characters; numbers are taken as written."""

    def parse(value: Any) -> str:
        if isinstance(value, bool | list | dict) or value is None or not 0 < len(str(value)) <= limit:
            raise ValueError(f"a text of 1 to {limit} characters")
        return str(value)

    return parse
