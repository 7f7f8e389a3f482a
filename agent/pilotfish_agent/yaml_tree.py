"""YAML with line numbers, bounded: the file is read event by event, so no input can grow or recurse.

Scalars stay the text that was written (``version: 1.10`` is not 1.1, ``country: NO`` is not false); only plain
``true``, ``false`` and ``null`` (``~``, nothing) are read, as in YAML 1.2. No aliases, no tags, one document.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from pilotfish_core.errors import ConfigError

MAX_BYTES = 2**20
"""A configuration above this is a mistake (a data file given by accident), and slow to read."""

MAX_DEPTH = 20
MAX_NODES = 20_000
_PLAIN = {"true": True, "false": False, "null": None, "~": None, "": None}
_LOOSE = {"True": True, "TRUE": True, "False": False, "FALSE": False, "Null": None, "NULL": None}


@dataclass(slots=True)
class Node:
    """A value with its line, counted from 1.

    Attributes:
        value: str, bool or None of a scalar; list of `Node`; or dict of text to `Node`.
        line: where it starts; under a key, the key's line.
    """

    value: Any
    line: int
    pending: str | None = field(default=None)


def plain(node: Node) -> Any:
    """The value without the lines."""
    if isinstance(node.value, list):
        return [plain(n) for n in node.value]
    if isinstance(node.value, dict):
        return {k: plain(n) for k, n in node.value.items()}
    return node.value


def parse(data: bytes, name: str) -> tuple[Node | None, list[ConfigError]]:
    """The tree of a file's bytes, None for an empty document, and what is wrong but can be passed over.

    Args:
        data: the file's content.
        name: of the file, for messages.

    Raises:
        ConfigError: nothing of the file can be used.
    """
    if len(data) > MAX_BYTES:
        raise ConfigError(
            f"{name}: too large", got=f"over {MAX_BYTES} bytes", expected="at most 1 MiB of configuration"
        )
    builder = _Builder(name)
    for event in _events(_decode(data, name), name):
        builder.take(event)
    return builder.root, builder.problems


def _decode(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        got = data[error.start : error.start + 1]
        raise ConfigError(f"{name}:{line}: not UTF-8", got=got, expected="a text file in UTF-8") from None


def _events(text: str, name: str) -> Iterator[Any]:
    try:
        loader: Any = yaml.SafeLoader(text)
    except yaml.YAMLError as error:
        raise _syntax(error, text, name, 0) from None
    try:
        while loader.check_event():
            yield loader.get_event()
    # ValueError: PyYAML lets chr() and int() of foreign escapes and %YAML versions through
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise _syntax(error, text, name, loader.line) from None
    finally:
        loader.dispose()


def _syntax(error: Exception, text: str, name: str, line: int) -> ConfigError:
    mark = getattr(error, "problem_mark", None)
    said = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error).split("\n")[0]
    if mark is not None:
        line = mark.line
    elif (position := getattr(error, "position", None)) is not None:
        line = text.count("\n", 0, position)
    lines = text.split("\n")
    got = lines[line].strip() if line < len(lines) else ""
    if "\\t" in said:
        return ConfigError(f"{name}:{line + 1}: a tab", got=got, expected="spaces", todo="indent with spaces, not tabs")
    return ConfigError(f"{name}:{line + 1}: not YAML ({said})", got=got, expected="`key: value` lines")


class _Builder:
    """Turns events into nodes, on a stack of its own."""

    def __init__(self, name: str) -> None:
        self.root: Node | None = None
        self.problems: list[ConfigError] = []
        self._name = name
        self._stack: list[Node] = []
        self._nodes = 0
        self._documents = 0

    def take(self, event: Any) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise self._error(event, "a second document", "one document", "remove the `---` line")
        elif isinstance(event, yaml.AliasEvent):
            raise self._error(event, f"alias *{event.anchor}", "values written out", "aliases are not supported")
        elif isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._open(event)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._stack.pop()

    def _scalar(self, event: Any) -> None:
        self._check(event)
        value: Any = event.value
        top = self._stack[-1] if self._stack else None
        if top is not None and isinstance(top.value, dict) and top.pending is None:
            self._key(top, str(value), event)
            return
        if event.style is None and (value in _PLAIN or value in _LOOSE):
            value = _PLAIN[value] if value in _PLAIN else _LOOSE[value]
        self._place(Node(value, event.start_mark.line + 1))

    def _key(self, mapping: Node, key: str, event: Any) -> None:
        mapping.pending = key
        if key in mapping.value:
            first = mapping.value[key].line
            todo = f"the first, of line {first}, is taken"
            self.problems.append(self._error(event, f"key `{key}` again", "each key once", todo))

    def _open(self, event: Any) -> None:
        self._check(event)
        top = self._stack[-1] if self._stack else None
        if top is not None and isinstance(top.value, dict) and top.pending is None:
            raise self._error(event, "a list or mapping as a key", "a text as a key")
        if len(self._stack) >= MAX_DEPTH:
            raise self._error(event, f"nested more than {MAX_DEPTH} deep", "sections with keys")
        node = Node({} if isinstance(event, yaml.MappingStartEvent) else [], event.start_mark.line + 1)
        self._place(node)
        self._stack.append(node)

    def _place(self, node: Node) -> None:
        if not self._stack:
            self.root = node
            return
        top = self._stack[-1]
        if isinstance(top.value, list):
            top.value.append(node)
            return
        key, top.pending = top.pending, None
        top.value.setdefault(key, node)

    def _check(self, event: Any) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self._error(event, f"more than {MAX_NODES} values", "a configuration, not a data file")
        if event.tag is not None or event.anchor is not None:
            tag = str(event.tag).replace("tag:yaml.org,2002:", "!!")
            what = f"tag {tag}" if event.tag is not None else f"anchor &{event.anchor}"
            raise self._error(event, what, "plain values", "tags and anchors are not supported")
        if isinstance(event, yaml.ScalarEvent) and any("\ud800" <= c <= "\udfff" for c in event.value):
            raise self._error(event, "half a surrogate pair", "Unicode text")

    def _error(self, event: Any, what: str, expected: str, todo: str = "") -> ConfigError:
        return ConfigError(f"{self._name}:{event.start_mark.line + 1}: {what}", expected=expected, todo=todo)
