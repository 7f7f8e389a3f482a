"""Content codings: all that are in use are read, and none can make us hold more than the limit."""

from __future__ import annotations

import gzip
import io
import zlib

import brotli  # type: ignore[import-untyped]
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish_agent.decode._coding import MAX_BODY, brotli_window_bits, decoded
from pilotfish_agent.decode._part import PROBLEMS, Unreadable

NAMES = ("gzip", "x-gzip", "deflate", "raw", "br", "zstd", "identity", "")


def encoded(data: bytes, name: str) -> tuple[bytes, str]:
    if name.endswith("gzip"):
        return gzip.compress(data), name
    if name == "deflate":
        return zlib.compress(data), name
    if name == "raw":
        bare = zlib.compressobj(wbits=-15)
        return bare.compress(data) + bare.flush(), "deflate"
    if name == "br":
        return brotli.compress(data, lgwin=18), name
    return (zstandard.compress(data), name) if name == "zstd" else (data, name)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=30)
@given(data=st.binary(max_size=2_000))
def test_round_trip(name: str, data: bytes) -> None:
    """What a server encodes comes out as it was."""
    assert decoded(*encoded(data, name)) == data


@pytest.mark.parametrize("name", ["gzip", "deflate", "raw", "br"])
def test_half_a_body(name: str) -> None:
    """A body that ends early is broken; where the copy is told to be cut, its beginning is read."""
    data = bytes(range(256)) * 100
    body, coding = encoded(data, name)
    with pytest.raises(Unreadable, match="coding_broken"):
        decoded(body[: len(body) // 2], coding)
    assert data.startswith(decoded(body[: len(body) // 2], coding, cut=True))


@pytest.mark.parametrize("name", [n for n in NAMES if n])
def test_above_the_limit(name: str) -> None:
    """A body of more than the limit is refused with its word, however small it travels."""
    with pytest.raises(Unreadable, match="body_large"):
        decoded(*encoded(bytes(MAX_BODY + 1), name))
    assert len(decoded(*encoded(bytes(MAX_BODY), name))) == MAX_BODY


@pytest.mark.parametrize("coding", ["gzip, br", "compress", "br\x00", "é", "gzip;q=1"])
def test_unknown_codings(coding: str) -> None:
    """Stacked and unknown codings are not read."""
    with pytest.raises(Unreadable, match="coding_unknown"):
        decoded(b"x", coding)


@pytest.mark.parametrize("bits", range(10, 25))
def test_brotli_windows(bits: int) -> None:
    """The window's size is read from the stream's first bits, and above 1 MiB it is not decoded."""
    body = brotli.compress(
        bytes(range(256)) * 20_000, lgwin=bits, quality=4
    )  # 5 MB, or the encoder takes a smaller window
    assert brotli_window_bits(body) == bits
    with pytest.raises(Unreadable, match="body_large" if bits <= 20 else "coding_window"):
        decoded(body, "br")


@pytest.mark.parametrize(("bits", "word"), [(20, None), (23, None), (24, "coding_window"), (27, "coding_window")])
def test_zstd_windows(bits: int, word: str | None) -> None:
    """A window above 8 MiB is refused by the frame's head."""
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=bits)
    out = io.BytesIO()
    with zstandard.ZstdCompressor(compression_params=parameters).stream_writer(out, closefd=False) as writer:
        writer.write(b"x" * 1_000)  # of a length that the head does not tell: the window stays as asked for
    if word is None:
        assert decoded(out.getvalue(), "zstd") == b"x" * 1_000
    else:
        with pytest.raises(Unreadable, match=word):
            decoded(out.getvalue(), "zstd")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
@settings(max_examples=50)
@given(data=st.binary(max_size=200), cut=st.booleans())
def test_any_bytes(coding: str, data: bytes, cut: bool) -> None:
    """Whatever the bytes: a body or a word."""
    try:
        assert len(decoded(data, coding, cut=cut)) <= MAX_BODY
    except Unreadable as error:
        assert error.reason in PROBLEMS  # noqa: PT017 - either is right
