"""The selectors in a PromQL expression, by a tokeniser: enough to know which metrics and labels a dashboard needs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)
    | (?P<range>\[[^\]]*\])
    | (?P<name>[a-zA-Z_:][\w:]*)
    | (?P<number>(?:\d[\w.]*|\.\d+))
    | (?P<sign>=~|!~|!=|==|<=|>=|[-+*/%^<>=(){},@$])""",
    re.VERBOSE,
)
_GROUPING = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
_WORDS = _GROUPING | {"and", "or", "unless", "bool", "offset", "atan2", "inf", "nan"}


@dataclass(slots=True)
class Selector:
    """One selector.

    Attributes:
        name: the metric; empty where matchers alone choose.
        matchers: (label, operator, value) as written.
        inside: names of the functions and aggregations around it, the nearest first.
        ranged: what stands in brackets behind it, empty where nothing does.
    """

    name: str
    matchers: list[tuple[str, str, str]] = field(default_factory=list)
    inside: tuple[str, ...] = ()
    ranged: str = ""

    def metrics(self) -> tuple[str, ...]:
        """The metrics that it names, by its name or by alternatives of ``__name__``."""
        if self.name:
            return (self.name,)
        return tuple(m for label, _, value in self.matchers if label == "__name__" for m in value.split("|"))


@dataclass(slots=True)
class Parsed:
    """What an expression needs.

    Attributes:
        selectors: in order.
        grouped: labels in by, without, on, ignoring, group_left and group_right, without `le`.
    """

    selectors: list[Selector] = field(default_factory=list)
    grouped: set[str] = field(default_factory=set)


def parse(expr: str) -> Parsed:
    """Reads an expression.

    Raises:
        ValueError: a character that PromQL does not have, or brackets that do not match.
    """
    tokens = list(_tokens(expr))
    found = Parsed()
    around: list[str] = []
    i = 0
    while i < len(tokens):
        kind, text = tokens[i]
        following = tokens[i + 1][1] if i + 1 < len(tokens) else ""
        if kind == "name" and text in _GROUPING and following == "(":
            end = _closing(tokens, i + 1, ")")
            found.grouped |= {t for k, t in tokens[i + 2 : end] if k == "name"}
            i = end
        elif (
            kind == "sign" and text == "$"
        ):  # a variable of the dashboard: of a duration, where none stands in brackets
            i += 1
        elif kind == "name" and text.lower() not in _WORDS and following != "(" and not _aggregates(tokens, i):
            i = _selector(tokens, i, text, tuple(reversed([a for a in around if a])), found)
            continue
        elif text == "{":
            i = _selector(tokens, i - 1, "", tuple(reversed([a for a in around if a])), found)
            continue
        elif text == "(":
            around.append(_owner(tokens, i))
        elif text == ")":
            if not around:
                raise ValueError(f"PromQL {expr!r}: a bracket too many is closed")
            around.pop()
        i += 1
    if around:
        raise ValueError(f"PromQL {expr!r}: a bracket is not closed")
    return found


def _tokens(expr: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(expr):
        match = _TOKEN.match(expr, at)
        if match is None:
            raise ValueError(f"PromQL {expr!r}: character {at} ({expr[at]!r}) is not understood")
        at = match.end()
        if match.lastgroup != "space":
            yield str(match.lastgroup), match[0]


def _aggregates(tokens: list[tuple[str, str]], i: int) -> bool:
    """Whether a name is an aggregation whose grouping comes before its bracket."""
    return i + 1 < len(tokens) and tokens[i + 1][1] in {"by", "without"}


def _closing(tokens: list[tuple[str, str]], start: int, sign: str) -> int:
    for i in range(start, len(tokens)):
        if tokens[i][1] == sign:
            return i
    raise ValueError(f"PromQL: {sign} is missing")


def _owner(tokens: list[tuple[str, str]], i: int) -> str:
    """The function or aggregation that a bracket belongs to, empty for a plain one."""
    if i and tokens[i - 1][1] == ")":  # behind a grouping
        opening = max(k for k in range(i - 1) if tokens[k][1] == "(")
        i = opening - 1
    if i and tokens[i - 1][0] == "name" and tokens[i - 1][1] not in _WORDS:
        return tokens[i - 1][1]
    return ""


def _selector(tokens: list[tuple[str, str]], i: int, name: str, inside: tuple[str, ...], found: Parsed) -> int:
    """Takes a selector whose name stands at i; gives the place behind it."""
    made = Selector(name, inside=inside)
    found.selectors.append(made)
    i += 1
    if i < len(tokens) and tokens[i][1] == "{":
        end = _closing(tokens, i, "}")
        parts = [t for t in tokens[i + 1 : end] if t[1] != ","]
        for k in range(0, len(parts), 3):
            label, operator, value = (t[1] for t in parts[k : k + 3])
            made.matchers.append((label, operator, value[1:-1]))
        i = end + 1
    if i < len(tokens) and tokens[i][0] == "range":
        made.ranged = tokens[i][1][1:-1]
        i += 1
    return i
