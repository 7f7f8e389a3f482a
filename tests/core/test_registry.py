"""The folder is the registry: files and entry points are parts, only those asked for are imported."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pilotfish_core import registry
from pilotfish_core.errors import ConfigError


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package with parts cat and dog, a private file, and a foreign part owl of an installed distribution."""
    package = tmp_path / "zoo"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "cat.py").write_text("SOUND = 'miaow'\n")
    (package / "dog.py").write_text("raise RuntimeError('imported without being asked for')\n")
    (package / "_keeper.py").write_text("")
    (tmp_path / "elsewhere.py").write_text("SOUND = 'hoo'\nNOTHING = 1\n")
    info = tmp_path / "birds-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: birds\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[zoo]\nowl = elsewhere\negg = elsewhere:NOTHING\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield "zoo"
    for name in [n for n in sys.modules if n.split(".")[0] in {"zoo", "elsewhere"}]:
        del sys.modules[name]


def test_names(zoo: str) -> None:
    """Files without an underscore and entry points, sorted; nothing of them is imported."""
    assert registry.names(zoo) == ("cat", "dog", "egg", "owl")
    assert not {"zoo.cat", "zoo.dog", "elsewhere"} & set(sys.modules)


def test_foreign(zoo: str) -> None:
    """Only what others add."""
    assert registry.foreign(zoo) == ("egg", "owl")
    assert registry.foreign("pilotfish_agent.nothing") == ()


def test_own_and_foreign_part(zoo: str) -> None:
    """Both load by their name."""
    assert registry.load(zoo, "cat").SOUND == "miaow"
    assert registry.load(zoo, "owl").SOUND == "hoo"


@pytest.mark.parametrize("name", ["fish", "_keeper", "egg"])
def test_no_such_part(zoo: str, name: str) -> None:
    """An unknown name, a private file and an entry point that is no module are refused with the known ones."""
    with pytest.raises(ConfigError, match=f"zoo: no such part; got '{name}'; expected one of cat, dog"):
        registry.load(zoo, name)


def test_parts(zoo: str) -> None:
    """Wanted ones in the order wanted; others stay unimported."""
    assert [(n, m.SOUND) for n, m in registry.parts(zoo, ["owl", "cat"])] == [("owl", "hoo"), ("cat", "miaow")]
    with pytest.raises(RuntimeError, match="without being asked for"):
        list(registry.parts(zoo))


@pytest.mark.parametrize("package", ["no_such_package", "pilotfish_core.errors"])
def test_no_such_folder(package: str) -> None:
    """A missing package or a plain module has no parts."""
    with pytest.raises(ModuleNotFoundError, match="no package"):
        registry.names(package)
