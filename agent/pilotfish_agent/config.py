"""The configuration's loader: flags > environment > file > defaults, all problems collected.

What is wrong is a problem, the level below it stays in force: `run` goes on with what is good, `config check`,
`attach` and ``--strict`` refuse. Sections and keys are declared by the parts (see pilotfish_agent.catalogue).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pilotfish_agent import yaml_tree
from pilotfish_agent.yaml_tree import Node
from pilotfish_core.config import FreeSection, ListSection, Option, Secret, options
from pilotfish_core.errors import ConfigError

DEFAULT_PATH = "/etc/pilotfish/pilotfish.yaml"
PREFIX = "PILOTFISH_"
FOREIGN = ("PILOTFISH_SERVICE_", "PILOTFISH_PORT")
"""Kubernetes sets these for a Service named pilotfish."""

OWN = frozenset(f"PILOTFISH_{name}" for name in ("SOCKET", "CONFIG", "LISTEN", "LOG_FILE", "RUNTIME_DIR", "STATE_DIR"))
FLAGS = {
    "model.name": "--model",
    "model.version": "--model-version",
    "capture.mode": "--capture",
    "capture.relay_listen": "--relay-listen",
}
"""Flags that are not named like their key."""

Section = type | FreeSection | ListSection
_SECRET = Secret("")


@dataclass(frozen=True, slots=True)
class Settings:
    """The effective configuration.

    Attributes:
        path: the file that was read, None when there is none.
        sections: section name -> its Config, a mapping of text to text for a free section, a tuple for a list.
        origins: ``section.key`` (in a list ``section[0].key``) -> where its value comes from (``FILE:LINE``, a
            variable, a flag); no entry: default.
        given: ``section.key`` -> the value in force as it was written; no entry: default.
        problems: everything wrong, in the order file, environment, flags.
        warnings: one line each.
    """

    path: str | None
    sections: Mapping[str, Any]
    origins: Mapping[str, str]
    given: Mapping[str, Any]
    problems: tuple[ConfigError, ...]
    warnings: tuple[str, ...]

    def section(self, name: str) -> Any:
        """The Config of a section; an unknown name is a mistake of the caller, KeyError."""
        return self.sections[name]


def resolve(path: str | None, environ: Mapping[str, str]) -> tuple[str, bool]:
    """(the file to read, whether it was asked for): never one of the working directory that was not named."""
    asked = path or environ.get("PILOTFISH_CONFIG") or None
    return (asked, True) if asked else (DEFAULT_PATH, False)


def load(
    path: str | None,
    environ: Mapping[str, str],
    flags: Mapping[str, str],
    *,
    sections: Mapping[str, Section] | None = None,
    default_path: str | None = None,
) -> Settings:
    """Reads everything.

    Args:
        path: of ``--config``, None when not given.
        environ: the environment's variables.
        flags: ``section.key`` -> text, of the command line.
        sections: the known ones; those of the catalogue when None.
        default_path: read when neither ``path`` nor ``PILOTFISH_CONFIG`` name a file; may be missing; `DEFAULT_PATH`
            when None.

    Returns:
        Settings, whatever the input: errors are in ``problems``.
    """
    if sections is None:
        from pilotfish_agent import catalogue

        sections = catalogue.sections()
    name, asked = resolve(path, environ)
    name = name if asked or default_path is None else default_path
    found = _Found(sections)
    data = _read(name, asked, found)
    if data is not None:
        _take_file(data, name, found)
    _take_environment(environ, found)
    for key, text in flags.items():
        found.put(key, text, f"command line: {_flag(key)}", _flag(key))
    return Settings(
        path=name if data is not None else None,
        sections={s: found.build(s) for s in sections},
        origins=found.origins,
        given=found.given,
        problems=tuple(found.problems),
        warnings=tuple(found.warnings),
    )


def _flag(key: str) -> str:
    return FLAGS.get(key) or "--" + key.partition(".")[2].replace("_", "-")


def _read(name: str, asked: bool, found: _Found) -> bytes | None:
    try:
        with open(name, "rb") as file:
            return file.read(yaml_tree.MAX_BYTES + 1)
    except FileNotFoundError:
        if asked:
            found.problems.append(ConfigError(f"{name}: no such file", expected="a configuration file"))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        found.problems.append(ConfigError(f"{name}: cannot be read ({reason})", expected="a readable file"))
    return None


def _take_file(data: bytes, name: str, found: _Found) -> None:
    try:
        root, problems = yaml_tree.parse(data, name)
    except ConfigError as error:
        found.problems.append(error)
        return
    found.problems += problems
    if root is None or root.value is None:
        return
    if not isinstance(root.value, dict):
        expected = "sections such as `drift:` at the top"
        found.problems.append(
            ConfigError(f"{name}:{root.line}: not sections", got=yaml_tree.plain(root), expected=expected)
        )
        return
    for section, node in root.value.items():
        _take_section(section, node, name, found)


def _take_section(section: str, node: Node, name: str, found: _Found) -> None:
    place = f"{name}:{node.line}"
    if section not in found.sections:
        found.unknown(f"{place}: unknown section `{section}`", section, found.sections)
    elif node.value is None:
        return
    elif isinstance(kind := found.sections[section], ListSection):
        _take_list(section, kind, node, name, found)
    elif not isinstance(node.value, dict):
        example = f"keys below `{section}:`, or `{section}: {{KEY: VALUE}}`"
        found.problems.append(ConfigError(f"{place}: {section}", got=yaml_tree.plain(node), expected=example))
    else:
        _take_keys(section, node, name, found)


def _take_list(section: str, kind: ListSection, node: Node, name: str, found: _Found) -> None:
    if not isinstance(node.value, list) or len(node.value) > kind.most:
        got = f"{len(node.value)} entries" if isinstance(node.value, list) else yaml_tree.plain(node)
        expected = f"a list of at most {kind.most} entries such as `{kind.example[0]}`"
        found.problems.append(ConfigError(f"{name}:{node.line}: {section}", got=got, expected=expected))
        return
    for index, entry in enumerate(node.value):
        place = f"{section}[{index}]"
        before = len(found.problems)
        found.values[place] = {}
        if isinstance(entry.value, dict) and entry.value:
            _take_keys(place, entry, name, found)
        else:
            expected = f"an entry such as `{kind.example[0]}`"
            got = "nothing" if entry.value is None else yaml_tree.plain(entry)
            found.problems.append(ConfigError(f"{name}:{entry.line}: {place}", got=got, expected=expected))
        if len(found.problems) > before:
            found.leave_out(place)


def _take_keys(section: str, node: Node, name: str, found: _Found) -> None:
    for key, value in node.value.items():
        where = f"{name}:{value.line}"
        found.put(f"{section}.{key}", yaml_tree.plain(value), f"{where}: {section}.{key}", where)


def _take_environment(environ: Mapping[str, str], found: _Found) -> None:
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable.startswith(FOREIGN) or variable in OWN:
            continue
        section, _, key = variable[len(PREFIX) :].lower().partition("_")
        if found.knows(section, key):
            found.put(f"{section}.{key}", environ[variable], f"environment: {variable}", variable)
        else:
            near = _nearest(variable, [*found.variables(), *OWN])
            advice = f"; did you mean {near}?" if near else ""
            found.warnings.append(f"environment: unknown variable {variable} is ignored{advice}")


class _Found:
    """What has been found so far, and what was wrong with it."""

    def __init__(self, sections: Mapping[str, Section]) -> None:
        self.sections = sections
        self.options = {n: {} if isinstance(s, FreeSection) else options(_kind(s)) for n, s in sections.items()}
        self.values: dict[str, dict[str, Any]] = {name: {} for name in sections}
        self.origins: dict[str, str] = {}
        self.given: dict[str, Any] = {}
        self.problems: list[ConfigError] = []
        self.warnings: list[str] = []

    def knows(self, section: str, key: str) -> bool:
        """Whether ``section.key`` may be given."""
        if isinstance(self.sections.get(section), FreeSection):
            return bool(key)
        return not isinstance(self.sections.get(section), ListSection) and self._option(section, key) is not None

    def variables(self) -> list[str]:
        """Names of all variables that would be understood."""
        return [f"{PREFIX}{s}_{k}".upper() for s, keys in self.options.items() for k in keys if self.knows(s, k)]

    def put(self, dotted: str, value: Any, what: str, origin: str) -> None:
        """Takes a value, or its problem."""
        section, _, key = dotted.partition(".")
        free = self.sections.get(section)
        if isinstance(free, FreeSection):
            self._put_free(free, section, key, value, what, origin)
            return
        found = self._option(section, key)
        if found is None:
            known = [f"{section}.{k}" for k in self.options.get(_name(section), {})]
            known += [k for k in self._keys() if k not in known]
            self.unknown(f"{what.removesuffix(dotted)}unknown key `{dotted}`", dotted, known)
            return
        name, option = found
        try:
            text = _secret_file(value) if name != key else value
            self.values[section][name] = option.parse(text)
            self.origins[f"{section}.{name}"] = origin
            self.given[f"{section}.{name}"] = _SECRET if option.secret else value
        except ValueError as error:
            got = _SECRET if option.secret and name == key else "nothing" if value is None else value
            self.problems.append(ConfigError(what, got=got, expected=str(error)))

    def _put_free(self, free: FreeSection, section: str, key: str, value: Any, what: str, origin: str) -> None:
        wrong: Any = key
        try:
            name = free.parse_key(key)
            wrong = "nothing" if value is None else value
            self.values[section][name] = free.parse_value(value)
            self.origins[f"{section}.{name}"] = origin
            self.given[f"{section}.{name}"] = value
        except ValueError as error:
            self.problems.append(ConfigError(what, got=wrong, expected=str(error)))

    def unknown(self, what: str, name: str, known: Iterable[str]) -> None:
        """Reports a section or key nobody declared, with the nearest."""
        known = list(known)
        near = _nearest(name, known)
        shown = [k for k in known if k.startswith(name.split(".", maxsplit=1)[0] + ".")] if "." in name else known
        expected = "" if near else "one of " + ", ".join(shown or known)
        self.problems.append(ConfigError(what, expected=expected, todo=f"did you mean `{near}`?" if near else ""))

    def build(self, section: str) -> Any:
        """The section's Config from the good values; the defaults where their combination is refused."""
        kind, values = self.sections[section], self.values[section]
        if isinstance(kind, FreeSection):
            return dict(values)
        if isinstance(kind, ListSection):
            entries = [self._make(kind.item, place) for place in list(self.values) if place.startswith(f"{section}[")]
            return tuple(e for e in entries if e is not None)
        made = self._make(kind, section)
        return kind() if made is None else made

    def _make(self, kind: type, section: str) -> Any:
        values = self.values[section]
        try:
            return kind(**values)
        except ValueError as error:
            keys = [f"{section}.{key}" for key in values]
            place = self.origins.get(keys[-1], "") if keys else ""
            what = f"{place}: {'' if '[' in section else 'section '}{section}"
            self.problems.append(ConfigError(what, got=values, expected=str(error)))
            for key in keys:
                self.origins.pop(key)
                self.given.pop(key)
            return None

    def leave_out(self, place: str) -> None:
        """Forgets an entry of a list."""
        for key in self.values.pop(place):
            self.origins.pop(f"{place}.{key}")
            self.given.pop(f"{place}.{key}")

    def _option(self, section: str, key: str) -> tuple[str, Option] | None:
        known = self.options.get(_name(section), {})
        if key in known:
            return key, known[key]
        base = key.removesuffix("_file")
        return (base, known[base]) if base != key and base in known and known[base].secret else None

    def _keys(self) -> list[str]:
        return [f"{s}.{k}" for s, keys in self.options.items() for k in keys]


def _kind(section: type | ListSection) -> type:
    """The dataclass of a section, or of its entries."""
    return section.item if isinstance(section, ListSection) else section


def _name(section: str) -> str:
    """``targets`` of ``targets[0]``."""
    return section.partition("[")[0]


def _secret_file(value: Any) -> str:
    """The text of a ``<key>_file``, without the newline at its end."""
    try:
        with open(str(value), encoding="utf-8") as file:
            return file.read(20_000).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise ValueError(f"the name of a readable text file ({reason})") from None


def _nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like ``name``; 0.6 is difflib's own cut for `close enough`."""
    close = difflib.get_close_matches(name[:200], list(known), n=1, cutoff=0.6)
    return close[0] if close else None
