"""The configuration and the references, as they are read at the start and again at a reload.

A reload takes all or nothing: with anything wrong in it, everything stays as it was.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pilotfish_agent import config
from pilotfish_agent.capture import rights
from pilotfish_agent.config import Settings
from pilotfish_agent.drift.reference import Reference
from pilotfish_agent.pipeline.references import References
from pilotfish_agent.reference_file import load_reference
from pilotfish_core.errors import DataError, PilotfishError

LIVE: Final = frozenset({"drift", "features", "labels", "limits", "model", "models"})
"""Sections that a running agent takes up; the others need a restart, which the answer says."""
_FIXED: Final = {"model": ("name",), "limits": ("memory",)}
"""Keys of these that do not."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an agent's configuration comes from.

    Attributes:
        config: of `--config`; None: the usual place.
        flags: `section.key` -> text of the command line.
        reference: of `--reference`.
        environ: the variables.
    """

    config: str | None = None
    flags: Mapping[str, str] = field(default_factory=dict)
    reference: str | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def settings(self) -> Settings:
        """What stands there now."""
        return config.load(self.config, self.environ, self.flags)


def paths(origin: Origin, settings: Settings) -> list[tuple[str, str]]:
    """What names a reference, and its path; those of section `models` are relative to the file they stand in."""
    base = os.path.dirname(os.path.abspath(settings.path)) if settings.path else ""
    listed = [(f"models[{i}].reference", one.reference) for i, one in enumerate(settings.section("models"))]
    given = [("--reference", origin.reference)] if origin.reference else []
    return [*given, *((what, os.path.join(base, path)) for what, path in listed)]


def references(
    origin: Origin, settings: Settings, waiting: Callable[[], None]
) -> tuple[References, list[PilotfishError]]:
    """Reads every reference once, and what is wrong with some.

    Args:
        origin: names the one for all models.
        settings: section `models` names the others.
        waiting: called several times a second while one is built of a data file.
    """
    read: dict[str, Reference] = {}
    problems: list[PilotfishError] = []

    def take(path: str, what: str) -> Reference | None:
        try:
            if path not in read:
                read[path] = load_reference(path, origin.config, waiting, what)
            return read[path]
        except PilotfishError as error:
            problems.append(error)
        except OSError as error:
            problems.append(DataError(f"{what}: {path}: {error.strerror or error}", expected="a readable file"))
        return None

    found = [take(path, what) for what, path in paths(origin, settings)]
    given = found.pop(0) if origin.reference else None
    patterns = [one.match for one in settings.section("models")]
    name = settings.section("model").name or (given.model if given is not None else None) or None
    matched = tuple((match, one) for match, one in zip(patterns, found, strict=True) if one is not None)
    return References(given, name, matched), problems


@dataclass(frozen=True, slots=True)
class Taken:
    """What a reload has read, all of it good.

    Attributes:
        settings, references: in force from now on.
        restart: sections that have changed and need a restart of the agent.
    """

    settings: Settings
    references: References
    restart: Sequence[str]


def read(origin: Origin, before: Settings, waiting: Callable[[], None]) -> Taken:
    """Everything anew.

    Raises:
        PilotfishError: the first problem, with the number of the others.
    """
    settings = origin.settings()
    problems: list[PilotfishError] = [*settings.problems, *rights.problems(settings.section("capture"))]
    if not problems:
        found, problems = references(origin, settings, waiting)
    if problems:
        first, more = problems[0], len(problems) - 1
        todo = f"{more} more: see `pilotfish config check`" if more else first.todo
        raise type(first)(first.what, got=first.got, expected=first.expected, todo=todo)
    return Taken(settings, found, tuple(_restart(before, settings)))


def _restart(before: Settings, after: Settings) -> list[str]:
    def fixed(name: str, section: Any) -> Any:
        if name not in LIVE:
            return section
        return [getattr(section, key) for key in _FIXED.get(name, ())]

    names = [n for n in after.sections if fixed(n, before.section(n)) != fixed(n, after.section(n))]
    return [f"{n}.{'/'.join(_FIXED[n])}" if n in _FIXED else n for n in names]
