"""Writes a language model of random weights that a real llama.cpp loads and streams from: `tiny_gguf.py FILE`.

The GGUF format by hand (github.com/ggml-org/ggml, docs/gguf.md, version 3): magic, counts, keys with typed values,
tensor descriptions, then the tensors, each aligned. A llama of 2 layers over a byte vocabulary, 1.6 MB.
"""

from __future__ import annotations

import struct
import sys
from typing import Any

import numpy as np

WIDTH, LAYERS, HEADS, HIDDEN, CONTEXT = 128, 2, 4, 256, 2048
ALIGN = 32
UINT32, INT32, FLOAT32, STRING, ARRAY = 4, 5, 6, 8, 9  # gguf_metadata_value_type
UNKNOWN, CONTROL, BYTE, NORMAL = 2, 3, 6, 1  # llama token types
FORMS = {UINT32: "<I", INT32: "<i", FLOAT32: "<f"}


def text(value: bytes) -> bytes:
    """A string: its length, its bytes."""
    return struct.pack("<Q", len(value)) + value


def value_of(kind: int, value: Any) -> bytes:
    """A value without its type."""
    return text(value) if kind == STRING else struct.pack(FORMS[kind], value)


def entry(key: str, kind: int, value: Any) -> bytes:
    """One key; a list becomes an array of ``kind``."""
    head = text(key.encode())
    if isinstance(value, list):
        items = b"".join(value_of(kind, v) for v in value)
        return head + struct.pack("<IIQ", ARRAY, kind, len(value)) + items
    return head + struct.pack("<I", kind) + value_of(kind, value)


def vocabulary() -> tuple[list[bytes], list[float], list[int]]:
    """(pieces, scores, types) of a SentencePiece vocabulary that can write any byte."""
    pieces = [b"<unk>", b"<s>", b"</s>"] + [b"<0x%02X>" % i for i in range(256)]
    pieces += ["\u2581".encode(), b"a", b"b"]
    return (
        pieces,
        [0.0] * 3 + [-10.0] * 256 + [-1.0, -2.0, -2.0],
        [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [NORMAL] * 3,
    )


def keys() -> list[bytes]:
    """The model's description."""
    pieces, scores, types = vocabulary()
    llama: dict[str, tuple[int, Any]] = {
        "general.architecture": (STRING, b"llama"),
        "general.name": (STRING, b"tiny-random"),
        "general.alignment": (UINT32, ALIGN),
        "general.file_type": (UINT32, 0),  # all float32
        "llama.vocab_size": (UINT32, len(pieces)),
        "llama.context_length": (UINT32, CONTEXT),
        "llama.embedding_length": (UINT32, WIDTH),
        "llama.block_count": (UINT32, LAYERS),
        "llama.feed_forward_length": (UINT32, HIDDEN),
        "llama.attention.head_count": (UINT32, HEADS),
        "llama.attention.head_count_kv": (UINT32, HEADS),
        "llama.attention.layer_norm_rms_epsilon": (FLOAT32, 1e-5),
        "llama.rope.dimension_count": (UINT32, WIDTH // HEADS),
        "tokenizer.ggml.model": (STRING, b"llama"),
        "tokenizer.ggml.tokens": (STRING, pieces),
        "tokenizer.ggml.scores": (FLOAT32, scores),
        "tokenizer.ggml.token_type": (INT32, types),
        "tokenizer.ggml.bos_token_id": (UINT32, 1),
        "tokenizer.ggml.eos_token_id": (UINT32, 2),
        "tokenizer.ggml.unknown_token_id": (UINT32, 0),
    }
    return [entry(key, kind, value) for key, (kind, value) in llama.items()]


def tensors() -> dict[str, Any]:
    """Name -> weights, drawn from a fixed seed."""
    rng = np.random.default_rng(0)
    size = len(vocabulary()[0])

    def drawn(*shape: int) -> Any:
        return (rng.standard_normal(shape) * 0.08).astype("<f4")

    found = {"token_embd.weight": drawn(size, WIDTH), "output.weight": drawn(size, WIDTH)}
    found["output_norm.weight"] = np.ones(WIDTH, "<f4")
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            found[f"{block}{name}.weight"] = drawn(WIDTH, WIDTH)
        found[f"{block}ffn_gate.weight"] = drawn(HIDDEN, WIDTH)
        found[f"{block}ffn_up.weight"] = drawn(HIDDEN, WIDTH)
        found[f"{block}ffn_down.weight"] = drawn(WIDTH, HIDDEN)
        for name in ("attn_norm", "ffn_norm"):
            found[f"{block}{name}.weight"] = np.ones(WIDTH, "<f4")
    return found


def gguf() -> bytes:
    """The whole file."""
    described, weights = keys(), tensors()
    head = [b"GGUF", struct.pack("<IQQ", 3, len(weights), len(described)), *described]
    offset = 0
    for name, array in weights.items():
        shape = array.shape[::-1]  # ggml counts dimensions from the innermost
        head.append(text(name.encode()) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, offset))
        offset += -(-array.nbytes // ALIGN) * ALIGN
    data = b"".join(head)
    parts = [data, b"\0" * (-len(data) % ALIGN)]
    for array in weights.values():
        parts += [array.tobytes(), b"\0" * (-array.nbytes % ALIGN)]
    return b"".join(parts)


if __name__ == "__main__":
    with open(sys.argv[1], "wb") as file:
        file.write(gguf())
