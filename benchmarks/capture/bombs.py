"""Bombs: bodies that are small on the wire and large, deep or slow when read. Each in a process of its own.

``python -m benchmarks.capture.bombs FILE PROTOCOL`` is that process: it warms up on an ordinary exchange, reads the
bomb from FILE, decodes it once, and prints the growth of its peak memory, its CPU and the problem that it found.
"""

from __future__ import annotations

import base64
import dataclasses
import gc
import gzip
import io
import json
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.bars import Result, bar, versions
from pilotfish_agent.decode._runner import Decoders
from pilotfish_core.nouns import Exchange

MAX_GROWTH = 8 << 20
MAX_CPU = 0.1
LIMIT = "<= 8 MiB and <= 0.1 s CPU each; wide windows not decoded"
MIB = 1 << 20
JSON = {"content-type": "application/json"}
SSE = {"content-type": "text/event-stream"}
ORDINARY = Exchange(
    8501, 0.0, 0.1, 0.05, "POST", "/v1/models/m:predict", 200, "success",
    JSON, b'{"instances":[[1,2.5,3]]}', JSON, b'{"predictions":[[0.25,0.75]]}',
)  # fmt: skip


@bar(
    "bombs: gzip, deflate, br, zstd, JSON, streams, tensors", "<= 8 MiB and <= 0.1 s CPU each; wide windows not decoded"
)
def bombs() -> Result:
    faults, worst, slowest, count = [], ("", 0), ("", 0.0), 0
    with tempfile.TemporaryDirectory(prefix="pilotfish-bars-") as folder:
        for name, exchange, expected in every():
            growth, cpu, problem = measured(pathlib.Path(folder), exchange)
            count += 1
            print(f"{name}: +{growth / MIB:.1f} MiB, {cpu * 1e3:.0f} ms, {problem}", file=sys.stderr)
            if growth > worst[1]:
                worst = (name, growth)
            if cpu > slowest[1]:
                slowest = (name, cpu)
            if growth > MAX_GROWTH or cpu > MAX_CPU or (expected and problem != expected) or problem == "failed":
                faults.append(f"{name}: +{growth / MIB:.1f} MiB, {cpu * 1e3:.0f} ms, {problem}")
    text = (
        f"{count} bombs, most memory +{worst[1] / MIB:.1f} MiB ({worst[0]}), "
        f"most CPU {slowest[1] * 1e3:.0f} ms ({slowest[0]})" + "".join(f"; {fault}" for fault in faults)
    )
    return Result(text, not faults, versions("msgspec", "brotli", "zstandard"))


def measured(folder: pathlib.Path, exchange: Exchange) -> tuple[int, float, str | None]:
    """(bytes that the peak grew by, CPU seconds, problem) of a bomb in a process of its own.

    One that is over a limit runs twice more, and the middle one counts: another process may have had the core's cache.
    """
    path = folder / "bomb"
    path.write_bytes(pickle.dumps(exchange))
    command = (sys.executable, "-m", "benchmarks.capture.bombs", str(path))
    runs: list[dict[str, Any]] = []
    while len(runs) in (0, 1, 2):
        runs.append(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))
        if runs[0]["growth"] <= MAX_GROWTH and runs[0]["cpu"] <= MAX_CPU:
            break
    growths, cpus = sorted(run["growth"] for run in runs), sorted(run["cpu"] for run in runs)
    return growths[len(runs) // 2], cpus[len(runs) // 2], runs[0]["problem"]


def main(path: str) -> None:
    """The process of one bomb."""
    with open(path, "rb") as file:
        exchange = pickle.load(file)
    decoders = Decoders()
    for ordinary in warm():
        decoders.observe(ordinary)
    gc.collect()  # what was loaded is not the bomb's to walk through
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")  # the peak begins anew
    before = memory("VmRSS")
    began = time.process_time()
    _, seen = decoders.observe(exchange)
    cpu = time.process_time() - began
    print(json.dumps({"growth": memory("VmHWM") - before, "cpu": cpu, "problem": seen.problem}))


def warm() -> Iterator[Exchange]:
    """Ordinary exchanges that load what decoding loads, so that no library counts as a bomb's."""
    yield ORDINARY
    for coding, encode in CODERS.items():
        headers = {**JSON, "content-encoding": coding}
        yield dataclasses.replace(ORDINARY, response_headers=headers, response_body=encode(ORDINARY.response_body))
    yield stream([b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'])
    yield binary([("x", "FP32", [1, 3], struct.pack("<3f", 1, 2, 3)), ("t", "BYTES", [1], b"\x01\0\0\0a")])
    yield both(b'{"instances":[[' + b"0.5," * 1_200 + b"1]]}")


def memory(key: str) -> int:
    """Bytes of a line of /proc/self/status."""
    with open("/proc/self/status", encoding="ascii") as file:
        line = next(line for line in file if line.startswith(key))
    return int(line.split()[1]) * 1_024


def _brotli(data: bytes, bits: int = 20) -> bytes:
    import brotli  # type: ignore[import-untyped]

    body: bytes = brotli.compress(data, quality=5, lgwin=bits)
    return body


def _zstd(data: bytes, bits: int = 20) -> bytes:
    import zstandard

    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=bits)
    out = io.BytesIO()
    with zstandard.ZstdCompressor(compression_params=parameters).stream_writer(out, closefd=False) as writer:
        writer.write(data)  # in a stream the head does not tell the length, so the window is as large as it says
    return out.getvalue()


CODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": _brotli,
    "zstd": _zstd,
}


def endless(wbits: int) -> bytes:
    """1 GiB of zeros in 1 MB of gzip or zlib: one block a MiB, again and again."""
    stream = zlib.compressobj(9, wbits=wbits)
    head = stream.compress(bytes(MIB)) + stream.flush(zlib.Z_FULL_FLUSH)
    block = stream.compress(bytes(MIB)) + stream.flush(zlib.Z_FULL_FLUSH)
    return head + block * 1_023 + stream.flush()


def both(body: bytes, coding: str = "", target: str = ORDINARY.target, kind: str = "application/json") -> Exchange:
    """The bomb as request and as answer."""
    headers = {"content-type": kind, **({"content-encoding": coding} if coding else {})}
    return dataclasses.replace(
        ORDINARY,
        target=target,
        request_headers=headers,
        request_body=body,
        response_headers=headers,
        response_body=body.replace(b'"instances"', b'"predictions"', 1),
    )


def stream(events: list[bytes], coding: str = "", target: str = "/v1/chat/completions") -> Exchange:
    body = b"".join(events)
    marks: list[tuple[int, float]] = []
    at = 0
    for event in events[:4_096]:
        marks.append((at, 0.001 * len(marks)))
        at += len(event)
    asked = b'{"messages":[{"role":"user","content":"' + "é".encode() * 200_000 + b'"}]}'
    found = both(body, coding, target, "text/event-stream")
    return dataclasses.replace(found, marks=tuple(marks), request_headers=JSON, request_body=asked)


def binary(tensors: list[tuple[str, str, list[int], bytes]]) -> Exchange:
    """Binary tensors on both sides."""
    sides = []
    for key in ("inputs", "outputs"):
        entries = [
            {"name": n, "datatype": d, "shape": s, "parameters": {"binary_data_size": len(b)}} for n, d, s, b in tensors
        ]
        head = json.dumps({"model_name": "m", key: entries}).encode()
        headers = {"inference-header-content-length": str(len(head))}
        sides.append((headers, head + b"".join(tensor[3] for tensor in tensors)))
    (asked, request), (said, answer) = sides
    return dataclasses.replace(
        ORDINARY,
        target="/v2/models/m/infer",
        request_headers=asked,
        request_body=request,
        response_headers=said,
        response_body=answer,
    )


def rows(item: bytes, size: int, key: bytes = b"") -> bytes:
    """JSON of ``size`` bytes: a list of one item again and again, under the key that is read."""
    key = key or b'{"instances":['
    return key + (item + b",") * ((size - len(key) - 3) // (len(item) + 1)) + item + b"]}"


BREADTH = {
    "lists": b"[]", "mappings": b"{}", "keys": b'{"a":1}', "zeros": b"0", "fractions": b"0.5", "texts": b'"ab"',
    "long fractions": b"0.12345678901234567", "huge numbers": b"1e308", "wide characters": '"\U0001f600"'.encode(),
    "pairs": b'["a",1]', "names": b'{"abcdefghij":[0.5,0.5]}', "nulls": b"null", "nested": b"[[[[[[0]]]]]]",
}  # fmt: skip
"""Items of a list that fills the body."""


def every() -> Iterator[tuple[str, Exchange, str | None]]:
    """(name, exchange, the problem that it must have or None) of each bomb."""
    yield "gzip of 1 GiB", both(endless(31), "gzip"), "body_large"
    yield "deflate of 1 GiB", both(endless(15), "deflate"), "body_large"
    yield "bare deflate of 1 GiB", both(endless(-15), "deflate"), "body_large"
    yield "br of 64 MiB", both(_brotli(bytes(64 * MIB)), "br"), "body_large"
    yield "br, window 1 MiB, of random bytes", both(_brotli(os.urandom(MIB // 2) * 4), "br"), "body_large"
    for bits in (21, 24):
        yield f"br, window {1 << bits - 20} MiB", both(_brotli(bytes(64 * MIB), bits), "br"), "coding_window"
    yield "zstd of 256 MiB", both(_zstd(bytes(256 * MIB)), "zstd"), "body_large"
    yield "zstd, window 8 MiB", both(_zstd(os.urandom(MIB // 2) * 4, 23), "zstd"), "body_large"
    for bits in (24, 27):
        yield f"zstd, window {1 << bits - 20} MiB", both(_zstd(bytes(64 * MIB), bits), "zstd"), "coding_window"
    yield "zstd of many empty frames", both(_zstd(b"") * (MIB // 9 // 2), "zstd"), None
    yield "gzip of many members", both(gzip.compress(b"[") * 20_000, "gzip"), None
    yield "JSON depth 1 MiB", both(b"[" * MIB), "json_wide"
    yield "JSON depth 20,000", both(b"[" * 20_000 + b"]" * 20_000), "json_deep"
    yield "JSON depth 900, 20 times", both(rows(b"[" * 900 + b"1" + b"]" * 900, 36_000)), None
    yield "JSON whole numbers of 4,000 digits", both(rows(b"1" * 4_000, MIB - 64)), None
    for name, item in BREADTH.items():
        yield f"JSON {name}, 1 MiB", both(rows(item, MIB - 64)), None
        for key, what in ((b'{"instances":[', "rows"), (b'{"instances":[[', "one row")):
            body = allowed(item, key)
            body = body[:-1] + b"]}" if what == "one row" else body
            yield f"JSON {name}, as many as are read, {what}", both(body), None
        yield f"JSON {name} in gzip", both(gzip.compress(rows(item, MIB - 64)), "gzip"), None
    names = b",".join(b'{"k%d":1}' % i for i in range(15_000))
    yield "JSON rows with names of their own", both(b'{"instances":[' + names + b"]}"), None
    yield "texts to describe", both(rows('"{}"'.format("é" * 70).encode(), MIB - 64)), None
    yield "events of nothing", stream([b"data: 1\n\n"] * 900_000), "body_large"
    event = b'data: {"id":"x","model":"m","choices":[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}\n\n'
    yield "8 MB of events", stream([event] * 75_000), "body_large"
    yield "as many events as are read", stream([event] * 8_000), None
    yield "8 MB without an end of line", stream([b"data: " + b"x" * 8_000_000]), "body_large"
    yield "8 MB of empty lines", stream([b"\n" * 8_000_000]), None
    yield "8 MB of data lines", stream([b"data:\n" * 1_300_000]), None
    texts = (b'{"index":%d,"text":"%s"}' % (i, "жук ".encode() * 400) for i in range(128))
    yield "128 choices", stream([b'data: {"choices":[' + b",".join(texts) + b"]}\n\n"] * 10), None
    yield "events in gzip", stream([gzip.compress(event * 200_000)], "gzip"), "body_large"
    yield "lines of JSON", stream([b'{"response":"a"}\n'] * 45_000, "", "/api/generate"), "body_large"
    vector = base64.b64encode(struct.pack("<f", 0.5) * 190_000)
    yield (
        "an embedding of 190,000 numbers",
        both(b'{"data":[{"embedding":"' + vector + b'"}]}', target="/v1/embeddings"),
        None,
    )
    yield "CSV of commas", both(b"," * MIB, target="/invocations", kind="text/csv"), None
    yield "CSV of lines", both(b"a\n" * 9_900, target="/invocations", kind="text/csv"), None
    yield "CSV of cells", both(b"1,2,3,4,5\n" * 3_300, target="/invocations", kind="text/csv"), None
    for datatype, size in (("INT8", 1), ("FP16", 2), ("FP64", 8), ("INT64", 8), ("BOOL", 1)):
        for width in (1, 500, 2_000):
            cells = 1_000_000 // size // width * width
            data = os.urandom(cells * size) if datatype != "BOOL" else bytes(cells)
            yield f"{datatype} of width {width}", binary([("x", datatype, [cells // width, width], data)]), None
    yield "BYTES of nothing", binary([("x", "BYTES", [250_000], bytes(1_000_000))]), None
    yield "BYTES of few", binary([("x", "BYTES", [11_900], b"\x01\0\0\0\xff" * 11_900)]), None


def allowed(item: bytes, key: bytes) -> bytes:
    """The widest list of an item that is still read."""
    from pilotfish_agent.decode._json import cost
    from pilotfish_agent.decode._part import Unreadable

    low, high = 1, MIB
    while high - low > 64:
        middle = (low + high) // 2
        try:
            cost(rows(item, middle, key))
            low = middle
        except Unreadable:
            high = middle
    return rows(item, low, key)


if __name__ == "__main__":
    main(sys.argv[1])
