"""The reference file, pilotfish-reference/1."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.drift.reference import (
    FeatureReference,
    Ignored,
    Reference,
    load,
    looks_like_reference,
    positions,
    require,
)
from pilotfish_core.errors import DataError, UsageError


def made(**changes: Any) -> Reference:
    """A small reference of each kind of stream."""
    numeric = FeatureReference(
        "å",
        "numeric",
        300,
        np.array([100, 190, 5, 3, 2]),
        np.array([0.1]),
        None,
        positions(1),
        1.25,
        "times",
        -0.5,
        0.25,
    )
    text = FeatureReference("c", "categorical", 300, np.array([200, 90, 6, 4]), None, ("x", "other"))
    base = Reference(
        1.7e9, "fraud", "7", 300, (numeric, text), (Ignored("id", "an identifier"),), 2, 1.6e9, 1.65e9, "a.csv", 21.5
    )
    return replace(base, **changes)


def test_the_file_comes_back_equal() -> None:
    """Writing and reading lose nothing."""
    reference = made()
    again = Reference.from_json(reference.to_json())
    assert again.to_json() == reference.to_json()
    assert again.id == reference.id
    feature = again.feature("å")
    assert feature is not None
    assert feature.special == {"missing": 2, "pinf": 3, "ninf": 4}
    assert feature.edges is not None
    assert feature.edges.tolist() == [0.1]
    assert feature.counts.dtype == np.int64
    assert again.feature("nobody") is None
    assert again.ignored == (Ignored("id", "an identifier"),)


def seasonal() -> Reference:
    """A reference by hour with a ranked stream, one with a table for each hour, and a part of a composite one."""
    hours = np.arange(24.0)
    text = FeatureReference(
        "c",
        "categorical",
        96,
        np.array([72, 24, 0]),
        levels=("x",),
        stratum_counts=np.array([[3, 1, 0]] * 24),
    )
    ranked = FeatureReference(
        "n",
        "numeric",
        96,
        np.array([2, 2, 0, 0, 0]),
        np.array([12.0]),
        None,
        positions(1),
        stratum_edges=hours[:, None],
    )
    part = FeatureReference(
        "e.p1", "numeric", 96, np.array([48, 48, 0, 0, 0]), np.array([0.5]), None, positions(1), part_of="e", part="p"
    )
    return made(
        features=(text, ranked, part),
        strata={"kind": "hour", "rows": [4] * 24, "timezone": "Europe/Berlin"},
        encoders={"e": {"kind": "text", "answer": True}},
    )


def test_strata_parts_and_encoders_come_back_equal() -> None:
    """What only some streams have survives the file and counts in the id."""
    reference = seasonal()
    again = Reference.from_json(reference.to_json())
    assert again.to_json() == reference.to_json()
    text, ranked, part = again.features
    assert text.stratum_counts is not None
    assert text.stratum_counts.tolist() == [[3, 1, 0]] * 24
    assert ranked.stratum_edges is not None
    assert [ranked.binner(h).ids(np.array([11.5])).item() for h in (11, 12)] == [1, 0]
    assert (part.part_of, part.part) == ("e", "p")
    assert again.encoders == reference.encoders
    others = (
        replace(reference, encoders={}),
        replace(reference, strata={**reference.strata, "timezone": "UTC"}),
        replace(reference, features=(text, ranked, replace(part, part_of="f"))),
        replace(reference, features=(text, replace(ranked, stratum_edges=np.arange(24.0)[:, None] + 1), part)),
    )
    assert len({r.id for r in (reference, *others)}) == 5


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("strata", {"kind": "moon", "rows": []}),
        ("strata", {"kind": "hour", "rows": [], "timezone": "Mars/Olympus"}),
        ("strata", {"kind": "none", "rows": []}),
        ("encoders", [1]),
    ],
)
def test_impossible_strata_are_refused(field: str, value: object) -> None:
    """Strata that are unknown, or not those that the streams have, are a damaged reference."""
    data = json.loads(seasonal().to_json())
    data[field] = value
    with pytest.raises(DataError, match="damaged"):
        Reference.from_json(json.dumps(data))


@pytest.mark.parametrize("edges", [[2.0, 1.0], [1.0, 1.0], [1.0, 1.0 + 1e-14], [1.0, math.nan], [1.0, math.inf]])
def test_edges_of_a_stratum_that_do_not_ascend_are_refused(edges: list[float]) -> None:
    """In whichever stratum they are."""
    data = json.loads(seasonal().to_json())
    ranked = data["features"][1]
    ranked["stratum_edges"] = [[h, h + 0.5] for h in range(24)]
    ranked["counts"], ranked["special"] = [2, 1, 1, 0, 0, 0], positions(2)
    ranked["stratum_edges"][17] = edges
    with pytest.raises(DataError, match="damaged"):
        Reference.from_json(json.dumps(data))


def test_the_text_is_canonical() -> None:
    """UTF-8 unescaped, sorted keys, compact separators, shortest floats; the fields of the specification."""
    text = made().to_json()
    data = json.loads(text)
    assert text == json.dumps(data, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    assert "å" in text
    fields = "format id created model version rows skipped_rows from to source tick_rows seed strata features ignored"
    assert set(data) == set(fields.split())
    common = {"name", "kind", "rows", "counts", "special", "phi", "phi_source", "log_abs_mean", "zero_share"}
    assert [set(f) - common for f in data["features"]] == [{"edges"}, {"levels"}]


def test_the_id_is_the_hash_of_what_is_compared_with() -> None:
    """[name, kind, edges or levels, counts, special] in name order, and strata; nothing else changes it."""
    reference = made()
    content = [
        ["c", "categorical", ["x", "other"], [200, 90, 6, 4], {}],
        ["å", "numeric", [0.1], [100, 190, 5, 3, 2], {"missing": 2, "ninf": 4, "pinf": 3}],
    ]
    text = json.dumps(
        [content, {"kind": "none", "rows": []}], ensure_ascii=False, sort_keys=True, separators=(",", ":")
    )
    assert reference.id == hashlib.sha256(text.encode()).hexdigest()[:12]
    assert made(created=1.0, model=None, features=reference.features[::-1]).id == reference.id
    other = replace(reference.features[1], counts=np.array([199, 91, 6, 4]))
    assert made(features=(reference.features[0], other)).id != reference.id


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "pilotfish-reference/2"}, "pilotfish-reference/2"),
        ({"format": "pilotfish-reference/1.1", "rows": 301}, None),  # a minor version is read
        ({"format": "something/1"}, "something/1"),
        ({"format": 1}, "no reference"),
        ({"id": "0" * 12}, "content and id differ"),
        ({"features": 3}, "damaged"),
        ({"created": None}, "damaged"),
        ({"rows": -1}, "damaged"),
        ({"from": "x"}, "damaged"),
        ({"model": 3}, "damaged"),
        ({"tick_rows": True}, "damaged"),
    ],
)
def test_wrong_files_are_refused_by_name(change: dict[str, Any], words: str | None) -> None:
    """Another version, another format, damage: each says which."""
    text = json.dumps(json.loads(made().to_json()) | change)
    if words is None:
        assert Reference.from_json(text).rows == 301
        return
    with pytest.raises(DataError, match=words):
        Reference.from_json(text)


FEATURE = json.loads(made().to_json())["features"]


@pytest.mark.parametrize(
    "change",
    [
        {"counts": [1, 2]},
        {"counts": [1, 2, 3, 4, "5"]},
        {"counts": [0, 0, 0, 0, 0]},
        {"counts": [1.5, 2, 3, 4, 5]},
        {"special": {}},
        {"special": {"missing": 0, "pinf": 3, "ninf": 4}},
        {"edges": ["x"]},
        {"edges": [0.1, 0.1], "counts": [1] * 6, "special": positions(2)},
        {"kind": "embedding"},
        {"name": 5},
        {"phi": 0.5},
        {"phi": 1e999},
        {"phi_source": "guess"},
        {"zero_share": "none"},
    ],
)
def test_an_impossible_stream_is_damage(change: dict[str, Any]) -> None:
    """A file that could crash the engine is refused at the door."""
    data = json.loads(made().to_json())
    data["features"][0] |= change
    with pytest.raises(DataError, match="damaged"):
        Reference.from_json(json.dumps(data))


def test_levels_must_be_texts_and_unique() -> None:
    """Two bins of one name, or a number for a name, are damage."""
    for levels in (["x", "x"], ["x", 3]):
        data = json.loads(made().to_json())
        data["features"][1] |= {"levels": levels}
        with pytest.raises(DataError, match="damaged"):
            Reference.from_json(json.dumps(data))
    data = json.loads(made().to_json())
    data["features"].append(data["features"][0])
    with pytest.raises(DataError, match="damaged"):
        Reference.from_json(json.dumps(data))


@given(st.integers(0, 2000), st.integers(0, 255))
def test_a_changed_byte_never_passes_unseen(at: int, byte: int) -> None:
    """Any damage either leaves the same reference or is a DataError; nothing else is raised."""
    content = bytearray(made().to_json().encode())
    content[at % len(content)] = byte
    try:
        again = Reference.from_json(bytes(content))
    except DataError:
        return
    assert again.id == made().id


@given(st.integers(0, 5000))
def test_a_truncated_file_is_refused(length: int) -> None:
    """Half a file is no reference."""
    content = made().to_json().encode()
    if length < len(content):
        with pytest.raises(DataError):
            Reference.from_json(content[:length])


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """The path and the reason."""
    with pytest.raises(DataError, match="No such file"):
        load(str(tmp_path / "none.json"))
    with pytest.raises(DataError, match="directory"):
        load(str(tmp_path))
    (tmp_path / "ref.json").write_text(made().to_json(), encoding="utf-8")
    assert load(str(tmp_path / "ref.json")).id == made().id


def test_a_built_reference_is_told_from_data() -> None:
    """By its first bytes."""
    assert looks_like_reference(made().to_json().encode()[:64])
    assert not looks_like_reference(b'{"ts":1,"features":{"a":1}}\n')
    assert not looks_like_reference(b"a,b,c\n")


def test_missing_columns_are_named() -> None:
    """The first five; pseudo-features are not columns."""
    reference = made()
    require(reference, ["å", "c", "more"], "log.csv")
    with pytest.raises(UsageError, match=r"log.csv.*'c'"):
        require(reference, ["å"], "log.csv")
    many = tuple(replace(reference.features[1], name=f"f{i}") for i in range(8))
    with pytest.raises(UsageError, match="'f4' and 3 more"):
        require(made(features=many), [], "log.csv")
    require(made(features=(replace(reference.features[1], name="@prediction"),)), [], "log.csv")


def test_bins_have_names() -> None:
    """For people: intervals, levels, special bins."""
    numeric, text = made().features
    assert numeric.bins() == ("<= 0.1", "> 0.1", "missing", "+inf", "-inf")
    assert text.bins() == ("x", "other", "other", "missing")
    edges = np.array([1.0, 2.0])
    assert replace(numeric, edges=edges).bins()[1] == "(1, 2]"


def test_a_binner_counts_into_the_same_bins() -> None:
    """K of counts is K of the binner."""
    for feature in made().features:
        assert len(feature.binner().counts(np.array([1.0, np.nan]))) == len(feature.counts)
