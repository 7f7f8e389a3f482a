"""Assembles what the parts declare: sections of the configuration, its schema and example, and the metrics."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from types import ModuleType
from typing import Any

from pilotfish_agent import settings
from pilotfish_core import registry
from pilotfish_core.config import Budget, FreeSection, ListSection, Option, options
from pilotfish_core.events import Event
from pilotfish_core.metrics import Metric

Section = type | FreeSection | ListSection
PACKAGES = ("pilotfish_core", "pilotfish_agent", "pilotfish_exporters", "pilotfish_alerts")
PARTS = (
    "pilotfish_agent.hardware",
    "pilotfish_agent.decode",
    "pilotfish_agent.drift.detectors",
    "pilotfish_agent.drift.tests",
    "pilotfish_agent.scrape",
    "pilotfish_agent.probe",
    "pilotfish_exporters",
)
"""Folders in which third parties have parts of their own, by entry points."""


@functools.cache  # 30 ms of reading folders, whose content does not change under us
def sections() -> Mapping[str, Section]:
    """Section name -> its Config dataclass, free section or list, in the order of the example file.

    A part's section is found by the ``SECTION`` in its file; nobody keeps a list.
    """
    found = dict(settings.SECTIONS)
    for module in _declaring("SECTION"):
        if module.SECTION in found:
            raise ValueError(f"section {module.SECTION!r} is declared twice, again in {module.__name__}")
        found[module.SECTION] = module.Config
    return found


def metrics() -> tuple[Metric, ...]:
    """Every metric that any part declares, by name."""
    return merged(_declaring("METRICS"))


def merged(modules: Iterable[ModuleType]) -> tuple[Metric, ...]:
    """The metrics of modules, by name. A re-export is the same declaration and counts once.

    Raises:
        ValueError: two parts declare one name differently.
    """
    found: dict[str, Metric] = {}
    for module in modules:
        for metric in module.METRICS:
            if found.setdefault(metric.name, metric) != metric:
                raise ValueError(f"metric {metric.name} is declared twice, differently, again in {module.__name__}")
    return tuple(found[name] for name in sorted(found))


def events() -> tuple[Event, ...]:
    """Every internal event that any part declares, by name; a name stands for one thing.

    Raises:
        ValueError: two parts declare one name differently.
    """
    found: dict[str, Event] = {}
    for module in _declaring("EVENTS"):
        for event in module.EVENTS:
            if found.setdefault(event.name, event) != event:
                raise ValueError(f"event {event.name} is declared twice, differently, again in {module.__name__}")
    return tuple(found[name] for name in sorted(found))


def _declaring(word: str) -> Iterator[ModuleType]:
    """Our modules that assign ``word`` at their top, and third parties' parts that have it; no other is imported."""
    for package in PACKAGES:
        for name, path in _files(package):
            with open(path, encoding="utf-8") as file:
                source = file.read()
            if f"\n{word}:" in source or f"\n{word} =" in source:
                yield importlib.import_module(name)
    for folder in PARTS:
        for _, module in registry.parts(folder, registry.foreign(folder)):
            if hasattr(module, word):
                yield module


def _files(package: str) -> Iterator[tuple[str, str]]:
    """(dotted name, path) of every module below a package."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for info in pkgutil.iter_modules([folder], f"{package}."):
            if info.ispkg:
                yield from _files(info.name)
            else:
                yield info.name, os.path.join(folder, info.name.rpartition(".")[2] + ".py")


def words(value: Any, option: Option | None = None) -> str:
    """A parsed value as a user would write it: ``10s`` rather than 10.0 where the declaration tells how."""
    if option is not None and option.secret and value is not None:
        return "<secret>"
    if option is not None and option.example and _means(option, value):
        return option.example
    if value == () and option is not None and option.example.startswith("{"):
        return "{}"  # pairs: frozen, so kept as a tuple
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {words(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple | set | frozenset):
        return "[" + ", ".join(words(v) for v in value) + "]"
    if isinstance(value, Budget):
        return value.text
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else str(value)


def example(known: Mapping[str, Section] | None = None) -> str:
    """A configuration file with every key: those in force by default as they are, the others as comments."""
    lines = ["# Pilotfish. Every key is optional; what is commented out has no default or another one."]
    for name, section in (known or sections()).items():
        lines += ["", f"# {summary(section)}", f"{name}:"]
        if isinstance(section, FreeSection | ListSection):
            lines += [f"  # {line}" for line in section.example]
            continue
        for key, option, default in declared(section):
            lines.append(f"  # {option.help}")
            lines.append(("  " if _means(option, default) else "  # ") + f"{key}: {option.example}")
    return "\n".join(lines) + "\n"


def schema(known: Mapping[str, Section] | None = None) -> dict[str, Any]:
    """JSON Schema (2020-12) of the configuration: names, help, defaults; values are checked by `config check`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Pilotfish configuration",
        "type": "object",
        "additionalProperties": False,
        "properties": {name: _schema(section) for name, section in (known or sections()).items()},
    }


def summary(section: Section) -> str:
    """What a section is for, in one line."""
    return section.help if isinstance(section, FreeSection | ListSection) else (section.__doc__ or "").split("\n")[0]


def declared(section: type | ListSection) -> Iterator[tuple[str, Option, Any]]:
    """(key, option, default) of a Config dataclass, or of a list's entries."""
    if isinstance(section, ListSection):
        section = section.item
    known = options(section)
    for field in fields(section):
        if field.name in known:
            yield field.name, known[field.name], field.default


def _schema(section: Section) -> dict[str, Any]:
    if isinstance(section, FreeSection):
        texts = {"type": ["string", "number", "boolean"]}
        return {"type": ["object", "null"], "description": section.help, "additionalProperties": texts}
    if isinstance(section, ListSection):
        entry = {**_schema(section.item), "type": "object"}
        return {"type": ["array", "null"], "description": section.help, "maxItems": section.most, "items": entry}
    keys: dict[str, Any] = {}
    for key, option, default in declared(section):
        keys[key] = {"description": option.help, "examples": [option.example]}
        if default is not None:
            keys[key]["default"] = words(default, option)
        if option.secret:
            keys[f"{key}_file"] = {"description": f"A file that holds {key}.", "type": "string"}
    return {
        "type": ["object", "null"],
        "description": summary(section),
        "additionalProperties": False,
        "properties": keys,
    }


def _means(option: Option, value: Any) -> bool:
    """Whether the option's example stands for ``value``."""
    from pilotfish_agent import yaml_tree

    root, _ = yaml_tree.parse(option.example.encode(), "example")
    try:
        return root is not None and bool(option.parse(yaml_tree.plain(root)) == value)
    except ValueError:
        return False
