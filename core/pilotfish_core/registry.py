"""The folder is the registry: a part is a file, its name is the file's name.

Third parties add parts by an entry-point group named like the package, for example
``pilotfish_agent.hardware``. Only the parts asked for are imported.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Iterable, Iterator
from importlib.metadata import entry_points
from types import ModuleType

from pilotfish_core.errors import ConfigError


def names(package: str) -> tuple[str, ...]:
    """Names of all parts in ``package`` (dotted) and its entry-point group, sorted; imports only the package.

    Files and folders that start with ``_`` are no parts.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"no package {package!r} to look for parts in")
    own = {m.name for m in pkgutil.iter_modules(spec.submodule_search_locations) if not m.name.startswith("_")}
    return tuple(sorted(own | {e.name for e in entry_points(group=package)}))


def foreign(package: str) -> tuple[str, ...]:
    """Names of the parts that third parties add to ``package``, sorted."""
    return tuple(sorted({e.name for e in entry_points(group=package)}))


def load(package: str, name: str) -> ModuleType:
    """Imports the part ``name`` of ``package``.

    Raises:
        ConfigError: there is no such part.
    """
    if importlib.util.find_spec(f"{package}.{name}") is not None and not name.startswith("_"):
        return importlib.import_module(f"{package}.{name}")
    for entry in entry_points(group=package, name=name):
        part = entry.load()
        if isinstance(part, ModuleType):
            return part
    known = ", ".join(names(package))
    raise ConfigError(f"{package}: no such part", got=name, expected=f"one of {known}", todo="see `pilotfish list`")


def parts(package: str, wanted: Iterable[str] | None = None) -> Iterator[tuple[str, ModuleType]]:
    """(name, module) of the wanted parts, of all of them when ``wanted`` is None."""
    for name in names(package) if wanted is None else wanted:
        yield name, load(package, name)
