"""Takes a content coding off a captured body, within bounds that no body can make us leave."""

from __future__ import annotations

import zlib
from typing import Any, Final

from pilotfish_agent.decode._part import Unreadable

MAX_BODY: Final = 1 << 20
"""Bytes of a body that are read. Bodies above it are images and files; their exchanges keep their timings."""
MAX_BROTLI_BITS: Final = 20  # the decoder holds the window of the stream, whatever it makes of it: 1 MiB
MAX_ZSTD_WINDOW: Final = 8 << 20  # what ordinary encoders use; the decoder holds the window only as far as it is filled
_STEP: Final = 64 << 10
_IDENTITY: Final = frozenset({"", "identity"})


def decoded(body: bytes, coding: str, *, cut: bool = False) -> bytes:
    """The body without its content coding.

    Args:
        body: as captured, without transfer coding.
        coding: the header `Content-Encoding`.
        cut: the body is only its beginning.

    Returns:
        at most `MAX_BODY` bytes; of a cut body what there is.

    Raises:
        Unreadable: body_cut, body_large, coding_unknown, coding_broken, coding_window.
    """
    name = coding.strip().lower()
    if name in _IDENTITY:
        plain = body
        if len(plain) > MAX_BODY:
            raise Unreadable("body_large")
        return plain
    if len(body) > MAX_BODY:  # it would not become smaller
        raise Unreadable("body_large")
    decode = _CODINGS.get(name)
    if decode is None:
        raise Unreadable("coding_unknown")
    if not body:
        return b""
    return decode(body, cut)


def _gzip(body: bytes, cut: bool) -> bytes:
    return _inflate(zlib.decompressobj(zlib.MAX_WBITS | 16), body, cut)


def _deflate(body: bytes, cut: bool) -> bytes:
    """`deflate` is zlib's format (RFC 9110), but some servers send it bare."""
    zlib_header = len(body) > 1 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
    return _inflate(zlib.decompressobj(zlib.MAX_WBITS if zlib_header else -zlib.MAX_WBITS), body, cut)


def _inflate(stream: Any, body: bytes, cut: bool) -> bytes:
    try:
        plain: bytes = stream.decompress(body, MAX_BODY + 1)
    except zlib.error:
        raise Unreadable("coding_broken") from None
    if len(plain) > MAX_BODY:
        raise Unreadable("body_large")
    if not stream.eof and not cut:
        raise Unreadable("coding_broken")
    return plain


def _brotli(body: bytes, cut: bool) -> bytes:
    if brotli_window_bits(body) > MAX_BROTLI_BITS:
        raise Unreadable("coding_window")
    import brotli  # type: ignore[import-untyped]

    stream, parts, size, data = brotli.Decompressor(), [], 0, body
    try:
        while True:
            part = stream.process(data, output_buffer_limit=_STEP)
            data = b""
            parts.append(part)
            size += len(part)
            if size > MAX_BODY:
                raise Unreadable("body_large")
            if stream.is_finished() or (not part and stream.can_accept_more_data()):
                break
    except brotli.error:
        raise Unreadable("coding_broken") from None
    if not stream.is_finished() and not cut:
        raise Unreadable("coding_broken")
    return b"".join(parts)


def brotli_window_bits(body: bytes) -> int:
    """WBITS of a brotli stream's first bits (RFC 7932, section 9.1); 99 for a large window (not in the RFC)."""
    first = body[0]
    if not first & 1:
        return 16
    if n := first >> 1 & 7:
        return 17 + n
    n = first >> 4 & 7
    return 17 if n == 0 else 99 if n == 1 else 8 + n


def _zstd(body: bytes, cut: bool) -> bytes:  # noqa: ARG001 - a stream that ends early is not told from a whole one
    import zstandard

    # Refuses a frame of a larger window before it takes memory for it.
    stream = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW).stream_reader(body, read_across_frames=True)
    parts, size = [], 0
    try:
        while part := stream.read(_STEP):
            parts.append(part)
            size += len(part)
            if size > MAX_BODY:
                raise Unreadable("body_large")
    except zstandard.ZstdError as error:
        raise Unreadable("coding_window" if "memory" in str(error) else "coding_broken") from None
    return b"".join(parts)


_CODINGS: Final = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
