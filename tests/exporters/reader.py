"""A second reader of the text format 0.0.4, written from its specification alone, character by character and strict."""

from __future__ import annotations

from dataclasses import dataclass, field

_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_:")
_ESCAPES = {"\\": "\\", "n": "\n", '"': '"'}
_KINDS = frozenset({"counter", "gauge", "histogram", "summary", "untyped"})
Series = tuple[str, frozenset[tuple[str, str]]]


@dataclass
class Page:
    """What a page says: kind and help of each family, value of each series, in order."""

    kinds: dict[str, str] = field(default_factory=dict)
    helps: dict[str, str] = field(default_factory=dict)
    series: dict[Series, float] = field(default_factory=dict)


def read(body: bytes) -> Page:
    """Reads a page.

    Raises:
        ValueError: it breaks a rule: names, quoting, numbers, a line without end, a second TYPE or HELP, a family
            in two pieces, a series twice.
    """
    text = body.decode("utf-8")
    if text and not text.endswith("\n"):
        raise ValueError("the last line has no end")
    page, done, current = Page(), set[str](), ""
    for line in text.split("\n")[:-1]:
        if line.startswith("# "):
            word, name, rest = line[2:].split(" ", 2)
            family = name
            if word == "HELP":
                _once(page.helps, name, rest)
            elif word == "TYPE":
                _once(page.kinds, name, rest)
                if rest not in _KINDS:
                    raise ValueError(f"kind {rest!r}")
            else:
                raise ValueError(f"comment {line!r}")
        else:
            series, value = _sample(line)
            family = _family(series[0], page)
            _once(page.series, series, value)
        if family != current:
            if family in done:
                raise ValueError(f"{family} comes in two pieces")
            done.add(current)
            current = family
    return page


def _once(where: dict, key: object, value: object) -> None:  # type: ignore[type-arg]
    if key in where:
        raise ValueError(f"{key!r} twice")
    where[key] = value


def _family(name: str, page: Page) -> str:
    for suffix in ("_bucket", "_sum", "_count"):
        base = name.removesuffix(suffix)
        if base != name and page.kinds.get(base) == "histogram":
            return base
    return name


def _sample(line: str) -> tuple[Series, float]:
    at = _name_end(line, 0)
    name, labels = line[:at], dict[str, str]()
    if line[at : at + 1] == "{":
        at += 1
        while line[at] != "}":
            end = _name_end(line, at)
            if line[end : end + 2] != '="' or line[at:end] in labels:
                raise ValueError(f"label at {at} of {line!r}")
            labels[line[at:end]], at = _quoted(line, end + 2)
            if line[at] == ",":
                at += 1
            elif line[at] != "}":
                raise ValueError(f"no comma at {at} of {line!r}")
        at += 1
    if line[at : at + 1] != " " or line[at + 1 :].strip() != line[at + 1 :] or "_" in line[at:]:
        raise ValueError(f"value of {line!r}")
    return (name, frozenset(labels.items())), float(line[at + 1 :])


def _name_end(line: str, at: int) -> int:
    end = at
    while end < len(line) and line[end] in _NAME:
        end += 1
    if end == at or line[at].isdigit():
        raise ValueError(f"name at {at} of {line!r}")
    return end


def _quoted(line: str, at: int) -> tuple[str, int]:
    out = []
    while line[at] != '"':
        if line[at] == "\\":
            at += 1
            out.append(_ESCAPES[line[at]])
        else:
            out.append(line[at])
        at += 1
    return "".join(out), at + 1
