"""Embeddings, images and lists of objects in what a model was asked and answered."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.decode import _columns, _lists, _tensors

ROW = [[[0.5, 0.25, 0.0]] * 20] * 16
"""An image of 20 x 16 pixels, as JSON has it."""


def png(width: int, height: int) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))


def jpeg(width: int, height: int) -> bytes:
    application = b"\xff\xe0" + struct.pack(">H", 16) + b"JFIF\0" + bytes(9)
    return b"\xff\xd8" + application + b"\xff\xc2" + struct.pack(">HBHHB", 17, 8, height, width, 3) + bytes(9)


@pytest.mark.parametrize("data", [png(640, 480), jpeg(640, 480)])
def test_the_size_of_an_image_is_in_its_head(data: bytes) -> None:
    """No picture is decoded."""
    found = _columns.features([{"photo": {"b64": base64.b64encode(data).decode()}}])
    assert {name: list(column) for name, column in found.items()} == {
        "photo.bytes": [float(len(base64.b64encode(data)) * 3 // 4)],
        "photo.width": [640.0],
        "photo.height": [480.0],
    }


@given(st.binary(max_size=80))
def test_any_bytes_have_a_size_or_none(data: bytes) -> None:
    """Also those that begin like a picture."""
    for start in (b"", png(3, 4)[:20], jpeg(3, 4)[:30]):
        assert "x.bytes" in dict(_lists.encoded("x", base64.b64encode(start + data).decode()))


def test_nested_lists_of_pixels_are_an_image() -> None:
    """Alone or under a name; a small table is not one."""
    alone, named = _columns.features([ROW, ROW]), _columns.features([{"photo": ROW}])
    assert list(alone["image.brightness"]) == [0.25, 0.25]
    assert list(named["photo.width"]) == [20.0]
    assert list(_columns.features([[[1.0, 2.0], [3.0, 4.0]]])) == ["f0", "f1", "f2", "f3"]


def test_a_wide_named_list_is_an_embedding() -> None:
    """A short one is as many features."""
    found = _columns.features([{"e": [0.5] * 65, "x": [1.0, 2.0]}, {"e": [1.5] * 65, "x": [3.0, 4.0]}])
    assert found["e"].shape == (2, 65)
    assert (list(found["x_0"]), list(found["x_1"])) == ([1.0, 3.0], [2.0, 4.0])


def test_tensors_are_embeddings_and_images() -> None:
    """By their dimensions; many columns without names are an embedding."""
    wide = _tensors.Tensor("e", (2, 384), np.arange(768, dtype="<f4"))
    assert _tensors.features(wide, 2, only=True)["e"].shape == (2, 384)
    pixels = np.full((2, 3, 16, 20), 51, np.uint8)
    found = _tensors.features(_tensors.Tensor("photo", pixels.shape, pixels.reshape(-1)), 2, only=True)
    assert list(found["photo.brightness"]) == [0.2, 0.2]
    assert list(found["photo.height"]) == [16.0, 16.0]


def test_answers_that_are_lists_are_the_feature_output() -> None:
    """Embeddings; boxes with and without labels; classes and probabilities stay what they are."""
    assert _columns.predictions([[2.5, -1.0], [0.5, 3.5]]).outputs["output"].tolist() == [[2.5, -1.0], [0.5, 3.5]]
    found = _columns.predictions([[{"label": "car", "score": 0.5}], []])
    assert {n: list(c) for n, c in found.outputs.items()} == {"output.count": [1.0, 0.0], "output.label": ["car", None]}
    said = {"boxes": [[0, 0, 1, 1]] * 3, "labels": [7, 7, 7], "scores": [0.9, 0.8, 0.7]}
    assert list(_columns.predictions([said]).outputs["output.count"]) == [3.0]
    assert _columns.predictions([["cat"], ["dog"]]).prediction == ["cat", "dog"]
    assert _columns.predictions([[0.25, 0.75]]).n_classes == 2
