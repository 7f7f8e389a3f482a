"""Tables of all streams and their cache file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pilotfish_agent.drift import tables as table_file
from pilotfish_agent.drift.tables import TableSpec, cache_key, load, save
from tests.drift_math import golden

SPECS = (
    TableSpec("a", "numeric", np.array([60.0, 80, 70, 90, 3, 0, 0]), (4, 5, 6)),
    TableSpec("b", "categorical", golden.LEVELS, (), 1.25),
    TableSpec("twin of a", "numeric", np.array([60.0, 80, 70, 90, 3, 0, 0]), (4, 5, 6)),
)


@pytest.fixture(scope="module")
def made() -> list[table_file.StreamTables]:
    return table_file.build(SPECS, 1000.0)


def same(a: table_file.StreamTables, b: table_file.StreamTables) -> bool:
    """Every field, to the last bit."""
    return all(
        np.array_equal(getattr(a, field.name), getattr(b, field.name))
        for field in dataclasses.fields(table_file.StreamTables)
    )


def test_equal_streams_share_tables(made: list[table_file.StreamTables]) -> None:
    """Equal counts and settings are built once, in order, and the progress is told."""
    assert made[0] is made[2]
    assert [t.kind for t in made] == ["numeric", "categorical", "numeric"]
    told: list[int] = []
    table_file.build(SPECS[:1], 1000.0, built=told.append)
    assert told == [1]


def test_nothing_can_write_into_shared_tables(made: list[table_file.StreamTables]) -> None:
    """An array of a table refuses assignment."""
    with pytest.raises(ValueError, match="read-only"):
        made[0].penalties[0, 0] = 0.0


def test_cache_round_trip(tmp_path: Path, made: list[table_file.StreamTables]) -> None:
    """Saved tables come back bit for bit, shared where they were, and twice the same file."""
    path = tmp_path / "new" / "tables.npz"
    save(str(path), SPECS, 1000.0, made)
    found = load(str(path), SPECS, 1000.0)
    assert found is not None
    assert all(same(a, b) for a, b in zip(found, made, strict=True))
    assert found[0] is found[2]
    assert [p.name for p in path.parent.iterdir()] == ["tables.npz"]


@pytest.mark.parametrize(
    "other",
    [
        (SPECS, 1001.0, None),
        (SPECS, 1000.0, 4),
        (SPECS[:2], 1000.0, None),
        ((dataclasses.replace(SPECS[0], phi=1.25), *SPECS[1:]), 1000.0, None),
        ((dataclasses.replace(SPECS[0], min_effect=0.2), *SPECS[1:]), 1000.0, None),
        ((dataclasses.replace(SPECS[0], counts=SPECS[0].counts + 1), *SPECS[1:]), 1000.0, None),
        ((dataclasses.replace(SPECS[0], name="z"), *SPECS[1:]), 1000.0, None),
    ],
    ids=["budget", "streams", "fewer", "phi", "min_effect", "counts", "name"],
)
def test_a_cache_of_something_else_is_refused(
    tmp_path: Path,
    made: list[table_file.StreamTables],
    other: tuple[tuple[TableSpec, ...], float, int | None],
) -> None:
    """Whatever the tables depend on is in the key."""
    path = str(tmp_path / "tables.npz")
    save(path, SPECS, 1000.0, made)
    specs, budget, streams = other
    assert load(path, specs, budget, streams) is None
    assert cache_key("id", specs, budget, streams) != cache_key("id", SPECS, 1000.0)
    assert cache_key("id", SPECS, 1000.0) != cache_key("other", SPECS, 1000.0)


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_cache_is_refused(tmp_path: Path, made: list[table_file.StreamTables], keep: float) -> None:
    """Half a file is no file."""
    path = tmp_path / "tables.npz"
    save(str(path), SPECS, 1000.0, made)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    assert load(str(path), SPECS, 1000.0) is None


def test_a_cache_with_one_flipped_byte_is_refused(tmp_path: Path, made: list[table_file.StreamTables]) -> None:
    """Checksums of the archive find a damaged number."""
    path = tmp_path / "tables.npz"
    save(str(path), SPECS, 1000.0, made)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert load(str(path), SPECS, 1000.0) is None


def test_an_absent_or_foreign_file_is_no_cache(tmp_path: Path) -> None:
    """Nothing there, a folder, a text, another archive."""
    assert load(str(tmp_path / "none.npz"), SPECS, 1000.0) is None
    assert load(str(tmp_path), SPECS, 1000.0) is None
    (tmp_path / "text.npz").write_text("tables")
    assert load(str(tmp_path / "text.npz"), SPECS, 1000.0) is None
    np.savez(tmp_path / "other.npz", numbers=np.zeros(3))
    assert load(str(tmp_path / "other.npz"), SPECS, 1000.0) is None


def test_a_failed_write_leaves_no_file(
    tmp_path: Path, made: list[table_file.StreamTables], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither half a cache nor a temporary file."""

    def full(_number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        save(str(tmp_path / "tables.npz"), SPECS, 1000.0, made)
    assert list(tmp_path.iterdir()) == []
